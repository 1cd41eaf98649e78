"""rl_zoo3 and TDAC take every configuration, and the hyperparameters that a sweep draws."""

import argparse
import inspect
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pytest
import rl_zoo3
import yaml
from gymnasium import spaces
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from torch import nn

from sb3_tdac import TDAC, TEXTBOOK
from sb3_tdac.zoo import convert_tdac_params, register, sample_tdac_params
from sb3_tdac.zoo.manager import ZooManager, configurations


class FakeAtariEnv(gym.Env[Any, Any]):
    """An environment that Atari wrappers accept, as long as nobody resets it."""

    observation_space = spaces.Box(0, 255, (210, 160, 3), np.uint8)
    action_space = spaces.Discrete(4)

    def get_action_meanings(self) -> list[str]:
        return ["NOOP", "FIRE", "RIGHT", "LEFT"]


register()
gym.register("FakeAtariEnv-v0", entry_point=FakeAtariEnv)
gym.register("FakeEnv-v0", entry_point="gymnasium.envs.classic_control:PendulumEnv")
FILES = sorted(configurations().glob("*.yml"))
ENTRIES = [(path, name) for path in FILES for name in yaml.safe_load(path.read_text())]
GROUPS = {"default": "FakeEnv-v0", "atari": "FakeAtariEnv-v0"}


def new_manager(env_id: str, path: Path, folder: Path, **options: Any) -> ZooManager:
    options = dict(n_timesteps=-1, eval_freq=-1, verbose=0, device="cpu", seed=0) | options
    return ZooManager(
        argparse.Namespace(), "tdac", env_id, str(folder), config=str(path), **options
    )


def test_every_environment_of_the_zoos_a2c_has_an_entry() -> None:
    a2c = Path(rl_zoo3.__file__).parent / "hyperparams" / "a2c.yml"
    wanted = {name for name in yaml.safe_load(a2c.read_text()) if "Bullet" not in name}
    wanted |= {name.replace("-v4", "-v5") for name in wanted}
    for path in FILES:
        assert wanted <= set(yaml.safe_load(path.read_text()))


# Of SWIG, which made Box2D (as errors they crash the interpreter), and of old MuJoCo versions.
@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
@pytest.mark.parametrize(
    ("path", "name"), ENTRIES, ids=[f"{path.stem}-{name}" for path, name in ENTRIES]
)
def test_every_entry_is_taken(
    path: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_points = {"FakeAtariEnv-v0": "FakeAtariEnv"}
    monkeypatch.setattr(
        ExperimentManager, "entry_point", staticmethod(lambda env_id: entry_points.get(env_id, ""))
    )
    manager = new_manager(GROUPS.get(name, name), path, tmp_path, n_timesteps=64)
    results = manager.setup_experiment()
    assert results is not None
    model, saved = results
    entry = yaml.safe_load(path.read_text())[name]
    assert isinstance(model, TDAC) and dict(saved) == entry
    assert model.n_envs == entry["n_envs"]
    default = inspect.signature(TDAC).parameters["gamma"].default
    assert model.gamma == entry.get("gamma", default)
    assert model.env is not None
    model.env.close()


def test_textbook_entries_are_the_textbook(tmp_path: Path) -> None:
    open_choices = {"learning_rate", "critic_learning_rate", "n_steps", "gamma"}
    for env_id in ("Pendulum-v1", "CartPole-v1"):
        manager = new_manager(env_id, configurations() / "tdac_textbook.yml", tmp_path)
        hyperparams = manager._preprocess_hyperparams(manager.read_hyperparameters()[0])[0]
        assert hyperparams.pop("policy") == "MlpPolicy"
        chosen = {key: hyperparams[key] for key in hyperparams if key not in open_choices}
        assert chosen == {key: TEXTBOOK[key] for key in TEXTBOOK if key not in open_choices}


@pytest.mark.parametrize("n_actions", [0, 1, 6])
def test_converter_gives_back_what_the_sampler_returned(n_actions: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=n_actions))
    for _ in range(100):
        trial = study.ask()
        sampled = HYPERPARAMS_SAMPLER["tdac"](trial, n_actions, 8, {})
        assert HYPERPARAMS_CONVERTER["tdac"](trial.params) == sampled
        assert trial.user_attrs["gamma"] == sampled["gamma"]
        study.tell(trial, 0.0)


def test_constructor_takes_what_is_sampled() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for env_id, n_actions in (("Pendulum-v1", 1), ("CartPole-v1", 0)):
        for _ in range(10):
            TDAC("MlpPolicy", env_id, **sample_tdac_params(study.ask(), n_actions, 1, {}))


def test_a_trial_is_converted_by_hand() -> None:
    drawn = dict(
        one_minus_gamma=0.125,
        n_steps_pow=3,
        learning_rate=1e-3,
        critic_learning_rate=2e-3,
        lr_schedule="linear",
        actor_warmup=0.25,
        critic_steps=2,
        ent_coef=0.5,
        max_grad_norm=0.75,
        net_arch="tiny",
        activation_fn="relu",
        normalize_observation=False,
        std_lower=0.0625,
        std_upper=0.375,
    )
    assert convert_tdac_params(drawn) == dict(
        gamma=0.875,
        n_steps=8,
        learning_rate="lin_0.001",
        critic_learning_rate="lin_0.002",
        actor_warmup=0.25,
        critic_steps=2,
        ent_coef="lin_0.5",
        max_grad_norm=0.75,
        normalize_observation=False,
        policy_kwargs=dict(
            net_arch=dict(pi=[64], vf=[64]),
            activation_fn=nn.ReLU,
            std_bounds=(0.0625, 0.375),
            std_init=0.375,
        ),
    )
    constant = convert_tdac_params(drawn | dict(lr_schedule="constant"))
    assert constant["learning_rate"] == 1e-3 and constant["critic_learning_rate"] == 2e-3
