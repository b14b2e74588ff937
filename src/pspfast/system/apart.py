"""Functions run apart, in another Python process, so that a library that dies there takes nobody with it.

There is one such process, started with the first call and kept for those after it; one that died is replaced. It ends
with this one, however that ends: what it reads from is closed then.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from pspfast.system.captured_output import first_line, tell_printed
from pspfast.system.processes import signal_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["DiedApart", "call_apart", "serve"]

_SECONDS_TO_END = 5.0


class DiedApart(RuntimeError):  # noqa: N818 - it is what happened, by its name
    """The process that a function was run in ended before the function did."""


class _Worker:
    """The other process: a call goes in as a pickle, and comes back as one."""

    def __init__(self) -> None:
        if not sys.executable:
            raise RuntimeError("this program has no Python of its own to run another process with (sys.executable)")
        self.owner = os.getpid()
        # What a library prints is only of use if it fails.
        self.log: BinaryIO = TemporaryFile()  # noqa: SIM115 - it is open for as long as the process is
        # The same places to import from, whatever made them so here; nothing of this process's __main__ is run again.
        start = f"import sys; sys.path[:] = {sys.path!r}; from pspfast.system.apart import serve; serve()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,  # Ctrl-C is for this process, which ends the other one
        )

    def call(self, what: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.log.seek(0)
        self.log.truncate()
        try:
            pickle.dump((function, arguments), self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
            is_done, result = pickle.load(self.process.stdout)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
            status = self.process.wait(_SECONDS_TO_END)
            self._tell(what)
            ending = f"ended by {signal_text(-status)}" if status < 0 else f"ended with exit status {status}"
            raise DiedApart(f"{what} died ({ending})") from error
        if not is_done:
            self._tell(what)
            raise result
        return result

    def end(self) -> None:
        """End the process, which may be in the middle of something."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:  # it is dead, and so is what was meant for it
                continue
        self.process.kill()
        self.process.wait(_SECONDS_TO_END)
        self.log.close()

    def _tell(self, what: str) -> None:
        self.log.seek(0)
        tell_printed(what, self.log.read())


_lock = threading.Lock()
_worker: _Worker | None = None


def call_apart(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in another process.

    Args:
        what: is called, for messages: a library's name.
        function: of a module, so that it can be named there; it takes and returns what can be pickled.
        arguments: by position.

    Raises:
        DiedApart: the process died. What it printed is told first.
        Exception: what the function raised, as it was if that can be pickled, else a RuntimeError with its text.

    Example:
        >>> import math
        >>> call_apart("math", math.hypot, 3.0, 4.0)
        5.0
    """
    global _worker  # noqa: PLW0603 - there is one
    with _lock:
        if _worker is not None and _worker.owner != os.getpid():  # this process is a fork; the worker is its parent's
            _worker = None
        if _worker is None:
            _worker = _Worker()
        finished = False
        try:
            result = _worker.call(what, function, arguments)
            finished = True
        except DiedApart:
            raise
        except Exception:
            finished = True
            raise
        finally:
            if not finished:  # dead, or interrupted half-way
                _worker.end()
                _worker = None
    return result


@atexit.register
def _end_worker() -> None:
    global _worker  # noqa: PLW0603
    if _worker is not None and _worker.owner == os.getpid():
        _worker.end()
    _worker = None


def serve() -> None:
    """What the other process does: calls, one after the other, until there are no more."""
    calls = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)  # what libraries print is no reply
        while True:
            try:
                function, arguments = pickle.load(calls)
            except EOFError:
                return
            try:
                reply = pickle.dumps((True, function(*arguments)), pickle.HIGHEST_PROTOCOL)
            except Exception as error:
                reply = _refusal(error)
            sys.stdout.flush()
            replies.write(reply)
            replies.flush()


def _refusal(error: Exception) -> bytes:
    """An exception as a reply; many of C++ libraries cannot be pickled, or not read again."""
    try:
        reply = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(reply)
    except Exception:
        reply = pickle.dumps((False, RuntimeError(first_line(error))), pickle.HIGHEST_PROTOCOL)
    return reply
