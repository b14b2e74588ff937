"""The nearest name that there is, for one that was mistyped."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SuggestingGroup", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str:
    """What to add to a sentence about a name that is none; empty if no name is near.

    Example:
        >>> nearest("preproces", ["run", "preprocess"])
        ' (did you mean preprocess?)'
    """
    close = difflib.get_close_matches(name.replace("_", "-"), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


class SuggestingGroup(click.Group):
    """A group of commands that names the nearest one to a mistyped one, with every version of click."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click."""
        typed = args[0]
        if not (ctx.resilient_parsing or typed.startswith("-") or self.get_command(ctx, typed.replace("_", "-"))):
            ctx.fail(f"No such command {typed!r}{nearest(typed, self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)
