"""The pictures of a comparison, which are rliable's."""

from pathlib import Path

import numpy as np
from huggingface_sb3 import EnvironmentName
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from rliable import plot_utils

from sb3_tdac.zoo.comparison import Comparison
from sb3_tdac.zoo.statistics import METRICS, curve, estimate, improvement, iqm

SCORE = "IQM of the normalised score"
AGGREGATES, CURVES = "aggregates.png", "sample_efficiency.png"
IMPROVEMENT = "probability_of_improvement.png"


def curve_file(env: str) -> str:
    """The name of an environment's picture.

    >>> curve_file("ALE/Pong-v5")
    'curve_ALE-Pong-v5.png'
    """
    return f"curve_{EnvironmentName(env)}.png"


def draw(comparison: Comparison, folder: Path) -> None:
    """Draw learning curves, aggregates, and probabilities of improvement.

    :param comparison: comparison
    :param folder: where to write
    """
    ranges = comparison.ranges  # which imports rl_zoo3's plots, and they change the style
    backend = plt.get_backend()
    plt.switch_backend("Agg")
    try:
        with plt.style.context("default"):
            for env, span in ranges.items():
                figure = _curves(comparison, env)
                axes = figure.axes[0]
                threshold = comparison.thresholds[env]
                if threshold is not None:
                    axes.axhline(threshold, color="grey", linestyle=":", label="threshold")
                axes.axhline(comparison.random[env], color="grey", linestyle="--", label="random")
                axes.legend()
                axes.set_title(f"{env}, score 1 at {span.high:.4g}")
                _save(figure, folder / curve_file(env))
            figure = _curves(comparison)
            figure.axes[0].legend()
            _save(figure, folder / CURVES)
            _save(_aggregates(comparison), folder / AGGREGATES)
            if len(comparison.algos) > 1:
                _save(_improvement(comparison), folder / IMPROVEMENT)
    finally:
        plt.switch_backend(backend)


def _curves(comparison: Comparison, env: str | None = None) -> Figure:
    """IQM against steps, of the return on one environment or of the scores on all."""
    values, intervals = {}, {}
    for algo in comparison.algos:
        if env is None:
            scores = [comparison.scores(algo, step=step) for step in comparison.steps]
        else:
            scores = [comparison.column(env, algo, step=step) for step in comparison.steps]
        values[algo], intervals[algo] = curve(scores, iqm)
    figure, axes = plt.subplots(figsize=(7, 5))
    plot_utils.plot_sample_efficiency_curve(
        np.array(comparison.steps),
        values,
        intervals,
        comparison.algos,
        ax=axes,
        xlabel="environment steps",
        ylabel=SCORE if env is None else "IQM of the return",
        labelsize="large",
        ticklabelsize="large",
    )
    return figure


def _aggregates(comparison: Comparison) -> Figure:
    values, intervals = {}, {}
    for algo in comparison.algos:
        scores = comparison.scores(algo)
        estimates = np.array([estimate(metric, scores) for metric in METRICS.values()])
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
    values, intervals = {}, {}
    ours = comparison.scores(comparison.reference)
    for algo in comparison.algos:
        if algo != comparison.reference:
            pair = f"{comparison.reference},{algo}"
            values[pair], *intervals[pair] = estimate(improvement, ours, comparison.scores(algo))
    figure, axes = plt.subplots(figsize=(5, 1 + 0.6 * len(values)))
    plot_utils.plot_probability_of_improvement(values, intervals, ax=axes)
    axes.set_xlim(0, 1)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", dpi=100)
    plt.close(figure)
