"""Finds numbers that are not finite in quantities of an update, in parameters, and in actions."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sb3_tdac.aliases import Array
from sb3_tdac.diagnostics.location import Location

#: Quantities with one number for each transition of a batch.
BY_ROW = ("value", "target", "advantage", "output of the actor", "log-density")
REMEDY = (
    "The usual cause is a learning rate too high for the scale of rewards and observations: lower "
    "learning_rate and critic_learning_rate, or set max_grad_norm, normalize_reward and "
    "normalize_observation"
)


class NotFinite(ValueError):
    """A quantity of an update is NaN or infinite.

    :param quantity: its name
    :param are_bad: (B,) bool, the bad transitions; ``None``: not a quantity of each transition
    """

    def __init__(self, quantity: str, are_bad: Tensor | None = None):
        super().__init__(f"{quantity} is not finite")
        self.quantity, self.are_bad = quantity, are_bad


def first_not_finite(numbers: Mapping[str, Sequence[Tensor | Array]]) -> NotFinite | None:
    """Find the first quantity with a NaN or an infinity.

    :param numbers: arrays of each name
    """
    for name, arrays in numbers.items():
        bad = [~torch.as_tensor(array).isfinite() for array in arrays if len(array.reshape(-1))]
        if any(map(torch.any, bad)):
            rows = [each.reshape(len(each), -1).any(1) for each in bad if name in BY_ROW]
            return NotFinite(name, torch.stack(rows).any(0) if rows else None)
    return None


@torch.no_grad()
def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all numbers are finite; waits for the device only once.

    :param tensors: of any dtype
    """
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    norms = torch._foreach_norm(floating)
    device = norms[0].device
    if math.isfinite(torch.stack([norm.to(device) for norm in norms]).sum()):
        return True
    return all(bool(tensor.isfinite().all()) for tensor in floating)  # squares may overflow


def check_parameters(policy: nn.Module, location: Location) -> None:
    """Refuse a policy with parameters, or running statistics, that are not finite.

    :param policy: actor and critic
    :param location: moment of the training
    :raises ValueError: naming the first
    """
    found = first_not_finite({name: [tensor] for name, tensor in policy.state_dict().items()})
    if found is not None:
        raise ValueError(
            f"parameter {found.quantity!r} of the policy is not finite before update "
            f"{location.n_updates + 1}. No update of TDAC leaves such a number: a callback, "
            "set_parameters or a file brought it. Load a model that was saved before"
        )


def check_actions(actions: Array, policy: nn.Module, location: Location) -> None:
    """Refuse actions that are not finite, before an environment gets them.

    :param actions: (n_envs, ...)
    :param policy: actor and critic
    :param location: moment of the training
    :raises ValueError: naming the parameter that is the cause, or the environment
    """
    if not np.isfinite(actions).all():
        check_parameters(policy, location)
        env = int(np.argwhere(~np.isfinite(actions))[0][0])
        raise ValueError(
            f"the policy's action for environment {env} is not finite after time step "
            f"{location.num_timesteps}: its parameters have grown too large. {REMEDY}"
        )
