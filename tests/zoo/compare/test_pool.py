"""A comparison goes on if a process fails, and no process outlives it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.zoo import error_line, table


def test_an_ended_run_without_evaluations_is_a_failure_and_others_go_on(
    here: Path, without_pictures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    # DQN has no continuous actions, and only its process finds out.
    options = "--env Pendulum-v1 --algos tdac dqn-defaults --out x --seeds 2 --workers 2"
    budget = "-n 64 --eval-freq 64 --eval-episodes 1"
    line = error_line(capsys, "compare", *options.split(), *budget.split())
    assert line.count("AssertionError: The algorithm only supports") == 2
    log = Path("x") / "dqn-defaults" / "Pendulum-v1_1" / "log.txt"
    assert "dqn-defaults on Pendulum-v1, seed 0: AssertionError" in line and f"(see {log})" in line
    assert log.is_file()
    text = Path("x/comparison.md").read_text()
    rows = table(text, "Pendulum-v1")
    assert (rows["tdac"]["seeds"], rows["dqn-defaults"]["seeds"]) == ("2", "0 of 2")
    assert "Pendulum-v1 is not in the aggregates: no run of dqn-defaults finished" in text


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, subprocess.Popen[str]]]:
    """For each signal a comparison that trains, started together."""
    command = [sys.executable, "-m", "sb3_tdac.zoo", "compare", "--env", "CartPole-v1"]
    command += "--algos tdac --seeds 1 --workers 1 -n 2000000 --eval-freq 500 --out".split()
    processes = {}
    for number in (signal.SIGINT, signal.SIGKILL):
        out = tmp_path_factory.mktemp("out")
        processes[number] = subprocess.Popen(
            [*command, str(out)], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    yield processes
    for process in processes.values():
        with contextlib.suppress(ProcessLookupError):  # where the test passes none is left
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.serial
@pytest.mark.parametrize(("ended_by", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_child_outlives_its_parent(
    parents: dict[int, subprocess.Popen[str]], ended_by: signal.Signals, status: int
) -> None:
    process = parents[ended_by]
    assert isinstance(process.args, list)
    evaluations = Path(process.args[-1]) / "tdac" / "CartPole-v1_1" / "evaluations.jsonl"
    deadline = time.monotonic() + 60
    while not evaluations.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    if ended_by == signal.SIGINT:  # which reaches all processes of a terminal
        os.killpg(process.pid, ended_by)
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert errors == ("sb3-tdac compare: error: interrupted\n" if status > 0 else "")
    size = evaluations.stat().st_size
    time.sleep(1)
    assert evaluations.stat().st_size == size > 0
