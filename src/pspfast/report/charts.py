"""The page's figures as plain numbers and texts: bars, the heat map, differences on a line. The template draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.accuracy.comparison import Comparison
    from pspfast.accuracy.evaluations import Side
    from pspfast.metrics.confusion import ConfusionMatrix

__all__ = [
    "HEAT_LIMITS", "NONE", "ClassLine", "ClassRow", "Confusion", "HeatCell", "HeatMap", "Whisker", "class_rows",
    "heat_map", "percent", "points", "reach", "scale_of", "whisker",
]  # fmt: skip

HEAT_LIMITS = (0.5, 1, 2, 5, 10, 20, 40, 60, 80, 95)
"""Where the colours of the heat map change, in percent. Most of what is wrong is a few percent, so steps are finer
there; a colour for zero comes before, so that there are two more colours than limits."""

# A map of 150 classes is 22,500 cells, which nobody reads.
_MOST_CLASSES_MAPPED, _CLASSES_CHOSEN = 64, 40
_MOST_CONFUSIONS = 10
NONE = "–"  # noqa: RUF001 - a dash as wide as a figure, where there is none


def percent(value: float | None, digits: int = 2) -> str:
    """A score of 0 to 1 in percent, a dash for one that does not exist.

    Example:
        >>> percent(0.76672), percent(math.nan) == NONE
        ('76.67', True)
    """
    return NONE if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def points(difference: float | None, digits: int = 2) -> str:
    """A difference of scores in points of a hundred, signed.

    Example:
        >>> points(0.006), points(0.0), points(-1e-9)
        ('+0.60', '0.00', '0.00')
    """
    if difference is None or math.isnan(difference):
        return NONE
    size = f"{abs(100 * difference):.{digits}f}"
    if not float(size):
        return size
    return ("+" if difference > 0 else "−") + size  # noqa: RUF001 - a minus sign is as wide as a plus


def reach(interval: tuple[float, float] | None) -> str:
    """An interval of differences as text; empty if there is none.

    Example:
        >>> reach((0.001, 0.02)), reach((math.nan, math.nan)), reach(None)
        ('+0.10 to +2.00', '', '')
    """
    if interval is None or math.isnan(interval[0]):
        return ""
    return f"{points(interval[0])} to {points(interval[1])}"


class Whisker(NamedTuple):
    """A difference and its interval on a line; places in percent of its width.

    Attributes:
        at: of the difference.
        low, high: of the interval's ends; ``None`` if there is none.
        is_clear: zero is outside of the interval.
    """

    at: float
    low: float | None
    high: float | None
    is_clear: bool


def scale_of(differences: Sequence[float]) -> float:
    """A round number of points that all differences, 0 to 1, are within; what the line ends at on both sides.

    Example:
        >>> scale_of([0.003, -0.087]), scale_of([])
        (10.0, 0.1)
    """
    most = max((abs(100 * one) for one in differences if not math.isnan(one)), default=0.0)
    power = 10.0 ** math.floor(math.log10(max(most, 0.1)))
    return next((step * power for step in (1, 2, 5) if step * power >= most * 1.02), 10 * power)


def whisker(difference: float, interval: tuple[float, float] | None, scale: float) -> Whisker | None:
    """Where a difference stands on a line from ``-scale`` to ``scale`` points; ``None`` if it does not exist."""
    if math.isnan(difference):
        return None

    def place(value: float) -> float:
        return round(min(max(50 + 50 * 100 * value / scale, 0), 100), 2)

    if interval is None or math.isnan(interval[0]):
        return Whisker(place(difference), None, None, False)
    return Whisker(place(difference), place(interval[0]), place(interval[1]), _is_clear(interval))


@dataclass(frozen=True, slots=True)
class ClassLine:
    """IoU of a class in one run.

    Attributes:
        run: which one, by its place on the page.
        iou: 0 to 1; ``None`` if the class does not occur.
        note: what is special about it; mostly empty.
        difference, interval: to the reference, as texts; empty if there are none.
        is_clear: zero is outside of the interval.
    """

    run: int
    iou: float | None
    note: str = ""
    difference: str = ""
    interval: str = ""
    is_clear: bool = False


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class, and its IoU in each run."""

    index: int
    name: str
    lines: tuple[ClassLine, ...]

    @property
    def is_absent(self) -> bool:
        """Neither labelled nor predicted in any run."""
        return all(line.iou is None for line in self.lines)

    @property
    def is_compared(self) -> bool:
        """One of the runs has a difference to the reference."""
        return any(line.difference for line in self.lines)


def class_rows(sides: dict[int, Side], found: dict[int, Comparison]) -> list[ClassRow]:
    """Classes by IoU in the first run, highest first; those that do not occur last.

    Args:
        sides: place on the page -> a run that knows its classes, all the same ones.
        found: place on the page -> the run compared with the reference.
    """
    if not sides:
        return []
    columns = {run: _class_lines(run, side, found.get(run)) for run, side in sides.items()}
    names = next(iter(sides.values())).classes
    rows = [ClassRow(i, name, tuple(lines[i] for lines in columns.values())) for i, name in enumerate(names)]

    def highest_first(row: ClassRow) -> tuple[bool, float, int]:
        known = [line.iou for line in row.lines if line.iou is not None]
        return not known, -known[0] if known else 0.0, row.index

    return sorted(rows, key=highest_first)


