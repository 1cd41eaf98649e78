"""``sb3-tdac train --resume RUN``: continues an interrupted run to its planned end."""

import argparse
import math
import re
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rl_zoo3 import exp_manager
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.zoo import ALGO
from sb3_tdac.zoo.hyperparams import Hyperparams
from sb3_tdac.zoo.manager import ZooManager
from sb3_tdac.zoo.rl_zoo3_calls import train_with
from sb3_tdac.zoo.rl_zoo3_fixes import replaced
from sb3_tdac.zoo.run_files import cut_monitor, newest_model, restore_evaluations, statistics_of


class ResumingManager(ZooManager):
    """Manages a run that was interrupted.

    :param checkpoint: file to continue from
    :param settings: plain settings of that file
    :param args: of rl_zoo3's manager
    :param options: of rl_zoo3's manager
    """

    def __init__(
        self, *args: Any, run: Path, checkpoint: Path, settings: dict[str, Any], **options: Any
    ):
        super().__init__(*args, **options)
        self.run, self.steps = run, settings["num_timesteps"]
        self.save_path, self.params_path = str(run), str(run / self.env_name)
        self.trained_agent, self.continue_training = str(checkpoint), True
        monitors = [*run.glob("*.monitor.csv")]
        ranks = [int(match[0]) for path in monitors if (match := re.match(r"\d+", path.name))]
        self.first_rank = max(ranks, default=-1) + 1
        for path in monitors:
            cut_monitor(path, settings.get("_origin", {}).get("time", math.inf))

    def read_hyperparameters(self) -> tuple[Hyperparams, Hyperparams]:
        """Read the hyperparameters that the run saved; its configuration file may have changed."""
        text = Path(self.params_path, "config.yml").read_text()
        found = yaml.load(text, yaml.UnsafeLoader)  # as rl_zoo3 does
        return dict(found), found

    def create_callbacks(self) -> None:
        """Create callbacks that know the evaluations so far, and are due at the planned steps."""
        super().create_callbacks()
        for callback in self.callbacks:
            callback.n_calls = self.steps // self.n_envs
            if isinstance(callback, EvalCallback):
                restore_evaluations(callback, self.steps)

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """Create environments with new log files and new seeds, after those of the first part."""
        first = 0 if eval_env else self.first_rank
        make: Callable[..., VecEnv] = partial(make_vec_env, start_index=first)
        # rl_zoo3 passes no start index, and its files would overwrite those of the first part.
        with replaced(exp_manager, "make_vec_env", make):
            return super().create_envs(n_envs, eval_env, no_log)

    def _maybe_normalize(self, env: VecEnv, eval_env: bool) -> VecEnv:
        """Load the normalization statistics that belong to the checkpoint."""
        if not self.normalize:
            return env
        env = VecNormalize.load(str(statistics_of(Path(self.trained_agent))), env)
        if eval_env:
            env.training = env.norm_reward = False
        return env

    def setup_experiment(self) -> tuple[BaseAlgorithm, Hyperparams] | None:
        """Load the model, and give its environments seeds that the run has not used."""
        results = super().setup_experiment()
        assert results is not None and results[0].env is not None
        results[0].env.seed((self.seed + self.first_rank) % 2**32)
        return results

    def learn_method(self, model: BaseAlgorithm) -> Callable[..., object]:
        """Choose ``resume``, which trains for the steps that are left."""
        assert isinstance(model, TDAC)
        return lambda n_timesteps, **options: model.resume(**options)

    def _save_config(self, saved_hyperparams: Hyperparams) -> None:
        """Keep the files that the run has."""


def resume(run: Path) -> None:
    """Continue an interrupted run to its planned end.

    :raises ValueError: if it is no run of TDAC, or it is complete
    """
    arguments = read_arguments(run)
    checkpoint, settings = newest_model(run)
    for left in run.rglob(".*.tmp"):  # of a process that was killed while it saved
        left.unlink()
    print(f"Continuing from {checkpoint}")
    manager = partial(ResumingManager, run=run, checkpoint=checkpoint, settings=settings)
    # rl_zoo3 takes options from a command line only, and classes have no form there.
    with replaced(argparse.ArgumentParser, "parse_args", lambda parser: arguments):
        train_with(manager, [])


def read_arguments(run: Path) -> Namespace:
    """Read the options that a run was started with.

    :param run: folder of the run
    :return: rl_zoo3's parsed options
    :raises ValueError: if it is no run of TDAC
    """
    paths = [*run.glob("*/args.yml")]
    if len(paths) != 1:
        raise ValueError(f"{run} is no run of sb3-tdac train: it has no folder with an args.yml")
    found = Namespace(**yaml.load(paths[0].read_text(), yaml.UnsafeLoader))  # as rl_zoo3 does
    if found.algo != ALGO:
        raise ValueError(f"{run} is a run of {found.algo}: only runs of {ALGO} can be resumed")
    found.trained_agent = ""
    return found
