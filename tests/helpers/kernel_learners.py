"""Learners of compiled kernels: whether a model has one, and one without a model."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from sb3_tdac import fast
from sb3_tdac.fast import KernelLearner, library
from sb3_tdac.learner import Options
from sb3_tdac.normalization import RunningRootMeanSquare
from sb3_tdac.policies import TDACPolicy
from sb3_tdac.transitions import TransitionRows

N_STEPS, N_ENVS = 8, 2
OPTIONS = Options(
    gamma=0.9,
    critic_gradient="semi",
    critic_first=True,
    critic_steps=2,
    loss_reduction="sum",
    scale_advantage=True,
    normalize_advantage=False,
    discount_states=False,
    max_grad_norm=0.5,
    ent_coef_now=0.01,
)


def small_policy(action_space: spaces.Space[Any] | None = None, **options: Any) -> TDACPolicy:
    """A policy of observations of three numbers."""
    torch.manual_seed(3)
    options = dict(net_arch=[8, 8], activation_fn=nn.Tanh) | options
    space = spaces.Box(-np.inf, np.inf, (3,))
    return TDACPolicy(space, action_space or spaces.Box(-2.0, 2.0, (2,)), lambda _: 1e-2, **options)


def choose(policy: TDACPolicy, **changes: Any) -> KernelLearner | str:
    """What ``fast.choose`` returns for a policy."""
    own = dict(n_steps=N_STEPS, n_envs=N_ENVS, generator=torch.Generator())
    return fast.choose(policy, **{**own, "advantage_stats": RunningRootMeanSquare(), **changes})


def small_learner(policy: TDACPolicy, **changes: Any) -> KernelLearner:
    learner = choose(policy, **changes)
    assert isinstance(learner, KernelLearner), learner
    return learner


def batch(seed: int = 0, discrete: bool = False) -> TransitionRows:
    """A batch whose last transition ended by a time limit, and the one before terminated."""
    random, size = np.random.default_rng(seed), N_STEPS * N_ENVS
    successor = np.arange(N_ENVS, size + N_ENVS)
    successor[-1] = size + N_ENVS
    action = random.integers(0, 3, size) if discrete else random.normal(size=(size, 2))
    return TransitionRows(
        states=random.normal(size=(size + N_ENVS + 1, 3)).astype(np.float32),
        successor=successor,
        action=action if discrete else action.astype(np.float32),
        reward=random.normal(size=size).astype(np.float32),
        terminated=np.arange(size) == size - 2,
        elapsed_steps=np.arange(size) // N_ENVS,
    )


def kernels() -> library.Kernels:
    """The library, where it is compiled."""
    loaded = library.load()
    assert isinstance(loaded, library.Kernels), loaded
    return loaded
