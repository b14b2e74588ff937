"""The kernels as documented functions: NumPy in, NumPy out, shapes and dtypes checked with words."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast import _core
from pspfast.pictures.channel_statistics import check_statistics
from pspfast.pictures.geometry import CropRule, Letterbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "DEFAULT_SIZE", "IMAGENET_MEAN", "IMAGENET_STD", "Normalization",
    "check_canvas", "check_padding", "integers", "letterbox", "letterbox_into", "unpad",
]  # fmt: skip

Triple = tuple[float, float, float]
Stats = Literal["float16", "exact"]

IMAGENET_MEAN: Triple = (123.675, 116.28, 103.53)
"""Mean of red, green, blue over ImageNet in 0..255, as in every mmsegmentation configuration of PSPNet."""
IMAGENET_STD: Triple = (58.395, 57.12, 57.375)
"""Standard deviation of red, green, blue over ImageNet in 0..255, from the same place."""
DEFAULT_SIZE = (500, 500)
"""Canvas of the published PSPNet guide, ``(height, width)``."""


class Normalization:
    """``(x - mean) / std`` as the published scripts compute it, for each of the 256 values of a byte.

    OpenCV subtracts in float32 (the mean rounded to it) and multiplies with ``1 / std`` in double, rounded once to
    float32; measured with 4.11 and 5.0, and followed to the bit.

    Args:
        mean: per output channel, in 0..255.
        std: per output channel, in 0..255, positive.
        stats: ``"float16"`` rounds both to float16 first (123.675 becomes 123.6875), as the published script does and
            so the published 76.18 mIoU; ``"exact"`` takes them as they are, as mmsegmentation does.
        rounded: whether float32 results are rounded to halves: what a float16 result becomes when it is widened, at
            the price of a float32 one. Padding is not.

    Attributes:
        mean, std: as used.
        normalizer: the kernels' form of it.

    Raises:
        ValueError: not three numbers each, a std that is not positive, a quotient that float32 cannot hold, or numbers
            for pictures in 0..1.

    Example:
        >>> Normalization(IMAGENET_MEAN, IMAGENET_STD, "float16").mean
        (123.6875, 116.25, 103.5)
    """

    __slots__ = ("mean", "normalizer", "std")

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], stats: Stats = "float16", *, rounded: bool = False
    ) -> None:
        if stats not in ("float16", "exact"):
            raise ValueError(f"stats must be 'float16' or 'exact', got {stats!r}")
        self.mean, self.std = _triple("mean", mean, stats), _triple("std", std, stats)
        if not min(self.std) > 0:
            raise ValueError(f"std must be positive{' as float16' * (stats == 'float16')}, got {tuple(std)}")
        inv_std = (1.0 / self.std[0], 1.0 / self.std[1], 1.0 / self.std[2])
        if not max(inv_std) <= _LARGEST_FLOAT32:
            raise ValueError(f"1 / std must fit float32, got std {tuple(std)}")
        check_statistics(mean, std)
        self.normalizer = _core.Normalizer(self.mean, inv_std)
        if rounded:  # a picture of all bytes says what they become
            ramp = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
            halves = np.empty((3, 1, 256), np.float16)
            box = Letterbox.fit((1, 256), (1, 256))
            letterbox_into(halves, ramp, box, self)
            single = np.ascontiguousarray(halves[:, 0].astype(np.float32))
            self.normalizer = _core.Normalizer(self.mean, inv_std, single)


_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)

_normalization = functools.lru_cache(maxsize=16)(Normalization)


def letterbox(
    image: NDArray[np.uint8],
    size: tuple[int, int] | None = None,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    stats: Stats = "float16",
    pad_value: float = 0.0,
    scale_up: bool = True,
    swap_channels: bool = True,
    dtype: DTypeLike | None = None,
    geometry: Letterbox | None = None,
    out: NDArray[Any] | None = None,
    isa: str | None = None,
) -> NDArray[Any]:
    """Resize, swap channels, normalize and pad a picture into a network's input, in one pass.

    With the defaults the result is, byte for byte, what the published VOC script writes: OpenCV's bilinear resize by
    ``min(H / h, W / w)``, BGR to RGB, ``(x - mean) * (1 / std)`` in float32, centred, zeros round it, float16.

    Args:
        image: ``(h, w, 3)`` uint8. Any row stride is read in place; other layouts (``image[..., ::-1]``) are copied.
        size: ``(H, W)`` of the canvas; if left out that of ``out`` or ``geometry``, else ``(500, 500)``.
        mean, std: per *output* channel (RGB for a BGR picture with ``swap_channels``), in 0..255.
        stats: ``"float16"`` rounds mean and std to float16 first, ``"exact"`` does not; see :class:`Normalization`.
        pad_value: written round the picture as it is, after normalization.
        scale_up: whether a picture smaller than the canvas is enlarged.
        swap_channels: whether output channel 0 is input channel 2 (BGR <-> RGB).
        dtype: ``float16`` or ``float32``; if left out that of ``out``, else ``float16``.
        geometry: a record from :meth:`Letterbox.fit` for this picture, in place of ``size`` and ``scale_up``.
        out: ``(3, H, W)``, C-contiguous, float16 or float32; written in full and returned. ``batch[i]`` of an
            ``(N, 3, H, W)`` array writes into that slot.
        isa: one of ``pspfast.isa()["runnable"]``; the best one, or ``PSPFAST_ISA``, if left out.

    Returns:
        ``(3, H, W)`` of ``dtype``; ``out`` itself if given.

    Raises:
        TypeError: ``image`` is not a uint8 array, ``dtype`` or ``out`` not float16 or float32.
        ValueError: a shape, size or constant that cannot be; a mean or std for pictures in 0..1; a padding that is not
            finite or that ``dtype`` cannot hold.
        RuntimeError: an instruction set this CPU lacks.

    Example:
        >>> import numpy as np
        >>> picture = np.full((375, 500, 3), 128, np.uint8)
        >>> tensor = letterbox(picture)
        >>> tensor.shape, tensor.dtype, tensor[:, 250, 250].tolist()
        ((3, 500, 500), dtype('float16'), [0.0738525390625, 0.2056884765625, 0.427001953125])
        >>> batch = np.empty((16, 3, 500, 500), np.float16)
        >>> letterbox(picture, out=batch[5]).base is batch
        True
    """
    if geometry is not None and size is not None and geometry.canvas != tuple(size):
        raise ValueError(f"geometry has the canvas {geometry.canvas}, size says {tuple(size)}")
    if out is None:
        canvas = geometry.canvas if geometry is not None else (DEFAULT_SIZE if size is None else size)
        if dtype is not None and np.dtype(dtype) not in (np.float16, np.float32):
            raise TypeError(f"dtype must be float16 or float32, got {np.dtype(dtype)}")
    else:
        _check_out(out, size, dtype)
        canvas = (out.shape[1], out.shape[2])
    _check_image(image)

    box = geometry if geometry is not None else Letterbox.fit(image.shape[:2], canvas, scale_up=scale_up)
    if out is None:
        out = np.empty((3, *box.canvas), np.float16 if dtype is None else dtype)
    check_padding(pad_value, out.dtype.name)
    if np.may_share_memory(out, image):
        image = image.copy()
    letterbox_into(out, image, box, _prepared(mean, std, stats), pad_value, swap_channels, isa)
    return out


def letterbox_into(
    out: NDArray[Any],
    image: NDArray[np.uint8],
    geometry: Letterbox,
    normalization: Normalization,
    pad_value: float = 0.0,
    swap_channels: bool = True,
    isa: str | None = None,
) -> None:
    """:func:`letterbox` for loops: everything that does not change from picture to picture is made beforehand.

    Raises:
        ValueError: the geometry is of another picture or canvas.
    """
    if geometry.picture != image.shape[:2] or geometry.canvas != out.shape[1:]:
        raise ValueError(
            f"the geometry is of a picture {geometry.picture} in a canvas {geometry.canvas}, "
            f"not of {image.shape[:2]} in {out.shape[1:]}"
        )
    # The kernel takes rows of packed pixels; a row stride of any kind is its business, other layouts are not.
    if image.strides[2] != 1 or image.strides[1] != 3:
        image = np.ascontiguousarray(image)
    isa = _core.active_isa() if isa is None else isa
    arguments = (geometry.resized, geometry.offset, normalization.normalizer, pad_value, swap_channels, isa)
    if out.dtype == np.float16:
        # Cython's buffers have no half type: fp16 crosses the border as its bits, here and nowhere else.
        _core.letterbox_f16(image, out.view(np.uint16), *arguments)
    else:
        _core.letterbox_f32(image, out, *arguments)


def unpad(
    mask: NDArray[Any],
    geometry: Letterbox,
    *,
    rule: CropRule = "exact",
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Bring a letterboxed mask back to its picture's size, without its padding.

    Nearest by PyTorch's rule, ``src = min(int(floorf(dst * (float)in / out)), in - 1)`` in float32, as
    ``torch.nn.functional.interpolate(mode="nearest")``; a picture that was not scaled is only cropped.

    Args:
        mask: ``(H, W)`` class indices, of the canvas; any integer type, any strides.
        geometry: the picture's letterbox.
        rule: which part of the canvas is taken, see :meth:`Letterbox.crop`.
        dtype: ``uint8`` or ``int32``; if left out that of ``out``, else ``uint8`` for uint8 masks and ``int32``.
        out: ``(h, w)`` uint8 or int32, rows packed; written in full and returned. Unspecified after an error.

    Raises:
        TypeError: a mask that is not of integers, an ``out`` or ``dtype`` of another type.
        ValueError: a shape that does not fit the geometry, a value that the result's type cannot hold.

    Example:
        >>> import numpy as np
        >>> box = Letterbox.fit((3, 4), (8, 8))  # enlarged to 6 x 8, one row of padding above and below
        >>> mask = np.arange(64).reshape(8, 8)
        >>> unpad(mask, box)
        array([[ 8, 10, 12, 14],
               [24, 26, 28, 30],
               [40, 42, 44, 46]], dtype=int32)
    """
    mask = integers("mask", mask)
    check_canvas(mask, geometry)
    if out is None:
        wanted = np.dtype((np.uint8 if mask.dtype == np.uint8 else np.int32) if dtype is None else dtype)
        if wanted not in (np.uint8, np.int32):
            raise TypeError(f"dtype must be uint8 or int32, got {wanted}")
        out = np.empty(geometry.picture, wanted)
    else:
        _check_mask_out(out, geometry.picture, dtype)
    (top, left), (height, width) = geometry.crop(rule)
    if np.may_share_memory(mask, out):
        mask = mask.copy()
    try:
        _core.unpad_mask(mask, out, (top, left), (height, width))
    except OverflowError:
        part = mask[top : top + height, left : left + width]
        raise ValueError(
            f"the mask holds values from {part.min()} to {part.max()}, which {out.dtype} cannot hold"
        ) from None
    return out


