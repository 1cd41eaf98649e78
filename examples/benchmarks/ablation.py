"""What each choice that the text leaves open is worth: one change of TDAC's defaults at a time.

The changes are in ``ablation_variants.py``. A problem is an environment of gymnasium, whose score
is the deterministic return of 20 episodes after training, or a system of ``lqr.py``, whose score is
the discounted cost over the Riccati optimum's, so that 1 is best. Every finished run is a line of
``ablation.csv``; the same command again trains what is missing there.

python examples/ablation.py --seeds 10 --workers 2
"""

import argparse
import functools
import hashlib
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from ablation_variants import DEFAULTS, ClippedActions, LimitIsEnd, applies, arguments, variants
from compare_with_a2c import mean_with_interval, plt
from gymnasium import spaces
from lqr import SYSTEMS, LQREnv, cost_ratio
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from tqdm import tqdm

from sb3_tdac import TDAC
from sb3_tdac.vec_envs import LeanDummyVecEnv

PROBLEMS = ["Pendulum-v1", "CartPole-v1", "InvertedPendulum-v5", "double-integrator"]
EVAL_SEED = 10_000
KEY = ["problem", "variant", "seed", "settings"]


class Job(NamedTuple):
    """One training: a variant, by open choice and name, on a problem."""

    problem: str
    choice: str
    variant: str
    seed: int
    n_envs: int
    timesteps: int

    @property
    def settings(self) -> str:
        """A word that differs where anything does that the result depends on, also the defaults."""
        change = variants()[self.choice, self.variant]
        known = sorted((DEFAULTS | {"n_envs": self.n_envs} | change).items())
        return hashlib.sha1(repr((known, self.timesteps)).encode()).hexdigest()[:8]

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What identifies its line."""
        return self.problem, self.variant, self.seed, self.settings


def make_problem(problem: str) -> Any:
    """What ``make_vec_env`` takes: a name of gymnasium's, or a function."""
    return functools.partial(LQREnv, **SYSTEMS[problem]) if problem in SYSTEMS else problem


def is_discrete(problem: str) -> bool:
    """Whether a problem has discrete actions."""
    return problem not in SYSTEMS and isinstance(gym.make(problem).action_space, spaces.Discrete)


def train(job: Job) -> dict[str, Any]:
    """One line of the table: its score is NaN if a number was not finite."""
    start = time.process_time()
    change = {"n_envs": job.n_envs} | variants()[job.choice, job.variant]
    options, outside = arguments(change)
    algorithm = ClippedActions if outside["clip_stored_actions"] else TDAC
    env = make_vec_env(
        make_problem(job.problem),
        outside["n_envs"],
        seed=job.seed,
        wrapper_class=LimitIsEnd if outside["limit_is_end"] else None,
        vec_env_cls=LeanDummyVecEnv,
    )
    model = algorithm("MlpPolicy", env, seed=job.seed, device="cpu", **options)
    try:
        model.learn(job.timesteps, log_interval=None)
        result = score(model, job.problem)
        result = result if np.isfinite(result) else float("nan")
    except ValueError:  # the model says so where a number is not finite
        result = float("nan")
    seconds = round(time.process_time() - start, 2)
    return dict(zip(KEY, job.key, strict=True)) | {"score": result, "seconds": seconds}


def score(model: TDAC, problem: str) -> float:
    """Cost over the optimum's at the default discount, or the return of 20 episodes."""
    if problem in SYSTEMS:
        return cost_ratio(model, make_problem(problem)(), DEFAULTS["gamma"])
    env = make_vec_env(problem, 20, seed=EVAL_SEED, vec_env_cls=LeanDummyVecEnv)
    return float(evaluate_policy(model, env, n_eval_episodes=20)[0])


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean with its 95 % bootstrap interval; of costs over the optimum's the geometric one."""
    found = []
    for (problem, variant), group in rows.groupby(["problem", "variant"], sort=False):
        scores = group["score"].dropna().to_numpy()
        ratios = problem in SYSTEMS
        known = {"problem": problem, "variant": variant, "seeds": len(group)}
        known["diverged"] = len(group) - len(scores)
        if len(scores):
            estimate = mean_with_interval(np.log(scores) if ratios else scores)
            known |= dict(
                zip(("mean", "low", "high"), np.exp(estimate) if ratios else estimate, strict=True)
            )
            known["worst"] = scores.max() if ratios else scores.min()
        found.append(known)
    columns = ["problem", "variant", "seeds", "diverged", "mean", "low", "high", "worst"]
    return pd.DataFrame(found, columns=columns).set_index(["problem", "variant"])


