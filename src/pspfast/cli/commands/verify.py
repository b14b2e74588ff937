"""``pspfast verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pspfast.cli import console
from pspfast.cli.options import label_or_none, named_label_options
from pspfast.cli.path_types import NameOrPath
from pspfast.export.verification import MAX_MARGIN, MIN_AGREEMENT, Debug, Truth, verify
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.system import terminal
from pspfast.system.files import write_whole
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from pspfast.datasets import DataSet

__all__ = ["main"]


@click.command("verify", context_settings=console.CONTEXT_SETTINGS)
@click.argument("models", nargs=-1, type=click.Path(), metavar="MODEL | REFERENCE MODEL")
@click.option(
    "--checkpoint",
    type=NameOrPath(),
    metavar="FILE|URL|NAME",
    help="Compare with this; what the MODEL says it is from if left out.",
)
@click.option(
    "--config", type=NameOrPath(), metavar="FILE|NAME", help="mmsegmentation config of the checkpoint; the same."
)
@click.option(
    "--trust-checkpoint", is_flag=True, help="Load a checkpoint that needs more than weights: it can run code."
)
@click.option(
    "--images", type=click.Path(), multiple=True, metavar="DIR|FILE", help="Pictures; may be given repeatedly."
)
@click.option("--split", type=click.Path(), help="Only the pictures of the folder that this file names.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="No more pictures than this.")
@click.option(
    "--noise", type=click.IntRange(min=1), metavar="N", help="Pictures of noise, without --images.  [default: 4]"
)
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the noise.")
@click.option("--labels", "--ann-dir", type=click.Path(), metavar="DIR", help="Labels of the pictures, for mIoU.")
@click.option("--ignore-index", default="255", metavar="LABEL", help="Pixels that do not count; 'none' for none.")
@named_label_options
@click.option("--shape", type=(int, int), metavar="H W", help="Of the pictures, if the models do not say.")
@click.option(
    "--own-input", is_flag=True, help="Do not round the one's input as the other's type does: measure what that costs."
)
@click.option(
    "--channels", type=click.Choice(["rgb", "bgr"]), help="Which MODEL takes first, where it does not say so itself."
)
@click.option("--reference-channels", type=click.Choice(["rgb", "bgr"]), help="The same of REFERENCE.")
@click.option("--output", metavar="NAME|N", help="MODEL's output with the labels, of several; numbers from 0.")
@click.option("--reference-output", metavar="NAME|N", help="The same of REFERENCE.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, metavar="N", help="Pictures at once, for models of any batch."
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=MIN_AGREEMENT,
    metavar="SHARE",
    help="Exit status 1 if a smaller share of the pixels is equal.",
)
@click.option(
    "--max-margin",
    type=click.FloatRange(min=0),
    default=MAX_MARGIN,
    metavar="SCORE",
    help="Exit status 1 if a pixel differs whose class was ahead by this much or more.",
)
@click.option("--debug-dir", type=click.Path(), metavar="DIR", help="A PNG of each picture that differs.")
@click.option("--debug-all", is_flag=True, help="A PNG of every picture.")
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for programs.")
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=MAX_PIXELS, metavar="N", help="Refuse larger pictures."
)
@click.option("--quiet", is_flag=True, help="No lines about progress.")
@console.handles_errors
def main(
    models: tuple[str, ...],
    checkpoint: str | None,
    trust_checkpoint: bool,
    images: tuple[str, ...],
    noise: int | None,
    labels: str | None,
    ignore_index: str,
    label_map: dict[int, int],
    reduce_zero_label: bool,
    data_set: DataSet,
    min_agreement: float,
    max_margin: float,
    debug_dir: str | None,
    debug_all: bool,
    json_file: str | None,
    **options: Any,
) -> int:
    """Compare what an ONNX file makes of pictures with its checkpoint in PyTorch, or with another ONNX file.

    \b
      pspfast verify pspnet.onnx --checkpoint pspnet.pth --images JPEGImages --labels SegmentationClass
      pspfast verify reference.onnx model.onnx
      pspfast verify pspnet.onnx --dataset cityscapes --images leftImg8bit/val --labels gtFine/val

    Both get the same numbers, and the pictures' own pixels are compared, without the padding. A pixel whose two best
    classes are nearly level may differ, since runtimes round differently; others may not. --debug-dir draws the
    picture, both masks, the difference and the margin side by side.

    Exit status: 0 the two agree, 1 they do not or a picture could not be compared, 2 usage, 3 a library is missing.
    """
    if not 1 <= len(models) <= (2 if checkpoint is None else 1):
        raise ValueError("give one ONNX file, and --checkpoint if it does not say where it is from; or two ONNX files")
    if noise is not None and images:
        raise ValueError("give pictures (--images) or noise (--noise), not both")
    if debug_all and debug_dir is None:
        raise ValueError("--debug-all needs a folder, --debug-dir")
    if not (0 <= min_agreement <= 1 and max_margin >= 0):  # click lets NaN through, which everything would pass
        raise ValueError(f"--min-agreement and --max-margin must be numbers, got {min_agreement} and {max_margin}")
    check_outputs([json_file], [*models, *images, checkpoint, options["config"], labels])
    truth = None
    if labels is not None:
        truth = Truth(labels, label_or_none(ignore_index), label_map, reduce_zero_label, data_set)
    debug = None if debug_dir is None else Debug(debug_dir, debug_all)
    if noise is not None:
        options["noise_pictures"] = noise
    found = verify(
        models[-1],
        models[0] if len(models) == 2 else None,
        checkpoint=checkpoint,
        trust=trust_checkpoint,
        images=images,
        data_set=data_set,
        truth=truth,
        debug=debug,
        **options,
    )
    for remark in found.remarks:
        terminal.tell(remark)
    if debug_dir is not None:
        count = len(found.sheets)
        none = "no picture differs, none is drawn (--debug-all draws them all the same)"
        terminal.tell(f"{count} drawn in {debug_dir}" if count else none)
    complaints = found.complaints(min_agreement, max_margin)
    verdict = f"not the same: {'; '.join(complaints)}" if complaints else "the same, as far as these pictures tell"
    if found.faults:
        verdict += f"; {len(found.faults)} could not be compared or scored, {found.faults[0][0]} among them"
    terminal.report(f"{found}\n\n{verdict}")
    if json_file is not None:
        write_whole(json_file, found.to_json(min_agreement, max_margin).encode())
    return console.SOME_FAILED if complaints or found.faults else console.DONE


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.verify")
