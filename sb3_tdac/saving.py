"""Saving a model with all that training needs to go on as if nothing had happened."""

import base64
import io
import warnings
import zipfile
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from sb3_tdac.persistence import files, safe_form
from sb3_tdac.seeding import SeededAlgorithm

SelfResumable = TypeVar("SelfResumable", bound="ResumableAlgorithm")


class ResumableAlgorithm(SeededAlgorithm):
    """SB3's on-policy algorithm, with files that are whole and training that can be resumed."""

    #: Of what ``resume`` sets back, as the file says; ``None`` once training went on.
    _random_states: dict[str, str] | None = None
    _origin: dict[str, Any]
    _is_in_rollout = False

    def save(
        self,
        path: files.ModelPath,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Save everything, as SB3 does, and also in the form that ``load(safe=True)`` reads.

        If that fails, a file that was there stays as it was.

        :param path: file, to which ``.zip`` is added if it has no suffix, or an open one
        :param exclude: attributes to leave out
        :param include: attributes to keep that would be left out
        :raises OSError: if the file cannot be written, naming it and the remedy
        """
        loaded, content, exclude = self._random_states, io.BytesIO(), [*(exclude or [])]
        self._random_states, self._origin = loaded or self._states_now(), files.origin()
        try:
            super().save(content, exclude, include)
        finally:
            self._random_states = loaded
        with zipfile.ZipFile(content, "a") as archive:
            safe_form.write_plain_entry(self, archive, exclude)
        files.write(path, content.getvalue())

    def resume(
        self: SelfResumable, total_timesteps: int | None = None, **options: Any
    ) -> SelfResumable:
        """Go on with the training that was interrupted, as if it had not been.

        After ``load``, the model's generator and torch's are set to where they were when the file
        was saved. The environment is reset where the rollout was broken off, and after ``load``,
        but with ``force_reset=False``, which is for one that can restore its own state.

        :param total_timesteps: further environment steps, over all environments; ``None``: those
            that are left of the last call of ``learn``, so that its schedules go on to their end
        :param options: of ``learn``
        :return: self
        :raises ValueError: if nothing is left
        """
        if total_timesteps is None:
            total_timesteps = self._total_timesteps - self.num_timesteps
            if total_timesteps <= 0:
                raise ValueError(
                    f"training is complete: {self.num_timesteps} of {self._total_timesteps} steps; "
                    "pass total_timesteps to go on"
                )
        self._restore_states()
        self.learn(total_timesteps, reset_num_timesteps=False, **options)
        return self

    def _restore_states(self) -> None:
        """Set back what the file says; a new episode starts from other returns, all zero."""
        states = {
            name: torch.from_numpy(np.frombuffer(base64.b64decode(state), np.uint8).copy())
            for name, state in (self._random_states or {}).items()
        }
        ours = states.get("model")  # files of 0.1.0 have none
        if ours is not None and len(ours) == len(self.generator.get_state()):
            self.generator.set_state(ours)
        elif ours is not None:  # one of a GPU has no meaning on a CPU
            warnings.warn(
                f"the model was saved on a device of another kind than {self.device}: training "
                "goes on with other random numbers than it would have had there",
                stacklevel=3,
            )
        if "cpu" in states:
            torch.set_rng_state(states["cpu"])
        if "cuda" in states and self.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self.device)
        normalizer = self.get_vec_normalize_env()
        if "returns" in states and normalizer is not None:
            normalizer.returns = states["returns"].numpy().view(np.float64)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        self._random_states = None
        if self._is_in_rollout:  # it was broken off: the environments went on from _last_obs
            self._last_obs, self._is_in_rollout = None, False
        return super()._setup_learn(*args, **kwargs)

    def _states_now(self) -> dict[str, str]:
        """States of the model's generator and torch's, from which layers may draw, as text.

        And the returns of a ``VecNormalize``, which its own file leaves out.
        """
        states = dict(model=self.generator.get_state(), cpu=torch.get_rng_state())
        if (normalizer := self.get_vec_normalize_env()) is not None:
            states["returns"] = torch.from_numpy(normalizer.returns)
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            name: base64.b64encode(state.numpy().tobytes()).decode()
            for name, state in states.items()
        }
