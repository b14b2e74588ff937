"""Pictures to a network's input: constants, and one picture after the other into slots of a batch.

Serves ``pspfast preprocess``, which writes the slots into bins, and ``pspfast run``, which hands them to a model.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast.formats.bins import PictureRecord
from pspfast.pictures import kernels
from pspfast.pictures.byte_canvas import ByteCanvas
from pspfast.pictures.geometry import Letterbox
from pspfast.pictures.reader import PictureReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LetterboxSettings", "Preparer", "parameters", "written_extents"]

_LARGEST_SIDE = 1 << 16  # of a canvas


def parameters(
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    stats: Literal["float16", "exact"],
    pad_value: float,
    scale_up: bool,
    dtype: str,
    batch_size: int,
) -> dict[str, Any]:
    """What decides the bytes of a bin, as it stands in the manifest; checked.

    Raises:
        ValueError: one of them is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype must be 'float16' or 'float32', got {dtype!r}")
    kernels.check_padding(pad_value, dtype)
    canvas = Letterbox.fit((1, 1), size).canvas
    if max(canvas) > _LARGEST_SIDE:
        raise ValueError(f"size must be at most {_LARGEST_SIDE} on both axes, got {canvas}")
    normalization = kernels.Normalization(mean, std, stats)
    return {
        "batch_size": int(batch_size),
        "size": list(canvas),
        "layout": "NCHW",
        "channels": "RGB",
        "dtype": dtype,
        "stats": stats,
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "mean_used": list(normalization.mean),
        "std_used": list(normalization.std),
        "pad_value": float(pad_value),
        "scale_up": bool(scale_up),
    }


@dataclass(frozen=True, slots=True)
class LetterboxSettings:
    """How a picture becomes a slot of a batch.

    Attributes:
        dtype: of the slot: ``"float16"`` or ``"float32"``, or ``"uint8"``, which is not normalized.
        canvas: ``(H, W)``.
        normalization: constants of the first two; for float32 that are widened halves, rounded ones.
        pad_value: round the picture, after normalization.
        border: of bytes, in its place: blue, green, red.
        scale_up: whether smaller pictures are enlarged.
        swap_channels: whether red comes first; pictures are read blue first.
        is_channels_last: whether a slot is ``(H, W, 3)`` in place of ``(3, H, W)``, which bytes alone may be.
    """

    dtype: str
    canvas: tuple[int, int]
    normalization: kernels.Normalization
    pad_value: float = 0.0
    border: tuple[int, int, int] = (0, 0, 0)
    scale_up: bool = True
    swap_channels: bool = True
    is_channels_last: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a slot."""
        return (*self.canvas, 3) if self.is_channels_last else (3, *self.canvas)


class Preparer:
    """Brings one picture after the other into slots; one preparer a thread.

    Args:
        settings: how.
        max_pixels: larger pictures are refused.

    Attributes:
        reader: of the pictures.
        seconds: what reading and decoding (``read``) and letterboxing took since this was last set to zeros.
    """

    def __init__(self, settings: LetterboxSettings, max_pixels: int) -> None:
        self._how = settings
        self.reader = PictureReader(max_pixels)
        self._bytes = ByteCanvas(settings.canvas) if settings.dtype == "uint8" else None
        as_read = settings.is_channels_last and not settings.swap_channels
        self._turned = None if self._bytes is None or as_read else np.empty((*settings.canvas, 3), np.uint8)
        self.seconds = {"read": 0.0, "letterbox": 0.0}
        # Data sets have few sizes, and a geometry is read-only.
        fit = functools.partial(Letterbox.fit, canvas=settings.canvas, scale_up=settings.scale_up)
        self._fit = functools.lru_cache(maxsize=256)(fit)

    def prepare(
        self, name: str, source: str, path: str, slot: NDArray[Any], data: tuple[bytes, int] | None = None
    ) -> PictureRecord:
        """Fill a slot.

        Args:
            name: the picture's id, for the record.
            source: its file as the record names it.
            path: of the file; or its name in messages, where ``data`` are given.
            slot: C-contiguous, of the settings's type and shape.
            data: the file's bytes and modification time, where they are not to be read from ``path``.

        Raises:
            PictureError: the picture cannot be used.
        """
        start = time.perf_counter()
        picture = self.reader.read(path) if data is None else self.reader.decode(path, *data)
        decoded = time.perf_counter()
        height, width, _ = picture.pixels.shape
        geometry = self._fit((height, width))
        self.fill(slot, picture.pixels, geometry)
        self.seconds["read"] += decoded - start
        self.seconds["letterbox"] += time.perf_counter() - decoded
        return PictureRecord(name, source, picture.file_bytes, picture.modified_ns, geometry, picture.remark)

    def fill(self, slot: NDArray[Any], pixels: NDArray[np.uint8], geometry: Letterbox) -> None:
        """Letterbox decoded pixels into a slot."""
        how = self._how
        if self._bytes is None:
            kernels.letterbox_into(slot, pixels, geometry, how.normalization, how.pad_value, how.swap_channels)
        elif self._turned is None:
            self._bytes.fill(slot, pixels, geometry, how.border)
        else:
            self._bytes.fill(self._turned, pixels, geometry, how.border)
            turned = self._turned[..., ::-1] if how.swap_channels else self._turned
            np.copyto(slot, turned if how.is_channels_last else turned.transpose(2, 0, 1))


def written_extents(
    slots: int, shape: tuple[int, int, int], itemsize: int, geometries: Sequence[Letterbox], *, padding_is_zero: bool
) -> list[tuple[int, int]]:
    """Byte ranges of a bin that hold anything but zeros: not the rows above and below, not the unused slots.

    Args:
        slots: of the bin, of which the first ones are used.
        shape: ``(3, H, W)`` of a slot.
        itemsize: bytes of a value.
        geometries: of the pictures, slot by slot.
        padding_is_zero: whether rows above and below the picture are zeros.
    """
    channels, height, width = shape
    row = width * itemsize
    extents: list[tuple[int, int]] = []
    for slot, geometry in enumerate(geometries[:slots]):
        (top, _), (rows, _) = geometry.offset, geometry.resized
        if not padding_is_zero:
            top, rows = 0, height
        for plane in range(slot * channels, (slot + 1) * channels):
            start = (plane * height + top) * row
            if extents and extents[-1][1] == start:
                start, _ = extents.pop()
            extents.append((start, (plane * height + top + rows) * row))
    return extents
