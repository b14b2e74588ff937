"""What the bytes of a dump speak for where its size leaves several things: integers, floats, class scores, and which.

Everything here is evidence from values alone: how wide integers are, whether bits are plausible floats, and which
values that lie next to each other are alike. What follows from it, :mod:`pspfast.formats.dumped_masks` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.formats.mask_arrays import MOST_CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Integers", "are_label_floats", "are_numbers", "are_scores", "classes_are_last", "integers_in", "is_nc1hwc0",
    "no_classes_of", "wider_but_for_few", "wider_integers",
]  # fmt: skip

_PIECES, _PIECE = 16, 256  # what is looked at of class scores
_LARGE = 1 << 21  # values
_SAMPLES = 4096  # bytes of a mask that mostly show that it is no wider type
_FEW = 4  # fewer pixels say nothing
_MOST_DISTINCT = 16  # of labels that are no class
# Bytes of a label -> bits of 8 bytes that are the first and the second half of each wider type.
_HALVES = {
    1: ((0x00FF00FF00FF00FF, 0xFF00FF00FF00FF00), (0x0000FFFF0000FFFF, 0xFFFF0000FFFF0000), (2**32 - 1, 2**64 - 2**32)),
    2: ((0x0000FFFF0000FFFF, 0xFFFF0000FFFF0000), (2**32 - 1, 2**64 - 2**32)),
    4: ((2**32 - 1, 2**64 - 2**32),),
    8: (),
}
# Magnitudes of scores; those of halves end elsewhere.
_SMALLEST, _LARGEST = 1e-12, 1e12


@dataclass(frozen=True, slots=True)
class Integers:
    """What a mask's bits are as integers.

    Attributes:
        near: how many are not 0 and yet no normal floats: labels, also those of no class.
        far: how many are normal floats, which labels are not.
        strange: how many are no class.
        are_swapped: whether all of them are classes in the other byte order, and not in this one.
        are_runs: whether most that are not 0 are like their neighbour, as labels are and bytes of floats are not.
        are_scattered: whether most are no class, of many values, and no runs.
    """

    near: int
    far: int
    strange: int
    are_swapped: bool
    are_runs: bool
    are_scattered: bool

    @property
    def are_labels(self) -> bool:
        """Whether they are labels rather than the bits of something else; a few odd ones are let pass."""
        return self.far <= self.near and not self.are_swapped and not self.are_scattered


def integers_in(mask: NDArray[Any], num_classes: int) -> Integers:
    """What the integers of a mask are; ``mask`` is ``(H, W)`` of any integer type."""
    # Positive integers below are denormal floats, negative ones above are NaN: never a score or a label.
    smallest_normal = {1: 1 << 8, 2: max(1 << 10, num_classes), 4: 1 << 23, 8: 1 << 23}[mask.itemsize]
    nonzero, far = int(np.count_nonzero(mask)), 0
    if int(mask.min()) <= -smallest_normal or int(mask.max()) >= smallest_normal:
        far = int(np.count_nonzero((mask <= -smallest_normal) | (mask >= smallest_normal)))
    is_strange = no_classes_of(mask, num_classes)
    strange = int(np.count_nonzero(is_strange))
    equal = np.count_nonzero((mask[:, 1:] == mask[:, :-1]) & (mask[:, 1:] != 0))
    are_runs = 2 * equal >= nonzero
    are_swapped = are_scattered = False
    if mask.itemsize > 1 and strange:
        are_swapped = not no_classes_of(mask.byteswap(), num_classes).any()
    if mask.itemsize == 1 and 2 * strange > nonzero and not are_runs:
        are_scattered = len(np.unique(mask[is_strange])) > _MOST_DISTINCT
    return Integers(nonzero - far, far, strange, are_swapped, are_runs, are_scattered)


def no_classes_of(mask: NDArray[Any], num_classes: int) -> NDArray[np.bool_]:
    """Which integers are no class."""
    return (mask < 0) | (mask >= num_classes)


def are_label_floats(values: NDArray[Any], num_classes: int) -> bool:
    """Whether floats are labels: whole numbers, most of them classes; some may be none (NaN, infinity, below 0)."""
    finite = values[np.isfinite(values)]
    finite = finite.astype(np.result_type(finite, np.float32), copy=False)
    classes = np.count_nonzero((finite >= 0) & (finite < num_classes))
    are_whole = bool(((np.abs(finite) <= MOST_CLASSES) & (finite == np.rint(finite))).all())
    return are_whole and 2 * classes >= values.size


def are_numbers(values: NDArray[Any]) -> bool:
    """Whether floats that are not 0 are nearly all of a usual magnitude; so are none at all."""
    nonzero, usual, _ = _magnitudes(values, max(_SMALLEST, float(np.finfo(values.dtype).tiny)))
    return usual >= 0.9 * nonzero


def are_scores(values: NDArray[Any], num_classes: int, *, nan: bool) -> bool:
    """Whether floats can be class scores: most pixels have one of a usual magnitude, if anything but zeros.

    Probabilities of all other classes may be next to nothing, where integers are so throughout.

    Args:
        values: floats of any shape.
        num_classes: scores of a pixel.
        nan: whether NaN will do, which is then told by whoever looks for the largest.
    """
    nonzero, usual, nans = _magnitudes(values, float(np.finfo(values.dtype).tiny))
    if nan:
        usual += nans
    elif 10 * nans > values.size:
        return False
    return 2 * usual >= min(nonzero, values.size // num_classes)


def _magnitudes(values: NDArray[Any], smallest: float) -> tuple[int, ...]:
    """How many of the values that are looked at are not 0, of a usual magnitude or infinite, and NaN; scaled to all."""
    piece = _pieces(values.reshape(-1))
    sizes = np.abs(piece.astype(np.result_type(piece, np.float32)))
    with np.errstate(invalid="ignore"):
        fine = ((sizes >= smallest) & (sizes <= _LARGEST)) | np.isinf(sizes)
    share = values.size / piece.size
    return tuple(int(np.count_nonzero(one) * share) for one in (sizes, fine, np.isnan(sizes)))


def classes_are_last(scores: NDArray[Any], num_classes: int) -> bool | None:
    """Whether the classes of a pixel lie together; ``None`` if the values do not tell.

    Neighbours in a picture are alike and the scores of a pixel's classes are not: where classes come last, a value is
    like the one ``num_classes`` further on and unlike those between. Where nothing is alike, they are taken to come
    first, as compilers write them.

    Args:
        scores: floats as they lie in the file, of one dimension.
        num_classes: at least 2.

    Example:
        >>> import numpy as np
        >>> first = np.repeat([3, -3], 500).astype(np.float32)  # 500 pixels of class 0
        >>> classes_are_last(first, 2), classes_are_last(np.tile(np.float32([3, -3]), 500), 2)
        (False, True)
    """
    ratio, slack = _alike(scores, num_classes)
    if ratio <= 1 + slack:
        return False
    return True if ratio >= 1.5 + slack else None


def is_nc1hwc0(values: NDArray[Any], num_classes: int, channels: int = 16) -> bool:
    """Whether values lie as an NPU's own format ``(N, C1, H, W, C0)`` has them: ``C0`` channels of a pixel together.

    Args:
        values: floats as they lie in the file, of one dimension, ``C1 * H * W * C0`` of them.
        num_classes: of which the last block is filled up with zeros.
        channels: ``C0``.
    """
    used = num_classes % channels
    if used:  # zeros fill the last block up
        last = values[-(len(values) // -(-num_classes // channels)) :].reshape(-1, channels)
        return not last[:, used:].view(f"u{values.itemsize}").any() and bool(last.any())
    ratio, slack = _alike(values, channels)
    return ratio > 1 + slack


def wider_integers(part: NDArray[np.uint8], itemsize: int) -> tuple[int, bool]:
    """How wide the integers are that a mask's bytes hold, if they are wider than its size says.

    Bytes that are zero in all places but the first or the last ones are a wider type: neighbours in a mask are not.

    Args:
        part: bytes of the mask, from a multiple of 8 bytes on.
        itemsize: bytes of a label by the file's size.

    Returns:
        Bytes of the wider type, 0 if there is none; and whether it is certain.

    Example:
        >>> labels = np.tile(np.uint8([0, 1, 1, 1]), 32)
        >>> wider_integers(labels, 1), wider_integers(labels.astype(np.int32).view(np.uint8), 1)
        ((0, False), (4, True))
    """
    words = part[: len(part) // 8 * 8].view("<u8")
    middle = len(words) // 2
    for seen in (words[middle : middle + _SAMPLES // 8], words):
        filled = int(np.bitwise_or.reduce(seen))
        if all(filled & first and filled & second for first, second in _HALVES[itemsize]):
            return 0, False
    if not filled:
        return 0, False
    return wider_but_for_few(part, itemsize)


def wider_but_for_few(part: NDArray[np.uint8], itemsize: int) -> tuple[int, bool]:
    """:func:`wider_integers`, where some of these are no class: -1 has no byte that is zero."""
    aligned = part[: len(part) // 8 * 8]
    for wide in (8, 4, 2):
        if wide <= itemsize:
            continue
        labels = aligned.view(f"i{wide}")
        limit = min(MOST_CLASSES, (1 << 4 * wide) - 1)
        for one, most in ((labels, limit), (labels.byteswap(), 255)):
            filled, small = one != 0, (one > 0) & (one <= most)
            count, positive = np.count_nonzero(filled), np.count_nonzero(small)
            if 10 * positive >= count >= _FEW and positive + np.count_nonzero(one == -1) >= 0.95 * count:
                # Thin lines and single pixels of a mask may lie so by chance; areas do not.
                is_certain = bool(2 * np.count_nonzero(filled[1:] & filled[:-1]) >= count)
                if is_certain or 100 * count >= len(one):
                    return wide, is_certain
    return 0, False


def _alike(values: NDArray[Any], stride: int) -> tuple[float, float]:
    """How much more values differ that lie closer together than ``stride``, and what of it may be chance."""
    ordered = _in_order(_pieces(values))
    differences = {}
    for step in (*range(1, min(stride, 4)), stride):
        found = np.abs(ordered[:, step:] - ordered[:, :-step])
        differences[step] = float(found.mean()) if found.size else 0.0
    informative = int(np.count_nonzero(found))  # at the stride, which comes last
    slack = max(0.1, 4 / math.sqrt(max(informative, 1)))
    apart = differences.pop(stride)
    closer = min(differences.values())
    if not apart:
        return (math.inf if closer else 1.0), 0.1
    return closer / apart, slack


def _pieces(values: NDArray[Any]) -> NDArray[Any]:
    """``(pieces, values)`` of what lies in a file, from all over it.

    All of it where these are all the same value, unless it is large: with classes last no part of it would be.
    """
    if len(values) <= _PIECES * _PIECE:
        return values[None]
    step = (len(values) - _PIECE) // (_PIECES - 1)
    pieces = np.stack([values[number * step : number * step + _PIECE] for number in range(_PIECES)])
    if len(values) > _LARGE or (pieces != pieces[:, :1]).any():
        return pieces
    return values[None]


def _in_order(values: NDArray[Any]) -> NDArray[np.float64]:
    """Floats as numbers in their order that no infinity or large value outweighs: their bits."""
    bits = values.view(f"i{values.itemsize}")
    lowest = np.iinfo(bits.dtype).min
    return np.where(bits < 0, lowest - bits, bits).astype(np.float64)
