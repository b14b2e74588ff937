"""Engines that run a model, behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.runtimes.engines import RUNTIMES as RUNTIMES
    from pspfast.runtimes.engines import open_runtime as open_runtime
    from pspfast.runtimes.engines import runtime_for as runtime_for
    from pspfast.runtimes.runtime import Runtime as Runtime
    from pspfast.runtimes.runtime import RuntimeFault as RuntimeFault
    from pspfast.runtimes.runtime import TensorSpec as TensorSpec

_HOMES = {
    "engines": (
        "RUNTIMES",
        "open_runtime",
        "runtime_for",
    ),
    "runtime": (
        "Runtime",
        "RuntimeFault",
        "TensorSpec",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
