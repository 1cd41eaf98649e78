"""Optuna studies that several workers share: where they are, and whose trials are whose.

A trial belongs to the worker that its user attribute names. It is *void* if it failed because
its worker ended; every other trial counts towards the number that was asked for.
"""

import datetime
import os
import re
import socket
import time
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DatabaseError

#: User attributes of a trial: its worker, why it failed, how often it was started again.
OWNER, ERROR, RETRIES = "worker", "error", "retries"
#: How often a trial is started again after its worker died; a third death is the trial's fault.
MAX_RETRIES = 2
#: Seconds after which a running trial without an owner has none: it is named in its first one.
ORPHAN_AGE = 60
#: Seconds between two signs of life in a database, and until their absence counts as a death.
HEARTBEAT, GRACE = 30, 120


@contextmanager
def opened(url: str) -> Iterator[BaseStorage]:
    """The storage of studies, and its connections closed afterwards.

    :param url: a journal file (``*.log``) or a database URL (``sqlite:///``, ``postgresql://``)
    :return: storage
    :raises ValueError: if it cannot be reached
    """
    if url.endswith(".log"):
        Path(url).parent.mkdir(parents=True, exist_ok=True)
        yield JournalStorage(JournalFileBackend(url))
        return
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    storage = _connect(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(url: str) -> RDBStorage:
    for attempt in range(3):
        try:
            return _open_database(url)
        except DatabaseError as error:  # perhaps another machine creates the tables just now
            if attempt == 2:
                reason = str(error.orig).strip().splitlines()[0]
                raise ValueError(f"storage {_hide_password(url)} failed: {reason}") from error
            time.sleep(0.5)
    raise AssertionError("unreachable")


def _open_database(url: str) -> RDBStorage:
    # SQLAlchemy before 2.1 takes psycopg2 for the bare name.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    sqlite = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url,
            engine_kwargs=sqlite,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=retry,
        )


def _hide_password(url: str) -> str:
    return re.sub(r":[^:@/]*@", ":***@", url)


def this_process() -> str:
    """The owner that a worker writes into its trials."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_dead(owner: str) -> bool:
    """Whether a worker of this machine has ended.

    :param owner: of a trial
    :return: False if it lives, or is of another machine
    """
    host, _, pid = owner.rpartition(":")
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
    """Whether it failed with its worker, and another trial may take its place."""
    attributes = trial.user_attrs
    forgiven = ERROR not in attributes and attributes.get(RETRIES, 0) < MAX_RETRIES
    return trial.state == TrialState.FAIL and forgiven


def spent(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that are finished, and not void."""
    return [trial for trial in trials if trial.state.is_finished() and not is_void(trial)]


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the hyperparameters of a trial whose worker died, unless it keeps killing workers.

    :param study: its study
    :param trial: the trial
    """
    retries = trial.user_attrs.get(RETRIES, 0)
    if trial.params and retries < MAX_RETRIES:
        study.enqueue_trial(trial.params, user_attrs={RETRIES: retries + 1})


def fail_orphans(study: optuna.Study, ended: Collection[str] = (), again: bool = True) -> None:
    """Mark the running trials of dead workers as failed.

    :param study: study
    :param ended: owners that are known to have ended; others are looked for
    :param again: queue them again
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is None:
            assert trial.datetime_start is not None
            age = datetime.datetime.now() - trial.datetime_start
            orphaned = age.total_seconds() > ORPHAN_AGE
        else:
            orphaned = owner in ended or is_dead(owner)
        if orphaned:
            if again:  # before it fails: else a worker may draw a new one in its place
                retry(study, trial)
            fail(study, trial)


def fail(study: optuna.Study, trial: FrozenTrial) -> None:
    """Mark an unfinished trial as failed, unless somebody else has.

    :param study: study
    :param trial: trial
    """
    try:
        study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
    except UpdateFinishedTrialError:
        pass
