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
from pspfast.oracle import PAINTINGS, WAYS_BACK, oracle, paint, take_out

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


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pspfast.cli", "oracle", *map(str, arguments)]
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
