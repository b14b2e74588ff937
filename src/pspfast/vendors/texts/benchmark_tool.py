"""Texts of Ascend's older tools: ``benchmark.x86_64`` (whole data set, ``-round``) and msame."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from pspfast.formats.measurements import ASSUMED_BATCH, Measurement
from pspfast.vendors.texts.shared import NUMBER, Context, agree, number, option

__all__ = ["is_dataset", "is_msame", "is_pure", "name_says", "parse_dataset", "parse_msame", "parse_pure"]

_STAGE = re.compile(
    r"^[^\n]{0,120}?\[(e2e|data read|preprocess|infer|inference|post|postprocess)\](.*throughputRate.*)$", re.M
)
_KINDS = {"e2e": "end to end", "inference": "infer", "postprocess": "post"}
_LINES = ("end to end", "data read", "preprocess", "infer", "post")
_NAME = re.compile(r"perf_vision_batchsize_(\d+)_device_(\d+)")
_PURE = re.compile(rf"ave_throughputRate\s*[:=]\s*({NUMBER})\s*samples/s,\s*ave_latency\s*[:=]\s*({NUMBER})\s*ms")
_PURE_NAME = re.compile(r"PureInfer_perf_of_(\S+?)_in_device_(\d+)")
_ROUND = re.compile(r"Dataset number:\s*(\d+)\s+finished")
_MSAME = re.compile(rf"Inference average time( without first time)?\s*:\s*({NUMBER})\s*ms")
# Throughput x latency is 1000 but for rounding and what passes between two clocks.
_TOLERANCE = 0.05
# Of -round both are means, of rates and of times: their product is above 1000 where the rounds differ.
_MOST_OF_ROUNDS = 1500


def is_dataset(text: str) -> bool:
    """Whether the text is of ``perf_vision_batchsize_*_device_*.txt``."""
    return _STAGE.search(text) is not None


def is_pure(text: str) -> bool:
    """Whether the text is of ``-round``, printed or as its file."""
    return re.search(r"^.*ave_throughputRate\s*[:=]", text, re.M) is not None


def is_msame(text: str) -> bool:
    """Whether the text is msame's."""
    return re.search(r"^.*Inference average time( without first time)?\s*:", text, re.M) is not None


def name_says(text: str) -> tuple[int, int] | None:
    """Batch and device as in ``perf_vision_batchsize_16_device_1``."""
    found = _NAME.search(text)
    return None if found is None else (int(found[1]), int(found[2]))


def parse_dataset(text: str, context: Context) -> list[Measurement]:
    """Five lines, a record each, and one for the Interface figure in the line of inference.

    Raises:
        ValueError: cut short, contradictory, or the name says another batch.
    """
    batch, index = _batch_and_device(context)
    lines: dict[str, str] = {}
    for found in _STAGE.finditer(text):
        kind = _KINDS.get(found[1], found[1])
        if kind in lines:
            raise ValueError(f"{context.where} has [{found[1]}] twice; give the text of one run")
        lines[kind] = found[2]
    missing = [kind for kind in _LINES if kind not in lines]
    if missing and not context.is_excerpt:
        raise ValueError(
            f"{context.where} is cut short: of the benchmark tool's five lines ([e2e], [data read], [preprocess], "
            f"[infer], [post]) {missing[0]!r} is missing"
        )
    rates = {kind: _figure(context, kind, line, r"(?<!Interface )throughputRate") for kind, line in lines.items()}
    found_all: list[Measurement] = []
    for kind, line in lines.items():
        latency = _figure(context, kind, line, "latency" if kind == "end to end" else "moduleLatency")
        interface = _figure(context, kind, line, "Interface throughputRate") if kind == "infer" else None
        rate = rates[kind]
        if not (missing and context.is_excerpt) and (
            rate is None or latency is None or (kind == "infer" and interface is None)
        ):
            raise ValueError(f"{context.where}: the line of [{kind}] is cut short: {line.strip()!r}")
        if rate is not None:
            found_all.append(_of_line(context, kind, rate, latency, rates.get("infer"), batch, index))
        if interface is not None:
            found_all.append(_record(context, "interface", interface, batch, index))
    pictures = next((one.pictures for one in found_all if one.pictures), None)
    if pictures is None:
        return found_all
    rounds = math.ceil(pictures / batch) if batch else None
    return [replace(one, pictures=pictures, iterations=rounds) for one in found_all]


def _of_line(
    context: Context,
    kind: str,
    rate: float,
    latency: float | None,
    infer_rate: float | None,
    batch: int | None,
    index: int | None,
) -> Measurement:
    if kind == "end to end":
        if latency is None:
            return _record(context, kind, rate, batch, index)
        # Its latency is that of the whole run.
        note = f"the whole run took {latency / 1000:g} s"
        return _record(context, kind, rate, batch, index, pictures=max(1, round(rate * latency / 1000)), notes=(note,))
    if latency is not None:
        # The inference stage's rate counts its waiting for the stage before, its latency does not: 70 in real files.
        is_below = kind == "infer" and 0 < rate * latency < 1000
        if latency <= 0 or not (is_below or agree(rate * latency, 1000, _TOLERANCE)):
            raise ValueError(
                f"{context.where} contradicts itself: [{kind}] has a throughputRate of {rate:g} and a moduleLatency of "
                f"{latency:g} ms, whose product should be about 1000" + ", or less" * (kind == "infer")
            )
    notes: tuple[str, ...] = ()
    latency_of = "picture"
    if kind == "post" and batch and batch > 1 and infer_rate and agree(rate * batch, infer_rate, 0.1):
        notes = (f"[post] counts batches: printed as {rate:g} a second, {batch} pictures each",)
        rate, latency_of = rate * batch, "batch"
    latencies = {} if latency is None else {"mean": latency}
    return _record(context, kind, rate, batch, index, latency_ms=latencies, latency_of=latency_of, notes=notes)


