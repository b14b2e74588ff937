"""How a model wants its pictures: what its file says, what the options say, and whether these agree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pspfast.pictures import kernels
from pspfast.pictures.byte_canvas import border_near_mean
from pspfast.runtimes.model_facts import metadata_of, shape_of_picture
from pspfast.stages.letterboxing import LetterboxSettings, parameters

if TYPE_CHECKING:
    from typing import Any

    from pspfast.datasets import DataSet
    from pspfast.formats.model_metadata import ModelMetadata
    from pspfast.runtimes.runtime import Runtime

__all__ = ["InputOptions", "ModelInput", "check_classes", "resolve_input"]

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What options say about a model's input; ``None`` for what they leave to the model.

    Attributes:
        size: ``(H, W)`` of the canvas.
        mean, std: of red, green, blue.
        stats, pad_value, scale_up: see :func:`pspfast.letterbox`.
        dtype: of the bins that the stages would write: ``"float16"`` or ``"float32"``.
    """

    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    stats: Literal["float16", "exact"] = "float16"
    pad_value: float = 0.0
    scale_up: bool = True
    dtype: Literal["float16", "float32"] | None = None


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What both come to.

    Attributes:
        metadata: of the model, if it has any.
        letterbox: of the slots of a batch.
        of_bins: of the bins that ``pspfast preprocess`` would write; ``None`` for a model that takes bytes.
        parameters: of these, as they stand in their manifest; for bytes, what decides them.
    """

    metadata: ModelMetadata | None
    letterbox: LetterboxSettings
    of_bins: LetterboxSettings | None
    parameters: dict[str, Any]


def resolve_input(runtime: Runtime, model: str, options: InputOptions) -> ModelInput:
    """Bring both together.

    Raises:
        ValueError: they contradict each other, which the text says with both values; or the model takes no pictures.
    """
    metadata, taken = metadata_of(runtime, model), runtime.input
    told = metadata.size if metadata else None
    shape = shape_of_picture(runtime, told or options.size or kernels.DEFAULT_SIZE, model)
    is_bytes = taken.dtype == "uint8"
    if len(shape) != 3 or shape[2 if is_bytes else 0] != 3 or taken.dtype not in ("float32", "float16", "uint8"):
        raise ValueError(
            f"{model} takes {taken}; pictures are (N, 3, H, W) of float32 or float16, or bytes (N, H, W, 3)"
        )
    canvas = (shape[0], shape[1]) if is_bytes else (shape[1], shape[2])
    if options.size is not None and tuple(options.size) != canvas:
        raise ValueError(
            f"{model} takes pictures of {_size(canvas)} (height x width), --size says {_size(options.size)}"
        )
    if told is not None and told != canvas:
        raise ValueError(f"{model}: its metadata say {_size(told)} (height x width), its input is {_size(canvas)}")
    if metadata is not None and metadata.input != taken.dtype:
        raise ValueError(f"{model}: its metadata say {metadata.input}, its input is {taken.dtype}")
    mean = _constant(model, "mean", metadata.mean if metadata else None, options.mean, kernels.IMAGENET_MEAN)
    std = _constant(model, "std", metadata.std if metadata else None, options.std, kernels.IMAGENET_STD)
    to_rgb = metadata.to_rgb if metadata else True
    if is_bytes:
        return _of_bytes(model, metadata, canvas, mean, options, to_rgb=to_rgb)
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
        return ModelInput(metadata, of_bins, of_bins, told_parameters)
    rounded = kernels.Normalization(mean, std, options.stats, rounded=True)
    pad = float(np.float16(options.pad_value))
    return ModelInput(metadata, LetterboxSettings("float32", canvas, rounded, pad, **common), of_bins, told_parameters)


def _of_bytes(
    model: str,
    metadata: ModelMetadata | None,
    canvas: tuple[int, int],
    mean: Triple,
    options: InputOptions,
    *,
    to_rgb: bool,
) -> ModelInput:
    if options.dtype is not None:
        raise ValueError(f"{model} takes uint8 and normalizes itself, --dtype says {options.dtype}")
    border = border_near_mean(mean, to_rgb=to_rgb)
    plain = kernels.Normalization((0, 0, 0), (1, 1, 1), "exact")
    settings = LetterboxSettings("uint8", canvas, plain, 0.0, border, options.scale_up, swap_channels=False)
    told = {"size": list(canvas), "dtype": "uint8", "border": list(border), "scale_up": options.scale_up}
    return ModelInput(metadata, settings, None, told)


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


def _constant(model: str, name: str, told: Triple | None, asked: Triple | None, usual: Triple) -> Triple:
    if told is not None and asked is not None and tuple(told) != tuple(asked):
        raise ValueError(
            f"{model} was exported with {name} {' '.join(map(str, told))}, --{name} says {' '.join(map(str, asked))}"
        )
    return told or asked or usual


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)
