"""Numbers of an update that are not finite: which one, and the way back to the model before it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from sb3_tdac.diagnostics.location import place_of_row, updates_of


class NotFinite(ValueError):
    """A number of an update is not finite.

    :param quantity: which one
    :param are_bad: (B,) in which transitions, where each has its own
    """

    def __init__(self, quantity: str, are_bad: Tensor | None = None):
        super().__init__(f"{quantity} is not finite")
        self.quantity, self.are_bad = quantity, are_bad


#: What each transition of a batch has.
BY_ROW = ("value", "target", "advantage", "output of the actor", "log-density")


def first_not_finite(numbers: Mapping[str, Sequence[Any]]) -> NotFinite | None:
    """The first that has a NaN or an infinity in it.

    :param numbers: tensors or arrays of each name
    """
    for name, arrays in numbers.items():
        bad = [~torch.as_tensor(array).isfinite() for array in arrays]
        if any(map(torch.any, bad)):
            rows = [each.reshape(len(each), -1).any(1) for each in bad if name in BY_ROW]
            return NotFinite(name, torch.stack(rows).any(0) if rows else None)
    return None


@torch.no_grad()
def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all tensors are, with one look at the device.

    :param tensors: of any dtype
    """
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    norms = torch._foreach_norm(floating)
    device = norms[0].device
    if math.isfinite(torch.stack([norm.to(device) for norm in norms]).sum()):
        return True
    return all(bool(tensor.isfinite().all()) for tensor in floating)  # squares may overflow


def check_parameters(model: Any) -> None:
    """Refuse a policy with parameters, or running statistics, that are not finite.

    :param model: before it trains
    :raises ValueError: naming the first
    """
    state = {name: [tensor] for name, tensor in model.policy.state_dict().items()}
    found = first_not_finite(state)
    if found is not None:
        raise ValueError(
            f"parameter {found.quantity!r} of the policy is not finite before update "
            f"{int(model._n_updates) + 1}: TDAC's own updates leave none, so a callback, "
            "set_parameters or a file did: load a model saved before"
        )


def check_actions(model: Any, actions: Any) -> None:
    """Refuse actions of a ``Box`` that are not finite, before an environment gets them.

    :param model: that is training
    :param actions: (n_envs, *action shape)
    :raises ValueError: naming the environment, or the parameter
    """
    if not np.isfinite(actions).all():
        check_parameters(model)
        env = int(np.argwhere(~np.isfinite(actions))[0][0])
        raise ValueError(
            f"the policy's action for environment {env} is not finite after time step "
            f"{model.num_timesteps}: its parameters have grown too large. {REMEDY}"
        )


REMEDY = (
    "The usual cause is a learning rate too high for the scale of rewards and observations: lower "
    "learning_rate and critic_learning_rate, or set max_grad_norm, normalize_reward and "
    "normalize_observation"
)


def failed_update(model: Any, error: NotFinite) -> ValueError:
    """What the user is told, after the model was restored.

    :param model: as it was before the update
    :param error: what was not finite
    :return: the error to raise
    """
    check_parameters(model)
    return ValueError(
        f"{error.quantity} is not finite in update {int(model._n_updates) + 1} (after time step "
        f"{model.num_timesteps}){_rows(model, error.are_bad)}. {REMEDY}. The model is that of "
        f"{updates_of(model)}, and can be saved"
    )


def _rows(model: Any, are_bad: Tensor | None) -> str:
    """In which transitions, where each has its own number."""
    if are_bad is None:
        return ""
    n_bad, n_rows = int(are_bad.sum()), len(are_bad)
    if n_bad == n_rows:
        return f", in all {n_rows} transitions"
    first = place_of_row(model, model.rollout_buffer, int(are_bad.nonzero()[0]))
    return f", in {n_bad} of {n_rows} transitions (first: {first}; an observation may be the cause)"


class Snapshot:
    """Parameters, buffers and the state of optimizers."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._optimizers: list[tuple[torch.optim.Optimizer, dict[Tensor, dict[str, Any]]]] = []

    @torch.no_grad()
    def take(
        self, modules: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]
    ) -> None:
        """Copy the numbers, into the memory of the last copy where that fits.

        :param modules: whose parameters and buffers change
        :param optimizers: whose state changes
        """
        tensors = tensors_of(modules, optimizers)
        if [*map(id, tensors)] != [*map(id, self._tensors)]:
            self._tensors, self._copies = tensors, [t.detach().clone() for t in tensors]
        elif tensors:  # plain SGD remembers nothing
            torch._foreach_copy_(self._copies, tensors)
        self._optimizers = [
            (optimizer, {parameter: dict(state) for parameter, state in optimizer.state.items()})
            for optimizer in optimizers
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Write the numbers of the last ``take`` back."""
        if self._tensors:
            torch._foreach_copy_(self._tensors, self._copies)
        for optimizer, states in self._optimizers:
            for parameter in [*optimizer.state]:
                if parameter not in states:
                    del optimizer.state[parameter]
            for parameter, state in states.items():
                optimizer.state[parameter].clear()
                optimizer.state[parameter].update(state)


class Guard(Snapshot):
    """All of an update by autograd, or nothing; it knows what the update computed."""

    def begin(self, model: Any) -> None:
        """Take a copy of what the update changes.

        :param model: that is about to update
        """
        policy = model.policy
        self.modules = [policy, model.advantage_stats]
        self.optimizers = [policy.critic_optimizer, policy.optimizer]
        self.names = {self.optimizers[0]: "critic", self.optimizers[1]: "actor"}
        self.take(self.modules, self.optimizers)
        self._seen: dict[str, list[Tensor]] = {
            f"parameter of the {name}": optimizer.param_groups[0]["params"]
            for optimizer, name in self.names.items()
        }

    def see(self, **numbers: Tensor) -> None:
        """Remember what the update computed, under its name; nothing is looked at.

        :param numbers: tensors
        """
        self._seen.update({name.replace("_", "-"): [t.detach()] for name, t in numbers.items()})

    def see_step(self, loss: Tensor, norms: Mapping[torch.optim.Optimizer, Tensor]) -> None:
        """Remember a step of gradient descent; on a CPU refuse it if it is not finite.

        :param loss: ()
        :param norms: norm of the gradient of each optimizer's parameters
        :raises NotFinite: before any parameter moves
        """
        for optimizer, norm in norms.items():
            name = self.names[optimizer]
            self._seen[f"loss of the {name}"] = [loss.detach()]
            self._seen[f"gradient of the {name}"] = [norm]
        numbers = [loss.detach(), *norms.values()]
        if loss.device.type == "cpu" and not all(map(math.isfinite, numbers)):
            raise NotFinite("gradient")  # elsewhere a look at it would wait for the device

    def end(self) -> None:
        """Refuse the update if something of it is not finite.

        :raises NotFinite: if it is not
        """
        seen = [tensor for tensors in self._seen.values() for tensor in tensors]
        if not are_finite([*seen, *tensors_of(self.modules, self.optimizers)]):
            raise NotFinite("parameter")

    def undo(self, error: BaseException) -> NoReturn:
        """Restore the model, and raise the error with the name of what came first.

        :param error: that ended the update
        """
        first = first_not_finite(self._seen) if isinstance(error, NotFinite) else None
        self.restore()
        if first is not None:
            raise first from None
        raise error


def tensors_of(
    modules: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]
) -> list[Tensor]:
    """All tensors that an update changes.

    :param modules: their parameters and buffers
    :param optimizers: what they remember of the parameters
    """
    tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    return tensors + [t for s in states for t in s.values() if isinstance(t, Tensor)]
