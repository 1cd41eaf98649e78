"""The pictures of a comparison."""

from pathlib import Path

import numpy as np
from huggingface_sb3 import EnvironmentName
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rliable import plot_utils

from sb3_tdac.zoo.compare.comparison import SECONDS, STEPS, Comparison
from sb3_tdac.zoo.compare.statistics import METRICS, Floats, curve, estimate, improvement

SCORE = "IQM of the normalised score"
AGGREGATES, CURVES = "aggregates.png", "sample_efficiency.png"
IMPROVEMENT = "probability_of_improvement.png"


def curve_file(env: str) -> str:
    """Name the picture of an environment.

    >>> curve_file("ALE/Pong-v5")
    'curve_ALE-Pong-v5.png'
    """
    return f"curve_{EnvironmentName(env)}.png"


def draw(comparison: Comparison, folder: Path) -> None:
    """Draw learning curves, aggregates, and probabilities of improvement."""
    backend = plt.get_backend()
    plt.switch_backend("Agg")
    try:
        with plt.style.context("default"):
            for env in comparison.envs:
                _save(_env_curves(comparison, env), folder / curve_file(env))
            if comparison.common:
                _save(_score_curves(comparison), folder / CURVES)
                _save(_aggregates(comparison), folder / AGGREGATES)
                if len(comparison.algos) > 1:
                    _save(_improvement(comparison), folder / IMPROVEMENT)
    finally:
        plt.switch_backend(backend)


def _panels(steps: str, seconds: str, score: str) -> Figure:
    """Make an empty picture with two panels: against steps, and against time."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    panels[0].set(xlabel=steps, ylabel=score)
    panels[1].set(xlabel=seconds, xscale="log")
    return figure


def _band(axes: Axes, x: Floats, values: Floats, label: str) -> None:
    """Draw a line with its interval."""
    axes.plot(x, values[0], label=label, marker=".")
    axes.fill_between(x, values[1], values[2], alpha=0.2)


def _legend(figure: Figure) -> None:
    """Write the labels of both panels once, beside the curves."""
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")


def _env_curves(comparison: Comparison, env: str) -> Figure:
    """Draw the IQM of the return on one environment."""
    seconds = "CPU seconds of training, mean over seeds"
    figure = _panels("environment steps", seconds, "IQM of the return")
    for algo in comparison.algos:
        curves = comparison.curves(env, algo)
        if curves.empty:
            continue
        groups = curves.groupby("step")
        values = curve([[rows["return"].to_numpy(float)] for _, rows in groups])
        _band(figure.axes[0], np.array(list(groups.groups), float), values, algo)
        # Without the evaluation before training: a logarithmic axis has no zero.
        _band(figure.axes[1], groups[SECONDS].mean().to_numpy()[1:], values[:, 1:], algo)
    threshold = comparison.thresholds[env]
    for axes in figure.axes:
        if threshold is not None:
            axes.axhline(threshold, color="grey", linestyle=":", label="threshold")
        axes.axhline(comparison.random[env], color="grey", linestyle="--", label="random")
    _legend(figure)
    figure.suptitle(f"{env}, score 1 at {comparison.ranges[env].high:.4g}")
    return figure


def _score_curves(comparison: Comparison) -> Figure:
    """Draw the IQM of the scores on all environments, as shares of their budgets."""
    steps = max((comparison.steps(env) for env in comparison.common), key=len)
    shares = {STEPS: np.array(steps) / steps[-1], SECONDS: np.logspace(-1, 2, 16)}
    time = f"training time, in units of the whole training of {comparison.reference}"
    figure = _panels("share of the environment steps", time, SCORE)
    for axes, clock in zip(figure.axes, (STEPS, SECONDS), strict=True):
        views = [comparison.at(clock=clock, share=share) for share in shares[clock]]
        for algo in comparison.algos:
            values = curve([comparison.scores(view, algo) for view in views])
            _band(axes, shares[clock], values, algo)
    _legend(figure)
    return figure


def _aggregates(comparison: Comparison) -> Figure:
    """Draw each metric of all environments with its interval."""
    values, intervals = {}, {}
    for algo in comparison.algos:
        scores = comparison.scores(comparison.at(), algo)
        estimates = np.array([estimate(metric, *scores) for metric in METRICS.values()])
        values[algo], intervals[algo] = estimates[:, 0], estimates[:, 1:].T
    figure: Figure = plot_utils.plot_interval_estimates(
        values,
        intervals,
        list(METRICS),
        xlabel="normalised score",
        row_height=0.5,
        xlabel_y_coordinate=-1.3 / len(values),  # in heights of the figure
    )[0]
    return figure


def _improvement(comparison: Comparison) -> Figure:
    """Draw the probabilities that the reference is better than each other contender."""
    values, intervals = {}, {}
    ours = comparison.scores(comparison.at(), comparison.reference)
    for algo in comparison.algos[1:]:
        pair = f"{comparison.reference},{algo}"
        theirs = comparison.scores(comparison.at(), algo)
        values[pair], *intervals[pair] = estimate(improvement, *ours, *theirs)
    figure, axes = plt.subplots(figsize=(5, 1 + 0.6 * len(values)))
    plot_utils.plot_probability_of_improvement(values, intervals, ax=axes)
    axes.set_xlim(0, 1)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", dpi=100)
    plt.close(figure)
