from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pspfast
from tests import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

ISAS = pspfast.isa()["runnable"]

# Around vector widths, round 500, and everything that makes an axis shrink, grow or stay.
WIDTHS = (*range(1, 98), 127, 128, 129, 255, 257, 333, 374, 375, 498, 499, 500, 501, 502, 640, 997, 1000, 1001)


def random_picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng([height, width, seed]).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(got: NDArray[Any], wanted: NDArray[Any]) -> None:
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    differing = int((reference.bits(got) != reference.bits(wanted)).sum())
    assert differing == 0, f"{differing} of {wanted.size} values differ"


@pytest.mark.parametrize("width", WIDTHS)
def test_equals_opencv_and_mmcv(width: int, isa: str) -> None:
    for height in {1, 2, 3, width // 2 + 1, max(1, width - 1), width + 7, 375}:
        picture = random_picture(height, width)
        for size in ((500, 500), (64, 97), (33, 31)):
            if height * width > 300_000 and size != (500, 500):
                continue
            assert_same(pspfast.letterbox(picture, size, isa=isa), reference.letterbox(picture, size))


@pytest.mark.parametrize(("height", "width"), [(1000, 750), (1000, 998), (998, 1000), (2, 1000), (194, 66), (62, 40)])
def test_exact_halving_is_an_average(height: int, width: int, isa: str) -> None:
    """cv2 turns an exact 2x reduction of both axes into INTER_AREA."""
    picture = random_picture(height, width)
    size = (height // 2, width // 2)
    got = pspfast.letterbox(picture, size, isa=isa)
    assert_same(got, reference.letterbox(picture, size))
    quads = picture.reshape(height // 2, 2, width // 2, 2, 3).astype(int).sum(axis=(1, 3))
    exact = pspfast.letterbox(((quads + 2) >> 2).astype(np.uint8), size, isa=isa)
    assert_same(got, exact)


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.sampled_from(["float16", "exact"]),
    st.sampled_from([np.float16, np.float32]),
    st.booleans(),
    st.booleans(),
    st.floats(-65504, 65504, width=32),
    st.integers(0, 2**32),
)
@settings(max_examples=300, deadline=None)
def test_every_option_equals_opencv(
    height: int,
    width: int,
    size: tuple[int, int],
    stats: Any,
    dtype: Any,
    swap: bool,
    scale_up: bool,
    pad_value: float,
    seed: int,
) -> None:
    picture = random_picture(height, width, seed)
    options: dict[str, Any] = {
        "stats": stats,
        "dtype": dtype,
        "swap_channels": swap,
        "scale_up": scale_up,
        "pad_value": pad_value,
    }
    wanted = reference.letterbox(picture, size, **options)
    for isa in ISAS:
        assert_same(pspfast.letterbox(picture, size, **options, isa=isa), wanted)


def test_other_constants(isa: str) -> None:
    picture = random_picture(90, 120)
    mean, std = (0.0, 127.5, 255.0), (1.0, 255.0, 0.003)
    for stats in ("float16", "exact"):
        got = pspfast.letterbox(picture, (60, 61), mean=mean, std=std, stats=stats, isa=isa)
        assert_same(got, reference.letterbox(picture, (60, 61), mean=mean, std=std, stats=stats))


def test_extreme_downscale(isa: str) -> None:
    picture = random_picture(3000, 4001)
    assert_same(pspfast.letterbox(picture, (7, 9), isa=isa), reference.letterbox(picture, (7, 9)))


@pytest.mark.parametrize("size", [(375, 500), (120, 97), (500, 500)])
def test_views_are_read_in_place_or_copied(size: tuple[int, int], isa: str) -> None:
    large = random_picture(460, 560)
    views = {
        "crop": large[11:386, 7:507],
        "every second row": large[::2],
        "upside down": large[::-1],
        "mirrored": large[:, ::-1],
        "channels reversed": large[..., ::-1],
        "every third column": large[:, ::3],
        "column major": np.asfortranarray(large),
        "one column": large[:, 5:6],
        "transposed": large.transpose(1, 0, 2),
    }
    for name, view in views.items():
        before = view.copy()
        view.flags.writeable = False
        got = pspfast.letterbox(view, size, isa=isa)
        assert_same(got, reference.letterbox(np.ascontiguousarray(view), size))
        assert (view == before).all(), name


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_out_is_filled_returned_and_never_overrun(dtype: Any, isa: str) -> None:
    picture = random_picture(90, 120)
    wanted = reference.letterbox(picture, (70, 81), dtype=dtype)
    # Slot 1 of a batch at an odd element offset, guards round it.
    guard = np.full(1 + 3 * wanted.size + 16, 12344, dtype)
    batch = guard[1 : 1 + 3 * wanted.size].reshape(3, *wanted.shape)
    slot = batch[1]
    assert pspfast.letterbox(picture, out=slot, isa=isa) is slot
    assert_same(np.ascontiguousarray(slot), wanted)
    assert (batch[0] == 12344).all()
    assert (batch[2] == 12344).all()
    assert guard[0] == 12344
    assert (guard[-16:] == 12344).all()


def test_geometry_is_taken_as_given() -> None:
    picture = random_picture(40, 50)
    box = pspfast.Letterbox.fit((40, 50), (100, 90), scale_up=False)
    assert_same(pspfast.letterbox(picture, geometry=box), reference.letterbox(picture, (100, 90), scale_up=False))
    moved = pspfast.Letterbox((40, 50), (100, 90), 1.0, (40, 50), (0, 0))
    got = pspfast.letterbox(picture, geometry=moved)
    assert (got[:, 40:] == 0).all()
    with pytest.raises(ValueError, match="geometry"):
        pspfast.letterbox(random_picture(41, 50), geometry=box)
    with pytest.raises(ValueError, match="canvas"):
        pspfast.letterbox(picture, (90, 100), geometry=box)


PICTURE = np.zeros((4, 5, 3), np.uint8)
READ_ONLY = np.zeros((3, 8, 8), np.float16)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("error", "text", "image", "options"),
    [
        (TypeError, "float32", PICTURE.astype(np.float32), {}),
        (TypeError, "list", [[1]], {}),
        (TypeError, "int8", PICTURE.astype(np.int8), {}),
        (ValueError, "height, width, 3", np.zeros((4, 5), np.uint8), {}),
        (ValueError, "height, width, 3", np.zeros((4, 5, 4), np.uint8), {}),
        (ValueError, "pixels", np.zeros((0, 5, 3), np.uint8), {}),
        (ValueError, "pixels", np.zeros((5, 0, 3), np.uint8), {}),
        (ValueError, "at least 1", PICTURE, {"size": (0, 5)}),
        (TypeError, "two integers", PICTURE, {"size": (5.5, 5)}),
        (TypeError, "float64", PICTURE, {"dtype": np.float64}),
        (TypeError, "int16", PICTURE, {"out": np.zeros((3, 8, 8), np.int16)}),
        (TypeError, "dtype says", PICTURE, {"out": np.zeros((3, 8, 8), np.float16), "dtype": np.float32}),
        (ValueError, "shape", PICTURE, {"out": np.zeros((8, 8, 3), np.float16)}),
        (ValueError, "shape", PICTURE, {"out": np.zeros((3, 8, 8), np.float16), "size": (8, 9)}),
        (ValueError, "contiguous", PICTURE, {"out": np.zeros((8, 8, 3), np.float16).transpose(2, 0, 1)}),
        (ValueError, "writeable", PICTURE, {"out": READ_ONLY}),
        (ValueError, "positive", PICTURE, {"std": (1, 0, 1)}),
        (ValueError, "positive", PICTURE, {"std": (1e-9, 1, 1)}),  # 0 once rounded to float16
        (ValueError, "three numbers", PICTURE, {"mean": (1, 2)}),
        (ValueError, "pad_value must be finite", PICTURE, {"pad_value": float("nan")}),
        (ValueError, "pad_value must be finite", PICTURE, {"pad_value": float("-inf"), "dtype": np.float32}),
        (ValueError, "pad_value must fit float16, got -70000.0; take", PICTURE, {"pad_value": -70000.0}),
        (ValueError, "fit float16", PICTURE, {"pad_value": 7e4, "out": np.zeros((3, 8, 8), np.float16)}),
        (ValueError, "pad_value must fit float32", PICTURE, {"pad_value": 1e39, "dtype": np.float32}),
        (ValueError, "three numbers", PICTURE, {"mean": (1, 2, "x")}),
        (ValueError, "finite|fit", PICTURE, {"mean": (1, 2, float("nan"))}),
        (ValueError, "stats", PICTURE, {"stats": "float32"}),
        (RuntimeError, "expected one of", PICTURE, {"isa": "sse9"}),
    ],
)
def test_bad_arguments(error: type[Exception], text: str, image: Any, options: dict[str, Any]) -> None:
    with pytest.raises(error, match=text):
        pspfast.letterbox(image, **options)


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (
            {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
            "mean 123.675 116.28 103.53 and std 58.395 57.12 57.375 "
            "(--mean 123.675 116.28 103.53 --std 58.395 57.12 57.375)",
        ),
        ({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}, "mean 127.5 127.5 127.5 and std"),
        ({"mean": (0.485, 0.456, 0.406)}, "meant: mean 123.675 116.28 103.53 (--mean 123.675 116.28 103.53)"),
        ({"mean": (0, 0, 0), "std": (0.229, 0.224, 0.225)}, "meant: std 58.395 57.12 57.375 (--std"),
        ({"std": (0.229, 0.224, 0.225), "stats": "exact"}, "meant: std 58.395"),
        ({"mean": (-1, -1, -1)}, "for pictures in 0..1"),
    ],
)
def test_constants_for_pictures_in_0_to_1(options: dict[str, Any], meant: str) -> None:
    with pytest.raises(ValueError, match=r"for pictures in 0\.\.1") as refused:
        pspfast.letterbox(PICTURE, **options)
    assert meant in str(refused.value)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0, 0, 0), (1, 1, 1)),
        ((0, 0, 0), (255, 255, 255)),
        ((103.94, 116.78, 123.68), (1, 1, 1)),
        ((1, 2, 3), (1, 2, 0.5)),
    ],
)
def test_constants_for_bytes_are_taken(mean: Any, std: Any) -> None:
    got = pspfast.letterbox(PICTURE, mean=mean, std=std)
    assert_same(got, reference.letterbox(PICTURE, mean=mean, std=std))


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ISAS)
def test_environment_chooses_the_isa(name: str) -> None:
    done = run_python("import pspfast; print(pspfast.isa()['active'])", PSPFAST_ISA=name)
    assert done.stdout.strip() == name, done.stderr


