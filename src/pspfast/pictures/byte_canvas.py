"""Pictures in a canvas of bytes, for models that normalize by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pspfast.pictures.kernels import Normalization, letterbox_into

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.pictures.geometry import Letterbox

__all__ = ["ByteCanvas", "border_near_mean"]


def border_near_mean(mean: Sequence[float], *, to_rgb: bool) -> tuple[int, int, int]:
    """The bytes, blue first, that a model's own normalization makes nearly zero.

    Args:
        mean: of each channel, in the order that the model has them in.
        to_rgb: whether that is red, green, blue.

    Example:
        >>> border_near_mean((123.675, 116.28, 103.53), to_rgb=True)
        (104, 116, 124)
    """
    blue, green, red = (min(255, max(0, round(value))) for value in (mean[::-1] if to_rgb else mean))
    return blue, green, red


class ByteCanvas:
    """Letterboxes pictures into canvases of bytes, ``(H, W, 3)``, channels as they are; one a thread.

    Values are those of :func:`pspfast.letterbox` without normalization: OpenCV's bilinear resize, whose results are
    whole numbers.

    Args:
        canvas: ``(H, W)``.
    """

    def __init__(self, canvas: tuple[int, int]) -> None:
        self._planes = np.empty((3, *canvas), np.float32)
        self._plain = Normalization((0, 0, 0), (1, 1, 1), "exact")

    def fill(
        self, out: NDArray[np.uint8], pixels: NDArray[np.uint8], geometry: Letterbox, border: tuple[int, int, int]
    ) -> None:
        """Fill ``out`` with the picture, and ``border`` round it.

        Raises:
            ValueError: the geometry is of another picture or canvas.

        Example:
            >>> from pspfast.pictures.geometry import Letterbox
            >>> out = np.empty((4, 4, 3), np.uint8)
            >>> box = Letterbox.fit((2, 4), (4, 4))
            >>> ByteCanvas((4, 4)).fill(out, np.full((2, 4, 3), 9, np.uint8), box, (1, 2, 3))
            >>> out[:, 0].tolist()
            [[1, 2, 3], [9, 9, 9], [9, 9, 9], [1, 2, 3]]
        """
        (top, left), (height, width) = geometry.crop()
        inside = np.s_[top : top + height, left : left + width]
        out[:] = border
        if geometry.is_scaled:
            letterbox_into(self._planes, pixels, geometry, self._plain, 0.0, swap_channels=False)
            out[inside] = self._planes.transpose(1, 2, 0)[inside]
        else:
            out[inside] = pixels
