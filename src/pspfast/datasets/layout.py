"""Finding a data set's files: by root and split, by folder, by id."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.datasets.voc import VOC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pspfast.datasets.dataset import DataSet

__all__ = [
    "Places", "find_labels", "find_picture", "is_named_as_picture", "label_folder_beside", "labels_in", "pictures_in",
    "places",
]  # fmt: skip

# What cv2 reads that data sets are made of; tried in this order for an id without an extension.
_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a split of a data set is; nothing is looked at but the root.

    Attributes:
        pictures, labels: folders.
        split: file with the ids; ``None`` if everything in the folders is meant.
        classes: file with the classes; ``None`` if they are known.
    """

    pictures: str
    labels: str
    split: str | None
    classes: str | None


def places(data_set: DataSet, root: str | os.PathLike[str], split: str | None = None) -> Places:
    """Where a data set that was unpacked as its authors meant it has its files.

    Args:
        data_set: which one.
        root: its folder.
        split: one of ``data_set.splits``; a file with ids of the first of them; or, where lists of ids are part of the
            data set, the name of one. The first split if left out.

    Raises:
        OSError: there is no such folder.
        ValueError: there is no such split.

    Example:
        >>> from pspfast.datasets import data_set
        >>> places(data_set("ade20k"), "/", "train").labels
        '/annotations/training'
    """
    root = os.fspath(root)
    if not os.path.isdir(root):
        raise NotADirectoryError(None, f"no such folder with {data_set.title}", root)
    first = next(iter(data_set.splits), "")
    name = split or first
    is_file = name not in data_set.splits and (os.path.isfile(name) or os.sep in name)
    if name not in data_set.splits and name and not is_file and not data_set.split_file:
        known = f"{data_set.title} has the splits {', '.join(data_set.splits)}" if first else "there are no splits"
        raise ValueError(f"{known}, and there is no file {name}")

    def inside(pattern: str) -> str:
        place = data_set.splits.get(first if is_file else name, name)
        return os.path.join(root, *pattern.format(split=place).split("/"))

    listed = inside(data_set.split_file) if data_set.split_file else None
    return Places(
        pictures=inside(data_set.picture_folder),
        labels=inside(data_set.label_folder),
        split=name if is_file else listed,
        classes=inside(data_set.class_file) if data_set.class_file else None,
    )


def label_folder_beside(pictures: str, data_set: DataSet = VOC) -> str:
    """Where the data set has the labels of the pictures in a folder, whatever the folder and its parent are called.

    Example:
        >>> from pspfast.datasets import data_set
        >>> label_folder_beside("/data/cs/leftImg8bit/val", data_set("cityscapes"))
        '/data/cs/gtFine/val'
    """
    root = os.path.abspath(pictures)
    split = os.path.basename(root)
    for _ in data_set.picture_folder.split("/"):
        root = os.path.dirname(root)
    return os.path.join(root, *data_set.label_folder.format(split=split).split("/"))


def pictures_in(folder: str | os.PathLike[str], data_set: DataSet = VOC) -> list[str]:
    """Ids of the pictures in a folder, sorted: file names, without the suffix if the data set has one.

    Raises:
        OSError: the folder cannot be read.
    """
    paths = _files_in(os.fspath(folder), data_set.nested)
    if data_set.picture_suffix:
        return [data_set.id_of(path) for path in sorted(paths) if _ends_in(path, data_set.picture_suffix)]
    return sorted(path for path in paths if is_named_as_picture(path) and not os.path.basename(path).startswith("."))


def labels_in(folder: str | os.PathLike[str], data_set: DataSet = VOC) -> list[tuple[str, str]]:
    """Id and path of the label pictures in a folder, sorted.

    Raises:
        OSError: the folder cannot be read.
    """
    root = os.fspath(folder)
    ending = data_set.label_suffix
    return [
        (path[: -len(ending)], os.path.join(root, path))
        for path in sorted(_files_in(root, data_set.nested))
        if (_ends_in(path, ending) or (ending == ".png" and _ends_in(path, ".PNG")))
        and not path.endswith(data_set.other_suffixes)
    ]


def find_picture(folder: str, name: str, data_set: DataSet = VOC) -> str:
    """File name, relative to ``folder``, of the picture that an id stands for.

    The id and the data set's suffix. If it has none: ``name`` itself if it has a picture's extension, else the first of
    ``name.jpg``, ``name.jpeg``, ``name.png``, ... that exists, ``name.jpg`` if none does.
    """
    if data_set.picture_suffix:
        return data_set.id_of(name) + data_set.picture_suffix
    if is_named_as_picture(name):
        return name
    path = os.path.join(folder, name)
    return next((name + suffix for suffix in _SUFFIXES if os.path.exists(path + suffix)), name + ".jpg")


def find_labels(folder: str, name: str, data_set: DataSet = VOC) -> str:
    """Path of the label picture for a picture's id: with the data set's suffix, for or behind a picture's extension.

    For the suffix ``.png``, ``.PNG`` will do.
    """
    ending = data_set.label_suffix
    whole = os.path.join(folder, data_set.id_of(name))
    base = os.path.splitext(whole)[0] if is_named_as_picture(whole) else whole
    endings = (".png", ".PNG") if ending == ".png" else (ending,)
    paths = [path + suffix for path in (base, whole) for suffix in endings]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def _files_in(root: str, nested: bool, folder: str = "") -> Iterator[str]:
    """Paths of what is in a folder, and in its folders in place of them if these are meant, relative to the root.

    What is hidden is left out: macOS puts ``._name.png`` beside ``name.png``.
    """
    with os.scandir(os.path.join(root, folder)) as entries:
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if entry.name.startswith("."):
                continue
            if nested and entry.is_dir():
                yield from _files_in(root, nested, path)
            else:
                yield path


def _ends_in(path: str, ending: str) -> bool:
    """Whether a file has a name before this ending."""
    name = os.path.basename(path)
    return name.endswith(ending) and len(name) > len(ending)


def is_named_as_picture(name: str) -> bool:
    """Whether a file's extension is a picture's."""
    return os.path.splitext(name)[1].lower() in _SUFFIXES
