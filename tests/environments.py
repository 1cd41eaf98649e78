"""Small environments whose every number is known."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv


class Steps(gym.Env[np.ndarray, Any]):
    """Random states; episodes end after 3, 4, 3, 4, ... steps: terminated, then truncated, ...

    :param seed: of the states, which do not depend on the actions
    :param action_space: space of one action
    """

    def __init__(self, seed: int = 0, action_space: spaces.Space[Any] | None = None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = action_space or spaces.Box(-2.0, 2.0, (2,))
        self.states = np.random.default_rng(seed)
        self.episode = 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**kwargs)
        self.episode, self.elapsed = self.episode + 1, 0
        return self._state(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.elapsed += 1
        ends = self.elapsed == 3 + self.episode % 2
        odd = self.episode % 2 == 1
        reward = float(self.states.normal())
        return self._state(), reward, ends and not odd, ends and odd, {}

    def _state(self) -> np.ndarray:
        return self.states.normal(size=3).astype(np.float32)


def two_steps_envs(action_space: spaces.Space[Any] | None = None) -> DummyVecEnv:
    """Two ``Steps`` with different states."""
    return DummyVecEnv([lambda seed=seed: Steps(seed, action_space) for seed in (1, 2)])
