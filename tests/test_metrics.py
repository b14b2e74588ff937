"""Counts against a plain count of every pixel, scores against their definitions, and what a matrix must conserve."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
import threading
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

TYPES = [np.uint8, np.int16, np.int32, np.int64]


def blobs(rng: np.random.Generator, shape: tuple[int, int], classes: int) -> NDArray[np.int64]:
    """Class indices in runs, as masks have them."""
    height, width = shape
    coarse = rng.integers(0, classes, (height // 9 + 1, width // 13 + 1))
    return np.repeat(np.repeat(coarse, 9, 0), 13, 1)[:height, :width]


@pytest.mark.parametrize("pred_type", TYPES)
@pytest.mark.parametrize("label_type", TYPES)
def test_counts_are_those_of_every_pixel(pred_type: Any, label_type: Any, isa: str) -> None:
    rng = np.random.default_rng(1)
    for width in (1, 2, 15, 16, 31, 33, 63, 64, 65, 97, 127, 128, 129, 191, 193, 500):
        for make in (blobs, lambda rng, shape, classes: rng.integers(0, classes, shape)):
            preds = make(rng, (5, width), 9).astype(pred_type)
            target = make(rng, (5, width), 9).astype(label_type)
            target[rng.random((5, width)) < 0.05] = 255 if label_type != np.int16 else -1
            if pred_type != np.uint8:
                preds[rng.random((5, width)) < 0.05] = -7
            matrix = ConfusionMatrix(7, 255, isa=isa)
            matrix.update(preds, target)
            wanted = reference.confusion(preds, target, 7, 255)
            assert np.array_equal(matrix.counts, wanted.counts)
            assert np.array_equal(matrix.invalid_predictions, wanted.invalid_predictions)
            assert (matrix.ignored, matrix.invalid_labels) == (wanted.ignored, wanted.invalid_labels)
            assert matrix.total == preds.size


def test_strides_and_other_types(isa: str) -> None:
    rng = np.random.default_rng(2)
    preds, target = rng.integers(0, 5, (40, 60)), rng.integers(0, 5, (40, 60))
    wanted = ConfusionMatrix(5, isa=isa)
    wanted.update(preds, target)
    for convert in (
        lambda a: a[::-1][::-1],
        np.asfortranarray,
        lambda a: np.repeat(a, 2, 1)[:, ::2],
        lambda a: a.astype(np.int8),
        lambda a: a.astype(np.uint16),
        lambda a: a.astype(np.uint32),
        lambda a: a.astype(np.uint64),
        lambda a: a.astype(">i4"),
        lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(np.int64).reshape(a.shape),
    ):
        matrix = ConfusionMatrix(5, isa=isa)
        matrix.update(convert(preds), target)
        matrix.update(preds, convert(target))
        assert np.array_equal(matrix.counts, 2 * wanted.counts)
    read_only = preds.copy()
    read_only.flags.writeable = False
    wanted.update(read_only, read_only)
    flags = preds > 2
    two = ConfusionMatrix(2)
    two.update(flags, flags)
    assert two.counts.tolist() == [[int((~flags).sum()), 0], [0, int(flags.sum())]]


def test_batches_lists_and_scalars() -> None:
    rng = np.random.default_rng(3)
    preds, target = rng.integers(0, 4, (6, 11, 13)), rng.integers(0, 4, (6, 11, 13))
    batch, lists, one = ConfusionMatrix(4), ConfusionMatrix(4), ConfusionMatrix(4)
    batch.update(preds, target)
    lists.update(list(preds), tuple(target))
    for pred, label in zip(preds.reshape(-1), target.reshape(-1), strict=True):
        one.update(np.asarray(pred), np.asarray(label))
    assert np.array_equal(batch.counts, lists.counts)
    assert np.array_equal(batch.counts, one.counts)
    batch.update(np.empty((0, 5), int), np.empty((0, 5), int))
    assert batch.total == preds.size


class Tensor:
    """What a tensor of another library looks like from here."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class FarTensor:
    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("on another device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")


