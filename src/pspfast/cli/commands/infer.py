"""A model over bins: ``pspfast infer``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pspfast.cli import console
from pspfast.cli.options import bin_layout_option, json_option
from pspfast.formats.bins import MANIFEST
from pspfast.formats.external_weights import external_weights
from pspfast.runtimes.engines import RUNTIMES
from pspfast.runtimes.onnx import PROVIDERS
from pspfast.stages.dump_layouts import LAYOUTS
from pspfast.stages.inference import InferOptions, infer_with
from pspfast.system import terminal
from pspfast.system.files import write_json
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from pspfast.stages.dump_layouts import Layout
    from pspfast.stages.inference import InferSummary

__all__ = ["main", "runtime_options"]


def runtime_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options about where a model runs: ``devices``, ``provider``, ``provider_options``, ``allow_cpu``, ``threads``."""
    for option in (
        click.option(
            "--threads", type=click.IntRange(min=1), metavar="N", help="ONNX Runtime's, on the CPU; all it may use."
        ),
        click.option("--allow-cpu", is_flag=True, help="Let ONNX Runtime compute on the CPU what the provider cannot."),
        click.option(
            "--provider-option",
            "provider_options",
            multiple=True,
            callback=_provider_options,
            metavar="KEY=VALUE",
            help="Of ONNX Runtime's provider, e.g. trt_fp16_enable=1; may be repeated.",
        ),
        click.option("--provider", type=click.Choice(list(PROVIDERS)), help="Of ONNX Runtime; cpu if left out."),
        click.option(
            "--device", "devices", default="0", callback=_devices, metavar="N,...", help="Devices that share the work."
        ),
    ):
        command = option(command)
    return command


def _devices(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise click.BadParameter(f"expected different numbers, such as 0 or 0,1,2,3, got {text!r}")
    return tuple(map(int, parts))


def _provider_options(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, _value) in zip(texts, pairs, strict=True):
        if not (key and equals):
            raise click.BadParameter(f"expected KEY=VALUE, got {text!r}")
    return {key: value for key, _, value in pairs}


@click.command(context_settings=console.CONTEXT_SETTINGS)
@click.option("--model", type=click.Path(), required=True, help="ONNX file, or .om for an Ascend device.")
@click.option("--input", "source", type=click.Path(), required=True, help="Folder of bins, or info file (voc12.info).")
@click.option("--output", type=click.Path(), required=True, help="Folder for the results (the guide's is result).")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="benchmark",
    help="benchmark: <stem>_1.bin, labels int32. ais_bench: <stem>_0.bin as the model gives it, and a summary.",
)
@click.option("--output-dirname", "folder_name", metavar="NAME", help="Folder in --output; dumpOutput_device<N>.")
@click.option(
    "--runtime", type=click.Choice(["auto", *RUNTIMES]), default="auto", help="auto goes by the model's file."
)
@runtime_options
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Pictures at once, where the model leaves it.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Threads that read, feed and write.")
@bin_layout_option
@click.option("--resume/--no-resume", default=True, help="Keep what this model made of bins that have not changed.")
@json_option
@click.option("--quiet", is_flag=True, help="Only tell what failed.")
@console.handles_errors
def main(
    model: str, source: str, output: str, layout: Layout, json_file: str | None, quiet: bool, **options: Any
) -> int:
    """Run a model over bins; write what it makes of each picture.

    \b
    What the published PSPNet guide calls the benchmark tool for, on the CPU:
      pspfast infer --model pspnet_r50-d8_512x512_20k_voc12aug.onnx --input voc12_bin --output result
      pspfast postprocess --bin-data-path result/dumpOutput_device0 --manifest voc12_bin

    Type, shape and batch are the model's own; float16 bins are widened for float32 models. Pictures of packed bins
    get a file each. Killed or interrupted, the same command goes on where it stopped; outputs of another model are
    removed first. Several devices share the work and write into the first one's folder. Exit status: 0 all done,
    1 some pictures failed, or the disk or a device did, 2 usage, 3 the runtime is not installed.
    """
    weights = external_weights(model) if os.path.isfile(model) else []
    check_outputs([json_file], [model, *weights, source, os.path.join(source, MANIFEST)])
    summary = infer_with(model, source, output, InferOptions(layout=layout, quiet=quiet, **options))
    if json_file is not None:
        write_json(json_file, summary)
    return _told(summary, quiet=quiet)


def _told(summary: InferSummary, *, quiet: bool) -> int:
    if not quiet:
        terminal.report(str(summary))
    if summary.stopped:
        terminal.tell(
            f"stopped: {summary.stopped}; outputs written so far are whole, the same command goes on from here"
        )
    return console.SOME_FAILED if summary.failures or summary.stopped else console.DONE


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.infer")
