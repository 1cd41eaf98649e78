"""The native CartPole: steps of the single one, resets in the step that ends an episode."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers.vec_env_rollouts import assert_same, random_actions, rollout
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import GymnasiumVecEnv


@pytest.mark.parametrize("limit", [9, 30])
def test_transitions_of_the_native_cartpole_are_those_of_the_single_one(limit: int) -> None:
    env = GymnasiumVecEnv.make("CartPole-v1", n_envs=4, seed=0, max_episode_steps=limit)
    single = gym.make("CartPole-v1").unwrapped
    single.reset()
    obs, lengths, kinds = env.reset(), np.zeros(4, int), set()
    for actions in random_actions(env, 400):
        states = env.env.unwrapped.state.T.copy()
        np.testing.assert_array_equal(states.astype(np.float32), obs)
        obs, rewards, dones, infos = env.step(actions)
        lengths += 1
        assert obs.dtype == rewards.dtype == np.float32 and dones.dtype == bool
        for i, (state, action) in enumerate(zip(states, actions, strict=True)):
            single.state, single.steps_beyond_terminated = tuple(state), None
            expected, reward, terminated, _, _ = single.step(action)
            truncated = lengths[i] == limit
            assert rewards[i] == reward == 1.0
            assert dones[i] == (terminated or truncated)
            assert infos[i]["TimeLimit.truncated"] == (truncated and not terminated)
            last = infos[i]["terminal_observation"] if dones[i] else obs[i]
            np.testing.assert_allclose(last, expected, rtol=1e-6, atol=1e-7)
            if dones[i]:
                assert np.abs(obs[i]).max() <= 0.05  # the first states of CartPole
                episode = infos[i]["episode"]
                assert episode["l"] == lengths[i] and episode["r"] == lengths[i]
                kinds.add((bool(terminated), bool(truncated)))
                lengths[i] = 0
            else:
                assert set(infos[i]) == {"TimeLimit.truncated"}
    # terminated, truncated, and both in the same step
    assert kinds >= {(True, True), (False, True)} and (limit < 30 or (True, False) in kinds)


def test_native_envs_have_the_time_limit_of_their_id() -> None:
    assert GymnasiumVecEnv.make("CartPole-v1").get_attr("max_episode_steps") == [500]
    assert GymnasiumVecEnv.make("CartPole-v0", n_envs=2).get_attr("max_episode_steps") == [200] * 2


def test_a_seed_gives_the_same_native_steps() -> None:
    steps = [rollout(GymnasiumVecEnv.make("CartPole-v1", n_envs=3), 60) for _ in range(2)]
    assert_same(*steps)
    first = [GymnasiumVecEnv.make("CartPole-v1", 3, seed=seed).reset() for seed in (0, 0, 1)]
    assert np.array_equal(first[0], first[1]) and not np.array_equal(first[0], first[2])


@pytest.mark.parametrize(
    "algorithm", [A2C, partial(PPO, n_steps=40, batch_size=80, n_epochs=2), TDAC]
)
def test_algorithms_learn_on_the_native_cartpole(algorithm: Any) -> None:
    env = GymnasiumVecEnv.make("CartPole-v1", n_envs=8, seed=0)
    model = algorithm("MlpPolicy", VecNormalize(env), seed=0).learn(2000)
    lengths = [episode["l"] for episode in model.ep_info_buffer]
    assert len(lengths) > 20 and sum(lengths) <= model.num_timesteps


def test_evaluation_needs_no_monitor() -> None:
    env = GymnasiumVecEnv.make("CartPole-v1", n_envs=3, seed=0)
    model = A2C("MlpPolicy", env, seed=0)
    returns, lengths = evaluate_policy(model, env, 6, return_episode_rewards=True)
    assert returns == lengths and len(returns) == 6  # one reward a step
