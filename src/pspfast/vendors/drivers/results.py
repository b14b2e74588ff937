"""What a vendor's tool leaves: its results, and whether they are there and of this run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pspfast.system.processes import ToolFailed

if TYPE_CHECKING:
    from pspfast.system.processes import Ran

__all__ = ["DEVICE_HINT", "Driven", "file_mark", "must_be_new", "must_be_there"]

DEVICE_HINT = "is the device there and free? npu-smi info shows it"
"""What to look at when a tool of an Ascend device fails."""


@dataclass(frozen=True, slots=True)
class Driven:
    """A tool that has done its work.

    Attributes:
        ran: with what it printed.
        files: files of figures, the one to prefer first.
        dumps: folder of its outputs; ``None`` if it writes none.
    """

    ran: Ran
    files: tuple[Path, ...] = field(default=())
    dumps: Path | None = None


def must_be_there(path: str) -> None:
    """Raise OSError if a file cannot be read."""
    with open(path, "rb"):
        pass


def file_mark(path: Path) -> tuple[int, int, int] | None:
    """Tells a file from another one of its name; ``None`` if there is none, or an empty one."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size) if facts.st_size else None


def must_be_new(path: Path, before: tuple[int, int, int] | None, ran: Ran) -> None:
    """Raise ToolFailed if a file is not there, or has the mark that it had before."""
    now = file_mark(path)
    if now is None or now == before:
        what = "did not write" if now is None else "left as an earlier run wrote it:"
        raise ToolFailed(
            f"{shlex.quote(ran.argv[0])}: {ran.ending}, but it {what} {path}; its last lines:\n{ran.last_lines()}", ran
        )
