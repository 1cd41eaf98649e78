"""The Markdown tables of a comparison."""

import math
from collections.abc import Sequence

import pandas as pd

from sb3_tdac.zoo.compare.comparison import SECONDS, STEPS, TABLE, Comparison
from sb3_tdac.zoo.compare.pictures import AGGREGATES, CURVES, IMPROVEMENT, curve_file
from sb3_tdac.zoo.compare.runs import DETERMINISTIC, EVAL_SEED, STOCHASTIC
from sb3_tdac.zoo.compare.scores import RANDOM_EPISODES
from sb3_tdac.zoo.compare.statistics import (
    METRICS,
    RESAMPLES,
    Estimate,
    Floats,
    above,
    estimate,
    improvement,
    iqm,
    mean,
    reached,
)

MODES = (DETERMINISTIC, STOCHASTIC)
TITLES = {STEPS: "At equal steps", SECONDS: "At equal training time"}
#: Unit of a budget, and its digits after the point.
UNITS = {STEPS: ("steps", 0), SECONDS: ("seconds", 1)}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a Markdown table.

    >>> print(table(["a", "b"], [[1, "x"]]))
    | a | b |
    |-----|-----|
    | 1 | x |
    """
    cells = pd.DataFrame(rows, columns=head, dtype=str)
    return str(cells.to_markdown(index=False, disable_numparse=True, stralign=None))


def show(found: Estimate, digits: int = 3) -> str:
    """Write an estimate with its interval.

    >>> show(Estimate(0.5, 0.25, 1.0)), show(Estimate(0.5, math.nan, math.nan), 1)
    ('0.500 (0.250 … 1.000)', '0.5')
    """
    text = number(found.value, digits)
    if math.isnan(found.low):
        return text
    return f"{text} ({number(found.low, digits)} … {number(found.high, digits)})"


def number(value: float, digits: int) -> str:
    """Write a number; a dash stands for one that does not exist."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def spread(values: Floats) -> str:
    """Write a mean and a standard deviation."""
    return f"{values.mean():.2f} ± {values.std():.2f}"


def markdown(comparison: Comparison) -> str:
    """Write settings, overall statistics, results, ranges and configurations as Markdown."""
    parts = [f"# {', '.join(comparison.algos)} on {', '.join(comparison.envs)}"]
    parts += [f"`{command}`" for command in comparison.commands]
    parts += [_settings(comparison)]
    for clock, title in TITLES.items():
        parts += [f"## {title}", _note(comparison, clock), _mean_returns(comparison, clock)]
        if comparison.common:
            parts += [_aggregates(comparison, clock)]
            if len(comparison.algos) > 1:
                parts += [_improvement(comparison, clock)]
    if comparison.common:
        parts += [f"![aggregates]({AGGREGATES})", f"![sample efficiency]({CURVES})"]
        if len(comparison.algos) > 1:
            parts += [f"![probability of improvement]({IMPROVEMENT})"]
    for env in comparison.envs:
        parts += [f"## {env}", _environment_table(comparison, env), f"![{env}]({curve_file(env)})"]
    parts += ["## Normalisation", _ranges(comparison)]
    if comparison.settings:
        parts += ["## Configurations", _entries(comparison)]
    return "\n\n".join(parts) + "\n"


