"""Small integer types beside numbers that they cannot hold, which newer NumPy refuses to mix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from pspfast import BoundaryIoU, ConfusionMatrix, Letterbox
from pspfast.datasets import palette
from pspfast.pictures.colouring import coloured
from pspfast.stages.counting import classes_of_picture, save_mask

SMALL = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64, np.bool_)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("classes", [1, 2, 100, 255, 256, 257, 300, 1000, 65_000])
def test_every_type_with_every_number_of_classes(kind: Any, classes: int, tmp_path: Any) -> None:
    values = np.array([0, 1, 1, 0, 99, 120], np.int64).astype(kind).reshape(2, 3)
    plain = values.astype(np.int64)
    void = 255 if classes <= 256 else 65_535
    wanted = np.where((plain < 0) | (plain >= classes), void, plain)
    box = Letterbox.fit((2, 3), (2, 3))
    assert classes_of_picture(values, box, "exact", classes).tolist() == wanted.tolist()
    save_mask(str(tmp_path / "a.png"), values, box, "exact", classes, palette())
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).tolist() == wanted.tolist()
    assert coloured(values.astype(kind), palette()).tolist() == coloured(plain, palette()).tolist()
    boundary, matrix = BoundaryIoU(classes), ConfusionMatrix(classes)
    boundary.update(values, plain)
    matrix.update(values, plain)
    other = BoundaryIoU(classes)
    other.update(plain, plain)
    assert boundary.areas().predicted.tolist() == other.areas().predicted.tolist()
