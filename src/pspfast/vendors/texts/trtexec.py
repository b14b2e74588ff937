"""Texts of trtexec: logs of 7.0 to 7.2 (many lines) and from 8.0 on (a line each), and ``--exportTimes``.

trtexec's throughput is of batches, and its times are of a batch. 7.x says 0 qps for every ONNX model: never used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pspfast.formats.measurements import ASSUMED_BATCH, COMMAS_IN_SHAPES, LATENCIES, ZERO_QPS, Measurement, device_name
from pspfast.vendors.texts.shared import NUMBER, Context, agree, declared_shape_batch, number, option

__all__ = ["is_log", "is_times", "parse_log", "parse_times"]

_PREFIX = re.compile(r"^\s*(?:\[[\d/:\- ]+\]\s*)?(?:\[[VIWEF]\]\s?)?\s*")
_SECTIONS = {
    "host latency": "host latency",
    "end-to-end host latency": "end to end",
    "enqueue time": "enqueue",
    "gpu compute": "gpu compute",
}
_SECTION = re.compile(r"(Host Latency|End-to-End Host Latency|Enqueue Time|GPU Compute)\s*:?", re.IGNORECASE)
_OLD_VALUE = re.compile(rf"(min|max|mean|median):\s*({NUMBER}) ms(?: \(end to end {NUMBER} ms\))?\s*")
_OLD_PERCENTILE = re.compile(rf"percentile:\s*({NUMBER}) ms at ({NUMBER})%.*")
_OLD_TOTAL = re.compile(rf"total compute time:\s*({NUMBER}) s\s*")
_OLD_QPS = re.compile(rf"throughput:\s*({NUMBER}) qps\s*")
_NEW_LINE = re.compile(r"(Latency|GPU Compute Time):\s*(min = .*)")
_NEW_VALUE = re.compile(rf"(min|max|mean|median|percentile\(({NUMBER})%\)) = ({NUMBER}) ms(?=\s*(?:,|$))")
_NEW_QPS = re.compile(rf"Throughput:\s*({NUMBER}) qps\s*")
_NEW_TOTAL = re.compile(rf"Total GPU Compute Time:\s*({NUMBER}) s\s*")
_QUERIES = re.compile(r"Timing trace has (\d+) queries")
_BINDING = re.compile(r"(?:Created input|Input) binding for (\S+) with dimensions (\d+(?:x\d+)*)")
_COMMAND = re.compile(r"(?:# )?(\S*trtexec\s+-.*)")
_BANNER = re.compile(
    r"&&&& (RUNNING|PASSED|FAILED) TensorRT\.trtexec(?: \[TensorRT v(\d+)\])?(?: \[b\d+\])?(?: # (.*))?"
)
_VERSION = re.compile(r"TensorRT version:\s*(\d+(?:\.\d+)+)")
_DEVICE = re.compile(r"Selected Device:\s*(\S.*)")
_TOLERANCE = 0.02


@dataclass(slots=True)
class _Log:
    """What a log says, before it is made sense of."""

    compute: dict[str, float]
    latency: dict[str, float]
    qps: float | None = None
    total_seconds: float | None = None
    queries: int | None = None
    binding: tuple[int, ...] = ()
    command: str = ""
    version: str | None = None
    device: str | None = None


def is_log(text: str) -> bool:
    """Whether the text is trtexec's log, or the part of it with the figures."""
    lines = [_PREFIX.sub("", line) for line in text.splitlines()]
    return any(
        (line.startswith("&&&& ") and "TensorRT.trtexec" in line)
        or re.fullmatch(r"GPU Compute\s*", line)
        or line.startswith("GPU Compute Time: min")
        or _NEW_QPS.fullmatch(line)
        for line in lines
    )


