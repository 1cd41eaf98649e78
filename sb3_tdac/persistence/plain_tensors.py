"""Tensors of the plain form: named for the file, and checked before a model takes them."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sb3_tdac.persistence.plain_model import PlainModel

OPTIMIZERS = ("policy.optimizer", "policy.critic_optimizer")
#: Last parts of the names of tensors that are a mean of squares, or count something.
NOT_NEGATIVE = ("var", "count", "mean_square", "exp_avg_sq", "square_avg", "step")


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of an optimizer, which must have no other changed number.

    :param optimizer: optimizer
    :raises ValueError: if other numbers were changed too
    """
    group, *others = optimizer.param_groups
    changed = {
        k for k, v in group.items() if k not in ("params", "lr") and v != optimizer.defaults.get(k)
    }
    if others or changed:
        raise ValueError(
            f"an optimizer has other groups, or other {sorted(changed)}, than it was built with"
        )
    return float(group["lr"])


def named_tensors(parameters: dict[str, dict[str, Any]]) -> dict[str, Tensor]:
    """Parameters, statistics and state of the optimizers by unique names.

    :param parameters: what ``get_parameters`` returned
    :return: copies, none of which share memory
    :raises ValueError: if something is no tensor
    """
    values: dict[str, object] = {}
    for name, state in parameters.items():
        if name in OPTIMIZERS:
            for index, remembered in state["state"].items():
                values |= {f"{name}/{index}.{key}": value for key, value in remembered.items()}
        else:
            values |= {f"{name}/{key}": value for key, value in state.items()}
    copies = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            copies[name] = value.detach().cpu().clone().contiguous()
        elif value is not None:
            raise ValueError(f"{name} is no tensor")
    return copies


def filled_in(parameters: dict[str, dict[str, Any]], plain: PlainModel) -> dict[str, Any]:
    """Put the tensors and learning rates of a file into the parameters of a new model.

    :param parameters: what ``get_parameters`` returned, after ``make_states``
    :param plain: content of the file
    :return: argument for ``set_parameters``
    :raises ValueError: if a tensor is missing, does not fit, or cannot be what its name says
    """
    tensors = plain.tensors
    _check_tensors(tensors, named_tensors(parameters))
    for name, state in parameters.items():
        if name not in OPTIMIZERS:
            parameters[name] = {key: tensors[f"{name}/{key}"] for key in state}
            continue
        state["param_groups"][0]["lr"] = plain.learning_rates[OPTIMIZERS.index(name)]
        for index, remembered in state["state"].items():
            stored = {key: tensors.get(f"{name}/{index}.{key}") for key in remembered}
            state["state"][index] = {k: v for k, v in stored.items() if v is not None}
        state["state"] = {index: stored for index, stored in state["state"].items() if stored}
    return parameters


def make_states(*optimizers: torch.optim.Optimizer) -> None:
    """Let optimizers create their states, which tell the names and shapes in a file.

    :param optimizers: new
    """
    for optimizer in optimizers:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()


def _check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse names, types and shapes that are not the model's, and impossible numbers."""
    owners = {name.rpartition(".")[0] for name in tensors}
    for name in expected.keys() - tensors.keys():
        owner = name.rpartition(".")[0]
        if not name.startswith(OPTIMIZERS) or owner in owners:  # a parameter that never moved
            raise ValueError(f"{name} is missing")
    for name, tensor in tensors.items():
        if name not in expected:
            raise ValueError(f"{name!r:.200} is no tensor of the model that its settings describe")
        dtype, shape = expected[name].dtype, expected[name].shape
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            kinds = f"a {tensor.dtype} of shape {[*tensor.shape]}, not a {dtype} of {[*shape]}"
            raise ValueError(f"{name} is {kinds}")
        last = name.rpartition("/")[2].rpartition(".")[2]
        if not tensor.isfinite().all() or (last in NOT_NEGATIVE and (tensor < 0).any()):
            raise ValueError(f"{name} has numbers that are not finite, or negative")
    if not 0 <= tensors["advantage_stats/weight"] <= 1:
        raise ValueError("advantage_stats/weight is not in [0, 1]")


class AtMostThoseWeights(TorchFunctionMode):
    """Refuses to build networks with more weights than a file has, before they take memory.

    :param tensors: of the file
    """

    def __init__(self, tensors: Collection[Tensor]):
        super().__init__()
        self.left, self.tensors_left = sum(tensor.numel() for tensor in tensors), len(tensors)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty:
            self.left -= math.prod(args[0] if isinstance(args[0], tuple | list) else args)
            self.tensors_left -= 1  # tensors without a weight take time
            if self.left < 0 or self.tensors_left < 0:
                raise ValueError("its settings ask for more weights than it has")
        return func(*args, **kwargs or {})
