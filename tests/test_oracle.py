"""Labels through the letterbox and back."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pspfast import Letterbox, unpad
from pspfast.accuracy.best_possible import PAINTINGS, WAYS_BACK, oracle, paint, take_out

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

sides = st.integers(1, 40)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 100 + width).integers(0, 21, (height, width), dtype=np.uint8)


@given(sides, sides, st.integers(40, 97), st.integers(40, 97))
def test_each_way_back_undoes_its_painting(height: int, width: int, rows: int, columns: int) -> None:
    """Nothing is lost where pictures are not scaled down: by the exact way, nor by half-pixel nearest its own way."""
    labels, box = noise(height, width), Letterbox.fit((height, width), (rows, columns))
    assert np.array_equal(take_out(paint(labels, box, "where it is read"), box, "exact"), labels)
    assert np.array_equal(take_out(paint(labels, box, "where it is"), box, "half-pixel nearest"), labels)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(3, 64), st.integers(3, 64), st.sampled_from(PAINTINGS))
def test_painting_fills_the_picture_and_nothing_else(
    height: int, width: int, rows: int, columns: int, painting: Any
) -> None:
    labels, box = noise(height, width) + 1, Letterbox.fit((height, width), (rows, columns))
    canvas = paint(labels, box, painting)
    (top, left), (inside_height, inside_width) = box.crop()
    inside = np.zeros(canvas.shape, bool)
    inside[top : top + inside_height, left : left + inside_width] = True
    assert canvas.shape == (rows, columns)
    assert np.array_equal(canvas > 0, inside) and (canvas[~inside] == -1).all()


def test_exact_and_reference_are_the_kernel() -> None:
    labels, box = noise(13, 20), Letterbox.fit((13, 20), (32, 32))
    canvas = paint(labels, box, "where it is read")
    assert np.array_equal(take_out(canvas, box, "exact"), unpad(canvas, box))
    assert np.array_equal(take_out(canvas, box, "reference crop"), unpad(canvas, box, rule="reference"))


def test_real_labels(shared_data: Path) -> None:
    files = sorted(map(str, (shared_data / "voc/VOC2012/SegmentationClass").glob("*.png")))
    findings, failures = oracle(files)
    assert not failures and len(findings) == 2 * len(WAYS_BACK)
    scores = {
        (finding.canvas[0], finding.way_back, painting): matrix.miou()
        for finding in findings
        for painting, matrix in finding.pictures.items()
    }
    assert scores[500, "exact", "where it is read"] == scores[512, "exact", "where it is read"] == 1
    assert scores[500, "half-pixel nearest", "where it is"] == scores[512, "half-pixel nearest", "where it is"] == 1
    assert len([score for score in scores.values() if score == 1]) == 4  # every other rule loses something
    assert 0.98 < scores[512, "exact", "where it is"] < 0.99


def test_a_reference_crop_of_nothing_gets_nothing_right(tmp_path: Path) -> None:
    """Columns from 60 on, and those before 100 - 60."""
    labels, box = noise(100, 80), Letterbox.fit((100, 80), (100, 200))
    with pytest.raises(ValueError, match="leaves nothing"):
        box.crop("reference")
    canvas = paint(labels, box, "where it is")
    assert np.array_equal(take_out(canvas, box, "reference crop"), np.full((100, 80), -1))
    assert np.array_equal(take_out(canvas, box, "half-pixel nearest"), labels)
    Image.fromarray(labels).save(tmp_path / "a.png")
    findings, failures = oracle([str(tmp_path / "a.png")], canvases=[(100, 200)])
    assert not failures
    assert [finding.pictures["where it is"].miou() for finding in findings] == [1, 0, 1]


def test_a_canvas_named_twice_is_one(tmp_path: Path) -> None:
    Image.fromarray(noise(10, 8)).save(tmp_path / "a.png")
    findings, _ = oracle([str(tmp_path / "a.png")], canvases=[(16, 16), (16, 16)])
    assert len(findings) == len(WAYS_BACK) and findings[0].pictures["where it is"].total == 80


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_pictures_of_any_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.fromarray(noise(*shape)).save(tmp_path / "a.png")
    findings, failures = oracle([str(tmp_path / "a.png")], canvases=[(500, 500), (7, 900), (1, 1)])
    assert not failures
    for finding in findings:
        group = finding.pictures if Letterbox.fit(shape, finding.canvas).scale >= 1 else finding.scaled_down
        assert all(matrix.total == shape[0] * shape[1] for matrix in group.values())


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pspfast.cli.main", "oracle", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command(tmp_path: Path) -> None:
    for name, shape in (("small", (30, 50)), ("large", (90, 70))):
        Image.fromarray(noise(*shape)).save(tmp_path / f"{name}.png")
    found = run("--ann-dir", tmp_path, "--canvas", "64", "64", "--quiet")
    assert found.returncode == 0, found.stderr
    not_scaled, scaled = found.stdout.split("Pictures that are scaled down")
    assert "| 64x64  | exact              | 100.00 " in not_scaled
    assert "100.00" not in scaled
    (tmp_path / "broken.png").write_bytes(b"no")
    found = run("--ann-dir", tmp_path, "--canvas", "64", "64", "--quiet", "--workers", "2")
    assert found.returncode == 1 and "broken.png: not a picture" in found.stderr


def test_command_about_16_bit_labels(tmp_path: Path) -> None:
    """Of which 255 is a class like others, unless it is ignored."""
    Image.fromarray(np.array([[299, 255, 0]], np.uint16)).save(tmp_path / "a.png")
    (tmp_path / "classes").write_text("".join(f"c{index}\n" for index in range(299)))
    arguments = ("--ann-dir", tmp_path, "--canvas", 1, 1, "--classes", tmp_path / "classes", "--quiet")
    told = "1 pixels are labelled as none of 299 classes; they do not count"
    for ignored, score in (((), "100.00"), (("--ignore-index", "none"), "25.00")):
        found = run(*arguments, *ignored)
        assert (found.returncode, found.stderr.strip()) == (0, told)
        assert f"| exact              | {score} " in found.stdout


def test_command_without_labels_of_a_class(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(tmp_path / "a.png")
    found = run("--ann-dir", tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (1, "", "no pixel is labelled as a class\n")


def test_command_takes_no_hidden_files_nor_folders(tmp_path: Path) -> None:
    Image.fromarray(noise(3, 4)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "b.png").mkdir()
    found = run("--ann-dir", tmp_path, "--quiet")
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--ann-dir", "{empty}"), 2, "no label pictures"),
        (("--ann-dir", "{empty}/nowhere"), 2, "No such file or directory"),
        (("--ann-dir", "{empty}", "--split", "{split}"), 1, "no label picture could be used"),
        (("--ann-dir", "{empty}", "--canvas", "0", "5"), 2, ""),
    ],
)
def test_command_refuses(tmp_path: Path, arguments: tuple[str, ...], status: int, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "split").write_text("a\n")
    done = run(*(argument.format(empty=tmp_path / "empty", split=tmp_path / "split") for argument in arguments))
    assert done.returncode == status and reason in done.stderr and "Traceback" not in done.stderr