def check_padding(pad_value: float, dtype: str) -> None:
    """Raise ValueError for a padding that is no finite number of the type ``"float16"`` or ``"float32"``."""
    if not math.isfinite(pad_value):
        raise ValueError(f"pad_value must be finite, got {pad_value}")
    if abs(pad_value) > float(np.finfo(dtype).max):
        advice = "; take dtype 'float32' (--dtype float32)" if dtype == "float16" else ""
        raise ValueError(f"pad_value must fit {dtype}, got {pad_value}{advice}")


def integers(name: str, values: Any) -> NDArray[Any]:
    """Class indices as an array that the kernels read: uint8, int16, int32 or int64, the last axis packed.

    NumPy arrays and CPU tensors (anything with DLPack or ``__array__``) are taken without a copy where their type and
    layout allow.

    Raises:
        TypeError: not an array, not on the CPU, not of integers, or with values that are masked out.
    """
    _refuse_masked(name, values, "fill them with the label that does not count (values.filled(255))")
    if not isinstance(values, np.ndarray):
        values = _from_tensor(name, values)
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        values = values.view(np.uint8)
    elif kind not in "iu":
        raise TypeError(f"{name} must hold integers, class indices, got {values.dtype}")
    elif (kind, size) in (("i", 1), ("u", 2), ("u", 4)):
        values = values.astype(np.dtype(f"i{2 * size}"))
    elif (kind, size) == ("u", 8):
        values = np.minimum(values, np.uint64(np.iinfo(np.int64).max)).astype(np.int64)  # beyond any class either way
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not values.flags.aligned or (values.ndim and values.shape[-1] > 1 and values.strides[-1] != values.itemsize):
        values = values.copy(order="C")
    array: NDArray[Any] = values
    return array


