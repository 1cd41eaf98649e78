"""One process of a sweep: rl_zoo3's optimisation, one trial after the other."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from sb3_tdac.zoo.commands import optimize
from sb3_tdac.zoo.manager import ZooManager
from sb3_tdac.zoo.study import ERROR, OWNER, is_void, opened, spent, this_process

#: Seconds between two looks at the study when there is nothing to do.
PAUSE = 0.5


class SweepManager(ZooManager):
    """What parent and workers of a sweep share: they train nothing, so they write no run."""

    def __init__(self, *more: Any, **options: Any):
        super().__init__(*more, **options)
        self.asked = self.max_total_trials or self.n_trials

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration, which the report repeats."""
        hyperparams, saved = super().read_hyperparameters()
        self.configuration = dict(saved)
        return hyperparams, saved

    def create_log_folder(self) -> None:
        """None: there is no run."""

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> Any:
        """Environments that log nothing."""
        return super().create_envs(n_envs, eval_env, no_log=True)


class SurplusTrial(Exception):
    """Another worker was quicker: there are as many trials as were asked for."""


class SweepWorker(SweepManager):
    """Runs trials of a study until as many as were asked for are finished."""

    def hyperparameters_optimization(self) -> None:
        """Run trials; wait while others run the last ones, which may have to be run again."""
        assert self.storage is not None
        with opened(self.storage) as storage:
            study = optuna.load_study(
                study_name=self.study_name,
                storage=storage,
                sampler=self._create_sampler(self.sampler),
                pruner=self._create_pruner(self.pruner),
            )
            self._run_trials(study)

    def _run_trials(self, study: optuna.Study) -> None:
        parent = multiprocessing.parent_process()
        while parent is None or parent.is_alive():
            trials = study.get_trials(deepcopy=False)
            running = sum(trial.state == TrialState.RUNNING for trial in trials)
            if len(spent(trials)) >= self.asked:
                return
            if len(spent(trials)) + running < self.asked:
                study.optimize(self.objective, n_trials=1, catch=(Exception,), gc_after_trial=True)
            else:
                time.sleep(PAUSE)

    def objective(self, trial: optuna.Trial) -> float:
        """The mean return of one trial, which bears its worker's name.

        :param trial: trial
        :return: mean return of its last evaluation
        :raises SurplusTrial: if there are enough without it
        """
        trial.set_user_attr(OWNER, this_process())
        # Void trials stay void, so of the others at most ``asked`` can pass.
        trials = trial.study.get_trials(deepcopy=False)
        if sum(not is_void(other) for other in trials[: trial.number]) >= self.asked:
            raise SurplusTrial
        try:
            value: float = super().objective(trial)
            if not math.isfinite(value):
                raise ValueError(f"the mean return is {value}")
        except optuna.TrialPruned as pruned:
            if pruned.__cause__ is not None:
                trial.set_user_attr(ERROR, str(pruned.__cause__))
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, str(error) or type(error).__name__)
            raise
        return value


def prepare(log: str) -> None:
    """Make this process a worker, which its parent alone can end.

    :param log: file for what it prints
    """
    with open(log, "a", buffering=1) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # Ctrl-C reaches all processes of a terminal; the parent ends its workers, one by one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


@contextlib.contextmanager
def on_signal(number: int, handler: Any) -> Iterator[None]:
    """What a signal does, for a while.

    :param number: of the signal
    :param handler: as of ``signal.signal``
    """
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def sigterm_interrupts() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM, a batch system's, end the parent as Ctrl-C does."""
    return on_signal(signal.SIGTERM, signal.default_int_handler)


def work(options: list[str], log: str) -> None:
    """Run a worker in this process, which was started for it.

    :param options: of rl_zoo3's ``train``
    :param log: file for what it prints
    """
    prepare(log)
    # Training takes this as the end of its trial
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        optimize(options, SweepWorker)
    except KeyboardInterrupt:
        print("ended by the parent")
