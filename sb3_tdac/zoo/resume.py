"""``sb3-tdac train --resume RUN``: go on with a run that was interrupted, to its planned end."""

import argparse
import json
import math
import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from rl_zoo3 import exp_manager
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_tdac.persistence import files
from sb3_tdac.zoo import ALGO
from sb3_tdac.zoo.manager import StandIn, ZooManager


def arguments(run: Path) -> Namespace:
    """What the run was started with.

    :param run: folder of the run
    :return: rl_zoo3's arguments
    :raises ValueError: if it is no run of TDAC
    """
    paths = [*run.glob("*/args.yml")]
    if len(paths) != 1:
        raise ValueError(f"{run} is no run of sb3-tdac train: it has no folder with an args.yml")
    found = Namespace(**yaml.load(paths[0].read_text(), yaml.UnsafeLoader))  # as rl_zoo3 does
    if found.algo != ALGO:
        raise ValueError(f"{run} is a run of {found.algo}: only those of {ALGO} can be resumed")
    found.trained_agent = ""
    return found


def statistics_of(model: Path) -> Path:
    """The file of the normalization statistics that a model was trained with.

    :param model: file of a model in its run's folder
    """
    if model.stem.startswith("rl_model_"):
        return model.with_name(f"{model.stem}.pkl".replace("model_", "model_vecnormalize_"))
    (config,) = model.parent.glob("*/config.yml")
    return config.with_name("vecnormalize.pkl")


def check_statistics(path: Path, steps: int) -> None:
    """Refuse statistics that are not those of a model: rl_zoo3 writes them after it, and in place.

    :param path: their file
    :param steps: that the model was trained for
    :raises ValueError: if they are missing, damaged, or an earlier model's
    """
    try:
        seen = pickle.loads(path.read_bytes()).ret_rms.count
    except Exception as error:  # whatever pickle makes of damaged bytes
        raise ValueError(f"{path} is missing or damaged ({type(error).__name__})") from error
    if seen < steps:
        raise ValueError(f"{path} is an earlier model's: it has seen {seen:.0f} of {steps} steps")


def newest(run: Path) -> tuple[Path, dict[str, Any]]:
    """The model that was trained longest, of those that are whole.

    :param run: folder of the run
    :return: its file and its plain settings
    :raises ValueError: if there is none, or it was trained to the end
    """
    (config,) = run.glob("*/config.yml")
    is_normalized = yaml.load(config.read_text(), yaml.UnsafeLoader).get("normalize")
    found = []
    for path in run.glob("*.zip"):
        try:
            with path.open("rb") as file:
                settings = files.settings(file, path)
            if is_normalized:
                check_statistics(statistics_of(path), settings["num_timesteps"])
            found.append((path, settings))
        except ValueError as error:
            warnings.warn(f"{path.name} is not resumed from: {error}", stacklevel=2)
    if not found:
        raise ValueError(f"there is no whole model in {run}: start anew, with --save-freq")
    path, settings = max(found, key=lambda pair: pair[1]["num_timesteps"])
    steps, planned = settings["num_timesteps"], settings["_total_timesteps"]
    if steps >= planned:
        raise ValueError(f"{run} is complete: {steps} of {planned} steps")
    return path, settings


def cut_monitor(path: Path, time: float) -> None:
    """Remove episodes that ended after a time: they are played again.

    :param path: of a ``monitor.csv``
    :param time: in seconds since 1970
    """
    lines = path.read_text().splitlines(keepends=True)
    if len(lines) < 2:
        path.unlink()  # it was killed before its first episode
        return
    start, columns = json.loads(lines[0][1:])["t_start"], lines[1].strip().split(",")
    at = columns.index("t")
    kept = [
        line
        for line in lines[2:]
        if line.endswith("\n") and start + float(line.split(",")[at]) <= time
    ]
    files.write(path, "".join([*lines[:2], *kept]).encode())


def restore_evaluations(callback: EvalCallback, steps: int) -> None:
    """Give a callback the evaluations that the run has behind it.

    :param callback: new, with the file of the evaluations
    :param steps: those after these are forgotten, and made again
    """
    path = Path(f"{callback.log_path}.npz")
    if not path.is_file():
        return
    try:
        with np.load(path) as stored:
            found = {name: stored[name] for name in stored}
            before = found["timesteps"] <= steps
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path} is damaged, evaluations start anew: {error}", stacklevel=2)
        return
    results = found["results"][before]
    callback.evaluations_timesteps = found["timesteps"][before].tolist()
    callback.evaluations_results = results.tolist()
    callback.evaluations_length = found["ep_lengths"][before].tolist()
    if "successes" in found:
        callback.evaluations_successes = found["successes"][before].tolist()
    if len(results):
        callback.best_mean_reward = float(results.mean(axis=1).max())


class Remainder(StandIn):
    """Calls ``learn`` with the steps that are left of a run, not with all of them."""

    def learn(self, _: int, **options: Any) -> None:
        """Go on to the end.

        :param options: of ``TDAC.learn``
        """
        self._model.resume(**options)


class ResumingManager(ZooManager):
    """The manager of a run that was interrupted.

    :param run: its folder
    :param checkpoint: file to go on from
    :param settings: plain settings of that file
    :param args: of rl_zoo3's manager
    :param options: likewise
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

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Those of the run, whatever its configuration file says now."""
        text = Path(self.params_path, "config.yml").read_text()
        found = yaml.load(text, yaml.UnsafeLoader)  # as rl_zoo3 does
        return dict(found), found

    def create_callbacks(self) -> None:
        """With the evaluations so far, and due when they would have been."""
        super().create_callbacks()
        for callback in self.callbacks:
            callback.n_calls = self.steps // self.n_envs
            if isinstance(callback, EvalCallback):
                restore_evaluations(callback, self.steps)

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """With logs and seeds that follow those of the environments that the run had."""
        first = 0 if eval_env else self.first_rank
        make: Callable[..., VecEnv] = partial(make_vec_env, start_index=first)
        with mock.patch.object(exp_manager, "make_vec_env", make):
            return super().create_envs(n_envs, eval_env, no_log)

    def _maybe_normalize(self, env: VecEnv, eval_env: bool) -> VecEnv:
        """With the statistics that belong to the checkpoint."""
        if not self.normalize:
            return env
        env = VecNormalize.load(str(statistics_of(Path(self.trained_agent))), env)
        if eval_env:
            env.training = env.norm_reward = False
        return env

    def setup_experiment(self) -> Any:
        """Load the model; its environments get seeds that they have not had."""
        model, hyperparams = super().setup_experiment()  # type: ignore[misc]
        assert model.env is not None
        model.env.seed((self.seed + self.first_rank) % 2**32)
        return model, hyperparams

    def learn(self, model: Any) -> None:
        """To the end that was planned.

        :param model: to train
        """
        super().learn(Remainder(model))

    def _save_config(self, saved_hyperparams: dict[str, Any]) -> None:
        """The run keeps its own."""


def resume(run: Path) -> None:
    """Go on with a run that was interrupted, to its planned end.

    :param run: its folder
    :raises ValueError: if it is none, or complete
    """
    from rl_zoo3 import train

    found, (checkpoint, settings) = arguments(run), newest(run)
    for left in run.rglob(".*.tmp"):  # of a process that was killed while it saved
        left.unlink()
    print(f"Going on from {checkpoint}")
    manager = partial(ResumingManager, run=run, checkpoint=checkpoint, settings=settings)
    with (
        mock.patch.object(train, "ExperimentManager", manager),
        mock.patch.object(argparse.ArgumentParser, "parse_args", return_value=found),
    ):
        train.train()
