"""The statistics of a comparison are rliable's, for any number of runs."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from rliable import metrics

from sb3_tdac.zoo.compare.statistics import (
    METRICS,
    Estimate,
    estimate,
    improvement,
    iqm,
    mean,
    reached,
)


def test_metrics_are_those_of_rliable() -> None:
    x, y = np.random.default_rng(0).normal(0.8, 0.5, (2, 8, 3)).round(1)
    theirs = {
        "IQM": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
        "optimality gap": metrics.aggregate_optimality_gap,
    }
    for name, metric in METRICS.items():
        assert metric(*x.T) == pytest.approx(theirs[name](x))
    expected = metrics.probability_of_improvement(x, y)
    assert improvement(*x.T, *y.T) == pytest.approx(expected)


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    # All eight scores together: 0 1 | 2 3 4 5 | 6 100
    assert iqm(np.array([0.0, 2.0, 4.0, 100.0]), np.array([1.0, 3.0, 5.0, 6.0])) == 3.5


def test_environments_count_alike_however_many_runs_they_have() -> None:
    # Two runs of B weigh as much as four of A, and each of them as two: 0 0 | 0 0 5 5 | 9 9
    a, b = np.zeros(4), np.array([5.0, 9.0])
    assert iqm(a, b) == 2.5
    assert mean(a, b) == 3.5


def test_probability_of_improvement_is_the_share_of_pairs() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    pairs = [1.0 * (a > b) + 0.5 * (a == b) for a, b in product(x, y)]
    assert sum(pairs) / 6 == 4.5 / 6
    assert estimate(improvement, x, y).value == 0.75


def test_intervals_are_percentiles_of_the_resampled_metric() -> None:
    # Two runs are drawn twice: means 0, 1 and 2 with probabilities 1/4, 1/2 and 1/4.
    assert estimate(mean, np.array([0.0, 2.0])) == Estimate(1.0, 0.0, 2.0)
    # Five runs: P(mean = 0) = 1/3125 and P(mean <= 1/5) = 21/3125 are below 2.5 %,
    # P(mean <= 2/5) = (1 + 4^1 * 5 + 4^2 * 10) / 3125 = 5.8 % is not.
    scores = np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    assert estimate(mean, scores) == Estimate(0.8, 0.4, 1.0)


def test_runs_are_resampled_within_their_environment() -> None:
    assert estimate(mean, np.zeros(4), np.ones(4)) == Estimate(0.5, 0.5, 0.5)


def test_one_run_has_no_interval() -> None:
    found = estimate(mean, np.array([0.25]), np.array([0.75]))
    assert found.value == 0.5 and np.isnan(found.low) and np.isnan(found.high)


def test_threshold_is_reached_at_the_first_evaluation_at_or_above_it() -> None:
    evaluations = {
        0: [(10, 1.0, 5.0), (20, 2.0, 6.0), (30, 3.0, 7.0)],
        1: [(10, 1.5, 7.0), (20, 2.5, 1.0)],
        2: [(10, 1.0, 0.0), (20, 2.0, 5.9)],
    }
    rows = [(seed, *row) for seed, curve in evaluations.items() for row in curve]
    curves = pd.DataFrame(rows, columns=["seed", "step", "cpu_seconds", "return"])
    # Steps 20, 10 and never; seconds 2.0, 1.5 and never
    assert reached(curves, 6.0) == (2, 20.0, 2.0)
    assert reached(curves, 7.0) == (2, 30.0, 3.0)
    assert reached(curves, 8.0) == (0, np.inf, np.inf)
