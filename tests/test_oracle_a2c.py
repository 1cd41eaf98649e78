"""Oracle 1: SB3's A2C with gae_lambda=0 sees the same data and takes the same steps."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn
from torch.distributions import Normal

from sb3_tdac import TDAC, TEXTBOOK

UPDATES, N_STEPS = 50, 5
OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {}, 3e-3),
    "RMSprop": (torch.optim.RMSprop, {"alpha": 0.99, "eps": 1e-5}, 1e-3),
    "Adam": (torch.optim.Adam, {"eps": 1e-5}, 1e-3),
}


class FixedStdPolicy(ActorCriticPolicy):
    """SB3's policy, its one std frozen at 0.5."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        if hasattr(self, "log_std"):
            nn.init.constant_(self.log_std, np.log(0.5)).requires_grad_(False)


class StateStdPolicy(ActorCriticPolicy):
    """SB3's policy with a std for each state, and torch's own normal density."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.log_std.requires_grad_(False)
        self.std_net = nn.utils.skip_init(nn.Linear, 64, 1)
        nn.init.zeros_(self.std_net.weight)
        nn.init.constant_(self.std_net.bias, np.log(np.expm1(0.5)))
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        std = nn.functional.softplus(self.std_net(latent_pi))
        self.action_dist.distribution = Normal(self.action_net(latent_pi), std)
        return self.action_dist


def trained_parameters(algorithm: type, env_id: str, n_envs: int, **kwargs: Any) -> dict:
    """Build from a seed and train, before another model draws random numbers."""
    env = make_vec_env(env_id, n_envs, seed=3)
    model = algorithm(env=env, n_steps=N_STEPS, gamma=0.9, seed=7, **kwargs)
    initial = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    model.learn(UPDATES * N_STEPS * n_envs)
    return {name: (initial[name], final) for name, final in model.policy.state_dict().items()}


def tdac_parameters(
    env_id: str, n_envs: int, optimizer: str, fast_path: bool, **policy_kwargs: Any
) -> dict:
    optimizer_class, optimizer_kwargs, learning_rate = OPTIMIZERS[optimizer]
    settings = TEXTBOOK | dict(critic_first=False, loss_reduction="mean", fast_path=fast_path)
    settings["policy_kwargs"] = TEXTBOOK["policy_kwargs"] | dict(
        activation_fn=nn.Tanh,
        optimizer_class=optimizer_class,
        optimizer_kwargs=optimizer_kwargs,
        **policy_kwargs,
    )
    return trained_parameters(
        *(TDAC, env_id, n_envs),
        policy="MlpPolicy",
        learning_rate=learning_rate,
        **settings,
    )


@cache
def a2c_parameters(policy: type, env_id: str, n_envs: int, optimizer: str) -> dict:
    """``vf_coef`` is 1/2 because A2C's value loss has no 1/2 of its own, as (4.20) has."""
    optimizer_class, optimizer_kwargs, learning_rate = OPTIMIZERS[optimizer]
    policy_kwargs = dict(
        optimizer_class=optimizer_class,
        optimizer_kwargs=optimizer_kwargs,
        share_features_extractor=False,
    )
    return trained_parameters(
        A2C,
        env_id,
        n_envs,
        policy=policy,
        learning_rate=learning_rate,
        gae_lambda=0.0,
        vf_coef=0.5,
        ent_coef=0.0,
        max_grad_norm=float("inf"),
        policy_kwargs=policy_kwargs,
    )


def assert_same_steps(ours: dict, theirs: dict, trained: int, fast_path: bool) -> None:
    """The fast path sums in another order, and small steps of RMSprop enlarge its rounding."""
    common = ours.keys() & theirs.keys()
    for name in common:
        (our_start, our_end), (their_start, their_end) = ours[name], theirs[name]
        assert torch.equal(our_start, their_start), name
        assert (our_end - their_end).abs().max() < (1e-5 if fast_path else 1e-6), name
    assert len(common) == trained
    for name in ("action_net.weight", "value_net.weight"):
        start, end = ours[name]
        assert (end - start).abs().max() > 1e-4, f"{name} hardly moved: the test compares nothing"


both_paths = pytest.mark.parametrize("fast_path", [True, False])
optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS)


@both_paths
@optimizers
@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_steps_are_those_of_a2c(env_id: str, n_envs: int, optimizer: str, fast_path: bool) -> None:
    """CartPole terminates and Pendulum truncates within the 250 steps of each environment."""
    std = dict(std_bounds=(0.5, 0.5), std_init=0.5)
    ours = tdac_parameters(env_id, n_envs, optimizer, fast_path, **std)
    theirs = a2c_parameters(FixedStdPolicy, env_id, n_envs, optimizer)
    # weights and biases of two hidden layers and one output, of actor and critic
    assert_same_steps(ours, theirs, 12, fast_path)


@both_paths
@optimizers
@pytest.mark.parametrize("n_envs", [1, 4])
def test_steps_with_a_std_for_each_state_are_those_of_a2c(
    n_envs: int, optimizer: str, fast_path: bool
) -> None:
    ours = tdac_parameters("Pendulum-v1", n_envs, optimizer, fast_path, std_init=0.5)
    theirs = a2c_parameters(StateStdPolicy, "Pendulum-v1", n_envs, optimizer)
    assert_same_steps(ours, theirs, 14, fast_path)