def _settings(comparison: Comparison) -> str:
    episodes = comparison.evaluations.episode.max() + 1
    lines = [
        "Every algorithm is evaluated after the same steps (0 is before training), each time in "
        f"the same {episodes} episodes (seeds {EVAL_SEED} to {EVAL_SEED + episodes - 1}), with "
        "deterministic and with sampled (*stochastic*) actions; the last time is after training, "
        "which ends with a whole rollout, maybe beyond the last step (*steps trained*).",
        f"Intervals: 95 %, percentiles of {RESAMPLES} stratified bootstrap resamples over seeds. "
        "Seconds are CPU time of training without evaluations, of one process with one thread.",
    ]
    lines += [f"Machine: {machine}." for machine in comparison.machines]
    for versions in comparison.versions:
        lines += ["Versions: " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."]
    return "\n".join(f"- {line}" for line in lines)


def _note(comparison: Comparison, clock: str) -> str:
    """Say what is equal, and which environments the statistics leave out."""
    ours = comparison.reference
    text = "After the steps of each environment, deterministic: mean ± std (seeds)."
    if clock == SECONDS:
        text = (
            f"Time of an environment: what the median seed of {ours} needed for all steps. {ours} "
            "counts with its last evaluation, others with their last one before that time, "
            "deterministic: mean ± std (mean steps of that evaluation)."
        )
    for env in comparison.envs:
        lacking = [algo for algo in comparison.algos if not comparison.n_seeds(env, algo)]
        if lacking:
            text += f" {env} is not in the aggregates: no run of {', '.join(lacking)} finished."
    return text


def _mean_returns(comparison: Comparison, clock: str) -> str:
    """Write the mean returns of all contenders, one row for each environment."""
    rows, unit, digits = comparison.at(clock=clock), *UNITS[clock]
    lines = []
    for env in comparison.envs:
        cells = [env, number(comparison.budgets[clock].get(env, math.nan), digits)]
        for algo in comparison.algos:
            steps = rows[(rows.env == env) & (rows.algo == algo)].step
            count = len(steps) if clock == STEPS else number(steps.mean(), 0)
            values = comparison.column(rows, env, algo)
            cells += [f"{spread(values)} ({count})" if len(values) else "-"]
        lines.append(cells)
    return table(["environment", unit, *comparison.algos], lines)


def _environment_table(comparison: Comparison, env: str) -> str:
    """Write the results on one environment, one row for each contender."""
    threshold = comparison.thresholds[env]
    goal = "-" if threshold is None else f"{threshold:g}"
    head = ["algorithm", "seeds", "deterministic: mean ± std", "IQM", "stochastic: mean ± std"]
    head += ["IQM", f"reached {goal}", "steps to it", "seconds to it", "seconds", "steps trained"]
    rows = [_result(comparison, env, algo) for algo in comparison.algos]
    padded = [[*row, *["-"] * (len(head) - len(row))] for row in rows]
    notes = (
        f"After {comparison.steps(env)[-1]} steps. Std over seeds. Steps and seconds to the "
        "threshold are medians over all seeds, - where half of them or more never reach it."
    )
    return table(head, padded) + f"\n\n{notes}"


def _result(comparison: Comparison, env: str, algo: str) -> list[object]:
    """Write the row of one contender; it has two cells if no run finished."""
    n_seeds = comparison.n_seeds(env, algo)
    asked = len(comparison.asked(env, algo)) or n_seeds
    cells: list[object] = [algo, n_seeds if asked == n_seeds else f"{n_seeds} of {asked}"]
    if not n_seeds:
        return cells
    for mode in MODES:
        values = comparison.column(comparison.at(mode), env, algo)
        cells += [spread(values), show(estimate(iqm, values), 2)]
    curves, threshold = comparison.curves(env, algo), comparison.thresholds[env]
    if threshold is None:
        cells += ["-"] * 3
    else:
        found = reached(curves, threshold)
        cells += [f"{found.runs} of {n_seeds}"]
        cells += [number(found.steps, 0), number(found.seconds, 1)]
    last = curves[curves.step == curves.step.max()]
    return [*cells, number(last.cpu_seconds.mean(), 1), number(last.timesteps.mean(), 0)]


def _aggregates(comparison: Comparison, clock: str) -> str:
    rows = []
    for mode in MODES:
        for algo in comparison.algos:
            scores = comparison.scores(comparison.at(mode, clock), algo)
            estimates = [show(estimate(metric, *scores)) for metric in METRICS.values()]
            rows.append([algo, mode, sum(map(len, scores)), *estimates])
    return (
        table(["algorithm", "actions", "runs", *METRICS], rows)
        + f"\n\nNormalised scores on {len(comparison.common)} of {len(comparison.envs)} "
        "environments, with equal weight."
    )


def _improvement(comparison: Comparison, clock: str) -> str:
    ours, rows = comparison.reference, []
    views = [comparison.at(mode, clock) for mode in MODES]
    for algo in comparison.algos[1:]:
        pairs = [(comparison.scores(view, ours), comparison.scores(view, algo)) for view in views]
        cells = [show(estimate(improvement, *ours_, *theirs)) for ours_, theirs in pairs]
        cells += [above(metric, *pair) for pair in pairs for metric in (mean, iqm)]
        rows.append([f"{ours} over {algo}", *cells])
    head = [f"probability of improvement, {mode}" for mode in MODES]
    head += [f"{name} above, {mode}" for mode in MODES for name in ("mean", "IQM")]
    return (
        table(["", *head], rows)
        + "\n\nThe probability that a run of the first ends above a run of the second, averaged "
        "over environments, and the number of environments where its mean or IQM is above."
    )


def _ranges(comparison: Comparison) -> str:
    rows = []
    for env, found in comparison.ranges.items():
        returns = (comparison.random[env], found.low, found.high)
        rows.append([env, *(number(value, 2) for value in returns), found.origin])
    return (
        table(["environment", "random policy", "score 0", "score 1", "origin of score 1"], rows)
        + f"\n\nRandom policy: mean return of {RANDOM_EPISODES} episodes "
        f"(`python -m sb3_tdac.zoo.compare.scores`). All evaluations: `{TABLE}`."
    )


def _entries(comparison: Comparison) -> str:
    known = [
        (env, algo, comparison.settings[env][algo])
        for env in comparison.envs
        for algo in comparison.algos
        if algo in comparison.settings.get(env, {})
    ]
    head = ["environment", "algorithm", "from", "rl_zoo3's entry; the rest is the constructor's"]
    return table(head, [[env, algo, it["origin"], f"`{it['entry']}`"] for env, algo, it in known])
