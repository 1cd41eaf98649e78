"""Gives the kernels the layers and the optimizer of an actor or a critic."""

import math
from typing import NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from sb3_tdac.diagnostics.not_finite import NotFinite
from sb3_tdac.fast.library import Kernels, zeros
from sb3_tdac.policies import TDACPolicy

#: Activations that the kernels have, by their names in ``kernels.h``.
ACTIVATIONS = {nn.Tanh: "TANH", nn.ReLU: "RELU"}
VARIANTS = ("weight_decay", "amsgrad", "maximize", "capturable", "differentiable")
#: Names of the state of Adam, in the order of ``steps, mean, square`` in ``kernels.h``.
STATE = ("step", "exp_avg", "exp_avg_sq")


class Layers(NamedTuple):
    """The modules and the optimizer of an actor or a critic.

    :param features: number of inputs
    :param hidden: Linear, activation, Linear, activation, ...
    :param heads: linear layers on top of the last hidden layer
    :param optimizer: of their parameters
    """

    features: int
    hidden: nn.Sequential
    heads: list[nn.Module]
    optimizer: torch.optim.Optimizer

    @property
    def linear(self) -> list[nn.Linear]:
        """Hidden linear layers, then the heads."""
        modules = [*[*self.hidden][0::2], *self.heads]
        return [module for module in modules if isinstance(module, nn.Linear)]


def actor_layers(policy: TDACPolicy) -> Layers:
    """The actor: its heads are the mean and the std, or the logits.

    :param policy: with an ``MlpExtractor``
    """
    is_box = isinstance(policy.action_space, spaces.Box)
    heads = [policy.action_net, *([policy.std_net] if is_box else [])]
    features = policy.pi_features_extractor.features_dim
    return Layers(features, policy.mlp_extractor.policy_net, heads, policy.optimizer)


def critic_layers(policy: TDACPolicy) -> Layers:
    """The critic: its one head is the value.

    :param policy: with an ``MlpExtractor``
    """
    features, hidden = policy.vf_features_extractor.features_dim, policy.mlp_extractor.value_net
    return Layers(features, hidden, [policy.value_net], policy.critic_optimizer)


def is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the kernels' ``adam`` does the same as the optimizer's own ``step``.

    torch's list of hooks is private: no public function tells whether an optimizer has one.

    :param optimizer: of one group of parameters
    :return: False for another class, a variant of Adam, or a ``step`` with hooks
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
    """Whether the kernels can use the state of a plain Adam: a file may hold any state.

    :param optimizer: of one group of parameters
    :return: True for other optimizers too: their own ``step`` reads their state
    """
    return not is_plain_adam(optimizer) or all(
        tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and tensor.shape == (() if name == "step" else parameter.shape)
        for parameter in optimizer.param_groups[0]["params"]
        for name, tensor in optimizer.state[parameter].items()
    )


class Network:
    """An actor or a critic for the kernels, with its optimizer.

    The kernels read and write the memory of the parameters, and of Adam's state.

    :param kernels: the library
    :param layers: that the kernels cover; their optimizer has no other parameters
    :param rows: states in the largest batch
    """

    def __init__(self, kernels: Kernels, layers: Layers, rows: int):
        self._functions, self.optimizer = kernels.functions, layers.optimizer
        self.parameters: list[Tensor] = self.optimizer.param_groups[0]["params"]
        self.gradients = [zeros(*parameter.shape) for parameter in self.parameters]
        is_adam = is_plain_adam(self.optimizer)
        self.states = [self._state_of(p) for p in self.parameters] if is_adam else []
        self.outputs = [zeros(rows, layer.out_features) for layer in layers.linear]
        self._errors = [zeros(*output.shape) for output in self.outputs]
        self._scratch = zeros(max(layer.weight.numel() for layer in layers.linear))
        self._parameters = kernels.ffi.new("Parameter[]", len(self.parameters))
        self._layers = kernels.ffi.new("Layer[]", len(self.outputs))
        self._set_parameters(kernels)
        self._set_layers(kernels, layers)
        n_layers, n_parameters = len(self.outputs), len(self.parameters)
        sizes = dict(n_layers=n_layers, n_parameters=n_parameters)
        sizes["n_hidden"] = n_layers - len(layers.heads)
        pointers = dict(layers=self._layers, parameters=self._parameters)
        pointers["scratch"] = kernels.pointer(self._scratch)
        self.structure = kernels.ffi.new("Network *", sizes | pointers)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of Adam, made as Adam makes it."""
        state: dict[str, Tensor] = self.optimizer.state[parameter]
        if not state:
            for name in STATE:
                state[name] = torch.tensor(0.0) if name == "step" else torch.zeros_like(parameter)
        return state

    def _set_parameters(self, kernels: Kernels) -> None:
        """Point to parameters and gradients, and to the state of Adam."""
        pointer = kernels.pointer
        rows = zip(self._parameters, self.parameters, self.gradients, strict=True)
        for row, parameter, gradient in rows:
            row.value, row.gradient, row.size = pointer(parameter), pointer(gradient), gradient.size
        for row, state in zip(self._parameters, self.states, strict=False):  # none: NULL
            row.steps, row.mean, row.square = (pointer(state[name]) for name in STATE)

    def _set_layers(self, kernels: Kernels, layers: Layers) -> None:
        """Set sizes and activations, and point to parameters, outputs and errors."""
        at = {parameter: self._parameters + i for i, parameter in enumerate(self.parameters)}
        names = [ACTIVATIONS[type(module)] for module in [*layers.hidden][1::2]]
        names += ["LINEAR"] * len(layers.heads)
        rows = zip(self._layers, layers.linear, names, self.outputs, self._errors, strict=True)
        for row, layer, name, output, error in rows:
            row.inputs, row.outputs = layer.in_features, layer.out_features
            row.activation = getattr(kernels.functions, name)
            row.weight, row.bias = at[layer.weight], at[layer.bias]
            row.output, row.error = kernels.pointer(output), kernels.pointer(error)

    def step(self, max_grad_norm: float | None) -> None:
        """Clip the gradient as ``clip_grad_norm_`` does, and take the optimizer's step.

        :param max_grad_norm: norm to clip to; ``None``: do not clip
        :raises NotFinite: if the gradient is not finite; no parameter has moved then
        """
        functions, structure = self._functions, self.structure
        norm = math.sqrt(functions.squared_gradient_norm(structure))
        if not math.isfinite(norm):
            raise NotFinite("norm of a gradient")
        if max_grad_norm is not None and norm + 1e-6 > max_grad_norm:
            functions.scale_gradient(structure, max_grad_norm / (norm + 1e-6))
        if self.states and is_plain_adam(self.optimizer):
            group = self.optimizer.param_groups[0]
            functions.adam(structure, group["lr"], *group["betas"], group["eps"])
        else:
            for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = torch.from_numpy(gradient)
            self.optimizer.step()
