"""How the benchmarks measure: CPU time, contenders interleaved, medians of ratios."""

import time

import numpy as np
import pandas as pd
from benchmark_contenders import Contender

#: The contender that all are compared with, and the one that spends no time on learning.
REFERENCE, BOUND = "A2C", "bound"


def cpu_seconds(contender: Contender, steps: int) -> float:
    """CPU time of a number of vectorised steps, of all threads of this process."""
    start = time.process_time()
    contender.run(steps)
    return time.process_time() - start


def warm_up(contender: Contender, seconds: float) -> int:
    """Run a contender until it is as fast as it gets, and find how much it does in a given time.

    :param contender: what to run
    :param seconds: CPU time of a turn
    :return: vectorised steps of a turn, whole rollouts
    """
    rollouts = 1
    while (spent := cpu_seconds(contender, rollouts * contender.rollout)) < seconds / 2:
        rollouts *= 2
    return max(1, round(rollouts * seconds / spent)) * contender.rollout


def measure(contenders: dict[str, Contender], rounds: int, seconds: float) -> pd.DataFrame:
    """Let all contenders take turns, each round starting with another one.

    A busy machine slows down all contenders of a round, and so leaves their ratios as they are.

    :param contenders: what to run
    :param rounds: turns of each contender
    :param seconds: CPU time of a turn
    :return: columns contender, round, and us: microseconds of a vectorised step
    """
    turns = {name: warm_up(contender, seconds) for name, contender in contenders.items()}
    names = list(contenders)
    rows = []
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            spent = cpu_seconds(contenders[name], turns[name])
            rows.append({"contender": name, "round": number, "us": 1e6 * spent / turns[name]})
    return pd.DataFrame(rows)


def summarize(times: pd.DataFrame) -> pd.DataFrame:
    """Medians over rounds, one row for each contender.

    :param times: what ``measure`` returned
    :return: ``us``, ``speed`` (A2C's time over the contender's in the same round, with its
        quartiles ``speed_q25`` and ``speed_q75``) and ``share`` (the bound's time over it; NaN
        where the bound did not run)
    """
    by_round = times.pivot(index="round", columns="contender", values="us")
    by_round = by_round[list(dict.fromkeys(times.contender))]
    speed = by_round.rdiv(by_round[REFERENCE], axis="index")
    bound = by_round.get(BOUND, pd.Series(np.nan, by_round.index))
    columns = {
        "us": by_round.median(),
        "speed": speed.median(),
        "speed_q25": speed.quantile(0.25),
        "speed_q75": speed.quantile(0.75),
        "share": by_round.rdiv(bound, axis="index").median(),
    }
    return pd.DataFrame(columns).reset_index()
