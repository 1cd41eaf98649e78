"""``DummyVecEnv`` for any algorithm of SB3, with less work in each step."""

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs

IMMUTABLE = (float, int, str, type(None), np.number, np.bool_)


def own_info(info: dict[str, Any]) -> dict[str, Any]:
    """Copy of an info that the environment cannot change later; numbers need no copy."""
    return {
        key: value if isinstance(value, IMMUTABLE) else deepcopy(value)
        for key, value in info.items()
    }


class LeanDummyVecEnv(DummyVecEnv):
    """``DummyVecEnv`` without its two deep copies of every step.

    Each step writes into arrays of its own, so what it returned never changes. A terminal
    observation is copied before the environment is reset, and infos before and not after it:
    environments that reuse their arrays cannot change them either, as with ``DummyVecEnv`` they do.

    :param env_fns: functions that each return an environment
    :raises ValueError: if two of them return the same one
    """

    def __init__(self, env_fns: list[Callable[[], gym.Env[Any, Any]]]):
        super().__init__(env_fns)
        self._layout = [(key, array.shape, array.dtype) for key, array in self.buf_obs.items()]

    def _renew_buffer(self) -> None:
        self.buf_obs = OrderedDict((k, np.empty(shape, dtype)) for k, shape, dtype in self._layout)

    def step_wait(self) -> VecEnvStepReturn:
        """Step each environment, and reset those whose episode ended."""
        self._renew_buffer()
        rows = self.buf_obs.get(None)  # type: ignore[call-overload]
        rewards, dones = np.empty(self.num_envs, np.float32), np.zeros(self.num_envs, np.bool_)
        infos = []
        for i, env in enumerate(self.envs):
            obs, rewards[i], terminated, truncated, info = env.step(self.actions[i])
            info = own_info(info) if info else {}
            info["TimeLimit.truncated"] = truncated and not terminated
            if terminated or truncated:
                dones[i] = True
                info["terminal_observation"] = deepcopy(obs)
                obs, self.reset_infos[i] = env.reset()
            if rows is None:
                self._save_obs(i, obs)
            else:
                rows[i] = obs
            infos.append(info)
        return self._obs_from_buf(), rewards, dones, infos

    def reset(self) -> VecEnvObs:
        """Reset all environments."""
        self._renew_buffer()
        return super().reset()

    def _obs_from_buf(self) -> VecEnvObs:
        return dict_to_obs(self.observation_space, self.buf_obs)
