"""Scores as functions of the pixels counted for each class. Needs NumPy only.

Every score is a function of the counts, so one accumulated matrix gives the numbers of every library; they differ in
what they make of classes that do not occur (``absent``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Absent", "Areas", "mean"]

Absent = Literal["nan", "zero", "one", "skip_no_truth"]


@dataclass(frozen=True, slots=True)
class Areas:
    """Pixels by class, all ``(num_classes,)`` int64: what every score but the matrix itself is made of.

    Attributes:
        intersection: labelled and predicted as the class.
        truth: labelled as the class, whatever was predicted.
        predicted: predicted as the class where the label is a class.
    """

    intersection: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def iou(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """Intersection over union of each class (Jaccard index)."""
        return self._ratio(self.intersection, self.truth + self.predicted - self.intersection, absent)

    def dice(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """Dice coefficient of each class, which is its F1 score."""
        return self._ratio(2 * self.intersection, self.truth + self.predicted, absent)

    def recall(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """Share of the class's pixels that were predicted so: mmsegmentation's ``Acc``."""
        return self._ratio(self.intersection, self.truth, absent)

    def precision(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """Share of the pixels predicted as the class that are."""
        return self._ratio(self.intersection, self.predicted, absent)

    def pixel_accuracy(self) -> float:
        """Share of all labelled pixels that were predicted right (``aAcc``); NaN if there are none."""
        total = int(self.truth.sum())
        return int(self.intersection.sum()) / total if total else math.nan

    def frequency_weighted_iou(self) -> float:
        """Mean IoU weighted with the share of each class in the truth; NaN if there are no labelled pixels."""
        total = int(self.truth.sum())
        return float(self.truth @ self.iou("zero")) / total if total else math.nan

    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond what chance would give; NaN where chance alone agrees."""
        total = int(self.truth.sum())
        if not total:
            return math.nan
        chance = float((self.truth / total) @ (self.predicted / total))
        return (self.pixel_accuracy() - chance) / (1 - chance) if chance != 1 else math.nan

    def _ratio(
        self, numerator: NDArray[np.int64], denominator: NDArray[np.int64], absent: Absent
    ) -> NDArray[np.float64]:
        if absent not in ("nan", "zero", "one", "skip_no_truth"):
            raise ValueError(f"absent must be 'nan', 'zero', 'one' or 'skip_no_truth', got {absent!r}")
        present = denominator != 0
        values = np.full(len(numerator), {"zero": 0.0, "one": 1.0}.get(absent, math.nan))
        np.divide(numerator, denominator, out=values, where=present)
        if absent == "skip_no_truth":
            values[self.truth == 0] = math.nan
        return values


def mean(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    missing = np.isnan(values)
    # Added up as numpy.nanmean does, which mmsegmentation calls: without the NaN the last bit may be another one.
    return float(np.where(missing, 0.0, values).sum() / (~missing).sum()) if not missing.all() else math.nan
