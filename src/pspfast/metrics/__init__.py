"""Pixels counted, and scores of the counts. Needs NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.metrics.boundary import BoundaryIoU as BoundaryIoU
    from pspfast.metrics.confusion import ConfusionMatrix as ConfusionMatrix
    from pspfast.metrics.scores import Absent as Absent
    from pspfast.metrics.scores import Areas as Areas

_HOMES = {
    "boundary": ("BoundaryIoU",),
    "confusion": ("ConfusionMatrix",),
    "scores": (
        "Absent",
        "Areas",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
