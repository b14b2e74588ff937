"""Equal to the libraries that we sit in. Each test is skipped where its library is not installed."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import pspfast
from pspfast import ConfusionMatrix, Letterbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Masks = tuple[NDArray[np.int64], NDArray[np.int64]]

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/integrations.md"
CLASSES = 7
NAMES = tuple(f"class {number}" for number in range(CLASSES))
MMSEG = "not installed: pip install mmsegmentation==1.2.2 mmcv-lite==2.1.0"
TORCHMETRICS = "not installed: pip install torchmetrics"


def pictures(*, invalid: bool = False) -> list[Masks]:
    """Class 5 is predicted only, class 6 never occurs, some labels are ignored; some are no class if asked for."""
    rng = np.random.default_rng(11)
    made = []
    for height in (33, 1, 50):
        target = rng.integers(0, 5, (height, 47))
        preds = np.where(rng.random(target.shape) < 0.7, target, rng.integers(0, 6, target.shape))
        target[rng.random(target.shape) < 0.1] = 255
        if invalid:
            target[rng.random(target.shape) < 0.1] = 9
            target[rng.random(target.shape) < 0.1] = -1
            preds[rng.random(target.shape) < 0.1] = 9
            preds[rng.random(target.shape) < 0.1] = 255
        made.append((preds, target))
    return made


def real_pictures(shared_data: Path) -> Iterator[Masks]:
    for name in (shared_data / "voc/VOC2012/ImageSets/Segmentation/val.txt").read_text().split():
        mask = np.asarray(Image.open(shared_data / "golden/preds" / f"{name}.png"), np.int64)
        target = np.asarray(Image.open(shared_data / "voc/VOC2012/SegmentationClass" / f"{name}.png"), np.int64)
        yield pspfast.unpad(mask, Letterbox.fit(target.shape, mask.shape)).astype(np.int64), target


def matrix_of(masks: list[Masks], classes: int = CLASSES, **options: Any) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes, **options)
    for preds, target in masks:
        matrix.update(preds, target)
    return matrix


# ---- the document ----


@pytest.mark.parametrize("library", ["mmseg", "torchmetrics"])
def test_the_documents_examples(library: str) -> None:
    pytest.importorskip(library, reason=MMSEG if library == "mmseg" else TORCHMETRICS)
    wanted = {"mmseg": "pspfast.integrations.mmsegmentation", "torchmetrics": "pspfast.integrations.torchmetrics"}
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (code,) = (block for block in blocks if wanted[library] in block)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "# " + done.stdout.splitlines()[-1] == code.splitlines()[-1]


@pytest.mark.parametrize(("module", "library"), [("mmsegmentation", "mmseg"), ("torchmetrics", "torchmetrics")])
def test_a_missing_library_is_named(module: str, library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import pspfast.integrations.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install torch" in done.stderr.splitlines()[-1]


def test_nothing_else_imports_them() -> None:
    code = (
        "import pkgutil, importlib, sys, pspfast\n"
        "for module in pkgutil.iter_modules(pspfast.__path__, 'pspfast.'): importlib.import_module(module.name)\n"
        "assert not {'torch', 'mmseg', 'mmengine', 'torchmetrics'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- mmsegmentation ----


@pytest.fixture
def mmseg() -> Any:
    """Its module of ``IoUMetric``."""
    pytest.importorskip("mmseg", reason=MMSEG)
    return importlib.import_module("mmseg.evaluation.metrics.iou_metric")


def both(mmseg: Any, classes: tuple[str, ...] = NAMES, **options: Any) -> tuple[Any, Any]:
    """Our metric and theirs, made from a configuration."""
    importlib.import_module("pspfast.integrations.mmsegmentation")
    made = []
    for name in ("PSPFastIoUMetric", "IoUMetric"):
        metric = mmseg.METRICS.build({"type": name, "prefix": "val", **options})
        metric.dataset_meta = {"classes": classes}
        made.append(metric)
    return made[0], made[1]


def samples(masks: list[Masks], convert: Any = lambda tensor: tensor) -> list[dict[str, Any]]:
    torch = pytest.importorskip("torch")
    return [
        {
            "pred_sem_seg": {"data": convert(torch.from_numpy(preds)[None])},
            "gt_sem_seg": {"data": torch.from_numpy(target)[None]},
            "img_path": f"folder/picture {number}.jpg",
        }
        for number, (preds, target) in enumerate(masks)
    ]


def assert_same_counts(ours: Any, theirs: Any) -> None:
    assert len(ours.results) == len(theirs.results)
    for mine, other in zip(ours.results, theirs.results, strict=True):
        for mine_area, other_area in zip(mine, other, strict=True):
            assert str(mine_area.dtype) == "torch.int64"
            assert mine_area.tolist() == other_area.tolist()


@pytest.mark.parametrize("invalid", [False, True])
@pytest.mark.parametrize("ignore_index", [255, 0, -1])
def test_mmsegmentations_counts(mmseg: Any, invalid: bool, ignore_index: int) -> None:
    ours, theirs = both(mmseg, ignore_index=ignore_index)
    for metric in (ours, theirs):
        metric.process({}, samples(pictures(invalid=invalid)))
    assert_same_counts(ours, theirs)


@pytest.mark.parametrize("kind", ["byte", "int", "float", "half", "bool"])
def test_masks_of_other_types(mmseg: Any, kind: str) -> None:
    """A head with one output channel gives its mask of 0 and 1 in the type of its scores."""
    masks = [(preds % 2, np.where(target == 255, 255, target % 2)) for preds, target in pictures()]
    if kind == "bool":  # labels are taken to the type of the prediction, by both
        masks = [(preds, target % 2) for preds, target in masks]
    ours, theirs = both(mmseg, ("no", "yes"))
    for metric in (ours, theirs):
        metric.process({}, samples(masks, lambda tensor: getattr(tensor, kind)()))
    assert_same_counts(ours, theirs)


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf])
def test_masks_of_fractions_are_refused(mmseg: Any, value: float) -> None:
    ours, _ = both(mmseg)
    (sample,) = samples(pictures()[:1], lambda tensor: tensor.float().fill_(value))
    with pytest.raises(ValueError, match="whole numbers"):
        ours.process({}, [sample])
    assert ours.results == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"iou_metrics": ["mDice"]},
        {"iou_metrics": "mFscore", "beta": 2},
        {"iou_metrics": ["mIoU", "mDice", "mFscore"]},
        {"iou_metrics": ["mIoU", "mFscore"], "nan_to_num": 0},
        {"nan_to_num": -1},
    ],
)
def test_mmsegmentations_scores_and_table(mmseg: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(mmseg, "print_log", lambda text, *_, **__: printed.append(text))
    results, tables = [], []
    for metric in both(mmseg, **options):
        metric.process({}, samples(pictures(invalid=True)))
        results.append(metric.evaluate(size=3))
        tables.append(printed[:])
        printed.clear()
        assert metric.results == []
    assert tables[0] == tables[1]
    assert list(results[0]) == list(results[1])
    # Theirs are float32: what both round to two decimals they do not hold exactly.
    assert list(results[0].values()) == pytest.approx([float(score) for score in results[1].values()], abs=1e-5)


def test_mmsegmentations_formula_in_float64(mmseg: Any) -> None:
    """Its own scores are float32; its formula in float64 on its own counts is what ours must be to 1e-12."""
    ours, theirs = both(mmseg)
    for metric in (ours, theirs):
        metric.process({}, samples(pictures()))
    names = ["mIoU", "mDice", "mFscore"]
    mine = ours.total_area_to_metrics(*(sum(areas) for areas in zip(*ours.results, strict=True)), names)
    totals = [sum(areas).double() for areas in zip(*theirs.results, strict=True)]
    exact = theirs.total_area_to_metrics(*totals, names)
    matrix = matrix_of(pictures())
    scores: dict[str, Any] = {
        "IoU": matrix.iou(),
        "Acc": matrix.accuracy(),
        "Dice": matrix.dice(),
        "aAcc": matrix.aacc(),
    }
    for name, values in exact.items():
        assert mine[name].dtype == np.float64
        assert np.allclose(mine[name], values, rtol=0, atol=1e-12, equal_nan=True)
        if name in scores:
            assert np.allclose(mine[name], scores[name], rtol=0, atol=1e-12, equal_nan=True)


def test_mmsegmentations_sums_lose_pixels_and_ours_do_not(mmseg: Any) -> None:
    """180,001 pixels of a class in each of VOC's 1449 pictures: beyond 2^24 float32 has even numbers only."""
    right = np.zeros((1, 180_001), np.int64)
    totals = []
    for metric in both(mmseg):
        metric.process({}, samples([(right, right)]))
        totals.append(sum(areas[3] for areas in metric.results * 1449))
    assert int(totals[0][0]) == 1449 * 180_001
    assert int(totals[1][0]) != 1449 * 180_001


