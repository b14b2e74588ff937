"""What the choice of pictures does to the difference between two evaluations of them. Needs NumPy only.

Both functions take the pixels of the same pictures by class, ``(pictures, classes)``, once for each evaluation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.metrics.scores import Areas, mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["influence", "overall", "paired_intervals", "total"]

_DRAWS_AT_ONCE = 256  # of 1449 pictures each: 3 MB of weights


def total(areas: Areas) -> Areas:
    """Pixels by class of all pictures together."""
    return Areas(areas.intersection.sum(0), areas.truth.sum(0), areas.predicted.sum(0))


def overall(areas: Areas) -> dict[str, Any]:
    """The scores over all classes that evaluations are compared by, 0 to 1."""
    return {"mIoU": mean(areas.iou()), "mAcc": mean(areas.recall()), "aAcc": areas.pixel_accuracy()}


def paired_intervals(
    first: Areas, second: Areas, resamples: int, seed: int
) -> tuple[dict[str, tuple[float, float]], list[tuple[float, float]]]:
    """95 % intervals of ``second - first``: pictures are drawn with replacement, the same ones for both.

    A draw in which a score does not exist (a class that is in none of its pictures) does not count towards the
    interval of this score.

    Args:
        first, second: of the same pictures in the same order.
        resamples: number of draws, at least 1.
        seed: of the draws.

    Returns:
        Percentiles 2.5 and 97.5 of each overall score, and of the IoU of each class; NaN for what never exists.
    """
    rng = np.random.default_rng(seed)
    count = len(first.truth)
    columns = [
        np.hstack((areas.intersection, areas.truth, areas.predicted)).astype(np.float64) for areas in (first, second)
    ]
    drawn: list[NDArray[np.float64]] = []
    for start in range(0, resamples, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, resamples - start)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        sides = []
        for values in columns:
            # Sums of whole numbers below 2^53: float64 holds them exactly.
            areas = Areas(*np.split(weights @ values, 3, axis=1))
            sides.append(np.column_stack((*overall(areas).values(), areas.iou())))
        drawn.append(sides[1] - sides[0])
    intervals = [_percentiles(column) for column in np.concatenate(drawn).T]
    names = list(overall(total(first)))
    return dict(zip(names, intervals, strict=False)), intervals[len(names) :]


def influence(first: Areas, second: Areas) -> NDArray[np.float64]:
    """How much of the difference of mIoU, ``second - first``, is gone without each picture.

    All of it, where nothing that could be scored is left without the picture.
    """
    difference = mean(total(second).iou()) - mean(total(first).iou())
    without = mean(_without_each(second).iou()) - mean(_without_each(first).iou())
    return np.asarray(difference - np.nan_to_num(without))


def _without_each(areas: Areas) -> Areas:
    """Pixels by class of all pictures but one, for each."""
    whole = total(areas)
    return Areas(whole.intersection - areas.intersection, whole.truth - areas.truth, whole.predicted - areas.predicted)


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)
