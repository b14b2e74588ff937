"""What people put between a JPEG file and a network's input: one function a library, from a path to a tensor.

Each comes ready made by ``peers()``, which names those that are not installed and why. All are asked for
the same thing: (3, 500, 500), RGB, letterboxed, ImageNet's constants, each by its library's own means.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

import pspfast
from bench import routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Route = Callable[[str], NDArray[Any]]

__all__ = ["peers"]

MEAN, STD = pspfast.IMAGENET_MEAN, pspfast.IMAGENET_STD
HEIGHT, WIDTH = routes.SIZE


def pspfast_route(dtype: str) -> Route:
    """``imread`` and ``letterbox``; one output a thread is not asked for, so that all contenders allocate."""
    kind = np.dtype(dtype)

    def route(path: str) -> NDArray[Any]:
        out = np.empty((3, HEIGHT, WIDTH), kind)
        pspfast.letterbox(pspfast.imread(path), out=out)
        return out

    return route


def published(path: str) -> NDArray[Any]:
    """The published script's calls."""
    return routes.opencv_route(np.asarray(cv2.imread(path), np.uint8))


def opencv_blob(cast: bool) -> Route:
    """OpenCV's one call for a letterboxed blob; ``cast``: to halves, which it cannot write."""
    parameters = cv2.dnn.Image2BlobParams()
    parameters.scalefactor = tuple(1 / one for one in STD)
    parameters.size = (WIDTH, HEIGHT)
    parameters.mean = MEAN
    parameters.swapRB = True
    parameters.ddepth = cv2.CV_32F
    parameters.paddingmode = cv2.dnn.DNN_PMODE_LETTERBOX
    parameters.borderValue = tuple(MEAN[::-1])

    def route(path: str) -> NDArray[Any]:
        blob: NDArray[Any] = cv2.dnn.blobFromImageWithParams(np.asarray(cv2.imread(path)), parameters)[0]
        return blob.astype(np.float16) if cast else blob

    return route


def albumentationsx() -> Route:
    """AlbumentationsX: longest side, normalized, padded after that."""
    a: Any = import_module("albumentations")
    steps = a.Compose(
        [
            a.LongestMaxSize(max_size=max(HEIGHT, WIDTH)),
            a.Normalize(mean=MEAN, std=STD, max_pixel_value=1.0),
            a.PadIfNeeded(HEIGHT, WIDTH, border_mode=cv2.BORDER_CONSTANT, fill=0),
        ]
    )

    def route(path: str) -> NDArray[Any]:
        picture = cv2.cvtColor(np.asarray(cv2.imread(path)), cv2.COLOR_BGR2RGB)
        return np.ascontiguousarray(steps(image=picture)["image"].transpose(2, 0, 1))

    return route


def kornia() -> Route:
    """kornia-rs: libjpeg-turbo, and letterbox and normalization in one pass, padded with 114 before normalizing."""
    library: Any = import_module("kornia_rs")
    # It takes constants of 0..1.
    mean, std = [one / 255 for one in MEAN], [one / 255 for one in STD]
    steps = library.Preprocessor(mode="letterbox", format="rgb", mean=mean, std=std)

    def route(path: str) -> NDArray[Any]:
        picture = np.asarray(library.io.read_image_jpegturbo(path))
        height, width = picture.shape[:2]
        tensor = np.from_dlpack(steps.run(picture.reshape(-1), width, height, HEIGHT, WIDTH))
        return tensor.reshape(3, HEIGHT, WIDTH)

    return route


def peers() -> tuple[dict[str, Route], dict[str, str]]:
    """Routes by name, pspfast's first; and why others are not among them."""
    found: dict[str, Route] = {
        "pspfast float16": pspfast_route("float16"),
        "pspfast float32": pspfast_route("float32"),
        "cv2.dnn.blobFromImageWithParams, float32": opencv_blob(cast=False),
        "the same, cast to halves": opencv_blob(cast=True),
        "published calls, float16": published,
    }
    missing = {}
    for name, make in {"AlbumentationsX, float32": albumentationsx, "kornia-rs, float32": kornia}.items():
        try:
            found[name] = make()
        except ImportError as error:
            missing[name] = f"cannot be imported: {str(error).splitlines()[0]}"
    missing["torchvision, Hugging Face's SegFormer, OpenVINO, DALI"] = "no route here yet"
    return found, missing
