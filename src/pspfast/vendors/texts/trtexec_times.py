"""What ``trtexec --exportTimes`` writes: when each batch began and ended, as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pspfast.formats.measurements import SEVERAL_STREAMS, Measurement
from pspfast.vendors.texts.shared import merged_length, option
from pspfast.vendors.texts.trtexec import batches_of, streams_in

if TYPE_CHECKING:
    from pspfast.vendors.texts.shared import Context

__all__ = ["is_times", "parse_times"]

# A batch's begin and end by the host, from 8 on and of 7; of its computation, of both.
_STAMPS = (("startH2dMs", "endD2hMs"), ("startInMs", "endOutMs"), ("startComputeMs", "endComputeMs"))
# In one stream a batch is computed after the other; less than this side by side is a matter of rounding.
_SIDE_BY_SIDE = 0.05


def is_times(values: Any) -> bool:
    """Whether a parsed JSON is of ``--exportTimes``."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(one, dict) and ("computeMs" in one or "latencyMs" in one) for one in values)
    )


def parse_times(values: list[dict[str, Any]], context: Context) -> list[Measurement]:
    """Records "gpu compute" and "host latency"; "wall clock" alone if several streams ran side by side.

    Raises:
        ValueError: times that are missing or no numbers, or are of several streams without their begin and end.
    """
    batches = batches_of(context.command, context)
    others: dict[str, Any] = {
        "source": context.source,
        "line": context.line,
        "tool": "trtexec",
        "tool_version": context.tool_version,
        "batch": batches.declared,
        "batch_run": batches.ran,
        "device": context.device,
        "device_index": context.device_index,
        "latency_of": "batch",
        "iterations": len(values),
        "on_random_data": option(context.command, "loadInputs") is None,
        "notes": (*batches.notes, "times of trtexec 7.2 include those of its warm-up"),
    }
    of_kinds = {
        kind: _latencies([_number(one, key, context) for one in values], key, context)
        for key, kind in (("computeMs", "gpu compute"), ("latencyMs", "host latency"))
        if any(key in one for one in values)
    }
    spans = _spans(values, context)
    computed = _of_keys(values, "startComputeMs", "endComputeMs", context)
    busy = sum(end - begin for begin, end in computed)
    if streams_in(context.command) > 1 or merged_length(computed) < (1 - _SIDE_BY_SIDE) * busy:
        if not spans:
            raise ValueError(
                f"{context.where} is of several streams, where the time of a batch is no rate: expected when each "
                "batch begins and ends (startH2dMs, endD2hMs)"
            )
        whole = max(end for _, end in spans) - min(begin for begin, _ in spans)
        if not whole > 0:
            raise ValueError(f"{context.where}: {len(spans)} batches take more than {whole:g} ms")
        others["notes"] = (*others["notes"], SEVERAL_STREAMS)
        times = of_kinds.get("host latency") or of_kinds["gpu compute"]
        rate = 1000 * batches.ran * len(spans) / whole
        return [Measurement(kind="wall clock", throughput=rate, latency_ms=times, **others)]
    return [
        Measurement(kind=kind, throughput=1000 * batches.ran / times["mean"], latency_ms=times, **others)
        for kind, times in of_kinds.items()
    ]


def _spans(values: list[dict[str, Any]], context: Context) -> list[tuple[float, float]]:
    """When each batch began and ended, by the first pair of stamps that the file has."""
    return next((found for keys in _STAMPS if (found := _of_keys(values, *keys, context))), [])


def _of_keys(values: list[dict[str, Any]], first: str, last: str, context: Context) -> list[tuple[float, float]]:
    if not any(first in one or last in one for one in values):
        return []
    found = [(_number(one, first, context), _number(one, last, context)) for one in values]
    for begin, end in found:
        if not (math.isfinite(begin) and begin <= end < math.inf):
            raise ValueError(f"{context.where} contradicts itself: a batch from {first} {begin:g} to {last} {end:g}")
    return found


def _number(one: dict[str, Any], key: str, context: Context) -> float:
    try:
        return float(one[key])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{context.where}: expected {key} as a number in each of trtexec's times") from error


def _latencies(times: list[float], key: str, context: Context) -> dict[str, float]:
    for one in times:
        if not 0 <= one < math.inf:
            raise ValueError(f"{context.where}: {key} must be a number of milliseconds, got {one:g}")
    times.sort()
    mean = sum(times) / len(times)
    if not mean > 0:
        raise ValueError(f"{context.where}: {key} must be above 0, its mean is {mean:g} ms")
    found = {"mean": mean, "min": times[0], "max": times[-1], "median": _quantile(times, 0.5)}
    return found | {f"p{percent}": _quantile(times, percent / 100) for percent in (90, 95, 99)}


def _quantile(ascending: list[float], share: float) -> float:
    """Between the two nearest, as NumPy's default."""
    place = share * (len(ascending) - 1)
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (place - low)
