"""A model's inputs as ATC is told of them: their types, their layout, and what AIPP does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.vendors.aipp import parse_aipp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.vendors.aipp import AippOp

__all__ = [
    "batched_inputs", "check_input_name", "declared_batch", "float16_inputs", "input_format", "input_shape",
    "input_type", "inputs_behind_aipp", "shape_to_give",
]  # fmt: skip


def inputs_behind_aipp(aipp: str, model: str, inputs: dict[str, Any]) -> dict[str, AippOp]:
    """Input -> what AIPP does to it."""
    with open(aipp) as file:
        try:
            ops = parse_aipp(file.read())
        except ValueError as error:
            raise ValueError(f"{aipp}: {error}") from error
    behind = {}
    names = list(inputs)
    for op in ops:
        if op.input >= len(names):
            raise ValueError(f"{aipp}: related_input_rank {op.input}, but {model} has {len(names)} inputs")
        name = names[op.input]
        kind = input_type(inputs[name])
        if kind == "uint8":
            raise ValueError(f"{aipp}: input {name} of {model} takes bytes and normalizes them itself; leave AIPP out")
        shape = input_shape(inputs[name])
        size = tuple(shape[2:]) if len(shape) == 4 else ()
        known = all(isinstance(side, int) for side in size)
        if op.is_as_large_as_the_input and all(op.size) and known and size and op.size != size:
            raise ValueError(
                f"{aipp}: pictures of {op.size[0]} by {op.size[1]}, neither cut nor padded, but input {name} of "
                f"{model} is {size[0]} by {size[1]}"
            )
        behind[name] = op
    return behind


def float16_inputs(
    model: str, inputs: dict[str, Any], asked: Sequence[str] | None, behind: dict[str, AippOp], aipp: str | None
) -> list[str]:
    """Inputs for --input_fp16_nodes; those that are float16 already need none."""
    if asked is None:
        return [name for name, value in inputs.items() if input_type(value) == "float32" and name not in behind]
    for name in asked:
        check_input_name(model, inputs, name, "--input-fp16-nodes")
        if name in behind:
            raise ValueError(
                f"input {name} is to become float16 and is behind AIPP ({aipp}), which takes bytes; drop one of both"
            )
        if input_type(inputs[name]) not in ("float32", "float16"):
            raise ValueError(f"--input-fp16-nodes {name}: it is {input_type(inputs[name])}")
    return [name for name in asked if input_type(inputs[name]) != "float16"]


def check_input_name(model: str, inputs: dict[str, Any], name: str, option: str) -> None:
    """Raise ValueError if ``option`` names an input that the model does not have."""
    if name not in inputs:
        raise ValueError(f"{option}: {model} has no input {name!r}; it has {', '.join(inputs)}")


def input_format(inputs: dict[str, Any]) -> str:
    """NCHW as the guide has it; that would be untrue of bytes with their channels last, and of pictures without N."""
    last = any(input_type(value) == "uint8" and input_shape(value)[-1:] == (3,) for value in inputs.values())
    return "ND" if last or not batched_inputs(inputs) else "NCHW"


def declared_batch(inputs: dict[str, Any]) -> int | None:
    """The batch that a model was made for, 1 for one of single pictures; ``None`` if it is open, or inputs differ."""
    from pspfast.graphs.batch_dimension import pictures_at_once

    batch = pictures_at_once({name: input_shape(value) for name, value in inputs.items()})
    return batch if isinstance(batch, int) else None


def batched_inputs(inputs: dict[str, Any]) -> set[str]:
    """Inputs whose first dimension is the batch; others keep theirs, whatever the batch is."""
    from pspfast.graphs.batch_dimension import has_batch

    return has_batch({name: input_shape(value) for name, value in inputs.items()})


def shape_to_give(name: str, value: Any) -> str:
    """An example for ``--input-shape`` that fits what an input declares, e.g. ``x:1,500,500,3``."""
    from pspfast.graphs.batch_dimension import example_shape

    return example_shape(name, input_shape(value))


def input_type(value: Any) -> str:
    """Type of an input's numbers: ``float32``, else ONNX's name in small letters."""
    from pspfast.system.libraries import need

    name: str = need("onnx").TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return {"FLOAT": "float32"}.get(name, name.lower())


def input_shape(value: Any) -> tuple[Any, ...]:
    """Declared dimensions of an input, ``None`` or a name where they are open; empty if there are none."""
    from pspfast.graphs import model_files

    return model_files.shape_of(value) or ()
