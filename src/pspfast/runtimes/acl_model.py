"""What an ``.om`` model takes and gives, by its description in AscendCL; what cannot be fed is refused."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pspfast.runtimes.picture_input import is_one_picture
from pspfast.runtimes.runtime import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pspfast.runtimes.acl_library import AclCalls

__all__ = ["AclModel"]

# Constants of acl_base_rt.h, which the module does not export.
_DTYPES = {
    0: "float32", 1: "float16", 2: "int8", 3: "int32", 4: "uint8", 6: "int16", 7: "uint16", 8: "uint32", 9: "int64",
    10: "uint64", 11: "float64", 12: "bool",
}  # fmt: skip
_PLAIN_FORMATS = (0, 1, 2)  # NCHW, NHWC, ND; the others are the chip's own orders of bytes

_GEARS = "ascend_mbatch_shape_data"
"""The input that atc adds for ``--dynamic_batch_size``."""


class AclModel:
    """A model whose only input is pictures.

    Args:
        calls: of AscendCL.
        path: of the model, for messages.
        desc: the handle of its description.

    Attributes:
        inputs, outputs, batches: see :class:`pspfast.runtimes.runtime.Runtime`.
        input_bytes, output_bytes: of each input and output, for the largest batch.
        picture_index, picture_bytes: which input takes the pictures, and its bytes.
        gear_index: which one takes the number of pictures; ``None`` for a fixed batch.
        batch_axes: which dimension of each output is that of the pictures.

    Raises:
        ValueError: several inputs, sizes that vary, the chip's own layouts.
        RuntimeFault: AscendCL refuses something.
    """

    def __init__(self, calls: AclCalls, path: str, desc: int) -> None:
        self._calls, self._path = calls, path
        mdl = calls.acl.mdl
        count = mdl.get_num_inputs(desc)
        names = [self._name_of(desc, "input", index) for index in range(count)]
        size_of = partial(self._calls.handle, "acl.mdl.get_input_size_by_index")
        self.input_bytes = [int(size_of(mdl.get_input_size_by_index(desc, index))) for index in range(count)]
        self.gear_index = names.index(_GEARS) if _GEARS in names else None
        pictures = [index for index in range(count) if index != self.gear_index]
        if len(pictures) != 1:
            raise ValueError(
                f"{self._path}: the model has inputs {', '.join(names) or 'none'}; one is what is fed here"
            )
        self.picture_index = pictures[0]
        self.picture_bytes = self.input_bytes[pictures[0]]

        dtype, dims = self._type_of(desc, "input", self.picture_index)
        if not dims:
            raise ValueError(f"{self._path}: input {names[pictures[0]]!r} is a single number, not pictures")
        self._is_one_picture = self.gear_index is None and is_one_picture(dims)
        if self._is_one_picture:
            dims = [1, *dims]
        if self.gear_index is None:
            self.batches: tuple[int, ...] = (dims[0],)
        else:
            index = self._calls.value("acl.mdl.get_input_index_by_name", mdl.get_input_index_by_name(desc, _GEARS))
            gears = self._calls.value("acl.mdl.get_dynamic_batch", mdl.get_dynamic_batch(desc))
            self.batches = tuple(sorted(int(one) for one in gears.get("batch", ())))
            if index != self.gear_index or not self.batches:
                raise ValueError(
                    f"{self._path}: the model takes pictures of several sizes, not several batches; convert it with "
                    "--dynamic_batch_size or with a fixed shape"
                )
        most = self.batches[-1]
        if min(self.batches) < 1 or min(dims[1:], default=1) < 1:
            raise ValueError(
                f"{self._path}: input {names[pictures[0]]!r} has sizes left open ({_shape(dims)}); convert the model "
                "with a fixed --input_shape, or with --dynamic_batch_size"
            )
        self._check_bytes("input", names[pictures[0]], self.picture_bytes, dtype, (most, *dims[1:]))
        first = None if self.gear_index is not None else most
        self.inputs = (TensorSpec(names[pictures[0]], dtype, (first, *dims[1:])),)
        self.output_bytes: list[int] = []
        self.batch_axes: list[int] = []
        self.outputs = self._read_outputs(desc)

    def _read_outputs(self, desc: int) -> tuple[TensorSpec, ...]:
        mdl, most = self._calls.acl.mdl, self.batches[-1]
        specs = []
        for index in range(mdl.get_num_outputs(desc)):
            name = self._name_of(desc, "output", index)
            dtype, dims = self._type_of(desc, "output", index)
            if self._is_one_picture:
                dims = [1, *dims]
            axis = next((one for one, side in enumerate(dims[:2]) if side in (-1, most)), None)
            if axis is None or (axis == 1 and dims[0] != 1):
                raise ValueError(
                    f"{self._path}: output {name!r} is {_shape(dims)} for {most} pictures: none of its first "
                    "dimensions is theirs"
                )
            largest = (*dims[:axis], most, *dims[axis + 1 :])
            size = int(mdl.get_output_size_by_index(desc, index))
            if min(largest) < 1 or size == 0:
                raise ValueError(
                    f"{self._path}: output {name!r} has sizes left open ({_shape(dims)}); convert the model "
                    "with a fixed shape"
                )
            self._check_bytes("output", name, size, dtype, largest)
            self.output_bytes.append(size)
            self.batch_axes.append(axis)
            is_open = self.gear_index is not None
            specs.append(TensorSpec(name, dtype, (*dims[:axis], None if is_open else most, *dims[axis + 1 :])))
        if not specs:
            raise ValueError(f"{self._path}: the model has no outputs")
        return tuple(specs)

    def _name_of(self, desc: int, side: str, index: int) -> str:
        call = f"get_{side}_name_by_index"
        return str(self._calls.handle(f"acl.mdl.{call}", getattr(self._calls.acl.mdl, call)(desc, index)))

    def _type_of(self, desc: int, side: str, index: int) -> tuple[str, list[int]]:
        """Type and dimensions of an input or output."""
        mdl = self._calls.acl.mdl
        code, order = (getattr(mdl, f"get_{side}_{what}")(desc, index) for what in ("data_type", "format"))
        if code not in _DTYPES:
            raise ValueError(f"{self._path}: {side} {index} has the data type {code}, which NumPy has none for")
        if order not in _PLAIN_FORMATS:
            raise ValueError(
                f"{self._path}: {side} {index} has the chip's own layout (format {order}); convert the model with "
                "--is_input_adjust_hw_layout=false"
            )
        name = f"get_{side}_dims"
        found = self._calls.value(f"acl.mdl.{name}", getattr(mdl, name)(desc, index))
        return _DTYPES[code], [int(one) for one in found["dims"]]

    def _check_bytes(self, side: str, name: str, size: int, dtype: str, shape: tuple[int, ...]) -> None:
        expected = math.prod(shape) * np.dtype(dtype).itemsize
        # An output may be rounded up; an input that is larger is not what its shape says.
        if size < expected or (side == "input" and size != expected):
            raise ValueError(
                f"{self._path}: {side} {name!r} has {size} bytes, but {dtype} {_shape(shape)} is {expected}: this is "
                "not the layout that its description says"
            )


def _shape(dims: Iterable[int]) -> str:
    return "x".join(map(str, dims))
