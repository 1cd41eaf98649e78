"""The statistics of rliable, with intervals from scipy's bootstrap.

A score is a normalised return. A matrix of them is (runs, environments); its columns are the
strata, which the bootstrap resamples each for itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap, trim_mean

from sb3_tdac.zoo.runs import DETERMINISTIC

Floats = NDArray[np.floating[Any]]
#: Takes columns (..., runs), one for each environment, and gives (...).
Metric = Callable[..., Floats]
RESAMPLES = 2000
#: What identifies an evaluation in a table of episodes.
EVALUATION = ["env", "algo", "seed", "mode", "step"]


class Estimate(NamedTuple):
    """A number with its 95 % interval, which is NaN where there is one run."""

    value: float
    low: float
    high: float


class Range(NamedTuple):
    """Returns whose scores are 0 and 1, and where they come from."""

    low: float
    high: float
    origin: str


def iqm(*columns: Floats, axis: int = -1) -> Floats:
    """Mean of the middle half of all scores.

    >>> float(iqm(np.array([0.0, 1.0, 2.0, 9.0])))
    1.5
    """
    return np.asarray(trim_mean(np.concatenate(columns, axis=axis), 0.25, axis=axis))


def median(*columns: Floats, axis: int = -1) -> Floats:
    """Median over environments of the means over runs."""
    return np.asarray(np.median([column.mean(axis=axis) for column in columns], axis=0))


def mean(*columns: Floats, axis: int = -1) -> Floats:
    """Mean of all scores."""
    return np.asarray(np.concatenate(columns, axis=axis).mean(axis=axis))


def optimality_gap(*columns: Floats, axis: int = -1) -> Floats:
    """Mean amount by which scores fall short of 1."""
    scores = np.concatenate(columns, axis=axis)
    return np.asarray(1 - np.minimum(scores, 1).mean(axis=axis))


def improvement(*columns: Floats, axis: int = -1) -> Floats:
    """Probability that a run of X beats one of Y, a tie being half of that; mean over environments.

    :param columns: of X, then of Y
    :param axis: the last one
    """
    half = len(columns) // 2
    pairs = zip(columns[:half], columns[half:], strict=True)
    wins = [np.sign(x[..., :, None] - y[..., None, :]).mean(axis=(-2, -1)) for x, y in pairs]
    return np.asarray(0.5 + np.mean(wins, axis=0) / 2)


METRICS = {"IQM": iqm, "median": median, "mean": mean, "optimality gap": optimality_gap}


def estimate(metric: Metric, *matrices: Floats) -> Estimate:
    """A metric with its stratified bootstrap interval.

    :param metric: metric
    :param matrices: scores of one algorithm, or of two; (runs, environments)
    :return: estimate
    """
    columns = [column for matrix in matrices for column in matrix.T]
    value = float(metric(*columns))
    if min(len(matrix) for matrix in matrices) < 2:
        return Estimate(value, np.nan, np.nan)
    interval = bootstrap(
        columns,
        metric,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def returns_of(evaluations: pd.DataFrame) -> pd.DataFrame:
    """One row for each evaluation: its mean return, and when it was.

    :param evaluations: one row for each episode
    """
    groups = evaluations.groupby(EVALUATION, as_index=False, sort=False)
    columns = {name: (name, "first") for name in ("timesteps", "seconds")}
    return groups.agg(**columns, **{"return": ("return", "mean")})


def matrix(
    returns: pd.DataFrame, algo: str, ranges: dict[str, Range], mode: str, step: int
) -> Floats:
    """Scores of an algorithm after some steps.

    :param returns: of all evaluations
    :param algo: algorithm
    :param ranges: of the environments
    :param mode: of the actions
    :param step: step
    :return: scores (runs, environments) of the seeds that finished on all environments
    """
    chosen = returns[(returns.algo == algo) & (returns["mode"] == mode) & (returns.step == step)]
    table = chosen.pivot(index="seed", columns="env", values="return")
    table = table.reindex(columns=list(ranges)).dropna()
    low, high = np.array([(env.low, env.high) for env in ranges.values()]).T
    return np.asarray((table.to_numpy() - low) / (high - low))


def normalisation(
    env: str, returns: pd.DataFrame, random: float, known: tuple[float, float] | None
) -> Range:
    """The range of an environment.

    :param env: environment
    :param returns: of all evaluations
    :param random: mean return of a random policy
    :param known: a published range
    :return: the known one, or from the random policy to the best evaluation
    """
    if known is not None:
        return Range(*known, "rl_zoo3's table")
    chosen = returns[(returns.env == env) & (returns["mode"] == DETERMINISTIC)]["return"]
    if chosen.max() > random:
        return Range(random, float(chosen.max()), "random policy to best evaluation")
    if chosen.max() > chosen.min():
        origin = "worst to best evaluation, none above the random policy"
        return Range(float(chosen.min()), float(chosen.max()), origin)
    return Range(float(chosen.max()) - 1, float(chosen.max()), "all evaluations are equal")


class Reached(NamedTuple):
    """When a threshold was reached: medians over all runs, infinite if most never did."""

    runs: int
    steps: float
    seconds: float


def reached(curves: pd.DataFrame, threshold: float) -> Reached:
    """When the deterministic mean return was at or above a threshold for the first time.

    :param curves: deterministic evaluations of one algorithm on one environment
    :param threshold: return
    """
    first = curves[curves["return"] >= threshold].sort_values("step").groupby("seed").first()
    first = first.reindex(curves.seed.unique())
    steps, seconds = (np.nanmedian(first[name].fillna(np.inf)) for name in ("step", "seconds"))
    return Reached(int(first.step.count()), float(steps), float(seconds))


def curve(matrices: Sequence[Floats], metric: Metric) -> tuple[Floats, Floats]:
    """A metric as a function of the step.

    :param matrices: scores at each step
    :param metric: metric
    :return: values (steps,) and intervals (2, steps), as rliable's pictures want them
    """
    estimates = np.array([estimate(metric, scores) for scores in matrices])
    return estimates[:, 0], estimates[:, 1:].T
