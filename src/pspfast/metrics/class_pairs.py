"""What a picture's pixels are, by label and prediction as they stand in the files, before any rule about labels.

One picture has a dozen such pairs. Scores under any label map and ignore rule follow from them, which is what makes
them worth keeping (:mod:`pspfast.formats.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pspfast.metrics.confusion import ConfusionMatrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.pictures.geometry import CropRule, Letterbox

__all__ = ["NO_CLASS", "PairCounter", "Pairs", "check_ignore_index"]

NO_CLASS = -1
"""Stands for every label and prediction outside of 0..65,534, which no data set has as a class."""

_MOST_CLASSES = 65_535
# Tables up to this are counted into directly; for more classes, runs of pixels are listed and added up.
_MOST_TABLED = 64


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pixels by pair, all three int64 of equal length, sorted by label and prediction.

    Attributes:
        labels, preds: 0 to 65,534 or ``NO_CLASS``.
        pixels: how many have this label and this prediction; positive.
    """

    labels: NDArray[np.int64]
    preds: NDArray[np.int64]
    pixels: NDArray[np.int64]

    @property
    def total(self) -> int:
        """All pixels of the picture."""
        return int(self.pixels.sum())


class PairCounter:
    """Counts one picture after the other; one counter a thread.

    Args:
        num_classes: predictions below this and labels below this or equal to ``ignore_index`` are what is expected,
            and counted fastest. Nothing else depends on them.
        ignore_index: 0 to 65,534, or ``None`` for none.

    Raises:
        ValueError: an ``ignore_index`` that no file can hold.

    Example:
        >>> import numpy as np
        >>> from pspfast import Letterbox
        >>> mask, target = np.array([[0, 1], [1, 7]]), np.array([[0, 1], [255, 40]])
        >>> pairs = PairCounter(2)(mask, target, Letterbox.fit((2, 2), (2, 2)))
        >>> list(zip(pairs.labels.tolist(), pairs.preds.tolist(), pairs.pixels.tolist()))
        [(0, 0, 1), (1, 1, 1), (40, 7, 1), (255, 1, 1)]
    """

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        check_ignore_index(ignore_index)
        self._expected = ConfusionMatrix(num_classes, ignore_index) if num_classes <= _MOST_TABLED else None
        self._ignored = NO_CLASS if ignore_index is None else ignore_index
        self._any = ConfusionMatrix(_MOST_CLASSES, None)

    def __call__(
        self, mask: NDArray[np.generic], target: NDArray[np.generic], geometry: Letterbox, rule: CropRule = "exact"
    ) -> Pairs:
        """Count a letterboxed mask against its picture's labels, see :meth:`ConfusionMatrix.update_letterboxed`."""
        if self._expected is not None:
            classes = self._expected.num_classes
            self._expected.reset()
            self._expected.update_letterboxed(mask, target, geometry, rule=rule)
            rows, columns, pixels = self._expected.cells()
            # Rows and columns of the table are labels and predictions, unless some were neither class nor ignored.
            if (not rows.size or rows[-1] <= classes) and (not columns.size or columns.max() < classes):
                return _sorted(np.where(rows == classes, self._ignored, rows), columns, pixels)
        self._any.reset()
        self._any.update_letterboxed(mask, target, geometry, rule=rule)
        rows, columns, pixels = self._any.cells()
        labels = np.where(rows < _MOST_CLASSES, rows, NO_CLASS)
        return _sorted(labels, np.where(columns < _MOST_CLASSES, columns, NO_CLASS), pixels)


def check_ignore_index(ignore_index: int | None) -> None:
    """Raise ValueError for a label that pairs do not tell from others."""
    if ignore_index is not None and not 0 <= ignore_index < _MOST_CLASSES:
        raise ValueError(f"ignore_index must be 0 to {_MOST_CLASSES - 1} or None, got {ignore_index}")


def _sorted(labels: NDArray[np.int64], preds: NDArray[np.int64], pixels: NDArray[np.int64]) -> Pairs:
    order = np.lexsort((preds, labels))
    return Pairs(labels[order], preds[order], pixels[order])
