"""Layers and optimizer of a network, as the kernels see them."""

import ctypes
import math
from typing import Any

import torch
from torch import Tensor, nn

from sb3_tdac.diagnostics.transaction import NotFinite, Snapshot
from sb3_tdac.fast.library import Layer, NetworkStructure, Parameter, address, load, zeros

ACTIVATIONS = {nn.Tanh: 1, nn.ReLU: 2}
VARIANTS = ("weight_decay", "amsgrad", "maximize", "capturable", "differentiable")
STATE = ("step", "exp_avg", "exp_avg_sq")


def is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the kernels' ``adam`` does what the optimizer's own ``step`` would.

    :param optimizer: of one group of parameters
    :return: False for another class, a variant of Adam, or a ``step`` that somebody listens to
    """
    group = optimizer.param_groups[0]
    return (
        type(optimizer) is torch.optim.Adam
        and not any(map(group.get, VARIANTS))
        and isinstance(group["lr"], float)
        and not optimizer._optimizer_step_pre_hooks
        and not optimizer._optimizer_step_post_hooks
        and "step" not in vars(optimizer)  # a scheduler of learning rates wraps it
    )


def state_fits(optimizer: torch.optim.Optimizer) -> bool:
    """Whether what a plain Adam remembers is of the kernels' form: a file may hold anything.

    :param optimizer: of one group of parameters
    :return: True for another optimizer too, whose own ``step`` will see
    """
    if not is_plain_adam(optimizer):
        return True
    known = [(p, optimizer.state[p]) for p in optimizer.param_groups[0]["params"]]
    return all(
        tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and tensor.shape == (() if name == "step" else parameter.shape)
        for parameter, state in known
        for name, tensor in state.items()
    )


class Network:
    """Hidden layers with one or more linear heads, and the optimizer that trains them.

    The kernels read and write the memory of the parameters, and of Adam's state.

    :param hidden: ``nn.Sequential`` of Linear, activation, Linear, activation, ...
    :param heads: linear layers on top of the last hidden one
    :param optimizer: whose single group has the parameters of these layers, and no others
    :param rows: states in the largest batch
    """

    def __init__(
        self,
        hidden: nn.Sequential,
        heads: list[nn.Linear],
        optimizer: torch.optim.Optimizer,
        rows: int,
    ):
        self.optimizer = optimizer
        self.parameters: list[Tensor] = optimizer.param_groups[0]["params"]
        self.gradients = [zeros(*parameter.shape) for parameter in self.parameters]
        self._parameters = (Parameter * len(self.parameters))()
        self._of = {id(p): at for p, at in zip(self.parameters, self._parameters, strict=True)}
        self._set_parameters()
        modules: list[Any] = [*hidden]
        linear = [*modules[0::2], *heads]
        activations = [ACTIVATIONS[type(module)] for module in modules[1::2]] + [0] * len(heads)
        self.outputs = [zeros(rows, layer.out_features) for layer in linear]
        self._errors = [zeros(rows, layer.out_features) for layer in linear]
        self._scratch = zeros(max(layer.weight.numel() for layer in linear))
        self._layers = (Layer * len(linear))(
            *(
                self._layer(*parts)
                for parts in zip(linear, activations, self.outputs, self._errors, strict=True)
            )
        )
        self._structure = NetworkStructure(
            len(linear) - len(heads),
            len(linear),
            len(self.parameters),
            self._layers,
            self._parameters,
            address(self._scratch),
        )
        self.address = ctypes.addressof(self._structure)
        self._copy = zeros(sum(3 * gradient.size + 1 for gradient in self.gradients))
        self._copy_address = address(self._copy)
        self._snapshot = None if self.states else Snapshot()

    def keep(self) -> None:
        """Copy parameters and the optimizer's state, for ``restore``."""
        load().copy_state(self.address, self._copy_address, False)
        if self._snapshot is not None:
            self._snapshot.take([], [self.optimizer])

    def restore(self) -> None:
        """Return to what was kept."""
        load().copy_state(self.address, self._copy_address, True)
        if self._snapshot is not None:
            self._snapshot.restore()

    def _set_parameters(self) -> None:
        """Point to parameters and gradients, and to the state of Adam, made as Adam makes it."""
        self.states: list[dict[str, Tensor]] = []
        for parameter, gradient, at in zip(
            self.parameters, self.gradients, self._parameters, strict=True
        ):
            at.value, at.gradient, at.size = address(parameter), address(gradient), gradient.size
            if is_plain_adam(self.optimizer):
                state = self.optimizer.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                at.steps, at.mean = address(state["step"]), address(state["exp_avg"])
                at.square = address(state["exp_avg_sq"])
                self.states.append(state)

    def _layer(self, linear: nn.Linear, activation: int, output: Any, error: Any) -> Layer:
        weight, bias = (self._of[id(tensor)] for tensor in (linear.weight, linear.bias))
        return Layer(
            *(linear.in_features, linear.out_features, activation),
            *(ctypes.pointer(weight), ctypes.pointer(bias), address(output), address(error)),
        )

    def step(self, max_grad_norm: float | None) -> None:
        """Clip the gradient as ``clip_grad_norm_`` does, and take the optimizer's step.

        :param max_grad_norm: norm to clip to; ``None``: do not clip
        :raises NotFinite: if the gradient is not finite, and before any parameter moves
        """
        kernels = load()
        norm = math.sqrt(kernels.squared_gradient_norm(self.address))
        if not math.isfinite(norm):
            raise NotFinite("norm of a gradient")
        if max_grad_norm is not None and norm + 1e-6 > max_grad_norm:
            kernels.scale_gradient(self.address, max_grad_norm / (norm + 1e-6))
        if self.states and is_plain_adam(self.optimizer):
            group = self.optimizer.param_groups[0]
            kernels.adam(self.address, group["lr"], *group["betas"], group["eps"])
        else:
            for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = torch.from_numpy(gradient)
            self.optimizer.step()
