"""Makes an update happen as a whole or not at all, and names what was not finite."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol

from torch import Tensor, nn

from sb3_tdac.aliases import Array
from sb3_tdac.diagnostics.location import Location
from sb3_tdac.diagnostics.not_finite import REMEDY, NotFinite, check_parameters, first_not_finite

#: Quantities of an update by name, in the order in which they were computed.
Trace = Mapping[str, Sequence[Tensor | Array]]


class Snapshot(Protocol):
    """A copy of everything that an update changes."""

    def take(self) -> None:
        """Copy parameters, state of the optimizers, and running statistics."""

    def restore(self) -> None:
        """Write the copy back."""

    def is_finite(self) -> bool:
        """Whether the update left finite numbers only."""

    def trace(self) -> Trace:
        """The quantities of the last update, even if it failed."""


class Transaction:
    """Rolls back a failed update and names its first quantity that is not finite.

    :param snapshot: of the model
    :param policy: actor and critic
    :param locate: returns the moment of the training; called only for a message
    """

    def __init__(self, snapshot: Snapshot, policy: nn.Module, locate: Callable[[], Location]):
        self._snapshot, self._policy, self._locate = snapshot, policy, locate

    def __enter__(self) -> None:
        self._snapshot.take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Undo the update if it failed.

        :raises ValueError: if something is not finite
        """
        if error is None and self._snapshot.is_finite():
            return
        first = None
        if isinstance(error, Exception | None):  # Ctrl-C keeps its type
            found = first_not_finite(self._snapshot.trace())
            known = error if isinstance(error, NotFinite) else None
            first = found or known or (NotFinite("parameter") if error is None else None)
        self._snapshot.restore()
        if first is not None:
            raise ValueError(self._message(first)) from None

    def _message(self, error: NotFinite) -> str:
        location = self._locate()
        check_parameters(self._policy, location)  # the update may not be the cause
        return (
            f"{error.quantity} is not finite in update {location.n_updates + 1} (after time step "
            f"{location.num_timesteps}){_rows(error.are_bad, location)}. {REMEDY}. "
            f"{location.model_state}"
        )


def _rows(are_bad: Tensor | None, location: Location) -> str:
    """Name the transitions, if the quantity has one number for each."""
    if are_bad is None:
        return ""
    n_bad, n_rows = int(are_bad.sum()), len(are_bad)
    if n_bad == n_rows:
        return f", in all {n_rows} transitions"
    first = location.transition(int(are_bad.nonzero()[0]))
    return f", in {n_bad} of {n_rows} transitions (first: {first}; an observation may be the cause)"
