"""ONNX files: reading them, writing them whole, and what is in them.

A graph that is written was checked: by ``onnx.checker``, and its declared shapes against those that follow from its
operators, since runtimes believe the former and compilers act on them.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from pspfast.system.captured_output import first_line
from pspfast.system.errors import FileError
from pspfast.system.files import OutputError, write_whole
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Dim", "GraphError", "ModelFileError", "check", "check_writable", "inputs", "load", "operator_counts", "save",
    "shape_of", "sort_nodes",
]  # fmt: skip

Dim = int | str | None
"""A dimension: its size, its name if it may have any, or ``None`` where nothing is declared."""

_MOST_BYTES = 2**31 - 1  # of a protobuf message


class ModelFileError(FileError):
    """A file that is no usable ONNX model; ``filename`` is its path and ``strerror`` the reason."""


class GraphError(ValueError):
    """A graph that is wrong in itself: not valid ONNX, or declaring shapes that it does not have."""


def load(path: str | os.PathLike[str]) -> Any:
    """Read an ONNX file, with the data that it keeps in files beside it.

    Returns:
        ``onnx.ModelProto``.

    Raises:
        ModelFileError: missing, not ONNX, cut short, without a graph, or lacking external data.
        MissingExtra: onnx is not installed.
    """
    onnx = need("onnx")
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ModelFileError(name, error.strerror or str(error)) from error
    if not data:
        raise ModelFileError(name, "empty file; expected an ONNX model")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's, whose class moved between its versions
        raise ModelFileError(name, f"not an ONNX model, or cut short ({len(data):,} bytes)") from error
    if not model.graph.output or not (model.graph.node or model.graph.initializer):
        raise ModelFileError(name, "holds no graph with outputs; is this an ONNX model?")
    try:
        onnx.load_external_data_for_model(model, os.path.dirname(os.path.abspath(name)))
    except Exception as error:  # missing, outside of the folder, of another size: each its own class
        raise ModelFileError(name, f"its external data cannot be read: {error}") from error
    return model


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Check a model and write it, whole or not at all.

    Raises:
        GraphError: see :func:`check`.
        OutputError: it cannot be written.
        ValueError: 2 GB and more, which one file cannot hold.
    """
    check(model)
    if model.ByteSize() > _MOST_BYTES:
        raise ValueError(
            f"{os.fspath(path)}: a model of {model.ByteSize():,} bytes; one ONNX file holds {_MOST_BYTES:,}"
        )
    write_whole(os.fspath(path), model.SerializeToString())


def check_writable(path: str) -> None:
    """Raise OutputError for a file that cannot be written; to be asked before the work, not after."""
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    try:
        if not path:
            raise FileNotFoundError(2, "the output has an empty name")
        if os.path.isdir(real) or path.endswith(os.sep):
            raise IsADirectoryError(21, "is a folder; expected a file name")
        if os.path.exists(real) and not os.path.isfile(real):
            return  # a device or a pipe
        if not os.path.isdir(folder):
            raise FileNotFoundError(2, f"there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, f"no permission to write into {folder}")
    except OSError as error:
        raise OutputError(path, error) from error


def check(model: Any) -> None:
    """Raise GraphError if a model is not valid, or declares shapes that do not follow from its operators."""
    onnx = need("onnx")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(f"not a valid ONNX graph: {first_line(error)}") from error
    lies = list(_wrong_shapes(model))
    if lies:
        raise GraphError("declared shapes that the graph does not have: " + "; ".join(lies))


def _wrong_shapes(model: Any) -> Iterator[str]:
    """Outputs whose declared shape is not what follows from the inputs' shapes."""
    for declared, inferred in zip(model.graph.output, inferred_outputs(model), strict=True):
        said, found = shape_of(declared), shape_of(inferred)
        if said is None or found is None:
            continue
        if len(said) != len(found) or any(
            isinstance(one, int) and isinstance(other, int) and one != other
            for one, other in zip(said, found, strict=True)
        ):
            yield f"{declared.name} is declared {list(said)} and is {list(found)}"


def inferred_outputs(model: Any) -> list[Any]:
    """The outputs with the shapes that follow from the inputs, whatever is declared."""
    onnx = need("onnx")
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    return list(onnx.shape_inference.infer_shapes(bare, data_prop=True).graph.output)


def inputs(model: Any) -> list[Any]:
    """What is fed: the graph's inputs that are no initializers (which old files list among them)."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def shape_of(value: Any) -> tuple[Dim, ...] | None:
    """Declared shape of an input, output or intermediate value; ``None`` if there is none."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim)


def operator_counts(model: Any) -> dict[str, int]:
    """How many nodes of each operator there are, by name."""
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def sort_nodes(model: Any) -> None:
    """Bring nodes into an order in which each comes after what it reads, keeping theirs where possible.

    Raises:
        GraphError: they read each other, or something that nobody makes.
    """
    graph = model.graph
    known = {value.name for value in (*graph.input, *graph.initializer, *graph.sparse_initializer)} | {""}
    waiting = list(graph.node)
    done: list[Any] = []
    while waiting:
        later = []
        for node in waiting:
            if known.issuperset(node.input):
                done.append(node)
                known.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise GraphError(f"node {later[0].name!r} reads what no node before it makes")
        waiting = later
    del graph.node[:]
    graph.node.extend(done)
