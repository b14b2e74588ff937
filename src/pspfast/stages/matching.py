"""What belongs to a picture: its dump, its labels, and where it went in the canvas. By name, never by position."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.datasets import (
    VOC,
    find_labels,
    find_picture,
    label_folder_beside,
    labels_in,
    labels_of_another_suffix,
    no_labels,
)
from pspfast.datasets.names import names_of_split
from pspfast.formats.bins import MANIFEST, Manifest
from pspfast.formats.dump_record import RECORD, DumpRecord, tensor_of_type
from pspfast.formats.dumps import Dump, find_dumps
from pspfast.pictures.geometry import Letterbox
from pspfast.pictures.reader import PictureError, picture_size
from pspfast.system.files import stem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pspfast.datasets import DataSet
    from pspfast.formats.dump_record import DumpType, Tensor

__all__ = ["Pairing", "Pictured", "Sources", "pair"]

DEFAULT_CANVAS = (500, 500)


class _LackError(Exception):
    """Something about one picture that was not found, in words."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to look; everything but the dumps may be left out where a manifest or custom tells.

    Attributes:
        dumps: folder of dumped masks.
        manifest: of the bins that went in, or their folder; that of the folder of dumps, if there is one.
        info: the guide's info file, ``index path width height`` a line.
        images: folder of the pictures; only their headers are read, and only if neither manifest nor info is there.
        labels: folder of the label pictures; if left out, where the data set has it beside the pictures.
        split: file with one id a line; else the pictures of the manifest; else those with labels and a dump.
        canvas: ``(H, W)`` of the network's input; else the manifest's; else that of the dumps' record; else 500x500.
        output: number of the model's output, see :func:`pspfast.formats.dumps.find_dumps`.
        dump_type: of dumps without a record, see :data:`pspfast.formats.dump_record.DUMP_TYPES`; else their size and
            content tell it.
        data_set: says which files an id stands for.
        whole: without a split, every picture with labels is asked for, whether there is a dump of it or not.
    """

    dumps: str
    manifest: str | None = None
    info: str | None = None
    images: str | None = None
    labels: str | None = None
    split: str | None = None
    canvas: tuple[int, int] | None = None
    output: int | None = None
    dump_type: DumpType | None = None
    data_set: DataSet = VOC
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Pictured:
    """One picture, everything of it found.

    Attributes:
        name: its stem.
        dump: the mask.
        labels: path of the label picture.
        geometry: where it went in the canvas; ``None`` if only its labels can tell its size.
    """

    name: str
    dump: Dump
    labels: str
    geometry: Letterbox | None


@dataclass(frozen=True, slots=True)
class Pairing:
    """What was found.

    Attributes:
        canvas: ``(H, W)`` of the masks.
        pictures: in the order of the split.
        missing: ``(name, reason)`` of the pictures that lack something.
        repeated: ``(name, remark)`` of ids that the split has twice.
        strays: file names of dumps that belong to no picture asked for.
        asked_by: what says which pictures are asked for.
        unasked: label pictures without a dump, where nothing but the labels says what is asked for.
    """

    canvas: tuple[int, int]
    pictures: tuple[Pictured, ...]
    missing: tuple[tuple[str, str], ...]
    repeated: tuple[tuple[str, str], ...]
    strays: tuple[str, ...]
    asked_by: str
    unasked: int


def pair(sources: Sources) -> Pairing:
    """Find what belongs together.

    Raises:
        OSError: a folder or file that was named cannot be read.
        ValueError: sources that contradict each other, or too few of them.
    """
    if not os.path.isdir(sources.dumps):
        raise NotADirectoryError(None, "no such folder of dumps", sources.dumps)
    manifest = _manifest(sources)
    record = DumpRecord.read(sources.dumps)
    canvas = _canvas(sources, manifest, record)
    label_folder = _label_folder(sources, manifest)
    sizes = _Sizes(sources, manifest, canvas)

    repeated: list[tuple[str, str]] = []
    ids: dict[str, str] = {}  # stem -> id, which may have folders or an extension
    for name in _ids(sources, manifest, label_folder, repeated):
        if stem(name) in ids:
            repeated.append((name, f"{name!r} would have the same dump as {ids[stem(name)]!r}, not used"))
        else:
            ids[stem(name)] = name
    dumps = find_dumps(
        sources.dumps, _bins(manifest, ids), output=sources.output, tensor_of=_tensors(sources, canvas, record)
    )
    failed = dict(_failed(manifest)) if manifest else {}
    unusable = dict(dumps.unusable)
    pictures, missing, unasked = [], [], 0
    for key, name in ids.items():
        try:
            if key in unusable:
                raise _LackError(unusable[key])
            if key in failed:
                raise _LackError(f"it was not preprocessed: {failed[key]}")
            if key not in dumps.found:
                if sources.split is None and manifest is None and not sources.whole:
                    unasked += 1
                    continue
                raise _LackError(f"no dump: {key}_1.bin, {key}_0.bin, {key}.bin or the same as .npy")
            labels = find_labels(label_folder, name, sources.data_set)
            pictures.append(Pictured(key, dumps.found[key], labels, sizes.geometry(key, name)))
        except (_LackError, PictureError) as error:
            missing.append((key, str(error)))
    _check_suffix(label_folder, pictures, list(ids.values()), sources.data_set)
    asked_by = sources.split or ("the manifest" if manifest is not None and not sources.whole else label_folder)
    return Pairing(canvas, tuple(pictures), tuple(missing), tuple(repeated), dumps.strays, asked_by, unasked)


def _check_suffix(folder: str, pictures: Sequence[Pictured], names: Sequence[str], data_set: DataSet) -> None:
    """Refuse a folder that has no labels of any picture by the names looked for, and has them by others."""
    if pictures and not any(os.path.exists(one.labels) for one in pictures):
        said = labels_of_another_suffix(folder, names, data_set)
        if said is not None:
            raise ValueError(said)


def _manifest(sources: Sources) -> Manifest | None:
    if sources.manifest is not None:
        return Manifest.read(sources.manifest)
    beside = os.path.join(sources.dumps, MANIFEST)
    return Manifest.read(beside) if os.path.exists(beside) else None


def _canvas(sources: Sources, manifest: Manifest | None, record: DumpRecord | None) -> tuple[int, int]:
    told: dict[str, tuple[int, int]] = {}
    if manifest is not None:
        height, width = manifest.parameters["size"]
        told["the manifest"] = height, width
    if record is not None and record.canvas is not None:
        told[os.path.join(sources.dumps, RECORD)] = record.canvas
    if not told:
        return Letterbox.fit((1, 1), sources.canvas or DEFAULT_CANVAS).canvas  # checked there
    first, *others = told.items()
    if sources.canvas is not None:
        others.append(("", sources.canvas))
    for who, canvas in others:
        if canvas != first[1]:
            (height, width), (other_height, other_width) = first[1], canvas
            raise ValueError(
                f"{first[0]} says {height}x{width} (height x width), not {other_height}x{other_width}"
                + f", as {who} says" * bool(who)
            )
    return first[1]


def _tensors(sources: Sources, canvas: tuple[int, int], record: DumpRecord | None) -> Callable[[str], Tensor | None]:
    """What a dump of a file name holds, as far as a record or an option says."""
    asked = None
    if sources.dump_type is not None:
        asked = tensor_of_type(sources.dump_type, canvas, len(sources.data_set.classes))

    def tensor_of(name: str) -> Tensor | None:
        recorded = record.tensor_of(name, sources.dumps) if record is not None else None
        if recorded is not None and asked is not None:
            raise ValueError(
                f"{recorded.told_by} says what {name} is ({recorded}): --dump-type is for dumps without one"
            )
        return recorded or asked

    return tensor_of


def _label_folder(sources: Sources, manifest: Manifest | None) -> str:
    if sources.labels is not None:
        if not os.path.isdir(sources.labels):
            raise NotADirectoryError(None, "no such folder of labels", sources.labels)
        return sources.labels
    images = sources.images or (manifest.image_folder if manifest else None)
    if images is None:
        raise ValueError("where are the labels? Give --ann-dir, --img-dir or --manifest")
    folder = label_folder_beside(images, sources.data_set)
    if not os.path.isdir(folder):
        raise ValueError(f"no labels in {folder}, where {sources.data_set.title} has them; give --ann-dir")
    return folder


def _ids(
    sources: Sources, manifest: Manifest | None, label_folder: str, repeated: list[tuple[str, str]]
) -> Sequence[str]:
    if sources.split is not None:
        ids, again = names_of_split(sources.split)
        repeated += [(one.name, one.reason) for one in again]
        return [sources.data_set.id_of(name) for name in ids]
    if manifest is not None and not sources.whole:
        named = [name for record in manifest.bins for name in record.names]
        # An id that is named twice failed as well, the second time.
        return list(dict.fromkeys([*named, *(name for name, _ in manifest.failed)]))
    names = [name for name, _ in labels_in(label_folder, sources.data_set)]
    if sources.whole and not names:
        raise ValueError(no_labels(label_folder, sources.data_set))
    return names


def _failed(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Stem and reason of the pictures that are in no bin; a second mention of one that is in a bin failed too."""
    made = {stem(name) for record in manifest.bins for name in record.names}
    return ((stem(name), reason) for name, reason in manifest.failed if stem(name) not in made)


