"""rl_zoo3's manager of one experiment, with TDAC's configurations, schedules and clear errors."""

import argparse
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER
from stable_baselines3.common import callbacks
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

import sb3_tdac
from sb3_tdac import TDAC
from sb3_tdac.callbacks import CheckpointCallback
from sb3_tdac.diagnostics.subprocesses import forget_replies
from sb3_tdac.zoo import ALGO
from sb3_tdac.zoo.hyperparams import Hyperparams
from sb3_tdac.zoo.messages import did_you_mean
from sb3_tdac.zoo.storage import opened

SCHEDULES = ("learning_rate", "critic_learning_rate", "ent_coef")
#: Keys of a configuration that rl_zoo3 takes for itself.
ZOO_KEYS = {
    *("n_envs", "n_timesteps", "normalize", "frame_stack", "callback"),
    *("env_wrapper", "vec_env_wrapper", "env_kwargs", "monitor_kwargs"),
}


def configurations() -> Path:
    """Find the folder of TDAC's configurations: in the installed package or beside its source."""
    package = Path(sb3_tdac.__file__).parent
    installed = package / "zoo_configs"
    return installed if installed.is_dir() else package.parent / "zoo_configs"


def check_key(key: str, algorithm: type[BaseAlgorithm], where: str) -> None:
    """Check that rl_zoo3 or the algorithm takes a key of a configuration.

    :param where: name of the configuration, for the message
    :raises ValueError: if neither takes it
    """
    known = {*inspect.signature(algorithm.__init__).parameters, *ZOO_KEYS} - {"self", "env"}
    if key not in known:
        hint = did_you_mean(key, known, "remove it")
        raise ValueError(f"unknown key {key!r} in {where}: {hint}")


def schedule(value: object) -> object:
    """Convert ``"constant_7e-4"`` and ``"7e-4"``, which YAML reads as a string, to a number.

    :return: the number, or any other value unchanged

    >>> schedule("constant_7e-4"), schedule("lin_7e-4")
    (0.0007, 'lin_7e-4')
    """
    try:
        return float(value.removeprefix("constant_")) if isinstance(value, str) else value
    except ValueError:
        return value


def close(env: VecEnv) -> None:
    """Close environments, also if Ctrl-C has ended some of their processes."""
    forget_replies(env)
    with suppress(EOFError, OSError):
        env.close()


def resumable(callback: BaseCallback) -> BaseCallback:
    """Replace SB3's checkpoints by ours, which training can be resumed from."""
    if not isinstance(callback, callbacks.CheckpointCallback):
        return callback
    names = ("save_freq", "save_path", "name_prefix", "verbose")
    options = {name: getattr(callback, name) for name in names}
    return CheckpointCallback(**options, save_vecnormalize=True)


class ZooManager(ExperimentManager):
    """rl_zoo3's manager, which saves before it closes the environments.

    For algorithms other than TDAC nothing else differs.
    """

    def __init__(self, args: argparse.Namespace, algo: str, *more: Any, **options: Any):
        if algo == ALGO and options.get("config") is None:
            options["config"] = str(configurations() / "tdac.yml")
        super().__init__(args, algo, *more, **options)

    def read_hyperparameters(self) -> tuple[Hyperparams, Hyperparams]:
        """Read the configuration of the environment, and check its keys.

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
            where = f"{self.config}, {self.env_name.gym_id}"
            for key in sorted(hyperparams):
                check_key(key, TDAC, where)
            for key in ("policy", "n_timesteps"):
                if key not in hyperparams:
                    raise ValueError(f"missing key {key!r} in {where}: add it")
        return hyperparams, saved

    def _preprocess_hyperparams(
        self, hyperparams: Hyperparams
    ) -> tuple[
        Hyperparams, Callable[..., Any] | None, list[BaseCallback], Callable[..., Any] | None
    ]:
        """Keep TDAC's schedules from rl_zoo3, which takes every string for a linear one."""
        own = SCHEDULES if self.algo == ALGO else ()
        schedules = {key: schedule(hyperparams.pop(key)) for key in own if key in hyperparams}
        arguments, env_wrapper, used, vec_env_wrapper = super()._preprocess_hyperparams(hyperparams)
        return {**arguments, **schedules}, env_wrapper, used, vec_env_wrapper

    def create_callbacks(self) -> None:
        """Create rl_zoo3's callbacks, with checkpoints that training can be resumed from."""
        n_specified = len(self.callbacks)
        super().create_callbacks()  # type: ignore[no-untyped-call]
        if self.algo == ALGO:
            self.callbacks[n_specified:] = map(resumable, self.callbacks[n_specified:])

    def learn(self, model: BaseAlgorithm) -> None:
        """Train, and say how to continue if the training was stopped."""
        assert model.env is not None
        # rl_zoo3 closes the environments before it saves the model, which may fail or hang.
        unclosed = SimpleNamespace(close=lambda: None)
        stand_in = SimpleNamespace(
            env=unclosed, policy=model.policy, learn=self.learn_method(model)
        )
        try:
            super().learn(cast(BaseAlgorithm, stand_in))
        except BaseException:
            close(model.env)
            raise
        if self.algo == ALGO and model.num_timesteps < self.n_timesteps:
            print(
                f"Stopped after {model.num_timesteps} of {self.n_timesteps} steps: "
                f"to continue, sb3-tdac train --resume {self.save_path}"
            )

    def learn_method(self, model: BaseAlgorithm) -> Callable[..., object]:
        """Choose the method of a model that trains it."""
        return model.learn

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Save the model, then close the environments."""
        super().save_trained_model(model)
        assert model.env is not None
        close(model.env)

    def load_trial(
        self, storage: str, study_name: str, trial_id: int | None = None, convert: bool = True
    ) -> Hyperparams:
        """Load the hyperparameters of a trial.

        :param storage: URL or journal file
        :param study_name: name of its study
        :param trial_id: its number; ``None``: the best one's
        :param convert: return arguments of the algorithm instead of what was drawn
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