@pytest.mark.parametrize("name", ["sse9", "AVX2 ", "neon" if "neon" not in ISAS else "avx2"])
def test_environment_with_a_wrong_isa_raises(name: str) -> None:
    done = run_python("import pspfast; pspfast.isa()", PSPFAST_ISA=name)
    assert done.returncode != 0
    assert "RuntimeError: PSPFAST_ISA: instruction set" in done.stderr


def test_import_is_light() -> None:
    done = run_python(
        "import sys, pspfast; heavy = {'torch', 'onnx', 'cv2', 'numpy', 'rich', 'click'} & set(sys.modules);"
        "assert not heavy, heavy; pspfast.letterbox; heavy = {'torch', 'onnx', 'cv2', 'PIL'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_public_names_exist() -> None:
    for name in pspfast.__all__:
        assert getattr(pspfast, name) is not None
        assert name in dir(pspfast)
    assert pspfast.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pspfast.no_such_name


def test_an_output_that_overlaps_the_picture() -> None:
    memory = np.random.default_rng(4).integers(0, 255, 60_000).astype(np.uint8)
    image, out = memory[:36_000].reshape(100, 120, 3), memory[100:48_100].view(np.float16)[:7500].reshape(3, 50, 50)
    wanted = pspfast.letterbox(image.copy(), (50, 50))
    pspfast.letterbox(image, out=out)
    assert np.array_equal(out.view(np.uint16), wanted.view(np.uint16))


@pytest.mark.parametrize("mean", [5, None, [[1, 2, 3]], [[1], [2], [3]], (1, 2), "abc", (10**400, 1, 1)])
def test_constants_that_are_none(mean: object) -> None:
    with pytest.raises(ValueError, match="mean must be three numbers"):
        pspfast.letterbox(np.zeros((2, 3, 3), np.uint8), mean=mean)  # type: ignore[arg-type]
