"""What lies between SB3's ``OnPolicyAlgorithm`` and the algorithm: nothing here is in the text."""

import copy
import inspect
import io
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import json_to_data, load_from_zip_file
from stable_baselines3.common.torch_layers import (
    CombinedExtractor,
    FlattenExtractor,
    MlpExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, TensorDict
from stable_baselines3.common.utils import (
    check_for_correct_spaces,
    get_device,
    update_learning_rate,
)
from stable_baselines3.common.vec_env import unwrap_vec_normalize
from torch import nn

from sb3_tdac.diagnostics.environment_errors import blame
from sb3_tdac.diagnostics.numbers import check_observations
from sb3_tdac.diagnostics.subprocesses import forget_replies
from sb3_tdac.diagnostics.transaction import check_parameters
from sb3_tdac.diagnostics.vec_normalize import check_originals, keep_statistics
from sb3_tdac.normalization import ObservationNormalizer, RunningMeanStd, RunningRootMeanSquare
from sb3_tdac.persistence import files, safe_form
from sb3_tdac.policies import CnnPolicy, MultiInputPolicy, TDACPolicy
from sb3_tdac.saving import ResumableAlgorithm
from sb3_tdac.schedules import CheckedSchedule, ScheduleArgument
from sb3_tdac.validation import (
    check_bool,
    check_integer,
    check_observation,
    check_real,
    check_spaces,
)

#: Layers that do the same in training and evaluation.
MODELESS = (
    *(nn.Linear, nn.Conv2d, nn.Tanh, nn.ReLU, nn.ELU, nn.Flatten, nn.Sequential, nn.ModuleDict),
    *(FlattenExtractor, NatureCNN, CombinedExtractor, MlpExtractor),
    *(TDACPolicy, CnnPolicy, MultiInputPolicy, ObservationNormalizer, RunningMeanStd),
)

#: Of the policy in version 0.1.0, whose files tell only what the user changed.
POLICY_0_1_0 = dict(activation_fn=nn.Tanh, std_bounds=(0.2, 1.0))

SelfAlgorithm = TypeVar("SelfAlgorithm", bound="TwoOptimizerAlgorithm")


class TwoOptimizerAlgorithm(ResumableAlgorithm):
    """SB3's on-policy algorithm with an actor and a critic that have an optimizer each.

    It takes unbounded actions, has schedules for both learning rates and ``ent_coef``, and leaves a
    model as it was when something does not fit.
    """

    policy: TDACPolicy
    _last_obs: Any
    _has_modes = True
    _kept_statistics: Sequence[tuple[Any, dict[str, Any]]] = ()
    _is_watched = True  # somebody's code may run between two steps, and change the model
    critic_learning_rate: ScheduleArgument | None
    actor_warmup: float
    normalize_advantage: bool
    scale_advantage: bool
    critic_gradient: str
    critic_first: bool
    critic_steps: int
    loss_reduction: str
    discount_states: bool
    ent_coef_now: float
    advantage_stats: RunningRootMeanSquare

    def _adopt_env(self, env: GymEnv | str) -> None:
        """Wrap the environment as SB3 does, and take its spaces, bounded or not."""
        env = maybe_make_env(env, self.verbose)
        check_spaces(env.observation_space, env.action_space)
        self.env = self._wrap_env(env, self.verbose)
        self.observation_space, self.action_space = (
            self.env.observation_space,
            self.env.action_space,
        )
        self.n_envs = self.env.num_envs
        self._vec_normalize_env = unwrap_vec_normalize(self.env)

    def _setup_lr_schedule(self) -> None:
        critic_learning_rate = self.critic_learning_rate
        if critic_learning_rate is None:
            critic_learning_rate = self.learning_rate
        self.lr_schedule = CheckedSchedule("learning_rate", self.learning_rate)
        self.critic_lr_schedule = CheckedSchedule("critic_learning_rate", critic_learning_rate)
        self.ent_coef_schedule = CheckedSchedule("ent_coef", self.ent_coef)

    def learn(
        self: SelfAlgorithm,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str = "TDAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfAlgorithm:
        """Train.

        :param total_timesteps: environment steps, over all environments
        :param callback: called at every step, as SB3's
        :param log_interval: updates between two outputs of the log; ``None``: no output
        :param tb_log_name: name of the run in TensorBoard
        :param reset_num_timesteps: start counting from zero
        :param progress_bar: show one
        :return: self
        :raises ValueError: if a number is out of range, training meets one that is not finite, or
            an environment gives what its space has no place for
        :raises RuntimeError: if the process of an environment died; what an environment itself
            raises keeps its type, and gets a note with its index and step
        """
        check_real("total_timesteps", total_timesteps, low=0)
        if log_interval is not None:
            check_integer("log_interval", log_interval, low=1)
        self._is_watched = callback is not None
        try:
            return super().learn(
                total_timesteps,
                callback,
                log_interval,  # type: ignore[arg-type]
                tb_log_name,
                reset_num_timesteps,
                progress_bar,
            )
        finally:
            self._is_watched = True

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        self._has_modes = not all(type(module) in MODELESS for module in self.policy.modules())
        last_obs = self._last_obs
        keep_statistics(self)
        if self.env is not None:
            forget_replies(self.env)
        try:
            prepared = super()._setup_learn(*args, **kwargs)
        except Exception as error:
            blame(self, self.env, error, resetting=True)  # type: ignore[arg-type]
        check_parameters(self)
        if self._last_obs is not last_obs:
            check_originals(self)
        check_observations(self, self._last_obs)
        return prepared

    def _set_training_mode(self, mode: bool) -> None:
        """Tell the layers, where one of them does something else in training and evaluation."""
        if self._has_modes:
            self.policy.set_training_mode(mode)

    def _update_schedules(self) -> None:
        """Set both learning rates and ``ent_coef_now``, or nothing if one of them is not valid."""
        progress = self._current_progress_remaining
        risen = min(1.0, (1.0 - progress) / self.actor_warmup) if self.actor_warmup else 1.0
        learning_rate = risen * self.lr_schedule(progress)
        critic_learning_rate = self.critic_lr_schedule(progress)
        self.ent_coef_now = self.ent_coef_schedule(progress)
        update_learning_rate(self.policy.optimizer, learning_rate)
        update_learning_rate(self.policy.critic_optimizer, critic_learning_rate)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        """Never below zero: the last rollout may end after ``total_timesteps``."""
        super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        self._current_progress_remaining = max(0.0, self._current_progress_remaining)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Take another environment of the same spaces, as SB3 does.

        :param env: environment
        :param force_reset: reset it before training
        :raises ValueError: if its spaces differ, or its first observation is not in its space
        """
        env = self._wrap_env(env, self.verbose)
        if force_reset and env.num_envs == self.n_envs:
            check_for_correct_spaces(env, self.observation_space, self.action_space)
            try:
                obs = env.reset()
            except Exception as error:
                blame(self, env, error, resetting=True)
            check_observation(obs, env)
        super().set_env(env, force_reset)

    def set_parameters(
        self,
        load_path_or_dict: files.ModelPath | TensorDict,
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Set parameters and optimizers, as SB3 does; if they do not fit, nothing changes.

        :param load_path_or_dict: file, or what ``get_parameters`` returned
        :param exact_match: require all of them
        :param device: where to load a file
        :raises ValueError: if a name is unknown or missing, or the file is damaged
        :raises RuntimeError: if tensors are missing or have other shapes
        """
        if not isinstance(load_path_or_dict, dict):
            with files.opened(load_path_or_dict) as file:
                _, load_path_or_dict, _ = load_from_zip_file(file, load_data=False, device=device)
        before = copy.deepcopy(self.get_parameters())
        try:
            super().set_parameters(load_path_or_dict, exact_match, device)
        except Exception:
            super().set_parameters(before, exact_match=True, device=device)  # type: ignore[arg-type]
            raise

    @classmethod
    def constructor_arguments(cls) -> set[str]:
        """Names of all arguments of the constructor, and of those that it is built on."""
        ours = [k for k in cls.__mro__ if issubclass(k, TwoOptimizerAlgorithm)]
        constructors = [vars(k)["__init__"] for k in ours if "__init__" in vars(k)]
        signatures = [inspect.signature(init).parameters.values() for init in constructors]
        return {
            parameter.name
            for signature in signatures
            for parameter in signature
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }

    @classmethod
    def load(
        cls: type[SelfAlgorithm],
        path: files.ModelPath,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        safe: bool = False,
        **kwargs: Any,
    ) -> SelfAlgorithm:
        """Build a model from a file, as SB3 does, after a check that the file is undamaged.

        That may run code which the file brings. With ``safe``, it reads plain settings and weights
        alone, from which nothing can be run. The model is the same, but that it has no
        ``tensorboard_log``, and starts a new episode.

        :param path: file, with or without ``.zip``, or an open one
        :param env: environment to continue with; ``None`` is enough to predict
        :param device: where to put it
        :param custom_objects: what to use in the place of stored objects
        :param print_system_info: print the versions it was saved with
        :param force_reset: reset the environment before training; False: it is in the state that
            the model was saved in
        :param safe: run no code of the file
        :param kwargs: arguments of the constructor to change
        :return: the model
        :raises TypeError: if a keyword is no argument of the constructor
        :raises ValueError: if the file is damaged, or not a TDAC model of this version, or a
            setting of it cannot be read; without ``force_reset``, if ``env`` has another number of
            environments; with ``safe``, if its settings are more than numbers, text, and the
            classes of ``sb3_tdac.persistence.plain_values``
        :raises OSError: if it cannot be opened
        :raises RuntimeError: if torch knows no such device
        """
        unknown = set(kwargs) - cls.constructor_arguments() | {"policy"} & set(kwargs)
        if unknown:
            raise TypeError(f"load() got unexpected keyword arguments {sorted(unknown)}")
        check_bool("safe", safe)
        get_device(device)  # its error has nothing to do with the file
        if safe:
            if custom_objects is not None or print_system_info or not force_reset:
                raise ValueError(
                    "with safe=True, custom_objects, print_system_info and force_reset=False have "
                    "no meaning: no object, text or observation of the file is used; leave them out"
                )
            model: SelfAlgorithm = safe_form.load(cls, path, env, device, kwargs)
            return model
        if "stats_window_size" in kwargs:
            kwargs["_stats_window_size"] = kwargs.pop("stats_window_size")
        with files.opened(path) as file:
            data = cls._read_settings(file, path, custom_objects, {*kwargs})
            loaded: SelfAlgorithm = super().load(
                file, env, device, data, print_system_info, force_reset, **kwargs
            )
        starts: Any = loaded._last_episode_starts
        if loaded._last_obs is not None and len(starts) != loaded.n_envs:
            raise ValueError(
                f"with force_reset=False, env must have {len(starts)} environments, as the model "
                f"was saved with, got {loaded.n_envs}"
            )
        return loaded

    @classmethod
    def _read_settings(
        cls, file: io.BufferedIOBase, path: Any, custom_objects: Any, changed: set[str]
    ) -> dict[str, Any]:
        """Unpickle the settings; where one cannot be read, SB3 would take the default."""
        settings = files.settings(file, path)
        data = json_to_data(json.dumps(settings), custom_objects)
        lost = (settings.keys() - data.keys() - changed) & cls.constructor_arguments()
        if lost:
            raise ValueError(
                f"{sorted(lost)} of {path} cannot be read here: pass what to use in their place, "
                f"like custom_objects={{{min(lost)!r}: ...}} ({files.written_with(file)})"
            )
        if "_origin" not in settings:
            data["policy_kwargs"] = POLICY_0_1_0 | data["policy_kwargs"]
        return data

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        statistics = ["return_stats", "advantage_stats"]
        return ["policy", "policy.optimizer", "policy.critic_optimizer", *statistics], []
