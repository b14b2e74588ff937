"""Pools written anew as matrix products, which are exact for every size and have no kernel to be too large.

The average over a rectangle is that over its rows and columns in turn, so any average pool of a map ``X`` of fixed size
is ``R X C^T``. A pool that was adaptive gets the matrices of adaptive pooling; any other keeps its own windows. Each
new pool is compared with what it should be, in ONNX Runtime and on numbers drawn for it, before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast.formats.model_metadata import read_metadata, write_metadata
from pspfast.graphs import model_files, native
from pspfast.graphs import pool_windows as pooling
from pspfast.graphs.declared import contradict
from pspfast.graphs.inference import infer
from pspfast.graphs.pools import label, windows_of
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.graphs.diagnosis import Diagnosis
    from pspfast.graphs.pools import Pool

__all__ = ["Repair", "RepairError", "repair"]

# Largest difference from exact averages of numbers of deviation 1. Halves are rounded twice, and hold 1/63 to 2e-4.
_TOLERANCES = {"FLOAT16": 4e-3, "FLOAT": 1e-5, "DOUBLE": 1e-12}
_CHANNELS_TO_TRY = 4


class RepairError(RuntimeError):
    """A pool that could not be written anew so that it is what it should be; nothing was written."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One change.

    Attributes:
        node: what was changed: a node, or an output whose declared shape was.
        kind: ``"adaptive"``: became the adaptive pool that it was made of; ``"same"``: the same averages by matrix
            products; ``"attribute"``: an attribute without meaning was removed; ``"shape"``: a declaration.
        change: from what to what, in words.
        before, after: largest difference from what it should be, in ONNX Runtime on numbers of deviation 1; ``None``
            where nothing is computed, or the old node cannot be run.
    """

    node: str
    kind: Literal["adaptive", "same", "attribute", "shape"]
    change: str
    before: float | None = None
    after: float | None = None


def repair(model: Any, diagnosis: Diagnosis) -> tuple[Any, list[Repair], list[tuple[str, str]]]:
    """A model with the wrong pools written anew, checked.

    Args:
        model: ``onnx.ModelProto``; it is not changed.
        diagnosis: of this model.

    Returns:
        The new model, what was changed in it, and ``(node, reason)`` of the pools that are wrong and were left.

    Raises:
        RepairError: a new pool is not what it should be, or the new model is not valid.
        MissingExtra: onnx or onnxruntime is not installed.
    """
    onnx = need("onnx")
    need("onnxruntime")
    new = onnx.ModelProto()
    new.CopyFrom(model)
    by_output = {node.output[0]: node for node in new.graph.node}
    names = _Names(new)
    repairs: list[Repair] = []
    left: list[tuple[str, str]] = []
    replacements: dict[str, list[Any]] = {}
    for pool in diagnosis.pools:
        kind = _kind(pool)
        if kind is None:
            continue
        node = by_output[pool.output]
        if kind == "attribute":
            kept = [attribute for attribute in node.attribute if attribute.name != "count_include_pad"]
            del node.attribute[:]
            node.attribute.extend(kept)
            repairs.append(Repair(pool.node, kind, "count_include_pad removed: there is no padding to count"))
            continue
        matrices = _matrices(pool, kind)
        if isinstance(matrices, str):
            left.append((pool.node, matrices))
            continue
        nodes, tensors = _products(node, pool, matrices, names)
        done = _tried(new, node, nodes, tensors, pool, kind, matrices)
        if isinstance(done, str):
            left.append((pool.node, done))
            continue
        repairs.append(done)
        replacements[pool.output] = nodes
        present = {tensor.name for tensor in new.graph.initializer}
        new.graph.initializer.extend(tensor for tensor in tensors if tensor.name not in present)
        # IR 3 and older take constants for inputs that have a default.
        if new.ir_version < 4:
            known = {value.name for value in new.graph.input}
            new.graph.input.extend(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                for tensor in tensors
                if tensor.name not in known
            )
    if replacements:
        nodes = [part for node in new.graph.node for part in replacements.get(node.output[0], [node])]
        del new.graph.node[:]
        new.graph.node.extend(nodes)
    if any(done.kind == "adaptive" for done in repairs):
        _note_pooling(new)
    repairs += _declare(new)
    if repairs:
        try:
            model_files.check(new)
        except model_files.GraphError as error:
            raise RepairError(f"the model with new pools is not valid ({error}); nothing was written") from error
    return new, repairs, left


def _kind(pool: Pool) -> Literal["adaptive", "same", "attribute"] | None:
    """What is to be done about a pool; ``None`` if nothing is, or can be."""
    if pool.operator != "AveragePool":
        return None
    if pool.is_wrong or (pool.excesses and pool.intent == "adaptive"):
        return "adaptive"
    if pool.excesses or (pool.counts_pads and any(pool.pads)):
        return "same"
    return "attribute" if pool.counts_pads else None


def _matrices(pool: Pool, kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    """For rows and columns; or why there are none."""
    if pool.bins is not None and not pool.has_windows:
        return "its window is larger than what it reads"
    if pool.size is None or pool.bins is None:
        return "the size of what it reads is not fixed; fix it with pspfast simplify"
    if len(pool.size) != 2:
        return f"it pools {len(pool.size)} axes; only those over height and width are rewritten"
    if pool.type not in _TOLERANCES:
        return f"it pools {pool.type or 'values of unknown type'}; known here are {', '.join(_TOLERANCES)}"
    if kind == "adaptive":
        rows, columns = (
            pooling.average_matrix(size, bins) for size, bins in zip(pool.size, pool.bins, strict=True)
        )  # fmt: skip
        return rows, columns
    if {*pool.dilations} - {1}:
        return f"its windows have gaps (dilations {pool.dilations})"
    parts = [_window_matrix(pool, axis) for axis in range(2)]
    if any(part is None for part in parts):
        return "one of its windows lies in the padding altogether"
    return parts[0], parts[1]  # type: ignore[return-value]


def _window_matrix(pool: Pool, axis: int) -> NDArray[np.float64] | None:
    """Averages of a pool's own windows along an axis; whether padding counts is decided along each axis alone too."""
    assert pool.size is not None and pool.bins is not None
    size = pool.size[axis]
    matrix = np.zeros((pool.bins[axis], size))
    for row, (start, stop) in zip(matrix, windows_of(pool, axis), strict=True):
        inside = slice(max(start, 0), min(stop, size))
        if inside.stop <= inside.start:
            return None
        row[inside] = 1 / ((stop - start) if pool.counts_pads else (inside.stop - inside.start))
    return matrix


