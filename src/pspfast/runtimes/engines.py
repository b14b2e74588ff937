"""Which engine runs a model: by its file, or as asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

from pspfast.runtimes.runtime import Runtime

__all__ = ["RUNTIMES", "open_runtime", "runtime_for"]

RUNTIMES = ("onnxruntime", "acl", "ais_bench")
"""Names of the runtimes, as ``--runtime`` takes them."""


# .om2 is what ATC makes with --mode=7; a CANN that does not load it says so.
_BY_SUFFIX = {".onnx": "onnxruntime", ".om": "acl", ".om2": "acl"}


def runtime_for(model: str | os.PathLike[str], runtime: str = "auto") -> str:
    """The name of the runtime that a model is loaded with.

    Args:
        model: the file, of which only the name is looked at.
        runtime: one of :data:`RUNTIMES`; ``"auto"`` for ONNX Runtime with ``.onnx``, pyACL with ``.om`` and ``.om2``.

    Raises:
        ValueError: no such runtime, or not for such files.

    Example:
        >>> runtime_for("pspnet.om"), runtime_for("pspnet.om", "ais_bench")
        ('acl', 'ais_bench')
    """
    path = os.fspath(model)
    suffix = os.path.splitext(path)[1].lower()
    if runtime == "auto":
        if suffix not in _BY_SUFFIX:
            raise ValueError(f"{path}: a model ends in .onnx or .om (.om2); else say which --runtime")
        runtime = _BY_SUFFIX[suffix]
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    wanted = (".onnx",) if runtime == "onnxruntime" else (".om", ".om2")
    if suffix in _BY_SUFFIX and suffix not in wanted:
        raise ValueError(f"{path}: the runtime {runtime} takes {' and '.join(wanted)} files")
    return runtime


def open_runtime(
    model: str | os.PathLike[str],
    runtime: str = "auto",
    *,
    device: int = 0,
    provider: str | None = None,
    provider_options: Mapping[str, str] | None = None,
    allow_cpu: bool = False,
    threads: int | None = None,
) -> Runtime:
    """Load a model.

    Args:
        model: the file.
        runtime: see :func:`runtime_for`.
        device: number of the device, where there are several.
        provider: of ONNX Runtime: ``"cpu"``, ``"cuda"``, ``"tensorrt"`` or ``"cann"``.
        provider_options: further options of the provider, by ONNX Runtime's names.
        allow_cpu: let ONNX Runtime compute on the CPU what the provider cannot, all of it in the worst case.
        threads: of ONNX Runtime on the CPU; the CPUs this process may use if left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: options that contradict each other, or a file that the runtime does not take.
        MissingExtra: the runtime is not installed; the message says what to install.
        RuntimeFault: no such device, or the runtime refuses the model.
    """
    path = os.fspath(model)
    runtime = runtime_for(path, runtime)
    with open(path, "rb"):  # the runtimes' own messages about missing files are long
        pass
    if runtime != "onnxruntime":
        given = {"provider": provider, "provider options": provider_options, "threads": threads, "CPU": allow_cpu}
        for name, value in given.items():
            if value:
                raise ValueError(f"{name}: an option of the runtime onnxruntime; {runtime} has none")
    if runtime == "acl":
        from pspfast.runtimes.acl import AclRuntime

        return AclRuntime(path, device=device)
    if runtime == "ais_bench":
        from pspfast.runtimes.ais_bench import AisBenchRuntime

        return AisBenchRuntime(path, device=device)
    from pspfast.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(
        path,
        device=device,
        provider=provider or "cpu",
        provider_options=provider_options,
        allow_cpu=allow_cpu,
        threads=threads,
    )
