"""What a comparison found: all evaluations, and the folder that they are written to."""

import dataclasses
import functools
import importlib
import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import pandas as pd

from sb3_tdac.zoo.evaluation import EVAL_SEED
from sb3_tdac.zoo.runs import DETERMINISTIC, Run
from sb3_tdac.zoo.statistics import Floats, Range, matrix, normalisation, returns_of

RECORD, TABLE = "comparison.json", "evaluations.csv.gz"
COLUMNS = ["env", "algo", "seed", "mode", "step", "timesteps", "seconds", "episode", "return"]
RANDOM_EPISODES = 20


def random_return(env_id: str) -> float:
    """Mean return of a policy that draws actions uniformly.

    :param env_id: environment
    :return: mean of ``RANDOM_EPISODES`` episodes
    """
    env = gym.make(env_id)
    env.action_space.seed(EVAL_SEED)
    total = 0.0
    for episode in range(RANDOM_EPISODES):
        env.reset(seed=EVAL_SEED + episode)
        over = False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total += float(reward)
            over = terminated or truncated
    env.close()
    return total / RANDOM_EPISODES


def thresholds(words: list[str], envs: list[str]) -> dict[str, float]:
    """The returns to reach that the user names.

    :param words: a number, or ``ENV=NUMBER`` for each environment
    :param envs: environments
    :return: return to reach of the environments that were named
    :raises ValueError: if a word is no number, or it is not said of which environment
    """
    found = {}
    for word in words:
        env, _, number = word.rpartition("=")
        if not env and len(envs) == 1:
            (env,) = envs
        if env not in envs:
            raise ValueError(f"--threshold {word}: say ENV=NUMBER with ENV from {', '.join(envs)}")
        try:
            found[env] = float(number)
        except ValueError:
            raise ValueError(f"--threshold {word}: {number!r} is no number") from None
    return found


@dataclass
class Comparison:
    """All evaluations, and what they depend on.

    :param command: that made it
    :param algos: algorithms
    :param thresholds: of each environment, the return to reach
    :param random: of each environment, the mean return of a random policy
    :param settings: of each environment and algorithm
    :param versions: of the packages; several, if runs were made with different ones
    :param evaluations: one row for each episode
    """

    command: str
    algos: list[str]
    thresholds: dict[str, float | None]
    random: dict[str, float]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: list[dict[str, str]] = field(default_factory=list)
    machine: str = f"{platform.platform()}, {os.cpu_count()} CPUs"
    evaluations: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))

    @property
    def envs(self) -> list[str]:
        """Environments."""
        return list(self.thresholds)

    @property
    def reference(self) -> str:
        """The algorithm that the others are compared with."""
        return "tdac" if "tdac" in self.algos else self.algos[0]

    def add(self, runs: list[Run]) -> None:
        """Take what finished runs found.

        :param runs: runs
        """
        rows = []
        for run in runs:
            self.settings.setdefault(run.env, {})[run.algo] = run.settings
            if run.used_versions() not in self.versions:
                self.versions.append(run.used_versions())
            for evaluation in run.evaluations():
                known = {"env": run.env, "algo": run.algo, "seed": run.seed, **evaluation}
                returns = known.pop("returns")
                rows += [{**known, "episode": i, "return": r} for i, r in enumerate(returns)]
        self.evaluations = pd.DataFrame(rows, columns=COLUMNS)

    @property
    def steps(self) -> list[int]:
        """Steps of the schedule; the last evaluation was after training."""
        return sorted(int(step) for step in self.evaluations.step.unique())

    def scores(self, algo: str, mode: str = DETERMINISTIC, step: int | None = None) -> Floats:
        """Normalised returns of an algorithm.

        :param algo: algorithm
        :param mode: of the actions
        :param step: of the schedule; ``None``: the last one
        :return: scores (runs, environments) of the seeds that finished on every environment
        """
        step = self.steps[-1] if step is None else step
        return matrix(self.returns, algo, self.ranges, mode, step)

    def column(
        self, env: str, algo: str, mode: str = DETERMINISTIC, step: int | None = None
    ) -> Floats:
        """Returns of an algorithm on one environment.

        :param env: environment
        :param algo: algorithm
        :param mode: of the actions
        :param step: of the schedule; ``None``: the last one
        :return: returns (runs, 1) of all seeds
        """
        step = self.steps[-1] if step is None else step
        return matrix(self.returns, algo, {env: Range(0.0, 1.0, "")}, mode, step)

    def curves(self, env: str, algo: str) -> pd.DataFrame:
        """Deterministic evaluations of an algorithm on one environment.

        :param env: environment
        :param algo: algorithm
        :return: one row for each
        """
        found = self.returns
        chosen = (found.env == env) & (found.algo == algo) & (found["mode"] == DETERMINISTIC)
        return found[chosen]

    def lacking(self) -> list[str]:
        """Algorithms without a seed that finished on every environment."""
        runs = self.evaluations[["env", "algo", "seed"]].drop_duplicates()
        counts = runs.groupby(["algo", "seed"]).size()
        complete = {algo for (algo, _), n_envs in counts.items() if n_envs == len(self.envs)}
        return [algo for algo in self.algos if algo not in complete]

    @functools.cached_property
    def returns(self) -> pd.DataFrame:
        """One row for each evaluation."""
        return returns_of(self.evaluations)

    @functools.cached_property
    def ranges(self) -> dict[str, Range]:
        """How the returns of each environment are normalised."""
        # Its package imports all of rl_zoo3's plots.
        module = importlib.import_module("rl_zoo3.plots.score_normalization")
        known = {name: (env.min, env.max) for name, env in module.min_max_score_per_env.items()}
        return {
            env: normalisation(env, self.returns, self.random[env], known.get(env))
            for env in self.envs
        }

    @classmethod
    def read(cls, folder: Path) -> "Comparison":
        """What ``write`` wrote.

        :param folder: folder
        :raises ValueError: if there is no comparison
        """
        try:
            record = json.loads((folder / RECORD).read_text())
            evaluations = pd.read_csv(folder / TABLE)
        except FileNotFoundError as error:
            raise ValueError(f"{folder} has no comparison: there is no {error.filename}") from error
        found = cls(**record, evaluations=evaluations[COLUMNS])
        if found.lacking():
            raise ValueError(
                f"{folder / TABLE} has no seed of {found.lacking()[0]} on all of {found.envs}"
            )
        return found

    def write(self, folder: Path) -> None:
        """Write the evaluations and what they depend on.

        :param folder: folder
        """
        folder.mkdir(parents=True, exist_ok=True)
        record = dataclasses.asdict(dataclasses.replace(self, evaluations=None))
        del record["evaluations"]
        (folder / RECORD).write_text(json.dumps(record, indent=1))
        self.evaluations.to_csv(folder / TABLE, index=False)
