"""A worker process of a comparison: it trains one run with rl_zoo3, and evaluates it."""

import multiprocessing
import os
import threading
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_tdac.zoo.compare.evaluation import Evaluation
from sb3_tdac.zoo.compare.runs import ENTRY, LOG, Run
from sb3_tdac.zoo.manager import ZooManager
from sb3_tdac.zoo.rl_zoo3_calls import train_with
from sb3_tdac.zoo.workers import become_worker


class RunManager(ZooManager):
    """Manages the training of one run in its folder.

    :param more: of rl_zoo3's manager
    :param options: of rl_zoo3's manager
    """

    def __init__(self, *more: Any, run: Run, **options: Any):
        super().__init__(*more, **options)
        self.run = run
        self.save_path = str(run.folder)
        self.params_path = f"{self.save_path}/{self.env_name}"

    def create_callbacks(self) -> None:
        """Add our evaluation; the steps of rl_zoo3's depend on the number of environments."""
        super().create_callbacks()
        env = self.create_envs(self.run.settings["eval_episodes"], eval_env=True)
        self.evaluation = Evaluation(self.run, env)
        self.callbacks.append(self.evaluation)

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Save, then evaluate: the last evaluation tells that a run is complete."""
        super().save_trained_model(model)
        self.evaluation.finish(model)


def work(run: Run, packages: list[str]) -> None:
    """Train a run in this process, which was started for it.

    :param packages: modules that register environments
    """
    become_worker(str(run.folder / LOG))
    parent = multiprocessing.parent_process()
    assert isinstance(parent, BaseProcess)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    settings = run.settings
    options = ["--env", run.env, "--algo", settings["algo"], "--seed", str(run.seed)]
    options += ["-n", str(settings["n_timesteps"]), "--eval-freq", "-1", "--num-threads", "1"]
    options += ["-conf", str(run.folder / ENTRY), "-f", str(run.out), "--verbose", "0"]
    options += ["--device", settings["device"]]
    options += ["--gym-packages", *packages] if packages else []
    train_with(partial(RunManager, run=run), options)


def _end_with(parent: BaseProcess) -> None:
    """End this process when its parent has ended: nobody would know of it any more."""
    parent.join()
    os._exit(1)
