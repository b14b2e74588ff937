"""The command as a user runs it: the published figures, an independent count, and everything that can be wrong."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pspfast import ConfusionMatrix, Letterbox
from pspfast.formats.bins import Manifest
from pspfast.formats.ledger import Ledger
from pspfast.formats.result import Result
from pspfast.stages.postprocessing import Evaluation, postprocess
from pspfast.stages.preprocessing import preprocess
from pspfast.system.files import write_sparse
from tests import reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CANVAS = (40, 56)
CLASSES = ("road", "sky", "tree", "car", "Vélo")
SIZES = {
    "plain": (40, 56),
    "wide": (20, 61),
    "tall": (77, 30),
    "one": (1, 1),
    "a_1": (39, 56),
    "row": (1, 90),
    "column": (90, 1),
    "2007_000033": (41, 55),
}


def run(
    *options: str | Path, cwd: Path, stdout: Any = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pspfast.postprocess", *map(str, options)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@dataclass
class Pictures:
    """Masks as a network emits them and the labels of their pictures, in files and in memory."""

    folder: Path
    masks: dict[str, NDArray[np.int64]]
    targets: dict[str, NDArray[np.uint8]]

    @property
    def options(self) -> list[str]:
        height, width = CANVAS
        return [
            f"--bin-data-path={self.folder / 'dumps'}", f"--ann-dir={self.folder / 'labels'}",
            f"--split={self.folder / 'val.txt'}", f"--net-input-height={height}", f"--net-input-width={width}",
            f"--classes={self.folder / 'classes.txt'}", f"--json={self.folder / 'result.json'}",
        ]  # fmt: skip

    def dump(self, name: str) -> Path:
        return self.folder / "dumps" / f"{name}_1.bin"

    def label(self, name: str) -> Path:
        return self.folder / "labels" / f"{name}.png"

    def run(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run(*self.options, *options, cwd=self.folder, **environment)

    def result(self) -> Result:
        return Result.read(self.folder / "result.json")

    def evaluate(self, **options: Any) -> Evaluation:
        return postprocess(
            self.folder / "dumps",
            **{"label_folder": self.folder / "labels", "size": CANVAS, "classes": CLASSES, **options},
        )


def make(folder: Path, sizes: dict[str, tuple[int, int]] = SIZES) -> Pictures:
    rng = np.random.default_rng(20)
    for name in ("dumps", "labels"):
        (folder / name).mkdir()
    pictures = Pictures(folder, {}, {})
    for name, (height, width) in sizes.items():
        mask = np.repeat(rng.integers(0, len(CLASSES), (CANVAS[0], 8)), 7, 1)
        target = rng.choice([0, 1, 2, 3, 4, 255], (height, width)).astype(np.uint8)
        pictures.masks[name], pictures.targets[name] = mask, target
        mask.astype(np.int32).tofile(pictures.dump(name))
        Image.fromarray(target).save(pictures.label(name))
    (folder / "val.txt").write_text("\n".join(sizes), encoding="utf-8")
    (folder / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    return pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return make(tmp_path)


def assert_counts(result: Result, pictures: Pictures, names: list[str]) -> None:
    """The oracle: unpad by its formula in NumPy, then every pixel in words."""
    classes = len(CLASSES)
    counts, invalid = np.zeros((classes, classes), np.int64), np.zeros(classes, np.int64)
    ignored = invalid_labels = 0
    for name in names:
        target = pictures.targets[name]
        box = Letterbox.fit((target.shape[0], target.shape[1]), CANVAS)
        wanted = reference.confusion(reference.unpad(pictures.masks[name], box), target, classes, 255)
        counts, invalid = counts + wanted.counts, invalid + wanted.invalid_predictions
        ignored, invalid_labels = ignored + wanted.ignored, invalid_labels + wanted.invalid_labels
    assert result.areas.intersection.tolist() == np.diag(counts).tolist()
    assert result.areas.truth.tolist() == (counts.sum(1) + invalid).tolist()
    assert result.areas.predicted.tolist() == counts.sum(0).tolist()
    assert (result.ignored, result.invalid_labels, result.invalid_predictions, result.pictures) == (
        ignored,
        invalid_labels,
        invalid.sum(),
        len(names),
    )


# ---- the published figures ----


def golden_masks(shared_data: Path) -> dict[str, NDArray[np.uint8]]:
    masks = {}
    for path in sorted((shared_data / "golden/preds").glob("*.png")):
        with Image.open(path) as image:
            masks[path.stem] = np.asarray(image).copy()
    assert len(masks) == 73
    return masks


def save_scores(path: Path, mask: NDArray[np.uint8], kind: str) -> None:
    """One score of 1 a pixel, the others 0: planes of classes that do not occur are holes in the file."""
    scores = np.zeros((21, *mask.shape), kind)
    np.put_along_axis(scores, mask[None].astype(np.int64), 1, 0)
    plane = scores[0].nbytes
    extents = [(label * plane, (label + 1) * plane) for label in np.unique(mask).tolist()]
    write_sparse(str(path), scores.data.cast("B"), extents)


DUMPS: dict[str, Callable[[Path, str, NDArray[np.uint8]], object]] = {
    "int32": lambda folder, name, mask: mask.astype(np.int32).tofile(folder / f"{name}_1.bin"),
    "int64": lambda folder, name, mask: mask.astype(np.int64).tofile(folder / f"{name}_0.bin"),
    "uint8": lambda folder, name, mask: mask.tofile(folder / f"{name}.bin"),
    "int16": lambda folder, name, mask: mask.astype(np.int16).tofile(folder / f"{name}_1.bin"),
    "float16": lambda folder, name, mask: mask.astype(np.float16).tofile(folder / f"{name}_1.bin"),
    "float32": lambda folder, name, mask: mask.astype(np.float32).tofile(folder / f"{name}_1.bin"),
    "npy": lambda folder, name, mask: np.save(folder / f"{name}_0.npy", mask[None].astype(np.int64)),
    "npy, other byte order": lambda folder, name, mask: np.save(folder / f"{name}.npy", mask.astype(">u2")),
    "class scores of float16": lambda folder, name, mask: save_scores(folder / f"{name}_1.bin", mask, "float16"),
    "class scores of float32": lambda folder, name, mask: save_scores(folder / f"{name}_1.bin", mask, "float32"),
}


def assert_golden(done: subprocess.CompletedProcess[str], folder: Path, shared_data: Path) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == (shared_data / "golden/table.txt").read_bytes()
    assert (folder / "voc_seg_result.txt").read_bytes() == (shared_data / "golden/voc_seg_result.txt").read_bytes()


@pytest.mark.parametrize("kind", DUMPS)
def test_the_published_tables(kind: str, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "dumps").mkdir()
    for name, mask in golden_masks(shared_data).items():
        DUMPS[kind](tmp_path / "dumps", name, mask)
    voc = shared_data / "voc/VOC2012"
    done = run(
        f"--bin_data_path={tmp_path}/dumps", f"--img_dir={voc}/JPEGImages", f"--ann_dir={voc}/SegmentationClass/",
        f"--split={voc}/ImageSets/Segmentation/val.txt", "--net_input_width=500", "--net_input_height=500",
        "--geometry=reference", cwd=tmp_path,
    )  # fmt: skip
    assert_golden(done, tmp_path, shared_data)
    told = {"npy": "int64", "npy, other byte order": ">u2"}.get(kind, kind)
    assert "73 pictures in " in done.stderr
    assert f"dumps of {told};" in done.stderr
    shutil.rmtree(tmp_path / "dumps")  # a gigabyte, were it not for the holes


@pytest.mark.parametrize("kind", ["int32", "int64", "npy"])
def test_packed_batches_by_their_manifest(kind: str, shared_data: Path, tmp_path: Path) -> None:
    voc, masks = shared_data / "voc/VOC2012", golden_masks(shared_data)
    split = tmp_path / "val.txt"
    names = list(masks)
    random.Random(1).shuffle(names)
    split.write_text("\n".join(names))
    preprocess(voc / "JPEGImages", tmp_path / "bins", split, batch_size=4)
    (tmp_path / "dumps").mkdir()
    for record in Manifest.read(tmp_path / "bins").bins:
        batch = np.zeros((4, 500, 500), np.int64 if kind == "npy" else kind)
        for slot, name in zip(batch, record.names, strict=False):
            slot[:] = masks[name]
        stem = record.name.removesuffix(".bin")
        if kind == "npy":
            np.save(tmp_path / "dumps" / f"{stem}_0.npy", batch)
        else:
            batch.tofile(tmp_path / "dumps" / f"{stem}_1.bin")
    options = [f"--bin-data-path={tmp_path}/dumps", f"--manifest={tmp_path}/bins", "--geometry=reference"]
    assert_golden(run(*options, cwd=tmp_path), tmp_path, shared_data)
    # Some of the pictures: those that share a batch with them are nobody's business.
    some = names[1::5]
    split.write_text("\n".join(some))
    found = postprocess(tmp_path / "dumps", manifest=tmp_path / "bins", split=split)
    assert (found.result.pictures, found.faults, found.strays) == (len(some), (), ())


def test_an_info_file_as_the_guide_has_it(shared_data: Path, tmp_path: Path) -> None:
    voc = shared_data / "voc/VOC2012"
    (tmp_path / "dumps").mkdir()
    for name, mask in golden_masks(shared_data).items():
        DUMPS["int32"](tmp_path / "dumps", name, mask)
    info = [sys.executable, "-m", "pspfast.get_info", "jpg", str(voc / "JPEGImages"), str(tmp_path / "jpg.info")]
    subprocess.run(info, check=True, capture_output=True)
    options = [f"--bin_data_path={tmp_path}/dumps", f"--ann_dir={voc}/SegmentationClass"]
    options += [f"--test_annotation={tmp_path}/jpg.info", f"--split={voc}/ImageSets/Segmentation/val.txt"]
    assert_golden(run(*options, "--geometry=reference", "--quiet", cwd=tmp_path), tmp_path, shared_data)
    lines = (tmp_path / "jpg.info").read_text().splitlines()
    _, path, width, height = lines[5].split()
    (tmp_path / "jpg.info").write_text("\n".join([*lines[:5], f"5 {path} {int(width) - 1} {height}", *lines[7:]]))
    done = run(*options, cwd=tmp_path)
    assert done.returncode == 1
    name = Path(path).stem
    assert (
        f"  {name}: {voc}/SegmentationClass/{name}.png: the labels are {width}x{height}, the picture is " in done.stderr
    )
    assert f"{tmp_path}/jpg.info does not list it" in done.stderr
    assert "These scores leave out 2 of 73 pictures." in done.stdout


def test_exact_geometry_on_real_masks(shared_data: Path, tmp_path: Path) -> None:
    voc, matrix = shared_data / "voc/VOC2012", np.zeros((21, 21), np.int64)
    (tmp_path / "dumps").mkdir()
    for name, mask in golden_masks(shared_data).items():
        DUMPS["int32"](tmp_path / "dumps", name, mask)
        with Image.open(voc / "SegmentationClass" / f"{name}.png") as image:
            target = np.asarray(image)
        preds = reference.unpad(mask, Letterbox.fit((target.shape[0], target.shape[1]), mask.shape))
        valid = target != 255
        matrix += np.bincount(21 * target[valid].astype(int) + preds[valid], minlength=441).reshape(21, 21)
    found = postprocess(tmp_path / "dumps", image_folder=voc / "JPEGImages", workers=2)
    assert found.faults == found.strays == ()
    assert found.result.areas.intersection.tolist() == np.diag(matrix).tolist()
    assert found.result.areas.truth.tolist() == matrix.sum(1).tolist()
    assert found.result.areas.predicted.tolist() == matrix.sum(0).tolist()


# ---- counts, and that nothing but the input decides them ----


def test_odd_shapes(pictures: Pictures) -> None:
    done = pictures.run()
    assert done.returncode == 0, done.stderr
    assert_counts(pictures.result(), pictures, list(SIZES))
    result = pictures.result()
    assert result.to_json() == (pictures.folder / "result.json").read_text()
    assert result.tables() in done.stdout
    assert (pictures.folder / "voc_seg_result.txt").read_text() == result.published()


@pytest.mark.parametrize("canvas", [(1, 1), (1, 70), (70, 1), (33, 64)])
def test_odd_canvases(canvas: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(21)
    (tmp_path / "labels").mkdir()
    wanted = ConfusionMatrix(3)
    for number, size in enumerate([(1, 1), (1, 40), (40, 1), (17, 30), (90, 80)]):
        mask, target = rng.integers(0, 3, canvas), rng.integers(0, 3, size).astype(np.uint8)
        mask.tofile(tmp_path / f"p{number}_0.bin")
        Image.fromarray(target).save(tmp_path / "labels" / f"p{number}.png")
        wanted.update(reference.unpad(mask, Letterbox.fit(size, canvas)), target)
    options: Any = {"label_folder": tmp_path / "labels", "size": canvas, "classes": ("a", "b", "c")}
    found = postprocess(tmp_path, **options)
    assert found.faults == ()
    assert found.result.areas.intersection.tolist() == wanted.areas().intersection.tolist()
    assert found.result.areas.truth.tolist() == wanted.areas().truth.tolist()
    # The published crop swaps the sides of the canvas: what it leaves nothing of is told, not a crash.
    crooked = postprocess(tmp_path, geometry="reference", **options)
    assert crooked.result.pictures + len(crooked.faults) == 5
    assert all("the reference rule leaves nothing of a canvas" in fault for fault in crooked.faults)
    assert bool(crooked.faults) == (canvas == (33, 64))


def outputs(pictures: Pictures, *options: str) -> dict[str, bytes]:
    folder = pictures.folder / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    done = run(
        *pictures.options, "--json=result.json", "--csv=classes.csv", "--ledger=val.ledger", "--save-masks=masks",
        *options, cwd=folder,
    )  # fmt: skip
    told = done.stdout.encode() + b"".join(line.encode() for line in done.stderr.splitlines() if " in " not in line)
    return {"told": told} | {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("geometry", ["exact", "reference"])
def test_bytes_do_not_depend_on_workers(geometry: str, tmp_path: Path) -> None:
    sizes = {f"p{number:03d}": (1 + number * 7 % 90, 1 + number * 11 % 80) for number in range(150)}
    pictures = make(tmp_path, sizes)
    pictures.dump("p003").unlink()
    pictures.dump("p040").write_bytes(b"short")
    pictures.label("p077").write_bytes(b"no picture")
    one = outputs(pictures, "--workers=1", f"--geometry={geometry}")
    # 147 masks, and json, csv, txt, ledger
    assert len(one) == 1 + (147 if geometry == "exact" else len(one) - 5) + 4
    for workers in (2, 7):
        assert outputs(pictures, f"--workers={workers}", f"--geometry={geometry}") == one


def test_saved_masks_are_the_masks(pictures: Pictures) -> None:
    pictures.masks["wide"][20:, 30:] = 77
    pictures.masks["wide"].astype(np.int32).tofile(pictures.dump("wide"))
    done = pictures.run("--save-masks=masks", "--ledger=val.ledger")
    assert done.returncode == 1  # of the class 77
    for name, target in pictures.targets.items():
        box = Letterbox.fit((target.shape[0], target.shape[1]), CANVAS)
        wanted = reference.unpad(pictures.masks[name], box)
        with Image.open(pictures.folder / "masks" / f"{name}.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), np.where(wanted < 5, wanted, 255)), name
    shutil.rmtree(pictures.folder / "masks")
    pictures.run("--save-masks=masks", "--ledger=val.ledger")  # from the ledger, and yet
    assert len(list((pictures.folder / "masks").iterdir())) == len(SIZES)


def test_masks_never_replace_labels_or_pictures(pictures: Pictures) -> None:
    (pictures.folder / "link").symlink_to("labels")
    before = {path: path.read_bytes() for path in (pictures.folder / "labels").iterdir()}
    for folder in ("labels", "link", "labels/../labels/"):
        done = pictures.run(f"--save-masks={folder}")
        assert done.returncode == 2
        assert "has the labels or pictures, which masks would replace; choose another folder" in done.stderr
    assert {path: path.read_bytes() for path in (pictures.folder / "labels").iterdir()} == before


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.int64])
def test_more_classes_than_a_byte_has(kind: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(22)
    classes = tuple(f"class {number}" for number in range(1000))
    (tmp_path / "labels").mkdir()
    wanted = ConfusionMatrix(1000)
    for name in "ab":
        mask = rng.integers(0, 256 if kind is np.uint8 else 1000, CANVAS).astype(kind)
        target = rng.integers(0, 1000, (30, 56)).astype(np.uint16)
        if kind is not np.uint8:
            mask[20, 30:33] = -1, 1000, 5000
        mask.tofile(tmp_path / f"{name}_1.bin")
        Image.fromarray(target).save(tmp_path / "labels" / f"{name}.png")
        wanted.update(reference.unpad(mask, Letterbox.fit((30, 56), CANVAS)), target)
    found = postprocess(
        tmp_path, label_folder=tmp_path / "labels", size=CANVAS, classes=classes, masks=tmp_path / "masks"
    )
    assert found.result.areas.intersection.tolist() == wanted.areas().intersection.tolist()
    assert found.result.invalid_predictions == wanted.invalid_predictions.sum()
    with Image.open(tmp_path / "masks/b.png") as image:
        saved = np.asarray(image).astype(int)
    preds = reference.unpad(mask.astype(int), Letterbox.fit((30, 56), CANVAS))
    assert np.array_equal(saved, np.where((preds < 0) | (preds >= 1000), 65_535, preds))
    assert Result.read(write(tmp_path / "r.json", found.result.to_json())).classes == classes


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("classes", [1, 2])
def test_one_and_two_classes(classes: int, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    rng = np.random.default_rng(23)
    for kind in ("int32", "int64", "uint8", "float32"):
        mask, target = rng.integers(0, classes, CANVAS), rng.integers(0, classes, (20, 56)).astype(np.uint8)
        mask.astype(kind).tofile(tmp_path / "a_1.bin")
        Image.fromarray(target).save(tmp_path / "labels" / "a.png")
        found = postprocess(
            tmp_path, label_folder=tmp_path / "labels", size=CANVAS, classes=("a", "b")[:classes], ignore_index=None
        )
        preds = reference.unpad(mask, Letterbox.fit((20, 56), CANVAS))
        assert found.faults == ()
        assert found.result.areas.intersection.tolist() == [
            int(((preds == label) & (target == label)).sum()) for label in range(classes)
        ]


RULES: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["--ignore-index=none"], {"ignore_index": None}),
    (["--ignore-index=0"], {"ignore_index": 0}),
    (["--label-map=0:1,1:0"], {"label_map": {0: 1, 1: 0}}),
    (["--label-map=0:1", "--label-map=255:4"], {"label_map": {0: 1, 255: 4}}),
    (["--reduce-zero-label"], {"reduce_zero_label": True}),
    (["--reduce_zero_label", "--ignore_index=3"], {"reduce_zero_label": True, "ignore_index": 3}),
]


@pytest.mark.parametrize(("options", "rules"), RULES)
def test_label_rules_from_pictures_and_from_the_ledger(
    options: list[str], rules: dict[str, Any], pictures: Pictures
) -> None:
    wanted = ConfusionMatrix(5, **{"ignore_index": 255, **rules})
    for name, target in pictures.targets.items():
        box = Letterbox.fit((target.shape[0], target.shape[1]), CANVAS)
        wanted.update(reference.unpad(pictures.masks[name], box), target)
    done = pictures.run(*options, "--ledger=val.ledger")
    result = pictures.result()
    again = Ledger.read(pictures.folder / "val.ledger").matrix(**rules)
    for matrix in (wanted, again):
        assert result.areas.intersection.tolist() == matrix.areas().intersection.tolist()
        assert result.areas.truth.tolist() == matrix.areas().truth.tolist()
        assert (result.ignored, result.invalid_labels) == (matrix.ignored, matrix.invalid_labels)
    assert (done.returncode == 1) == (wanted.invalid_labels > 0)
    # The entries are the same whatever was asked for when they were made.
    pictures.evaluate(ledger=pictures.folder / "plain.ledger", split=pictures.folder / "val.txt")
    entries = (pictures.folder / "plain.ledger").read_bytes().split(b"\n")[1:]
    assert (pictures.folder / "val.ledger").read_bytes().split(b"\n")[1:] == entries


# ---- what is wrong is told, and the rest scored ----


def expect(pictures: Pictures, told: list[str], left_out: list[str]) -> None:
    """Named, counted and explained; the rest scored; ``--strict`` stops."""
    done = pictures.run()
    assert done.returncode == 1, done.stderr
    for text in told:
        assert text in done.stderr
    result = pictures.result()
    assert sorted(name for name, _ in result.left_out) == sorted(left_out)
    for name, reason in result.left_out:
        assert f"  {name}: {reason}\n" in done.stderr
    if left_out:
        assert f"These scores leave out {len(left_out)} of {len(SIZES)} pictures." in done.stdout
        assert f"{len(left_out)} wrong:" in done.stderr
    assert_counts(result, pictures, [name for name in SIZES if name not in left_out])
    for output in ("result.json", "voc_seg_result.txt"):
        (pictures.folder / output).unlink()
    strict = pictures.run("--strict")
    assert (strict.returncode, strict.stdout) == (1, "")
    assert "stopped: " in strict.stderr
    assert not (pictures.folder / "result.json").exists()
    assert not (pictures.folder / "voc_seg_result.txt").exists()


def test_a_missing_dump(pictures: Pictures) -> None:
    pictures.dump("plain").unlink()  # the first one: by position all the others would be wrong
    expect(pictures, ["plain: no dump: plain_1.bin, plain_0.bin, plain.bin or the same as .npy"], ["plain"])


def test_a_duplicate_dump(pictures: Pictures) -> None:
    shutil.copy(pictures.dump("tall"), pictures.folder / "dumps/tall_0.bin")
    expect(pictures, ["tall: 2 dumps for one bin: tall_0.bin, tall_1.bin; remove the wrong ones"], ["tall"])
    done = pictures.run("--output=1")
    assert done.returncode == 0, done.stderr
    assert_counts(pictures.result(), pictures, list(SIZES))


@pytest.mark.parametrize("size", [0, CANVAS[0] * CANVAS[1], 4 * CANVAS[0] * CANVAS[1] + 1])
def test_dumps_of_another_size(size: int, pictures: Pictures) -> None:
    pictures.dump("wide").write_bytes(bytes(size))
    expect(pictures, [f"wide: wide_1.bin has {size:,} bytes where the others have 8,960"], ["wide"])


def test_dumps_that_are_no_files(pictures: Pictures) -> None:
    for name in ("plain", "wide", "tall"):
        pictures.dump(name).unlink()
    pictures.dump("plain").mkdir()
    pictures.dump("wide").symlink_to("nowhere")
    os.mkfifo(pictures.dump("tall"))
    told = ["plain_1.bin: not a regular file", "wide_1.bin: No such file", "tall_1.bin: not a regular file"]
    expect(pictures, told, ["plain", "wide", "tall"])


def test_a_picture_without_labels(pictures: Pictures) -> None:
    pictures.label("one").unlink()
    expect(pictures, [f"one: {pictures.label('one')}: No such file or directory"], ["one"])


def test_dumps_that_nobody_has_labels_for(pictures: Pictures) -> None:
    (pictures.folder / "dumps" / "0_1.bin").write_bytes(pictures.dump("one").read_bytes())
    (pictures.folder / "dumps" / "zz_1.bin").write_bytes(pictures.dump("one").read_bytes())
    done = pictures.run()
    assert done.returncode == 0  # a split may name some of the pictures
    assert "2 dumps that nobody asked for:\n  0_1.bin: of no picture in " in done.stderr
    assert pictures.result().strays == ("0_1.bin", "zz_1.bin")
    assert_counts(pictures.result(), pictures, list(SIZES))
    (pictures.folder / "val.txt").unlink()
    found = run(*(one for one in pictures.options if "--split" not in one), cwd=pictures.folder)
    assert found.returncode == 1
    assert f"zz_1.bin: of no picture in {pictures.folder}/labels" in found.stderr
    assert_counts(pictures.result(), pictures, list(SIZES))
    found = run(*(one for one in pictures.options if "--split" not in one), "--strict", cwd=pictures.folder)
    assert (found.returncode, found.stdout) == (1, "")
    assert "stopped: 0_1.bin: of no picture in" in found.stderr


def test_labels_without_dumps_are_counted(pictures: Pictures) -> None:
    pictures.dump("one").unlink()
    found = run(*(one for one in pictures.options if "--split" not in one), cwd=pictures.folder)
    assert found.returncode == 0
    assert "1 label pictures have no dump; --split says which pictures there must be" in found.stderr


def test_nothing_is_paired_by_position(pictures: Pictures) -> None:
    names = list(SIZES)
    random.Random(2).shuffle(names)
    (pictures.folder / "val.txt").write_text("\n".join(names[1:]))
    pictures.label("one").write_bytes(b"")  # so that the rest is shifted on one side
    (pictures.folder / "dumps" / "0_1.bin").write_bytes(bytes(8960))
    pictures.run()
    assert_counts(pictures.result(), pictures, [name for name in names[1:] if name != "one"])


def test_labels_of_another_size(pictures: Pictures) -> None:
    images = pictures.folder / "images"
    images.mkdir()
    for name, (height, width) in SIZES.items():
        Image.new("RGB", (width, height)).save(images / f"{name}.jpg")
    Image.new("RGB", (33, 44)).save(images / "wide.jpg")
    done = pictures.run(f"--img-dir={images}")
    assert done.returncode == 1
    assert f"wide: {pictures.label('wide')}: the labels are 61x20, the picture is 33x44" in done.stderr
    (images / "tall.jpg").write_bytes(b"no picture")
    (images / "one.jpg").unlink()
    done = pictures.run(f"--img-dir={images}")
    assert "  tall: " in done.stderr
    assert f"one: {images}/one.jpg: No such file" in done.stderr
    assert_counts(pictures.result(), pictures, [name for name in SIZES if name not in ("wide", "tall", "one")])


def test_labels_in_colours_and_16_bits(pictures: Pictures) -> None:
    Image.new("RGB", (61, 20)).save(pictures.label("wide"))
    Image.fromarray(np.zeros(SIZES["tall"], np.uint16)).save(pictures.label("tall"))
    pictures.label("one").write_bytes(pictures.label("one").read_bytes()[:-13])
    told = ["in colours (RGB); labels must be the class indices themselves", "16-bit grey; labels of up to 256 classes"]
    expect(pictures, [*told, "damaged PNG"], ["wide", "tall", "one"])


def test_values_out_of_range(pictures: Pictures) -> None:
    pictures.masks["plain"][3, 4:9] = 7, -1, 99, 70_000, 5
    pictures.masks["plain"].astype(np.int32).tofile(pictures.dump("plain"))
    pictures.targets["plain"][3, 4:9] = 0
    pictures.targets["plain"][7, 1:4] = 9, 254, 9
    Image.fromarray(pictures.targets["plain"]).save(pictures.label("plain"))
    told = "plain: 5 pixels predicted as out of range, 5, 7, 99; 3 pixels labelled as 9, 254; classes are 0 to 4"
    expect(pictures, [told], [])
    done = pictures.run()
    result = pictures.result()
    assert (result.invalid_predictions, result.invalid_labels) == (5, 3)
    assert "5 pixels were predicted as no class of 5 and count against the class that they are" in done.stdout
    assert "3 pixels are labelled as no class and count nowhere." in done.stdout
    assert len(result.remarks) == 1


def test_what_is_ignored_may_be_predicted_as_anything(pictures: Pictures) -> None:
    for name, mask in pictures.masks.items():
        box = Letterbox.fit(SIZES[name], CANVAS)
        (top, left), (height, width) = box.offset, box.resized
        outside = np.ones(CANVAS, bool)
        outside[top : top + height, left : left + width] = False
        mask[outside] = -5
        mask.astype(np.int32).tofile(pictures.dump(name))
    done = pictures.run()
    assert done.returncode == 0, done.stderr
    assert_counts(pictures.result(), pictures, list(SIZES))


def test_a_split_that_names_a_picture_twice(pictures: Pictures) -> None:
    with (pictures.folder / "val.txt").open("a") as file:
        file.write("\n\nwide\nwide.jpg\n")
    done = pictures.run()
    assert done.returncode == 1
    assert "val.txt, line 10: 'wide' is named again (first on line 2), used once" in done.stderr
    assert "'wide.jpg' would have the same dump as 'wide', not used" in done.stderr
    assert_counts(pictures.result(), pictures, list(SIZES))


def test_faults_of_the_preprocessing_are_told_again(tmp_path: Path) -> None:
    images, labels, dumps = (tmp_path / name for name in ("JPEGImages", "SegmentationClass", "bins"))
    for folder in (images, labels):
        folder.mkdir()
    for name in "abc":
        Image.new("RGB", (30, 20)).save(images / f"{name}.jpg")
        Image.new("L", (30, 20)).save(labels / f"{name}.png")
    (images / "b.jpg").write_bytes(b"no picture")
    (tmp_path / "val.txt").write_text("a\nb\nc\na\n")
    preprocess(images, dumps, tmp_path / "val.txt", size=CANVAS)
    (tmp_path / "out").mkdir()
    for name in "abc":
        np.zeros(CANVAS, np.int32).tofile(tmp_path / "out" / f"{name}_1.bin")
    found = postprocess(tmp_path / "out", manifest=dumps)
    assert (found.result.pictures, len(found.faults)) == (2, 1)  # a was preprocessed, once
    assert found.faults[0].startswith(f"b: it was not preprocessed: {images}/b.jpg")
    shutil.copy(dumps / "manifest.json", tmp_path / "out")
    assert postprocess(tmp_path / "out").faults == found.faults
    (tmp_path / "val.txt").write_text("a\nd\n")
    np.zeros(CANVAS, np.int32).tofile(tmp_path / "out" / "d_1.bin")
    assert postprocess(tmp_path / "out", split=tmp_path / "val.txt").faults == ("d: the manifest does not name it",)


def test_names_of_every_kind(tmp_path: Path) -> None:
    names = ["with space", "ümläut 日本", "x_1", "x_1_1", "x", "1", "-dash", "quote'\"", "new\nline", "a%sb{}"]
    pictures = make(tmp_path, dict.fromkeys(names, (20, 31)))
    (tmp_path / "val.txt").write_text("\n".join(name for name in names if "\n" not in name))
    for options in ([], ["--output=1"]):
        done = pictures.run("--ledger=val.ledger", "--save-masks=masks", *options)
        assert done.returncode == 0, done.stderr
        assert_counts(pictures.result(), pictures, [name for name in names if "\n" not in name])
    found = pictures.evaluate(ledger=tmp_path / "all.ledger", masks=tmp_path / "masks")
    assert (found.faults, found.strays) == ((), ())
    assert_counts(found.result, pictures, names)
    assert sorted(path.stem for path in (tmp_path / "masks").iterdir()) == sorted(names)
    assert sorted(Ledger.read(tmp_path / "all.ledger").entries) == sorted(names)


def test_ids_with_dots_and_folders(tmp_path: Path) -> None:
    pictures = make(tmp_path, {"a": (20, 31), "b": (31, 20)})
    pictures.label("a").rename(tmp_path / "labels/a.v2.png")
    (tmp_path / "labels/sub").mkdir()
    pictures.label("b").rename(tmp_path / "labels/sub/b.png")
    (tmp_path / "val.txt").write_text("a.v2\nsub/b.jpg\n")
    done = pictures.run()
    assert done.returncode == 0, done.stderr
    assert_counts(pictures.result(), pictures, ["a", "b"])


def test_names_that_are_no_text(pictures: Pictures) -> None:
    name = os.fsdecode(b"\xff")
    shutil.copy(pictures.dump("one"), pictures.dump(name))
    shutil.copy(pictures.label("one"), pictures.label(name))
    options = [one for one in pictures.options if "--split" not in one]
    done = run(*options, "--ledger=val.ledger", "--save-masks=masks", cwd=pictures.folder)
    assert done.returncode == 0, done.stderr
    assert pictures.result().pictures == len(SIZES) + 1
    assert (pictures.folder / "masks" / f"{name}.png").exists()
    (pictures.folder / "val.txt").write_bytes(b"\xff\n")
    done = pictures.run()
    assert done.returncode == 2
    assert "val.txt is not UTF-8 text" in done.stderr


# ---- wrong calls ----


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--bin-data-path=nowhere"], "nowhere: no such folder of dumps"),
        (["--bin-data-path=val.txt"], "val.txt: no such folder of dumps"),
        (["--bin-data-path=labels"], "labels: no .bin or .npy dumps in this folder"),
        (["--ann-dir=nowhere"], "nowhere: no such folder of labels"),
        (["--split=nowhere"], "nowhere: No such file"),
        (["--split=dumps"], "dumps: Is a directory"),
        (["--manifest=nowhere"], "nowhere: No such file"),
        (["--manifest=labels"], "labels/manifest.json: No such file"),
        (["--manifest=val.txt"], "val.txt is not a manifest of bins"),
        (["--test-annotation=val.txt"], "val.txt, line 1: expected 'index path width height', got 'plain\\n'"),
        (["--classes=nowhere"], "nowhere: No such file"),
        (["--output=3"], "no dumps of output 3"),
        (["--output=-1"], "Invalid value for '--output'"),
        (["--net-input-width=0"], "Invalid value for '--net-input-width'"),
        (["--workers=0"], "Invalid value for '--workers'"),
        (["--geometry=round"], "Invalid value for '--geometry'"),
        (["--ignore-index=x"], "--ignore-index must be a label or 'none', got 'x'"),
        (["--ignore-index=-1"], "--ignore-index must be a label or 'none', got '-1'"),
        (["--ignore-index=99999"], "ignore_index must be 0 to 65534 or None, got 99999"),
        (["--label-map=1"], "expected OLD:NEW, two labels, got '1'"),
        (["--label-map=1:-1"], "expected OLD:NEW, two labels, got '1:-1'"),
        (["--label-map=1:2,1:3"], "label 1 becomes both 2 and 3"),
        (["--label-map=99999:1"], "label_map must map labels from 0 to 65535"),
        (["--save-masks=val.txt"], "cannot write val.txt: File exists"),
        (["--ledger=dumps"], "cannot write dumps: Is a directory"),
        (["--ledger=val.txt"], "val.txt is not a ledger"),
        (["--ledger=/dev/full"], "cannot write /dev/full: not a regular file"),
        (["--ledger=out", "--json=out"], "out cannot be two outputs at once"),
        (["--csv=voc_seg_result.txt"], "voc_seg_result.txt cannot be two outputs at once"),
        (["--bogus"], "No such option"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_wrong_calls(options: list[str], text: str, pictures: Pictures) -> None:
    before = sorted(path.name for path in pictures.folder.iterdir())
    done = pictures.run(*options)
    assert done.returncode == (1 if "cannot write" in text else 2), done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in pictures.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"size": (0, 5)}, ValueError, "canvas must be at least 1"),
        ({"size": (5.0, 5)}, TypeError, "canvas must be two integers"),
        ({"geometry": "round"}, ValueError, "geometry must be 'exact' or 'reference', got 'round'"),
        ({"classes": ("a", "a")}, ValueError, "names of their own"),
        ({"classes": ()}, ValueError, "names of their own"),
        ({"ignore_index": -1}, ValueError, "ignore_index must be 0 to 65534 or None"),
        ({"workers": 0}, ValueError, "workers"),
        ({"label_folder": None}, ValueError, "where are the labels"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], text: str, pictures: Pictures) -> None:
    with pytest.raises(error, match=text):
        pictures.evaluate(**options)


def test_labels_of_nothing_but_the_border(pictures: Pictures) -> None:
    for name, (height, width) in SIZES.items():
        Image.new("L", (width, height), 255).save(pictures.label(name))
    done = pictures.run(PYTHONWARNINGS="error")
    assert done.returncode == 0, done.stderr
    assert "| global | nan  | nan  | nan  |" in done.stdout
    assert json.loads((pictures.folder / "result.json").read_text())["mIoU"] is None
    assert Result.read(pictures.folder / "result.json").ignored == sum(h * w for h, w in SIZES.values())


def test_class_names_where_the_terminal_has_only_ascii(pictures: Pictures) -> None:
    done = pictures.run(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "| road " in done.stdout
    assert_counts(pictures.result(), pictures, list(SIZES))


def test_a_wrong_ledger_option_touches_nothing(pictures: Pictures) -> None:
    done = pictures.run("--ignore-index=99999", "--ledger=new.ledger")
    assert done.returncode == 2
    assert not (pictures.folder / "new.ledger").exists()


def test_the_wrong_canvas_is_told(pictures: Pictures) -> None:
    done = run(*(one for one in pictures.options if "--net-input" not in one), cwd=pictures.folder)
    assert done.returncode == 1
    assert "8,960 bytes; a mask of 500x500 has 250,000 (uint8)" in done.stderr
    assert "of another size? --net-input-width, --net-input-height" in done.stderr
    assert "no picture could be scored" in done.stderr
    assert done.stdout == ""


def manifest(pictures: Pictures, change: Callable[[dict[str, Any]], None]) -> subprocess.CompletedProcess[str]:
    images = pictures.folder / "images"
    images.mkdir()
    for name, (height, width) in SIZES.items():
        Image.new("RGB", (width, height)).save(images / f"{name}.jpg")
    preprocess(images, pictures.folder / "bins", size=CANVAS)
    fields = json.loads((pictures.folder / "bins/manifest.json").read_text())
    change(fields)
    (pictures.folder / "bins/manifest.json").write_text(json.dumps(fields))
    return pictures.run("--manifest=bins")


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["parameters"].pop("size"),
        lambda fields: fields["parameters"].pop("batch_size"),
        lambda fields: fields["parameters"].update(size=40),
        lambda fields: fields["parameters"].update(size=[40, 0]),
        lambda fields: fields["parameters"].update(size=[40, 57]),
        lambda fields: fields["parameters"].update(batch_size="4"),
        lambda fields: fields.update(parameters=None),
        lambda fields: fields["pictures"][0].update(bin="plain.bin"),
        lambda fields: fields["pictures"][0].pop("geometry"),
        lambda fields: fields.update(pictures=None),
    ],
)
def test_manifests_that_cannot_be(change: Callable[[dict[str, Any]], None], pictures: Pictures) -> None:
    done = manifest(pictures, change)
    assert done.returncode == 2
    assert "manifest.json is not a manifest of bins: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_manifest_of_another_canvas(pictures: Pictures) -> None:
    assert manifest(pictures, lambda _: None).returncode == 0
    assert_counts(pictures.result(), pictures, list(SIZES))
    done = pictures.run("--manifest=bins", "--net-input-width=500")
    assert done.returncode == 2
    assert "the manifest says 40x56 (height x width), not 40x500" in done.stderr


# ---- outputs ----


def test_everything_that_can_be_written_is(pictures: Pictures) -> None:
    (pictures.folder / "folder").mkdir()
    done = pictures.run("--result-file=folder", "--csv=no/such/folder.csv")
    assert done.returncode == 1
    assert "cannot write folder: Is a directory" in done.stderr
    assert "cannot write no/such/folder.csv: No such file" in done.stderr
    assert "per class results:" in done.stdout
    assert_counts(pictures.result(), pictures, list(SIZES))


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write everywhere; run as somebody else")
def test_a_folder_that_is_read_only(pictures: Pictures) -> None:
    pictures.folder.chmod(0o555)
    try:
        done = pictures.run("--ledger=val.ledger")
        assert done.returncode == 1
        assert "cannot write val.ledger: Permission denied" in done.stderr
    finally:
        pictures.folder.chmod(0o755)


def test_a_full_standard_output(pictures: Pictures) -> None:
    with open("/dev/full", "w") as full:
        done = run(*pictures.options, cwd=pictures.folder, stdout=full)
    assert done.returncode == 1
    assert "cannot write standard output: No space left on device" in done.stderr
    assert_counts(pictures.result(), pictures, list(SIZES))
    assert (pictures.folder / "voc_seg_result.txt").exists()


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "| true", "2>/dev/full"])
def test_closed_streams(streams: str, pictures: Pictures) -> None:
    line = " ".join(f"'{part}'" for part in [sys.executable, "-m", "pspfast.postprocess", *pictures.options])
    done = subprocess.run(
        f"{line} {streams}", shell=True, cwd=pictures.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert_counts(pictures.result(), pictures, list(SIZES))
    published = (pictures.folder / "voc_seg_result.txt").read_text()
    assert published == pictures.result().published()


def test_results_into_streams(pictures: Pictures) -> None:
    done = pictures.run("--json=/dev/stdout", "--result-file=/dev/null", "--quiet")
    assert done.returncode == 0
    assert done.stdout.index("per class results:") < done.stdout.index('"format": "pspfast result"')
    assert not (pictures.folder / "voc_seg_result.txt").exists()


def test_quiet(pictures: Pictures) -> None:
    done = pictures.run("--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_percents_are_rounded_as_numpy_does(tmp_path: Path) -> None:
    """The published figures are made so; Python's own rounding gives 0.03 here."""
    matrix = ConfusionMatrix(1, None)
    matrix.update_pairs(np.array([0, 0]), np.array([0, 1]), np.array([2, 7998]))
    result = Result.of(matrix, ("road",), pictures=1)
    assert "| road  | 0.02 | 0.02 |" in result.tables()
    assert result.published().startswith("mIoU: 0.0002\n")
    assert result.summary()["mIoU"] == 2 / 8000
    assert Result.read(write(tmp_path / "r.json", result.to_json())).summary() == pytest.approx(
        result.summary(), nan_ok=True
    )


