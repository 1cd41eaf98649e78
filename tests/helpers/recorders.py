"""Records of a training: steps and batches from a callback, rows from the log."""

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from sb3_tdac import TDAC


class Recorder(BaseCallback):
    """The locals of each step and the batch of each rollout.

    :param stop: number of calls after which the training stops; None: it does not
    """

    def __init__(self, stop: int | None = None):
        super().__init__()
        self.stop = stop
        self.steps: list[dict[str, Any]] = []
        self.batches: list[Any] = []

    def _on_step(self) -> bool:
        self.steps.append(dict(self.locals))
        return self.n_calls != self.stop

    def _on_rollout_end(self) -> None:
        self.batches.append(self.model.rollout_buffer.rows().to(self.model.device))


class Rows(KVWriter):
    """The rows that are written to the log, as dicts."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict, key_excluded: dict, step: int = 0) -> None:
        self.rows.append(dict(key_values))


def rows_of(model: TDAC) -> list[dict[str, Any]]:
    """The rows of the model's log from now on."""
    model.set_logger(Logger(None, [writer := Rows()]))
    return writer.rows


def train_keys(keys: Any) -> set[str]:
    return {key for key in keys if key.startswith("train/")}
