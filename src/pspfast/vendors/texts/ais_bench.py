"""Texts of ais_bench: its log in three spellings, and its summary JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pspfast.formats.measurements import ASSUMED_BATCH, LATENCIES, Measurement
from pspfast.vendors.texts.shared import NUMBER, Context, agree, merged_length, number, option

__all__ = ["is_ais_bench", "is_summary", "parse_log", "parse_summary"]

_HEAD = re.compile(r"-+Performance Summary-+")
_TIMES = re.compile(r"(NPU_compute_time|H2D_latency|D2H_latency)\s*\(ms\)\s*:\s*(.+)")
_VALUE = re.compile(rf"(min|max|mean|median|percentile\((\d+)%\)|count)\s*=\s*({NUMBER})(?=\s*(?:,|$))")
_THROUGHPUT = re.compile(
    rf"^[^\n]{{0,120}}?[Tt]hroughput (?P<how>\(?1000\s*\*\s*batchsize[^:\n]{{0,200}}):\s*(?P<value>{NUMBER})\s*$", re.M
)
_BATCH = re.compile(rf"batchsize(?:\.mean)?\(({NUMBER})\)")
_MEAN = re.compile(rf"NPU_compute_time\.mean\(({NUMBER})\)")
_DEVICE = re.compile(rf"i:(\d+)\s+device_(\d+)\s+throughput:\s*({NUMBER})")
# More pictures at once than any model of this kind is compiled for; beyond it the two figures are of different runs.
_MOST_INFERRED_BATCH = 1024
_SUM = re.compile(rf"summary throughput:\s*({NUMBER})")
_TOLERANCE = 0.02
_SEVERAL_THREADS = "several threads: NPU_compute_time.mean is of all of them together, no latency"


def is_ais_bench(text: str) -> bool:
    """Whether the text is ais_bench's log."""
    return any(one.search(text) for one in (_TIMES, _THROUGHPUT, _DEVICE))


def is_summary(values: Any) -> bool:
    """Whether a parsed JSON is ais_bench's summary."""
    return isinstance(values, dict) and "NPU_compute_time" in values


def parse_log(text: str, context: Context) -> list[Measurement]:
    """A record for each device's summary; one more with copies, if they are printed.

    Raises:
        ValueError: cut short or contradictory.
    """
    parts = _HEAD.split(text)
    summaries = [part for part in (parts[1:] or parts) if _TIMES.search(part) or _THROUGHPUT.search(part)]
    by_device = [(int(index), number(rate)) for _, index, rate in _DEVICE.findall(text)]
    total = _SUM.search(text)
    if total and by_device and not agree(number(total[1]), sum(rate for _, rate in by_device), _TOLERANCE):
        raise ValueError(
            f"{context.where} contradicts itself: its devices make {sum(rate for _, rate in by_device):g} pictures a "
            f"second together, its summary says {total[1]}"
        )
    if not summaries:
        return [_record(context, "npu compute", rate, device_index=index) for index, rate in by_device]
    found: list[Measurement] = []
    left = list(by_device)
    for part in summaries:
        made = _of_part(part, context)
        mine = next((one for one in left if agree(one[1], made[0].throughput, 1e-6)), None)
        if mine is not None:
            left.remove(mine)
            made = [replace(one, device_index=mine[0]) for one in made]
        found += made
    return found


def _of_part(text: str, context: Context) -> list[Measurement]:
    times: dict[str, dict[str, float]] = {}
    for name, values in _TIMES.findall(text):
        if name in times:
            raise ValueError(f"{context.where} has {name} twice in a summary; give the text of one run")
        times[name] = {}
        for key, percent, value in _VALUE.findall(values):
            times[name][f"p{percent}" if percent else key] = number(value)
    throughput = list(_THROUGHPUT.finditer(text))
    if not throughput:
        raise ValueError(f"{context.where} is cut short: expected a line 'throughput ...: T' in ais_bench's summary")
    last = throughput[-1]
    # The line of the throughput alone says nothing of threads.
    is_of_threads = times.get("NPU_compute_time", {}).keys() == {"mean"}
    compute = times.setdefault("NPU_compute_time", {})
    in_line = _MEAN.search(last["how"])
    if in_line and not agree(number(in_line[1]), compute.setdefault("mean", number(in_line[1])), _TOLERANCE):
        raise ValueError(
            f"{context.where} contradicts itself: NPU_compute_time has a mean of {compute['mean']:g} ms, the line of "
            f"the throughput one of {in_line[1]} ms"
        )
    if "mean" not in compute and not context.is_excerpt:
        raise ValueError(
            f"{context.where} is cut short: expected NPU_compute_time (ms) with a mean in ais_bench's summary"
        )
    printed = _BATCH.search(last["how"])
    return _records(
        context,
        times,
        number(last["value"]),
        number(printed[1]) if printed else None,
        option_batch(context.command),
        overlapping=_SEVERAL_THREADS if is_of_threads else "",
    )