def test_a_single_class(mmseg: Any) -> None:
    """The one difference: a histogram from 0 to 0 takes every value."""
    target, preds = np.array([[0, 0, 7, 255]]), np.array([[0, 3, 0, 0]])
    counts = []
    for metric in both(mmseg, ("all",)):
        metric.process({}, samples([(preds, target)]))
        counts.append([area.tolist() for area in metric.results[0]])
    assert counts == [[[1], [3], [2], [2]], [[1], [5], [3], [3]]]


class OnDevice:
    """A tensor that can do nothing but be copied to the CPU."""

    def __init__(self, tensor: Any, copies: list[OnDevice]) -> None:
        self._tensor, self._copies = tensor, copies

    def cpu(self) -> Any:
        self._copies.append(self)
        return self._tensor


def test_one_copy_of_each_mask(mmseg: Any, tmp_path: Path) -> None:
    copies: list[OnDevice] = []
    given = samples(pictures())
    for sample in given:
        for key in ("pred_sem_seg", "gt_sem_seg"):
            sample[key]["data"] = OnDevice(sample[key]["data"], copies)
    ours, _ = both(mmseg, output_dir=str(tmp_path))
    ours.process({}, given)
    assert len(copies) == len(set(map(id, copies))) == 2 * len(given)
    assert isinstance(given[0]["pred_sem_seg"]["data"], OnDevice)
    assert len(list(tmp_path.iterdir())) == len(given)


