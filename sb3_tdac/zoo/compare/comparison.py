"""All evaluations of a comparison, and the selections of them that tables and pictures show."""

import functools
import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd

from sb3_tdac.zoo.compare.runs import DETERMINISTIC, Run, Settings
from sb3_tdac.zoo.compare.scores import RANGES, Range, normalisation, random_return
from sb3_tdac.zoo.compare.statistics import EVALUATION, TIMES, Floats, returns_of

RECORD, TABLE = "comparison.json", "evaluations.csv.gz"
COLUMNS = [*EVALUATION, *TIMES, "episode", "return"]
#: Two clocks of a comparison: environment steps, and CPU time of training.
STEPS, SECONDS = "step", "cpu_seconds"


@dataclass
class Comparison:
    """All evaluations, and what they depend on.

    :param algos: names of the contenders; the others are compared with the first
    :param envs: environments
    :param commands: commands that made it
    :param thresholds: return to reach, for each environment
    :param random: mean return of a random policy, for each environment
    :param seeds: seeds that the user asked for, for each environment and contender
    :param settings: settings of the runs, for each environment and contender
    :param versions: versions of the packages; several, if runs were made with different ones
    :param machines: machines that it was made on
    :param evaluations: one row for each episode
    """

    algos: list[str]
    envs: list[str]
    commands: list[str] = field(default_factory=list)
    thresholds: dict[str, float | None] = field(default_factory=dict)
    random: dict[str, float] = field(default_factory=dict)
    seeds: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    settings: dict[str, dict[str, Settings]] = field(default_factory=dict)
    versions: list[dict[str, str]] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)
    evaluations: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))

    def complete(self) -> None:
        """Look up the thresholds and random returns that are not known yet."""
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
        """Read the evaluations of the finished runs."""
        rows = []
        for run in filter(Run.has_ended, runs):
            self.settings.setdefault(run.env, {})[run.algo] = run.settings
            if run.used_versions() not in self.versions:
                self.versions.append(run.used_versions())
            for evaluation in run.evaluations():
                known = {"env": run.env, "algo": run.algo, "seed": run.seed, **evaluation}
                returns = enumerate(evaluation["returns"])
                rows += [{**known, "episode": i, "return": value} for i, value in returns]
        self.evaluations = pd.DataFrame(rows, columns=COLUMNS)

    def steps(self, env: str) -> list[int]:
        """The steps after which an environment was evaluated; the last time is after training."""
        found = self.evaluations
        return sorted(int(step) for step in found[found.env == env].step.unique())

    def asked(self, env: str, algo: str) -> list[int]:
        """The seeds that the user asked for."""
        return self.seeds.get(env, {}).get(algo, [])

    def n_seeds(self, env: str, algo: str) -> int:
        """Count the seeds that finished."""
        return len(self.column(self.at(), env, algo))

    @functools.cached_property
    def budgets(self) -> dict[str, dict[str, float]]:
        """The steps and the median time of the reference, for each clock and environment."""
        last = self.returns.groupby(["env", "algo", "seed"])[[STEPS, SECONDS]].max()
        ours = last[last.index.get_level_values("algo") == self.reference]
        steps, seconds = last[STEPS].groupby("env").max(), ours[SECONDS].groupby("env").median()
        return {STEPS: steps.to_dict(), SECONDS: seconds.to_dict()}

    def at(self, mode: str = DETERMINISTIC, clock: str = STEPS, share: float = 1.0) -> pd.DataFrame:
        """Select the last evaluation of each run within a share of the budgets.

        The budget of the reference is always its steps: its own time is what they took.

        :param clock: ``STEPS`` or ``SECONDS``
        :param share: share of the steps, or of the reference's time
        :return: one row for each run that was evaluated within it
        """
        rows = self.returns[self.returns["mode"] == mode]
        spent = rows[clock] / rows.env.map(self.budgets[clock])
        own = rows.step / rows.env.map(self.budgets[STEPS])
        spent = spent.where(rows.algo != self.reference, own)
        rows = rows[spent <= share + 1e-9].sort_values("step")
        return rows.groupby(["env", "algo", "seed"], as_index=False).last()

    def column(self, rows: pd.DataFrame, env: str, algo: str) -> Floats:
        """Select the returns of a contender on one environment.

        :param rows: one for each run
        :return: returns (runs,)
        """
        chosen = rows[(rows.env == env) & (rows.algo == algo)]
        return np.asarray(chosen["return"].to_numpy(float))

    def scores(self, rows: pd.DataFrame, algo: str) -> list[Floats]:
        """Normalise the returns of a contender on the environments that all finished.

        :param rows: one for each run
        :return: scores (runs,) of each environment in ``common``
        """
        columns = [(self.column(rows, env, algo), self.ranges[env]) for env in self.common]
        return [(column - span.low) / (span.high - span.low) for column, span in columns]

    def curves(self, env: str, algo: str) -> pd.DataFrame:
        """Select the deterministic evaluations of a contender on one environment.

        :return: one row for each evaluation
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
        """The returns that are scores 0 and 1, for each environment."""
        return {env: normalisation(env, self.returns, self.random[env]) for env in self.envs}

    def write_record(self, folder: Path) -> None:
        """Write everything except the evaluations."""
        folder.mkdir(parents=True, exist_ok=True)
        recorded = {part.name for part in fields(self)} - {"evaluations"}
        record = {key: value for key, value in vars(self).items() if key in recorded}
        (folder / RECORD).write_text(json.dumps(record, indent=1))

    def write(self, folder: Path) -> None:
        """Write the evaluations and what they depend on."""
        self.write_record(folder)
        order = {name: i for i, name in enumerate([*self.envs, *self.algos])}
        # In the order of the tables, so that it can be read from the evaluations alone.
        rows = self.evaluations.sort_values(
            ["env", "algo", "seed"],
            key=lambda names: names.map(order) if names.name in ("env", "algo") else names,
            kind="stable",
        )
        # With the time that gzip notes, the same rows would make another file.
        rows.to_csv(folder / TABLE, index=False, compression={"method": "gzip", "mtime": 1})
