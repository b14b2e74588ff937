"""Two evaluations against each other: ``pspfast compare A B``.

From two ledgers the differences come with a 95 % interval: pictures are drawn with replacement, the same ones for both
sides (paired bootstrap), and the scores computed anew from their pixels.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from pspfast import console
from pspfast.datasets import read_split
from pspfast.files import stem, write_whole
from pspfast.ledger import Ledger
from pspfast.options import label_rule_options
from pspfast.results import Result, table
from pspfast.scores import Areas, mean

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from pspfast.ledger import Entry
    from pspfast.metrics import ConfusionMatrix

__all__ = ["BASELINES", "Comparison", "Side", "compare", "main"]

BASELINES = {
    # The checkpoint's own log, mode "val" at iteration 20000, as the guide quotes it (section 6.2).
    "voc-opensource": {"mIoU": 0.76778, "mAcc": 0.85529, "aAcc": 0.94787},
    # The guide's offline model, batch 1 and 16 alike (section 6.1).
    "voc-om": {"mIoU": 0.7618, "mAcc": 0.8487, "aAcc": 0.9449},
}
"""Published scores, 0 to 1, of PSPNet R50-D8 on VOC2012 val."""

_BASELINE_PICTURES = 1449

_SCORES = ("mIoU", "mAcc", "aAcc")
_RESAMPLES_AT_ONCE = 256  # of 1449 pictures each: 3 MB of weights


@dataclass(frozen=True)
class Side:
    """One of the two things compared.

    Attributes:
        name: as it was given.
        scores: of everything, 0 to 1.
        classes: names; empty if only overall scores are known.
        iou: of each class.
        pictures: names; empty if the scores of single pictures are not known.
        areas: pixels of each picture by class, ``(pictures, classes)``.
    """

    name: str
    scores: dict[str, float]
    classes: tuple[str, ...] = ()
    iou: NDArray[np.float64] | None = None
    pictures: tuple[str, ...] = ()
    areas: Areas | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str], **rules: Any) -> Side:
        """Read a ledger, or a result that ``--json`` wrote.

        Args:
            path: the file.
            **rules: ``label_map``, ``reduce_zero_label``; for ledgers.

        Raises:
            OSError: it cannot be read.
            ValueError: it is neither.
        """
        path = os.fspath(path)
        with open(path, "rb") as file:
            is_result = file.read(2) == b"{\n"
        if is_result:
            result = Result.read(path)
            return cls(path, _chosen(result.summary()), result.classes, result.by_class()["IoU"])
        ledger = Ledger.read(path)
        if not ledger.entries:
            raise ValueError(f"{path} has no pictures yet")
        matrix = ledger.subject.matrix(**rules)
        areas = _areas_by_picture(list(ledger.entries.values()), matrix)
        return cls._of(path, ledger.subject.classes, tuple(ledger.entries), areas)

    @classmethod
    def baseline(cls, name: str) -> Side:
        """Published scores."""
        return cls(name, dict(BASELINES[name]))

    def only(self, names: Collection[str]) -> Side:
        """The same of some of the pictures, in their order."""
        if self.areas is None or tuple(names) == self.pictures:
            return self
        place = {name: index for index, name in enumerate(self.pictures)}
        rows = [place[name] for name in names]
        parts = (self.areas.intersection, self.areas.truth, self.areas.predicted)
        return self._of(self.name, self.classes, tuple(names), Areas(*(part[rows] for part in parts)))

    @classmethod
    def _of(cls, name: str, classes: tuple[str, ...], pictures: tuple[str, ...], areas: Areas) -> Side:
        total = _total(areas)
        return cls(name, _scores(total), classes, total.iou(), pictures, areas)


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found; all scores and differences are 0 to 1, ``second - first``.

    Attributes:
        first, second: the two sides, of the pictures that both have.
        intervals: score or class name -> 95 % interval of the difference; empty without ledgers of both.
        influence: picture -> how much of the difference of mIoU it makes (what is gone without it), largest first.
        only_first, only_second: pictures that the other side lacks.
    """

    first: Side
    second: Side
    intervals: dict[str, tuple[float, float]]
    influence: dict[str, float]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    @property
    def drop(self) -> float:
        """Loss of mIoU, in points of a hundred."""
        return 100 * (self.first.scores["mIoU"] - self.second.scores["mIoU"])

    def __str__(self) -> str:
        head = ["", "first", "second", "difference"] + ["95 % interval"] * bool(self.intervals)
        rows = [
            [name, *self._cells(name, self.first.scores[name], self.second.scores[name])]
            for name in _SCORES
            if name in self.first.scores and name in self.second.scores
        ]
        lines = [f"first:  {self._described(self.first)}", f"second: {self._described(self.second)}", ""]
        lines += [table([head, *rows])]
        if self.first.iou is not None and self.second.iou is not None:
            columns = zip(self.first.classes, self.first.iou, self.second.iou, strict=True)
            classes = [[name, *self._cells(name, a, b)] for name, a, b in columns]
            lines += ["", "IoU by class", table([head, *classes])]
        if self.influence:
            movers = [[name, f"{100 * moved:+.3f}"] for name, moved in list(self.influence.items())[:10] if moved]
            lines += ["", "Pictures that moved mIoU most (points gone without them)"]
            lines += [table([["picture", "points"], *movers])] if movers else ["none"]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything, for programs."""
        classes = dict(zip(self.second.classes, zip(*self._both_iou(), strict=True), strict=True))
        pairs = {name: (self.first.scores[name], self.second.scores[name]) for name in self.first.scores} | classes
        fields = {
            "format": "pspfast comparison",
            "version": 1,
            "first": self.first.name,
            "second": self.second.name,
            "pictures": len(self.second.pictures) or None,
            "scores": {
                name: {
                    "first": _or_none(first),
                    "second": _or_none(second),
                    "difference": _or_none(second - first),
                    "interval": [_or_none(end) for end in self.intervals[name]] if name in self.intervals else None,
                }
                for name, (first, second) in pairs.items()
            },
            "influence": {name: _or_none(value) for name, value in self.influence.items()},
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
        }
        return json.dumps(fields, indent=1) + "\n"

    def _both_iou(self) -> tuple[list[float], list[float]]:
        if self.first.iou is None or self.second.iou is None:
            return [], []
        return self.first.iou.tolist(), self.second.iou.tolist()

    def _cells(self, name: str, first: float, second: float) -> list[str]:
        cells = [f"{100 * first:.2f}", f"{100 * second:.2f}", f"{100 * (second - first):+.2f}"]
        if self.intervals:
            low, high = self.intervals[name]
            cells.append(f"{100 * low:+.2f} to {100 * high:+.2f}")
        return cells

    def _described(self, side: Side) -> str:
        return f"{side.name} ({len(side.pictures)} pictures)" if side.pictures else side.name


def compare(first: Side, second: Side, *, resamples: int = 2000, seed: int = 0) -> Comparison:
    """Differences between two sides over the pictures that both have.

    Args:
        first: what is expected.
        second: what came out.
        resamples: how often pictures are drawn for the intervals; needs the pictures of both sides.
        seed: of the drawing; the same one gives the same intervals.

    Raises:
        ValueError: different classes, no common pictures, or pictures whose labels are not the same in both.

    Example:
        >>> drop = compare(Side.baseline("voc-opensource"), Side.baseline("voc-om")).drop
        >>> f"{drop:.2f} points"
        '0.60 points'
    """
    if first.classes and second.classes and first.classes != second.classes:
        raise ValueError(f"{first.name} and {second.name} have different classes")
    if first.areas is None or second.areas is None:
        return Comparison(first, second, {}, {}, (), ())
    common = [name for name in second.pictures if name in set(first.pictures)]
    if not common:
        raise ValueError(f"{first.name} and {second.name} have no picture in common")
    only_first = tuple(sorted(set(first.pictures) - set(common)))
    only_second = tuple(sorted(set(second.pictures) - set(common)))
    first, second = first.only(common), second.only(common)
    assert first.areas is not None and second.areas is not None
    differ = np.flatnonzero((first.areas.truth != second.areas.truth).any(axis=1))
    if len(differ):
        raise ValueError(
            f"{first.name} and {second.name} were made with different labels for {len(differ)} pictures, "
            f"{common[differ[0]]} among them"
        )
    intervals = _intervals(first.areas, second.areas, second.classes, resamples, seed) if resamples else {}
    influence = _influence(first, second)
    return Comparison(first, second, intervals, influence, only_first, only_second)


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


def _total(areas: Areas) -> Areas:
    return Areas(areas.intersection.sum(0), areas.truth.sum(0), areas.predicted.sum(0))


def _scores(areas: Areas) -> dict[str, Any]:
    return {"mIoU": mean(areas.iou()), "mAcc": mean(areas.recall()), "aAcc": areas.pixel_accuracy()}


def _chosen(scores: dict[str, float]) -> dict[str, float]:
    return {name: scores[name] for name in _SCORES}


def _intervals(
    first: Areas, second: Areas, classes: tuple[str, ...], resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Percentiles 2.5 and 97.5 of the differences, over the same draws for both sides."""
    rng = np.random.default_rng(seed)
    count = len(first.truth)
    columns = [
        np.hstack((areas.intersection, areas.truth, areas.predicted)).astype(np.float64) for areas in (first, second)
    ]
    drawn: list[NDArray[np.float64]] = []
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, resamples - start)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        sides = []
        for values in columns:
            # Sums of whole numbers below 2^53: float64 holds them exactly.
            areas = Areas(*np.split(weights @ values, 3, axis=1))
            sides.append(np.column_stack((*_scores(areas).values(), areas.iou())))
        drawn.append(sides[1] - sides[0])
    differences = np.concatenate(drawn)
    return {name: _percentiles(differences[:, index]) for index, name in enumerate((*_SCORES, *classes))}


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def _influence(first: Side, second: Side) -> dict[str, float]:
    """How far the difference of mIoU is from what it would be without each picture; largest first."""
    without = []
    for side in (first, second):
        assert side.areas is not None
        total = _total(side.areas)
        rest = Areas(
            total.intersection - side.areas.intersection,
            total.truth - side.areas.truth,
            total.predicted - side.areas.predicted,
        )
        without.append(mean(rest.iou()))
    difference = second.scores["mIoU"] - first.scores["mIoU"]
    moved = np.nan_to_num(difference - (without[1] - without[0]))
    order = np.argsort(-np.abs(moved), kind="stable")
    return {second.pictures[index]: float(moved[index]) for index in order}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


