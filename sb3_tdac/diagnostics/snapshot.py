"""Copies of everything that an update by autograd changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sb3_tdac.diagnostics.not_finite import are_finite
from sb3_tdac.learner import AutogradLearner


class StateCopy:
    """Copy of parameters, buffers, and the state of optimizers.

    :param modules: modules whose parameters and buffers change
    :param optimizers: optimizers whose state changes
    """

    def __init__(
        self, modules: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]
    ) -> None:
        self.modules, self.optimizers = modules, optimizers
        self._tensors: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._states: list[dict[Tensor, dict[str, Any]]] = []

    @torch.no_grad()
    def take(self) -> None:
        """Copy the numbers, into the memory of the last copy where that fits."""
        tensors = self.tensors()
        if [*map(id, tensors)] != [*map(id, self._tensors)]:
            self._tensors, self._copies = tensors, [t.detach().clone() for t in tensors]
        elif tensors:  # plain SGD remembers nothing
            torch._foreach_copy_(self._copies, tensors)
        self._states = [
            {parameter: dict(state) for parameter, state in optimizer.state.items()}
            for optimizer in self.optimizers
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Write the numbers of the last ``take`` back."""
        if self._tensors:
            torch._foreach_copy_(self._tensors, self._copies)
        for optimizer, states in zip(self.optimizers, self._states, strict=True):
            for parameter in [*optimizer.state]:
                if parameter not in states:
                    del optimizer.state[parameter]
            for parameter, state in states.items():
                optimizer.state[parameter].clear()
                optimizer.state[parameter].update(state)

    def tensors(self) -> list[Tensor]:
        """All tensors that an update changes."""
        tensors = [t for module in self.modules for t in (*module.parameters(), *module.buffers())]
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        return tensors + [t for s in states for t in s.values() if isinstance(t, Tensor)]


class AutogradSnapshot(StateCopy):
    """Copies a model that learns by autograd, and checks its numbers after an update.

    :param learner: learner of the model
    """

    def __init__(self, learner: AutogradLearner):
        super().__init__([], [])
        self._learner = learner

    def take(self) -> None:
        """Copy the model as it is now: a user may have put in another optimizer."""
        policy = self._learner.policy
        self.modules = [policy, self._learner.advantage_stats]
        self.optimizers = [policy.critic_optimizer, policy.optimizer]
        super().take()

    def is_finite(self) -> bool:
        """Whether the update left finite numbers only."""
        now = self._learner.latest
        losses = [now.value, now.target, now.advantage, now.log_prob, now.actor_loss]
        return are_finite([*losses, now.critic_loss, *self.tensors()])

    def trace(self) -> Mapping[str, Sequence[Tensor]]:
        """The quantities of the last update by name, in the order in which they were computed.

        Parameters come first: a gradient that is not finite moves none of them, so they are the
        cause of everything that comes after.
        """
        now = self._learner.latest
        critic, actor = (optimizer.param_groups[0]["params"] for optimizer in self.optimizers)
        return {
            "parameter of the critic": critic,
            "parameter of the actor": actor,
            "value": [now.critic_value, now.value],
            "target": [now.critic_target, now.target],
            "loss of the critic": [now.critic_loss],
            "gradient of the critic": [_gradient_norm(critic)],
            "advantage": [now.advantage],
            "log-density": [now.log_prob],
            "loss of the actor": [now.actor_loss],
            "gradient of the actor": [_gradient_norm(actor)],
        }


def _gradient_norm(parameters: Sequence[Tensor]) -> Tensor:
    norms = [parameter.grad.norm() for parameter in parameters if parameter.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())
