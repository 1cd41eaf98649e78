"""Trains and evaluates on the problems of the benchmarks; finished runs are lines of a CSV file.

A problem is an id of gymnasium or a system of ``lqr.py``.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from sb3_tdac.vec_envs import LeanDummyVecEnv

sys.path.append(str(Path(__file__).parents[1]))

from compare_with_a2c import mean_with_interval as mean_with_interval
from lqr import SYSTEMS, LQREnv, cost_ratio

Run = TypeVar("Run")
EVAL_SEED = 10_000


def make_envs(problem: str, n_envs: int, seed: int, **kwargs: Any) -> VecEnv:
    """Environments of a problem without rendering, which makes LunarLander many times slower.

    :param problem: id or system
    :param n_envs: number of environments
    :param seed: of the first environment
    :param kwargs: further arguments of ``make_vec_env``
    """
    env, env_kwargs = problem, {"render_mode": None}
    if problem in SYSTEMS:
        env, env_kwargs = partial(LQREnv, **SYSTEMS[problem]), {}
    return make_vec_env(
        env, n_envs, seed=seed, env_kwargs=env_kwargs, vec_env_cls=LeanDummyVecEnv, **kwargs
    )


def evaluate(model: BaseAlgorithm, problem: str, gamma: float) -> float:
    """Mean return of 20 deterministic episodes; for a regulator the cost over the least cost.

    :param model: trained
    :param problem: id or system
    :param gamma: discount factor of the costs
    """
    if problem in SYSTEMS:
        return cost_ratio(model, LQREnv(**SYSTEMS[problem]), gamma)
    return float(evaluate_policy(model, make_envs(problem, 20, EVAL_SEED), n_eval_episodes=20)[0])


def train_missing(
    train: Callable[[Run], Mapping[str, Any]],
    runs: Mapping[tuple[Any, ...], Run],
    key: Sequence[str],
    file: Path,
    workers: int,
) -> pd.DataFrame:
    """Do the runs that a CSV file does not have, in new processes, and append each when it ends.

    :param train: returns the line of a run
    :param runs: by the values of their key
    :param key: columns that identify a line
    :param file: is made if it does not exist
    :param workers: number of processes
    :return: all lines of the file
    """
    done = set()
    if file.is_file():
        done = set(pd.read_csv(file)[[*key]].itertuples(index=False, name=None))
    missing = [run for values, run in runs.items() if values not in done]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are in {file}", flush=True)
    one_thread: dict[str, Any] = dict(initializer=torch.set_num_threads, initargs=(1,))
    with ProcessPoolExecutor(workers, get_context("spawn"), **one_thread) as pool:
        try:
            started = [pool.submit(train, run) for run in missing]
            for finished in tqdm(as_completed(started), total=len(started), unit="run"):
                line = pd.DataFrame([finished.result()])
                line.to_csv(file, mode="a", header=not file.is_file(), index=False)
        finally:
            pool.shutdown(cancel_futures=True)
    return pd.read_csv(file)
