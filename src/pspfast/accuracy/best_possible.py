"""What the way back costs on its own: labels through a canvas and back, and their scores.

The labels themselves play the network that makes no mistake. They are painted into the canvas, taken out again by each
rule, and scored: what is missing to 100 is lost to geometry, and no network trained on earth gets it back.

They can be painted in two ways. *Where it is read*: every canvas pixel has the label of the picture's pixel that the
exact way back takes it for, so that this way loses nothing unless the picture was scaled down. *Where it is*: every
canvas pixel has the label that the picture has at its centre, as the letterbox (``cv2.resize``, half-pixel centres)
sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast.datasets import VOC
from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.pictures.geometry import Letterbox
from pspfast.pictures.kernels import unpad
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureError
from pspfast.system import threads
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


__all__ = ["CanvasScores", "Painting", "WayBack", "oracle", "paint", "take_out"]

Painting = Literal["where it is read", "where it is"]
WayBack = Literal["exact", "reference crop", "half-pixel nearest"]

PAINTINGS: tuple[Painting, ...] = ("where it is read", "where it is")
WAYS_BACK: tuple[WayBack, ...] = ("exact", "reference crop", "half-pixel nearest")
CANVASES = ((500, 500), (512, 512))

_NOTHING = -1  # in the padding: no class


@dataclass(frozen=True, slots=True)
class CanvasScores:
    """Scores of one canvas and way back.

    Attributes:
        canvas: ``(H, W)``.
        way_back: the rule.
        pictures: painting -> matrix of the pictures that were not scaled down.
        scaled_down: painting -> matrix of those that were.
    """

    canvas: tuple[int, int]
    way_back: WayBack
    pictures: dict[Painting, ConfusionMatrix]
    scaled_down: dict[Painting, ConfusionMatrix]


def paint(labels: NDArray[Any], geometry: Letterbox, painting: Painting) -> NDArray[np.int32]:
    """Labels ``(h, w)`` in the canvas, as a network without fault would give them; -1 in the padding.

    Example:
        >>> labels = np.array([[1, 2], [3, 4]])
        >>> paint(labels, Letterbox.fit((2, 2), (3, 3)), "where it is read").tolist()
        [[1, 2, 2], [3, 4, 4], [3, 4, 4]]
    """
    canvas = np.full(geometry.canvas, _NOTHING, np.int32)
    (top, left), (height, width) = geometry.offset, geometry.resized
    rows, columns = (
        _sources(read, side, to, painting)
        for read, side, to in zip(_read_by_exact(geometry), geometry.picture, geometry.resized, strict=True)
    )
    canvas[top : top + height, left : left + width] = labels[np.ix_(rows, columns)]
    return canvas


def take_out(canvas: NDArray[np.int32], geometry: Letterbox, way_back: WayBack) -> NDArray[np.int32]:
    """A mask of the canvas in the picture's size, by one of the rules.

    All of it is -1 where the reference crop leaves nothing of the canvas, which may be where it is not square; the
    published script ends with an error there.
    """
    if way_back == "reference crop":
        try:
            geometry.crop("reference")
        except ValueError:
            return np.full(geometry.picture, _NOTHING, np.int32)
    if way_back != "half-pixel nearest":
        return unpad(canvas, geometry, rule="exact" if way_back == "exact" else "reference")
    (top, left), (height, width) = geometry.offset, geometry.resized
    rows, columns = (_at_centres(to, side) for to, side in zip(geometry.picture, geometry.resized, strict=True))
    crop: NDArray[np.int32] = canvas[top : top + height, left : left + width]
    return crop[np.ix_(rows, columns)]


def _read_by_exact(geometry: Letterbox) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Canvas row of each row of the picture, and column of each column, without the offset: asked of the kernel."""
    (top, left), _ = geometry.crop()
    numbers = np.arange(geometry.canvas[0], dtype=np.int32)[:, None] - top
    rows = unpad(np.ascontiguousarray(np.broadcast_to(numbers, geometry.canvas)), geometry)[:, 0]
    numbers = np.arange(geometry.canvas[1], dtype=np.int32)[None, :] - left
    columns = unpad(np.ascontiguousarray(np.broadcast_to(numbers, geometry.canvas)), geometry)[0]
    return rows, columns


