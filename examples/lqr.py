r"""The linear-quadratic regulator: V, Q, A, the gradient and the best controller are known.

    python examples/lqr.py --seeds 10 --timesteps 100000 --n-envs 8 --out lqr.csv

trains TDAC with the defaults of its constructor, and compares the cost of the learned controller
with the least possible cost. In this file A, B, Q, R are the regulator's matrices.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

from sb3_tdac import TDAC

try:
    import pandas as pd
    from scipy import linalg
    from tqdm import tqdm
except ImportError as error:
    sys.exit(f"{error}: pip install 'sb3_tdac[plots]'")

Array = NDArray[np.float64]
Observation = NDArray[np.float32]
Info = dict[str, Any]

SYSTEMS: dict[str, dict[str, ArrayLike]] = {
    "double-integrator": dict(
        A=[[1, 0.1], [0, 1]], B=[[0], [0.1]], Q=[[1, 0], [0, 0.1]], R=[[0.1]]
    ),
    "coupled": dict(
        A=[[1.01, 0.1, 0], [-0.05, 0.98, 0.1], [0.05, -0.05, 0.95]],
        B=[[0.1, 0], [0.02, 0.1], [0.05, 0.1]],
        Q=[[1, 0.2, 0], [0.2, 0.5, 0], [0, 0, 0.3]],
        R=[[0.1, 0], [0, 0.1]],
    ),
}


class LQREnv(gym.Env[Any, Any]):
    r"""$x' = A x + B u + w$, $w \sim N(0, \sigma^2 I)$, reward $-(x^T Q x + u^T R u)$.

    Nothing terminates: after ``max_steps`` the episode is truncated. Actions are not clipped; the
    caller keeps them within the bounds.

    :param A: (n, n)
    :param B: (n, m)
    :param Q: (n, n) symmetric
    :param R: (m, m) symmetric
    :param noise_std: $\sigma$
    :param start: episodes start uniformly in $[-start, start]^n$
    :param action_bound: bound of each component of the action; ``None``: unbounded
    :param max_steps: time limit
    """

    def __init__(
        self,
        A: ArrayLike,
        B: ArrayLike,
        Q: ArrayLike,
        R: ArrayLike,
        noise_std: float = 0.02,
        start: float = 1.0,
        action_bound: float | None = 5.0,
        max_steps: int = 150,
    ):
        self.A, self.B, self.Q, self.R = (np.asarray(matrix, float) for matrix in (A, B, Q, R))
        self.noise_std, self.start, self.max_steps = noise_std, start, max_steps
        n, m = self.B.shape
        bound = np.inf if action_bound is None else action_bound
        self.observation_space = spaces.Box(-np.inf, np.inf, (n,), np.float32)
        self.action_space = spaces.Box(-bound, bound, (m,), np.float32)

    def cost(self, x: Array, u: Array) -> Array:
        """Minus the reward, (...), of states (..., n) and actions (..., m)."""
        return quadratic(self.Q, x) + quadratic(self.R, u)

    def next_state(self, x: Array, u: Array, standard_normal: Array) -> Array:
        """x' (..., n), from states (..., n), actions (..., m) and noise (..., n)."""
        return x @ self.A.T + u @ self.B.T + self.noise_std * standard_normal

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, Info]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-self.start, self.start, len(self.A))
        self.elapsed_steps = 0
        return self.state.astype(np.float32), {}

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, Info]:
        u = np.asarray(action, float)
        reward = -float(self.cost(self.state, u))
        self.state = self.next_state(self.state, u, self.np_random.standard_normal(len(self.A)))
        self.elapsed_steps += 1
        truncated = self.elapsed_steps >= self.max_steps
        return self.state.astype(np.float32), reward, False, truncated, {}


