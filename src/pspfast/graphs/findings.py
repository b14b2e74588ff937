"""What is said of a graph: one finding, an input or output, and how numbers are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pspfast.graphs.pools import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.graphs import model_files

__all__ = ["SEVERITIES", "Finding", "Port", "Severity", "by", "listed", "shape_text", "window_text"]

Severity = Literal["error", "warning", "note"]


SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a model.

    Attributes:
        severity: ``"error"``: results are not those of the network, or a document says that it is refused or runs on
            the AI CPU. ``"warning"``: the same, but depending on the version of CANN or on something inferred.
            ``"note"``: nothing is wrong.
        rule: which check this is of; one of a fixed set of names.
        nodes: names of the nodes concerned; empty if it is about the whole model.
        problem: what is wrong, with its numbers.
        advice: what to do; may be empty.
        source: the document; empty if none is needed.
        inferred: whether this rests on something that the file does not say.
        numbers: the same numbers, for programs.
    """

    severity: Severity
    rule: str
    nodes: tuple[str, ...]
    problem: str
    advice: str = ""
    source: str = ""
    inferred: bool = False
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name, element type and declared shape (``None`` if none is declared)."""

    name: str
    type: str
    shape: tuple[model_files.Dim, ...] | None

    def __str__(self) -> str:
        return f"{self.type} {shape_text(self.shape)}"


def window_text(pool: Pool) -> str:
    """A pool's window in words."""
    return f"{by(pool.kernel)}, stride {by(pool.stride)}"


def by(sides: Sequence[int] | None) -> str:
    """Sides as 3x5."""
    return "?" if sides is None else "x".join(map(str, sides))


def shape_text(shape: Sequence[model_files.Dim] | None) -> str:
    """A shape in brackets."""
    return "of any shape" if shape is None else "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"


def listed(values: Sequence[int]) -> str:
    """Numbers as in a sentence."""
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last
