"""What a run is over: pictures, with their labels or without, each of them found in a folder or an archive.

Which folders, names and labels these are, a :class:`pspfast.datasets.DataSet` says.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pspfast.datasets import VOC, find_labels, find_picture, labels_of_another_suffix, pictures_in, read_classes
from pspfast.datasets.file_trees import Folder, open_tree
from pspfast.datasets.names import Failure, names_of_split, names_to_use, placed_stem, remarks_on
from pspfast.datasets.splits import split_of_text
from pspfast.pictures.reader import PictureError
from pspfast.system.files import stem
from pspfast.system.output_conflicts import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pspfast.datasets import DataSet
    from pspfast.datasets.file_trees import Tree

__all__ = ["Item", "Source", "data_set_source", "picture_source"]

_IN_ARCHIVES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG")

Kind = Literal["voc", "folder", "images", "tar"]


@dataclass(frozen=True, slots=True)
class Item:
    """One picture.

    Attributes:
        name: what its outputs are named by: its id's last part, up to the first dot; without labels in the folder that
            the picture is in, if that is one of the folder of pictures.
        id: as the split has it.
        picture, labels: paths in the source's trees; ``labels`` are empty where there are none to be.
        state: size and time of both files when they were listed.
    """

    name: str
    id: str
    picture: str
    labels: str
    state: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures to run a model over. Use as a context manager.

    Attributes:
        kind: ``"voc"`` for a data set in its own folders, ``"tar"`` for one in an archive, ``"folder"`` for two folders
            and ``"images"`` for pictures without labels.
        root: the folder or archive.
        pictures, labels: trees with the files; ``None`` where there are no labels.
        picture_folder, label_folder: in ``root``, as a report names them.
        split: file or name of it; empty if every picture of the folder is meant.
        data_set: what the labels mean.
        items: in order.
        missing: ``(name, reason)`` of the pictures that lack something.
        repeated: ``(name, remark)`` of what the split says twice.
    """

    kind: Kind
    root: str
    pictures: Tree
    labels: Tree | None
    picture_folder: str
    label_folder: str | None
    split: str
    data_set: DataSet
    items: tuple[Item, ...]
    missing: tuple[tuple[str, str], ...] = ()
    repeated: tuple[tuple[str, str], ...] = ()

    @property
    def prefix(self) -> int:
        """Letters of a picture's path before what it is called in the folder of pictures."""
        inside = self.picture_folder[len(self.root) :]
        if inside.startswith((os.sep, ":")):  # one of them, since a folder's own name may begin with a colon
            inside = inside[1:]
        return len(inside) + 1 if inside else 0

    @property
    def is_scored(self) -> bool:
        """Whether there are labels."""
        return self.labels is not None

    def described(self) -> dict[str, str | None]:
        """As it stands in ``run.json``."""
        return {
            "kind": self.kind,
            "root": self.root,
            "pictures": self.picture_folder,
            "labels": self.label_folder,
            "split": self.split or None,
            "dataset": self.data_set.name,
        }

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.pictures.close()
        if self.labels is not None:
            self.labels.close()


