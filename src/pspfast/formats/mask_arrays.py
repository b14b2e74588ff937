"""Arrays whose type and shape are known, a model's outputs or dumps that say so, to labels; and which are neither.

What has no record of its type is told by :mod:`pspfast.formats.dump_contents` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.system.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "MOST_CLASSES", "NO_CLASS", "DumpError", "UnlikeMaskError", "labels_of_floats", "labels_of_scores", "output_fault",
    "scores_axis", "without_leading_ones",
]  # fmt: skip

MOST_CLASSES = 65_535
"""No data set has classes beyond this: such integers are rather something else, read as integers."""
NO_CLASS = -1
"""Stands for a float that is no label: NaN, infinity, a whole number below 0."""


class DumpError(FileError):
    """A dumped mask that cannot be used; ``filename`` is its path and ``strerror`` the reason."""


class UnlikeMaskError(DumpError):
    """A dump whose bytes are no mask of the canvas, or could be several things; so are all of its folder, mostly."""


def without_leading_ones(array: NDArray[Any]) -> NDArray[Any]:
    """``(1, 1, H, W)`` and ``(1, H, W)`` as ``(H, W)``."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array


def scores_axis(
    shape: Sequence[int | None], canvas: tuple[int | None, int | None], num_classes: int | None
) -> tuple[int, ...]:
    """Where in a shape of three the classes may be: ``(0,)`` first, ``(2,)`` last, both, or neither.

    Example:
        >>> scores_axis((21, 64, 96), (64, 96), 21), scores_axis((64, 96, 21), (64, 96), None)
        ((0,), (2,))
    """
    if len(shape) != 3 or num_classes == 1:
        return ()
    splits = ((0, shape[0], shape[1:]), (2, shape[2], shape[:2]))
    return tuple(
        axis
        for axis, classes, sides in splits
        if (num_classes is None or classes in (None, num_classes)) and _could_be(sides, canvas)
    )


def output_fault(
    dtype: str, shape: Sequence[int | None], canvas: tuple[int | None, int | None], num_classes: int | None = None
) -> str:
    """Why a model's output for one picture can be neither labels nor class scores; empty if it can.

    Args:
        dtype: NumPy's name of its type.
        shape: of one picture's; ``None`` for sides that are open.
        canvas: ``(H, W)`` of the model's input; ``None`` for sides that nobody knows yet.
        num_classes: ``None`` where nobody knows it yet: any number.

    Example:
        >>> output_fault("int64", (1, 64, 96), (64, 96)), output_fault("float32", (21, 64, 96), (64, 96))
        ('', '')
        >>> output_fault("int64", (1, 32, 48), (64, 96))
        'int64 (1, 32, 48) for a picture; expected labels (64, 96) or class scores (classes, 64, 96)'
    """
    is_float = dtype.startswith("float")
    is_number = is_float or dtype.startswith(("int", "uint", "bool"))
    axes: tuple[int, ...] = ()
    for ones in range(max(len(shape) - 1, 1)):
        if all(side in (1, None) for side in shape[:ones]):
            sides = shape[ones:]
            axes = axes or scores_axis(sides, canvas, num_classes)
            if is_number and (_could_be(sides, canvas) or (is_float and 0 in axes)):
                return ""
    classes = "classes" if num_classes is None else str(num_classes)
    scores = "class scores" if num_classes is None else f"scores of {num_classes} classes"
    hint = ""
    if 2 in axes and is_float:
        hint = ": classes come last here; transpose the output, (N, H, W, C) to (N, C, H, W), or take labels (ArgMax)"
    elif 0 in axes:
        hint = ": class scores are floats; take labels (ArgMax)"
    shown = f"({', '.join('?' if side is None else str(side) for side in shape)}{',' * (len(shape) == 1)})"
    return (
        f"{dtype} {shown} for a picture; expected labels {canvas} or {scores} ({classes}, {canvas[0]}, {canvas[1]})"
        + hint
    )


