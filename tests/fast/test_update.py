"""The log shows the same figures on both paths, however late it reads them."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.kernel_learners import OPTIONS, batch, small_learner, small_policy
from helpers.path_pairs import actions_of, build, needs_library, steps_env
from stable_baselines3.common.logger import KVWriter, Logger

pytestmark = needs_library
ACTION_SPACES = dict(box=spaces.Box(-2.0, 2.0, (2,)), discrete=spaces.Discrete(3))
every_space = pytest.mark.parametrize("space", ACTION_SPACES)


class Figures(KVWriter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def write(self, key_values: dict[str, Any], *args: Any) -> None:
        self.logged.append({k: v for k, v in key_values.items() if k.startswith("train/")})


@every_space
@pytest.mark.parametrize("critic_first", [True, False])
def test_the_log_shows_the_same_figures(critic_first: bool, space: str) -> None:
    logs = []
    for fast_path in (False, True):
        figures = Figures()
        model = build(fast_path, steps_env(ACTION_SPACES[space]), critic_first=critic_first)
        model.set_logger(Logger(None, [figures]))
        actions_of(model, 6, log_interval=1)
        logs.append(figures.logged)
    names = {"critic_loss", "actor_loss", "td_error", "entropy", "explained_variance"}
    names |= set() if space == "discrete" else {"std"}
    assert len(logs[0]) == 6 and {f"train/{name}" for name in names} <= logs[0][1].keys()
    for general, fast in zip(*logs, strict=True):
        assert fast == pytest.approx(general, rel=1e-4, abs=1e-5)


@every_space
def test_an_update_is_the_same_after_the_next_one(space: str) -> None:
    """It owns its numbers, though the kernels write into the same memory again."""
    is_discrete = space == "discrete"
    learner = small_learner(small_policy(ACTION_SPACES[space]))
    read = []
    for is_late in (False, True):
        learner.snapshot.take()
        update = learner.update(rows := batch(1, is_discrete), OPTIONS)
        if is_late:
            rows.action[...] = 0
            learner.act(np.ones((2, 3), np.float32))
            learner.update(batch(2, is_discrete), OPTIONS)
        read.append(update.figures())
        learner.snapshot.restore()
    assert ("std" not in read[0]) == is_discrete
    torch.testing.assert_close(*read, rtol=0, atol=0)