@pytest.mark.parametrize("format_only", [False, True])
@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_files_and_reduced_labels(mmseg: Any, tmp_path: Path, format_only: bool, reduce_zero_label: bool) -> None:
    """The dataset reduces labels (``LoadAnnotations``, 1.2.2, on bytes), the metric's files undo that."""
    masks = []
    for preds, target in pictures():
        labels = np.where(target == 255, 255, target + 1).astype(np.uint8)
        labels[:, :3] = 0
        reduced = labels.copy()
        reduced[reduced == 0] = 255
        reduced -= 1
        reduced[reduced == 254] = 255
        masks.append((preds, labels.astype(np.int64), reduced.astype(np.int64)))
    written, results = [], []
    for number, metric in enumerate(both(mmseg, format_only=format_only, output_dir=str(tmp_path / "0"))):
        metric.output_dir = str(tmp_path / str(number))
        Path(metric.output_dir).mkdir(exist_ok=True)
        given = samples([(preds, reduced if reduce_zero_label else labels) for preds, labels, reduced in masks])
        for sample in given:
            sample["reduce_zero_label"] = reduce_zero_label
            if format_only:
                del sample["gt_sem_seg"]
        metric.process({}, given)
        results.append([[area.tolist() for area in areas] for areas in metric.results])
        written.append({path.name: np.asarray(Image.open(path)) for path in Path(metric.output_dir).iterdir()})
        assert format_only == (metric.evaluate(size=3) == {})
    assert results[0] == results[1]
    assert written[0].keys() == written[1].keys() == {f"picture {number}.png" for number in range(3)}
    for number, (preds, _, _) in enumerate(masks):
        mine, theirs = (files[f"picture {number}.png"] for files in written)
        assert np.array_equal(mine, theirs)
        assert np.array_equal(mine.reshape(preds.shape), preds + reduce_zero_label)  # theirs turns a single row
    if reduce_zero_label and not format_only:
        matrix = matrix_of([(preds, labels) for preds, labels, _ in masks], reduce_zero_label=True)
        assert np.array_equal(np.sum(results[0], axis=0)[3], matrix.areas().truth)


