"""``pspfast demo``: the whole chain on scenes that are drawn here, with the network that comes with the package."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from pspfast.cli import console
from pspfast.cli.options import report_writer
from pspfast.datasets import VOC, places
from pspfast.datasets.demo import CANVAS
from pspfast.datasets.demo.scenes import TRAINING, write_scenes
from pspfast.datasets.sources import data_set_source
from pspfast.formats.ledger import Ledger
from pspfast.speed.benchmarking import benchmark_pictures
from pspfast.stages.inference import infer
from pspfast.stages.postprocessing import postprocess
from pspfast.stages.preprocessing import preprocess
from pspfast.stages.whole_run import LEDGER, run
from pspfast.system import terminal
from pspfast.system.files import folder_for_output, write_whole
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from pspfast.metrics.confusion import ConfusionMatrix

__all__ = ["MODEL", "main"]

MODEL = "demo.onnx"
"""In the package's folder ``demo``; ``tools/train_demo.py`` makes it."""

_MARK = ".pspfast_demo"  # in folders that may be written over
_OWN = ("VOC2012", "run", "stages", MODEL)
_BATCH = 8
_SHOWN_OF_TRAINING = 10


@click.command("demo", context_settings=console.CONTEXT_SETTINGS)
@click.option("--output", type=click.Path(), default="pspfast_demo", metavar="DIR", help="For all that it writes.")
@click.option(
    "--pictures",
    type=click.IntRange(min=1, max=TRAINING.start),  # from there on the network knows them
    default=60,
    metavar="N",
    help=f"Scenes to draw, up to {TRAINING.start}.",
)
@click.option("--quiet", is_flag=True, help="Only the tables and the report's path.")
@console.handles_errors
def main(output: str, pictures: int, quiet: bool) -> int:
    """Show everything, with no data and no downloads: draw scenes, run a small PSPNet on them, score, measure, report.

    \b
      pspfast demo
      pspfast demo --output look --pictures 200

    The scenes lie in VOC2012 of the folder as PASCAL VOC would, and the model beside them, so that every other command
    can be tried on them. A folder that a demo made is written anew; any other that is not empty is left alone. Exit
    status: 0 done, 1 something came out wrong, 2 usage, 3 onnxruntime or jinja2 is missing.
    """
    need("onnxruntime")
    need("jinja2")
    folder = _folder(output)

    def step(text: str) -> None:
        if not quiet:
            terminal.tell(text)

    started = time.perf_counter()
    voc, model = folder / "VOC2012", folder / MODEL
    step(f"drawing {pictures} scenes and their labels: {voc}")
    write_scenes(voc, {"val": range(pictures), "train": TRAINING[:_SHOWN_OF_TRAINING]})
    write_whole(os.fspath(model), resources.files("pspfast.datasets.demo").joinpath(MODEL).read_bytes())
    step("all at once: read, letterbox, infer, count")
    with data_set_source(voc) as source:
        done = run(
            model,
            source,
            folder / "run",
            batch=_BATCH,
            keep_masks=True,
            resume=False,
            command=sys.argv,
            report=report_writer(),
        )
    wrong = [done.stopped, *(f"{name}: {what}" for name, what in (*done.failed, *done.remarks)), *done.unwritten]
    for line in filter(None, wrong):
        terminal.tell(line)
    if any(wrong) or done.result is None:
        return console.SOME_FAILED
    step("stage by stage, through files: preprocess, infer, postprocess")
    in_memory, through_files = Ledger.read(folder / "run" / LEDGER).matrix(), _stage_by_stage(folder, voc, model)
    is_equal = np.array_equal(in_memory.counts, through_files.counts)
    step("measuring")
    measured = benchmark_pictures(
        model,
        voc / VOC.picture_folder,
        places(VOC, voc).split,
        labels=voc / VOC.label_folder,
        batch=_BATCH,
        warmup=1,
    )
    terminal.report(done.result.tables())
    if not quiet:
        terminal.report(str(measured))
    same = "the same confusion matrix" if is_equal else "ANOTHER CONFUSION MATRIX, please report this"
    step(f"in memory and through files: {same}; {time.perf_counter() - started:.1f} s in all")
    again = ("pspfast", "run", "--voc-root", voc, "--model", model, "--output", folder / "again")
    step(f"try:  {shlex.join(map(str, again))}")
    terminal.report(done.report)
    return console.DONE if is_equal else console.SOME_FAILED


def _folder(output: str) -> Path:
    """A folder that is new, empty, or a demo's of before, whose outputs go."""
    folder = folder_for_output(output)
    mark = folder / _MARK
    if not mark.exists():
        if any(folder.iterdir()):
            raise ValueError(f"{output} has other things in it; give a new folder (--output)")
        write_whole(os.fspath(mark), b"pspfast demo writes here\n")
    for name in _OWN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return folder


def _stage_by_stage(folder: Path, voc: Path, model: Path) -> ConfusionMatrix:
    at, stages = places(VOC, voc), folder / "stages"
    preprocess(at.pictures, stages / "bins", at.split, size=CANVAS)
    dumps = infer(model, stages / "bins", stages / "result", batch=_BATCH).folder
    ledger = stages / "ledger.jsonl"
    postprocess(dumps, label_folder=at.labels, manifest=stages / "bins", ledger=ledger)
    return Ledger.read(ledger).matrix()


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.demo")
