"""Computes the numbers for the log that the kernels leave out of an update."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor

from sb3_tdac import equations
from sb3_tdac.aliases import Array
from sb3_tdac.distributions import DiagGaussian


class KernelUpdate(NamedTuple):
    """The results of one update, a ``sb3_tdac.learner.Update``.

    :param critic: (2, B) value and target in the last step of the critic
    :param actor: (3, B) value, target and advantage in the step of the actor
    :param heads: mean and std, (B, A) each; or log-probabilities (B, number of actions)
    :param action: (B, A) or (B,) as sampled
    :param reduction: ``"sum"`` or ``"mean"``
    """

    critic: Array
    actor: Array
    heads: Sequence[Array]
    action: Array
    reduction: str

    def figures(self) -> dict[str, Tensor]:
        """Numbers for the log, by the names of ``Update.figures``."""
        critic_value, critic_target = torch.from_numpy(self.critic)
        value, target, advantage = torch.from_numpy(self.actor)
        figures = dict(value=value, target=target, entropy=self._distribution().entropy())
        figures["critic_loss"] = equations.critic_loss(
            critic_value, critic_target, reduction=self.reduction
        )
        figures["actor_loss"] = equations.actor_loss(self.log_prob(), advantage, self.reduction)
        if len(self.heads) == 2:
            figures["std"] = torch.from_numpy(self.heads[1])
        return figures

    def log_prob(self) -> Tensor:
        """(B,) log-density of the actions."""
        return self._distribution().log_prob(torch.from_numpy(self.action))

    def _distribution(self) -> DiagGaussian | CategoricalDistribution:
        heads = [*map(torch.from_numpy, self.heads)]
        width = heads[0].shape[1]
        if len(heads) == 2:
            return DiagGaussian(width).proba_distribution(*heads)
        return CategoricalDistribution(width).proba_distribution(*heads)
