"""PyTorch to ONNX, and that in half precision."""

from __future__ import annotations

import io
from typing import Any

from pspfast.system.captured_output import captured, first_line
from pspfast.system.libraries import need

__all__ = ["INPUT", "OUTPUT", "halve", "trace"]

INPUT, OUTPUT = "input", "output"
"""Names of what goes in and comes out, those of the published export."""

_BATCH = "N"


def trace(module: Any, example: Any, opset: int) -> Any:
    """Export with PyTorch's TorchScript exporter, the one that writes opset 11.

    Args:
        module: ``torch.nn.Module`` in evaluation mode.
        example: tensor it takes; the first dimension stands for any number.
        opset: 11 to 17.

    Returns:
        ``onnx.ModelProto`` with one input and one output, whose first dimension is ``N``.

    Raises:
        RuntimeError: PyTorch cannot export it; what it printed is told.
    """
    torch, onnx = need("torch"), need("onnx")
    file = io.BytesIO()
    with captured("PyTorch's exporter"), torch.no_grad():
        try:
            shape = module(example).shape
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
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = first_line(error).partition(". Please")[0]
            raise RuntimeError(f"PyTorch cannot export this model to opset {opset}: {reason}") from error
    model = onnx.ModelProto()
    model.ParseFromString(file.getbuffer())
    _name_constants(model)
    # Only the batch was left open; the exporter does not know and names every dimension.
    dims = model.graph.output[0].type.tensor_type.shape.dim
    for dim, size in list(zip(dims, shape, strict=True))[1:]:
        dim.dim_value = size
    return model


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
