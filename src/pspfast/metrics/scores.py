"""Scores as functions of the pixels counted for each class. Needs NumPy only.

Every score is a function of the counts, so one accumulated matrix gives the numbers of every library; they differ in
what they make of classes that do not occur (``absent``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Absent", "Areas", "mean"]

Absent = Literal["nan", "zero", "one", "skip_no_truth"]


@dataclass(frozen=True, slots=True)
class Areas:
    """Pixels by class, all ``(..., num_classes)`` of integers: what every score but the matrix itself is made of.

    Scores of several sets of pictures at once come from arrays with leading axes, which scores keep.

    Attributes:
        intersection: labelled and predicted as the class.
        truth: labelled as the class, whatever was predicted.
        predicted: predicted as the class where the label is a class.
    """

    intersection: NDArray[Any]
    truth: NDArray[Any]
    predicted: NDArray[Any]

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

    def pixel_accuracy(self) -> Any:
        """Share of all labelled pixels that were predicted right (``aAcc``); NaN if there are none."""
        return _over(self.intersection.sum(-1), self.truth.sum(-1))

    def frequency_weighted_iou(self) -> Any:
        """Mean IoU weighted with the share of each class in the truth; NaN if there are no labelled pixels."""
        return _over((self.truth * self.iou("zero")).sum(-1), self.truth.sum(-1))

    def kappa(self) -> Any:
        """Cohen's kappa: agreement beyond what chance would give; NaN where chance alone agrees."""
        total = self.truth.sum(-1, keepdims=True)
        chance = (_over(self.truth, total) * _over(self.predicted, total)).sum(-1)
        return _over(self.pixel_accuracy() - chance, 1 - chance)

    def _ratio(self, numerator: NDArray[Any], denominator: NDArray[Any], absent: Absent) -> NDArray[np.float64]:
        if absent not in ("nan", "zero", "one", "skip_no_truth"):
            raise ValueError(f"absent must be 'nan', 'zero', 'one' or 'skip_no_truth', got {absent!r}")
        values = np.full(numerator.shape, {"zero": 0.0, "one": 1.0}.get(absent, math.nan))
        np.divide(numerator, denominator, out=values, where=denominator != 0)
        if absent == "skip_no_truth":
            values[self.truth == 0] = math.nan
        return values


def mean(values: NDArray[np.float64]) -> Any:
    """Mean of the values that are not NaN, along the last axis; NaN if there are none."""
    missing = np.isnan(values)
    # Added up as numpy.nanmean does, which mmsegmentation calls: without the NaN the last bit may be another one.
    return _over(np.where(missing, 0.0, values).sum(-1), (~missing).sum(-1))


def _over(numerator: Any, denominator: Any) -> Any:
    """The quotient, NaN where there is nothing to divide by; a float for two numbers."""
    quotient = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), math.nan)
    np.divide(numerator, denominator, out=quotient, where=np.not_equal(denominator, 0))
    return quotient if quotient.ndim else float(quotient)
