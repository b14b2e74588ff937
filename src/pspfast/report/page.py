"""The page: what a number of runs found, side by side, in one HTML file that needs nothing else."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import pspfast
from pspfast.accuracy.comparison import Comparison, compare
from pspfast.accuracy.comparison import verdict as verdict_of
from pspfast.accuracy.evaluations import BASELINES
from pspfast.datasets import VOC
from pspfast.formats.result import Result
from pspfast.report.examples import make_cards, swatches
from pspfast.report.figures import HEAT_LIMITS, NONE, class_rows, heat_map, percent, points, reach, scale_of, whisker
from pspfast.report.saved import LEDGER, RECORD, RESULT, SavedRun, read_runs
from pspfast.system import libraries as extras
from pspfast.system.files import folder_for_output, write_whole
from pspfast.system.outputs import check_outputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pspfast.report.figures import HeatMap, Whisker

__all__ = ["MAX_DROP", "Written", "render", "write_report"]

MAX_DROP = 1.0
"""Points of mIoU; a loss of this much is not accepted, as by ``pspfast compare``."""

_SCORES = {"mIoU": "mean IoU", "mAcc": "mean accuracy", "aAcc": "pixel accuracy"}
_FURTHER = {"mDice": "mean Dice", "fwIoU": "frequency-weighted IoU", "kappa": "Cohen's kappa"}
_MOST_LISTED = 50
_LONGEST_LIST = 160


class Written(NamedTuple):
    """A page that was written.

    Attributes:
        path: of the file.
        faults: what could not be shown.
    """

    path: str
    faults: tuple[str, ...]


def write_report(
    results: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    baseline: str | None = None,
    title: str | None = None,
    max_drop: float = MAX_DROP,
    resamples: int = 2000,
    seed: int = 0,
) -> Written:
    """Write the page of saved results.

    Args:
        results: folders of runs, results that ``--json`` wrote, or ledgers; the first one is the reference.
        output: the HTML file; its folder is made if need be.
        baseline: the reference in place of the first one: one of ``pspfast.accuracy.comparison.BASELINES``, or a
            further result.
        title: of the page.
        max_drop, resamples, seed: as ``pspfast compare`` takes them.

    Raises:
        OSError: a result cannot be read.
        OutputError: the page cannot be written.
        ValueError: something that is no result, or results that cannot be compared.
        MissingExtra: jinja2 is not installed.
    """
    if not results:
        raise ValueError("give at least one result: a run's folder, a result of --json, or a ledger")
    path, paths = os.fspath(output), [os.fspath(one) for one in results]
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder; give a file for the page, {os.path.join(path, 'index.html')} say")
    files = [*paths, *([] if baseline is None or baseline in BASELINES else [baseline])]
    check_outputs([path], _inputs(files))
    runs, reference = _read(results, baseline)
    command = ["pspfast", "report", *paths, "--output", path]
    command += [] if baseline is None else ["--baseline", baseline]
    command += [] if title is None else ["--title", title]
    command += [] if max_drop == MAX_DROP else ["--max-drop", f"{max_drop:g}"]
    command += [] if resamples == 2000 else ["--resamples", str(resamples)]
    command += [] if seed == 0 else ["--seed", str(seed)]
    html, faults = _rendered(runs, reference, title, max_drop, resamples, seed, command)
    if not path.startswith("/dev/"):
        folder_for_output(os.path.dirname(path) or ".")
    write_whole(path, html.encode("utf-8", "backslashreplace"))  # names of files need not be text
    return Written(path, tuple(faults))


def render(
    runs: Sequence[SavedRun],
    *,
    reference: int = 0,
    title: str | None = None,
    max_drop: float = MAX_DROP,
    resamples: int = 2000,
    seed: int = 0,
) -> str:
    """The page as text; the same runs give the same page.

    Args:
        runs: what to show, in this order; labels are all different.
        reference: place of the run that others are compared with.
        title: of the page.
        max_drop, resamples, seed: as ``pspfast compare`` takes them.

    Raises:
        ValueError: runs that cannot be compared.
        MissingExtra: jinja2 is not installed.
    """
    return _rendered(runs, reference, title, max_drop, resamples, seed, [])[0]


def _inputs(paths: Iterable[str]) -> Iterator[str]:
    """Files that a page is made of."""
    for path in paths:
        yield from (os.path.join(path, name) for name in (LEDGER, RESULT, RECORD)) if os.path.isdir(path) else (path,)


def _read(results: Sequence[str | os.PathLike[str]], baseline: str | None) -> tuple[list[SavedRun], int]:
    """The runs of a page, and which of them is the reference."""
    if baseline is None:
        runs = read_runs(results)
        return runs, next((place for place, run in enumerate(runs) if run.side), 0)
    if baseline in BASELINES:
        return [SavedRun.published(baseline), *read_runs(results)], 0
    for place, path in enumerate(results):
        if os.path.realpath(path) == os.path.realpath(baseline):
            return read_runs(results), place
    if not os.path.exists(baseline):
        raise ValueError(f"--baseline must be {', '.join(BASELINES)}, or a result; there is no file {baseline}")
    return read_runs([baseline, *results]), 0


def _rendered(
    runs: Sequence[SavedRun],
    reference: int,
    title: str | None,
    max_drop: float,
    resamples: int,
    seed: int,
    command: Sequence[str],
) -> tuple[str, list[str]]:
    """The page, and what could not be shown."""
    jinja2 = extras.need("jinja2")
    found = _compared(runs, reference, resamples, seed)
    scale = scale_of([number for one in found.values() for number in _differences(one)])
    cards, legend, faults = make_cards(runs)
    sides = {place: run.side for place, run in enumerate(runs) if run.side and run.side.total}
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "hue": _hue}
    page = environment.get_template("page.html").render(
        title=title or _title([run.label for run in runs], reference),
        version=pspfast.__version__,
        runs=runs,
        facts_line=_facts_line(runs),
        scores=[_scores(place, runs, reference, found.get(place), scale, max_drop) for place in range(len(runs))],
        scale=f"{scale:g}",
        is_compared=bool(found),
        has_intervals=any(one.intervals for one in found.values()),
        reference=runs[reference].label,
        left_out=[_left_out(run) for run in runs],
        most_listed=_MOST_LISTED,
        classes=class_rows(sides, {place: one for place, one in found.items() if place in sides}),
        heat=_heat(runs),
        heat_limits=HEAT_LIMITS,
        cards=cards,
        legend=legend,
        differences=swatches(),
        faults=faults,
        times=_times(runs),
        facts=_facts(runs),
        shown=[place for place, run in enumerate(runs) if run.path],
        commands=_commands(runs, reference, command),
    )
    return page, faults


def _template(name: str) -> str:
    return resources.files("pspfast.report").joinpath(name).read_text("utf-8")


def _title(labels: Sequence[str], reference: int) -> str:
    """What a page is called by itself.

    Example:
    >>> _title(["a"], 0), _title(["a", "b"], 0), _title(["a", "b", "c"], 1)
    ('a', 'b against a', 'a and c against b')
    """
    if len(labels) == 1:
        return labels[0]
    others = [label for place, label in enumerate(labels) if place != reference]
    return f"{', '.join(others[:-1])}{' and ' * (len(others) > 1)}{others[-1]} against {labels[reference]}"


def _hue(place: int) -> int:
    """Which of the six colours of runs one has."""
    return place % 6


# ---- scores ----


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


def _compared(runs: Sequence[SavedRun], reference: int, resamples: int, seed: int) -> dict[int, Comparison]:
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


def _differences(found: Comparison) -> Iterator[float]:
    """All numbers that are drawn of a comparison."""
    for name in _SCORES:
        yield found.second.scores[name] - found.first.scores[name]
        yield from found.intervals.get(name, ())


def _scores(
    place: int, runs: Sequence[SavedRun], reference: int, found: Comparison | None, scale: float, max_drop: float
) -> _Scores:
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


def _left_out(run: SavedRun) -> list[tuple[str, str]]:
    """``(name, reason)`` of pictures that are not in the scores, or were counted with a remark."""
    lists: list[tuple[str, str]] = []
    if run.result:
        lists += [*run.result.left_out, *run.result.remarks]
    return list(dict.fromkeys([*lists, *(run.record.failed if run.record else ())]))


# ---- confusion ----


class _Heat(NamedTuple):
    """Heat maps by place of the run; why some runs have none."""

    maps: list[tuple[int, HeatMap]]
    missing: list[str]


def _heat(runs: Sequence[SavedRun]) -> _Heat | None:
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


# ---- time ----


class _Stage(NamedTuple):
    """Thread-seconds of a stage; its bar in percent of the longest."""

    name: str
    seconds: str
    share: str
    bar: float
    is_limit: bool


class _Time(NamedTuple):
    """How long a run took."""

    place: int
    rate: str
    bar: float
    facts: tuple[tuple[str, str], ...]
    stages: tuple[_Stage, ...]


def _times(runs: Sequence[SavedRun]) -> list[_Time]:
    records = {place: run.record for place, run in enumerate(runs) if run.record}
    longest = max((seconds for record in records.values() for seconds in record.stages.values()), default=0.0) or 1.0
    fastest = max((record.pictures_per_s or 0.0 for record in records.values()), default=0.0) or 1.0
    times = []
    for place, record in records.items():
        whole = sum(record.stages.values()) or 1.0
        stages = tuple(
            _Stage(
                name, _seconds(seconds), f"{100 * seconds / whole:.1f} %",
                round(100 * seconds / longest, 2), name == record.limited_by,
            )
            for name, seconds in record.stages.items()
            if seconds
        )  # fmt: skip
        facts = {
            "time": None if record.seconds is None else _seconds(record.seconds),
            "pictures": record.fields.get("pictures"),
            "kept from before": record.fields.get("kept") or None,
            "batch": record.fields.get("batch"),
            "workers": record.fields.get("workers"),
            "peak memory": None if record.peak_memory is None else f"{record.peak_memory / 1e6:,.0f} MB",
        }
        rate = "" if record.pictures_per_s is None else _rate(record.pictures_per_s)
        bar = round(100 * (record.pictures_per_s or 0) / fastest, 2)
        told = tuple((name, _plain(value)) for name, value in facts.items() if value is not None)
        if rate or stages or told:
            times.append(_Time(place, rate, bar, told, stages))
    return times


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    """A time, as exactly as one wants to know it.

    Example:
    >>> _seconds(0.0312), _seconds(61.4), _seconds(3725)
    ('31.2 ms', '61.4 s', '1 h 2 min')
    """
    if value < 1:
        return f"{1000 * value:.3g} ms"
    if value < 100:
        return f"{value:.3g} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# ---- facts and commands ----


class _Fact(NamedTuple):
    """A row of the table of facts: one text a run, and whether they are not all the same."""

    name: str
    values: tuple[str, ...]
    differs: bool


def _facts(runs: Sequence[SavedRun]) -> list[tuple[str, list[_Fact]]]:
    """Groups of facts, without those that no run knows."""
    columns = [dict(_facts_of(run)) for run in runs if run.path]
    groups: dict[str, list[_Fact]] = {}
    for group, name in dict.fromkeys(key for column in columns for key in column):
        values = tuple(column.get((group, name), NONE) for column in columns)
        groups.setdefault(group, []).append(_Fact(name, values, len(set(values)) > 1))
    return list(groups.items())


def _facts_of(run: SavedRun) -> Iterator[tuple[tuple[str, str], str]]:
    """``(group, name)`` and text of all that is known of a run."""
    fields = run.record.fields if run.record else {}
    source = dict(run.result.source) if run.result else {}
    if run.matrix is not None:
        source |= {"ignore_index": run.matrix.ignore_index, "reduce_zero_label": run.matrix.reduce_zero_label}
    geometry = (run.side.geometry if run.side else "") or fields.get("geometry") or ""
    canvas = fields.get("canvas")
    pixels = run.side.total.truth.sum() if run.side and run.side.total else None
    matrix = run.matrix
    groups: dict[str, dict[str, Any]] = {
        "Geometry and labels": {
            "geometry": geometry,
            "canvas": " x ".join(map(str, canvas)) if isinstance(canvas, list) else canvas,
            "classes": len(run.side.classes) if run.side else None,
            "labelled pixels": None if pixels is None else f"{int(pixels):,}",
            "ignored pixels": None if matrix is None else f"{matrix.ignored:,}",
            **{name.replace("_", " "): value for name, value in source.items() if name != "geometry"},
        },
        "Data": _flat(fields.get("data")),
        "Model": _flat(fields.get("model")),
        "Runtime": _flat(fields.get("runtime")),
        "Environment": {
            "pspfast": fields.get("pspfast"),
            "started": fields.get("started"),
            **_flat(fields.get("environment")),
        },
    }
    for group, facts in groups.items():
        for name, value in facts.items():
            text = _plain(value)
            if text:
                yield (group, name), text


def _flat(value: Any) -> dict[str, Any]:
    """A dictionary without dictionaries in it; anything else under one name."""
    if not isinstance(value, dict):
        return {} if value is None else {"": value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= (
            {f"{name} {key}".strip(): one for key, one in _flat(inner).items()}
            if isinstance(inner, dict)
            else {str(name): inner}
        )
    return flat


def _plain(value: Any) -> str:
    """A value as a reader would write it.

    Example:
        >>> _plain(True), _plain(1449), _plain([500, 375]), _plain({}), _plain(0.25)
        ('yes', '1,449', '500, 375', '', '0.25')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        text = ", ".join(map(_plain, value))
        return text if len(text) <= _LONGEST_LIST else f"{len(value)}: {text[:_LONGEST_LIST]} ..."
    return str(value)


