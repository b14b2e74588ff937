"""``pspfast export``, and ``python -m pspfast.export``."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from pspfast.cli import console
from pspfast.cli.options import json_option
from pspfast.cli.path_types import NameOrPath
from pspfast.datasets import read_classes
from pspfast.export.exporting import DEFAULT_OPSET, LEAST_AGREEMENT_HALF, MOST_MARGIN_HALF, OPSETS, export
from pspfast.system import terminal
from pspfast.system.files import write_json
from pspfast.system.machine import peak_memory
from pspfast.system.output_conflicts import check_outputs

__all__ = ["main"]


class _ManyNumbers(console.GuardedCommand):
    """Lets ``--batch 1 16`` and ``--batch=1 16`` stand for ``--batch 1 --batch 16``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        in_batch = False
        for arg in args:
            in_batch = arg == "--batch" or arg.startswith("--batch=") or (in_batch and arg.isdecimal())
            if in_batch and arg.isdecimal() and spread[-1] != "--batch":
                spread.append("--batch")
            spread.append(arg)
        return super().parse_args(ctx, spread)


@click.command("export", cls=_ManyNumbers, context_settings=console.CONTEXT_SETTINGS)
@click.argument("config_argument", metavar="[CONFIG]", required=False)
@click.option(
    "--checkpoint", type=NameOrPath(), required=True, metavar="FILE|URL|NAME", help="What to export; names: see below."
)
@click.option(
    "--config", type=NameOrPath(), metavar="FILE|NAME", help="An mmsegmentation 1.x config; needs the extra 'mmseg'."
)
@click.option("--output-file", type=click.Path(), metavar="FILE", help="The checkpoint's name and .onnx if left out.")
@click.option("--shape", type=(int, int), default=(500, 500), metavar="H W", help="Of the pictures.")
@click.option("--batch", type=click.IntRange(min=1), multiple=True, metavar="N ...", help="A file each.  [default: 1]")
@click.option("--dynamic-batch", is_flag=True, help="A file for any number of pictures.")
@click.option(
    "--opset",
    type=click.Choice([DEFAULT_OPSET, *map(str, OPSETS)]),
    metavar=f"auto|{OPSETS.start}...{OPSETS.stop - 1}",
    default=DEFAULT_OPSET,
    help="auto: the lowest that works; 11 is for every ATC.",
)
@click.option(
    "--input",
    type=click.Choice(["float32", "float16", "uint8"]),
    default="float32",
    help="uint8: (N, H, W, 3), blue first, normalized by the graph.",
)
@click.option("--output-type", type=click.Choice(["int64", "int32"]), default="int64", help="Of labels.")
@click.option("--output-layout", "layout", type=click.Choice(["n1hw", "nhw"]), default="n1hw", help="Of labels.")
@click.option("--logits", is_flag=True, help="Scores instead of labels.")
@click.option("--fp16", is_flag=True, help="Compute in half precision.")
@click.option(
    "--pooling",
    type=click.Choice(["matmul", "cascade", "native"]),
    default="matmul",
    help="Of the pyramid; matmul is exact for every size, cascade where it can be, else refused.",
)
@click.option("--classes", type=click.Path(), metavar="FILE", help="Names, a line each; the checkpoint's if left out.")
@click.option(
    "--trust-checkpoint", is_flag=True, help="Load a checkpoint that needs more than weights: it can run code."
)
@click.option("--sha256", metavar="HEX", help="Of the checkpoint file, or the first digits of it.")
@click.option("--md5", metavar="HEX", help="The same.")
@click.option("--verify", "is_verified", is_flag=True, help="Then compare with PyTorch, as `pspfast verify` does.")
@click.option("--input-img", type=click.Path(), metavar="FILE", help="Picture for --verify, in place of noise.")
@click.option("--show", is_flag=True, help="Draw what --verify compares, in a folder beside the file.")
@json_option
@click.option("--quiet", is_flag=True, help="No lines about progress.")
@console.handles_errors
def main(
    config_argument: str | None,
    checkpoint: str,
    config: str | None,
    output_file: str | None,
    classes: str | None,
    trust_checkpoint: bool,
    is_verified: bool,
    input_img: str | None,
    show: bool,
    json_file: str | None,
    quiet: bool,
    **wishes: Any,
) -> int:
    """Write a checkpoint as ONNX files for ATC, TensorRT and ONNX Runtime.

    Without a config the network is the project's own PSPNet, whose depth, widths and classes are read from the
    checkpoint. What comes out is compared with PyTorch before a file gets its name.

    \b
    Known checkpoints:
      pspnet_r50-d8_512x512_20k_voc12aug     pspnet_r101-d8_512x512_20k_voc12aug
      pspnet_r50-d8_512x512_40k_voc12aug     pspnet_r101-d8_512x512_40k_voc12aug
    """
    if (input_img is not None or show) and not is_verified:
        raise ValueError(f"{'--show' if show else '--input-img'} is for --verify, which is not given")
    if input_img is not None and not os.path.isfile(input_img):
        raise ValueError(f"{input_img}: no such picture")
    if config_argument is not None and config is not None:
        raise ValueError(f"two configs, {config_argument} and {config}; give one")
    config = config or config_argument
    if output_file is None:
        output_file = os.path.splitext(os.path.basename(checkpoint.rstrip("/")))[0] + ".onnx"
    is_stream = output_file.startswith("/dev/")
    if is_stream and is_verified:
        raise ValueError(f"--verify reads the file again, which {output_file} is not")
    check_outputs([output_file, json_file], [checkpoint, config, classes, input_img])
    names = None if classes is None else read_classes(classes)
    started = time.perf_counter()

    def step(text: str) -> None:
        if not quiet:
            terminal.tell(f"{time.perf_counter() - started:6.1f} s  {text}")

    if wishes["opset"] != DEFAULT_OPSET:
        wishes["opset"] = int(wishes["opset"])
    files = export(checkpoint, output_file, config=config, classes=names, trust=trust_checkpoint, step=step, **wishes)
    for file in files:
        batch = "any batch" if file.batch is None else f"batch {file.batch}"
        same = "" if file.agreement is None else f", {file.agreement:.4%} of the pixels of noise as PyTorch labels them"
        opset = f", opset {file.opset}" if file.opset != OPSETS.start else ""
        # A model that goes to standard output is the result there.
        (terminal.tell if is_stream else terminal.report)(
            f"{file.path}: {batch}, {file.operators} operators, {file.size / 1e6:.1f} MB{opset}{same}"
        )
    for remark in files[0].remarks:
        terminal.tell(remark)
    if json_file is not None:
        write_json(json_file, {"checkpoint": checkpoint, "files": files})
    complaints: list[str] = []
    if is_verified:
        from pspfast.export.verification import MAX_MARGIN, MIN_AGREEMENT, Debug, verify

        budget = (LEAST_AGREEMENT_HALF, MOST_MARGIN_HALF) if wishes["fp16"] else (MIN_AGREEMENT, MAX_MARGIN)
        folder = os.path.splitext(files[0].path)[0] + "_verify"
        step(f"comparing {files[0].path} with PyTorch")
        images = () if input_img is None else (input_img,)
        found = verify(
            files[0].path,
            checkpoint=checkpoint,
            config=config,
            trust=trust_checkpoint,
            images=images,
            debug=Debug(folder, all=True) if show else None,
            quiet=quiet,
        )
        terminal.report(str(found))
        complaints = found.complaints(*budget)
        for complaint in complaints:
            terminal.tell(complaint)
        if found.sheets:
            step(f"{len(found.sheets)} drawn in {folder}")
    step(f"done; peak memory {peak_memory() / 1e9:.2f} GB")
    return console.SOME_FAILED if complaints else console.DONE


if __name__ == "__main__":
    main(prog_name="python -m pspfast.export")
