"""What can be compared: a run's folder, a ledger, a result that ``--json`` wrote, published scores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.accuracy import bootstrap
from pspfast.formats.ledger import Ledger
from pspfast.formats.result import Result
from pspfast.formats.run_folder import LEDGER, RESULT, result_in, rules_of
from pspfast.metrics.scores import Areas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.formats.ledger import Entry
    from pspfast.metrics.confusion import ConfusionMatrix

__all__ = ["BASELINES", "Side"]

BASELINES = {
    # The checkpoint's own log, mode "val" at iteration 20000, as the guide quotes it (section 6.2).
    "voc-opensource": {"mIoU": 0.76778, "mAcc": 0.85529, "aAcc": 0.94787},
    # The guide's offline model, batch 1 and 16 alike (section 6.1).
    "voc-om": {"mIoU": 0.7618, "mAcc": 0.8487, "aAcc": 0.9449},
}
"""Published scores, 0 to 1, of PSPNet R50-D8 on VOC2012 val."""

_BASELINE_PICTURES = 1449


@dataclass(frozen=True)
class Side:
    """One of the two things compared.

    Attributes:
        name: as it was given.
        scores: of everything, 0 to 1.
        count: how many pictures it is of.
        classes: names; empty if only overall scores are known.
        total: pixels by class, if they are known.
        pictures: names; empty if the scores of single pictures are not known.
        areas: pixels of each picture by class, ``(pictures, classes)``.
        geometry: the rule by which masks were taken out of the canvas; empty if not known.
        remarks: what has to be said beside its scores.
    """

    name: str
    scores: dict[str, float]
    count: int
    classes: tuple[str, ...] = ()
    total: Areas | None = None
    pictures: tuple[str, ...] = ()
    areas: Areas | None = None
    geometry: str = ""
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | os.PathLike[str], **rules: Any) -> Side:
        """Read a run's folder, a ledger, or a result that ``--json`` wrote.

        Args:
            path: the file; of a folder its ledger, by the rules that its result was made by, else its result.
            **rules: ``label_map``, ``reduce_zero_label``; a result must have been made with the same.

        Raises:
            OSError: it cannot be read.
            ValueError: it is none of them, or a result made by other rules.
        """
        path = os.fspath(path)
        if os.path.isdir(path):
            return cls._of_folder(path, rules)
        with open(path, "rb") as file:
            if not file.seekable():
                raise ValueError(f"{path} is a pipe, which can be read only once; give a file")
            head = file.read(256)  # the format comes first in both
        if b'"pspfast ledger"' in head:
            return cls._of_ledger(path, Ledger.read(path), rules)
        if b'"pspfast result"' in head:
            return cls._of_result(path, Result.read(path), rules)
        raise ValueError(f"{path} is neither a ledger (--ledger) nor a result (--json) of pspfast")

    @classmethod
    def _of_folder(cls, path: str, rules: dict[str, Any]) -> Side:
        result, ledger = result_in(path), os.path.join(path, LEDGER)
        if os.path.exists(ledger):
            made_by = rules_of(Result.read(result)) if result else {}
            asked = {rule: value for rule, value in rules.items() if value is not None}
            return cls._of_ledger(path, Ledger.read(ledger), made_by | asked)
        if result:
            return cls._of_result(path, Result.read(result), rules)
        raise ValueError(f"{path} is a folder without {LEDGER} or {RESULT}; give the folder of a run with scores")

    @classmethod
    def _of_ledger(cls, path: str, ledger: Ledger, rules: dict[str, Any]) -> Side:
        if not ledger.entries:
            raise ValueError(f"{path} has no pictures yet")
        areas = _areas_by_picture(list(ledger.entries.values()), ledger.subject.matrix(**rules))
        torn = f"{path} ends in half a line, as a killed run leaves it; the picture of this line is left out"
        return cls._of_pictures(
            name=path,
            classes=ledger.subject.classes,
            pictures=tuple(ledger.entries),
            areas=areas,
            geometry=ledger.subject.geometry,
            remarks=(torn,) * bool(ledger.torn),
        )

    @classmethod
    def _of_result(cls, path: str, result: Result, rules: dict[str, Any]) -> Side:
        source = dict(result.source)
        for rule, value in rules.items():
            wanted = {str(old): new for old, new in (value or {}).items()} if rule == "label_map" else value
            if wanted and source.get(rule) != wanted:
                raise ValueError(f"{path} has finished scores, made with another {rule}; give a ledger in its place")
        return cls(
            path,
            bootstrap.overall(result.areas),
            result.pictures,
            result.classes,
            result.areas,
            geometry=str(source.get("geometry", "")),
            remarks=tuple(f"{path}: {caveat}" for caveat in result.caveats()),
        )

    @classmethod
    def _of_pictures(cls, *, areas: Areas, pictures: tuple[str, ...], **others: Any) -> Side:
        total = bootstrap.total(areas)
        scores = bootstrap.overall(total)
        return cls(scores=scores, count=len(pictures), total=total, pictures=pictures, areas=areas, **others)

    @classmethod
    def baseline(cls, name: str) -> Side:
        """Published scores."""
        return cls(name, dict(BASELINES[name]), _BASELINE_PICTURES)

    def only(self, names: Sequence[str]) -> Side:
        """The same of some of the pictures, in their order.

        Raises:
            ValueError: the scores of single pictures are not known.
            KeyError: a picture that it lacks.
        """
        if self.areas is None:
            raise ValueError(f"{self.name} has no single pictures to choose from; give a ledger in its place")
        place = {name: index for index, name in enumerate(self.pictures)}
        rows = [place[name] for name in names]
        parts = (self.areas.intersection, self.areas.truth, self.areas.predicted)
        return self._of_pictures(
            name=self.name,
            classes=self.classes,
            pictures=tuple(names),
            areas=Areas(*(part[rows] for part in parts)),
            geometry=self.geometry,
            remarks=self.remarks,
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.count} picture{'s' * (self.count != 1)})"


def _areas_by_picture(entries: list[Entry], matrix: ConfusionMatrix) -> Areas:
    """``(pictures, classes)``, by the matrix's rules."""
    num_classes = matrix.num_classes
    lengths = [len(entry.pairs.pixels) for entry in entries]
    picture = np.repeat(np.arange(len(entries)), lengths)
    pairs = [(entry.pairs.labels, entry.pairs.preds, entry.pairs.pixels) for entry in entries]
    labels, preds, pixels = (np.concatenate(column) for column in zip(*pairs, strict=True))
    rows = matrix.rows_of(labels)
    labelled = rows < num_classes
    valid = labelled & (preds >= 0) & (preds < num_classes)

    def summed(chosen: NDArray[np.bool_], index: NDArray[np.int64]) -> NDArray[np.int64]:
        areas = np.zeros((len(entries), num_classes), np.int64)
        np.add.at(areas, (picture[chosen], index[chosen]), pixels[chosen])
        return areas

    return Areas(summed(valid & (rows == preds), rows), summed(labelled, rows), summed(valid, preds))
