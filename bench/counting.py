"""Other people's ways from a dumped mask and its picture's labels to counts, on one thread.

Every route takes ``(mask, target, box)``, canvas and picture, and gives ``(21, 21)`` counts, rows truth; those that
only have areas give ``(3, 21)``: intersection, predicted, truth. Routes whose library is not installed are left out, in
words.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pspfast import Letterbox

    Route = Callable[[NDArray[np.int32], NDArray[np.uint8], Letterbox], NDArray[np.int64]]

__all__ = ["CLASSES", "bincount", "numpy_unpad", "routes"]

CLASSES, IGNORED = 21, 255


def numpy_unpad(mask: NDArray[np.int32], box: Letterbox) -> NDArray[np.int32]:
    """Crop, and nearest by indexing where the picture was scaled."""
    (top, left), (height, width) = box.offset, box.resized
    crop = mask[top : top + height, left : left + width]
    if not box.is_scaled:
        return crop
    resized: NDArray[np.int32] = crop[
        np.ix_(*(_nearest(side, to) for side, to in zip(box.resized, box.picture, strict=True)))
    ]
    return resized


def bincount(mask: NDArray[np.int32], target: NDArray[np.uint8], box: Letterbox) -> NDArray[np.int64]:
    """The usual NumPy idiom."""
    preds, valid = numpy_unpad(mask, box), target != IGNORED
    pairs = target[valid].astype(np.int64) * CLASSES + preds[valid]
    return np.bincount(pairs, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES)


def routes() -> tuple[dict[str, Route], list[str]]:
    """All that can run here by name, and why for the others."""
    found: dict[str, Route] = {"NumPy bincount": bincount}
    missing = []
    for name, make, advice in (
        ("published route (PyTorch)", _published, "torch==2.13.0"),
        ("torchmetrics", _torchmetrics, "torch==2.13.0 torchmetrics"),
        ("scikit-learn", _scikit_learn, "scikit-learn"),
        ("mmsegmentation IoUMetric", _mmsegmentation, "torch==2.13.0 mmsegmentation mmcv-lite ftfy"),
    ):
        try:
            found[name] = make()
        except ImportError as error:
            missing.append(f"{name} is left out: {error} (pip install {advice})")
    return found, missing


def _nearest(side: int, to: int) -> NDArray[Any]:
    scale = np.float32(side) / np.float32(to)
    index: NDArray[np.int64] = np.floor(np.arange(to, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, side - 1)


def _torch_unpad(torch: Any, mask: NDArray[np.int32], box: Letterbox) -> Any:
    """As the published script does it: in float32, whether the picture was scaled or not."""
    (top, left), (height, width) = box.offset, box.resized
    preds = torch.from_numpy(mask)[None, None, top : top + height, left : left + width].float()
    return torch.nn.functional.interpolate(preds, size=box.picture, mode="nearest")[0, 0].int()


def _published() -> Route:
    import torch

    torch.set_num_threads(1)

    def route(mask: NDArray[np.int32], target: NDArray[np.uint8], box: Letterbox) -> NDArray[np.int64]:
        preds, label = _torch_unpad(torch, mask, box), torch.from_numpy(target)
        valid = label != IGNORED
        preds, label = preds[valid], label[valid]
        histogram = partial(torch.histc, bins=CLASSES, min=0, max=CLASSES - 1)
        areas = [histogram(one.float()) for one in (preds[preds == label], preds, label)]
        return np.stack([area.numpy() for area in areas]).astype(np.int64)

    return route


def _torchmetrics() -> Route:
    import torch
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    def route(mask: NDArray[np.int32], target: NDArray[np.uint8], box: Letterbox) -> NDArray[np.int64]:
        preds, label = _torch_unpad(torch, mask, box), torch.from_numpy(target)
        counts = multiclass_confusion_matrix(preds, label, CLASSES, ignore_index=IGNORED, validate_args=False)
        return np.asarray(counts.numpy(), np.int64)

    return route


def _scikit_learn() -> Route:
    from sklearn.metrics import confusion_matrix

    def route(mask: NDArray[np.int32], target: NDArray[np.uint8], box: Letterbox) -> NDArray[np.int64]:
        valid = target != IGNORED
        counts = confusion_matrix(target[valid], numpy_unpad(mask, box)[valid], labels=range(CLASSES))
        return np.asarray(counts, np.int64)

    return route


def _mmsegmentation() -> Route:
    import torch
    from mmseg.evaluation.metrics.iou_metric import IoUMetric

    def route(mask: NDArray[np.int32], target: NDArray[np.uint8], box: Letterbox) -> NDArray[np.int64]:
        preds, label = _torch_unpad(torch, mask, box), torch.from_numpy(target)
        intersect, _, predicted, truth = IoUMetric.intersect_and_union(preds, label, CLASSES, IGNORED)
        return np.stack([area.numpy() for area in (intersect, predicted, truth)]).astype(np.int64)

    return route
