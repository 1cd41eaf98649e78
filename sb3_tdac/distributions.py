"""The diagonal Gaussian of (4.24)-(4.26), with a mean and a std for each state, as SB3 uses it."""

import math

import torch
from stable_baselines3.common.distributions import Distribution
from torch import Tensor, nn

from sb3_tdac import equations


class DiagGaussian(Distribution):
    """Diagonal Gaussian with a mean and a std that both depend on the state: (4.24).

    SB3's ``DiagGaussianDistribution`` has one std for all states; this one takes a std of the
    shape of the mean.

    :param action_dim: dimension A of the action
    """

    mean: Tensor
    std: Tensor

    def __init__(self, action_dim: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self.action_dim = action_dim

    def proba_distribution_net(self, latent_dim: int, std_init: float) -> nn.Module:
        """Create the layer of the std before softplus; the mean has SB3's ``action_net``.

        It starts at zero weights: the untrained std is the same in every state. The random
        generator stays as it was: with the same seed the other layers get the weights of A2C's.

        :param latent_dim: width of the actor's last hidden layer
        :param std_init: untrained std
        :return: linear layer with A outputs
        """
        with torch.random.fork_rng(devices=[]):
            std_net = nn.Linear(latent_dim, self.action_dim)
        nn.init.zeros_(std_net.weight)
        nn.init.constant_(std_net.bias, std_init + math.log(-math.expm1(-std_init)))
        return std_net

    def proba_distribution(self, mean: Tensor, std: Tensor) -> "DiagGaussian":
        """Set the parameters.

        :param mean: (B, A)
        :param std: (B, A), positive
        :return: self
        """
        self.mean, self.std = mean, std
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """(4.26) of the actions as sampled.

        :param actions: (B, A)
        :return: (B,)
        """
        return equations.gaussian_log_prob(actions, self.mean, self.std)

    def entropy(self) -> Tensor:
        """Entropy of (4.24).

        :return: (B,)
        """
        return equations.gaussian_entropy(self.std)

    def sample(self) -> Tensor:
        """Draw from (4.24). No gradient: (4.22) is the score-function form.

        :return: (B, A)
        """
        return torch.normal(self.mean.detach(), self.std.detach())

    def mode(self) -> Tensor:
        """The mean, which is the most likely action.

        :return: (B, A)
        """
        return self.mean

    def actions_from_params(self, mean: Tensor, std: Tensor, deterministic: bool = False) -> Tensor:
        """Set the parameters, then sample, or take the mean.

        :param mean: (B, A)
        :param std: (B, A), positive
        :param deterministic: take the mean
        :return: (B, A)
        """
        return self.proba_distribution(mean, std).get_actions(deterministic)

    def log_prob_from_params(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Set the parameters, sample, and evaluate the sample.

        :param mean: (B, A)
        :param std: (B, A), positive
        :return: (B, A) actions and their (B,) log-density
        """
        actions = self.actions_from_params(mean, std)
        return actions, self.log_prob(actions)