def test_tensors() -> None:
    rng = np.random.default_rng(4)
    preds, target = rng.integers(0, 4, (11, 13)), rng.integers(0, 4, (11, 13))
    arrays, tensors = ConfusionMatrix(4), ConfusionMatrix(4)
    arrays.update(preds, target)
    tensors.update(Tensor(preds), Tensor(target))
    assert np.array_equal(arrays.counts, tensors.counts)
    with pytest.raises(TypeError, match=r"preds cannot be read as an array on the CPU: .*Tensor.cpu"):
        tensors.update(FarTensor(), target)


@pytest.mark.parametrize(
    ("preds", "target", "error", "text"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3), int), TypeError, "preds must hold integers"),
        (np.zeros((2, 3), int), np.zeros((3, 2), int), ValueError, "same shape"),
        (np.zeros((5, 2, 3), int), np.zeros((2, 3), int), ValueError, "argmax"),
        ([np.zeros((2, 3), int)], [], ValueError, "1 predictions and 0 labels"),
        ([np.zeros((2, 3), int)], np.zeros((1, 2, 3), int), TypeError, "both be lists"),
        ("text", np.zeros((2, 3), int), TypeError, "preds must be an array"),
    ],
)
def test_bad_input_counts_nothing(preds: Any, target: Any, error: type[Exception], text: str) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(error, match=text):
        matrix.update(preds, target)
    assert matrix.total == 0


@pytest.mark.parametrize("classes", [0, -1, 65_536])
def test_numbers_of_classes_that_cannot_be(classes: int) -> None:
    with pytest.raises(ValueError, match="num_classes must be 1 to 65535"):
        ConfusionMatrix(classes)


def test_label_rules() -> None:
    target = np.array([[0, 1, 2, 3, 255, 254, 7]])
    preds = np.zeros_like(target)

    def rows(**options: Any) -> list[int]:
        matrix = ConfusionMatrix(3, **options)
        matrix.update(preds, target)
        return [*matrix.counts.sum(1).tolist(), matrix.ignored, matrix.invalid_labels]

    assert rows() == [1, 1, 1, 1, 3]
    assert rows(label_map={0: 1, 1: 0}) == [1, 1, 1, 1, 3]
    assert rows(label_map={3: 0, 7: 255}) == [2, 1, 1, 2, 1]
    assert rows(reduce_zero_label=True) == [1, 1, 1, 2, 2]
    assert rows(ignore_index=None) == [1, 1, 1, 0, 4]
    assert rows(ignore_index=2) == [1, 1, 0, 1, 4]
    assert rows(label_map={1: 0, 2: 1, 3: 2, 0: 255}, reduce_zero_label=True) == [1, 1, 0, 3, 2]
    far = ConfusionMatrix(2, ignore_index=-100)
    far.update(np.zeros((1, 4), int), np.array([[-100, -1, 70_000, 1]]))
    assert (far.ignored, far.invalid_labels, far.counts.tolist()) == (1, 2, [[0, 0], [1, 0]])
    with pytest.raises(ValueError, match="label_map must map labels from 0"):
        ConfusionMatrix(2, label_map={-1: 0})


def test_a_swap_is_one_step() -> None:
    matrix = ConfusionMatrix(2, label_map={0: 1, 1: 0})
    matrix.update(np.array([0, 0, 0]), np.array([0, 0, 1]))
    assert matrix.counts.tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize("classes", [2, 64, 65, 5_790, 5_791, 65_535])
def test_any_number_of_classes(classes: int, isa: str) -> None:
    rng = np.random.default_rng(classes)
    target = rng.integers(0, classes + 2, (30, 70)).astype(np.int32)
    preds = rng.integers(-1, classes + 2, (30, 70)).astype(np.int64)
    matrix = ConfusionMatrix(classes, ignore_index=classes, isa=isa)
    matrix.update(preds, target)
    matrix.update(preds, target)
    pairs: dict[tuple[int, int], int] = {}
    for label, pred in zip(target.reshape(-1).tolist(), preds.reshape(-1).tolist(), strict=True):
        if label < classes and 0 <= pred < classes:
            pairs[label, pred] = pairs.get((label, pred), 0) + 2
    rows, columns, pixels = matrix.nonzero()
    assert dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), pixels.tolist(), strict=True)) == pairs
    assert matrix.total == 2 * target.size
    assert matrix.ignored == 2 * int((target == classes).sum())
    assert matrix.invalid_labels == 2 * int((target > classes).sum())
    if classes > 5_790:
        with pytest.raises(MemoryError, match=r"nonzero\(\)"):
            _ = matrix.counts
    assert matrix.areas().truth.sum() == 2 * int((target < classes).sum())


