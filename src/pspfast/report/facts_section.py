"""What the runs of the page were made with, how long each stage took, and the commands to repeat them."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from pspfast.formats.run_folder import RESULT
from pspfast.report.charts import NONE
from pspfast.report.saved import SavedRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


__all__ = ["commands", "facts", "facts_line", "times"]

_LONGEST_LIST = 160


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


def times(runs: Sequence[SavedRun]) -> list[_Time]:
    """Of each stage of each run, with bars that the longest one fills."""
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


class _Fact(NamedTuple):
    """A row of the table of facts: one text a run, and whether they are not all the same."""

    name: str
    values: tuple[str, ...]
    differs: bool


def facts(runs: Sequence[SavedRun]) -> list[tuple[str, list[_Fact]]]:
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


def facts_line(runs: Sequence[SavedRun]) -> list[str]:
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


def commands(runs: Sequence[SavedRun], reference: int, command: Sequence[str]) -> list[tuple[str, str]]:
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
