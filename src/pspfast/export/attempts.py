"""From a prepared network to a graph that labels as it does: at one opset, or at the lowest that works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pspfast.export.half_precision import check_overflow
from pspfast.export.proving import label
from pspfast.export.tracing import CannotTraceError, halve, trace
from pspfast.graphs.model_files import GraphError
from pspfast.graphs.simplification import fixed_shapes, simplify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Attempts", "Graph"]


class Graph(NamedTuple):
    """What became of a network."""

    traced: Any
    """``onnx.ModelProto``, for any batch."""
    simple: Any
    """The same, simplified for the first batch that was asked for."""
    agreement: float
    """Share of the pixels of noise that it labels as PyTorch does."""
    opset: int
    remark: str
    """Why it is no lower opset; empty if the lowest did, or it was asked for."""


class _DisagreesError(RuntimeError):
    """A graph that computes something else."""


@dataclass(slots=True)
class Attempts:
    """Makes graphs of one network.

    Attributes:
        deployed: the network, prepared, with its input and output.
        example: the picture that it is traced with, and that graphs are compared by.
        given: shape of what it gives for that.
        expected: labels of that, ``(1, H, W)``.
        least: share of pixels that a graph must label so.
        logits: whether scores are given.
        keeps: inputs and outputs that stay float32 in half precision; ``None`` if it is not asked for.
        name: of the file, for messages.
        advice: behind what PyTorch's exporter refuses.
        step: is told what is being done.
    """

    deployed: Any
    example: Any
    given: Sequence[int]
    expected: NDArray[Any]
    least: float
    logits: bool
    keeps: tuple[str, ...] | None
    name: str
    advice: str
    step: Callable[[str], None]

    def at(self, opset: int, batch: int | None) -> Graph:
        """A graph of an opset, simplified for a batch and compared with PyTorch.

        Raises:
            CannotTraceError: PyTorch cannot write it.
            RuntimeError, GraphError: onnxsim or ONNX Runtime fails with it, half precision overflows, or it computes
                something else.
        """
        height, width = self.expected.shape[-2:]
        self.step(f"tracing at {width}x{height}, opset {opset}")
        model = trace(self.deployed, self.example, opset, self.given)
        if self.keeps is not None:
            self.step("converting to half precision")
            check_overflow(
                model, self.example.numpy(), self.expected, least=self.least, logits=self.logits, name=self.name
            )
            model = halve(model, keep=self.keeps)
        simple = self.simplified(model, batch)
        return Graph(model, simple, self.compared(simple), opset, "")

    def at_lowest(self, opsets: Sequence[int], batch: int | None) -> Graph:
        """The same, of the lowest opset that works.

        Raises:
            RuntimeError, GraphError: none does; says why the highest that was tried does not.
        """
        wanted, reason = min(opsets), ""
        tried: list[int] = []
        for opset in opsets:
            if opset < wanted:
                continue
            try:
                graph = self.at(opset, batch)
            except CannotTraceError as error:
                if error.next_opset is None or error.next_opset > max(opsets):
                    raise RuntimeError(self._refusal(error.reason, [*tried, opset])) from error
                wanted, reason = error.next_opset, error.reason
            except (GraphError, _DisagreesError) as error:
                if opset == max(opsets):
                    raise
                reason = str(error)
            else:
                return graph if not tried else graph._replace(remark=_remark(opset, tried[-1], reason))
            tried.append(opset)
        raise RuntimeError(self._refusal(reason, tried))

    def simplified(self, model: Any, batch: int | None) -> Any:
        """A traced graph, simplified for a batch; ``None`` for any."""
        self.step(f"simplifying for {'any batch' if batch is None else f'batch {batch}'}")
        shapes = None if batch is None else fixed_shapes(model, batch)
        return simplify(model, shapes, compare=False)  # with PyTorch instead, which sees more

    def compared(self, simple: Any) -> float:
        """Share of the pixels of noise that a graph labels as PyTorch does.

        Raises:
            RuntimeError: too few, be it that the network magnifies roundings.
        """
        labels, _ = label(simple, self.example.numpy(), logits=self.logits)
        agreement = float(np.mean(labels == self.expected))
        if agreement < self.least:
            self._check_stable(agreement)
            raise _DisagreesError(
                f"{self.name}: the exported model labels {agreement:.4%} of the pixels as PyTorch does, "
                f"{self.least:.2%} were expected; it is not written. Please report this"
            )
        return agreement

    def _check_stable(self, agreement: float) -> None:
        if self.keeps is None:  # roundings of half precision are no millionths
            import torch

            from pspfast.export.soundness import check_stable

            expected = torch.from_numpy(self.expected)
            check_stable(self.deployed, self.example, expected, agreement, self.least, self.name)

    def _refusal(self, reason: str, tried: Sequence[int]) -> str:
        opsets = f"opset {tried[0]}" if len(tried) == 1 else f"opsets {', '.join(map(str, tried))}"
        return f"PyTorch cannot export this model ({opsets}): {reason}{self.advice}"


def _remark(opset: int, before: int, reason: str) -> str:
    return f"opset {opset}, the lowest that works (with {before}: {reason})"
