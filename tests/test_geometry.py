from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pspfast import Letterbox

sides = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("picture", "resized", "offset"),
    [
        ((375, 500), (375, 500), (62, 0)),
        ((500, 333), (500, 333), (0, 83)),
        ((1200, 1800), (333, 500), (83, 0)),
        ((281, 500), (281, 500), (109, 0)),
        ((1, 4000), (1, 500), (249, 0)),  # floor(1 * scale) would be 0
        ((7, 5), (500, 357), (0, 71)),
        ((1, 1), (500, 500), (0, 0)),
    ],
)
def test_fit(picture: tuple[int, int], resized: tuple[int, int], offset: tuple[int, int]) -> None:
    box = Letterbox.fit(picture, (500, 500))
    assert (box.resized, box.offset) == (resized, offset)
    assert box.is_scaled == (picture != resized)


def test_fit_without_scaling_up() -> None:
    box = Letterbox.fit((30, 40), (101, 200), scale_up=False)
    assert (box.scale, box.resized, box.offset, box.padding) == (1.0, (30, 40), (35, 80), (35, 36, 80, 80))
    assert Letterbox.fit((300, 400), (100, 200), scale_up=False) == Letterbox.fit((300, 400), (100, 200))


@given(sides, sides, sides, sides, st.booleans())
def test_fit_properties(height: int, width: int, canvas_height: int, canvas_width: int, scale_up: bool) -> None:
    box = Letterbox.fit((height, width), (canvas_height, canvas_width), scale_up=scale_up)
    top, bottom, left, right = box.padding
    assert min(box.padding) >= 0
    assert top + box.resized[0] + bottom == canvas_height
    assert left + box.resized[1] + right == canvas_width
    assert 0 <= bottom - top <= 1
    assert 0 <= right - left <= 1
    assert Letterbox.from_json(box.to_json()) == box
    # Some axis fills the canvas but for a rounding error of floor(side * scale), as in the published script.
    if scale_up:
        assert canvas_height - box.resized[0] <= 1 or canvas_width - box.resized[1] <= 1


@given(sides, sides, st.floats(0, 1), st.floats(0, 1))
def test_inverse_undoes_forward(height: int, width: int, down: float, right: float) -> None:
    box = Letterbox.fit((height, width), (500, 512))
    y, x = down * (height - 1), right * (width - 1)
    back = box.inverse(*box.forward(y, x))
    assert math.isclose(back[0], y, abs_tol=1e-6)
    assert math.isclose(back[1], x, abs_tol=1e-6)


def test_coordinates_are_pixel_centres() -> None:
    box = Letterbox.fit((250, 100), (500, 500))  # twice as large
    assert box.forward(0, 0) == (0.5, 150.5)
    assert box.inverse(0.5, 150.5) == (0, 0)


def test_numpy_sizes_become_plain_ints() -> None:
    box = Letterbox.fit((np.int64(375), np.int32(500)), (500, 500))
    assert [type(side) for side in box.picture] == [int, int]
    json.loads(box.to_json())


@pytest.mark.parametrize("picture", [(0, 5), (5, -1)])
def test_fit_refuses_values(picture: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Letterbox.fit(picture, (500, 500))


@pytest.mark.parametrize("picture", [(5.0, 5), (5,), "55", None, (5, 5, 3), (True, 5)])
def test_fit_refuses_types(picture: object) -> None:
    with pytest.raises(TypeError, match="two integers"):
        Letterbox.fit(picture, (500, 500))  # type: ignore[arg-type]


GOOD = Letterbox.fit((375, 500), (500, 500)).to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0},
        {"scale": float("nan")},
        {"scale": "1"},
        {"scale": True},
        {"picture": [375]},
        {"picture": [375.0, 500]},
        {"offset": [-1, 0]},
        {"offset": [126, 0]},
        {"canvas": [500, 499]},
        {"extra": 1},
    ],
)
def test_from_dict_refuses(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Letterbox.from_dict({**GOOD, **change})


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '{"picture": [1, 1]}'])
def test_from_json_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        Letterbox.from_json(text)
