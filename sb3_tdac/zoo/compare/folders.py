"""Reads folders of comparisons, and joins them."""

import json
from pathlib import Path

import pandas as pd

from sb3_tdac.zoo.compare.comparison import COLUMNS, RECORD, TABLE, Comparison
from sb3_tdac.zoo.compare.runs import SETTINGS, Run, Settings
from sb3_tdac.zoo.compare.statistics import EVALUATION


def read(folder: Path) -> Comparison:
    """Read the finished runs of a folder, or its table of evaluations, with or without a record.

    :raises ValueError: if there is no comparison
    """
    record = json.loads((folder / RECORD).read_text()) if (folder / RECORD).is_file() else {}
    if record and "commands" not in record:
        raise ValueError(
            f"{folder / RECORD} was written by an older version: train in another folder"
        )
    runs = [Run.read(path.parent) for path in sorted(folder.glob(f"*/*/{SETTINGS}"))]
    if record and runs:
        found = Comparison(**record)
        # The last command may have been about other runs.
        found.add([run for run in runs if run.seed in found.asked(run.env, run.algo)])
    elif (folder / TABLE).is_file():
        evaluations = pd.read_csv(folder / TABLE)
        missing = [column for column in COLUMNS if column not in evaluations]
        if missing:
            raise ValueError(
                f"{folder / TABLE} has no column {missing[0]}: an older version wrote it"
            )
        names = {key: list(evaluations[key].unique()) for key in ("algo", "env")}
        record = {"algos": names["algo"], "envs": names["env"], **record}
        found = Comparison(**record, evaluations=evaluations[COLUMNS])
    else:
        raise ValueError(f"{folder} has no comparison: there is no {folder / TABLE}")
    found.complete()
    if found.evaluations.empty:
        raise ValueError(f"{folder} has no finished run")
    return found


def joined(parts: list[Comparison], envs: list[str] | None, algos: list[str] | None) -> Comparison:
    """Join comparisons into one, or select a part.

    :param envs: environments, in this order; ``None``: all
    :param algos: contenders, in this order; ``None``: all
    :raises ValueError: if a name is unknown, a run is in two, or settings or schedules differ
    """
    envs = _chosen("environment", envs, [name for part in parts for name in part.envs])
    algos = _chosen("contender", algos, [name for part in parts for name in part.algos])
    whole = Comparison(algos, envs)
    for part in reversed(parts):  # where parts differ, the first counts
        whole.thresholds |= part.thresholds
        whole.random |= part.random
        _take_settings(whole, part)
        for env, asked in part.seeds.items():
            seeds = whole.seeds.setdefault(env, {})
            seeds |= {algo: sorted({*seeds.get(algo, []), *new}) for algo, new in asked.items()}
    for part in parts:
        whole.commands += [each for each in part.commands if each not in whole.commands]
        whole.versions += [each for each in part.versions if each not in whole.versions]
        whole.machines += [each for each in part.machines if each not in whole.machines]
    table = pd.concat([part.evaluations for part in parts], ignore_index=True)
    table = table[table.env.isin(whole.envs) & table.algo.isin(whole.algos)]
    whole.evaluations = table.reset_index(drop=True)
    _check(whole.evaluations)
    return whole


def _chosen(what: str, wanted: list[str] | None, known: list[str]) -> list[str]:
    """Choose the wanted names, or all that are known.

    :raises ValueError: if a wanted name is unknown
    """
    known = list(dict.fromkeys(known))
    for name in wanted or []:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}: choose from {', '.join(known)}")
    return wanted or known


def _take_settings(whole: Comparison, part: Comparison) -> None:
    """Add the settings of the runs that a part has.

    :raises ValueError: if another part has runs with other settings
    """
    there = part.evaluations[["env", "algo"]].drop_duplicates()
    for env, algo in there.itertuples(index=False, name=None):
        new = part.settings.get(env, {}).get(algo)
        if new is None or env not in whole.envs or algo not in whole.algos:
            continue
        known = whole.settings.setdefault(env, {}).setdefault(algo, new)
        different = _different(known, new)
        if different:
            raise ValueError(
                f"{algo} on {env} was not trained with the same {', '.join(different)} in all "
                "folders: train it again, or choose others with --algos or --env"
            )


def _different(one: Settings, other: Settings) -> list[str]:
    """Name the hyperparameters that differ; a default that only one version has does not count."""
    both = [{**settings.get("defaults", {}), **settings["entry"]} for settings in (one, other)]
    names = {*one["entry"], *other["entry"], *(both[0].keys() & both[1].keys())}
    return sorted(name for name in names if both[0].get(name) != both[1].get(name))


def _check(evaluations: pd.DataFrame) -> None:
    """Check that all runs were evaluated alike, and that none is there twice.

    :raises ValueError: if not
    """
    key = [*EVALUATION, "episode"]
    twice = evaluations[evaluations.duplicated(key)]
    if len(twice):
        run = twice.iloc[0]
        raise ValueError(f"{run.algo} on {run.env}, seed {run.seed}, is in two folders")
    for env, rows in evaluations.groupby("env", sort=False):
        schedules = rows.groupby(["algo", "seed"])[["mode", "step", "episode"]].apply(
            lambda run: frozenset(run.itertuples(index=False, name=None))
        )
        if schedules.nunique() > 1:
            other = schedules[schedules != schedules.iloc[0]].index[0][0]
            raise ValueError(
                f"{env}: {schedules.index[0][0]} and {other} were not evaluated after the same "
                "steps in as many episodes"
            )
