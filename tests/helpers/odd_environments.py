"""An environment that misbehaves once, and what a model is afterwards."""

import io
import os
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_tdac import TDAC

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)


class SensorError(Exception):
    """The environment's own."""


class Odd(gym.Env[Any, Any]):
    """Episodes of ``length`` steps; step ``at``, counted over episodes, is changed by ``fault``.

    :param fault: entries of the step to replace, or a function that does something
    :param at: number of the step; 0: the first reset
    :param length: steps of an episode, cut by a time limit
    :param hangs: ``close`` does not return
    """

    def __init__(
        self,
        fault: dict[str, Any] | Callable[[], Any] | None = None,
        at: int = 7,
        length: int = 5,
        hangs: bool = False,
        space: Any = VECTOR,
        action_space: Any = None,
        reward: float = 1.0,
    ):
        self.observation_space, self.reward = space, reward
        self.action_space = action_space or spaces.Box(-1.0, 1.0, (2,))
        self.fault, self.at, self.length, self.hangs = fault, at, length, hangs
        self.n_steps = self.elapsed = 0
        self.observation_space.seed(0)

    def _changed(self, **usual: Any) -> Any:
        if self.n_steps != self.at or self.fault is None:
            return usual
        return usual | (self.fault() if callable(self.fault) else self.fault)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.elapsed = 0
        usual = dict(obs=self.observation_space.sample())
        return (usual if self.n_steps else self._changed(**usual))["obs"], {}

    def step(self, action: Any) -> Any:
        assert np.isfinite(action).all()
        self.n_steps, self.elapsed = self.n_steps + 1, self.elapsed + 1
        gives = self._changed(
            obs=self.observation_space.sample(),
            reward=self.reward,
            terminated=False,
            truncated=self.elapsed == self.length,
            info={},
        )
        return tuple(gives[name] for name in ("obs", "reward", "terminated", "truncated", "info"))

    def close(self) -> None:
        while self.hangs:
            time.sleep(1.0)


def raises() -> Any:
    raise SensorError("no signal")


def dies() -> Any:
    os._exit(3)


def odd_model(
    fault: Any = None,
    fast_path: bool = True,
    vec_env: Any = DummyVecEnv,
    odd: dict[str, Any] | None = None,
    policy: str = "MlpPolicy",
    **options: Any,
) -> TDAC:
    """A model with two environments, of which the second has the fault."""
    makers = [lambda: Odd(**(odd or {}) | dict(fault=None)), lambda: Odd(fault, **odd or {})]
    options = dict(n_steps=4, seed=0, device="cpu", policy_kwargs=dict(net_arch=[8])) | options
    return TDAC(policy, vec_env(makers), fast_path=fast_path, **options)


def everything(model: TDAC) -> list[torch.Tensor]:
    """Copies of parameters, statistics, and what the optimizers remember."""
    policy = model.policy
    states = [*policy.optimizer.state.values(), *policy.critic_optimizer.state.values()]
    tensors = [*policy.state_dict().values(), *model.advantage_stats.state_dict().values()]
    tensors += [value for state in states for value in state.values()]
    return [tensor.detach().clone() for tensor in tensors]


def assert_saved_and_finite(model: TDAC) -> None:
    """Its numbers are finite, and a file gives the same ones."""
    assert all(bool(tensor.isfinite().all()) for tensor in everything(model))
    model.save(file := io.BytesIO())
    file.seek(0)
    loaded = TDAC.load(file, device="cpu")
    for one, other in zip(everything(model), everything(loaded), strict=True):
        assert torch.equal(one, other)