class LinearGaussian:
    r"""V, Q, A, J and the gradient of J for $u \sim N(-K x, S)$, without a time limit.

    The reward is quadratic and the dynamics are linear, so V is quadratic. With $A_K = A - B K$,
    (4.18) for $V(x) = -x^T P x - c$ splits into the terms with x and the terms without:

    $P = Q + K^T R K + \gamma A_K^T P A_K$ and
    $(1 - \gamma) c = tr(R S) + \gamma tr(P N)$, $N = B S B^T + \sigma^2 I$.

    J is the mean of V over the start. Its gradient is (4.6): the mean of $\nabla_u Q$ at $-K x$ is
    $2 E_K x$ with $E_K = (R + \gamma B^T P B) K - \gamma B^T P A$, and $\nabla_K$ of the mean
    action is $-x^T$. So $\nabla_K J = -2 E_K \Sigma$ with the second moment of the discounted
    states, $\Sigma = \sum_t \gamma^t E[x_t x_t^T]
    = \Sigma_0 + \gamma A_K \Sigma A_K^T + \frac{\gamma}{1 - \gamma} N$.

    :param env: the regulator
    :param K: (m, n) gain; $\sqrt{\gamma} (A - B K)$ must be stable
    :param std: (m,) or () standard deviations of the action, $S = diag(std^2)$
    :param gamma: discount factor
    :raises ValueError: if the cost of the gain is infinite
    """

    def __init__(self, env: LQREnv, K: Array, std: ArrayLike, gamma: float):
        self.env, self.K, self.std, self.gamma = env, K, np.broadcast_to(std, len(K)), gamma
        A, B, Q, R = env.A, env.B, env.Q, env.R
        closed_loop = np.sqrt(gamma) * (A - B @ K)
        if np.abs(np.linalg.eigvals(closed_loop)).max() >= 1:
            raise ValueError(f"the discounted cost of the gain {K} is infinite")
        S = np.diag(self.std**2)
        noise = B @ S @ B.T + env.noise_std**2 * np.eye(len(A))
        self.P = linalg.solve_discrete_lyapunov(closed_loop.T, Q + K.T @ R @ K)
        self.c = (np.trace(R @ S) + gamma * np.trace(self.P @ noise)) / (1 - gamma)
        self.start_moment = env.start**2 / 3 * np.eye(len(A))
        inflow = self.start_moment + gamma / (1 - gamma) * noise
        self.discounted_moment = linalg.solve_discrete_lyapunov(closed_loop, inflow)

    def value(self, x: Array) -> Array:
        """V (...), of states (..., n)."""
        return -quadratic(self.P, x) - self.c

    def q_value(self, x: Array, u: Array) -> Array:
        """Q (...), of states (..., n) and actions (..., m): (4.16)."""
        mean_next_value = self.value(self.env.next_state(x, u, np.zeros_like(x)))
        mean_next_value -= self.env.noise_std**2 * np.trace(self.P)
        return -self.env.cost(x, u) + self.gamma * mean_next_value

    def advantage(self, x: Array, u: Array) -> Array:
        """A (...), of states (..., n) and actions (..., m): (4.17)."""
        return self.q_value(x, u) - self.value(x)

    def performance(self) -> float:
        """J, the mean of V over the start."""
        return float(-np.trace(self.P @ self.start_moment) - self.c)

    def gradient(self) -> Array:
        """(m, n) gradient of J with respect to K."""
        PB = self.gamma * self.P @ self.env.B
        E = (self.env.R + PB.T @ self.env.B) @ self.K - PB.T @ self.env.A
        return -2 * E @ self.discounted_moment


def quadratic(matrix: Array, rows: Array) -> Array:
    """$x^T M x$, (...), of rows (..., n)."""
    return ((rows @ matrix) * rows).sum(axis=-1)


def optimal_gain(env: LQREnv, gamma: float) -> Array:
    r"""(m, n) K of the best controller, from the discounted Riccati equation.

    It is the undiscounted equation with $\sqrt{\gamma} A$ and $\sqrt{\gamma} B$: half of each
    factor $\gamma^t$ goes to each side of the quadratic forms.
    """
    P = linalg.solve_discrete_are(gamma**0.5 * env.A, gamma**0.5 * env.B, env.Q, env.R)
    return np.linalg.solve(env.R + gamma * env.B.T @ P @ env.B, gamma * env.B.T @ P @ env.A)


def discounted_cost(env: LQREnv, controller: Callable[[Array], Array], gamma: float) -> float:
    """Mean discounted cost of a function from states to actions, without a time limit or bounds.

    256 initial states and their noise, the same in every call. The sum ends at gamma^t = 1e-5.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(-env.start, env.start, (256, len(env.A)))
    total = 0.0
    for t in range(int(np.ceil(np.log(1e-5) / np.log(gamma)))):
        u = controller(x)
        total += gamma**t * env.cost(x, u).mean()
        x = env.next_state(x, u, rng.standard_normal(x.shape))
    return float(total)


def cost_ratio(model: BaseAlgorithm, env: LQREnv, gamma: float) -> float:
    """Discounted cost of the model's deterministic policy over the best controller's cost."""
    gain = optimal_gain(env, gamma)
    best = discounted_cost(env, lambda x: -x @ gain.T, gamma)
    predict = functools.partial(model.predict, deterministic=True)
    learned = discounted_cost(env, lambda x: predict(x.astype(np.float32))[0], gamma)
    return learned / best


def train(system: str, seed: int, timesteps: int, n_envs: int) -> dict[str, Any]:
    """One row of the table: cost ratios at the training's gamma and at 0.95."""
    make_env = functools.partial(LQREnv, **SYSTEMS[system])
    model = TDAC("MlpPolicy", make_vec_env(make_env, n_envs), seed=seed, device="cpu")
    model.learn(timesteps)
    gammas = {"training_gamma": model.gamma, "gamma_0.95": 0.95}
    ratios = {f"ratio_{name}": cost_ratio(model, make_env(), g) for name, g in gammas.items()}
    return {"system": system, "seed": seed, "timesteps": timesteps, "n_envs": n_envs} | ratios


def main() -> None:
    parser = argparse.ArgumentParser(description="Train TDAC on the linear-quadratic regulator.")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0, 1, ... of each system")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--n-envs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", metavar="FILE.csv", help="write the table there")
    args = parser.parse_args()

    jobs = list(product(SYSTEMS, range(args.seeds), [args.timesteps], [args.n_envs]))
    one_thread = dict(initializer=torch.set_num_threads, initargs=(1,))
    with ProcessPoolExecutor(args.workers, get_context("spawn"), **one_thread) as pool:
        runs = pool.map(train, *zip(*jobs, strict=True))
        rows = pd.DataFrame(tqdm(runs, total=len(jobs), unit="run"))
    if args.out:
        rows.to_csv(args.out, index=False)
    ratios = [column for column in rows if column.startswith("ratio")]
    by_system = rows.groupby("system", sort=False)[ratios]
    statistics = [by_system.agg(name).assign(seed=name).reset_index() for name in ("median", "max")]
    table = pd.concat([rows, *statistics])[["system", "seed", *ratios]]
    print(table.to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main()
