"""Command-line options that several commands share, and what they mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pspfast import console
from pspfast.datasets import read_split
from pspfast.files import stem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["check_outputs", "label_or_none", "label_rule_options", "pictures_of_split"]


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
