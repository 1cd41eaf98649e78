"""A worker runs as many trials as are needed, and notes why a trial failed."""

import argparse
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rl_zoo3.exp_manager import ExperimentManager

from sb3_tdac.zoo import register
from sb3_tdac.zoo.sweep.study import ERROR
from sb3_tdac.zoo.sweep.worker import SurplusTrial, SweepWorker


@pytest.fixture
def worker(tmp_path: Path) -> SweepWorker:
    """A worker of a sweep that asks for two trials."""
    register()
    return SweepWorker(argparse.Namespace(), "tdac", "Pendulum-v1", str(tmp_path), n_trials=2)


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
