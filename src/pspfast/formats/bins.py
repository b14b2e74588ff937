"""What a folder of bins holds: ``manifest.json``, and the journal that stands in for it while a run is under way.

The manifest is written once, whole, when a run ends. Until then every finished bin is a line of the journal, so that a
killed run loses no more than the bins it was working on. A line is believed only if the bin and the picture are still
what they were.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pspfast
from pspfast.datasets import VOC, find_picture
from pspfast.pictures.geometry import Letterbox
from pspfast.system.files import OutputError, remove, remove_leftovers, write_all, write_whole
from pspfast.system.locks import FolderBusyError, open_locked, replace_locked
from pspfast.system.output_conflicts import check_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pspfast.datasets import DataSet

__all__ = ["MANIFEST", "BinFolder", "BinRecord", "BinSlot", "Manifest", "PictureRecord"]

MANIFEST = "manifest.json"
_JOURNAL = ".manifest.journal"
_FORMAT, _FORMAT_VERSION = "pspfast bins", 1


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One picture of a bin.

    Attributes:
        name: the id as the split gives it.
        source: the picture's file, relative to the manifest's ``image_folder``.
        source_bytes, source_modified_ns: what the file was when it was read.
        geometry: where the picture went in the canvas; ``geometry.picture`` is its size.
        remark: what was odd about the file, mostly empty.
    """

    name: str
    source: str
    source_bytes: int
    source_modified_ns: int
    geometry: Letterbox
    remark: str = ""


