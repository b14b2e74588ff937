"""Outputs replace nothing but outputs: not what is read, not each other, not what somebody else made.

For a folder that a command writes into, it is told by a mark: a file that this program leaves in each of them (a
journal, a manifest, or :data:`MARK` in a run's folders). In a folder without one, nothing that is there already is
replaced, unless its content tells that it is this program's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pspfast.system.files import folder_for_output, remove_leftovers, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = ["MARK", "check_folder", "check_outputs", "check_own", "own_folder"]

MARK = ".pspfast"
"""Name of the mark in folders of pictures and masks, which have no journal."""

_HEAD_BYTES = 4096
# What the files begin with that people read, or contain near their beginning.
_BEGINNINGS = (b"mIoU: ", b"class,IoU,")
_INFO = re.compile(rb"0 \S.* [0-9]+ [0-9]+\r?\n")  # the first line of an info file
_PAGE = b'<meta name="generator" content="pspfast '
# What later commands go by; only the command that made one replaces it.
_STATES = (b'"format": "pspfast dumps"', b'"format": "pspfast bins"')
_SIGNATURES = (b'"format": "pspfast ', b'"format":"pspfast ', _PAGE)


def check_outputs(outputs: Iterable[str | None], inputs: Iterable[str | None], *, state: str | None = None) -> None:
    """Raise ValueError for an output that would replace an input, or another output.

    What a killed process left of such an output, half written under a temporary name, is removed.

    Args:
        outputs: files; ``None`` for those that were not asked for.
        inputs: files and folders; ``None`` for those that were not given. In a folder that is read, an output may
            replace what this program wrote there and other ``.json`` files, nothing else.
        state: the file by which later commands go that this one makes, and may replace.
    """
    files, folders = {}, []
    for path in inputs:
        if path is not None:
            real = os.path.realpath(path)
            files[real] = "is what this command reads"
            if os.path.isdir(real):
                folders.append(os.path.join(real, ""))
    for path in (state, *outputs):
        if path is None or path.startswith("/dev/"):
            continue
        real = os.path.realpath(path)
        if real in files:
            raise ValueError(f"{path} {files[real]}; choose another file for the output")
        if path != state and os.path.isfile(real) and _is_state(real):
            raise ValueError(f"{path} tells later commands what is in its folder; choose another file for the output")
        if real.startswith(tuple(folders)) and os.path.isfile(real) and not _may_go(real):
            raise ValueError(
                f"{path} is in a folder that this command reads, and pspfast did not write it; choose another file for "
                "the output"
            )
        files[real] = "cannot be two outputs at once"
        folder, name = os.path.split(real)
        remove_leftovers(folder, shared=True, names=(name,))


def check_own(path: str | os.PathLike[str], *, is_page: bool = False) -> None:
    """Raise ValueError if a file is there that this program did not write, which its content tells.

    Args:
        path: of a file that is to be replaced or removed.
        is_page: whether it has to be a page of results; else it may be any file of this program that people read.

    Raises:
        OSError: it cannot be read.
    """
    if os.path.isfile(path) and not _is_own(path, is_page=is_page):
        raise ValueError(
            f"{os.fspath(path)} is there and pspfast did not write it; choose another place for the output, or move it "
            "away"
        )


def check_folder(
    folder: str | os.PathLike[str],
    marks: Collection[str],
    names: Iterable[str],
    *,
    is_own: Callable[[str], bool] = lambda _: False,
) -> None:
    """Raise ValueError if something is there that would be replaced, in a folder that has no mark of this program.

    Args:
        folder: need not exist.
        marks: files of which one is in every folder of the kind.
        names: of files that are to be written or removed, in the folder; with ``/``, beside or below it.
        is_own: whether a file is one of this program's, where its content tells.

    Raises:
        OSError: the folder cannot be listed.
    """
    try:
        present = frozenset(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):  # the latter is told when it cannot be made
        present = frozenset()
    if present.intersection(marks):
        return
    for name in names:
        path = os.path.normpath(os.path.join(folder, name))
        is_there = (name in present or "/" in name) and (os.path.isfile(path) or os.path.islink(path))
        if is_there and not (os.path.exists(path) and is_own(path)):
            raise ValueError(
                f"{path} is there and would be replaced, in a folder that pspfast did not write; choose another one, "
                "or move it away"
            )


def own_folder(folder: str | os.PathLike[str], names: Iterable[str]) -> Path:
    """Make a folder if need be, and mark it as one whose ``names`` are this program's to replace.

    Raises:
        OutputError: it cannot be made or written.
        ValueError: it has one of them already, and no mark.
    """
    check_folder(folder, (MARK,), names)
    made = folder_for_output(folder)
    if not (made / MARK).exists():
        write_whole(os.fspath(made / MARK), b"pspfast writes here, and replaces what it wrote\n")
    return made


def _is_state(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    return any(one in head for one in _STATES)


def _may_go(path: str) -> bool:
    return path.endswith(".json") or _is_own(path)


def _is_own(path: str | os.PathLike[str], *, is_page: bool = False) -> bool:
    """Whether a file is empty, or a result, ledger, record, manifest, table or page of this program."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if is_page:
        return not head or _PAGE in head
    is_told = head.startswith(_BEGINNINGS) or _INFO.match(head) or any(one in head for one in _SIGNATURES)
    return not head or bool(is_told)
