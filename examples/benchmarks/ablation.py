"""Measures each choice that the text leaves open: one change of TDAC's defaults at a time.

The changes are in ``ablation_variants.py``. A problem is an environment of gymnasium, with the
deterministic return of 20 episodes after training as its score, or a system of ``lqr.py``, with the
discounted cost over the Riccati optimum's: 1 is best. Each finished run is a line of
``ablation.csv``; the same command again trains the missing runs.

python examples/benchmarks/ablation.py --seeds 10 --workers 2
"""

import argparse
import hashlib
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pandas as pd
from ablation_variants import (
    DEFAULTS,
    LimitIsEnd,
    applies,
    arguments,
    clip_stored_actions,
    variants,
)
from gymnasium import spaces
from matplotlib import pyplot as plt
from runs import SYSTEMS, evaluate, make_envs, mean_with_interval, train_missing

from sb3_tdac import TDAC

PROBLEMS = ["Pendulum-v1", "CartPole-v1", "InvertedPendulum-v5", "double-integrator"]
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
        """Hash of everything that changes the result, the defaults included."""
        change = variants()[self.choice, self.variant]
        known = sorted((DEFAULTS | {"n_envs": self.n_envs} | change).items())
        return hashlib.sha1(repr((known, self.timesteps)).encode()).hexdigest()[:8]

    @property
    def key(self) -> tuple[str, str, int, str]:
        """The values that identify its line."""
        return self.problem, self.variant, self.seed, self.settings


def is_discrete(problem: str) -> bool:
    """Whether a problem has discrete actions."""
    return problem not in SYSTEMS and isinstance(gym.make(problem).action_space, spaces.Discrete)


def train(job: Job) -> dict[str, Any]:
    """One line of the table; its score is NaN if a number was not finite."""
    start = time.process_time()
    change = {"n_envs": job.n_envs} | variants()[job.choice, job.variant]
    options, outside = arguments(change)
    wrapper = LimitIsEnd if outside["limit_is_end"] else None
    env = make_envs(job.problem, outside["n_envs"], job.seed, wrapper_class=wrapper)
    model = TDAC("MlpPolicy", env, seed=job.seed, device="cpu", **options)
    if outside["clip_stored_actions"]:
        model.fast_path = False  # as when the committed results were made
        clip_stored_actions(model)
    try:
        model.learn(job.timesteps, log_interval=None)
        score = evaluate(model, job.problem, DEFAULTS["gamma"])
    except ValueError:  # a number was not finite
        score = float("nan")
    score = score if np.isfinite(score) else float("nan")
    seconds = round(time.process_time() - start, 2)
    return dict(zip(KEY, job.key, strict=True)) | {"score": score, "seconds": seconds}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean with its 95 % bootstrap interval; the geometric mean for costs over the optimum's."""
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
    """Mean, interval and diverged runs; bold if apart from the interval of the defaults."""
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
    rows = [
        [choice, variant, *(cell(results, problem, variant) for problem in problems)]
        for choice, variant in variants()
    ]
    head = ["open choice", "change", *problems]
    return pd.DataFrame(rows, columns=head).to_markdown(index=False, disable_numparse=True)


def draw(results: pd.DataFrame, problems: list[str], picture: Path) -> None:
    """Plot means and intervals, with the interval of the defaults as a band."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=PROBLEMS, help="ids and systems of lqr.py")
    parser.add_argument("--variants", nargs="+", help="names; default: all")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--n-envs", type=int, default=8, help="unless the variant changes it")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("logs/ablation"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    unknown = set(args.variants or []) - {variant for _, variant in variants()}
    if unknown:
        parser.error(f"--variants: unknown {sorted(unknown)[0]!r}; see ablation_variants.py")
    discrete = {problem: is_discrete(problem) for problem in args.problems}
    jobs = [
        Job(problem, choice, variant, seed, args.n_envs, args.timesteps)
        for seed in range(args.seeds)
        for (choice, variant), change in variants().items()
        for problem in args.problems
        if applies(change, discrete[problem])
        and (not change or args.variants is None or variant in args.variants)
    ]
    runs = {job.key: job for job in jobs}
    rows = train_missing(train, runs, KEY, args.out / "ablation.csv", args.workers)
    results = summary(rows.set_index(KEY).loc[list(runs)].reset_index())
    head = f"{args.seeds} seeds, {args.timesteps} steps, {args.n_envs} environments"
    (args.out / "ablation.md").write_text(f"{head}\n\n{table(results, args.problems)}\n")
    draw(results, args.problems, args.out / "ablation.png")
    print(table(results, args.problems), f"wrote {args.out}", sep="\n")


if __name__ == "__main__":
    main()
