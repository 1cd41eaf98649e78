"""Searches for defaults that work on different problems, and checks them.

    python examples/benchmarks/search_defaults.py check --seeds 10 --out defaults.csv
    python examples/benchmarks/search_defaults.py search --trials 40 --study search.log

``check`` trains the constructor's defaults on every problem, with 1 and with 8 environments, and
prints TDAC's scores and each other algorithm's. ``search`` draws settings with Optuna's TPE, the
defaults first. The value of a trial is its mean score over the problems; a trial that is behind the
others stops early. The same command again, also at the same time, goes on with the same study. With
``--problems Hopper-v5 Hopper-v5`` it searches settings for that problem alone, with two seeds, and
starts from ``--first '{"gamma": 0.99}'`` and the other defaults.
Scores: 0 is a random policy, 1 the threshold of ``sb3_tdac.zoo.compare.scores``; for a regulator
the score is the least cost over the policy's cost.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
import torch
from runs import SYSTEMS, evaluate, make_envs, train_missing
from scipy import stats
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from sb3_tdac import TDAC
from sb3_tdac.zoo.compare.scores import RANGES

ALGORITHMS: dict[str, Callable[..., BaseAlgorithm]] = {"TDAC": TDAC, "A2C": A2C, "PPO": PPO}
#: Environment steps of a training.
SUITE = {
    "Pendulum-v1": 100_000,
    "CartPole-v1": 100_000,
    "Acrobot-v1": 100_000,
    "MountainCarContinuous-v0": 100_000,
    "LunarLanderContinuous-v3": 300_000,
    "InvertedPendulum-v5": 100_000,
    "InvertedDoublePendulum-v5": 100_000,
    "Reacher-v5": 300_000,
    "double-integrator": 100_000,
    "coupled": 100_000,
}
LOCOMOTION = ["Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Swimmer-v5", "BipedalWalker-v3"]
TIMESTEPS = SUITE | dict.fromkeys(LOCOMOTION, 300_000)
#: Problems of ``search``: the quick ones, in the order of how well they separate settings.
SEARCHED = [
    *(("InvertedPendulum-v5", 8), ("Pendulum-v1", 1), ("coupled", 8), ("CartPole-v1", 8)),
    *(("Pendulum-v1", 8), ("double-integrator", 8), ("InvertedDoublePendulum-v5", 8)),
    *(("Acrobot-v1", 8), ("double-integrator", 1), ("InvertedPendulum-v5", 1)),
]
LQR_GAMMA = 0.96


class Run(NamedTuple):
    """One training of the check."""

    algorithm: str
    problem: str
    n_envs: int
    seed: int


def train(run: Run, timesteps: int | None = None, **settings: Any) -> dict[str, Any]:
    """One line of the table.

    :param run: what to train
    :param timesteps: environment steps; ``None``: as in ``TIMESTEPS``
    :param settings: arguments of the constructor
    :return: the return of 20 deterministic episodes, or the cost over the optimum's, and its score;
        both NaN if a number was not finite
    """
    start = time.process_time()
    env = make_envs(run.problem, run.n_envs, run.seed)
    value = score = float("nan")
    try:
        model = ALGORITHMS[run.algorithm]("MlpPolicy", env, seed=run.seed, device="cpu", **settings)
        model.learn(timesteps or TIMESTEPS[run.problem])
        value = evaluate(model, run.problem, LQR_GAMMA)
        if run.problem in SYSTEMS:
            score = 1 / value
        else:
            low, high, _ = RANGES[run.problem]
            score = (value - low) / (high - low)
    except ValueError:  # a number was not finite
        pass
    seconds = round(time.process_time() - start, 2)
    return run._asdict() | {"value": value, "score": score, "seconds": seconds}


def check(args: argparse.Namespace) -> None:
    """Train the runs that the CSV file does not have, and print the table of the runs asked for."""
    seeds = range(args.seed0, args.seed0 + args.seeds)
    wanted = [Run(*key) for key in product(args.algorithms, args.problems, args.n_envs, seeds)]
    runs = {tuple(run): run for run in sorted(wanted, key=lambda run: run.seed)}
    train_now = functools.partial(train, timesteps=args.timesteps)
    rows = train_missing(train_now, runs, Run._fields, args.out, args.workers)
    rows = rows.merge(pd.DataFrame(wanted))
    print(table(rows))
    for algorithm, group in rows.groupby("algorithm", sort=False):
        scores = group["score"].fillna(0.0).to_numpy()
        interval = ""
        if len(scores) > 1:
            bounds = stats.bootstrap(
                (scores,), iqm, rng=np.random.default_rng(0), method="percentile"
            ).confidence_interval
            interval = f" ({bounds.low:.3f} ... {bounds.high:.3f})"
        print(f"{algorithm}: IQM of the scores {iqm(scores):.3f}{interval}")


def iqm(scores: Any, axis: int | None = None) -> Any:
    """Interquartile mean."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def table(rows: pd.DataFrame) -> str:
    """Median, mean and worst seed of each problem, with the number of runs that diverged."""
    lines = []
    for key, group in rows.groupby(["problem", "n_envs", "algorithm"], sort=False):
        values = group["value"].dropna()
        worst = values.max() if key[0] in SYSTEMS else values.min()
        figures = [f"{x:.4g}" for x in (values.median(), values.mean(), worst)]
        lines.append([*key, len(group), len(group) - len(values), *figures])
    head = "problem environments algorithm seeds diverged median mean worst".split()
    return pd.DataFrame(lines, columns=head).to_markdown(index=False, disable_numparse=True)