def test_labels_of_one_byte_with_many_classes_do_not_wrap() -> None:
    target = np.arange(256, dtype=np.uint8)[None]
    matrix = ConfusionMatrix(1000, ignore_index=None)
    matrix.update(target.astype(np.int64) + 256, target)
    rows, columns, _ = matrix.nonzero()
    assert np.array_equal(columns, rows + 256)


def test_counts_beyond_32_bits() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.ones((1, 4), int), np.array([[0, 1, 1, 255]]))
    for _ in range(40):
        matrix.merge(matrix)
    assert matrix.counts.tolist() == [[0, 1 << 40], [0, 2 << 40]]
    assert matrix.total == 4 << 40
    assert matrix.aacc() == 2 / 3


def test_more_rows_than_float32_has_numbers() -> None:
    rows = 2**24 + 6
    picture = np.zeros((rows, 1), np.uint8)
    picture[-6:, 0] = [1, 2, 3, 4, 5, 6]
    matrix = ConfusionMatrix(7)
    matrix.update(picture[:, :1], np.repeat(picture, 2, 1)[:, :1])
    assert np.array_equal(matrix.counts, np.diag([2**24, 1, 1, 1, 1, 1, 1]))
    assert pspfast.unpad(picture, Letterbox.fit((rows, 1), (rows, 1)))[-6:, 0].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("size", [1, 2**14 - 1, 2**14, 2**14 + 1, 3 * 2**14])
def test_contiguous_pixels_of_any_number(size: int) -> None:
    rng = np.random.default_rng(size)
    preds, target = rng.integers(0, 4, size), rng.integers(0, 4, size)
    matrix = ConfusionMatrix(4)
    matrix.update(preds, target)
    assert np.array_equal(matrix.counts, np.bincount(4 * target + preds, minlength=16).reshape(4, 4))


def test_labels_beyond_the_table() -> None:
    far = np.array([np.iinfo(np.int64).min, -1, 2**63 - 1, 256, 1001])
    for options, ignored in (
        ({"ignore_index": None}, 0),
        ({"reduce_zero_label": True}, 1),  # 256 becomes 255
        ({"ignore_index": 1000, "reduce_zero_label": True}, 1),
        ({"ignore_index": 1001}, 1),
        ({"ignore_index": -1}, 1),
    ):
        matrix = ConfusionMatrix(3, **options)
        matrix.update(np.zeros(5, int), far)
        assert (matrix.ignored, matrix.invalid_labels) == (ignored, 5 - ignored), options


@pytest.mark.parametrize("classes", [50, 300, 6000])
def test_states_taken_while_others_count_are_whole(classes: int) -> None:
    matrix, stop = ConfusionMatrix(classes), threading.Event()
    preds = np.arange(2000) % classes

    def count() -> None:
        while not stop.is_set():
            matrix.update(preds, preds)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(200):
            assert matrix.state_dict()["pixels"].sum() % 2000 == 0
            assert copy.copy(matrix).total % 2000 == 0
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("classes", [10, 6000])
def test_a_state_is_a_copy_and_is_checked(classes: int) -> None:
    matrix = ConfusionMatrix(classes)
    matrix.update(np.array([1, 2]), np.array([1, 2]))
    state = matrix.state_dict()
    state["pixels"][:] = 100
    assert matrix.total == 2
    for key, value, error in (
        ("cells", [-1, 2], ValueError),
        ("cells", [1, 10**15], ValueError),
        ("cells", [1.5, 2], TypeError),
        ("pixels", [1], ValueError),
        ("pixels", [1, -1], ValueError),
        ("pixels", np.array([1, 2**64 - 1], np.uint64), ValueError),
        ("cells", np.empty(0, np.int64), ValueError),
        ("num_classes", 3.5, TypeError),
    ):
        with pytest.raises(error):
            ConfusionMatrix.from_state_dict({**matrix.state_dict(), key: value})


class Named(ConfusionMatrix):
    def __init__(self, names: list[str]) -> None:
        super().__init__(len(names), isa="scalar")
        self.names = names


