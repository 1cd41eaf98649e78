"""Connects the algorithm with SB3's ``OnPolicyAlgorithm``; nothing here is in the text."""

import copy
import inspect
import io
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from stable_baselines3.common import utils
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, TensorDict
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_tdac.aliases import Array, Kwargs
from sb3_tdac.diagnostics.location import Location
from sb3_tdac.diagnostics.not_finite import check_parameters
from sb3_tdac.diagnostics.rollout_watch import RolloutWatch
from sb3_tdac.diagnostics.subprocesses import forget_replies
from sb3_tdac.persistence import files, plain_model, plain_tensors, plain_values, random_states
from sb3_tdac.policies import TDACPolicy
from sb3_tdac.schedules import CheckedSchedule, ScheduleArgument
from sb3_tdac.transitions import TransitionBuffer
from sb3_tdac.validation import check_bool, check_integer, check_real, check_reset_obs, check_spaces

#: Lock: models are seeded and built one at a time, from torch's global generator.
SEEDING = threading.RLock()

SelfAlgorithm = TypeVar("SelfAlgorithm", bound="TwoOptimizerAlgorithm")


class TwoOptimizerAlgorithm(OnPolicyAlgorithm):
    """SB3's on-policy algorithm with an actor and a critic that have an optimizer each.

    It takes unbounded actions, has schedules for both learning rates and ``ent_coef``, draws from
    a random generator of its own, resumes exactly, and stays as it was when something does not fit.
    """

    policy: TDACPolicy
    policy_class: type[TDACPolicy]
    rollout_buffer: TransitionBuffer  # type: ignore[assignment]
    #: Random generator for actions: threads that train at the same time do not share it.
    generator: torch.Generator
    critic_learning_rate: ScheduleArgument | None
    actor_warmup: float
    _last_obs: Any
    _last_episode_starts: Any
    _elapsed_steps: Array
    _has_modes = True
    _is_watched = True  # somebody's code may run between two steps, and change the model
    _is_in_rollout = False
    #: States for ``resume`` from the model's file; ``None`` after training went on.
    _random_states: dict[str, str] | None = None

    def _adopt_env(self, env: GymEnv | str) -> None:
        """Wrap the environment as SB3 does, and take its spaces, bounded or not."""
        env = maybe_make_env(env, self.verbose)
        check_spaces(env.observation_space, env.action_space)
        self.env = env = self._wrap_env(env, self.verbose)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.n_envs = env.num_envs
        self._vec_normalize_env = unwrap_vec_normalize(env)

    # ---- random numbers ----

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the global generators, the environment, and the generator of this model.

        :param seed: seed; ``None``: seed nothing
        """
        if seed is not None:
            with self._seeded(seed):
                pass

    @contextmanager
    def _seeded(self, seed: int | None) -> Iterator[None]:
        """Seed, run the body, which builds the networks, then give the model its own generator.

        On a CPU it starts in the state of torch's global one: the model draws the same actions as
        A2C. The global one is seeded anew, so that environments that draw from it are independent
        of the noise of the actions.
        """
        with SEEDING:
            super().set_random_seed(seed)
            yield
            self.generator, state = torch.Generator(self.device), torch.get_rng_state()
            elsewhere = int(torch.empty((), dtype=torch.int64).random_())
            if self.device.type == "cpu":
                self.generator.set_state(state)
                torch.default_generator.manual_seed(elsewhere)
            else:
                self.generator.manual_seed(elsewhere)

    # ---- schedules ----

    def _setup_lr_schedule(self) -> None:
        rate, critic_rate = self.learning_rate, self.critic_learning_rate
        critic_rate = rate if critic_rate is None else critic_rate
        self.lr_schedule = CheckedSchedule("learning_rate", rate)
        self.critic_lr_schedule = CheckedSchedule("critic_learning_rate", critic_rate)
        self.ent_coef_schedule = CheckedSchedule("ent_coef", self.ent_coef)

    def _update_schedules(self) -> None:
        """Set both learning rates and ``ent_coef_now``, or none if one of them is not valid."""
        progress = self._current_progress_remaining
        risen = min(1.0, (1.0 - progress) / self.actor_warmup) if self.actor_warmup else 1.0
        learning_rate = risen * self.lr_schedule(progress)
        critic_learning_rate = self.critic_lr_schedule(progress)
        self.ent_coef_now = self.ent_coef_schedule(progress)
        utils.update_learning_rate(self.policy.optimizer, learning_rate)
        utils.update_learning_rate(self.policy.critic_optimizer, critic_learning_rate)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        """Keep the progress at 0 or above: the last rollout may end after ``total_timesteps``."""
        super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        self._current_progress_remaining = max(0.0, self._current_progress_remaining)

    # ---- training ----

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
            an environment returns what its space has no place for
        :raises RuntimeError: if the process of an environment died; an exception of an environment
            itself keeps its type, and gets a note with its index and step
        """
        check_real("total_timesteps", total_timesteps, low=0)
        if log_interval is not None:
            check_integer("log_interval", log_interval, low=1)
        self._is_watched = callback is not None
        try:
            interval: Any = log_interval  # SB3 annotates no None, and takes it
            return super().learn(
                total_timesteps, callback, interval, tb_log_name, reset_num_timesteps, progress_bar
            )
        finally:
            self._is_watched = True

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        """Do what SB3 does, and check the policy and the first observations."""
        self._random_states = None
        if self._is_in_rollout:  # it was broken off: the environments went on from _last_obs
            self._last_obs, self._is_in_rollout = None, False
        self._has_modes = self.policy.has_modes()
        assert self.env is not None, "You must set the environment before calling learn()"
        forget_replies(self.env)
        last_obs, watch = self._last_obs, self._watch(self.env)
        with watch.resetting():
            prepared = super()._setup_learn(*args, **kwargs)
        check_parameters(self.policy, self._location())
        try:
            watch.check_first(self._last_obs, is_reset=self._last_obs is not last_obs)
        except ValueError:
            self._last_obs = None  # the next ``learn`` resets
            raise
        return prepared

    def _watch(self, env: VecEnv) -> RolloutWatch:
        return RolloutWatch(env, self.observation_space, self._location)

    def _location(self) -> Location:
        """This moment of the training, for messages."""
        starts = self._last_episode_starts
        return Location(
            num_timesteps=self.num_timesteps,
            n_updates=int(self._n_updates),
            episode_starts=self._elapsed_steps == 0 if starts is None else starts,
            elapsed_steps=self._elapsed_steps,
            rollout_elapsed_steps=self.rollout_buffer.elapsed_steps,
        )

    def _set_training_mode(self, mode: bool) -> None:
        """Set the mode of the layers, if one differs between training and evaluation."""
        if self._has_modes:
            self.policy.set_training_mode(mode)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Take another environment of the same spaces, as SB3 does.

        :param env: environment
        :param force_reset: reset it before training
        :raises ValueError: if its spaces differ, or its first observation is not in its space
        """
        env = self._wrap_env(env, self.verbose)
        if force_reset and env.num_envs == self.n_envs:
            utils.check_for_correct_spaces(env, self.observation_space, self.action_space)
            with self._watch(env).resetting():
                obs = env.reset()
            check_reset_obs(obs, env)
        super().set_env(env, force_reset)

    # ---- files ----

    def set_parameters(
        self,
        load_path_or_dict: files.ModelPath | TensorDict,
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Set parameters and optimizers, as SB3 does; if they do not fit, nothing changes.

        :param load_path_or_dict: file, or the result of ``get_parameters``
        :param exact_match: require all of them
        :param device: where to load a file
        :raises ValueError: if a name is unknown or missing, or the file is damaged
        :raises RuntimeError: if tensors are missing or have other shapes
        """
        if not isinstance(load_path_or_dict, dict):
            with files.opened(load_path_or_dict) as file:
                _, load_path_or_dict, _ = load_from_zip_file(file, load_data=False, device=device)
        before: Any = copy.deepcopy(self.get_parameters())
        try:
            super().set_parameters(load_path_or_dict, exact_match, device)
        except Exception:
            super().set_parameters(before, exact_match=True, device=device)
            raise

    @classmethod
    def constructor_arguments(cls) -> set[str]:
        """Names of all arguments of the constructors of TDAC and its subclasses."""
        names: set[str] = set()
        for a_class in cls.__mro__:
            if issubclass(a_class, TwoOptimizerAlgorithm) and "__init__" in vars(a_class):
                parameters = inspect.signature(vars(a_class)["__init__"]).parameters.values()
                names |= {one.name for one in parameters if not one.kind.name.startswith("VAR_")}
        return names

    def save(
        self,
        path: files.ModelPath,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Save everything, as SB3 does, and also in the form that ``load(safe=True)`` reads.

        If that fails, a file that was there stays as it was.

        :param path: file, to which ``.zip`` is added if it has no suffix, or an open one
        :param exclude: attributes to leave out
        :param include: attributes to keep that would be left out
        :raises OSError: if the file cannot be written, naming it and the remedy
        """
        loaded, content, exclude = self._random_states, io.BytesIO(), {*(exclude or ())}
        now = random_states.capture(self.generator, self.get_vec_normalize_env())
        self._random_states, self._origin = loaded or now, files.origin()
        try:
            super().save(content, exclude, include)
        finally:
            self._random_states = loaded
        with zipfile.ZipFile(content, "a") as archive:
            plain_model.write_plain_form(archive, lambda: self._plain_form(exclude))
        files.write(path, content.getvalue())

    @classmethod
    def load(
        cls: type[SelfAlgorithm],
        path: files.ModelPath,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, object] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        safe: bool = False,
        **kwargs: Any,
    ) -> SelfAlgorithm:
        """Build a model from a file, as SB3 does, after a check that the file is undamaged.

        Loading may run code from the file. With ``safe=True`` it reads only plain settings and
        weights, and runs no code: the model is the same, but it has no ``tensorboard_log``, and
        starts a new episode.

        :param path: file, with or without ``.zip``, or an open one
        :param env: environment to continue with; ``None`` is enough to predict
        :param device: where to put it
        :param custom_objects: objects to use in the place of stored ones
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
        if unknown := {*kwargs} - (cls.constructor_arguments() - {"policy"}):
            raise TypeError(f"load() got unexpected keyword arguments {sorted(unknown)}")
        check_bool("safe", safe)
        utils.get_device(device)  # its error has nothing to do with the file
        if safe:
            if custom_objects is not None or print_system_info or not force_reset:
                raise ValueError(
                    "with safe=True, custom_objects, print_system_info and force_reset=False have "
                    "no meaning: no object, text or observation of the file is used; leave them out"
                )
            return cls._load_plain_form(path, env, kwargs | dict(device=device))
        if "stats_window_size" in kwargs:
            kwargs["_stats_window_size"] = kwargs.pop("stats_window_size")
        with files.opened(path) as file:
            needed = cls.constructor_arguments() - {*kwargs}
            data = files.unpickled_settings(file, path, custom_objects, needed)
            loaded: SelfAlgorithm = super().load(
                file, env, device, data, print_system_info, force_reset, **kwargs
            )
        starts = loaded._last_episode_starts
        if loaded._last_obs is not None and len(starts) != loaded.n_envs:
            raise ValueError(
                f"with force_reset=False, env must have {len(starts)} environments, as the model "
                f"was saved with, got {loaded.n_envs}"
            )
        return loaded

    def _plain_form(self, exclude: set[str]) -> plain_model.PlainModel:
        """Describe the model in plain settings and tensors, without some arguments."""
        aliases = {a_class: alias for alias, a_class in self.policy_aliases.items()}
        if type(self.policy) not in aliases:
            raise ValueError(
                f"policy is a {type(self.policy).__name__}, not one of {[*aliases.values()]}"
            )
        attributes = dict(stats_window_size="_stats_window_size")
        names = sorted(self.constructor_arguments() - plain_model.UNTRUSTED - exclude)
        values = {name: getattr(self, attributes.get(name, name)) for name in names}
        arguments = {name: plain_values.encode(name, value) for name, value in values.items()}
        optimizers = self.policy.optimizer, self.policy.critic_optimizer
        return plain_model.PlainModel(
            policy=aliases[type(self.policy)],
            arguments=arguments,
            observation_space=self.observation_space,
            action_space=self.action_space,
            n_envs=self.n_envs,
            progress_remaining=self._current_progress_remaining,
            counters={name: getattr(self, name) for name in plain_model.COUNTERS},
            learning_rates=[plain_tensors.learning_rate(optimizer) for optimizer in optimizers],
            tensors=plain_tensors.named_tensors(self.get_parameters()),
        )

    @classmethod
    def _load_plain_form(
        cls: type[SelfAlgorithm], path: files.ModelPath, env: GymEnv | None, changes: Kwargs
    ) -> SelfAlgorithm:
        """Build a model from the plain form in its file, with some arguments changed."""
        plain = plain_model.read_plain_form(path, cls.constructor_arguments())
        with plain_model.refusing(path):
            settings = {k: plain_values.decode(value) for k, value in plain.arguments.items()}
            settings |= changes | dict(policy=plain.policy, env=None)
            model = cls(**settings, _init_setup_model=False)
        model.observation_space, model.action_space = plain.observation_space, plain.action_space
        model.n_envs = plain.n_envs
        if env is not None:
            model._adopt_env(env)
            assert model.env is not None
            utils.check_for_correct_spaces(model.env, plain.observation_space, plain.action_space)
        with plain_model.refusing(path):
            with plain_tensors.AtMostThoseWeights(plain.tensors.values()):
                model._setup_model()
            plain_tensors.make_states(model.policy.optimizer, model.policy.critic_optimizer)
            filled = plain_tensors.filled_in(model.get_parameters(), plain)
            model.set_parameters(filled, exact_match=True, device=model.device)
            vars(model).update(plain.counters)
            model._current_progress_remaining = plain.progress_remaining
        return model

    def resume(
        self: SelfAlgorithm, total_timesteps: int | None = None, **options: Any
    ) -> SelfAlgorithm:
        """Go on with a training that was interrupted, as if it had not been.

        After ``load``, the model's generator and torch's are set to where they were when the file
        was saved. The environment is reset if a rollout was interrupted or the model was loaded.
        Use ``load(force_reset=False)`` only for an environment that restores its own state.

        :param total_timesteps: further environment steps, over all environments; ``None``: those
            that are left of the last call of ``learn``, so that its schedules go on to their end
        :param options: of ``learn``
        :return: self
        :raises ValueError: if nothing is left
        """
        if total_timesteps is None:
            total_timesteps = self._total_timesteps - self.num_timesteps
            if total_timesteps <= 0:
                raise ValueError(
                    f"training is complete: {self.num_timesteps} of {self._total_timesteps} steps; "
                    "pass total_timesteps to go on"
                )
        saved = self._random_states or {}
        random_states.restore(saved, self.generator, self.get_vec_normalize_env())
        return self.learn(total_timesteps, reset_num_timesteps=False, **options)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", *plain_tensors.OPTIMIZERS, "return_stats", "advantage_stats"], []

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "generator"]
