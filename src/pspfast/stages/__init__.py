"""What each step of a run does, as a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.stages.inference import infer as infer
    from pspfast.stages.postprocessing import Evaluation as Evaluation
    from pspfast.stages.postprocessing import postprocess as postprocess
    from pspfast.stages.preprocessing import preprocess as preprocess
    from pspfast.stages.whole_run import Run as Run
    from pspfast.stages.whole_run import run as run

_HOMES = {
    "inference": ("infer",),
    "postprocessing": (
        "Evaluation",
        "postprocess",
    ),
    "preprocessing": ("preprocess",),
    "whole_run": (
        "Run",
        "run",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
