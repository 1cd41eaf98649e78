"""``LeanDummyVecEnv`` gives the numbers of ``DummyVecEnv``."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers.vec_env_rollouts import SPACES, Walk, assert_same, ends, rollout
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import LeanDummyVecEnv


def walks(cls: type[DummyVecEnv], **kwargs: Any) -> VecEnv:
    return make_vec_env(partial(Walk, **kwargs), n_envs=3, vec_env_cls=cls)


@pytest.mark.parametrize("kind", SPACES)
def test_steps_are_those_of_dummy_vec_env(kind: str) -> None:
    steps = rollout(walks(LeanDummyVecEnv, kind=kind), 300)
    assert_same(steps, rollout(walks(DummyVecEnv, kind=kind), 300))
    # terminated before the limit, cut by it, and terminated in its step
    assert set(ends(steps)) == {(False, False), (True, True), (False, True)}


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("kind", ["float32", "dict"])
def test_what_a_step_returned_is_never_changed(kind: str, reuse: bool) -> None:
    """``reuse``: the environment returns the same array and the same info each time."""
    kept = rollout(walks(LeanDummyVecEnv, kind=kind, reuse=reuse), 50, keep=True)
    assert_same(kept, rollout(walks(LeanDummyVecEnv, kind=kind, reuse=reuse), 50))


def test_an_environment_may_reuse_its_observation_and_its_info() -> None:
    steps = rollout(walks(LeanDummyVecEnv, reuse=True), 50)
    own = rollout(walks(LeanDummyVecEnv), 50)
    for (*arrays, infos, _), (*own_arrays, own_infos, _) in zip(
        steps[1:-1], own[1:-1], strict=True
    ):
        np.testing.assert_equal(arrays, own_arrays)
        for info, own_info in zip(infos, own_infos, strict=True):
            assert info["path"].tolist() == own_info["path"].tolist()
            assert ("terminal_observation" in info) == ("terminal_observation" in own_info)
            last = own_info.get("terminal_observation")
            np.testing.assert_equal(info.get("terminal_observation"), last)


def test_the_environment_never_sees_what_a_user_writes() -> None:
    env = walks(LeanDummyVecEnv, kind="dict")
    obs, *_, infos = env.reset(), *env.step(np.zeros((3, 1), np.float32))
    obs.clear()
    infos[0]["path"][:] = 7
    obs, *_, infos = env.step(np.zeros((3, 1), np.float32))
    assert set(obs) == {"position", "room"} and infos[0]["path"].max() < 7


WRAPPERS: dict[str, Callable[[VecEnv], VecEnv]] = {
    "VecNormalize": VecNormalize,
    "VecFrameStack": partial(VecFrameStack, n_stack=2),
    "VecMonitor": VecMonitor,
}


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_give_what_they_give_over_dummy_vec_env(name: str) -> None:
    wrap = WRAPPERS[name]
    expected = rollout(wrap(walks(DummyVecEnv)), 100)
    assert_same(rollout(wrap(walks(LeanDummyVecEnv)), 100), expected)


def test_options_attributes_methods_and_frames_are_those_of_the_environments() -> None:
    env = walks(LeanDummyVecEnv)
    env.set_options([{"x": 0.25}, {"x": 0.5}, {}])
    first = env.reset()[:, 0].tolist()
    assert first[:2] == [0.25, 0.5] and abs(first[2]) <= 0.1
    assert np.abs(env.reset()[:, 0]).max() <= 0.1
    env.set_attr("gain", 5.0, indices=[1])
    assert env.get_attr("elapsed") == [0, 0, 0]
    assert env.env_method("double", 4.0, indices=[0, 2]) == [8.0, 8.0]
    env.close()


def test_frames_are_those_of_the_environments() -> None:
    frames = []
    for cls in (LeanDummyVecEnv, DummyVecEnv):
        env = walks(cls, render_mode="rgb_array")
        rollout(env, 5)
        frames.append(env.render())
    np.testing.assert_equal(*frames)
    assert frames[0].max() > 0


ALGORITHMS: list[tuple[type[BaseAlgorithm], dict[str, Any]]] = [
    (A2C, {}),
    (PPO, {"n_steps": 40, "batch_size": 60, "n_epochs": 2}),
    (SAC, {"learning_starts": 20, "gradient_steps": 1, "train_freq": 4}),
    (TDAC, {}),
]


@pytest.mark.parametrize(("algorithm", "settings"), ALGORITHMS)
def test_training_gives_the_parameters_of_dummy_vec_env(
    algorithm: type[BaseAlgorithm], settings: dict[str, Any]
) -> None:
    models = []
    for cls in (LeanDummyVecEnv, DummyVecEnv):
        env = make_vec_env("Pendulum-v1", n_envs=3, seed=0, vec_env_cls=cls)
        models.append(algorithm("MlpPolicy", env, seed=0, **settings).learn(720))
    ours, expected = (model.policy.state_dict() for model in models)
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    episodes, expected_episodes = ([e["r"] for e in m.ep_info_buffer] for m in models)
    assert episodes == expected_episodes and len(episodes) >= 3
    start = algorithm("MlpPolicy", env, seed=0, **settings).policy.state_dict()
    assert not all(torch.equal(ours[name], start[name]) for name in start)


def test_evaluation_gives_the_returns_of_dummy_vec_env() -> None:
    model = A2C("MlpPolicy", walks(DummyVecEnv), seed=0)
    returns = []
    for cls in (LeanDummyVecEnv, DummyVecEnv):
        env = walks(cls)
        env.seed(5)
        returns.append(
            evaluate_policy(deepcopy(model.policy), env, 10, return_episode_rewards=True)
        )
    assert returns[0] == returns[1]


def test_the_same_environment_twice_is_refused() -> None:
    env = Walk()
    with pytest.raises(ValueError, match="same instance"):
        LeanDummyVecEnv([lambda: env, lambda: env])
