"""``pspfast simplify``."""

from __future__ import annotations

from typing import Any

import click

from pspfast.cli import console
from pspfast.cli.options import json_option
from pspfast.graphs import model_files
from pspfast.graphs.simplification import differences, fixed_shapes, simplify
from pspfast.system import terminal
from pspfast.system.files import write_json
from pspfast.system.output_conflicts import check_outputs

__all__ = ["main"]


@click.command("simplify", context_settings=console.CONTEXT_SETTINGS)
@click.argument("model", type=click.Path())
@click.argument("output", type=click.Path())
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Fix the number of pictures.")
@click.option(
    "--input-shape",
    "--overwrite-input-shape",
    multiple=True,
    metavar="[NAME:]N,C,H,W",
    help="Fix the shape of an input.",
)
@json_option
@click.option("--no-check", is_flag=True, help="Do not run both models on noise and compare.")
@console.handles_errors
def main(
    model: str, output: str, batch: int | None, input_shape: tuple[str, ...], json_file: str | None, no_check: bool
) -> int:
    """Simplify the ONNX file MODEL into OUTPUT with onnxsim, checked, and list what became of its operators.

    Fixing the batch of a model that was made for another one is refused: constants for that may be anywhere in it.
    """
    check_outputs([output, json_file], [model])
    model_files.check_writable(output)
    before = model_files.load(model, weights=False)
    check_outputs([f"{output}.data"], model_files.outside_files(before, model))  # where more than 2 GB go
    model_files.read_weights(before, model)
    if batch is not None and input_shape:
        raise ValueError("--batch and --input-shape say the same in two ways; give one")
    shapes = fixed_shapes(before, batch) if batch is not None else _shapes(before, input_shape)
    try:
        after = simplify(before, shapes, compare=not no_check)
    except (model_files.GraphError, RuntimeError) as error:
        raise type(error)(f"{model}: {error}") from error
    model_files.save(after, output)
    rows = differences(before, after)
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'operator':{width}}  before  after"]
    lines += [f"{name:{width}}  {old:6}  {new:5}" + "  *" * (old != new) for name, old, new in rows]
    lines.append(f"{'all':{width}}  {len(before.graph.node):6}  {len(after.graph.node):5}")
    # A model that goes to standard output is the result there.
    (terminal.tell if output.startswith("/dev/") else terminal.report)("\n".join(lines))
    beside = f" and {output}.data" if model_files.is_too_large(after) else ""
    size = model_files.size_of(after)
    terminal.tell(f"wrote {output}{beside}, {size / 1e6:.1f} MB")
    if json_file is not None:
        operators = {name: {"before": old, "after": new} for name, old, new in rows}
        write_json(json_file, {"model": model, "output": output, "bytes": size, "operators": operators})
    return console.DONE


def _shapes(model: Any, texts: tuple[str, ...]) -> dict[str, list[int]]:
    shapes = {}
    for text in texts:
        name, colon, numbers = text.rpartition(":")
        if not colon:
            names = [value.name for value in model_files.inputs(model)]
            if len(names) != 1:
                raise ValueError(f"the model has {len(names)} inputs, {', '.join(names)}; say NAME:{text}")
            name = names[0]
        if not all(number.strip().isdecimal() for number in numbers.split(",")):
            raise ValueError(f"--input-shape {text!r}: expected numbers with commas, e.g. 1,3,500,500")
        shapes[name.strip()] = [int(number) for number in numbers.split(",")]
    return shapes


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.simplify")
