"""An environment with one fault, the models that meet it, and what the error must name."""

import os
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers.environments import VECTOR, small_model
from helpers.model_state import assert_identical, assert_saved_and_finite, state_of_update
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import GymnasiumVecEnv

# Step 7 of the second environment is the third of the second rollout (of 4 steps), and the second
# of its second episode (of 5); two environments make 14 time steps of it.
WHERE = r"environment 1 at step 2 of its episode \(time step 14, after 1 update\)"
NAN, TOO_LARGE = r"is not finite \(nan\)", r"is too large \(-1e\+30; the limit is 1e\+15\)"
BAD_NUMBERS = {
    "obs nan": (dict(obs=np.full(3, np.nan)), f"observation {NAN}"),
    "obs inf": (dict(obs=np.full(3, -np.inf)), r"observation is not finite \(-inf\)"),
    "obs None": (dict(obs=None), f"observation {NAN}"),
    "obs 1e30": (dict(obs=np.full(3, -1e30)), f"observation {TOO_LARGE}"),
    "reward nan": (dict(reward=np.nan), f"reward {NAN}"),
    "reward inf": (dict(reward=np.inf), r"reward is not finite \(inf\)"),
    "reward None": (dict(reward=None), f"reward {NAN}"),
    "reward 1e30": (dict(reward=-1e30), f"reward {TOO_LARGE}"),
    "reward of an integer that overflows": (
        dict(reward=np.int64(-(2**63))),
        r"reward is too large",
    ),
}
WRONG_SHAPES = {
    "obs of another shape": dict(obs=np.ones(4, np.float32)),
    "obs of text": dict(obs="abc"),
    "reward of text": dict(reward="a"),
    "reward of two": dict(reward=np.ones(2)),
    "reward beyond all floats": dict(reward=10**400),
    "terminated of two": dict(terminated=np.array([True, False])),
}


class SensorError(Exception):
    """An error type that only the environment knows."""


def raises() -> Any:
    raise SensorError("no signal")


def dies() -> Any:
    os._exit(3)


class Faulty(gym.Env[Any, Any]):
    """Episodes of ``length`` steps; ``fault`` changes step ``at``, counted over all episodes.

    :param fault: entries of the step to replace, or a function to call
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


def faulty_model(
    fault: Any = None,
    fast_path: bool = True,
    vec_env: Any = DummyVecEnv,
    env: dict[str, Any] | None = None,
    **options: Any,
) -> TDAC:
    """A model with two environments; the second one has the fault.

    :param fault: of ``Faulty``
    :param fast_path: of ``TDAC``
    :param vec_env: class of both environments together
    :param env: other arguments of ``Faulty``
    :param options: of ``TDAC``
    """
    makers = [lambda: Faulty(**(env or {}) | dict(fault=None)), lambda: Faulty(fault, **env or {})]
    return small_model(vec_env(makers), fast_path=fast_path, **dict(seed=0) | options)


def fails(model: TDAC, error: type[Exception], message: str) -> pytest.ExceptionInfo[Exception]:
    """The second rollout raises the error; the model stays as the first update left it."""
    before = state_of_update(model.learn(8))
    with pytest.raises(error, match=message) as info:
        model.learn(16, reset_num_timesteps=False)
    assert_identical(state_of_update(model), before)
    assert_saved_and_finite(model)
    return info


def scripted(changes: dict[str, Any], at: int) -> Any:
    """A third-party ``VecEnv`` class that returns something else after time step ``at``."""

    class Scripted(DummyVecEnv):
        steps = 0

        def step_wait(self) -> Any:
            names = ("obs", "rewards", "dones", "infos")
            step = dict(zip(names, super().step_wait(), strict=True))
            self.steps += 2
            return tuple((step | changes if self.steps == at + 2 else step).values())

    return Scripted


def sync_env(makers: Any) -> GymnasiumVecEnv:
    return GymnasiumVecEnv(gym.vector.SyncVectorEnv(makers))


def normalized(makers: Any) -> VecNormalize:
    return VecNormalize(DummyVecEnv(makers))
