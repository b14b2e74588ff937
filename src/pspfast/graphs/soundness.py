"""What no ONNX graph may hold, found by looking: before onnx, onnxsim or ONNX Runtime are given it.

Their C++ divides by what attributes say and reads what nodes should have, so such a graph ends in an error deep inside
of them, or with the process. Here it ends in a sentence. A graph that is sound in this sense may still be no valid one.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["GraphError", "check_sound", "complaint_about", "graphs_of", "nodes_of", "tensors_of"]

_OWN_DOMAINS = ("", "ai.onnx")
_OPSETS_ARE_NAMED_FROM = 3  # of IR; before, there was one set of operators

# Attributes of numbers, and the least that each of them may be, in any operator that has an attribute of this name.
_LEAST = {
    "kernel_shape": 1,
    "strides": 1,
    "dilations": 1,
    "pads": 0,
    "output_padding": 0,
    "pooled_shape": 1,
    "group": 1,
    "blocksize": 1,
    "num_outputs": 1,
}
# Operators with windows: how many numbers there are for each axis of the window. Pad's pads are of another kind.
_PER_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 2, "output_padding": 1}
_WINDOWED = frozenset(
    {
        "AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "LpPool", "MaxPool", "MaxUnpool",
        "QLinearConv",
    }
)  # fmt: skip
# Where the weights are among what a convolution reads; its kernel has their dimensions but the first two.
_WEIGHTS = {"Conv": 1, "ConvInteger": 1, "ConvTranspose": 1, "DeformConv": 1, "QLinearConv": 3}
_NO_TEXT = "a name in it is no text (UTF-8); the file is damaged"
_AUTO_PADS = (b"", b"NOTSET", b"SAME_UPPER", b"SAME_LOWER", b"VALID")


class GraphError(ValueError):
    """A graph that is wrong in itself: not valid ONNX, or declaring shapes that it does not have."""


def check_sound(model: Any) -> None:
    """Raise GraphError for what :func:`complaint_about` finds."""
    if complaint := complaint_about(model):
        raise GraphError(complaint)


def complaint_about(model: Any) -> str:
    """What a model (``onnx.ModelProto``) holds that it may not, in a sentence; empty if nothing is found.

    Raises:
        MissingExtra: onnx is not installed.
    """
    try:
        return next(_complaints(model), "")
    except UnicodeDecodeError:
        return _NO_TEXT


def nodes_of(graph: Any) -> Iterator[Any]:
    """Nodes of a graph, and of the graphs that they hold."""
    for one in graphs_of(graph):
        yield from one.node


def tensors_of(graph: Any) -> Iterator[Any]:
    """Constants of a graph (``onnx.TensorProto``), wherever they are: initializers, attributes, inner graphs."""
    for one in graphs_of(graph):
        yield from one.initializer
        for node in one.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def graphs_of(graph: Any) -> Iterator[Any]:
    """A graph and the graphs that its nodes hold."""
    waiting = [graph]
    while waiting:
        one = waiting.pop()
        yield one
        inner = []
        for node in one.node:
            for attribute in node.attribute:
                inner += [attribute.g] * attribute.HasField("g")
                inner += attribute.graphs
        waiting += reversed(inner)


def _complaints(model: Any) -> Iterator[str]:
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    names = [graph.name, model.producer_name, *(value.name for value in values), *(node.name for node in graph.node)]
    if not all(isinstance(name, str) for name in names):  # protobuf gives bytes, or raises
        yield _NO_TEXT
    if not graph.node:
        yield "the graph has no operators"
    versions = {_plain(entry.domain): entry.version for entry in model.opset_import}
    if not versions and 0 < model.ir_version < _OPSETS_ARE_NAMED_FROM:
        versions[""] = 1
    if not versions:
        yield "it names no version of ONNX's operators (opset_import); export it again"
    yield from _unknown_types(graph)
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            what = value.type.WhichOneof("value")
            if what not in (None, "tensor_type"):
                named = what.removesuffix("_type").replace("_", " ")
                yield f"{kind} {value.name!r} is a {named}, not a tensor; models of pictures take and give tensors"
    yield from _same_names(graph)
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    functions = {(_plain(function.domain), function.name) for function in model.functions}
    for node in nodes_of(graph):
        yield from _about_node(node, versions, functions, ranks)
    for function in model.functions:
        own = versions | {_plain(entry.domain): entry.version for entry in function.opset_import}
        for node in function.node:
            yield from _about_node(node, own, functions, {})


def _plain(domain: str) -> str:
    return "" if domain in _OWN_DOMAINS else domain


def _unknown_types(graph: Any) -> Iterator[str]:
    types = need("onnx").TensorProto.DataType
    known = {number for name, number in types.items() if name != "UNDEFINED"}
    for tensor in tensors_of(graph):
        if tensor.data_type not in known:
            yield f"the constant {tensor.name!r} has no type ({tensor.data_type}); export it again"
            return
        if any(dim < 0 for dim in tensor.dims):
            yield f"the constant {tensor.name!r} has the shape {list(tensor.dims)}"
            return
        yield from _wrong_size(tensor)
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            number = value.type.tensor_type.elem_type
            if number and number not in known:
                yield f"{kind} {value.name!r} is of a type that ONNX does not know ({number})"


def _wrong_size(tensor: Any) -> Iterator[str]:
    """Of a constant with more or fewer bytes than its shape has; whether files hold those outside is seen elsewhere."""
    onnx = need("onnx")
    if not tensor.HasField("raw_data") or tensor.data_type == onnx.TensorProto.STRING:
        return
    size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * prod(tensor.dims)
    have, name = len(tensor.raw_data), onnx.TensorProto.DataType.Name(tensor.data_type)
    is_packed = name.endswith(("INT4", "INT2")) or name.startswith("FLOAT4")  # several to a byte
    if have > size or (have < size and not is_packed):
        yield f"the constant {tensor.name!r} has {have:,} bytes, its shape {list(tensor.dims)} has {size:,}"


def _same_names(graph: Any) -> Iterator[str]:
    """Names that two nodes have, which ONNX Runtime refuses; nodes without a name may be many."""
    seen: dict[str, str] = {}
    for node in graph.node:
        if node.name and node.name in seen:
            yield (
                f"two nodes are called {node.name!r} ({seen[node.name]} and {node.op_type}), which ONNX Runtime "
                "refuses; give each a name of its own, or none"
            )
        seen[node.name] = node.op_type


def _about_node(
    node: Any, versions: dict[str, int], functions: set[tuple[str, str]], ranks: dict[str, int]
) -> Iterator[str]:
    domain = _plain(node.domain)
    called = f"node {node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"
    if domain not in versions:
        yield (
            f"{called} is of {domain or 'ONNX itself'}, a set of operators whose version the model does not name "
            "(opset_import); export it again"
        )
        return
    if not node.output:
        yield f"{called} makes nothing"
    if (domain, node.op_type) in functions:
        return
    schema = _schema(node.op_type, versions[domain], domain)
    if schema is not None:
        yield from _against_schema(node, called, schema)
    if domain == "":
        yield from _forbidden_numbers(node, called, ranks)


def _schema(operator: str, version: int, domain: str) -> Any:
    """What ONNX says about an operator; ``None`` where it does not know it."""
    definitions = need("onnx").defs
    try:
        return definitions.get_schema(operator, version, domain)
    except definitions.SchemaError:
        return None


def _against_schema(node: Any, called: str, schema: Any) -> Iterator[str]:
    if not schema.min_input <= len(node.input) <= schema.max_input:
        yield f"{called} reads {len(node.input)} values; it needs {_count(schema.min_input, schema.max_input)}"
    if not schema.min_output <= len(node.output) <= schema.max_output:
        yield f"{called} makes {len(node.output)} values; it has {_count(schema.min_output, schema.max_output)}"
    types = need("onnx").AttributeProto.AttributeType
    given = set()
    for attribute in node.attribute:
        given.add(attribute.name)
        known = schema.attributes.get(attribute.name)
        if known is None or not attribute.type or attribute.ref_attr_name:
            continue
        if attribute.type != known.type.value:
            yield (
                f"{called}: {attribute.name} is of the kind {types.Name(attribute.type)}, not "
                f"{types.Name(known.type.value)}"
            )
    missing = sorted(name for name, known in schema.attributes.items() if known.required and name not in given)
    if missing:
        yield f"{called} lacks {missing[0]}"


def _count(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return f"at least {least}" if most > 1000 else f"{least} to {most}"


def _forbidden_numbers(node: Any, called: str, ranks: dict[str, int]) -> Iterator[str]:
    numbers: dict[str, Sequence[int]] = {}
    for attribute in node.attribute:
        if attribute.name == "auto_pad" and node.op_type in _WINDOWED and attribute.s not in _AUTO_PADS:
            text = attribute.s.decode(errors="replace")
            yield f"{called}: auto_pad is {text!r}; ONNX knows NOTSET, SAME_UPPER, SAME_LOWER and VALID"
        if attribute.name not in _LEAST or attribute.ref_attr_name or (attribute.name == "pads" and not _pads(node)):
            continue
        numbers[attribute.name] = [*attribute.ints] or ([attribute.i] if attribute.HasField("i") else [])
        if any(number < _LEAST[attribute.name] for number in numbers[attribute.name]):
            values = ", ".join(map(str, numbers[attribute.name]))
            yield f"{called}: {attribute.name} is {values}; ONNX takes {_LEAST[attribute.name]} and more"
    if node.op_type not in _WINDOWED:
        return
    axes = len(numbers.get("kernel_shape", ()))
    place = _WEIGHTS.get(node.op_type)
    if not axes and place is not None and place < len(node.input) and node.input[place] in ranks:
        axes = ranks[node.input[place]] - 2
    for name, each in _PER_AXIS.items():
        if axes > 0 and name in numbers and numbers[name] and len(numbers[name]) != each * axes:
            yield (
                f"{called}: {name} has {len(numbers[name])} numbers, and a window of {axes} axes needs {each * axes}"
            )
    if "kernel_shape" in numbers and not numbers["kernel_shape"]:
        yield f"{called}: kernel_shape is empty"


def _pads(node: Any) -> bool:
    """Whether ``pads`` are those of a window; Pad's may be negative, which cuts off."""
    return node.op_type in _WINDOWED or node.op_type == "Col2Im"
