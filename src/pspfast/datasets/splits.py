"""Text files that list ids or classes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Split", "read_classes", "read_split"]


@dataclass(frozen=True, slots=True)
class Split:
    """The ids that a split file names.

    Attributes:
        ids: in the file's order, each once.
        repeated: ``(id, line, first line)`` of every further mention.
    """

    ids: tuple[str, ...]
    repeated: tuple[tuple[str, int, int], ...]


def read_split(path: str | os.PathLike[str]) -> Split:
    """Read a split (``ImageSets/Segmentation/val.txt``): one id a line.

    Blank lines, white space around ids, a byte-order mark and Windows line ends mean nothing. Ids may have an extension
    and folders; VOC's have neither.

    Raises:
        OSError: the file cannot be read.
        ValueError: it names nothing, or is not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"split {os.fspath(path)} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    first: dict[str, int] = {}
    repeated = []
    for line, raw in enumerate(text.splitlines(), start=1):
        name = raw.strip()
        if name and name in first:
            repeated.append((name, line, first[name]))
        elif name:
            first[name] = line
    if not first:
        raise ValueError(f"split {os.fspath(path)} names no pictures")
    return Split(tuple(first), tuple(repeated))


def read_classes(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names, one a line, the first one class 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: it names nothing, names a class twice, or is not text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, start=1):
        if not name:
            raise ValueError(f"{os.fspath(path)}, line {number}: a class without a name")
        if names.index(name) != number - 1:
            raise ValueError(f"{os.fspath(path)}, line {number}: {name!r} is already class {names.index(name)}")
    if not names:
        raise ValueError(f"{os.fspath(path)} names no classes")
    return tuple(names)
