"""Pictures to the network's input: ``python -m pspfast.preprocess``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pspfast.cli import console
from pspfast.cli.options import data_set_options, json_option, workers_option
from pspfast.cli.path_types import NameOrPath
from pspfast.datasets import places
from pspfast.formats.bins import MANIFEST
from pspfast.pictures import kernels
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.stages.preprocessing import PreprocessOptions, preprocess_with
from pspfast.system import terminal
from pspfast.system.files import write_json
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from pspfast.datasets import DataSet

__all__ = ["main"]


@click.command(cls=console.GuardedCommand, context_settings=console.CONTEXT_SETTINGS)
@click.option("--image-folder-path", type=click.Path(), help="Folder of the pictures (JPEGImages); or give --root.")
@click.option(
    "--split",
    type=NameOrPath(),
    help="File with one id a line (val.txt), or with --root a split's name; all pictures, or val, if left out.",
)
@data_set_options
@click.option("--bin-folder-path", type=click.Path(), required=True, help="Folder for the bins and manifest.json.")
@click.option("--size", type=(int, int), default=kernels.DEFAULT_SIZE, metavar="H W", help="Canvas, height and width.")
@click.option(
    "--stats",
    type=click.Choice(["float16", "exact"]),
    default="float16",
    help="float16 rounds mean and std first, as the published bins are made; exact does not.",
)
@click.option(
    "--mean", type=(float, float, float), default=kernels.IMAGENET_MEAN, metavar="R G B", help="Mean, 0..255."
)
@click.option(
    "--std",
    type=(float, float, float),
    default=kernels.IMAGENET_STD,
    metavar="R G B",
    help="Standard deviation, 0..255.",
)
@click.option("--pad-value", type=float, default=0.0, help="Value round the picture, after normalization.")
@click.option("--scale-up/--no-scale-up", default=True, help="Enlarge pictures smaller than the canvas.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16", help="Of the bins.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Pictures a bin; the last bin is filled up, the manifest says how far it counts.",
)
@workers_option
@click.option(
    "--resume/--no-resume",
    default=True,
    help="Keep bins of an earlier run with the same options whose pictures have not changed.",
)
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=MAX_PIXELS, metavar="N", help="Refuse larger pictures."
)
@json_option
@click.option("--quiet", is_flag=True, help="Only tell what failed.")
@console.handles_errors
def main(
    image_folder_path: str | None,
    bin_folder_path: str,
    split: str | None,
    data_set: DataSet,
    root: str | None,
    json_file: str | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Letterbox a data set into the bins a network reads.

    \b
    The 1449 bins of the published PSPNet guide, byte for byte:
      python -m pspfast.preprocess --image_folder_path=VOCdevkit/VOC2012/JPEGImages
        --split=VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt --bin_folder_path=voc12_bin

    \b
    Another data set, in the folders that its authors gave it:
      python -m pspfast.preprocess --dataset=cityscapes --root=data/cityscapes --bin-folder-path=city_bin

    A bin is (batch_size, 3, H, W) of the dtype, raw. Killed or interrupted, the same command goes on where it stopped.
    Options may be spelled with underscores. Exit status: 0 all done, 1 some pictures failed or the disk is full,
    2 usage.
    """
    if root is not None:
        found = places(data_set, root, split)
        image_folder_path, split = image_folder_path or found.pictures, found.split
    check_outputs([json_file], [image_folder_path, split], state=os.path.join(bin_folder_path, MANIFEST))
    if image_folder_path is None:
        raise ValueError("where are the pictures? Give --image-folder-path, or --root with the folder of the data set")
    asked = PreprocessOptions(split, data_set=data_set, quiet=quiet, **options)
    summary = preprocess_with(image_folder_path, bin_folder_path, asked)
    if not quiet:
        terminal.report(
            f"{summary}\n{os.path.join(bin_folder_path, MANIFEST)}" if not summary.stopped else str(summary)
        )
    if json_file is not None:
        write_json(json_file, summary)
    if summary.stopped:
        terminal.tell(f"stopped: {summary.stopped}; bins written so far are whole, the same command goes on from here")
    return console.SOME_FAILED if summary.failures or summary.stopped else console.DONE


if __name__ == "__main__":
    main(prog_name="python -m pspfast.preprocess")
