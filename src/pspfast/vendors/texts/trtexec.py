"""Texts of trtexec: logs of 7.0 to 7.2 (many lines) and from 8.0 on (a line each).

trtexec's throughput is of batches (of pictures with ``--batch``), its times are of a batch. 7.x says 0 qps for every
ONNX model: never used. With several streams batches run side by side, so that a batch's time is no rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pspfast.formats.measurements import (
    ASSUMED_BATCH,
    COMMAS_IN_SHAPES,
    LATENCIES,
    SEVERAL_STREAMS,
    ZERO_QPS,
    Measurement,
    device_name,
)
from pspfast.vendors.texts.shared import NUMBER, Context, agree, declared_shape_batch, number, option

__all__ = ["Batches", "batches_of", "is_log", "parse_log", "streams_in"]

# Where a line's own words begin; before them stands what docker compose, a CI or kubectl writes before each line.
_OWN_WORDS = (
    re.compile(r"(?=&&&& (?:RUNNING|PASSED|FAILED) )"),
    re.compile(r"\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\]\s*\[[VIWEF]\]\s*"),
    re.compile(r"(?:^|(?<=\s))\[[VIWEF]\](?:\s+|$)"),
    re.compile(r"^\s*(?:\[[\d/:\- ]+\]\s*)?"),
)
_SECTIONS = {
    "host latency": "host latency",
    "end-to-end host latency": "end to end",
    "enqueue time": "enqueue",
    "gpu compute": "gpu compute",
}
_SECTION = re.compile(r"(Host Latency|End-to-End Host Latency|Enqueue Time|GPU Compute)\s*:?", re.IGNORECASE)
_OLD_VALUE = re.compile(rf"(min|max|mean|median):\s*({NUMBER})\s*ms(?: \(end to end {NUMBER} ms\))?\s*")
_OLD_PERCENTILE = re.compile(rf"percentile:\s*({NUMBER})\s*ms at ({NUMBER})%.*")
_OLD_TOTAL = re.compile(rf"total compute time:\s*({NUMBER}) s\s*")
_OLD_WALL = re.compile(rf"walltime:\s*({NUMBER}) s\s*")
_OLD_QPS = re.compile(rf"throughput:\s*({NUMBER}) qps\s*")
_NEW_LINE = re.compile(r"(Latency|GPU Compute Time|H2D Latency|D2H Latency):\s*(min = .*)")
_NEW_NAMES = {"Latency": "host latency", "GPU Compute Time": "gpu compute", "H2D Latency": "in", "D2H Latency": "out"}
_NEW_VALUE = re.compile(rf"(min|max|mean|median|percentile\(({NUMBER})%\)) = ({NUMBER}) ms(?=\s*(?:,|$))")
_ANY_QPS = re.compile(r"Throughput:[^\n]*")
_NEW_QPS = re.compile(rf"Throughput:\s*({NUMBER}) qps\s*")
_NEW_TOTAL = re.compile(rf"Total GPU Compute Time:\s*({NUMBER}) s\s*")
_NEW_WALL = re.compile(rf"Total Host Walltime:\s*({NUMBER}) s\s*")
_QUERIES = re.compile(rf"Timing trace has (\d+) queries over ({NUMBER}) s")
_STREAMS = re.compile(r"(?:Inference )?Streams:\s*(\d+)\s*")
_BINDING = re.compile(r"(?:Created input|Input) binding for (\S+) with dimensions (\d+(?:x\d+)*)")
_COMMAND = re.compile(r"(?:# )?(\S*trtexec\s+-.*)")
_BANNER = re.compile(
    r"&&&& (RUNNING|PASSED|FAILED) TensorRT\.trtexec(?: \[TensorRT v(\d+)\])?(?: \[b\d+\])?(?: # (.*))?"
)
_VERSION = re.compile(r"TensorRT version:\s*(\d+(?:\.\d+)+)")
_DEVICE = re.compile(r"Selected Device:\s*(\S.*)")
_COMMAS = re.compile(r"\d+,\d+ (?:ms|qps)\b")
_TOLERANCE = 0.02
# One stream computes for no longer than the clock on the wall runs; figures in prose are rounded.
_BUSIEST = 1.05


@dataclass(slots=True)
class _Log:
    """What a log says, before it is made sense of."""

    compute: dict[str, float] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    copies: dict[str, dict[str, float]] = field(default_factory=lambda: {"in": {}, "out": {}})
    qps: float | None = None
    total_seconds: float | None = None
    wall_seconds: float | None = None
    queries: int | None = None
    streams: int = 1
    binding: tuple[int, ...] = ()
    command: str = ""
    version: str | None = None
    device: str | None = None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Batches:
    """The batch of a run.

    Attributes:
        declared: as the command line or the surroundings say.
        ran: as it really ran; 1 where nothing proves one.
        notes: what has to be known of it.
        is_query: whether trtexec counts a batch as one query; with ``--batch`` it counts pictures.
    """

    declared: int | None
    ran: int
    notes: tuple[str, ...] = ()
    is_query: bool = True

    @property
    def queries(self) -> int:
        """What trtexec counts for one batch."""
        return 1 if self.is_query else self.ran


def is_log(text: str) -> bool:
    """Whether the text is trtexec's log, or the part of it with the figures."""
    return any(
        (line.startswith("&&&& ") and "TensorRT.trtexec" in line)
        or re.fullmatch(r"GPU Compute\s*", line)
        or line.startswith("GPU Compute Time: min")
        or _NEW_QPS.fullmatch(line)
        for line in map(_own_words, text.splitlines())
    )


