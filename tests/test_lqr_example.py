"""The example's regulator: closed forms that agree, its environment, measure and command."""

import csv
import functools
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import lqr
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
from lqr import SYSTEMS, LinearGaussian, LQREnv, cost_ratio, optimal_gain
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC

# Closed forms


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


# The environment, its measure, and the command


def test_environment_steps_as_its_equations_say():
    """x' = A x + B u without noise, r = -(x'Qx + u'Ru), by hand.

    From x = (1, 2) with u = 3: x' = (1 + 0.1 * 2, 2 + 0.1 * 3), cost 1 + 0.1 * 4 + 0.1 * 9.
    """
    env = LQREnv(**SYSTEMS["double-integrator"], noise_std=0)
    env.reset(seed=0)
    env.state = np.array([1.0, 2.0])
    obs, reward, terminated, truncated, _ = env.step(np.array([3.0], np.float32))
    np.testing.assert_allclose(obs, [1.2, 2.3], rtol=1e-6)
    assert reward == pytest.approx(-2.3)
    assert not terminated and not truncated


def test_environment_adds_noise_of_its_std_and_starts_in_its_box():
    env = LQREnv(**SYSTEMS["double-integrator"], noise_std=0.5, start=2.0, max_steps=1)
    starts, residuals = [], []
    env.reset(seed=0)
    for _ in range(4000):
        starts.append(env.reset()[0])
        x, u = env.state, np.array([1.0])
        residuals.append(env.step(u)[0] - env.next_state(x, u, np.zeros(2)))
    # The standard error of a std is 1.1 % of it here.
    np.testing.assert_allclose(np.std(residuals, axis=0), 0.5, rtol=0.05)
    np.testing.assert_allclose(np.std(starts, axis=0), 2 / np.sqrt(3), rtol=0.05)
    assert np.abs(starts).max() <= 2


def test_environment_is_truncated_at_its_limit_and_repeats_with_its_seed():
    env = LQREnv(**SYSTEMS["coupled"], max_steps=3)
    runs = []
    for _ in range(2):
        states = [env.reset(seed=7)[0]]
        for step in range(3):
            obs, _, terminated, truncated, _ = env.step(np.ones(2))
            states.append(obs)
            assert (terminated, truncated) == (False, step == 2)
        runs.append(states)
    np.testing.assert_array_equal(*runs)


def test_actions_are_unbounded_on_request():
    assert (
        LQREnv(**SYSTEMS["coupled"], action_bound=None).action_space.high.tolist() == [np.inf] * 2
    )
    assert LQREnv(**SYSTEMS["coupled"]).action_space.high.tolist() == [5.0, 5.0]


class Linear:
    """A model whose deterministic action is -K x."""

    def __init__(self, K: np.ndarray):
        self.K = K

    def predict(self, x: np.ndarray, deterministic: bool = False) -> tuple[np.ndarray, None]:
        assert deterministic
        return -x @ self.K.T, None


def test_cost_ratio_is_one_for_the_best_controller_and_that_of_the_closed_forms_for_another():
    """J of a gain over J of the best one; 256 random starts give it to a few percent."""
    env = LQREnv(**SYSTEMS["double-integrator"])
    best, other = optimal_gain(env, GAMMA), np.array([[0.2, 0.4]])
    assert cost_ratio(Linear(best), env, GAMMA) == pytest.approx(1)
    performance = [LinearGaussian(env, K, 0.0, GAMMA).performance() for K in (other, best)]
    assert performance[0] / performance[1] > 1.1
    ratio = cost_ratio(Linear(other), env, GAMMA)
    assert ratio == pytest.approx(performance[0] / performance[1], rel=0.03)


def test_command_line_prints_and_writes_a_row_for_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """One thread in the place of the processes. The file has the ratios of the models."""
    monkeypatch.setattr(lqr, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    out = tmp_path / "lqr.csv"
    arguments = ["--seeds", "2", "--timesteps", "64", "--n-envs", "2", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["lqr.py", *arguments])
    lqr.main()
    printed = capsys.readouterr().out
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["system"], row["seed"]) for row in rows] == list(product(SYSTEMS, "01"))
    for row in rows:
        assert f"{float(row['ratio_training_gamma']):.4g}" in printed
    largest = max(float(row["ratio_gamma_0.95"]) for row in rows[:2])
    assert re.search(rf"double-integrator +max .* {largest:.4g}\n", printed)

    make_env = functools.partial(LQREnv, **SYSTEMS["coupled"])
    model = TDAC("MlpPolicy", make_vec_env(make_env, 2), seed=1, device="cpu").learn(64)
    expected = cost_ratio(model, make_env(), 0.95)
    assert float(rows[3]["ratio_gamma_0.95"]) == pytest.approx(expected, rel=1e-6)
