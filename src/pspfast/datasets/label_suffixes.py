"""What label pictures are called where it is not what the data set says: found, named, and taken when asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from pspfast.datasets.layout import is_named_as_picture, labels_in, pictures_in
from pspfast.datasets.registry import DATASETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pspfast.datasets.dataset import DataSet

__all__ = ["labels_of_another_suffix", "no_labels", "with_label_suffix"]

_MOST_LOOKED_AT = 3  # pictures whose labels are looked for; one may lack them
_LOSSY = (".jpg", ".jpeg", ".jp2")


def with_label_suffix(data_set: DataSet, suffix: str) -> DataSet:
    """A data set whose label pictures have another suffix.

    Args:
        data_set: says what the labels mean, whatever their files are called.
        suffix: what every label picture's name ends in after the picture's: ``_mask.png``, ``.bmp``.

    Raises:
        ValueError: no suffix, or that of another known data set, whose labels mean something else.

    Example:
        >>> from pspfast.datasets import VOC
        >>> with_label_suffix(VOC, "_mask.png").label_suffix
        '_mask.png'
    """
    if not os.path.splitext("a" + suffix)[1] or "/" in suffix:
        raise ValueError(f"--label-suffix must be the end of a file's name, as _mask.png, got {suffix!r}")
    for other in DATASETS.values():
        if other.label_suffix == suffix and other.title == data_set.title and other.label_map != data_set.label_map:
            raise ValueError(f"{suffix} are the labels of --dataset {other.name}, which mean something else")
    return replace(data_set, label_suffix=suffix, other_suffixes=())


def labels_of_another_suffix(
    folder: str,
    names: Sequence[str],
    data_set: DataSet,
    listed: Callable[[str], Sequence[str]] | None = None,
) -> str | None:
    """A sentence about a folder whose label pictures have another suffix than the data set's; ``None`` if it has none.

    Args:
        folder: of the labels.
        names: ids of pictures that are all without labels of the data set's suffix.
        data_set: says which suffix was looked for.
        listed: names of the files in a folder in ``folder``, by its path from there; of a real folder if left out.

    Raises:
        OSError: the folder cannot be read.
    """
    for name in names[:_MOST_LOOKED_AT]:
        path = data_set.id_of(name)
        base = os.path.splitext(path)[0] if is_named_as_picture(path) else path
        inside, start = os.path.split(base)
        try:
            files = listed(inside) if listed is not None else os.listdir(os.path.join(folder, inside))
        except (FileNotFoundError, NotADirectoryError):
            continue
        wanted = start + data_set.label_suffix
        found = sorted(file for file in files if _continues(file, start) and is_named_as_picture(file))
        if wanted in found:
            return None
        if found:
            return (
                f"{folder}: no label pictures of the pictures' names (as {wanted}) in this folder; "
                f"{_advice(found, [file[len(start) :] for file in found], data_set)}"
            )
    return None


def no_labels(folder: str, data_set: DataSet) -> str:
    """A sentence about a folder without label pictures of the data set; it says what the labels there are."""
    said = f"{folder}: no label pictures (*{data_set.label_suffix}) in this folder"
    for other in DATASETS.values():
        if other.title == data_set.title and labels_in(folder, other):
            return f"{said}; those there are of --dataset {other.name}"
    endings = sorted({os.path.splitext(name)[1] for name in pictures_in(folder, replace(data_set, picture_suffix=""))})
    return f"{said}; {_advice([f'*{one}' for one in endings], endings, data_set)}" if endings else said


def _continues(file: str, start: str) -> bool:
    """Whether a file is called as a picture and something more; ``img_12.png`` is not of the picture ``img_1``."""
    return file.startswith(start) and not file[len(start) : len(start) + 1].isalnum()


def _advice(files: Sequence[str], suffixes: Sequence[str], data_set: DataSet) -> str:
    """What to do about files with these suffixes."""
    there = f"there {'is' if len(files) == 1 else 'are'} {', '.join(files)}"
    known = {one.label_suffix: one.name for one in DATASETS.values() if one.title == data_set.title}
    for suffix in suffixes:
        if suffix in known:
            return f"{there}: labels of --dataset {known[suffix]}"
    usable = [suffix for suffix in suffixes if not suffix.lower().endswith(_LOSSY)]
    if not usable:
        return f"{there}, but JPEG changes labels: they have to be in a lossless format, best PNG"
    return f"{there}: give --label-suffix {' or '.join(usable)}"
