"""What a folder of bins holds: ``manifest.json``, and the journal that stands in for it while a run is under way.

The manifest is written once, whole, when a run ends. Until then every finished bin is a line of the journal, so that a
killed run loses no more than the bins it was working on. A line is believed only if the bin and the picture are still
what they were.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.files import OutputError, remove_leftovers, write_all, write_whole
from pspfast.geometry import Letterbox

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MANIFEST", "BinFolder", "BinRecord", "FolderBusyError", "Manifest", "PictureRecord"]

MANIFEST = "manifest.json"
_JOURNAL = ".manifest.journal"
_FORMAT, _FORMAT_VERSION = "pspfast bins", 1


class FolderBusyError(RuntimeError):
    """Another process is writing bins into the folder."""


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
class Manifest:
    """Everything a later stage needs to know about a folder of bins.

    Attributes:
        parameters: constants and layout, see :func:`pspfast.preprocess.preprocess`; equal parameters and pictures
            give equal bytes.
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
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is not a manifest of bins: {reason}") from error

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Manifest:
        if fields["format"] != _FORMAT or fields["format_version"] != _FORMAT_VERSION:
            raise ValueError(
                f"expected format {_FORMAT!r} {_FORMAT_VERSION}, got {fields['format']!r} {fields['format_version']!r}"
            )
        pictures: dict[str, list[PictureRecord]] = {}
        for picture in fields["pictures"]:
            members = pictures.setdefault(picture["bin"], [])
            if picture["slot"] != len(members):
                raise ValueError(f"slot {picture['slot']} of {picture['bin']} where {len(members)} was expected")
            members.append(_picture_from_fields(picture))
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

    Use as a context manager.

    Args:
        folder: exists.
        parameters: of this run; bins made with others are of no use to it.
        resume: whether bins of earlier runs may be kept.

    Attributes:
        finished: bins of earlier runs with the same parameters, by name.

    Raises:
        FolderBusyError: another run is writing there.
        OutputError: the journal cannot be written.
    """

    def __init__(self, folder: Path, parameters: dict[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.finished: dict[str, BinRecord] = {}
        self._journal_path = folder / _JOURNAL
        try:
            self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(self._journal_path, error) from error
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._journal)
            raise FolderBusyError(
                f"another run is writing into {folder}; wait for it, or choose another folder"
            ) from None
        try:
            self._start(parameters, resume)
        except BaseException:
            os.close(self._journal)
            raise

    def __enter__(self) -> BinFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._journal)

    def is_current(self, record: BinRecord, image_folder: str, bin_bytes: int) -> bool:
        """Whether a finished bin is still there and its pictures are still what they were."""
        try:
            if os.stat(self.folder / record.name).st_size != bin_bytes:
                return False
            for picture in record.pictures:
                source = os.stat(os.path.join(image_folder, picture.source))
                if (source.st_size, source.st_mtime_ns) != (picture.source_bytes, picture.source_modified_ns):
                    return False
        except OSError:
            return False
        return True

    def add(self, record: BinRecord) -> None:
        """Note a bin that has just been written under its final name. Thread-safe: one write to an appending file.

        Raises:
            OutputError: the journal cannot be written.
        """
        fields = {"bin": record.name, "pictures": [_picture_fields(picture) for picture in record.pictures]}
        self._append(fields)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and drop the journal.

        Raises:
            OutputError: the manifest cannot be written; the journal is kept.
        """
        write_whole(str(self.folder / MANIFEST), manifest.to_json().encode())
        self._journal_path.unlink()

    def _start(self, parameters: dict[str, Any], resume: bool) -> None:
        journalled = self._read_journal(parameters)
        if resume:
            with suppress(OSError, ValueError):  # none, or none of ours: nothing to go on from
                earlier = Manifest.read(self.folder)
                if earlier.parameters == parameters:
                    self.finished = {record.name: record for record in earlier.bins}
            self.finished |= journalled or {}
        remove_leftovers(self.folder)
        if not self.finished:
            # Bins are about to be replaced: a manifest of the old ones must not outlive the first of them.
            (self.folder / MANIFEST).unlink(missing_ok=True)
        if journalled is None or not resume:
            os.ftruncate(self._journal, 0)
            self._append({"parameters": parameters})
        else:
            self._write(b"\n")  # ends a line that a killed run may have left half written

    def _read_journal(self, parameters: dict[str, Any]) -> dict[str, BinRecord] | None:
        """Bins noted by a run with the same parameters that did not end; None if there was no such run."""
        with open(self._journal_path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        entries = []
        for line in lines:
            with suppress(ValueError):  # half a line: its bin is made again
                entries.append(json.loads(line))
        if not entries or entries[0] != {"parameters": parameters}:
            return None
        records = {}
        for entry in entries[1:]:
            pictures = tuple(_picture_from_fields(picture) for picture in entry["pictures"])
            records[entry["bin"]] = BinRecord(entry["bin"], pictures)
        return records

    def _append(self, fields: dict[str, Any]) -> None:
        self._write(json.dumps(fields).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        try:
            write_all(self._journal, line)
        except OSError as error:
            raise OutputError(self._journal_path, error) from error


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
