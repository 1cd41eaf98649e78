"""SB3's own tests with TDAC in A2C's place: callbacks, wrappers, seeds and time limits."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.environments import STATES, Clock, small_model
from helpers.model_state import State, assert_identical, differences, state
from helpers.recorders import Recorder
from stable_baselines3.common import callbacks
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from sb3_tdac import TDAC, TEXTBOOK


def test_callback_locals_are_what_happened_at_the_step() -> None:
    envs = [lambda: Monitor(Clock(reward=1.0)), lambda: Monitor(Clock(reward=2.0))]
    model = small_model(DummyVecEnv(envs), policy_kwargs=dict(std_init=1.0, std_bounds=(0.1, 1.0)))
    model.learn(16, recorder := Recorder())
    assert len(recorder.steps) == 8
    for t, step in enumerate(recorder.steps):
        # the middle of [0, 10] is 5, and half of the range 5
        expected = np.clip(5 + 5 * step["actions"], 0, 10)
        np.testing.assert_allclose(step["clipped_actions"], expected, rtol=1e-6)
        np.testing.assert_array_equal(step["rewards"], [1, 2])
        np.testing.assert_array_equal(step["dones"], 2 * [t % 3 == 2])
        np.testing.assert_array_equal(step["new_obs"], 2 * [STATES[(t + 1) % 3]])
    assert max(abs(step["actions"]).max() for step in recorder.steps) > 1
    infos = recorder.steps[5]["infos"]
    assert [(info["episode"]["r"], info["episode"]["l"]) for info in infos] == [(3, 3), (6, 3)]
    np.testing.assert_array_equal(infos[0]["terminal_observation"], STATES[3])


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_callback_stops_training_before_the_next_update(stop: int) -> None:
    model = small_model()
    before = model.policy.parameters_to_vector()
    model.learn(100, Recorder(stop))
    assert (model.num_timesteps, model._n_updates) == (stop, (stop - 1) // 4)
    assert np.array_equal(model.policy.parameters_to_vector(), before) == (stop <= 4)


def test_eval_callback_saves_the_best_model_and_stops_at_a_threshold(tmp_path: Path) -> None:
    stop = callbacks.StopTrainingOnRewardThreshold(2.9)
    env, folder = Monitor(Clock()), str(tmp_path)
    evaluation = callbacks.EvalCallback(env, None, stop, 5, 6, folder, folder)
    model = small_model().learn(100, evaluation)
    assert (model.num_timesteps, evaluation.best_mean_reward) == (6, 3.0)
    assert_identical(state(TDAC.load(tmp_path / "best_model")), state(model))
    np.testing.assert_array_equal(np.load(tmp_path / "evaluations.npz")["results"], [5 * [3.0]])


def test_checkpoints_are_models(tmp_path: Path) -> None:
    small_model().learn(16, callbacks.CheckpointCallback(5, str(tmp_path)))
    assert len(list(tmp_path.iterdir())) == 3
    for steps in (5, 10, 15):
        assert TDAC.load(tmp_path / f"rl_model_{steps}_steps").num_timesteps == steps


@pytest.mark.parametrize("n_envs", [1, 2])
def test_training_stops_after_a_number_of_episodes(n_envs: int) -> None:
    model = small_model(make_vec_env(Clock, n_envs))
    model.learn(100, callbacks.StopTrainingOnMaxEpisodes(max_episodes=2))
    assert model.num_timesteps == 2 * 3 * n_envs


def normalized(env: Any) -> VecNormalize:
    env = VecNormalize(env, training=False, norm_reward=False)
    env.obs_rms.var[:] = 0.25
    return env


WRAPPERS = [
    (normalized, 2 * STATES[3]),  # mean 0, std 1/2
    (lambda env: VecFrameStack(env, n_stack=2), np.concatenate([STATES[2], STATES[3]])),
]


@pytest.mark.parametrize(("wrap", "expected"), WRAPPERS)
def test_the_state_cut_by_a_time_limit_comes_through_wrappers(wrap: Any, expected: Any) -> None:
    env = wrap(make_vec_env(Clock))
    model = small_model(env)
    model.learn(4, recorder := Recorder())
    batch = recorder.batches[0]
    np.testing.assert_allclose(batch.states[batch.successor[2]], expected, rtol=1e-4)
    assert not batch.terminated.any()
    assert model.get_vec_normalize_env() is (env if isinstance(env, VecNormalize) else None)


def run(vec_env_cls: Any = DummyVecEnv, seed: int = 3, **vec_env_kwargs: Any) -> State:
    env = make_vec_env("Pendulum-v1", 2, vec_env_cls=vec_env_cls, vec_env_kwargs=vec_env_kwargs)
    trained = state(small_model(env, seed=seed).learn(80))
    env.close()
    return trained


def test_a_seed_reproduces_a_run_bit_for_bit_also_in_other_processes() -> None:
    expected = run()
    assert_identical(run(), expected)
    multiprocessing.set_forkserver_preload(["stable_baselines3"])  # once, not in each process
    assert_identical(run(SubprocVecEnv, start_method="forkserver"), expected)
    assert differences(run(seed=4), expected)


def test_learning_in_two_pieces_is_learning_in_one() -> None:
    options = TEXTBOOK | dict(learning_rate=1e-3)
    whole, pieces = small_model(**options).learn(16), small_model(**options).learn(8)
    pieces.learn(8, reset_num_timesteps=False)
    assert (pieces.num_timesteps, pieces._n_updates) == (16, 4)
    assert pieces.get_env().envs[0].unwrapped.n_resets == 6  # one, and one for each 3 steps
    assert_identical(state(pieces), state(whole))
    assert pieces.learn(8).num_timesteps == 8


HORIZONS = [
    (8, False, [10.0, 10.0, 10.0, 10.0]),  # 1 / (1 - 0.9), the limit does not end the world
    (3, True, [2.71, 1.9, 1.0]),  # 1 + 0.9 + 0.81, 1 + 0.9, 1
]


@pytest.mark.parametrize(("length", "terminates", "expected"), HORIZONS)
def test_value_is_the_discounted_sum_to_the_end_and_beyond_a_time_limit(
    length: int, terminates: bool, expected: list[float]
) -> None:
    options = dict(n_steps=16, policy_kwargs=dict(net_arch=[]), normalize_reward=False)
    critic = dict(critic_learning_rate="lin_0.1", critic_steps=8)
    model = small_model(Clock(length, terminates), gamma=0.9, **critic, **options).learn(1000)
    values = model.policy.predict_values(torch.as_tensor(STATES[: len(expected)]))
    np.testing.assert_allclose(values.detach().flatten(), expected, rtol=0.02)