def test_mmsegmentation_on_real_masks(mmseg: Any, shared_data: Path) -> None:
    masks = list(real_pictures(shared_data))
    ours, theirs = both(mmseg, tuple(map(str, range(21))))
    for metric in (ours, theirs):
        metric.process({}, samples(masks))
    assert_same_counts(ours, theirs)
    exact = theirs.total_area_to_metrics(*(sum(areas).double() for areas in zip(*theirs.results, strict=True)))
    mine, matrix = ours.total_area_to_metrics(*(sum(a) for a in zip(*ours.results, strict=True))), matrix_of(masks, 21)
    for name, wanted in (("IoU", matrix.iou()), ("Acc", matrix.accuracy()), ("aAcc", matrix.aacc())):
        assert np.allclose(mine[name], exact[name], rtol=0, atol=1e-12, equal_nan=True)
        assert np.allclose(mine[name], wanted, rtol=0, atol=1e-12, equal_nan=True)
    results = ours.evaluate(size=len(masks))
    assert results["val/mIoU"] == round(100 * matrix.miou(), 2)
    assert results["val/mIoU"] == pytest.approx(float(theirs.evaluate(size=len(masks))["val/mIoU"]), abs=1e-5)


# ---- torchmetrics ----


@pytest.fixture
def scores() -> Any:
    """Our metric's class."""
    pytest.importorskip("torchmetrics", reason=TORCHMETRICS)
    return importlib.import_module("pspfast.integrations.torchmetrics").SegmentationScores


def tensors(masks: Masks) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    return torch.from_numpy(masks[0]), torch.from_numpy(masks[1])


def filled(scores: Any, masks: list[Masks], classes: int = CLASSES, **options: Any) -> Any:
    metric = scores(classes, **options)
    for pair in masks:
        metric.update(*tensors(pair))
    return metric


def assert_scores(values: dict[str, Any], matrix: ConfusionMatrix, absent: Any = "nan") -> None:
    """Those of a matrix, in float64."""
    wanted: dict[str, Any] = {
        "miou": matrix.miou(absent),
        "macc": matrix.macc(absent),
        "aacc": matrix.aacc(),
        "mdice": matrix.mdice(absent),
        "fwiou": matrix.fwiou(),
        "kappa": matrix.kappa(),
        "iou": matrix.iou(absent),
        "accuracy": matrix.accuracy(absent),
        "precision": matrix.precision(absent),
        "dice": matrix.dice(absent),
    }
    assert values.keys() == wanted.keys()
    for name, value in values.items():
        assert str(value.dtype) == "torch.float64"
        assert np.array_equal(value.numpy(), wanted[name], equal_nan=True), name


def assert_torchmetrics_equal(
    values: dict[str, Any], matrix: ConfusionMatrix, masks: list[Masks], classes: int
) -> None:
    """With ``absent="zero"``. torchmetrics computes in float32, so its scores are the limit; its counts are exact."""
    theirs = importlib.import_module("torchmetrics.classification")
    options: dict[str, Any] = {"num_classes": classes, "ignore_index": 255, "validate_args": False}
    metrics = {
        "counts": theirs.MulticlassConfusionMatrix(**options),
        "iou": theirs.MulticlassJaccardIndex(average="none", **options),
        "accuracy": theirs.MulticlassAccuracy(average="none", **options),
        "precision": theirs.MulticlassPrecision(average="none", **options),
        "dice": theirs.MulticlassF1Score(average="none", **options),
        "aacc": theirs.MulticlassAccuracy(average="micro", **options),
        "kappa": theirs.MulticlassCohenKappa(**options),
    }
    for pair in masks:
        for metric in metrics.values():
            metric.update(*tensors(pair))
    assert np.array_equal(metrics.pop("counts").compute().numpy(), matrix.counts)
    for name, metric in metrics.items():
        assert np.allclose(values[name].numpy(), metric.compute().double().numpy(), rtol=1e-6, atol=1e-7), name


