"""Files and folders that one process at a time writes: the kernel's locks, which end with the process that holds them.

Every process opens the file anew and keeps it open for as long as it writes; closing it gives the lock back.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pspfast.system.files import OutputError, replace_file, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FolderBusyError", "held", "open_locked", "replace_locked"]


class FolderBusyError(OSError):
    """Another process is writing into the folder, which is ``filename``."""

    def __init__(self, folder: str) -> None:
        super().__init__(None, "another run is writing into this folder; wait for it, or choose another one", folder)


def open_locked(path: str, busy: OSError | Callable[[], None], *, named: str | None = None) -> int:
    """Open a file for appending, made if need be, and lock it.

    Args:
        path: of the file.
        busy: what is raised if another process holds it; a function is called instead, and the process waited for.
        named: the path that an error names, if not ``path``.

    Returns:
        Its descriptor, of the file that is at ``path`` now: one that was removed or replaced meanwhile is opened again.

    Raises:
        OutputError: it cannot be opened or locked.
    """
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(named or path, error) from error
        try:
            _lock(file, busy)
            if os.fstat(file).st_ino == os.stat(path).st_ino:
                return file
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(file)
            if error is busy:
                raise
            raise OutputError(named or path, error) from error
        except BaseException:  # Ctrl-C as well: nobody else can close it
            os.close(file)
            raise
        os.close(file)  # a run that was just ending has removed or replaced what we locked: once more


def _lock(file: int, busy: OSError | Callable[[], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if isinstance(busy, OSError):
            raise busy from None
        busy()
        fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def held(path: str, busy: OSError | Callable[[], None], *, named: str | None = None) -> Iterator[None]:
    """:func:`open_locked` while a block runs; the file stays, since removing it would let two hold it."""
    file = open_locked(path, busy, named=named)
    try:
        yield
    finally:
        os.close(file)


def replace_locked(path: str, data: bytes) -> int:
    """Replace a file whose lock is held by a new one, locked before anybody can find it.

    Returns:
        The new file's descriptor, for appending.

    Raises:
        OutputError: it cannot be written; the earlier file is untouched.
    """
    opened: list[int] = []

    def write(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_all(file, data)
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
        opened.append(os.dup(file))  # shares lock and mode

    replace_file(path, write)
    return opened[0]