def test_subclasses_are_copied_and_added() -> None:
    matrix = Named(["a", "b"])
    matrix.update(np.array([1]), np.array([0]))
    for other in (copy.copy(matrix), copy.deepcopy(matrix), pickle.loads(pickle.dumps(matrix)), matrix + matrix):
        assert isinstance(other, Named)
        assert other.names == ["a", "b"]
        other.update(np.array([1]), np.array([0]))
    assert matrix.total == 1
    assert (matrix + matrix).counts.tolist() == [[0, 2], [0, 0]]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_classes": 3.7}, TypeError),
        ({"num_classes": True}, TypeError),
        ({"num_classes": 3, "ignore_index": 1.5}, TypeError),
        ({"num_classes": 3, "ignore_index": "1"}, TypeError),
        ({"num_classes": 3, "ignore_index": 2**63}, ValueError),
        ({"num_classes": 3, "label_map": {1: 2**70}}, ValueError),
        ({"num_classes": 3, "label_map": {1.5: 2}}, TypeError),
        ({"num_classes": 3, "label_map": [0, 1]}, TypeError),
        ({"num_classes": 3, "isa": "bogus"}, RuntimeError),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ConfusionMatrix(**arguments)


def test_a_merge_is_whole_or_not_at_all() -> None:
    mine, good = ConfusionMatrix(3), ConfusionMatrix(3)
    good.update(np.array([1]), np.array([1]))
    with pytest.raises(ValueError, match="cannot merge 4 classes"):
        mine.merge(good, ConfusionMatrix(4))
    assert mine.total == 0


# ---- pixels counted before ----


FAR = [0, 1, 2, 3, 5, 7, 254, 255, 256, 300, 65_534, 65_535, 70_000, -1, -100, 2**31, 2**62, -(2**63)]
RULES: list[dict[str, Any]] = [
    {},
    {"ignore_index": None},
    {"ignore_index": 0},
    {"ignore_index": 300},
    {"ignore_index": -1},
    {"ignore_index": -100, "reduce_zero_label": True},
    {"reduce_zero_label": True},
    {"ignore_index": 299, "reduce_zero_label": True},
    {"label_map": {0: 1, 1: 0, 300: 2, 7: 255}},
    {"label_map": {65_535: 3, 255: 0}, "reduce_zero_label": True},
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("classes", [1, 2, 7, 64, 65, 300, 6000])
def test_rows_of_labels_are_those_the_kernel_counts_in(classes: int, rules: dict[str, Any]) -> None:
    matrix = ConfusionMatrix(classes, **rules)
    labels = np.array(FAR + list(range(250, 310)))
    rows = matrix.rows_of(labels)
    for label, row in zip(labels, rows.tolist(), strict=True):
        one = ConfusionMatrix(classes, **rules)
        one.update(np.array([0]), np.array([label]))
        assert [cell.tolist() for cell in one.cells()] == [[row], [0], [1]], label
    assert matrix.rows_of(np.empty(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("rules", RULES)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 7, 65, 300, 6000]))
@settings(max_examples=20, deadline=None)
def test_pairs_counted_before_are_pixels(rules: dict[str, Any], seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels, preds, pixels = rng.choice(FAR, 40), rng.choice(FAR, 40), rng.integers(0, 6, 40)
    pairs, plain = ConfusionMatrix(classes, **rules), ConfusionMatrix(classes, **rules)
    pairs.update_pairs(labels, preds, pixels)
    plain.update(np.repeat(preds, pixels), np.repeat(labels, pixels))
    for mine, theirs in zip(pairs.cells(), plain.cells(), strict=True):
        assert np.array_equal(mine, theirs)
    pairs.update_pairs(labels, preds, pixels.astype(np.uint8))
    assert pairs.total == 2 * pixels.sum()


def test_cells_leave_nothing_out() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([2, 0, 9, 1, 9, 9, 1]), np.array([2, 1, 1, 255, 255, 80, 80]))
    rows, columns, pixels = (part.tolist() for part in matrix.cells())
    assert list(zip(rows, columns, pixels, strict=True)) == [
        (1, 0, 1),
        (1, 3, 1),
        (2, 2, 1),
        (3, 1, 1),
        (3, 3, 1),
        (4, 1, 1),
        (4, 3, 1),
    ]
    assert all(len(part) == 0 for part in ConfusionMatrix(6000).cells())


