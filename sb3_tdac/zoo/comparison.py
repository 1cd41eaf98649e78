"""What a comparison found: all evaluations, and the folders that they are in."""

import dataclasses
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd

from sb3_tdac.zoo.runs import DETERMINISTIC, Run
from sb3_tdac.zoo.scores import RANGES, Range, normalisation, random_return
from sb3_tdac.zoo.statistics import EVALUATION, TIMES, Floats, returns_of

RECORD, TABLE = "comparison.json", "evaluations.csv.gz"
COLUMNS = [*EVALUATION, *TIMES, "episode", "return"]
#: What may be equal where algorithms are compared: environment steps, or CPU time of training.
STEPS, SECONDS = "step", "cpu_seconds"


@dataclass
class Comparison:
    """All evaluations, and what they depend on.

    :param algos: names of the contenders; the first is the one that others are compared with
    :param envs: environments
    :param commands: that made it
    :param thresholds: of each environment, the return to reach
    :param random: of each environment, the mean return of a random policy
    :param seeds: of each environment and contender, those that were asked for
    :param settings: of each environment and contender
    :param versions: of the packages; several, if runs were made with different ones
    :param machines: that it was made on
    :param evaluations: one row for each episode
    """

    algos: list[str]
    envs: list[str]
    commands: list[str] = field(default_factory=list)
    thresholds: dict[str, float | None] = field(default_factory=dict)
    random: dict[str, float] = field(default_factory=dict)
    seeds: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: list[dict[str, str]] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)
    evaluations: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))

    def complete(self) -> None:
        """Find the thresholds and random returns that are not known yet."""
        for env in self.envs:
            if env not in self.thresholds:
                spec = gym.envs.registry.get(env)
                self.thresholds[env] = None if spec is None else spec.reward_threshold
            if env not in self.random:
                self.random[env] = RANGES[env].low if env in RANGES else random_return(env)

    @property
    def reference(self) -> str:
        """The contender that the others are compared with."""
        return self.algos[0]

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

    def steps(self, env: str) -> list[int]:
        """Steps of an environment's schedule; the last evaluation was after training."""
        found = self.evaluations
        return sorted(int(step) for step in found[found.env == env].step.unique())

    def n_seeds(self, env: str, algo: str) -> int:
        """How many seeds finished."""
        return len(self.column(self.at(), env, algo))

    @functools.cached_property
    def budgets(self) -> dict[str, dict[str, float]]:
        """Of each clock and environment, what the reference used: its steps, its median time."""
        last = self.returns.groupby(["env", "algo", "seed"])[[STEPS, SECONDS]].max()
        ours = last[last.index.get_level_values("algo") == self.reference]
        steps, seconds = last[STEPS].groupby("env").max(), ours[SECONDS].groupby("env").median()
        return {STEPS: steps.to_dict(), SECONDS: seconds.to_dict()}

    def at(self, mode: str = DETERMINISTIC, clock: str = STEPS, share: float = 1.0) -> pd.DataFrame:
        """The last evaluation of each run in a share of the budgets.

        The time of the reference is measured in its steps: it is what all of them took.

        :param mode: of the actions
        :param clock: ``STEPS`` or ``SECONDS``
        :param share: of the steps, or of the reference's time
        :return: one row for each run that had an evaluation by then
        """
        rows = self.returns[self.returns["mode"] == mode]
        spent = rows[clock] / rows.env.map(self.budgets[clock])
        own = rows.step / rows.env.map(self.budgets[STEPS])
        spent = spent.where(rows.algo != self.reference, own)
        rows = rows[spent <= share + 1e-9].sort_values("step")
        return rows.groupby(["env", "algo", "seed"], as_index=False).last()

    def column(self, rows: pd.DataFrame, env: str, algo: str) -> Floats:
        """Returns of a contender on one environment.

        :param rows: one for each run
        :param env: environment
        :param algo: contender
        :return: returns (runs,)
        """
        chosen = rows[(rows.env == env) & (rows.algo == algo)]
        return np.asarray(chosen["return"].to_numpy(float))

    def scores(self, rows: pd.DataFrame, algo: str) -> list[Floats]:
        """Normalised returns of a contender on the environments of all.

        :param rows: one for each run
        :param algo: contender
        :return: scores (runs,) of each environment in ``common``
        """
        columns = [(self.column(rows, env, algo), self.ranges[env]) for env in self.common]
        return [(column - span.low) / (span.high - span.low) for column, span in columns]

    def curves(self, env: str, algo: str) -> pd.DataFrame:
        """Deterministic evaluations of a contender on one environment.

        :param env: environment
        :param algo: contender
        :return: one row for each
        """
        found = self.returns
        chosen = (found.env == env) & (found.algo == algo) & (found["mode"] == DETERMINISTIC)
        return found[chosen]

    @functools.cached_property
    def common(self) -> list[str]:
        """Environments on which every contender has finished a seed."""
        found = self.evaluations.groupby("env").algo.nunique()
        return [env for env in self.envs if found.get(env, 0) == len(self.algos)]

    @functools.cached_property
    def returns(self) -> pd.DataFrame:
        """One row for each evaluation."""
        return returns_of(self.evaluations)

    @functools.cached_property
    def ranges(self) -> dict[str, Range]:
        """How the returns of each environment are normalised."""
        return {env: normalisation(env, self.returns, self.random[env]) for env in self.envs}

    def write_record(self, folder: Path) -> None:
        """Write all but the evaluations.

        :param folder: folder
        """
        folder.mkdir(parents=True, exist_ok=True)
        record = dataclasses.asdict(dataclasses.replace(self, evaluations=None))
        del record["evaluations"]
        (folder / RECORD).write_text(json.dumps(record, indent=1))

    def write(self, folder: Path) -> None:
        """Write the evaluations and what they depend on.

        :param folder: folder
        """
        self.write_record(folder)
        order = {name: i for i, name in enumerate([*self.envs, *self.algos])}
        # In the order of the tables, which the evaluations alone so tell as well.
        rows = self.evaluations.sort_values(
            ["env", "algo", "seed"],
            key=lambda names: names.map(order) if names.name in ("env", "algo") else names,
            kind="stable",
        )
        # gzip would note the time, and the same rows be another file
        rows.to_csv(folder / TABLE, index=False, compression={"method": "gzip", "mtime": 1})