def _bins(manifest: Manifest | None, ids: Mapping[str, str]) -> dict[str, Sequence[str | None]]:
    """Stem of each bin -> stems of the pictures in it that are asked for, slot by slot."""
    bins: dict[str, Sequence[str | None]] = {key: (key,) for key in ids}
    slots = manifest.parameters["batch_size"] if manifest else 1
    if manifest and slots > 1:
        for record in manifest.bins:
            keys = [key if (key := stem(name)) in ids else None for name in record.names]
            bins[stem(record.name)] = keys + [None] * (slots - len(keys))
    return bins


class _Sizes:
    """Who knows how large a picture is: the manifest, then the info file, then the picture; else nobody."""

    def __init__(self, sources: Sources, manifest: Manifest | None, canvas: tuple[int, int]) -> None:
        self._images, self._info, self._data_set = sources.images, sources.info, sources.data_set
        # Data sets have few sizes, and a geometry is read-only.
        self._fit = functools.cache(functools.partial(Letterbox.fit, canvas=canvas))
        self._recorded = (
            {stem(picture.name): picture.geometry for record in manifest.bins for picture in record.pictures}
            if manifest
            else {}
        )
        self._listed = _read_info(sources.info, sources.data_set) if sources.info is not None else {}

    def geometry(self, key: str, name: str) -> Letterbox | None:
        """Raises _LackError or PictureError if the sources there do not tell."""
        recorded = self._recorded.get(key)
        if self._info is None:
            if recorded is None and self._recorded:
                raise _LackError("the manifest does not name it")
            if recorded is None and self._images is not None:
                path = os.path.join(self._images, find_picture(self._images, name, self._data_set))
                return self._fit(picture_size(path))
            return recorded
        if key not in self._listed:
            raise _LackError(f"{self._info} does not list it")
        listed = self._listed[key]
        if recorded is not None and recorded.picture != listed:
            was, says = f"{recorded.picture[1]}x{recorded.picture[0]}", f"{listed[1]}x{listed[0]}"
            raise _LackError(f"it was {was} when it was preprocessed, {self._info} says {says}")
        return recorded or self._fit(listed)


def _read_info(path: str, data_set: DataSet) -> dict[str, tuple[int, int]]:
    """Sizes by stem, from ``index path width height`` a line."""
    sizes: dict[str, tuple[int, int]] = {}
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            if not fields:
                continue
            try:
                _, file_name, width, height = fields
                size = int(height), int(width)
            except ValueError:
                raise ValueError(f"{path}, line {number}: expected 'index path width height', got {line!r}") from None
            if min(size) < 1 or sizes.setdefault(stem(data_set.id_of(file_name)), size) != size:
                raise ValueError(f"{path}, line {number}: an impossible size, or another one than before")
    return sizes