def data_set_source(root: str | os.PathLike[str], data_set: DataSet = VOC, split: str | None = None) -> Source:
    """A data set in its own folders, or in an uncompressed tar file of them.

    Args:
        root: the folder that its documentation calls so (``VOCdevkit/VOC2012``), or the archive.
        data_set: says where pictures, labels and splits are in it, and what labels mean.
        split: name of a split; or a file with one id a line. The data set's first one if left out.

    Raises:
        OSError: a folder or file cannot be read.
        ValueError: no such split, an archive that cannot be used, or no pictures.

    Example:
        >>> data_set_source("/no/such/VOC2012")
        Traceback (most recent call last):
        ...
        NotADirectoryError: [Errno None] no such folder: '/no/such/VOC2012'
    """
    splits = dict(data_set.splits)
    name = split if split is not None else next(iter(splits), "")
    is_file = name not in splits and os.path.isfile(name)
    if name not in splits and name and not is_file:
        if not data_set.split_file:
            raise ValueError(f"{data_set.title} has the splits {', '.join(splits)}, and there is no file {name}")
        splits[name] = name  # a list of the data set's own, besides those that are known by name
    place = splits.get(name, next(iter(splits.values()), ""))
    picture_folder, label_folder = (
        folder.format(split=place) for folder in (data_set.picture_folder, data_set.label_folder)
    )
    tree = open_tree(root, picture_folder)
    try:
        for folder, what in ((picture_folder, "pictures"), (label_folder, "labels")):
            if not tree.has(folder):
                raise NotADirectoryError(
                    None,
                    f"no such folder, where {data_set.title} has its {what}; is the root right?",
                    tree.shown(folder),
                )
        if data_set.class_file and not data_set.classes:
            data_set = data_set.with_classes(read_classes(tree.shown(data_set.class_file)))
        if is_file:
            ids, repeated = names_of_split(name)
            told = os.path.abspath(name)
        elif data_set.split_file:
            file = data_set.split_file.format(split=place)
            told = tree.shown(file)
            if not tree.has(file):
                raise FileNotFoundError(None, f"no such file, which lists the split {name!r} of {data_set.title}", told)
            named = split_of_text(tree.text(file), told)
            ids, repeated = list(named.ids), remarks_on(named, told)
        else:
            ids, repeated = _all_ids(tree, picture_folder, data_set), []
            told = name
        kind: Kind = "tar" if not isinstance(tree, Folder) else "voc" if data_set.name == "voc" else "folder"
        return _source(kind, tree, tree, (picture_folder, label_folder), told, data_set, ids, repeated)
    except BaseException:  # Ctrl-C as well: nobody else can close it
        tree.close()
        raise


def picture_source(
    folder: str | os.PathLike[str],
    data_set: DataSet = VOC,
    *,
    labels: str | os.PathLike[str] | None = None,
    split: str | os.PathLike[str] | None = None,
) -> Source:
    """Any pictures, and perhaps a folder of labels with the same names.

    Pictures without labels may lie in folders of the folder, and their outputs then lie in such folders as well; what
    this package wrote itself is not looked at. With labels this is so where there are none right in the folder.

    Args:
        folder: of the pictures; or a single one.
        data_set: what the classes are.
        labels: folder of the label pictures; without it nothing is scored.
        split: file with one id a line; every picture of the folder if left out.

    Raises:
        OSError: a folder or the split cannot be read.
        ValueError: there are no pictures.
    """
    path, one = os.path.abspath(folder), ""
    if os.fspath(folder) and os.path.isfile(path):
        path, one = os.path.split(path)
    pictures = Folder(path if os.fspath(folder) else folder)
    of_labels = None if labels is None else Folder(labels)
    repeated: list[Failure] = []
    if one:
        if split is not None:
            raise ValueError(f"{folder} is a single picture, of which a split ({split}) chooses nothing")
        ids, data_set = _ids_of_one(path, one, data_set)
    elif split is not None:
        ids, repeated = names_of_split(split)
    else:
        ids, data_set = _ids_of_pictures(pictures.root, data_set, labels)
    told = "" if split is None else os.path.abspath(split)
    kind: Kind = "images" if labels is None else "folder"
    return _source(kind, pictures, of_labels, ("", ""), told, data_set, ids, repeated)


def _ids_of_one(folder: str, file: str, data_set: DataSet) -> tuple[list[str], DataSet]:
    """The id of a single picture, and the data set by whose rules it is one."""
    for known in (data_set, replace(data_set, picture_suffix="")):
        identity = known.id_of(file)
        if find_picture(folder, identity, known) == file:
            return [identity], known
    raise ValueError(f"{os.path.join(folder, file)}: neither a folder nor, by its name, a picture")


