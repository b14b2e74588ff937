"""How a loaded model's input holds pictures: which dimension is which, for whatever feeds an engine.

Pictures are fed as floats ``(N, 3, H, W)``, or as bytes ``(N, H, W, 3)`` or ``(N, 3, H, W)``. A model of one picture
without a dimension for pictures is taken as one of batch 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.runtimes.runtime import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.formats.model_metadata import Channels, ModelMetadata

__all__ = [
    "PictureInput", "is_channels_last", "is_one_picture", "order_taken", "order_told", "picture_input", "picture_shape",
    "with_batch_axis",
]  # fmt: skip

_CHANNELS = 3
_FLOATS = ("float32", "float16")


@dataclass(frozen=True, slots=True)
class PictureInput:
    """What :func:`picture_input` found.

    Attributes:
        dtype: ``"float32"``, ``"float16"`` or ``"uint8"``.
        size: ``(H, W)``, ``None`` where it is open.
        is_channels_last: whether a picture is ``(H, W, 3)``, which bytes alone may be.
    """

    dtype: str
    size: tuple[int | None, int | None]
    is_channels_last: bool

    @property
    def is_bytes(self) -> bool:
        """Whether the model normalizes pictures itself."""
        return self.dtype == "uint8"


def picture_input(taken: TensorSpec, model: str) -> PictureInput:
    """Where height, width and channels are in a model's input.

    Args:
        taken: the input, whose first dimension is that of the pictures.
        model: its file, for messages.

    Raises:
        ValueError: it takes no pictures, or floats with their channels last, which nothing here makes.

    Example:
        >>> picture_input(TensorSpec("x", "float32", (None, None, 64, 96)), "m.onnx").size
        (64, 96)
    """
    shape = taken.shape[1:]
    expected = "pictures are (N, 3, H, W) of float32 or float16, or bytes (N, H, W, 3) or (N, 3, H, W)"
    if len(shape) != 3 or taken.dtype not in (*_FLOATS, "uint8"):
        raise ValueError(f"{model} takes {taken}; {expected}")
    is_last = is_channels_last(shape, taken.dtype)
    if is_last and taken.dtype != "uint8":
        raise ValueError(
            f"{model} takes {taken}, floats with their channels last; {expected}. Export it with its channels first "
            "(tf2onnx: --inputs-as-nchw)"
        )
    channels = shape[2 if is_last else 0]
    if channels not in (_CHANNELS, None):
        raise ValueError(f"{model} takes {channels} channels, {taken}; {expected}")
    if channels is None and taken.dtype == "uint8":
        raise ValueError(
            f"{model} takes {taken}, and says neither that its channels are first nor that they are last; {expected}. "
            "pspfast simplify --input-shape fixes them"
        )
    return PictureInput(taken.dtype, shape[:2] if is_last else shape[1:], is_last)


def is_channels_last(shape: Sequence[int | None], dtype: str) -> bool:
    """Whether three dimensions are ``(H, W, 3)``; those that could be either are channels first, as networks have them.

    Bytes of three rows and three channels are a picture as it is in memory: channels last.
    """
    return shape[2] == _CHANNELS and (dtype == "uint8" or shape[0] != _CHANNELS)


def picture_shape(taken: TensorSpec, size: tuple[int, int] | None) -> tuple[int | None, ...]:
    """Shape of one picture, of three channels where the model leaves these open, at ``size`` where it leaves that open.

    Any other input is given as it is.

    Example:
        >>> picture_shape(TensorSpec("x", "float32", (None, None, None, None)), (64, 96))
        (3, 64, 96)
    """
    shape = list(taken.shape[1:])
    if len(shape) != 3:
        return tuple(shape)
    is_last = is_channels_last(shape, taken.dtype)
    channels, first = (2, 0) if is_last else (0, 1)
    if shape[channels] is None:
        shape[channels] = _CHANNELS
    for index, side in enumerate(size or ()):
        if shape[first + index] is None:
            shape[first + index] = side
    return tuple(shape)


def is_one_picture(shape: Sequence[int | None]) -> bool:
    """Whether an input is a single picture: three fixed dimensions, one of which is that of three channels.

    Example:
        >>> is_one_picture((3, 64, 96)), is_one_picture((None, 64, 96)), is_one_picture((1, 3, 64, 96))
        (True, False, False)
    """
    return len(shape) == 3 and shape[0] is not None and _CHANNELS in (shape[0], shape[2]) and shape[0] != 1


def with_batch_axis(spec: TensorSpec) -> TensorSpec:
    """An input or output of one picture, as one of a batch of 1."""
    return TensorSpec(spec.name, spec.dtype, (1, *spec.shape))


def order_told(metadata: ModelMetadata | None, told: Channels | None, *, is_bytes: bool) -> Channels | None:
    """The order of channels that a model says it is fed in: by pspfast's metadata, else as ``told`` otherwise.

    pspfast's own models take bytes blue first, and turn them round by themselves.
    """
    if metadata is None:
        return told
    return "rgb" if metadata.to_rgb and not is_bytes else "bgr"


def order_taken(model: str, told: Channels | None, asked: Channels | None, *, is_bytes: bool) -> Channels:
    """The order of channels that a model is fed in: as it says, else as asked for, else as is usual.

    Usual are bytes as ``cv2.imread`` gives them, blue first, and floats as networks have them, red first.

    Raises:
        ValueError: the two say different things.

    Example:
        >>> order_taken("m.onnx", None, None, is_bytes=True), order_taken("m.onnx", None, "rgb", is_bytes=True)
        ('bgr', 'rgb')
    """
    if told is not None and asked is not None and told != asked:
        raise ValueError(f"{model} says of itself that it takes {told}, --channels says {asked}")
    return told or asked or ("bgr" if is_bytes else "rgb")
