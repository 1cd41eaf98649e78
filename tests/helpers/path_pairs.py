"""Pairs of models with and without compiled kernels, and how near their numbers are."""

from typing import Any

import numpy as np
import pytest
from helpers.environments import VECTOR, steps_envs
from helpers.model_state import assert_identical as assert_identical
from helpers.model_state import numbers as numbers
from helpers.model_state import state as state
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from sb3_tdac import TDAC
from sb3_tdac.fast import library

needs_library = pytest.mark.skipif(
    isinstance(library.load(), str | None),
    reason="the fast path's kernels are not compiled: install sb3_tdac where there is a C compiler",
)
N_STEPS, N_ENVS = 8, 2
UPDATE = N_STEPS * N_ENVS


def steps_env(action_space: Any = None, observation_space: Any = None, n_envs: int = N_ENVS) -> Any:
    """States that do not depend on actions: the rounding of an action changes no state."""
    return steps_envs(range(n_envs), action_space, observation_space or VECTOR)


class Record(BaseCallback):
    """Keeps the actions, and calls ``change`` once, in the middle of a rollout."""

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
    """Each tensor's difference is small relative to its change since ``before``."""
    for name, start in before.items():
        way = np.abs(one[name] - start).max(initial=0.0)
        error = np.abs(other[name] - one[name]).max(initial=0.0)
        assert error <= tolerance * way, (name, error, way)