def parse_log(text: str, context: Context) -> list[Measurement]:
    """Records "gpu compute", and "host latency" and "wall clock" where they are printed.

    Of several streams "wall clock" alone, from what is printed or from batches and walltime.

    Raises:
        ValueError: the run failed, the text is cut short or of several runs, or contradicts itself.
    """
    log = _read(text, context)
    unread = _ANY_QPS.search(text) if log.qps is None else None
    if (unread or not log.compute) and (commas := _COMMAS.search(text)):
        raise ValueError(
            f"{context.where} writes its numbers with commas ({commas[0]}), trtexec writes points; give the log as "
            "trtexec printed it"
        )
    if unread:
        raise ValueError(
            f"{context.where}: {unread[0].strip()!r} is no number of queries a second; give the log as trtexec printed "
            "it"
        )
    mean = log.compute.get("mean")
    if mean is None and not (context.is_excerpt and log.qps and log.is_new):
        raise ValueError(
            f"{context.where} is cut short: expected trtexec's GPU compute times with a mean ('mean: X ms' below 'GPU "
            "Compute', or 'GPU Compute Time: ... mean = X ms')"
        )
    if mean is not None and mean <= 0:
        raise ValueError(f"{context.where}: a batch takes more than {mean:g} ms")
    command = log.command or context.command
    batches = batches_of(command, context, binding=log.binding, version=log.version)
    iterations = _iterations(log, batches, context)
    _check_latency(log, context)
    notes = (*batches.notes, ZERO_QPS) if log.qps == 0 else batches.notes
    others: dict[str, Any] = {
        "source": context.source,
        "line": context.line,
        "tool": "trtexec",
        "tool_version": log.version or context.tool_version,
        "batch": batches.declared,
        "batch_run": batches.ran,
        "device": log.device or context.device,
        "device_index": context.device_index,
        "latency_of": "batch",
        "iterations": iterations,
        "on_random_data": option(command, "loadInputs") is None,
        "notes": notes,
    }
    # 7.x counts by a batch that ONNX models do not have.
    by_clock = log.qps * batches.ran / batches.queries if log.qps and log.is_new else None
    if max(log.streams, streams_in(command)) > 1 or _is_busier_than_one_stream(log, batches):
        if by_clock is None and iterations and log.wall_seconds:
            by_clock = iterations * batches.ran / log.wall_seconds
        if by_clock is None:
            raise ValueError(
                f"{context.where} is of several streams, where the time of a batch is no rate: expected a line "
                "'Throughput: X qps', or the walltime and the total compute time"
            )
        others["notes"] = (*notes, SEVERAL_STREAMS)
        return [Measurement(kind="wall clock", throughput=by_clock, latency_ms=log.latency or log.compute, **others)]
    found = []
    if mean is not None:
        rate = 1000 * batches.ran / mean
        found.append(Measurement(kind="gpu compute", throughput=rate, latency_ms=log.compute, **others))
    if log.latency.get("mean"):
        rate = 1000 * batches.ran / log.latency["mean"]
        found.append(Measurement(kind="host latency", throughput=rate, latency_ms=log.latency, **others))
    if by_clock is not None:
        found.append(Measurement(kind="wall clock", throughput=by_clock, **others))
    return found


def _iterations(log: _Log, batches: Batches, context: Context) -> int | None:
    """How many batches ran; where the log says it more than once, it has to say the same."""
    mean, total, wall = log.compute.get("mean"), log.total_seconds, log.wall_seconds
    by_total = 1000 * total / mean if total and mean else None
    iterations = log.queries // batches.queries if log.queries else None
    if iterations and mean and total and not agree(1000 * total, mean * iterations, _TOLERANCE):
        raise ValueError(
            f"{context.where} contradicts itself: {iterations} queries of {mean:g} ms make "
            f"{mean * iterations / 1000:g} s, the log says {total:g} s of GPU compute"
        )
    count = iterations or by_total
    if log.qps and log.is_new and count and wall and not agree(log.qps * wall, count * batches.queries, _TOLERANCE):
        raise ValueError(
            f"{context.where} contradicts itself: {count * batches.queries:.6g} queries in {wall:g} s are "
            f"{count * batches.queries / wall:.6g} a second, the log says {log.qps:g} qps"
        )
    return iterations or (round(by_total) or None if by_total else None)


