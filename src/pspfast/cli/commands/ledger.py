"""``pspfast ledger merge`` and ``pspfast ledger score``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import click

from pspfast.cli import console
from pspfast.cli.options import label_or_none, label_rule_options, pictures_of_split, report_result, result_file_options
from pspfast.cli.suggestions import SuggestingGroup
from pspfast.formats.ledger import Ledger, LedgerWriter, merge, write_ledger
from pspfast.formats.result import Result
from pspfast.formats.run_folder import ledger_in, read_with, result_in, rules_of
from pspfast.system import terminal
from pspfast.system.output_conflicts import check_outputs

__all__ = ["main"]


@click.group(cls=SuggestingGroup, context_settings=console.CONTEXT_SETTINGS)
def main() -> None:
    """Ledgers: what postprocess counted of each picture, kept with --ledger."""


@main.command("merge", short_help="Several ledgers into one.")
@click.argument("out", type=click.Path())
@click.argument("shards", nargs=-1, required=True, type=click.Path(), metavar="SHARD...")
@console.handles_errors
def merge_command(out: str, shards: tuple[str, ...]) -> int:
    """Write one ledger OUT of all pictures of the SHARDs, ledgers or folders of runs, whatever their order.

    Pictures are sorted by name. A picture with different contents in two shards is an error, and nothing is written.
    """
    shards = tuple(map(ledger_in, shards))
    with ExitStack() as locked:
        if os.path.isfile(out):
            if not any(os.path.samefile(out, shard) for shard in shards if os.path.exists(shard)):
                raise ValueError(f"{out} is there already; name it among the shards to keep what it has, or remove it")
            # What a run that is still going adds to it would be lost.
            locked.enter_context(LedgerWriter(out, _read(out).subject))
        merged = merge({path: _read(path) for path in shards})
        write_ledger(out, merged)
    terminal.tell(f"{len(merged.entries)} pictures in {out}")
    return console.DONE


@main.command("score", short_help="The tables again: of some pictures, or by another rule about labels.")
@click.argument("ledger", type=click.Path())
@click.option("--split", type=click.Path(), help="Only the pictures that this file names.")
@click.option("--ignore-index", metavar="LABEL", help="Pixels that do not count; 'none' for none; the ledger's own.")
@label_rule_options
@click.option("--result-file", type=click.Path(), help="The published list of scores (voc_seg_result.txt).")
@result_file_options
@console.handles_errors
def score_command(
    ledger: str,
    split: str | None,
    ignore_index: str | None,
    result_file: str | None,
    json_file: str | None,
    csv_file: str | None,
    **rules: Any,
) -> int:
    """Print the tables again from a LEDGER: of some pictures, or by another rule about labels.

    LEDGER may be the folder of a run: its ledger then, by the rules about labels that the run went by.
    """
    check_outputs((result_file, json_file, csv_file), (*read_with(ledger), *([] if split is None else [split])))
    if finished := result_in(ledger):
        asked = {name: rule for name, rule in rules.items() if rule is not None}
        rules = rules_of(Result.read(finished)) | asked
    ledger = ledger_in(ledger)
    read = _read(ledger)
    names = list(read.entries) if split is None else pictures_of_split(split, {ledger: read.entries})
    if not names:
        raise ValueError(f"{ledger} has no pictures yet")
    if ignore_index is not None:
        rules["ignore_index"] = label_or_none(ignore_index)
    matrix = read.matrix(names, **rules)
    source = (
        ("geometry", read.subject.geometry),
        ("ignore_index", matrix.ignore_index),
        ("label_map", {str(old): new for old, new in matrix.label_map.items()}),
        ("reduce_zero_label", matrix.reduce_zero_label),
    )
    result = Result.of(matrix, read.subject.classes, len(names), source=source)
    return console.SOME_FAILED if report_result(result, result_file, json_file, csv_file) else console.DONE


def _read(path: str) -> Ledger:
    read = Ledger.read(path)
    if read.torn:
        terminal.tell(f"{path} ends in half a line, as a killed run leaves it; the picture of this line is left out")
    return read


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.ledger")
