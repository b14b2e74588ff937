"""A data set through a model to scores, in one go: ``pspfast run``."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

import pspfast
from pspfast.cli import console
from pspfast.cli.commands.infer import runtime_options
from pspfast.cli.options import (
    channels_option,
    class_options,
    data_set_as_asked,
    data_set_options,
    output_name_option,
    report_result,
    report_writer,
    result_file_options,
)
from pspfast.cli.path_types import NameOrPath
from pspfast.datasets.sources import data_set_source, picture_source
from pspfast.formats.external_weights import external_weights
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.runtimes.engines import RUNTIMES
from pspfast.stages.model_input import InputOptions
from pspfast.stages.whole_run import Run, RunOptions, claim_run_folder, outputs_of_run, run_with
from pspfast.system import terminal
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from pspfast.datasets import DataSet
    from pspfast.datasets.sources import Source

__all__ = ["main"]

_OF_THE_INPUT = ("size", "mean", "std", "stats", "pad_value", "scale_up", "dtype", "channels")
_MOST_TOLD = 20  # of the faults of one kind; run.json has all


@click.command("run", context_settings=console.CONTEXT_SETTINGS)
@click.option("--model", type=click.Path(), help="ONNX file, or .om for an Ascend device.")
@click.option(
    "--checkpoint",
    type=NameOrPath(),
    metavar="FILE|URL|NAME",
    help="In place of --model: exported first, kept in --output.",
)
@click.option("--config", type=NameOrPath(), metavar="FILE|NAME", help="Of the checkpoint, see pspfast export.")
@click.option("--trust-checkpoint", is_flag=True, help="Load a checkpoint that can run code.")
@click.option("--voc-root", type=click.Path(), metavar="DIR|TAR", help="VOCdevkit/VOC2012, or a .tar that has it.")
@data_set_options
@click.option("--images", type=click.Path(), metavar="DIR|FILE", help="Any pictures: masks and overlays, no scores.")
@click.option("--labels", type=click.Path(), metavar="DIR", help="Label pictures for --images, of the same names.")
@click.option(
    "--split", type=NameOrPath(), metavar="NAME|FILE", help="The data set's, or a file with one id a line; val."
)
@class_options
@click.option("--output", type=click.Path(), default="pspfast_run", metavar="DIR", help="For everything a run leaves.")
@click.option("--size", type=(int, int), metavar="H W", help="Canvas; the model's own, or 500 500.")
@click.option("--mean", type=(float, float, float), metavar="R G B", help="The model's own, or ImageNet's; 0..255.")
@click.option("--std", type=(float, float, float), metavar="R G B", help="The model's own, or ImageNet's; 0..255.")
@click.option("--stats", type=click.Choice(["float16", "exact"]), default="float16", help="See preprocess.")
@click.option("--pad-value", type=float, default=0.0, help="Value round the picture, after normalization.")
@click.option("--scale-up/--no-scale-up", default=True, help="Enlarge pictures smaller than the canvas.")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Precision of the pictures: float16 as the guide's bins, also for float32 models; float32 is exact.",
)
@channels_option
@output_name_option
@click.option("--geometry", type=click.Choice(["exact", "reference"]), default="exact", help="See postprocess.")
@click.option(
    "--runtime", type=click.Choice(["auto", *RUNTIMES]), default="auto", help="auto goes by the model's file."
)
@runtime_options
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Pictures at once, where the model leaves it.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads that read, letterbox and count; the CPUs this process may use.",
)
@click.option("--keep-bins", is_flag=True, help="Also write what preprocess and infer would: bins, dumps.")
@click.option("--keep-masks", is_flag=True, help="Also write what postprocess --save-masks would: masks.")
@click.option("--keep-overlays", is_flag=True, help="Also write the pictures with their masks over them: overlays.")
@click.option("--report/--no-report", default=True, help="Write report/index.html (needs jinja2).")
@click.option("--resume/--no-resume", default=True, help="Go on with what an earlier run left in --output.")
@result_file_options
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=MAX_PIXELS, metavar="N", help="Refuse larger pictures."
)
@click.option("--quiet", is_flag=True, help="Only the tables, and what is wrong.")
@console.handles_errors
def main(
    model: str | None,
    checkpoint: str | None,
    config: str | None,
    trust_checkpoint: bool,
    voc_root: str | None,
    data_set: DataSet,
    root: str | None,
    images: str | None,
    labels: str | None,
    split: str | None,
    classes: str | None,
    ignore_index: str | None,
    label_map: dict[int, int] | None,
    reduce_zero_label: bool | None,
    output: str,
    json_file: str | None,
    csv_file: str | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Run a model over a data set and score it: read, letterbox, infer, unpad and count, with no files in between.

    \b
    The published PSPNet guide in one line:
      pspfast run --voc-root VOCdevkit/VOC2012 --model pspnet_r50-d8_512x512_20k_voc12aug.onnx
    The same from the checkpoint, from an archive that stays packed, or over any pictures:
      pspfast run --voc-root VOCdevkit/VOC2012 --checkpoint pspnet_r50-d8_512x512_20k_voc12aug
      pspfast run --voc-root VOCtrainval_11-May-2012.tar --model pspnet.onnx
      pspfast run --images holiday --model pspnet.onnx

    Canvas, constants and classes are the model's own, if pspfast exported it; options that contradict them are refused.
    Scores are those of preprocess, infer and postprocess one after the other. Killed or interrupted, the same command
    goes on where it stopped and ends with the same result. Exit status: 0 all done, 1 something is wrong with some
    pictures, or the disk or a device failed, 2 usage, 3 a library is missing.
    """
    if (model is None) == (checkpoint is None):
        raise ValueError("give either a model (--model) or a checkpoint to export first (--checkpoint)")
    given = [name for name, place in (("--voc-root", voc_root), ("--root", root), ("--images", images)) if place]
    if len(given) != 1:
        raise ValueError(
            "give the pictures: --voc-root, --dataset with --root, or --images"
            + f"; not {' and '.join(given)} together" * bool(given)
        )
    if voc_root is not None and data_set.name != "voc":
        raise ValueError(f"--voc-root has PASCAL VOC, --dataset says {data_set.name}; its folder is --root")
    if labels is not None and images is None:
        raise ValueError("--labels go with --images; a data set has its own")
    check_outputs(
        (*outputs_of_run(output), json_file, csv_file),
        [model, *_weights(model), checkpoint, config, classes, split, voc_root, root, images, labels],
    )
    asked = _data_set(data_set, classes, ignore_index, label_map, reduce_zero_label, root)
    source: Source
    if images is not None:
        source = picture_source(images, asked, labels=labels, split=split)
    else:
        source = data_set_source(voc_root or root or "", asked, split)
    model_input = InputOptions(**{name: options.pop(name) for name in _OF_THE_INPUT})
    with source:
        if checkpoint is not None:
            claim_run_folder(output, has_page=options["report"])
            size = model_input.size or (500, 500)
            model = _exported(checkpoint, output, size, options["batch"], config, trust_checkpoint, quiet=quiet)
        assert model is not None
        if options["report"] and source.is_scored and not quiet:
            _advise_report()
        options["report"] = options["report"] and report_writer()
        run_options = RunOptions(input=model_input, command=sys.argv, quiet=quiet, **options)
        done = run_with(model, source, output, run_options)
    return _told(done, json_file, csv_file, quiet=quiet)