def _products(
    node: Any, pool: Pool, matrices: tuple[NDArray[np.float64], NDArray[np.float64]], names: _Names
) -> tuple[list[Any], list[Any]]:
    """Nodes that take the place of a pool, and the constants that they read."""
    onnx = need("onnx")
    kind = np.dtype({"FLOAT16": np.float16, "FLOAT": np.float32, "DOUBLE": np.float64}[pool.type])
    rows, columns = matrices
    tensors = []
    for what, matrix in (("rows", rows), ("columns", np.ascontiguousarray(columns.T))):
        values = matrix.astype(kind)
        name = names.of_constant(f"pspfast.pool.{what}.{matrix.shape[0]}x{matrix.shape[1]}", values)
        tensors.append(onnx.numpy_helper.from_array(values, name))
    between = names.new(f"{pool.output}_columns")
    base = label(node)
    return [
        onnx.helper.make_node("MatMul", [node.input[0], tensors[1].name], [between], f"{base}/columns"),
        onnx.helper.make_node("MatMul", [tensors[0].name, between], [pool.output], f"{base}/rows"),
    ], tensors


def _tried(
    model: Any,
    old: Any,
    nodes: Sequence[Any],
    tensors: Sequence[Any],
    pool: Pool,
    kind: Literal["adaptive", "same"],
    matrices: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Repair | str:
    """Run a pool as it was and as it is on the same numbers; a reason to leave it as it was, if there is one."""
    assert pool.size is not None and pool.bins is not None
    values = np.random.default_rng(0).standard_normal((1, _CHANNELS_TO_TRY, *pool.size))
    values = values.astype({"FLOAT16": np.float16, "FLOAT": np.float32, "DOUBLE": np.float64}[pool.type])
    was, now = (_run(model, some, constants, pool, values) for some, constants in (([old], ()), (nodes, tensors)))
    exact = matrices[0] @ values.astype(np.float64) @ matrices[1].T
    if isinstance(now, str):
        raise RepairError(
            f"{pool.node}: ONNX Runtime cannot run what was to take its place: {now}; nothing was written"
        )
    before = None if isinstance(was, str) else _difference(was, exact)
    after = _difference(now, exact)
    limit = _TOLERANCES[pool.type]
    if after > limit:
        raise RepairError(
            f"{pool.node}: as matrix products it is off by {after:.1e}, where {limit:g} is accepted for {pool.type}; "
            "nothing was written"
        )
    # That the windows are those of the old pool only the old pool can tell.
    if kind == "same" and before is not None and before > limit:
        return f"its own windows are not understood: ONNX Runtime's results differ from them by {before:.1e}"
    sizes = f"{pool.size[0]}x{pool.size[1]} to {pool.bins[0]}x{pool.bins[1]}"
    kernel = "x".join(map(str, pool.kernel or ()))
    what = "the same averages"
    if kind == "adaptive":
        what = f"AdaptiveAvgPool2d({pool.bins[0] if len({*pool.bins}) == 1 else pool.bins})"
    return Repair(pool.node, kind, f"{sizes}: kernel {kernel} became {what} by two matrix products", before, after)


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(np.float64) - other).max())


