"""Computes the numbers of an update that only the log shows."""

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
        distribution = distribution_of(self.heads)
        log_prob = distribution.log_prob(torch.from_numpy(self.action))
        figures = dict(value=value, target=target, entropy=distribution.entropy())
        figures["critic_loss"] = equations.critic_loss(
            critic_value, critic_target, reduction=self.reduction
        )
        figures["actor_loss"] = equations.actor_loss(log_prob, advantage, self.reduction)
        if len(self.heads) == 2:
            figures["std"] = torch.from_numpy(self.heads[1])
        return figures


def distribution_of(heads: Sequence[Array]) -> DiagGaussian | CategoricalDistribution:
    """The policy in each state.

    :param heads: outputs of the actor, as in ``KernelUpdate``; finite
    """
    outputs = [*map(torch.from_numpy, heads)]
    width = outputs[0].shape[1]
    if len(outputs) == 2:
        return DiagGaussian(width).proba_distribution(*outputs)
    return CategoricalDistribution(width).proba_distribution(*outputs)
