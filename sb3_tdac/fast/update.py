"""Computes for the log what the kernels leave out of an update."""

from collections.abc import Sequence
from functools import cached_property

import torch
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor

from sb3_tdac import equations
from sb3_tdac.aliases import Array
from sb3_tdac.distributions import DiagGaussian


class KernelUpdate:
    """Numbers of one update, computed when they are read; all detached.

    :param critic: (2, B) value and target in the last step of the critic
    :param actor: (3, B) value, target and advantage in the step of the actor
    :param outputs: mean and std, (B, A) each; or log-probabilities (B, number of actions)
    :param action: (B, A) or (B,) as sampled
    :param reduction: ``"sum"`` or ``"mean"``
    """

    def __init__(
        self, critic: Array, actor: Array, outputs: Sequence[Array], action: Array, reduction: str
    ):
        self._critic, self._actor, self._action, self._reduction = critic, actor, action, reduction
        self._outputs = outputs

    @cached_property
    def value(self) -> Tensor:
        return torch.from_numpy(self._actor[0])

    @cached_property
    def target(self) -> Tensor:
        return torch.from_numpy(self._actor[1])

    @cached_property
    def advantage(self) -> Tensor:
        return torch.from_numpy(self._actor[2])

    @cached_property
    def _distribution(self) -> DiagGaussian | CategoricalDistribution:
        outputs = [*map(torch.from_numpy, self._outputs)]
        width = outputs[0].shape[1]
        if len(outputs) == 2:
            return DiagGaussian(width).proba_distribution(*outputs)
        return CategoricalDistribution(width).proba_distribution(*outputs)

    @cached_property
    def log_prob(self) -> Tensor:
        return self._distribution.log_prob(torch.from_numpy(self._action))

    @cached_property
    def entropy(self) -> Tensor:
        return self._distribution.entropy()

    @cached_property
    def std(self) -> Tensor | None:
        distribution = self._distribution
        return distribution.std if isinstance(distribution, DiagGaussian) else None

    @cached_property
    def critic_loss(self) -> Tensor:
        value, target = torch.from_numpy(self._critic)
        return equations.critic_loss(value, target, reduction=self._reduction)

    @cached_property
    def actor_loss(self) -> Tensor:
        return equations.actor_loss(self.log_prob, self.advantage, self._reduction)
