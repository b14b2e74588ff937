"""Where pictures live and which of them a split names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Split", "find_picture", "pictures_in", "read_split"]

# What cv2 reads that data sets are made of; tried in this order for an id without an extension.
_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG", ".bmp", ".tif", ".tiff", ".webp")


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


def pictures_in(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the picture files in a folder, sorted.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_named_as_picture(entry.name))


def find_picture(folder: str, name: str) -> str:
    """File name, relative to ``folder``, of the picture that an id stands for: ``name`` itself if it has a picture's
    extension, else the first of ``name.jpg``, ``name.jpeg``, ``name.png``, ... that exists, ``name.jpg`` if none does.
    """
    if _is_named_as_picture(name):
        return name
    path = os.path.join(folder, name)
    return next((name + suffix for suffix in _SUFFIXES if os.path.exists(path + suffix)), name + ".jpg")


def _is_named_as_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SUFFIXES
