"""rl_zoo3's experiments, with TDAC's configurations, schedules and clear errors."""

import argparse
import inspect
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import optuna
from rl_zoo3 import exp_manager
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER
from stable_baselines3.common import callbacks
from stable_baselines3.common.vec_env import VecEnv

import sb3_tdac
from sb3_tdac import TDAC
from sb3_tdac.callbacks import CheckpointCallback
from sb3_tdac.diagnostics.subprocesses import forget_replies
from sb3_tdac.zoo import ALGO
from sb3_tdac.zoo.study import opened

SCHEDULES = ("learning_rate", "critic_learning_rate", "ent_coef")
#: Keys of a configuration that rl_zoo3 takes for itself.
ZOO_KEYS = {
    *("n_envs", "n_timesteps", "normalize", "frame_stack", "callback"),
    *("env_wrapper", "vec_env_wrapper", "env_kwargs", "monitor_kwargs"),
}


def configurations() -> Path:
    """The folder of TDAC's configurations, in the installed package or beside its source."""
    package = Path(sb3_tdac.__file__).parent
    installed = package / "zoo_configs"
    return installed if installed.is_dir() else package.parent / "zoo_configs"


def schedule(value: Any) -> Any:
    """A number from ``"constant_7e-4"`` or ``"7e-4"``, which YAML takes for a word.

    :param value: of a configuration
    :return: number, or the value as it is

    >>> schedule("constant_7e-4"), schedule("lin_7e-4")
    (0.0007, 'lin_7e-4')
    """
    try:
        return float(value.removeprefix("constant_"))
    except (AttributeError, ValueError):
        return value


def close(env: VecEnv) -> None:
    """Close environments, some of whose processes Ctrl-C may have ended.

    :param env: environments
    """
    forget_replies(env)
    with suppress(EOFError, OSError):
        env.close()


class StandIn:
    """What rl_zoo3 takes for a model.

    :param model: that it stands for
    """

    def __init__(self, model: Any):
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Unclosed(StandIn):
    """Keeps the environments open: rl_zoo3 closes them before it saves, which may fail or hang."""

    env = SimpleNamespace(close=lambda: None)


class ZooManager(ExperimentManager):
    """rl_zoo3's manager of one experiment, which saves before it closes the environments.

    For algorithms other than TDAC nothing else differs.
    """

    def __init__(self, args: argparse.Namespace, algo: str, *more: Any, **options: Any):
        if algo == ALGO and options.get("config") is None:
            options["config"] = str(configurations() / "tdac.yml")
        super().__init__(args, algo, *more, **options)

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration of the environment, with its keys checked.

        :return: the configuration, and a copy of it to save
        :raises ValueError: if there is no such file or it is not a configuration
        """
        path = Path(self.config)
        if path.suffix in (".yml", ".yaml", ".py") and not path.is_file():
            raise ValueError(f"there is no configuration file {path}: see -conf")
        try:
            hyperparams, saved = super().read_hyperparameters()
        except (AttributeError, KeyError, TypeError, ModuleNotFoundError) as error:
            raise ValueError(
                f"{self.config} is no configuration file: it must have an entry of keys and "
                f"values for {self.env_name.gym_id} ({error})"
            ) from error
        if self.algo == ALGO:
            self._check_keys(hyperparams)
        return hyperparams, saved

    def _check_keys(self, hyperparams: dict[str, Any]) -> None:
        where = f"{self.config}, {self.env_name.gym_id}"
        known = {*inspect.signature(TDAC.__init__).parameters, *ZOO_KEYS} - {"self", "env"}
        for key in sorted(set(hyperparams) - known):
            closest = get_close_matches(key, known, n=1)
            hint = f"did you mean {closest[0]}?" if closest else "remove it"
            raise ValueError(f"unknown key {key!r} in {where}: {hint}")
        for key in ("policy", "n_timesteps"):
            if key not in hyperparams:
                raise ValueError(f"missing key {key!r} in {where}: add it")

    def _preprocess_schedules(  # type: ignore[override]  # rl_zoo3 calls its static one by self
        self, hyperparams: dict[str, Any]
    ) -> dict[str, Any]:
        """rl_zoo3 takes every word for a linear schedule, and knows one learning rate."""
        if self.algo != ALGO:
            return super()._preprocess_schedules(hyperparams)
        schedules = {key: schedule(hyperparams[key]) for key in SCHEDULES if key in hyperparams}
        return {**hyperparams, **schedules}

    def create_callbacks(self) -> None:
        """rl_zoo3's, with checkpoints that can be resumed."""
        ours = partial(CheckpointCallback, save_vecnormalize=True)
        used = ours if self.algo == ALGO else callbacks.CheckpointCallback
        with mock.patch.object(exp_manager, "CheckpointCallback", used):
            super().create_callbacks()  # type: ignore[no-untyped-call]

    def learn(self, model: Any) -> None:
        """Train, and say how to go on if it was stopped.

        :param model: to train
        """
        try:
            super().learn(Unclosed(model))  # type: ignore[arg-type]
        except BaseException:
            close(model.env)
            raise
        if self.algo == ALGO and model.num_timesteps < model._total_timesteps:
            print(
                f"Stopped after {model.num_timesteps} of {model._total_timesteps} steps: "
                f"sb3-tdac train --resume {self.save_path} goes on"
            )

    def save_trained_model(self, model: Any) -> None:
        """Save, and close the environments.

        :param model: to save
        """
        super().save_trained_model(model)
        close(model.env)

    def load_trial(
        self, storage: str, study_name: str, trial_id: int | None = None, convert: bool = True
    ) -> dict[str, Any]:
        """Hyperparameters of a trial.

        :param storage: URL or journal file
        :param study_name: name of its study
        :param trial_id: its number; ``None``: the best one's
        :param convert: return arguments of the algorithm instead of what was drawn
        :return: hyperparameters
        :raises ValueError: if there is no such study or trial, or it is another algorithm's
        """
        with opened(storage) as opened_storage:
            try:
                study = optuna.load_study(study_name=study_name, storage=opened_storage)
                trial = study.best_trial if trial_id is None else study.trials[trial_id]
            except (KeyError, IndexError) as error:
                raise ValueError(
                    f"there is no trial {trial_id} of a study {study_name!r} in {storage}"
                ) from error
        if not convert:
            return trial.params
        try:
            return HYPERPARAMS_CONVERTER[self.algo](trial.params)
        except KeyError as error:
            raise ValueError(
                f"trial {trial_id} of study {study_name!r} is not one of {self.algo}: it has no "
                f"{error}"
            ) from error
