"""Adaptive average pooling: which pixels each bin averages, as windows, as a matrix, and as once published.

One axis at a time, since the average over a rectangle is that over its rows and columns in turn.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "average_matrix",
    "is_published_pool_exact",
    "nearest_sizes",
    "published_pool",
    "uniform_window",
    "windows",
]


def windows(size: int, bins: int) -> list[tuple[int, int]]:
    """Where PyTorch's adaptive pooling begins and ends the windows of an axis.

    Args:
        size: pixels along the axis.
        bins: of the output; more than ``size`` are possible.

    Returns:
        ``(start, stop)`` of each bin: ``[floor(i * size / bins), ceil((i + 1) * size / bins))``.

    Raises:
        ValueError: one of them is less than one.

    Example:
        >>> windows(63, 6)
        [(0, 11), (10, 21), (21, 32), (31, 42), (42, 53), (52, 63)]
    """
    if size < 1 or bins < 1:
        raise ValueError(f"pooling takes a size and bins of 1 or more, got {size} pixels and {bins} bins")
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def average_matrix(size: int, bins: int) -> NDArray[np.float64]:
    """The matrix that pools an axis: its product with the pixels is what adaptive pooling gives.

    Args:
        size, bins: as for :func:`windows`.

    Returns:
        ``(bins, size)``; each row adds up to one.

    Raises:
        ValueError: as :func:`windows`.

    Example:
        >>> average_matrix(3, 2)
        array([[0.5, 0.5, 0. ],
               [0. , 0.5, 0.5]])
    """
    matrix = np.zeros((bins, size))
    for row, (start, stop) in zip(matrix, windows(size, bins), strict=True):
        row[start:stop] = 1 / (stop - start)
    return matrix


def uniform_window(size: int, bins: int) -> tuple[int, int] | None:
    """The window that all bins of an axis have, if they have the same.

    Args:
        size, bins: as for :func:`windows`.

    Returns:
        ``(length, step)``, or ``None`` if lengths differ. A step of 0 says that starts are not evenly spaced: then the
        average of every position is right, and some of them are to be chosen.

    Raises:
        ValueError: as :func:`windows`.

    Example:
        >>> uniform_window(63, 3), uniform_window(63, 6), uniform_window(64, 6)
        ((21, 21), (11, 0), None)
    """
    spans = windows(size, bins)
    if len(lengths := {stop - start for start, stop in spans}) > 1:
        return None
    steps = {after[0] - before[0] for before, after in pairwise(spans)}
    (length,) = lengths
    if not steps:
        return length, length
    return length, steps.pop() if len(steps) == 1 else 0


def published_pool(size: int, bins: int) -> tuple[int, int]:
    """What mmcv's exporter made of adaptive pooling along an axis: an average pool that is not always the same.

    Args:
        size: pixels along the axis, at least ``bins``.
        bins: of the output.

    Returns:
        ``(kernel, stride)``.

    Raises:
        ValueError: as :func:`windows`, or more bins than pixels.

    Example:
        >>> published_pool(63, 6), is_published_pool_exact(63, 6)
        ((13, 10), False)
    """
    if bins > size >= 1:
        raise ValueError(f"an average pool cannot make {bins} bins of {size} pixels")
    windows(size, bins)
    stride = size // bins
    return size - (bins - 1) * stride, stride


def is_published_pool_exact(size: int, bins: int) -> bool:
    """Whether :func:`published_pool` averages the windows that adaptive pooling does.

    Raises:
        ValueError: as :func:`published_pool`.
    """
    kernel, stride = published_pool(size, bins)
    return windows(size, bins) == [(i * stride, i * stride + kernel) for i in range(bins)]


def nearest_sizes(size: int, fits: Callable[[int], bool], *, count: int = 2, reach: int = 64) -> list[int]:
    """Sizes near another one for which something holds, to be proposed in its place.

    Args:
        size: not looked at itself.
        fits: what has to hold of a size.
        count: of sizes below and of sizes above, at most.
        reach: how far to look either way.

    Returns:
        In ascending order; none if there are none.

    Example:
        >>> nearest_sizes(64, lambda size: uniform_window(size, 6) is not None)
        [62, 63, 66, 67]
    """
    below = [one for one in range(size - 1, max(size - 1 - reach, 0), -1) if fits(one)][:count]
    above = [one for one in range(size + 1, size + 1 + reach) if fits(one)][:count]
    return [*reversed(below), *above]
