"""The trials of a study that several workers share: owners, retries and counting.

A trial belongs to the worker that its user attribute names. It is *void* if it failed because
its worker ended; every other trial counts towards the number of trials that the user asked for.
"""

import datetime
import os
import socket
from collections.abc import Collection, Iterable

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

#: User attributes of a trial: its worker, why it failed, how often it was started again.
OWNER, ERROR, RETRIES = "worker", "error", "retries"
#: How often a trial is started again after its worker died; a third death is the trial's fault.
MAX_RETRIES = 2
#: Seconds until a running trial without an owner counts as abandoned; workers sign at once.
ORPHAN_AGE = 60


def owner(pid: int | None) -> str:
    """Name a process of this machine, as its trials do."""
    return f"{socket.gethostname()}:{pid}"


def is_dead(name: str) -> bool:
    """Tell whether a worker of this machine has ended.

    :param name: owner of a trial
    :return: False if it is alive, or belongs to another machine
    """
    host, _, pid = name.rpartition(":")
    if host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def is_void(trial: FrozenTrial) -> bool:
    """Tell whether a trial failed with its worker, so that another one may take its place."""
    attributes = trial.user_attrs
    forgiven = ERROR not in attributes and attributes.get(RETRIES, 0) < MAX_RETRIES
    return trial.state == TrialState.FAIL and forgiven


def spent(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Select the finished trials that are not void."""
    return [trial for trial in trials if trial.state.is_finished() and not is_void(trial)]


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the hyperparameters of a trial again, unless it has killed too many workers.

    Optuna's own callback would copy the dead owner with the other user attributes.

    :param trial: trial of a dead worker
    """
    retries = trial.user_attrs.get(RETRIES, 0)
    if trial.params and retries < MAX_RETRIES:
        study.enqueue_trial(trial.params, user_attrs={RETRIES: retries + 1})


def fail_orphans(study: optuna.Study, ended: Collection[str] = (), again: bool = True) -> None:
    """Mark the running trials of dead workers as failed.

    Optuna finds them by heartbeats, which journal files do not have, after minutes.

    :param ended: owners that are known to have ended; others are looked for
    :param again: queue them again
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        name = trial.user_attrs.get(OWNER)
        if name is None:
            assert trial.datetime_start is not None
            age = datetime.datetime.now() - trial.datetime_start
            orphaned = age.total_seconds() > ORPHAN_AGE
        else:
            orphaned = name in ended or is_dead(name)
        if orphaned:
            if again:  # first, or a worker may draw a new trial in its place
                retry(study, trial)
            fail(study, trial)


def fail(study: optuna.Study, trial: FrozenTrial) -> None:
    """Mark an unfinished trial as failed, unless another process has done so.

    ``Study.tell`` refuses trials that wait to be run.
    """
    try:
        study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
    except UpdateFinishedTrialError:
        pass
