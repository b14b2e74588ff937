"""What a model file says about itself, so that later stages need no options: one record, in the file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Channels", "InputKind", "Layout", "ModelMetadata", "OutputKind", "Pooling", "channels_told", "parse_metadata",
    "read_metadata", "write_metadata",
]  # fmt: skip

Channels = Literal["rgb", "bgr"]
"""The order of a picture's channels as a model is fed."""

InputKind = Literal["float32", "float16", "uint8"]
OutputKind = Literal["labels", "logits"]
Layout = Literal["n1hw", "nhw"]
Pooling = Literal["matmul", "cascade", "native"]

_KEY = "pspfast"
# ONNX's own properties for models of pictures (docs/MetadataProps.md of the format).
_PIXEL_FORMAT = "Image.BitmapPixelFormat"
_FORMATS: dict[str, Channels] = {"rgb8": "rgb", "bgr8": "bgr"}


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Where a model comes from, what it takes and what it gives.

    Attributes:
        checkpoint: as it was named when exported: path, URL or known name.
        checkpoint_sha256: of the checkpoint file.
        config: mmsegmentation config; empty for the project's own PSPNet.
        classes: names by index; empty if neither checkpoint nor config has them.
        palette: (red, green, blue) of each class; empty if unknown.
        mean, std: of each channel, in the network's order, as subtracted and divided by.
        to_rgb: whether the network takes red first.
        size: ``(H, W)`` of the letterbox canvas.
        input: ``"float32"`` or ``"float16"`` ``(N, 3, H, W)`` normalized; ``"uint8"`` ``(N, H, W, 3)`` blue first.
        output: ``"labels"``, or ``"logits"`` ``(N, classes, H, W)``.
        layout: of labels: ``"n1hw"`` ``(N, 1, H, W)`` or ``"nhw"`` ``(N, H, W)``.
        pooling: how pyramid pooling was written.
        version: of pspfast.
    """

    checkpoint: str
    checkpoint_sha256: str
    config: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool
    size: tuple[int, int]
    input: InputKind
    output: OutputKind
    layout: Layout
    pooling: Pooling
    version: str


def write_metadata(model: Any, metadata: ModelMetadata) -> None:
    """Put the record into a model (``onnx.ModelProto``), in place of one that is there."""
    others = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != _KEY]
    del model.metadata_props[:]
    for key, value in (*others, (_KEY, json.dumps(asdict(metadata), separators=(",", ":")))):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def channels_told(properties: Mapping[str, str]) -> Channels | None:
    """The order of the channels that a model's properties tell by ONNX's own key; ``None`` where they do not.

    Example:
        >>> channels_told({"Image.BitmapPixelFormat": "Bgr8"}), channels_told({})
        ('bgr', None)
    """
    return _FORMATS.get(properties.get(_PIXEL_FORMAT, "").lower())


def read_metadata(model: Any) -> ModelMetadata | None:
    """The record of a model (``onnx.ModelProto``), ``None`` if it has none.

    Raises:
        ValueError: there is one, and it is damaged or of another version of this package.
    """
    text = next((entry.value for entry in model.metadata_props if entry.key == _KEY), None)
    return None if text is None else parse_metadata(text)


def parse_metadata(text: str) -> ModelMetadata:
    """A record as :func:`write_metadata` writes it, e.g. from a runtime's list of a model's properties.

    Raises:
        ValueError: see :func:`read_metadata`.
    """
    try:
        found = json.loads(text)
        metadata = ModelMetadata(
            checkpoint=str(found["checkpoint"]),
            checkpoint_sha256=str(found["checkpoint_sha256"]),
            config=str(found["config"]),
            classes=tuple(str(name) for name in found["classes"]),
            palette=tuple(_triple(int, colour) for colour in found["palette"]),
            mean=_triple(float, found["mean"]),
            std=_triple(float, found["std"]),
            to_rgb=bool(found["to_rgb"]),
            size=(int(found["size"][0]), int(found["size"][1])),
            input=_one_of(InputKind, found["input"]),
            output=_one_of(OutputKind, found["output"]),
            layout=_one_of(Layout, found["layout"]),
            pooling=_one_of(Pooling, found["pooling"]),
            version=str(found["version"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"the model's pspfast metadata are damaged or of another version ({type(error).__name__}: {error}); "
            "export it again"
        ) from error
    return metadata


def _triple(kind: Any, values: Any) -> Any:
    first, second, third = values
    return kind(first), kind(second), kind(third)


def _one_of(kinds: Any, value: Any) -> Any:
    if value not in get_args(kinds):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(kinds))}")
    return value
