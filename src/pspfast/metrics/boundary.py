"""Boundary IoU: intersection over union of what lies near the outlines of classes. Needs NumPy only."""

from __future__ import annotations

import copy
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.metrics import arguments as inputs
from pspfast.metrics.scores import Areas, mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pspfast.metrics.scores import Absent

__all__ = ["BoundaryIoU"]

_MOST_CLASSES = 65_535  # "no class" is one more than the last class, and fits 16 bits


class BoundaryIoU:
    """Boundary IoU of each class (Cheng et al. 2021, arXiv 2103.16562), summed over pictures.

    A pixel of a class is in the boundary region of its mask if a pixel of anything else, or one beyond the picture, is
    within ``d`` steps in both directions: the mask less its erosion, ``d`` times, by a 3x3 square. The score is the
    intersection over union of the two masks' boundary regions, with ``d`` a share of each picture's diagonal.

    What is not a class in the labels (``ignore_index`` and invalid labels) counts nowhere and is cut out of both masks:
    labels *and* predictions have an outline along it. So it does not matter what was predicted there, and predictions
    that are right wherever it counts score 1. A prediction that is no class keeps its place in the truth of its class,
    as in :class:`pspfast.ConfusionMatrix`, and is "anything else" to its neighbours.

    Args:
        num_classes: 1 to 65,535.
        ignore_index: label of pixels that do not count; ``None`` for none.
        dilation_ratio: ``d = max(1, round(dilation_ratio * diagonal))`` in pixels, above 0 and at most 1 (the whole
            picture is its boundary); 0.02 is the paper's.

    Raises:
        TypeError: an argument that is not a number.
        ValueError: a number of classes or a ratio that is out of range.

    Threads may update one of these at the same time.

    Example:
        >>> import numpy as np
        >>> target = np.zeros((9, 9), int)
        >>> target[2:7, 2:7] = 1
        >>> preds = np.roll(target, 1, axis=1)
        >>> score = BoundaryIoU(2)  # the diagonal is 13 pixels: d is 1
        >>> score.update(preds, target)
        >>> score.areas().truth.tolist(), score.areas().intersection.tolist()
        ([56, 16], [44, 8])
        >>> score.iou().round(4).tolist()
        [0.7213, 0.3333]
    """

    def __init__(self, num_classes: int, ignore_index: int | None = 255, *, dilation_ratio: float = 0.02) -> None:
        self.num_classes = inputs.whole("num_classes", num_classes)
        if not 1 <= self.num_classes <= _MOST_CLASSES:
            raise ValueError(f"num_classes must be 1 to {_MOST_CLASSES}, got {num_classes}")
        self.ignore_index = None if ignore_index is None else inputs.whole("ignore_index", ignore_index)
        self.dilation_ratio = float(dilation_ratio)
        if not 0 < self.dilation_ratio <= 1:
            raise ValueError(f"dilation_ratio must be above 0 and at most 1, got {dilation_ratio}")
        self._lock = threading.Lock()
        self.reset()

    # ---- counting ----

    def update(self, preds: Any, target: Any) -> None:
        """Count the boundary regions of pictures.

        Args:
            preds, target: class indices of equal shapes: a picture ``(H, W)``, a batch ``(N, H, W)``, or equally long
                lists of either. NumPy arrays and CPU tensors of any integer type.

        Raises:
            TypeError: not arrays of integers (class scores need an argmax first).
            ValueError: shapes or lengths that differ, or that are not of pictures; nothing of this batch is counted.
        """
        pixels = np.zeros((3, self.num_classes), np.int64)
        for pred, label in inputs.pairs(preds, target):
            if label.ndim not in (2, 3):
                raise ValueError(f"pictures must be (H, W) or (N, H, W), got {label.shape}")
            inputs.refuse_one_hot(pred, label, self.num_classes)
            if label.size == 0:
                continue
            batch = (pred, label) if label.ndim == 3 else (pred[None], label[None])
            pixels += sum(self._count(*picture) for picture in zip(*batch, strict=True))
        with self._lock:
            self._pixels += pixels

    def merge(self, *others: BoundaryIoU) -> None:
        """Add the counts of others.

        Raises:
            TypeError: something else; nothing is added.
            ValueError: one of another ``num_classes`` or ``dilation_ratio``; nothing is added.
        """
        for other in others:
            if not isinstance(other, BoundaryIoU):
                raise TypeError(f"only a BoundaryIoU can be merged into one, got {type(other).__name__}")
            if other.num_classes != self.num_classes:
                raise ValueError(f"cannot merge {other.num_classes} classes into {self.num_classes}")
            if other.dilation_ratio != self.dilation_ratio:
                raise ValueError(f"cannot merge dilation_ratio {other.dilation_ratio} into {self.dilation_ratio}")
        for other in others:
            pixels = other._snapshot()
            with self._lock:
                self._pixels += pixels

    def reset(self) -> None:
        """Forget all counts."""
        with self._lock:
            self._pixels = np.zeros((3, self.num_classes), np.int64)

    def __add__(self, other: BoundaryIoU) -> BoundaryIoU:
        if not isinstance(other, BoundaryIoU):
            return NotImplemented
        total = copy.copy(self)
        total.merge(other)
        return total

    # ---- scores ----

    def areas(self) -> Areas:
        """Pixels of the boundary regions by class."""
        return Areas(*self._snapshot())

    def iou(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """``(num_classes,)`` Boundary IoU; ``absent`` as in :class:`pspfast.ConfusionMatrix`."""
        return self.areas().iou(absent)

    def miou(self, absent: Absent = "nan") -> float:
        """Mean Boundary IoU over the classes that ``absent`` leaves in."""
        return float(mean(self.iou(absent)))

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain values and arrays; :meth:`from_state_dict` is the inverse."""
        areas = self.areas()
        return {
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "dilation_ratio": self.dilation_ratio,
            "intersection": areas.intersection,
            "truth": areas.truth,
            "predicted": areas.predicted,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> BoundaryIoU:
        """The inverse of :meth:`state_dict`.

        Raises:
            KeyError: an entry is missing.
            TypeError: an entry of another type.
            ValueError: pixels that cannot be.
        """
        score = cls(state["num_classes"], state["ignore_index"], dilation_ratio=state["dilation_ratio"])
        for row, name in enumerate(("intersection", "truth", "predicted")):
            pixels = np.asarray(state[name])
            if pixels.dtype.kind not in "iu":
                raise TypeError(f"{name} must be integers, got {pixels.dtype}")
            if pixels.shape != (score.num_classes,) or pixels.min() < 0:
                raise ValueError(f"{name} must be {score.num_classes} numbers of pixels, none negative")
            score._pixels[row] = pixels
        if (score._pixels[0] > score._pixels[1:]).any():
            raise ValueError("intersection must not exceed truth or predicted")
        return score

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": self._snapshot(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"BoundaryIoU(num_classes={self.num_classes}, dilation_ratio={self.dilation_ratio}, miou={self.miou():.4f})"
        )

    # ---- how ----

    def _snapshot(self) -> NDArray[np.int64]:
        with self._lock:
            pixels: NDArray[np.int64] = self._pixels.copy()
        return pixels

    def _count(self, preds: NDArray[Any], target: NDArray[Any]) -> NDArray[np.int64]:
        """``(3, num_classes)`` pixels of one picture's boundary regions: intersection, truth, predicted."""
        distance = max(1, round(self.dilation_ratio * math.hypot(*target.shape)))
        no_class = self.num_classes
        labels = _classes(target, no_class)
        if self.ignore_index is not None:
            labels[target == self.ignore_index] = no_class
        predicted = _classes(preds, no_class)
        predicted[labels == no_class] = no_class
        near_label, near_pred = _near_an_outline(labels, distance), _near_an_outline(predicted, distance)
        both = near_label & near_pred & (labels == predicted)
        pixels = np.empty((3, no_class), np.int64)
        for row, classes in enumerate((labels[both], labels[near_label], predicted[near_pred])):
            pixels[row] = np.bincount(classes, minlength=no_class + 1)[:no_class]
        return pixels


def _classes(values: NDArray[Any], no_class: int) -> NDArray[Any]:
    """The same classes in one or two bytes, and ``no_class`` for all that are none; a copy."""
    small = np.uint8 if no_class <= 255 else np.uint16
    classes: NDArray[Any] = np.full(values.shape, no_class, small)
    np.copyto(classes, values, where=(values >= 0) & (values < no_class), casting="unsafe")
    return classes


def _near_an_outline(classes: NDArray[Any], distance: int) -> NDArray[np.bool_]:
    """Whether the pixels within ``distance`` rows and columns are of more than one class, or beyond the picture.

    For a pixel of a class this is whether it is outside of the class's eroded mask, so one map serves all classes. A
    square is of one class if no two neighbours in it differ: neighbours in each of its rows, and, as its rows are then
    of one class each, neighbours in its middle column.
    """
    near = np.ones(classes.shape, np.bool_)
    height, width = classes.shape
    if min(height, width) <= 2 * distance:
        return near
    row_changes = _any_of((classes[:, 1:] != classes[:, :-1]).T, 2 * distance).T
    middle = classes[:, distance : width - distance]
    # Between two rows: whether the class changes from one to the other, or within either.
    changes = (middle[1:] != middle[:-1]) | row_changes[1:] | row_changes[:-1]
    near[distance : height - distance, distance : width - distance] = _any_of(changes, 2 * distance)
    return near


def _any_of(flags: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Whether any of ``length`` consecutive rows is set, from each row on: ``length - 1`` rows fewer."""
    reach = 1
    while reach < length:
        step = min(reach, length - reach)
        flags = flags[step:] | flags[:-step]
        reach += step
    return flags
