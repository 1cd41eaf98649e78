"""DiagGaussian: the density of (4.24) with a mean and a std for each state, as SB3 uses it."""

import pytest
import torch
from torch.distributions import Normal

from sb3_tdac import equations
from sb3_tdac.distributions import DiagGaussian

MEAN = torch.tensor([[0.0, 1.0], [-2.0, 0.5]])
STD = torch.tensor([[0.5, 2.0], [0.1, 1.0]])
ACTION = torch.tensor([[0.5, -1.0], [-2.0, 2.5]])


def gaussian() -> DiagGaussian:
    return DiagGaussian(2).proba_distribution(MEAN, STD)


def test_the_density_is_computed_by_the_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second copy of (4.26)."""
    monkeypatch.setattr(equations, "gaussian_log_prob", lambda *args: args)
    monkeypatch.setattr(equations, "gaussian_entropy", lambda *args: args)
    assert gaussian().log_prob(ACTION) == (ACTION, MEAN, STD)
    assert gaussian().entropy() == (STD,)


def test_samples_have_the_mean_and_std_of_their_state() -> None:
    torch.manual_seed(1)
    many = [tensor.repeat(40_000, 1, 1) for tensor in (MEAN, STD)]
    samples = DiagGaussian(2).proba_distribution(*many).sample()
    # five standard errors: of the mean, std / 200; of the std, std / 283
    assert ((samples.mean(0) - MEAN).abs() < 5 * STD / 200).all()
    assert ((samples.std(0) - STD).abs() < 5 * STD / 283).all()


def test_no_gradient_goes_through_a_sample() -> None:
    """(4.22) is the score-function form."""
    mean, std = MEAN.clone().requires_grad_(), STD.clone().requires_grad_()
    distribution = DiagGaussian(2).proba_distribution(mean, std)
    assert not distribution.sample().requires_grad
    assert distribution.log_prob(ACTION).requires_grad


def test_actions_come_with_their_own_log_density_and_the_deterministic_one_is_the_mean() -> None:
    actions, log_prob = DiagGaussian(2).log_prob_from_params(MEAN, STD)
    torch.testing.assert_close(log_prob, Normal(MEAN, STD).log_prob(actions).sum(1))
    assert DiagGaussian(2).actions_from_params(MEAN, STD, deterministic=True) is MEAN


@pytest.mark.parametrize("std_init", [1e-3, 0.3, 1.0, 50.0, 1000.0])
def test_untrained_std_is_std_init_in_every_state(std_init: float) -> None:
    layer = DiagGaussian(2).proba_distribution_net(latent_dim=8, std_init=std_init)
    std = torch.nn.functional.softplus(layer(torch.randn(4, 8)))
    torch.testing.assert_close(std, torch.full((4, 2), std_init), rtol=1e-4, atol=0)


def test_the_layer_of_the_std_draws_no_random_number() -> None:
    """A seed then gives the other layers the weights that it gives A2C's."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    DiagGaussian(2).proba_distribution_net(latent_dim=8, std_init=0.5)
    assert torch.equal(torch.rand(3), expected)
