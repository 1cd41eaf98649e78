"""Models that train at the same time, in threads and in processes, do what each does alone."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache

import pytest
import torch
from helpers.environments import ENV_IDS, IDENTITY_ENVS
from helpers.internals import episodes_of, uses_kernels
from helpers.model_state import State, assert_identical, state
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC


def trained(run: tuple[str, int, bool]) -> tuple[State, State]:
    """Built and trained in one thread or process: its state and where its episodes are."""
    env_id, seed, fast_path = run
    torch.set_num_threads(1)
    env = make_vec_env(IDENTITY_ENVS.get(env_id, env_id), 4, seed=seed)
    model = TDAC("MlpPolicy", env, seed=seed, fast_path=fast_path, device="cpu").learn(800)
    assert uses_kernels(model) == (fast_path and env_id not in IDENTITY_ENVS)
    return state(model), episodes_of(model)


RUNS = [
    *((env_id, seed, True) for seed, env_id in enumerate(ENV_IDS[:2])),
    *((env_id, seed, False) for seed, env_id in enumerate(ENV_IDS)),
]


@cache
def trained_alone() -> list[tuple[State, State]]:
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
    for one, other in zip(trained_alone(), together, strict=True):
        assert_identical(other[0], one[0])
        assert_identical(other[1], one[1])
