"""What follows from the inputs of a graph about its values, and whether onnx takes it for a valid one.

onnx gets a light copy, in which weights are only types and shapes: it needs no more, and a message of protobuf has at
most 2 GB. Nothing that a file declares about values inside of it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from pspfast.graphs import native
from pspfast.graphs.declared import Dim, contradict, inputs, shape_of
from pspfast.graphs.soundness import GraphError, check_sound
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "MOST_ELEMENTS_OF_A_SIZE", "Known", "check", "complaint_of_checker", "infer", "inferred_outputs",
]  # fmt: skip

MOST_ELEMENTS_OF_A_SIZE = 256
"""Weights are of no use to shape inference, which only reads small constants: sizes, axes, slices."""


@dataclass(frozen=True, slots=True)
class Known:
    """What follows from the inputs about a value: its element type and shape (``None`` if that does not follow)."""

    type: str
    shape: tuple[Dim, ...] | None


def complaint_of_checker(model: Any) -> str:
    """What ``onnx.checker`` says against a model; empty if nothing."""
    return native.check(_bytes(_light(model, is_declared=True)))


def check(model: Any) -> None:
    """Raise GraphError if a model is not valid, or declares shapes that do not follow from its operators."""
    check_sound(model)
    complaint = native.check(_bytes(_light(model, is_declared=True)), full=True)
    if complaint:
        raise GraphError(f"not a valid ONNX graph: {complaint}")
    lies = []
    for declared, inferred in zip(model.graph.output, inferred_outputs(model), strict=True):
        said, found = shape_of(declared), shape_of(inferred)
        if said is not None and found is not None and contradict(said, found):
            lies.append(f"{declared.name} is declared {list(said)} and is {list(found)}")
    if lies:
        raise GraphError("declared shapes that the graph does not have: " + "; ".join(lies))


def infer(model: Any, *, strict: bool = False) -> dict[str, Known]:
    """Of every value, whatever is declared of those inside.

    Args:
        model: ``onnx.ModelProto``; it is not changed.
        strict: whether each operator has to be understood.

    Raises:
        GraphError: onnx finds an operator that cannot be.
    """
    inferred, light = _inferred(model, strict=strict)
    types = need("onnx").TensorProto.DataType
    # Inference makes up names for what it does not know; only those that the file gives to its inputs say anything.
    names = {dim for value in inputs(model) for dim in shape_of(value) or () if isinstance(dim, str)}
    known = {
        value.name: Known(types.Name(value.type.tensor_type.elem_type), _with_names(shape_of(value), names))
        for value in (*inferred.value_info, *inferred.output, *light.graph.input)
    }
    known |= {
        tensor.name: Known(types.Name(tensor.data_type), tuple(tensor.dims)) for tensor in model.graph.initializer
    }
    return known


def inferred_outputs(model: Any) -> list[Any]:
    """The outputs with the shapes that follow from the inputs, whatever is declared.

    Raises:
        GraphError: onnx finds an operator that cannot be.
    """
    return list(_inferred(model, strict=False)[0].output)


def _inferred(model: Any, *, strict: bool) -> tuple[Any, Any]:
    """The graph with all values, and the model that onnx was given."""
    light = _light(model, is_declared=False)
    data, complaint = native.infer(_bytes(light), strict=strict)
    if complaint:
        raise GraphError(f"not a valid ONNX graph: {complaint}")
    return need("onnx").ModelProto.FromString(data).graph, light


def _light(model: Any, *, is_declared: bool) -> Any:
    """A copy in which large constants are inputs of their type and shape; with or without what is declared."""
    onnx = need("onnx")
    graph = model.graph
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = graph.name or ("" if is_declared else "graph")
    light.graph.node.extend(graph.node)
    light.graph.input.extend(inputs(model))
    light.graph.sparse_initializer.extend(graph.sparse_initializer)
    small = set()
    for tensor in graph.initializer:
        if prod(tensor.dims) <= MOST_ELEMENTS_OF_A_SIZE:
            light.graph.initializer.append(tensor)
            small.add(tensor.name)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    light.graph.output.extend(graph.output)
    if is_declared:
        light.graph.value_info.extend(graph.value_info)
        light.graph.input.extend(value for value in graph.input if value.name in small)  # old files list them
    else:
        for output in light.graph.output:
            output.type.tensor_type.ClearField("shape")
    return light


def _bytes(model: Any) -> bytes:
    try:
        data: bytes = model.SerializeToString()
    except Exception as error:  # protobuf's, whose class moved between its versions
        raise GraphError("it has constants of more than 2 GB in its nodes, where no file can hold them") from error
    return data


def _with_names(shape: tuple[Dim, ...] | None, names: Collection[str]) -> tuple[Dim, ...] | None:
    return None if shape is None else tuple(dim if isinstance(dim, int) or dim in names else None for dim in shape)
