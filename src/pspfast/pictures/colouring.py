"""Labels in colours: what a mask looks like wherever one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["colour_of", "coloured"]

_COLOURS = 256  # of a palette
_VOID, _WIDE_VOID = 255, 65_535  # what stands for no class in labels of 8 and 16 bits


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
    places = labels.astype(np.intp, copy=False)  # bytes cannot be divided by 256
    painted: NDArray[np.uint8] = table[np.where(places == _WIDE_VOID, _VOID, places % _COLOURS)]
    return painted


def colour_of(label: int, palette: bytes) -> bytes:
    """The three bytes that :func:`coloured` paints a label with.

    Example:
        >>> colour_of(65_535, bytes(765) + b"rgb")
        b'rgb'
    """
    return coloured(np.array([[label]]), palette).tobytes()