def check_canvas(mask: NDArray[Any], geometry: Letterbox) -> None:
    """Raise ValueError unless a mask has the geometry's canvas."""
    if mask.shape != geometry.canvas:
        raise ValueError(f"the mask is {mask.shape}, the canvas of its geometry {geometry.canvas}")


def _from_tensor(name: str, values: Any) -> NDArray[Any]:
    if hasattr(values, "__dlpack__"):
        try:
            return np.from_dlpack(values)
        except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
            pass  # of a type or on a device that NumPy does not take; the other protocol says which, in words
    if not hasattr(values, "__array__"):
        raise TypeError(f"{name} must be an array of integers, got {type(values).__name__}")
    try:
        return np.asarray(values)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be read as an array on the CPU: {error}") from error


def _check_mask_out(out: object, size: tuple[int, int], dtype: DTypeLike | None) -> None:
    if not isinstance(out, np.ndarray) or out.dtype not in (np.uint8, np.int32):
        kind = f"an array of {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"out must be a uint8 or int32 array (h, w), got {kind}")
    if dtype is not None and out.dtype != dtype:
        raise TypeError(f"out is {out.dtype}, dtype says {np.dtype(dtype)}")
    if out.shape != size:
        raise ValueError(f"out must have the picture's shape {size}, got {out.shape}")
    if not (out.flags.writeable and out.flags.aligned) or (size[1] > 1 and out.strides[1] != out.itemsize):
        raise ValueError("out must be writeable and aligned, the values of a row packed")