def _sources(read: NDArray[np.int32], side: int, to: int, painting: Painting) -> NDArray[np.intp]:
    """Pixel of the picture that each pixel of the canvas gets its label from, along one axis."""
    if painting == "where it is":
        return _at_centres(to, side)
    # The last one that is read there or before: the one that is read there, if any is.
    return np.maximum(np.searchsorted(read, np.arange(to), side="right") - 1, 0)


def _at_centres(count: int, side: int) -> NDArray[np.intp]:
    """Nearest of ``side`` pixels to the centres of ``count`` pixels over the same length."""
    return np.minimum(((np.arange(count) + 0.5) * side / count).astype(np.intp), side - 1)


def oracle(
    label_files: Sequence[str],
    *,
    canvases: Sequence[tuple[int, int]] = CANVASES,
    num_classes: int = len(VOC.classes),
    ignore_index: int | None = VOC.ignore_index,
    label_map: Mapping[int, int] | None = None,
    reduce_zero_label: bool = False,
    workers: int | None = None,
    quiet: bool = True,
) -> tuple[list[CanvasScores], list[str]]:
    """Score labels against themselves, through each canvas and back by each rule.

    Args:
        label_files: label pictures.
        canvases: ``(H, W)`` of networks' inputs.
        num_classes, ignore_index, label_map, reduce_zero_label: what the labels mean, see
            :class:`pspfast.ConfusionMatrix`.
        workers: threads; the CPUs this process may use if left out.
        quiet: no progress on standard error.

    Returns:
        Scores of each canvas and way back, and why for the files that cannot be used.
    """

    def matrix() -> ConfusionMatrix:
        return ConfusionMatrix(num_classes, ignore_index, label_map=label_map, reduce_zero_label=reduce_zero_label)

    def matrices() -> dict[Painting, ConfusionMatrix]:
        return {painting: matrix() for painting in PAINTINGS}

    rules = matrix()
    is_plain = not (label_map or reduce_zero_label)

    canvases = list(dict.fromkeys(canvases))
    findings = [CanvasScores(canvas, way, matrices(), matrices()) for canvas in canvases for way in WAYS_BACK]

    def evaluate(path: str) -> str:
        try:
            labels = read_labels(path, wide=num_classes > 256).pixels
        except PictureError as error:
            return str(error)
        predicted = labels if is_plain else _predicted(labels, rules)
        for canvas in canvases:
            geometry = Letterbox.fit((labels.shape[0], labels.shape[1]), canvas)
            for painting in PAINTINGS:
                painted = paint(predicted, geometry, painting)
                for finding in findings:
                    if finding.canvas == canvas:
                        group = finding.pictures if geometry.scale >= 1 else finding.scaled_down
                        group[painting].update(take_out(painted, geometry, finding.way_back), labels)
        return ""

    failures = []
    workers = threads.default_workers() if workers is None else workers
    with Progress("pictures", len(label_files), quiet=quiet) as progress:
        for _, failure in threads.run(lambda: evaluate, label_files, workers):
            progress.advance()
            if failure:
                failures.append(failure)
    return findings, sorted(failures)


def _predicted(labels: NDArray[Any], rules: ConfusionMatrix) -> NDArray[np.int64]:
    """What a network that makes no mistake predicts: classes, and none where the labels are none."""
    rows = rules.rows_of(np.arange(int(labels.max()) + 1))
    predicted: NDArray[np.int64] = np.where(rows < rules.num_classes, rows, _NOTHING)[labels]
    return predicted
