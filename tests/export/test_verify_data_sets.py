"""``pspfast verify`` over a data set's own folders and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'export' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")

from PIL import Image

from pspfast.datasets import data_set
from pspfast.export.verification import Truth, noise, verify
from tests.export.test_verify import graph, run, saved

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (20, 32)


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(SHAPE, 5, number)[..., ::-1]).save(path)


def labels(path: Path, label: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", SHAPE[::-1], label).save(path)


def cityscapes(root: Path, *, nested: bool) -> tuple[str, str]:
    for number, city in enumerate(("aachen", "bonn")):
        inside = f"{city}/" if nested else ""
        picture(root / f"leftImg8bit/val/{inside}{city}_0_leftImg8bit.png", number)
        labels(root / f"gtFine/val/{inside}{city}_0_gtFine_labelIds.png", 7 + number)  # road and sidewalk
        labels(root / f"gtFine/val/{inside}{city}_0_gtFine_instanceIds.png", 9)
    return str(root / "leftImg8bit/val"), str(root / "gtFine/val")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return saved(tmp_path / "a.onnx", graph())


@pytest.mark.parametrize("nested", [True, False])
def test_cityscapes_as_it_is_unpacked(tmp_path: Path, model: str, nested: bool) -> None:
    images, truth = cityscapes(tmp_path / "city", nested=nested)
    chosen = data_set("cityscapes")
    known = Truth(truth, 255, {7: 0, 8: 1}, data_set=chosen)
    found = verify(model, model, images=[images], data_set=chosen, truth=known)
    assert len(found.pictures) == found.labelled == 2
    assert found.miou is not None
    one = f"{images}/{'aachen/' if nested else ''}aachen_0_leftImg8bit.png"
    assert verify(model, model, images=[one], data_set=chosen, truth=known).labelled == 1
    (tmp_path / "val.txt").write_text("bonn/bonn_0\n" if nested else "bonn_0_leftImg8bit.png\n")
    done = run(
        model, model, "--images", images, "--labels", truth, "--dataset", "cityscapes", "--split", tmp_path / "val.txt"
    )
    assert done.exit_code == 0 and "1 labelled picture" in done.output, done.output


def test_folders_of_folders(tmp_path: Path, model: str) -> None:
    for number, day in enumerate(("mon", "tue")):
        picture(tmp_path / f"images/{day}/p.png", number)
        labels(tmp_path / f"labels/{day}/p.png", number)
    at = ["--images", tmp_path / "images", "--labels", tmp_path / "labels"]
    assert run(model, model, *at).exit_code == 2
    done = run(model, model, *at, "--dataset", "folder")
    assert done.exit_code == 0 and "2 labelled pictures" in done.output, done.output


def test_pictures_of_other_names_are_taken_with_the_rules_alone(tmp_path: Path, model: str) -> None:
    """As ever: --dataset for what labels mean, of pictures and labels that are called alike."""
    picture(tmp_path / "images/a.png", 0)
    labels(tmp_path / "labels/a.png", 7)
    at = ["--images", tmp_path / "images", "--labels", tmp_path / "labels", "--dataset", "cityscapes"]
    for more in ([], ["--split", tmp_path / "val.txt"]):
        (tmp_path / "val.txt").write_text("a\n")
        done = run(model, model, *at, *more)
        assert done.exit_code == 0 and "1 labelled picture" in done.output, done.output


def test_labels_of_another_suffix(tmp_path: Path, model: str) -> None:
    picture(tmp_path / "images/a.png", 0)
    labels(tmp_path / "labels/a_mask.png", 1)
    at = ["--images", tmp_path / "images", "--labels", tmp_path / "labels"]
    done = run(model, model, *at)
    assert done.exit_code == 2 and "give --label-suffix _mask.png" in done.stderr, done.output
    done = run(model, model, *at, "--label-suffix", "_mask.png")
    assert done.exit_code == 0 and "1 labelled picture" in done.output, done.output


def test_train_ids_are_named(tmp_path: Path, model: str) -> None:
    images, truth = cityscapes(tmp_path / "city", nested=True)
    done = run(model, model, "--images", images, "--labels", truth, "--dataset", "cityscapes-train-ids")
    assert done.exit_code == 2 and "labels of --dataset cityscapes" in done.stderr, done.output
    assert np.asarray(Image.open(f"{truth}/bonn/bonn_0_gtFine_labelIds.png")).max() == 8
