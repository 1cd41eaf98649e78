"""Several processes search hyperparameters in one study, whatever happens to them."""

import argparse
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from helpers import postgres
from optuna.trial import FrozenTrial, TrialState
from rl_zoo3.exp_manager import ExperimentManager

from sb3_tdac import TDAC
from sb3_tdac.zoo import register
from sb3_tdac.zoo.cli import main
from sb3_tdac.zoo.study import ERROR, OWNER, RETRIES, opened
from sb3_tdac.zoo.worker import SurplusTrial, SweepWorker

ENV = "Pendulum-v1"
SMALL = f"--env {ENV} -n 200 --n-evaluations 2 --eval-episodes 1".split()
SWEEP = ["sweep", *SMALL]
LONG = ["-n", "50000"]  # a trial still runs when the watch has seen it


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    optuna.logging.set_verbosity(optuna.logging.INFO)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL's programs are not installed")
    with postgres.server() as url:
        yield url


def trials_of(storage: str, study: str = ENV) -> list[FrozenTrial]:
    with opened(storage) as open_storage:
        return optuna.load_study(study_name=study, storage=open_storage).trials


def when_a_trial_runs(storage: str, act: Callable[[FrozenTrial], None]) -> threading.Thread:
    """Act on the first trial that has drawn its last hyperparameter."""

    def watch() -> None:
        while not act_on_first():
            time.sleep(0.2)

    def act_on_first() -> bool:
        try:
            trials = trials_of(storage)
        except KeyError:  # the study is not there yet
            return False
        for trial in trials:
            if trial.state == TrialState.RUNNING and "std_upper" in trial.params:
                act(trial)
                return True
        return False

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def assert_finished(trials: list[FrozenTrial], asked: int) -> None:
    states = [trial.state for trial in trials]
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == asked
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def test_trial_of_a_killed_worker_fails_and_is_run_again(folder: Path) -> None:
    storage = f"sqlite:///{folder}/study.db"
    killed = []

    def kill(trial: FrozenTrial) -> None:
        os.kill(int(trial.user_attrs[OWNER].rpartition(":")[2]), signal.SIGKILL)
        killed.append(trial)

    watch = when_a_trial_runs(storage, kill)
    assert main([*SWEEP, *LONG, "--workers", "2", "--n-trials", "4", "--storage", storage]) == 0
    watch.join()
    trials = trials_of(storage)
    assert_finished(trials, 4)
    assert trials[killed[0].number].state == TrialState.FAIL
    (again,) = [trial for trial in trials if trial.user_attrs.get(RETRIES) == 1]
    assert again.params == killed[0].params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)


# Ctrl-C may come between Optuna's opening of its journal and the block that closes it.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_interrupted_sweep_is_resumed_by_the_same_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = f"{folder}/logs/tdac/sweeps/{ENV}/journal.log"
    watch = when_a_trial_runs(journal, lambda _: os.kill(os.getpid(), signal.SIGINT))
    command = [*SWEEP, *LONG, "--workers", "2", "--n-trials", "3"]
    assert main(command) == 130
    watch.join()
    assert capsys.readouterr().err == "sb3-tdac sweep: error: interrupted\n"
    states = [trial.state for trial in trials_of(journal)]
    assert TrialState.RUNNING not in states and TrialState.FAIL in states

    assert main([*command, "--workers", "1"]) == 0
    assert_finished(trials_of(journal), 3)
    best = Path(journal).with_name("best.yml")
    assert best.read_text() in capsys.readouterr().out
    assert main(["train", "--env", ENV, "-conf", str(best), "--eval-freq", "-1"]) == 0
    model = TDAC.load(f"logs/tdac/{ENV}_1/{ENV}.zip")
    entry = yaml.safe_load(best.read_text())[ENV]
    assert (model.gamma, model.n_steps) == (entry["gamma"], entry["n_steps"])
    assert str(model.policy_kwargs["std_bounds"][0]) in entry["policy_kwargs"]


