"""Results and remarks for the person at the terminal, and how far a long piece of work is."""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TextIO

from pspfast.system.files import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = ["Bar", "Progress", "drawn_by", "give_up", "report", "tell"]


def report(text: str) -> None:
    """Print a result.

    Raises:
        OutputError: standard output is full. A reader that has gone away is none of our business.
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be text
            sys.stdout.reconfigure(errors="surrogateescape")
            try:
                text.encode(sys.stdout.encoding, "surrogateescape")
            except UnicodeEncodeError:  # a stream of ASCII
                sys.stdout.reconfigure(errors="backslashreplace")
        print(text, flush=True)
    except BrokenPipeError:
        give_up(sys.stdout)
    except OSError as error:
        give_up(sys.stdout)
        raise OutputError("standard output", error) from error


def tell(text: str) -> None:
    """Print a line that is not a result: progress, or what went wrong."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # nobody reads it, or its disk is full: no reason to end the work
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Send a stream to nowhere; else the interpreter fails once more with what is left in its buffer as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_SECONDS_BETWEEN_LINES = 5.0


class Bar(Protocol):
    """What draws progress where there is a person to see it."""

    def start(self) -> None:
        """Appear."""

    def stop(self) -> None:
        """Stay as it is."""

    def advance(self, count: int) -> None:
        """Count ``count`` more things as done."""

    def note(self, text: str) -> None:
        """What to show beside the numbers."""

    def say(self, text: str) -> None:
        """Print a line above."""


_draw: ContextVar[Callable[[str, int, int], Bar] | None] = ContextVar("draw", default=None)


@contextmanager
def drawn_by(draw: Callable[[str, int, int], Bar]) -> Iterator[None]:
    """Let what runs in this block show its progress as a bar where standard error is a terminal; else lines tell it.

    Args:
        draw: of ``what``, ``total`` and ``already``, as :class:`Progress` has them; the bar.
    """
    before = _draw.set(draw)
    try:
        yield
    finally:
        _draw.reset(before)


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
        self._bar: Bar | None = None
        draw = _draw.get()
        if draw is not None and not quiet and sys.stderr.isatty():
            self._bar = draw(what, total, already)

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
