"""Processes of environments that die, hang or are interrupted, or return a wrong shape."""

import multiprocessing
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers.faulty_environments import (
    WHERE,
    WRONG_SHAPES,
    Faulty,
    SensorError,
    dies,
    fails,
    faulty_model,
    raises,
)
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_tdac.vec_envs import GymnasiumVecEnv

#: They count processes and wait for their ends.
pytestmark = pytest.mark.serial


@pytest.fixture
def quick_processes() -> None:
    """Import once for all processes that the fork server starts."""
    multiprocessing.set_forkserver_preload(["stable_baselines3", "helpers.faulty_environments"])


@pytest.mark.parametrize("fault", [dies, raises])
def test_a_dead_process_is_named_and_the_others_end_though_their_close_hangs(
    quick_processes: None, fault: Any
) -> None:
    model = faulty_model(fault, vec_env=SubprocVecEnv, env=dict(hangs=True))
    env: Any = model.env
    code = 3 if fault is dies else 1
    message = f"the process of {WHERE} died with exit code {code}: .* set_env"
    try:
        info = fails(model, RuntimeError, message)
    finally:
        alive = [process for process in env.unwrapped.processes if process.is_alive()]
        for process in alive:
            process.kill()
    assert not alive and info.value.__cause__ is not None
    env.close()
    with pytest.raises(RuntimeError, match="env is closed: give the model another one by set_env"):
        model.learn(8)
    model.set_env(DummyVecEnv([Faulty, Faulty]))
    assert model.learn(8)._n_updates == 2


@pytest.mark.parametrize("call", ["step_wait", "reset"])
def test_after_ctrl_c_while_processes_answer_training_goes_on_with_a_reset(
    quick_processes: None, call: str
) -> None:
    """One of two replies stays in its pipe."""

    class Interrupted(SubprocVecEnv):
        def step_wait(self) -> Any:
            if interrupted == "step_wait":
                self.remotes[0].recv()
                raise KeyboardInterrupt
            return super().step_wait()

        def reset(self) -> Any:
            if interrupted == "reset":
                self.remotes[0].send(("reset", (None, None)))
                raise KeyboardInterrupt
            return super().reset()

    interrupted = ""
    model = faulty_model(vec_env=Interrupted).learn(8)
    interrupted = call
    with pytest.raises(KeyboardInterrupt):
        model.learn(8)
    interrupted = ""
    assert model.resume(16)._n_updates == 3
    model.get_env().close()  # type: ignore[union-attr]


def test_what_no_array_can_hold_is_named_with_its_process(quick_processes: None) -> None:
    """``SubprocVecEnv`` and numpy do not say which process it was."""
    model = faulty_model(vec_env=SubprocVecEnv)
    env: Any = model.env
    ragged = dict(obs=np.array([None, 1.0, 2.0], object))
    others = [ragged, dict(obs=None), dict(terminated="yes")]
    for fault in (
        *others,
        *(fault for fault in WRONG_SHAPES.values() if "terminated" not in fault),
    ):
        env.set_attr("fault", fault, indices=1)
        env.set_attr("n_steps", 0)
        with pytest.raises(ValueError, match=r"environment 1 at step 2 of its episode"):
            model.learn(24)
    env.set_attr("fault", dict(obs=np.ones(4)), indices=0)
    env.set_attr("at", 0)
    env.set_attr("n_steps", 0)
    with pytest.raises(ValueError, match=r"environment 0 at a reset \(time step 0"):
        model.learn(8)
    env.close()


@pytest.fixture
def async_env() -> Iterator[Any]:
    """Makes a vector environment of processes, and ends the processes after the test."""
    made: list[Any] = []

    def make(makers: Any) -> GymnasiumVecEnv:
        mode = gym.vector.AutoresetMode.SAME_STEP
        env = gym.vector.AsyncVectorEnv(makers, autoreset_mode=mode)
        made[:] = env, GymnasiumVecEnv(env)  # kept: a wrapper closes its environment when it goes
        return made[1]

    yield make
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of calls that are pending
        made[0].close(terminate=True)


@pytest.mark.filterwarnings("ignore:.*(Worker|Traceback|last exception)")
@pytest.mark.parametrize(("fault", "error"), [(raises, SensorError), (dies, EOFError)])
def test_an_error_from_gymnasiums_processes_keeps_its_type(
    async_env: Any, fault: Any, error: Any
) -> None:
    fails(faulty_model(fault, vec_env=async_env), error, f"raised by {WHERE}")


def test_after_ctrl_c_gymnasiums_processes_say_that_they_cannot_go_on(
    async_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(env: Any) -> Any:
        env.env.unwrapped.step_async(np.zeros((2, 2), np.float32))
        raise KeyboardInterrupt

    model = faulty_model(vec_env=async_env)
    monkeypatch.setattr(GymnasiumVecEnv, "step_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.learn(8)
    with pytest.raises(gym.error.AlreadyPendingCallError, match="pending call to `step`"):
        model.learn(8)
    model.set_env(DummyVecEnv([Faulty, Faulty]))
    assert model.resume(8)._n_updates == 1
