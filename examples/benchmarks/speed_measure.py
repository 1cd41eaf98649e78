"""Measures CPU time and memory of the contenders."""

import gc
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import psutil
import torch
from speed_contenders import EQUAL_WORK, Contender, Setting, bound, make_env
from tqdm import tqdm

#: All speeds are ratios to the reference. The bound spends no time on learning.
REFERENCE, BOUND = "A2C", "bound"
IN_MEMORY = EQUAL_WORK | {"environments only": bound}


def cpu_seconds(contender: Contender, steps: int) -> float:
    """CPU time of a number of vectorised steps, of all threads of this process."""
    start = time.process_time()
    contender.run(steps)
    return time.process_time() - start


def warm_up(contender: Contender, seconds: float) -> int:
    """Run a contender until its speed is stable, and find how many steps it does in a given time.

    :param contender: what to run
    :param seconds: CPU time of a turn
    :return: vectorised steps of a turn, whole rollouts
    """
    rollouts = 1
    while (spent := cpu_seconds(contender, rollouts * contender.rollout)) < seconds / 2:
        rollouts *= 2
    return max(1, round(rollouts * seconds / spent)) * contender.rollout


def measure(contenders: dict[str, Contender], rounds: int, seconds: float) -> pd.DataFrame:
    """Run all contenders in turns; each round starts with another contender.

    A busy machine slows down all contenders of a round, so their ratios stay the same.

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
        quartiles ``speed_q25`` and ``speed_q75``) and ``share`` (the bound's time over the
        contender's; NaN where the bound did not run)
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


def added_bytes(name: str, setting: Setting, steps: int) -> int:
    """Resident memory that a contender adds after all imports and its environments.

    :param name: contender
    :param setting: environments and sizes
    :param steps: vectorised steps
    """
    torch.set_num_threads(1)
    make_env(setting).reset()
    # The first step of the first optimizer imports torch's compiler, some 90 MB
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.sum().backward()
    for optimizer in (torch.optim.Adam([parameter], fused=True), torch.optim.RMSprop([parameter])):
        optimizer.step()
    gc.collect()
    before = psutil.Process().memory_info().rss
    contender = IN_MEMORY[name](setting)
    contender.run(steps)
    return psutil.Process().memory_info().rss - before


def measure_memory(setting: Setting, steps: int, processes: int) -> pd.DataFrame:
    """Median, minimum and maximum in MB over several new processes for each contender."""
    rows = []
    for name in tqdm([*IN_MEMORY] * processes, unit="process"):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            added = process.submit(added_bytes, name, setting, steps).result()
        rows.append({"contender": name, "MB": added / 1e6})
    by_contender = pd.DataFrame(rows).groupby("contender", sort=False)["MB"]
    return by_contender.agg(["median", "min", "max"]).round(2)
