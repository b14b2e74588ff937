"""``pspfast report``: saved results as one page to look at."""

from __future__ import annotations

import click

from pspfast.cli import console
from pspfast.cli.path_types import NameOrPath
from pspfast.report.page import MAX_DROP, write_report
from pspfast.system import terminal

__all__ = ["main"]


@click.command("report", context_settings=console.CONTEXT_SETTINGS)
@click.argument("results", nargs=-1, required=True, type=click.Path(), metavar="RESULT...")
@click.option("--output", type=click.Path(), default="report/index.html", metavar="FILE", help="The page.")
@click.option(
    "--baseline",
    type=NameOrPath(),
    metavar="X",
    help="Reference in place of the first RESULT: voc-opensource, voc-om (published scores), or a further RESULT.",
)
@click.option("--title", metavar="T", help="Of the page; the names of the results if left out.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=MAX_DROP,
    metavar="POINTS",
    help="A loss of mIoU by this much or more is called not accepted; 0: any loss.",
)
@click.option("--resamples", type=click.IntRange(min=0), default=2000, metavar="N", help="For the intervals; 0: none.")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the resamples.")
@console.handles_errors
def main(
    results: tuple[str, ...],
    output: str,
    baseline: str | None,
    title: str | None,
    max_drop: float,
    resamples: int,
    seed: int,
) -> int:
    """Make one page of saved results, side by side: a single HTML file that needs no network and no scripts.

    \b
      pspfast report pspfast_run
      pspfast report pytorch_run om_run --output report/index.html
      pspfast report om_run --baseline voc-opensource

    A RESULT is the folder of a run, a result written with --json, or a ledger. A folder gives the most: scores,
    classes, confusions, pictures, time and facts; a ledger has no pictures and no times, a result no confusions and no
    intervals either. The first one is the reference that the others are compared with, as `pspfast compare` does.

    Exit status: 0 the page is written, whatever the verdict in it; 1 some pictures could not be shown, or the page
    cannot be written; 2 usage, or results that cannot be compared; 3 jinja2 is not installed.
    """
    written = write_report(
        results, output, baseline=baseline, title=title, max_drop=max_drop, resamples=resamples, seed=seed
    )
    for fault in written.faults:
        terminal.tell(fault)
    if not written.path.startswith("/dev/"):
        terminal.report(written.path)
    return console.SOME_FAILED if written.faults else console.DONE


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.report")
