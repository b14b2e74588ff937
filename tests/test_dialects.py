"""The scores of other libraries from one matrix of ours. Each is skipped where its library is not installed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pspfast import ConfusionMatrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = 7


def pictures() -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Class 5 is predicted only, class 6 never occurs, some labels are ignored."""
    rng = np.random.default_rng(8)
    made = []
    for _ in range(5):
        target = rng.integers(0, 5, (33, 47))
        preds = np.where(rng.random(target.shape) < 0.7, target, rng.integers(0, 6, target.shape))
        target[rng.random(target.shape) < 0.1] = 255
        made.append((preds, target))
    return made


def matrix() -> ConfusionMatrix:
    counted = ConfusionMatrix(CLASSES)
    for preds, target in pictures():
        counted.update(preds, target)
    return counted


def test_torchmetrics() -> None:
    torch = pytest.importorskip("torch", reason="not installed: pip install torch==2.13.0")
    metrics = pytest.importorskip("torchmetrics.classification", reason="not installed: pip install torchmetrics")
    options: dict[str, Any] = {"num_classes": CLASSES, "ignore_index": 255, "validate_args": False}
    theirs = {
        "matrix": metrics.MulticlassConfusionMatrix(**options),
        "iou": metrics.MulticlassJaccardIndex(average="none", **options),
        "miou": metrics.MulticlassJaccardIndex(average="macro", **options),
        "recall": metrics.MulticlassAccuracy(average="none", **options),
        "precision": metrics.MulticlassPrecision(average="none", **options),
        "dice": metrics.MulticlassF1Score(average="none", **options),
        "kappa": metrics.MulticlassCohenKappa(**options),
    }
    ours, from_tensors = matrix(), ConfusionMatrix(CLASSES)
    for preds, target in pictures():
        tensors = torch.from_numpy(preds), torch.from_numpy(target)
        from_tensors.update(*tensors)
        for metric in theirs.values():
            metric.update(*tensors)
    assert np.array_equal(from_tensors.counts, ours.counts)
    values = {name: metric.compute().double().numpy() for name, metric in theirs.items()}
    assert np.array_equal(values["matrix"], ours.counts)
    close: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-7}  # torchmetrics computes in float32
    assert np.allclose(values["iou"], ours.iou("zero"), **close)
    assert np.allclose(values["miou"], ours.miou("nan"), **close)
    assert np.allclose(values["recall"], ours.recall("zero"), **close)
    assert np.allclose(values["precision"], ours.precision("zero"), **close)
    assert np.allclose(values["dice"], ours.dice("zero"), **close)
    assert np.allclose(values["kappa"], ours.kappa(), **close)


def test_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="not installed: pip install scikit-learn")
    preds = np.concatenate([one.reshape(-1) for one, _ in pictures()])
    target = np.concatenate([one.reshape(-1) for _, one in pictures()])
    preds, target = preds[target != 255], target[target != 255]
    ours, classes = matrix(), range(CLASSES)
    assert np.array_equal(metrics.confusion_matrix(target, preds, labels=classes), ours.counts)
    options: dict[str, Any] = {"labels": classes, "average": None}
    exact: dict[str, Any] = {"rtol": 0, "atol": 1e-12}
    for absent, division in (("zero", 0.0), ("one", 1.0)):
        choice: Any = absent
        given = {**options, "zero_division": division}
        assert np.allclose(metrics.jaccard_score(target, preds, **given), ours.iou(choice), **exact)
        assert np.allclose(metrics.f1_score(target, preds, **given), ours.dice(choice), **exact)
        assert np.allclose(metrics.recall_score(target, preds, **given), ours.recall(choice), **exact)
        assert np.allclose(metrics.precision_score(target, preds, **given), ours.precision(choice), **exact)
    assert metrics.accuracy_score(target, preds) == pytest.approx(ours.aacc(), abs=1e-12)
    assert metrics.cohen_kappa_score(target, preds) == pytest.approx(ours.kappa(), abs=1e-12)


def test_mmsegmentations_arithmetic() -> None:
    """Its histograms and means, written out (``intersect_and_union`` and ``total_area_to_metrics``, 1.2.2)."""
    intersect, predicted, labelled = (np.zeros(CLASSES) for _ in range(3))
    for preds, target in pictures():
        valid = target != 255
        bins = np.arange(CLASSES + 1)
        intersect += np.histogram(preds[valid & (preds == target)], bins)[0]
        predicted += np.histogram(preds[valid], bins)[0]
        labelled += np.histogram(target[valid], bins)[0]
    ours = matrix()
    with np.errstate(invalid="ignore"):
        iou, accuracy = intersect / (predicted + labelled - intersect), intersect / labelled
        dice = 2 * intersect / (predicted + labelled)
    for theirs, mine in ((iou, ours.iou()), (accuracy, ours.accuracy()), (dice, ours.dice())):
        assert np.allclose(theirs, mine, rtol=0, atol=1e-12, equal_nan=True)
    assert math.isclose(np.nanmean(iou), ours.miou(), abs_tol=1e-12)
    assert math.isclose(np.nanmean(accuracy), ours.macc(), abs_tol=1e-12)
    assert math.isclose(intersect.sum() / labelled.sum(), ours.aacc(), abs_tol=1e-12)


def test_detectron2s_and_paddlesegs_arithmetic() -> None:
    """``SemSegEvaluator.evaluate`` (0.6) and ``metrics.mean_iou`` (2.9), written out from the counts."""
    ours = matrix()
    counts = ours.counts.astype(np.float64)
    right, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    union = truth + predicted - right
    has_truth = truth > 0
    iou = right[has_truth] / union[has_truth]
    assert math.isclose(iou.sum() / (has_truth & (union > 0)).sum(), ours.miou("skip_no_truth"), abs_tol=1e-12)
    assert math.isclose((iou * truth[has_truth] / truth.sum()).sum(), ours.fwiou(), abs_tol=1e-12)
    assert ours.miou("skip_no_truth") != ours.miou()

    each = [right[c] / union[c] if union[c] else 0 for c in range(CLASSES)]
    assert math.isclose(sum(each) / CLASSES, ours.miou("zero"), abs_tol=1e-12)
