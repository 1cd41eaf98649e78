"""Several processes search hyperparameters in one study, whatever happens to them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import yaml
from helpers import postgres
from helpers.held_env import HELD_ENV, HOLD
from optuna.trial import FrozenTrial, TrialState

from sb3_tdac import TDAC
from sb3_tdac.zoo.cli import main
from sb3_tdac.zoo.storage import opened
from sb3_tdac.zoo.sweep.study import OWNER, RETRIES

SWEEP = f"sweep --gym-packages helpers.held_env --env {HELD_ENV}".split()
SWEEP += "-n 160 --n-evaluations 2 --eval-episodes 1".split()
FOLDER = Path("logs") / "tdac" / "sweeps" / HELD_ENV
JOURNAL = str(FOLDER / "journal.log")


@pytest.fixture(autouse=True)
def folder(here: Path) -> Iterator[Path]:
    yield here
    optuna.logging.set_verbosity(optuna.logging.INFO)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL's programs are not installed")
    with postgres.server() as url:
        with opened(url):  # makes the tables; three processes at once would try it again
            pass
        yield url


def trials_of(storage: str) -> list[FrozenTrial]:
    with opened(storage) as open_storage:
        return optuna.load_study(study_name=HELD_ENV, storage=open_storage).trials


def running(storage: str) -> list[FrozenTrial]:
    """The running trials that have drawn their last hyperparameter."""
    try:
        trials = trials_of(storage)
    except KeyError:  # the study is not there yet
        return []
    return [t for t in trials if t.state == TrialState.RUNNING and "std_upper" in t.params]


def when_trials_run(
    storage: str, act: Callable[[list[FrozenTrial]], None], workers: int = 1
) -> threading.Thread:
    """Hold the environments until so many workers run a trial, act, and let them go on."""

    def watch() -> None:
        while len({trial.user_attrs[OWNER] for trial in running(storage)}) < workers:
            time.sleep(0.1)
        act(running(storage))
        HOLD.unlink()

    HOLD.touch()
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

    def kill(trials: list[FrozenTrial]) -> None:
        os.kill(int(trials[0].user_attrs[OWNER].rpartition(":")[2]), signal.SIGKILL)
        killed.append(trials[0])

    watch = when_trials_run(storage, kill)
    assert main([*SWEEP, "--workers", "2", "--n-trials", "4", "--storage", storage]) == 0
    watch.join()
    trials = trials_of(storage)
    assert_finished(trials, 4)
    assert trials[killed[0].number].state == TrialState.FAIL
    (again,) = [trial for trial in trials if trial.user_attrs.get(RETRIES) == 1]
    assert again.params == killed[0].params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)


# Ctrl-C may come between Optuna's opening of its journal and the block that closes it.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.serial
def test_interrupted_sweep_is_resumed_by_the_same_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # both workers: a trial that was made just now has no owner yet, and would stay as running
    watch = when_trials_run(JOURNAL, lambda _: os.kill(os.getpid(), signal.SIGINT), workers=2)
    command = [*SWEEP, "--workers", "2", "--n-trials", "3"]
    assert main(command) == 130
    watch.join()
    assert capsys.readouterr().err == "sb3-tdac sweep: error: interrupted\n"
    states = [trial.state for trial in trials_of(JOURNAL)]
    assert TrialState.RUNNING not in states and TrialState.FAIL in states

    assert main([*command, "--workers", "1"]) == 0
    assert_finished(trials_of(JOURNAL), 3)
    best = FOLDER / "best.yml"
    assert best.read_text() in capsys.readouterr().out
    assert main(["train", "--env", HELD_ENV, "-conf", str(best), "--eval-freq", "-1"]) == 0
    model = TDAC.load(f"logs/tdac/{HELD_ENV}_1/{HELD_ENV}.zip")
    entry = yaml.safe_load(best.read_text())[HELD_ENV]
    assert (model.gamma, model.n_steps) == (entry["gamma"], entry["n_steps"])
    assert str(model.policy_kwargs["std_bounds"][0]) in entry["policy_kwargs"]


def test_two_machines_share_a_study_in_postgresql(folder: Path, postgres_url: str) -> None:
    command = [*SWEEP, "--n-trials", "6", "--storage", postgres_url]
    watch = when_trials_run(postgres_url, lambda _: None, workers=2)
    path = os.pathsep.join(sys.path)  # with the folder of the environment
    with subprocess.Popen(
        [sys.executable, "-m", "sb3_tdac.zoo", *command],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert main(command) == 0
        output, _ = process.communicate(timeout=120)
    watch.join()
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
        f"sb3-tdac sweep: error: no trial of study '{HELD_ENV}' gave a result: "
        "policy must be 'MlpPolicy': 'CnnPolicy' is for images"
    )
    assert [trial.state for trial in trials_of(JOURNAL)] == [TrialState.FAIL] * 2


def new_study(storage: str, algo: str) -> optuna.Study:
    with opened(storage) as open_storage:
        study = optuna.create_study(study_name=HELD_ENV, storage=open_storage, direction="maximize")
        study.set_user_attr("algo", algo)
        study.set_user_attr("env", HELD_ENV)
    return study


def test_sweep_whose_trials_were_all_pruned_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(JOURNAL, "tdac")
    study.tell(study.ask(), state=TrialState.PRUNED)
    assert main([*SWEEP, "--n-trials", "1"]) == 1
    assert capsys.readouterr().err == (
        f"sb3-tdac sweep: error: no trial of study '{HELD_ENV}' gave a result: all were pruned\n"
    )


def test_study_of_another_algorithm_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{folder}/study.db"
    new_study(storage, "a2c")
    assert main([*SWEEP, "--storage", storage]) == 1
    assert capsys.readouterr().err == (
        f"sb3-tdac sweep: error: study '{HELD_ENV}' is one of a2c on {HELD_ENV}, not of tdac on "
        f"{HELD_ENV}: choose another --study-name\n"
    )


def test_storage_out_of_reach_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP, "--storage", "postgresql://me:secret@127.0.0.1:1/x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "storage postgresql://me:***@127.0.0.1:1/x failed: connection" in line
