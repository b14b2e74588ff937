"""What the way back costs on its own: ``pspfast oracle`` sends labels through a canvas and back.

The labels themselves play the network that makes no mistake. They are painted into the canvas, taken out again by each
rule, and scored: what is missing to 100 is lost to geometry, and no network trained on earth gets it back.

They can be painted in two ways. *Where it is read*: every canvas pixel has the label of the picture's pixel that the
exact way back takes it for, so that this way loses nothing unless the picture was scaled down. *Where it is*: every
canvas pixel has the label that the picture has at its centre, as the letterbox (``cv2.resize``, half-pixel centres)
sees it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np

from pspfast import console, parallel
from pspfast.console import Progress
from pspfast.datasets import VOC, find_labels, labels_in, no_labels, places, read_split
from pspfast.files import write_json
from pspfast.geometry import Letterbox
from pspfast.images import PictureError
from pspfast.labels import read_labels
from pspfast.metrics import ConfusionMatrix
from pspfast.ops import unpad
from pspfast.options import (
    check_outputs,
    class_options,
    data_set_as_asked,
    data_set_options,
    json_option,
    workers_option,
)
from pspfast.results import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pspfast.datasets import DataSet

__all__ = ["Finding", "Painting", "WayBack", "main", "oracle", "paint", "take_out"]

Painting = Literal["where it is read", "where it is"]
WayBack = Literal["exact", "reference crop", "half-pixel nearest"]

PAINTINGS: tuple[Painting, ...] = ("where it is read", "where it is")
WAYS_BACK: tuple[WayBack, ...] = ("exact", "reference crop", "half-pixel nearest")
CANVASES = ((500, 500), (512, 512))

_NOTHING = -1  # in the padding: no class


@dataclass(frozen=True, slots=True)
class Finding:
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
) -> tuple[list[Finding], list[str]]:
    """Score labels against themselves, through each canvas and back by each rule.

    Args:
        label_files: label pictures.
        canvases: ``(H, W)`` of networks' inputs.
        num_classes, ignore_index, label_map, reduce_zero_label: what the labels mean, see
            :class:`pspfast.ConfusionMatrix`.
        workers: threads; the CPUs this process may use if left out.
        quiet: no progress on standard error.

    Returns:
        A finding for each canvas and way back, and why for the files that cannot be used.
    """

    def matrix() -> ConfusionMatrix:
        return ConfusionMatrix(num_classes, ignore_index, label_map=label_map, reduce_zero_label=reduce_zero_label)

    def matrices() -> dict[Painting, ConfusionMatrix]:
        return {painting: matrix() for painting in PAINTINGS}

    rules = matrix()
    is_plain = not (label_map or reduce_zero_label)

    canvases = list(dict.fromkeys(canvases))
    findings = [Finding(canvas, way, matrices(), matrices()) for canvas in canvases for way in WAYS_BACK]

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
    workers = parallel.default_workers() if workers is None else workers
    with Progress("pictures", len(label_files), quiet=quiet) as progress:
        for _, failure in parallel.run(lambda: evaluate, label_files, workers):
            progress.advance()
            if failure:
                failures.append(failure)
    return findings, sorted(failures)


def _predicted(labels: NDArray[Any], rules: ConfusionMatrix) -> NDArray[np.int64]:
    """What a network that makes no mistake predicts: classes, and none where the labels are none."""
    rows = rules.rows_of(np.arange(int(labels.max()) + 1))
    predicted: NDArray[np.int64] = np.where(rows < rules.num_classes, rows, _NOTHING)[labels]
    return predicted


_LEGEND = """\
painted where it is read: a pixel of the canvas has the label that the exact way back takes it for
painted where it is: it has the label at its centre, which is what the network sees after cv2.resize"""


def _tables(findings: Sequence[Finding]) -> str:
    parts = []
    for what, groups in (
        ("Pictures that are not scaled down", [finding.pictures for finding in findings]),
        ("Pictures that are scaled down", [finding.scaled_down for finding in findings]),
    ):
        if not any(matrix.total for group in groups for matrix in group.values()):
            continue
        rows = [
            [f"{finding.canvas[0]}x{finding.canvas[1]}", finding.way_back]
            + [_percent(group[painting]) for painting in PAINTINGS]
            for finding, group in zip(findings, groups, strict=True)
        ]
        head = ["canvas", "way back", *(f"painted {painting}" for painting in PAINTINGS)]
        parts.append(f"{what}: mIoU\n\n{table([head, *rows])}")
    return "\n\n".join([*parts, _LEGEND])


def _as_json(finding: Finding) -> dict[str, Any]:
    groups = {"pictures": finding.pictures, "scaled_down": finding.scaled_down}
    scores = {
        name: {painting: matrix.miou() if matrix.total else None for painting, matrix in group.items()}
        for name, group in groups.items()
    }
    return {"canvas": finding.canvas, "way_back": finding.way_back, "miou": scores}


def _percent(matrix: ConfusionMatrix) -> str:
    return f"{100 * matrix.miou():.2f}" if matrix.total else "no pictures"


@click.command(context_settings=console.CONTEXT_SETTINGS)
@click.option("--ann-dir", type=click.Path(), help="Folder of the labels (SegmentationClass); or give --root.")
@click.option(
    "--split",
    type=click.Path(),
    help="File with one id a line (val.txt), or with --root a split's name; all labels, or val, if left out.",
)
@data_set_options
@click.option(
    "--canvas", "canvases", type=(int, int), multiple=True, default=CANVASES, metavar="H W", help="Repeatable."
)
@class_options
@workers_option
@json_option
@click.option("--quiet", is_flag=True, help="Only the tables, and what failed.")
@console.handles_errors
def main(
    ann_dir: str | None,
    split: str | None,
    data_set: DataSet,
    root: str | None,
    canvases: tuple[tuple[int, int], ...],
    classes: str | None,
    ignore_index: str | None,
    label_map: dict[int, int] | None,
    reduce_zero_label: bool | None,
    workers: int,
    json_file: str | None,
    quiet: bool,
) -> int:
    """Send labels through the letterbox and back: what geometry alone costs.

    The exact way back loses nothing where pictures are not scaled down; the tables say what the published crop,
    half-pixel nearest or another canvas lose. Exit status: 0 done, 1 some labels cannot be used or the exact way back
    lost something, 2 usage.
    """
    if root is not None:
        at = places(data_set, root, split)
        ann_dir, split, classes = ann_dir or at.labels, at.split, classes or at.classes
    if ann_dir is None:
        raise ValueError("where are the labels? Give --ann-dir, or --root with the folder of the data set")
    check_outputs([json_file], [path for path in (split, classes) if path is not None])
    data_set = data_set_as_asked(data_set, classes, ignore_index, label_map, reduce_zero_label)
    num_classes = len(data_set.classes)
    if split is None:
        files = _label_files(ann_dir, data_set)
    else:
        files = [find_labels(ann_dir, name, data_set) for name in read_split(split).ids]
    findings, failures = oracle(
        files,
        canvases=canvases,
        num_classes=num_classes,
        ignore_index=data_set.ignore_index,
        label_map=data_set.label_map,
        reduce_zero_label=data_set.reduce_zero_label,
        workers=workers,
        quiet=quiet,
    )
    for failure in failures:
        console.tell(failure)
    if len(failures) == len(files):
        console.tell("no label picture could be used")
        return console.SOME_FAILED
    some = findings[0]  # every finding is of the same labels
    counted = some.pictures["where it is"] + some.scaled_down["where it is"]
    if counted.invalid_labels:
        console.tell(
            f"{counted.invalid_labels:,} pixels are labelled as none of {num_classes} classes; they do not count"
        )
    if not counted.areas().truth.any():
        console.tell("no pixel is labelled as a class")
        return console.SOME_FAILED
    console.report(_tables(findings))
    if json_file is not None:
        write_json(json_file, {"findings": [_as_json(finding) for finding in findings], "failures": failures})
    lost = [
        finding.canvas
        for finding in findings
        if finding.way_back == "exact" and finding.pictures["where it is read"].miou() < 1
    ]
    for height, width in lost:
        console.tell(f"the exact way back loses pixels in a canvas of {height}x{width}; please report this")
    return console.SOME_FAILED if failures or lost else console.DONE


def _label_files(folder: str, data_set: DataSet) -> list[str]:
    """All label pictures of a folder."""
    paths = [path for _, path in labels_in(folder, data_set) if os.path.isfile(path)]
    if not paths:
        raise ValueError(no_labels(folder, data_set))
    return paths


if __name__ == "__main__":
    main(prog_name="python -m pspfast.oracle")
