"""Computes for the log what the kernels leave out of an update."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor

from sb3_tdac import equations
from sb3_tdac.aliases import Array
from sb3_tdac.distributions import DiagGaussian


@dataclass
class KernelUpdate:
    """Numbers of one update, computed when they are read; names as in ``sb3_tdac.learner.Update``.

    :param critic: (2, B) value and target in the last step of the critic
    :param actor: (3, B) value, target and advantage in the step of the actor
    :param outputs: mean and std, (B, A) each; or log-probabilities (B, number of actions)
    :param action: (B, A) or (B,) as sampled
    :param reduction: ``"sum"`` or ``"mean"``
    """

    critic: Array
    actor: Array
    outputs: Sequence[Array]
    action: Array
    reduction: str

    @property
    def value(self) -> Tensor:
        return torch.from_numpy(self.actor[0])

    @property
    def target(self) -> Tensor:
        return torch.from_numpy(self.actor[1])

    @property
    def critic_loss(self) -> Tensor:
        value, target = torch.from_numpy(self.critic)
        return equations.critic_loss(value, target, reduction=self.reduction)

    @property
    def actor_loss(self) -> Tensor:
        advantage = torch.from_numpy(self.actor[2])
        return equations.actor_loss(self.log_prob, advantage, self.reduction)

    @property
    def log_prob(self) -> Tensor:
        return self._distribution.log_prob(torch.from_numpy(self.action))

    @property
    def entropy(self) -> Tensor:
        return self._distribution.entropy()

    @property
    def std(self) -> Tensor | None:
        return torch.from_numpy(self.outputs[1]) if len(self.outputs) == 2 else None

    @property
    def _distribution(self) -> DiagGaussian | CategoricalDistribution:
        outputs = [*map(torch.from_numpy, self.outputs)]
        width = outputs[0].shape[1]
        if len(outputs) == 2:
            return DiagGaussian(width).proba_distribution(*outputs)
        return CategoricalDistribution(width).proba_distribution(*outputs)
