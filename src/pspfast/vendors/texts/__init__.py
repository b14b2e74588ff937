"""Texts and files of tools to records. Which tool a text is from follows from its content, never from its name."""

from __future__ import annotations

import codecs
import json
import os
import re
from typing import TYPE_CHECKING, Any

from pspfast.formats.measurements import Measurement, Reading, measurements_from_json
from pspfast.vendors.texts import ais_bench, benchmark_tool, documents, trtexec, trtexec_times
from pspfast.vendors.texts.shared import Context

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["parse", "read", "read_measurements"]

_MOST_BYTES = 64 << 20

# In this order: the benchmark tool's and trtexec's lines are the most particular.
_TOOLS: tuple[tuple[Callable[[str], bool], Callable[[str, Context], list[Measurement]]], ...] = (
    (trtexec.is_log, trtexec.parse_log),
    (ais_bench.is_ais_bench, ais_bench.parse_log),
    (benchmark_tool.is_pure, benchmark_tool.parse_pure),
    (benchmark_tool.is_dataset, benchmark_tool.parse_dataset),
    (benchmark_tool.is_msame, benchmark_tool.parse_msame),
)
_EXPECTED = (
    "expected the benchmark tool's perf_vision or PureInfer text, ais_bench's log or summary JSON, trtexec's log or "
    "--exportTimes, msame's log, a file of pspfast benchmark --json, or a Markdown document with any of them"
)
_NOT_TEXT = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read_measurements(path: str | os.PathLike[str]) -> list[Measurement]:
    """Records of a file, all of them.

    Raises:
        OSError: it cannot be read.
        ValueError: not of a tool we know, cut short, or contradictory, a document's blocks among it; the text names the
            file.
    """
    reading = read(path)
    if reading.left_out:
        raise ValueError(reading.left_out[0])
    return list(reading.measurements)


def read(path: str | os.PathLike[str]) -> Reading:
    """Records of a file, and what it says about them if it is a document.

    Raises:
        OSError: it cannot be read.
        ValueError: not of a tool we know, cut short, or contradictory; the text names the file. Of a document no block
            is any good; else what is no good is in ``left_out``.
    """
    with open(path, "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    path = os.fspath(path)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{path} is larger than {_MOST_BYTES >> 20} MB; {_EXPECTED}")
    return parse(_decoded(data, path), path)


def _decoded(data: bytes, path: str) -> str:
    """UTF-8, or the UTF-16 that PowerShell's ``>`` writes."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    text = data.decode(encoding, errors="replace")
    if "\0" in text:
        raise ValueError(f"{path} is not text; {_EXPECTED}")
    return text


def parse(text: str, source: str, *, command: str = "") -> Reading:
    """Records of a text.

    Args:
        text: all of it.
        source: what to call it; a file's name may say batch and device.
        command: the command line that made it, if it is known.

    Raises:
        ValueError: not of a tool we know, cut short, or contradictory; the text names the source.

    Example:
        >>> text = "[INFO] ave_throughputRate: 8.12674samples/s, ave_latency: 123.129ms"
        >>> parse(text, "log").measurements[0].throughput
        8.12674
    """
    try:
        return _parse(text, source, command)
    except (ValueError, OverflowError) as error:  # of numbers, which know no file
        if source in str(error):
            raise
        raise ValueError(f"{source}: {error}") from error


def _parse(text: str, source: str, command: str) -> Reading:
    text = _NOT_TEXT.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ValueError(f"{source} is empty; {_EXPECTED}")
    context = Context(source, command=command)
    if documents.is_document(text):
        return _of_document(text, source)
    if text.lstrip()[0] in "{[" and (values := _json(text, source)) is not None:
        return Reading(tuple(_of_json(values, context)))
    for is_of_tool, of_tool in _TOOLS:
        if is_of_tool(text):
            return Reading(tuple(of_tool(text, context)))
    raise ValueError(f"{source}: no tool's output is recognised in it; {_EXPECTED}")


def _json(text: str, source: str) -> Any:
    """Parsed, or None if the text begins like ``[e2e]`` or ``[INFO]`` and is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{source} is JSON nested too deeply; {_EXPECTED}") from None
    except ValueError as error:
        if re.match(r"\s*(?:\{|\[\s*[\[{\"])", text):
            raise ValueError(f"{source} is JSON that is cut short or damaged ({error}); {_EXPECTED}") from error
        return None


def _of_json(values: Any, context: Context) -> list[Measurement]:
    if isinstance(values, dict) and str(values.get("format", "")).startswith("pspfast"):
        return measurements_from_json(values, context.source)
    if ais_bench.is_summary(values):
        return ais_bench.parse_summary(values, context)
    if trtexec_times.is_times(values):
        return trtexec_times.parse_times(values, context)
    raise ValueError(f"{context.where}: JSON of no tool that is known here; {_EXPECTED}")


def _of_document(text: str, source: str) -> Reading:
    near = documents.Surroundings(text, source)
    found: list[Measurement] = []
    left_out: list[str] = []
    for block in documents.blocks_of(text):
        try:
            found += _of_block(block, near)
        except (ValueError, OverflowError) as error:
            where = f"{source}:{block.line}"
            left_out.append(str(error) if where in str(error) else f"{where}: {error}")
    if not found:
        raise ValueError(left_out[0] if left_out else f"{source}: none of its blocks is a tool's output; {_EXPECTED}")
    return Reading(tuple(found), tuple(documents.statements_of(text, source)), tuple(left_out))


def _of_block(block: documents.Block, near: documents.Surroundings) -> list[Measurement]:
    """Records of a document's block; none if it is no tool's."""
    if '"NPU_compute_time"' in block.text and block.text.lstrip().startswith("{"):
        context = near.of(block, gpu=False, is_dataset=False)
        return _of_json(_json(block.text, context.where), context)
    for is_of_tool, of_tool in _TOOLS:
        if is_of_tool(block.text):
            is_dataset = is_of_tool is benchmark_tool.is_dataset
            return of_tool(block.text, near.of(block, gpu=is_of_tool is trtexec.is_log, is_dataset=is_dataset))
    return []
