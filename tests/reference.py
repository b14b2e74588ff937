"""What the bits must be, by the libraries that define them: OpenCV's calls as mmcv makes them. Slow and obvious."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from pspfast import Letterbox

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


# ---- masks ----


@dataclass(frozen=True)
class Confusion:
    counts: NDArray[np.int64]
    invalid_predictions: NDArray[np.int64]
    ignored: int
    invalid_labels: int


def confusion(preds: NDArray[Any], target: NDArray[Any], classes: int, ignore_index: int) -> Confusion:
    """Pixel by pixel, in words."""
    counts = np.zeros((classes, classes), np.int64)
    invalid_predictions = np.zeros(classes, np.int64)
    ignored = invalid_labels = 0
    for pred, label in zip(preds.reshape(-1).tolist(), target.reshape(-1).tolist(), strict=True):
        if label == ignore_index:
            ignored += 1
        elif not 0 <= label < classes:
            invalid_labels += 1
        elif not 0 <= pred < classes:
            invalid_predictions[label] += 1
        else:
            counts[label, pred] += 1
    return Confusion(counts, invalid_predictions, ignored, invalid_labels)


def unpad(mask: NDArray[Any], geometry: Letterbox) -> NDArray[Any]:
    """Crop, then nearest by PyTorch's formula, in its float32."""
    (top, left), (height, width) = geometry.offset, geometry.resized
    rows, columns = (nearest(side, to) for side, to in zip((height, width), geometry.picture, strict=True))
    return mask[top : top + height, left : left + width][np.ix_(rows, columns)]


def nearest(side: int, to: int) -> NDArray[np.int64]:
    scale = np.float32(side) / np.float32(to)
    index: NDArray[np.int64] = np.floor(np.arange(to, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, side - 1)


def boundary_areas(
    preds: NDArray[Any], target: NDArray[Any], num_classes: int, ignore_index: int | None, dilation_ratio: float
) -> list[list[int]]:
    """Intersection, truth and predicted of each class's boundary regions, by eroding one mask after the other."""
    distance = max(1, round(dilation_ratio * np.sqrt(target.shape[0] ** 2 + target.shape[1] ** 2)))
    counts = (target >= 0) & (target < num_classes) & (target != ignore_index)

    def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        square = np.ones((3, 3), np.uint8)
        options: dict[str, Any] = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
        eroded: NDArray[Any] = cv2.erode(mask.astype(np.uint8), square, iterations=distance, **options)
        outer: NDArray[np.bool_] = mask & (eroded == 0)
        return outer

    regions = [(boundary(counts & (target == c)), boundary(counts & (preds == c))) for c in range(num_classes)]
    return [
        [int((truth & predicted).sum()) for truth, predicted in regions],
        [int(truth.sum()) for truth, _ in regions],
        [int(predicted.sum()) for _, predicted in regions],
    ]
