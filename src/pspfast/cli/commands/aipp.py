"""``pspfast aipp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

import click

from pspfast.cli import console
from pspfast.pictures.kernels import DEFAULT_SIZE, IMAGENET_MEAN, IMAGENET_STD
from pspfast.system import terminal
from pspfast.system.files import write_whole
from pspfast.system.output_conflicts import check_outputs
from pspfast.vendors.aipp import Aipp, Encoding

if TYPE_CHECKING:
    from pspfast.formats.model_metadata import ModelMetadata

__all__ = ["main"]


@click.command("aipp", context_settings=console.CONTEXT_SETTINGS)
@click.argument("model", type=click.Path(), required=False)
@click.option("--mean", type=(float, float, float), metavar="A B C", help="In the network's order, for 0..255.")
@click.option("--std", type=(float, float, float), metavar="A B C", help="The same.")
@click.option("--size", type=(int, int), metavar="H W", help="Of the network's input.")
@click.option("--host", type=click.Choice(["bgr", "rgb"]), default="bgr", help="Order of the bytes; OpenCV gives bgr.")
@click.option("--network", type=click.Choice(["rgb", "bgr"]), help="Order the network takes.  [default: rgb]")
@click.option(
    "--encoding",
    type=click.Choice(get_args(Encoding)),
    default="integer+rest",
    help="Of the mean: as mean_chn and min_chn, or min_chn alone.",
)
@click.option("--input-rank", type=click.IntRange(min=0), default=0, metavar="N", help="Which input of the model.")
@click.option("--output", type=click.Path(), metavar="FILE", help="Standard output if left out.")
@console.handles_errors
def main(
    model: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    size: tuple[int, int] | None,
    host: str,
    network: str | None,
    encoding: str,
    input_rank: int,
    output: str | None,
) -> int:
    """Write the static AIPP file with which an Ascend chip normalizes bytes itself.

    Constants, size and order of channels are those of the ONNX file MODEL, if pspfast exported it; options override
    them, and where neither says anything they are ImageNet's, 500x500 and rgb.

    \b
      pspfast aipp model_sim.onnx --output aipp.cfg
      pspfast atc model_sim.onnx --insert-op-conf aipp.cfg

    The chip then takes packed bytes, (N, H, W, 3), half as many as halves. It cannot make the letterbox: it pads at
    most 32 pixels a side, to fixed sizes, and does not resize. So the host pads, with the rounded mean; what these
    bytes become, and how far halves are from exact values, is printed.
    """
    check_outputs([output], [] if model is None else [model])
    known = None if model is None else _metadata(model, input_rank, size)
    if known is not None and known[0] is not None:
        facts = known[0]
        mean, std = mean or facts.mean, std or facts.std
        network = network or ("rgb" if facts.to_rgb else "bgr")
        size = size or facts.size
    elif model is not None and (mean is None or std is None):
        terminal.tell(f"{model} has no constants of pspfast's; ImageNet's are used where no option says otherwise")
    size = size or (known[1] if known is not None else None) or DEFAULT_SIZE
    aipp = Aipp(
        mean or IMAGENET_MEAN,
        std or IMAGENET_STD,
        size,
        swap=host != (network or "rgb"),
        encoding=cast("Encoding", encoding),
        input=input_rank,
    )
    if output is None:
        terminal.report(aipp.text().rstrip("\n"))
        terminal.tell(_facts(aipp, host))
    else:
        write_whole(output, aipp.text().encode())
        terminal.report(f"{output}\n{_facts(aipp, host)}")
    return console.DONE


def _metadata(
    model: str, rank: int, size: tuple[int, int] | None
) -> tuple[ModelMetadata | None, tuple[int, int] | None]:
    """What a model says of its constants, and the size of its input."""
    from pspfast.formats.model_metadata import read_metadata
    from pspfast.graphs import model_files
    from pspfast.graphs.batch_dimension import text_of_shape
    from pspfast.vendors.atc_inputs import input_type

    loaded = model_files.load(model, weights=False)
    try:
        known = read_metadata(loaded)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from error
    if known is not None and known.input == "uint8":
        raise ValueError(f"{model} takes bytes and normalizes them itself; AIPP would do it twice")
    inputs: list[Any] = model_files.inputs(loaded)
    if rank >= len(inputs):
        raise ValueError(f"{model} has {len(inputs)} inputs, counted from 0; --input-rank {rank} is none of them")
    shape, kind = model_files.shape_of(inputs[rank]), input_type(inputs[rank])
    if kind == "uint8":
        raise ValueError(f"{model}: input {inputs[rank].name} takes bytes, which it normalizes itself; leave AIPP out")
    if kind not in ("float32", "float16"):
        raise ValueError(f"{model}: input {inputs[rank].name} takes {kind}; AIPP makes floats of pictures' bytes")
    if shape is None or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise ValueError(
            f"{model}: input {inputs[rank].name} is {text_of_shape(shape)}; AIPP is for pictures, (N, 3, H, W)"
        )
    height, width = shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        return known, None
    if size is not None and size != (height, width):
        raise ValueError(f"--size {size[0]} {size[1]}: input {inputs[rank].name} of {model} is {height} by {width}")
    return known, (height, width)


def _facts(aipp: Aipp, host: str) -> str:
    height, width = aipp.size
    values = ", ".join(f"{value:+.4f}" for value in aipp.border_values())
    pad = aipp.border[::-1] if aipp.swap else aipp.border
    return (
        f"The chip takes uint8 (N, {height}, {width}, 3), {host}, {height * width * 3:,} bytes a picture, any batch.\n"
        f"Halves are at most {aipp.error():.1e} from (byte - mean) / std, in normalized units, over all bytes and "
        "channels.\n"
        "Padding stays on the host: the chip pads at most 32 pixels a side, to fixed sizes, and does not resize.\n"
        f"A host of bytes pads with the rounded mean, {host} {pad[0]} {pad[1]} {pad[2]}. In the network's order that "
        f"becomes\n{values}, where the guide pads with 0: masks may differ next to the border."
    )


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.aipp")