def test_many_pixels_of_a_pair() -> None:
    matrix = ConfusionMatrix(2)
    for _ in range(3):
        matrix.update_pairs(np.array([1, 255, 1]), np.array([1, 0, 1]), np.array([1 << 40, 5, 1]))
    assert (matrix.counts[1, 1], matrix.ignored) == (3 * ((1 << 40) + 1), 15)


@pytest.mark.parametrize(
    ("labels", "preds", "pixels", "error", "text"),
    [
        ([0, 1], [0, 1], [1], ValueError, r"labels \(2,\), preds \(2,\) and pixels \(1,\) must be equally long"),
        ([[0]], [[0]], [[1]], ValueError, "must be equally long"),
        (0, 0, 1, ValueError, "must be equally long"),
        ([0, 1], [0, 1], [1, -1], ValueError, "pixels must not be negative"),
        ([0, 0], [0, 0], [2**62, 2**62], ValueError, "less than 2\\^63"),
        ([0], [0], [2**64 - 1], ValueError, "less than 2\\^63"),
        ([0.0], [0], [1], TypeError, "labels must hold integers"),
        ([0], [0.5], [1], TypeError, "preds must hold integers"),
        ([0], [0], [1.0], TypeError, "pixels must hold integers"),
    ],
)
def test_pairs_that_cannot_be(labels: Any, preds: Any, pixels: Any, error: type[Exception], text: str) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(error, match=text):
        matrix.update_pairs(np.array(labels), np.array(preds), np.array(pixels))
    assert matrix.total == 0


def test_unpad_into_its_own_memory() -> None:
    memory = np.arange(64, dtype=np.uint8).reshape(8, 8)
    box = Letterbox.fit((4, 6), (8, 8), scale_up=False)
    wanted = pspfast.unpad(memory.copy(), box)
    assert np.array_equal(pspfast.unpad(memory, box, out=memory[3:7, 2:8]), wanted)


