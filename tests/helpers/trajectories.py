"""A problem with 216 trajectories: every expectation of (4.1)-(4.18) is a sum over them."""

from functools import cache
from itertools import product

import torch
from torch import Tensor

from sb3_tdac.equations import actor_loss, td_target

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