def test_csv(pictures: Pictures) -> None:
    for target in pictures.targets.values():  # a class that does not occur
        target[target == 4] = 0
    for name, mask in pictures.masks.items():
        mask[mask == 4] = 1
        mask.astype(np.int32).tofile(pictures.dump(name))
        Image.fromarray(pictures.targets[name]).save(pictures.label(name))
    done = pictures.run("--csv=classes.csv")
    rows = list(csv.DictReader((pictures.folder / "classes.csv").read_text(encoding="utf-8").splitlines()))
    result = pictures.result()
    assert [row["class"] for row in rows] == list(CLASSES)
    assert [float(row["IoU"] or "nan") for row in rows] == pytest.approx(result.by_class()["IoU"].tolist(), nan_ok=True)
    assert rows[4]["IoU"] == rows[4]["Acc"] == ""
    fields = json.loads((pictures.folder / "result.json").read_text())
    assert fields["classes"][4]["IoU"] is None
    assert "| Vélo  | nan" in done.stdout
    assert fields["mIoU"] == result.summary()["mIoU"]


def test_many_faults_are_cut_short_and_all_in_json(tmp_path: Path) -> None:
    pictures = make(tmp_path, {f"p{number:02d}": (4, 5) for number in range(60)})
    for number in range(30):
        pictures.dump(f"p{number:02d}").unlink()
        (tmp_path / "dumps" / f"q{number:02d}_1.bin").write_bytes(bytes(8960))
    done = pictures.run()
    assert done.stderr.count("and 10 more (--json has them all)") == 2
    assert (len(pictures.result().left_out), len(pictures.result().strays)) == (30, 30)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(format="pspfast bins"),
        lambda fields: fields.update(version=9),
        lambda fields: fields.pop("classes"),
        lambda fields: fields.update(classes=[5]),
        lambda fields: fields["classes"][0].update(truth="x"),
        lambda fields: fields["classes"][0].update(truth=1 << 70),
        lambda fields: fields.update(pixels=None),
        lambda fields: fields.update(source=None),
    ],
)
def test_results_that_cannot_be(change: Callable[[dict[str, Any]], None], pictures: Pictures) -> None:
    result = pictures.evaluate().result
    path = pictures.folder / "result.json"
    fields = json.loads(result.to_json())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=rf"{path} is not a result of pspfast: "):
        Result.read(path)


