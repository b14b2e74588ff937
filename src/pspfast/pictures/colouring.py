"""Labels in colours: what a mask looks like wherever one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["colour_of", "coloured", "has_background", "lay_over"]

_COLOURS = 256  # of a palette
_VOID, _WIDE_VOID = 255, 65_535  # what stands for no class in labels of 8 and 16 bits
_PIXELS_AT_ONCE = 1 << 18  # stay in the cache, and cost no memory to speak of


def has_background(classes: Sequence[str]) -> bool:
    """Whether class 0 is what is left where nothing is, as in VOC; in ADE20K, Cityscapes and COCO it is a thing.

    Example:
        >>> has_background(("background", "aeroplane")), has_background(("road", "sidewalk"))
        (True, False)
    """
    return bool(classes) and classes[0].strip().casefold() in ("background", "_background_")


def coloured(labels: NDArray[Any], palette: bytes) -> NDArray[np.uint8]:
    """Labels ``(h, w)`` painted, ``(h, w, 3)`` in the palette's order of channels; above 256, colours come again.

    Args:
        labels: integers, none negative.
        palette: 256 colours, three bytes each.

    Example:
        >>> coloured(np.array([[0, 257]]), bytes(3) + bytes((128, 0, 0)) + bytes(762)).tolist()
        [[[0, 0, 0], [128, 0, 0]]]
    """
    table = np.frombuffer(palette, np.uint8).reshape(_COLOURS, 3)
    painted: NDArray[np.uint8] = table[_indices(labels)]
    return painted


def lay_over(
    pixels: NDArray[np.uint8], labels: NDArray[Any], palette: bytes, *, share: float = 0.5, but_background: bool
) -> NDArray[np.uint8]:
    """Mix the colours of labels into a picture.

    Args:
        pixels: ``(h, w, 3)`` uint8, blue first; changed in place where rows are packed and writable.
        labels: ``(h, w)`` integers, none negative.
        palette: 256 colours, three bytes each, red first.
        share: of the colours, 0 to 1.
        but_background: leave the picture as it is where the label is 0, see :func:`has_background`.

    Returns:
        The picture, packed.

    Example:
        >>> grey = np.full((1, 2, 3), 100, np.uint8)
        >>> lay_over(grey, np.array([[0, 1]]), bytes(3) + b"\\xc8\\x00\\x00" + bytes(762), but_background=True).tolist()
        [[[100, 100, 100], [50, 50, 150]]]
    """
    import cv2

    shown = np.ascontiguousarray(pixels)
    if not shown.flags.writeable:
        shown = shown.copy()
    table: Any = np.frombuffer(palette, np.uint8).reshape(_COLOURS, 1, 3)[..., ::-1].copy()
    rows = max(1, _PIXELS_AT_ONCE // max(1, shown.shape[1]))
    for top in range(0, len(shown), rows):
        part = shown[top : top + rows]
        indices = _indices(labels[top : top + rows])
        painted = cv2.LUT(cv2.merge([indices] * 3), table)
        mixed = cv2.addWeighted(part, 1 - share, painted, share, 0)
        if but_background:
            cv2.copyTo(mixed, (labels[top : top + rows] != 0).view(np.uint8), part)
        else:
            part[...] = mixed
    return shown


def _indices(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Which colour each label has."""
    if labels.dtype == np.uint8:
        return np.ascontiguousarray(labels)
    places = labels.astype(np.intp, copy=False)  # no small type is divided by 256
    return np.where(places == _WIDE_VOID, _VOID, places % _COLOURS).astype(np.uint8)


def colour_of(label: int, palette: bytes) -> bytes:
    """The three bytes that :func:`coloured` paints a label with.

    Example:
        >>> colour_of(65_535, bytes(765) + b"rgb")
        b'rgb'
    """
    return coloured(np.array([[label]]), palette).tobytes()
