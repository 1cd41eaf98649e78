"""Checkpoints that training can be resumed from."""

import pickle
import warnings
from contextlib import suppress
from typing import Any

from stable_baselines3.common import callbacks

from sb3_tdac.persistence import files


class CheckpointCallback(callbacks.CheckpointCallback):
    """SB3's callback that saves between two rollouts, and warns if a file cannot be written.

    SB3's own callback saves in the middle of a rollout: a resumed training then lacks the steps
    before. This one waits for the end of the update. ``VecNormalize`` is saved before the
    model: every model file has its statistics.

    :param save_freq: calls of ``env.step()`` between two checkpoints
    :param args: SB3's other arguments, from ``save_path`` on
    :param kwargs: likewise
    """

    def __init__(self, save_freq: int, *args: Any, **kwargs: Any):
        super().__init__(save_freq, *args, **kwargs)
        self._is_due = False

    def _init_callback(self) -> None:
        with suppress(OSError, ValueError):  # ``save`` makes the folder, or warns
            super()._init_callback()

    def _on_step(self) -> bool:
        self._is_due |= self.n_calls % self.save_freq == 0
        if self.parent is not None:  # ``EventCallback`` does not forward rollout events
            self._on_rollout_start()
        return True

    def _on_rollout_start(self) -> None:
        if self._is_due:
            self.save()
        self._is_due = False

    def _on_training_end(self) -> None:
        self._on_rollout_start()

    def save(self) -> None:
        """Write a checkpoint now; warn if that fails."""
        try:
            normalization = self.model.get_vec_normalize_env()
            if self.save_vecnormalize and normalization is not None:
                path = self._checkpoint_path("vecnormalize_", extension="pkl")
                files.write(path, pickle.dumps(normalization))
            self.model.save(self._checkpoint_path(extension="zip"))
            if self.verbose >= 2:
                print(f"Saving model checkpoint to {self._checkpoint_path(extension='zip')}")
        except OSError as error:
            warnings.warn(f"checkpoint not saved, and training goes on: {error}", stacklevel=2)
