"""The Markdown table of a comparison."""

import math
from collections.abc import Sequence

from sb3_tdac.zoo.comparison import RANDOM_EPISODES, TABLE, Comparison
from sb3_tdac.zoo.evaluation import EVAL_SEED
from sb3_tdac.zoo.pictures import AGGREGATES, CURVES, IMPROVEMENT, curve_file
from sb3_tdac.zoo.runs import DETERMINISTIC, STOCHASTIC
from sb3_tdac.zoo.statistics import (
    METRICS,
    RESAMPLES,
    Estimate,
    estimate,
    improvement,
    iqm,
    reached,
)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown.

    >>> print(table(["a", "b"], [[1, "x"]]))
    | a | b |
    |---|---|
    | 1 | x |
    """
    lines = [head, *rows]
    texts = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
    return "\n".join([texts[0], "|" + "---|" * len(head), *texts[1:]])


def show(found: Estimate, digits: int = 3) -> str:
    """An estimate with its interval.

    >>> show(Estimate(0.5, 0.25, 1.0)), show(Estimate(0.5, math.nan, math.nan), 1)
    ('0.500 (0.250 … 1.000)', '0.5')
    """
    if math.isnan(found.low):
        return f"{found.value:.{digits}f}"
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} … {found.high:.{digits}f})"


def markdown(comparison: Comparison) -> str:
    """Settings, results of each environment, statistics of all, and normalisation ranges.

    :param comparison: comparison
    :return: text
    """
    parts = [f"# {', '.join(comparison.algos)} on {', '.join(comparison.envs)}"]
    parts += [f"`{comparison.command}`", _settings(comparison)]
    for env in comparison.envs:
        parts += [f"## {env}", _results(comparison, env), f"![{env}]({curve_file(env)})"]
    parts += ["## All environments", _aggregates(comparison)]
    parts += [f"![aggregates]({AGGREGATES})", f"![sample efficiency]({CURVES})"]
    if len(comparison.algos) > 1:
        parts += ["## Probability of improvement", _improvement(comparison)]
        parts += [f"![probability of improvement]({IMPROVEMENT})"]
    parts += ["## Normalisation", _ranges(comparison), "## Configurations", _entries(comparison)]
    return "\n\n".join(parts) + "\n"


def _settings(comparison: Comparison) -> str:
    steps, evaluations = comparison.steps, comparison.evaluations
    episodes = evaluations.episode.max() + 1
    counts = evaluations.groupby(["env", "algo"]).seed.nunique()
    seeds = (
        f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    )
    lines = [
        f"{seeds} seeds of each algorithm and environment, {steps[-1]} steps each.",
        f"Every algorithm is evaluated after the steps {', '.join(map(str, steps))}, each time in "
        f"the same {episodes} episodes (seeds {EVAL_SEED} to {EVAL_SEED + episodes - 1}); the last "
        "time is after training, which a last rollout may take beyond the last step (column "
        "*steps trained*).",
        f"Intervals: 95 %, percentiles of {RESAMPLES} stratified bootstrap resamples over seeds. "
        "Seconds are those of training without evaluations, of one thread beside the other "
        "processes.",
        f"Machine: {comparison.machine}.",
    ]
    for versions in comparison.versions:
        lines += ["Versions: " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."]
    return "\n".join(f"- {line}" for line in lines)


def _results(comparison: Comparison, env: str) -> str:
    threshold = comparison.thresholds[env]
    goal = "-" if threshold is None else f"{threshold:g}"
    head = ["algorithm", "seeds", "deterministic: mean ± std", "IQM", "stochastic: mean ± std"]
    head += ["IQM", f"reached {goal}", "steps to it", "seconds to it", "seconds", "steps trained"]
    rows = []
    for algo in comparison.algos:
        cells: list[object] = [algo, len(comparison.column(env, algo))]
        for mode in (DETERMINISTIC, STOCHASTIC):
            values = comparison.column(env, algo, mode)
            cells += [f"{values.mean():.2f} ± {values.std():.2f}", show(estimate(iqm, values), 2)]
        curves = comparison.curves(env, algo)
        last = curves[curves.step == comparison.steps[-1]]
        if threshold is None:
            cells += ["-"] * 3
        else:
            found = reached(curves, threshold)
            cells += [f"{found.runs} of {len(last)}"]
            cells += [
                f"{x:.{digits}f}" if math.isfinite(x) else "-"
                for x, digits in zip(found[1:], (0, 1), strict=True)
            ]
        cells += [f"{last.seconds.mean():.1f}", f"{last.timesteps.mean():.0f}"]
        rows.append(cells)
    notes = (
        "Std over seeds. Steps and seconds to the threshold are medians over all seeds, - where "
    )
    return table(head, rows) + f"\n\n{notes}half of them or more never reach it."


def _aggregates(comparison: Comparison) -> str:
    rows = []
    for mode in (DETERMINISTIC, STOCHASTIC):
        for algo in comparison.algos:
            scores = comparison.scores(algo, mode)
            estimates = [show(estimate(metric, scores)) for metric in METRICS.values()]
            rows.append([algo, mode, len(scores), *estimates])
    return (
        table(["algorithm", "actions", "seeds", *METRICS], rows)
        + "\n\nNormalised scores after training, of the seeds that finished on every environment."
    )


def _improvement(comparison: Comparison) -> str:
    ours = comparison.reference
    rows = [
        [
            f"{ours} over {algo}",
            *(
                show(
                    estimate(
                        improvement, comparison.scores(ours, mode), comparison.scores(algo, mode)
                    )
                )
                for mode in (DETERMINISTIC, STOCHASTIC)
            ),
        ]
        for algo in comparison.algos
        if algo != ours
    ]
    return (
        table(["probability of improvement", DETERMINISTIC, STOCHASTIC], rows)
        + "\n\nThat a run of the one ends above a run of the other, averaged over environments."
    )


def _ranges(comparison: Comparison) -> str:
    rows = [
        [
            env,
            f"{comparison.random[env]:.2f}",
            f"{found.low:.2f}",
            f"{found.high:.2f}",
            found.origin,
        ]
        for env, found in comparison.ranges.items()
    ]
    return (
        table(["environment", "random policy", "score 0", "score 1", "origin"], rows)
        + f"\n\nThe random policy's is the mean return of {RANDOM_EPISODES} episodes; best and "
        f"worst are means of one deterministic evaluation at any step. All evaluations: `{TABLE}`."
    )


def _entries(comparison: Comparison) -> str:
    rows = [
        [env, algo, f"`{settings['entry']}`"]
        for env, found in comparison.settings.items()
        for algo, settings in found.items()
    ]
    return table(
        ["environment", "algorithm", "rl_zoo3's entry; the rest is the constructor's default"], rows
    )
