"""Data sets: the facts of each against mmsegmentation's, where files are, and scores from pictures to tables."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest
from PIL import Image

from pspfast import Letterbox, unpad
from pspfast.cli.commands.compare import main as compare_command
from pspfast.cli.commands.ledger import main as ledger_command
from pspfast.cli.commands.oracle import main as oracle_command
from pspfast.cli.commands.postprocess import main as postprocess_command
from pspfast.cli.commands.preprocess import main as preprocess_command
from pspfast.datasets import (
    DATASETS,
    VOC,
    DataSet,
    data_set,
    find_labels,
    find_picture,
    label_folder_beside,
    labels_in,
    palette,
    pictures_in,
    places,
)
from pspfast.formats.bins import Manifest
from pspfast.formats.ledger import Ledger, Subject
from pspfast.formats.result import Result
from pspfast.stages.postprocessing import postprocess

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CANVAS = (48, 64)
SIZES = ((30, 50), (96, 128), (48, 64), (41, 17))
MMSEG = "not installed: pip install mmsegmentation==1.2.2 mmcv-lite==2.1.0"
SCORED = [name for name in DATASETS if name != "folder"]

# Labels in the files, by class, as cityscapesScripts and mmsegmentation's converter have them.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
COCO_ABSENT = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)


# ---- facts ----


def mmseg_file(path: str) -> ast.Module:
    """A source file of mmsegmentation, which need not be importable (it asks for all of mmcv)."""
    found = importlib.util.find_spec("mmseg")
    if found is None or found.origin is None:
        pytest.skip(MMSEG)
    file = Path(found.origin).parent / path
    assert file.exists(), file
    return ast.parse(file.read_text(encoding="utf-8"))


def mmseg_meta(module: str) -> dict[str, Any]:
    for node in ast.walk(mmseg_file(f"datasets/{module}.py")):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            return {str(one.arg): ast.literal_eval(one.value) for one in node.value.keywords}
    raise AssertionError(module)


@pytest.mark.parametrize(
    ("name", "module", "count"),
    [
        ("voc", "voc", 21),
        ("ade20k", "ade", 150),
        ("cityscapes", "cityscapes", 19),
        ("cityscapes-train-ids", "cityscapes", 19),
        ("coco-stuff164k", "coco_stuff", 171),
        ("coco-stuff164k-train-ids", "coco_stuff", 171),
    ],
)
def test_names_and_colours_are_mmsegmentations(name: str, module: str, count: int) -> None:
    ours, theirs = DATASETS[name], mmseg_meta(module)
    assert len(ours.classes) == count
    assert list(ours.classes) == [one.strip() for one in theirs["classes"]]  # ADE20K has a "bed "
    assert ours.palette == bytes(np.array(theirs["palette"], np.uint8))


def test_file_names_are_mmsegmentations() -> None:
    for name, module in (("cityscapes-train-ids", "cityscapes"), ("coco-stuff164k-train-ids", "coco_stuff")):
        text = ast.dump(mmseg_file(f"datasets/{module}.py"))
        assert f"'{DATASETS[name].label_suffix}'" in text
        assert not DATASETS[name].picture_suffix or f"'{DATASETS[name].picture_suffix}'" in text


def test_coco_stuff_ids_are_those_of_the_converter() -> None:
    for node in mmseg_file(".mim/tools/dataset_converters/coco_stuff164k.py").body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            theirs = ast.literal_eval(node.value)
            break
    del theirs[255]  # stays what it is
    ours = dict(DATASETS["coco-stuff164k"].label_map)
    assert {label: new for label, new in ours.items() if new != 255} == theirs
    assert sorted(ours) == list(range(182))
    assert tuple(label for label, new in sorted(ours.items()) if new == 255) == COCO_ABSENT


def test_cityscapes_ids() -> None:
    ours = DATASETS["cityscapes"].label_map
    assert sorted(ours) == list(range(34))
    assert tuple(label for label in range(34) if ours[label] != 255) == CITYSCAPES_IDS
    assert [ours[label] for label in CITYSCAPES_IDS] == list(range(19))


def test_voc_is_what_it_was() -> None:
    assert DATASETS["voc"] is VOC
    assert VOC.mask_palette() == palette()
    assert VOC.palette == palette(21)
    assert (VOC.ignore_index, dict(VOC.label_map), VOC.reduce_zero_label) == (255, {}, False)


@pytest.mark.parametrize("name", DATASETS)
def test_records(name: str) -> None:
    one = data_set(name)
    assert one.name == name and one.title
    assert data_set(name.upper().replace("-", "_")) is one
    assert len(one.mask_palette()) == 768
    assert one.mask_palette().startswith(one.palette)
    assert one.mask_palette()[-3:] == bytes.fromhex("e0e0c0")
    assert set(one.label_map.values()) <= {*range(len(one.classes)), 255}
    assert hash(one) == hash(replace(one))


def test_colours_follow_the_classes() -> None:
    city = DATASETS["cityscapes"]
    fewer, more = city.with_classes(("road", "rest")), city.with_classes(tuple(map(str, range(300))))
    assert fewer.palette == city.palette[:6]
    assert more.palette[:57] == city.palette and more.palette[57:] == palette(300)[57:]
    assert len(more.mask_palette()) == 768
    with pytest.raises(ValueError, match="yard: 2 classes and 5 bytes of colours"):
        DataSet(name="yard", title="", classes=("a", "b"), palette=bytes(5))


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"no data set is called 'pascal'; there are voc, ade20k, .*, folder"):
        data_set("pascal")
    assert len(DATASETS) == len(list(DATASETS)) and "pascal" not in DATASETS


def test_tables_are_loaded_when_asked_for() -> None:
    code = (
        "import sys, pspfast; assert 'pspfast.datasets' not in sys.modules\n"
        "import pspfast.cli.options\n"
        "tables = {'ade20k', 'cityscapes', 'coco_stuff'}\n"
        "assert not {f'pspfast.datasets.{one}' for one in tables} & sys.modules.keys()\n"
        "from pspfast.datasets import DATASETS; DATASETS['cityscapes']\n"
        "assert 'pspfast.datasets.cityscapes' in sys.modules and 'pspfast.datasets.ade20k' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- files ----


@pytest.mark.parametrize(
    ("name", "split", "pictures", "labels", "ids"),
    [
        ("voc", None, "JPEGImages", "SegmentationClass", "ImageSets/Segmentation/val.txt"),
        ("voc", "trainval", "JPEGImages", "SegmentationClass", "ImageSets/Segmentation/trainval.txt"),
        ("voc", "mine", "JPEGImages", "SegmentationClass", "ImageSets/Segmentation/mine.txt"),
        ("ade20k", None, "images/validation", "annotations/validation", None),
        ("ade20k", "train", "images/training", "annotations/training", None),
        ("cityscapes", None, "leftImg8bit/val", "gtFine/val", None),
        ("cityscapes-train-ids", "test", "leftImg8bit/test", "gtFine/test", None),
        ("coco-stuff164k", "val", "images/val2017", "annotations/val2017", None),
        ("coco-stuff164k-train-ids", "train", "images/train2017", "annotations/train2017", None),
        ("folder", None, "images", "labels", None),
    ],
)
def test_places(name: str, split: str | None, pictures: str, labels: str, ids: str | None, tmp_path: Path) -> None:
    found = places(DATASETS[name], tmp_path, split)
    assert found.pictures == str(tmp_path / pictures)
    assert found.labels == str(tmp_path / labels)
    assert found.split == (None if ids is None else str(tmp_path / ids))
    assert found.classes == (str(tmp_path / "classes.txt") if name == "folder" else None)
    assert label_folder_beside(found.pictures, DATASETS[name]) == found.labels


def test_a_file_as_split(tmp_path: Path) -> None:
    ids = tmp_path / "some.txt"
    ids.write_text("a\n")
    found = places(DATASETS["cityscapes"], tmp_path, str(ids))
    assert (found.pictures, found.split) == (str(tmp_path / "leftImg8bit/val"), str(ids))
    with pytest.raises(ValueError, match="Cityscapes has the splits val, train, test, and there is no file minival"):
        places(DATASETS["cityscapes"], tmp_path, "minival")
    with pytest.raises(ValueError, match="there are no splits, and there is no file val"):
        places(DATASETS["folder"], tmp_path, "val")
    with pytest.raises(NotADirectoryError, match="no such folder with ADE20K"):
        places(DATASETS["ade20k"], tmp_path / "ade")


def test_files_of_cityscapes(tmp_path: Path) -> None:
    city, trained = DATASETS["cityscapes"], DATASETS["cityscapes-train-ids"]
    one = "frankfurt/frankfurt_000000_000294"
    for folder in ("aachen", "frankfurt", ".trash"):
        (tmp_path / folder).mkdir()
    for name in (
        f"{one}_leftImg8bit.png", f"{one}_gtFine_labelIds.png", f"{one}_gtFine_color.png",
        f"{one}_gtFine_polygons.json", f"{one}_gtFine_instanceIds.png",
        "aachen/b_leftImg8bit.png", "aachen/b_gtFine_labelTrainIds.png",
        "aachen/._b_leftImg8bit.png", "aachen/_leftImg8bit.png", ".trash/c_leftImg8bit.png", "b.png",
    ):  # fmt: skip
        (tmp_path / name).touch()
    assert pictures_in(tmp_path, city) == ["aachen/b", one]
    assert labels_in(tmp_path, city) == [(one, str(tmp_path / f"{one}_gtFine_labelIds.png"))]
    assert labels_in(str(tmp_path), trained) == [("aachen/b", str(tmp_path / "aachen/b_gtFine_labelTrainIds.png"))]
    for name in (one, f"{one}_leftImg8bit.png"):
        assert find_picture(str(tmp_path), name, city) == f"{one}_leftImg8bit.png"
        assert find_labels(str(tmp_path), name, city) == str(tmp_path / f"{one}_gtFine_labelIds.png")
        assert find_labels(str(tmp_path), name, trained) == str(tmp_path / f"{one}_gtFine_labelTrainIds.png")


def test_files_of_coco_stuff(tmp_path: Path) -> None:
    """The converter writes its labels beside those that it reads."""
    for name in ("000000000139.png", "000000000139_labelTrainIds.png", "000000000285.png", "000000000139.jpg"):
        (tmp_path / name).touch()
    raw, trained = DATASETS["coco-stuff164k"], DATASETS["coco-stuff164k-train-ids"]
    assert [name for name, _ in labels_in(tmp_path, raw)] == ["000000000139", "000000000285"]
    assert [name for name, _ in labels_in(tmp_path, trained)] == ["000000000139"]
    for name in ("000000000139", "000000000139.jpg"):
        assert find_picture(str(tmp_path), name, raw) == "000000000139.jpg"
        assert find_labels(str(tmp_path), name, raw) == str(tmp_path / "000000000139.png")
        assert find_labels(str(tmp_path), name, trained) == str(tmp_path / "000000000139_labelTrainIds.png")


# ---- from pictures to scores ----


@dataclass
class Tree:
    """A data set of made-up pictures, and what a network would have predicted of them."""

    root: Path
    kind: DataSet
    ids: tuple[str, ...]
    labels: dict[str, NDArray[np.uint8]]  # as in the files, by picture
    masks: dict[str, NDArray[np.int32]]  # letterboxed

    @property
    def asked(self) -> tuple[str, ...]:
        return (f"--dataset={self.kind.name}", f"--root={self.root}", "--quiet")

    def preprocess(self, *options: str) -> Manifest:
        height, width = map(str, CANVAS)
        assert (
            call(preprocess_command, *self.asked, f"--bin-folder-path={self.bins}", "--size", height, width, *options)
            == 0
        )
        return Manifest.read(self.bins)

    def dump(self) -> None:
        self.dumps.mkdir()
        for name, mask in self.masks.items():
            mask.tofile(self.dumps / f"{name}_0.bin")

    def postprocess(self, *options: str) -> int:
        files = (f"--result-file={self.root / 'result.txt'}", f"--json={self.root / 'result.json'}")
        sizes = (f"--net-input-height={CANVAS[0]}", f"--net-input-width={CANVAS[1]}")
        return call(postprocess_command, *self.asked, f"--bin-data-path={self.dumps}", *sizes, *files, *options)

    def result(self) -> Result:
        return Result.read(self.root / "result.json")

    @property
    def bins(self) -> Path:
        return self.root / "bins"

    @property
    def dumps(self) -> Path:
        return self.root / "dumps"

    def predictions(self) -> dict[str, NDArray[Any]]:
        boxes = {name: Letterbox.fit(labels.shape, CANVAS) for name, labels in self.labels.items()}
        return {name: unpad(self.masks[name], box) for name, box in boxes.items()}


def call(command: click.Command, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        command.main(list(arguments), standalone_mode=False)
    assert isinstance(ended.value.code, int)
    return ended.value.code


IDS = {
    "voc": tuple(f"2007_00003{number}" for number in range(4)),
    "ade20k": tuple(f"ADE_val_0000000{number}" for number in range(1, 5)),
    "cityscapes": tuple(f"{city}/{city}_00000{n}_000294" for city in ("frankfurt", "lindau") for n in range(2)),
    "coco-stuff164k": tuple(f"00000000{number}" for number in ("0139", "0285", "0632", "0724")),
    "folder": ("north/a", "b", "north/c.v2", "south/d"),
}
RAW = {
    "voc": (*range(21), 255),
    "ade20k": tuple(range(151)),
    "cityscapes": tuple(range(34)),
    "cityscapes-train-ids": (*range(19), 255),
    "coco-stuff164k": (*(label for label in range(182) if label not in COCO_ABSENT), 255),
    "coco-stuff164k-train-ids": (*range(171), 255),
    "folder": (0, 1, 2, 255),
}
FOLDER_CLASSES = ("lawn", "garden shed", "Vélo")


def draw(root: Path, name: str) -> Tree:
    """Files as the authors of the data set name them; nothing of this is taken from the package but the class count."""
    rng = np.random.default_rng(7)
    base = name.removesuffix("-train-ids")
    pictures, labels, endings = {
        "voc": ("JPEGImages", "SegmentationClass", (".jpg", ".png")),
        "ade20k": ("images/validation", "annotations/validation", (".jpg", ".png")),
        "cityscapes": ("leftImg8bit/val", "gtFine/val", ("_leftImg8bit.png", "_gtFine_labelIds.png")),
        "coco-stuff164k": ("images/val2017", "annotations/val2017", (".jpg", ".png")),
        "folder": ("images", "labels", (".png", ".png")),
    }[base]
    if name == "cityscapes-train-ids":
        endings = (endings[0], "_gtFine_labelTrainIds.png")
    if name == "coco-stuff164k-train-ids":
        endings = (endings[0], "_labelTrainIds.png")
    kind = DATASETS[name] if name != "folder" else DATASETS[name].with_classes(FOLDER_CLASSES)
    tree = Tree(root, kind, IDS[base], {}, {})
    for one, (height, width) in zip(tree.ids, SIZES, strict=True):
        key = one.rsplit("/", 1)[-1].split(".")[0]
        shown = root / pictures / f"{one}{endings[0]}"
        truth = root / labels / f"{one}{endings[1]}"
        for file in (shown, truth):
            file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(shown)
        labels_of = np.array(RAW[name], np.uint8)
        tree.labels[key] = rng.choice(labels_of, (height, width))
        tree.masks[key] = rng.integers(0, len(kind.classes), CANVAS, np.int32)
        tree.masks[key][: CANVAS[0] // 2] = 2  # right about most of the upper half
        tree.labels[key][: height // 2] = labels_of[as_classes(name, labels_of) == 2]
        Image.fromarray(tree.labels[key]).save(truth)
    if name == "voc":
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(tree.ids))
    if name == "folder":
        (root / "classes.txt").write_text("\n".join(FOLDER_CLASSES), encoding="utf-8")
    return tree


def as_classes(name: str, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What mmsegmentation trains and scores with: its loader's rules, and its converters'."""
    if name == "ade20k":  # mmseg/datasets/transforms/loading.py
        shifted: NDArray[np.uint8] = np.where(labels == 0, np.uint8(255), labels) - np.uint8(1)
        shifted[shifted == 254] = 255
        return shifted
    of = {"cityscapes": CITYSCAPES_IDS, "coco-stuff164k": [one for one in range(182) if one not in COCO_ABSENT]}
    if name in of:
        classes = np.full(labels.shape, 255, np.uint8)
        for new, old in enumerate(of[name]):
            classes[labels == old] = new
        return classes
    return labels


