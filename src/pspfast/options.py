"""Command-line options that several commands share, and what becomes of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pspfast import console, parallel
from pspfast.datasets import read_split
from pspfast.files import OutputError, stem, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pspfast.results import Result

__all__ = [
    "check_outputs", "label_or_none", "label_rule_options", "pictures_of_split", "report_result", "result_file_options",
    "workers_option",
]  # fmt: skip

workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=parallel.default_workers,
    metavar="N",
    help="Threads; the CPUs this process may use if left out.",
    show_default=False,
)


def label_rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options about what labels mean: ``label_map`` and ``reduce_zero_label`` of :class:`pspfast.ConfusionMatrix`."""
    for option in (
        click.option("--reduce-zero-label", is_flag=True, help="Label 0 becomes 255, every other one less."),
        click.option(
            "--label-map", multiple=True, callback=_label_map, metavar="OLD:NEW,...", help="All at once: 0:1,1:0 swaps."
        ),
    ):
        command = option(command)
    return command


def _label_map(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[int, int]:
    changes: dict[int, int] = {}
    for change in (change for text in texts for change in text.split(",")):
        old, colon, new = change.partition(":")
        if not (colon and old.strip().isdecimal() and new.strip().isdecimal()):
            raise click.BadParameter(f"expected OLD:NEW, two labels, got {change!r}")
        if changes.setdefault(int(old), int(new)) != int(new):
            raise click.BadParameter(f"label {int(old)} becomes both {changes[int(old)]} and {int(new)}")
    return changes


def label_or_none(text: str) -> int | None:
    """A label as ``--ignore-index`` takes it.

    Raises:
        ValueError: neither a label nor "none".
    """
    if text == "none":
        return None
    if not text.isdecimal():
        raise ValueError(f"--ignore-index must be a label or 'none', got {text!r}")
    return int(text)


def result_file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Files for a result: ``json_file`` and ``csv_file``."""
    for option in (
        click.option("--csv", "csv_file", type=click.Path(), metavar="FILE", help="A line a class."),
        click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for programs."),
    ):
        command = option(command)
    return command


def report_result(result: Result, result_file: str | None, json_file: str | None, csv_file: str | None) -> bool:
    """Print a result's tables and write its files.

    Returns:
        Whether one of these failed, which is told; the others are there all the same.
    """
    outputs: list[Callable[[], None]] = [lambda: console.report("\n".join([result.tables(), *result.caveats()]))]
    for path, text in ((result_file, result.published), (json_file, result.to_json), (csv_file, result.to_csv)):
        if path is not None:
            outputs.append(lambda path=path, text=text: write_whole(path, text().encode()))  # type: ignore[misc]
    failed = False
    for write in outputs:
        try:
            write()
        except OutputError as error:
            console.tell(str(error))
            failed = True
    return failed


def pictures_of_split(split: str, sources: Mapping[str, Collection[str]]) -> list[str]:
    """Names of the pictures that ``--split`` chooses, each once, in the split's order.

    Args:
        split: the file.
        sources: file -> names of the pictures that it has.

    Raises:
        OSError: the split cannot be read.
        ValueError: it names nothing, or a picture that one of the sources lacks.
    """
    named = read_split(split)
    names = list(dict.fromkeys(stem(name) for name in named.ids))
    repeated = len(named.ids) + len(named.repeated) - len(names)
    if repeated:
        console.tell(f"{split}: {repeated} lines name a picture that an earlier one names; each counts once")
    for source, known in sources.items():
        has = frozenset(known)
        missing = [name for name in names if name not in has]
        if missing:
            raise ValueError(f"{source} lacks {len(missing)} of the pictures in {split}, {missing[0]} among them")
    return names


def check_outputs(outputs: Iterable[str | None], inputs: Iterable[str]) -> None:
    """Raise ValueError for an output that would replace an input, or another output."""
    taken = {os.path.realpath(path): "is what this command reads" for path in inputs}
    for path in outputs:
        if path is None or path.startswith("/dev/"):
            continue
        real = os.path.realpath(path)
        if real in taken:
            raise ValueError(f"{path} {taken[real]}; choose another file for the output")
        taken[real] = "cannot be two outputs at once"
