"""Two evaluations against each other: ``pspfast compare A B``.

From two ledgers the differences come with a 95 % interval: pictures are drawn with replacement, the same ones for both
sides (paired bootstrap), and the scores computed anew from their pixels.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pspfast.accuracy import bootstrap
from pspfast.accuracy.evaluations import BASELINES, Side
from pspfast.formats.result import table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pspfast.metrics.scores import Areas

__all__ = ["BASELINES", "Comparison", "Side", "compare", "verdict"]

_MOST_MOVERS = 10


class _Row(NamedTuple):
    """A score of both sides, and the interval of their difference if there is one."""

    name: str
    first: float
    second: float
    interval: tuple[float, float] | None

    def cells(self) -> list[str]:
        cells = [self.name, f"{100 * self.first:.2f}", f"{100 * self.second:.2f}", _signed(self.second - self.first)]
        return cells if self.interval is None else [*cells, " to ".join(map(_signed, self.interval))]

    def fields(self) -> dict[str, Any]:
        return {
            "first": _or_none(self.first),
            "second": _or_none(self.second),
            "difference": _or_none(self.second - self.first),
            "interval": None if self.interval is None else [_or_none(end) for end in self.interval],
        }


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found; all scores and differences are 0 to 1, ``second - first``.

    Attributes:
        first, second: the two sides, of the pictures that both have.
        intervals: score -> 95 % interval of the difference; empty unless pictures were drawn.
        class_intervals: the same of the IoU of each class.
        influence: picture -> how much of the difference of mIoU is gone without it, largest first.
        only_first, only_second: pictures that the other side lacks.
        remarks: what has to be said beside the differences, since it is part of them; mostly nothing.
    """

    first: Side
    second: Side
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    class_intervals: tuple[tuple[float, float], ...] = ()
    influence: dict[str, float] = field(default_factory=dict)
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        """Loss of mIoU, in points of a hundred."""
        return 100 * (self.first.scores["mIoU"] - self.second.scores["mIoU"])

    def __str__(self) -> str:
        head = ["", "first", "second", "difference"] + ["95 % interval"] * bool(self.intervals)
        lines = [f"first:  {self.first}", f"second: {self.second}", ""]
        lines += [table([head, *(row.cells() for row in self._scores())])]
        if classes := self._classes():
            lines += ["", "IoU by class", table([head, *(row.cells() for row in classes)])]
        if self.influence:
            movers = [[name, f"{100 * moved:+.3f}"] for name, moved in self.influence.items() if moved]
            lines += ["", "Pictures that moved mIoU most, and how much of the difference is gone without each"]
            lines += [table([["picture", "points"], *movers[:_MOST_MOVERS]])] if movers else ["none"]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything, for programs."""
        fields = {
            "format": "pspfast comparison",
            "version": 1,
            "first": {"name": self.first.name, "pictures": self.first.count},
            "second": {"name": self.second.name, "pictures": self.second.count},
            "scores": {row.name: row.fields() for row in self._scores()},
            "classes": [{"class": row.name, **row.fields()} for row in self._classes()],
            "influence": self.influence,
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "remarks": list(self.remarks),
        }
        return json.dumps(fields, indent=1) + "\n"

    def _scores(self) -> list[_Row]:
        first, second = self.first.scores, self.second.scores
        return [_Row(name, first[name], second[name], self.intervals.get(name)) for name in first]

    def _classes(self) -> list[_Row]:
        """Of the IoU of each class, if both sides know it."""
        if self.first.total is None or self.second.total is None:
            return []
        intervals = self.class_intervals or [None] * len(self.first.classes)
        columns = (self.first.classes, self.first.total.iou().tolist(), self.second.total.iou().tolist(), intervals)
        return [_Row(*row) for row in zip(*columns, strict=True)]


def compare(first: Side, second: Side, *, resamples: int = 2000, seed: int = 0) -> Comparison:
    """Differences between two sides over the pictures that both have.

    Args:
        first: what is expected.
        second: what came out.
        resamples: how often pictures are drawn for the intervals, 0 for none; needs at least two common pictures.
        seed: of the drawing; the same one gives the same intervals.

    Raises:
        ValueError: different classes, no common pictures, pictures whose labels are not the same in both, or no
            labelled pixels.

    Example:
        >>> drop = compare(Side.baseline("voc-opensource"), Side.baseline("voc-om")).drop
        >>> f"{drop:.2f} points"
        '0.60 points'
    """
    if resamples < 0:
        raise ValueError(f"resamples must be 0 or more, got {resamples}")
    if first.classes and second.classes and first.classes != second.classes:
        raise ValueError(_classes_differ(first, second))
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    if first.pictures and second.pictures:
        # Sorted, so that intervals do not depend on the order in which pictures were counted.
        common = sorted({*first.pictures} & {*second.pictures})
        if not common:
            raise ValueError(f"{first.name} and {second.name} have no picture in common")
        only_first = tuple(sorted({*first.pictures}.difference(common)))
        only_second = tuple(sorted({*second.pictures}.difference(common)))
        first, second = first.only(common), second.only(common)
    for side in (first, second):
        if math.isnan(side.scores["mIoU"]):
            raise ValueError(f"{side.name} has no mIoU: none of its pixels is labelled as a class")
    remarks = [*first.remarks, *second.remarks, *_only_in(first, only_first), *_only_in(second, only_second)]
    if first.areas is None or second.areas is None:
        return Comparison(first, second, remarks=(*remarks, *_what_differs(first, second)))
    _check_labels(first, second, first.areas, second.areas)
    intervals: dict[str, tuple[float, float]] = {}
    class_intervals: list[tuple[float, float]] = []
    if resamples and first.count == 1:
        remarks.append("no intervals: a single picture says nothing about others")
    elif resamples:
        intervals, class_intervals = bootstrap.paired_intervals(first.areas, second.areas, resamples, seed)
    moved = bootstrap.influence(first.areas, second.areas)
    order = np.argsort(-np.abs(moved), kind="stable")
    return Comparison(
        first,
        second,
        intervals,
        tuple(class_intervals),
        {first.pictures[index]: float(moved[index]) for index in order},
        only_first,
        only_second,
        (*remarks, *_what_differs(first, second)),
    )


def classes_text(side: Side) -> str:
    """How many classes it has, and the first of them, for messages."""
    some = ", ".join(side.classes[:3]) + ", ..." * (len(side.classes) > 3)
    return f"{side.name} has {len(side.classes)} classes ({some})"


def _classes_differ(first: Side, second: Side) -> str:
    if len(first.classes) != len(second.classes):
        return f"{classes_text(first)}, {classes_text(second)}: they cannot be compared"
    index = next(
        index for index, names in enumerate(zip(first.classes, second.classes, strict=True)) if len({*names}) > 1
    )
    return (
        f"class {index} is {first.classes[index]!r} in {first.name} and {second.classes[index]!r} in {second.name}: "
        "they cannot be compared"
    )


def _only_in(side: Side, names: tuple[str, ...]) -> list[str]:
    return [f"{side.name} has {len(names)} more pictures, left out here, {names[0]} among them"] if names else []


def _what_differs(first: Side, second: Side) -> Iterable[str]:
    """What the two differ in beside their predictions, as far as they know it."""
    if first.count != second.count:
        yield f"{first} and {second} are of different pictures, which is part of the difference"
    elif first.total is not None and second.total is not None and (first.total.truth != second.total.truth).any():
        yield f"{first.name} and {second.name} are of different labels, which is part of the difference"
    if first.geometry and second.geometry and first.geometry != second.geometry:
        yield (
            f"{first.name} has {first.geometry} geometry and {second.name} {second.geometry} geometry, which is part "
            "of the difference"
        )


def _check_labels(first: Side, second: Side, ours: Areas, theirs: Areas) -> None:
    differ = np.flatnonzero((ours.truth != theirs.truth).any(axis=1))
    if len(differ):
        raise ValueError(
            f"{first.name} and {second.name} have different labels for {len(differ)} of {first.count} pictures, "
            f"{first.pictures[differ[0]]} among them; were they made with other label files or another --ignore-index?"
        )


def _signed(difference: float) -> str:
    return "nan" if math.isnan(difference) else f"{100 * difference:+.2f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def verdict(drop: float, max_drop: float) -> tuple[bool, str]:
    """Whether a loss of mIoU is accepted, and a sentence about it.

    Args:
        drop: of mIoU in points, negative if it rises.
        max_drop: less than this is accepted.

    Example:
        >>> verdict(-0.25, 1.0)
        (True, 'mIoU rises by 0.25 points: accepted')
    """
    if drop == 0:
        return True, "mIoU is the same: accepted"
    if drop < 0:
        return True, f"mIoU rises by {_points(-drop, 0)} points: accepted"
    falls = f"mIoU falls by {_points(drop, max_drop)} points"
    if drop < max_drop:
        return True, f"{falls}: accepted, the loss is under {max_drop:g}"
    return False, f"{falls}: not accepted, the loss is not under {max_drop:g}"


def _points(moved: float, limit: float) -> str:
    """A positive number with the digits it takes, from two on, to be none and on its own side of the limit."""
    for digits in range(2, 16):
        rounded = round(moved, digits)
        if rounded and (rounded < limit) == (moved < limit):
            return f"{rounded:.{digits}f}"
    return str(moved)
