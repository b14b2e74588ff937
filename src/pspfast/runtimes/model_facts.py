"""What an opened model says of itself: its metadata, and the shape of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.formats.model_metadata import parse_metadata

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
    """Shape of a picture as the model takes it, at this size where the model leaves it open."""
    shape = list(runtime.input.shape[1:])
    open_sides = [index for index, side in enumerate(shape) if side is None]
    for index, side in zip(open_sides, size or (), strict=False):
        shape[index] = side
    known = tuple(side for side in shape if side is not None)
    if len(known) != len(shape):
        raise ValueError(f"{model} takes {runtime.input}, of any size; say which (--size H W)")
    return known
