"""The actor and the critic: who owns which parameter, units of the action, bounds of the std."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from sb3_tdac import MlpPolicy
from sb3_tdac.policies import TDACPolicy

STATE = spaces.Box(-1.0, 1.0, (3,))
ASYMMETRIC = spaces.Box(np.array([-1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32))
UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,))
OBS = torch.linspace(-1, 1, 12).reshape(4, 3)


def make_policy(action_space: spaces.Space[Any] = ASYMMETRIC, **kwargs: Any) -> TDACPolicy:
    torch.manual_seed(0)
    return MlpPolicy(STATE, action_space, lambda _: 1e-3, net_arch=[8], **kwargs)


def set_outputs(policy: TDACPolicy, mean: list[float], std_input: float) -> None:
    """Let the linear outputs of the actor be constants."""
    for layer in (policy.action_net, policy.std_net):
        torch.nn.init.zeros_(layer.weight)
    with torch.no_grad():
        policy.action_net.bias.copy_(torch.tensor(mean))
        policy.std_net.bias.fill_(std_input)


@pytest.mark.parametrize("space", [ASYMMETRIC, spaces.Discrete(3)])
@pytest.mark.parametrize("shared", [False, True])
def test_each_parameter_has_exactly_one_optimizer(space: spaces.Space[Any], shared: bool) -> None:
    policy = make_policy(space, share_features_extractor=shared)
    actor, critic = (
        {id(p) for group in optimizer.param_groups for p in group["params"]}
        for optimizer in (policy.optimizer, policy.critic_optimizer)
    )
    assert actor and critic and not actor & critic
    assert actor | critic == {id(p) for p in policy.parameters()}


def gradients(policy: TDACPolicy, loss: Tensor) -> set[str]:
    policy.zero_grad()
    loss.backward()
    return {name for name, p in policy.named_parameters() if p.grad is not None}


def test_actor_and_critic_share_no_parameter() -> None:
    policy = make_policy()
    _, log_prob, _ = policy.evaluate_actions(OBS, torch.zeros(4, 2))
    actor = gradients(policy, log_prob.sum())
    critic = gradients(policy, policy.predict_values(OBS).sum())
    assert not actor & critic
    assert actor | critic == {name for name, _ in policy.named_parameters()}


class FrozenRate(torch.optim.SGD):
    """An optimizer that takes its parameters in its own way."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group | {"lr": 0.25})


@pytest.mark.parametrize(
    ("optimizer_class", "kwargs"),
    [(torch.optim.Adam, {"betas": (0.5, 0.9), "fused": True}), (FrozenRate, {"momentum": 0.9})],
)
def test_an_optimizer_is_the_one_that_its_class_makes(
    optimizer_class: type[torch.optim.Optimizer], kwargs: dict[str, Any]
) -> None:
    policy = make_policy(optimizer_class=optimizer_class, optimizer_kwargs=kwargs)
    assert policy.optimizer_class is optimizer_class
    for modules, optimizer in (
        (policy.actor_modules(), policy.optimizer),
        (policy.critic_modules(), policy.critic_optimizer),
    ):
        other = optimizer_class(modules.parameters(), lr=1e-3, **kwargs)  # type: ignore[call-arg]
        assert type(optimizer) is optimizer_class
        assert vars(optimizer).keys() == vars(other).keys()
        assert optimizer.state_dict() == other.state_dict()
        assert optimizer.defaults == other.defaults


def test_a_policy_with_a_parameter_in_both_networks_is_refused() -> None:
    class Tied(TDACPolicy):
        def critic_modules(self) -> torch.nn.ModuleList:
            return torch.nn.ModuleList([super().critic_modules(), self.action_net])

    with pytest.raises(ValueError, match="either actor_modules"):
        Tied(STATE, ASYMMETRIC, lambda _: 1e-3)


def test_mean_is_bounded_and_in_units_of_half_the_range() -> None:
    policy = make_policy()
    set_outputs(policy, [0.0, 0.5], 0.0)
    # tanh(0) = 0 is the middle, 1, of [-1, 3]; tanh(0.5) of half the range, 1, around 3
    assert policy.get_distribution(OBS).mode()[0].tolist() == pytest.approx([0.0, math.tanh(0.5)])
    action, _ = policy.predict(OBS.numpy(), deterministic=True)
    assert action[0] == pytest.approx([1.0, 3.0 + math.tanh(0.5)])


@pytest.mark.parametrize(
    "space, options", [(UNBOUNDED, {}), (ASYMMETRIC, dict(scale_actions=False))]
)
def test_mean_is_linear_in_raw_units_without_scaling(
    space: spaces.Space[Any], options: dict[str, Any]
) -> None:
    policy = make_policy(space, **options)
    set_outputs(policy, [2.5, 3.5], 0.0)
    assert policy.get_distribution(OBS).mode()[0].tolist() == [2.5, 3.5]
    action, _ = policy.predict(OBS.numpy(), deterministic=True)
    assert action[0].tolist() == [2.5, 3.5]


def test_what_the_environment_gets_is_clipped_to_its_bounds() -> None:
    sampled = np.array([[-1.5, 0.0], [0.0, 7.0]], np.float32)
    # middles 1 and 3, half ranges 2 and 1
    assert make_policy().unscale_action(sampled).tolist() == [[-1.0, 3.0], [1.0, 4.0]]
    raw = make_policy(scale_actions=False).unscale_action(sampled)
    assert raw.tolist() == [[-1.0, 2.0], [0.0, 4.0]]
    assert make_policy(UNBOUNDED).unscale_action(sampled).tolist() == sampled.tolist()


def test_std_is_the_softplus_within_its_bounds() -> None:
    policy = make_policy(std_bounds=(0.1, 2.0), std_init=0.5)
    for std_input, std in ((0.0, math.log(2.0)), (-9.0, 0.1), (9.0, 2.0)):
        set_outputs(policy, [0.0, 0.0], std_input)
        torch.testing.assert_close(policy.get_distribution(OBS).std, torch.full((4, 2), std))


@pytest.mark.parametrize("std_init", [1e-3, 50.0])
def test_std_is_std_init_until_it_is_trained(std_init: float) -> None:
    policy = make_policy(std_bounds=(1e-4, math.inf), std_init=std_init)
    std = policy.get_distribution(OBS).std
    torch.testing.assert_close(std, torch.full((4, 2), std_init), rtol=1e-4, atol=0)


def test_std_depends_on_the_state_once_trained() -> None:
    policy = make_policy(std_bounds=(1e-4, math.inf))
    _, log_prob, _ = policy.evaluate_actions(OBS, torch.randn(4, 2))
    log_prob.sum().backward()
    policy.optimizer.step()
    assert policy.get_distribution(OBS).std.std(dim=0).min() > 1e-5


def test_normalized_observations_are_what_the_networks_see() -> None:
    plain, normalizing = make_policy(normalize_observation=False), make_policy()
    seen = torch.tensor([[1.0, 10.0, 100.0], [3.0, 30.0, 300.0]])
    normalizing.update_observation_stats(seen)
    # mean 2, 20, 200 and std 1, 10, 100, up to the weight 1e-4 of the start
    rows = torch.tensor([[3.0, 10.0, 400.0]])
    expected = torch.tensor([[1.0, -1.0, 2.0]])
    torch.testing.assert_close(
        normalizing.predict_values(rows), plain.predict_values(expected), rtol=0, atol=2e-3
    )
    torch.testing.assert_close(
        normalizing.get_distribution(rows).mode(),
        plain.get_distribution(expected).mode(),
        rtol=0,
        atol=2e-3,
    )
