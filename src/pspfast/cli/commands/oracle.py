"""What the way back costs on its own: ``pspfast oracle`` sends labels through a canvas and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pspfast.cli import console
from pspfast.cli.options import class_options, data_set_as_asked, data_set_options, json_option, workers_option
from pspfast.cli.path_types import NameOrPath
from pspfast.datasets import find_labels, labels_in, labels_of_another_suffix, no_labels, places, read_split
from pspfast.formats.result import table
from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.pictures.geometry import crop_remark
from pspfast.system import terminal
from pspfast.system.files import write_json
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.datasets import DataSet
from pspfast.accuracy.best_possible import CANVASES, PAINTINGS, CanvasScores, oracle

__all__ = ["main"]

_LEGEND = """\
painted where it is read: a pixel of the canvas has the label that the exact way back takes it for
painted where it is: it has the label at its centre, which is what the network sees after cv2.resize"""


def _tables(findings: Sequence[CanvasScores]) -> str:
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


def _as_json(finding: CanvasScores) -> dict[str, Any]:
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
    type=NameOrPath(),
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
    check_outputs([json_file], [split, classes, ann_dir])
    data_set = data_set_as_asked(data_set, classes, ignore_index, label_map, reduce_zero_label)
    num_classes = len(data_set.classes)
    if split is None:
        files = _label_files(ann_dir, data_set)
    else:
        names = read_split(split).ids
        files = [find_labels(ann_dir, name, data_set) for name in names]
        if not any(map(os.path.exists, files)) and (said := labels_of_another_suffix(ann_dir, names, data_set)):
            raise ValueError(said)
    for canvas in canvases:
        if remark := crop_remark("reference", canvas):
            terminal.tell(f"reference crop: {remark}")
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
        terminal.tell(failure)
    if len(failures) == len(files):
        terminal.tell("no label picture could be used")
        return console.SOME_FAILED
    some = findings[0]  # every finding is of the same labels
    counted = some.pictures["where it is"] + some.scaled_down["where it is"]
    if counted.invalid_labels:
        terminal.tell(
            f"{counted.invalid_labels:,} pixels are labelled as none of {num_classes} classes; they do not count"
        )
    if not counted.areas().truth.any():
        terminal.tell("no pixel is labelled as a class")
        return console.SOME_FAILED
    terminal.report(_tables(findings))
    if json_file is not None:
        write_json(json_file, {"findings": [_as_json(finding) for finding in findings], "failures": failures})
    lost = [
        finding.canvas
        for finding in findings
        if finding.way_back == "exact" and finding.pictures["where it is read"].miou() < 1
    ]
    for height, width in lost:
        terminal.tell(f"the exact way back loses pixels in a canvas of {height}x{width}; please report this")
    return console.SOME_FAILED if failures or lost else console.DONE


def _label_files(folder: str, data_set: DataSet) -> list[str]:
    """All label pictures of a folder."""
    paths = [path for _, path in labels_in(folder, data_set) if os.path.isfile(path)]
    if not paths:
        raise ValueError(no_labels(folder, data_set))
    return paths


if __name__ == "__main__":
    main(prog_name="python -m pspfast.accuracy.best_possible")
