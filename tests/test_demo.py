"""``pspfast demo``: the scenes are what they say, and the chain on them ends well."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pspfast.cli.main import main
from pspfast.datasets import VOC
from pspfast.datasets.demo import CANVAS
from pspfast.datasets.demo.scenes import CLASSES, SIZES, TRAINING, draw, write_scenes

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "src/pspfast/datasets/demo/demo.onnx"


def test_a_scene_is_the_same_everywhere() -> None:
    picture, labels = draw(3)
    again, same = draw(3)
    assert np.array_equal(picture, again) and np.array_equal(labels, same)
    assert not np.array_equal(picture, draw(3, seed=1)[0])
    # Integers and raw bits all through: another version of NumPy or Pillow, or another CPU, is no excuse.
    content = hashlib.sha256()
    for index in range(len(SIZES)):
        for array in draw(index):
            content.update(array.tobytes())
    assert content.hexdigest()[:16] == "553c6b97a3bebc8d"


def test_scenes_have_everything() -> None:
    drawn = [draw(index) for index in range(2 * len(SIZES))]
    assert {picture.shape[:2] for picture, _ in drawn} == set(SIZES)
    seen: set[int] = set()
    for picture, labels in drawn:
        assert picture.dtype == labels.dtype == np.uint8 and picture.shape == (*labels.shape, 3)
        values = set(np.unique(labels).tolist())
        assert values <= {0, 255, *CLASSES}
        assert 0.001 < (labels == 255).mean() < 0.2
        seen |= values
    assert seen == {0, 255, *CLASSES}


def test_outlines_are_void() -> None:
    """No two classes touch: between them there is void."""
    _, labels = draw(0)
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        assert ((one == other) | (one == 255) | (other == 255)).all()


def test_the_tree_is_vocs(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"val": range(3), "train": range(3, 5)})
    assert (tmp_path / "ImageSets/Segmentation/val.txt").read_text().split() == [f"scene_{n:05d}" for n in range(3)]
    assert (tmp_path / "ImageSets/Segmentation/train.txt").read_text().split() == ["scene_00003", "scene_00004"]
    assert len(list((tmp_path / "JPEGImages").glob("*.jpg"))) == 5
    photo = np.asarray(Image.open(tmp_path / "JPEGImages/scene_00001.jpg"), np.int16)
    assert np.abs(photo - draw(1)[0]).mean() < 6  # grain is what JPEG drops
    labels = Image.open(tmp_path / "SegmentationClass/scene_00001.png")
    assert labels.mode == "P"
    assert np.array_equal(np.asarray(labels), draw(1)[1])
    assert labels.getpalette()[3 * 6 : 3 * 7] == [0, 128, 128]  # type: ignore[index] # VOC's bus


def test_model_in_the_package() -> None:
    onnx = pytest.importorskip("onnx", reason="not installed: onnx")
    from pspfast.formats.model_metadata import read_metadata

    assert MODEL.stat().st_size < 1_000_000
    model = onnx.load(str(MODEL))
    metadata = read_metadata(model)
    assert metadata is not None
    assert metadata.checkpoint == "tools/demo.pth"
    assert metadata.checkpoint_sha256 == hashlib.sha256((ROOT / "tools/demo.pth").read_bytes()).hexdigest()
    assert tuple(metadata.size) == CANVAS
    assert metadata.classes == VOC.classes


def test_checkpoint_gives_the_model(tmp_path: Path) -> None:
    for library in ("torch", "onnx", "onnxsim", "onnxruntime"):
        pytest.importorskip(library, reason=f"not installed: {library}")
    from pspfast.export.exporting import export
    from pspfast.export.verification import verify

    (file,) = export(str(ROOT / "tools/demo.pth"), str(tmp_path / "demo.onnx"), shape=CANVAS, dynamic_batch=True)
    assert file.agreement is not None and file.agreement >= 0.9995
    write_scenes(tmp_path, {"val": range(4)})
    images = [str(path) for path in sorted((tmp_path / "JPEGImages").iterdir())]
    assert verify(str(MODEL), file.path, images=images).equal >= 0.9995
    assert verify(str(MODEL), checkpoint=str(ROOT / "tools/demo.pth"), images=images).equal >= 0.9995


@pytest.fixture
def needs_run() -> None:
    for library in ("onnxruntime", "jinja2"):
        pytest.importorskip(library, reason="not installed: the extra 'run'")


@pytest.mark.usefixtures("needs_run")
def test_command(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    for _ in range(2):  # a second time into the same folder
        done = CliRunner().invoke(main, ["demo", "--output", str(folder), "--pictures", "14"])
        assert done.exit_code == 0, done.output
    assert "the same confusion matrix" in done.output
    miou = float(re.findall(r"\| global \| ([\d.]+)", done.output)[0])
    assert 80 < miou < 100
    assert str(folder / "run/report/index.html") in done.stdout.splitlines()[-1]
    assert "<svg" in (folder / "run/report/index.html").read_text()
    split = (folder / "VOC2012/ImageSets/Segmentation/train.txt").read_text().split()
    assert split and {int(name.removeprefix("scene_")) for name in split} <= set(TRAINING)
    assert json.loads((folder / "run/run.json").read_text())["pictures"] == 14


@pytest.mark.usefixtures("needs_run")
def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").write_text("mine")
    done = CliRunner().invoke(main, ["demo", "--output", str(tmp_path), "--pictures", "1"])
    assert done.exit_code == 2
    assert "has other things in it" in done.output
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "mine.txt"]


@pytest.mark.usefixtures("needs_run")
def test_it_needs_no_more_than_its_extra(tmp_path: Path) -> None:
    """With PyTorch and ONNX out of reach, as after pip install 'pspfast[run]'."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'onnx', 'onnxsim')))\n"
        "from pspfast.cli.main import main\n"
        "main(['demo', '--output', sys.argv[1], '--pictures', '2', '--quiet'])"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "demo")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == str(tmp_path / "demo/run/report/index.html")


def test_scenes_that_the_network_knows_are_not_scored(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["demo", "--output", str(tmp_path / "demo"), "--pictures", str(TRAINING.start + 1)])
    assert done.exit_code == 2
    assert not (tmp_path / "demo").exists()
