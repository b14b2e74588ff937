"""What was saved of a run, as the page takes it: a run's folder, a result that ``--json`` wrote, or a ledger."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pspfast.accuracy.evaluations import Side
from pspfast.formats.ledger import Ledger
from pspfast.formats.result import Result
from pspfast.formats.run_folder import LEDGER, RECORD, RESULT, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pspfast.metrics.confusion import ConfusionMatrix

__all__ = ["ExampleFiles", "Record", "SavedRun", "read_runs"]

_FORMAT, _VERSION = "pspfast run", 1


@dataclass(frozen=True, slots=True)
class ExampleFiles:
    """Where the pictures to show are.

    Attributes:
        folder: holds ``<name>_picture.jpg``, ``<name>_truth.png`` (if there are labels), ``<name>_prediction.png``.
        scores: name -> score of this picture, 0 to 1, if it is known.
    """

    folder: Path
    scores: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Record:
    """``run.json``, checked; what it does not say is empty, ``None`` or not in the dictionaries.

    Attributes:
        command: as it was typed.
        seconds, pictures_per_s, peak_memory: of the whole run; seconds, a rate, and bytes.
        stages: thread-seconds of each stage.
        limited_by: the stage that the others waited for.
        failed: ``(name, reason)`` of pictures that could not be done.
        examples: pictures to show.
        fields: everything, as it stands in the file.
    """

    command: tuple[str, ...] = ()
    seconds: float | None = None
    pictures_per_s: float | None = None
    peak_memory: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    limited_by: str = ""
    failed: tuple[tuple[str, str], ...] = ()
    examples: ExampleFiles | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a ``run.json``.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no record of a run; the text names the file.
        """
        data = path.read_bytes()
        try:
            fields = _dictionary(json.loads(data))
            if fields["format"] != _FORMAT or fields["version"] != _VERSION:
                raise ValueError(f"format {fields['format']!r} of version {fields['version']}")
            stages = _dictionary(fields.get("stages") or {})
            return cls(
                command=tuple(_text(part) for part in _list(fields.get("command") or [])),
                seconds=_number(fields.get("seconds")),
                pictures_per_s=_number(fields.get("pictures_per_s")),
                peak_memory=_number(fields.get("peak_memory")),
                stages={name: _number(value) or 0.0 for name, value in stages.items()},
                limited_by=_text(fields.get("limited_by") or ""),
                failed=tuple((_text(name), _text(reason)) for name, reason in _list(fields.get("failed") or [])),
                examples=_examples(path.parent, fields.get("examples")),
                fields=fields,
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is not the record of a run of pspfast: {reason}") from error


@dataclass(frozen=True)
class SavedRun:
    """One of the runs on a page.

    Attributes:
        label: short, and no other run's on the page.
        path: as it was given; empty for published scores.
        side: scores, as ``pspfast compare`` takes them, under the label; ``None`` if nothing was scored.
        matrix: pixels by true and predicted class; ``None`` without a ledger.
        ledger: where the ledger is, if there is one.
        result: the saved result; ``None`` if there is only a ledger.
        record: how the run went; ``None`` if this was not saved.
        remarks: what has to be said about what was saved.
    """

    label: str
    path: str = ""
    side: Side | None = None
    matrix: ConfusionMatrix | None = None
    ledger: str = ""
    result: Result | None = None
    record: Record | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | os.PathLike[str], label: str = "") -> SavedRun:
        """Read a run's folder, a result, or a ledger.

        Args:
            path: the folder or file.
            label: how the page calls it; the path if left out.

        Raises:
            OSError: it cannot be read.
            ValueError: it is none of the three, or damaged.
        """
        path = os.fspath(path)
        label = label or path
        if os.path.isdir(path):
            return cls._of_folder(Path(path), path, label)
        side = Side.read(path)
        if side.areas is None:
            return cls(label, path, replace(side, name=label), result=Result.read(path))
        return cls(label, path, replace(side, name=label), Ledger.read(path).matrix(), path)

    @classmethod
    def published(cls, name: str) -> SavedRun:
        """Published scores, one of ``pspfast.accuracy.comparison.BASELINES``."""
        return cls(name, side=Side.baseline(name))

    @classmethod
    def _of_folder(cls, folder: Path, path: str, label: str) -> SavedRun:
        ledger_file, result_file, record_file = (folder / name for name in (LEDGER, RESULT, RECORD))
        result = Result.read(result_file) if result_file.exists() else None
        record = Record.read(record_file) if record_file.exists() else None
        ledger = Ledger.read(ledger_file) if ledger_file.exists() else None
        remarks = []
        if record is None and (result or ledger):
            remarks.append(f"{label} has no {RECORD}: the run did not end, or was none of pspfast run")
        if ledger is not None and not ledger.entries:
            ledger = None
        if ledger is None:
            if result is None and record is None:
                raise ValueError(f"{path} has no {LEDGER}, {RESULT} or {RECORD}; give the folder that a run wrote into")
            side = None if result is None else Side.read(result_file)
            return cls(label, path, _named(side, label), result=result, record=record, remarks=tuple(remarks))
        rules = {} if result is None else rules_of(result)
        side = Side.read(ledger_file, **rules)
        if result is not None and result.pictures != side.count:
            remarks.append(
                f"{label}: its ledger has {side.count} pictures and its result {result.pictures}; the ledger is shown"
            )
        matrix = ledger.matrix(**rules)
        return cls(label, path, _named(side, label), matrix, str(ledger_file), result, record, tuple(remarks))

    def score_of(self, name: str) -> float | None:
        """The mIoU of one picture, 0 to 1: from the ledger, else as the run noted it."""
        if self.side is not None and self.side.areas is not None and name in self.side.pictures:
            score = self.side.only([name]).scores["mIoU"]
            return None if math.isnan(score) else score
        examples = self.record.examples if self.record else None
        return examples.scores.get(name) if examples else None


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> list[SavedRun]:
    """Read several, each under the shortest end of its path that no other has.

    Raises:
        OSError: one cannot be read.
        ValueError: one is not what :meth:`SavedRun.read` takes, or is given twice.
    """
    names = [os.fspath(path) for path in paths]
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(os.path.realpath(name), name)
        if first is not name:
            raise ValueError(f"{name} is given twice; a run is shown once")
    return [SavedRun.read(name, label) for name, label in zip(names, _labels(names), strict=True)]


