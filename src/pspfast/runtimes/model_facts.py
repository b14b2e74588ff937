"""What an opened model says of itself: its metadata, and the shape of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.formats.model_metadata import parse_metadata
from pspfast.runtimes.picture_input import picture_shape

if TYPE_CHECKING:
    from pspfast.formats.model_metadata import ModelMetadata
    from pspfast.runtimes.runtime import Runtime

__all__ = ["metadata_of", "shape_of_picture"]


def metadata_of(runtime: Runtime, model: str) -> ModelMetadata | None:
    """What ``pspfast export`` wrote into the model; ``None`` where it did not.

    Raises:
        ValueError: these are damaged.
    """
    if runtime.metadata is None:
        return None
    try:
        return parse_metadata(runtime.metadata)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from error


def shape_of_picture(runtime: Runtime, size: tuple[int, int] | None, model: str) -> tuple[int, ...]:
    """Shape of a picture as the model takes it, at this size where the model leaves it open.

    Raises:
        ValueError: sizes are open, and none was given; or something else is open than the sides of a picture.
    """
    shape = picture_shape(runtime.input, size)
    known = tuple(side for side in shape if side is not None)
    if len(known) != len(shape):
        if len(shape) != 3:
            raise ValueError(f"{model} takes {runtime.input}: no pictures, and open sizes; fix these in the model")
        raise ValueError(f"{model} takes {runtime.input}, of any size; say which (--size H W)")
    return known
