"""What the data path costs on this machine, and how many cores of it keep a device busy."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.vendors.texts import read_measurements

if TYPE_CHECKING:
    from pspfast.formats.measurements import Measurement

__all__ = ["DataPath"]

_PARTS = ("data read", "preprocess", "post")
_PICTURE = (375, 500)  # as most of VOC's
_CLASSES = 21


@dataclass(frozen=True, slots=True)
class DataPath:
    """CPU time that a picture takes before and after the network.

    Attributes:
        milliseconds: by stage, of one thread.
        source: where this is from, as a sentence.

    Example:
        >>> DataPath({"preprocess": 1.5, "post": 0.5}, "made up").cores_for(1000.0)
        2.0
    """

    milliseconds: dict[str, float]
    source: str

    @property
    def total(self) -> float:
        """Of a picture, in ms."""
        return sum(self.milliseconds.values())

    def cores_for(self, throughput: float) -> float:
        """Cores that prepare and score so many pictures a second."""
        return throughput * self.total / 1000

    @classmethod
    def read(cls, path: str) -> DataPath:
        """From a file of ``pspfast benchmark --json``.

        Raises:
            OSError: it cannot be read.
            ValueError: it is none, or has no stage of the data path.
        """
        parts: dict[str, float] = {}
        for one in read_measurements(path):
            if one.tool != "pspfast":
                raise ValueError(f"{path} is of {one.tool}; --data-path takes a file of pspfast benchmark --json")
            if one.kind in _PARTS:
                if one.kind in parts:
                    raise ValueError(f"{path} has {one.kind!r} more than once; --data-path takes the file of one run")
                parts[one.kind] = _milliseconds(one)
        if "preprocess" not in parts:
            raise ValueError(f"{path} has no stage 'preprocess'; --data-path takes a run over a data set")
        return cls(parts, f"measured by pspfast benchmark ({path}; {', '.join(parts)})")

    @classmethod
    def measure(cls, seconds: float = 1.0) -> DataPath:
        """Measured now, on one thread, with synthetic pictures, in CPU time; label files are not read.

        Raises:
            OSError: the temporary folder cannot be written.
        """
        import cv2
        import numpy as np

        from pspfast.metrics.confusion import ConfusionMatrix
        from pspfast.pictures.geometry import Letterbox
        from pspfast.pictures.kernels import DEFAULT_SIZE, letterbox
        from pspfast.pictures.reader import PictureReader

        rng = np.random.default_rng(0)
        reader, matrix = PictureReader(), ConfusionMatrix(_CLASSES)
        tensor = np.empty((3, *DEFAULT_SIZE), np.float16)
        box = Letterbox.fit(_PICTURE, DEFAULT_SIZE)
        labels = cv2.resize(
            rng.integers(0, _CLASSES, (5, 6), np.uint8), _PICTURE[::-1], interpolation=cv2.INTER_NEAREST
        )
        mask = cv2.resize(
            rng.integers(0, _CLASSES, (5, 6), np.uint8), DEFAULT_SIZE[::-1], interpolation=cv2.INTER_NEAREST
        ).astype(np.int32)
        spent = dict.fromkeys(_PARTS, 0.0)
        count = 0
        with tempfile.TemporaryDirectory(prefix="pspfast-") as folder:
            paths = [os.path.join(folder, f"{number}.jpg") for number in range(4)]
            for path in paths:
                # Smooth with some noise: about as many bytes as a photo of this size.
                smooth = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), _PICTURE[::-1])
                noise = rng.integers(-12, 13, smooth.shape, np.int16)
                pixels = np.clip(smooth.astype(np.int16) + noise, 0, 255).astype(np.uint8)
                if not cv2.imwrite(path, pixels, [cv2.IMWRITE_JPEG_QUALITY, 90]):
                    raise OSError(None, "cannot write a synthetic picture", path)
            end: float | None = None
            while end is None or time.monotonic() < end or count < len(paths):
                times = [time.thread_time()]
                picture = reader.read(paths[count % len(paths)])
                times.append(time.thread_time())
                letterbox(picture.pixels, out=tensor)
                times.append(time.thread_time())
                matrix.update_letterboxed(mask, labels, box)
                times.append(time.thread_time())
                if end is None:  # the first picture pays for what is made once
                    end = time.monotonic() + seconds
                    continue
                count += 1
                for part, start, stop in zip(_PARTS, times, times[1:], strict=False):
                    spent[part] += stop - start
        return cls(
            {part: 1000 * taken / count for part, taken in spent.items()},
            f"measured now in {seconds:g} s: {count} synthetic pictures of {_PICTURE[1]}x{_PICTURE[0]}, one thread; "
            "JPEG, letterbox, counting, without label files",
        )


def _milliseconds(one: Measurement) -> float:
    """Of a picture on one thread."""
    mean = one.latency_ms.get("mean")
    if mean is None:
        return 1000 / one.throughput
    return mean / (one.batch_run or one.batch or 1) if one.latency_of == "batch" else mean
