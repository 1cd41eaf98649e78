"""An environment's fault is named with its index and step, and leaves a model that can be saved."""

import multiprocessing
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.odd_environments import (
    Odd,
    SensorError,
    assert_saved_and_finite,
    dies,
    everything,
    odd_model,
    raises,
)
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_tdac.vec_envs import GymnasiumVecEnv, LeanDummyVecEnv


def sync_env(makers: Any) -> GymnasiumVecEnv:
    return GymnasiumVecEnv(gym.vector.SyncVectorEnv(makers))


# Step 7 of the second environment is the third of the second rollout (of 4 steps), and the second
# of its second episode (of 5); two environments make 14 time steps of it.
WHERE = r"environment 1 at step 2 of its episode \(time step 14, after 1 update\)"
VEC_ENVS = [DummyVecEnv, LeanDummyVecEnv, sync_env]
TOO_LARGE, NAN = r"is too large \(-1e\+30; the limit is 1e\+15\)", r"is not finite \(nan\)"
WRONG = {
    "obs of another shape": dict(obs=np.ones(4, np.float32)),
    "obs of text": dict(obs="abc"),
    "reward of text": dict(reward="a"),
    "reward of two": dict(reward=np.ones(2)),
    "reward beyond all floats": dict(reward=10**400),
    "terminated of two": dict(terminated=np.array([True, False])),
}
BAD_NUMBERS = {
    "obs nan": (dict(obs=np.full(3, np.nan)), f"observation {NAN}"),
    "obs None": (dict(obs=None), f"observation {NAN}"),
    "obs 1e30": (dict(obs=np.full(3, -1e30)), f"observation {TOO_LARGE}"),
    "reward nan": (dict(reward=np.nan), f"reward {NAN}"),
    "reward None": (dict(reward=None), f"reward {NAN}"),
    "reward 1e30": (dict(reward=-1e30), f"reward {TOO_LARGE}"),
    "reward of an integer that overflows": (
        dict(reward=np.int64(-(2**63))),
        r"reward is too large",
    ),
}


def fails(model: Any, error: type[Exception], message: str) -> pytest.ExceptionInfo[Exception]:
    """In the second rollout; the model stays that of the first update."""
    before = everything(model.learn(8))
    with pytest.raises(error, match=message) as info:
        model.learn(16, reset_num_timesteps=False)
    for one, other in zip(everything(model), before, strict=True):
        assert torch.equal(one, other)
    assert_saved_and_finite(model)
    return info


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("vec_env", VEC_ENVS)
@pytest.mark.parametrize(("fault", "message"), BAD_NUMBERS.values(), ids=BAD_NUMBERS.keys())
def test_a_bad_number_is_named_with_its_environment_and_step(
    fault: Any, message: str, vec_env: Any, fast_path: bool
) -> None:
    if vec_env is sync_env and fault.get("obs", 0) is None:
        pytest.skip("gymnasium refuses it itself")
    fails(odd_model(fault, fast_path, vec_env), ValueError, f"{message}.*{WHERE}")


@pytest.mark.parametrize("vec_env", [DummyVecEnv, LeanDummyVecEnv])
@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_shape_or_type_is_named_with_its_environment_and_step(
    fault: Any, vec_env: Any
) -> None:
    message = f"{WHERE} is not what its VecEnv can take: .*Mend the environment"
    info = fails(odd_model(fault, vec_env=vec_env), ValueError, message)
    assert info.value.__cause__ is not None


def test_gymnasiums_refusal_of_a_shape_says_when() -> None:
    model = odd_model(WRONG["obs of another shape"], vec_env=sync_env)
    message = r"one of the environments \(after time step 12\) is not what its VecEnv can take"
    fails(model, ValueError, message)


@pytest.mark.parametrize("vec_env", VEC_ENVS)
def test_an_error_of_the_environment_keeps_its_type_and_traceback(vec_env: Any) -> None:
    info = fails(odd_model(raises, vec_env=vec_env), SensorError, f"raised by {WHERE}")
    assert info.traceback[-1].name == "raises" and info.value.args == ("no signal",)