# ---- in the middle of it ----


def test_ctrl_c(tmp_path: Path) -> None:
    pictures = make(tmp_path, {f"p{number:04d}": (300, 400) for number in range(100)})
    command = [sys.executable, "-m", "pspfast.postprocess", *pictures.options, "--save-masks=masks", "--workers=1"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(tmp_path.glob("masks/*.png")):
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    out, complaint = child.communicate(timeout=20)
    assert (child.returncode, out) == (130, b"")
    assert complaint.startswith(b"interrupted")
    assert not list(tmp_path.glob("masks/.*"))
    assert not (tmp_path / "result.json").exists()


def test_a_wrong_isa(pictures: Pictures) -> None:
    done = run(*pictures.options, "--ledger=val.ledger", cwd=pictures.folder, PSPFAST_ISA="foo")
    assert done.returncode == 2
    assert "PSPFAST_ISA: instruction set 'foo' cannot be used" in done.stderr
    assert not (pictures.folder / "val.ledger").exists()


def test_a_second_run_with_the_same_ledger(pictures: Pictures) -> None:
    first = pictures.run("--ledger=val.ledger")
    data = (pictures.folder / "val.ledger").read_bytes()
    second = pictures.run("--ledger=val.ledger")
    assert second.stdout == first.stdout
    assert f"{len(SIZES)} of them from the ledger" in second.stderr
    assert (pictures.folder / "val.ledger").read_bytes() == data
    done = pictures.run("--ledger=val.ledger", "--geometry=reference")
    assert done.returncode == 2
    assert "val.ledger is about exact geometry; choose another file" in done.stderr
