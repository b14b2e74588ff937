"""Where the pictures of a benchmark come from: picture files or bins, with a clock at each stage."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pspfast.datasets import find_picture
from pspfast.pictures import kernels
from pspfast.pictures.byte_canvas import border_near_mean
from pspfast.pictures.geometry import Letterbox
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.runtimes.model_facts import shape_of_picture
from pspfast.stages.feeding import FeedReader
from pspfast.stages.letterboxing import LetterboxSettings, Preparer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.formats.bins import BinSlot
    from pspfast.formats.model_metadata import ModelMetadata
    from pspfast.runtimes.runtime import Runtime
    from pspfast.stages.feeding import Feed

__all__ = ["TimedBins", "TimedPictures", "TimedSource", "Times", "engine_input"]


@dataclass(slots=True)
class Times:
    """Seconds: of each picture in ``read``, ``preprocess``, ``widen`` and ``post``, of each batch in the others."""

    read: list[float] = field(default_factory=list)
    preprocess: list[float] = field(default_factory=list)
    widen: list[float] = field(default_factory=list)
    post: list[float] = field(default_factory=list)
    infer: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def add(self, other: Times) -> None:
        """Take over what another one has."""
        for name in self.__slots__:
            getattr(self, name).extend(getattr(other, name))


class TimedSource(Protocol):
    """Where pictures come from; one a thread."""

    def fill(self, name: str, slot: NDArray[Any], times: Times) -> Letterbox | None:
        """Bring a picture into a slot of the batch; where it went, if that is known."""
        ...


def engine_input(runtime: Runtime, metadata: ModelMetadata | None, model: str) -> LetterboxSettings:
    """How a picture becomes what an engine takes: as the model's metadata say, else as mmsegmentation's for VOC.

    Raises:
        ValueError: it takes no pictures, or of any size.
    """
    taken = runtime.input
    shape = shape_of_picture(runtime, metadata.size if metadata else None, model)
    is_bytes = taken.dtype == "uint8"
    if len(shape) != 3 or shape[2 if is_bytes else 0] != 3 or taken.dtype not in ("float32", "float16", "uint8"):
        raise ValueError(
            f"{model} takes {taken}; pictures are (N, 3, H, W) of float32 or float16, or bytes (N, H, W, 3)"
        )
    canvas = (shape[0], shape[1]) if is_bytes else (shape[1], shape[2])
    mean = metadata.mean if metadata else kernels.IMAGENET_MEAN
    std = metadata.std if metadata else kernels.IMAGENET_STD
    to_rgb = metadata.to_rgb if metadata else True
    if is_bytes:  # the model normalizes
        plain = kernels.Normalization((0, 0, 0), (1, 1, 1), "exact")
        return LetterboxSettings(taken.dtype, canvas, plain, border=border_near_mean(mean, to_rgb=to_rgb))
    return LetterboxSettings(taken.dtype, canvas, kernels.Normalization(mean, std), swap_channels=to_rgb)


class TimedPictures:
    """Picture files, decoded and letterboxed."""

    def __init__(self, folder: str, settings: LetterboxSettings) -> None:
        self._folder, self._canvas = folder, settings.canvas
        self._preparer = Preparer(settings, MAX_PIXELS)

    def fill(self, name: str, slot: NDArray[Any], times: Times) -> Letterbox:
        """See :class:`TimedSource`; raises PictureError."""
        start = time.perf_counter()
        path = os.path.join(self._folder, find_picture(self._folder, name))
        pixels = self._preparer.reader.read(path).pixels
        read = time.perf_counter()
        geometry = Letterbox.fit((pixels.shape[0], pixels.shape[1]), self._canvas)
        self._preparer.fill(slot, pixels, geometry)
        times.read.append(read - start)
        times.preprocess.append(time.perf_counter() - read)
        return geometry


class TimedBins:
    """Bins, read."""

    def __init__(self, feed: Feed, by_name: dict[str, BinSlot], dtype: str) -> None:
        self._reader, self._by_name = FeedReader(feed, dtype), by_name

    def fill(self, name: str, slot: NDArray[Any], times: Times) -> None:
        """See :class:`TimedSource`; raises FeedError."""
        start = time.perf_counter()
        self._reader.load(self._by_name[name], slot)
        read = time.perf_counter()
        self._reader.widen(slot)
        times.read.append(read - start)
        times.widen.append(time.perf_counter() - read)
