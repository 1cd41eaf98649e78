"""Each bad input is refused by name, with its value, before anything is changed."""

import copy
import inspect
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from helpers.environments import Steps
from helpers.saved_models import VECTOR
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_tdac import TDAC, MlpPolicy

NAN, INF, REFUSED = math.nan, math.inf, (ValueError, TypeError)


def env_of(observation_space: Any = VECTOR, action_space: Any = VECTOR) -> Steps:
    return Steps(0, action_space, observation_space)


def build(env: Any = None, policy: Any = None, **kwargs: Any) -> TDAC:
    env = env_of() if env is None else env
    is_dict = isinstance(env.observation_space, spaces.Dict)
    options = dict(n_steps=4, policy_kwargs=dict(net_arch=[4])) | kwargs
    return TDAC(policy or ("MultiInputPolicy" if is_dict else "MlpPolicy"), env, **options)


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
    **dict(gamma=FRACTIONS, actor_warmup=FRACTIONS),
    "max_grad_norm": [0.0, -0.5, NAN, INF, "0.5", True],
    **dict(seed=[-1, 2**32, 1.5, NAN, "0"], verbose=[-1, NAN, "1"], policy_kwargs=[[1], "a"]),
    **{name: ["full", "SUM", "", None, 1] for name in ("critic_gradient", "loss_reduction")},
    **{name: [1, "yes", None] for name in SWITCHES},
}
BOUNDS = [(1.0, 0.1), (0.0, 1.0), (-0.1, 1.0), (NAN, 1.0), (0.1, NAN), (INF, INF), (0.1,), 0.5]
STD = dict(std_bounds=[*BOUNDS, None, "ab"], std_init=[0.01, 2.0, 0.0, NAN, INF, "0.5", None])
SCHEDULES: list[Any] = ["", "lin", "lin_", "lin_x", "lin_nan", "lin_inf", "lin_-1", "linear"]
SCHEDULES += ["const_1", "Lin_1", "1e-3", lambda _: NAN, lambda _: -1.0, lambda _: "1e-3"]
RATE_NAMES = ["learning_rate", "critic_learning_rate", "ent_coef"]
OF_A2C = ["gae_lambda", "vf_coef", "use_sde", "sde_sample_freq", "use_rms_prop", "rms_prop_eps"]
POLICIES = [
    ("NoPolicy", env_of(), r"policy must be 'MlpPolicy' .*got 'NoPolicy'"),
    (ActorCriticPolicy, env_of(), r"policy must be MlpPolicy .*ActorCriticPolicy"),
    (MlpPolicy(VECTOR, VECTOR, lambda _: 1e-3), env_of(), r"policy must be MlpPolicy"),
    ("MlpPolicy", env_of(spaces.Dict(a=VECTOR)), r"policy must be 'MultiInputPolicy'"),
    ("MultiInputPolicy", env_of(), r"policy must be 'MlpPolicy'"),
    ("CnnPolicy", env_of(), r"policy must be 'MlpPolicy'"),
]
UNSUPPORTED = [spaces.Tuple([VECTOR]), spaces.Graph(VECTOR, None), spaces.MultiDiscrete([[2, 3]])]
UNSUPPORTED += [spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 3], start=[1, 1])]
OBSERVATIONS = [spaces.Dict(a=spaces.Dict(b=VECTOR)), spaces.Dict(a=UNSUPPORTED[0])]
OBSERVATIONS += [spaces.Text(3), spaces.Sequence(VECTOR), spaces.Box(-1.0, 1.0, ())]
ACTIONS = [spaces.Dict(a=VECTOR), spaces.MultiBinary((2, 2)), spaces.Text(3)]
SPACES = dict(observation_space=UNSUPPORTED + OBSERVATIONS, action_space=UNSUPPORTED + ACTIONS)


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


@pytest.mark.parametrize(("policy", "env", "message"), POLICIES)
def test_a_policy_of_the_wrong_kind_is_refused(policy: Any, env: Any, message: str) -> None:
    with pytest.raises(REFUSED, match=message):
        build(env, policy)


@pytest.mark.parametrize(("name", "space"), pairs(SPACES), ids=str)
def test_an_unsupported_space_is_refused(name: str, space: Any) -> None:
    with pytest.raises(ValueError, match=naming(name, space)):
        build(env_of(**{name: space}))


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
