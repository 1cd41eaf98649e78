"""Each bad input is refused by name, with its value, before anything is changed."""

import copy
import inspect
import io
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_tdac import TDAC, MlpPolicy

VECTOR, DISCRETE = spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(2)
NAN, INF, REFUSED = math.nan, math.inf, (ValueError, TypeError)


class Env(gym.Env):
    """A time limit every three steps; what step ``at`` gives (0: reset) can be replaced."""

    def __init__(self, space: Any = VECTOR, action_space: Any = VECTOR, at: int = -1, **given: Any):
        self.observation_space, self.action_space = space, action_space
        self.at, self.given, self.n_steps = at, given, 0

    def _gives(self, **usual: Any) -> Any:
        return usual | self.given if self.n_steps == self.at else usual

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        usual = dict(obs=self.observation_space.sample())
        return (usual if self.n_steps else self._gives(**usual))["obs"], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        self.n_steps += 1
        gives = self._gives(obs=self.observation_space.sample(), reward=1.0)
        return gives["obs"], gives["reward"], False, self.n_steps % 3 == 0, {}


def build(env: Any = None, policy: Any = None, **kwargs: Any) -> TDAC:
    env = Env() if env is None else env
    is_dict = isinstance(env.observation_space, spaces.Dict)
    options = dict(n_steps=4, policy_kwargs=dict(net_arch=[4])) | kwargs
    return TDAC(policy or ("MultiInputPolicy" if is_dict else "MlpPolicy"), env, **options)


def weights(model: TDAC) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.policy.state_dict().values()])


def naming(name: str, value: Any) -> str:
    return f"(?s){re.escape(name)}.*{re.escape(str(value))}"


def pairs(arguments: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in arguments.items() for value in values]


RATES = [-1e-3, NAN, INF, True, [1e-3], np.float32("nan")]
COUNTS = [0, -1, 2.5, NAN, INF, "5", True]
FRACTIONS = [-0.1, 1.1, NAN, INF, 10**400, "0.9", None, True]
DEFAULTS = {name: p.default for name, p in inspect.signature(TDAC.__init__).parameters.items()}
SWITCHES = [name for name in DEFAULTS if isinstance(DEFAULTS[name], bool) and name[0] != "_"]
ARGUMENTS: dict[str, list[Any]] = {
    **dict(learning_rate=[*RATES, None], critic_learning_rate=RATES, ent_coef=[*RATES, None]),
    **dict(n_steps=COUNTS, critic_steps=[*COUNTS, None], stats_window_size=[*COUNTS, None]),
    **{name: FRACTIONS for name in ("gamma", "actor_warmup") if name in DEFAULTS},
    "max_grad_norm": [0.0, -0.5, NAN, INF, "0.5", True],
    **dict(seed=[-1, 2**32, 1.5, NAN, "0"], verbose=[-1, NAN, "1"], policy_kwargs=[[1], "a"]),
    **{name: ["full", "SUM", "", None, 1] for name in ("critic_gradient", "loss_reduction")},
    **{name: [1, "yes", None] for name in SWITCHES},
}
LEARN = dict(total_timesteps=[-1, NAN, INF, "10", None], log_interval=[0, -1, 1.5, NAN, "1"])
BOUNDS = [(1.0, 0.1), (0.0, 1.0), (-0.1, 1.0), (NAN, 1.0), (0.1, NAN), (INF, INF), (0.1,), 0.5]
STD = dict(std_bounds=[*BOUNDS, None, "ab"], std_init=[0.01, 2.0, 0.0, NAN, INF, "0.5", None])
SCHEDULES: list[Any] = ["", "lin", "lin_", "lin_x", "lin_nan", "lin_inf", "lin_-1", "linear"]
SCHEDULES += ["const_1", "Lin_1", "1e-3", lambda _: NAN, lambda _: -1.0, lambda _: "1e-3"]
RATE_NAMES = ["learning_rate", "critic_learning_rate", "ent_coef"]
OF_A2C = ["gae_lambda", "vf_coef", "use_sde", "sde_sample_freq", "use_rms_prop", "rms_prop_eps"]
POLICIES = [
    ("NoPolicy", Env(), r"policy must be 'MlpPolicy' .*got 'NoPolicy'"),
    (ActorCriticPolicy, Env(), r"policy must be MlpPolicy .*ActorCriticPolicy"),
    (MlpPolicy(VECTOR, VECTOR, lambda _: 1e-3), Env(), r"policy must be MlpPolicy"),
    ("MlpPolicy", Env(spaces.Dict(a=VECTOR)), r"policy must be 'MultiInputPolicy'"),
    ("MultiInputPolicy", Env(), r"policy must be 'MlpPolicy'"),
    ("CnnPolicy", Env(), r"policy must be 'MlpPolicy'"),
]
UNSUPPORTED = [spaces.Tuple([VECTOR]), spaces.Graph(VECTOR, None), spaces.MultiDiscrete([[2, 3]])]
UNSUPPORTED += [spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 3], start=[1, 1])]
OBSERVATIONS = [spaces.Dict(a=spaces.Dict(b=VECTOR)), spaces.Dict(a=UNSUPPORTED[0])]
OBSERVATIONS += [spaces.Text(3), spaces.Sequence(VECTOR), spaces.Box(-1.0, 1.0, ())]
ACTIONS = [spaces.Dict(a=VECTOR), spaces.MultiBinary((2, 2)), spaces.Text(3)]
SPACES = dict(observation_space=UNSUPPORTED + OBSERVATIONS, action_space=UNSUPPORTED + ACTIONS)
BROKEN = dict(shape=np.zeros(4), nan=np.float32([0, NAN, 0]), bounds=np.float32([0, 2, 0]))


