"""The statistics of rliable, with intervals from scipy's bootstrap.

A score is a normalised return. The scores of an algorithm are columns, one of shape (runs,) for
each environment. The bootstrap is stratified: it resamples each column separately. All environments
have equal weight; rliable's own functions need the same number of runs on each.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

Floats = NDArray[np.floating[Any]]
#: Takes columns (..., runs), one for each environment, and gives (...).
Metric = Callable[..., Floats]
RESAMPLES = 2000
#: The columns that identify an evaluation in a table of episodes.
EVALUATION = ["env", "algo", "seed", "mode", "step"]
TIMES = ["timesteps", "seconds", "cpu_seconds"]


class Estimate(NamedTuple):
    """A number with its 95 % interval, which is NaN if there is a single run."""

    value: float
    low: float
    high: float


def iqm(*columns: Floats, axis: int = -1) -> Floats:
    """Interquartile mean: the mean of the middle half of all scores.

    A score at the edge of that half counts with the part inside.

    >>> float(iqm(np.array([0.0, 1.0, 2.0, 9.0])))
    1.5
    """
    scores = np.concatenate(columns, axis=axis)
    shares = [np.full(column.shape[axis], 1 / column.shape[axis]) for column in columns]
    share = np.concatenate(shares) / len(columns)
    order = scores.argsort(axis=axis)
    ends = np.clip(share[order].cumsum(axis=axis), 0.25, 0.75)
    inside = np.diff(ends, axis=axis, prepend=0.25)
    return np.asarray(2 * (inside * np.take_along_axis(scores, order, axis)).sum(axis=axis))


def median(*columns: Floats, axis: int = -1) -> Floats:
    """Median over environments of the means over runs."""
    return np.asarray(np.median([column.mean(axis=axis) for column in columns], axis=0))


def mean(*columns: Floats, axis: int = -1) -> Floats:
    """Mean over environments of the means over runs."""
    return np.asarray(np.mean([column.mean(axis=axis) for column in columns], axis=0))


def optimality_gap(*columns: Floats, axis: int = -1) -> Floats:
    """Mean amount by which scores fall short of 1."""
    return mean(*(np.maximum(1 - column, 0) for column in columns), axis=axis)


def improvement(*columns: Floats, axis: int = -1) -> Floats:
    """Probability that a run of X beats a run of Y; a tie counts half; mean over environments.

    :param columns: columns of X, then of Y
    """
    half = len(columns) // 2
    pairs = zip(columns[:half], columns[half:], strict=True)
    wins = [np.sign(x[..., :, None] - y[..., None, :]).mean(axis=(-2, -1)) for x, y in pairs]
    return np.asarray(0.5 + np.mean(wins, axis=0) / 2)


METRICS = {"IQM": iqm, "median": median, "mean": mean, "optimality gap": optimality_gap}


def estimate(metric: Metric, *columns: Floats) -> Estimate:
    """Compute a metric with its stratified bootstrap interval.

    :param columns: scores (runs,) of each environment, of one algorithm or of two
    """
    value = float(metric(*columns))
    if min(len(column) for column in columns) < 2:
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


def above(metric: Metric, ours: Sequence[Floats], theirs: Sequence[Floats]) -> str:
    """Count the environments where an algorithm is above another one.

    :param metric: metric of one column
    :param ours: columns of the one
    :param theirs: columns of the other

    >>> one, two, three = np.eye(3)[0], np.ones(3), np.zeros(3)
    >>> above(mean, [two, three, one], [one, one, one])
    '1 of 3, 1 equal'
    """
    pairs = zip(ours, theirs, strict=True)
    signs = [np.sign(float(metric(x)) - float(metric(y))) for x, y in pairs]
    ties = f", {signs.count(0)} equal" if 0 in signs else ""
    return f"{signs.count(1)} of {len(signs)}{ties}"


def returns_of(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean return of each evaluation, and keep its times.

    :param evaluations: one row for each episode
    """
    groups = evaluations.groupby(EVALUATION, as_index=False, sort=False)
    columns = {name: (name, "first") for name in TIMES}
    return groups.agg(**columns, **{"return": ("return", "mean")})


class Reached(NamedTuple):
    """When a threshold was reached: medians over all runs, infinite if most never reached it."""

    runs: int
    steps: float
    seconds: float


def reached(curves: pd.DataFrame, threshold: float) -> Reached:
    """Find when the deterministic mean return was first at or above a threshold.

    :param curves: deterministic evaluations of one algorithm on one environment
    """
    first = curves[curves["return"] >= threshold].sort_values("step").groupby("seed").first()
    first = first.reindex(curves.seed.unique())
    steps, seconds = (np.nanmedian(first[name].fillna(np.inf)) for name in ("step", "cpu_seconds"))
    return Reached(int(first.step.count()), float(steps), float(seconds))


def curve(points: Sequence[Sequence[Floats]]) -> Floats:
    """Compute the IQM with its interval at several points.

    :param points: columns at each point
    :return: (3, points): value, low, high
    """
    return np.array([estimate(iqm, *columns) for columns in points]).reshape(-1, 3).T
