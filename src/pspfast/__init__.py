"""The data path of deployed semantic segmentation: pictures in, fp16 tensors out, bit-exact and fast.

Everything public is here; nothing is imported until it is used, so ``import pspfast`` costs next to nothing.

Example:
    >>> import numpy as np
    >>> import pspfast
    >>> pspfast.letterbox(np.zeros((375, 500, 3), np.uint8)).shape
    (3, 500, 500)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from pspfast.metrics.boundary import BoundaryIoU as BoundaryIoU
    from pspfast.metrics.confusion import ConfusionMatrix as ConfusionMatrix
    from pspfast.pictures.geometry import Letterbox as Letterbox
    from pspfast.pictures.kernels import IMAGENET_MEAN as IMAGENET_MEAN
    from pspfast.pictures.kernels import IMAGENET_STD as IMAGENET_STD
    from pspfast.pictures.kernels import letterbox as letterbox
    from pspfast.pictures.kernels import unpad as unpad
    from pspfast.pictures.reader import PictureError as PictureError
    from pspfast.pictures.reader import imread as imread
    from pspfast.pictures.reader import picture_size as picture_size

__version__ = "0.1.0"

# Public name -> the module that defines it.
_HOME = {
    "BoundaryIoU": "metrics.boundary",
    "ConfusionMatrix": "metrics.confusion",
    "IMAGENET_MEAN": "pictures.kernels",
    "IMAGENET_STD": "pictures.kernels",
    "Letterbox": "pictures.geometry",
    "PictureError": "pictures.reader",
    "imread": "pictures.reader",
    "letterbox": "pictures.kernels",
    "picture_size": "pictures.reader",
    "unpad": "pictures.kernels",
}

__all__ = [
    "IMAGENET_MEAN", "IMAGENET_STD", "BoundaryIoU", "ConfusionMatrix", "Letterbox", "PictureError",
    "imread", "isa", "letterbox", "picture_size", "unpad",
]  # fmt: skip


def isa() -> dict[str, Any]:
    """The instruction set the kernels use and those this CPU could run, best first.

    ``PSPFAST_ISA`` in the environment chooses one for the whole process.

    Raises:
        RuntimeError: ``PSPFAST_ISA`` names one that is unknown or that this CPU lacks.

    Example:
        >>> "scalar" in isa()["runnable"]
        True
    """
    from pspfast import _core

    return {"active": _core.active_isa(), "runnable": _core.RUNNABLE_ISAS}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOME:
        value = getattr(import_module(f"pspfast.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pspfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


class _OldPaths:
    """Asked last, for modules that nothing else finds."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        if not name.startswith("pspfast."):
            return None
        from pspfast.system.old_paths import find_spec

        return find_spec(name)


sys.meta_path.append(_OldPaths)