def _ids_of_pictures(
    folder: str, data_set: DataSet, labels: str | os.PathLike[str] | None
) -> tuple[list[str], DataSet]:
    """Ids of all pictures of a folder, and the data set by whose rules they are pictures.

    With labels, what is in its folders counts where the labels lie in folders of the same names.
    """
    nested = data_set.nested or labels is None or _share_folders(folder, labels)
    candidates = [replace(data_set, nested=nested), replace(data_set, nested=True)]
    if labels is None:
        candidates.append(replace(candidates[0], picture_suffix=""))
    for known in candidates:
        names = pictures_in(folder, known)
        marked = {
            place
            for place in {os.path.dirname(name) for name in names}
            if place and os.path.exists(os.path.join(folder, place, MARK))
        }
        ids = [name for name in names if os.path.dirname(name) not in marked]
        if ids:
            return ids, replace(known, nested=data_set.nested)
    return [], data_set


def _share_folders(folder: str, labels: str | os.PathLike[str]) -> bool:
    """Whether two folders have folders of the same name, hidden ones aside."""
    with os.scandir(folder) as entries:
        return any(
            entry.is_dir() and not entry.name.startswith(".") and os.path.isdir(os.path.join(labels, entry.name))
            for entry in entries
        )


def _source(
    kind: Kind,
    pictures: Tree,
    labels: Tree | None,
    folders: tuple[str, str],
    split: str,
    data_set: DataSet,
    ids: Sequence[str],
    repeated: Sequence[Failure],
) -> Source:
    picture_folder, label_folder = folders
    if not ids:
        raise ValueError(f"{pictures.shown(picture_folder)}: no pictures in this folder")
    key_of = placed_stem if kind == "images" else stem
    names, unusable = names_to_use(ids, key_of)
    items, missing = [], []
    for name in names:
        picture = _picture(pictures, picture_folder, name, data_set)
        truth = "" if labels is None else _labels(labels, label_folder, name, data_set)
        try:
            state = (*pictures.stat(picture), *(() if labels is None else labels.stat(truth)))
        except PictureError as error:
            missing.append((key_of(name), str(error)))
        else:
            items.append(Item(key_of(name), name, picture, truth, state))
    if labels is not None and not items:
        shown = labels.shown(label_folder)
        said = labels_of_another_suffix(shown, names, data_set, _lister(labels, label_folder))
        if said is not None:
            raise ValueError(said)
    return Source(
        kind,
        pictures.root,
        pictures,
        labels,
        pictures.shown(picture_folder),
        None if labels is None else labels.shown(label_folder),
        split,
        data_set,
        tuple(items),
        (*missing, *((key_of(one.name) or one.name, one.reason) for one in unusable)),
        tuple((one.name, one.reason) for one in repeated),
    )


def _lister(tree: Tree, folder: str) -> Callable[[str], list[str]]:
    return lambda inside: tree.names("/".join(part for part in (folder, inside) if part))


def _picture(tree: Tree, folder: str, name: str, data_set: DataSet) -> str:
    """Path of a picture."""
    if isinstance(tree, Folder) or data_set.picture_suffix:
        return _joined(folder, find_picture(tree.shown(folder), name, data_set))
    candidates = [name + suffix for suffix in ("", *_IN_ARCHIVES)]
    return _joined(folder, next((one for one in candidates if tree.has(_joined(folder, one))), f"{name}.jpg"))


def _labels(tree: Tree, folder: str, name: str, data_set: DataSet) -> str:
    """Path of the labels of a picture."""
    if isinstance(tree, Folder):
        return os.path.relpath(find_labels(tree.shown(folder), name, data_set), tree.root)
    bases = dict.fromkeys((name, os.path.splitext(name)[0]))
    candidates = [_joined(folder, data_set.id_of(base) + data_set.label_suffix) for base in bases]
    return next((one for one in candidates if tree.has(one)), candidates[0])


def _all_ids(tree: Tree, folder: str, data_set: DataSet) -> list[str]:
    """Ids of all pictures of a folder."""
    if isinstance(tree, Folder):
        return pictures_in(tree.shown(folder), data_set)
    return [
        data_set.id_of(name)
        for name in tree.names(folder)
        if name.endswith(data_set.picture_suffix or _IN_ARCHIVES) and not name.startswith(".")
    ]


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
