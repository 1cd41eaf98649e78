"""Observations and rewards that no network can learn from are named, and change nothing."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from helpers.environments import BOTH_PATHS
from helpers.faulty_environments import BAD_NUMBERS, WHERE, fails, faulty_model, scripted, sync_env
from helpers.model_state import assert_saved_and_finite
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_tdac.vec_envs import LeanDummyVecEnv

CASES = [
    (name, vec_env)
    for name in BAD_NUMBERS
    for vec_env in (DummyVecEnv, LeanDummyVecEnv, sync_env)
    if (name, vec_env) != ("obs None", sync_env)  # gymnasium refuses it itself
]


@BOTH_PATHS
@pytest.mark.parametrize(("name", "vec_env"), CASES)
def test_a_bad_number_is_named_with_its_environment_and_step(
    name: str, vec_env: Any, fast_path: bool
) -> None:
    fault, message = BAD_NUMBERS[name]
    fails(faulty_model(fault, fast_path, vec_env), ValueError, f"{message}.*{WHERE}")


# Episodes of 3 steps: what step ``at`` observes, and where. Steps 5 to 8 are the second rollout.
PLACES = {
    "mid-episode": (5, "observation", "step 2"),
    "time limit": (6, "terminal_observation", "step 3"),
    "last of the rollout": (8, "observation", "step 2"),
}


@BOTH_PATHS
@pytest.mark.parametrize("action_space", [None, spaces.Discrete(2)], ids=["box", "discrete"])
@pytest.mark.parametrize(("at", "observed", "step"), PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["obs", "reward"])
def test_a_number_that_is_not_finite_is_named_at_every_step_of_an_episode_and_rollout(
    name: str, value: float, at: int, observed: str, step: str, action_space: Any, fast_path: bool
) -> None:
    fault = dict(reward=value) if name == "reward" else dict(obs=np.full(3, value))
    quantity = name if name == "reward" else observed
    env = dict(at=at, length=3, action_space=action_space)
    message = rf"^{quantity} is not finite \({value}\) in environment 1 at {step} of its episode"
    fails(faulty_model(fault, fast_path, env=env), ValueError, message)


@BOTH_PATHS
def test_a_bad_first_observation_is_named(fast_path: bool) -> None:
    model = faulty_model(dict(obs=np.full(3, np.inf)), fast_path, env=dict(at=0))
    message = r"observation is not finite \(inf\) in environment 1 at a reset \(time step 0"
    with pytest.raises(ValueError, match=message):
        model.learn(8)


SPACES = {
    "discrete": (spaces.Discrete(3), 3),
    "multidiscrete": (spaces.MultiDiscrete([3, 2]), np.array([0, 2])),
    "multibinary": (spaces.MultiBinary(2), np.array([0, 2], np.int8)),
}


@pytest.mark.parametrize(("space", "obs"), SPACES.values(), ids=SPACES.keys())
def test_an_observation_outside_of_a_discrete_space_is_named(space: Any, obs: Any) -> None:
    model = faulty_model(dict(obs=obs), env=dict(space=space))
    fails(model, ValueError, rf"(?s)observation is not in .*{WHERE}")


@BOTH_PATHS
@pytest.mark.parametrize("at", [10, 14], ids=["within", "last"])
@pytest.mark.parametrize(
    ("obs", "given"),
    [
        (np.zeros((2, 3)).tolist(), "list"),
        (None, "NoneType"),
        (np.zeros((2, 3), complex), "complex128"),
        (np.zeros((1, 3)), r"an array \(1, 3\) for 2 environments"),
    ],
)
def test_observations_that_are_no_array_of_numbers_are_refused_at_any_step(
    obs: Any, given: str, at: int, fast_path: bool
) -> None:
    model = faulty_model(vec_env=scripted(dict(obs=obs), at), fast_path=fast_path)
    fails(model, ValueError, rf"must have shape \(3,\) and be of numbers, got {given}")


def test_none_among_discrete_observations_is_named() -> None:
    vec_env = scripted(dict(obs=np.array([0, None])), at=12)
    model = faulty_model(vec_env=vec_env, env=dict(space=spaces.Discrete(3)))
    fails(model, ValueError, rf"must have shape \(\) and be of numbers, got object in {WHERE}")


@BOTH_PATHS
@pytest.mark.parametrize("value", [1e-40, 1e15])
def test_numbers_up_to_the_limit_itself_are_no_fault(value: float, fast_path: bool) -> None:
    for fault in (dict(obs=np.full(3, value, np.float32)), dict(reward=value)):
        assert_saved_and_finite(faulty_model(fault, fast_path).learn(16))
