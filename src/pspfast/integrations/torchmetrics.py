"""torchmetrics: ``SegmentationScores``, every score of a confusion matrix as one metric with one state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.metrics.scores import mean

try:
    import torch
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        "pspfast.integrations.torchmetrics needs torchmetrics: pip install torch 'torchmetrics>=1.4,<2'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pspfast.metrics.scores import Absent

__all__ = ["SegmentationScores"]

# Classes up to here fit one byte, which is what is copied from a device after an argmax.
_MOST_BYTE_CLASSES = 256


class SegmentationScores(Metric):
    """IoU, accuracy, Dice and more from one confusion matrix, added up over devices and processes.

    The state is one int64 tensor, ``(num_classes + 2, num_classes + 1)``, that is summed between processes: rows are
    the true classes, ignored and invalid labels, columns the predicted classes and predictions that are none. Masks
    are counted on the CPU; of a device's class scores only their argmax is copied there, in one byte for up to 256
    classes. As with torchmetrics' own metrics the state is not part of a checkpoint unless ``persistent(True)``. A
    second state holds the rules of counting: metrics of other rules make no compute group, and do not load each other's
    counts.

    Args:
        num_classes, ignore_index, label_map, reduce_zero_label: as those of :class:`pspfast.ConfusionMatrix`.
        absent: what becomes of classes that do not occur: ``"nan"``, ``"zero"``, ``"one"`` or ``"skip_no_truth"``.
        per_class: whether the result has the scores of each class; without them all entries are scalars, as
            Lightning's ``log_dict`` wants them.
        **kwargs: those of ``torchmetrics.Metric``.

    Raises:
        TypeError: an argument that is not an integer.
        ValueError: a number of classes or a label that is out of range, an unknown ``absent``.

    Example:
        >>> import torch
        >>> metric = SegmentationScores(num_classes=3)
        >>> metric.update(torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0, 1], [2, 255]]))
        >>> metric.compute()["miou"]
        tensor(0.5000, dtype=torch.float64)
        >>> metric.compute()["iou"]
        tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64)
        >>> metric.confusion_matrix.ignored
        1
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False  # the scores of a batch are those of its own counts: forward() counts once
    pixels: Tensor

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = 255,
        *,
        label_map: Mapping[int, int] | None = None,
        reduce_zero_label: bool = False,
        absent: Absent = "nan",
        per_class: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._matrix = ConfusionMatrix(
            num_classes, ignore_index, label_map=label_map, reduce_zero_label=reduce_zero_label
        )
        self._matrix.iou(absent)  # refuses what is none of its choices now, not after an epoch
        self.num_classes = self._matrix.num_classes
        self.absent: Absent = absent
        self.per_class = per_class
        shape = (self.num_classes + 2, self.num_classes + 1)
        self.add_state("pixels", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        # A MetricCollection counts once for metrics whose states look alike, and a checkpoint's state is loaded by its
        # name: what decides the counts is a state, too. It is the same everywhere, so its maximum is itself.
        self.add_state("rules", _as_tensor(self._rules), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count pixels.

        Args:
            preds: class indices of the labels' shape, any integer type; or class scores ``(N, num_classes, ...)``,
                floating point, of which the largest is taken. Where that is NaN, or infinity in several classes,
                nothing is the largest: the prediction is no class (``confusion_matrix.invalid_predictions``).
            target: labels ``(N, ...)``.

        Raises:
            TypeError: no tensors, or labels that are not integers.
            ValueError: shapes that do not fit, or one-hot masks; nothing is counted.
        """
        for name, values in (("preds", preds), ("target", target)):
            if not isinstance(values, torch.Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(values).__name__}; torch.as_tensor makes one")
        if preds.is_floating_point():
            if preds.ndim != target.ndim + 1 or preds.ndim < 2 or preds.shape[1] != self.num_classes:
                raise ValueError(
                    f"class scores must be (N, {self.num_classes}, ...) for labels (N, ...), "
                    f"got {tuple(preds.shape)} for {tuple(target.shape)}"
                )
            preds = self._largest(preds)
        self._matrix.reset()
        self._matrix.update(preds.cpu(), target.cpu())
        counted = self._matrix.state_dict()
        cells, pixels = (torch.from_numpy(counted[name]).to(self.pixels.device) for name in ("cells", "pixels"))
        self.pixels.view(-1)[cells] += pixels

    def _largest(self, scores: Tensor) -> Tensor:
        """The class of the largest score; no class where there is none: NaN, or infinity in several classes."""
        highest, classes = scores.max(dim=1)
        undecided = ~torch.isfinite(highest)
        if undecided.any():
            undecided &= (highest != torch.inf) | ((scores == torch.inf).sum(dim=1) > 1)
            return torch.where(undecided, self.num_classes, classes)
        return classes.to(torch.uint8) if self.num_classes <= _MOST_BYTE_CLASSES else classes

    def compute(self) -> dict[str, Tensor]:
        """The scores of everything counted, float64.

        Returns:
            ``miou``, ``macc``, ``aacc``, ``mdice``, ``fwiou``, ``kappa``: scalars; with ``per_class`` also ``iou``,
            ``accuracy``, ``precision``, ``dice``: ``(num_classes,)``, scalars for one class. Named and defined as in
            :class:`pspfast.ConfusionMatrix`.
        """
        areas = self.confusion_matrix.areas()
        iou, accuracy, dice = areas.iou(self.absent), areas.recall(self.absent), areas.dice(self.absent)
        scores: dict[str, Any] = {
            "miou": mean(iou),
            "macc": mean(accuracy),
            "aacc": areas.pixel_accuracy(),
            "mdice": mean(dice),
            "fwiou": areas.frequency_weighted_iou(),
            "kappa": areas.kappa(),
        }
        if self.per_class:
            precision = areas.precision(self.absent)
            scores.update({"iou": iou, "accuracy": accuracy, "precision": precision, "dice": dice})
        options = {"dtype": torch.float64, "device": self.pixels.device}
        return {name: torch.as_tensor(values, **options) for name, values in scores.items()}

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Refuse counts by other rules: of other classes, or with other labels ignored or mapped."""
        pixels, rules = (state_dict.get(f"{prefix}{name}") for name in ("pixels", "rules"))
        fault = ""
        if rules is not None and _as_text(rules) != self._rules:
            fault = f"its rules are {_as_text(rules)}, this metric's {self._rules}"
        elif pixels is not None and pixels.shape != self.pixels.shape:
            fault = f"it counts {pixels.shape[0] - 2} classes, this metric {self.num_classes}"
        if fault:
            error_msgs.append(f"{prefix}pixels: {fault}; counts by other rules cannot be gone on with")
            for name in ("pixels", "rules"):
                state_dict.pop(f"{prefix}{name}", None)
            return
        if pixels is not None and rules is None:  # counts of before there were rules in the state
            state_dict[f"{prefix}rules"] = self._defaults["rules"]
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    @property
    def _rules(self) -> str:
        """What decides the counts, as text."""
        rules = self._matrix.state_dict()
        names = ("num_classes", "ignore_index", "reduce_zero_label")
        told = {name: rules[name] for name in names} | {"label_map": sorted(rules["label_map"].items())}
        return json.dumps(told)

    def set_dtype(self, dst_type: str | torch.dtype) -> SegmentationScores:  # noqa: ARG002
        """Nothing: counts stay int64 and scores float64, whatever a model's type is."""
        return self

    @property
    def confusion_matrix(self) -> ConfusionMatrix:
        """The counts so far as a :class:`pspfast.ConfusionMatrix` of their own: of this process, until synced."""
        pixels = self.pixels.cpu().numpy().reshape(-1)
        cells = np.flatnonzero(pixels)
        counted = {**self._matrix.state_dict(), "cells": cells, "pixels": pixels[cells]}
        return ConfusionMatrix.from_state_dict(counted)


def _as_tensor(text: str) -> Tensor:
    """A byte a number: torchmetrics compares states with a tolerance, within which large numbers are alike."""
    return torch.tensor(list(text.encode()), dtype=torch.int64)


def _as_text(numbers: Tensor) -> str:
    return bytes(numbers.tolist()).decode(errors="replace")