def test_torchmetrics_on_random_masks(scores: Any) -> None:
    metric = filled(scores, pictures(), absent="zero")
    assert_torchmetrics_equal(metric.compute(), metric.confusion_matrix, pictures(), CLASSES)


def test_torchmetrics_on_real_masks(scores: Any, shared_data: Path) -> None:
    masks = list(real_pictures(shared_data))
    metric = filled(scores, masks, 21, absent="zero")
    assert_scores(metric.compute(), matrix_of(masks, 21), "zero")
    assert_torchmetrics_equal(metric.compute(), metric.confusion_matrix, masks, 21)


@pytest.mark.parametrize("absent", ["nan", "zero", "one", "skip_no_truth"])
@pytest.mark.parametrize("invalid", [False, True])
def test_scores_are_those_of_a_matrix(scores: Any, absent: str, invalid: bool) -> None:
    masks = pictures(invalid=invalid)
    metric, matrix = filled(scores, masks, absent=absent), matrix_of(masks)
    assert_scores(metric.compute(), matrix, absent)
    assert np.array_equal(metric.confusion_matrix.counts, matrix.counts)
    for name in ("total", "ignored", "invalid_labels"):
        assert getattr(metric.confusion_matrix, name) == getattr(matrix, name)


def test_label_rules(scores: Any) -> None:
    for options in (
        {"ignore_index": None},
        {"ignore_index": 0},
        {"label_map": {0: 1, 1: 0}},
        {"reduce_zero_label": True, "label_map": {2: 0}},
    ):
        assert_scores(filled(scores, pictures(), **options).compute(), matrix_of(pictures(), **options))


@pytest.mark.parametrize("classes", [CLASSES, 256, 257, 300])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
def test_class_scores(scores: Any, classes: int, kind: str) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(1)
    logits = torch.rand((2, classes, 9, 11), generator=generator).to(getattr(torch, kind)).requires_grad_()
    target = torch.randint(0, classes, (2, 9, 11), generator=generator)
    preds = logits.argmax(dim=1)
    for shape in ((2, 9, 11), (2, 99)):
        metric = scores(classes)
        metric.update(logits.reshape(2, classes, *shape[1:]), target.reshape(shape))
        assert_scores(metric.compute(), matrix_of([(preds.numpy(), target.numpy())], classes))


