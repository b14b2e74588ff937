"""What stands between an ONNX segmentation model and a compiler for Ascend, as records.

Two questions are asked of each pool: is it within the documented limits, and is it the adaptive pool that it was made
of. The first has a certain answer. The second has not, since a file does not say what its pools were; the answer then
says what it was inferred from.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pspfast
from pspfast.graphs import ascend_limits
from pspfast.graphs import model_files as graphs
from pspfast.graphs import pool_windows as pooling
from pspfast.graphs.pools import (
    DEFAULT_DOMAINS,
    Known,
    Pool,
    all_nodes,
    attributes_of,
    constants_of,
    infer,
    is_adaptive,
    label,
    pools_of,
    windows_of,
    with_intents,
)
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

__all__ = ["Diagnosis", "Finding", "Port", "Severity", "diagnose", "exact_feature_sizes"]

Severity = Literal["error", "warning", "note"]

_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_IMAGE_CHANNELS = (1, 3, 4)
_SCALES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a model.

    Attributes:
        severity: ``"error"``: results are not those of the network, or a document says that it is refused or runs on
            the AI CPU. ``"warning"``: the same, but depending on the version of CANN or on something inferred.
            ``"note"``: nothing is wrong.
        rule: which check this is of; one of a fixed set of names.
        nodes: names of the nodes concerned; empty if it is about the whole model.
        problem: what is wrong, with its numbers.
        advice: what to do; may be empty.
        source: the document; empty if none is needed.
        inferred: whether this rests on something that the file does not say.
        numbers: the same numbers, for programs.
    """

    severity: Severity
    rule: str
    nodes: tuple[str, ...]
    problem: str
    advice: str = ""
    source: str = ""
    inferred: bool = False
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name, element type and declared shape (``None`` if none is declared)."""

    name: str
    type: str
    shape: tuple[graphs.Dim, ...] | None

    def __str__(self) -> str:
        return f"{self.type} {_shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of a model.

    Attributes:
        opset, ir, producer: as the file says.
        inputs, outputs: what is fed and what comes out.
        batch: images at a time, a name if that is open, ``None`` if nothing is declared.
        operators: operator -> how many nodes.
        pools: in the file's order.
        findings: what to know, the worst first.
    """

    opset: int
    ir: int
    producer: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batch: graphs.Dim
    operators: dict[str, int]
    pools: tuple[Pool, ...]
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """How many findings are of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def fields(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "opset": self.opset,
            "ir": self.ir,
            "producer": self.producer,
            "batch": self.batch,
            "inputs": [asdict(port) for port in self.inputs],
            "outputs": [asdict(port) for port in self.outputs],
            "operators": self.operators,
            "pools": [{**asdict(pool), "area": pool.area} for pool in self.pools],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def to_json(self, **others: Any) -> str:
        """Everything, for programs; ``others`` are fields to add."""
        head = {"format": "pspfast diagnosis", "version": 1, "pspfast": pspfast.__version__}
        return json.dumps({**head, **others, **self.fields()}, indent=1) + "\n"


def diagnose(model: Any, *, adaptive: Collection[str] = ()) -> Diagnosis:
    """Look a model over.

    Args:
        model: ``onnx.ModelProto``; it is not changed.
        adaptive: names of nodes that are known to have been adaptive pools, which a file does not say.

    Raises:
        ValueError: the model has no operators, or none of these nodes.
        MissingExtra: onnx is not installed.
    """
    graph = model.graph
    if not graph.node:
        raise ValueError("the graph has no operators")
    invalid = list(_validity(model))
    opset = next((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 0)
    types = need("onnx").TensorProto.DataType
    inputs, outputs = (
        tuple(
            Port(value.name, types.Name(value.type.tensor_type.elem_type), graphs.shape_of(value)) for value in values
        )
        for values in (graphs.inputs(model), graph.output)
    )
    try:
        known = infer(model)
        pools = list(pools_of(model, known))
    except (ValueError, TypeError, IndexError):
        if not invalid:
            raise
        known, pools = {}, []  # what is not ONNX cannot be looked into
    pools = with_intents(pools, adaptive)
    operators: dict[str, int] = defaultdict(int)
    for node in all_nodes(graph):
        operators[node.op_type] += 1
    findings = [
        *invalid,
        *_declared_shapes(model, known),
        *_pool_findings(pools, _picture_size(inputs)),
        *_operator_findings(model),
        *_resize_findings(model, known, opset),
        *_opset_findings(opset, operators),
        *_port_findings(inputs, outputs),
    ]
    findings.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
    return Diagnosis(
        opset,
        model.ir_version,
        " ".join(filter(None, (model.producer_name, model.producer_version))),
        inputs,
        outputs,
        inputs[0].shape[0] if inputs and inputs[0].shape else None,
        dict(sorted(operators.items())),
        tuple(pools),
        tuple(findings),
    )


def exact_feature_sizes(bins: Iterable[int], near: int, count: int = 4) -> list[int]:
    """Sizes of a feature map for which old exporters' pools are the adaptive ones, the nearest first.

    Args:
        bins: of all pools of the pyramid.
        near: size to be near to; it comes first if it is one of them.
        count: how many.

    Example:
        >>> exact_feature_sizes((1, 2, 3, 6), 63)
        [61, 60, 66, 67]
    """
    bins = tuple(bins)
    found: list[int] = []
    step = 0
    while len(found) < count:
        for size in dict.fromkeys((near - step, near + step)):
            if size >= max(bins) and all(pooling.is_published_pool_exact(size, one) for one in bins):
                found.append(size)
        step += 1
    return found[:count]


def _pool_findings(pools: Sequence[Pool], picture: tuple[int, int] | None) -> Iterator[Finding]:
    for pool in pools:
        limits = ascend_limits.POOL_LIMITS.get(pool.operator)
        numbers = {"kernel": pool.kernel, "stride": pool.stride, "area": pool.area, "size": pool.size}
        if limits is not None and pool.excesses:
            yield Finding(
                "error",
                "pool-limit",
                (pool.node,),
                f"{pool.operator} {_window_text(pool)}: {'; '.join(pool.excesses)}; beyond these it runs on the AI CPU",
                "--fix writes it as two matrix products, which have no kernel"
                if pool.operator == "AveragePool"
                else "change the network; no exact form within the limits is known here",
                limits.source,
                numbers={**numbers, "excesses": list(pool.excesses)},
            )
        if limits is not None and not limits.pads_counted and pool.counts_pads and any(pool.pads):
            yield Finding(
                "error",
                "pool-padding",
                (pool.node,),
                f"{pool.operator}: count_include_pad=1, with pads {pool.pads}, is not supported",
                "--fix writes it as two matrix products",
                limits.source,
            )
        if limits is not None and pool.auto_pad not in limits.auto_pads:
            yield Finding(
                "warning",
                "pool-padding",
                (pool.node,),
                f"auto_pad={pool.auto_pad} is taken by some versions of CANN only, and padded as SAME_UPPER by 5.0.4",
                "export with explicit pads",
                limits.source,
            )
        if limits is not None and not limits.dilations and {*pool.dilations} - {1}:
            severity: Severity = "error" if pool.operator == "MaxPool" else "warning"
            source = limits.source if severity == "error" else ""
            yield Finding(
                severity,
                "pool-dilation",
                (pool.node,),
                f"dilations {_by(pool.dilations)} are not supported",
                "",
                source,
            )
        if pool.exact is False:
            yield _inexact(pool, [other for other in pools if other.source == pool.source and other.intent], picture)
    idle = [pool.node for pool in pools if pool.operator == "AveragePool" and pool.counts_pads and not any(pool.pads)]
    if idle:
        yield Finding(
            "warning",
            "pool-padding",
            tuple(idle),
            f"AveragePool ({len(idle)}): count_include_pad=1 is not supported; without padding it means nothing",
            "--fix removes it",
            ascend_limits.POOL_LIMITS["AveragePool"].source,
        )
    unjudged = [pool.node for pool in pools if pool.operator == "AveragePool" and pool.size is None]
    if unjudged:
        yield Finding(
            "note",
            "pool-unjudged",
            tuple(unjudged),
            "the size of what these pools read is not fixed, so whether they equal adaptive pools cannot be told",
            "give the model a fixed input size: pspfast simplify",
        )


def _inexact(pool: Pool, pyramid: Sequence[Pool], picture: tuple[int, int] | None) -> Finding:
    assert pool.size is not None and pool.bins is not None
    is_known = pool.intent == "adaptive"
    alike = [other.bins for other in pyramid if other.bins is not None and other.intent == pool.intent]
    axis = next((axis for axis in range(2) if not is_adaptive(pool, [axis])), 0)
    size, count = pool.size[axis], pool.bins[axis]
    right, own = pooling.windows(size, count), windows_of(pool, axis)
    sides = sorted({stop - start for start, stop in right})
    bins = count if len({*pool.bins}) == 1 else pool.bins
    problem = (
        f"{_by(pool.size)} to {_by(pool.bins)} by kernel {_by(pool.kernel)}, stride {_by(pool.stride)} is not "
        f"AdaptiveAvgPool2d({bins}), whose windows are {' or '.join(map(str, sides))} wide"
    )
    wrong = next((index for index in range(count) if own[index] != right[index]), None)
    if wrong is not None:
        (start, stop), (first, end) = own[wrong], right[wrong]
        problem += f": window {wrong + 1} averages {start} to {stop - 1} instead of {first} to {end - 1}"
    if pool.told:
        reason = "you said that it was an adaptive pool"
    elif is_known:
        reason = (
            f"taken for an adaptive pool because it is one of {len(alike)} pools of the same tensor, with "
            f"{_listed(sorted({max(one) for one in alike}))} bins, and has the kernel and stride that old exporters "
            "make of one"
        )
    else:
        reason = "it has the kernel and stride that old exporters make of an adaptive pool, but may be meant as it is"
    act = "--fix makes it exact at this size" if is_known else f"if it was adaptive: --fix with --adaptive {pool.node}"
    numbers: dict[str, Any] = {
        "size": pool.size, "bins": pool.bins, "kernel": pool.kernel, "stride": pool.stride, "windows": sides,
    }  # fmt: skip
    scale = None if picture is None else _scale(picture, pool.size)
    for place, name in enumerate(("height", "width")):
        if is_adaptive(pool, [place]) or (place and pool.size[0] == pool.size[1] and axis == 0):
            continue
        here = pool.size[place]
        sizes = exact_feature_sizes({one[place] for one in alike}, here)
        what = "size" if pool.size[0] == pool.size[1] else name
        act += f"; exact would be a feature {what} of {', '.join(map(str, sizes))} ({here} here)"
        numbers[f"exact_feature_{name}s"] = sizes
        if scale is not None and picture is not None:
            spans = [[(one - 1) * scale + 1, one * scale] for one in sizes]
            numbers |= {"scale": scale, f"exact_input_{name}s": spans}
            act += f": inputs of {', '.join(f'{least} to {most}' for least, most in spans)}"
            act += f", if {here} is {picture[place]} / {scale} rounded up"
    return Finding(
        "error" if is_known else "warning",
        "pool-inexact",
        (pool.node,),
        f"{problem}; {reason}",
        act,
        inferred=not pool.told,
        numbers=numbers,
    )


def _scale(picture: tuple[int, int], feature: Sequence[int]) -> int | None:
    """How many pixels a place of the feature map stands for, if that is a plain power of two."""
    return next(
        (
            scale
            for scale in _SCALES
            if all(-(-side // scale) == one for side, one in zip(picture, feature, strict=True))
        ),
        None,
    )


# ---------------------------------------------------------------------------------------------- operators and versions


def _operator_findings(model: Any) -> Iterator[Finding]:
    by_operator: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in all_nodes(model.graph):
        by_operator[node.domain if node.domain not in DEFAULT_DOMAINS else "", node.op_type].append(label(node))
    versions = list(ascend_limits.OPERATORS)
    sources = "; ".join(source for _, source in ascend_limits.OPERATORS.values())
    for (domain, operator), nodes in sorted(by_operator.items()):
        if domain:
            yield Finding(
                "error",
                "operator-unlisted",
                tuple(nodes),
                f"{domain}.{operator} ({len(nodes)}) is no operator of ONNX itself; no list of CANN has it",
                "export without it",
                sources,
            )
            continue
        listed = ascend_limits.lists_with(operator)
        why = ascend_limits.AWKWARD.get(operator)
        if not listed:
            yield Finding(
                "error",
                "operator-unlisted",
                tuple(nodes),
                f"{operator} ({len(nodes)}) is in none of the lists of CANN {' and '.join(versions)}"
                + (f"; it {why}" if why else ""),
                "simplify with a fixed input size, or export another way (pspfast export)",
                sources,
            )
        elif why:
            yield Finding(
                "warning",
                "operator-awkward",
                tuple(nodes),
                f"{operator} ({len(nodes)}) {why}",
                "simplify with a fixed input size (pspfast simplify), or export another way (pspfast export)",
            )
        elif len(listed) < len(versions):
            missing = [version for version in versions if version not in listed]
            yield Finding(
                "warning",
                "operator-unlisted",
                tuple(nodes),
                f"{operator} ({len(nodes)}) is listed for CANN {' and '.join(listed)}, not for {' and '.join(missing)}",
                "use a version that lists it",
                sources,
            )


def _resize_findings(model: Any, known: dict[str, Known], opset: int) -> Iterator[Finding]:
    constants = constants_of(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    limits = ascend_limits.RESIZE
    # Several nodes mostly have the same flaw: told once, with all of their names.
    flaws: dict[tuple[Severity, str, str, str], list[str]] = defaultdict(list)
    for node in model.graph.node:
        if node.op_type != "Resize" or node.domain not in DEFAULT_DOMAINS:
            continue
        attributes = attributes_of(node)
        sizes = list(node.input[1:2] if opset < 11 else node.input[2:4])
        computed = [name for name in sizes if name and name not in constants]
        if computed:
            fixed = all(_is_fixed(name, makers, constants, known) for name in computed)
            flaws[
                "warning" if fixed else "error",
                "resize-size",
                "the size of its result is computed by other nodes, though it must be a constant"
                + ("; it is the same for every picture" if fixed else ""),
                "pspfast simplify writes it as one" + ("" if fixed else ", with a fixed input size"),
            ].append(label(node))
        mode = attributes.get("mode", b"nearest").decode()
        coordinates = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
        rounding = attributes.get("nearest_mode", b"round_prefer_floor").decode()
        if mode not in limits.modes:
            listed = " and ".join(limits.modes)
            flaws[
                "error", "resize-form", f"mode {mode} is not supported, only {listed}", "interpolate linearly"
            ].append(label(node))
        elif opset >= 11 and coordinates not in limits.coordinates:
            listed = ", ".join(limits.coordinates)
            flaws["error", "resize-form", f"coordinates {coordinates} are none of {listed}", ""].append(label(node))
        elif opset >= 11 and mode == "nearest" and rounding not in limits.nearest:
            problem = f"nearest by {rounding}; the newest CANN documents {limits.nearest[0]} only"
            flaws["warning", "resize-form", problem, "compare masks with those of the device"].append(label(node))
    for (severity, rule, problem, advice), nodes in flaws.items():
        yield Finding(severity, rule, tuple(nodes), f"Resize ({len(nodes)}): {problem}", advice, limits.source)


def _is_fixed(name: str, makers: dict[str, Any], constants: Collection[str], known: dict[str, Known]) -> bool:
    """Whether a value follows from constants and from fixed shapes, so that it is the same for every picture."""
    waiting, seen = [name], {""}
    while waiting:
        one = waiting.pop()
        if one in seen or one in constants:
            continue
        seen.add(one)
        node = makers.get(one)
        if node is None:
            return False
        if node.op_type == "Shape":
            read = known.get(node.input[0])
            if read is None or read.shape is None or not all(isinstance(dim, int) for dim in read.shape):
                return False
        else:
            waiting += node.input
    return True


def _opset_findings(opset: int, operators: dict[str, int]) -> Iterator[Finding]:
    limit, old = ascend_limits.LIMITS["opset"], ascend_limits.LIMITS["opset of 2021"]
    numbers = {"opset": opset}
    if opset not in limit:
        yield Finding(
            "warning", "opset", (), f"opset {opset} {limit.beyond} ({limit})", "export with --opset 11", limit.source,
            numbers=numbers,
        )  # fmt: skip
    elif opset not in old:
        yield Finding(
            "note", "opset", (), f"opset {opset}: above 11, which {old.beyond}", "export with --opset 11 for these",
            old.source, numbers=numbers,
        )  # fmt: skip
    for operator, (listed, source) in ascend_limits.OPSETS.items():
        missing = [version for version, opsets in listed.items() if opset not in opsets]
        if operator not in operators or not missing:
            continue
        yield Finding(
            "warning" if len(missing) == len(listed) else "note",
            "opset",
            (),
            f"{operator} is not listed for opset {opset} in CANN {' and '.join(missing)}",
            "export with --opset 11, which all versions list",
            source,
            numbers=numbers,
        )


# ---------------------------------------------------------------------------------------------- the model as a whole


def _validity(model: Any) -> Iterator[Finding]:
    onnx = need("onnx")
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        yield Finding("error", "model-invalid", (), f"onnx.checker refuses the model: {first}", "export it again")


def _declared_shapes(model: Any, known: dict[str, Known]) -> Iterator[Finding]:
    advice = "compilers act on what is declared; --fix declares what is computed, so does pspfast simplify"
    for value in model.graph.output:
        declared, computed = graphs.shape_of(value), known.get(value.name)
        if computed is None or computed.shape is None:
            continue
        if declared is None:
            text = f"output {value.name} is declared without a shape and is {_shape_text(computed.shape)}"
            yield Finding("error", "shape-declared", (), text, advice, numbers={"computed": computed.shape})
            continue
        text = f"output {value.name} is declared {_shape_text(declared)} and is {_shape_text(computed.shape)}"
        numbers = {"declared": declared, "computed": computed.shape}
        if len(declared) != len(computed.shape) or any(
            isinstance(one, int) and isinstance(other, int) and one != other
            for one, other in zip(declared, computed.shape, strict=True)
        ):
            yield Finding("error", "shape-declared", (), text, advice, numbers=numbers)
        elif any(
            not isinstance(one, int) and isinstance(other, int)
            for one, other in zip(declared, computed.shape, strict=True)
        ):
            yield Finding("note", "shape-declared", (), f"{text}: fixed, though declared open", numbers=numbers)
        elif any(
            isinstance(one, int) and isinstance(other, str) for one, other in zip(declared, computed.shape, strict=True)
        ):
            yield Finding("warning", "shape-declared", (), f"{text}: open, though declared fixed", numbers=numbers)
    stale = []
    for value in model.graph.value_info:
        declared, computed = graphs.shape_of(value), known.get(value.name)
        if computed is None or computed.shape is None or declared is None:
            continue
        if len(declared) != len(computed.shape) or any(
            isinstance(one, int) and isinstance(other, int) and one != other
            for one, other in zip(declared, computed.shape, strict=True)
        ):
            stale.append(value.name)
    if stale:
        yield Finding(
            "warning",
            "shape-declared",
            (),
            f"{len(stale)} values inside of the graph are declared with shapes that they do not have, {stale[0]} among "
            "them",
            advice,
            numbers={"values": stale},
        )


def _port_findings(inputs: Sequence[Port], outputs: Sequence[Port]) -> Iterator[Finding]:
    for port in inputs:
        if port.shape is None or len(port.shape) != 4:
            continue
        batch, *others = port.shape
        if not all(isinstance(dim, int) for dim in others):
            yield Finding(
                "warning",
                "shape-open",
                (),
                f"input {port.name} is {_shape_text(port.shape)}: ATC compiles for fixed sizes",
                "fix it with pspfast simplify, or give atc --input_shape; its pools may be made for one size only",
            )
        if isinstance(batch, int):
            yield Finding("note", "batch", (), f"batch {batch}, fixed", numbers={"batch": batch})
        else:
            yield Finding(
                "note",
                "batch",
                (),
                f"batch is open ({batch or 'unnamed'})",
                "atc needs --input_shape, and --dynamic_batch_size for several; a file for each batch is simpler",
            )
    if not any(_is_map(port) for port in outputs):
        yield Finding(
            "note",
            "no-map",
            (),
            "no output has a height and a width: this is no segmentation model, or its shapes are not declared",
        )


def _is_map(port: Port) -> bool:
    return port.shape is not None and len(port.shape) in (3, 4) and all(dim != 1 for dim in port.shape[-2:])


def _picture_size(inputs: Sequence[Port]) -> tuple[int, int] | None:
    """Height and width of the first input that is a picture, channels first or last."""
    for port in inputs:
        if port.shape is None or len(port.shape) != 4:
            continue
        _, one, two, three = port.shape
        height, width = (one, two) if three in _IMAGE_CHANNELS and one not in _IMAGE_CHANNELS else (two, three)
        if isinstance(height, int) and isinstance(width, int):
            return height, width
    return None


def _window_text(pool: Pool) -> str:
    return f"{_by(pool.kernel)}, stride {_by(pool.stride)}"


def _by(sides: Sequence[int] | None) -> str:
    return "?" if sides is None else "x".join(map(str, sides))


def _shape_text(shape: Sequence[graphs.Dim] | None) -> str:
    return "of any shape" if shape is None else "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"


def _listed(values: Sequence[int]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last