def cell(results: pd.DataFrame, problem: str, variant: str) -> str:
    """Mean with interval, bold where it is apart from that of the defaults, and what diverged."""
    if (problem, variant) not in results.index:
        return "-"
    row, default = results.loc[(problem, variant)], results.loc[(problem, "defaults")]
    lost = f", {row.diverged:.0f} of {row.seeds:.0f} diverged" if row.diverged else ""
    if np.isnan(row["mean"]):
        return f"**all {row.seeds:.0f} diverged**"
    digits = 3 if problem in SYSTEMS else 1
    text = f"{row['mean']:.{digits}f} ({row.low:.{digits}f} … {row.high:.{digits}f}){lost}"
    apart = row.low > default.high or row.high < default.low
    return f"**{text}**" if apart and row.seeds > 1 else text


def table(results: pd.DataFrame, problems: list[str]) -> str:
    """A row for each variant, a column for each problem."""
    lines = [
        "| open choice | change | " + " | ".join(problems) + " |",
        "|---|---|" + "---|" * len(problems),
    ]
    for choice, variant in variants():
        cells = [cell(results, problem, variant) for problem in problems]
        lines.append(f"| {choice} | {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: pd.DataFrame, problems: list[str], picture: Path) -> None:
    """A forest plot: means and intervals, and the interval of the defaults as a band."""
    names = [variant for _, variant in variants()]
    figure, panels = plt.subplots(
        1, len(problems), figsize=(3 + 3 * len(problems), 1 + 0.25 * len(names)),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, problem in zip(panels[0], problems, strict=True):
        found = results.loc[problem].reindex(names)
        errors = [found["mean"] - found.low, found.high - found["mean"]]
        axes.errorbar(found["mean"], range(len(names)), xerr=errors, fmt="o", markersize=4)
        axes.axvspan(found.low["defaults"], found.high["defaults"], alpha=0.2)
        axes.set(title=problem, xlabel="cost / optimum" if problem in SYSTEMS else "return")
        axes.set_xscale("log" if problem in SYSTEMS else "linear")
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].invert_yaxis()
    figure.savefig(picture, dpi=100)
    plt.close(figure)


def train_missing(jobs: list[Job], file: Path, workers: int) -> pd.DataFrame:
    """The lines of all jobs; those that the file lacks are added to it as they end."""
    known = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=[*KEY, "score"])
    done = set(known[KEY].itertuples(index=False, name=None))
    missing = [job for job in jobs if job.key not in done]
    print(f"{len(jobs) - len(missing)} of {len(jobs)} runs are in {file}", flush=True)
    one_thread: dict[str, Any] = dict(initializer=torch.set_num_threads, initargs=(1,))
    with ProcessPoolExecutor(workers, get_context("spawn"), **one_thread) as pool:
        try:
            runs = [pool.submit(train, job) for job in missing]
            for run in tqdm(as_completed(runs), total=len(runs), unit="run"):
                line = pd.DataFrame([run.result()])
                line.to_csv(file, mode="a", header=not file.is_file(), index=False)
        finally:
            pool.shutdown(cancel_futures=True)
    rows = pd.read_csv(file).set_index(KEY)
    return rows.loc[[job.key for job in jobs]].reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=PROBLEMS, help="and systems of lqr.py")
    parser.add_argument("--variants", nargs="+", help="names; default: all")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--n-envs", type=int, default=8, help="where the variant says nothing")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("logs/ablation"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    unknown = set(args.variants or []) - {variant for _, variant in variants()}
    if unknown:
        parser.error(
            f"--variants: unknown {sorted(unknown)[0]!r}; see examples/ablation_variants.py"
        )
    discrete = {problem: is_discrete(problem) for problem in args.problems}
    jobs = [
        Job(problem, choice, variant, seed, args.n_envs, args.timesteps)
        for seed in range(args.seeds)
        for (choice, variant), change in variants().items()
        for problem in args.problems
        if applies(change, discrete[problem])
        and (not change or args.variants is None or variant in args.variants)
    ]
    rows = train_missing(jobs, args.out / "ablation.csv", args.workers)
    results = summary(rows)
    head = f"{args.seeds} seeds, {args.timesteps} steps, {args.n_envs} environments"
    (args.out / "ablation.md").write_text(f"{head}\n\n{table(results, args.problems)}\n")
    draw(results, args.problems, args.out / "ablation.png")
    print(table(results, args.problems), f"wrote {args.out}", sep="\n")


if __name__ == "__main__":
    main()
