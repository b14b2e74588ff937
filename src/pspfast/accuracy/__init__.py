"""Two evaluations against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.accuracy.bootstrap import influence as influence
    from pspfast.accuracy.bootstrap import paired_intervals as paired_intervals
    from pspfast.accuracy.comparison import compare as compare
    from pspfast.accuracy.comparison import verdict as verdict
    from pspfast.accuracy.evaluations import BASELINES as BASELINES
    from pspfast.accuracy.evaluations import Side as Side

_HOMES = {
    "bootstrap": (
        "influence",
        "paired_intervals",
    ),
    "comparison": (
        "compare",
        "verdict",
    ),
    "evaluations": (
        "BASELINES",
        "Side",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
