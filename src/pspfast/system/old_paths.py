"""Modules that `docs/api.md` named up to 0.1 by the paths they had then; for one release, with a DeprecationWarning."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["MOVED", "find_spec"]

MOVED: dict[str, tuple[str, ...]] = {
    "scores": ("metrics.scores",),
    "results": ("formats.result",),
    "ledger": ("formats.ledger",),
    "sides": ("accuracy.evaluations",),
    "bootstrap": ("accuracy.bootstrap",),
    "labels": ("pictures.labels",),
    "inference": ("stages.inference",),
    "evaluation": ("stages.postprocessing",),
    "export.simplifying": ("graphs.simplification",),
    "export.diagnosis": ("graphs.diagnosis", "graphs.findings", "graphs.pool_findings"),
    "export.pool_repair": ("graphs.pool_repair",),
    "export.metadata": ("formats.model_metadata",),
    "export.pooling": ("graphs.pool_windows",),
    "runtimes.base": ("runtimes.runtime", "runtimes.engines"),
    "tools": (),
    "tools.runner": ("system.processes",),
    "tools.toolkit": ("vendors.toolkit",),
    "tools.drivers": ("vendors.drivers",),
    "performance": (),
    "performance.records": ("formats.measurements",),
    "performance.claims": ("speed.claims",),
    "pipeline": ("stages.whole_run",),
    "sources": ("datasets.sources",),
    "environment": ("cli.environment", "system.machine"),
    "demo": ("datasets.demo",),
    "demo.scenes": ("datasets.demo.scenes",),
}
"""Old path -> the modules that have its names now; none for a folder that only held others."""

RENAMED = {
    "inference.Failure": "PictureFailure",
    "inference.Summary": "InferSummary",
    "performance.claims.Finding": "UnsoundClaim",
}
"""Name on an old path -> what it is called now."""

_PREFIX = "pspfast."


class _Loader:
    """Makes a module that takes its public names from where they are now."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make an empty one."""

    def exec_module(self, module: ModuleType) -> None:
        """Say where its names are now."""
        old = module.__name__.removeprefix(_PREFIX)
        homes = [f"{_PREFIX}{home}" for home in MOVED[old]]
        if homes:
            told = f"{module.__name__} is gone after this release; its names are in {' and '.join(homes)}"
            warnings.warn(told, DeprecationWarning, stacklevel=2)

        def get(name: str) -> Any:
            now = RENAMED.get(f"{old}.{name}", name)
            for home in homes if not name.startswith("__") else ():
                found = import_module(home)
                if hasattr(found, now):
                    return getattr(found, now)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = get  # type: ignore[method-assign]


def find_spec(name: str) -> ModuleSpec | None:
    """What imports ``name``, if it is an old path."""
    old = name.removeprefix(_PREFIX)
    if old == name or old not in MOVED:
        return None
    is_package = any(path.startswith(f"{old}.") for path in MOVED)
    return ModuleSpec(name, _Loader(), origin="moved", is_package=is_package)  # type: ignore[arg-type]
