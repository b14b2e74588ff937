"""What a confusion matrix keeps its counts in: a full table, or the cells that occur. Needs NumPy only.

A cell is the index in the flat form of a table ``(num_classes + 2, num_classes + 1)``: rows are classes, ignored and
invalid labels, columns classes and predictions that are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CountTable", "OccurringCells", "summed"]


class CountTable:
    """Every cell: ``(num_classes + 2, num_classes + 1)``, as the kernel counts."""

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((num_classes + 2, num_classes + 1), np.int64)

    def add(self, cells: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
        """Add pixels to cells, of which one may be named several times."""
        np.add.at(self.counts.reshape(-1), cells, pixels)

    def items(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The cells that have pixels, sorted, and how many."""
        flat = self.counts.reshape(-1)
        cells = np.flatnonzero(flat)
        return cells, flat[cells]


class OccurringCells:
    """The cells that occur, sorted."""

    def __init__(self) -> None:
        self._cells, self._pixels = np.empty(0, np.int64), np.empty(0, np.int64)

    def add(self, cells: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
        """Add pixels to cells, of which one may be named several times."""
        both, place = np.unique(np.concatenate((self._cells, cells)), return_inverse=True)
        total = np.zeros(len(both), np.int64)
        np.add.at(total, place, np.concatenate((self._pixels, pixels)))
        occurs = total != 0
        self._cells, self._pixels = both[occurs], total[occurs]

    def items(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The cells that have pixels, sorted, and how many."""
        return self._cells, self._pixels


def summed(index: NDArray[np.int64], pixels: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Sums of ``pixels`` by ``index``, exact, ``(length,)``.

    Example:
        >>> summed(np.array([0, 2, 0]), np.array([1, 5, 2]), 3).tolist()
        [3, 0, 5]
    """
    total = np.zeros(length, np.int64)
    np.add.at(total, index, pixels)  # bincount with weights would sum in float64
    return total