def test_two_machines_share_a_study_in_postgresql(folder: Path, postgres_url: str) -> None:
    # Long enough trials that the second machine comes in time for some.
    command = [*SWEEP, "-n", "20000", "--n-trials", "6", "--storage", postgres_url]
    other = [sys.executable, "-m", "sb3_tdac.zoo", *command]
    with subprocess.Popen(other, stdout=subprocess.PIPE, text=True) as process:
        when_a_trial_runs(postgres_url, lambda _: None).join()
        assert main(command) == 0
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "Written to" in output
    trials = trials_of(postgres_url)
    assert_finished(trials, 6)
    assert len({trial.user_attrs[OWNER] for trial in trials}) == 2
    # A worker that came too late gives its trial back before it draws.
    drawn = [trial.params["learning_rate"] for trial in trials if trial.state != TrialState.FAIL]
    assert len(set(drawn)) == len(drawn) == 6


def test_sweep_without_any_result_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["-params", "policy:'CnnPolicy'"]
    assert main([*SWEEP, "--n-trials", "2", *wrong]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"sb3-tdac sweep: error: no trial of study '{ENV}' gave a result: "
        "policy must be 'MlpPolicy': 'CnnPolicy' is for images"
    )
    states = [trial.state for trial in trials_of(f"logs/tdac/sweeps/{ENV}/journal.log")]
    assert states == [TrialState.FAIL] * 2


def test_sweep_whose_trials_were_all_pruned_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = f"logs/tdac/sweeps/{ENV}/journal.log"
    with opened(journal) as storage:
        study = optuna.create_study(study_name=ENV, storage=storage, direction="maximize")
        study.set_user_attr("algo", "tdac")
        study.set_user_attr("env", ENV)
        study.tell(study.ask(), state=TrialState.PRUNED)
    assert main([*SWEEP, "--n-trials", "1"]) == 1
    assert capsys.readouterr().err == (
        f"sb3-tdac sweep: error: no trial of study '{ENV}' gave a result: all were pruned\n"
    )


@pytest.fixture
def worker(folder: Path) -> SweepWorker:
    """One of a sweep that asks for two trials."""
    register()
    return SweepWorker(argparse.Namespace(), "tdac", ENV, str(folder), n_trials=2)


def result_of_the_zoo(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    def objective(self: ExperimentManager, trial: optuna.Trial) -> float:
        if isinstance(result, Exception):
            raise result
        return float(result)

    monkeypatch.setattr(ExperimentManager, "objective", objective)


def test_worker_that_came_too_late_gives_its_trial_back(
    worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    result_of_the_zoo(monkeypatch, 1.0)
    study = optuna.create_study()
    study.tell(study.ask(), state=TrialState.FAIL)  # void: it takes nobody's place
    trials = [study.ask() for _ in range(3)]
    assert worker.objective(trials[0]) == worker.objective(trials[1]) == 1.0
    with pytest.raises(SurplusTrial):
        worker.objective(trials[2])


@pytest.mark.parametrize("result", [math.nan, -math.inf, RuntimeError("no memory")])
def test_trial_that_fails_by_itself_says_why(
    worker: SweepWorker, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    result_of_the_zoo(monkeypatch, result)
    study = optuna.create_study()
    trial = study.ask()
    reason = "no memory" if isinstance(result, Exception) else f"the mean return is {result}"
    with pytest.raises((ValueError, RuntimeError), match=reason):
        worker.objective(trial)
    assert trial.user_attrs[ERROR] == reason


def test_study_of_another_algorithm_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{folder}/study.db"
    with opened(storage) as open_storage:
        study = optuna.create_study(study_name=ENV, storage=open_storage, direction="maximize")
        study.set_user_attr("algo", "a2c")
        study.set_user_attr("env", ENV)
    assert main([*SWEEP, "--storage", storage]) == 1
    assert capsys.readouterr().err == (
        f"sb3-tdac sweep: error: study '{ENV}' is one of a2c on {ENV}, not of tdac on {ENV}: "
        "choose another --study-name\n"
    )


def test_storage_out_of_reach_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP, "--storage", "postgresql://me:secret@127.0.0.1:1/x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "storage postgresql://me:***@127.0.0.1:1/x failed: connection" in line
