"""What a run found, as one page to look at: a single HTML file that needs no network and no scripts.

The page is rendered with jinja2, of the extra ``run``; nothing is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.report.page import render as render
    from pspfast.report.page import write_report as write_report

_HOMES = {
    "page": (
        "render",
        "write_report",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
