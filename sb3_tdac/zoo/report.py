"""What a sweep shows while it runs, and what it leaves when it is done."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import optuna
import rich.progress
import yaml
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER

from sb3_tdac.zoo.study import ERROR

if TYPE_CHECKING:
    from sb3_tdac.zoo.worker import SweepManager


class Progress:
    """One bar in a terminal; elsewhere a line for each finished trial.

    :param asked: number of trials
    """

    def __init__(self, asked: int):
        self.asked = asked
        self.seen: set[int] = set()
        console = Console()
        self.bar = rich.progress.Progress(
            *rich.progress.Progress.get_default_columns(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("trials", total=asked, text="")

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def show(self, finished: Sequence[FrozenTrial], n_workers: int) -> None:
        """Show how far the study is.

        :param finished: trials that count
        :param n_workers: living workers of this machine
        """
        states = [trial.state for trial in finished]
        values = [trial.value for trial in finished if trial.state == TrialState.COMPLETE]
        best = max((value for value in values if value is not None), default=math.nan)
        text = (
            f"best {best:.2f}, {states.count(TrialState.PRUNED)} pruned, "
            f"{states.count(TrialState.FAIL)} failed, {n_workers} workers"
        )
        self.bar.update(self.task, completed=len(finished), text=text)
        for trial in finished:
            if self.bar.disable and trial.number not in self.seen:
                self.seen.add(trial.number)
                print(f"{len(self.seen)}/{self.asked}: {_describe(trial)}; {text}", flush=True)


def _describe(trial: FrozenTrial) -> str:
    result = f"{trial.state.name.lower()}"
    if trial.state == TrialState.COMPLETE:
        result = f"{trial.value:.2f}"
    error = trial.user_attrs.get(ERROR)
    return f"trial {trial.number} {result}" + (f" ({error})" if error else "")


def write_best(study: optuna.Study, manager: "SweepManager", folder: Path) -> None:
    """Print and write the best configuration, and a table of all trials.

    :param study: finished study
    :param manager: of the sweep
    :param folder: where to write
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
    text = (
        f"# trial {best.number} of {len(complete)} complete ones in study {study.study_name!r}: "
        f"mean return {best.value:.2f}\n"
        + yaml.safe_dump({manager.env_name.gym_id: _plain(entry)}, sort_keys=False)
    )
    path = folder / "best.yml"
    path.write_text(text)
    print(f"{text}Written to {path}: sb3-tdac train --algo {manager.algo} -conf {path} ...")


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry that YAML can hold: rl_zoo3 evaluates ``policy_kwargs``, where classes stand."""
    plain = dict(entry)
    if isinstance(plain.get("policy_kwargs"), dict):
        plain["policy_kwargs"] = expression(plain["policy_kwargs"])
    return plain


def expression(value: Any) -> str:
    """A Python expression that rl_zoo3 evaluates to the value.

    :param value: of numbers, words, lists, tuples, dicts and classes of ``torch.nn``
    :return: expression

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
