"""What onnx, onnxsim and ONNX Runtime do with a model: called apart, so that a library that dies ends in a sentence.

Models go to the other process and back as bytes, or as paths where they have more than a message holds. A complaint of
a library is a value here, not an exception: exceptions are for what should not happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.system.apart import call_apart
from pspfast.system.captured_output import first_line
from pspfast.system.libraries import MissingExtra, need
from pspfast.system.onnx_sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["check", "infer", "run_once", "simplify"]


def check(model: bytes, *, full: bool = False) -> str:
    """What ``onnx.checker`` says against a model; empty if nothing. ``full``: shapes are computed and compared too."""
    complaint: str = call_apart("onnx's checker", _check, model, full)
    return complaint


def infer(model: bytes, *, strict: bool) -> tuple[bytes, str]:
    """A model with the types and shapes of all values, and what onnx says against it, which leaves no model.

    Args:
        model: as bytes.
        strict: whether each operator has to be understood: ONNX Runtime opens no model of which that is untrue.
    """
    found: tuple[bytes, str] = call_apart("onnx's shape inference", _infer, model, strict)
    return found


def simplify(
    source: bytes | str, target: str | None, shapes: Mapping[str, Sequence[int]], *, compare: bool
) -> tuple[bytes, bool]:
    """Onnxsim's simplification.

    Args:
        source: the model, or the path of one that is too large for a message.
        target: path to write the result to, with its constants beside it; ``None`` to have it back.
        shapes: of the inputs to compare with.
        compare: run both models and compare.

    Returns:
        The model, empty with a ``target``; and whether both are the same.

    Raises:
        RuntimeError: onnxsim failed.
        DiedApart: it died.
        MissingExtra: onnxsim is not installed.
    """
    plain = {name: list(shape) for name, shape in shapes.items()}
    found: tuple[bytes, bool] = call_apart("onnxsim", _simplify, source, target, plain, compare)
    return found


def run_once(model: bytes, given: Mapping[str, NDArray[Any]]) -> NDArray[Any] | str:
    """The first output of a model in ONNX Runtime; the reason as text if it does not run.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    found: NDArray[Any] | str = call_apart("ONNX Runtime", _run_once, model, dict(given))
    return found


def _check(model: bytes, full: bool) -> str:
    onnx = need("onnx")
    try:
        onnx.checker.check_model(model, full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return first_line(error)
    return ""


def _infer(model: bytes, strict: bool) -> tuple[bytes, str]:
    onnx = need("onnx")
    try:
        if strict:  # without sizes that follow from constants, which ONNX Runtime computes in its own way
            onnx.shape_inference.infer_shapes(model, strict_mode=True)
        return onnx.shape_inference.infer_shapes(model, data_prop=True).SerializeToString(), ""
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        return b"", first_line(error)


def _simplify(
    source: bytes | str, target: str | None, shapes: dict[str, list[int]], compare: bool
) -> tuple[bytes, bool]:
    onnx, onnxsim = need("onnx"), need("onnxsim")
    model = source if isinstance(source, str) else onnx.ModelProto.FromString(source)
    try:
        simple, is_same = _run_onnxsim(onnxsim, model, shapes, compare)
    except Exception as error:  # its C++ raises what it likes
        raise RuntimeError(f"onnxsim failed: {first_line(error)}") from error
    if target is None:
        return simple.SerializeToString(), is_same
    onnx.save(simple, target, save_as_external_data=True, location="weights", size_threshold=1024)
    return b"", is_same


def _run_onnxsim(onnxsim: Any, model: Any, shapes: dict[str, list[int]], compare: bool) -> tuple[Any, bool]:
    """The simplified model, and whether it computes the same as far as it was compared."""
    try:
        simple, is_same = onnxsim.simplify(model, check_n=int(compare), test_input_shapes=shapes)
        if not is_same or not _has_empty_constants(simple):
            return simple, is_same
    except Exception:  # its C++ raises what it likes
        # Compared, a model with such constants does not run.
        if not compare or not _has_empty_constants(onnxsim.simplify(model, check_n=0, test_input_shapes=shapes)[0]):
            raise
    # For a Concat of empty tensors it puts one of them, which has another shape: Swin's attention mask ends so where a
    # map is no larger than a window. Without that pass such constants fold, and all passes can do the rest.
    skipped = ["eliminate_nop_with_unit"]
    simple, _ = onnxsim.simplify(model, check_n=0, test_input_shapes=shapes, skipped_optimizers=skipped)
    if not _has_empty_constants(simple):
        simple, _ = onnxsim.simplify(simple, check_n=0, test_input_shapes=shapes)
    return simple, not compare or onnxsim.model_checking.compare(simple, model, 1, shapes)


def _has_empty_constants(model: Any) -> bool:
    """Whether there are constants of several dimensions without elements; of one, Resize has them."""
    constants = [*model.graph.initializer]
    constants += [node.attribute[0].t for node in model.graph.node if node.op_type == "Constant" and node.attribute]
    return any(0 in tensor.dims and len(tensor.dims) > 1 for tensor in constants)


def _run_once(model: bytes, given: dict[str, NDArray[Any]]) -> NDArray[Any] | str:
    try:
        result: NDArray[Any] = open_session(model, threads=1).run(None, given)[0]
    except MissingExtra:
        raise
    except Exception as error:  # ONNX Runtime's own, one a kind of failure
        return first_line(error)
    return result
