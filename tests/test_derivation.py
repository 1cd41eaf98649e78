"""(4.1)-(4.18) on a problem with 216 trajectories: every expectation is a sum, exact in float64."""

from functools import cache
from itertools import product

import pytest
import torch
from torch import Tensor

from sb3_tdac.equations import actor_loss, td_advantage, td_target

GAMMA = 0.5
N_STATES, N_ACTIONS, N_STEPS = 3, 2, 3
START = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
# TRANSITION[x, u, x'] = p(x' | x, u), REWARD[x, u] = r(x, u)
TRANSITION = torch.tensor(
    [
        [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]],
        [[0.3, 0.3, 0.4], [0.5, 0.1, 0.4]],
        [[0.2, 0.2, 0.6], [0.8, 0.1, 0.1]],
    ],
    dtype=torch.float64,
)
REWARD = torch.tensor([[1.0, -2.0], [0.0, 3.0], [-1.0, 5.0]], dtype=torch.float64)
# The policy is a softmax over u of FEATURES[x, u] . theta.
FEATURES = torch.tensor(
    [
        [[1.0, 0.0, 0.5, -1.0], [0.0, 1.0, 0.0, 2.0]],
        [[0.0, 2.0, 1.0, 0.0], [1.0, -1.0, 0.0, 0.5]],
        [[-1.0, 0.0, 1.0, 1.0], [2.0, 1.0, -0.5, 0.0]],
    ],
    dtype=torch.float64,
)
THETA = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64, requires_grad=True)

# All trajectories (4.2): row i of STATE is x_0, x_1, x_2, row i of ACTION is u_0, u_1, u_2.
_PATHS = torch.tensor(
    [
        (*states, *actions)
        for states in product(range(N_STATES), repeat=N_STEPS)
        for actions in product(range(N_ACTIONS), repeat=N_STEPS)
    ]
)
STATE, ACTION = _PATHS[:, :N_STEPS], _PATHS[:, N_STEPS:]
STEP = torch.arange(N_STEPS).expand_as(STATE)
PATH_REWARD = REWARD[STATE, ACTION]
DISCOUNT = GAMMA ** torch.arange(N_STEPS, dtype=torch.float64)
# sum_{k >= t} gamma^(k - t) r_k
REWARD_TO_GO = (PATH_REWARD * DISCOUNT).flip(1).cumsum(1).flip(1) / DISCOUNT


def log_policy(theta: Tensor) -> Tensor:
    """log pi(u | x), (N_STATES, N_ACTIONS)."""
    return torch.log_softmax(FEATURES @ theta, dim=1)


def path_log_probs(thetas: Tensor) -> Tensor:
    """log pi(u_t | x_t) of all trajectories, (216, N_STEPS), with parameters for each step."""
    return torch.stack(
        [log_policy(theta)[STATE[:, t], ACTION[:, t]] for t, theta in enumerate(thetas)], dim=1
    )


def path_probability(thetas: Tensor) -> Tensor:
    """p_theta(tau) of all trajectories, (216,), with parameters for each step."""
    moves = TRANSITION[STATE[:, :-1], ACTION[:, :-1], STATE[:, 1:]].prod(dim=1)
    return START[STATE[:, 0]] * moves * path_log_probs(thetas).sum(dim=1).exp()


def same_at_every_step(theta: Tensor) -> Tensor:
    return theta.expand(N_STEPS, -1)


def gradient_of_j_for_each_step() -> Tensor:
    """dJ / d theta_t by differentiating the sum over trajectories, (N_STEPS, len(theta)).

    J = sum_tau p(tau) sum_t gamma^t r_t, where step t has parameters of its own, theta_t = theta.
    The gradient of J is the sum over t. No score function and no causality in it.
    """
    thetas = THETA.detach().repeat(N_STEPS, 1).requires_grad_()
    performance = path_probability(thetas) @ (PATH_REWARD @ DISCOUNT)
    return torch.autograd.grad(performance, thetas)[0]


def expected_score(weight: Tensor) -> Tensor:
    """sum_t E[grad log pi(u_t | x_t) w_t] over all trajectories, for a weight (216, N_STEPS)."""
    log_prob = path_log_probs(same_at_every_step(THETA)).flatten()
    probability = path_probability(same_at_every_step(THETA))
    loss = actor_loss(log_prob, (probability[:, None] * weight).flatten())  # (4.22)
    return -torch.autograd.grad(loss, THETA)[0]


