"""Storages of Optuna studies: a journal file or a database."""

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from sqlalchemy.exc import DatabaseError

#: Takes a study, and one of its trials that has sent no heartbeat for too long.
OnStale = Callable[[optuna.Study, FrozenTrial], None]
#: Seconds between two heartbeats in a database, and until a trial without them counts as stale.
HEARTBEAT, GRACE = 30, 120


@contextmanager
def opened(url: str, on_stale: OnStale | None = None) -> Iterator[BaseStorage]:
    """Open a storage of studies, and close its connections afterwards.

    :param url: a journal file (``*.log``) or a database URL (``sqlite:///``, ``postgresql://``)
    :param on_stale: called for each stale trial of a database, after it was marked as failed
    :raises ValueError: if it cannot be reached
    """
    if url.endswith(".log"):
        Path(url).parent.mkdir(parents=True, exist_ok=True)
        yield JournalStorage(JournalFileBackend(url))
        return
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    storage = _connect(url, on_stale)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(url: str, on_stale: OnStale | None, attempts: int = 3) -> RDBStorage:
    sqlite = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                re.sub("^postgres://", "postgresql://", url),
                engine_kwargs=sqlite,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=on_stale,
            )
    except DatabaseError as error:  # another machine may be creating the tables
        if attempts == 1:
            reason = str(error.orig).strip().splitlines()[0]
            shown = re.sub(r":[^:@/]*@", ":***@", url)  # without the password
            raise ValueError(f"storage {shown} failed: {reason}") from error
        time.sleep(0.5)
    return _connect(url, on_stale, attempts - 1)
