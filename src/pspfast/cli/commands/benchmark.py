"""How fast a model runs, and everything around it: ``pspfast benchmark``."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pspfast.cli import console
from pspfast.cli.commands.infer import runtime_options
from pspfast.cli.options import (
    bin_layout_option,
    channels_option,
    class_options,
    data_set_as_asked,
    data_set_option,
    output_name_option,
)
from pspfast.datasets import VOC
from pspfast.pictures.kernels import DEFAULT_SIZE
from pspfast.runtimes.engines import RUNTIMES
from pspfast.speed.benchmarking import benchmark_bins, benchmark_pictures, benchmark_pure
from pspfast.speed.tables import table
from pspfast.stages.feeding import listed_in
from pspfast.system import terminal
from pspfast.system.files import folder_for_output, stem, write_whole
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from pspfast.formats.measurements import Measurement
    from pspfast.speed.tables import Benchmark

__all__ = ["main"]

_TOOLS = ("benchmark", "trtexec")
_ANOTHER_PROGRAM = (*_TOOLS, "ais_bench")
_SPELLED = {
    "images": "image-folder-path", "labels": "ann-dir", "provider_options": "provider-option", "allow_cpu": "allow-cpu",
    "data_set": "dataset", "ignore_index": "ignore-index", "label_map": "label-map", "output_name": "output-name",
    "reduce_zero_label": "reduce-zero-label", "bin_layout": "bin-layout",
}  # fmt: skip
_RULES = ("classes", "ignore_index", "label_map", "reduce_zero_label")


@click.command(context_settings=console.CONTEXT_SETTINGS)
@click.option("--model", type=click.Path(), required=True, help="ONNX file, or .om for an Ascend device.")
@click.option("--image-folder-path", "images", type=click.Path(), help="Pictures: measure with reading and all.")
@click.option("--split", type=click.Path(), help="File with one id a line (val.txt); all pictures if left out.")
@click.option("--ann-dir", "labels", type=click.Path(), help="Label pictures: score what comes out, as a stage.")
@data_set_option(None, "Says what labels mean and how files are named; voc if left out")
@class_options
@channels_option
@output_name_option
@click.option("--input", "source", type=click.Path(), help="In place of pictures: folder of bins, or info file.")
@bin_layout_option
@click.option("--dump", type=click.Path(), metavar="DIR", help="Write what comes out, as a stage.")
@click.option("--rounds", type=click.IntRange(min=1), default=20, help="Of pure inference, without a data set.")
@click.option("--warmup", type=click.IntRange(min=0), default=3, help="Batches before, which do not count.")
@click.option("--size", type=(int, int), metavar="H W", help="Of the canvas, where the model leaves it open.")
@click.option(
    "--runtime",
    type=click.Choice(["auto", *RUNTIMES, *_TOOLS]),
    default="auto",
    help="auto goes by the model's file; benchmark, ais_bench and trtexec are the vendors' programs.",
)
@runtime_options
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Pictures at once, where the model leaves it.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Threads of the data path.")
@click.option("--fp16/--no-fp16", default=True, help="trtexec: compute in half precision.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End a vendor's program.")
@click.option(
    "--output",
    type=click.Path(),
    metavar="DIR",
    help="Also write the benchmark tool's text file; or what ais_bench and trtexec write.",
)
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for compare-perf.")
@click.option("--quiet", is_flag=True, help="No progress.")
@console.handles_errors
def main(
    model: str,
    images: str | None,
    source: str | None,
    runtime: str,
    devices: tuple[int, ...],
    output: str | None,
    json_file: str | None,
    **options: Any,
) -> int:
    """Measure a model: over a data set, or alone.

    \b
    Over a data set, stage by stage: read, letterbox, run, score.
      pspfast benchmark --model pspnet.onnx --image-folder-path VOCdevkit/VOC2012/JPEGImages
        --split VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt --ann-dir VOCdevkit/VOC2012/SegmentationClass
    Alone, on random numbers, which is quick and no substitute:
      pspfast benchmark --model pspnet.onnx --rounds 20
    The guide's program, with its results read:
      pspfast benchmark --runtime benchmark --model pspnet_bs1.om --input voc12.info

    Stages of the data path are told as of one thread; "infer" with the copies to and from the device, "compute"
    without. "end to end" is by the wall clock, with everything at once. Exit status: 0 all done, 1 some pictures
    failed, 2 usage or a device, 3 a runtime or program is not installed.
    """
    if len(devices) != 1:
        raise ValueError("a benchmark is of one device: give one --device, and run it for each")
    if images is not None and source is not None:
        raise ValueError("--image-folder-path and --input contradict each other: pictures, or bins made of them")
    _check_company(images, source, options)
    check_outputs([json_file], [model, images, source, options["split"], options["labels"]])
    if runtime in _ANOTHER_PROGRAM:
        measured, text = _with_program(runtime, model, source, devices[0], output, options | {"images": images})
        terminal.report(text)
        if json_file is not None:
            from pspfast.formats.measurements import benchmark_json

            write_whole(json_file, benchmark_json(measured, program=runtime).encode())
        return console.DONE
    found = _measured(model, images, source, runtime, devices[0], options)
    terminal.report(str(found))
    if output is not None:
        name, text = found.published()
        write_whole(os.path.join(folder_for_output(output), name), text.encode())
    if json_file is not None:
        write_whole(json_file, found.to_json().encode())
    if found.stopped:
        terminal.tell(f"stopped: {found.stopped}; the figures are of what was done before")
    return console.SOME_FAILED if found.failures or found.stopped else console.DONE


def _check_company(images: str | None, source: str | None, options: dict[str, Any]) -> None:
    """Raise ValueError if an option is given without the one that it goes with."""
    bins_too = {"dump"}
    for name in ("split", "labels", "dump", "data_set", "channels"):
        if options[name] is not None and images is None and not (name in bins_too and source is not None):
            raise ValueError(
                f"--{_SPELLED.get(name, name)} goes with --image-folder-path" + " or --input" * (name in bins_too)
            )
    for name in (*_RULES, "output_name"):
        if options[name] is not None and options["labels"] is None:
            raise ValueError(f"--{_SPELLED.get(name, name)} goes with --ann-dir: it is about scores")
    if options["bin_layout"] is not None and source is None:
        raise ValueError("--bin-layout goes with --input")
    if options["size"] is not None and source is not None:
        raise ValueError("--size goes with pictures or random numbers; bins have the size that they were made in")


def _measured(
    model: str, images: str | None, source: str | None, runtime: str, device: int, options: dict[str, Any]
) -> Benchmark:
    common = {
        name: options[name] for name in ("provider", "provider_options", "allow_cpu", "threads", "batch", "warmup")
    } | {"runtime": runtime, "device": device}
    if images is not None:
        chosen = {
            name: options[name] for name in ("labels", "dump", "workers", "quiet", "size", "channels", "output_name")
        }
        if options["labels"] is not None:
            rules = (options[name] for name in _RULES)
            chosen["data_set"] = data_set_as_asked(options["data_set"] or VOC, *rules)
        else:
            chosen["data_set"] = options["data_set"]
        return benchmark_pictures(model, images, options["split"], **chosen, **common)
    if source is not None:
        chosen = {name: options[name] for name in ("dump", "workers", "quiet", "bin_layout")}
        return benchmark_bins(model, source, **chosen, **common)
    return benchmark_pure(model, rounds=options["rounds"], size=options["size"], **common)


def _with_program(
    program: str, model: str, source: str | None, device: int, output: str | None, options: dict[str, Any]
) -> tuple[list[Measurement], str]:
    """Run a vendor's program; what it measured, and a text about it."""
    from pspfast.vendors import drivers
    from pspfast.vendors.texts import parse, read_measurements

    for option in (
        "images",
        "dump",
        "provider",
        "provider_options",
        "allow_cpu",
        "threads",
        "workers",
        "size",
        "bin_layout",
    ):
        if options[option]:
            raise ValueError(f"--{_SPELLED.get(option, option)} is nothing that {program} takes")
    batch, name = options["batch"], stem(os.path.basename(model))
    common = {"timeout": options["timeout"], "on_line": None if options["quiet"] else terminal.tell}
    if program == "benchmark":
        if output is not None:
            raise ValueError("the benchmark tool writes into result/ of the current folder; it takes no --output")
        if source is not None:
            if os.path.isdir(source):
                raise ValueError(f"{source}: the benchmark tool takes an info file; pspfast get-info bin makes it")
            _, size = listed_in(source)
            ran = drivers.run_benchmark(
                model, source, size=size or DEFAULT_SIZE, device=device, batch=batch or 1, **common
            )
            measured = read_measurements(ran.files[0])
        else:  # what is printed has more than the file
            ran = drivers.run_pure_inference(model, device=device, batch=batch or 1, rounds=options["rounds"], **common)
            measured = list(parse(ran.ran.output, str(ran.files[0]), command=ran.ran.command).measurements)
    elif program == "ais_bench":
        if source is not None and not os.path.isdir(source):
            raise ValueError(f"{source}: ais_bench takes a folder of bins")
        ran = drivers.run_ais_bench(
            model,
            output=output or "result",
            name=f"{name}_device{device}_{datetime.now():%Y%m%d_%H%M%S_%f}",
            inputs=() if source is None else (source,),
            device=(device,),
            batch=batch,
            loop=1 if source is not None else options["rounds"],
            warm_up=options["warmup"],
            data="random",
            **common,
        )
        measured = read_measurements(ran.files[0])
    else:
        if source is not None:
            raise ValueError("trtexec makes its inputs up; it takes no --input")
        if device:
            raise ValueError("trtexec is run on the first device that CUDA shows: set CUDA_VISIBLE_DEVICES instead")
        times = (
            None if output is None else str(folder_for_output(output) / f"{stem(os.path.basename(model))}_times.json")
        )
        ran = drivers.run_trtexec(model, batch=batch, fp16=options["fp16"], times=times, **common)
        measured = list(parse(ran.ran.output, "trtexec", command=ran.ran.command).measurements)
    lines = [ran.ran.command, *(f"results: {path}" for path in ran.files), "", table(measured)]
    for one in measured:
        lines += [f"{one.kind}: {note}" for note in one.notes]
    return measured, "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.benchmark")
