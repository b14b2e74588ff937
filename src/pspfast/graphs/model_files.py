"""ONNX files: reading them, writing them whole, and what is in them.

What every command has to know of a file is settled when it is read: a dimension that is declared as 0 or less is open
(:mod:`pspfast.graphs.declared`), a graph that no library may be given is refused (:mod:`pspfast.graphs.soundness`), and
constants may lie in files of their own. A graph that is written was checked (:mod:`pspfast.graphs.inference`), since
runtimes believe declared shapes and compilers act on them.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from math import prod
from typing import Any

from pspfast.graphs.batch_dimension import text_of_shape
from pspfast.graphs.declared import Dim, contradict, inputs, open_dimensions, shape_of
from pspfast.graphs.inference import MOST_ELEMENTS_OF_A_SIZE, check
from pspfast.graphs.soundness import GraphError, check_sound, complaint_about, tensors_of
from pspfast.system.captured_output import first_line
from pspfast.system.errors import FileError
from pspfast.system.files import OutputError, write_whole
from pspfast.system.libraries import need

__all__ = [
    "Dim", "GraphError", "ModelFileError", "check", "check_sound", "check_writable", "contradict",
    "inputs", "is_too_large", "load", "open_dimensions", "operator_counts", "outside_files", "put_data_beside",
    "read_weights", "save",
    "shape_of", "size_of", "sort_nodes", "text_of_shape", "to_bytes",
]  # fmt: skip

_MOST_BYTES = 2**31 - 1  # of a protobuf message
_LEAST_BYTES_OUTSIDE = 1024  # smaller constants stay in the model
_PAGE = 4096


class ModelFileError(FileError):
    """A file that is no usable ONNX model; ``filename`` is its path and ``strerror`` the reason."""


def load(path: str | os.PathLike[str], *, weights: bool = True) -> Any:
    """Read an ONNX file, with the data that it keeps in files beside it.

    Args:
        path: the file.
        weights: read large constants too that lie in other files. Without, they are left there, once it is sure that
            they can be read: what a graph is made of does not depend on them.

    Returns:
        ``onnx.ModelProto``, in which open dimensions are open (:func:`open_dimensions`).

    Raises:
        ModelFileError: missing, not ONNX, cut short, without a graph, unsound, or lacking external data.
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
    if complaint := complaint_about(model):
        raise ModelFileError(name, complaint)
    open_dimensions(model)
    _read_outside_data(model, name, weights=weights)
    return model


def read_weights(model: Any, path: str | os.PathLike[str]) -> None:
    """Read what :func:`load` left in other files without ``weights``.

    Raises:
        ModelFileError: they cannot be read.
    """
    _read_outside_data(model, os.fspath(path), weights=True)


