"""A rollout checks steps, ends of episodes, and the raw values behind a ``VecNormalize``."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from helpers.environments import BOTH_PATHS
from helpers.faulty_environments import (
    BAD_NUMBERS,
    NAN,
    VECTOR,
    WHERE,
    Faulty,
    fails,
    faulty_model,
    normalized,
    scripted,
)
from helpers.model_state import assert_saved_and_finite
from stable_baselines3.common.vec_env import DummyVecEnv

STEPS = {
    "rewards column": (dict(rewards=np.ones((2, 1))), r"rewards .* one number .*, got \(2, 1\)"),
    "reward for all": (dict(rewards=np.ones(1)), r"rewards .* one number .*, got \(1,\)"),
    "reward scalar": (dict(rewards=1.0), r"rewards .* one number .*, got float"),
    "done nan": (dict(dones=np.array([0, np.nan])), rf"dones .* one flag .*nan.* in {WHERE}"),
    "infos None": (dict(infos=None), r"infos .* one dict .*, got NoneType"),
    "infos short": (dict(infos=[{}], dones=np.array([True, True])), r"infos .*, got \(1,\)"),
    "info None": (dict(infos=[{}, None]), rf"infos .* one dict .*, got None in {WHERE}"),
}


@pytest.mark.parametrize(("changes", "message"), STEPS.values(), ids=STEPS.keys())
def test_a_step_of_a_wrong_shape_is_named(changes: Any, message: str) -> None:
    fails(faulty_model(vec_env=scripted(changes, at=12)), ValueError, message)


def test_rewards_and_flags_may_be_lists_of_numbers() -> None:
    lists = dict(rewards=[1, 2.0], dones=[0, 1.0])
    model = faulty_model(vec_env=scripted(lists, at=2), normalize_reward=False).learn(8)
    assert model.rollout_buffer.rewards[1].tolist() == [1.0, 2.0]
    assert model.rollout_buffer.terminated[1].tolist() == [False, True]


# Ends of episodes


TERMINAL = {
    "none": (None, "TimeLimit.truncated but no terminal_observation"),
    "nan": (np.full(3, np.nan), f"terminal_observation {NAN}"),
    "shape": (np.ones(4), r"terminal_observation must have shape \(3,\)"),
    "ragged": ([[1], [2, 3]], r"terminal_observation must have shape \(3,\)"),
}


@pytest.mark.parametrize(("terminal", "message"), TERMINAL.values(), ids=TERMINAL.keys())
def test_a_bad_terminal_observation_of_a_time_limit_is_named(terminal: Any, message: str) -> None:
    class Forgetful(DummyVecEnv):
        def step_wait(self) -> Any:
            *rest, infos = super().step_wait()
            if model.num_timesteps == 8:  # step 5
                infos[1]["terminal_observation"] = terminal
            return *rest, infos

    model = faulty_model(vec_env=Forgetful)
    fails(model, ValueError, rf"(?s){message}.*environment 1 at step 5 of its episode")


def test_without_timelimit_truncated_an_end_is_a_terminal_state() -> None:
    class Silent(DummyVecEnv):
        def step_wait(self) -> Any:
            *rest, infos = super().step_wait()
            return *rest, [{k: v for k, v in i.items() if "TimeLimit" not in k} for i in infos]

    model = faulty_model(vec_env=Silent, env=dict(length=4)).learn(8)
    assert model.rollout_buffer.terminated[3].all() and not model.rollout_buffer.time_limits


@BOTH_PATHS
@pytest.mark.parametrize(
    ("length", "elapsed"), [(1, [0, 0, 0, 0]), (10**9, [36, 37, 38, 39])], ids=["always", "never"]
)
@pytest.mark.parametrize("end", [dict(), dict(terminated=True)], ids=["cut", "terminal"])
def test_a_model_trains_where_episodes_end_at_every_step_or_never(
    length: int, elapsed: list[int], end: Any, fast_path: bool
) -> None:
    """Ten rollouts of 4 steps; the last one starts at step 36 of an episode that never ends."""
    model = faulty_model(end, fast_path, env=dict(length=length), learning_rate=1e-2)
    before = model.policy.parameters_to_vector()
    after = model.learn(80).policy.parameters_to_vector()
    assert (after != before).any()
    assert model.rollout_buffer.elapsed_steps[:, 0].tolist() == elapsed
    assert_saved_and_finite(model)


# Behind a VecNormalize


def statistics(env: Any) -> list[Any]:
    return [*vars(env.obs_rms).values(), *vars(env.ret_rms).values()]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # VecNormalize computes with the bad number
@BOTH_PATHS
@pytest.mark.parametrize("name", [name for name in BAD_NUMBERS if "integer" not in name])
def test_a_bad_number_behind_vec_normalize_is_named_and_in_no_statistic(
    name: str, fast_path: bool
) -> None:
    fault, message = BAD_NUMBERS[name]
    model = faulty_model(fault, fast_path, normalized)
    env: Any = model.get_env()
    before: list[Any] = []

    def keep(now: Any, _: Any) -> bool:
        if now["self"].num_timesteps == 8:  # the end of the first rollout
            before.extend(statistics(env))
        return True

    with pytest.raises(ValueError, match=f"{message}.*{WHERE}"):
        model.learn(24, keep)
    np.testing.assert_equal(statistics(env), before)
    assert model.learn(16, reset_num_timesteps=False)._n_updates == 3
    assert_saved_and_finite(model)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("at", [0, 5], ids=["the first", "in training"])
def test_a_bad_observation_of_a_reset_behind_vec_normalize_is_named(at: int) -> None:
    class Resets(Faulty):
        def reset(self, **options: Any) -> Any:
            obs, info = super().reset(**options)
            return np.full(3, np.nan) if self.n_steps == at else obs, info

    model = faulty_model(vec_env=lambda _: normalized([Faulty, Resets]))
    where = rf"environment 1 at a reset \(time step {2 * at}, after {int(at > 0)} update"
    with pytest.raises(ValueError, match=rf"observation {NAN} in {where}"):
        model.learn(24)
    assert np.isfinite(model.get_env().obs_rms.mean).all()  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_entries_of_a_dict_behind_vec_normalize_are_named() -> None:
    space = spaces.Dict(a=VECTOR, b=VECTOR)
    fault = dict(obs=dict(a=np.zeros(3, np.float32), b=np.full(3, 1e30, np.float32)))
    options = dict(env=dict(space=space), policy="MultiInputPolicy")
    model = faulty_model(fault, vec_env=normalized, **options)
    with pytest.raises(ValueError, match=rf"observation 'b' is too large .*{WHERE}"):
        model.learn(24)
    for rms in model.get_env().obs_rms.values():  # type: ignore[union-attr]
        assert np.isfinite(rms.var).all() and rms.var.max() < 1e3
