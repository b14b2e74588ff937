"""Boundary IoU against OpenCV's erosion of one mask after the other, and what it must keep."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pspfast
from pspfast import BoundaryIoU, ConfusionMatrix, Letterbox
from tests import reference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def masks(seed: int, shape: tuple[int, ...], classes: int, block: int = 6) -> NDArray[np.int64]:
    """Class indices in rectangles, as masks have areas; also labels that are no class, and 255."""
    rng = np.random.default_rng(seed)
    height, width = shape[-2:]
    coarse = rng.integers(-1, classes + 1, (*shape[:-2], height // block + 1, width // block + 1))
    coarse[coarse == classes] = 255
    return np.repeat(np.repeat(coarse, block, -2), block, -1)[..., :height, :width]


def counted(score: BoundaryIoU) -> list[list[int]]:
    areas = score.areas()
    return [areas.intersection.tolist(), areas.truth.tolist(), areas.predicted.tolist()]


def small(seed: int = 0) -> BoundaryIoU:
    score = BoundaryIoU(5)
    score.update(masks(seed, (20, 31), 5), masks(seed + 1, (20, 31), 5))
    return score


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 6),
    st.integers(1, 25),
    st.sampled_from([0.001, 0.02, 0.07, 0.3, 1.0]),
    st.sampled_from([255, None, 0, -1]),
    st.integers(0, 10_000),
)
@settings(max_examples=300, deadline=None)
def test_is_erosion_class_by_class(
    height: int, width: int, classes: int, block: int, ratio: float, ignore_index: int | None, seed: int
) -> None:
    preds, target = (masks(seed + n, (height, width), classes, block) for n in (0, 1))
    score = BoundaryIoU(classes, ignore_index, dilation_ratio=ratio)
    score.update(preds, target)
    assert counted(score) == reference.boundary_areas(preds, target, classes, ignore_index, ratio)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3), (2, 500), (281, 500), (500, 333)])
def test_pictures_of_any_shape(shape: tuple[int, int]) -> None:
    for kind in (np.uint8, np.int16, np.int32, np.int64):
        preds, target = (masks(seed, shape, 21, 40).astype(kind) for seed in (3, 4))
        score = BoundaryIoU(21)
        score.update(preds, target)
        assert counted(score) == reference.boundary_areas(preds, target, 21, 255, 0.02)


def test_noise() -> None:
    rng = np.random.default_rng(5)
    preds, target = rng.integers(0, 4, (70, 90)), rng.integers(0, 4, (70, 90))
    target[rng.random(target.shape) < 0.002] = 255
    score = BoundaryIoU(4, dilation_ratio=0.01)
    score.update(preds, target)
    assert counted(score) == reference.boundary_areas(preds, target, 4, 255, 0.01)


@pytest.mark.parametrize("classes", [254, 255, 256, 65_535])
def test_many_classes(classes: int) -> None:
    target = np.full((30, 40), classes - 1)
    target[:15] = 2
    preds = target.copy()
    preds[:, :5] = classes  # no class, and the most that a byte holds where there are 255
    score = BoundaryIoU(classes, ignore_index=None)
    score.update(preds, target)
    chosen = [2, classes - 1]
    wanted = reference.boundary_areas(
        np.searchsorted([2, classes - 1], preds), np.searchsorted(chosen, target), 2, 9, 0.02
    )
    assert [[row[c] for c in chosen] for row in counted(score)] == wanted
    assert [sum(row) for row in counted(score)] == [sum(row) for row in wanted]


def test_a_boundary_as_wide_as_the_picture_is_all_of_it() -> None:
    preds, target = masks(1, (33, 47), 5), masks(2, (33, 47), 5)
    score, matrix = BoundaryIoU(5, dilation_ratio=1), ConfusionMatrix(5)
    score.update(preds, target)
    matrix.update(preds, target)
    mine, theirs = score.areas(), matrix.areas()
    for name in ("intersection", "truth", "predicted"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name))
    assert score.miou() == matrix.miou()


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_predictions_where_nothing_counts_do_not_matter(seed: int, other: int) -> None:
    target, preds = masks(seed, (40, 55), 4), masks(other, (40, 55), 4)
    right = BoundaryIoU(4)
    right.update(np.where((target >= 0) & (target < 4), target, preds), target)
    assert set(right.iou("one").tolist()) == {1.0}


def test_invalid_predictions_keep_their_place_in_the_truth() -> None:
    target = np.zeros((30, 30), int)
    preds = target.copy()
    preds[:, 0] = 9
    score = BoundaryIoU(1)
    score.update(preds, target)
    areas = score.areas()
    # d is 1: the ring of 116; the predictions' mask is one column narrower, and so is its ring.
    assert (areas.truth.tolist(), areas.predicted.tolist(), areas.intersection.tolist()) == ([116], [114], [86])


def test_batches_lists_and_tensors() -> None:
    preds, target = masks(1, (6, 21, 33), 4), masks(2, (6, 21, 33), 4)
    batch, lists, one = BoundaryIoU(4), BoundaryIoU(4), BoundaryIoU(4)
    batch.update(preds, target)
    lists.update(list(preds), tuple(target))
    for pred, label in zip(preds, target, strict=True):
        one.update(np.asfortranarray(pred), np.repeat(label, 2, 1)[:, ::2])
    assert counted(batch) == counted(lists) == counted(one)
    batch.update(np.empty((0, 5, 5), int), np.empty((0, 5, 5), int))
    batch.update(np.empty((0, 5), int), np.empty((0, 5), int))
    assert counted(batch) == counted(one)


@pytest.mark.parametrize(
    ("preds", "target", "error", "text"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3), int), TypeError, "preds must hold integers"),
        (np.zeros((2, 3), int), np.zeros((3, 2), int), ValueError, "same shape"),
        (np.zeros(6, int), np.zeros(6, int), ValueError, r"\(H, W\) or \(N, H, W\), got \(6,\)"),
        (np.zeros((1, 1, 2, 3), int), np.zeros((1, 1, 2, 3), int), ValueError, r"\(H, W\) or \(N, H, W\)"),
        ([np.zeros((2, 3), int)], [], ValueError, "1 predictions and 0 labels"),
    ],
)
def test_bad_input_counts_nothing(preds: Any, target: Any, error: type[Exception], text: str) -> None:
    score = BoundaryIoU(3)
    with pytest.raises(error, match=text):
        score.update(preds, target)
    assert not np.any(counted(score))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_classes": 0}, ValueError),
        ({"num_classes": 65_536}, ValueError),
        ({"num_classes": 2.5}, TypeError),
        ({"num_classes": 2, "ignore_index": 0.5}, TypeError),
        ({"num_classes": 2, "dilation_ratio": 0}, ValueError),
        ({"num_classes": 2, "dilation_ratio": 1.01}, ValueError),
        ({"num_classes": 2, "dilation_ratio": math.nan}, ValueError),
        ({"num_classes": 2, "dilation_ratio": None}, TypeError),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        BoundaryIoU(**arguments)


# ---- conservation ----


def test_merging() -> None:
    parts = [small(seed) for seed in range(4)]
    total = BoundaryIoU(5)
    total.merge(*parts)
    added = parts[0] + parts[1] + parts[2] + parts[3]
    assert counted(total) == counted(added)
    assert counted(parts[0]) == counted(small(0))
    total.merge(total)
    assert np.array_equal(counted(total), 2 * np.array(counted(added)))
    for other, text in (
        (BoundaryIoU(4), "4 classes into 5"),
        (BoundaryIoU(5, dilation_ratio=0.1), "dilation_ratio 0.1"),
    ):
        with pytest.raises(ValueError, match=text):
            total.merge(parts[0], other)
    assert np.array_equal(counted(total), 2 * np.array(counted(added)))
    with pytest.raises(TypeError):
        total + 1  # type: ignore[operator]
    total.reset()
    assert math.isnan(total.miou())


def test_state() -> None:
    score = small()
    state = score.state_dict()
    for other in (
        BoundaryIoU.from_state_dict(state),
        pickle.loads(pickle.dumps(score)),
        copy.copy(score),
        copy.deepcopy(score),
    ):
        assert counted(other) == counted(score)
        assert (other.num_classes, other.ignore_index, other.dilation_ratio) == (5, 255, 0.02)
        other.update(masks(8, (9, 9), 5), masks(9, (9, 9), 5))
        assert counted(score) == counted(small())
    for key, value, error in (
        ("truth", [1.5] * 5, TypeError),
        ("truth", [1] * 4, ValueError),
        ("predicted", [-1] * 5, ValueError),
        ("intersection", [10**6] * 5, ValueError),
        ("num_classes", 0, ValueError),
    ):
        with pytest.raises(error):
            BoundaryIoU.from_state_dict({**state, key: value})
    with pytest.raises(KeyError):
        BoundaryIoU.from_state_dict({})
    assert "num_classes=5" in repr(score)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_threads_lose_nothing(workers: int) -> None:
    pictures = [(masks(seed, (30, 41), 5), masks(seed + 99, (30, 41), 5)) for seed in range(60)]
    alone, together = BoundaryIoU(5), BoundaryIoU(5)
    for preds, target in pictures:
        alone.update(preds, target)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda pair: together.update(*pair), pictures))
    assert counted(alone) == counted(together)


def test_real_masks(shared_data: Path) -> None:
    score = BoundaryIoU(21)
    wanted = np.zeros((3, 21), np.int64)
    names = (shared_data / "voc/VOC2012/ImageSets/Segmentation/val.txt").read_text().split()[:20]
    for name in names:
        mask = np.asarray(Image.open(shared_data / "golden/preds" / f"{name}.png"), np.int32)
        target = np.asarray(Image.open(shared_data / "voc/VOC2012/SegmentationClass" / f"{name}.png"))
        preds = pspfast.unpad(mask, Letterbox.fit(target.shape, mask.shape))
        score.update(preds, target)
        wanted += reference.boundary_areas(preds, target, 21, 255, 0.02)
    assert np.array_equal(counted(score), wanted)


def test_needs_numpy_only() -> None:
    code = "import sys, pspfast; pspfast.BoundaryIoU(3); print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("torch", "cv2", "scipy", "PIL", "click", "rich", "simplejpeg"):
        assert f"'{name}'" not in loaded