def _class_lines(run: int, side: Side, compared: Comparison | None) -> list[ClassLine]:
    assert side.total is not None
    ious, truth = side.total.iou().tolist(), side.total.truth.tolist()
    if compared is None or compared.first.total is None or compared.second.total is None:
        differences: list[float | None] = [None] * len(ious)
        intervals: Sequence[tuple[float, float]] = ()
    else:
        differences = (compared.second.total.iou() - compared.first.total.iou()).tolist()
        intervals = compared.class_intervals
    lines = []
    for index, iou in enumerate(ious):
        difference, interval = differences[index], intervals[index] if intervals else None
        lines.append(
            ClassLine(
                run,
                None if math.isnan(iou) else iou,
                "absent" if math.isnan(iou) else "" if truth[index] else "not labelled",
                "" if difference is None or math.isnan(difference) else points(difference),
                reach(interval),
                interval is not None and _is_clear(interval),
            )
        )
    return lines


class HeatCell(NamedTuple):
    """Share of a class's pixels that were predicted as another: its colour, text and what hovering tells."""

    step: int
    text: str
    title: str
    is_right: bool


class Confusion(NamedTuple):
    """Pixels of one class that were predicted as another."""

    truth: str
    predicted: str
    share: str
    pixels: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A confusion matrix, each row adding up to 100 %.

    Attributes:
        columns: what was predicted.
        rows: what was labelled, and its cells.
        confusions: the largest shares off the diagonal.
        of_classes: how many classes there are, where only those with the most wrong pixels are shown; else 0.
        unlabelled: classes without a row, since none of their pixels is labelled.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]
    confusions: tuple[Confusion, ...]
    of_classes: int
    unlabelled: tuple[str, ...]


def heat_map(matrix: ConfusionMatrix, classes: tuple[str, ...]) -> HeatMap:
    """The heat map of a matrix.

    Args:
        matrix: pixels by true and predicted class.
        classes: their names.
    """
    count = len(classes)
    labels, preds, pixels = matrix.nonzero()
    areas = matrix.areas()
    invalid = matrix.invalid_predictions
    wrong = areas.truth + areas.predicted - 2 * areas.intersection
    chosen = np.arange(count)
    if count > _MOST_CLASSES_MAPPED:
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:_CLASSES_CHOSEN])
    place = np.full(count, -1)
    place[chosen] = np.arange(len(chosen))
    shown = (place[labels] >= 0) & (place[preds] >= 0)
    table = np.zeros((len(chosen), len(chosen)), np.int64)
    table[place[labels[shown]], place[preds[shown]]] = pixels[shown]
    columns = [classes[index] for index in chosen]
    if invalid.any():
        table = np.column_stack((table, invalid[chosen]))
        columns.append("no class")
    rows = []
    for row, label in enumerate(chosen.tolist()):
        if areas.truth[label]:
            cells = [
                _cell(classes[label], name, int(table[row, column]), int(areas.truth[label]), row == column)
                for column, name in enumerate(columns)
            ]
            rows.append((classes[label], tuple(cells)))
    unlabelled = tuple(classes[label] for label in chosen.tolist() if not areas.truth[label])
    confusions = _confusions(labels, preds, pixels, areas.truth, classes)
    return HeatMap(tuple(columns), tuple(rows), confusions, count if len(chosen) < count else 0, unlabelled)


def _cell(label: str, predicted: str, pixels: int, truth: int, is_right: bool) -> HeatCell:
    share = 100 * pixels / truth
    step = 0 if not pixels else 1 + sum(share >= limit for limit in HEAT_LIMITS)
    # 100 means all of them: 99.7 is not.
    text = "" if share < 0.5 else str(min(round(share), 99)) if pixels < truth else "100"
    what = f"{label}, predicted right" if is_right else f"{label}, predicted as {predicted}"
    return HeatCell(step, text, f"{what}: {share:.3g} % ({pixels:,} of {truth:,} pixels)", is_right)


def _confusions(
    labels: NDArray[np.int64],
    preds: NDArray[np.int64],
    pixels: NDArray[np.int64],
    truth: NDArray[np.int64],
    classes: tuple[str, ...],
) -> tuple[Confusion, ...]:
    off = labels != preds
    labels, preds, pixels = labels[off], preds[off], pixels[off]
    shares = pixels / truth[labels]
    order = np.argsort(-shares, kind="stable")[:_MOST_CONFUSIONS]
    return tuple(
        Confusion(classes[labels[i]], classes[preds[i]], f"{percent(float(shares[i]), 1)} %", f"{int(pixels[i]):,}")
        for i in order
    )


def _is_clear(interval: tuple[float, float]) -> bool:
    return interval[0] > 0 or interval[1] < 0
