"""What an ONNX model declares of its inputs, outputs and values: shapes, and which dimensions are open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.graphs.soundness import graphs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Dim", "contradict", "inputs", "open_dimensions", "shape_of"]

Dim = int | str | None
"""A dimension: its size, its name if it may have any, or ``None`` where nothing is declared."""


def inputs(model: Any) -> list[Any]:
    """What is fed: the graph's inputs that are no initializers (which old files list among them)."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def shape_of(value: Any) -> tuple[Dim, ...] | None:
    """Declared shape of an input, output or intermediate value; ``None`` if there is none."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple((dim.dim_param or None) if _is_open(dim) else dim.dim_value for dim in tensor.shape.dim)


def _is_open(dim: Any) -> bool:
    """Whether a dimension may have any size."""
    return not dim.HasField("dim_value") or dim.dim_value <= 0


def contradict(one: Sequence[Dim], other: Sequence[Dim]) -> bool:
    """Whether no value has both of two shapes."""
    return len(one) != len(other) or any(
        isinstance(first, int) and isinstance(second, int) and first != second
        for first, second in zip(one, other, strict=True)
    )


def open_dimensions(model: Any) -> None:
    """Leave dimensions open that are declared as 0 or less, as exporters of Paddle and others write open ones.

    A value inside of the graph that is declared ``[0]`` is what it says: the empty constants of Resize are.
    """
    for graph in graphs_of(model.graph):
        for values, is_inside in ((graph.input, False), (graph.output, False), (graph.value_info, True)):
            for value in values:
                _open_shape(value, is_inside=is_inside)


def _open_shape(value: Any, *, is_inside: bool) -> None:
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return
    dims = getattr(value.type, kind).shape.dim
    if is_inside and len(dims) == 1 and dims[0].dim_value == 0:
        return
    for dim in dims:
        if _is_open(dim) and dim.HasField("dim_value"):
            dim.ClearField("dim_value")
