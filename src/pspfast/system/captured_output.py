"""Keeps what libraries print to themselves, unless they fail."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from pspfast.system.terminal import tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, TextIO

__all__ = ["captured", "first_line", "tell_printed"]

_MOST_LINES = 30


@contextmanager
def captured(what: str, *, tells: bool = True) -> Iterator[None]:
    """Withhold everything that is printed, by C++ too, and every warning; tell the end of it if the block raises.

    The whole process is silent meanwhile, so this is for steps that nothing else runs beside.

    Args:
        what: is running, for the line above what is told.
        tells: whether it is told; not of a library that prints its whole graph, and says why in what it raises.
    """
    with TemporaryFile() as log:
        try:
            with _into(log):
                yield
        except Exception:
            log.seek(0)
            if tells:
                tell_printed(what, log.read())
            raise


def tell_printed(what: str, printed: bytes) -> None:
    """Tell the end of what something printed, if it printed anything."""
    lines = printed.decode(errors="replace").strip().splitlines()
    if lines:
        left_out = f", the last {_MOST_LINES} of {len(lines)} lines" * (len(lines) > _MOST_LINES)
        tell("\n".join([f"{what} printed{left_out}:", *(f"  {one}" for one in lines[-_MOST_LINES:])]))


def first_line(error: Exception) -> str:
    """The first line of what a library says went wrong; the error's class if it says nothing.

    Example:
        >>> first_line(RuntimeError("no memory\\nframe #0: ...")), first_line(KeyError())
        ('no memory', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _into(log: BinaryIO) -> Iterator[None]:
    with ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")
        for number in (1, 2):
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            kept = os.dup(number)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, number)
            os.dup2(log.fileno(), number)
        # Python's own streams may be somebody else's and not those of the process.
        text = undo.enter_context(open(os.dup(log.fileno()), "w", encoding="utf-8", errors="replace", buffering=1))
        undo.enter_context(redirect_stdout(text))
        undo.enter_context(redirect_stderr(text))
        warnings.showwarning = partial(_write_warning, text)  # undone with the filters
        yield


def _write_warning(text: TextIO, message: Warning | str, kind: type[Warning], path: str, line: int, *_: object) -> None:
    text.write(warnings.formatwarning(message, kind, path, line))