# ---- letterboxed masks ----


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.booleans(),
    st.sampled_from(TYPES),
    st.integers(0, 1000),
)
@settings(max_examples=300, deadline=None)
def test_letterboxed_masks(
    picture: tuple[int, int], canvas: tuple[int, int], scale_up: bool, kind: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    box = Letterbox.fit(picture, canvas, scale_up=scale_up)
    mask = blobs(rng, canvas, 6).astype(kind)
    target = rng.integers(0, 6, picture).astype(np.uint8)
    wanted = reference.unpad(mask, box)
    given_back = pspfast.unpad(mask, box)
    assert given_back.dtype == (np.uint8 if kind is np.uint8 else np.int32)
    assert np.array_equal(given_back, wanted)
    assert np.array_equal(pspfast.unpad(mask, box, dtype=np.uint8), wanted)
    fused, plain = ConfusionMatrix(5), ConfusionMatrix(5)
    fused.update_letterboxed(mask, target, box)
    plain.update(wanted, target)
    assert np.array_equal(fused.counts, plain.counts)
    assert np.array_equal(fused.invalid_predictions, plain.invalid_predictions)
    assert fused.total == target.size


@pytest.mark.parametrize("canvas", [500, 512])
def test_nearest_is_pytorchs_for_every_size(canvas: int) -> None:
    """Index maps, by PyTorch's formula in float32; against PyTorch itself where it is installed."""
    for side in range(1, 641):
        row = np.arange(canvas, dtype=np.int32)[None]
        box = Letterbox((1, side), (1, canvas), 1.0, (1, canvas), (0, 0))
        scale = np.float32(canvas) / np.float32(side)
        wanted = np.minimum(np.floor(np.arange(side, dtype=np.float32) * scale).astype(int), canvas - 1)
        assert np.array_equal(pspfast.unpad(row, box)[0], wanted), side


def test_nearest_is_pytorchs_own() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    for canvas in (500, 512):
        row = torch.arange(canvas, dtype=torch.float32)[None, None, None]
        for side in range(1, 641):
            wanted = torch.nn.functional.interpolate(row, size=(1, side), mode="nearest")[0, 0, 0].numpy()
            box = Letterbox((1, side), (1, canvas), 1.0, (1, canvas), (0, 0))
            assert np.array_equal(pspfast.unpad(np.arange(canvas)[None], box)[0], wanted.astype(int)), side


def test_unpad_into_a_buffer_with_strides() -> None:
    rng = np.random.default_rng(5)
    box = Letterbox.fit((30, 50), (40, 40))
    mask = rng.integers(0, 200, (40, 40))
    wanted = reference.unpad(mask, box)
    for out in (
        np.full((30, 50), 9, np.uint8),
        np.full((60, 50), 9, np.int32)[::2],
        np.full((30, 70), 9, np.uint8)[::-1, 10:60],
    ):
        assert pspfast.unpad(mask, box, out=out) is out
        assert np.array_equal(out, wanted)
    spaced = np.full((30, 70), 9, np.uint8)
    pspfast.unpad(mask, box, out=spaced[:, 10:60])
    assert (spaced[:, :10] == 9).all()
    assert (spaced[:, 60:] == 9).all()


@pytest.mark.parametrize(
    ("mask", "options", "error", "text"),
    [
        (np.full((40, 40), 300), {"dtype": np.uint8}, ValueError, "from 300 to 300, which uint8 cannot hold"),
        (np.full((40, 40), -1, np.int16), {"dtype": np.uint8}, ValueError, "from -1 to -1"),
        (np.full((40, 40), 1 << 40), {}, ValueError, "which int32 cannot hold"),
        (np.zeros((40, 41), int), {}, ValueError, r"the mask is \(40, 41\)"),
        (np.zeros((40, 40)), {}, TypeError, "must hold integers"),
        (np.zeros((40, 40), int), {"dtype": np.int64}, TypeError, "uint8 or int32"),
        (np.zeros((40, 40), int), {"out": np.zeros((5, 5), np.uint8)}, ValueError, "picture's shape"),
        (np.zeros((40, 40), int), {"rule": "other"}, ValueError, "'exact' or 'reference'"),
    ],
)
def test_what_unpad_refuses(mask: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        pspfast.unpad(mask, Letterbox.fit((30, 50), (40, 40)), **options)


def test_letterboxed_shapes_that_do_not_fit() -> None:
    box, matrix = Letterbox.fit((30, 50), (40, 40)), ConfusionMatrix(3)
    with pytest.raises(ValueError, match="the labels are"):
        matrix.update_letterboxed(np.zeros((40, 40), int), np.zeros((30, 51), int), box)
    with pytest.raises(ValueError, match="the canvas of its geometry"):
        matrix.update_letterboxed(np.zeros((30, 50), int), np.zeros((30, 50), int), box)
    assert matrix.total == 0


# ---- conservation ----


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6), st.integers(2, 600))
@settings(max_examples=40, deadline=None)
def test_merging_in_any_order_and_grouping(seeds: list[int], classes: int) -> None:
    def one(seed: int) -> ConfusionMatrix:
        rng = np.random.default_rng(seed)
        matrix = ConfusionMatrix(classes)
        matrix.update(rng.integers(-1, classes + 1, (7, 9)), rng.integers(-1, classes + 1, (7, 9)))
        return matrix

    forward, backward = one(seeds[0]), one(seeds[-1])
    for seed in seeds[1:]:
        forward.merge(one(seed))
    backward.merge(*(one(seed) for seed in seeds[:-1]))
    total = ConfusionMatrix(classes)
    for seed in seeds:
        total += one(seed)
    for other in (backward, total, pickle.loads(pickle.dumps(forward))):
        for mine, theirs in zip(forward.nonzero(), other.nonzero(), strict=True):
            assert np.array_equal(mine, theirs)
        assert (forward.total, forward.ignored) == (other.total, other.ignored)
    assert forward.total == 63 * len(seeds)


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("classes", [5, 700])
def test_threads_lose_nothing(workers: int, classes: int) -> None:
    rng = np.random.default_rng(6)
    pictures = [(blobs(rng, (50, 60), classes), blobs(rng, (50, 60), classes)) for _ in range(60)]
    alone, together = ConfusionMatrix(classes), ConfusionMatrix(classes)
    for preds, target in pictures:
        alone.update(preds, target)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda pair: together.update(*pair), pictures))
    for mine, theirs in zip(alone.nonzero(), together.nonzero(), strict=True):
        assert np.array_equal(mine, theirs)


