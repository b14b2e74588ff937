"""onnxsim, and what it leaves to be done: declared shapes, the order of nodes, a check of the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.graphs import model_files
from pspfast.system.captured_output import captured, first_line
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
        GraphError: the outcome is no valid graph.
        RuntimeError: onnxsim failed, or the simplified model computes something else.
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
    need("onnxsim")
    named = {value.name: model_files.shape_of(value) for value in model_files.inputs(model)}
    shapes = {name: list(shape) for name, shape in (shapes or {}).items()}
    for name, shape in shapes.items():
        if name not in named:
            raise ValueError(f"the model has no input {name!r}; it has {', '.join(named)}")
        _check_rank(name, shape, named[name])
    tried = {
        name: [dim if isinstance(dim, int) and dim > 0 else 1 for dim in shapes.get(name, shape or ())]
        for name, shape in named.items()
    }
    given = onnx.ModelProto()
    given.CopyFrom(model)
    model_files.sort_nodes(given)  # conversions to half precision leave them in disorder
    _fix_inputs(given, shapes)
    _declare_outputs(given)
    with captured("onnxsim"):
        try:
            simple, is_same = _run_onnxsim(given, tried, compare=compare)
        except Exception as error:  # its C++ raises what it likes
            raise RuntimeError(f"onnxsim failed: {first_line(error)}") from error
    if not is_same:
        raise RuntimeError("onnxsim made a model that computes something else; use the model as it is")
    _declare_outputs(simple)  # of what onnxsim has made constant, more follows
    _remove_notes(simple)
    model_files.sort_nodes(simple)
    model_files.check(simple)
    return simple


def fixed_shapes(model: Any, batch: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's inputs with ``batch`` pictures.

    Raises:
        ValueError: it was made for another batch, or has other dimensions that are not fixed.
    """
    shapes = {}
    for value in model_files.inputs(model):
        shape = model_files.shape_of(value)
        if not shape or not all(isinstance(dim, int) for dim in shape[1:]):
            raise ValueError(
                f"input {value.name!r} is {shape}; give the whole shape, e.g. {value.name}:{batch},3,500,500"
            )
        shapes[value.name] = (batch, *(int(dim) for dim in shape[1:] if isinstance(dim, int)))
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
    wrong = [
        (old, new) for old, new in zip(declared, shape, strict=True) if isinstance(old, int) and old not in (new, 0)
    ]
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


def _run_onnxsim(given: Any, tried: Mapping[str, Sequence[int]], *, compare: bool) -> tuple[Any, bool]:
    """The simplified model, and whether it computes the same as far as it was compared."""
    onnxsim = need("onnxsim")
    try:
        simple, is_same = onnxsim.simplify(given, check_n=int(compare), test_input_shapes=tried)
        if not is_same or not _has_empty_constants(simple):
            return simple, is_same
    except Exception:  # its C++ raises what it likes
        # Of a model as it was read, to see whether this is about what is seen to below.
        if not compare or not _has_empty_constants(onnxsim.simplify(given, check_n=0, test_input_shapes=tried)[0]):
            raise
    # For a Concat of empty tensors it puts one of them, which has another shape: Swin's attention mask ends so where a
    # map is no larger than a window. Without that pass such constants fold, and all passes can do the rest.
    simple, _ = onnxsim.simplify(
        given, check_n=0, test_input_shapes=tried, skipped_optimizers=[_TAKES_EMPTY_FOR_NOTHING]
    )
    if not _has_empty_constants(simple):
        simple, _ = onnxsim.simplify(simple, check_n=0, test_input_shapes=tried)
    return simple, not compare or onnxsim.model_checking.compare(simple, given, 1, tried)


_TAKES_EMPTY_FOR_NOTHING = "eliminate_nop_with_unit"


def _has_empty_constants(model: Any) -> bool:
    """Whether there are constants of several dimensions without elements; of one, Resize has them."""
    constants = [*model.graph.initializer]
    constants += [node.attribute[0].t for node in model.graph.node if node.op_type == "Constant" and node.attribute]
    return any(0 in tensor.dims and len(tensor.dims) > 1 for tensor in constants)


def _declare_outputs(model: Any) -> None:
    """Have outputs declared as they follow from the inputs, where they were for any batch."""
    for value, found in zip(model.graph.output, model_files.inferred_outputs(model), strict=True):
        shape = model_files.shape_of(found)
        declared = model_files.shape_of(value) or ()
        if shape and all(isinstance(dim, int) for dim in shape) and not all(isinstance(dim, int) for dim in declared):
            _declare(value, [dim for dim in shape if isinstance(dim, int)])


def _declare(value: Any, shape: Sequence[int]) -> None:
    tensor = value.type.tensor_type
    tensor.ClearField("shape")
    for size in shape:
        tensor.shape.dim.add().dim_value = size
