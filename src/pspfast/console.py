"""What every command shares towards the person who typed it: options, progress, messages, exit statuses.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import functools
import io
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO

from pspfast.extras import MissingExtra
from pspfast.files import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "CONTEXT_SETTINGS",
    "DONE",
    "INTERRUPTED",
    "MISSING",
    "SOME_FAILED",
    "USAGE",
    "Progress",
    "handles_errors",
    "peak_memory",
    "report",
    "set_level",
    "tell",
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
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would end in the middle of these lines
            tell("interrupted; what is written is whole, run the same command again to go on")
            status = INTERRUPTED
        sys.exit(status)

    return run


_shows_traces = False


def set_level(level: str) -> None:
    """Say how much is told: with ``"debug"`` also where errors come from.

    Less than usual is what commands do with ``--quiet``, which ``--log-level warning`` switches on.
    """
    global _shows_traces  # noqa: PLW0603 - there is one standard error
    _shows_traces = level == "debug"


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


def peak_memory() -> int:
    """Of this process, in bytes; ``ru_maxrss`` is no less than what the parent had when it started us."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _open_missing_streams() -> None:
    """Point closed standard streams to nowhere; else the next file opened takes their place and libraries' messages."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _give_up(stream: TextIO) -> None:
    """Send a stream to nowhere; else the interpreter fails once more with what is left in its buffer as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _tell_error(error: BaseException, text: str) -> None:
    if _shows_traces:
        tell("".join(traceback.format_exception(error)).rstrip("\n"))
    tell(text)


def _is_of_a_tool(error: Exception) -> bool:
    """Whether a program that was called right did not do its work."""
    from pspfast.tools.runner import ToolFailed  # here: few commands start any

    return isinstance(error, ToolFailed)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


_SECONDS_BETWEEN_LINES = 5.0


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
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            self._bar = _terminal_bar(what, total, already)

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
            self._bar.advance(self._bar.task_ids[0], count)
        elif not self._quiet:
            now = time.monotonic()
            if now - self._told >= _SECONDS_BETWEEN_LINES:
                self._told = now
                tell(self._line(now - self._started))

    def note(self, text: str) -> None:
        """What to show beside the numbers, from now on."""
        self._note = text
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], note=text)

    def say(self, text: str) -> None:
        """Print a line of its own, above the bar if there is one; also when quiet, since it is about a failure."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            tell(text)

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._already) / seconds
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate else ""
        return f"{self._done}/{self._total} {self._what}, {rate:.0f}/s{left}" + f", {self._note}" * bool(self._note)


def _terminal_bar(what: str, total: int, already: int) -> Any:
    # Imported here: rich costs more time than a hundred pictures.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.0f} {what}/s")

    bar = RichProgress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
    bar.add_task(what, total=total, completed=already, note="")
    return bar
