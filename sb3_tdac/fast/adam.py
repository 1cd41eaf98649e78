"""Adam's step on one flat array."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def view(tensor: Tensor) -> Array:
    """The memory of a CPU tensor as an array.

    :param tensor: of any shape
    :return: array of the same shape
    """
    array: Array = tensor.detach().numpy()
    return array


def flat_slices(flat: Array, parameters: list[Tensor]) -> list[Array]:
    """Views of a flat array with the shapes of the parameters.

    :param flat: as many numbers as the parameters have together
    :param parameters: of any shapes
    :return: one view for each
    """
    ends = np.cumsum([parameter.numel() for parameter in parameters]).tolist()
    starts = [0, *ends[:-1]]
    return [
        flat[start:end].reshape(parameter.shape)
        for start, end, parameter in zip(starts, ends, parameters, strict=True)
    ]


def fits_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``Adam`` does what the optimizer's own ``step`` would.

    :param optimizer: of one group of parameters
    :return: False for another class, a variant of Adam, or a ``step`` that somebody listens to
    """
    group = optimizer.param_groups[0]
    variants = ("weight_decay", "amsgrad", "maximize", "capturable", "differentiable")
    steps = {state["step"].item() for state in optimizer.state.values()}
    return (
        type(optimizer) is torch.optim.Adam
        and not any(group[name] for name in variants)
        and not any(isinstance(value, Tensor) for value in (group["lr"], *group["betas"]))
        and not (optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
        and "step" not in vars(optimizer)  # a scheduler of learning rates wraps it
        and len(steps) <= 1
        and len(optimizer.state) in (0, len(group["params"]))
    )


class Adam:
    """``torch.optim.Adam`` for all parameters at once (Kingma and Ba, 2015, algorithm 1).

    The state stays the optimizer's, with its names; its tensors become views of flat arrays.

    :param optimizer: one that ``fits_adam``
    :param gradient: flat, in the order of the optimizer's parameters
    """

    def __init__(self, optimizer: torch.optim.Optimizer, gradient: Array):
        self.optimizer, self.gradient = optimizer, gradient
        self.group, self.state = optimizer.param_groups[0], optimizer.state
        parameters: list[Tensor] = self.group["params"]
        self.mean, self.square = np.zeros_like(gradient), np.zeros_like(gradient)
        self.change, self.steps = np.zeros_like(gradient), np.zeros(len(parameters), np.float32)
        steps = torch.from_numpy(self.steps)
        self.moments = []
        for index, (parameter, mean, square) in enumerate(
            zip(
                parameters,
                flat_slices(self.mean, parameters),
                flat_slices(self.square, parameters),
                strict=True,
            )
        ):
            ours = dict(
                step=steps[index], exp_avg=torch.from_numpy(mean), exp_avg_sq=torch.from_numpy(square)
            )
            for name, tensor in self.state.get(parameter, {}).items():
                ours[name].copy_(tensor)
            self.state[parameter] = ours
            self.moments.append(ours)
        self._changes = [
            (view(parameter), change)
            for parameter, change in zip(
                parameters, flat_slices(self.change, parameters), strict=True
            )
        ]

    def is_current(self) -> bool:
        """Whether the optimizer still has the state and the settings that were taken."""
        return self.optimizer.state is self.state and self.optimizer.param_groups[0] is self.group

    def step(self) -> None:
        """Take one step with the gradient."""
        group, change = self.group, self.change
        beta1, beta2 = group["betas"]
        self.steps += 1
        count = float(self.steps[0])
        if beta1 == 0.0:
            np.copyto(self.mean, self.gradient)
        else:
            self.mean *= beta1
            self.mean += (1 - beta1) * self.gradient
        np.multiply(self.gradient, self.gradient, change)
        change *= 1 - beta2
        self.square *= beta2
        self.square += change
        np.sqrt(self.square, change)
        change *= 1 / math.sqrt(1 - beta2**count)
        change += group["eps"]
        np.divide(self.mean, change, change)
        change *= group["lr"] / (1 - beta1**count)
        for parameter, part in self._changes:
            parameter -= part