@pytest.mark.parametrize(("name", "value"), pairs(ARGUMENTS), ids=lambda x: str(x)[:20])
def test_an_argument_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(REFUSED, match=naming(name, value)):
        build(**{name: value})


@pytest.mark.parametrize("name", RATE_NAMES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_malformed_schedule_is_refused(name: str, schedule: Any) -> None:
    shown = schedule(1.0) if callable(schedule) else repr(schedule).replace("'lin_-1'", "-1")
    with pytest.raises(REFUSED, match=naming(name, shown)):
        build(**{name: schedule})


def refuses_to_train(model: TDAC, message: str) -> None:
    """After the first update, an error that leaves the parameters as they were."""
    before = weights(model.learn(4))
    with pytest.raises(ValueError, match=message):
        model.learn(12, reset_num_timesteps=False)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("value", [NAN, -1.0])
@pytest.mark.parametrize("name", RATE_NAMES)
def test_a_schedule_that_breaks_during_training_changes_nothing(name: str, value: float) -> None:
    model = build(**{name: lambda progress: value if progress == 0.5 else 1e-3})
    refuses_to_train(model, naming(f"{name} at progress_remaining=0.5", value))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["reward", "obs"])
@pytest.mark.parametrize("space", [VECTOR, DISCRETE], ids=["box", "discrete"])
@pytest.mark.parametrize("at", [5, 6, 8], ids=["mid-episode", "time limit", "last of rollout"])
def test_what_is_not_finite_changes_nothing(name: str, value: Any, space: Any, at: int) -> None:
    """Steps 5 to 8 are the second rollout; step 6 ends an episode by its time limit."""
    given = {name: value if name == "reward" else np.full(3, value, np.float32)}
    refuses_to_train(build(Env(VECTOR, space, at, **given)), f"(?i){name}.* not finite")


@pytest.mark.parametrize(("name", "value"), pairs(LEARN))
def test_learn_refuses_its_argument_before_the_first_step(name: str, value: Any) -> None:
    model = build()
    with pytest.raises(REFUSED, match=naming(name, value)):
        model.learn(**{"total_timesteps": 8, name: value})
    assert model._last_obs is None and model.num_timesteps == 0


@pytest.mark.parametrize(("policy", "env", "message"), POLICIES)
def test_a_policy_of_the_wrong_kind_is_refused(policy: Any, env: Any, message: str) -> None:
    with pytest.raises(REFUSED, match=message):
        build(env, policy)


