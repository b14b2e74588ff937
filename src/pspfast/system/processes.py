"""The only place that starts programs of others: a list of arguments in, text and exit status out.

No shell ever reads the arguments. A tool is the leader of a session of its own, so that it and what it starts can be
ended together: when it has run too long, when this command is interrupted, and when it ends and leaves others behind.
"""

from __future__ import annotations

import errno
import os
import platform
import select
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.system.libraries import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Ran", "ToolFailed", "ToolMissing", "ToolTimeout", "find_program", "must_succeed", "run", "signal_text"]

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_END_BY_ITSELF = 3.0
_SECONDS_TO_BE_KILLED = 10.0
_MOST_CHARACTERS_OF_A_LINE = 1 << 16
_MOST_CHARACTERS = 1 << 24
_LAST_LINES = 12

_SIGNALS = {
    signal.SIGABRT: "it gave up on itself",
    signal.SIGBUS: "a file or memory that is not there",
    signal.SIGFPE: "a calculation that has no result",
    signal.SIGILL: "an instruction that this CPU lacks",
    signal.SIGINT: "interrupted",
    signal.SIGKILL: "somebody killed it; the kernel does when memory runs out, see dmesg",
    signal.SIGSEGV: "it read or wrote memory that is not its own",
    signal.SIGTERM: "somebody asked it to end",
}


class ToolMissing(MissingExtra):
    """A program that is not there, or that cannot be run; the message says what to do."""


class ToolFailed(RuntimeError):  # noqa: N818 - it is what failed, by its name
    """A program that ran and did not do its work.

    Attributes:
        ran: what there is of its run, ``None`` if it did not come that far.
    """

    def __init__(self, message: str, ran: Ran | None = None) -> None:
        super().__init__(message)
        self.ran = ran


class ToolTimeout(ToolFailed):
    """A program that was ended because it ran too long."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended.

    Attributes:
        argv: as it was called.
        status: its exit status; as a shell gives it, 128 and the signal's number, where a signal ended it.
        output: what it wrote to standard output and standard error, in order; the end of it if it was very much.
        seconds: how long it ran.
        killed_by: the signal that ended it, in words; empty if none did.
        lost: how many characters are missing before ``output``.
    """

    argv: tuple[str, ...]
    status: int
    output: str
    seconds: float
    killed_by: str = ""
    lost: int = 0

    @property
    def command(self) -> str:
        """The arguments as one line for a shell."""
        return shlex.join(self.argv)

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        return f"ended by {self.killed_by}" if self.killed_by else f"exit status {self.status}"

    def last_lines(self, most: int = _LAST_LINES) -> str:
        """The end of the output, without empty lines."""
        return "\n".join([line for line in self.output.splitlines() if line.strip()][-most:])


def run(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> Ran:
    """Run a program to its end; an exit status other than 0 is no error here, see :func:`must_succeed`.

    It reads nothing from standard input. Whatever it has started and left running is killed when it ends. The same
    happens when this process gets SIGINT, SIGTERM or SIGHUP, which then take their course (nothing can be done about
    SIGKILL); in threads other than the main one Python does not see signals, so there only ``timeout`` ends a tool.

    Args:
        argv: the program, by name or path, and its arguments.
        cwd: folder to run it in. A relative path of the program is meant from here, not from there.
        timeout: seconds after which it is ended.
        env: the whole environment, in place of this process's.
        on_line: gets each line as it comes, without its end. What it raises ends the program.

    Raises:
        ToolMissing: there is no such program, or it cannot be run.
        ToolTimeout: see ``timeout``.
        ToolFailed: it was to be ended and cannot be: it waits in the kernel.
        OSError: ``cwd`` is no folder.

    Example:
        >>> ran = run(["sh", "-c", "echo one; echo two >&2; exit 7"])
        >>> ran.status, ran.output, ran.ending
        (7, 'one\\ntwo\\n', 'exit status 7')
    """
    if not argv:
        raise ValueError("no program to run")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"a timeout must be more than 0 seconds, got {timeout}")
    argv = tuple(map(str, argv))
    path = find_program(argv[0], env=env)
    if cwd is not None and not os.path.isdir(cwd):
        raise NotADirectoryError(errno.ENOTDIR, f"not a folder to run {argv[0]} in", os.fspath(cwd))
    started = time.monotonic()
    lines = _Lines(on_line)
    late = False
    with _signals_noted() as noted:
        process = _start(argv, path, cwd, env)
        try:
            late = not _follow(process, lines, None if timeout is None else started + timeout, noted)
        finally:
            try:
                _end(process)
                _drain(process, lines)
            finally:
                assert process.stdout is not None
                process.stdout.close()
                _reap(process)
        lines.end()
    code = process.returncode
    ran = Ran(
        argv,
        code if code >= 0 else 128 - code,
        lines.text(),
        time.monotonic() - started,
        "" if code >= 0 else signal_text(-code),
        lines.lost,
    )
    if late:
        last = ran.last_lines()
        raise ToolTimeout(
            f"{argv[0]} was still running after {timeout:g} s and was ended, with all that it had started; "
            + (f"its last lines:\n{last}" if last else "it had written nothing"),
            ran,
        )
    return ran


def must_succeed(ran: Ran, advice: str = "") -> Ran:
    """Give back a program's run if its exit status is 0.

    Raises:
        ToolFailed: it is not; the message has the last lines of its output.

    Example:
        >>> must_succeed(run(["true"])).status
        0
    """
    if ran.status == 0:
        return ran
    last = ran.last_lines()
    message = f"{ran.argv[0]}: {ran.ending}, after {ran.seconds:.1f} s" + (f"; {advice}" if advice else "")
    raise ToolFailed(message + (f"; its last lines:\n{last}" if last else "; it wrote nothing"), ran)


