"""onnxsim, and what it leaves to be done: declared shapes, the order of nodes, a check of the result."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from pspfast.graphs import model_files, native
from pspfast.graphs.batch_dimension import example_shape, has_batch, text_of_shape
from pspfast.graphs.inference import inferred_outputs
from pspfast.graphs.soundness import check_sound
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["differences", "fixed_shapes", "simplify"]


def simplify(model: Any, shapes: Mapping[str, Sequence[int]] | None = None, *, compare: bool = True) -> Any:
    """Fold constants and remove what does nothing.

    Args:
        model: ``onnx.ModelProto``; not changed.
        shapes: input -> shape to fix it to; shapes of the outputs follow.
        compare: run both models on random input and compare, in ONNX Runtime.

    Returns:
        A model that passes :func:`pspfast.graphs.model_files.check`.

    Raises:
        ValueError: ``shapes`` names no input, or contradicts a dimension that the graph was made for.
        GraphError: the model holds what no graph may hold, or the outcome is no valid graph.
        RuntimeError: onnxsim failed or died, or the simplified model computes something else.
        MissingExtra: onnx or onnxsim is not installed.

    Example:
        >>> import onnx
        >>> from onnx import TensorProto, helper
        >>> x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy")
        >>> nodes = [helper.make_node("Identity", ["x"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
        >>> opset = helper.make_opsetid("", 11)
        >>> model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=[opset])
        >>> simple = simplify(model, {"x": (2, 3)})
        >>> [node.op_type for node in simple.graph.node], model_files.shape_of(simple.graph.output[0])
        (['Relu'], (2, 3))
    """
    onnx = need("onnx")
    check_sound(model)
    named = {value.name: model_files.shape_of(value) for value in model_files.inputs(model)}
    shapes = {name: list(shape) for name, shape in (shapes or {}).items()}
    for name, shape in shapes.items():
        if name not in named:
            raise ValueError(f"the model has no input {name!r}; it has {', '.join(named)}")
        _check_rank(name, shape, named[name])
    tried = {
        name: [dim if isinstance(dim, int) else 1 for dim in shapes.get(name, shape or ())]
        for name, shape in named.items()
    }
    given = onnx.ModelProto()
    given.CopyFrom(model)
    model_files.open_dimensions(given)
    model_files.sort_nodes(given)  # conversions to half precision leave them in disorder
    _fix_inputs(given, shapes)
    _declare_outputs(given)
    simple, is_same = _simplified(given, tried, compare=compare)
    if not is_same:
        raise RuntimeError("onnxsim made a model that computes something else; use the model as it is")
    _declare_outputs(simple)  # of what onnxsim has made constant, more follows
    _remove_notes(simple)
    model_files.sort_nodes(simple)
    model_files.check(simple)
    return simple


def _simplified(model: Any, shapes: Mapping[str, Sequence[int]], *, compare: bool) -> tuple[Any, bool]:
    """What onnxsim makes of a model, and whether that is the same; by files where messages are too small,
    which leaves the model without its large constants.
    """
    onnx = need("onnx")
    if not model_files.is_too_large(model):
        data, is_same = native.simplify(model.SerializeToString(), None, shapes, compare=compare)
        return onnx.ModelProto.FromString(data), is_same
    with tempfile.TemporaryDirectory(prefix="pspfast-") as scratch:
        before, after = (os.path.join(scratch, name) for name in ("before.onnx", "after.onnx"))
        model_files.put_data_beside(model, before)
        _, is_same = native.simplify(before, after, shapes, compare=compare)
        return model_files.load(after), is_same


def fixed_shapes(model: Any, batch: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's inputs with ``batch`` pictures; inputs that are not for each picture keep theirs.

    Raises:
        ValueError: it has no dimension for a batch, or others that are not fixed.
    """
    declared = {value.name: model_files.shape_of(value) for value in model_files.inputs(model)}
    batched = has_batch(declared)
    if not batched and batch != 1:
        described = "; ".join(f"{name} is {text_of_shape(shape)}" for name, shape in declared.items())
        raise ValueError(f"the model takes one picture and has no dimension for a batch of {batch}: {described}")
    shapes = {}
    for name, shape in declared.items():
        wanted = (batch, *shape[1:]) if shape and name in batched else shape
        if not wanted or not all(isinstance(dim, int) for dim in wanted):
            raise ValueError(
                f"input {name!r} is {text_of_shape(shape)}; give the whole shape, e.g. "
                f"{example_shape(name, shape, batch)}"
            )
        shapes[name] = tuple(int(dim) for dim in wanted if isinstance(dim, int))
    return shapes


def differences(before: Any, after: Any) -> list[tuple[str, int, int]]:
    """``(operator, nodes before, nodes after)`` of each operator that either model has."""
    one, other = model_files.operator_counts(before), model_files.operator_counts(after)
    return [(name, one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})]


def _check_rank(name: str, shape: Sequence[int], declared: tuple[model_files.Dim, ...] | None) -> None:
    if any(dim < 1 for dim in shape):
        raise ValueError(f"input {name!r}: dimensions are positive, got {list(shape)}")
    if declared is None:
        return
    if len(shape) != len(declared):
        raise ValueError(f"input {name!r} has {len(declared)} dimensions, {list(declared)}, got {list(shape)}")
    wrong = [(old, new) for old, new in zip(declared, shape, strict=True) if isinstance(old, int) and old != new]
    if wrong:
        raise ValueError(
            f"input {name!r} was made for {list(declared)} and cannot become {list(shape)}: constants "
            "for the old size may be anywhere in the graph; export it again with that batch or shape"
        )


def _fix_inputs(model: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    for value in model.graph.input:
        if value.name in shapes:
            _declare(value, shapes[value.name])


def _remove_notes(model: Any) -> None:
    """Onnxsim notes in the model what it did, which is nobody's business later."""
    kept = [(entry.key, entry.value) for entry in model.metadata_props if not entry.key.startswith("onnxsim.")]
    del model.metadata_props[:]
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)


def _declare_outputs(model: Any) -> None:
    """Have outputs declared as they follow from the inputs, where they were for any batch."""
    for value, found in zip(model.graph.output, inferred_outputs(model), strict=True):
        shape = model_files.shape_of(found)
        declared = model_files.shape_of(value) or ()
        if shape and all(isinstance(dim, int) for dim in shape) and not all(isinstance(dim, int) for dim in declared):
            _declare(value, [dim for dim in shape if isinstance(dim, int)])


def _declare(value: Any, shape: Sequence[int]) -> None:
    tensor = value.type.tensor_type
    tensor.ClearField("shape")
    for size in shape:
        tensor.shape.dim.add().dim_value = size