@pytest.mark.parametrize("vec_env", VEC_ENVS)
def test_an_error_in_the_first_reset_names_the_environment(vec_env: Any) -> None:
    model = odd_model(raises, vec_env=vec_env, odd=dict(at=0))
    with pytest.raises(SensorError, match=r"raised by environment 1 at a reset \(time step 0"):
        model.learn(8)


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_bad_first_observation_is_named(fast_path: bool) -> None:
    model = odd_model(dict(obs=np.full(3, np.inf)), fast_path, odd=dict(at=0))
    with pytest.raises(
        ValueError, match=r"observation is not finite \(inf\) in environment 1 at a"
    ):
        model.learn(8)


def test_after_an_error_training_goes_on_with_a_reset() -> None:
    model = odd_model(BAD_NUMBERS["reward nan"][0])
    with pytest.raises(ValueError, match="reward"):
        model.learn(24)
    assert model.learn(16, reset_num_timesteps=False)._n_updates == 3
    assert_saved_and_finite(model)


SPACES = {
    "discrete": (spaces.Discrete(3), 3),
    "multidiscrete": (spaces.MultiDiscrete([3, 2]), np.array([0, 2])),
    "multibinary": (spaces.MultiBinary(2), np.array([0, 2], np.int8)),
}


@pytest.mark.parametrize(("space", "obs"), SPACES.values(), ids=SPACES.keys())
def test_an_observation_outside_of_a_discrete_space_is_named(space: Any, obs: Any) -> None:
    model = odd_model(dict(obs=obs), odd=dict(space=space))
    fails(model, ValueError, rf"(?s)observation is not in .*{WHERE}")


@pytest.mark.parametrize("terminal", [None, np.full(3, np.nan), np.ones(4), [[1], [2, 3]]])
def test_a_bad_terminal_observation_of_a_time_limit_is_named(terminal: Any) -> None:
    class Forgetful(DummyVecEnv):
        def step_wait(self) -> Any:
            *rest, infos = super().step_wait()
            if model.num_timesteps == 8:  # step 5
                infos[1]["terminal_observation"] = terminal
            return *rest, infos

    model = odd_model(vec_env=Forgetful)
    message = r"(?s)terminal_observation.*environment 1 at step 5 of its episode"
    fails(model, ValueError, message)


def test_without_timelimit_truncated_an_end_is_a_terminal_state() -> None:
    class Silent(DummyVecEnv):
        def step_wait(self) -> Any:
            *rest, infos = super().step_wait()
            return *rest, [{k: v for k, v in i.items() if "TimeLimit" not in k} for i in infos]

    model = odd_model(vec_env=Silent, odd=dict(length=4)).learn(8)
    assert model.rollout_buffer.terminated[3].all() and not model.rollout_buffer.time_limits


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("length", [1, 10**9], ids=["every step", "never"])
@pytest.mark.parametrize("end", [dict(), dict(terminated=True)], ids=["cut", "terminal"])
def test_episodes_that_end_at_every_step_or_never_train(
    length: int, end: Any, fast_path: bool
) -> None:
    model = odd_model(end, fast_path, odd=dict(length=length), learning_rate=1e-2)
    before = model.policy.parameters_to_vector()
    assert (model.learn(80).policy.parameters_to_vector() != before).any()
    assert_saved_and_finite(model)


@pytest.fixture
def quick_processes() -> None:
    """Import once for all processes that the fork server starts."""
    multiprocessing.set_forkserver_preload(["stable_baselines3", "odd_environments"])


@pytest.mark.parametrize("fault", [dies, raises])
def test_a_dead_process_is_named_and_the_others_end_though_their_close_hangs(
    quick_processes: None, fault: Any
) -> None:
    model = odd_model(fault, vec_env=SubprocVecEnv, odd=dict(hangs=True))
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
    model.set_env(DummyVecEnv([Odd, Odd]))
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
    model = odd_model(vec_env=Interrupted).learn(8)
    interrupted = call
    with pytest.raises(KeyboardInterrupt):
        model.learn(8)
    interrupted = ""
    assert model.resume(16)._n_updates == 3
    model.get_env().close()  # type: ignore[union-attr]


