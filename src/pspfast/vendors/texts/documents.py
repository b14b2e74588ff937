"""Whole Markdown documents: the tools' texts in their blocks, and what the prose says about the figures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.formats.measurements import Statement, device_name
from pspfast.vendors.texts.benchmark_tool import name_says
from pspfast.vendors.texts.shared import NUMBER, Context, declared_shape_batch, number, option

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Block", "Surroundings", "blocks_of", "is_document", "statements_of"]

_FENCE = re.compile(r"^\s*(?:>\s?)*\s*(`{3,}|~{3,})")
_QUOTE = re.compile(r"^\s*(?:>\s?)+")
_NPU_TOOL = re.compile(r"(?:benchmark\.\S+|ais_bench|ais_infer\S*|msame|msit benchmark)\s+-")
_GPU_TOOL = re.compile(r"trtexec\s+-")
_DECLARED = re.compile(r"batch(?:[ _-]?size)?\s*(?:为|is|=|:|\uff1a)?\s*(\d+)|\bbs\s*=?\s*(\d+)", re.IGNORECASE)
_NPU_NAME = re.compile(
    r"(?<![\w.])(?:Ascend[ _-]?)?(310P\d?|310B\d?|310|910[ABC]?\d?)(?![\d.]|\w*\.(?:jpg|png|bin))", re.I | re.A
)
_GPU_NAME = re.compile(r"(?<![\w.])(T4|A10|A30|A100|H100|V100|P4|P40|L4|L40S?)(?![\w.])", re.I | re.A)
_VERSION = re.compile(r"TensorRT\s*(?:版本|version)?\s*[:\uff1a]?\s*v?(\d+(?:\.\d+)+)", re.IGNORECASE)

_TIMES = r"\s*(?:[x\u00d7*]|乘以)\s*"
_DECIMAL = r"\d+\.\d+(?:[eE][-+]?\d+)?"
_PRODUCT = re.compile(rf"(?<![\d.x\u00d7*/(])({_DECIMAL}){_TIMES}(\d+)(?![\d.]*[x\u00d7*])(?:\s*=\s*({NUMBER}))?", re.I)
_BY_LATENCY = re.compile(rf"1000\s*/\s*\(\s*({_DECIMAL})\s*/\s*(\d+)\s*\)(?:\s*=\s*({NUMBER}))?", re.I)
_BY_BATCH = re.compile(rf"1000{_TIMES}(\d+)\s*/\s*({_DECIMAL})(?:\s*=\s*({NUMBER}))?", re.I)
_CALLED = re.compile(rf"(Interface\s*throughputRate)\s*[:\uff1a]\s*({NUMBER})", re.I)
_CARD_OF_FOUR = re.compile(r"T4\W{0,3}(?:是|is|has|=)?\s*4\s*个?\s*devices?", re.I)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its text, and the line it begins at, from 1."""

    text: str
    line: int


def is_document(text: str) -> bool:
    """Whether a text has fenced blocks."""
    return any(map(_FENCE.match, text.splitlines()))


def blocks_of(text: str) -> Iterator[Block]:
    """The fenced blocks; one that nothing closes goes to the end, as in Markdown."""
    inside: list[str] | None = None
    fence, start = "", 0
    for number_of_line, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if inside is None:
            if found:
                inside, fence, start = [], found[1], number_of_line + 1
        elif found and found[1].startswith(fence):
            yield Block("\n".join(inside), start)
            inside = None
        else:
            inside.append(_QUOTE.sub("", line))
    if inside:
        yield Block("\n".join(inside), start)


class Surroundings:
    """What stands near a block of a document: command lines, file names, headings, devices.

    Args:
        text: the whole document.
        source: its file.
    """

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.splitlines()
        self._source = source
        version = _VERSION.search(text)
        self._tensorrt = version[1] if version else None

    def of(self, block: Block, *, gpu: bool, is_dataset: bool) -> Context:
        """The context of a tool's text: the nearest line before it that declares a batch, the device named nearest.

        Args:
            block: the text.
            gpu: whether it is of trtexec.
            is_dataset: whether it is of the benchmark tool over a data set, whose file's name says more.
        """
        tool = _GPU_TOOL if gpu else _NPU_TOOL
        command, batch, index = "", None, None
        for line in reversed(self._lines[: block.line - 1]):
            named = None if gpu else name_says(line)
            if named is not None and is_dataset:
                batch, index = named
                break
            if tool.search(line):
                command = _QUOTE.sub("", line).strip(" `$#")
                break
            if batch is None and (found := _DECLARED.search(line)) and not _FENCE.match(line):
                batch = int(found[1] or found[2]) or None
        if command and _batch_of(command) is not None:
            batch = None  # the command line is surer than a heading
        return Context(
            self._source,
            block.line,
            command,
            batch,
            self._device(block, gpu),
            index,
            self._tensorrt if gpu else None,
            is_excerpt=True,
        )

    def _device(self, block: Block, gpu: bool) -> str | None:
        """Named nearest to the block, after it as well as before."""
        end = block.line + block.text.count("\n")
        nearest: tuple[int, str] | None = None
        for index, line in enumerate(self._lines, start=1):
            found = (_GPU_NAME if gpu else _NPU_NAME).search(line)
            distance = max(block.line - index, index - end, 0)
            if found and (nearest is None or distance < nearest[0]):
                nearest = (distance, found[1])
        return device_name(nearest[1]) if nearest else None


def _batch_of(command: str) -> int | None:
    shapes = option(command, "shapes")
    if shapes:
        return declared_shape_batch(shapes)[0]
    value = option(command, "batch_size", "batch", "batchsize", "batch-size")
    return int(value) if value and value.isdecimal() else None


def statements_of(text: str, source: str) -> list[Statement]:
    """What the prose says: figures multiplied, times turned into rates, figures given a name."""
    found: list[Statement] = []
    in_fence = ""
    for number_of_line, line in enumerate(text.splitlines(), start=1):
        if fence := _FENCE.match(line):
            in_fence = "" if in_fence and fence[1].startswith(in_fence) else in_fence or fence[1]
        elif not in_fence:
            found += _of_line(line.strip(), number_of_line, source)
    return found


def _of_line(line: str, number_of_line: int, source: str) -> list[Statement]:
    declared = _DECLARED.search(line)
    devices = {device_name(one[1]) for pattern in (_NPU_NAME, _GPU_NAME) for one in pattern.finditer(line)}

    def statement(value: str, **others: object) -> Statement:
        values: dict[str, object] = {
            "source": source,
            "line": number_of_line,
            "text": line,
            "value": number(value),
            "batch": int(declared[1] or declared[2]) or None if declared else None,
            "device": devices.copy().pop() if len(devices) == 1 else None,
        }
        return Statement(**{**values, **others})  # type: ignore[arg-type]

    def result(text: str | None) -> float | None:
        return None if text is None else number(text)

    found = [statement(one[2], called="interface") for one in _CALLED.finditer(line)]
    found += [
        statement(one[1], factor=int(one[2]), result=result(one[3])) for one in _PRODUCT.finditer(line) if int(one[2])
    ]
    found += [
        statement(one[1], is_latency=True, factor=int(one[2]), result=result(one[3]))
        for one in _BY_LATENCY.finditer(line)
        if int(one[2])
    ]
    found += [
        statement(one[2], is_latency=True, factor=int(one[1]), result=result(one[3]))
        for one in _BY_BATCH.finditer(line)
        if int(one[1])
    ]
    if _CARD_OF_FOUR.search(line):
        found.append(statement("0", factor=4, device="T4"))
    return found