def is_times(values: Any) -> bool:
    """Whether a parsed JSON is of ``--exportTimes``."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(one, dict) and ("computeMs" in one or "latencyMs" in one) for one in values)
    )


def parse_log(text: str, context: Context) -> list[Measurement]:
    """Records "gpu compute", and "host latency" and "wall clock" where they are printed.

    Raises:
        ValueError: the run failed, the text is cut short or of several runs, or contradicts itself.
    """
    log = _read(text, context)
    if "mean" not in log.compute:
        raise ValueError(
            f"{context.where} is cut short: expected trtexec's GPU compute times with a mean ('mean: X ms' below 'GPU "
            "Compute', or 'GPU Compute Time: ... mean = X ms')"
        )
    command = log.command or context.command
    declared, ran, notes = _batches(log, command, context)
    mean = log.compute["mean"]
    if mean <= 0:
        raise ValueError(f"{context.where}: a batch takes more than {mean:g} ms")
    iterations = log.queries
    if iterations is None and log.total_seconds is not None:
        iterations = round(1000 * log.total_seconds / mean) or None
    elif iterations and log.total_seconds and not agree(1000 * log.total_seconds, mean * iterations, _TOLERANCE):
        raise ValueError(
            f"{context.where} contradicts itself: {iterations} queries of {mean:g} ms make "
            f"{mean * iterations / 1000:g} s, the log says {log.total_seconds:g} s of GPU compute"
        )
    if log.qps == 0:
        notes = (*notes, ZERO_QPS)
    others: dict[str, Any] = {
        "source": context.source,
        "line": context.line,
        "tool": "trtexec",
        "tool_version": log.version or context.tool_version,
        "batch": declared,
        "batch_run": ran,
        "device": log.device or context.device,
        "device_index": context.device_index,
        "latency_of": "batch",
        "iterations": iterations,
        "on_random_data": option(command, "loadInputs") is None,
        "notes": notes,
    }
    found = [Measurement(kind="gpu compute", throughput=1000 * ran / mean, latency_ms=log.compute, **others)]
    if log.latency.get("mean"):
        rate = 1000 * ran / log.latency["mean"]
        found.append(Measurement(kind="host latency", throughput=rate, latency_ms=log.latency, **others))
    # 7.x counts by a batch that ONNX models do not have.
    if log.qps and _NEW_QPS.search(text):
        found.append(Measurement(kind="wall clock", throughput=log.qps * ran, **others))
    return found


def parse_times(values: list[dict[str, Any]], context: Context) -> list[Measurement]:
    """``--exportTimes``: the times of single batches.

    Raises:
        ValueError: times that are missing or no numbers.
    """
    declared, ran, notes = _batches(_Log({}, {}), context.command, context)
    found: list[Measurement] = []
    for key, kind in (("computeMs", "gpu compute"), ("latencyMs", "host latency")):
        if all(key not in one for one in values):
            continue
        try:
            times = sorted(float(one[key]) for one in values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{context.where}: expected {key} as a number in each of trtexec's times") from error
        mean = sum(times) / len(times)
        if not mean > 0:
            raise ValueError(f"{context.where}: {key} must be above 0, its mean is {mean:g} ms")
        latencies = {"mean": mean, "min": times[0], "max": times[-1], "median": _quantile(times, 0.5)}
        latencies |= {f"p{percent}": _quantile(times, percent / 100) for percent in (90, 95, 99)}
        found.append(
            Measurement(
                source=context.source,
                line=context.line,
                tool="trtexec",
                tool_version=context.tool_version,
                kind=kind,
                throughput=1000 * ran / mean,
                batch=declared,
                batch_run=ran,
                device=context.device,
                device_index=context.device_index,
                latency_ms=latencies,
                latency_of="batch",
                iterations=len(times),
                on_random_data=option(context.command, "loadInputs") is None,
                notes=(*notes, "times of trtexec 7.2 include those of its warm-up"),
            )
        )
    return found


def _quantile(ascending: list[float], share: float) -> float:
    """Between the two nearest, as NumPy's default."""
    place = share * (len(ascending) - 1)
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (place - low)