def _check_latency(log: _Log, context: Context) -> None:
    """A batch's latency is its copies and its computation, one after the other, also on average."""
    means = [one.get("mean") for one in (log.copies["in"], log.compute, log.copies["out"], log.latency)]
    known = [mean for mean in means if mean is not None]
    if len(known) == len(means) and not agree(sum(known[:3]), known[3], _TOLERANCE):
        raise ValueError(
            f"{context.where} contradicts itself: a mean of {known[0]:g} ms in, {known[1]:g} ms of GPU compute and "
            f"{known[2]:g} ms out make {sum(known[:3]):g} ms, the log says a mean latency of {known[3]:g} ms"
        )


def _is_busier_than_one_stream(log: _Log, batches: Batches) -> bool:
    """Whether batches were computed side by side, whatever was asked for."""
    if log.total_seconds and log.wall_seconds and log.total_seconds > _BUSIEST * log.wall_seconds:
        return True
    mean = log.compute.get("mean", 0.0)
    return bool(log.is_new and log.qps and log.qps / batches.queries * mean > 1000 * _BUSIEST)


def streams_in(command: str) -> int:
    """How many streams a command line asks for.

    Example:
        >>> streams_in("trtexec --onnx=m.onnx --infStreams=2"), streams_in("trtexec --onnx=m.onnx")
        (2, 1)
    """
    value = option(command, "infStreams", "streams")
    return int(value) if value and value.isdecimal() else 1


def _read(text: str, context: Context) -> _Log:
    log = _Log()
    section = ""
    seen: set[str] = set()
    runs, has_passed = 0, False
    for raw in text.splitlines():
        line = _own_words(raw).rstrip()
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
            log.wall_seconds = number(found[2])
        elif found := _STREAMS.fullmatch(line):
            log.streams = int(found[1])
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
            name = _NEW_NAMES[found[1]]
            if name in seen:
                raise ValueError(f"{context.where} has {found[1]!r} twice; give the log of one run")
            seen.add(name)
            times = {f"p{percent}" if percent else key: number(ms) for key, percent, ms in _NEW_VALUE.findall(found[2])}
            _times_of(log, name).update(_known(times))
        else:
            _line_of_a_section(log, section, line)
    if runs > 1:
        raise ValueError(f"{context.where} has {runs} runs of trtexec; give the log of one run")
    if runs and not has_passed and not context.is_excerpt:
        raise ValueError(f"{context.where} is cut short: trtexec's last line, '&&&& PASSED', is missing")
    return log


def _own_words(line: str) -> str:
    """A line without its stamp, and without what someone else wrote before it.

    Example:
        >>> _own_words("trt-1  | [06/01/2025-10:00:07] [I] Throughput: 19.87 qps")
        'Throughput: 19.87 qps'
    """
    begin = next(found for found in (one.search(line) for one in _OWN_WORDS) if found)
    return line[begin.end() :]


def _line_of_a_section(log: _Log, section: str, line: str) -> None:
    """A line of 7.x below one of its headings, or a total."""
    times = _times_of(log, section)
    if found := _OLD_VALUE.fullmatch(line):
        times[found[1]] = number(found[2])
    elif found := _OLD_PERCENTILE.fullmatch(line):
        times.update(_known({f"p{found[2]}": number(found[1])}))
    elif found := _OLD_TOTAL.fullmatch(line) or _NEW_TOTAL.fullmatch(line):
        log.total_seconds = number(found[1])
    elif found := _OLD_WALL.fullmatch(line) or _NEW_WALL.fullmatch(line):
        log.wall_seconds = number(found[1])
    elif found := _NEW_QPS.fullmatch(line):
        log.qps, log.is_new = number(found[1]), True
    elif found := _OLD_QPS.fullmatch(line):
        log.qps = number(found[1])


def _times_of(log: _Log, section: str) -> dict[str, float]:
    return {"gpu compute": log.compute, "host latency": log.latency, **log.copies}.get(section, {})


def _known(times: dict[str, float]) -> dict[str, float]:
    return {name: ms for name, ms in times.items() if name in LATENCIES}


def batches_of(command: str, context: Context, *, binding: tuple[int, ...] = (), version: str | None = None) -> Batches:
    """The batch declared and the one that ran; what nothing proves is counted as 1.

    Before 8.0 a model of fixed batch runs whatever --shapes says; from 8.0 on, its build fails.

    Args:
        command: of the run, "" if it is not known.
        context: of the text.
        binding: dimensions of the first input, as the log says them.
        version: of TensorRT.
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
    if binding and (len(binding) > 3 or not implicit):
        ran = binding[0]
        return Batches(declared or ran, max(ran, 1), notes)
    release = int(version.split(".")[0]) if version else 0
    if from_shapes and not has_commas and release >= 8:
        return Batches(declared, from_shapes, notes)
    if implicit and in_command and option(command, "onnx") is None and not shapes:
        return Batches(declared, in_command, notes, is_query=False)
    return Batches(declared, 1, (*notes, ASSUMED_BATCH))


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
