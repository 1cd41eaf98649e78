"""The results of a sweep: a line for each trial, the best configuration, and a table."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER

from sb3_tdac.zoo.sweep.study import ERROR

if TYPE_CHECKING:
    from sb3_tdac.zoo.sweep.worker import SweepManager


def summary(trials: Sequence[FrozenTrial], n_workers: int) -> str:
    """Summarise a study in a few words.

    :param trials: the trials that count
    :param n_workers: living workers of this machine
    """
    states = [trial.state for trial in trials]
    values = [trial.value for trial in trials if trial.state == TrialState.COMPLETE]
    best = max((value for value in values if value is not None), default=math.nan)
    return (
        f"best {best:.2f}, {states.count(TrialState.PRUNED)} pruned, "
        f"{states.count(TrialState.FAIL)} failed, {n_workers} workers"
    )


def result(trial: FrozenTrial) -> str:
    """Describe the result of a trial, or why it has none."""
    complete = trial.state == TrialState.COMPLETE
    outcome = f"{trial.value:.2f}" if complete else trial.state.name.lower()
    error = trial.user_attrs.get(ERROR)
    return f"trial {trial.number} {outcome}" + (f" ({error})" if error else "")


def write_best(study: optuna.Study, manager: "SweepManager", folder: Path) -> None:
    """Print and write the best configuration, and write a table of all trials.

    :raises RuntimeError: if no trial gave a result
    """
    study.trials_dataframe().to_csv(folder / "trials.csv")
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        errors = [trial.user_attrs.get(ERROR) for trial in study.get_trials(deepcopy=False)]
        reason = next((error for error in reversed(errors) if error), "all were pruned")
        raise RuntimeError(f"no trial of study {study.study_name!r} gave a result: {reason}")
    best = study.best_trial
    params = HYPERPARAMS_CONVERTER[manager.algo](best.params)
    entry = {**manager.configuration, **params, "n_timesteps": manager.n_timesteps}
    if isinstance(entry.get("policy_kwargs"), dict):  # YAML has no classes
        entry["policy_kwargs"] = expression(entry["policy_kwargs"])
    text = (
        f"# trial {best.number}, best of {len(complete)} complete ones in study "
        f"{study.study_name!r}: mean return {best.value:.2f}\n"
        + yaml.safe_dump({manager.env_name.gym_id: entry}, sort_keys=False)
    )
    path = folder / "best.yml"
    path.write_text(text)
    print(f"{text}Written to {path}: sb3-tdac train --algo {manager.algo} -conf {path} ...")


def expression(value: object) -> str:
    """Write a value as a Python expression, which rl_zoo3 evaluates.

    :param value: of numbers, strings, lists, tuples, dicts and classes of ``torch.nn``

    >>> expression({"std_bounds": (0.1, math.inf)})
    "{'std_bounds': (0.1, float('inf'), )}"
    """
    if isinstance(value, dict):
        items = (f"{key!r}: {expression(inner)}" for key, inner in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(expression, value)) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(f"{expression(inner)}, " for inner in value) + ")"
    if isinstance(value, type):
        return f"nn.{value.__name__}"
    return f"float('{value}')" if isinstance(value, float) and math.isinf(value) else repr(value)
