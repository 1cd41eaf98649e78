"""(4.1)-(4.18) on a problem with 216 trajectories: every expectation is a sum, exact in float64."""

from functools import cache

import pytest
import torch
from helpers.trajectories import (
    ACTION,
    DISCOUNT,
    N_STEPS,
    PATH_REWARD,
    REWARD,
    REWARD_TO_GO,
    STATE,
    STEP,
    THETA,
    TRANSITION,
    as_tables,
    conditional_mean,
    expected_score,
    gradient_of_j_for_each_step,
    log_policy,
    path_log_probs,
    path_probability,
    q_and_v,
    same_at_every_step,
    state_probability,
    td_targets,
)
from torch import Tensor

from sb3_tdac.equations import actor_loss, td_advantage


def test_all_trajectories_are_enumerated():
    """(4.2): their probabilities sum to one, 3^3 * 2^3 of them."""
    probability = path_probability(same_at_every_step(THETA))
    assert len(probability) == 216
    torch.testing.assert_close(probability.sum().item(), 1.0)


@pytest.mark.equation("4.1", "4.2", "4.3")
def test_rewards_before_the_action_drop_out_of_the_gradient():
    """(4.1): the full return and the reward-to-go give the same expectation, which is grad J."""
    full_return = (PATH_REWARD @ DISCOUNT)[:, None].expand(-1, N_STEPS)
    from_full_return = expected_score(full_return)
    from_reward_to_go = expected_score(DISCOUNT * REWARD_TO_GO)
    torch.testing.assert_close(from_full_return, from_reward_to_go)
    torch.testing.assert_close(from_reward_to_go, gradient_of_j_for_each_step().sum(dim=0))


@pytest.mark.equation("4.1", "4.2", "4.3")
def test_rewards_after_the_action_do_not_drop_out_of_the_gradient():
    """(4.1): r_t alone in the place of the reward-to-go gives another gradient."""
    myopic = expected_score(DISCOUNT * PATH_REWARD)
    assert (myopic - gradient_of_j_for_each_step().sum(dim=0)).norm() > 0.1


@pytest.mark.equation("4.4", "4.5")
@pytest.mark.parametrize("step", range(N_STEPS))
def test_mean_reward_to_go_given_the_whole_past_is_q(step: int):
    """(4.3)-(4.4): given x_0, u_0, ..., x_t, u_t it depends on x_t and u_t only."""
    past = torch.cat([STATE[:, : step + 1], ACTION[:, : step + 1]], dim=1)
    q, _ = q_and_v()
    torch.testing.assert_close(conditional_mean(REWARD_TO_GO[:, step], past), q[:, step])


@pytest.mark.equation("4.4", "4.5")
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


@pytest.mark.equation("4.6")
def test_score_weighted_with_gamma_to_the_t_is_the_gradient_of_j():
    """(4.6) against automatic differentiation of J."""
    q, _ = q_and_v()
    torch.testing.assert_close(
        expected_score(DISCOUNT * q), gradient_of_j_for_each_step().sum(dim=0)
    )


@pytest.mark.equation("4.7")
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


@pytest.mark.equation("4.8", "4.9", "4.10")
def test_gradient_of_the_policy_times_a_baseline_sums_to_zero():
    """(4.8)-(4.9): in every state, sum_u grad pi(u | x) b = 0."""

    def policy(theta: Tensor) -> Tensor:
        return log_policy(theta).exp()

    policy_gradient = torch.autograd.functional.jacobian(policy, THETA)
    over_actions = torch.einsum("xuk,tx->txk", policy_gradient, BASELINE)
    torch.testing.assert_close(over_actions, torch.zeros_like(over_actions))


@pytest.mark.equation("4.8", "4.9", "4.10")
def test_expected_score_times_baseline_is_zero():
    """(4.10), for a baseline that depends on state and time."""
    baseline = BASELINE[STEP, STATE]
    torch.testing.assert_close(expected_score(baseline), torch.zeros_like(THETA))


@pytest.mark.equation("4.11")
def test_baseline_leaves_expected_gradient_unchanged():
    """(4.11), for a baseline that depends on state and time, and likewise for (4.6)."""
    q, _ = q_and_v()
    baseline = BASELINE[STEP, STATE]
    torch.testing.assert_close(expected_score(q - baseline), expected_score(q))
    torch.testing.assert_close(
        expected_score(DISCOUNT * (q - baseline)), gradient_of_j_for_each_step().sum(dim=0)
    )


@pytest.mark.equation("4.11")
def test_baseline_that_depends_on_the_action_changes_expected_gradient():
    """(4.9) takes b out of the sum over u: with b = r(x, u) it may not."""
    q, _ = q_and_v()
    assert (expected_score(q - PATH_REWARD) - expected_score(q)).norm() > 0.1


@pytest.mark.equation("4.12")
def test_v_is_the_mean_of_q():
    """(4.12): means of the reward-to-go given x_t, and given x_t and u_t."""
    q, v = as_tables(*q_and_v())
    torch.testing.assert_close((log_policy(THETA).exp() * q).sum(dim=2), v)


@pytest.mark.equation("4.13")
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


@pytest.mark.equation("4.15")
def test_single_sample_estimate_is_unbiased():
    """(4.15), which is (4.14) with M = 1: its mean over all trajectories is (4.13)."""
    q, v = q_and_v()
    probability = path_probability(same_at_every_step(THETA))
    torch.testing.assert_close(probability @ single_sample_estimates(), expected_score(q - v))


@pytest.mark.equation("4.14")
def test_m_sample_estimate_is_the_mean_of_m_single_sample_estimates():
    """(4.14) and (4.15), for M = 5 with a trajectory that occurs twice."""
    paths = torch.tensor([3, 141, 59, 26, 3])
    torch.testing.assert_close(estimate(paths), single_sample_estimates()[paths].mean(dim=0))


@pytest.mark.equation("4.14")
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


@pytest.mark.equation("4.16")
@pytest.mark.parametrize("step", range(N_STEPS))
def test_q_is_the_reward_plus_the_discounted_mean_of_the_next_v(step: int):
    """(4.16); at the last step, which terminates, Q is the reward."""
    q, v = as_tables(*q_and_v())
    torch.testing.assert_close((TRANSITION * td_targets(step, v)).sum(dim=2), q[step])
    if step == N_STEPS - 1:
        torch.testing.assert_close(q[step], REWARD)


@pytest.mark.equation("4.18")
@pytest.mark.parametrize("step", range(N_STEPS))
def test_v_is_the_mean_of_the_reward_plus_the_discounted_next_v(step: int):
    """(4.18)."""
    _, v = as_tables(*q_and_v())
    policy = log_policy(THETA).exp()
    mean_target = torch.einsum("xu,xuy,xuy->x", policy, TRANSITION, td_targets(step, v))
    torch.testing.assert_close(mean_target, v[step])


@pytest.mark.equation("4.17")
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


@pytest.mark.equation("4.13")
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