#: The first trial.
DEFAULTS = dict(
    **dict(learning_rate=3e-3, critic_over_actor=4 / 3, actor_warmup=0.25, n_steps=4, gamma=0.96),
    **dict(ent_coef=0.01, max_grad_norm=0.2, scale_advantage=False, critic_steps=4),
    **dict(activation_fn="ReLU", std_low=0.2, std_high=0.7),
)


def draw(trial: optuna.Trial) -> dict[str, Any]:
    """Settings of one trial."""
    learning_rate = trial.suggest_float("learning_rate", 3e-4, 5e-3, log=True)
    ratio = trial.suggest_float("critic_over_actor", 0.7, 5.0, log=True)
    return dict(
        learning_rate=f"lin_{learning_rate}",
        critic_learning_rate=f"lin_{learning_rate * ratio}",
        actor_warmup=trial.suggest_categorical("actor_warmup", [0.05, 0.1, 0.25]),
        n_steps=trial.suggest_categorical("n_steps", [4, 8, 16, 32, 64]),
        gamma=trial.suggest_categorical("gamma", [0.96, 0.97, 0.98, 0.985, 0.99, 0.995]),
        ent_coef=f"lin_{trial.suggest_float('ent_coef', 1e-3, 0.3, log=True)}",
        max_grad_norm=trial.suggest_float("max_grad_norm", 0.04, 0.5, log=True),
        scale_advantage=trial.suggest_categorical("scale_advantage", [True, False]),
        critic_steps=trial.suggest_categorical("critic_steps", [1, 2, 4]),
        policy_kwargs=dict(
            activation_fn=getattr(nn, trial.suggest_categorical("activation_fn", ["Tanh", "ReLU"])),
            std_bounds=(
                trial.suggest_categorical("std_low", [0.05, 0.1, 0.2, 0.3]),
                trial.suggest_categorical("std_high", [0.5, 0.6, 0.7, 0.8, 1.0]),
            ),
        ),
    )


def objective(
    trial: optuna.Trial, problems: list[tuple[str, int]], timesteps: int | None = None
) -> float:
    """Mean score over the problems, each at most 1; seeds follow from the number of the trial."""
    settings, scores = draw(trial), []
    for step, (problem, n_envs) in enumerate(problems):
        run = Run("TDAC", problem, n_envs, 1000 * trial.number + step)
        rows = settings["n_steps"] * 8  # as many with one environment
        result = train(run, timesteps, **settings | dict(n_steps=rows // n_envs))
        trial.set_user_attr(f"{step}: {problem}, {n_envs}", result["value"])
        scores.append(np.nan_to_num(np.clip(result["score"], 0.0, 1.0)))
        trial.report(float(np.mean(scores)), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return float(np.mean(scores))


def search(args: argparse.Namespace) -> None:
    """Add trials to the study, and print its five best."""
    torch.set_num_threads(1)
    journal = optuna.storages.journal.JournalFileBackend(args.study)
    study = optuna.create_study(
        study_name="defaults",
        storage=optuna.storages.JournalStorage(journal),
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(
            multivariate=True, constant_liar=True, seed=args.sampler_seed
        ),
        pruner=optuna.pruners.PercentilePruner(40.0, n_startup_trials=12, n_warmup_steps=2),
    )
    study.enqueue_trial(DEFAULTS | args.first, skip_if_exists=True)
    problems = [(problem, 8) for problem in args.problems] or SEARCHED
    objective_now = functools.partial(objective, problems=problems, timesteps=args.timesteps)
    study.optimize(objective_now, n_trials=args.trials)
    finished = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    for trial in sorted(finished, key=lambda trial: trial.value or 0.0, reverse=True)[:5]:
        print(f"{trial.value:.3f} {json.dumps(trial.params)}\n      {trial.user_attrs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    checking = commands.add_parser("check", help="train the defaults on the whole suite")
    checking.add_argument("--seeds", type=int, default=10)
    checking.add_argument("--seed0", type=int, default=0, help="first seed")
    checking.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=["TDAC"])
    checking.add_argument("--problems", nargs="+", choices=SUITE, default=list(SUITE))
    checking.add_argument("--n-envs", nargs="+", type=int, default=[1, 8])
    checking.add_argument("--workers", type=int, default=1, help="processes")
    checking.add_argument("--out", type=Path, default=Path("defaults.csv"), metavar="FILE")
    checking.set_defaults(command=check)
    searching = commands.add_parser("search", help="look for better defaults")
    searching.add_argument("--trials", type=int, default=40)
    searching.add_argument(
        "--problems",
        nargs="+",
        choices=TIMESTEPS,
        default=[],
        metavar="PROBLEM",
        help="with 8 environments; a problem named twice gets two seeds; default: ten quick ones",
    )
    searching.add_argument("--study", default="search.log", metavar="FILE", help="Optuna's journal")
    searching.add_argument("--sampler-seed", type=int, default=0)
    searching.add_argument(
        "--first",
        type=json.loads,
        default={},
        metavar="JSON",
        help='settings of the first trial that differ from the defaults, as {"gamma": 0.99}',
    )
    searching.set_defaults(command=search)
    for command in (checking, searching):
        command.add_argument("--timesteps", type=int, help="default: the suite's")
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