def _weights(model: str | None) -> list[str]:
    """Files beside a model that belong to it."""
    return external_weights(model) if model is not None and os.path.isfile(model) else []


def _data_set(
    data_set: DataSet,
    classes: str | None,
    ignore_index: str | None,
    label_map: dict[int, int] | None,
    reduce_zero_label: bool | None,
    root: str | None,
) -> DataSet:
    if classes is None and data_set.class_file and not data_set.classes and root is not None:
        classes = os.path.join(root, data_set.class_file)
    return data_set_as_asked(data_set, classes, ignore_index, label_map, reduce_zero_label)


def _exported(
    checkpoint: str,
    output: str,
    size: tuple[int, int],
    batch: int | None,
    config: str | None,
    trust: bool,
    *,
    quiet: bool,
) -> str:
    """The model of a checkpoint; exported once for the same contents of checkpoint and config, and the same options."""
    from pspfast.system.files import folder_for_output, remove_leftovers
    from pspfast.system.libraries import need

    need("torch")
    from pspfast.export.exporting import export

    content = hashlib.sha256(repr((checkpoint, pspfast.__version__, tuple(size), batch)).encode())
    if config is not None:
        from pspfast.export.mmseg import config_content

        content.update(config_content(config))
    if os.path.isfile(checkpoint):
        with open(checkpoint, "rb") as file:
            while data := file.read(1 << 22):
                content.update(data)
    folder = folder_for_output(os.path.join(output, "model"))
    remove_leftovers(folder, shared=True)
    path = str(folder / f"{content.hexdigest()[:16]}.onnx")
    if os.path.exists(path):
        if not quiet:
            terminal.tell(f"{path}: exported before")
        return path

    def step(text: str) -> None:
        if not quiet:
            terminal.tell(f"export: {text}")

    export(checkpoint, path, config=config, shape=size, batch=[] if batch is None else [batch], trust=trust, step=step)
    return path


def _advise_report() -> None:
    from importlib.util import find_spec

    if find_spec("jinja2") is None:
        terminal.tell("no report will be written: pip install 'pspfast[run]' brings jinja2, which it needs")


def _told(done: Run, json_file: str | None, csv_file: str | None, *, quiet: bool) -> int:
    wrong = [*done.failed, *done.remarks]
    if wrong:
        terminal.tell(f"{len(wrong)} wrong:")
    for name, what in wrong[:_MOST_TOLD]:
        terminal.tell(f"  {name}: {what}")
    if len(wrong) > _MOST_TOLD:
        terminal.tell(f"  and {len(wrong) - _MOST_TOLD} more ({os.path.join(done.output, 'result.json')} has them all)")
    for text in done.unwritten:
        terminal.tell(text)
    if done.stopped:
        terminal.tell(
            f"stopped: {done.stopped}; {done.pictures} pictures are done and kept in {done.output}, the same command "
            "goes on from there"
        )
        return console.SOME_FAILED
    if not done.pictures:
        terminal.tell("no picture could be used")
        return console.SOME_FAILED
    failed = False
    if done.result is not None:
        failed = report_result(done.result, None, json_file, csv_file)
    else:
        count = "1 mask and overlay" if done.pictures == 1 else f"{done.pictures} masks and overlays"
        terminal.report(f"{count} in {done.output}")
    if not quiet:
        terminal.tell(str(done))
    if done.report:
        terminal.report(done.report)
    return console.SOME_FAILED if wrong or failed or done.unwritten else console.DONE


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.run")
