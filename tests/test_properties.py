"""Over spaces, sizes, options and faulty environments: finite parameters, or a documented error.

``EXAMPLES=2000 pytest tests/test_properties.py`` tries more of them, and other ones each time.
"""

import os
import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from helpers.faulty_environments import Faulty, SensorError, raises
from helpers.model_state import assert_saved_and_finite
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import LeanDummyVecEnv

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
OBSERVATIONS: dict[str, Any] = {
    "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "float64": spaces.Box(-1e3, 1e3, (2,), np.float64),
    "int64": spaces.Box(-(2**40), 2**40, (2,), np.int64),
    "matrix": spaces.Box(-1.0, 1.0, (2, 2)),
    "discrete": spaces.Discrete(4),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "multibinary": spaces.MultiBinary(3),
    "dict": spaces.Dict(a=spaces.Box(-1.0, 1.0, (2,)), b=spaces.Discrete(3)),
}
ACTIONS: list[Any] = [
    spaces.Box(-2.0, 3.0, (2,)),
    spaces.Box(-np.inf, np.inf, (1,)),
    spaces.Discrete(3),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(2),
]
NUMBERS = [0.0, 1e-40, -1.0, 1e6, 1e14, -1e30, 1e300, np.nan, np.inf, -np.inf]
FAULTS: list[Any] = [
    None,
    raises,
    *(dict(reward=number) for number in NUMBERS),
    *(dict(obs=np.full(3, number)) for number in NUMBERS),
    *(dict(obs=obs) for obs in (None, "a", np.ones(7), np.array(9), {}, [[1.0], [2.0, 3.0]])),
    *(dict(reward=reward) for reward in (None, "a", [1.0, 2.0], 10**400, np.int64(-(2**63)))),
    *(dict(terminated=flag) for flag in (True, None, "yes", np.array([True, False]))),
    *(dict(info=info) for info in (None, 3, {"episode": None})),
]
RATES = st.sampled_from([0.0, 1e-4, 1e-2, 1.0, 1e8, 1e38, 1e300])
OPTIONS = st.fixed_dictionaries(
    dict(learning_rate=RATES, critic_learning_rate=RATES, n_steps=st.integers(1, 6)),
    optional=dict(
        gamma=st.sampled_from([0.0, 0.9, 1.0]),
        ent_coef=st.sampled_from([0.0, 0.1, 1e30]),
        max_grad_norm=st.sampled_from([None, 1e-8, 0.5, 1e30]),
        actor_warmup=st.sampled_from([0.0, 1.0]),
        critic_gradient=st.sampled_from(["semi", "residual"]),
        critic_steps=st.integers(1, 3),
        loss_reduction=st.sampled_from(["sum", "mean"]),
        **{
            name: st.booleans()
            for name in (
                *("scale_advantage", "normalize_reward", "normalize_observation"),
                *("critic_first", "discount_states", "fast_path"),
            )
        },
    ),
)
DOCUMENTED = (
    r"not finite .*(in environment [01] at|in update \d)",
    r"TimeLimit.truncated but no terminal_observation, in environment [01] at",
    r"(has no key|must have shape) .* in environment [01] at",
    r"too large .* in environment [01] at|is not in .* in environment [01] at",
    r"the policy's action for environment [01] is not finite",
    r"of environment [01] at .* has a type or shape that its VecEnv cannot take",
)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
@given(
    observations=st.sampled_from([*OBSERVATIONS]),
    action_space=st.sampled_from(ACTIONS),
    fault=st.sampled_from(FAULTS),
    at=st.integers(0, 12),
    length=st.sampled_from([1, 2, 5, 10**9]),
    reward=st.sampled_from([0.0, 1e-40, 1.0, -1e6, 1e14]),
    vec_env=st.sampled_from([DummyVecEnv, LeanDummyVecEnv]),
    options=OPTIONS,
)
def test_a_model_trains_with_finite_parameters_or_raises_a_documented_error(
    observations: str,
    action_space: Any,
    fault: Any,
    at: int,
    length: int,
    reward: float,
    vec_env: Any,
    options: dict[str, Any],
) -> None:
    space = OBSERVATIONS[observations]
    options_of_env = dict(space=space, action_space=action_space, length=length, reward=reward)
    env = vec_env([lambda: Faulty(**options_of_env), lambda: Faulty(fault, at, **options_of_env)])
    policy = "MultiInputPolicy" if observations == "dict" else "MlpPolicy"
    sizes = dict(seed=0, device="cpu", policy_kwargs=dict(net_arch=[4]))
    model = TDAC(policy, env, **sizes, **options)
    try:
        model.learn(28)
        event("trains")
    except SensorError as error:
        assert fault is raises and "environment 1" in error.__notes__[0]
        event("the environment's own error")
    except ValueError as error:
        assert any(re.search(form, str(error), re.DOTALL) for form in DOCUMENTED), str(error)
        event(re.sub(r"[-\d].*|'.*", "", str(error))[:30])
    assert_saved_and_finite(model)
