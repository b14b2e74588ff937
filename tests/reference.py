"""What the bits must be, by the libraries that define them: OpenCV's calls as mmcv makes them. Slow and obvious."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def letterbox(
    image: NDArray[np.uint8],
    size: tuple[int, int] = (500, 500),
    *,
    mean: tuple[float, ...] = MEAN,
    std: tuple[float, ...] = STD,
    stats: Literal["float16", "exact"] = "float16",
    pad_value: float = 0.0,
    scale_up: bool = True,
    swap_channels: bool = True,
    dtype: DTypeLike = np.float16,
) -> NDArray[Any]:
    """mmcv's imresize, imnormalize and impad, then a transpose and a cast, as the published script calls them."""
    (height, width), (canvas_height, canvas_width) = image.shape[:2], size
    scale = min(canvas_width / width, canvas_height / height)
    if not scale_up:
        scale = min(scale, 1.0)
    new_width, new_height = max(1, int(np.floor(width * scale))), max(1, int(np.floor(height * scale)))
    resized: Any = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)

    kind = np.float16 if stats == "float16" else np.float64
    means = np.float64(np.array(mean, kind).reshape(1, -1))
    factors = 1 / np.float64(np.array(std, kind).reshape(1, -1))
    normalized = resized.astype(np.float32)
    if swap_channels:
        cv2.cvtColor(normalized, cv2.COLOR_BGR2RGB, normalized)
    cv2.subtract(normalized, means, normalized)
    cv2.multiply(normalized, factors, normalized)

    left, top = (canvas_width - new_width) // 2, (canvas_height - new_height) // 2
    padded = cv2.copyMakeBorder(
        normalized,
        top,
        canvas_height - new_height - top,
        left,
        canvas_width - new_width - left,
        cv2.BORDER_CONSTANT,
        value=(pad_value,) * 3,
    )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(padded.transpose(2, 0, 1)).astype(dtype)


def imread(path: object) -> NDArray[np.uint8]:
    """cv2.imread, which must know the file."""
    return _known(cv2.imread(str(path)), path)


def imdecode(data: bytes) -> NDArray[np.uint8]:
    """cv2.imdecode, which must know the file."""
    return _known(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), "bytes")


def _known(pixels: Any, what: object) -> NDArray[np.uint8]:
    assert pixels is not None, f"OpenCV does not read {what}"
    return np.asarray(pixels, np.uint8)


def bits(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory as unsigned integers, so that -0.0 differs from 0.0."""
    return array.view(np.uint16 if array.itemsize == 2 else np.uint32)
