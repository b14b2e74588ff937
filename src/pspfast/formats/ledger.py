"""The ledger: what every picture's pixels were labelled and predicted as, one line a picture, append-only.

Scores of any subset, label map or ignore rule follow from it without the pictures. The first line says what was
counted, each further one is a picture; a line says itself whether it is whole, since the pixels of its pairs add up to
the picture's size. Half a line, as a kill leaves it, is dropped when the ledger is opened for writing.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast.datasets import VOC, data_set
from pspfast.metrics.class_pairs import NO_CLASS, Pairs, check_ignore_index
from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.system.files import OutputError, write_all, write_whole
from pspfast.system.locks import open_locked, replace_locked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pspfast.pictures.geometry import CropRule

__all__ = ["Entry", "Ledger", "LedgerWriter", "Subject", "add_entries", "merge", "write_ledger"]

_FORMAT, _VERSION = "pspfast ledger", 1


@dataclass(frozen=True, slots=True)
class Subject:
    """What a ledger is about; ledgers of the same subject can be merged and compared.

    Attributes:
        classes: names, by class index.
        ignore_index: the label that does not count, unless asked otherwise.
        geometry: the rule by which masks were taken out of the canvas.
        data_set: name of the one whose rules about labels hold, unless asked otherwise; VOC has none.
    """

    classes: tuple[str, ...]
    ignore_index: int | None = 255
    geometry: CropRule = "exact"
    data_set: str = "voc"

    def __post_init__(self) -> None:
        check_ignore_index(self.ignore_index)
        if self.geometry not in ("exact", "reference"):
            raise ValueError(f"geometry must be 'exact' or 'reference', got {self.geometry!r}")
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise ValueError(f"classes must have names of their own, got {self.classes}")

    def matrix(
        self,
        *,
        ignore_index: int | Literal["same"] | None = "same",
        label_map: Mapping[int, int] | None = None,
        reduce_zero_label: bool | None = None,
    ) -> ConfusionMatrix:
        """An empty matrix for it, by the rules of its data set where none are given.

        Raises:
            ValueError: rules that contradict each other, or a data set that is not known here.
        """
        if label_map is None or reduce_zero_label is None:
            own = data_set(self.data_set)
            label_map = own.label_map if label_map is None else label_map
            reduce_zero_label = own.reduce_zero_label if reduce_zero_label is None else reduce_zero_label
        label = self.ignore_index if ignore_index == "same" else ignore_index
        check_ignore_index(label)
        return ConfusionMatrix(
            len(self.classes),
            label,
            label_map=label_map,
            reduce_zero_label=reduce_zero_label,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture.

    Attributes:
        name: of the picture.
        digest: of everything the pairs follow from: labels, mask, geometry; hexadecimal.
        size: ``(height, width)``.
        pairs: all its pixels.
    """

    name: str
    digest: str
    size: tuple[int, int]
    pairs: Pairs

    def to_line(self) -> str:
        """As it stands in the file, with its line end."""
        flat = np.stack((self.pairs.labels, self.pairs.preds, self.pairs.pixels), axis=1).reshape(-1).tolist()
        fields = {"name": self.name, "digest": self.digest, "size": list(self.size), "pairs": flat}
        return json.dumps(fields, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Entry:
        """The inverse of :meth:`to_line`.

        Raises:
            ValueError: not such a line, or pixels that do not add up to the size.
        """
        try:
            fields = json.loads(line if isinstance(line, str) else line.decode())
            name, digest, (height, width) = fields["name"], fields["digest"], fields["size"]
            flat = np.array(fields["pairs"]).reshape(-1, 3)
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a picture's line: {type(error).__name__} {error}") from error
        if (*map(type, (name, digest, height, width)), flat.dtype) != (str, str, int, int, np.int64):
            raise ValueError(f"not a picture's line: {name!r}, {digest!r}, {fields['size']}, pairs of {flat.dtype}")
        labels, preds, pixels = flat.T
        if len(flat) == 0 or pixels.min() <= 0 or pixels.sum() != height * width or flat.min() < NO_CLASS:
            raise ValueError(f"the pixels of {name!r} do not add up to {height} x {width}")
        return cls(name, digest, (height, width), Pairs(labels, preds, pixels))


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger that was read: of several lines about one picture the last one counts.

    Attributes:
        subject: what it is about.
        entries: by picture.
        torn: bytes of half a line at its end, left by a kill.

    Example:
        >>> import numpy as np, os, tempfile
        >>> pairs = Pairs(np.array([0, 255]), np.array([0, 1]), np.array([11, 1]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = os.path.join(folder, "val.ledger")
        ...     with LedgerWriter(file, Subject(("a", "b"))) as writer:
        ...         writer.add(Entry("2007_000033", "00", (3, 4), pairs))
        ...     Ledger.read(file).matrix().areas().truth
        array([11,  0])
    """

    subject: Subject
    entries: dict[str, Entry]
    torn: int = 0

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Ledger:
        """Read a ledger.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a ledger, or a line other than the last one is damaged; with file and line.
        """
        with open(path, "rb") as file:
            return cls._parse(os.fspath(path), file.read())

    @classmethod
    def _parse(cls, path: str, data: bytes) -> Ledger:
        end = data.rfind(b"\n") + 1
        head, *lines = data[: max(end - 1, 0)].split(b"\n")
        subject = _subject_from_line(path, head)
        entries = {}
        for number, line in enumerate(lines, start=2):
            try:
                entry = Entry.from_line(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            entries[entry.name] = entry
        return cls(subject, entries, len(data) - end)

    def to_bytes(self) -> bytes:
        """The same pictures, sorted by name, each once: equal contents are equal bytes."""
        lines = [_subject_line(self.subject), *(self.entries[name].to_line() for name in sorted(self.entries))]
        return "".join(lines).encode()

    def matrix(self, names: Iterable[str] | None = None, **rules: Any) -> ConfusionMatrix:
        """Confusion matrix of some or all pictures.

        Args:
            names: pictures; all if left out.
            **rules: ``ignore_index``, ``label_map``, ``reduce_zero_label`` of :class:`ConfusionMatrix`.

        Raises:
            KeyError: a picture that is not in the ledger.
        """
        matrix = self.subject.matrix(**rules)
        add_entries(matrix, [self.entries[name] for name in (self.entries if names is None else names)])
        return matrix


def add_entries(matrix: ConfusionMatrix, entries: Sequence[Entry]) -> None:
    """Count the pixels of pictures."""
    if entries:
        columns = zip(*((entry.pairs.labels, entry.pairs.preds, entry.pairs.pixels) for entry in entries), strict=True)
        matrix.update_pairs(*(np.concatenate(column) for column in columns))


class LedgerWriter:
    """A ledger open for adding pictures, locked against a second writer. Use as a context manager.

    Args:
        path: made if need be.
        subject: of what is added.
        remember: whether what is added is kept in ``entries``, too.

    Attributes:
        entries: what is in it, by picture.

    Raises:
        OutputError: it cannot be opened, or another process is writing into it.
        ValueError: it is no ledger, or one about something else.
    """

    def __init__(self, path: str | os.PathLike[str], subject: Subject, *, remember: bool = True) -> None:
        self._path, self._subject, self._remember = os.fspath(path), subject, remember
        busy = OSError(None, "another run is writing into it; wait for it, or choose another file")
        self._file = open_locked(self._path, OutputError(self._path, busy))
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):  # devices end never, pipes forget
                raise OutputError(self._path, OSError(None, "not a regular file"))
            self.entries = self._open(subject)
        except BaseException:  # Ctrl-C as well: nobody else can close it
            os.close(self._file)
            raise

    def _open(self, subject: Subject) -> dict[str, Entry]:
        with open(os.dup(self._file), "rb") as file:
            data = file.read()
        head = _subject_line(subject).encode()
        if data == head[: len(data)]:  # empty, or killed within its first line
            os.ftruncate(self._file, 0)
            self._append(head)
            return {}
        earlier = Ledger._parse(self._path, data)
        if earlier.subject != subject:
            raise ValueError(f"{self._path} is about {_described(earlier.subject, subject)}; choose another file")
        os.ftruncate(self._file, len(data) - earlier.torn)
        return earlier.entries

    def add(self, entry: Entry) -> None:
        """Append a picture; it is in the file when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        self._append(entry.to_line().encode())
        if self._remember:
            self.entries[entry.name] = entry

    def retain(self, names: Collection[str]) -> None:
        """Drop all pictures but these, which keep their order.

        Raises:
            OutputError: it cannot be written; then nothing is dropped.
        """
        left = {name: entry for name, entry in self.entries.items() if name in names}
        if len(left) == len(self.entries):
            return
        lines = [_subject_line(self._subject), *(entry.to_line() for entry in left.values())]
        opened = replace_locked(os.path.realpath(self._path), "".join(lines).encode())
        os.close(self._file)
        self._file = opened
        self.entries = left

    def _append(self, data: bytes) -> None:
        length = os.fstat(self._file).st_size
        try:
            write_all(self._file, data)
        except OSError as error:
            os.ftruncate(self._file, length)  # the next line must not be glued to half of this one
            raise OutputError(self._path, error) from error

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def merge(ledgers: Mapping[str, Ledger]) -> Ledger:
    """One ledger of several, whatever their order.

    Args:
        ledgers: file name -> ledger.

    Raises:
        ValueError: different subjects, or one picture with different contents in two of them.
    """
    if not ledgers:
        raise ValueError("no ledgers to merge")
    first = next(iter(ledgers))
    owner: dict[str, str] = {}
    entries: dict[str, Entry] = {}
    for path, ledger in ledgers.items():
        if ledger.subject != ledgers[first].subject:
            raise ValueError(
                f"{path} and {first} cannot be merged: {_described(ledger.subject, ledgers[first].subject)}"
            )
        for name, entry in ledger.entries.items():
            if name in entries and entries[name].to_line() != entry.to_line():
                raise ValueError(f"{path} and {owner[name]} disagree about {name!r}; remove one of them")
            entries[name] = entry
            owner[name] = path
    return Ledger(ledgers[first].subject, entries)


def write_ledger(path: str | os.PathLike[str], ledger: Ledger) -> None:
    """Write a ledger whole, in place of what is there.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(os.fspath(path), ledger.to_bytes())


def _subject_line(subject: Subject) -> str:
    fields = {
        "format": _FORMAT,
        "version": _VERSION,
        "classes": list(subject.classes),
        "ignore_index": subject.ignore_index,
        "geometry": subject.geometry,
    }
    if subject.data_set != VOC.name:
        fields["dataset"] = subject.data_set
    return json.dumps(fields, separators=(",", ":")) + "\n"


def _subject_from_line(path: str, line: bytes) -> Subject:
    try:
        fields = json.loads(line.decode())
        if fields["format"] != _FORMAT:
            raise ValueError
        version = fields["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is not a ledger") from None
    if version != _VERSION:
        raise ValueError(f"{path} is a ledger of version {version}; this pspfast reads version {_VERSION}")
    try:
        if not isinstance(fields["classes"], list):
            raise TypeError(f"classes must be a list, got {fields['classes']!r}")
        if fields["ignore_index"] is not None and type(fields["ignore_index"]) is not int:
            raise TypeError(f"ignore_index must be a label or null, got {fields['ignore_index']!r}")
        named = fields.get("dataset", VOC.name)
        if not isinstance(named, str):
            raise TypeError(f"dataset must be a name, got {named!r}")
        return Subject(tuple(map(str, fields["classes"])), fields["ignore_index"], fields["geometry"], named)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its first line is damaged: {error}") from error


def _described(found: Subject, wanted: Subject) -> str:
    """What differs between two subjects."""
    differences = []
    if found.classes != wanted.classes:
        some = ", ".join(found.classes[:3]) + ", ..." * (len(found.classes) > 3)
        differences.append(f"{len(found.classes)} classes ({some})")
    if found.ignore_index != wanted.ignore_index:
        differences.append(f"ignore_index {found.ignore_index}")
    if found.geometry != wanted.geometry:
        differences.append(f"{found.geometry} geometry")
    if found.data_set != wanted.data_set:
        differences.append(f"labels of the data set {found.data_set}")
    return ", ".join(differences)
