"""Linear-quadratic regulators, for which V, Q, A, grad J and the best gain are known."""

from itertools import product

import numpy as np
import pytest
import torch
from lqr import SYSTEMS, LinearGaussian, LQREnv

from sb3_tdac.equations import td_target

GAMMA = 0.9
#: A stabilizing gain that is far from the best one, and a std of the action, for each system.
GAINS = {
    "double-integrator": (np.array([[0.2, 0.4]]), np.array([0.5])),
    "coupled": (np.array([[1.0, 0.2, 0.0], [0.3, 0.8, 0.1]]), np.array([0.3, 0.5])),
}


def system_of(name: str) -> LinearGaussian:
    """A system under its gain, with more noise than in the example."""
    return LinearGaussian(LQREnv(**SYSTEMS[name], noise_std=0.1), *GAINS[name], GAMMA)


each_system = pytest.mark.parametrize("system", [*map(system_of, SYSTEMS)], ids=SYSTEMS)


def with_gain(system: LinearGaussian, K: np.ndarray) -> LinearGaussian:
    return LinearGaussian(system.env, K, system.std, system.gamma)


def sigma_points(std: np.ndarray) -> np.ndarray:
    """(2 d, d) points with the mean 0 and the covariance diag(std^2).

    The mean of a quadratic function over them is its mean over the Gaussian, exactly.
    """
    points = np.sqrt(len(std)) * np.diag(std)
    return np.concatenate([points, -points])


def random_states(system: LinearGaussian, count: int = 50) -> np.ndarray:
    return np.random.default_rng(1).uniform(-2, 2, (count, len(system.env.A)))


def exact_transitions(
    system: LinearGaussian, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, u, r, x' for all pairs of sigma points of the action and of the noise, rows last.

    The mean over the first axis is the expectation of (4.18).
    """
    noise_std = np.full(len(system.env.A), system.env.noise_std)
    exploration, noise = sigma_points(system.std), sigma_points(noise_std) / system.env.noise_std
    pairs = list(product(exploration, noise))
    u = np.stack([-x @ system.K.T + eps for eps, _ in pairs])
    w = np.stack([np.broadcast_to(w, x.shape) for _, w in pairs])
    x = np.broadcast_to(x, w.shape)
    return x, u, -system.env.cost(x, u), system.env.next_state(x, u, w)


def target_of(system: LinearGaussian, reward: np.ndarray, next_x: np.ndarray) -> np.ndarray:
    """(4.19) with the closed form of V; nothing terminates."""
    flat = torch.from_numpy(reward.reshape(-1))
    next_value = torch.from_numpy(system.value(next_x).reshape(-1))
    nothing = torch.zeros(len(flat), dtype=torch.bool)
    return td_target(flat, nothing, next_value, system.gamma).numpy().reshape(reward.shape)
