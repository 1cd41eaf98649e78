"""``DummyVecEnv`` for any algorithm of SB3, with less work in each step."""

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs

from sb3_tdac.vec_envs.copies import own_info


class LeanDummyVecEnv(DummyVecEnv):
    """``DummyVecEnv`` without its two deep copies in every step.

    Each step writes into new arrays, so a returned array never changes. A terminal observation is
    copied before its environment is reset, and an info before and not after the reset: an
    environment that reuses its arrays cannot change them, which it can with ``DummyVecEnv``.

    :param env_fns: functions that each return an environment
    :raises ValueError: if two of them return the same environment
    """

    def __init__(self, env_fns: list[Callable[[], gym.Env[Any, Any]]]):
        super().__init__(env_fns)
        self._layout = [(key, array.shape, array.dtype) for key, array in self.buf_obs.items()]
        self._is_array = not isinstance(self.observation_space, spaces.Dict | spaces.Tuple)

    def _renew_buffer(self) -> None:
        self.buf_obs = OrderedDict((k, np.empty(shape, dtype)) for k, shape, dtype in self._layout)

    def step_wait(self) -> VecEnvStepReturn:
        """Step each environment, and reset it at the end of its episode."""
        self._renew_buffer()
        rows = self.buf_obs[self.keys[0]] if self._is_array else None
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
