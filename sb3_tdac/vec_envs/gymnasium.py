"""Vector environments of gymnasium (1.1 or newer) for any algorithm of SB3."""

import time
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import DictInfoToList
from numpy.typing import NDArray
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import check_for_nested_spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from sb3_tdac.vec_envs.cartpole import EXACT_ENTRY_POINTS
from sb3_tdac.vec_envs.lean_dummy import own_info

SelfGymnasiumVecEnv = TypeVar("SelfGymnasiumVecEnv", bound="GymnasiumVecEnv")
Infos = list[dict[str, Any]]


class GymnasiumVecEnv(VecEnv):
    """A ``gymnasium.vector.VectorEnv`` as a ``VecEnv`` of SB3.

    Transitions, terminal observations and time limits are those of ``DummyVecEnv``, and the
    statistics of episodes those of ``Monitor``, in ``infos[i]["episode"]``. One seed goes to the
    vector environment: ``SyncVectorEnv`` and ``AsyncVectorEnv`` give ``seed + i`` to environment i,
    as SB3 does; a native one has one random generator for all.

    :param env: environment that resets in the step that ends an episode (``SAME_STEP``), or that
        resets a part of its environments on request (``DISABLED``, and ``NEXT_STEP`` of
        ``SyncVectorEnv`` and ``AsyncVectorEnv``)
    :raises TypeError: if it is no ``VectorEnv``
    :raises ValueError: if it resets in another way, or has ``Tuple`` observations
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]):
        self._same_step = _autoreset_mode(env) == AutoresetMode.SAME_STEP
        check_for_nested_spaces(env.single_observation_space)
        if isinstance(env.single_observation_space, spaces.Tuple):
            raise ValueError(
                "env must have no Tuple observations, got "
                f"{env.single_observation_space}: make them a Dict"
            )
        self.env = DictInfoToList(env)
        self._actions: NDArray[Any] = np.empty(0)
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._start_time = time.time()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = env.metadata

    @classmethod
    def make(
        cls: type[SelfGymnasiumVecEnv],
        env_id: str,
        n_envs: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> SelfGymnasiumVecEnv:
        """Build the native vector environment of an id; its time limit is that of the id.

        :param env_id: id of a registered environment
        :param n_envs: number of environments
        :param seed: of the first reset
        :param kwargs: arguments of the environment
        :return: the environment
        :raises ValueError: if the id has none, or one that cannot be exact
        """
        spec = deepcopy(gym.spec(env_id))
        if spec.vector_entry_point is None:
            raise ValueError(
                f"env_id must have a native vector environment, {env_id!r} has none: "
                "use make_vec_env(env_id, vec_env_cls=LeanDummyVecEnv)"
            )
        exact = EXACT_ENTRY_POINTS.get(spec.vector_entry_point)
        spec.vector_entry_point = exact or spec.vector_entry_point  # type: ignore[assignment]
        env = cls(gym.make_vec(spec, n_envs, "vector_entry_point", **kwargs))
        if seed is not None:
            env.seed(seed)
        return env

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for ``step_wait``.

        :param actions: (n_envs, ...)
        """
        self._actions = np.asarray(actions, dtype=self.action_space.dtype)

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments, and reset those whose episode ended."""
        obs, rewards, terminated, truncated, infos = self.env.step(self._actions)
        obs, dones = _own_obs(obs), np.logical_or(terminated, truncated)
        infos = [own_info(info) if info else info for info in infos]
        self._returns += rewards
        self._lengths += 1
        if dones.any():
            self._reset_ended(obs, dones, infos)
        time_limits = np.logical_and(truncated, np.logical_not(terminated)).tolist()
        for info, time_limit in zip(infos, time_limits, strict=True):
            info["TimeLimit.truncated"] = time_limit
        return obs, np.array(rewards, np.float32), dones, infos

    def _reset_ended(self, obs: Any, dones: NDArray[np.bool_], infos: Infos) -> None:
        """Put the first observations into ``obs`` and what ended into ``infos``."""
        ended = np.flatnonzero(dones).tolist()
        if self._same_step:
            last = self._unpack_final(ended, infos)
        else:
            last = [_row(obs, i) for i in ended]
            self._masked_reset(obs, dones)
        elapsed = round(time.time() - self._start_time, 6)
        for i, terminal_observation in zip(ended, last, strict=True):
            infos[i]["terminal_observation"] = terminal_observation
            length, total = int(self._lengths[i]), round(float(self._returns[i]), 6)
            infos[i]["episode"] = {"r": total, "l": length, "t": elapsed}
        self._returns[dones] = 0.0
        self._lengths[dones] = 0

    def _unpack_final(self, ended: list[int], infos: Infos) -> list[Any]:
        """``infos`` has those of the reset: put those of the step in their place."""
        last = []
        for i in ended:
            reset_info = infos[i]
            if "final_obs" not in reset_info:
                raise ValueError(
                    f"env has the autoreset mode SAME_STEP, but no 'final_obs' in its infos at the "
                    f"end of an episode, got {sorted(reset_info)}: mend the environment"
                )
            last.append(reset_info.pop("final_obs"))
            infos[i], self.reset_infos[i] = reset_info.pop("final_info", {}), reset_info
        return last

    def _masked_reset(self, obs: Any, dones: NDArray[np.bool_]) -> None:
        new_obs, reset_infos = self.env.reset(options={"reset_mask": dones.copy()})
        for rows, new_rows in zip(_leaves(obs), _leaves(new_obs), strict=True):
            if not np.array_equal(rows[~dones], new_rows[~dones], equal_nan=True):
                raise ValueError(
                    "env resets all environments where options={'reset_mask': ...} asks for "
                    "some: build it with the autoreset mode SAME_STEP"
                )
            rows[dones] = new_rows[dones]
        for i in np.flatnonzero(dones).tolist():
            self.reset_infos[i] = own_info(reset_infos[i])

    def reset(self) -> VecEnvObs:
        """Reset all environments.

        :return: first observations
        :raises ValueError: if options differ between environments
        """
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError(f"options must be the same for all environments, got {self._options}")
        obs, infos = self.env.reset(seed=self._seeds[0], options=deepcopy(options) or None)
        self.reset_infos = [own_info(info) for info in infos]
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return _own_obs(obs)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close all environments."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One frame of each environment, or None if the ``render_mode`` gives none."""
        frames: Any = self.env.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each environment; of a native one, its own for each."""
        base: Any = self.env.unwrapped
        if isinstance(base, SyncVectorEnv | AsyncVectorEnv):
            values = base.get_attr(attr_name)
        else:
            values = (getattr(base, attr_name),) * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all environments.

        :raises ValueError: if ``indices`` leaves some out
        """
        self._require_all(indices)
        base: Any = self.env.unwrapped
        if isinstance(base, SyncVectorEnv | AsyncVectorEnv):
            base.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(base, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of all environments.

        :raises AttributeError: if they are a native vector environment, which has none for each
        :raises ValueError: if ``indices`` leaves some out
        """
        self._require_all(indices)
        base: Any = self.env.unwrapped
        if not isinstance(base, SyncVectorEnv | AsyncVectorEnv):
            raise AttributeError(
                f"{base} has no method {method_name!r} of each environment: call that of env.env"
            )
        return list(base.call(method_name, *args, **kwargs))

    def _require_all(self, indices: VecEnvIndices) -> None:
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(
                f"indices must be None, got {indices}: a gymnasium vector environment calls all"
            )

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether each is wrapped so; ``Monitor``: yes, its statistics are computed here."""
        base: Any = self.env.unwrapped
        envs: list[Any] = getattr(base, "envs", [None] * self.num_envs)
        return [
            wrapper_class is Monitor or (envs[i] is not None and is_wrapped(envs[i], wrapper_class))
            for i in self._get_indices(indices)
        ]


def _autoreset_mode(env: Any) -> AutoresetMode:
    """Refuse what cannot give the transitions of ``DummyVecEnv``."""
    if not isinstance(env, VectorEnv):
        raise TypeError(
            f"env must be a gymnasium.vector.VectorEnv, got {type(env).__name__}: "
            "gym.make_vec builds one"
        )
    mode = env.metadata.get("autoreset_mode")
    parts = isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv)
    if mode == AutoresetMode.NEXT_STEP and not parts:
        raise ValueError(
            f"env must not have the autoreset mode NEXT_STEP, got {env}: after each episode it "
            "ignores one action. Build it with the autoreset mode SAME_STEP, or CartPole with "
            "GymnasiumVecEnv.make, or use LeanDummyVecEnv"
        )
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"env.metadata['autoreset_mode'] must be an AutoresetMode, got {mode!r} of {env}: "
            "set it to the way in which the environment resets"
        )
    return mode


def _leaves(obs: Any) -> list[NDArray[Any]]:
    return list(obs.values()) if isinstance(obs, dict) else [obs]


def _own_obs(obs: Any) -> Any:
    """Copy: a vector environment may write the next observations into the same arrays."""
    if isinstance(obs, dict):
        return {key: np.array(rows) for key, rows in obs.items()}
    return np.array(obs)


def _row(obs: Any, i: int) -> Any:
    if isinstance(obs, dict):
        return {key: rows[i].copy() for key, rows in obs.items()}
    return obs[i].copy()
