"""The folders of comparisons, read and joined."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from sb3_tdac.zoo.comparison import COLUMNS, RECORD, TABLE, Comparison
from sb3_tdac.zoo.runs import SETTINGS, Run
from sb3_tdac.zoo.statistics import EVALUATION


def read(folder: Path) -> Comparison:
    """What is in a folder: finished runs, or the evaluations of all, with or without the record.

    :param folder: folder
    :raises ValueError: if there is no comparison
    """
    record = json.loads((folder / RECORD).read_text()) if (folder / RECORD).is_file() else {}
    if record and "commands" not in record:
        raise ValueError(f"{folder / RECORD} is of an older kind: train in another folder")
    runs = [Run.read(path.parent) for path in sorted(folder.glob(f"*/*/{SETTINGS}"))]
    if record and runs:
        found = Comparison(**record)
        found.add([run for run in runs if run.has_ended() and run.seed in _asked(found, run)])
    elif (folder / TABLE).is_file():
        evaluations = pd.read_csv(folder / TABLE)
        missing = [column for column in COLUMNS if column not in evaluations]
        if missing:
            raise ValueError(f"{folder / TABLE} has no column {missing[0]}: it is of an older kind")
        names = {key: list(evaluations[key].unique()) for key in ("algo", "env")}
        record = {"algos": names["algo"], "envs": names["env"], **record}
        found = Comparison(**record, evaluations=evaluations[COLUMNS])
    else:
        raise ValueError(f"{folder} has no comparison: there is no {folder / TABLE}")
    found.complete()
    if found.evaluations.empty:
        raise ValueError(f"{folder} has no finished run")
    return found


def _asked(comparison: Comparison, run: Run) -> list[int]:
    """The seeds that were asked for; none, if the last command was about others."""
    return comparison.seeds.get(run.env, {}).get(run.algo, [])


def joined(parts: list[Comparison], envs: list[str] | None, algos: list[str] | None) -> Comparison:
    """One comparison of several, or of a part of it.

    :param parts: comparisons
    :param envs: environments, in this order; ``None``: all
    :param algos: contenders, in this order; ``None``: all
    :raises ValueError: if a name is in none, a run in two, or settings or schedules differ
    """
    names = {"environment": envs, "contender": algos}
    for what, key in (("environment", "envs"), ("contender", "algos")):
        known = list(dict.fromkeys(name for part in parts for name in getattr(part, key)))
        unknown = [name for name in names[what] or [] if name not in known]
        if unknown:
            raise ValueError(f"unknown {what} {unknown[0]!r}: choose from {', '.join(known)}")
        names[what] = names[what] or known
    whole = Comparison(names["contender"] or [], names["environment"] or [])
    for part in reversed(parts):
        for key in ("thresholds", "random"):
            getattr(whole, key).update(getattr(part, key))
        _take_settings(whole, part)
        for env, asked in part.seeds.items():
            seeds = whole.seeds.setdefault(env, {})
            seeds |= {algo: sorted({*seeds.get(algo, []), *new}) for algo, new in asked.items()}
    for part in parts:
        for key in ("commands", "versions", "machines"):
            new = [each for each in getattr(part, key) if each not in getattr(whole, key)]
            getattr(whole, key).extend(new)
    table = pd.concat([part.evaluations for part in parts], ignore_index=True)
    table = table[table.env.isin(whole.envs) & table.algo.isin(whole.algos)]
    whole.evaluations = table.reset_index(drop=True)
    _check(whole.evaluations)
    return whole


def _take_settings(whole: Comparison, part: Comparison) -> None:
    """Those of the runs that the part has, which are the same in every part.

    :raises ValueError: if they are not
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


def _different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Hyperparameters; not what only one of two versions of a constructor has."""
    both = [{**settings.get("defaults", {}), **settings["entry"]} for settings in (one, other)]
    names = {*one["entry"], *other["entry"], *(both[0].keys() & both[1].keys())}
    return sorted(name for name in names if both[0].get(name) != both[1].get(name))


def _check(evaluations: pd.DataFrame) -> None:
    """That evaluations are equal, and none is there twice.

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
