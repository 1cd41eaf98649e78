"""Copies everything that an update by kernels changes."""

import math
from collections.abc import Sequence

from sb3_tdac.aliases import Array
from sb3_tdac.fast.network import Network


class KernelSnapshot:
    """Copy of the numbers that an update changes, to undo an update that fails.

    :param networks: actor and critic, with their optimizers
    :param statistics: running statistics, the mean square of the advantage first
    """

    def __init__(self, networks: Sequence[Network], statistics: Sequence[Array]):
        self._networks, self._statistics = networks, statistics

    def take(self) -> None:
        """Copy the numbers."""
        for network in self._networks:
            network.keep()
        self._kept = [numbers.copy() for numbers in self._statistics]

    def restore(self) -> None:
        """Write the numbers of the last ``take`` back."""
        for network in self._networks:
            network.restore()
        for numbers, kept in zip(self._statistics, self._kept, strict=True):
            numbers[...] = kept

    def is_finite(self) -> bool:
        """Whether no parameter and no mean square is NaN or infinite.

        After gradients of a finite norm the optimizers are finite, after observations that
        passed the checks the statistics of the observations are.
        """
        are_finite = all(network.is_finite() for network in self._networks)
        return are_finite and math.isfinite(self._statistics[0])
