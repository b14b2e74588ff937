"""A checkpoint to ONNX files that compilers like, with proof that nothing changed on the way.

Needs the extra ``export``; nothing is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.export.checkpoint_kinds import CheckpointError as CheckpointError
    from pspfast.export.checkpoints import Checkpoint as Checkpoint
    from pspfast.export.checkpoints import load_checkpoint as load_checkpoint
    from pspfast.export.exporting import Exported as Exported
    from pspfast.export.exporting import export as export
    from pspfast.export.verification import Agreement as Agreement
    from pspfast.export.verification import verify as verify

_HOMES = {
    "checkpoint_kinds": ("CheckpointError",),
    "checkpoints": (
        "Checkpoint",
        "load_checkpoint",
    ),
    "exporting": (
        "Exported",
        "export",
    ),
    "verification": (
        "Agreement",
        "verify",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