def _record(
    context: Context, kind: str, rate: float, batch: int | None, index: int | None, **others: object
) -> Measurement:
    values: dict[str, object] = {
        "source": context.source,
        "line": context.line,
        "tool": "benchmark",
        "tool_version": context.tool_version,
        "kind": kind,
        "throughput": rate,
        "batch": batch,
        "batch_run": batch,
        "device": context.device,
        "device_index": index,
        "on_random_data": False,
    }
    return Measurement(**{**values, **others})  # type: ignore[arg-type]


def _figure(context: Context, kind: str, line: str, label: str) -> float | None:
    """Also of a line whose first label is the Interface figure alone."""
    found = re.search(rf"{label}\s*:\s*({NUMBER})(?=\s*(?:,|$))", line)
    if found is None:
        if re.search(rf"{label}\s*:", line):
            raise ValueError(f"{context.where}: [{kind}] has a {label.split(')')[-1]} that is no number: {line!r}")
        return None
    return number(found[1])


def _batch_and_device(context: Context) -> tuple[int | None, int | None]:
    """From the file's name, else what stands nearest."""
    named = name_says(context.source)
    commanded = option(context.command, "batch_size")
    batch = context.batch
    if batch is None and commanded and commanded.isdecimal():
        batch = int(commanded)
    if named is not None and batch is not None and named[0] != batch:
        raise ValueError(f"{context.where}: its name says batch {named[0]}, its command line {batch}")
    index = context.device_index
    commanded_index = option(context.command, "device_id")
    if index is None and commanded_index and commanded_index.isdecimal():
        index = int(commanded_index)
    return named or (batch, index)


def parse_pure(text: str, context: Context) -> list[Measurement]:
    """``-round``: what is printed, and the file it names.

    Raises:
        ValueError: cut short or contradictory.
    """
    found = _PURE.findall(text)
    if not found:
        raise ValueError(
            f"{context.where} is cut short: expected 'ave_throughputRate: Xsamples/s, ave_latency: Yms' of the "
            "benchmark tool"
        )
    if len(set(found)) > 1:
        raise ValueError(f"{context.where} has {len(found)} summaries of pure inference; give the text of one run")
    rate, latency = map(number, found[0])
    # The tool's latency is that of a picture, whatever the batch.
    if not (1 - _TOLERANCE) * 1000 <= rate * latency <= _MOST_OF_ROUNDS:
        raise ValueError(
            f"{context.where} contradicts itself: ave_throughputRate {rate:g} and ave_latency {latency:g} ms, whose "
            "product should be about 1000"
        )
    named = _PURE_NAME.search(text) or _PURE_NAME.search(context.source)
    batch, index = _batch_and_device(context)
    in_name = re.search(r"bs(\d+)", named[1]) if named else None
    notes: tuple[str, ...] = ()
    if batch is None and in_name:
        notes = (f"batch by the model's name {named[1] if named else ''}, which proves nothing",)
    rounds = [int(one) for one in _ROUND.findall(text)]
    commanded = option(context.command, "round")
    return [
        _record(
            context,
            "pure inference",
            rate,
            batch if batch is not None else (int(in_name[1]) or None) if in_name else None,
            int(named[2]) if named else index,
            batch_run=batch,
            latency_ms={"mean": latency},
            on_random_data=True,
            iterations=max(rounds) + 1 if rounds else int(commanded) if commanded and commanded.isdecimal() else None,
            notes=notes,
        )
    ]


def parse_msame(text: str, context: Context) -> list[Measurement]:
    """Average time of an inference; that without the first one if it is there.

    Raises:
        ValueError: cut short or contradictory.
    """
    found = {bool(first): number(value) for first, value in _MSAME.findall(text)}
    if not found:
        raise ValueError(f"{context.where} is cut short: expected 'Inference average time: X ms' of msame")
    mean = found.get(True) or found[False]
    if mean <= 0:
        raise ValueError(f"{context.where}: an inference takes more than {mean:g} ms")
    batch = context.batch
    notes = ("without the first inference",) if found.get(True) else ()
    return [
        _record(
            context,
            "infer",
            1000 * (batch or 1) / mean,
            batch,
            context.device_index,
            tool="msame",
            batch_run=batch or 1,
            latency_ms={"mean": mean},
            latency_of="batch",
            on_random_data=None,
            notes=notes if batch else (*notes, ASSUMED_BATCH),
        )
    ]