@click.command(context_settings=console.CONTEXT_SETTINGS)
@click.argument("files", metavar="[FIRST] SECOND", nargs=-1, type=click.Path())
@click.option("--baseline", type=click.Choice(list(BASELINES)), help="Published scores in place of FIRST.")
@click.option(
    "--max-drop", type=float, default=1.0, metavar="POINTS", help="Exit status 1 if mIoU falls by this much or more."
)
@click.option("--split", type=click.Path(), help="Only the pictures that this file names.")
@label_rule_options
@click.option("--resamples", type=click.IntRange(min=0), default=2000, metavar="N", help="For the intervals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the resamples.")
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for programs.")
@console.handles_errors
def main(
    files: tuple[str, ...],
    baseline: str | None,
    max_drop: float,
    split: str | None,
    resamples: int,
    seed: int,
    json_file: str | None,
    **rules: Any,
) -> int:
    """Compare two evaluations: ledgers, or results written with --json.

    \b
      pspfast compare pytorch.ledger om.ledger
      pspfast compare --baseline voc-opensource om.ledger

    Differences are SECOND minus FIRST. Two ledgers also give 95 % intervals by a paired bootstrap over pictures, and
    the pictures that moved mIoU most. Exit status: 0 the loss of mIoU is below --max-drop, 1 it is not, 2 usage.
    """
    if len(files) != (1 if baseline else 2):
        raise ValueError("give two files, or one and --baseline")
    sides = [Side.baseline(baseline)] if baseline else []
    sides += [Side.read(path, **rules) for path in files]
    if split is not None:
        sides = [_of_split(side, split) for side in sides]
    found = compare(sides[0], sides[1], resamples=resamples, seed=seed)
    for mine, names in ((found.first, found.only_first), (found.second, found.only_second)):
        if names:
            console.tell(f"{len(names)} pictures are in {mine.name} only and left out, {names[0]} among them")
    if baseline and found.second.pictures and len(found.second.pictures) != _BASELINE_PICTURES:
        console.tell(
            f"{baseline} is the score of {_BASELINE_PICTURES} pictures, {found.second.name} has "
            f"{len(found.second.pictures)}"
        )
    if math.isnan(found.drop):
        raise ValueError("one of the two has no mIoU: no labelled pixels")
    accepted = found.drop < max_drop
    verdict = f"mIoU {'falls' if found.drop > 0 else 'rises'} by {abs(found.drop):.2f} points: " + (
        f"accepted, the loss is under {max_drop:g}" if accepted else f"not accepted, the loss is not under {max_drop:g}"
    )
    console.report(f"{found}\n\n{verdict}")
    if json_file is not None:
        write_whole(json_file, found.to_json().encode())
    return console.DONE if accepted else console.SOME_FAILED


def _of_split(side: Side, split: str) -> Side:
    if side.areas is None:
        raise ValueError(f"{side.name} has no single pictures to choose from; --split needs ledgers")
    wanted = [stem(name) for name in read_split(split).ids]
    missing = [name for name in wanted if name not in set(side.pictures)]
    if missing:
        raise ValueError(f"{side.name} lacks {len(missing)} of the pictures in {split}, {missing[0]} among them")
    return side.only(wanted)
