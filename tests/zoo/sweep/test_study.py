"""Trials have owners; a trial of a dead worker is run again, and counts only at last."""

import datetime
import os
import socket
import subprocess
import sys

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from sb3_tdac.zoo.sweep.study import (
    ERROR,
    MAX_RETRIES,
    ORPHAN_AGE,
    OWNER,
    RETRIES,
    fail_orphans,
    is_dead,
    owner,
    spent,
)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def start(study: optuna.Study, name: str | None) -> optuna.Trial:
    """A running trial with one parameter."""
    trial = study.ask()
    if name is not None:
        trial.set_user_attr(OWNER, name)
    trial.suggest_float("x", 0.0, 1.0)
    return trial


def ended_process() -> str:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return owner(process.pid)


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def test_an_ended_process_is_dead_and_others_are_not() -> None:
    assert is_dead(ended_process())
    assert not is_dead(owner(os.getpid()))
    assert not is_dead(f"{socket.gethostname()}:1")  # of another user, perhaps
    assert not is_dead(f"elsewhere:{os.getpid()}")


def test_trial_of_a_dead_worker_is_queued_again_with_what_it_had_drawn(
    study: optuna.Study,
) -> None:
    dead, alive = start(study, ended_process()), start(study, owner(os.getpid()))
    fail_orphans(study)
    assert states(study) == [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]
    again = study.ask()
    assert again.number == 2
    assert again.suggest_float("x", 0.0, 1.0) == dead.params["x"]
    assert OWNER not in again.user_attrs  # so nobody takes it for the dead worker's
    assert alive.number == 1


def test_interrupted_trial_is_not_queued(study: optuna.Study) -> None:
    start(study, "elsewhere:1")
    fail_orphans(study, ended=["elsewhere:1"], again=False)
    assert states(study) == [TrialState.FAIL]


def test_trial_without_an_owner_is_an_orphan_after_a_while(study: optuna.Study) -> None:
    start(study, None)
    fail_orphans(study)
    assert states(study) == [TrialState.RUNNING]
    age = datetime.timedelta(seconds=ORPHAN_AGE + 1)
    old = optuna.create_trial(state=TrialState.RUNNING)
    old.datetime_start = datetime.datetime.now() - age
    study.add_trial(old)
    fail_orphans(study)
    assert states(study) == [TrialState.RUNNING, TrialState.FAIL]


def test_a_trial_that_keeps_killing_workers_counts_at_last(study: optuna.Study) -> None:
    for death in range(MAX_RETRIES + 1):
        assert spent(study.trials) == []
        trial = start(study, ended_process())
        assert trial.user_attrs.get(RETRIES, 0) == death
        fail_orphans(study)
    assert states(study) == [TrialState.FAIL] * (MAX_RETRIES + 1)
    assert [trial.number for trial in spent(study.trials)] == [MAX_RETRIES]


def test_failed_trials_count_where_they_are_to_blame() -> None:
    def of(state: TrialState, **attributes: str) -> FrozenTrial:
        value = 0.0 if state == TrialState.COMPLETE else None
        return optuna.create_trial(state=state, value=value, user_attrs=attributes)

    trials = [
        of(TrialState.COMPLETE),
        of(TrialState.PRUNED),
        of(TrialState.FAIL, **{ERROR: "out of memory"}),
        of(TrialState.FAIL),
        of(TrialState.RUNNING),
        of(TrialState.WAITING),
    ]
    assert spent(trials) == trials[:3]