@pytest.mark.parametrize(
    ("preds", "target", "error", "text"),
    [
        ((2, 5, 4, 3), (2, 4, 3), ValueError, r"class scores must be \(N, 7, ...\) .* got \(2, 5, 4, 3\)"),
        ((7, 4, 3), (4, 3), ValueError, "class scores must be"),
        ((2, 4, 3), (2, 4, 3), ValueError, "class scores must be"),
        ((7,), (), ValueError, "class scores must be"),
        ((2, 7, 4, 3), (2, 3, 4), ValueError, "same shape"),
    ],
)
def test_class_scores_of_the_wrong_shape(
    scores: Any, preds: tuple[int, ...], target: tuple[int, ...], error: type[Exception], text: str
) -> None:
    torch = pytest.importorskip("torch")
    metric = scores(CLASSES)
    with pytest.raises(error, match=text):
        metric.update(torch.zeros(preds), torch.zeros(target, dtype=torch.int64))
    with pytest.raises(TypeError, match="target must hold integers"):
        metric.update(torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    assert int(metric.pixels.sum()) == 0


def test_arguments(scores: Any) -> None:
    for options, error in (({"absent": "none"}, ValueError), ({"ignore_index": 0.5}, TypeError)):
        with pytest.raises(error):
            scores(CLASSES, **options)
    with pytest.raises(ValueError, match="num_classes must be"):
        scores(0)
    scalars = filled(scores, pictures(), per_class=False).compute()
    assert list(scalars) == ["miou", "macc", "aacc", "mdice", "fwiou", "kappa"]
    assert {value.ndim for value in scalars.values()} == {0}


def test_forward_reset_clone_and_state(scores: Any) -> None:
    masks = pictures()
    metric = scores(CLASSES)
    for pair in masks:
        assert_scores(metric(*tensors(pair)), matrix_of([pair]))
    assert_scores(metric.compute(), matrix_of(masks))
    for other in (metric.clone(), pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)):
        other.update(*tensors(masks[0]))
        assert_scores(other.compute(), matrix_of([*masks, masks[0]]))
        assert_scores(metric.compute(), matrix_of(masks))
    assert metric.state_dict() == {}
    metric.persistent(True)
    again = scores(CLASSES)
    again.persistent(True)
    again.load_state_dict(metric.state_dict())
    again.update(*tensors(masks[0]))
    assert_scores(again.compute(), matrix_of([*masks, masks[0]]))
    for change in (metric.half, metric.double, lambda: metric.set_dtype("torch.HalfTensor")):
        change()
        assert str(metric.pixels.dtype) == "torch.int64"
    metric.reset()
    metric.update(*tensors(masks[1]))
    assert_scores(metric.compute(), matrix_of([masks[1]]))


def test_in_a_collection(scores: Any) -> None:
    collection = importlib.import_module("torchmetrics").MetricCollection([scores(CLASSES, per_class=False)])
    collection.update(*tensors(pictures()[0]))
    assert float(collection.compute()["miou"]) == matrix_of(pictures()[:1]).miou()


RULES: list[dict[str, Any]] = [
    {"ignore_index": 2}, {"ignore_index": None}, {"label_map": {2: 1}}, {"label_map": {2: 255}},
    {"label_map": {0: 1, 1: 0}}, {"reduce_zero_label": True}, {"ignore_index": 100_001},
]  # fmt: skip


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("first_label", [1, 255])
def test_metrics_of_other_rules_in_one_collection(scores: Any, rules: dict[str, Any], first_label: int) -> None:
    """A first batch that both count alike does not make them one compute group."""
    import torch

    ones = torch.ones(1, 2, 2, dtype=torch.long)
    second = (torch.tensor([[[1, 1], [2, 0]]]), torch.tensor([[[1, 2], [2, 0]]]))
    others = {"ignore_index": 100_000} if rules.get("ignore_index") == 100_001 else {}
    made = {"plain": scores(3, per_class=False, **others), "other": scores(3, per_class=False, **rules)}
    alone = {name: metric.clone() for name, metric in made.items()}
    collection = importlib.import_module("torchmetrics").MetricCollection(made)
    for batch in ((ones, ones * first_label), second, second):
        collection.update(*batch)
        for metric in alone.values():
            metric.update(*batch)
    found = collection.compute()
    for name, metric in alone.items():
        assert float(found[f"{name}_miou"]) == float(metric.compute()["miou"]), name
    assert len(collection.compute_groups) == 2


def test_metrics_of_the_same_rules_count_once(scores: Any) -> None:
    made = {"nan": scores(CLASSES, per_class=False), "zero": scores(CLASSES, per_class=False, absent="zero")}
    collection = importlib.import_module("torchmetrics").MetricCollection(made)
    for pair in pictures():
        collection.update(*tensors(pair))
    assert len(collection.compute_groups) == 1
    assert float(collection.compute()["zero_miou"]) == matrix_of(pictures()).miou("zero")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_classes": CLASSES + 1}, f'"num_classes": {CLASSES + 1}'),
        ({"num_classes": CLASSES - 1}, f'"num_classes": {CLASSES - 1}'),
        ({"num_classes": CLASSES, "ignore_index": 0}, '"ignore_index": 0'),
        ({"num_classes": CLASSES, "label_map": {1: 2}}, '"label_map": [[1, 2]]'),
        ({"num_classes": CLASSES, "reduce_zero_label": True}, '"reduce_zero_label": true'),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_counts_by_other_rules_are_not_loaded(scores: Any, options: dict[str, Any], told: str, strict: bool) -> None:
    metric, other = filled(scores, pictures()), scores(**options)
    metric.persistent(True)
    other.persistent(True)
    with pytest.raises(RuntimeError, match="counts by other rules cannot be gone on with") as raised:
        other.load_state_dict(metric.state_dict(), strict=strict)
    assert told in str(raised.value)
    assert other.confusion_matrix.total == 0