@pytest.mark.parametrize(("name", "space"), pairs(SPACES), ids=str)
def test_an_unsupported_space_is_refused(name: str, space: Any) -> None:
    env = Env(space) if name == "observation_space" else Env(VECTOR, space)
    with pytest.raises(ValueError, match=naming(name, space)):
        build(env)


@pytest.mark.parametrize("name", [*OF_A2C, "rollout_buffer_class", "no_such_argument"])
def test_an_unknown_keyword_is_refused(tmp_path: Path, name: str) -> None:
    build().save(tmp_path / "model")
    for call in (build, lambda **unknown: TDAC.load(tmp_path / "model", **unknown)):
        with pytest.raises(TypeError, match=name):
            call(**{name: 1.0})
    with pytest.raises(TypeError, match=name):
        build(policy_kwargs={name: 1.0})


@pytest.mark.parametrize(("name", "value"), pairs(STD))
def test_a_std_out_of_its_bounds_is_refused(name: str, value: Any) -> None:
    with pytest.raises(REFUSED, match=f"{name}.* must be .*, got "):
        build(policy_kwargs={name: value})


def test_normalize_advantage_with_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match=r"normalize_advantage.*n_steps.*got 1"):
        build(n_steps=1, normalize_advantage=True)


@pytest.mark.parametrize("obs", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("as_dict", [False, True])
def test_set_env_refuses_an_observation_outside_of_its_space(obs: Any, as_dict: bool) -> None:
    space = spaces.Dict(a=VECTOR) if as_dict else VECTOR
    model = build(Env(space)).learn(4)
    env, last_obs = model.get_env(), model._last_obs
    for other in (Env(space, at=0, obs={"a": obs} if as_dict else obs), Env(DISCRETE)):
        with pytest.raises(ValueError, match=r"(?i)observation"):
            model.set_env(other)
        assert model.get_env() is env and model._last_obs is last_obs


def saved(model: Any) -> bytes:
    model.save(file := io.BytesIO())
    return file.getvalue()


def zipped(data: str) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("data", data)
    return file.getvalue()


FILES: dict[str, Any] = {
    "a2c": lambda: saved(A2C("MlpPolicy", Env())),
    "half of a model": lambda: saved(build())[:5000],
    "other zip": lambda: zipped("no json"),
    "other json": lambda: zipped("3"),
    "no zip": lambda: bytes(range(256)),
    "empty": lambda: b"",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_model_of_tdac_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "model.zip").write_bytes(content())
    with pytest.raises(ValueError, match=r"path must be a model saved by TDAC.*model\.zip"):
        TDAC.load(tmp_path / "model.zip")
    before = weights(model := build().learn(4))
    with pytest.raises((ValueError, RuntimeError)):
        model.set_parameters(str(tmp_path / "model.zip"))
    assert torch.equal(weights(model), before)


class Forgetful(DummyVecEnv):
    def step_wait(self) -> Any:
        *rest, infos = super().step_wait()
        return *rest, [info | {"terminal_observation": None} for info in infos]


def test_a_time_limit_without_its_observation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"TimeLimit.truncated but no terminal_observation"):
        build(Forgetful([Env])).learn(4)


def test_the_dicts_of_the_caller_are_never_written_into(tmp_path: Path) -> None:
    """SB3 adds an entry to ``features_extractor_kwargs`` when ``normalize_images`` is off."""
    options: dict[str, Any] = dict(net_arch=dict(pi=[4], vf=[4]), normalize_images=False)
    options |= dict(features_extractor_kwargs=dict(features_dim=4), optimizer_kwargs={})
    before, changes = copy.deepcopy(options), dict(gamma=0.5)
    build(
        FakeImageEnv(screen_height=36, screen_width=36), "CnnPolicy", policy_kwargs=options
    ).learn(4).save(tmp_path / "model")
    TDAC.load(tmp_path / "model", policy_kwargs=options, custom_objects=changes)
    assert options == before and changes == dict(gamma=0.5)
