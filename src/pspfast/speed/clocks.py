"""Where the pictures of a benchmark come from: picture files or bins, with a clock at each stage."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pspfast.datasets import find_picture
from pspfast.pictures.geometry import Letterbox
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.stages.feeding import FeedReader
from pspfast.stages.letterboxing import Preparer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.datasets import DataSet
    from pspfast.formats.bins import BinSlot
    from pspfast.stages.feeding import Feed
    from pspfast.stages.letterboxing import LetterboxSettings

__all__ = ["TimedBins", "TimedPictures", "TimedSource", "Times"]


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


class TimedPictures:
    """Picture files, decoded and letterboxed."""

    def __init__(self, folder: str, settings: LetterboxSettings, data_set: DataSet) -> None:
        self._folder, self._canvas, self._data_set = folder, settings.canvas, data_set
        self._preparer = Preparer(settings, MAX_PIXELS)

    def fill(self, name: str, slot: NDArray[Any], times: Times) -> Letterbox:
        """See :class:`TimedSource`; raises PictureError."""
        start = time.perf_counter()
        path = os.path.join(self._folder, find_picture(self._folder, name, self._data_set))
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
