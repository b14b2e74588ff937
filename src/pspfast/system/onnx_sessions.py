"""Sessions of ONNX Runtime, opened in one place: what one is opened with is said by who opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CPU_PROVIDER", "open_session"]

CPU_PROVIDER = "CPUExecutionProvider"

_FATAL = 4  # severity of what is logged: what goes wrong is raised


def open_session(
    model: str | bytes,
    *,
    threads: int | None = None,
    providers: Sequence[Any] = (CPU_PROVIDER,),
    deterministic: bool = False,
    config: Mapping[str, str] | None = None,
) -> Any:
    """Open a model in ONNX Runtime, with nothing logged but what is fatal, and one operator at a time.

    Args:
        model: a path, beside which the model's outside data lie; or a model as bytes, which has none.
        threads: within an operator; ONNX Runtime's own choice, one a physical core, if left out.
        providers: in order, as ``onnxruntime.InferenceSession`` takes them.
        deterministic: whether kernels that add in another order from run to run are left out.
        config: entries of the session's configuration, by ONNX Runtime's names.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
        Exception: ONNX Runtime's own, one class a reason, none of them public; only its text is of use
            (:func:`pspfast.system.captured_output.first_line`).
    """
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    options.use_deterministic_compute = deterministic
    for name, value in (config or {}).items():
        options.add_session_config_entry(name, value)
    return onnxruntime.InferenceSession(model, options, providers=list(providers))
