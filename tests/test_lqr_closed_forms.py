"""The regulator's closed forms of V, Q, A, J, grad J and the best gain agree with each other."""

from itertools import product

import numpy as np
import pytest
from helpers.regulator import (
    GAMMA,
    each_system,
    exact_transitions,
    random_states,
    sigma_points,
    target_of,
    with_gain,
)
from lqr import LinearGaussian, optimal_gain


@each_system
def test_value_satisfies_its_bellman_equation(system: LinearGaussian):
    """(4.18), and so V is the fixed point of (4.19) in the mean."""
    x, _, reward, next_x = exact_transitions(system, random_states(system))
    mean_target = target_of(system, reward, next_x).mean(axis=0)
    np.testing.assert_allclose(mean_target, system.value(x[0]), rtol=1e-10)


@each_system
def test_q_satisfies_its_bellman_equation(system: LinearGaussian):
    """(4.16), in states and actions that the policy would not choose."""
    x, w = random_states(system), sigma_points(np.ones(len(system.env.A)))
    u = np.random.default_rng(2).uniform(-3, 3, (len(x), len(system.K)))
    next_x = np.stack([system.env.next_state(x, u, np.broadcast_to(row, x.shape)) for row in w])
    reward = np.broadcast_to(-system.env.cost(x, u), next_x.shape[:2])
    mean_target = target_of(system, reward, next_x).mean(axis=0)
    np.testing.assert_allclose(mean_target, system.q_value(x, u), rtol=1e-10)


@each_system
def test_value_is_the_mean_of_q_and_the_mean_advantage_is_zero(system: LinearGaussian):
    """(4.12), (4.13)."""
    x, u, _, _ = exact_transitions(system, random_states(system))
    np.testing.assert_allclose(system.q_value(x, u).mean(axis=0), system.value(x[0]), rtol=1e-10)
    advantage = system.advantage(x, u)
    assert np.abs(advantage).min() > 1e-3
    np.testing.assert_allclose(advantage.mean(axis=0), 0, atol=1e-10)


@each_system
def test_value_agrees_with_simulated_returns(system: LinearGaussian):
    """4000 returns from one state, 200 steps (gamma^200 = 7e-10): within 5 standard errors."""
    rng = np.random.default_rng(3)
    x0 = random_states(system, count=1)
    x = np.repeat(x0, 4000, axis=0)
    returns = np.zeros(len(x))
    for t in range(200):
        u = rng.normal(-x @ system.K.T, system.std)
        returns -= GAMMA**t * system.env.cost(x, u)
        x = system.env.next_state(x, u, rng.standard_normal(x.shape))
    standard_error = returns.std() / np.sqrt(len(returns))
    assert standard_error < 0.02 * returns.std()
    assert abs(returns.mean() - system.value(x0)[0]) < 5 * standard_error


@each_system
def test_performance_is_the_mean_value_over_the_start(system: LinearGaussian):
    """Two Gauss-Legendre points on each axis integrate a quadratic over the box exactly."""
    start = system.env.start
    nodes = start * np.polynomial.legendre.leggauss(2)[0]
    corners = np.array(list(product(nodes, repeat=len(system.env.A))))
    np.testing.assert_allclose(system.performance(), system.value(corners).mean(), rtol=1e-12)


@each_system
def test_gradient_agrees_with_finite_differences(system: LinearGaussian):
    """Central differences of J, which is smooth: their error is of the order of step^2."""
    numeric, step = np.zeros_like(system.K), 1e-4
    for index in np.ndindex(system.K.shape):
        delta = np.zeros_like(system.K)
        delta[index] = step
        ahead, behind = with_gain(system, system.K + delta), with_gain(system, system.K - delta)
        numeric[index] = (ahead.performance() - behind.performance()) / (2 * step)
    np.testing.assert_allclose(numeric, system.gradient(), rtol=1e-5, atol=1e-6)


@each_system
def test_riccati_gain_is_where_the_gradient_vanishes_and_j_is_largest(system: LinearGaussian):
    best = with_gain(system, optimal_gain(system.env, GAMMA))
    np.testing.assert_allclose(best.gradient(), 0, atol=1e-9)
    assert np.abs(system.gradient()).max() > 0.1
    rng = np.random.default_rng(4)
    for size in (1e-3, 0.1, 0.5):
        perturbed = with_gain(system, best.K + size * rng.standard_normal(best.K.shape))
        assert perturbed.performance() < best.performance()


@each_system
def test_gain_of_infinite_cost_is_refused(system: LinearGaussian):
    """Feedback of the wrong sign, with an eigenvalue above 1 / sqrt(gamma)."""
    K = -10 * system.K
    eigenvalues = np.linalg.eigvals(system.env.A - system.env.B @ K)
    assert np.abs(eigenvalues).max() > GAMMA**-0.5
    with pytest.raises(ValueError, match="infinite"):
        with_gain(system, K)