def _read(text: str, context: Context) -> _Log:
    log = _Log({}, {})
    section = ""
    seen: set[str] = set()
    runs, has_passed = 0, False
    for raw in text.splitlines():
        line = _PREFIX.sub("", raw).rstrip()
        if banner := _BANNER.match(line):
            if banner[1] == "FAILED":
                raise ValueError(f"{context.where}: this run of trtexec failed{_first_error(text)}; it has no figures")
            runs += banner[1] == "RUNNING"
            has_passed |= banner[1] == "PASSED"
            log.command = banner[3] or log.command
            log.version = log.version or _version(banner[2])
        elif found := _VERSION.search(line):
            log.version = found[1]
        elif found := _DEVICE.search(line):
            log.device = device_name(found[1])
        elif found := _QUERIES.search(line):
            log.queries = int(found[1]) or None
        elif (found := _BINDING.search(line)) and not log.binding:
            log.binding = tuple(map(int, found[2].split("x")))
        elif (found := _COMMAND.fullmatch(line)) and not log.command:
            log.command = found[1]
        elif found := _SECTION.fullmatch(line):
            section = _SECTIONS[found[1].lower()]
            if section in seen:
                raise ValueError(f"{context.where} has {found[1]!r} twice; give the log of one run")
            seen.add(section)
        elif found := _NEW_LINE.fullmatch(line):
            name = "gpu compute" if found[1].startswith("GPU") else "host latency"
            if name in seen:
                raise ValueError(f"{context.where} has {found[1]!r} twice; give the log of one run")
            seen.add(name)
            times = {f"p{percent}" if percent else key: number(ms) for key, percent, ms in _NEW_VALUE.findall(found[2])}
            _times_of(log, name).update(_known(times))
        else:
            _old_line(log, section, line)
    if runs > 1:
        raise ValueError(f"{context.where} has {runs} runs of trtexec; give the log of one run")
    if runs and not has_passed:
        raise ValueError(f"{context.where} is cut short: trtexec's last line, '&&&& PASSED', is missing")
    return log


def _old_line(log: _Log, section: str, line: str) -> None:
    """A line of 7.x below one of its headings, or a total."""
    times = _times_of(log, section)
    if found := _OLD_VALUE.fullmatch(line):
        times[found[1]] = number(found[2])
    elif found := _OLD_PERCENTILE.fullmatch(line):
        times.update(_known({f"p{found[2]}": number(found[1])}))
    elif found := _OLD_TOTAL.fullmatch(line) or _NEW_TOTAL.fullmatch(line):
        log.total_seconds = number(found[1])
    elif found := _OLD_QPS.fullmatch(line) or _NEW_QPS.fullmatch(line):
        log.qps = number(found[1])


def _times_of(log: _Log, section: str) -> dict[str, float]:
    return {"gpu compute": log.compute, "host latency": log.latency}.get(section, {})


def _known(times: dict[str, float]) -> dict[str, float]:
    return {name: ms for name, ms in times.items() if name in LATENCIES}


def _batches(log: _Log, command: str, context: Context) -> tuple[int | None, int, tuple[str, ...]]:
    """The batch declared, the one that ran, and notes; what nothing proves is counted as 1.

    Before 8.0 a model of fixed batch runs whatever --shapes says; from 8.0 on, its build fails.
    """
    declared = context.batch
    notes: tuple[str, ...] = ()
    shapes = option(command, "shapes")
    from_shapes, has_commas = declared_shape_batch(shapes) if shapes else (None, False)
    if has_commas:
        notes = (COMMAS_IN_SHAPES,)
    implicit = option(command, "batch")
    in_command = from_shapes or (int(implicit) if implicit and implicit.isdecimal() else None) or None
    if in_command is not None:
        declared = in_command
    if log.binding and (len(log.binding) > 3 or not implicit):
        ran = log.binding[0]
        return declared or ran, max(ran, 1), notes
    release = int(log.version.split(".")[0]) if log.version else 0
    if from_shapes and not has_commas and release >= 8:
        return declared, from_shapes, notes
    if implicit and in_command and option(command, "onnx") is None and not shapes:
        return declared, in_command, notes
    return declared, 1, (*notes, ASSUMED_BATCH)


def _version(digits: str | None) -> str | None:
    """Of the banner: v8601 is 8.6.1, v100300 is 10.3.0."""
    if digits is None:
        return None
    value = int(digits)
    base = 100 if value < 10_000 else 10_000
    if base == 100:
        return f"{value // 1000}.{value // 100 % 10}.{value % 100}"
    return f"{value // 10_000}.{value // 100 % 100}.{value % 100}"


def _first_error(text: str) -> str:
    found = re.search(r"\[E\]\s*(.+)", text)
    return f" ({found[1].strip()})" if found else ""
