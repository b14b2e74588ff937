"""Shapes for ATC's ``--input_shape``: as someone types them, as a model declares them, and whether both can be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pspfast.vendors.atc_flags import DYNAMIC_FLAGS
from pspfast.vendors.atc_inputs import batched_inputs, check_input_name, input_shape, shape_to_give

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Shapes", "batch_in", "check_shapes", "parse_shapes", "refuse_other_batch", "shapes_for_batch"]

Shapes = dict[str, tuple[str, ...]]
"""Input -> its dimensions as ATC reads them: numbers, ``-1``, ranges as ``1~10``."""

_DIMENSION = re.compile(r"-1|\d+(~(\d+|-1))?")


def parse_shapes(text: str) -> Shapes:
    """Read a value of ``--input_shape`` as ATC does: a name ends at its last colon, blanks round it mean nothing.

    Raises:
        ValueError: not of this form.

    Example:
        >>> parse_shapes(" input:1,3,500,500")
        {'input': ('1', '3', '500', '500')}
    """
    shapes: Shapes = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, colon, numbers = part.rpartition(":")
        dims = tuple(number.strip() for number in numbers.split(","))
        name = name.strip()
        if not colon or not name or not all(_DIMENSION.fullmatch(dim) for dim in dims):
            raise ValueError(f"--input-shape {part!r}: expected NAME:1,3,500,500, where -1 and 1~16 are open")
        if name in shapes:
            raise ValueError(f"--input-shape names {name} twice")
        shapes[name] = dims
    if not shapes:
        raise ValueError("--input-shape is empty; expected NAME:1,3,500,500")
    return shapes


def check_shapes(
    model: str, inputs: dict[str, Any], shapes: Shapes, batches: Sequence[int], flags: Mapping[str, str]
) -> None:
    """Raise ValueError if shapes that someone gives are none that the model can have."""
    batched = batched_inputs(inputs)
    for name, dims in shapes.items():
        check_input_name(model, inputs, name, "--input-shape")
        declared = input_shape(inputs[name])
        if declared and len(dims) != len(declared):
            raise ValueError(
                f"--input-shape: input {name} of {model} has {len(declared)} dimensions, {_text(declared)}, got "
                f"{','.join(dims)}"
            )
        for index, (dim, was) in enumerate(zip(dims, declared, strict=False)):
            if dim == "0":
                raise ValueError(f"--input-shape {name}:{','.join(dims)}: sizes are positive")
            is_batch = index == 0 and name in batched
            if not is_batch and isinstance(was, int) and dim not in (str(was), "-1") and "~" not in dim:
                raise ValueError(f"--input-shape {name}:{','.join(dims)}: {model} is made for {_text(declared)}")
        if batches and name in batched and (len(batches) > 1 or dims[0] != str(batches[0])):
            raise ValueError(f"--batch and --input-shape {name}:{','.join(dims)} say different things; give one")
    missing = [name for name in inputs if name not in shapes and not _is_fixed(input_shape(inputs[name]))]
    if missing:
        raise ValueError(f"--input-shape lacks {', '.join(missing)}, whose shape {model} leaves open")
    is_open = any("-1" in dims for dims in shapes.values())
    dynamic = [name for name in DYNAMIC_FLAGS if name in flags]
    if dynamic and not is_open:
        raise ValueError(f"--{dynamic[0]} needs -1 where --input-shape is open (E10040)")
    if "dynamic_batch_size" in flags and any("-1" in dims[1:] for dims in shapes.values()):
        raise ValueError("--dynamic_batch_size: only the first dimension can be -1")


def shapes_for_batch(inputs: dict[str, Any], batch: int | None, flags: Mapping[str, str], model: str) -> Shapes:
    """The model's shapes, with the batch put in where it stands, or with -1 where flags leave it open."""
    shapes: Shapes = {}
    if "dynamic_dims" in flags:
        raise ValueError("--dynamic_dims needs --input-shape, with -1 where sizes are open")
    batched = batched_inputs(inputs)
    if not batched and ((batch or 1) > 1 or not flags.keys().isdisjoint(DYNAMIC_FLAGS)):
        described = "; ".join(f"{name} is {_text(input_shape(value))}" for name, value in inputs.items())
        raise ValueError(f"{model} takes one picture and has no dimension for a batch: {described}")
    for name, value in inputs.items():
        declared = input_shape(value)
        if not declared:
            raise ValueError(
                f"input {name} of {model} has no shape; give --input-shape {shape_to_give(name, value)} or the like"
            )
        dims: list[Any] = list(declared)
        if name in batched:
            dims[0] = -1 if "dynamic_batch_size" in flags else batch if batch is not None else declared[0]
            if "dynamic_image_size" in flags:
                dims = _open_sides(name, value, model)
        if not all(isinstance(dim, int) for dim in dims):
            raise ValueError(
                f"input {name} of {model} is {_text(declared)}; give its sizes, --input-shape "
                f"{shape_to_give(name, value)} or the like"
            )
        shapes[name] = tuple(map(str, dims))
    return shapes


def _open_sides(name: str, value: Any, model: str) -> list[Any]:
    """A picture's shape with -1 for height and width."""
    declared = input_shape(value)
    if len(declared) != 4:
        raise ValueError(f"--dynamic_image_size: input {name} of {model} is no picture, {_text(declared)}")
    return [declared[0] if isinstance(declared[0], int) else 1, declared[1], -1, -1]


def refuse_other_batch(model: str, inputs: dict[str, Any], shapes: Shapes) -> None:
    """Raise ValueError if the model was made for another batch."""
    batched = batched_inputs(inputs)
    for name, dims in shapes.items():
        declared = input_shape(inputs[name])
        if name in batched and isinstance(declared[0], int) and dims[0] != str(declared[0]):
            fixed = f"--batch {dims[0]}, or " if dims[0].isdecimal() else ""
            raise ValueError(
                f"{model} is made for batch {declared[0]} ({name} is {_text(declared)}), not for {dims[0]}: constants "
                f"for that may be anywhere in it. Export one that is right (pspfast export {fixed}--dynamic-batch), or "
                "say --allow-fixed-batch, which is what the guide does, and compare masks"
            )


def batch_in(shapes: Shapes, inputs: dict[str, Any]) -> int | None:
    """The batch that shapes say, 1 for a model of single pictures; ``None`` if it is open, or they differ."""
    batched = batched_inputs(inputs)
    if not batched:
        return 1
    sizes = {dims[0] for name, dims in shapes.items() if name in batched}
    size = sizes.pop() if len(sizes) == 1 else ""
    return int(size) if size.isdecimal() else None


def _is_fixed(shape: tuple[Any, ...]) -> bool:
    return bool(shape) and all(isinstance(dim, int) for dim in shape)


def _text(shape: Sequence[Any]) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in shape)
