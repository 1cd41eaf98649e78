"""Every option on the fast path: equal to autograd, or left to autograd, bit for bit."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from helpers.internals import uses_kernels
from helpers.path_pairs import (
    actions_of,
    assert_identical,
    assert_near,
    build,
    needs_library,
    state,
    steps_env,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

INFINITY = float("inf")
VECTORS = [
    spaces.Box(-INFINITY, INFINITY, (3,)),
    spaces.Box(-1.0, 1.0, (3,), np.float64),
    spaces.Box(-3, 3, (2,), np.int64),
    spaces.Box(-1.0, 1.0, (2, 3)),
    spaces.Box(0, 3, (4,), np.uint8),  # larger ones, not normalized, make rounding errors explode
]
OTHERS = [
    spaces.Box(0, 255, (1, 36, 36), np.uint8),
    spaces.Discrete(4),
    spaces.Dict(vector=VECTORS[0], number=spaces.Discrete(3)),
]
ACTIONS = [
    *(spaces.Box(-2.0, 2.0, shape) for shape in [(1,), (2,), (2, 2)]),
    spaces.Box(-INFINITY, INFINITY, (2,)),
    spaces.Box(0.0, INFINITY, (2,)),
    spaces.Discrete(3),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(3),
]
ADAM = torch.optim.Adam
#: Optimizers with their arguments: as many go through the kernels as through their own ``step``.
OPTIMIZERS: list[tuple[Any, Any]] = [
    (ADAM, None),
    (ADAM, dict(betas=(0.9, 0.999), eps=1e-5)),
    (ADAM, dict(weight_decay=0.1)),
    (ADAM, dict(amsgrad=True, eps=1e-5)),
    (torch.optim.AdamW, dict(eps=1e-5)),
    (torch.optim.RMSprop, None),
    (torch.optim.SGD, dict(momentum=0.9)),
    (RMSpropTFLike, dict(alpha=0.99, eps=1e-5)),
]
ARCHITECTURES: list[Any] = [[], [8], dict(pi=[], vf=[16, 8]), [64, 64]]


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


booleans = st.booleans()
OPTIONS = st.fixed_dictionaries(
    dict(
        critic_gradient=one_of("semi", "residual"),
        critic_first=booleans,
        critic_steps=one_of(1, 3),
        loss_reduction=one_of("sum", "mean"),
        discount_states=booleans,
        normalize_advantage=booleans,
        scale_advantage=booleans,
        normalize_reward=booleans,
        normalize_observation=booleans,
        max_grad_norm=one_of(None, 0.1),
        ent_coef=one_of(0.0, 0.3, "lin_0.3"),
        actor_warmup=one_of(0.0, 0.5),
        gamma=one_of(0.0, 0.9, 1.0),
        n_steps=one_of(2, 5, 8),
    )
)
POLICY = st.fixed_dictionaries(
    dict(
        net_arch=one_of(*ARCHITECTURES),
        activation_fn=one_of(nn.Tanh, nn.ReLU, nn.ELU),
        ortho_init=booleans,
        share_features_extractor=booleans,
        std_bounds=one_of((0.2, 1.0), (1e-6, INFINITY), (0.45, 0.55)),
        std_init=one_of(0.5, 0.53),
        scale_actions=booleans,
    )
)


@needs_library
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    options=OPTIONS,
    policy=POLICY,
    optimizer=one_of(*OPTIMIZERS),
    critic_optimizer=one_of(*OPTIMIZERS),
    observations=one_of(*VECTORS, *VECTORS, *OTHERS),
    actions=one_of(*ACTIONS),
    n_envs=one_of(1, 2, 5),
)
def test_every_option_is_computed_alike_or_left_to_autograd(
    options: dict[str, Any],
    policy: dict[str, Any],
    optimizer: Any,
    critic_optimizer: Any,
    observations: spaces.Space[Any],
    actions: spaces.Space[Any],
    n_envs: int,
) -> None:
    cancels = options["critic_gradient"] == "residual" and options["gamma"] == 1.0
    # then the gradient of the last bias is its rounding error, and others than SGD scale it to one
    assume(not cancels or critic_optimizer[0] is torch.optim.SGD)
    policy = policy | dict(optimizer_class=optimizer[0], optimizer_kwargs=optimizer[1])
    policy["critic_optimizer_class"], policy["critic_optimizer_kwargs"] = critic_optimizer
    is_image, is_dict = observations is OTHERS[0], observations is OTHERS[2]
    kind = "CnnPolicy" if is_image else "MultiInputPolicy" if is_dict else "MlpPolicy"
    rates = dict(learning_rate=1e-3, critic_learning_rate=1e-3, policy_kwargs=policy)
    ends, drawn, models = [], [], []
    for fast_path in (False, True):
        env = steps_env(actions, observations, n_envs)
        models.append(build(fast_path, env, kind, **options, **rates))
        drawn.append(actions_of(models[-1], 3))
        ends.append(state(models[-1]))
    is_vector = any(observations is space for space in VECTORS)
    is_simple = isinstance(actions, spaces.Box | spaces.Discrete)
    has_kernels = policy["activation_fn"] is not nn.ELU or policy["net_arch"] == []
    is_covered = is_vector and is_simple and has_kernels
    assert uses_kernels(models[1]) == is_covered
    if is_covered:
        assert_near(*ends)
        np.testing.assert_allclose(*drawn, rtol=0, atol=1e-5)
    else:
        assert_identical(*ends)
        np.testing.assert_array_equal(*drawn)
