"""Texts of ais_bench: its log in three spellings, and its summary JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pspfast.formats.measurements import ASSUMED_BATCH, LATENCIES, Measurement
from pspfast.vendors.texts.shared import NUMBER, Context, agree, number, option

__all__ = ["is_ais_bench", "is_summary", "parse_log", "parse_summary"]

_HEAD = re.compile(r"-+Performance Summary-+")
_TIMES = re.compile(r"(NPU_compute_time|H2D_latency|D2H_latency)\s*\(ms\)\s*:\s*(.+)")
_VALUE = re.compile(rf"(min|max|mean|median|percentile\((\d+)%\)|count)\s*=\s*({NUMBER})(?=\s*(?:,|$))")
_THROUGHPUT = re.compile(
    rf"^[^\n]{{0,60}}?throughput (?P<how>\(?1000\s*\*\s*batchsize[^:\n]{{0,200}}):\s*(?P<value>{NUMBER})\s*$", re.M
)
_BATCH = re.compile(rf"batchsize(?:\.mean)?\(({NUMBER})\)")
_DEVICE = re.compile(rf"i:(\d+)\s+device_(\d+)\s+throughput:\s*({NUMBER})")
_SUM = re.compile(rf"summary throughput:\s*({NUMBER})")
_TOLERANCE = 0.02


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
    compute = times.get("NPU_compute_time", {})
    throughput = list(_THROUGHPUT.finditer(text))
    if "mean" not in compute or not throughput:
        expected = "NPU_compute_time (ms) with a mean" if "mean" not in compute else "a line 'throughput ...: T'"
        raise ValueError(f"{context.where} is cut short: expected {expected} in ais_bench's summary")
    last = throughput[-1]
    printed = _BATCH.search(last["how"])
    return _records(
        context, times, number(last["value"]), number(printed[1]) if printed else None, option_batch(context.command)
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
        listed = [
            float(one[1]) - float(one[0]) if isinstance(one, list) else float(one)
            for one in values.get("npu_compute_time_list") or []
        ]
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{context.where} is not a summary of ais_bench: {error}") from error
    compute = times.get("NPU_compute_time", {})
    if "mean" not in compute:
        raise ValueError(f"{context.where} is cut short: NPU_compute_time has no mean")
    if listed:
        mean = sum(listed) / len(listed)
        if not agree(mean, compute["mean"], _TOLERANCE):
            raise ValueError(
                f"{context.where} contradicts itself: NPU_compute_time.mean is {compute['mean']:g} ms, that of its "
                f"npu_compute_time_list {mean:g} ms"
            )
        compute.setdefault("count", len(listed))
    words = " ".join(map(str, arguments)) if isinstance(arguments, list) else str(arguments)
    # With several threads the times overlap, and ais_bench leaves out all but mean and count.
    overlapping = "min" not in compute and "count" in compute
    return _records(
        context, times, throughput, None, option_batch(words), words if arguments else "", overlapping=overlapping
    )


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
    overlapping: bool = False,
) -> list[Measurement]:
    compute = times["NPU_compute_time"]
    mean = compute["mean"]
    if mean <= 0 or (throughput is not None and throughput <= 0):
        raise ValueError(
            f"{context.where}: NPU_compute_time.mean {mean:g} ms and throughput {throughput} must be above 0"
        )
    notes: tuple[str, ...] = ()
    declared = declared or context.batch
    batch: int | None
    if throughput is None:
        batch = declared or 1
        throughput = 1000 * batch / mean
        notes = () if declared else (ASSUMED_BATCH,)
    elif overlapping:
        batch = declared
        notes = ("several threads: the throughput is not 1000 x batch / mean",)
    else:
        by_figures = throughput * mean / 1000
        if printed_batch is not None and not agree(by_figures, printed_batch, _TOLERANCE):
            raise ValueError(
                f"{context.where} contradicts itself: batch {printed_batch:g} and a mean of {mean:g} ms make "
                f"{1000 * printed_batch / mean:g} a second, the log says {throughput:g}"
            )
        by_figures = by_figures if printed_batch is None else printed_batch
        batch = round(by_figures)
        if batch < 1 or not agree(by_figures, batch, _TOLERANCE):
            if printed_batch is None:
                raise ValueError(
                    f"{context.where} contradicts itself: a throughput of {throughput:g} and a mean of {mean:g} ms "
                    f"make a batch of {by_figures:g}"
                )
            batch, notes = None, (f"batch {printed_batch:g} on average: its size changed during the run",)
    words = command or context.command
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
    found = [_record(context, "npu compute", throughput, latency_ms=_latencies(compute), **others)]
    copies = [times[name]["mean"] for name in ("H2D_latency", "D2H_latency") if "mean" in times.get(name, {})]
    if len(copies) == 2 and batch and not overlapping:
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
