"""The scores of the page: of runs side by side, by class, and their differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pspfast.accuracy.comparison import Comparison, compare
from pspfast.accuracy.comparison import verdict as verdict_of
from pspfast.datasets import VOC
from pspfast.formats.result import Result
from pspfast.report.charts import heat_map, percent, points, reach, whisker
from pspfast.report.saved import SavedRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pspfast.report.charts import HeatMap, Whisker

__all__ = ["compared", "differences", "heat", "left_out", "scores"]

_SCORES = {"mIoU": "mean IoU", "mAcc": "mean accuracy", "aAcc": "pixel accuracy"}


_FURTHER = {"mDice": "mean Dice", "fwIoU": "frequency-weighted IoU", "kappa": "Cohen's kappa"}


@dataclass(frozen=True, slots=True)
class _Score:
    """A score of a run, and how it differs from the reference's."""

    name: str
    meaning: str
    value: str
    difference: str = ""
    interval: str = ""
    whisker: Whisker | None = None


@dataclass(frozen=True, slots=True)
class _Scores:
    """What stands at the top of the page about a run.

    Attributes:
        scores, further: the scores, and others that are told in small print.
        accepted: what ``pspfast compare`` says of the loss; ``None`` without a reference.
        verdict: the same as a sentence.
        limit: place of the accepted loss on the line of differences, in percent of its width.
        remarks: what has to be said beside these scores.
    """

    place: int
    is_reference: bool
    pictures: str
    scores: tuple[_Score, ...]
    further: tuple[_Score, ...]
    accepted: bool | None
    verdict: str
    limit: float | None
    remarks: tuple[str, ...]


def compared(runs: Sequence[SavedRun], reference: int, resamples: int, seed: int) -> dict[int, Comparison]:
    """Place -> the run compared with the reference; runs without scores are left out."""
    first = runs[reference].side
    if first is None:
        if any(run.side for run in runs):
            raise ValueError(f"{runs[reference].label} has no scores to compare others with")
        return {}
    found = {}
    for place, run in enumerate(runs):
        if place != reference and run.side is not None:
            if not first.classes and len(run.side.classes) != len(VOC.classes):
                raise ValueError(
                    f"{first.name} has VOC's {len(VOC.classes)} classes, {run.label} has {len(run.side.classes)}: "
                    "they cannot be compared"
                )
            found[place] = compare(first, run.side, resamples=resamples, seed=seed)
    return found


def differences(found: Comparison) -> Iterator[float]:
    """All numbers that are drawn of a comparison."""
    for name in _SCORES:
        yield found.second.scores[name] - found.first.scores[name]
        yield from found.intervals.get(name, ())


def scores(
    place: int, runs: Sequence[SavedRun], reference: int, found: Comparison | None, scale: float, max_drop: float
) -> _Scores:
    """Of one run, beside those of the reference."""
    run = runs[place]
    side = run.side
    remarks = [*run.remarks, *(side.remarks if side else ())]
    if run.result is not None and (side is None or side.areas is not None):  # a result's own side has told them
        remarks += run.result.caveats()
    if side is None:
        return _Scores(place, False, "", (), (), None, "", None, tuple(remarks))
    scores = []
    for name, meaning in _SCORES.items():
        value = percent(side.scores[name])
        if found is None:
            scores.append(_Score(name, meaning, value))
            continue
        difference = found.second.scores[name] - found.first.scores[name]
        interval = found.intervals.get(name)
        line = whisker(difference, interval, scale)
        scores.append(_Score(name, meaning, value, points(difference), reach(interval), line))
    accepted, verdict = verdict_of(found.drop, max_drop) if found else (None, "")
    if found:
        # What each side has to say for itself stands beside its own scores.
        remarks += [one for one in found.remarks if one not in found.first.remarks and one not in remarks]
    further: tuple[_Score, ...] = ()
    if side.total is not None:
        summary = Result(side.classes, side.total, side.count).summary()
        further = tuple(_Score(name, meaning, percent(summary[name])) for name, meaning in _FURTHER.items())
    pictures = f"{side.count:,} picture{'s' * (side.count != 1)}" + ", published scores" * (not run.path)
    limit = 50 - 50 * max_drop / scale if found and max_drop < scale else None
    return _Scores(
        place,
        place == reference and len(runs) > 1,
        pictures,
        tuple(scores),
        further,
        accepted,
        verdict,
        limit,
        tuple(dict.fromkeys(remarks)),
    )


def left_out(run: SavedRun) -> list[tuple[str, str]]:
    """``(name, reason)`` of pictures that are not in the scores, or were counted with a remark."""
    lists: list[tuple[str, str]] = []
    if run.result:
        lists += [*run.result.left_out, *run.result.remarks]
    return list(dict.fromkeys([*lists, *(run.record.failed if run.record else ())]))


class _Heat(NamedTuple):
    """Heat maps by place of the run; why some runs have none."""

    maps: list[tuple[int, HeatMap]]
    missing: list[str]


def heat(runs: Sequence[SavedRun]) -> _Heat | None:
    """The heat maps, ``None`` if nothing was scored."""
    maps = [
        (place, heat_map(run.matrix, run.side.classes))
        for place, run in enumerate(runs)
        if run.matrix is not None and run.side is not None
    ]
    missing = [
        f"{run.label} has pixels by class, but not which class was taken for which: a ledger has that. Give the ledger "
        "(postprocess --ledger), or the folder of the run, in place of the result."
        for run in runs
        if run.matrix is None and run.side is not None and run.path
    ]
    return _Heat(maps, missing) if maps or missing else None
