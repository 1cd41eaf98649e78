"""``GymnasiumVecEnv`` gives the steps of ``DummyVecEnv`` and refuses what it cannot make exact."""

import sys
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import RescaleAction
from helpers.vec_env_rollouts import SPACES, Walk, assert_same, ends, rollout
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import EnvPoolVecEnv, GymnasiumVecEnv

MODES = list(AutoresetMode)
SAME = AutoresetMode.SAME_STEP


def dummy(kind: str = "float32") -> VecEnv:
    return make_vec_env(partial(Walk, kind), n_envs=3)


def sync(kind: str = "float32", mode: AutoresetMode = SAME, **kwargs: Any) -> GymnasiumVecEnv:
    return GymnasiumVecEnv(SyncVectorEnv([partial(Walk, kind)] * 3, autoreset_mode=mode, **kwargs))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", SPACES)
def test_steps_of_a_sync_env_are_those_of_dummy_vec_env(kind: str, mode: AutoresetMode) -> None:
    steps = rollout(sync(kind, mode), 300)
    assert_same(steps, rollout(dummy(kind), 300))
    assert set(ends(steps)) == {(False, False), (True, True), (False, True)}


@pytest.mark.parametrize("mode", MODES)
def test_steps_of_an_async_env_are_those_of_dummy_vec_env(mode: AutoresetMode) -> None:
    env = GymnasiumVecEnv(AsyncVectorEnv([partial(Walk, "dict")] * 3, autoreset_mode=mode))
    steps = rollout(env, 60)
    env.close()
    assert_same(steps, rollout(dummy("dict"), 60))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["float32", "dict"])
def test_what_a_step_returned_is_never_changed(kind: str, mode: AutoresetMode) -> None:
    kept = rollout(sync(kind, mode, copy=False), 50, keep=True)
    assert_same(kept, rollout(sync(kind, mode), 50))


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("wrap", [VecNormalize, partial(VecFrameStack, n_stack=2), VecMonitor])
def test_wrappers_give_what_they_give_over_dummy_vec_env(wrap: Any) -> None:
    assert_same(rollout(wrap(sync()), 100), rollout(wrap(dummy()), 100))


@pytest.mark.parametrize(
    "algorithm", [A2C, partial(PPO, n_steps=40, batch_size=60, n_epochs=2), TDAC]
)
def test_training_gives_the_parameters_of_dummy_vec_env(algorithm: Any) -> None:
    native = gym.make_vec(
        "Pendulum-v1", 3, "sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}
    )
    envs = [GymnasiumVecEnv(native), make_vec_env("Pendulum-v1", n_envs=3)]
    ours, expected = (algorithm("MlpPolicy", env, seed=0).learn(720) for env in envs)
    for name, tensor in expected.policy.state_dict().items():
        assert tensor.equal(ours.policy.state_dict()[name])
    returns = [episode["r"] for episode in ours.ep_info_buffer]
    # VecEnv rewards are float32, Monitor's and ours float64
    assert returns == [episode["r"] for episode in expected.ep_info_buffer] and len(returns) >= 3


class Recorded(Walk):
    """Keeps the actions it gets."""

    def step(self, action: Any) -> Any:
        self.action = action
        return super().step(action)


def test_actions_have_the_type_of_the_action_space() -> None:
    env = GymnasiumVecEnv(SyncVectorEnv([Recorded] * 2, autoreset_mode=SAME))
    env.reset()
    env.step(np.array([[0.1], [-0.2]]))
    first, second = env.get_attr("action")
    assert first.dtype == np.float32 and first.tolist() == [np.float32(0.1)]
    assert second.tolist() == [np.float32(-0.2)]


# -- options, attributes, frames, refusals -------------------------------------------------------


def test_options_go_to_all_environments() -> None:
    env = sync()
    env.set_options({"x": 0.5})
    assert env.reset()[:, 0].tolist() == [0.5] * 3
    assert np.abs(env.reset()[:, 0]).max() <= 0.1
    env.set_options([{"x": 0.5}, {}, {}])
    with pytest.raises(ValueError, match="options must be the same"):
        env.reset()


