"""The data path of deployed semantic segmentation: pictures in, fp16 tensors out, bit-exact and fast.

Everything public is here; nothing is imported until it is used, so ``import pspfast`` costs next to nothing.

Example:
    >>> import numpy as np
    >>> import pspfast
    >>> pspfast.letterbox(np.zeros((375, 500, 3), np.uint8)).shape
    (3, 500, 500)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pspfast.boundary import BoundaryIoU as BoundaryIoU
    from pspfast.geometry import Letterbox as Letterbox
    from pspfast.images import PictureError as PictureError
    from pspfast.images import imread as imread
    from pspfast.images import picture_size as picture_size
    from pspfast.metrics import ConfusionMatrix as ConfusionMatrix
    from pspfast.ops import IMAGENET_MEAN as IMAGENET_MEAN
    from pspfast.ops import IMAGENET_STD as IMAGENET_STD
    from pspfast.ops import letterbox as letterbox
    from pspfast.ops import unpad as unpad

__version__ = "0.1.0"

# Public name -> the module that defines it.
_HOME = {
    "BoundaryIoU": "boundary",
    "ConfusionMatrix": "metrics",
    "IMAGENET_MEAN": "ops",
    "IMAGENET_STD": "ops",
    "Letterbox": "geometry",
    "PictureError": "images",
    "imread": "images",
    "letterbox": "ops",
    "picture_size": "images",
    "unpad": "ops",
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
