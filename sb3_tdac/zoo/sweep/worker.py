"""A worker process of a sweep: it runs rl_zoo3's trials, one after the other."""

import math
import multiprocessing
import os
import signal
import time
from typing import Any

import optuna
from optuna.trial import TrialState
from stable_baselines3.common.vec_env import VecEnv

from sb3_tdac.zoo.hyperparams import Hyperparams
from sb3_tdac.zoo.manager import ZooManager
from sb3_tdac.zoo.rl_zoo3_calls import train_with
from sb3_tdac.zoo.storage import opened
from sb3_tdac.zoo.sweep.study import ERROR, OWNER, is_void, owner, retry, spent
from sb3_tdac.zoo.workers import PAUSE, become_worker


class SweepManager(ZooManager):
    """A manager that writes no run; parent and workers of a sweep derive from it."""

    def __init__(self, *more: Any, **options: Any):
        super().__init__(*more, **options)
        self.asked = self.max_total_trials or self.n_trials

    def read_hyperparameters(self) -> tuple[Hyperparams, Hyperparams]:
        """Read the configuration, and keep it for the report."""
        hyperparams, saved = super().read_hyperparameters()
        self.configuration = dict(saved)
        return hyperparams, saved

    def create_log_folder(self) -> None:
        """Create no folder: there is no run."""

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """Create environments that write no log."""
        return super().create_envs(n_envs, eval_env, no_log=True)


class SurplusTrial(Exception):
    """A trial is not needed: other workers have started as many as the user asked for."""


class SweepWorker(SweepManager):
    """Runs trials of a study until enough of them are finished."""

    def hyperparameters_optimization(self) -> None:
        """Run trials; while others run the last ones, wait: they may have to be run again."""
        assert self.storage is not None
        with opened(self.storage, on_stale=retry) as storage:
            study = optuna.load_study(
                study_name=self.study_name,
                storage=storage,
                sampler=self._create_sampler(self.sampler),
                pruner=self._create_pruner(self.pruner),
            )
            self._run_trials(study)

    def _run_trials(self, study: optuna.Study) -> None:
        """Start trials one by one: with Optuna's MaxTrialsCallback, workers start too many."""
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
        """Run one trial as its owner, and note why it failed if it did.

        :return: mean return of its last evaluation
        :raises SurplusTrial: if there are enough trials without it
        """
        trial.set_user_attr(OWNER, owner(os.getpid()))
        # Void trials stay void, so of the others at most ``asked`` can pass.
        trials = trial.study.get_trials(deepcopy=False)
        if sum(not is_void(other) for other in trials[: trial.number]) >= self.asked:
            raise SurplusTrial
        try:
            value = super().objective(trial)
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


def work(options: list[str], log: str) -> None:
    """Run trials in this process, which was started for it.

    :param options: of rl_zoo3's ``train``
    :param log: file of the output
    """
    become_worker(log)
    # SIGTERM ends a trial as an error does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        train_with(SweepWorker, [*options, "-optimize"])
    except KeyboardInterrupt:
        print("ended by the parent")
