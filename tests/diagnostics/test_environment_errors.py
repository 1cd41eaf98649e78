"""What an environment raises, or returns in a wrong shape, is named with environment and step."""

from typing import Any

import numpy as np
import pytest
from helpers.faulty_environments import (
    WHERE,
    WRONG_SHAPES,
    SensorError,
    fails,
    faulty_model,
    raises,
    sync_env,
)
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_tdac.vec_envs import LeanDummyVecEnv

VEC_ENVS = [DummyVecEnv, LeanDummyVecEnv, sync_env]


@pytest.mark.parametrize("vec_env", [DummyVecEnv, LeanDummyVecEnv])
@pytest.mark.parametrize("fault", WRONG_SHAPES.values(), ids=WRONG_SHAPES.keys())
def test_a_wrong_shape_or_type_is_named_with_its_environment_and_step(
    fault: Any, vec_env: Any
) -> None:
    message = f"{WHERE} is not what its VecEnv can take: .*check_env finds more"
    info = fails(faulty_model(fault, vec_env=vec_env), ValueError, message)
    assert info.value.__cause__ is not None


def test_gymnasiums_refusal_of_a_shape_says_when() -> None:
    model = faulty_model(WRONG_SHAPES["obs of another shape"], vec_env=sync_env)
    message = r"one of the environments \(after time step 12\) is not what its VecEnv can take"
    fails(model, ValueError, message)


@pytest.mark.parametrize("vec_env", VEC_ENVS)
def test_an_error_of_the_environment_keeps_its_type_and_traceback(vec_env: Any) -> None:
    info = fails(faulty_model(raises, vec_env=vec_env), SensorError, f"raised by {WHERE}")
    assert info.traceback[-1].name == "raises" and info.value.args == ("no signal",)


@pytest.mark.parametrize("vec_env", VEC_ENVS)
def test_an_error_in_the_first_reset_names_the_environment(vec_env: Any) -> None:
    model = faulty_model(raises, vec_env=vec_env, env=dict(at=0))
    with pytest.raises(SensorError, match=r"raised by environment 1 at a reset \(time step 0"):
        model.learn(8)


@pytest.mark.parametrize("call", ["callback", "policy"])
def test_an_error_of_other_code_is_not_blamed_on_an_environment(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise SensorError("no signal")

    model = faulty_model(fast_path=False)
    if call == "policy":
        monkeypatch.setattr(model.policy, "sample", fail)
    with pytest.raises(SensorError) as info:
        model.learn(8, fail if call == "callback" else None)
    assert not getattr(info.value, "__notes__", [])


def test_after_an_error_training_goes_on_with_a_reset() -> None:
    model = faulty_model(raises)
    with pytest.raises(SensorError):
        model.learn(24)
    env: Any = model.get_env()
    assert model.learn(16, reset_num_timesteps=False)._n_updates == 3
    assert np.isfinite(env.buf_obs[None]).all()
    assert model.rollout_buffer.elapsed_steps[:, 0].tolist() == [4, 0, 1, 2]