def test_counts_of_before_rules_were_in_the_state(scores: Any) -> None:
    metric, other = filled(scores, pictures()), scores(CLASSES)
    metric.persistent(True)
    other.persistent(True)
    state = metric.state_dict()
    del state["rules"]
    other.load_state_dict(state)
    assert other.confusion_matrix.counts.tolist() == metric.confusion_matrix.counts.tolist()
    fewer = scores(CLASSES - 1)
    fewer.persistent(True)
    with pytest.raises(RuntimeError, match=f"it counts {CLASSES} classes, this metric {CLASSES - 1}"):
        fewer.load_state_dict(state)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_scores_without_a_largest_are_no_class(scores: Any, kind: str) -> None:
    import torch

    made = torch.zeros(1, 3, 2, 3, dtype=getattr(torch, kind))
    made[0, 2] = 1
    made[0, 1, 0, 0] = torch.nan
    made[0, :2, 0, 1] = torch.inf
    made[0, :, 0, 2] = -torch.inf
    made[0, 0, 1, 0] = torch.inf  # the only one: the largest
    metric = scores(3)
    metric.update(made, torch.full((1, 2, 3), 2))
    assert metric.confusion_matrix.invalid_predictions.tolist() == [0, 0, 3]
    assert metric.confusion_matrix.counts.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 2]]


def test_arrays_are_no_tensors(scores: Any) -> None:
    import torch

    metric, mask = scores(3), torch.zeros(1, 2, 2, dtype=torch.long)
    for preds, target in ((mask.numpy(), mask), (mask, mask.numpy()), (mask.tolist(), mask)):
        with pytest.raises(TypeError, match="must be a tensor, got"):
            metric.update(preds, target)


def test_one_hot_tensors_are_refused(scores: Any) -> None:
    import torch

    hot = torch.nn.functional.one_hot(torch.tensor([[[0, 2], [1, 1]]]), 3)
    metric = scores(3)
    for one, axis in ((hot, 3), (hot.movedim(-1, 1), 1)):
        with pytest.raises(ValueError, match=rf"one-hot.*axis {axis}.*argmax\({axis}\)"):
            metric.update(one, one)
    assert metric.confusion_matrix.total == 0


def test_counts_beyond_float32(scores: Any) -> None:
    metric = filled(scores, pictures())
    metric.pixels *= 1 << 40
    assert np.array_equal(metric.confusion_matrix.counts, matrix_of(pictures()).counts << 40)


def add_up(rank: int, folder: str) -> None:
    """What each of two processes does: count its share, then compute the scores of both."""
    import torch.distributed as dist

    from pspfast.integrations.torchmetrics import SegmentationScores

    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    metric = filled(SegmentationScores, pictures(invalid=True)[rank::2])
    alone = metric.confusion_matrix.total
    values = metric.compute()
    with metric.sync_context():
        total = metric.confusion_matrix.total
    assert metric.confusion_matrix.total == alone
    found = {"alone": alone, "total": total, "values": {name: value.tolist() for name, value in values.items()}}
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.usefixtures("scores")
def test_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    importlib.import_module("torch.multiprocessing").spawn(add_up, (str(tmp_path),), nprocs=2)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    matrix = matrix_of(pictures(invalid=True))
    assert found[0]["total"] == found[1]["total"] == matrix.total == found[0]["alone"] + found[1]["alone"]
    for each in found:
        assert_scores({name: torch.tensor(v, dtype=torch.float64) for name, v in each["values"].items()}, matrix)
