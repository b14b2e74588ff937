"""A class without labels while much is ignored is said: masks of 0 and 255 have their class where 255 is ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pspfast import ConfusionMatrix
from pspfast.cli.main import main
from pspfast.datasets import VOC
from pspfast.formats.result import Result


def caveats(labels: Any, classes: tuple[str, ...] = ("ground", "thing"), **rules: Any) -> list[str]:
    matrix = ConfusionMatrix(len(classes), rules.pop("ignore_index", 255), **rules)
    array = np.asarray(labels)
    matrix.update(np.zeros_like(array), array)
    source = (("ignore_index", matrix.ignore_index), ("reduce_zero_label", matrix.reduce_zero_label))
    told = Result.of(matrix, classes, 1, source=source).caveats()
    return [line for line in told if "no labels" in line]  # what is said of predictions is another matter


def test_masks_of_0_and_255() -> None:
    (told,) = caveats([[0, 0, 0, 255]])
    assert told == (
        "1 class has no labels (thing), while 25.0% of the pixels are ignored (label 255); if 255 stands for a class, "
        "--label-map 255:1 says so."
    )
    assert caveats([[0, 0, 0, 255]], label_map={255: 1}) == []  # which is what it advises
    (told,) = caveats([[0] * 99 + [255]])  # however small the class is
    assert "1.0% of the pixels" in told
    (told,) = caveats([[0, 255]], VOC.classes)
    assert told.startswith("20 classes have no labels (aeroplane, bicycle, bird, ...)") and "255:CLASS" in told


def test_one_of_several_classes_is_ignored() -> None:
    (told,) = caveats([[0] * 8 + [1] * 4 + [255] * 4], ("ground", "thing", "other"))
    assert "(other), while 25.0%" in told and "255:2" in told
    (told,) = caveats([[1, 1, 7]], ignore_index=7)
    assert "label 7" in told and "7:0" in told


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([[0, 1, 255, 255]], ("a", "b")),  # every class occurs
        ([[0] * 60 + [15] * 35 + [255] * 5], VOC.classes),  # outlines
        ([[0, 0]], ("a", "b")),  # nothing is ignored
    ],
)
def test_what_is_usual_is_not_said(labels: Any, classes: tuple[str, ...]) -> None:
    assert caveats(labels, classes) == []


def test_a_label_that_was_moved_is_not_named() -> None:
    (told,) = caveats([[0, 0, 1, 1]], reduce_zero_label=True)
    assert told == "1 class has no labels (thing), while 50.0% of the pixels are ignored."


def test_postprocess_says_so(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "dumps").mkdir()
    Image.fromarray(np.array([[0, 255], [0, 255]], np.uint8)).save(tmp_path / "labels/a.png")
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    np.array([[0, 1], [0, 1]], np.int32).tofile(tmp_path / "dumps/a_1.bin")
    line = [
        "postprocess", "--bin-data-path", tmp_path / "dumps", "--ann-dir", tmp_path / "labels", "--net-input-width", 2,
        "--net-input-height", 2, "--dataset", "folder", "--classes", tmp_path / "classes.txt", "--result-file",
        tmp_path / "r.txt",
    ]  # fmt: skip
    done = CliRunner().invoke(main, list(map(str, line)))
    assert done.exit_code == 0, done.output
    assert "1 class has no labels (thing), while 50.0% of the pixels are ignored (label 255)" in done.stdout
    done = CliRunner().invoke(main, [*map(str, line), "--label-map", "255:1"])
    assert "| global | 100.0 |" in done.stdout and "no labels" not in done.stdout
