"""Errors and wrong shapes from an environment are named with environment and step."""

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
from helpers.model_state import assert_saved_and_finite
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper

from sb3_tdac.vec_envs import LeanDummyVecEnv

VEC_ENVS = [DummyVecEnv, LeanDummyVecEnv, sync_env]


@pytest.mark.parametrize("vec_env", [DummyVecEnv, LeanDummyVecEnv])
@pytest.mark.parametrize("fault", WRONG_SHAPES.values(), ids=WRONG_SHAPES.keys())
def test_a_wrong_shape_or_type_is_named_with_its_environment_and_step(
    fault: Any, vec_env: Any
) -> None:
    message = f"{WHERE} has a type or shape that its VecEnv cannot take: .*check_env finds more"
    info = fails(faulty_model(fault, vec_env=vec_env), ValueError, message)
    assert info.value.__cause__ is not None


def test_gymnasiums_refusal_of_a_shape_says_when() -> None:
    model = faulty_model(WRONG_SHAPES["obs of another shape"], vec_env=sync_env)
    where = r"one of the environments \(after time step 12\)"
    message = f"{where} has a type or shape that its VecEnv cannot take"
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


class Failing(BaseCallback):
    """Raises where the training starts, or at its first step."""

    def __init__(self, at_start: bool):
        super().__init__()
        self.at_start = at_start

    def _init_callback(self) -> None:
        if self.at_start:
            raises()

    def _on_step(self) -> bool:
        return raises()


@pytest.mark.parametrize("at_start", [True, False])
def test_an_error_of_a_callback_is_not_blamed_on_an_environment(at_start: bool) -> None:
    with pytest.raises(SensorError) as info:
        faulty_model().learn(8, Failing(at_start))
    assert not getattr(info.value, "__notes__", [])


@pytest.mark.parametrize("fault", [raises, dict(reward=np.nan)], ids=["error", "reward"])
def test_after_an_error_training_goes_on_with_a_reset(fault: Any) -> None:
    """The last of two rollouts holds step 5 of the new episode and three of the next one."""
    model = faulty_model(fault)
    with pytest.raises((SensorError, ValueError)):
        model.learn(24)
    assert model.learn(16, reset_num_timesteps=False)._n_updates == 3
    assert model.rollout_buffer.elapsed_steps[:, 0].tolist() == [4, 0, 1, 2]
    assert_saved_and_finite(model)


class Looping(VecEnvWrapper):
    """Fails in a loop of its own, over something else than environments."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        for i in range(9):
            if i == 8:
                raises()


def test_a_loop_of_a_foreign_wrapper_is_not_taken_for_the_index_of_an_environment() -> None:
    model = faulty_model(vec_env=lambda makers: Looping(DummyVecEnv(makers)))
    with pytest.raises(SensorError) as info:
        model.learn(8)
    (note,) = info.value.__notes__
    assert note.startswith("raised by one of the environments (after time step 0)")
