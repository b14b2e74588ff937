"""Picture and label files to arrays, and where a picture is in a network's canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.pictures.geometry import CropRule as CropRule
    from pspfast.pictures.geometry import Letterbox as Letterbox
    from pspfast.pictures.kernels import IMAGENET_MEAN as IMAGENET_MEAN
    from pspfast.pictures.kernels import IMAGENET_STD as IMAGENET_STD
    from pspfast.pictures.kernels import letterbox as letterbox
    from pspfast.pictures.kernels import unpad as unpad
    from pspfast.pictures.labels import LabelPicture as LabelPicture
    from pspfast.pictures.labels import decode_labels as decode_labels
    from pspfast.pictures.labels import read_labels as read_labels
    from pspfast.pictures.reader import Picture as Picture
    from pspfast.pictures.reader import PictureError as PictureError
    from pspfast.pictures.reader import PictureReader as PictureReader
    from pspfast.pictures.reader import imread as imread
    from pspfast.pictures.reader import picture_size as picture_size

_HOMES = {
    "geometry": (
        "CropRule",
        "Letterbox",
    ),
    "kernels": (
        "IMAGENET_MEAN",
        "IMAGENET_STD",
        "letterbox",
        "unpad",
    ),
    "labels": (
        "LabelPicture",
        "decode_labels",
        "read_labels",
    ),
    "reader": (
        "Picture",
        "PictureError",
        "PictureReader",
        "imread",
        "picture_size",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
