"""Measured throughputs: taken here, and held against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.speed.claims import check_cards as check_cards
    from pspfast.speed.claims import check_comparison as check_comparison
    from pspfast.speed.claims import check_measurements as check_measurements
    from pspfast.speed.claims import check_statements as check_statements

_HOMES = {
    "claims": (
        "check_cards",
        "check_comparison",
        "check_measurements",
        "check_statements",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