def _could_be(sides: Sequence[int | None], canvas: tuple[int | None, int | None]) -> bool:
    return len(sides) == 2 and all(None in (side, one) or side == one for side, one in zip(sides, canvas, strict=True))


def labels_of_scores(path: str, scores: NDArray[Any], rows: range) -> NDArray[np.int32]:
    """The first of the largest, as ``torch.argmax`` and ``numpy.argmax``, which are slow along the first axis.

    Args:
        path: of the dump, in messages.
        scores: ``(classes, H, W)`` floats.
        rows: that are needed; the others are 0.

    Raises:
        DumpError: no class is the largest: some are NaN, or several are plus infinity.
    """
    part = scores[:, rows.start : rows.stop]
    best = part[0].astype(np.result_type(part, np.float32))  # halves are slow to compare
    other, labels = np.empty_like(best), np.zeros(best.shape, np.int32)
    with np.errstate(invalid="ignore"):  # NaN, which is looked for in the end
        for label in range(1, len(part)):
            np.copyto(other, part[label])
            labels[other > best] = label
            np.maximum(best, other, out=best)
        largest = best.max()
    if np.isnan(largest):
        raise DumpError(path, f"class scores that are not numbers (NaN) at {np.isnan(best).sum():,} pixels")
    if largest == np.inf:
        several = (part[:, best == np.inf] == np.inf).sum(0) > 1
        if several.any():
            raise DumpError(
                path,
                f"class scores that are plus infinity in several classes at {several.sum():,} pixels: no class is the "
                "largest; half precision that overflowed?",
            )
    return _whole(labels, scores.shape[1:], rows)


def labels_of_floats(path: str, values: NDArray[Any], num_classes: int, rows: range) -> NDArray[np.int32]:
    """Labels that are stored as floats; what is no number or below 0 becomes :data:`NO_CLASS`.

    Args:
        path: of the dump, in messages.
        values: ``(H, W)`` floats.
        num_classes: most values must be below.
        rows: that are needed; the others are 0.

    Raises:
        UnlikeMaskError: some are no labels at all, fractions or whole numbers that no data set has; or most are no
            class.
    """
    part = values[rows.start : rows.stop]
    part = part.astype(np.result_type(part, np.float32))  # halves cannot hold the largest label to compare with
    finite = np.isfinite(part)
    with np.errstate(invalid="ignore"):  # NaN and infinity, which are no class
        odd = finite & ((np.abs(part) > MOST_CLASSES) | (part != np.rint(part)))
    if odd.any():
        raise UnlikeMaskError(path, _what_floats_are(part[finite], values.dtype, int(odd.sum())))
    labels = np.where(finite & (part >= 0), part, np.float32(NO_CLASS)).astype(np.int32)
    classes = np.count_nonzero((labels >= 0) & (labels < num_classes))
    if 2 * classes < labels.size:
        raise UnlikeMaskError(
            path,
            f"{labels.size - classes:,} of {labels.size:,} {values.dtype} values are no class of {num_classes}: scores "
            "of one class? Labels are class indices (ArgMax)",
        )
    return _whole(labels, values.shape, rows)


def _what_floats_are(values: NDArray[Any], dtype: np.dtype[Any], odd: int) -> str:
    text = f"{odd:,} {dtype} values that are no whole numbers from 0 to {MOST_CLASSES}"
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return f"{text} but from {low:.3g} to {high:.3g}: probabilities of one class? Labels are class indices (ArgMax)"
    return f"{text} but from {low:.3g} to {high:.3g}: scores of one class? Labels are class indices (ArgMax)"


def _whole(labels: NDArray[np.int32], canvas: tuple[int, ...], rows: range) -> NDArray[np.int32]:
    whole = np.zeros(canvas, np.int32)
    whole[rows.start : rows.stop] = labels
    return whole
