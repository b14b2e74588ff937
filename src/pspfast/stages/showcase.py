"""The worst and the best pictures of a run, with what is needed to show them: ``OUT/examples``.

A picture that is among them when it has been counted gets its prediction written at once, small, so that a run that was
killed and started again still has it. Pictures and truth are added when the run ends, for those that stayed.
"""

from __future__ import annotations

import bisect
import io
import math
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.stages.counting import classes_of_picture
from pspfast.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from pspfast.metrics.class_pairs import Pairs
    from pspfast.metrics.confusion import ConfusionMatrix
    from pspfast.pictures.geometry import CropRule, Letterbox

__all__ = ["ENDINGS", "Showcase", "own_miou"]

ENDINGS = ("picture.jpg", "truth.png", "prediction.png")
"""What the files of a picture are called, after its name and ``_``."""

_LONGER_SIDE = 480
_JPEG_QUALITY = 85


def own_miou(pairs: Pairs, matrix: ConfusionMatrix) -> float:
    """Mean IoU of one picture over the classes that it has or was predicted to have; NaN if every pixel is ignored.

    Args:
        pairs: its pixels.
        matrix: says what labels mean; nothing is counted in it.
    """
    count = matrix.num_classes
    rows = matrix.rows_of(pairs.labels).tolist()
    both: dict[int, int] = {}
    union: dict[int, int] = {}
    # A picture has a dozen pairs, for which NumPy takes ten times as long.
    for truth, pred, pixels in zip(rows, pairs.preds.tolist(), pairs.pixels.tolist(), strict=True):
        if truth >= count:
            continue
        union[truth] = union.get(truth, 0) + pixels
        if truth == pred:
            both[truth] = both.get(truth, 0) + pixels
        elif 0 <= pred < count:
            union[pred] = union.get(pred, 0) + pixels
    return sum(both.get(one, 0) / pixels for one, pixels in union.items()) / len(union) if union else math.nan


class Showcase:
    """Keeps the pictures with the lowest and highest scores. Workers offer theirs at the same time.

    Args:
        folder: of the files; made when it is needed.
        num_classes: of the predictions.
        colours: RGB bytes of the palette.
        worst, best: how many of each.
    """

    def __init__(self, folder: str, num_classes: int, colours: bytes, *, worst: int = 4, best: int = 2) -> None:
        self._folder, self._num_classes, self._colours = folder, num_classes, colours
        self._most_worst, self._most_best = worst, best
        self._worst: list[tuple[float, str]] = []
        self._best: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def consider(self, name: str, score: float) -> bool:
        """Note a picture's score; whether it is one to show, as far as is known."""
        if math.isnan(score):
            return False
        with self._lock:
            is_low = _insert(self._worst, (score, name), self._most_worst)
            is_high = _insert(self._best, (-score, name), self._most_best)
            return is_low or is_high

    def show(self, name: str, mask: NDArray[Any], geometry: Letterbox, rule: CropRule) -> None:
        """Write the prediction of a picture that was taken.

        Raises:
            OutputError: it cannot be written.
        """
        classes = classes_of_picture(mask, geometry, rule, self._num_classes)
        os.makedirs(self._folder, exist_ok=True)
        self._write_labels(self._path(name, "prediction.png"), classes)

    def finish(
        self,
        names: Iterable[str],
        picture_of: Callable[[str], NDArray[np.uint8]],
        truth_of: Callable[[str], NDArray[Any]],
    ) -> list[list[Any]]:
        """Add pictures and truth of what stayed, and remove the rest.

        Args:
            names: of all pictures; files of others are left alone.
            picture_of: pixels of a picture, blue first.
            truth_of: classes of its pixels; what is none is 255, or 65,535 above 256 classes.

        Returns:
            ``[name, score]`` of the pictures shown, the worst first, then the best.

        Raises:
            OutputError: one cannot be written.
        """
        chosen = {name: score for score, name in self._worst}
        for score, name in reversed(self._best):
            chosen.setdefault(name, -score)
        shown: list[list[Any]] = []
        for name, score in chosen.items():
            if not os.path.exists(self._path(name, "prediction.png")):
                continue  # of a picture that was displaced in an earlier run
            with suppress(FileNotFoundError, ValueError):
                self._write_picture(self._path(name, "picture.jpg"), picture_of(name))
                self._write_labels(self._path(name, "truth.png"), truth_of(name))
                shown.append([name, score])
        present = {*os.listdir(self._folder)} if os.path.isdir(self._folder) else set()
        for name in {*names}.difference(name for name, _ in shown):
            for end in ENDINGS:
                if f"{name}_{end}" in present:
                    with suppress(OSError):
                        os.unlink(self._path(name, end))
        return shown

    def _path(self, name: str, end: str) -> str:
        return os.path.join(self._folder, f"{name}_{end}")

    def _write_picture(self, path: str, pixels: NDArray[np.uint8]) -> None:
        from PIL import Image

        height, width = _reduced(pixels.shape[:2])
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
        if (height, width) != pixels.shape[:2]:
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=_JPEG_QUALITY)
        write_whole(path, file.getbuffer())

    def _write_labels(self, path: str, classes: NDArray[Any]) -> None:
        from PIL import Image

        height, width = _reduced(classes.shape)
        rows = np.arange(height) * classes.shape[0] // height
        columns = np.arange(width) * classes.shape[1] // width
        small = classes[rows[:, None], columns]
        file = io.BytesIO()
        if self._num_classes > 256:
            Image.fromarray(small.astype(np.uint16)).save(file, "PNG")
        else:
            image = Image.fromarray(small.astype(np.uint8)).convert("L")
            image.putpalette(self._colours)
            image.save(file, "PNG", compress_level=1)
        write_whole(path, file.getbuffer())


def _insert(ranked: list[tuple[float, str]], one: tuple[float, str], most: int) -> bool:
    """Put one into its place among the first; whether it has one."""
    if len(ranked) == most and one >= ranked[-1]:
        return False
    bisect.insort(ranked, one)
    del ranked[most:]
    return True


def _reduced(size: tuple[int, ...]) -> tuple[int, int]:
    scale = min(1.0, _LONGER_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