def _labels(names: Sequence[str]) -> list[str]:
    """The shortest ends of paths that tell them apart; a folder stands for what a run calls its files.

    Example:
    >>> _labels(["runs/a/ledger.jsonl", "runs/b", "old/b", "val.json"])
    ['a', 'runs/b', 'old/b', 'val.json']
    """
    parts = []
    for name in names:
        whole = PurePosixPath(os.path.abspath(name)).parts
        parts.append(whole[:-1] if whole[-1] in (LEDGER, RESULT) and len(whole) > 2 else whole)
    labels = list(names)
    open_ = set(range(len(names)))
    for length in range(1, max(map(len, parts), default=0) + 1):
        ends = ["/".join(part[-length:]) for part in parts]
        times = Counter(ends)
        for index in [index for index in open_ if times[ends[index]] == 1]:
            labels[index] = ends[index]
            open_.remove(index)
    return labels


def _named(side: Side | None, label: str) -> Side | None:
    return None if side is None else replace(side, name=label)


def _examples(base: Path, value: Any) -> ExampleFiles | None:
    if value is None:
        return None
    fields = _dictionary(value)
    folder = _inside(_text(fields["folder"]))
    names = [_list(one) for one in _list(fields["names"])]
    return ExampleFiles(base / folder, {_inside(_text(name)): _number(score) for name, score in names})


def _inside(name: str) -> str:
    """A path that does not lead out of the folder it is taken from."""
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise ValueError(f"{name!r} is not a name within the run's folder")
    return name


def _checked(kind: type, noun: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} is not {noun}")
        return value

    return check


_dictionary, _list, _text = _checked(dict, "an object"), _checked(list, "a list"), _checked(str, "text")


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise TypeError(f"{value!r} is not a finite number of 0 or more")
    return float(value)
