"""Folders of comparisons can be drawn again, and joined."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.zoo import (
    BY_HAND,
    ENVS,
    OUT,
    SECONDS_APART,
    error_line,
    section,
    table,
    write_comparison,
)

from sb3_tdac.zoo.cli import main
from sb3_tdac.zoo.compare.folders import read

pytestmark = pytest.mark.usefixtures("without_pictures")


def test_redrawing_gives_the_same_table(
    compared_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gzip.time.time", lambda: 0.0)  # at another time
    before = (OUT / "comparison.md").read_text()
    evaluations = (OUT / "evaluations.csv.gz").read_bytes()
    (OUT / "comparison.md").unlink()
    assert main(["compare", "--from", str(OUT)]) == 0
    assert (OUT / "comparison.md").read_text() == before
    assert (OUT / "evaluations.csv.gz").read_bytes() == evaluations
    assert json.loads((OUT / "comparison.json").read_text())["algos"] == ["tdac", "a2c"]


def test_the_evaluations_alone_give_the_same_numbers(compared: Path, here: Path) -> None:
    shutil.copy(compared / OUT / "evaluations.csv.gz", here)
    assert main(["compare", "--from", "."]) == 0
    found, expected = Path("comparison.md").read_text(), (compared / OUT / "comparison.md")
    for title in ("At equal steps", "At equal training time", *ENVS, "Normalisation"):
        assert section(found, title) == section(expected.read_text(), title)


def test_an_interrupted_comparison_is_drawn_from_what_is_finished(
    compared: Path, here: Path
) -> None:
    shutil.copytree(compared / OUT, here / "x")
    for name in ("evaluations.csv.gz", "comparison.md"):
        (here / "x" / name).unlink()
    shutil.rmtree(here / "x" / "a2c" / "Pendulum-v1_2")
    unfinished = here / "x" / "a2c" / "CartPole-v1_2" / "evaluations.jsonl"
    unfinished.write_text(unfinished.read_text()[:-1])
    assert main(["compare", "--from", "x"]) == 0
    text = Path("x/comparison.md").read_text()
    assert [table(text, env)["a2c"]["seeds"] for env in ENVS] == ["1 of 2", "1 of 2"]
    assert [table(text, env)["tdac"]["seeds"] for env in ENVS] == ["2", "2"]


def test_folders_with_other_budgets_are_joined(here: Path) -> None:
    longer = {("C", "tdac"): [[0.0, 1.0, 2.0, 9.0]] * 3, ("C", "ppo"): [[0.0, 1.0, 2.0, 3.0]]}
    for name, returns in (("x", BY_HAND), ("y", longer)):
        write_comparison(here / name, returns, SECONDS_APART)
    assert main("compare --from x y --out z".split()) == 0
    text = Path("z/comparison.md").read_text()
    assert "| A | 20 | 8.00 ± 2.00 (2) |" in text and "| C | 30 | 9.00 ± 0.00 (3) |" in text
    # TDAC's scores on C are 1: (0.8 + 0.75 + 1) / 3 = 0.85
    assert re.search(r"\| tdac \| deterministic \| 7 \|.*\| 0.850 \(", text)
    assert "on 3 of 3 environments" in text
    # What was joined can be drawn again, or a part of it.
    assert main("compare --from z --env C --out c".split()) == 0
    assert section(Path("c/comparison.md").read_text(), "C") == section(text, "C")


def test_seeds_trained_apart_are_joined(here: Path) -> None:
    command = (
        "compare --env CartPole-v1 --algos tdac -n 64 --eval-freq 64 --eval-episodes 1".split()
    )
    for name, more in (("x", "--seeds 1"), ("y", "--first-seed 1 --seeds 1")):
        assert main([*command, *more.split(), "--workers", "1", "--out", name]) == 0
    assert main("compare --from x y --out z".split()) == 0
    assert table(Path("z/comparison.md").read_text(), "CartPole-v1")["tdac"]["seeds"] == "2"
    found = read(Path("z"))
    assert list(found.evaluations.seed.unique()) == found.seeds["CartPole-v1"]["tdac"] == [0, 1]


def test_settings_are_those_of_the_runs_that_were_joined(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(folder: str, gamma: float) -> None:
        path = Path(folder, "comparison.json")
        known = {"entry": {"gamma": gamma}, "defaults": {f"since_version_{folder}": "None"}}
        settings = {"A": {"tdac": {"origin": "tdac.yml, A", **known}}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": settings}))

    later = {("A", "tdac"): [[0.0, 1.0, 2.0]] * 4}
    write_comparison(
        here / "x", {("A", "a2c"): later["A", "tdac"], **later}, SECONDS_APART | {"a2c": 1.0}
    )
    write_comparison(here / "y", later, SECONDS_APART)
    entry("x", 0.9)
    entry("y", 0.8)
    # Without the runs of the earlier entry there is nothing left of it
    assert main("compare --from x --algos a2c --out others".split()) == 0
    assert main("compare --from others y --out z".split()) == 0
    assert read(Path("z")).settings["A"]["tdac"]["entry"] == {"gamma": 0.8}
    found = read(Path("y"))
    found.evaluations["seed"] += 4
    found.write(here / "y")
    said = error_line(capsys, "compare", "--from", "x", "y", "--out", "both")
    assert "tdac on A was not trained with the same gamma in all folders" in said
    entry("y", 0.9)
    assert main("compare --from x y --out both".split()) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "tdac on A, seed 0, is in two folders"),
        ({("A", "a2c"): [[0.0, 1.0]]}, "A: a2c and ppo were not evaluated after the same steps"),
    ],
)
def test_unequal_evaluations_are_not_joined(
    change: dict[tuple[str, str], list[list[float]]],
    said: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_comparison(here / "x", BY_HAND, SECONDS_APART)
    write_comparison(here / "y", change or BY_HAND, SECONDS_APART | {"a2c": 1.0})
    assert said in error_line(capsys, "compare", "--from", "x", "y", "--out", "z")


def test_what_older_versions_wrote_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame({"env": ["A"], "algo": ["a2c"]}).to_csv("evaluations.csv.gz", index=False)
    assert "has no column seed: an older version wrote it" in error_line(
        capsys, "compare", "--from", "."
    )
    Path("comparison.json").write_text('{"command": "x"}')
    assert "comparison.json was written by an older version" in error_line(
        capsys, "compare", "--from", "."
    )
