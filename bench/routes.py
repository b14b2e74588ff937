"""The other ways to make the same tensor: what people would use instead.

Each takes a BGR uint8 picture and gives (3, 500, 500) float16, equal to pspfast's bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pspfast import IMAGENET_MEAN, IMAGENET_STD, Letterbox

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = (500, 500)
MEAN16, STD16 = np.array(IMAGENET_MEAN, np.float16), np.array(IMAGENET_STD, np.float16)


def _resized(image: NDArray[np.uint8]) -> tuple[Any, Letterbox]:
    box = Letterbox.fit(image.shape[:2], SIZE)
    return (cv2.resize(image, box.resized[::-1]) if box.is_scaled else image), box


def numpy_route(image: NDArray[np.uint8]) -> NDArray[np.float16]:
    """NumPy alone (and cv2.resize where there is something to resize), with broadcasting."""
    pixels, box = _resized(image)
    normalized = (pixels[..., ::-1].astype(np.float32) - MEAN16.astype(np.float32)) * (1 / STD16.astype(np.float32))
    canvas = np.zeros((3, *SIZE), np.float16)
    (top, left), (height, width) = box.offset, box.resized
    canvas[:, top : top + height, left : left + width] = normalized.transpose(2, 0, 1)
    return canvas


def opencv_float32(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """OpenCV's calls as mmcv makes them, in float32 to the end."""
    return np.ascontiguousarray(_padded(image).transpose(2, 0, 1))


def opencv_view(image: NDArray[np.uint8]) -> NDArray[np.float16]:
    """OpenCV's calls as mmcv makes them, up to the published script's cast of a transposed view (not contiguous)."""
    view: NDArray[np.float16] = _padded(image).transpose(2, 0, 1).astype(np.float16)
    return view


def _padded(image: NDArray[np.uint8]) -> Any:
    pixels, box = _resized(image)
    normalized: Any = pixels.astype(np.float32)
    cv2.cvtColor(normalized, cv2.COLOR_BGR2RGB, normalized)
    cv2.subtract(normalized, np.float64(MEAN16.reshape(1, -1)), normalized)
    cv2.multiply(normalized, 1 / np.float64(STD16.reshape(1, -1)), normalized)
    top, bottom, left, right = box.padding
    return cv2.copyMakeBorder(normalized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)


def opencv_route(image: NDArray[np.uint8]) -> NDArray[np.float16]:
    """OpenCV's calls as mmcv makes them, made contiguous."""
    return np.ascontiguousarray(opencv_view(image))


def blob_route(image: NDArray[np.uint8]) -> NDArray[np.float16]:
    """cv2.dnn.blobFromImage, which knows one scale for all channels and no letterbox: both are added."""
    pixels, box = _resized(image)
    blob: Any = cv2.dnn.blobFromImage(pixels, mean=tuple(map(float, MEAN16)), swapRB=True)[0]
    blob *= (1 / np.float64(STD16)).astype(np.float32)[:, None, None]
    canvas = np.zeros((3, *SIZE), np.float16)
    (top, left), (height, width) = box.offset, box.resized
    canvas[:, top : top + height, left : left + width] = blob
    return canvas