def counted(tree: Tree) -> NDArray[np.int64]:
    """Intersections, labelled and predicted pixels by class, as mmsegmentation's IoUMetric adds them up."""
    areas = np.zeros((3, len(tree.kind.classes)), np.int64)
    for key, prediction in tree.predictions().items():
        truth = as_classes(tree.kind.name, tree.labels[key])
        chosen = truth != 255
        hit, label = prediction[chosen], truth[chosen]
        for row, values in enumerate((hit[hit == label], label, hit)):
            areas[row] += np.bincount(values, minlength=len(tree.kind.classes))
    return areas


@pytest.mark.parametrize("name", DATASETS)
def test_pictures_to_scores(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = draw(tmp_path, name)
    manifest = tree.preprocess()
    found = [picture for one in manifest.bins for picture in one.pictures]
    assert [picture.name.removesuffix(".jpg").removesuffix(".png") for picture in found] == (
        list(tree.ids) if name != "folder" else sorted(tree.ids)
    )
    assert sorted(path.stem for path in tree.bins.glob("*.bin")) == sorted(tree.masks)
    assert {picture.geometry.picture for picture in found} == set(SIZES)

    tree.dump()
    assert tree.postprocess(f"--manifest={tree.bins}", f"--save-masks={tmp_path / 'masks'}") == 0
    result = tree.result()
    areas = counted(tree)
    assert result.pictures == len(tree.ids) and not (result.left_out or result.remarks or result.strays)
    assert result.classes == tree.kind.classes
    assert result.areas.intersection.tolist() == areas[0].tolist()
    assert result.areas.truth.tolist() == areas[1].tolist()
    assert result.areas.predicted.tolist() == areas[2].tolist()
    assert (result.invalid_labels, result.invalid_predictions) == (0, 0)
    with np.errstate(invalid="ignore"):
        iou = areas[0] / (areas[1] + areas[2] - areas[0])
    assert result.summary()["mIoU"] == pytest.approx(np.nanmean(iou), abs=1e-12)
    assert f"| {tree.kind.classes[0]} " in capsys.readouterr().out

    source = dict(result.source)
    assert source["label_map"] == {str(old): new for old, new in tree.kind.label_map.items()}
    assert source["reduce_zero_label"] == (name == "ade20k")
    assert source["ignore_index"] == 255

    for key, prediction in tree.predictions().items():
        with Image.open(tmp_path / "masks" / f"{key}.png") as image:
            assert np.array_equal(np.asarray(image), prediction)
            colours = bytes(image.getpalette() or [])
        assert colours[: len(tree.kind.palette)] == tree.kind.palette

    before = (tmp_path / "result.json").read_bytes()  # without the manifest, sizes come from the pictures
    assert tree.postprocess() == 0
    assert (tmp_path / "result.json").read_bytes() == before


@pytest.mark.parametrize("name", SCORED)
def test_scores_are_mmsegmentations(name: str, tmp_path: Path) -> None:
    pytest.importorskip("mmseg", reason=MMSEG)
    torch = pytest.importorskip("torch", reason="not installed: pip install torch")
    metric = importlib.import_module("mmseg.evaluation.metrics.iou_metric").IoUMetric
    tree = draw(tmp_path, name)
    tree.dump()
    assert tree.postprocess() == 0
    parts = [
        metric.intersect_and_union(
            torch.from_numpy(prediction),
            torch.from_numpy(as_classes(name, tree.labels[key])),
            len(tree.kind.classes),
            255,
        )
        for key, prediction in tree.predictions().items()
    ]
    totals = [sum(column) for column in zip(*parts, strict=True)]
    theirs = metric.total_area_to_metrics(*totals, ["mIoU"])
    assert tree.result().summary()["aAcc"] == pytest.approx(float(theirs["aAcc"]), abs=1e-6)
    assert tree.result().by_class()["IoU"].tolist() == pytest.approx(theirs["IoU"].tolist(), abs=1e-6, nan_ok=True)
    assert tree.result().by_class()["Acc"].tolist() == pytest.approx(theirs["Acc"].tolist(), abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("base", ["cityscapes", "coco-stuff164k"])
def test_either_kind_of_labels(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same data set, converted in place as its tools do."""
    tree = draw(tmp_path, base)
    tree.dump()
    assert tree.postprocess() == 0
    before = tree.result()
    trained = replace(tree, kind=DATASETS[f"{base}-train-ids"])
    assert trained.postprocess() == 2
    assert f"TrainIds.png) in this folder; those there are of --dataset {base}\n" in capsys.readouterr().err
    for name, path in labels_in(label_folder_beside(places(tree.kind, tmp_path).pictures, tree.kind), tree.kind):
        labels = tree.labels[name.rsplit("/", 1)[-1]]
        written = path.removesuffix(tree.kind.label_suffix) + trained.kind.label_suffix
        Image.fromarray(as_classes(base, labels)).save(written)
    assert trained.postprocess() == 0
    assert trained.result().areas.truth.tolist() == before.areas.truth.tolist()
    assert trained.result().areas.intersection.tolist() == before.areas.intersection.tolist()
    assert tree.postprocess() == 0  # and the others are still found
    assert tree.result().to_json() == before.to_json()


@pytest.mark.parametrize("name", DATASETS)
def test_oracle(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels as the network lose nothing on the exact way back, whatever their rules; none of them is no class."""
    tree = draw(tmp_path, name)
    assert call(oracle_command, *tree.asked, "--canvas", "128", "160") == 0
    out, err = capsys.readouterr()
    exact = next(line for line in out.splitlines() if "exact" in line)
    assert exact.split("|")[3].strip() == "100.00"
    (said,) = err.splitlines()
    assert said.startswith("reference crop: the published crop knows square canvases only")


def test_resuming_knows_the_names(tmp_path: Path) -> None:
    tree = draw(tmp_path, "cityscapes")
    first = tree.preprocess("--batch-size=3")
    times = {path: path.stat().st_mtime_ns for path in tree.bins.glob("*.bin")}
    assert len(times) == 2
    assert tree.preprocess("--batch-size=3") == first
    assert {path: path.stat().st_mtime_ns for path in tree.bins.glob("*.bin")} == times


def test_a_batch_of_dumps_by_folders(tmp_path: Path) -> None:
    tree = draw(tmp_path, "cityscapes")
    tree.preprocess("--batch-size=4")
    tree.dumps.mkdir()
    np.stack([tree.masks[name.split("/")[1]] for name in tree.ids]).tofile(tree.dumps / "batch_00000_0.bin")
    assert tree.postprocess(f"--manifest={tree.bins}") == 0
    assert tree.result().areas.intersection.tolist() == counted(tree)[0].tolist()


@pytest.mark.parametrize("line", ["{0}", "{0}_leftImg8bit.png"])
def test_a_split_of_ids_in_folders(line: str, tmp_path: Path) -> None:
    tree = draw(tmp_path, "cityscapes")
    tree.dump()
    ids = tmp_path / "two.txt"
    ids.write_text("".join(f"{line.format(one)}\n" for one in tree.ids[1:3]))
    assert [one.names for one in tree.preprocess(f"--split={ids}").bins] == [(one,) for one in tree.ids[1:3]]
    info = tmp_path / "pictures.info"
    sizes = zip(tree.ids[1:3], SIZES[1:3], strict=True)
    rows = [f"{n} x/{one}_leftImg8bit.png {width} {height}\n" for n, (one, (height, width)) in enumerate(sizes)]
    info.write_text("".join(rows))
    assert tree.postprocess(f"--split={ids}", f"--test-annotation={info}") == 0
    assert tree.result().pictures == 2


def test_a_split_is_asked_for_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture of the split without a dump is a fault, as it is where a file lists the split."""
    for name in ("voc", "ade20k"):
        tree = draw(tmp_path / name, name)
        tree.dump()
        missing, other = sorted(tree.masks)[1], tree.dumps / "ADE_val_00009999_0.bin"
        (tree.dumps / f"{missing}_0.bin").rename(other)
        assert tree.postprocess() == 1
        assert f"{missing}: no dump" in capsys.readouterr().err
        assert tree.result().strays == (other.name,)
        assert [left for left, _ in tree.result().left_out] == [missing]


def test_options_come_before_the_rules(tmp_path: Path) -> None:
    tree = draw(tmp_path, "ade20k")
    tree.dump()
    assert tree.postprocess("--no-reduce-zero-label") == 1  # label 150 is no class then
    plain = tree.result()
    assert dict(plain.source)["reduce_zero_label"] is False
    flat = np.concatenate([labels.reshape(-1) for labels in tree.labels.values()])
    assert plain.areas.truth.tolist() == np.bincount(flat, minlength=151)[:150].tolist()
    assert plain.invalid_labels == (flat == 150).sum()

    assert tree.postprocess("--ignore-index=none") == 1  # and so is 255
    assert tree.result().ignored == 0 and tree.result().invalid_labels == (flat == 0).sum()

    names = tmp_path / "names.txt"
    names.write_text("".join(f"{one}!\n" for one in tree.kind.classes))
    assert tree.postprocess(f"--classes={names}", "--label-map=150:149") == 0
    assert tree.result().classes[0] == "wall!"
    assert tree.result().areas.truth[148:].tolist() == [((flat == 149) | (flat == 150)).sum(), 0]

    city = draw(tmp_path / "city", "cityscapes")
    city.dump()
    assert city.postprocess("--label-map=none") == 1
    assert dict(city.result().source)["label_map"] == {}


def test_the_function_takes_the_rules_from_the_data_set(tmp_path: Path) -> None:
    tree = draw(tmp_path, "cityscapes")
    tree.dump()
    at = places(tree.kind, tmp_path)
    found = postprocess(tree.dumps, image_folder=at.pictures, data_set=tree.kind, size=CANVAS)
    assert found.result.areas.truth.tolist() == counted(tree)[1].tolist()
    plain = postprocess(tree.dumps, image_folder=at.pictures, data_set=tree.kind, size=CANVAS, label_map={})
    assert plain.result.invalid_labels > 0


def test_ledgers_are_scored_by_the_data_sets_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = draw(tmp_path, "cityscapes")
    tree.dump()
    ledger = tmp_path / "val.ledger"
    assert tree.postprocess(f"--ledger={ledger}") == 0
    first = capsys.readouterr().out
    assert tree.postprocess(f"--ledger={ledger}") == 0
    assert capsys.readouterr().out == first
    again = tmp_path / "again.json"
    assert call(ledger_command, "score", str(ledger), "--dataset=Cityscapes", f"--json={again}") == 0
    assert capsys.readouterr().out == first
    assert json.loads(again.read_text())["source"] == json.loads((tmp_path / "result.json").read_text())["source"]
    assert call(ledger_command, "score", str(ledger)) == 0  # which the ledger names
    assert capsys.readouterr().out == first
    assert call(ledger_command, "score", str(ledger), "--label-map=none") == 0
    assert capsys.readouterr().out != first
    assert call(compare_command, str(ledger), str(ledger), "--resamples=0") == 0
    assert "nan" not in capsys.readouterr().out
    assert call(compare_command, str(ledger), str(tmp_path / "result.json"), "--dataset=cityscapes") == 0
    assert call(compare_command, str(ledger), str(tmp_path / "result.json"), "--dataset=ade20k") == 2
    assert "made with another reduce_zero_label" in capsys.readouterr().err


def test_ledgers_of_other_labels_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids and train ids have the same classes, and mean something else."""
    for name in ("cityscapes", "cityscapes-train-ids"):
        tree = draw(tmp_path / name, name)
        tree.dump()
        assert tree.postprocess(f"--ledger={tmp_path / 'ids.ledger'}") == (0 if name == "cityscapes" else 2)
    assert "is about labels of the data set cityscapes; choose another file" in capsys.readouterr().err
    voc = Subject(("road", "sky"))
    assert "dataset" not in Ledger(voc, {}).to_bytes().decode()  # ledgers of VOC are what they were
    assert b'"dataset":"ade20k"' in Ledger(replace(voc, data_set="ade20k"), {}).to_bytes()


def test_other_files_are_named_in_full(tmp_path: Path) -> None:
    """Pictures and labels in places of their own, with the names of the data set."""
    tree = draw(tmp_path, "cityscapes")
    tree.dump()
    at = places(tree.kind, tmp_path)
    arguments = (
        "--dataset=cityscapes", f"--bin-data-path={tree.dumps}", f"--ann-dir={at.labels}", "--quiet",
        f"--net-input-height={CANVAS[0]}", f"--net-input-width={CANVAS[1]}", f"--result-file={tmp_path / 'r.txt'}",
    )  # fmt: skip
    for more in ([], [f"--img-dir={at.pictures}"]):
        json_file = tmp_path / f"{len(more)}.json"
        assert call(postprocess_command, *arguments, *more, f"--json={json_file}") == 0
        assert Result.read(json_file).areas.truth.tolist() == counted(tree)[1].tolist()
    assert call(
        preprocess_command, "--dataset=cityscapes", f"--image-folder-path={at.pictures}", "--quiet",
        f"--bin-folder-path={tmp_path / 'others'}",
    ) == 0  # fmt: skip
    assert len(list((tmp_path / "others").glob("*.bin"))) == len(tree.ids)


def wrong(command: click.Command, *arguments: str) -> Callable[[Path], int]:
    return lambda folder: call(command, *(one.format(folder) for one in arguments))


@pytest.mark.parametrize(
    ("attempt", "complaint"),
    [
        (wrong(preprocess_command, "--bin-folder-path={0}/bins"), "where are the pictures? Give --image-folder-path"),
        (wrong(preprocess_command, "--bin-folder-path={0}/bins", "--root={0}/no"), "no such folder with PASCAL VOC"),
        (
            wrong(preprocess_command, "--bin-folder-path={0}/bins", "--root={0}", "--dataset=ade20k"),
            "images/validation: no such folder of pictures",
        ),
        (
            wrong(preprocess_command, "--bin-folder-path={0}/bins", "--image-folder-path={0}", "--dataset=cityscapes"),
            "no pictures (*_leftImg8bit.png) in this folder",
        ),
        (
            wrong(postprocess_command, "--bin-data-path={0}", "--root={0}", "--dataset=cityscapes"),
            "gtFine/val: no such folder of labels",
        ),
        (
            wrong(postprocess_command, "--bin-data-path={0}", "--img-dir={0}", "--dataset=cityscapes"),
            "where Cityscapes has them; give --ann-dir",
        ),
        (
            wrong(postprocess_command, "--bin-data-path={0}", "--ann-dir={0}", "--dataset=folder"),
            "--dataset folder has no classes of its own; give --classes",
        ),
        (
            wrong(postprocess_command, "--bin-data-path={0}", "--root={0}", "--dataset=folder"),
            "classes.txt: No such file",
        ),
        (wrong(oracle_command), "where are the labels? Give --ann-dir"),
        (
            wrong(oracle_command, "--ann-dir={0}", "--dataset=cityscapes"),
            "no label pictures (*_gtFine_labelIds.png) in this folder",
        ),
    ],
)
def test_commands_say_what_is_missing(
    attempt: Callable[[Path], int], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").touch()
    assert attempt(tmp_path) == 2
    assert complaint in capsys.readouterr().err


def test_unknown_names_on_the_command_line() -> None:
    with pytest.raises(click.BadParameter, match=r"'pascal' is not one of 'voc', 'ade20k', "):
        preprocess_command.main(["--dataset=pascal", "--bin-folder-path=x"], standalone_mode=False)
