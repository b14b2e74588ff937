"""What a metric takes: pairs of masks in any of their packings, and whole numbers. Needs NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.pictures import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["pairs", "refuse_one_hot", "whole"]


def pairs(preds: Any, target: Any) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Predictions and labels as arrays of equal shapes: one pair, or those of two lists in turn.

    Args:
        preds, target: arrays or CPU tensors of integers, or equally long lists of them, which may nest.

    Yields:
        The two as :func:`pspfast.pictures.kernels.integers` gives them.

    Raises:
        TypeError: not arrays of integers, or a list and none.
        ValueError: shapes or lengths that differ.

    Example:
        >>> [(pred.tolist(), label.tolist()) for pred, label in pairs([np.array([1])], [np.array([2])])]
        [([1], [2])]
    """
    if isinstance(preds, (list, tuple)) or isinstance(target, (list, tuple)):
        if not isinstance(preds, (list, tuple)) or not isinstance(target, (list, tuple)):
            raise TypeError("preds and target must both be lists, or neither")
        if len(preds) != len(target):
            raise ValueError(f"{len(preds)} predictions and {len(target)} labels")
        for one_pred, one_target in zip(preds, target, strict=True):
            yield from pairs(one_pred, one_target)
        return
    preds, target = kernels.integers("preds", preds), kernels.integers("target", target)
    if preds.shape != target.shape:
        raise ValueError(
            f"preds {preds.shape} and target {target.shape} must have the same shape"
            + "; class scores need an argmax first" * (preds.ndim > target.ndim)
        )
    yield preds, target


def refuse_one_hot(preds: NDArray[Any], target: NDArray[Any], num_classes: int) -> None:
    """Raise ValueError for two one-hot arrays, whose zeros and ones would be counted as classes 0 and 1.

    They have an axis of classes, ``(N, C, H, W)``, ``(N, H, W, C)``, ``(C, H, W)`` or ``(H, W, C)``, along which every
    pixel of both has a single 1. Fewer than three classes are only looked for in four axes: a batch
    of two masks of which one is the other's complement looks the same.

    Example:
        >>> hot = np.eye(3, dtype=np.uint8)[np.array([[[0, 2]]])]
        >>> refuse_one_hot(hot, hot, 3)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: preds and target are one-hot, (1, 1, 2, 3) with 3 classes on axis 3; ...
    """
    axes = (1, 3) if preds.ndim == 4 else (0, 2) if preds.ndim == 3 and num_classes > 2 else ()
    for axis in axes:
        if num_classes < 2 or preds.shape[axis] != num_classes:
            continue
        if all(_is_one_hot(values, axis) for values in (preds, target)):
            raise ValueError(
                f"preds and target are one-hot, {preds.shape} with {num_classes} classes on axis {axis}; class indices "
                f"are expected: take argmax({axis}) of both"
            )


def _is_one_hot(values: NDArray[Any], axis: int) -> bool:
    if values.size == 0 or values.min() < 0 or values.max() != 1:
        return False
    return bool((np.count_nonzero(values, axis=axis) == 1).all())


def whole(name: str, value: Any) -> int:
    """A plain int of at most 63 bits; NumPy's are welcome, bools and floats are not.

    Raises:
        TypeError: not an integer.
        ValueError: an integer of more bits.

    Example:
        >>> whole("num_classes", np.int16(21))
        21
    """
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = int(value.__index__())
    if abs(number) >= 1 << 62:
        raise ValueError(f"{name} is out of range: {number}")
    return number
