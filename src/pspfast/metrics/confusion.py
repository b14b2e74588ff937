"""Confusion matrices: counting pixels by true and predicted class. Needs NumPy only."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast import _core
from pspfast.metrics import arguments as inputs
from pspfast.metrics.counts import CountTable, OccurringCells, summed
from pspfast.metrics.scores import Areas, mean
from pspfast.pictures import kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pspfast.metrics.scores import Absent
    from pspfast.pictures.geometry import CropRule, Letterbox

__all__ = ["ConfusionMatrix"]

# A table of 64 classes is 34 kB: cheap enough to count a picture in one of its own and add it when it is whole.
_MOST_PRIVATE_CLASSES = 64
# Beyond this (256 MB) only the cells that occur are kept.
_MOST_DENSE_CLASSES = 5_790
_MOST_CLASSES = 65_535
# Contiguous pixels are counted in rows of this length, whatever their shape.
_ROW = 1 << 14


class ConfusionMatrix:
    """Counts pixels by true and predicted class; rows are truth, columns prediction.

    Every pixel lands in exactly one place: a pair of classes, ``ignored`` (whatever was predicted there),
    ``invalid_labels``, or ``invalid_predictions`` of its true class. Counts are int64.

    Args:
        num_classes: 1 to 65,535. Up to 5,790 a full table is kept, beyond that the cells that occur.
        ignore_index: label of pixels that do not count; ``None`` for none.
        label_map: new label of each old one; all at once, so ``{0: 1, 1: 0}`` swaps. Others stay.
        reduce_zero_label: after ``label_map``, 0 becomes 255 and every other label one less (255 stays), in the
            published script's order (mmsegmentation 1.x reduces first and maps then).
        isa: one of ``pspfast.isa()["runnable"]``; the best one, or ``PSPFAST_ISA``, if left out.

    Raises:
        TypeError: an argument that is not an integer.
        ValueError: a number of classes or a label that is out of range.
        RuntimeError: an instruction set this CPU lacks.

    Threads may update one matrix at the same time.

    Example:
        >>> import numpy as np
        >>> matrix = ConfusionMatrix(3)
        >>> matrix.update(preds=np.array([[0, 1], [1, 2]]), target=np.array([[0, 1], [2, 255]]))
        >>> matrix.counts
        array([[1, 0, 0],
               [0, 1, 0],
               [0, 1, 0]])
        >>> matrix.iou().tolist(), matrix.miou(), matrix.ignored
        ([1.0, 0.5, 0.0], 0.5, 1)
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = 255,
        *,
        label_map: Mapping[int, int] | None = None,
        reduce_zero_label: bool = False,
        isa: str | None = None,
    ) -> None:
        self.num_classes = inputs.whole("num_classes", num_classes)
        if not 1 <= self.num_classes <= _MOST_CLASSES:
            raise ValueError(f"num_classes must be 1 to {_MOST_CLASSES}, got {num_classes}")
        self.ignore_index = None if ignore_index is None else inputs.whole("ignore_index", ignore_index)
        self.label_map = {
            inputs.whole("label_map", old): inputs.whole("label_map", new) for old, new in dict(label_map or {}).items()
        }
        self.reduce_zero_label = bool(reduce_zero_label)
        if isa is not None and isa not in _core.RUNNABLE_ISAS:
            raise RuntimeError(f"instruction set {isa!r} cannot be used here: {', '.join(_core.RUNNABLE_ISAS)}")
        self._isa = isa
        self._make_rows()
        self._lock = threading.Lock()
        self.reset()

    # ---- counting ----

    def update(self, preds: Any, target: Any) -> None:
        """Count pixels.

        Args:
            preds, target: class indices of equal shapes: a picture ``(H, W)``, a batch ``(N, H, W)``, or equally long
                lists of either. NumPy arrays and CPU tensors of any integer type; read in place where they can be.

        Raises:
            TypeError: not arrays of integers (class scores need an argmax first).
            ValueError: shapes or lengths that differ, or one-hot masks.

        Whatever is raised, nothing is counted.
        """
        pictures = list(inputs.pairs(preds, target))
        for pred, label in pictures:
            inputs.refuse_one_hot(pred, label, self.num_classes)
        for pred, label in pictures:
            if pred.size == 0:
                continue
            contiguous = pred.flags.c_contiguous and label.flags.c_contiguous
            for pred_rows, label_rows in zip(_in_rows(pred, contiguous), _in_rows(label, contiguous), strict=True):
                if pred_rows.size:
                    self._count(pred_rows, label_rows, (0, 0), pred_rows.shape)

    def update_letterboxed(self, mask: Any, target: Any, geometry: Letterbox, *, rule: CropRule = "exact") -> None:
        """Count a mask as the network gives it, padding and all, against its picture's labels.

        The same as ``update(pspfast.unpad(mask, geometry), target)`` without the picture in between.

        Args:
            mask: ``(H, W)`` class indices, of the canvas.
            target: ``(h, w)`` labels, of the picture.
            geometry: the picture's letterbox.
            rule: which part of the canvas is taken, see :meth:`pspfast.Letterbox.crop`.

        Raises:
            TypeError: not arrays of integers.
            ValueError: shapes that do not fit the geometry; nothing is counted.
        """
        mask, target = kernels.integers("mask", mask), kernels.integers("target", target)
        kernels.check_canvas(mask, geometry)
        if target.shape != geometry.picture:
            raise ValueError(f"the labels are {target.shape}, the picture of the geometry {geometry.picture}")
        self._count(mask, target, *geometry.crop(rule))

    def update_pairs(self, labels: Any, preds: Any, pixels: Any) -> None:
        """Count pixels that were counted before, by label and prediction.

        The same as :meth:`update` with ``pixels[i]`` pixels of label ``labels[i]`` that were predicted as ``preds[i]``.

        Args:
            labels, preds, pixels: arrays of integers of equal length.

        Raises:
            TypeError: not arrays of integers.
            ValueError: lengths that differ, negative pixels, or 2^63 and more; nothing is counted.
        """
        labels, preds = (
            kernels.integers("labels", labels).astype(np.int64),
            kernels.integers("preds", preds).astype(np.int64),
        )
        pixels = kernels.integers("pixels", pixels)
        if labels.ndim != 1 or not labels.shape == preds.shape == pixels.shape:
            raise ValueError(
                f"labels {labels.shape}, preds {preds.shape} and pixels {pixels.shape} must be equally long"
            )
        pixels = _counted(pixels)
        columns = np.where((preds >= 0) & (preds < self.num_classes), preds, self.num_classes)
        cells = self.rows_of(labels) * (self.num_classes + 1) + columns
        with self._lock:
            self._cells.add(cells, pixels)

    def merge(self, *others: ConfusionMatrix) -> None:
        """Add the counts of others with the same ``num_classes``; their label rules may differ.

        Raises:
            TypeError: something that is no matrix; nothing is added.
            ValueError: one of another ``num_classes``; nothing is added.
        """
        for other in others:
            if not isinstance(other, ConfusionMatrix):
                raise TypeError(f"only a ConfusionMatrix can be merged into one, got {type(other).__name__}")
            if other.num_classes != self.num_classes:
                raise ValueError(f"cannot merge {other.num_classes} classes into {self.num_classes}")
        for other in others:
            with other._lock:
                cells, lengths = other._cells.items()
            with self._lock:
                self._cells.add(cells, lengths)

    def reset(self) -> None:
        """Forget all counts."""
        dense = self.num_classes <= _MOST_DENSE_CLASSES
        with self._lock:
            self._cells: CountTable | OccurringCells = CountTable(self.num_classes) if dense else OccurringCells()

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        total = copy.copy(self)
        total.merge(other)
        return total

    # ---- counts ----

    @property
    def counts(self) -> NDArray[np.int64]:
        """``(num_classes, num_classes)`` pixels, rows truth, columns prediction; a copy.

        Raises:
            MemoryError: more classes than a full table has room for; take :meth:`nonzero` or :meth:`areas`.
        """
        if self.num_classes > _MOST_DENSE_CLASSES:
            raise MemoryError(f"a table of {self.num_classes} classes is too large; take nonzero() or areas()")
        rows, columns, pixels = self.nonzero()
        table = np.zeros((self.num_classes, self.num_classes), np.int64)
        table[rows, columns] = pixels
        return table

    def nonzero(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """``(truth, prediction, pixels)`` of the pairs of classes that occur, sorted."""
        rows, columns, pixels = self.cells()
        chosen = (rows < self.num_classes) & (columns < self.num_classes)
        return rows[chosen], columns[chosen], pixels[chosen]

    def cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """``(row, column, pixels)`` of every place that has pixels, sorted: nothing is left out.

        Rows and columns are classes; row ``num_classes`` is ignored labels, row ``num_classes + 1`` labels that are no
        class, column ``num_classes`` predictions that are none.
        """
        with self._lock:
            cells, pixels = self._cells.items()
        rows, columns = np.divmod(cells, self.num_classes + 1)
        return rows, columns, pixels

    def rows_of(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row each label is counted in, see :meth:`cells`: what the kernel does with the labels of pixels."""
        known = (labels >= 0) & (labels < len(self._row_table))
        ignored = (labels == self._ignored_beyond) & ~known
        beyond = np.where(ignored, self.num_classes, self.num_classes + 1)
        return np.where(known, self._row_table[np.where(known, labels, 0)], beyond)

    @property
    def ignored(self) -> int:
        """Pixels whose label is ``ignore_index``."""
        return int(self._row(self.num_classes).sum())

    @property
    def invalid_labels(self) -> int:
        """Pixels whose label is neither a class nor ``ignore_index``."""
        return int(self._row(self.num_classes + 1).sum())

    @property
    def invalid_predictions(self) -> NDArray[np.int64]:
        """``(num_classes,)`` pixels of each true class whose prediction is not a class."""
        rows, columns, pixels = self.cells()
        chosen = (columns == self.num_classes) & (rows < self.num_classes)
        return summed(rows[chosen], pixels[chosen], self.num_classes)

    @property
    def predictions_at_invalid_labels(self) -> NDArray[np.int64]:
        """``(num_classes,)`` pixels predicted as each class whose label is neither a class nor ``ignore_index``."""
        rows, columns, pixels = self.cells()
        chosen = (rows == self.num_classes + 1) & (columns < self.num_classes)
        return summed(columns[chosen], pixels[chosen], self.num_classes)

    @property
    def total(self) -> int:
        """All pixels ever given, whatever became of them."""
        return int(self.cells()[2].sum())

    def areas(self) -> Areas:
        """Pixels by class."""
        rows, columns, pixels = self.cells()
        labelled = rows < self.num_classes
        valid = labelled & (columns < self.num_classes)
        right = valid & (rows == columns)
        return Areas(
            summed(rows[right], pixels[right], self.num_classes),
            summed(rows[labelled], pixels[labelled], self.num_classes),
            summed(columns[valid], pixels[valid], self.num_classes),
        )

    # ---- scores ----

    def iou(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """``(num_classes,)`` intersection over union; see :class:`Areas` for this and the following."""
        return self.areas().iou(absent)

    def dice(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """``(num_classes,)`` Dice coefficient, the F1 score."""
        return self.areas().dice(absent)

    def recall(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """``(num_classes,)`` recall: mmsegmentation's ``Acc``."""
        return self.areas().recall(absent)

    accuracy = recall

    def precision(self, absent: Absent = "nan") -> NDArray[np.float64]:
        """``(num_classes,)`` precision."""
        return self.areas().precision(absent)

    def miou(self, absent: Absent = "nan") -> float:
        """Mean IoU over the classes that ``absent`` leaves in."""
        return float(mean(self.iou(absent)))

    def macc(self, absent: Absent = "nan") -> float:
        """Mean class accuracy."""
        return float(mean(self.recall(absent)))

    def mdice(self, absent: Absent = "nan") -> float:
        """Mean Dice coefficient."""
        return float(mean(self.dice(absent)))

    def aacc(self) -> float:
        """Share of all labelled pixels that were predicted right."""
        return float(self.areas().pixel_accuracy())

    def fwiou(self) -> float:
        """Frequency-weighted IoU."""
        return float(self.areas().frequency_weighted_iou())

    def kappa(self) -> float:
        """Cohen's kappa."""
        return float(self.areas().kappa())

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain values and arrays; :meth:`from_state_dict` is the inverse.

        ``cells`` and ``pixels`` are the entries that are not zero of a table ``(num_classes + 2, num_classes + 1)``,
        by index in its flat form: rows are classes, ignored and invalid labels, columns classes and what is none.
        """
        with self._lock:
            cells, lengths = self._cells.items()
        return {
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "label_map": dict(self.label_map),
            "reduce_zero_label": self.reduce_zero_label,
            "cells": cells.copy(),
            "pixels": lengths.copy(),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> ConfusionMatrix:
        """The inverse of :meth:`state_dict`.

        Raises:
            KeyError: an entry is missing.
            TypeError: an entry of another type.
            ValueError: cells or pixels that cannot be.
        """
        options = {key: state[key] for key in ("num_classes", "ignore_index", "label_map", "reduce_zero_label")}
        matrix = cls(**options)
        cells, pixels = np.asarray(state["cells"]), np.asarray(state["pixels"])
        if cells.size or pixels.size:  # empty ones may be of any type
            if cells.dtype.kind not in "iu" or pixels.dtype.kind not in "iu":
                raise TypeError(f"cells and pixels must be integers, got {cells.dtype} and {pixels.dtype}")
            last = (matrix.num_classes + 2) * (matrix.num_classes + 1) - 1
            if cells.ndim != 1 or cells.shape != pixels.shape or cells.min() < 0 or cells.max() > last:
                raise ValueError(f"cells must be 0 to {last}, one for each of pixels")
            matrix._cells.add(cells.astype(np.int64), _counted(pixels))
        return matrix

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            counted = copy.deepcopy(self._cells)
        return {**self.__dict__, "_cells": counted, "_lock": None, "_label_rows": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._make_rows()

    def __repr__(self) -> str:
        return f"ConfusionMatrix(num_classes={self.num_classes}, total={self.total}, miou={self.miou():.4f})"

    # ---- how ----

    def _make_rows(self) -> None:
        rules = (self.num_classes, self.ignore_index, self.label_map, self.reduce_zero_label)
        self._row_table, self._ignored_beyond = _row_table(*rules)
        self._label_rows = _core.LabelRows(self.num_classes, self._row_table.astype(np.int32), self._ignored_beyond)

    def _count(self, preds: NDArray[Any], target: NDArray[Any], offset: tuple[int, int], size: tuple[int, ...]) -> None:
        where = (preds, target, offset, (size[0], size[1]), self._label_rows)
        if self.num_classes <= _MOST_PRIVATE_CLASSES:
            private = CountTable(self.num_classes)
            _core.count_confusion(*where, private.counts, self._isa or _core.active_isa())
            with self._lock:
                self._cells.add(*private.items())
            return
        cells, lengths = np.empty(target.size, np.int64), np.empty(target.size, np.int64)
        runs = _core.list_confusion_runs(*where, cells, lengths, self._isa or _core.active_isa())
        with self._lock:
            self._cells.add(cells[:runs], lengths[:runs])

    def _row(self, row: int) -> NDArray[np.int64]:
        rows, _, pixels = self.cells()
        chosen: NDArray[np.int64] = pixels[rows == row]
        return chosen


def _row_table(
    num_classes: int, ignore_index: int | None, label_map: Mapping[int, int], reduce_zero_label: bool
) -> tuple[NDArray[np.int64], int]:
    """The row each label is counted in: a class, ``num_classes`` (ignored) or ``num_classes + 1`` (invalid).

    Labels beyond the table are invalid, but for the one that is returned with it, which is ignored.
    """
    if min(label_map, default=0) < 0 or max(label_map, default=0) > _MOST_CLASSES:
        raise ValueError(f"label_map must map labels from 0 to {_MOST_CLASSES}, got {dict(label_map)}")
    labels = np.arange(max(256, num_classes + 1, max(label_map, default=0) + 1))
    labels[list(label_map)] = list(label_map.values())
    if reduce_zero_label:
        labels = np.where((labels == 0) | (labels == 255), 255, labels - 1)
    rows = np.where((labels >= 0) & (labels < num_classes), labels, num_classes + 1)
    beyond = 0  # looked at for labels beyond the table only, which 0 is not
    if ignore_index is not None:
        rows[labels == ignore_index] = num_classes
        beyond = ignore_index + reduce_zero_label  # the label that becomes it
    return rows, beyond


def _counted(pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of pixels as int64, whose sum does not wrap."""
    if pixels.size and pixels.min() < 0:
        raise ValueError("pixels must not be negative")
    if pixels.sum(dtype=np.float64) >= 2.0**63:
        raise ValueError("pixels must add up to less than 2^63")
    return pixels.astype(np.int64)


def _in_rows(values: NDArray[Any], contiguous: bool) -> list[NDArray[Any]]:
    """The same pixels as tables: of long rows and a rest if both arrays allow it, else of their own rows."""
    if not contiguous:
        return [values.reshape(-1, values.shape[-1])]
    flat = values.reshape(-1)
    whole = flat.size // _ROW * _ROW
    return [flat[:whole].reshape(-1, _ROW), flat[whole:].reshape(1, -1)]