def test_attributes_and_methods_are_those_of_the_environments() -> None:
    env = sync()
    env.reset()
    assert env.env_method("double", 4.0) == [8.0] * 3
    env.set_attr("gain", 5.0)
    assert env.get_attr("gain", indices=[0, 2]) == [5.0, 5.0]
    assert env.has_attr("gain") and not env.has_attr("loss")
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(RescaleAction, indices=0) == [False]
    with pytest.raises(ValueError, match="indices must be None"):
        env.env_method("double", 4.0, indices=[0])
    env = GymnasiumVecEnv.make("CartPole-v1", n_envs=2)
    env.set_attr("gravity", 1.0)
    assert env.get_attr("gravity") == [1.0, 1.0] and not env.has_attr("loss")
    with pytest.raises(AttributeError, match="'double' of each"):
        env.env_method("double", 4.0)


def test_frames_are_those_of_the_environments() -> None:
    envs = [Walk] * 3
    walks = SyncVectorEnv([partial(Walk, render_mode="rgb_array") for _ in envs])
    ours = GymnasiumVecEnv(walks)
    reference = DummyVecEnv([partial(Walk, render_mode="rgb_array") for _ in envs])
    for env in (ours, reference):
        rollout(env, 5)
    np.testing.assert_equal(ours.render(), reference.render())
    assert ours.metadata["render_fps"] == 5
    assert sync().get_images() == [None] * 3


def test_closing_closes_the_environments() -> None:
    env = sync()
    env.close()
    assert env.env.closed
    env.close()


@pytest.mark.parametrize("env", [Walk(), DummyVecEnv([Walk]), "CartPole-v1"])
def test_no_vector_env_is_refused(env: Any) -> None:
    with pytest.raises(
        TypeError, match=r"env must be a gymnasium.vector.VectorEnv, got .*make_vec"
    ):
        GymnasiumVecEnv(env)


def test_a_native_env_with_fake_transitions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"NEXT_STEP.*GymnasiumVecEnv\.make"):
        GymnasiumVecEnv(CartPoleVectorEnv(2))


def test_an_env_without_autoreset_mode_is_refused() -> None:
    env = SyncVectorEnv([Walk] * 2)
    del env.metadata["autoreset_mode"]
    with pytest.raises(ValueError, match="must be an AutoresetMode, got None"):
        GymnasiumVecEnv(env)


class CartPoleThatResetsAll(CartPoleVectorEnv):
    """Has the mode that resets on request, but resets all environments."""

    metadata = CartPoleVectorEnv.metadata | {"autoreset_mode": AutoresetMode.DISABLED}


class CartPoleWithoutLast(CartPoleVectorEnv):
    """Has the mode that resets in the same step, but no terminal observations."""

    metadata = CartPoleVectorEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}


@pytest.mark.parametrize(
    ("cls", "message"),
    [(CartPoleThatResetsAll, "env must reset only"), (CartPoleWithoutLast, "no 'final_obs'")],
)
def test_an_env_that_is_not_what_it_says_is_refused(cls: type[VectorEnv], message: str) -> None:
    env = GymnasiumVecEnv(cls(2))
    with pytest.raises(ValueError, match=message):
        rollout(env, 100)


class TupleWalk(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Tuple([spaces.Discrete(2)])


def test_tuple_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="make them a Dict"):
        GymnasiumVecEnv(SyncVectorEnv([TupleWalk]))


def test_an_id_without_native_env_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'Pendulum-v1' has none: .*LeanDummyVecEnv"):
        GymnasiumVecEnv.make("Pendulum-v1", n_envs=2)


def test_without_envpool_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ImportError, match=r"pip install .sb3_tdac\[envpool\]"):
        EnvPoolVecEnv("CartPole-v1")
