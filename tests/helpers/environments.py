"""Small environments whose every number is known."""

import copy
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


class Restorable(gym.Env[np.ndarray, Any]):
    """A walk that actions push and noise disturbs; its whole state can be taken and put back.

    Episodes end beyond 2, or are cut after 7 steps.

    :param seed: of the noise
    """

    def __init__(self, seed: int = 0):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = spaces.Box(-1.0, 1.0, (1,))
        self.noise, self.position, self.elapsed = np.random.default_rng(seed), 0.0, 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**kwargs)
        self.position, self.elapsed = self.noise.normal() / 2, 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.position += action.item() / 2 + self.noise.normal() / 2
        self.elapsed += 1
        far = abs(self.position) > 2
        return self._observation(), -(self.position**2), far, not far and self.elapsed == 7, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.position, self.elapsed / 7], np.float32)

    def get_state(self) -> dict[str, Any]:
        return copy.deepcopy(vars(self))

    def set_state(self, state: dict[str, Any]) -> None:
        vars(self).update(copy.deepcopy(state))


def restorable_envs(states: list[dict[str, Any]] | None = None) -> DummyVecEnv:
    """Two ``Restorable``, in these states or at their start."""
    env = DummyVecEnv([lambda seed=seed: Restorable(seed) for seed in (1, 2)])
    for index, state in enumerate(states or ()):
        env.env_method("set_state", state, indices=index)
    return env
