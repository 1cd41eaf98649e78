"""A network of the kernels and its optimizer do what torch's would."""

import numpy as np
import pytest
import torch
from helpers.kernel_learners import kernels
from helpers.path_pairs import assert_moved_alike, needs_library
from torch import nn

from sb3_tdac.fast.network import Layers, Network

pytestmark = needs_library


@pytest.mark.parametrize("beta2", [0.9, 0.999, 0.99999])
def test_one_step_of_adam_is_that_of_torch(beta2: float) -> None:
    layers = [nn.Linear(5, 7) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    ours, torchs = (
        torch.optim.Adam(layer.parameters(), lr=0.5, betas=(0.9, beta2)) for layer in layers
    )
    parts = Layers(5, nn.Sequential(), [layers[0]], ours)
    network = Network(kernels(), parts, rows=1)
    before = {k: v.clone().numpy() for k, v in layers[0].state_dict().items()}
    for seed, gradient in enumerate(network.gradients):
        gradient[...] = np.random.default_rng(seed).normal(size=gradient.shape)
    for parameter, gradient in zip(layers[1].parameters(), network.gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    network.step(None)
    torchs.step()
    after = [{k: v.numpy() for k, v in layer.state_dict().items()} for layer in layers]
    assert_moved_alike(before, after[1], after[0], tolerance=2e-6)


@pytest.mark.parametrize("max_grad_norm", [0.1, 1e3])
def test_a_gradient_is_clipped_as_torch_clips_it(max_grad_norm: float) -> None:
    """With rate 1, SGD moves a parameter by its clipped gradient."""
    layer = nn.Linear(5, 7)
    sgd = torch.optim.SGD(layer.parameters(), lr=1.0)
    network = Network(kernels(), Layers(5, nn.Sequential(), [layer], sgd), rows=1)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    expected = [torch.zeros_like(parameter, requires_grad=True) for parameter in before]
    for seed, (gradient, other) in enumerate(zip(network.gradients, expected, strict=True)):
        gradient[...] = np.random.default_rng(seed).normal(size=gradient.shape)
        other.grad = torch.from_numpy(gradient.copy())
    nn.utils.clip_grad_norm_(expected, max_grad_norm)
    network.step(max_grad_norm)
    for old, new, other in zip(before, layer.parameters(), expected, strict=True):
        torch.testing.assert_close(old - new, other.grad, rtol=1e-5, atol=1e-6)
