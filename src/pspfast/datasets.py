"""Data sets: what their labels mean, where pictures live, and which of them a split names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "VOC",
    "DataSet",
    "Split",
    "find_labels",
    "find_picture",
    "palette",
    "pictures_in",
    "read_classes",
    "read_split",
]

# What cv2 reads that data sets are made of; tried in this order for an id without an extension.
_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class DataSet:
    """What the labels of a data set mean.

    Attributes:
        classes: names, by class index.
        ignore_index: label of pixels that do not count; ``None`` for none.
        label_folder: where the label pictures are, beside the folder of pictures; empty if there is no custom.
    """

    classes: tuple[str, ...]
    ignore_index: int | None = 255
    label_folder: str = ""


VOC = DataSet(
    classes=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    ignore_index=255,
    label_folder="SegmentationClass",
)  # fmt: skip
"""PASCAL VOC 2012, segmentation; names and order as in its development kit."""


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


def palette(num_colours: int = 256) -> bytes:
    """VOC's colours as RGB bytes: bit ``7 - k`` of a channel is bit ``3 k + channel`` of the index (its ``VOCcode``).

    Example:
        >>> palette()[3 * 15 : 3 * 16].hex(), palette()[3 * 255 :].hex()  # person, and the border of objects
        ('c08080', 'e0e0c0')
    """
    colours = bytearray()
    for index in range(num_colours):
        for channel in range(3):
            colours.append(sum((index >> 3 * k + channel & 1) << 7 - k for k in range(3)))
    return bytes(colours)


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


def find_labels(folder: str, name: str) -> str:
    """Path of the label picture for a picture's id: its name with ``.png`` or ``.PNG``, for or behind the extension."""
    whole = os.path.join(folder, name)
    base = os.path.splitext(whole)[0] if _is_named_as_picture(name) else whole
    paths = [path + suffix for path in (base, whole) for suffix in (".png", ".PNG")]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def _is_named_as_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SUFFIXES
