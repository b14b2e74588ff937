"""PyTorch to ONNX, and that in half precision."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from pspfast.system.captured_output import captured, first_line
from pspfast.system.libraries import MissingExtra, need

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["INPUT", "OUTPUT", "CannotTraceError", "halve", "trace"]

INPUT, OUTPUT = "input", "output"
"""Names of what goes in and comes out, those of the published export."""

_BATCH = "N"


class CannotTraceError(RuntimeError):
    """PyTorch's exporter cannot write a network.

    Attributes:
        reason: what it says, without the graph.
        next_opset: the least opset that may do; ``None`` if none will.
    """

    def __init__(self, reason: str, opset: int, next_opset: int | None) -> None:
        super().__init__(f"PyTorch cannot export this model to opset {opset}: {reason}")
        self.reason, self.next_opset = reason, next_opset


def trace(module: Any, example: Any, opset: int, shape: Sequence[int] | None = None) -> Any:
    """Export with PyTorch's TorchScript exporter, the one that writes opset 11.

    Args:
        module: ``torch.nn.Module`` in evaluation mode.
        example: tensor it takes; the first dimension stands for any number.
        opset: 11 to 18.
        shape: of what it gives for the example; found by running it if left out.

    Returns:
        ``onnx.ModelProto`` with one input and one output, whose first dimension is ``N``.

    Raises:
        CannotTraceError: PyTorch cannot export it.
        MissingExtra: the network needs an operator that is not installed.
    """
    torch, onnx = need("torch"), need("onnx")
    file = io.BytesIO()
    # What PyTorch prints when it fails is its graph, 650 lines for a ResNet-50.
    with captured("PyTorch's exporter", tells=False), torch.no_grad():
        try:
            shape = module(example).shape if shape is None else shape
            torch.onnx.export(
                module,
                (example,),
                file,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: _BATCH}, OUTPUT: {0: _BATCH}},
                opset_version=opset,
                dynamo=False,
            )
        except MissingExtra:
            raise
        except Exception as error:  # the network's own code is run too, and may raise anything
            raise _failure(error, opset) from error
    model = onnx.ModelProto()
    model.ParseFromString(file.getbuffer())
    _name_constants(model)
    # Only the batch was left open; the exporter does not know and names every dimension.
    dims = model.graph.output[0].type.tensor_type.shape.dim
    for dim, size in list(zip(dims, shape, strict=True))[1:]:
        dim.dim_value = size
    return model


def _failure(error: Exception, opset: int) -> CannotTraceError:
    """What PyTorch's exporter says, without its graph, and which opset is worth another try."""
    reason = first_line(error)
    for end in (". Please", ". Support for", "[Caused by", "(node defined in", "Please open"):
        reason = reason.partition(end)[0].strip()
    torch = need("torch")
    if not isinstance(error, (RuntimeError, torch.onnx.errors.OnnxExporterError)):
        return CannotTraceError(f"{type(error).__name__}: {reason}", opset, None)
    named = [int(number) for number in _NAMED_OPSET.findall(str(error))]
    if named and max(named) > opset:
        return CannotTraceError(reason, opset, max(named))
    # Of an operator that some opset has, it names that.
    is_unknown = isinstance(error, torch.onnx.errors.UnsupportedOperatorError)
    return CannotTraceError(reason, opset, None if is_unknown else opset + 1)


_NAMED_OPSET = re.compile(r"(?:was added in version|try opset version) (\d+)")


def _name_constants(model: Any) -> None:
    """Make initializers of ``Constant`` nodes: conversions know that scales of Resize stay float32 only of those."""
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)


def halve(model: Any, *, keep: tuple[str, ...]) -> Any:
    """A model that computes in float16.

    Args:
        model: ``onnx.ModelProto`` of :func:`trace`; used up.
        keep: inputs and outputs that stay float32.

    Returns:
        The model; normalization of bytes stays float32, whose means half precision would round.
    """
    need("onnxruntime")
    with captured("ONNX Runtime's conversion to float16"):
        from onnxruntime.transformers.float16 import convert_float_to_float16

        normalizing = [node.name for node in model.graph.node if node.name.startswith("/normalize/")]
        return convert_float_to_float16(model, keep_io_types=list(keep), node_block_list=normalizing)
