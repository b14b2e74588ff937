"""ONNX files: read, checked, simplified, diagnosed, mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.graphs.diagnosis import Diagnosis as Diagnosis
    from pspfast.graphs.diagnosis import Finding as Finding
    from pspfast.graphs.diagnosis import diagnose as diagnose
    from pspfast.graphs.pool_repair import Repair as Repair
    from pspfast.graphs.pool_repair import RepairError as RepairError
    from pspfast.graphs.pool_repair import repair as repair
    from pspfast.graphs.pool_windows import average_matrix as average_matrix
    from pspfast.graphs.pool_windows import is_published_pool_exact as is_published_pool_exact
    from pspfast.graphs.pool_windows import nearest_sizes as nearest_sizes
    from pspfast.graphs.pool_windows import published_pool as published_pool
    from pspfast.graphs.pool_windows import uniform_window as uniform_window
    from pspfast.graphs.pool_windows import windows as windows
    from pspfast.graphs.simplification import simplify as simplify

_HOMES = {
    "diagnosis": (
        "Diagnosis",
        "Finding",
        "diagnose",
    ),
    "pool_repair": (
        "Repair",
        "RepairError",
        "repair",
    ),
    "pool_windows": (
        "average_matrix",
        "is_published_pool_exact",
        "nearest_sizes",
        "published_pool",
        "uniform_window",
        "windows",
    ),
    "simplification": ("simplify",),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
