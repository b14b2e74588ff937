"""Files that are whole or not there, whatever becomes of the process: every output of a stage is written here.

Two write for themselves: ``export.transfer``, whose downloads go on where they were cut, and ``vendors.atc``, which
moves what ATC wrote.

A power cut is another matter: nothing is forced to disk, which would make a run many times slower.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

__all__ = [
    "OutputError", "folder_for_output", "remove", "remove_leftovers", "replace_file", "stem", "write_all", "write_json",
    "write_sparse", "write_whole",
]  # fmt: skip

_TEMPORARY = re.compile(r"\.(?P<name>.*[^.].*)\.(?P<process>\d+)\.part")  # as replace_file names them
_STREAM = re.compile(r"/dev/std(out|err)|/(?:dev|proc/self)/fd/(\d+)")


class OutputError(OSError):
    """An output that cannot be written; ``filename`` is its final path and ``strerror`` the reason."""

    def __init__(self, path: str | os.PathLike[str], cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror or str(cause), os.fspath(path))

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}"

    @property
    def is_lasting(self) -> bool:
        """Whether the next file would meet the same fate (a full or read-only disk, no permission)."""
        return self.errno not in (errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)


def stem(name: str) -> str:
    """A file's name up to its first dot, which is how the published scripts name bins.

    Example:
        >>> stem("JPEGImages/2007_000033.v2.jpg")
        '2007_000033'
    """
    return os.path.basename(name).split(".", 1)[0]


def write_json(path: str, value: Any) -> None:
    """Write what JSON can hold, dataclasses as objects and NaN as null; see :func:`write_whole`.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(path, json.dumps(_plain(value), indent=2, allow_nan=False).encode() + b"\n")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_whole(path: str, data: bytes | memoryview) -> None:
    """Write a file under a temporary name beside it and rename: a killed run never leaves half a file under ``path``.

    A link is followed. An existing device, pipe or open stream (``/dev/stdout``) is written into, since a rename would
    replace it.

    Raises:
        OutputError: with ``path``; the temporary file is removed and an earlier file of that name is untouched.
    """
    stream = _STREAM.fullmatch(path)
    if stream or _is_special(path):
        try:
            if stream:
                file = os.dup(int(stream[2] or ("out", "err").index(stream[1]) + 1))
            else:
                file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                write_all(file, data)
            finally:
                os.close(file)
        except OSError as error:
            raise OutputError(path, error) from error
    else:
        replace_file(os.path.realpath(path) if os.path.islink(path) else path, lambda file: write_all(file, data))


def write_sparse(path: str, data: memoryview, extents: Sequence[tuple[int, int]]) -> None:
    """:func:`write_whole` for a file of ``len(data)`` bytes of which those outside of ``extents`` are zero.

    They are not written: the file system keeps holes where it can, which read as zeros and cost no time and no room.

    Args:
        path: not a device.
        data: bytes; outside of ``extents`` they do not matter.
        extents: ``(start, end)`` in bytes, ascending, not overlapping.
    """

    def write(file: int) -> None:
        for start, end in extents:
            os.lseek(file, start, os.SEEK_SET)
            write_all(file, data[start:end])
        os.ftruncate(file, len(data))

    replace_file(path, write)


def replace_file(path: str, write: Callable[[int], None]) -> None:
    """Let ``write`` fill a new file beside ``path``, given its descriptor, and rename it to ``path``.

    Raises:
        OutputError: with ``path``; the new file is removed and an earlier one of that name is untouched.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            try:
                write(file)
            finally:
                os.close(file)
            os.rename(temporary, path)
        except BaseException:  # Ctrl-C as well: nothing half written stays
            with suppress(OSError):  # the first error is the one to tell
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OutputError(path, error) from error


def write_all(file: int, data: bytes | memoryview) -> None:
    """``os.write`` until everything is written."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(file, view) :]


def folder_for_output(path: str | os.PathLike[str]) -> Path:
    """Make a folder if need be.

    Raises:
        OutputError: it cannot be made, or is not a folder.
    """
    if not os.fspath(path):
        raise ValueError("the output folder has an empty name")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(folder, error) from error
    return folder


def remove(path: str | os.PathLike[str]) -> bool:
    """Remove a file, and say whether there was one.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(path, error) from error
    return True


def remove_leftovers(folder: str | os.PathLike[str], *, shared: bool = False, names: Collection[str] = ()) -> None:
    """Remove the temporary files that killed processes left in a folder; nothing if there is no such folder.

    Args:
        folder: of which the caller makes sure that nobody else is writing there, unless it is ``shared``.
        shared: leave what a process that is still there may be writing.
        names: of the files whose temporary ones are meant; all if left out.
    """
    with suppress(OSError):  # no harm in one that stays
        for entry in os.scandir(folder):
            found = _TEMPORARY.fullmatch(entry.name)
            if found and not (shared and _is_running(int(found["process"]))) and (not names or found["name"] in names):
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_running(process: int) -> bool:
    """Whether there is another process of this number; one of our own number is gone, since we have only begun."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _is_special(path: str) -> bool:
    """An existing file that is neither regular nor a folder."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
