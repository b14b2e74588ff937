"""Where a graph goes beyond half precision, and whether its labels survive that.

ONNX Runtime has few operators for halves on CPUs and computes the others in float32, where nothing overflows; a device
computes in halves. So the float32 graph is asked for its largest values, and run with infinity in place of those that
halves do not have.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pspfast.export.proving import label, run
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["LARGEST_HALF", "check_overflow", "layer_of"]

LARGEST_HALF = 65504.0
"""The largest finite number in half precision."""

_PREFIX = "pspfast_half_"


class _Beyond(NamedTuple):
    value: str
    """Name of it in the graph."""
    layer: str
    peak: float


def check_overflow(
    model: Any, example: NDArray[Any], expected: NDArray[Any], *, least: float, logits: bool, name: str
) -> None:
    """Refuse a graph whose values are beyond half precision, if that changes what it says.

    Args:
        model: ``onnx.ModelProto`` of :func:`pspfast.export.tracing.trace`, in float32; not changed.
        example: one picture.
        expected: its labels, ``(1, H, W)``.
        least: share of pixels that must be labelled so.
        logits: whether the model gives scores.
        name: of the file, for messages.

    Raises:
        RuntimeError: names the first layer, and what it reaches; or ONNX Runtime fails.
    """
    found = [*_weights_beyond(model), *_values_beyond(model, example)]
    if not found:
        return
    labels, is_finite = label(_overflowing(model, {one.value for one in found}), example, logits=logits)
    agreement = float(np.mean(labels == expected))
    if is_finite and agreement >= least:
        return  # such as what goes into a sigmoid
    first = found[0]
    infinite = "" if is_finite else "not all scores are finite then, and "
    raise RuntimeError(
        f"{name}: half precision ends at {LARGEST_HALF:.0f}, and the first layer beyond it is {first.layer}, which "
        f"reaches {first.peak:.3g}; {infinite}{agreement:.2%} of the pixels of noise are labelled as in PyTorch. It is "
        "not written; leave out --fp16"
    )


def layer_of(node: Any) -> str:
    """Name of the layer that a traced node is from; the node's own outside of any.

    Example:
        >>> from types import SimpleNamespace as Node
        >>> layer_of(Node(name="/network/backbone/layer1/layer1.0/conv1/Conv", op_type="Conv"))
        'backbone.layer1.0.conv1'
    """
    scopes = [scope.removeprefix("network.") for scope in node.name.split("/")[:-1] if scope not in ("", "network")]
    # A part of a list is named after the list, with its number.
    kept = [scope for scope, inner in pairwise([*scopes, ""]) if not inner.startswith(f"{scope}.")]
    return ".".join(kept) or node.name or node.op_type


def _weights_beyond(model: Any) -> Iterator[_Beyond]:
    onnx = need("onnx")
    readers: dict[str, Any] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, node)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name in readers:
            values = onnx.numpy_helper.to_array(tensor)
            peak = float(np.abs(values[np.isfinite(values)]).max(initial=0))
            if peak > LARGEST_HALF:
                yield _Beyond(tensor.name, layer_of(readers[tensor.name]), peak)


def _values_beyond(model: Any, example: NDArray[Any]) -> list[_Beyond]:
    """In the order of the graph. What is infinite in float32 is so in halves, and does not count."""
    onnx = need("onnx")
    types = {value.name: value.type.tensor_type.elem_type for value in _typed(model)}
    floats = [
        (value, layer_of(node))
        for node in model.graph.node
        for value in node.output
        if types.get(value) == onnx.TensorProto.FLOAT
    ]
    asking = _copy(model)
    zero = onnx.numpy_helper.from_array(np.array(0, np.float32), f"{_PREFIX}zero")
    asking.graph.initializer.append(zero)
    peaks = []
    for number, (value, _) in enumerate(floats):
        size, is_infinite, finite, peak = (f"{_PREFIX}{step}_{number}" for step in ("abs", "inf", "finite", "max"))
        asking.graph.node.extend(
            [
                onnx.helper.make_node("Abs", [value], [size]),
                onnx.helper.make_node("IsInf", [value], [is_infinite]),
                onnx.helper.make_node("Where", [is_infinite, zero.name, size], [finite]),
                onnx.helper.make_node("ReduceMax", [finite], [peak], keepdims=0),
            ]
        )
        asking.graph.output.append(onnx.ValueInfoProto(name=peak))
        peaks.append(peak)
    reached = run(asking, peaks, example) if peaks else []
    found = zip(floats, reached, strict=True)
    return [_Beyond(value, layer, float(peak)) for (value, layer), peak in found if float(peak) > LARGEST_HALF]


def _typed(model: Any) -> list[Any]:
    graph = need("onnx").shape_inference.infer_shapes(model).graph
    return [*graph.value_info, *graph.output]


def _overflowing(model: Any, beyond: set[str]) -> Any:
    """The graph with infinity where values are beyond half precision, and weights cut off as the conversion does."""
    onnx = need("onnx")
    changed = _copy(model)
    graph = changed.graph
    for tensor in graph.initializer:
        if tensor.name in beyond:
            values = np.clip(onnx.numpy_helper.to_array(tensor), -LARGEST_HALF, LARGEST_HALF)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    limits = {"limit": LARGEST_HALF, "many": np.inf, "one": 1.0}
    for key, number in limits.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(number, np.float32), _PREFIX + key))
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.append(node)
        kept = graph.node[-1]
        for index, value in enumerate(node.output):
            if value not in beyond:
                continue
            raw, size, is_beyond, factor = (f"{_PREFIX}{step}_{value}" for step in ("raw", "size", "is", "factor"))
            kept.output[index] = raw
            # Infinity of the same sign: the value times infinity.
            graph.node.extend(
                [
                    onnx.helper.make_node("Abs", [raw], [size]),
                    onnx.helper.make_node("Greater", [size, f"{_PREFIX}limit"], [is_beyond]),
                    onnx.helper.make_node("Where", [is_beyond, f"{_PREFIX}many", f"{_PREFIX}one"], [factor]),
                    onnx.helper.make_node("Mul", [raw, factor], [value]),
                ]
            )
    return changed


def _copy(model: Any) -> Any:
    copy = need("onnx").ModelProto()
    copy.CopyFrom(model)
    return copy