def _facts_line(runs: Sequence[SavedRun]) -> list[str]:
    """What stands under the title."""
    shown = [run for run in runs if run.path]
    line = []
    for what, values in (
        ("pictures", [run.side.count for run in shown if run.side]),
        ("classes", [len(run.side.classes) for run in shown if run.side]),
    ):
        if values:
            few, many = min(values), max(values)
            line.append(f"{few:,} {what}" if few == many else f"{few:,} to {many:,} {what}")
    geometries = list(dict.fromkeys(run.side.geometry for run in shown if run.side and run.side.geometry))
    if geometries:
        line.append(f"{' and '.join(geometries)} geometry")
    started = [
        str(run.record.fields["started"])[:10] for run in shown if run.record and run.record.fields.get("started")
    ]
    if started:
        line.append(" to ".join(dict.fromkeys((min(started), max(started)))))
    return line


def _commands(runs: Sequence[SavedRun], reference: int, command: Sequence[str]) -> list[tuple[str, str]]:
    """``(what it does, command line)``."""
    commands = [
        (f"The run {run.label}" if len(runs) > 1 else "The run", shlex.join(run.record.command))
        for run in runs
        if run.record and run.record.command
    ]
    commands += [
        (f"The scores of {run.label} again, from its ledger", shlex.join(["pspfast", "ledger", "score", run.ledger]))
        for run in runs
        if run.ledger
    ]
    first = runs[reference]
    for place, run in enumerate(runs):
        if place != reference and run.side is not None and first.side is not None:
            ours = ["--baseline", first.label] if not first.path else [_comparable(first)]
            commands.append(
                (f"{run.label} against {first.label}", shlex.join(["pspfast", "compare", *ours, _comparable(run)]))
            )
    if command:
        commands.append(("This page", shlex.join(command)))
    return commands


def _comparable(run: SavedRun) -> str:
    """The file that ``pspfast compare`` takes."""
    return run.ledger or (os.path.join(run.path, RESULT) if os.path.isdir(run.path) else run.path)