def _prepared(mean: Sequence[float], std: Sequence[float], stats: Stats) -> Normalization:
    """A normalization, made once for a loop over pictures with the same constants."""
    try:
        return _normalization(tuple(mean), tuple(std), stats)
    except TypeError:  # not even sequences of what can be hashed: refused with a reason there
        return Normalization(mean, std, stats)


def _check_image(image: object) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"image must be a uint8 array (height, width, 3), got {kind}")
    _refuse_masked("image", image, "fill them with a colour (image.filled(0))")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must have the shape (height, width, 3) and pixels, got {image.shape}")


def _refuse_masked(name: str, values: object, advice: str) -> None:
    """An array's mask would be lost without a word: kernels read what lies under it."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        count = int(np.ma.getmaskarray(values).sum())
        raise TypeError(f"{name} has {count:,} values that are masked out; {advice}")


def _check_out(out: object, size: tuple[int, int] | None, dtype: DTypeLike | None) -> None:
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float16, np.float32):
        kind = f"an array of {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"out must be a float16 or float32 array (3, H, W), got {kind}")
    if dtype is not None and out.dtype != dtype:
        raise TypeError(f"out is {out.dtype}, dtype says {np.dtype(dtype)}")
    if out.ndim != 3 or out.shape[0] != 3 or (size is not None and out.shape[1:] != tuple(size)):
        wanted = "(3, H, W)" if size is None else f"(3, {size[0]}, {size[1]})"
        raise ValueError(f"out must have the shape {wanted}, got {out.shape}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError("out must be C-contiguous, writeable and aligned")


def _triple(name: str, values: Sequence[float], stats: Stats) -> Triple:
    """Three numbers, rounded if need be; those that overflow are errors."""
    try:
        first, second, third = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be three numbers, one a channel, got {values!r}") from None
    given = (first, second, third)
    kind = np.float16 if stats == "float16" else np.float32
    if not all(map(math.isfinite, given)):
        raise ValueError(f"{name} must be finite, got {given}")
    if max(map(abs, given)) > float(np.finfo(kind).max):
        advice = "; take stats='exact' (--stats exact)" if stats == "float16" else ""
        raise ValueError(f"{name} must fit {kind.__name__}, got {given}{advice}")
    if stats == "exact":
        return given
    return float(np.float16(first)), float(np.float16(second)), float(np.float16(third))
