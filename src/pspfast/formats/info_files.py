"""The info files of the published guide, from the headers of pictures or the names of bins alone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pspfast.formats.bins import Manifest
from pspfast.pictures.reader import PictureError, picture_size

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["bin_info", "jpg_info"]

_JPEG_SUFFIXES = (".jpg", ".jpeg")


def bin_info(folder: str, width: int, height: int) -> tuple[list[str], list[str]]:
    """One line a bin, ``index path width height``, sorted by name.

    Args:
        folder: where the bins are; it begins every path, as it was given.
        width, height: of the network's input, in pixels.

    Returns:
        The lines, and why for each bin that has no line.

    Raises:
        OSError: the folder cannot be read.
        ValueError: there is no bin in it, or its manifest says another size.
    """
    canvas = [height, width]
    with suppress(OSError, ValueError):  # no manifest, or none of ours
        canvas = Manifest.read(folder).parameters["size"]
    if canvas != [height, width]:
        raise ValueError(f"{folder}: its manifest says {canvas[1]} x {canvas[0]}, not {width} x {height}")
    paths, left_out = _paths(folder, (".bin",))
    return _numbered((path, width, height) for path in paths), left_out


def jpg_info(folder: str) -> tuple[list[str], list[str]]:
    """One line a JPEG, ``index path width height``, sorted by name, sizes as ``cv2.imread`` shows the picture.

    Only headers are read.

    Args:
        folder: where the pictures are; it begins every path, as it was given.

    Returns:
        The lines, and why for each file that has no line.

    Raises:
        OSError: the folder cannot be read.
        ValueError: there is no JPEG in it.
    """
    paths, left_out = _paths(folder, _JPEG_SUFFIXES)
    sizes = []
    for path in paths:
        try:
            height, width = picture_size(path)
        except PictureError as error:
            left_out.append(str(error))
        else:
            sizes.append((path, width, height))
    return _numbered(sizes), left_out


def _paths(folder: str, suffixes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Files to list, sorted, and why for those that cannot be."""
    if not folder:
        raise ValueError("the folder has an empty name")
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name for entry in entries if entry.name.lower().endswith(suffixes) and not entry.name.startswith(".")
        )
    if not names:
        raise ValueError(f"{folder}: no {' or '.join(suffixes)} files in this folder")
    paths, left_out = [], []
    for path in (os.path.join(folder, name) for name in names):
        if path.split() == [path]:
            paths.append(path)
        else:
            left_out.append(f"{path!r} has white space, which separates the columns of an info file; rename it")
    return paths, left_out


def _numbered(rows: Iterable[tuple[str, int, int]]) -> list[str]:
    return [f"{index} {path} {width} {height}" for index, (path, width, height) in enumerate(rows)]