def outside_files(model: Any, path: str | os.PathLike[str]) -> list[str]:
    """Files that a model, loaded without ``weights`` from ``path``, has large constants in."""
    folder = os.path.dirname(os.path.abspath(path))
    named = {
        entry.value
        for tensor in tensors_of(model.graph)
        if _is_outside(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(os.path.join(folder, name) for name in named)


def size_of(model: Any) -> int:
    """Bytes of a model, with those that are still in other files; also where protobuf cannot count them."""
    tensors = list(tensors_of(model.graph))
    weights = sum(_outside_size(tensor) if _is_outside(tensor) else len(tensor.raw_data) for tensor in tensors)
    if weights > _MOST_BYTES:
        return weights
    size: int = model.ByteSize() + sum(_outside_size(tensor) for tensor in tensors if _is_outside(tensor))
    return size


def is_too_large(model: Any) -> bool:
    """Whether a model, with what is in other files, is more than one file or message can hold."""
    return size_of(model) > _MOST_BYTES


def to_bytes(model: Any) -> bytes:
    """A model as one message.

    Raises:
        GraphError: it has 2 GB and more, which no message holds.
    """
    try:
        data: bytes = model.SerializeToString()
    except Exception as error:  # protobuf's, whose class moved between its versions
        raise GraphError(
            f"a model of {size_of(model):,} bytes, more than the 2 GB that one message holds; write it to a file "
            "with its weights beside it (external data), and name that file"
        ) from error
    return data


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Check a model and write it, whole or not at all.

    What one file cannot hold, more than 2 GB, has its constants in a file beside it, which is named like it and ends
    with ``.data``. That one is written first, so the model is there when all of it is.

    Raises:
        GraphError: see :func:`pspfast.graphs.inference.check`.
        OutputError: it cannot be written.
        ValueError: constants are to lie beside something that is no file.
    """
    check(model)
    name = os.fspath(path)
    if not is_too_large(model):
        write_whole(name, model.SerializeToString())
        return
    if os.path.exists(name) and not os.path.isfile(name):
        raise ValueError(f"{name}: a model of more than 2 GB needs a file beside it, and this is none; name a file")
    folder, own = os.path.split(os.path.abspath(name))
    with tempfile.TemporaryDirectory(prefix=f".{own}.", dir=folder) as scratch:
        light = need("onnx").ModelProto()
        light.CopyFrom(model)
        put_data_beside(light, os.path.join(scratch, own))
        try:
            os.replace(os.path.join(scratch, f"{own}.data"), f"{name}.data")
        except OSError as error:
            raise OutputError(f"{name}.data", error) from error
    write_whole(name, to_bytes(light))


def put_data_beside(model: Any, path: str) -> None:
    """Write a model whose large constants are in ``PATH.data``, not whole: into a folder that nobody else looks into.

    Args:
        model: ``onnx.ModelProto``, which keeps only where its large constants are then.
        path: of the model itself.

    Raises:
        OutputError: it cannot be written.
    """
    helper = need("onnx").external_data_helper
    location = f"{os.path.basename(path)}.data"
    try:
        with open(f"{path}.data", "wb") as file:
            for tensor in tensors_of(model.graph):
                if len(tensor.raw_data) < _LEAST_BYTES_OUTSIDE:
                    continue
                file.seek(-file.tell() % _PAGE, os.SEEK_CUR)
                offset, length = file.tell(), len(tensor.raw_data)
                file.write(tensor.raw_data)
                helper.set_external_data(tensor, location, offset=offset, length=length)
                tensor.ClearField("raw_data")
        with open(path, "wb") as file:
            file.write(to_bytes(model))
    except OSError as error:
        raise OutputError(path, error) from error


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


def _is_outside(tensor: Any) -> bool:
    return bool(tensor.data_location == tensor.EXTERNAL)


def _outside_size(tensor: Any) -> int:
    itemsize: int = need("onnx").helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return itemsize * int(prod(tensor.dims))


def _read_outside_data(model: Any, path: str, *, weights: bool) -> None:
    helper = need("onnx").external_data_helper
    folder = os.path.dirname(os.path.abspath(path))
    for tensor in tensors_of(model.graph):
        if not _is_outside(tensor):
            continue
        try:
            if weights or prod(tensor.dims) <= MOST_ELEMENTS_OF_A_SIZE:
                helper.load_external_data_for_tensor(tensor, folder)
                tensor.data_location = tensor.DEFAULT
                del tensor.external_data[:]
            else:
                _check_outside_file(tensor, folder)
        except Exception as error:  # missing, outside of the folder, of another size: each its own class
            raise ModelFileError(path, f"its external data cannot be read: {first_line(error)}") from error


def _check_outside_file(tensor: Any, folder: str) -> None:
    """Raise ValueError or OSError if a constant cannot be read from the file where it is said to be."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, offset = entries.get("location", ""), int(entries.get("offset", "0"))
    file = os.path.realpath(os.path.join(folder, location))
    if (
        not location
        or os.path.isabs(location)
        or os.path.commonpath([file, os.path.realpath(folder)]) != (os.path.realpath(folder))
    ):
        raise ValueError(f"{tensor.name!r} is in {location!r}, which is no file in the folder of the model")
    have, need_bytes = os.stat(file).st_size, int(entries.get("length", _outside_size(tensor)))
    if have < offset + need_bytes:
        raise ValueError(f"{location} has {have:,} bytes, {tensor.name!r} ends at {offset + need_bytes:,}")
