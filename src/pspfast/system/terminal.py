"""The standard streams: results to standard output, everything else to standard error, whatever becomes of them."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from pspfast.system.files import OutputError

__all__ = ["report", "tell"]


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
        _give_up(sys.stdout)
    except OSError as error:
        _give_up(sys.stdout)
        raise OutputError("standard output", error) from error


def tell(text: str) -> None:
    """Print a line that is not a result: progress, or what went wrong."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # nobody reads it, or its disk is full: no reason to end the work
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Send a stream to nowhere; else the interpreter fails once more with what is left in its buffer as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