def test_state() -> None:
    matrix = ConfusionMatrix(4, 3, label_map={7: 0}, reduce_zero_label=True)
    matrix.update(np.array([1, 2, 9, 0]), np.array([1, 7, 2, 4]))
    again = ConfusionMatrix.from_state_dict(matrix.state_dict())
    assert again.state_dict().keys() == matrix.state_dict().keys()
    assert np.array_equal(again.counts, matrix.counts)
    assert (again.label_map, again.ignore_index, again.reduce_zero_label) == ({7: 0}, 3, True)
    again.reset()
    assert again.total == 0
    with pytest.raises(ValueError, match="cannot merge 3 classes into 4"):
        matrix.merge(ConfusionMatrix(3))
    assert "num_classes=4" in repr(matrix)


# ---- scores ----


def test_scores_by_hand() -> None:
    matrix = ConfusionMatrix(4)
    #                      right x3, one 0 as 1, one 1 as 2; class 3 never occurs
    matrix.update(np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1]))
    nan = math.nan
    assert matrix.iou().tolist() == pytest.approx([2 / 3, 1 / 3, 0, nan], nan_ok=True)
    assert matrix.iou("zero").tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert matrix.iou("one").tolist() == pytest.approx([2 / 3, 1 / 3, 0, 1])
    assert matrix.iou("skip_no_truth").tolist() == pytest.approx([2 / 3, 1 / 3, nan, nan], nan_ok=True)
    assert matrix.accuracy().tolist() == pytest.approx([2 / 3, 1 / 2, nan, nan], nan_ok=True)
    assert matrix.precision().tolist() == pytest.approx([1, 1 / 2, 0, nan], nan_ok=True)
    assert matrix.dice().tolist() == pytest.approx([4 / 5, 1 / 2, 0, nan], nan_ok=True)
    assert matrix.miou() == pytest.approx(1 / 3)
    assert matrix.miou("skip_no_truth") == pytest.approx(1 / 2)
    assert matrix.macc() == pytest.approx(7 / 12)
    assert matrix.mdice() == pytest.approx(13 / 30)
    assert matrix.aacc() == pytest.approx(3 / 5)
    assert matrix.fwiou() == pytest.approx(3 / 5 * 2 / 3 + 2 / 5 * 1 / 3)
    chance = 3 / 5 * 2 / 5 + 2 / 5 * 2 / 5
    assert matrix.kappa() == pytest.approx((3 / 5 - chance) / (1 - chance))
    with pytest.raises(ValueError, match="absent must be"):
        matrix.iou("none")  # type: ignore[arg-type]


def test_scores_of_nothing() -> None:
    matrix = ConfusionMatrix(3)
    for score in (matrix.miou, matrix.macc, matrix.aacc, matrix.fwiou, matrix.kappa, matrix.mdice):
        assert math.isnan(score())
    assert matrix.miou("zero") == 0


def test_invalid_predictions_lower_the_score_of_their_class() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 9, 1]), np.array([0, 0, 1]))
    assert matrix.iou().tolist() == [0.5, 1]
    assert matrix.invalid_predictions.tolist() == [1, 0]


@pytest.mark.parametrize("classes", [2, 6000])
def test_predictions_at_invalid_labels(classes: int) -> None:
    matrix = ConfusionMatrix(classes)
    far = classes + 300
    matrix.update(np.array([0, 1, 1, -1, 1, 0]), np.array([far, -1, far, far, 255, 0]))
    assert matrix.predictions_at_invalid_labels.tolist() == [1, 2] + [0] * (classes - 2)
    assert matrix.invalid_labels == 4


def test_the_published_scores(shared_data: Path) -> None:
    """The golden masks in the published script's own geometry give the published script's table."""
    matrix, exact = ConfusionMatrix(21), ConfusionMatrix(21)
    names = (shared_data / "voc/VOC2012/ImageSets/Segmentation/val.txt").read_text().split()
    for name in names:
        mask = np.asarray(Image.open(shared_data / "golden/preds" / f"{name}.png"), np.int32)
        target = np.asarray(Image.open(shared_data / "voc/VOC2012/SegmentationClass" / f"{name}.png"))
        box = Letterbox.fit(target.shape, mask.shape)
        matrix.update_letterboxed(mask, target, box, rule="reference")
        exact.update_letterboxed(mask, target, box)
    lines = (shared_data / "golden/voc_seg_result.txt").read_text().split("\n")
    published = {key: float(value) for key, value in (line.split(": ") for line in lines if line)}
    assert round(matrix.miou() * 100, 2) / 100 == published["mIoU"]
    assert round(matrix.macc() * 100, 2) / 100 == published["mAcc"]
    assert round(matrix.aacc() * 100, 2) / 100 == published["aAcc"]
    assert np.round(matrix.iou() * 100, 2).tolist() == pytest.approx(
        [100 * value for key, value in published.items() if key.startswith("IoU.")], abs=1e-9
    )
    assert matrix.total == exact.total


