"""The oracle: on the linear-quadratic regulator TDAC finds V, grad J and a good gain."""

import functools
from itertools import product

import numpy as np
import pytest
import torch
from helpers.regulator import GAMMA, each_system, exact_transitions, random_states, target_of
from lqr import SYSTEMS, LinearGaussian, LQREnv, cost_ratio
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from sb3_tdac import TDAC, TEXTBOOK
from sb3_tdac.equations import actor_loss, critic_loss, gaussian_log_prob, td_advantage, td_target

STABLE_SYSTEM = dict(A=[[0.8, 0.2], [0, 0.7]], B=[[0.5], [1]], Q=[[1, 0], [0, 0.5]], R=[[0.5]])

# The critic


def quadratic_features(x: Tensor) -> Tensor:
    """1 and all products of two components of the state: V is linear in them."""
    rows, columns = torch.triu_indices(x.shape[1], x.shape[1])
    return torch.cat([torch.ones_like(x[:, :1]), x[:, rows] * x[:, columns]], dim=1)


@each_system
def test_critic_that_steps_on_its_loss_finds_v(system: LinearGaussian):
    """(4.20), semi-gradient, mean, on exact transitions from 200 states.

    The features are made orthonormal, so that a gradient step of length 1 is one step of value
    iteration: the error shrinks at least like gamma^k in the norm of the batch, where projecting
    on the features loses nothing.
    """
    x, _, reward, next_x = exact_transitions(system, random_states(system, count=200))
    states, next_states = (torch.from_numpy(s.reshape(-1, x.shape[-1])) for s in (x, next_x))
    whiten = torch.linalg.inv(torch.linalg.qr(quadratic_features(states)).R) * len(states) ** 0.5
    features = quadratic_features(states) @ whiten
    next_features = quadratic_features(next_states) @ whiten
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=1.0)
    not_terminated = torch.zeros(len(states), dtype=torch.bool)
    rewards = torch.from_numpy(reward.reshape(-1))
    for _ in range(150):
        target = td_target(rewards, not_terminated, next_features @ weights, GAMMA)
        loss = critic_loss(features @ weights, target, "semi", "mean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    grid = np.array(list(product(np.linspace(-2, 2, 5), repeat=x.shape[-1])))
    value = quadratic_features(torch.from_numpy(grid)) @ whiten @ weights.detach()
    np.testing.assert_allclose(value, system.value(grid), rtol=1e-4)


class QuadraticFeatures(BaseFeaturesExtractor):
    """For a critic that is linear in the quadratic features."""

    def __init__(self, observation_space):
        n = observation_space.shape[0]
        super().__init__(observation_space, features_dim=1 + n * (n + 1) // 2)

    def forward(self, observations: Tensor) -> Tensor:
        return quadratic_features(observations)


def test_tdac_finds_v_of_a_fixed_policy_although_every_episode_is_cut_short():
    """TDAC's own critic steps on a stable system with a fixed actor, u ~ N(0, 0.5^2).

    Episodes are cut after 5 steps of a task that has no end: V must not know. It misses V by 2 % of
    its range here, by 55 % where the cut counts as an end, by 29 % with V of the reset observation.
    """
    make_env = functools.partial(
        LQREnv, **STABLE_SYSTEM, noise_std=0.2, action_bound=None, max_steps=5
    )
    system = LinearGaussian(make_env(), np.zeros((1, 2)), 0.5, gamma=0.8)
    kwargs = TEXTBOOK | dict(
        learning_rate=0.0,
        critic_learning_rate="lin_1.0",
        n_steps=8,
        gamma=0.8,
        loss_reduction="mean",
        policy_kwargs=TEXTBOOK["policy_kwargs"]
        | dict(
            net_arch=[],
            features_extractor_class=QuadraticFeatures,
            optimizer_class=torch.optim.SGD,
            std_init=0.5,
        ),
    )
    model = TDAC("MlpPolicy", make_vec_env(make_env, 8), seed=0, device="cpu", **kwargs)
    torch.nn.init.zeros_(model.policy.action_net.weight)
    model.learn(20_000)

    grid = np.array(list(product(np.linspace(-1, 1, 5), repeat=2)))
    with torch.no_grad():
        value = model.policy.predict_values(torch.from_numpy(grid).float())[:, 0].numpy()
    expected = system.value(grid)
    assert np.abs(value - expected).max() < 0.08 * np.abs(expected).max()


# The actor


def simulate(system: LinearGaussian, episodes: int, steps: int) -> tuple[np.ndarray, ...]:
    """x, u, r, x' of (steps, episodes) transitions."""
    rng = np.random.default_rng(5)
    start = system.env.start
    x = rng.uniform(-start, start, (episodes, len(system.env.A)))
    rows = []
    for _ in range(steps):
        u = rng.normal(-x @ system.K.T, system.std)
        next_x = system.env.next_state(x, u, rng.standard_normal(x.shape))
        rows.append((x, u, -system.env.cost(x, u), next_x))
        x = next_x
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def z_scores(
    system: LinearGaussian, action_bound: float = np.inf, discount: float = GAMMA
) -> tuple[Tensor, float]:
    """Deviations of the gradient estimate (4.14) with (4.21) from grad J, in standard errors.

    Each of 4000 episodes has a copy of the gain, so that one backward pass gives the estimate
    (4.15) of each. 80 steps: gamma^80 = 2e-4.

    :param action_bound: the density sees the action clipped to it, and the environment does not
    :param discount: step t has the weight discount^t of (4.6)
    :return: (m, n) deviations, and the norm of the standard errors over that of grad J
    """
    x, u, reward, next_x = simulate(system, episodes=4000, steps=80)
    gains = torch.from_numpy(system.K).expand(4000, -1, -1).clone().requires_grad_()
    mean = -torch.einsum("eij,tej->tei", gains, torch.from_numpy(x)).flatten(0, 1)
    action = torch.from_numpy(u).flatten(0, 1).clamp(-action_bound, action_bound)
    std = torch.from_numpy(system.std.copy()).expand_as(mean)
    value = torch.from_numpy(system.value(x)).flatten()
    target = torch.from_numpy(target_of(system, reward, next_x)).flatten()
    weight = discount ** torch.arange(80, dtype=torch.float64).repeat_interleave(4000)
    advantage = weight * td_advantage(value, target)
    loss = actor_loss(gaussian_log_prob(action, mean, std), advantage)
    estimates = -torch.autograd.grad(loss, gains)[0]

    expected = torch.from_numpy(system.gradient())
    standard_error = estimates.std(dim=0) / 4000**0.5
    deviation = (estimates.mean(dim=0) - expected) / standard_error
    return deviation, (standard_error.norm() / expected.norm()).item()


@each_system
def test_sampled_policy_gradient_agrees_with_the_gradient_of_j(system: LinearGaussian):
    """(4.22) with (4.21) and the weights of (4.6), for every component of the gain."""
    deviation, relative_error = z_scores(system)
    assert relative_error < 0.1
    assert deviation.abs().max() < 4


@each_system
@pytest.mark.parametrize("fault", [dict(action_bound=0.5), dict(discount=1.0)], ids=str)
def test_wrong_policy_gradients_do_not_agree(system: LinearGaussian, fault: dict[str, float]):
    """The density of clipped actions; and (4.7), which is not the gradient of J."""
    deviation, _ = z_scores(system, **fault)
    assert deviation.abs().max() > 10


# Both together


def test_tdac_learns_to_regulate():
    """With the defaults, on a double integrator that cannot run far away in one episode.

    Without control the cost is about a thousand times the least one; 2 % of that is allowed.
    """
    system = SYSTEMS["double-integrator"]
    make_env = functools.partial(LQREnv, **system, action_bound=2.0, max_steps=50)
    model = TDAC("MlpPolicy", make_vec_env(make_env, 8), seed=0, device="cpu")
    untrained = cost_ratio(model, make_env(), gamma=0.99)
    assert untrained > 500
    model.learn(15_000)
    assert cost_ratio(model, make_env(), gamma=0.99) < 0.02 * untrained
