"""Small environments with known numbers, and small models of them."""

import copy
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvMultiBinary, IdentityEnvMultiDiscrete
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_tdac import TDAC

BOTH_PATHS = pytest.mark.parametrize("fast_path", [True, False], ids=["fast", "general"])
VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
STATES = np.eye(4, dtype=np.float32)
#: One environment for each kind of action space: registered ones, and makers of SB3's.
ENV_IDS = ["Pendulum-v1", "CartPole-v1", "MultiDiscrete", "MultiBinary"]
IDENTITY_ENVS = dict(
    MultiDiscrete=partial(IdentityEnvMultiDiscrete, 4),
    MultiBinary=partial(IdentityEnvMultiBinary, 4),
)


class Steps(gym.Env[Any, Any]):
    """Random states; episodes of 3, 4, 3, 4, ... steps: terminated, then truncated, ...

    :param seed: of the states, which do not depend on the actions
    :param action_space: space of one action
    :param observation_space: space that states are drawn from; None: standard normal vectors
    """

    def __init__(
        self,
        seed: int = 0,
        action_space: spaces.Space[Any] | None = None,
        observation_space: spaces.Space[Any] | None = None,
    ):
        self.observation_space = VECTOR if observation_space is None else observation_space
        self.states = None if observation_space is None else copy.deepcopy(observation_space)
        if self.states is not None:  # a copy, because feature extractors sample from the space
            self.states.seed(seed)
        self.action_space = spaces.Box(-2.0, 2.0, (2,)) if action_space is None else action_space
        self.random = np.random.default_rng(seed)
        self.actions: list[Any] = []
        self.episode = 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        self.episode, self.elapsed = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        self.elapsed += 1
        ends = self.elapsed == 3 + self.episode % 2
        odd = self.episode % 2 == 1
        reward = float(self.random.normal())
        return self.observe(), reward, ends and not odd, ends and odd, {}

    def observe(self) -> Any:
        if self.states is None:
            return self.random.normal(size=3).astype(np.float32)
        return self.states.sample()


def steps_envs(
    seeds: Any = (1, 2), action_space: Any = None, observation_space: Any = None
) -> DummyVecEnv:
    """One ``Steps`` for each seed."""
    return DummyVecEnv([lambda seed=s: Steps(seed, action_space, observation_space) for s in seeds])


class Clock(gym.Env[np.ndarray, Any]):
    """The state is the number of steps modulo 4; each step gives the same reward."""

    def __init__(self, length: int = 3, terminates: bool = False, reward: float = 1.0):
        self.observation_space = spaces.Box(0.0, 1.0, (4,))
        self.action_space = spaces.Box(0.0, 10.0, (1,))
        self.length, self.terminates, self.reward = length, terminates, reward
        self.n_resets = 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**kwargs)
        self.n_steps, self.n_resets = 0, self.n_resets + 1
        return STATES[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        end = self.n_steps == self.length
        state = STATES[self.n_steps % 4]
        return state, self.reward, end and self.terminates, end and not self.terminates, {}


class Restorable(gym.Env[np.ndarray, Any]):
    """A random walk with noise that actions push; its whole state can be read and set.

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


def pendulum(n_envs: int = 2, seed: int = 0) -> VecEnv:
    return make_vec_env("Pendulum-v1", n_envs, seed=seed)


def small_model(env: Any = None, policy: Any = "MlpPolicy", **options: Any) -> TDAC:
    """Four steps of each environment in a rollout, one hidden layer of eight units, on a CPU.

    :param env: environment; None: a ``Clock``
    :param policy: name or class
    :param options: of ``TDAC``
    """
    options = dict(n_steps=4, seed=1, device="cpu") | options
    options["policy_kwargs"] = dict(net_arch=[8]) | options.get("policy_kwargs", {})
    return TDAC(policy, Clock() if env is None else env, **options)
