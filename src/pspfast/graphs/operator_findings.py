"""What a compiler will not like in the operators of a graph, and in their versions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pspfast.graphs import ascend_limits
from pspfast.graphs.findings import Finding, Severity
from pspfast.graphs.pools import DEFAULT_DOMAINS, attributes_of, constants_of, label
from pspfast.graphs.soundness import nodes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pspfast.graphs.inference import Known

__all__ = ["operator_findings", "opset_findings", "resize_findings"]


def operator_findings(model: Any) -> Iterator[Finding]:
    """Operators that are not listed, or awkward."""
    by_operator: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in nodes_of(model.graph):
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


def resize_findings(model: Any, known: dict[str, Known], opset: int) -> Iterator[Finding]:
    """Resizes whose sizes or modes are not supported."""
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
        mode = attributes.get("mode", b"nearest").decode(errors="replace")
        coordinates = attributes.get("coordinate_transformation_mode", b"half_pixel").decode(errors="replace")
        rounding = attributes.get("nearest_mode", b"round_prefer_floor").decode(errors="replace")
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


def opset_findings(opset: int, operators: dict[str, int]) -> Iterator[Finding]:
    """Versions of operators that are too new or too old."""
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
