"""Vector environments of gymnasium (1.1 or newer) for any algorithm of SB3."""

import time
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

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
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_tdac.vec_envs.cartpole import CARTPOLE, SAME_STEP_CARTPOLE
from sb3_tdac.vec_envs.copies import Array, Flags, Info, Obs, leaves, map_arrays, own_info, own_row


class GymnasiumVecEnv(VecEnv):
    """A ``gymnasium.vector.VectorEnv`` as a ``VecEnv`` of SB3.

    It gives the transitions, terminal observations and time limits of ``DummyVecEnv``, and the
    episode statistics of ``Monitor`` in ``infos[i]["episode"]``. The vector environment gets one
    seed: ``SyncVectorEnv`` and ``AsyncVectorEnv`` give ``seed + i`` to environment i, as SB3 does;
    a native one has one random generator for all.

    :param env: environment that resets in the step that ends an episode (``SAME_STEP``), or that
        resets some of its environments on request (``DISABLED``, and ``NEXT_STEP`` of
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
        self._actions: Array = np.empty(0)
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._start_time = time.time()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = env.metadata

    @classmethod
    def make(
        cls, env_id: str, n_envs: int = 1, seed: int | None = None, **kwargs: Any
    ) -> "GymnasiumVecEnv":
        """Build the native vector environment of an id, with the time limit of the id.

        :param env_id: id of a registered environment
        :param n_envs: number of environments
        :param seed: of the first reset
        :param kwargs: arguments of the environment
        :raises ValueError: if the id has no native environment, or its resets are not exact
        """
        spec = deepcopy(gym.spec(env_id))
        if spec.vector_entry_point is None:
            raise ValueError(
                f"env_id must have a native vector environment, {env_id!r} has none: "
                "use make_vec_env(env_id, vec_env_cls=LeanDummyVecEnv)"
            )
        if spec.vector_entry_point == CARTPOLE:
            spec.vector_entry_point = SAME_STEP_CARTPOLE
        env = cls(gym.make_vec(spec, n_envs, "vector_entry_point", **kwargs))
        if seed is not None:
            env.seed(seed)
        return env

    def step_async(self, actions: Array) -> None:
        """Keep the actions (n_envs, ...) for ``step_wait``."""
        self._actions = np.asarray(actions, dtype=self.action_space.dtype)

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments, and reset each at the end of its episode."""
        obs, rewards, terminated, truncated, infos = self.env.step(self._actions)
        obs, dones = map_arrays(np.array, obs), np.logical_or(terminated, truncated)
        infos = [own_info(info) if info else info for info in infos]
        self._returns += rewards
        self._lengths += 1
        if dones.any():
            self._reset_ended(obs, dones, infos)
        time_limits = np.logical_and(truncated, np.logical_not(terminated)).tolist()
        for info, time_limit in zip(infos, time_limits, strict=True):
            info["TimeLimit.truncated"] = time_limit
        return obs, np.array(rewards, np.float32), dones, infos

    def _reset_ended(self, obs: Obs, dones: Flags, infos: list[Info]) -> None:
        """Write first observations to ``obs``, and terminal ones with statistics to ``infos``."""
        ended = np.flatnonzero(dones).tolist()
        if self._same_step:
            last = self._unpack_final(ended, infos)
        else:
            last = [own_row(obs, i) for i in ended]
            self._masked_reset(obs, dones)
        elapsed = round(time.time() - self._start_time, 6)
        for i, terminal_observation in zip(ended, last, strict=True):
            infos[i]["terminal_observation"] = terminal_observation
            length, total = int(self._lengths[i]), round(float(self._returns[i]), 6)
            infos[i]["episode"] = {"r": total, "l": length, "t": elapsed}
        self._returns[dones] = 0.0
        self._lengths[dones] = 0

    def _unpack_final(self, ended: list[int], infos: list[Info]) -> list[Obs]:
        """Replace infos of a reset by infos of the step; return the terminal observations."""
        last = []
        for i in ended:
            reset_info = infos[i]
            if "final_obs" not in reset_info:
                raise ValueError(
                    f"env has the autoreset mode SAME_STEP, but no 'final_obs' in its infos at the "
                    f"end of an episode, got {sorted(reset_info)}: fix the environment"
                )
            last.append(reset_info.pop("final_obs"))
            infos[i], self.reset_infos[i] = reset_info.pop("final_info", {}), reset_info
        return last

    def _masked_reset(self, obs: Obs, dones: Flags) -> None:
        """Reset the environments in ``dones``, and write their observations to ``obs``."""
        new_obs, reset_infos = self.env.reset(options={"reset_mask": dones.copy()})
        for rows, new_rows in zip(leaves(obs), leaves(new_obs), strict=True):
            if not np.array_equal(rows[~dones], new_rows[~dones], equal_nan=True):
                raise ValueError(
                    "env must reset only the environments of options={'reset_mask': ...}, but "
                    "resets all: build it with the autoreset mode SAME_STEP"
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
        return map_arrays(np.array, obs)

    def close(self) -> None:
        """Close all environments."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One frame of each environment, or None if the ``render_mode`` is not ``rgb_array``."""
        frames: Any = self.env.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each environment, or the attribute of the native one for each."""
        parts = self._parts()
        if parts is None:
            values = (getattr(self.env.unwrapped, attr_name),) * self.num_envs
        else:
            values = parts.get_attr(attr_name)
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all environments.

        :raises ValueError: if ``indices`` does not name all
        """
        parts = self._parts(indices)
        if parts is None:
            setattr(self.env.unwrapped, attr_name, value)
        else:
            parts.set_attr(attr_name, [value] * self.num_envs)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of all environments.

        :raises AttributeError: if the environment is native: it has no single environments
        :raises ValueError: if ``indices`` does not name all
        """
        parts = self._parts(indices)
        if parts is None:
            raise AttributeError(
                f"{self.env.unwrapped} has no method {method_name!r} of each environment: "
                "call the method of env.env"
            )
        return list(parts.call(method_name, *args, **kwargs))

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether each has the wrapper; True for ``Monitor``: this class has its statistics."""
        envs = getattr(self.env.unwrapped, "envs", [None] * self.num_envs)
        kind, chosen = wrapper_class, self._get_indices(indices)
        return [kind is Monitor or is_wrapped(envs[i], kind) for i in chosen]

    def _parts(self, indices: VecEnvIndices = None) -> SyncVectorEnv | AsyncVectorEnv | None:
        """The vector environment if it consists of single environments; refuse to pick some."""
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(
                f"indices must be None, got {indices}: a gymnasium vector environment calls all"
            )
        base = self.env.unwrapped
        return base if isinstance(base, SyncVectorEnv | AsyncVectorEnv) else None


def _autoreset_mode(env: object) -> AutoresetMode:
    """The autoreset mode of an environment that can give the transitions of ``DummyVecEnv``."""
    if not isinstance(env, VectorEnv):
        raise TypeError(
            f"env must be a gymnasium.vector.VectorEnv, got {type(env).__name__}: "
            "gym.make_vec builds one"
        )
    mode = env.metadata.get("autoreset_mode")
    has_parts = isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv)
    if mode == AutoresetMode.NEXT_STEP and not has_parts:
        raise ValueError(
            f"env must not have the autoreset mode NEXT_STEP, got {env}: after each episode it "
            "ignores one action. Build it with the autoreset mode SAME_STEP, or CartPole with "
            "GymnasiumVecEnv.make, or use LeanDummyVecEnv"
        )
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"env.metadata['autoreset_mode'] must be an AutoresetMode, got {mode!r} of {env}: "
            "set it to the mode in which the environment resets"
        )
    return mode
