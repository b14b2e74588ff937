"""What every command shares towards the person who typed it: options, progress, messages, exit statuses.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from pspfast.cli.progress_bar import ProgressBar
from pspfast.system.files import OutputError
from pspfast.system.libraries import MissingExtra
from pspfast.system.terminal import drawn_by, give_up, tell
from pspfast.system.threads import interrupts_noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "CONTEXT_SETTINGS", "DONE", "INTERRUPTED", "MISSING", "SOME_FAILED", "USAGE", "GuardedCommand", "handles_errors",
    "set_level",
]  # fmt: skip

DONE, SOME_FAILED, USAGE, MISSING, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses; ``MISSING`` is for a tool or library that is not installed, 130 what shells give a command stopped
with Ctrl-C."""

CONTEXT_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "max_content_width": 110,
    # The published scripts write --image_folder_path; both spellings are the same option.
    "token_normalize_func": lambda token: token.replace("_", "-"),
}

P = ParamSpec("P")


def handles_errors(command: Callable[P, int]) -> Callable[P, None]:
    """Turn what a command returns or raises into an exit status, with one line about what went wrong."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        _open_missing_streams()
        try:
            with drawn_by(ProgressBar):
                status = command(*args, **kwargs)
        except OutputError as error:
            _tell_error(error, str(error))
            status = SOME_FAILED
        except MissingExtra as error:
            _tell_error(error, str(error))
            status = MISSING
        except (OSError, ValueError, RuntimeError) as error:
            _tell_error(error, _sentence(error))
            status = SOME_FAILED if _is_of_a_tool(error) else USAGE
        except MemoryError as error:
            _tell_error(error, f"not enough memory: {error}")
            status = USAGE
        except KeyboardInterrupt:
            _tell_interrupted()
            status = INTERRUPTED
        sys.exit(status)

    return run


class GuardedCommand(click.Command):
    """A command that ends as :func:`handles_errors` says also before it is called: while options are read and modules
    loaded, and while it tells about itself.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """See :class:`click.Command`."""
        with _ends_with_a_status():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """See :class:`click.Command`."""
        with _ends_with_a_status():
            return super().invoke(ctx)


@contextmanager
def _ends_with_a_status() -> Iterator[None]:
    """Turn Ctrl-C, which click would make status 1 of, and a standard output that is full into an exit status."""
    try:
        yield
    except KeyboardInterrupt:
        _tell_interrupted()
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno == errno.EPIPE or error.filename is not None:
            raise  # a reader that has gone away, which click sees to; or no stream
        give_up(sys.stdout)
        _tell_error(error, str(OutputError("standard output", error)))
        sys.exit(SOME_FAILED)


def _tell_interrupted() -> None:
    with interrupts_noted():  # a second one would end in the middle of this line
        tell("interrupted; what is written is whole, run the same command again to go on")


_shows_traces = False


def set_level(level: str) -> None:
    """Say how much is told: with ``"debug"`` also where errors come from.

    Less than usual is what commands do with ``--quiet``, which ``--log-level warning`` switches on.
    """
    global _shows_traces  # noqa: PLW0603 - there is one standard error
    _shows_traces = level == "debug"


def _open_missing_streams() -> None:
    """Point closed standard streams to nowhere; else the next file opened takes their place and libraries' messages."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _tell_error(error: BaseException, text: str) -> None:
    if _shows_traces:
        tell("".join(traceback.format_exception(error)).rstrip("\n"))
    tell(text)


def _is_of_a_tool(error: Exception) -> bool:
    """Whether a program that was called right did not do its work."""
    from pspfast.system.processes import ToolFailed

    return isinstance(error, ToolFailed)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
