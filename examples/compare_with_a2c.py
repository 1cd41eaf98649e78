"""Compares TDAC, A2C, A2C with gae_lambda=0 and PPO at equal steps, over several seeds.

All have the defaults of their constructors, the same environments, and the same evaluation: the
deterministic return of 20 episodes. Writes a CSV file of all evaluations, a Markdown table, and a
picture of the mean over seeds with 95 % bootstrap intervals.

python examples/compare_with_a2c.py --env Pendulum-v1 --timesteps 100000 --seeds 10
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from scipy.stats import bootstrap
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from tqdm import tqdm

from sb3_tdac import TDAC

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ALGORITHMS = {
    "TDAC": (TDAC, {}),
    "A2C": (A2C, {}),
    "A2C, gae_lambda=0": (A2C, {"gae_lambda": 0.0}),
    "PPO": (PPO, {}),
}


class Evaluation(BaseCallback):
    """Evaluates at given steps, the same for rollouts of any length."""

    def __init__(self, env_id: str, seed: int, steps: list[int]):
        super().__init__()
        self.env, self.steps = make_vec_env(env_id, 20, seed=seed), steps
        self.rows: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        done = len(self.rows)
        if done < len(self.steps) and self.num_timesteps >= self.steps[done]:
            mean_return, _ = evaluate_policy(self.model, self.env, n_eval_episodes=20)
            self.rows.append((self.steps[done], float(mean_return)))
        return True


def run(name: str, env_id: str, seed: int, n_envs: int, steps: list[int]) -> pd.DataFrame:
    """Train one algorithm with one seed; return its evaluations at the given steps."""
    torch.set_num_threads(1)
    algorithm, options = ALGORITHMS[name]
    env = make_vec_env(env_id, n_envs, seed=seed)
    evaluation = Evaluation(env_id, seed + 10_000, steps[:-1])
    model = algorithm("MlpPolicy", env, seed=seed, device="cpu", **options)
    model.learn(steps[-1], evaluation)
    last, _ = evaluate_policy(model, evaluation.env, n_eval_episodes=20)
    rows = pd.DataFrame([*evaluation.rows, (steps[-1], last)], columns=["timesteps", "return"])
    return rows.assign(algorithm=name, seed=seed)


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over seeds with its 95 % bootstrap interval (percentile method)."""
    if len(values) < 2 or np.ptp(values) == 0:
        return values.mean(), values.mean(), values.mean()
    interval = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    return values.mean(), interval.low, interval.high


def draw(curves: pd.DataFrame, picture: Path, title: str) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name in curves.algorithm.unique():
        by_step = curves[curves.algorithm == name].groupby("timesteps")["return"]
        points = [mean_with_interval(values.to_numpy()) for _, values in by_step]
        mean, low, high = np.transpose(points)
        axes.plot(list(by_step.groups), mean, label=name)
        axes.fill_between(list(by_step.groups), low, high, alpha=0.2)
    axes.set(title=title, xlabel="environment steps", ylabel="deterministic return, 20 episodes")
    axes.legend(title="mean over seeds, 95 % interval")
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def table(curves: pd.DataFrame) -> str:
    """The last evaluations, a row for each algorithm."""
    rows = []
    last = curves[curves.timesteps == curves.timesteps.max()]
    for name, group in last.groupby("algorithm", sort=False):
        values = group["return"].to_numpy()
        mean, low, high = mean_with_interval(values)
        rows.append([name, f"{mean:.1f}", f"{low:.1f} ... {high:.1f}", values.min(), values.max()])
    columns = ["algorithm", "mean", "95 % interval", "worst seed", "best seed"]
    return pd.DataFrame(rows, columns=columns).to_markdown(index=False, floatfmt=".1f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--n-envs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=[*ALGORITHMS])
    parser.add_argument("--evaluations", type=int, default=20, help="points of a curve")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("logs/compare"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    steps = [args.timesteps * (i + 1) // args.evaluations for i in range(args.evaluations)]
    with ProcessPoolExecutor(args.workers) as pool:
        runs = [
            pool.submit(run, name, args.env, seed, args.n_envs, steps)
            for name in args.algorithms
            for seed in range(args.seeds)
        ]
        curves = pd.concat([each.result() for each in tqdm(runs, unit="run")])
    curves.to_csv(args.out / "evaluations.csv", index=False)
    title = f"{args.env}, {args.seeds} seeds, {args.n_envs} environments, constructor defaults"
    draw(curves, args.out / "curves.png", title)
    (args.out / "table.md").write_text(table(curves) + "\n")
    print(title, table(curves), f"wrote {args.out}", sep="\n")


if __name__ == "__main__":
    main()
