"""The folder that inference writes into: locked, with a journal of its files and a record of what they hold."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pspfast.formats.dump_record import RECORD, DumpRecord, DumpRecorder
from pspfast.system.files import OutputError, remove, remove_leftovers, write_all
from pspfast.system.locks import FolderBusyError, open_locked
from pspfast.system.output_conflicts import check_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pspfast.formats.bins import BinSlot

__all__ = ["DumpFolder"]

_JOURNAL = ".inference.journal"


class DumpFolder:
    """What runs of one model left in a folder. Use as a context manager.

    The journal's first line says what the outputs follow from, the next one which files are going to be written. Each
    further one is a picture: which bytes it was, and which files it became; it is written when they are, and believed
    only if they are there in that size, and the bin is what it was. Files of a journal with another first line are
    removed, those that a killed run wrote without a line of their own among them: nobody could tell them from ours. So
    are those without a :class:`pspfast.formats.dump_record.DumpRecord`, which is there before the first output is.

    Args:
        folder: exists.
        follows_from: what every output follows from; plain values.
        resume: whether outputs of earlier runs may be kept.
        names: of the files that are going to be written; in a folder without a journal, none of them may be there.

    Attributes:
        removed: how many files of another model, or without ``resume``, were there.
        recorder: of what the outputs hold.

    Raises:
        FolderBusyError: another run is writing there.
        OutputError: the journal cannot be read, written or locked, or an old file not removed.
        ValueError: one of the ``names`` is there, and of nobody knows whom.
    """

    MARKS = (_JOURNAL,)
    """This is in every folder that inference has written into."""

    def __init__(self, folder: Path, follows_from: dict[str, Any], *, resume: bool, names: Iterable[str] = ()) -> None:
        names = tuple(names)
        check_folder(folder, self.MARKS, (*names, RECORD))
        self.folder = folder
        self._path = str(folder / _JOURNAL)
        self._records: dict[str, dict[str, Any]] = {}
        self.removed = 0
        self.recorder = DumpRecorder(folder)
        self._file = open_locked(self._path, FolderBusyError(str(folder)))
        try:
            self._begin(_line(follows_from), resume, frozenset(names))
            remove_leftovers(folder)
        except OutputError:
            os.close(self._file)
            raise
        except OSError as error:
            os.close(self._file)
            raise OutputError(self._path, error) from error

    def __enter__(self) -> DumpFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def is_current(self, picture: BinSlot) -> bool:
        """Whether everything of a picture is there from an earlier run."""
        record = self._records.get(picture.name)
        if record is None or record["bin"] != _bin(picture):
            return False
        with suppress(OSError):
            return bool(record["files"]) and all(
                os.stat(self.folder / name).st_size == size for name, size in record["files"].items()
            )
        return False

    def add(self, done: Iterable[tuple[BinSlot, dict[str, int]]]) -> None:
        """Note pictures whose files, by name and size, have just been written. Thread-safe: one write at the end.

        Raises:
            OutputError: the journal cannot be written.
        """
        lines = [_line({"name": picture.name, "bin": _bin(picture), "files": files}) for picture, files in done]
        try:
            write_all(self._file, b"".join(lines))
        except OSError as error:
            raise OutputError(self._path, error) from error

    def files_of(self, picture: BinSlot) -> list[str]:
        """Names of the files that an earlier run made of a picture that :meth:`is_current`."""
        return list(self._records[picture.name]["files"])

    def _begin(self, head: bytes, resume: bool, names: frozenset[str]) -> None:
        with open(os.dup(self._file), "rb") as file:
            first, *lines = file.read().split(b"\n")
        records = {}
        planned: set[str] = set()
        for line in lines:
            # Half a line, as a kill leaves it, or nonsense: the picture is done again.
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                record = json.loads(line)
                if "planned" in record:
                    planned.update(map(str, record["planned"]))
                elif all(isinstance(name, str) and isinstance(size, int) for name, size in record["files"].items()):
                    records[str(record["name"])] = record
        with suppress(OSError, ValueError):  # without one that can be read, nobody knows what the files hold
            self.recorder.record = DumpRecord.read(self.folder)
        if resume and first + b"\n" == head and self.recorder.record is not None:
            self._records = records
            if lines[-1:] != [b""]:
                write_all(self._file, b"\n")
            if names - planned:
                write_all(self._file, _line({"planned": sorted(names - planned)}))
            return
        for record in records.values():
            planned.update(record["files"])
        for name in sorted(planned):
            if not name.startswith(".."):  # the summary beside the folder is written when all is done
                self.removed += remove(self.folder / os.path.basename(name))
        remove(self.folder / RECORD)
        self.recorder.record = None
        os.ftruncate(self._file, 0)
        write_all(self._file, head + (_line({"planned": sorted(names)}) if names else b""))


def _bin(picture: BinSlot) -> list[Any]:
    return [picture.path, picture.slot, picture.size, picture.modified_ns]


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"