def parse_summary(values: dict[str, Any], context: Context) -> list[Measurement]:
    """The summary JSON: ``<folder>_summary.json``, or ``sumary.json`` as it was first called.

    Raises:
        ValueError: fields are missing, of wrong types, or contradict each other.
    """
    try:
        times = {
            name: {_key(key): float(value) for key, value in values[name].items() if value is not None}
            for name in ("NPU_compute_time", "H2D_latency", "D2H_latency")
            if values.get(name)
        }
        throughput = None if values.get("throughput") is None else float(values["throughput"])
        arguments = values.get("args") or []
        listed = _intervals(values.get("npu_compute_time_list") or [])
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{context.where} is not a summary of ais_bench: {error}") from error
    compute = times.get("NPU_compute_time", {})
    if "mean" not in compute:
        raise ValueError(f"{context.where} is cut short: NPU_compute_time has no mean")
    # With several threads ais_bench leaves out all but mean and count.
    overlapping = "min" not in compute and "count" in compute
    slow = ""
    if lengths := [end - begin for begin, end in listed]:
        # ais_bench's mean: the time in which at least one thread computes, shared by their inferences.
        busy = merged_length(listed)
        overlapping |= busy < (1 - _TOLERANCE) * sum(lengths)
        if not agree(busy / len(listed), compute["mean"], _TOLERANCE):
            raise ValueError(
                f"{context.where} contradicts itself: NPU_compute_time.mean is {compute['mean']:g} ms, that of its "
                f"npu_compute_time_list {busy / len(listed):g} ms"
            )
        if compute.setdefault("count", len(listed)) != len(listed):
            raise ValueError(
                f"{context.where} contradicts itself: NPU_compute_time.count is {compute['count']:g}, its "
                f"npu_compute_time_list has {len(listed)}"
            )
        slow = f"; an inference takes {sum(lengths) / len(listed):g} ms"
    words = " ".join(map(str, arguments)) if isinstance(arguments, list) else str(arguments)
    return _records(
        context,
        times,
        throughput,
        None,
        option_batch(words),
        words if arguments else "",
        overlapping=_SEVERAL_THREADS + slow if overlapping else "",
    )


def _intervals(listed: list[Any]) -> list[tuple[float, float]]:
    """Begin and end of each inference; the first versions wrote how long each took, one after the other."""
    found: list[tuple[float, float]] = []
    for one in listed:
        if isinstance(one, list):
            found.append((float(one[0]), float(one[1])))
        else:
            begin = found[-1][1] if found else 0.0
            found.append((begin, begin + float(one)))
    return found


def option_batch(command: str) -> int | None:
    """The batch that a command line declares."""
    value = option(command, "batchsize", "batch-size", "dymBatch", "dym-batch")
    return int(value) if value and value.isdecimal() and int(value) else None


def _records(
    context: Context,
    times: dict[str, dict[str, float]],
    throughput: float | None,
    printed_batch: float | None,
    declared: int | None,
    command: str = "",
    *,
    overlapping: str = "",
) -> list[Measurement]:
    """Records of one summary: times by name, and what is said of several threads if they ran."""
    compute = times["NPU_compute_time"]
    mean = compute.get("mean")
    if (mean is not None and mean <= 0) or (throughput is not None and throughput <= 0):
        raise ValueError(
            f"{context.where}: NPU_compute_time.mean {mean} ms and throughput {throughput} must be above 0"
        )
    words = command or context.command
    notes: tuple[str, ...] = ()
    declared = declared or context.batch
    batch: int | None
    if mean is None:  # the line of the throughput alone, as it was first written
        batch = declared
    elif throughput is None:
        batch = declared or 1
        throughput = 1000 * batch / mean
        notes = () if declared else (ASSUMED_BATCH,)
    else:
        by_figures = throughput * mean / 1000
        if printed_batch is not None and not agree(by_figures, printed_batch, _TOLERANCE):
            raise ValueError(
                f"{context.where} contradicts itself: batch {printed_batch:g} and a mean of {mean:g} ms make "
                f"{1000 * printed_batch / mean:g} a second, the log says {throughput:g}"
            )
        by_figures = by_figures if printed_batch is None else printed_batch
        batch = round(by_figures)
        if printed_batch is None and declared is None and batch > _MOST_INFERRED_BATCH:
            raise ValueError(
                f"{context.where} contradicts itself: a throughput of {throughput:g} and a mean of {mean:g} ms make a "
                f"batch of {batch}"
            )
        if batch < 1 or not agree(by_figures, batch, _TOLERANCE):
            if printed_batch is None and "dym" not in words.lower():
                raise ValueError(
                    f"{context.where} contradicts itself: a throughput of {throughput:g} and a mean of {mean:g} ms "
                    f"make a batch of {by_figures:g}"
                )
            batch, notes = None, (f"batch {by_figures:g} on average: its size changed during the run",)
    if overlapping:
        notes, compute = (*notes, overlapping), {"mean": compute["mean"], "count": compute.get("count", 0.0)}
    pure = None if not words else option(words, "input", "i") is None
    count = compute.get("count")
    others: dict[str, Any] = {
        "batch": declared or batch,
        "batch_run": batch,
        "latency_of": "batch",
        "iterations": int(count) if count else None,
        "on_random_data": pure,
        "notes": notes,
    }
    assert throughput is not None  # it is, or the mean is
    found = [_record(context, "npu compute", throughput, latency_ms=_latencies(compute), **others)]
    copies = [times[name]["mean"] for name in ("H2D_latency", "D2H_latency") if "mean" in times.get(name, {})]
    if mean is not None and len(copies) == 2 and batch and not overlapping:
        whole = mean + sum(copies)
        found.append(_record(context, "host latency", 1000 * batch / whole, latency_ms={"mean": whole}, **others))
    return found


def _record(context: Context, kind: str, throughput: float, **others: Any) -> Measurement:
    values: dict[str, Any] = {
        "source": context.source,
        "line": context.line,
        "tool": "ais_bench",
        "tool_version": context.tool_version,
        "kind": kind,
        "throughput": throughput,
        "batch": context.batch,
        "device": context.device,
        "device_index": context.device_index,
    }
    return Measurement(**{**values, **others})


def _key(name: str) -> str:
    percent = re.fullmatch(r"percentile\((\d+)%\)", name)
    return f"p{percent[1]}" if percent else name


def _latencies(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name in LATENCIES}