def test_what_no_array_can_hold_is_named_with_its_process(quick_processes: None) -> None:
    """Which of them it was, ``SubprocVecEnv`` and numpy do not say."""
    model = odd_model(vec_env=SubprocVecEnv)
    env: Any = model.env
    ragged = dict(obs=np.array([None, 1.0, 2.0], object))
    others = [ragged, dict(obs=None), dict(terminated="yes")]
    for fault in (*others, *(fault for fault in WRONG.values() if "terminated" not in fault)):
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
    """What makes a vector environment of processes, which end with the test."""
    made: list[Any] = []

    def make(makers: Any) -> GymnasiumVecEnv:
        mode = gym.vector.AutoresetMode.SAME_STEP
        made.append(gym.vector.AsyncVectorEnv(makers, autoreset_mode=mode))
        return GymnasiumVecEnv(made[0])

    yield make
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of calls that are pending
        made[0].close(terminate=True)


@pytest.mark.filterwarnings("ignore:.*(Worker|Traceback|last exception)")
@pytest.mark.parametrize(("fault", "error"), [(raises, SensorError), (dies, EOFError)])
def test_an_error_from_gymnasiums_processes_keeps_its_type(
    async_env: Any, fault: Any, error: Any
) -> None:
    fails(odd_model(fault, vec_env=async_env), error, f"raised by {WHERE}")


def test_after_ctrl_c_gymnasiums_processes_say_that_they_cannot_go_on(
    async_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(env: Any) -> Any:
        env.env.unwrapped.step_async(env._actions)
        raise KeyboardInterrupt

    model = odd_model(vec_env=async_env)
    monkeypatch.setattr(GymnasiumVecEnv, "step_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.learn(8)
    with pytest.raises(gym.error.AlreadyPendingCallError, match="pending call to `step`"):
        model.learn(8)
    model.set_env(DummyVecEnv([Odd, Odd]))
    assert model.resume(8)._n_updates == 1


def scripted(changes: dict[str, Any], at: int) -> Any:
    """A ``VecEnv`` of other people, with something changed after that time step."""

    class Scripted(DummyVecEnv):
        steps = 0

        def step_wait(self) -> Any:
            names = ("obs", "rewards", "dones", "infos")
            step = dict(zip(names, super().step_wait(), strict=True))
            self.steps += 2
            return tuple((step | changes if self.steps == at + 2 else step).values())

    return Scripted


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
    fails(odd_model(vec_env=scripted(changes, at=12)), ValueError, message)


def test_rewards_and_flags_may_be_lists_of_numbers() -> None:
    lists = dict(rewards=[1, 2.0], dones=[0, 1.0])
    model = odd_model(vec_env=scripted(lists, at=2), normalize_reward=False).learn(8)
    assert model.rollout_buffer.rewards[1].tolist() == [1.0, 2.0]
    assert model.rollout_buffer.terminated[1].tolist() == [False, True]


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("at", [10, 14], ids=["within", "last"])
@pytest.mark.parametrize(
    ("obs", "given"),
    [
        (np.zeros((2, 3)).tolist(), "list"),
        (None, "NoneType"),
        (np.zeros((2, 3), complex), "complex128"),
        (np.zeros((1, 3)), r"an array \(1, 3\) for 2 environments"),
    ],
)
def test_observations_that_are_no_array_of_numbers_are_refused_at_any_step(
    obs: Any, given: str, at: int, fast_path: bool
) -> None:
    model = odd_model(vec_env=scripted(dict(obs=obs), at), fast_path=fast_path)
    fails(model, ValueError, rf"must have shape \(3,\) and be of numbers, got {given}")


def test_none_among_discrete_observations_is_named() -> None:
    vec_env = scripted(dict(obs=np.array([0, None])), at=12)
    model = odd_model(vec_env=vec_env, odd=dict(space=spaces.Discrete(3)))
    fails(model, ValueError, rf"must have shape \(\) and be of numbers, got object in {WHERE}")
