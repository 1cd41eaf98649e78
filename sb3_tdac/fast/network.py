"""Linear layers with Tanh or ReLU between them, forwards and backwards."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sb3_tdac.fast.adam import Adam, Array, fits_adam, flat_slices, view

class Network:
    """A stack of hidden layers with one or more linear heads, and the optimizer that trains it.

    Arrays are views of the parameters' memory, so that whatever changes them in place is seen.
    Gradients have one flat array, in the order of the optimizer's parameters.

    :param hidden: ``nn.Sequential`` of Linear, activation, Linear, activation, ...
    :param heads: linear layers on top of the last hidden one
    :param optimizer: whose single group has the parameters of these layers, and no others
    """

    def __init__(
        self, hidden: nn.Sequential, heads: list[nn.Linear], optimizer: torch.optim.Optimizer
    ):
        layers: list[Any] = [*hidden]
        self.is_tanh = [type(activation) is nn.Tanh for activation in layers[1::2]]
        self.optimizer = optimizer
        self.parameters: list[Tensor] = optimizer.param_groups[0]["params"]
        self.gradient = np.zeros(sum(p.numel() for p in self.parameters), np.float32)
        self._slices = flat_slices(self.gradient, self.parameters)
        gradients = {id(p): g for p, g in zip(self.parameters, self._slices, strict=True)}
        self.hidden, self.heads = (
            [
                (
                    *(view(layer.weight), view(layer.bias)),
                    *(gradients[id(layer.weight)], gradients[id(layer.bias)]),
                )
                for layer in part
            ]
            for part in (layers[0::2], heads)
        )
        self._adam: Adam | None = None

    def forward(self, rows: Array) -> list[Array]:
        """Outputs of the heads; what ``backward`` needs is kept.

        :param rows: (B, inputs) float32
        :return: (B, outputs) for each head
        """
        self.activations = [rows]
        for (weight, bias, _, _), is_tanh in zip(self.hidden, self.is_tanh, strict=True):
            rows = np.dot(rows, weight.T)
            rows += bias
            if is_tanh:
                np.tanh(rows, rows)
            else:
                np.maximum(rows, 0.0, rows)
            self.activations.append(rows)
        outputs = []
        for weight, bias, _, _ in self.heads:
            output = np.dot(rows, weight.T)
            output += bias
            outputs.append(output)
        return outputs

    def backward(self, output_gradients: list[Array]) -> None:
        """Fill ``gradient``, by backpropagation through the last ``forward``.

        :param output_gradients: (N, outputs) for each head, of its first N <= B rows
        """
        n_rows = len(output_gradients[0])
        ones = np.ones(n_rows, np.float32)
        activations = [rows[:n_rows] for rows in self.activations]
        error: Array | None = None
        for (weight, _, into_weight, into_bias), gradient in zip(
            self.heads, output_gradients, strict=True
        ):
            np.dot(gradient.T, activations[-1], into_weight)
            np.dot(ones, gradient, into_bias)
            below = np.dot(gradient, weight)
            error = below if error is None else error + below
        for layer in reversed(range(len(self.hidden))):
            weight, _, into_weight, into_bias = self.hidden[layer]
            output = activations[layer + 1]
            if self.is_tanh[layer]:  # tanh' = 1 - tanh^2
                slope = output * output
                np.subtract(1.0, slope, slope)
                error *= slope
            else:
                error *= output > 0.0
            np.dot(error.T, activations[layer], into_weight)
            np.dot(ones, error, into_bias)
            if layer > 0:
                error = np.dot(error, weight)

    def step(self, max_grad_norm: float | None) -> None:
        """Clip the gradient as ``clip_grad_norm_`` does, and take the optimizer's step.

        :param max_grad_norm: norm to clip to; ``None``: do not clip
        :raises ValueError: if the gradient is not finite; the parameters stay as they were
        """
        norm = math.sqrt(np.dot(self.gradient, self.gradient))
        if not math.isfinite(norm):
            raise ValueError(
                f"the gradient has norm {norm}: lower the learning rates, or scale the rewards"
            )
        if max_grad_norm is not None and norm + 1e-6 > max_grad_norm:
            self.gradient *= max_grad_norm / (norm + 1e-6)
        if self._adam is None or not self._adam.is_current():
            self._adam = Adam(self.optimizer, self.gradient) if fits_adam(self.optimizer) else None
        if self._adam is not None:
            self._adam.step()
            return
        for parameter, gradient in zip(self.parameters, self._slices, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        self.optimizer.step()
