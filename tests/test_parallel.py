"""Models that train at the same time, in threads and in processes, do what each does alone."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers.path_pairs import assert_identical, state
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvMultiBinary, IdentityEnvMultiDiscrete

from sb3_tdac import TDAC

ENVS = ["Pendulum-v1", "CartPole-v1", "MultiDiscrete", "MultiBinary"]
MULTI = dict(
    MultiDiscrete=partial(IdentityEnvMultiDiscrete, 4),
    MultiBinary=partial(IdentityEnvMultiBinary, 4),
)


def trained(run: tuple[str, int, bool]) -> tuple[dict[str, np.ndarray], list[float]]:
    """Built and trained in one thread or process: all its parameters, and the last observation."""
    env_id, seed, fast_path = run
    torch.set_num_threads(1)
    env = make_vec_env(MULTI.get(env_id, env_id), 4, seed=seed)
    model = TDAC("MlpPolicy", env, seed=seed, fast_path=fast_path, device="cpu").learn(800)
    assert (model._kernels is not None) == (fast_path and env_id not in MULTI)
    return state(model), np.ravel(model._last_obs).tolist()


RUNS = [
    *((env_id, seed, True) for seed, env_id in enumerate(ENVS[:2])),
    *((env_id, seed, False) for seed, env_id in enumerate(ENVS)),
]


@cache
def trained_alone() -> list[tuple[dict[str, np.ndarray], list[float]]]:
    return [trained(run) for run in RUNS]


def executor(kind: str) -> Executor:
    if kind == "threads":
        return ThreadPoolExecutor(2)
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(kind))


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns every 10 microseconds, and not every 5 milliseconds."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["threads", "fork", "spawn"])
def test_models_trained_at_the_same_time_equal_those_trained_alone(kind: str) -> None:
    with executor(kind) as pool:
        together = [*pool.map(trained, RUNS)]
    for (one, last_obs), (other, other_last_obs) in zip(trained_alone(), together, strict=True):
        assert_identical(one, other)
        assert last_obs == other_last_obs


class Drawing(BaseCallback):
    """Draws from torch's global generator, as an environment or a callback of a user may."""

    def _on_step(self) -> bool:
        torch.rand(3)
        return True


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("env_id", ENVS)
def test_what_others_draw_from_the_global_generator_changes_nothing(
    env_id: str, fast_path: bool
) -> None:
    models = []
    for callback in (None, Drawing()):
        env = make_vec_env(MULTI.get(env_id, env_id), 4, seed=0)
        model = TDAC("MlpPolicy", env, seed=0, fast_path=fast_path, device="cpu")
        models.append(model.learn(64, callback))
    assert_identical(state(models[0]), state(models[1]))


def first_actions(model: Any) -> np.ndarray:
    """What is drawn in the first rollout of an untrained policy with the same outputs for all."""
    actions = []

    class First(BaseCallback):
        def _on_step(self) -> bool:
            actions.append(self.locals["actions"].copy())
            return len(actions) < 3

    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.zero_()
    model.learn(100, First())
    return np.array(actions)


@pytest.mark.parametrize("env_id", [*ENVS[1:]])
def test_a_seed_draws_the_actions_that_a2c_draws(env_id: str) -> None:
    """Of Box actions the oracle tests say it; here also after ``set_random_seed``."""
    actions: list[list[np.ndarray]] = []
    for algorithm in (TDAC, A2C):
        model = algorithm("MlpPolicy", make_vec_env(MULTI.get(env_id, env_id), 4), seed=5)
        drawn = [first_actions(model)]
        model.set_random_seed(6)
        actions.append([*drawn, first_actions(model)])
    for ours, theirs in zip(*actions, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(*actions[0])


def test_the_global_generator_does_not_repeat_the_noise_of_the_actions() -> None:
    """An environment that draws from it would see the noise of the action it is given."""
    model = TDAC("MlpPolicy", "Pendulum-v1", seed=0)
    for _ in range(2):
        own = torch.randn(100, generator=model.generator)
        assert not torch.isin(torch.randn(100), own).any()
        model.set_random_seed(1)
