"""Pairs of models that differ in their path alone, and how near their numbers are."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.environments import Steps
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from sb3_tdac import TDAC
from sb3_tdac.fast import library

needs_library = pytest.mark.skipif(
    library.load() is None,
    reason="the fast path's kernels are not compiled: install sb3_tdac where there is a C compiler",
)
N_STEPS, N_ENVS = 8, 2
UPDATE = N_STEPS * N_ENVS


class Observations(Steps):
    """``Steps`` with observations drawn from a space."""

    def __init__(self, seed: int, action_space: Any, observation_space: spaces.Space[Any]):
        super().__init__(seed, action_space)
        self.observation_space = copy.deepcopy(observation_space)
        self.observation_space.seed(seed)

    def _state(self) -> Any:
        return self.observation_space.sample()


def steps_env(action_space: Any = None, observation_space: Any = None, n_envs: int = N_ENVS) -> Any:
    """States that do not depend on actions: the rounding of an action moves nothing else."""
    space = observation_space or spaces.Box(-np.inf, np.inf, (3,))
    makers = [lambda seed=seed: Observations(seed, action_space, space) for seed in range(n_envs)]
    return DummyVecEnv(makers)


class Record(BaseCallback):
    """Keeps the actions, and does something once, in the middle of a rollout."""

    def __init__(self, change: Any = None, at: int = 0):
        super().__init__()
        self.actions: list[np.ndarray] = []
        self.change, self.at = change, at

    def _on_step(self) -> bool:
        self.actions.append(self.locals["actions"].copy())
        if self.change and self.num_timesteps == self.at:
            self.change(self.model)
        return True


def build(fast_path: bool, env: Any = None, policy: str = "MlpPolicy", **options: Any) -> TDAC:
    options = dict(n_steps=N_STEPS, seed=3, device="cpu", scale_advantage=True) | options
    options["policy_kwargs"] = dict(net_arch=[8, 8], activation_fn=nn.Tanh) | options.get(
        "policy_kwargs", {}
    )
    return TDAC(policy, steps_env() if env is None else env, fast_path=fast_path, **options)


def actions_of(model: TDAC, n_updates: int, callback: Record | None = None, **kwargs: Any) -> Any:
    """Learn, and return the actions."""
    callback = callback or Record()
    model.generator.manual_seed(5)  # the same noise, whatever was drawn between
    n_rows = model.n_steps * model.n_envs
    model.learn(n_updates * n_rows, callback, reset_num_timesteps=False, **kwargs)
    return np.array(callback.actions, np.float64)


def numbers(tree: Any, path: str = "") -> dict[str, np.ndarray]:
    """The tensors and numbers of nested state dicts by their path."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for key, sub in items for k, v in numbers(sub, f"{path}/{key}").items()}
    return {} if tree is None else {path: torch.as_tensor(tree).double().numpy()}


def state(model: TDAC) -> dict[str, np.ndarray]:
    """Parameters, optimizers and statistics."""
    return numbers(copy.deepcopy(model.get_parameters()))


def assert_near(one: dict[str, Any], other: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Each number within the tolerance of its tensor's largest, or of one if that is smaller."""
    assert one.keys() == other.keys()
    for name, expected in one.items():
        assert other[name].shape == expected.shape, name
        size = max(1.0, np.abs(expected).max(initial=0.0))
        np.testing.assert_allclose(
            other[name], expected, rtol=0, atol=tolerance * size, err_msg=name
        )


def assert_moved_alike(before: Any, one: Any, other: Any, tolerance: float = 1e-4) -> None:
    """Each tensor's difference is small beside the way that it went."""
    for name, start in before.items():
        way = np.abs(one[name] - start).max(initial=0.0)
        error = np.abs(other[name] - one[name]).max(initial=0.0)
        assert error <= tolerance * way, (name, error, way)


def assert_identical(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    for name, expected in one.items():
        np.testing.assert_array_equal(other[name], expected, err_msg=name)
