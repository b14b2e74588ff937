"""What the machine gives: whole files, threads, processes, standard streams, libraries that may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.system.files import OutputError as OutputError
    from pspfast.system.libraries import MissingExtra as MissingExtra
    from pspfast.system.processes import Ran as Ran
    from pspfast.system.processes import ToolFailed as ToolFailed
    from pspfast.system.processes import ToolMissing as ToolMissing
    from pspfast.system.processes import ToolTimeout as ToolTimeout
    from pspfast.system.processes import find_program as find_program

_HOMES = {
    "files": ("OutputError",),
    "libraries": ("MissingExtra",),
    "processes": (
        "Ran",
        "ToolFailed",
        "ToolMissing",
        "ToolTimeout",
        "find_program",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
