"""Collecting and training: what a rollout computes, the actor's warm-up, figures in the log."""

from typing import Any

import numpy as np
import pytest
from helpers.environments import BOTH_PATHS, small_model, steps_envs
from helpers.recorders import rows_of, train_keys
from stable_baselines3.common.callbacks import BaseCallback

from sb3_tdac import TDAC, TEXTBOOK
from sb3_tdac.policies import TDACPolicy


def test_the_actor_warms_up_while_the_critic_learns() -> None:
    """Four updates, a warm-up over the first half: the rate is half up, then all the way."""
    rates = dict(learning_rate=0.05, critic_learning_rate=0.1, actor_warmup=0.5)
    model = small_model(steps_envs(), **TEXTBOOK | rates)
    seen: list[float] = []
    for optimizer in (model.policy.critic_optimizer, model.policy.optimizer):
        optimizer.register_step_post_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
    model.learn(4 * 8)
    assert seen[0::2] == [0.1] * 4
    assert seen[1::2] == pytest.approx([0.025, 0.05, 0.05, 0.05])


def test_rollouts_call_neither_critic_nor_density(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(steps_envs(), **TEXTBOOK)

    def fail(*_: Any) -> None:
        raise AssertionError("called while collecting")

    monkeypatch.setattr(model, "train", lambda: None)
    monkeypatch.setattr("sb3_tdac.equations.gaussian_log_prob", fail)
    monkeypatch.setattr(TDACPolicy, "predict_values", fail)
    model.learn(16)
    monkeypatch.undo()
    assert model.num_timesteps == 16 and model.rollout_buffer.rewards.all()


def test_environment_gets_the_sampled_action_clipped_and_the_buffer_keeps_it_as_sampled() -> None:
    """The density must see what was sampled. With a std of 5, most actions leave [-2, 2]."""
    policy_kwargs = TEXTBOOK["policy_kwargs"] | dict(std_init=5.0)
    model = small_model(steps_envs(), **TEXTBOOK | dict(policy_kwargs=policy_kwargs))
    model.learn(8)
    stored = model.rollout_buffer.actions
    for index, env in enumerate(model.get_env().envs):
        np.testing.assert_array_equal(env.unwrapped.actions, stored[:, index].clip(-2, 2))
    assert (abs(stored) > 2).mean() > 0.3


class DumpAlways(BaseCallback):
    """Writes the log before a rollout, and after each of its steps and a prediction."""

    def _on_rollout_start(self) -> None:
        self.model.dump_logs()

    def _on_step(self) -> bool:
        self.model.predict(self.locals["new_obs"])
        self.model.dump_logs()
        return True


@BOTH_PATHS
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_figures_of_the_last_update_outlive_the_next_actions(env_id: str, fast_path: bool) -> None:
    """They are computed when the log is written; SB3's distributions are one object each."""
    model = TDAC("MlpPolicy", env_id, n_steps=8, seed=0, fast_path=fast_path, device="cpu")
    rows = rows_of(model)
    model.learn(24, DumpAlways(), log_interval=None)
    figures = [{key: row[key] for key in train_keys(row)} for row in rows]
    assert figures[:9] == [{}] * 9
    after_first, after_second = figures[9:18], figures[18:]
    assert after_first == [after_first[0]] * 9 and after_second == [after_second[0]] * 9
    assert after_first[0]["train/entropy"] != after_second[0]["train/entropy"]


def test_a_model_without_n_steps_makes_an_update_of_32_transitions() -> None:
    for n_envs, n_steps in ((1, 32), (2, 16), (5, 6), (40, 1)):
        assert TDAC("MlpPolicy", steps_envs(range(n_envs)), device="cpu").n_steps == n_steps


def test_rewards_are_divided_by_the_root_mean_square_of_the_discounted_returns() -> None:
    """A reward of 1 in episodes of 3 steps, cut by a limit; gamma is 1/2.

    Returns of four steps: 1, 1.5, 1.75, and 1 of the next episode; their mean square is 1.828125.
    """
    options = dict(normalize_reward=True, gamma=0.5)
    model = small_model(**TEXTBOOK | options).learn(4)
    expected = np.full((4, 1), 1.828125**-0.5)
    np.testing.assert_allclose(model.rollout_buffer.rewards, expected, rtol=1e-4)


@BOTH_PATHS
def test_the_reward_scale_remembers_a_tenth_of_the_training_and_at_least_1000_returns(
    fast_path: bool,
) -> None:
    model = small_model(fast_path=fast_path)
    for num_timesteps, memory in ((0, 1_000), (50_000, 5_000)):
        model.num_timesteps = num_timesteps
        model.learn(4, reset_num_timesteps=False)
        assert model.return_stats.memory == pytest.approx(memory, abs=1)
