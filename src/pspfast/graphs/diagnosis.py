"""What stands between an ONNX segmentation model and a compiler for Ascend, as records.

Two questions are asked of each pool: is it within the documented limits, and is it the adaptive pool that it was made
of. The first has a certain answer. The second has not, since a file does not say what its pools were; the answer then
says what it was inferred from.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pspfast
from pspfast.graphs import model_files
from pspfast.graphs.batch_dimension import example_shape, has_batch, pictures_at_once
from pspfast.graphs.findings import SEVERITIES, Finding, Port, Severity, shape_text
from pspfast.graphs.inference import Known, complaint_of_checker, infer
from pspfast.graphs.operator_findings import operator_findings, opset_findings, resize_findings
from pspfast.graphs.pool_findings import exact_feature_sizes, pool_findings
from pspfast.graphs.pools import DEFAULT_DOMAINS, Pool, pools_of, with_intents
from pspfast.graphs.soundness import check_sound, nodes_of
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = ["Diagnosis", "Finding", "Port", "Severity", "diagnose", "exact_feature_sizes"]


_IMAGE_CHANNELS = (1, 3, 4)


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
    batch: model_files.Dim
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
        GraphError: it holds what no graph may hold, or an operator that cannot be.
        ValueError: it has none of these nodes.
        DiedApart: a library that looked at it died.
        MissingExtra: onnx is not installed.
    """
    check_sound(model)
    graph = model.graph
    invalid = list(_validity(model))
    opset = next((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 0)
    types = need("onnx").TensorProto.DataType
    inputs, outputs = (
        tuple(
            Port(value.name, types.Name(value.type.tensor_type.elem_type), model_files.shape_of(value))
            for value in values
        )
        for values in (model_files.inputs(model), graph.output)
    )
    try:
        known = infer(model, strict=not invalid)
        pools = list(pools_of(model, known))
    except (ValueError, TypeError, IndexError):
        if not invalid:
            raise
        known, pools = {}, []  # what is not ONNX cannot be looked into
    pools = with_intents(pools, adaptive)
    operators: dict[str, int] = defaultdict(int)
    for node in nodes_of(graph):
        operators[node.op_type] += 1
    findings = [
        *invalid,
        *_declared_shapes(model, known),
        *pool_findings(pools, _picture_size(inputs)),
        *operator_findings(model),
        *resize_findings(model, known, opset),
        *opset_findings(opset, operators),
        *_port_findings(inputs, outputs),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Diagnosis(
        opset,
        model.ir_version,
        " ".join(filter(None, (model.producer_name, model.producer_version))),
        inputs,
        outputs,
        pictures_at_once({port.name: port.shape for port in inputs}),
        dict(sorted(operators.items())),
        tuple(pools),
        tuple(findings),
    )


def _validity(model: Any) -> Iterator[Finding]:
    if complaint := complaint_of_checker(model):
        yield Finding("error", "model-invalid", (), f"onnx.checker refuses the model: {complaint}", "export it again")


def _declared_shapes(model: Any, known: dict[str, Known]) -> Iterator[Finding]:
    advice = "compilers act on what is declared; --fix declares what is computed, so does pspfast simplify"
    for value in model.graph.output:
        declared, computed = model_files.shape_of(value), known.get(value.name)
        if computed is None or computed.shape is None:
            continue
        if declared is None:
            text = f"output {value.name} is declared without a shape and is {shape_text(computed.shape)}"
            yield Finding("error", "shape-declared", (), text, advice, numbers={"computed": computed.shape})
            continue
        text = f"output {value.name} is declared {shape_text(declared)} and is {shape_text(computed.shape)}"
        numbers = {"declared": declared, "computed": computed.shape}
        if model_files.contradict(declared, computed.shape):
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
        declared, computed = model_files.shape_of(value), known.get(value.name)
        if computed is None or computed.shape is None or declared is None:
            continue
        if model_files.contradict(declared, computed.shape):
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
    batched = has_batch({port.name: port.shape for port in inputs})
    for port in inputs:
        if port.shape is None or len(port.shape) != 4 or port.name not in batched:
            continue
        batch, *others = port.shape
        if not all(isinstance(dim, int) for dim in others):
            yield Finding(
                "warning",
                "shape-open",
                (),
                f"input {port.name} is {shape_text(port.shape)}: ATC compiles for fixed sizes",
                "fix it with pspfast simplify, or give atc a shape such as --input_shape="
                f"{example_shape(port.name, port.shape)}; its pools may be made for one size only",
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
