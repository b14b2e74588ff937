"""What a dump without a record can be: the readings that its size leaves, and which one its content speaks for.

A reading is taken if it is the only one that fits. What else the bytes may be is said where none does, or several do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast.formats.dump_contents import (
    are_label_floats,
    are_numbers,
    are_scores,
    classes_are_last,
    integers_in,
    is_nc1hwc0,
    wider_but_for_few,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Reading", "is_npu_format", "npu_formats", "reading_of", "suspects_of"]

Reading = Literal["integers", "floats", "scores", "unclear"]

# An NPU's own layout of a type: channels of a block.
_BLOCKS = (("float16", 16), ("float32", 16), ("float32", 8), ("int8", 32))


def reading_of(mask: NDArray[Any], num_classes: int, scores: NDArray[Any] | None) -> Reading:
    """What a mask is of which not all integers are classes.

    Args:
        mask: ``(H, W)`` integers, as wide as a label is by the file's size.
        num_classes: of the data set.
        scores: the same bytes as class scores, of one dimension, if these would be as large; else ``None``.
    """
    found = integers_in(mask, num_classes)
    if found.far and mask.itemsize > 1:
        floats = mask.view(f"f{mask.itemsize}")
        if are_label_floats(floats, num_classes):
            return "floats"  # nothing else is whole numbers throughout
    could_be_scores = scores is not None and are_scores(scores, num_classes, nan=False)
    fits: list[Reading] = []
    if (
        found.are_labels
        and not could_be_scores  # as halves or floats, labels are next to nothing
        and not wider_but_for_few(_flat_bytes(mask), mask.itemsize)[0]
        and (found.are_runs or not _wider_floats(mask))
    ):
        fits.append("integers")
    if scores is not None and could_be_scores and classes_are_last(scores, num_classes) is False:
        fits.append("scores")
    return fits[0] if len(fits) == 1 else "unclear"


def suspects_of(mask: NDArray[Any], num_classes: int, scores: NDArray[Any] | None) -> list[str]:
    """What bytes may be that are no mask of their canvas, in words, with the option that takes them as such.

    Args:
        mask, num_classes, scores: see :func:`reading_of`.
    """
    found, itemsize = integers_in(mask, num_classes), mask.itemsize
    told = []
    wide, is_certain = wider_but_for_few(_flat_bytes(mask), itemsize)
    if found.are_swapped and not wide:
        told.append(f"int{8 * itemsize} labels in the other byte order")
    if wide:
        told.append(f"int{8 * wide} labels of {_share(wide // itemsize)} the pixels")
    told += [
        f"{kind} of {_share(np.dtype(kind).itemsize // itemsize)} the pixels"
        for kind in ([] if found.are_runs else _wider_floats(mask))
    ]
    if found.are_labels and not is_certain:
        told.append(f"{mask.dtype} labels (--dump-type {mask.dtype})")
    if found.far and itemsize > 1:
        floats = mask.view(f"f{itemsize}")
        if are_label_floats(floats, num_classes):
            told.append(f"{floats.dtype} labels (--dump-type {floats.dtype})")
        elif are_numbers(floats):
            low, high = floats[np.isfinite(floats)].min(), floats[np.isfinite(floats)].max()
            what = "probabilities" if low >= 0 and high <= 1 else "scores"
            told.append(f"{floats.dtype} {what} of one class, from {low:.3g} to {high:.3g}, which are no class indices")
    if scores is not None and are_scores(scores, num_classes, nan=False):
        last = classes_are_last(scores, num_classes)
        words = f"{scores.dtype} scores of {num_classes} classes"
        if last is not False:
            told.append(f"{words} that come last (--dump-type scores-last-{scores.dtype})")
        if last is not True:
            told.append(f"{words} (--dump-type scores-{scores.dtype})")
    return told


def npu_formats(bytes_a_pixel: int, num_classes: int) -> list[str]:
    """Which types in NC1HWC0, in which channels are filled up to whole blocks, have this size.

    Example:
        >>> npu_formats(64, 21), npu_formats(42, 21)  # 32 halves, or 16 floats of which one counts; 21 halves
        (['float16 in blocks of 16', 'float32 in blocks of 16'], [])
    """
    return [
        f"{kind} in blocks of {block}"
        for kind, block in _BLOCKS
        if bytes_a_pixel in {-(-one // block) * block * np.dtype(kind).itemsize for one in (1, num_classes)}
    ]


def is_npu_format(data: NDArray[np.uint8], bytes_a_pixel: int, num_classes: int) -> bool:
    """Whether class scores lie in a file as NC1HWC0, which other scores are as large as.

    Args:
        data: of one picture.
    """
    return any(
        is_nc1hwc0(data.view(kind), num_classes, block)
        for kind, block in _BLOCKS
        if block != num_classes and -(-num_classes // block) * block * np.dtype(kind).itemsize == bytes_a_pixel
    )


def _wider_floats(mask: NDArray[Any]) -> list[str]:
    """Types of floats that the bytes of a mask may be, of fewer pixels than it has."""
    data = _flat_bytes(mask)
    found = []
    for kind in ("float32", "float64"):
        if np.dtype(kind).itemsize > mask.itemsize:
            values = data[: len(data) // 8 * 8].view(kind)
            if np.count_nonzero(values) >= 4 and are_numbers(values):
                found.append(kind)
    return found


def _flat_bytes(mask: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(mask).reshape(-1).view(np.uint8)


def _share(parts: int) -> str:
    return {2: "half", 4: "a quarter of", 8: "an eighth of"}[parts]
