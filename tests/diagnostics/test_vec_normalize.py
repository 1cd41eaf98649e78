"""Behind a ``VecNormalize`` a fault is named as without it, and its statistics stay good."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from helpers.odd_environments import VECTOR, Odd, assert_saved_and_finite, odd_model
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from test_misbehaving_envs import BAD_NUMBERS, NAN, WHERE


def normalized(makers: Any) -> VecNormalize:
    return VecNormalize(DummyVecEnv(makers))


def statistics(env: Any) -> list[Any]:
    return [*vars(env.obs_rms).values(), *vars(env.ret_rms).values()]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of what VecNormalize computes with it
@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("name", [name for name in BAD_NUMBERS if "integer" not in name])
def test_a_bad_number_behind_vec_normalize_is_named_and_in_no_statistic(
    name: str, fast_path: bool
) -> None:
    fault, message = BAD_NUMBERS[name]
    model = odd_model(fault, fast_path, normalized)
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
    class Resets(Odd):
        def reset(self, **options: Any) -> Any:
            obs, info = super().reset(**options)
            return np.full(3, np.nan) if self.n_steps == at else obs, info

    model = odd_model(vec_env=lambda _: normalized([Odd, Resets]))
    where = rf"environment 1 at a reset \(time step {2 * at}, after {int(at > 0)} update"
    with pytest.raises(ValueError, match=rf"observation {NAN} in {where}"):
        model.learn(24)
    assert np.isfinite(model.get_env().obs_rms.mean).all()  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_entries_of_a_dict_behind_vec_normalize_are_named() -> None:
    space = spaces.Dict(a=VECTOR, b=VECTOR)
    fault = dict(obs=dict(a=np.zeros(3, np.float32), b=np.full(3, 1e30, np.float32)))
    options = dict(odd=dict(space=space), policy="MultiInputPolicy")
    model = odd_model(fault, vec_env=normalized, **options)
    with pytest.raises(ValueError, match=rf"observation 'b' is too large .*{WHERE}"):
        model.learn(24)
    for rms in model.get_env().obs_rms.values():  # type: ignore[union-attr]
        assert np.isfinite(rms.var).all() and rms.var.max() < 1e3
