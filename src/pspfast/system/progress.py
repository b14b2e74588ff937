"""How far a long piece of work is: a line every few seconds, or whatever bar the process has been given.

Functions that take long count with a :class:`Progress`. What a terminal shows instead of lines is the command line's
matter, which says so once with :func:`use_bars`; a library caller gets lines.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from pspfast.system.terminal import tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Bar", "Progress", "use_bars"]

_SECONDS_BETWEEN_LINES = 5.0


class Bar(Protocol):
    """What is shown in place of lines: the bar of one piece of work."""

    def start(self) -> None:
        """Show it from now on."""

    def stop(self) -> None:
        """Leave it as it is."""

    def advance(self, count: int) -> None:
        """Count ``count`` more things as done."""

    def note(self, text: str) -> None:
        """Show a text beside the numbers."""

    def say(self, text: str) -> None:
        """Print a line of its own above."""


_make_bar: Callable[[str, int, int], Bar | None] | None = None


def use_bars(make_bar: Callable[[str, int, int], Bar | None] | None) -> None:
    """Say what shows the progress of this process's work from now on.

    Args:
        make_bar: given the noun, how many there are and how many of them were done before; ``None`` from it, or in its
            place, leaves it at lines.
    """
    global _make_bar  # noqa: PLW0603 - there is one standard error
    _make_bar = make_bar


class Progress:
    """Counts ``total`` things; use as a context manager.

    Args:
        what: noun of the things counted, in the plural.
        total: how many there are.
        already: how many of them were done before; they do not count towards the rate.
        quiet: say nothing.
    """

    def __init__(self, what: str, total: int, *, already: int = 0, quiet: bool = False) -> None:
        self._what, self._total, self._quiet = what, total, quiet
        self._done = self._already = already
        self._note = ""
        self._started = self._told = time.monotonic()
        self._bar = None if quiet or _make_bar is None else _make_bar(what, total, already)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more things as done."""
        self._done += count
        if self._bar is not None:
            self._bar.advance(count)
        elif not self._quiet:
            now = time.monotonic()
            if now - self._told >= _SECONDS_BETWEEN_LINES:
                self._told = now
                tell(self._line(now - self._started))

    def note(self, text: str) -> None:
        """What to show beside the numbers, from now on."""
        self._note = text
        if self._bar is not None:
            self._bar.note(text)

    def say(self, text: str) -> None:
        """Print a line of its own, above the bar if there is one; also when quiet, since it is about a failure."""
        if self._bar is not None:
            self._bar.say(text)
        else:
            tell(text)

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._already) / seconds
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate else ""
        return f"{self._done}/{self._total} {self._what}, {rate:.0f}/s{left}" + f", {self._note}" * bool(self._note)
