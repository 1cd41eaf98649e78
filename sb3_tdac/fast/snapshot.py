"""Copies everything that an update by kernels changes."""

import math
from collections.abc import Callable, Sequence

from sb3_tdac.aliases import Array
from sb3_tdac.diagnostics.snapshot import StateCopy
from sb3_tdac.diagnostics.transaction import Trace
from sb3_tdac.fast.library import Kernels, zeros
from sb3_tdac.fast.network import Network


class KernelSnapshot:
    """Copy of the numbers that an update changes, to undo an update that fails.

    :param kernels: the library
    :param networks: actor and critic, with their optimizers
    :param statistics: running statistics, the mean square of the advantage first
    :param trace: returns the quantities of the last update
    """

    def __init__(
        self,
        kernels: Kernels,
        networks: Sequence[Network],
        statistics: Sequence[Array],
        trace: Callable[[], Trace],
    ):
        self._functions, self._statistics, self.trace = kernels.functions, statistics, trace
        sizes = [sum(3 * g.size + 1 for g in network.gradients) for network in networks]
        copies = [kernels.pointer(zeros(size)) for size in sizes]
        self._networks = [(n.structure, copy) for n, copy in zip(networks, copies, strict=True)]
        # Adam's state is copied with the parameters
        self._others = StateCopy([], [n.optimizer for n in networks if not n.states])

    def take(self) -> None:
        """Copy the numbers."""
        for structure, copy in self._networks:
            self._functions.copy_state(structure, copy, False)
        if self._others.optimizers:
            self._others.take()
        self._kept = [numbers.copy() for numbers in self._statistics]

    def restore(self) -> None:
        """Write the numbers of the last ``take`` back."""
        for structure, copy in self._networks:
            self._functions.copy_state(structure, copy, True)
        self._others.restore()
        for numbers, kept in zip(self._statistics, self._kept, strict=True):
            numbers[...] = kept

    def is_finite(self) -> bool:
        """Whether no parameter and no mean square is NaN or infinite.

        After gradients of a finite norm the optimizers are finite, after observations that
        passed the checks the statistics of the observations are.
        """
        are_finite = all(self._functions.is_finite(structure) for structure, _ in self._networks)
        return are_finite and math.isfinite(self._statistics[0])
