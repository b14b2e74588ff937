"""Command-line options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["label_or_none", "label_rule_options"]


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