def test_the_metric_needs_numpy_only() -> None:
    code = "import sys, pspfast; pspfast.ConfusionMatrix(3); print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("torch", "cv2", "PIL", "click", "rich", "simplejpeg"):
        assert f"'{name}'" not in loaded


@pytest.mark.parametrize("make", [ConfusionMatrix, BoundaryIoU])
def test_one_hot_masks_are_refused(make: Any) -> None:
    labels = np.array([[[0, 2, 1], [1, 1, 0]]])
    hot = np.eye(3, dtype=np.uint8)[labels]
    for one in (hot, hot.transpose(0, 3, 1, 2), hot[0], hot[0].transpose(2, 0, 1)):
        metric = make(3)
        with pytest.raises(ValueError, match="one-hot" if make is ConfusionMatrix or one.ndim == 3 else "must be"):
            metric.update(one, one)
        assert metric.areas().truth.sum() == 0


def test_what_only_looks_one_hot_is_counted() -> None:
    """A batch of two masks of two classes, the one the other's complement; masks of zeros and ones of three classes."""
    first = np.array([[0, 1], [1, 0]])
    matrix = ConfusionMatrix(2)
    matrix.update(np.stack((first, 1 - first)), np.stack((first, 1 - first)))
    assert matrix.counts.tolist() == [[4, 0], [0, 4]]
    ones = np.ones((3, 2, 2), int)
    matrix = ConfusionMatrix(3)
    matrix.update(ones, ones)
    assert matrix.total == 12


@pytest.mark.parametrize("make", [ConfusionMatrix, BoundaryIoU])
def test_a_list_with_a_fault_counts_nothing(make: Any) -> None:
    good, metric = np.zeros((4, 4), int), make(3)
    for bad, error in ((np.zeros((4, 5), int), ValueError), (np.zeros((4, 4)), TypeError)):
        with pytest.raises(error):
            metric.update([good, bad], [good, good])
        assert metric.areas().truth.sum() == 0
    metric.update([good, good], [good, good])
    assert metric.areas().truth.sum() > 0


@pytest.mark.parametrize("place", ["preds", "target"])
def test_masked_arrays_are_refused(place: str) -> None:
    masked = np.ma.masked_equal(np.array([[0, 1], [1, 2]]), 2)
    plain = np.array([[0, 1], [1, 1]])
    both = {"preds": plain, "target": plain, place: masked}
    for metric in (ConfusionMatrix(3), BoundaryIoU(3)):
        with pytest.raises(TypeError, match=rf"{place} has 1 values that are masked out; .*filled\(255\)"):
            metric.update(**both)
    with pytest.raises(TypeError, match="masked out"):
        pspfast.unpad(np.ma.masked_equal(np.zeros((4, 4), np.int32), 0), pspfast.Letterbox.fit((4, 4), (4, 4)))
    with pytest.raises(TypeError, match="image has 48 values that are masked out"):
        pspfast.letterbox(np.ma.masked_equal(np.zeros((4, 4, 3), np.uint8), 0))
    whole = np.ma.masked_equal(plain, 7)  # nothing is masked out
    matrix = ConfusionMatrix(3)
    matrix.update(whole, whole)
    assert matrix.total == 4


@pytest.mark.parametrize("make", [ConfusionMatrix, BoundaryIoU])
def test_what_cannot_be_merged(make: Any) -> None:
    metric, good = make(3), make(3)
    good.update(np.zeros((4, 4), int), np.zeros((4, 4), int))
    for other in (None, "matrix", np.zeros((3, 3))):
        with pytest.raises(TypeError, match=f"got {type(other).__name__}"):
            metric.merge(good, other)
        assert metric.areas().truth.sum() == 0