def find_program(name: str, *, env: Mapping[str, str] | None = None) -> str:
    """The absolute path of a program, looked up as a shell does.

    Raises:
        ToolMissing: there is none, or it is a file that may not be run.
    """
    search = (os.environ if env is None else env).get("PATH", os.defpath)
    found = shutil.which(name, path=search)
    if found is not None:
        return os.path.abspath(found)
    if os.path.dirname(name):
        if os.path.isdir(name):
            raise ToolMissing(f"{name} is a folder, not a program")
        if os.path.exists(name):
            raise ToolMissing(f"{name} may not be run: chmod +x {shlex.quote(name)}")
        raise ToolMissing(f"{name}: no such program")
    there = [os.path.join(folder, name) for folder in search.split(os.pathsep) if folder]
    for file in there:
        if os.path.isfile(file):
            raise ToolMissing(f"{file} may not be run: chmod +x {shlex.quote(file)}")
    raise ToolMissing(f"{name} is in none of the folders of PATH")


def _start(
    argv: tuple[str, ...], path: str, cwd: str | os.PathLike[str] | None, env: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            executable=path,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            reason = f"is no program for this machine ({platform.machine()}), nor a script with a line #!"
        elif error.errno == errno.ENOENT:
            reason = "names an interpreter or loader that is not there (is it for another kind of machine?)"
        elif error.errno == errno.EACCES:
            reason = "may not be run: permission denied (chmod +x; is its disk mounted noexec?)"
        elif error.errno == errno.E2BIG:
            raise ValueError(f"{argv[0]}: more arguments than the system takes") from error
        else:
            reason = f"cannot be run: {error.strerror}"
        raise ToolMissing(f"{path} {reason}") from error


def _follow(process: subprocess.Popen[bytes], lines: _Lines, deadline: float | None, noted: list[int]) -> bool:
    """Read until the program has ended, or a signal came; False if the deadline passed before."""
    assert process.stdout is not None
    file = process.stdout.fileno()
    poll = select.poll()
    poll.register(file, select.POLLIN)
    is_open = True
    while not noted:
        wait = _SECONDS_BETWEEN_LOOKS
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                return _has_ended(process)
            wait = min(wait, left)
        if not is_open:  # it closed its output and goes on
            if _has_ended(process):
                return True
            time.sleep(wait)
        elif poll.poll(wait * 1000):
            data = os.read(file, 1 << 16)
            is_open = bool(data)
            lines.feed(data)
        elif _has_ended(process):  # others hold its output open
            return True
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended. It is not reaped, so that its number stays the number of its group."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program if it has not ended, and all others of its group."""
    if not _has_ended(process):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + _SECONDS_TO_END_BY_ITSELF
        while not _has_ended(process) and time.monotonic() < until:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _reap(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # in case an error cut the ending short
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_SECONDS_TO_BE_KILLED)
    except subprocess.TimeoutExpired:
        process.returncode = -signal.SIGKILL  # which it will obey when the kernel lets go of it
        raise ToolFailed(
            f"process {process.pid} cannot be ended: it waits in the kernel, as for a device that hangs; look at dmesg"
        ) from None


def _drain(process: subprocess.Popen[bytes], lines: _Lines) -> None:
    """Read what is left. Nobody of the group writes any more, so what does not come at once will not come."""
    assert process.stdout is not None
    poll = select.poll()
    poll.register(process.stdout.fileno(), select.POLLIN)
    until = time.monotonic() + 1.0  # a process that left the group could write for ever
    while time.monotonic() < until and poll.poll(_SECONDS_BETWEEN_LOOKS * 1000):
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            break
        lines.feed(data)


class _Lines:
    """Bytes as they come, cut into lines; keeps the end of them."""

    def __init__(self, on_line: Callable[[str], object] | None) -> None:
        self._on_line = on_line
        self._kept: deque[str] = deque()
        self._size = 0
        self._rest = b""
        self.lost = 0

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._take(line, "\n")
        while len(self._rest) > _MOST_CHARACTERS_OF_A_LINE:
            line, self._rest = self._rest[:_MOST_CHARACTERS_OF_A_LINE], self._rest[_MOST_CHARACTERS_OF_A_LINE:]
            self._take(line, "")

    def end(self) -> None:
        if self._rest:
            line, self._rest = self._rest, b""
            self._take(line, "")

    def text(self) -> str:
        return "".join(self._kept)

    def _take(self, data: bytes, end: str) -> None:
        text = data.decode(errors="replace")
        self._kept.append(text + end)
        self._size += len(text) + len(end)
        while self._size > _MOST_CHARACTERS and len(self._kept) > 1:
            dropped = len(self._kept.popleft())
            self._size -= dropped
            self.lost += dropped
        if self._on_line is not None:
            self._on_line(text.rstrip("\r"))


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Note signals instead of obeying them, and obey the first one at the end, when the tool is gone.

    Otherwise one that comes between the start of a process and the next line here would leave it running.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, _: Any) -> None:
        noted.append(number)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        if handler is not None and handler != signal.SIG_IGN:  # None: not Python's, cannot be put back
            before[number] = signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            if before[signal.Signals(noted[0])] == signal.SIG_DFL:  # would end us here, with scratch folders left
                raise SystemExit(128 + noted[0])
            signal.raise_signal(noted[0])


def signal_text(number: int) -> str:
    """A signal in words.

    Example:
        >>> signal_text(9).partition(" ")[0]
        'SIGKILL'
    """
    try:
        named = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    return f"{named.name} ({_SIGNALS[named]})" if named in _SIGNALS else named.name
