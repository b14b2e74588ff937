"""Text files that list ids or classes."""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Split", "read_classes", "read_split", "split_of_text", "text_of"]

_PICTURE = re.compile(r"(?i).\.(jpe?g|png|bmp|tiff?|webp|gif|npy)$")
_SEPARATORS = ("\t", ",", ";", "|", None)  # None: any white space
_MOST_SHOWN = 80  # letters of a line in a message


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
        ValueError: it names nothing, is not text, or is a list of another kind.
    """
    return split_of_text(text_of(Path(path).read_bytes(), f"split {os.fspath(path)}"), os.fspath(path))


def split_of_text(text: str, path: str) -> Split:
    """As :func:`read_split`, of a file's text; errors name ``path``.

    Raises:
        ValueError: it names nothing, or has pictures and labels side by side, or says of pictures if they show a class.

    Example:
        >>> split_of_text("2007_000033" + chr(10) + "2007_000042", "val.txt").ids
        ('2007_000033', '2007_000042')
    """
    first: dict[str, int] = {}
    repeated = []
    for line, raw in enumerate(text.splitlines(), start=1):
        name = raw.strip()
        if name and name in first:
            repeated.append((name, line, first[name]))
        elif name:
            first[name] = line
    if not first:
        raise ValueError(f"split {path} names no pictures")
    _refuse_columns(list(first), path)
    return Split(tuple(first), tuple(repeated))


def _refuse_columns(lines: list[str], path: str) -> None:
    """Refuse a list whose every line holds more than an id; names with spaces or commas in them are none of these."""
    rows = lines[1:] if len(lines) > 1 and not _pair_of_paths(lines[0]) else lines  # the first may be a heading
    if all(map(_pair_of_paths, rows)):
        raise ValueError(
            f"split {path} has a picture and its labels on each line ({_shown(rows[0])}), as PaddleSeg's lists "
            "have; expected one id a line: keep the first column, without the folders that the options name"
        )
    marks = [line.split() for line in lines]
    of_class = all(len(mark) == 2 and mark[1] in ("-1", "0", "1") for mark in marks)
    if of_class and any(mark[1] == "-1" for mark in marks):
        raise ValueError(
            f"split {path} says of each picture whether it shows a class ({_shown(lines[0])}), as VOC's lists in "
            "ImageSets/Main do; expected one id a line: take a list of ImageSets/Segmentation, or keep the ids before 1"
        )


def _shown(line: str) -> str:
    return repr(line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}...")


def _pair_of_paths(line: str) -> bool:
    """Whether a line begins with two paths of pictures."""
    for separator in _SEPARATORS:
        fields = [field.strip().strip('"') for field in line.split(separator)]
        if len(fields) < 2:
            continue
        names = [field.replace("\\", "/").rpartition("/")[2] for field in fields[:2]]
        same = names[0] == names[1] and fields[0] != fields[1] and all("/" in field for field in fields[:2])
        if same or all(map(_PICTURE.search, names)):
            return True
    return False


def text_of(data: bytes, what: str) -> str:
    """A text file's text: UTF-8, or the UTF-16 with a byte-order mark that PowerShell's ``>`` writes.

    Args:
        data: the file's bytes.
        what: names it in errors.

    Raises:
        ValueError: it is neither.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if wide else "UTF-8"
        raise ValueError(f"{what} is not {kind} text: {error.reason} at byte {error.start}") from None


def read_classes(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names, one a line, the first one class 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: it names nothing, names a class twice, or is not text.
    """
    lines = text_of(Path(path).read_bytes(), os.fspath(path)).splitlines()
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