def _run(
    model: Any, nodes: Sequence[Any], tensors: Sequence[Any], pool: Pool, values: NDArray[Any]
) -> NDArray[Any] | str:
    """What some nodes make of a pool's input; the reason if they do not run."""
    onnx = need("onnx")
    kind = onnx.TensorProto.DataType.Value(pool.type)
    given = next(name for node in nodes for name in node.input if name not in {tensor.name for tensor in tensors})
    graph = onnx.helper.make_graph(
        nodes,
        "pool",
        [onnx.helper.make_tensor_value_info(given, kind, values.shape)],
        [onnx.helper.make_tensor_value_info(pool.output, kind, None)],
        tensors,
    )
    alone = onnx.helper.make_model(graph, opset_imports=list(model.opset_import))
    alone.ir_version = max(4, min(model.ir_version, 8))
    return native.run_once(alone.SerializeToString(), {given: values})


def _note_pooling(model: Any) -> None:
    """In the model's own record, if it has one that can be read."""
    try:
        metadata = read_metadata(model)
    except ValueError:
        return
    if metadata is not None:
        write_metadata(model, replace(metadata, pooling="matmul"))


def _declare(model: Any) -> list[Repair]:
    """Declare what is computed, where outputs or values inside say otherwise."""
    known = infer(model)
    repairs = []
    for value in model.graph.output:
        said, found = model_files.shape_of(value), known.get(value.name)
        if found is None or found.shape is None or (said is not None and not contradict(said, found.shape)):
            continue
        shape = value.type.tensor_type.shape
        shape.SetInParent()
        del shape.dim[:]
        for one in found.shape:
            dim = shape.dim.add()
            if isinstance(one, int):
                dim.dim_value = one
            elif one is not None:
                dim.dim_param = one
        repairs.append(Repair(value.name, "shape", f"declared {_listed(said)}, now {_listed(found.shape)}"))
    stale = {
        value.name
        for value in model.graph.value_info
        if (found := known.get(value.name)) is not None
        and found.shape is not None
        and (said := model_files.shape_of(value)) is not None
        and contradict(said, found.shape)
    }
    if stale:
        kept = [value for value in model.graph.value_info if value.name not in stale]
        del model.graph.value_info[:]
        model.graph.value_info.extend(kept)
        change = f"{len(stale)} values inside of the graph are declared no more, since their shapes were others"
        repairs.append(Repair(min(stale), "shape", change))
    return repairs


def _listed(shape: Sequence[model_files.Dim] | None) -> str:
    return "nothing" if shape is None else "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"


class _Names:
    """Names that are free in a graph; constants of the same values have the same."""

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self._taken = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
        self._taken |= {name for node in graph.node for name in (*node.input, *node.output)}
        self._constants: dict[tuple[str, str, bytes], str] = {}

    def new(self, wish: str) -> str:
        name, count = wish, 1
        while name in self._taken:
            count += 1
            name = f"{wish}_{count}"
        self._taken.add(name)
        return name

    def of_constant(self, wish: str, values: NDArray[Any]) -> str:
        key = (wish, str(values.dtype), values.tobytes())
        if key not in self._constants:
            self._constants[key] = self.new(wish)
        return self._constants[key]
