"""Dumped masks to scores: ``python -m pspfast.postprocess``.

Takes the published script's options; with ``--geometry reference`` it prints and writes what that does, to the digit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pspfast.cli import console
from pspfast.cli.options import (
    class_options,
    data_set_as_asked,
    data_set_options,
    report_result,
    result_file_options,
    workers_option,
)
from pspfast.cli.path_types import NameOrPath
from pspfast.datasets import places
from pspfast.formats.bins import MANIFEST
from pspfast.formats.dump_record import DUMP_TYPES
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.stages.postprocessing import PostprocessOptions, postprocess_with
from pspfast.system import terminal
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pspfast.datasets import DataSet

__all__ = ["main"]

_MOST_TOLD = 20  # of the faults of one kind; --json has all


@click.command(cls=console.GuardedCommand, context_settings=console.CONTEXT_SETTINGS)
@click.option("--bin-data-path", type=click.Path(), required=True, help="Folder of the dumped masks.")
@click.option("--manifest", type=click.Path(), help="Of the bins, or their folder; found in the folder of dumps.")
@click.option("--test-annotation", type=click.Path(), help="Info file with the pictures' sizes (get_info jpg).")
@click.option("--img-dir", type=click.Path(), help="Folder of the pictures (JPEGImages).")
@click.option("--ann-dir", type=click.Path(), help="Folder of the labels; SegmentationClass beside the pictures.")
@click.option(
    "--split", type=NameOrPath(), help="File with one id a line (val.txt), or with --root a split's name; val."
)
@data_set_options
@click.option("--net-input-width", type=click.IntRange(min=1), help="Of the masks; the manifest's, or 500.")
@click.option("--net-input-height", type=click.IntRange(min=1), help="Of the masks; the manifest's, or 500.")
@click.option("--output", type=click.IntRange(min=0), metavar="N", help="The model's output: take <stem>_N only.")
@click.option(
    "--dump-type",
    type=click.Choice(DUMP_TYPES),
    metavar="TYPE",
    help=f"Of dumps without a record, where size and content leave it open: {', '.join(DUMP_TYPES)}.",
)
@click.option(
    "--geometry",
    type=click.Choice(["exact", "reference"]),
    default="exact",
    help="exact takes a picture from where it was put; reference crops as the published script does.",
)
@class_options
@click.option("--result-file", type=click.Path(), default="voc_seg_result.txt", help="The published list of scores.")
@result_file_options
@click.option("--save-masks", type=click.Path(), metavar="DIR", help="Palette PNGs in the pictures' own sizes.")
@click.option("--ledger", type=click.Path(), metavar="FILE", help="Keep what was counted of each picture; resumes.")
@click.option("--strict", is_flag=True, help="Stop at the first fault.")
@workers_option
@click.option("--max-pixels", type=click.IntRange(min=1), default=MAX_PIXELS, metavar="N", help="Refuse larger labels.")
@click.option("--quiet", is_flag=True, help="Only the tables, and what is wrong.")
@console.handles_errors
def main(
    bin_data_path: str,
    test_annotation: str | None,
    img_dir: str | None,
    ann_dir: str | None,
    net_input_width: int | None,
    net_input_height: int | None,
    split: str | None,
    data_set: DataSet,
    root: str | None,
    classes: str | None,
    ignore_index: str | None,
    label_map: dict[int, int] | None,
    reduce_zero_label: bool | None,
    result_file: str,
    json_file: str | None,
    csv_file: str | None,
    save_masks: str | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Score dumped masks against the labels of their pictures.

    \b
    The tables of the published PSPNet guide, digit for digit:
      python -m pspfast.postprocess --bin_data_path=result/dumpOutput_device0 --geometry=reference
        --test_annotation=voc12_jpg.info --ann_dir=VOCdevkit/VOC2012/SegmentationClass
        --split=VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt
    The same pictures, more exactly, where preprocess wrote voc12_bin:
      python -m pspfast.postprocess --bin_data_path=result/dumpOutput_device0 --manifest=voc12_bin

    \b
    Another data set, in the folders that its authors gave it:
      python -m pspfast.postprocess --dataset=ade20k --root=data/ADEChallengeData2016 --bin-data-path=dumps

    Dumps are <stem>_1.bin, <stem>_0.bin, <stem>.bin or .npy; labels of any type or class scores. What pspfast infer
    recorded beside them (dumps.json) is obeyed; others are told apart by size and content, and refused where they could
    be several things. Dumps, labels and pictures are paired by name. Faults are named and left out, and the scores say
    so. Exit status: 0 all done, 1 something is wrong with some pictures, 2 usage.
    """
    whole = False
    if root is not None:
        at = places(data_set, root, split)
        img_dir = img_dir or (at.pictures if os.path.isdir(at.pictures) else None)
        ann_dir, split, classes = ann_dir or at.labels, at.split, classes or at.classes
        whole = split is None
    manifests = [os.path.join(path, MANIFEST) for path in (bin_data_path, options["manifest"]) if path is not None]
    check_outputs((result_file, json_file, csv_file, options["ledger"]), ())
    check_outputs(  # a ledger is opened as one, which refuses everything else
        (result_file, json_file, csv_file),
        [bin_data_path, options["manifest"], *manifests, test_annotation, img_dir, ann_dir, split, classes],
    )
    size = (net_input_height or net_input_width or 500, net_input_width or net_input_height or 500)
    asked = PostprocessOptions(
        info=test_annotation,
        image_folder=img_dir,
        label_folder=ann_dir,
        size=size if net_input_width or net_input_height else None,
        split=split,
        data_set=data_set_as_asked(data_set, classes, ignore_index, label_map, reduce_zero_label),
        whole=whole,
        masks=save_masks,
        quiet=quiet,
        **options,
    )
    found = postprocess_with(bin_data_path, asked)
    _tell_all("wrong", found.faults)
    _tell_all("dumps that nobody asked for", found.strays)
    if found.stopped:
        how = "the ledger has what was counted, the same command goes on from here" if options["ledger"] else ""
        terminal.tell("; ".join(part for part in (f"stopped: {found.stopped}", how) if part))
        return console.SOME_FAILED
    if not found.result.pictures:
        terminal.tell("no picture could be scored")
        return console.SOME_FAILED
    failed = report_result(found.result, result_file, json_file, csv_file)
    if found.unasked:
        terminal.tell(f"{found.unasked} label pictures have no dump; --split says which pictures there must be")
    if not quiet:
        terminal.tell(str(found))
    wrong = found.faults or (found.strays and split is None and not whole) or failed
    return console.SOME_FAILED if wrong else console.DONE


def _tell_all(what: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        terminal.tell(f"{len(lines)} {what}:")
    for line in lines[:_MOST_TOLD]:
        terminal.tell(f"  {line}")
    if len(lines) > _MOST_TOLD:
        terminal.tell(f"  and {len(lines) - _MOST_TOLD} more (--json has them all)")


if __name__ == "__main__":
    main(prog_name="python -m pspfast.postprocess")
