"""How a model wants its pictures: what its file says, what the options say, and whether these agree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pspfast.pictures import kernels
from pspfast.pictures.byte_canvas import border_near_mean
from pspfast.runtimes.model_facts import metadata_of
from pspfast.runtimes.picture_input import order_taken, order_told, picture_input
from pspfast.stages.letterboxing import LetterboxSettings, parameters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pspfast.datasets import DataSet
    from pspfast.formats.model_metadata import Channels, ModelMetadata
    from pspfast.runtimes.picture_input import PictureInput
    from pspfast.runtimes.runtime import Runtime

__all__ = ["InputOptions", "ModelInput", "check_bins", "check_classes", "resolve_input"]

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What options say about a model's input; ``None`` for what they leave to the model.

    Attributes:
        size: ``(H, W)`` of the canvas.
        mean, std: of red, green, blue.
        stats, pad_value, scale_up: see :func:`pspfast.letterbox`.
        dtype: of the bins that the stages would write: ``"float16"`` or ``"float32"``.
        channels: which come first, ``"rgb"`` or ``"bgr"``.
    """

    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    stats: Literal["float16", "exact"] = "float16"
    pad_value: float = 0.0
    scale_up: bool = True
    dtype: Literal["float16", "float32"] | None = None
    channels: Channels | None = None


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What both come to.

    Attributes:
        metadata: of the model, if it has any.
        letterbox: of the slots of a batch.
        of_bins: of the bins that ``pspfast preprocess`` would write; ``None`` for a model that takes bytes.
        parameters: of these, as they stand in their manifest; for bytes, what decides them.
        assumed: what neither the model nor an option says and was taken, in a sentence; empty if nothing was.
    """

    metadata: ModelMetadata | None
    letterbox: LetterboxSettings
    of_bins: LetterboxSettings | None
    parameters: dict[str, Any]
    assumed: str = ""

    def is_to_be_told(self, *, quiet: bool) -> bool:
        """Whether what was assumed has to be said. Bytes come in either order: that is no usual thing to assume."""
        return bool(self.assumed) and (not quiet or self.of_bins is None)


def resolve_input(runtime: Runtime, model: str, options: InputOptions) -> ModelInput:
    """Bring both together.

    Raises:
        ValueError: they contradict each other, which the text says with both values; or the model takes no pictures.
    """
    metadata, taken = metadata_of(runtime, model), runtime.input
    takes = picture_input(taken, model)
    told = metadata.size if metadata else None
    height, width = told or options.size or kernels.DEFAULT_SIZE
    canvas = (takes.size[0] or height, takes.size[1] or width)
    if options.size is not None and tuple(options.size) != canvas:
        raise ValueError(
            f"{model} takes pictures of {_size(canvas)} (height x width), --size says {_size(options.size)}"
        )
    if told is not None and told != canvas:
        raise ValueError(f"{model}: its metadata say {_size(told)} (height x width), its input is {_size(canvas)}")
    if metadata is not None and metadata.input != taken.dtype:
        raise ValueError(f"{model}: its metadata say {metadata.input}, its input is {taken.dtype}")
    told_channels = order_told(metadata, runtime.channels, is_bytes=takes.is_bytes)
    to_rgb = order_taken(model, told_channels, options.channels, is_bytes=takes.is_bytes) == "rgb"
    # The network's own order, which is that of its constants; pspfast's models of bytes take these blue first and turn
    # them round by themselves.
    of_network = metadata.to_rgb if metadata else takes.is_bytes or to_rgb
    mean = _constant(
        model, "mean", metadata.mean if metadata else None, options.mean, kernels.IMAGENET_MEAN, of_network
    )
    std = _constant(model, "std", metadata.std if metadata else None, options.std, kernels.IMAGENET_STD, of_network)
    assumed = _assumed(model, metadata, runtime.channels, options, to_rgb=to_rgb, is_bytes=takes.is_bytes)
    if takes.is_bytes:
        if options.dtype is not None:
            raise ValueError(f"{model} takes uint8 and normalizes itself, --dtype says {options.dtype}")
        return _of_bytes(metadata, canvas, border_near_mean(mean, to_rgb=of_network), takes, options, to_rgb, assumed)
    dtype = options.dtype or "float16"
    if taken.dtype == "float16" and dtype != "float16":
        raise ValueError(f"{model} takes float16, --dtype says {dtype}")
    told_parameters = parameters(canvas, mean, std, options.stats, options.pad_value, options.scale_up, dtype, 1)
    if not to_rgb:
        told_parameters["channels"] = "BGR"
    plain = kernels.Normalization(mean, std, options.stats)
    common: dict[str, Any] = {"scale_up": options.scale_up, "swap_channels": to_rgb}
    of_bins = LetterboxSettings(dtype, canvas, plain, options.pad_value, **common)
    if dtype == taken.dtype:
        return ModelInput(metadata, of_bins, of_bins, told_parameters, assumed)
    rounded = kernels.Normalization(mean, std, options.stats, rounded=True)
    pad = float(np.float16(options.pad_value))
    of_model = LetterboxSettings("float32", canvas, rounded, pad, **common)
    return ModelInput(metadata, of_model, of_bins, told_parameters, assumed)


def _of_bytes(
    metadata: ModelMetadata | None,
    canvas: tuple[int, int],
    border: tuple[int, int, int],
    takes: PictureInput,
    options: InputOptions,
    to_rgb: bool,
    assumed: str,
) -> ModelInput:
    plain = kernels.Normalization((0, 0, 0), (1, 1, 1), "exact")
    settings = LetterboxSettings(
        "uint8", canvas, plain, 0.0, border, options.scale_up, to_rgb, is_channels_last=takes.is_channels_last
    )
    told = {"size": list(canvas), "dtype": "uint8", "border": list(border), "scale_up": options.scale_up}
    if to_rgb:
        told["channels"] = "RGB"
    if not takes.is_channels_last:
        told["layout"] = "NCHW"
    return ModelInput(metadata, settings, None, told, assumed)


def _assumed(
    model: str,
    metadata: ModelMetadata | None,
    property_: Channels | None,
    options: InputOptions,
    *,
    to_rgb: bool,
    is_bytes: bool,
) -> str:
    if metadata is not None:
        return ""
    parts = []
    if property_ is None and options.channels is None:
        parts.append(f"{'red' if to_rgb else 'blue'} first (--channels {'bgr' if to_rgb else 'rgb'} for the other way)")
    if not is_bytes and options.mean is None and options.std is None:
        parts.append("ImageNet's mean and std (--mean, --std)")
    if not parts:
        return ""
    what = "the order of its channels" if is_bytes else "how its pictures are normalized"
    return f"{model} does not say {what}; taken is {', '.join(parts)}"


def check_bins(model: str, metadata: ModelMetadata | None, source: str, bins: dict[str, Any] | None) -> None:
    """Raise ValueError if bins were made with other constants or another order of channels than the model's own.

    Args:
        model: its file, for messages.
        metadata: of the model; without them nothing is known.
        source: of the bins, for messages.
        bins: what their manifest says; without it nothing is known.
    """
    if metadata is None or bins is None:
        return
    order = "RGB" if metadata.to_rgb else "BGR"
    if bins.get("channels", order) != order:
        raise ValueError(
            f"{source}: bins with channels {bins['channels']}, and {model} takes {order}; pspfast run makes them so"
        )
    for name, wanted in (("mean", metadata.mean), ("std", metadata.std)):
        made = tuple(float(value) for value in bins.get(name, wanted))
        if made != wanted:
            raise ValueError(
                f"{source}: bins made with {name} {_numbers(made)}, and {model} was exported with {_numbers(wanted)}; "
                f"pspfast preprocess --{name} makes them anew"
            )


def check_classes(model: str, metadata: ModelMetadata | None, data_set: DataSet) -> None:
    """Raise ValueError if the classes of a model cannot be those of a data set.

    Names may be spelled in other ways, but not be another number, in another order, or all others.
    """
    if metadata is None or not metadata.classes or not data_set.classes:
        return
    theirs, ours = (tuple(map(_plain, names)) for names in (metadata.classes, data_set.classes))
    if len(theirs) != len(ours):
        raise ValueError(
            f"{model} tells {len(theirs)} classes apart ({_some(metadata.classes)}), {data_set.title} has "
            f"{len(ours)} ({_some(data_set.classes)}); say which data set it is of (--dataset, --classes)"
        )
    for index, name in enumerate(theirs):
        if name in ours and ours.index(name) != index:
            raise ValueError(
                f"{model} has {metadata.classes[index]!r} as class {index}, {data_set.title} as class "
                f"{ours.index(name)}; say which data set it is of (--dataset, --classes)"
            )
    if not set(theirs) & set(ours):
        raise ValueError(
            f"{model} has the classes {_some(metadata.classes)}, {data_set.title} has {_some(data_set.classes)}; "
            "say which data set it is of (--dataset, --classes)"
        )


def _constant(
    model: str, name: str, told: Triple | None, asked: Triple | None, usual: Triple, is_red_first: bool
) -> Triple:
    """Mean or std in the network's order; options and ImageNet's are of red, green and blue."""

    def turned(values: Triple) -> Triple:
        return values if is_red_first else (values[2], values[1], values[0])

    if told is not None and asked is not None and tuple(told) != turned(asked):
        raise ValueError(
            f"{model} was exported with {name} {' '.join(map(str, turned(told)))}, --{name} says "
            f"{' '.join(map(str, asked))} (of red, green and blue)"
        )
    return told or turned(asked or usual)


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)
