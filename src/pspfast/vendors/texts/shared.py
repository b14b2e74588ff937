"""What the parsers share: numbers as tools print them, command lines, sound cross-checks."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NUMBER", "Context", "agree", "declared_shape_batch", "merged_length", "number", "option", "options_of"]

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
"""As printf writes them, 1.29e+08 among them; not nan and inf."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a text besides the text.

    Attributes:
        source: file, for messages and records.
        line: where the text begins, if it is part of a document.
        command: the nearest command line of the same tool.
        batch: as a file's name or heading declares it.
        device, device_index: as the surroundings name them.
        tool_version: the same.
        is_excerpt: whether a part of the tool's output will do, as in a document.
    """

    source: str
    line: int | None = None
    command: str = ""
    batch: int | None = None
    device: str | None = None
    device_index: int | None = None
    tool_version: str | None = None
    is_excerpt: bool = False

    @property
    def where(self) -> str:
        """File, and line if it is a document."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


def number(text: str) -> float:
    """A number of a text that :data:`NUMBER` matched.

    Raises:
        ValueError: beyond what a float holds.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond any measurement")
    return value


def agree(one: float, other: float, tolerance: float) -> bool:
    """Whether two figures are the same but for a share of the larger."""
    return abs(one - other) <= tolerance * max(abs(one), abs(other))


def merged_length(intervals: Iterable[tuple[float, float]]) -> float:
    """How long at least one of the intervals lasts; where several do, it counts once.

    Example:
        >>> merged_length([(21.0, 41.0), (0.0, 20.0), (1.0, 21.0)])
        41.0
    """
    length, until = 0.0, -math.inf
    for begin, end in sorted(intervals):
        length += max(0.0, end - max(begin, until))
        until = max(until, end)
    return length


def options_of(command: str) -> dict[str, str]:
    """Options of a command line, ``-k=v``, ``--k=v`` or ``--k v``, names without dashes; "" for flags.

    Example:
        >>> options_of("trtexec --onnx=a.onnx --fp16 --shapes=input:16,3,500,500")
        {'onnx': 'a.onnx', 'fp16': '', 'shapes': 'input:16,3,500,500'}
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a quote without its pair
        words = command.split()
    found: dict[str, str] = {}
    last = ""
    for word in words:
        if re.match(r"--?[A-Za-z]", word):
            name, equals, value = word.lstrip("-").partition("=")
            found[name] = value
            last = "" if equals else name
        elif last:
            found[last] = word
            last = ""
    return found


def option(command: str, *names: str) -> str | None:
    """The value of the first of these options that a command line has."""
    found = options_of(command)
    return next((found[name] for name in names if name in found), None)


def declared_shape_batch(shapes: str) -> tuple[int | None, bool]:
    """The batch that trtexec's ``--shapes`` names, and whether it is written with commas.

    Example:
        >>> declared_shape_batch("input:16,3,500,500"), declared_shape_batch("input:8x3x500x500,mask:8x1")
        ((16, True), (8, False))
    """
    first = re.search(r":(\d+)", shapes)
    has_commas = any(re.fullmatch(r"\d+", part) for part in shapes.split(","))
    return (int(first[1]) or None) if first else None, has_commas
