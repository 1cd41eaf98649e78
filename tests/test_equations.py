"""Each function of equations.py: values by hand, gradients, and the shapes it refuses."""

import math

import pytest
import torch
from scipy.integrate import dblquad
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from sb3_tdac import equations

REWARD = torch.tensor([1.0, 1.0, -2.0], dtype=torch.float64)
NEXT_VALUE = torch.tensor([4.0, 4.0, 10.0], dtype=torch.float64)
TERMINATED = torch.tensor([False, True, False])


def leaf(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


@pytest.mark.equation("4.19")
def test_target_is_reward_plus_discounted_next_value_unless_terminated() -> None:
    # 1 + 0.5 * 4 = 3; terminated: 1; -2 + 0.5 * 10 = 3
    target = equations.td_target(REWARD, TERMINATED, NEXT_VALUE, gamma=0.5)
    assert target.tolist() == [3.0, 1.0, 3.0]


def test_target_of_a_terminal_state_ignores_even_a_nan_successor() -> None:
    target = equations.td_target(REWARD[:1], TERMINATED[1:2], torch.tensor([math.nan]), gamma=0.5)
    assert target.tolist() == [1.0]


@pytest.mark.equation("4.20")
def test_critic_loss_is_half_the_sum_of_squared_td_errors() -> None:
    # errors 2 and -1: (4 + 1) / 2 = 2.5, and half of that for the mean of two
    value, target = leaf(1.0, 2.0), leaf(3.0, 1.0)
    for gradient in ("semi", "residual"):
        assert equations.critic_loss(value, target, gradient).item() == 2.5
        assert equations.critic_loss(value, target, gradient, "mean").item() == 1.25


@pytest.mark.equation("4.20")
def test_semi_gradient_reaches_the_value_only() -> None:
    value, target = leaf(1.0, 2.0), leaf(3.0, 1.0)
    equations.critic_loss(value, target, "semi").backward()
    assert value.grad.tolist() == [-2.0, 1.0]  # V - target
    assert target.grad is None


@pytest.mark.equation("4.20")
def test_residual_gradient_reaches_both_values() -> None:
    value, next_value = leaf(1.0, 2.0), leaf(4.0, 4.0)
    target = equations.td_target(REWARD[:2], TERMINATED[:2], next_value, gamma=0.5)  # 3, 1
    equations.critic_loss(value, target, "residual").backward()
    assert value.grad.tolist() == [-2.0, 1.0]
    assert next_value.grad.tolist() == [1.0, 0.0]  # gamma * error, none from a terminal state


@pytest.mark.equation("4.21")
def test_advantage_is_the_td_error_of_the_same_target() -> None:
    value = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    target = equations.td_target(REWARD, TERMINATED, NEXT_VALUE, gamma=0.5)
    # 3 - 1, 1 - 2 (no gamma V(x') where it terminated), 3 - 3
    assert equations.td_advantage(value, target).tolist() == [2.0, -1.0, 0.0]


@pytest.mark.equation("4.22")
def test_actor_loss_is_minus_the_sum_of_log_prob_times_advantage() -> None:
    # -(-1 * 3 + -2 * -1) = 1
    log_prob, advantage = leaf(-1.0, -2.0), leaf(3.0, -1.0)
    assert equations.actor_loss(log_prob, advantage).item() == 1.0
    assert equations.actor_loss(log_prob, advantage, "mean").item() == 0.5


@pytest.mark.equation("4.22")
def test_actor_gradient_reaches_the_log_prob_only() -> None:
    log_prob, advantage = leaf(-1.0, -2.0), leaf(3.0, -1.0)
    equations.actor_loss(log_prob, advantage).backward()
    assert log_prob.grad.tolist() == [-3.0, 1.0]  # minus the advantage
    assert advantage.grad is None


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_agree_with_finite_differences(reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    value, target, log_prob, advantage = (
        torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(4)
    )
    check = torch.autograd.gradcheck
    constant, advantage = target.detach(), advantage.detach()
    assert check(lambda v: equations.critic_loss(v, constant, "semi", reduction), (value,))
    assert check(lambda v, t: equations.critic_loss(v, t, "residual", reduction), (value, target))
    assert check(lambda p: equations.actor_loss(p, advantage, reduction), (log_prob,))


def test_gaussian_gradients_agree_with_finite_differences() -> None:
    action, mean, std = gaussian_arguments(batch=4, dim=3)
    mean.requires_grad_(), std.requires_grad_()
    assert torch.autograd.gradcheck(equations.gaussian_log_prob, (action, mean, std))
    assert torch.autograd.gradcheck(equations.gaussian_entropy, (std,))


def gaussian_arguments(batch: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    action, mean = (
        torch.randn(batch, dim, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    std = 0.2 + torch.rand(batch, dim, generator=generator, dtype=torch.float64)
    return action, mean, std


def test_log_prob_of_the_standard_normal_at_zero_and_one() -> None:
    # (4.26) with mu = 0, sigma = 1: -u^2 / 2 - log(2 pi) / 2
    action = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    zero, one = torch.zeros_like(action), torch.ones_like(action)
    expected = [-0.5 * math.log(2 * math.pi), -0.5 - 0.5 * math.log(2 * math.pi)]
    assert equations.gaussian_log_prob(action, zero, one).tolist() == pytest.approx(expected)


@pytest.mark.equation("4.26")
def test_log_prob_is_that_of_torch_distributions() -> None:
    action, mean, std = gaussian_arguments(batch=6, dim=3)
    expected = Independent(Normal(mean, std), 1).log_prob(action)
    torch.testing.assert_close(equations.gaussian_log_prob(action, mean, std), expected)


@pytest.mark.equation("4.24")
def test_log_prob_is_the_matrix_form() -> None:
    """(4.24) with P = diag(sigma^2), evaluated as it stands and by torch's MultivariateNormal."""
    action, mean, std = gaussian_arguments(batch=6, dim=3)
    covariance = torch.diag_embed(std**2)
    error = (action - mean).unsqueeze(2)
    exponent = -0.5 * (error.mT @ torch.linalg.inv(covariance) @ error).flatten()
    normalization = torch.sqrt((2 * math.pi) ** 3 * torch.linalg.det(covariance))
    log_prob = equations.gaussian_log_prob(action, mean, std)
    torch.testing.assert_close(log_prob.exp(), exponent.exp() / normalization)
    torch.testing.assert_close(log_prob, MultivariateNormal(mean, covariance).log_prob(action))


@pytest.mark.equation("4.25")
def test_log_prob_is_the_sum_over_dimensions() -> None:
    """(4.24), second line, and (4.26), first line: the density is a product of (4.25)."""
    action, mean, std = gaussian_arguments(batch=6, dim=3)
    parts = [
        equations.gaussian_log_prob(action[:, [j]], mean[:, [j]], std[:, [j]]) for j in range(3)
    ]
    torch.testing.assert_close(equations.gaussian_log_prob(action, mean, std), sum(parts))


@pytest.mark.equation("4.24")
def test_density_integrates_to_one() -> None:
    mean, std = torch.tensor([[0.3, -0.5]]).double(), torch.tensor([[0.4, 1.5]]).double()

    def density(second: float, first: float) -> float:
        action = torch.tensor([[first, second]], dtype=torch.float64)
        return equations.gaussian_log_prob(action, mean, std).exp().item()

    (low1, low2), (high1, high2) = (mean - 8 * std)[0].tolist(), (mean + 8 * std)[0].tolist()
    integral, _ = dblquad(density, low1, high1, low2, high2, epsabs=1e-4)
    assert integral == pytest.approx(1.0, abs=1e-4)


@pytest.mark.equation("4.26")
def test_entropy_is_the_mean_of_minus_log_prob() -> None:
    mean, std = torch.tensor([[0.3, -0.5]]).double(), torch.tensor([[0.4, 1.5]]).double()
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    log_prob = equations.gaussian_log_prob(
        mean + std * noise, mean.expand_as(noise), std.expand_as(noise)
    )
    # Var(-log p) = dimensions / 2 = 1: five standard errors
    expected = -log_prob.mean().item()
    assert equations.gaussian_entropy(std).item() == pytest.approx(expected, abs=5 / 200_000**0.5)


@pytest.mark.equation("4.25")
def test_std_is_no_variance() -> None:
    # sigma = 2, u - mu = 2: -(2 / 2)^2 / 2 - log(2) - log(2 pi) / 2
    action, mean, std = (torch.tensor([[x]]).double() for x in (2.0, 0.0, 2.0))
    expected = -0.5 - math.log(2) - 0.5 * math.log(2 * math.pi)
    assert equations.gaussian_log_prob(action, mean, std).item() == pytest.approx(expected)


ROW, COLUMN, SHORT = torch.zeros(3), torch.zeros(3, 1), torch.zeros(2)


@pytest.mark.parametrize("other", [COLUMN, SHORT])
def test_mismatched_shapes_are_refused_by_name(other: Tensor) -> None:
    no = torch.zeros(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="next_value"):
        equations.td_target(ROW, no, other, 0.9)
    with pytest.raises(ValueError, match="terminated"):
        equations.td_target(ROW, other.bool(), ROW, 0.9)
    for function in (equations.critic_loss, equations.td_advantage):
        with pytest.raises(ValueError, match="target"):
            function(ROW, other)
    with pytest.raises(ValueError, match="advantage"):
        equations.actor_loss(ROW, other)


def test_gaussian_refuses_what_is_not_batch_by_action() -> None:
    with pytest.raises(ValueError, match="std has shape"):
        equations.gaussian_log_prob(torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match="action must have shape"):
        equations.gaussian_log_prob(ROW, ROW, ROW)
    with pytest.raises(ValueError, match="std must have shape"):
        equations.gaussian_entropy(ROW)


def test_words_and_types_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="terminated must be a bool"):
        equations.td_target(ROW, ROW, ROW, 0.9)
    with pytest.raises(ValueError, match=r"gradient .* 'full'"):
        equations.critic_loss(ROW, ROW, "full")
    with pytest.raises(ValueError, match=r"reduction .* 'none'"):
        equations.actor_loss(ROW, ROW, "none")


@pytest.mark.equation("4.23")
def test_the_step_is_gradient_descent_on_the_actor_loss() -> None:
    """(4.23) on one weight: log pi = -(u - theta)^2 / 2 + c, so d/dtheta = (u - theta) A."""
    theta = torch.nn.Parameter(torch.zeros(1, 1, dtype=torch.float64))
    optimizer = torch.optim.SGD([theta], lr=0.1)
    action, std = torch.tensor([[2.0]]).double(), torch.ones(1, 1).double()
    log_prob = equations.gaussian_log_prob(action, theta, std)
    equations.actor_loss(log_prob, torch.tensor([3.0]).double()).backward()
    optimizer.step()
    assert theta.item() == pytest.approx(0.1 * 2.0 * 3.0)


def test_std_gradient_of_the_log_prob() -> None:
    """d(4.26)/d sigma = ((u - mu)^2 / sigma^2 - 1) / sigma, checked at u - mu = 2, sigma = 0.5."""
    std = torch.full((1, 1), 0.5, dtype=torch.float64, requires_grad=True)
    log_prob = equations.gaussian_log_prob(
        torch.full((1, 1), 2.0).double(), torch.zeros(1, 1).double(), std
    )
    log_prob.sum().backward()
    assert std.grad.item() == pytest.approx((16 - 1) / 0.5)