def conditional_mean(quantity: Tensor, given: Tensor) -> Tensor:
    """E[quantity | given] of each trajectory, (216,): over those that share ``given`` with it."""
    same = (given[:, None] == given[None, :]).all(dim=2).double()
    probability = path_probability(same_at_every_step(THETA))
    return same @ (probability * quantity) / (same @ probability)


@cache
def q_and_v() -> tuple[Tensor, Tensor]:
    """Q(x_t, u_t) and V(x_t) of all trajectories, (216, N_STEPS) each: means of the reward-to-go.

    The horizon is finite, so that both depend on t.
    """
    q, v = [], []
    for t in range(N_STEPS):
        state, action = STATE[:, t : t + 1], ACTION[:, t : t + 1]
        q.append(conditional_mean(REWARD_TO_GO[:, t], torch.cat([state, action], dim=1)))
        v.append(conditional_mean(REWARD_TO_GO[:, t], state))
    return torch.stack(q, dim=1), torch.stack(v, dim=1)


def as_tables(q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Q[t, x, u] and V[t, x] from their values along the trajectories."""
    q_table = torch.zeros(N_STEPS, N_STATES, N_ACTIONS, dtype=torch.float64)
    v_table = torch.zeros(N_STEPS, N_STATES, dtype=torch.float64)
    return (
        q_table.index_put((STEP, STATE, ACTION), q),
        v_table.index_put((STEP, STATE), v),
    )


def state_probability() -> Tensor:
    """p(x_t), (N_STEPS, N_STATES)."""
    probability = path_probability(same_at_every_step(THETA)).detach()
    table = torch.zeros(N_STEPS, N_STATES, dtype=torch.float64)
    return table.index_put((STEP, STATE), probability[:, None].expand(-1, N_STEPS), accumulate=True)


def td_targets(step: int, v: Tensor) -> Tensor:
    """(4.19) of every transition (x, u, x') at a step, [x, u, x'], from a table V[t, x].

    The last step terminates. The values of its successors are absurd: they must not be seen.
    """
    last = step == N_STEPS - 1
    next_value = 1e6 * torch.arange(N_STATES).double() if last else v[step + 1]
    reward = REWARD[:, :, None].expand_as(TRANSITION)
    return td_target(
        reward.flatten(),
        torch.full((TRANSITION.numel(),), last),
        next_value.expand_as(TRANSITION).flatten(),
        GAMMA,
    ).view_as(TRANSITION)


def test_all_trajectories_are_enumerated():
    """(4.2): their probabilities sum to one, 3^3 * 2^3 of them."""
    probability = path_probability(same_at_every_step(THETA))
    assert len(probability) == 216
    torch.testing.assert_close(probability.sum().item(), 1.0)


def test_rewards_before_the_action_drop_out_of_the_gradient():
    """(4.1): the full return and the reward-to-go give the same expectation, which is grad J."""
    full_return = (PATH_REWARD @ DISCOUNT)[:, None].expand(-1, N_STEPS)
    from_full_return = expected_score(full_return)
    from_reward_to_go = expected_score(DISCOUNT * REWARD_TO_GO)
    torch.testing.assert_close(from_full_return, from_reward_to_go)
    torch.testing.assert_close(from_reward_to_go, gradient_of_j_for_each_step().sum(dim=0))


def test_rewards_after_the_action_do_not_drop_out_of_the_gradient():
    """(4.1): r_t alone in the place of the reward-to-go gives another gradient."""
    myopic = expected_score(DISCOUNT * PATH_REWARD)
    assert (myopic - gradient_of_j_for_each_step().sum(dim=0)).norm() > 0.1


@pytest.mark.parametrize("step", range(N_STEPS))
def test_mean_reward_to_go_given_the_whole_past_is_q(step: int):
    """(4.3)-(4.4): given x_0, u_0, ..., x_t, u_t it depends on x_t and u_t only."""
    past = torch.cat([STATE[:, : step + 1], ACTION[:, : step + 1]], dim=1)
    q, _ = q_and_v()
    torch.testing.assert_close(conditional_mean(REWARD_TO_GO[:, step], past), q[:, step])


def test_q_takes_the_place_of_the_reward_to_go():
    """(4.5): over trajectories, and over the marginals p(x_t, u_t)."""
    expected = expected_score(DISCOUNT * REWARD_TO_GO)
    q, v = q_and_v()
    torch.testing.assert_close(expected_score(DISCOUNT * q), expected)
    score = torch.autograd.functional.jacobian(log_policy, THETA)
    p_xu = state_probability()[:, :, None] * log_policy(THETA).exp()
    q_table, _ = as_tables(q, v)
    over_marginals = torch.einsum("t,txu,txu,xuk->k", DISCOUNT, p_xu, q_table, score)
    torch.testing.assert_close(over_marginals, expected)


def test_score_weighted_with_gamma_to_the_t_is_the_gradient_of_j():
    """(4.6) against automatic differentiation of J."""
    q, _ = q_and_v()
    torch.testing.assert_close(
        expected_score(DISCOUNT * q), gradient_of_j_for_each_step().sum(dim=0)
    )


def test_usual_form_drops_the_factor_gamma_to_the_t_of_each_term():
    """(4.7) is sum_t gamma^-t dJ/dtheta_t, and not the gradient of J.

    dJ/dtheta_t, the gradient for the parameters that step t uses, is the term t of (4.6).
    """
    terms = gradient_of_j_for_each_step()
    q, _ = q_and_v()
    usual = expected_score(q)
    torch.testing.assert_close(usual, (terms / DISCOUNT[:, None]).sum(dim=0))
    assert (usual - terms.sum(dim=0)).norm() > 0.1


BASELINE = torch.tensor([[4.0, -1.0, 2.0], [0.5, 3.0, -2.0], [-5.0, 1.0, 7.0]]).double()  # b[t, x]


def test_gradient_of_the_policy_times_a_baseline_sums_to_zero():
    """(4.8)-(4.9): in every state, sum_u grad pi(u | x) b = 0."""

    def policy(theta: Tensor) -> Tensor:
        return log_policy(theta).exp()

    policy_gradient = torch.autograd.functional.jacobian(policy, THETA)
    over_actions = torch.einsum("xuk,tx->txk", policy_gradient, BASELINE)
    torch.testing.assert_close(over_actions, torch.zeros_like(over_actions))


def test_expected_score_times_baseline_is_zero():
    """(4.10), for a baseline that depends on state and time."""
    baseline = BASELINE[STEP, STATE]
    torch.testing.assert_close(expected_score(baseline), torch.zeros_like(THETA))


def test_baseline_leaves_expected_gradient_unchanged():
    """(4.11), for a baseline that depends on state and time, and likewise for (4.6)."""
    q, _ = q_and_v()
    baseline = BASELINE[STEP, STATE]
    torch.testing.assert_close(expected_score(q - baseline), expected_score(q))
    torch.testing.assert_close(
        expected_score(DISCOUNT * (q - baseline)), gradient_of_j_for_each_step().sum(dim=0)
    )


def test_baseline_that_depends_on_the_action_changes_expected_gradient():
    """(4.9) takes b out of the sum over u: with b = r(x, u) it may not."""
    q, _ = q_and_v()
    assert (expected_score(q - PATH_REWARD) - expected_score(q)).norm() > 0.1


def test_v_is_the_mean_of_q():
    """(4.12): means of the reward-to-go given x_t, and given x_t and u_t."""
    q, v = as_tables(*q_and_v())
    torch.testing.assert_close((log_policy(THETA).exp() * q).sum(dim=2), v)


def test_advantage_takes_the_place_of_q():
    """(4.13), and with gamma^t it is the gradient of J."""
    q, v = q_and_v()
    torch.testing.assert_close(expected_score(q - v), expected_score(q))
    torch.testing.assert_close(
        expected_score(DISCOUNT * (q - v)), gradient_of_j_for_each_step().sum(dim=0)
    )


def estimate(paths: Tensor) -> Tensor:
    """(4.14) from M sampled trajectories, given by their rows."""
    q, v = q_and_v()
    log_prob = path_log_probs(same_at_every_step(THETA))[paths]
    loss = actor_loss(log_prob.flatten(), (q - v)[paths].flatten()) / len(paths)
    return -torch.autograd.grad(loss, THETA)[0]


@cache
def single_sample_estimates() -> Tensor:
    """(4.15) of every trajectory, (216, len(theta))."""
    return torch.stack([estimate(torch.tensor([path])) for path in range(len(STATE))])


def test_single_sample_estimate_is_unbiased():
    """(4.15), which is (4.14) with M = 1: its mean over all trajectories is (4.13)."""
    q, v = q_and_v()
    probability = path_probability(same_at_every_step(THETA))
    torch.testing.assert_close(probability @ single_sample_estimates(), expected_score(q - v))


def test_m_sample_estimate_is_the_mean_of_m_single_sample_estimates():
    """(4.14) and (4.15), for M = 5 with a trajectory that occurs twice."""
    paths = torch.tensor([3, 141, 59, 26, 3])
    torch.testing.assert_close(estimate(paths), single_sample_estimates()[paths].mean(dim=0))


@pytest.mark.parametrize("m", [1, 4, 16, 64])
def test_error_of_the_estimate_shrinks_like_one_over_the_square_root_of_m(m: int):
    """(4.14): mean squared error = trace of the covariance of (4.15) / M, and no bias.

    2000 estimates. Their mean is off by less than 5 standard errors. Their squared error is off by
    less than 15 %: its relative standard error is at most 4 %, at M = 1.
    """
    probability = path_probability(same_at_every_step(THETA)).detach()
    single = single_sample_estimates()
    mean = probability @ single
    variance = probability @ (single - mean) ** 2

    generator = torch.Generator().manual_seed(0)
    paths = torch.multinomial(probability, 2000 * m, replacement=True, generator=generator)
    errors = single[paths].view(2000, m, -1).mean(dim=1) - mean
    assert (errors.mean(dim=0).abs() < 5 * (variance / (2000 * m)).sqrt()).all()
    squared_error = (errors**2).sum(dim=1).mean()
    torch.testing.assert_close(squared_error, variance.sum() / m, rtol=0.15, atol=0)


@pytest.mark.parametrize("step", range(N_STEPS))
def test_q_is_the_reward_plus_the_discounted_mean_of_the_next_v(step: int):
    """(4.16); at the last step, which terminates, Q is the reward."""
    q, v = as_tables(*q_and_v())
    torch.testing.assert_close((TRANSITION * td_targets(step, v)).sum(dim=2), q[step])
    if step == N_STEPS - 1:
        torch.testing.assert_close(q[step], REWARD)


@pytest.mark.parametrize("step", range(N_STEPS))
def test_v_is_the_mean_of_the_reward_plus_the_discounted_next_v(step: int):
    """(4.18)."""
    _, v = as_tables(*q_and_v())
    policy = log_policy(THETA).exp()
    mean_target = torch.einsum("xu,xuy,xuy->x", policy, TRANSITION, td_targets(step, v))
    torch.testing.assert_close(mean_target, v[step])


@pytest.mark.parametrize("step", range(N_STEPS))
def test_mean_td_error_given_state_and_action_is_the_advantage(step: int):
    """(4.17), (4.21): when V is that of the policy. A single TD error is not the advantage."""
    q, v = as_tables(*q_and_v())
    value = v[step][:, None, None].expand_as(TRANSITION)
    td_error = td_advantage(value.flatten(), td_targets(step, v).flatten()).view_as(TRANSITION)
    advantage = q[step] - v[step][:, None]
    torch.testing.assert_close((TRANSITION * td_error).sum(dim=2), advantage)
    scatter = (td_error - advantage[:, :, None]).abs().max()
    assert scatter > 0.1 if step < N_STEPS - 1 else scatter < 1e-12


def test_actor_loss_with_td_errors_has_minus_the_policy_gradient():
    """(4.22) with (4.21), averaged over every (x, u, x') of every step, against (4.13).

    V is that of the policy and its graph leads back to theta: the loss must stop that gradient.
    """
    _, v_table = as_tables(*q_and_v())
    assert v_table.requires_grad
    loss = torch.zeros((), dtype=torch.float64)
    for step in range(N_STEPS):
        log_prob = log_policy(THETA)[:, :, None].expand_as(TRANSITION)
        p_xu = state_probability()[step][:, None] * log_policy(THETA).exp()
        probability = (p_xu[:, :, None] * TRANSITION).detach()
        value = v_table[step][:, None, None].expand_as(TRANSITION)
        advantage = td_advantage(value.flatten(), td_targets(step, v_table).flatten())
        loss = loss + actor_loss(log_prob.flatten(), probability.flatten() * advantage)
    gradient = torch.autograd.grad(loss, THETA)[0]
    without_factors = (gradient_of_j_for_each_step() / DISCOUNT[:, None]).sum(dim=0)  # (4.13)
    torch.testing.assert_close(gradient, -without_factors)
