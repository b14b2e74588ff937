"""``pspfast atc``."""

from __future__ import annotations

import shlex

import click

from pspfast.cli import console
from pspfast.cli.commands.export import _ManyNumbers
from pspfast.cli.options import json_option
from pspfast.system import terminal
from pspfast.system.files import OutputError, write_json
from pspfast.system.output_conflicts import check_outputs
from pspfast.system.processes import ToolFailed
from pspfast.vendors.atc import convert, find_soc_version, is_air, parse_shapes, plan
from pspfast.vendors.toolkit import find_toolkit

__all__ = ["main"]

_PRECISIONS = (
    "force_fp16", "force_fp32", "cube_fp16in_fp32out", "allow_fp32_to_fp16", "must_keep_origin_dtype",
    "allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16",
)  # fmt: skip


@click.command("atc", cls=_ManyNumbers, context_settings=console.CONTEXT_SETTINGS)
@click.argument("model_argument", metavar="[MODEL]", required=False)
@click.option("--model", type=click.Path(), metavar="FILE", help="The ONNX file (or .air), as ATC spells it.")
@click.option(
    "--framework", type=click.Choice(["5", "1"]), default=None, help="5: ONNX, 1: MindSpore's .air; by the file's name."
)
@click.option("--soc-version", default="auto", metavar="CHIP", help="E.g. Ascend310, Ascend310P3; auto asks npu-smi.")
@click.option(
    "--batch", type=click.IntRange(min=1), multiple=True, metavar="N ...", help="An .om each; the model's own."
)
@click.option("--output", type=click.Path(), metavar="NAME", help="MODEL_bs<N> in this folder if left out.")
@click.option("--input-shape", metavar="NAME:N,C,H,W[;...]", help="The model's, with the batch, if left out.")
@click.option(
    "--input-format", type=click.Choice(["NCHW", "NHWC", "NCDHW", "ND"]), help="NCHW; ND for bytes with channels last."
)
@click.option("--input-fp16-nodes", metavar="NAME[;...]", help="Inputs to become float16; all float32 ones.")
@click.option("--keep-input-type", is_flag=True, help="None of them.")
@click.option("--output-type", metavar="TYPE|NODE:0:TYPE", help="FP32, FP16, UINT8, INT8, ...; the last operator's.")
@click.option("--out-nodes", metavar="NODE:0[;...]", help="What comes out, if not the model's outputs.")
@click.option("--insert-op-conf", type=click.Path(), metavar="FILE", help="AIPP, see pspfast aipp.")
@click.option("--dynamic-batch-size", metavar="N,N,...", help="2 to 100 batches in one .om, chosen when it runs.")
@click.option("--dynamic-image-size", metavar="H,W;H,W...", help="2 to 100 sizes in one .om.")
@click.option("--dynamic-dims", metavar="D,D;D,D...", help="2 to 100 sets of what --input-shape leaves open.")
@click.option("--precision-mode", type=click.Choice(_PRECISIONS), metavar="MODE", help="ATC's default is force_fp16.")
@click.option("--precision-mode-v2", metavar="MODE", help="fp16, origin, mixed_float16, ...; newer CANN only.")
@click.option("--op-precision-mode", type=click.Path(), metavar="FILE", help="OpType=high_precision, a line each.")
@click.option("--op-select-implmode", metavar="MODE", help="high_performance, high_precision, ..._for_all.")
@click.option("--optypelist-for-implmode", metavar="TYPE,...", help="Operators that this is for.")
@click.option("--enable-small-channel", type=click.Choice(["0", "1"]), help="1: advised with AIPP.")
@click.option("--fusion-switch-file", type=click.Path(), metavar="FILE", help="NAMEFusionPass:off, a line each.")
@click.option(
    "--log", type=click.Choice(["debug", "info", "warning", "error", "null"]), default="error", help="Guide: debug."
)
@click.option("--atc-option", multiple=True, metavar="NAME=VALUE", help="Any other flag of ATC; may be repeated.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="For each .om.")
@click.option("--allow-aicpu-pools", is_flag=True, help="Convert a model whose pools run on the AI CPU.")
@click.option("--allow-fixed-batch", is_flag=True, help="Convert for another batch than the model was made for.")
@click.option("--dry-run", is_flag=True, help="Check, print the command lines, run nothing.")
@json_option
@click.option("--quiet", is_flag=True, help="Do not show ATC's log.")
@console.handles_errors
def main(
    model_argument: str | None,
    model: str | None,
    framework: str | None,
    soc_version: str,
    batch: tuple[int, ...],
    output: str | None,
    input_shape: str | None,
    input_fp16_nodes: str | None,
    keep_input_type: bool,
    insert_op_conf: str | None,
    atc_option: tuple[str, ...],
    timeout: float | None,
    allow_aicpu_pools: bool,
    allow_fixed_batch: bool,
    dry_run: bool,
    json_file: str | None,
    quiet: bool,
    **others: str | None,
) -> int:
    """Compile an ONNX file for an Ascend chip with ATC.

    \b
      pspfast atc model_sim.onnx --soc-version Ascend310 --batch 1 16
      pspfast atc model_sim.onnx --batch 1 --dry-run

    The first makes model_sim_bs1.om and model_sim_bs16.om with the command lines of the published guide: NCHW, inputs
    that become float16. Flags are spelled as ATC's, with - or _, so that a line for ATC works here too. What cannot be
    right is refused before ATC starts: a name that is no input, a batch that the model was not made for, AIPP and
    float16 for one input, pools that would run on the AI CPU.

    ATC runs in a folder of its own; the .om takes its name when it is whole, so that one of before is there until then,
    and has a record beside it, .om.json: command line, versions, checksums, warnings.

    Exit status: 0 done, 1 ATC failed for a batch (others are made) or an output cannot be written, 2 usage, 3 ATC or
    onnx is not installed.
    """
    if (model is None) == (model_argument is None):
        raise ValueError("name the ONNX file, once")
    path = model or model_argument or ""
    if input_fp16_nodes is not None and keep_input_type:
        raise ValueError("--input-fp16-nodes and --keep-input-type say different things; give one")
    if framework is not None and (framework == "1") != is_air(path):
        raise ValueError(f"--framework {framework} with {path}: 1 is for MindSpore's .air files, 5 for ONNX")
    flags = {name: value for name, value in others.items() if value is not None}
    for text in atc_option:
        name, equals, value = text.lstrip("-").partition("=")
        if not equals:
            raise ValueError(f"--atc-option {text!r}: expected NAME=VALUE, e.g. buffer_optimize=off_optimize")
        if name in flags:
            raise ValueError(f"--atc-option {text!r}: --{name.replace('_', '-')} is an option of its own")
        flags[name] = value
    halves = None if input_fp16_nodes is None else [name.strip() for name in input_fp16_nodes.split(";")]
    conversions = plan(
        path,
        soc_version=find_soc_version() if soc_version == "auto" else soc_version,
        batches=batch,
        output=output,
        shapes=None if input_shape is None else parse_shapes(input_shape),
        halves=[] if keep_input_type else halves,
        aipp=insert_op_conf,
        flags=flags,
        allow_aicpu_pools=allow_aicpu_pools,
        allow_fixed_batch=allow_fixed_batch,
    )
    check_outputs([json_file, *(f"{one.output}{one.suffix}" for one in conversions)], [path, insert_op_conf])
    if output is not None and output.endswith((".om", ".om2")):
        made = f"{conversions[0].output}{conversions[0].suffix}"
        terminal.tell(f"--output {output}: ATC adds {conversions[0].suffix} itself; this is {made}")
    if dry_run:
        terminal.report("\n".join(shlex.join(one.argv()) for one in conversions))
        if json_file is not None:
            write_json(json_file, {"commands": [one.argv() for one in conversions]})
        return console.DONE
    toolkit = find_toolkit()
    terminal.tell(f"{toolkit.atc}, found by {toolkit.found_by}{', CANN ' + toolkit.version if toolkit.version else ''}")
    failed, done_ones = 0, []
    for one in conversions:
        terminal.tell(f"+ {shlex.join(one.argv())}")
        try:
            done = convert(one, toolkit, timeout=timeout, on_line=None if quiet else terminal.tell)
        except (ToolFailed, OutputError) as error:
            failed += 1
            terminal.tell(f"{one.output}{one.suffix}: {error}")
            if isinstance(error, OutputError) and error.is_lasting:
                break
            continue
        terminal.report(
            f"{done.om}: {one.soc_version}, {_batch(one.batch)}, {done.seconds:.1f} s, record {done.record}"
        )
        done_ones.append(done)
        for warning in done.warnings:
            terminal.tell(f"{done.om}: {warning}")
    if json_file is not None:
        write_json(json_file, {"commands": [one.argv() for one in conversions], "made": done_ones})
    return console.SOME_FAILED if failed else console.DONE


def _batch(batch: int | None) -> str:
    return "sizes chosen when it runs" if batch is None else f"batch {batch}"


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.atc")
