"""``EnvPoolVecEnv`` against gymnasium's environments and against pools of one environment."""

import warnings
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers.vec_env_rollouts import assert_same, random_actions, rollout
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import EnvPoolVecEnv

envpool = pytest.importorskip("envpool", reason='needs EnvPool: pip install "sb3_tdac[envpool]"')
IDS = ["CartPole-v1", "Pendulum-v1", "HalfCheetah-v5", "CheetahRun-v1", "FrozenLake-v1"]


def pool(task_id: str, n_envs: int = 3, **kwargs: Any) -> EnvPoolVecEnv:
    return EnvPoolVecEnv(task_id, n_envs, num_threads=1, **kwargs)


def steps_by_hand(task_id: str, seed: int, actions: list[Any], limit: int) -> list[Any]:
    """(obs, reward, end) of EnvPool alone, without the fake transition after each episode."""
    with warnings.catch_warnings():  # about the bounds of its spaces
        warnings.simplefilter("ignore")
        env = envpool.make(
            task_id, "gymnasium", num_envs=1, num_threads=1, seed=seed, max_episode_steps=limit
        )
        env.observation_space, env.action_space  # noqa: B018
    steps = [(env.reset()[0], 0.0, False, None)]
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(np.array([action]))
        if end := bool(terminated[0] or truncated[0]):
            last, (obs, *_) = obs, env.step(np.array([action]))  # ignores the action
        steps.append((obs, reward[0], end, last if end else None))
    return steps


def row(obs: Any, i: int) -> Any:
    return {key: rows[i] for key, rows in obs.items()} if isinstance(obs, dict) else obs[i]


@pytest.mark.parametrize("task_id", IDS)
def test_steps_are_those_of_envpool_without_its_fake_transitions(task_id: str) -> None:
    limit = 15
    env = pool(task_id, max_episode_steps=limit)
    steps, actions = rollout(env, 100), random_actions(env, 100)
    n_ends = 0
    for i in range(3):
        expected = steps_by_hand(task_id, 3 + i, [a[i] for a in actions], limit)
        np.testing.assert_equal(row(steps[0][0], i), row(expected[0][0], 0))
        for step, (obs, reward, end, last) in zip(steps[1:-1], expected[1:], strict=True):
            assert step[1].dtype == np.float32 and step[1][i] == np.float32(reward)
            assert step[2][i] == end
            np.testing.assert_equal(row(step[0], i), row(obs, 0))
            assert ("terminal_observation" in step[3][i]) == end
            if end:
                np.testing.assert_equal(step[3][i]["terminal_observation"], row(last, 0))
                n_ends += 1
    assert n_ends >= 3 * 6


@pytest.mark.parametrize("limit", [9, 30])
def test_cartpole_and_its_time_limit_are_those_of_gymnasium(limit: int) -> None:
    """EnvPool alone reports a fall in the step of the limit as a truncation, which bootstraps."""
    env = pool("CartPole-v1", 4, seed=0, max_episode_steps=limit)
    single = gym.make("CartPole-v1").unwrapped
    single.reset()
    obs, lengths, kinds = env.reset(), np.zeros(4, int), set()
    for actions in random_actions(env, 400):
        states = obs
        obs, rewards, dones, infos = env.step(actions)
        lengths += 1
        for i, (state, action) in enumerate(zip(states, actions, strict=True)):
            single.state, single.steps_beyond_terminated = tuple(map(float, state)), None
            expected, _, terminated, _, _ = single.step(action)
            truncated = lengths[i] == limit
            assert rewards[i] == 1.0 and dones[i] == (terminated or truncated)
            assert infos[i]["TimeLimit.truncated"] == (truncated and not terminated)
            last = infos[i]["terminal_observation"] if dones[i] else obs[i]
            np.testing.assert_allclose(last, expected, rtol=1e-5, atol=1e-6)
            if dones[i]:
                assert np.abs(obs[i]).max() <= 0.05
                assert infos[i]["episode"]["l"] == infos[i]["episode"]["r"] == lengths[i]
                kinds.add((bool(terminated), bool(truncated)))
                lengths[i] = 0
    assert kinds >= {(True, True), (False, True)} and (limit < 30 or (True, False) in kinds)


def test_the_time_limit_is_that_of_the_id() -> None:
    env = pool("Pendulum-v1", 1)
    dones = [step[2][0] for step in rollout(env, 400)[1:-1]]
    assert np.flatnonzero(dones).tolist() == [199, 399]


def test_infos_are_those_of_the_task_and_not_of_the_pool() -> None:
    infos = rollout(pool("HalfCheetah-v5"), 1)[1][3]
    figures = {"reward_run", "reward_ctrl", "x_position", "x_velocity"}
    assert [set(info) for info in infos] == [figures | {"TimeLimit.truncated"}] * 3
    assert len({float(info["x_position"]) for info in infos}) == 3


@pytest.mark.parametrize("task_id", ["CartPole-v1", "CheetahRun-v1"])
def test_what_a_step_returned_is_never_changed(task_id: str) -> None:
    kept = rollout(pool(task_id, max_episode_steps=10), 50, keep=True)
    assert_same(kept, rollout(pool(task_id, max_episode_steps=10), 50))


def test_seeds_are_one_for_each_environment() -> None:
    first = pool("CartPole-v1", 3, seed=5).reset()
    again = pool("CartPole-v1", 3)
    again.seed(5)
    assert np.array_equal(again.reset(), first)
    assert not np.array_equal(again.reset(), first)
    assert np.array_equal(pool("CartPole-v1", 1, seed=6).reset()[0], first[1])
    unseeded = [pool("CartPole-v1", 3).reset() for _ in range(2)]
    assert not np.array_equal(*unseeded)


@pytest.mark.parametrize(
    "algorithm", [A2C, partial(PPO, n_steps=40, batch_size=80, n_epochs=2), TDAC]
)
def test_algorithms_learn(algorithm: Any) -> None:
    model = algorithm("MlpPolicy", VecNormalize(pool("CartPole-v1", 8)), seed=0).learn(2000)
    lengths = [episode["l"] for episode in model.ep_info_buffer]
    assert len(lengths) > 20 and sum(lengths) <= model.num_timesteps
    returns, lengths = evaluate_policy(
        model, pool("CartPole-v1", 3, seed=0), 6, return_episode_rewards=True
    )
    assert returns == lengths and len(returns) == 6


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_wrappers_see_the_last_observations() -> None:
    steps = rollout(VecMonitor(VecFrameStack(pool("CartPole-v1"), n_stack=2)), 60)
    plain = rollout(pool("CartPole-v1"), 60)
    np.testing.assert_equal([s[0][:, 4:] for s in steps], [s[0] for s in plain])
    for step, reference in zip(steps[1:-1], plain[1:-1], strict=True):
        for info, expected in zip(step[3], reference[3], strict=True):
            if "terminal_observation" in expected:
                last = info["terminal_observation"][4:]
                np.testing.assert_equal(last, expected["terminal_observation"])
                assert info["episode"] == expected["episode"]


def test_frames_are_one_for_each_environment() -> None:
    env = pool("CartPole-v1", 2, render_mode="rgb_array")
    env.reset()
    frames = env.get_images()
    assert len(frames) == 2 and not np.array_equal(frames[0], frames[1])
    assert pool("CartPole-v1", 2).get_images() == [None, None]
    env.close()


def test_a_batch_of_some_environments_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be n_envs = 4, got 2"):
        pool("CartPole-v1", 4, batch_size=2)
