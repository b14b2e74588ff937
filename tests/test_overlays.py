"""Overlays paint whatever is a class, in little memory, and come for scored runs, single files and sub-folders too."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pspfast.cli.commands.run import main
from pspfast.datasets import VOC, data_set
from pspfast.datasets.sources import data_set_source, picture_source
from pspfast.pictures.colouring import coloured, has_background, lay_over
from pspfast.pictures.geometry import Letterbox
from pspfast.stages.counting import save_mask
from pspfast.stages.whole_run import run
from tests.test_run import SIZE, ArgMax, Described, files, make_voc

if TYPE_CHECKING:
    from numpy.typing import NDArray

PALETTE = bytes(np.random.default_rng(3).integers(0, 256, 768, np.uint8))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "VOC2012", 4)


class Zeros(ArgMax):
    """Says class 0 everywhere."""

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        return [np.zeros((len(batch), 1, *SIZE), np.int64)]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (VOC.classes, True),
        (("Background", "cat"), True),
        (data_set("ade20k").classes, False),
        (data_set("cityscapes").classes, False),
        (data_set("coco-stuff164k").classes, False),
        (("wall",), False),
        ((), False),
    ],
)
def test_background_is_what_is_called_so(classes: tuple[str, ...], expected: bool) -> None:
    assert has_background(classes) is expected


@pytest.mark.parametrize("but_background", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 1100)])
def test_colours_are_mixed_to_within_a_level(shape: tuple[int, int], dtype: str, but_background: bool) -> None:
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (*shape, 3), np.uint8)
    labels = generator.integers(0, 256 if dtype == "uint8" else 1000, shape).astype(dtype)
    labels[0, 0] = 0
    if dtype == "int32":
        labels[-1, -1] = 65_535
    wanted = (pixels.astype(np.float64) + coloured(labels, PALETTE)[..., ::-1]) / 2
    if but_background:
        wanted[labels == 0] = pixels[labels == 0]
    shown = lay_over(pixels.copy(), labels, PALETTE, but_background=but_background)
    assert shown.dtype == np.uint8 and np.abs(shown - wanted).max() <= 1
    if but_background:
        assert np.array_equal(shown[labels == 0], pixels[labels == 0])


def test_turned_and_borrowed_pictures() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (6, 9, 3), np.uint8)
    labels = np.ones((9, 6), np.uint8)
    turned = pixels.transpose(1, 0, 2)
    wanted = lay_over(np.ascontiguousarray(turned), labels, PALETTE, but_background=True)
    assert np.array_equal(lay_over(turned, labels, PALETTE, but_background=True), wanted)
    turned.flags.writeable = False
    assert np.array_equal(lay_over(turned, labels, PALETTE, but_background=True), wanted)


def test_a_large_picture_needs_little_beside_itself() -> None:
    pixels, labels = np.zeros((3000, 4000, 3), np.uint8), np.ones((3000, 4000), np.uint8)
    lay_over(pixels[:10], labels[:10], PALETTE, but_background=True)
    tracemalloc.start()
    lay_over(pixels, labels, PALETTE, but_background=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pixels.nbytes / 4


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint16"])
@pytest.mark.parametrize("num_classes", [21, 256, 257])
def test_masks_of_every_type_and_number_of_classes(tmp_path: Path, dtype: str, num_classes: int) -> None:
    """Above 256 classes no class is 65,535, which does not go into a mask of bytes."""
    mask = np.arange(48).reshape(6, 8).astype(dtype)
    mask[0, 1] = 250
    save_mask(str(tmp_path / "m.png"), mask, Letterbox.fit((6, 8), (6, 8)), "exact", num_classes)
    found = np.asarray(Image.open(tmp_path / "m.png"))
    wanted = np.where(mask < num_classes, mask.astype(int), 255 if num_classes <= 256 else 65_535)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(("name", "is_painted"), [("voc", False), ("ade20k", True), ("cityscapes-train-ids", True)])
def test_class_0_is_painted_where_it_is_a_class(
    voc: Path, model: Path, tmp_path: Path, name: str, is_painted: bool
) -> None:
    asked = data_set(name)
    with picture_source(voc / "JPEGImages", asked) as source:
        run(model, source, tmp_path / "out", runtime=lambda _: Zeros())
    with Image.open(tmp_path / "out/overlays/2007_000000.jpg") as file:
        overlay = np.asarray(file, np.float64)
    with Image.open(next((voc / "JPEGImages").glob("2007_000000.*"))) as file:
        picture = np.asarray(file, np.float64)
    colour = np.frombuffer(asked.palette[:3], np.uint8)
    wanted = (picture + colour) / 2 if is_painted else picture
    assert np.abs(overlay - wanted).mean() < 6


def test_the_models_own_classes_say_what_class_0_is(voc: Path, model: Path, tmp_path: Path) -> None:
    class Sky(Described):
        def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
            return [np.zeros((len(batch), 1, *SIZE), np.int64)]

    with picture_source(voc / "JPEGImages") as source:
        run(
            model, source, tmp_path / "out",
            runtime=lambda _: Sky(classes=["sky", "earth"], palette=[[0, 0, 255], [9, 9, 9]]),
        )  # fmt: skip
    with Image.open(tmp_path / "out/overlays/2007_000000.jpg") as file:
        red, _, blue = np.asarray(file, np.float64).reshape(-1, 3).mean(axis=0)
    assert blue > red + 60


def test_scored_runs_have_overlays_if_asked(voc: Path, model: Path, tmp_path: Path) -> None:
    with picture_source(voc / "JPEGImages") as source:
        run(model, source, tmp_path / "plain", runtime=lambda _: ArgMax())
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), keep_overlays=True)
        assert done.result is not None
        assert files(tmp_path / "out/overlays") == files(tmp_path / "plain/overlays")
        assert not (tmp_path / "out/masks").exists()
        again = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), keep_overlays=True)
        assert again.kept == 4
        (tmp_path / "out/overlays/2007_000001.jpg").unlink()
        again = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), keep_overlays=True)
        assert again.kept == 3


class TestPictures:
    """``--images``: a folder, a file, folders in folders."""

    @pytest.fixture
    def onnx(self, tmp_path: Path) -> Path:
        pytest.importorskip("onnxruntime", reason="runs a model")
        pytest.importorskip("onnx", reason="makes a model")
        from tests.runtimes.small_models import labels_model

        return labels_model(tmp_path / "labels.onnx", batch=1, size=SIZE)

    def run(self, onnx: Path, images: Path, out: Path, *options: str) -> Any:
        return CliRunner().invoke(
            main, ["--images", str(images), "--model", str(onnx), "--output", str(out), "--no-report", *options]
        )

    def test_one_file(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        done = self.run(onnx, voc / "JPEGImages/2007_000002.jpg", tmp_path / "out")
        assert done.exit_code == 0, done.output
        assert "1 masks and overlays" in done.stdout or "1 mask" in done.stdout
        assert sorted(files(tmp_path / "out/overlays")) == ["2007_000002.jpg"]
        assert sorted(files(tmp_path / "out/masks")) == ["2007_000002.png"]

    def test_one_file_with_its_labels(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        done = self.run(
            onnx, voc / "JPEGImages/2007_000002.jpg", tmp_path / "out", "--labels", str(voc / "SegmentationClass"),
            "--keep-overlays",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "| global |" in done.stdout
        assert sorted(files(tmp_path / "out/overlays")) == ["2007_000002.jpg"]

    def test_folders_in_folders(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        """Outputs lie as the pictures do, so that equal names do not meet."""
        plain = self.run(onnx, voc / "JPEGImages", tmp_path / "plain")
        assert plain.exit_code == 0
        tree = tmp_path / "tree"
        for number, place in enumerate(("", "a", "a/b", "c")):
            (tree / place).mkdir(parents=True, exist_ok=True)
            (voc / f"JPEGImages/2007_00000{number}.jpg").rename(tree / place / ("top.jpg" if not place else "same.jpg"))
        (tree / ".thumbnails").mkdir()
        (tree / ".thumbnails/x.jpg").write_bytes(b"of another program")
        for kept in (0, 4):
            done = self.run(onnx, tree, tmp_path / "out")
            assert done.exit_code == 0, done.output
            assert (f"{kept} of them from before" in done.stderr) == bool(kept)
        for number, place in enumerate(("top", "a/same", "a/b/same", "c/same")):
            for folder, end in (("masks", "png"), ("overlays", "jpg")):
                found = (tmp_path / "out" / folder / f"{place}.{end}").read_bytes()
                assert found == (tmp_path / "plain" / folder / f"2007_00000{number}.{end}").read_bytes()

    def test_labels_in_folders_of_the_same_names(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        plain = self.run(onnx, voc / "JPEGImages", tmp_path / "plain", "--labels", str(voc / "SegmentationClass"))
        for folder, end in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            (voc / folder / "day").mkdir()
            (voc / folder / f"2007_000001.{end}").rename(voc / folder / f"day/2007_000001.{end}")
        done = self.run(onnx, voc / "JPEGImages", tmp_path / "out", "--labels", str(voc / "SegmentationClass"))
        assert done.exit_code == plain.exit_code == 0, done.output
        first, second = (json.loads((tmp_path / one / "result.json").read_text()) for one in ("plain", "out"))
        assert first["classes"] == second["classes"]

    def test_bins_have_no_folders_in_folders(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        (voc / "JPEGImages/a").mkdir()
        (voc / "JPEGImages/2007_000001.jpg").rename(voc / "JPEGImages/a/x.jpg")
        done = self.run(onnx, voc / "JPEGImages", tmp_path / "out", "--keep-bins")
        assert done.exit_code == 2
        assert "--keep-bins" in done.stderr and "a/x.jpg" in done.stderr

    def test_what_is_no_picture(self, onnx: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        done = self.run(onnx, tmp_path / "notes.txt", tmp_path / "out")
        assert done.exit_code == 2
        assert "notes.txt" in done.stderr and len(done.stderr.strip().splitlines()) == 1
