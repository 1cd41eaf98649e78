"""A run is trained once, and never taken for one with other settings."""

from pathlib import Path

import pandas as pd
import pytest
from helpers.zoo import COMPARE, OUT, error_line

from sb3_tdac.zoo.cli import main


def test_the_same_command_trains_only_what_is_missing(
    compared_here: Path, without_pictures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(OUT.glob("*/*/evaluations.jsonl"))
    assert len(files) == 8
    unfinished = files.pop(2)
    unfinished.write_text(unfinished.read_text()[:-1])  # its last line was being written
    before = [file.stat().st_mtime_ns for file in files]
    report = (OUT / "evaluations.csv.gz", pd.read_csv(OUT / "evaluations.csv.gz"))
    assert main(COMPARE) == 0
    assert "7 of 8 runs" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in files] == before
    # The same seed gives the same run, in other seconds.
    times = ["seconds", "cpu_seconds"]
    repeated = pd.read_csv(report[0]).drop(columns=times)
    pd.testing.assert_frame_equal(repeated, report[1].drop(columns=times))


def test_a_run_with_other_settings_is_not_taken_for_one_of_these(
    compared_here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in OUT.rglob("*"))
    for change in ("-n 300", "--eval-freq 50", "--n-envs 3", "--eval-episodes 4"):
        line = error_line(capsys, *COMPARE, *change.split(), "--out", str(OUT))
        assert "choose another --out" in line
        assert str(OUT / "tdac" / "CartPole-v1_1") in line or "a2c" in line
    assert sorted((path, path.stat().st_mtime_ns) for path in OUT.rglob("*")) == before


def test_a_folder_of_others_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "logs" / "tdac" / "CartPole-v1_1").mkdir(parents=True)
    line = error_line(capsys, *COMPARE, "--out", "logs")
    assert "is no run of a comparison" in line
    assert (here / "logs" / "tdac" / "CartPole-v1_1").is_dir()