@dataclass(frozen=True, slots=True)
class BinRecord:
    """One bin: slot ``i`` of it holds ``pictures[i]``; slots after the last picture are padding."""

    name: str
    pictures: tuple[PictureRecord, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The pictures' ids, slot by slot."""
        return tuple(picture.name for picture in self.pictures)


@dataclass(frozen=True, slots=True)
class BinSlot:
    """One picture: slot ``slot`` of the file ``path``, which had ``size`` bytes and was written at ``modified_ns``.

    Attributes:
        name: stem of what the model makes of it.
    """

    name: str
    path: str
    slot: int
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a later stage needs to know about a folder of bins.

    Attributes:
        parameters: constants and layout, see :func:`pspfast.stages.preprocessing.preprocess`; equal parameters and
            pictures give equal bytes.
        image_folder: where the pictures came from.
        bins: in the order of the split.
        failed: ``(name, reason)`` of the pictures that are in no bin.
        pspfast: version that wrote it.
    """

    parameters: dict[str, Any]
    image_folder: str
    bins: tuple[BinRecord, ...]
    failed: tuple[tuple[str, str], ...]
    pspfast: str

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read ``manifest.json``, or the one in a folder.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a manifest, or one of a later format; the text names the file.
        """
        path = os.path.join(path, MANIFEST) if os.path.isdir(path) else os.fspath(path)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        try:
            return cls._from_fields(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is not a manifest of bins: {reason}") from error

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Manifest:
        if fields["format"] != _FORMAT or fields["format_version"] != _FORMAT_VERSION:
            raise ValueError(
                f"expected format {_FORMAT!r} {_FORMAT_VERSION}, got {fields['format']!r} {fields['format_version']!r}"
            )
        (height, width), slots = fields["parameters"]["size"], fields["parameters"]["batch_size"]
        if not all(type(number) is int and number > 0 for number in (height, width, slots)):
            raise ValueError(f"size {height} {width}, batch_size {slots}")
        pictures: dict[str, list[PictureRecord]] = {}
        for picture in fields["pictures"]:
            members = pictures.setdefault(picture["bin"], [])
            if picture["slot"] != len(members) or len(members) == slots:
                raise ValueError(f"slot {picture['slot']} of {picture['bin']} after {len(members)} of {slots}")
            members.append(_picture_from_fields(picture))
            if members[-1].geometry.canvas != (height, width):
                raise ValueError(f"{picture['name']} is in a canvas {members[-1].geometry.canvas}, not {height, width}")
        return cls(
            fields["parameters"],
            fields["image_folder"],
            tuple(BinRecord(name, tuple(members)) for name, members in pictures.items()),
            tuple((failure["name"], failure["reason"]) for failure in fields["failed"]),
            fields["pspfast"],
        )

    def to_json(self) -> str:
        """JSON with one line a picture."""
        head = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "pspfast": self.pspfast,
            "parameters": self.parameters,
            "image_folder": self.image_folder,
            "counts": {
                "pictures": sum(len(one.pictures) for one in self.bins),
                "bins": len(self.bins),
                "failed": len(self.failed),
            },
        }
        pictures = [
            {**_picture_fields(picture), "bin": one.name, "slot": slot}
            for one in self.bins
            for slot, picture in enumerate(one.pictures)
        ]
        failed = [{"name": name, "reason": reason} for name, reason in self.failed]
        entries = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        entries += [f'  "pictures": {_json_lines(pictures)}', f'  "failed": {_json_lines(failed)}']
        return "{\n" + ",\n".join(entries) + "\n}\n"


class BinFolder:
    """The output folder of one run: locked against a second one, with what an earlier run left of use.

    Use as a context manager. Call :meth:`begin` before the first bin is written: from then on the journal is the only
    record of what the folder holds, until :meth:`finish` writes the manifest.

    Args:
        folder: exists.
        parameters, image_folder: of this run; bins made with others, or by another version, are of no use to it.
        resume: whether bins of earlier runs may be kept.
        data_set: by whose rules an id is a picture's.
        names: of the bins that are going to be written; in a folder without manifest or journal, none of them may be
            there.

    Attributes:
        finished: bins of earlier runs that were made in the same way, by name.

    Raises:
        FolderBusyError: another run is writing there.
        OutputError: the journal cannot be written or locked.
        ValueError: the folder's ``manifest.json`` is not one of bins, or one of the ``names`` is there without any.
    """

    MARKS = (MANIFEST, _JOURNAL)
    """One of these is in every folder that bins were written into."""

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, Any],
        image_folder: str,
        *,
        resume: bool,
        data_set: DataSet = VOC,
        names: Iterable[str] = (),
    ) -> None:
        check_folder(folder, self.MARKS, names)
        self.folder, self._image_folder, self._data_set = folder, image_folder, data_set
        self._journal_path = str(folder / _JOURNAL)
        self._head = _journal_head(pspfast.__version__, parameters, image_folder)
        self._journal = open_locked(self._journal_path, FolderBusyError(str(folder)))
        try:
            self.finished = self._earlier(resume)
            remove_leftovers(folder)
        except BaseException:  # Ctrl-C as well: nobody else can close it
            os.close(self._journal)
            raise

    def __enter__(self) -> BinFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._journal)

    def is_current(self, record: BinRecord, bin_bytes: int) -> bool:
        """Whether a finished bin is still there and its pictures are still what they were."""
        try:
            if os.stat(self.folder / record.name).st_size != bin_bytes:
                return False
            for picture in record.pictures:
                source = os.stat(os.path.join(self._image_folder, picture.source))
                if (source.st_size, source.st_mtime_ns) != (picture.source_bytes, picture.source_modified_ns):
                    return False
                if find_picture(self._image_folder, picture.name, self._data_set) != picture.source:
                    return False
        except (OSError, ValueError):  # gone, or a name that cannot be one
            return False
        return True

    def begin(self, kept: Iterable[BinRecord]) -> None:
        """Start this run's journal with the bins that stay as they are; no other is believed any more.

        Raises:
            OutputError: the journal cannot be written, or the manifest not removed.
        """
        lines = [self._head, *(_json_line(_bin_fields(record)) for record in kept)]
        opened = replace_locked(self._journal_path, b"".join(lines))
        os.close(self._journal)  # only now: a run that waits for the old one finds another in its place
        self._journal = opened
        remove(self.folder / MANIFEST)

    def add(self, record: BinRecord) -> None:
        """Note a bin that has just been written under its final name. Thread-safe: one write at the journal's end.

        Raises:
            OutputError: the journal cannot be written.
        """
        try:
            write_all(self._journal, _json_line(_bin_fields(record)))
        except OSError as error:
            raise OutputError(self._journal_path, error) from error

    def discard(self, name: str) -> None:
        """Remove a bin of an earlier run that this one cannot replace.

        Raises:
            OutputError: it cannot be removed.
        """
        remove(self.folder / name)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and drop the journal.

        Raises:
            OutputError: the manifest cannot be written; the journal is kept.
        """
        write_whole(str(self.folder / MANIFEST), manifest.to_json().encode())
        remove(self._journal_path)

    def _earlier(self, resume: bool) -> dict[str, BinRecord]:
        finished = {}
        with suppress(FileNotFoundError):
            earlier = Manifest.read(self.folder)  # ValueError: not ours, and not ours to replace
            if resume and self._head == _journal_head(earlier.pspfast, earlier.parameters, earlier.image_folder):
                finished = {record.name: record for record in earlier.bins}
        with open(os.dup(self._journal), encoding="utf-8", errors="replace") as file:
            head, *lines = file.read().split("\n")
        if resume and f"{head}\n".encode() == self._head:
            for line in lines:
                # Half a line, as a kill leaves it, or nonsense: its bin is made again.
                with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    record = _bin_from_fields(json.loads(line))
                    finished[record.name] = record
        return finished


def _journal_head(version: str, parameters: dict[str, Any], image_folder: str) -> bytes:
    """First line of a journal: runs with the same one make the same bins."""
    return _json_line(
        {"journal": _FORMAT_VERSION, "pspfast": version, "parameters": parameters, "image_folder": image_folder}
    )


def _json_line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _bin_fields(record: BinRecord) -> dict[str, Any]:
    return {"bin": record.name, "pictures": [_picture_fields(picture) for picture in record.pictures]}


def _bin_from_fields(fields: dict[str, Any]) -> BinRecord:
    return BinRecord(fields["bin"], tuple(_picture_from_fields(picture) for picture in fields["pictures"]))


def _picture_fields(picture: PictureRecord) -> dict[str, Any]:
    height, width = picture.geometry.picture
    fields = {
        "name": picture.name,
        "source": picture.source,
        "source_bytes": picture.source_bytes,
        "source_modified_ns": picture.source_modified_ns,
        "height": height,
        "width": width,
        "geometry": picture.geometry.to_dict(),
    }
    return fields | ({"remark": picture.remark} if picture.remark else {})


def _picture_from_fields(fields: dict[str, Any]) -> PictureRecord:
    for key, kind in (("name", str), ("source", str), ("source_bytes", int), ("source_modified_ns", int)):
        if not isinstance(fields[key], kind):
            raise TypeError(f"{key} must be {kind.__name__}, got {fields[key]!r}")
    return PictureRecord(
        fields["name"],
        fields["source"],
        fields["source_bytes"],
        fields["source_modified_ns"],
        Letterbox.from_dict(fields["geometry"]),
        fields.get("remark", ""),
    )


def _json_lines(items: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(f"    {json.dumps(item)}" for item in items) + "\n  ]" if items else "[]"
