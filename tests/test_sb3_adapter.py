"""The class between SB3's and TDAC: its generator, schedules, environments and refusals."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from helpers.environments import BOTH_PATHS, ENV_IDS, IDENTITY_ENVS, Steps, small_model
from helpers.faulty_environments import Faulty
from helpers.model_state import assert_identical, differences, state
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC

NAN, INF = math.nan, math.inf


# Random numbers


class Drawing(BaseCallback):
    """Draws from torch's global generator, as an environment or a callback of a user may."""

    def _on_step(self) -> bool:
        torch.rand(3)
        return True


@BOTH_PATHS
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_what_others_draw_from_the_global_generator_changes_nothing(
    env_id: str, fast_path: bool
) -> None:
    models = []
    for callback in (None, Drawing()):
        env = make_vec_env(IDENTITY_ENVS.get(env_id, env_id), 4, seed=0)
        model = TDAC("MlpPolicy", env, seed=0, fast_path=fast_path, device="cpu")
        models.append(model.learn(64, callback))
    assert_identical(state(models[0]), state(models[1]))


def first_actions(model: Any) -> np.ndarray:
    """The actions of three steps of an untrained policy with the same outputs for all states."""
    actions = []

    class First(BaseCallback):
        def _on_step(self) -> bool:
            actions.append(self.locals["actions"].copy())
            return len(actions) < 3

    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.zero_()
    model.learn(100, First())
    return np.array(actions)


@pytest.mark.parametrize("env_id", [*ENV_IDS[1:]])
def test_a_seed_draws_the_actions_that_a2c_draws(env_id: str) -> None:
    """Of Box actions the oracle tests say it; here also after ``set_random_seed``."""
    actions: list[list[np.ndarray]] = []
    for algorithm in (TDAC, A2C):
        model = algorithm("MlpPolicy", make_vec_env(IDENTITY_ENVS.get(env_id, env_id), 4), seed=5)
        drawn = [first_actions(model)]
        model.set_random_seed(6)
        actions.append([*drawn, first_actions(model)])
    for ours, theirs in zip(*actions, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(*actions[0])


def test_the_global_generator_does_not_repeat_the_noise_of_the_actions() -> None:
    """An environment that draws from it would see the noise of the action it is given."""
    model = TDAC("MlpPolicy", "Pendulum-v1", seed=0)
    for _ in range(2):
        own = torch.randn(100, generator=model.generator)
        assert not torch.isin(torch.randn(100), own).any()
        model.set_random_seed(1)


# Schedules


@pytest.mark.parametrize("value", [NAN, -1.0])
@pytest.mark.parametrize("name", ["learning_rate", "critic_learning_rate", "ent_coef"])
def test_a_schedule_that_breaks_during_training_changes_nothing(name: str, value: float) -> None:
    """Not even the learning rates; only the rewards of the rollout are in their statistics."""
    model = small_model(**{name: lambda progress: value if progress == 0.5 else 1e-3}).learn(4)
    before = state(model)
    message = f"{name} at progress_remaining=0.5.*{re.escape(str(value))}"
    with pytest.raises(ValueError, match=message):
        model.learn(12, reset_num_timesteps=False)
    assert all(path.startswith("/return_stats") for path in differences(state(model), before))


# What ``learn`` and ``set_env`` refuse


LEARN = dict(total_timesteps=[-1, NAN, INF, "10", None], log_interval=[0, -1, 1.5, NAN, "1"])


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in LEARN.items() for value in values]
)
def test_learn_refuses_its_argument_before_the_first_step(name: str, value: Any) -> None:
    env = Steps()
    model = small_model(env)
    with pytest.raises((ValueError, TypeError), match=f"{name}.*{re.escape(str(value))}"):
        model.learn(**{"total_timesteps": 8, name: value})
    assert env.episode == 0 and model.num_timesteps == 0


BROKEN = dict(shape=np.zeros(4), nan=np.float32([0, NAN, 0]), bounds=np.float32([0, 2, 0]))
BOUNDED = spaces.Box(-1.0, 1.0, (3,))


@pytest.mark.parametrize("obs", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("as_dict", [False, True])
def test_set_env_refuses_an_observation_outside_of_its_space(obs: Any, as_dict: bool) -> None:
    space = spaces.Dict(a=BOUNDED) if as_dict else BOUNDED
    model = small_model(Faulty(space=space), "MultiInputPolicy" if as_dict else "MlpPolicy")
    env, last_obs = model.learn(4).get_env(), model._last_obs
    broken = Faulty(dict(obs={"a": obs} if as_dict else obs), at=0, space=space)
    for other in (broken, Faulty(space=spaces.Discrete(2))):
        with pytest.raises(ValueError, match=r"(?i)observation"):
            model.set_env(other)
        assert model.get_env() is env and model._last_obs is last_obs


def test_set_env_names_the_environment_that_raises_in_its_reset() -> None:
    class Broken(Faulty):
        def reset(self, **options: Any) -> Any:
            raise OSError("no signal")

    model = small_model(Faulty()).learn(4)
    env = model.get_env()
    with pytest.raises(OSError, match=r"raised by environment 0 at a reset"):
        model.set_env(Broken())
    assert model.get_env() is env


def test_progress_never_falls_below_zero_when_the_last_rollout_passes_the_end() -> None:
    """Rollouts of 4 steps pass 6 steps at 8: the learning rate would be negative."""
    seen: list[float] = []
    model = small_model(learning_rate=lambda progress: seen.append(progress) or 1e-3)
    model.learn(6)
    assert seen[-2:] == [1 - 4 / 6, 0.0]
