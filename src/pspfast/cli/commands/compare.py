"""Two evaluations against each other: ``pspfast compare A B``."""

from __future__ import annotations

from typing import Any

import click

from pspfast.accuracy.comparison import classes_text, compare, verdict
from pspfast.accuracy.evaluations import BASELINES, Side
from pspfast.cli import console
from pspfast.cli.options import label_rule_options, pictures_of_split
from pspfast.datasets import VOC
from pspfast.formats.run_folder import read_with
from pspfast.system import terminal
from pspfast.system.files import write_whole
from pspfast.system.output_conflicts import check_outputs

__all__ = ["main"]


@click.command(context_settings=console.CONTEXT_SETTINGS)
@click.argument("files", metavar="[FIRST] SECOND", nargs=-1, type=click.Path())
@click.option("--baseline", type=click.Choice(list(BASELINES)), help="Published scores in place of FIRST.")
@click.option(
    "--max-drop",
    type=float,
    default=1.0,
    metavar="POINTS",
    help="Exit status 1 if mIoU falls by this much or more; 0 accepts no fall at all.",
)
@click.option("--split", type=click.Path(), help="Only the pictures that this file names.")
@label_rule_options
@click.option("--resamples", type=click.IntRange(min=0), default=2000, metavar="N", help="For the intervals; 0: none.")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the resamples.")
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for programs.")
@console.handles_errors
def main(
    files: tuple[str, ...],
    baseline: str | None,
    max_drop: float,
    split: str | None,
    resamples: int,
    seed: int,
    json_file: str | None,
    **rules: Any,
) -> int:
    """Compare two evaluations: folders of runs, ledgers, or results written with --json.

    \b
      pspfast compare pytorch_run om_run
      pspfast compare pytorch.ledger om.ledger
      pspfast compare --baseline voc-opensource om.ledger

    Differences are SECOND minus FIRST, in points of a hundred. Two ledgers also give 95 % intervals by a paired
    bootstrap over pictures, and the pictures that moved mIoU most. Exit status: 0 the loss of mIoU is below --max-drop,
    1 it is not (or an output cannot be written), 2 usage.
    """
    if len(files) != (1 if baseline else 2):
        raise ValueError("give two evaluations, or one and --baseline")
    if not max_drop >= 0:
        raise ValueError(f"--max-drop must be 0 or more points, got {max_drop:g}")
    inputs = [one for path in files for one in read_with(path)]
    check_outputs([json_file], inputs if split is None else (*inputs, split))
    sides = [Side.read(path, **rules) for path in files]
    if baseline:
        if len(sides[0].classes) != len(VOC.classes):
            raise ValueError(
                f"{baseline} has VOC's {len(VOC.classes)} classes, {classes_text(sides[0])}: they cannot be compared"
            )
        sides.insert(0, Side.baseline(baseline))
    if split is not None:
        names = pictures_of_split(split, {side.name: side.pictures for side in sides if side.pictures})
        sides = [side.only(names) for side in sides]
    found = compare(sides[0], sides[1], resamples=resamples, seed=seed)
    for remark in found.remarks:
        terminal.tell(remark)
    accepted, said = verdict(found.drop, max_drop)
    terminal.report(f"{found}\n\n{said}")
    if json_file is not None:
        write_whole(json_file, found.to_json().encode())
    return console.DONE if accepted else console.SOME_FAILED


if __name__ == "__main__":
    main(prog_name="python -m pspfast.accuracy.comparison")
