"""Pooling windows: PyTorch's own, the published export's, and the modules that take the place of adaptive pools."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pspfast.graphs.pool_windows import (
    average_matrix,
    is_published_pool_exact,
    nearest_sizes,
    published_pool,
    uniform_window,
    windows,
)

SIZES = st.integers(1, 300)
BINS = st.integers(1, 40)
SCALES = (1, 2, 3, 6)


@given(SIZES, BINS)
def test_windows_cover_the_axis_in_order(size: int, bins: int) -> None:
    spans = windows(size, bins)
    assert len(spans) == bins and spans[0][0] == 0 and spans[-1][1] == size
    assert all(start < stop for start, stop in spans)
    assert all(left[0] <= right[0] <= left[1] <= right[1] for left, right in pairwise(spans))


@given(SIZES, BINS)
def test_rows_of_the_matrix_are_averages(size: int, bins: int) -> None:
    matrix = average_matrix(size, bins)
    assert matrix.dtype == np.float64 and matrix.shape == (bins, size)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-14)
    values = np.random.default_rng(0).standard_normal(size)
    np.testing.assert_allclose(matrix @ values, [values[a:b].mean() for a, b in windows(size, bins)], atol=1e-12)


@pytest.mark.parametrize(("size", "bins"), [(0, 1), (1, 0), (-3, 2), (5, -1)])
def test_sizes_that_are_none_are_refused(size: int, bins: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        windows(size, bins)


@given(SIZES, BINS)
@example(63, 6)
@example(64, 6)
def test_a_uniform_window_is_that_of_every_bin(size: int, bins: int) -> None:
    spans = windows(size, bins)
    window = uniform_window(size, bins)
    lengths = {stop - start for start, stop in spans}
    assert (window is None) == (len(lengths) > 1)
    if window is not None:
        length, step = window
        assert lengths == {length}
        steps = {right[0] - left[0] for left, right in pairwise(spans)}
        assert (steps == {step}) if step and bins > 1 else (bins == 1 or len(steps) > 1 or steps == {0})


@pytest.mark.parametrize(
    ("bins", "kernel", "stride", "exact"), [(1, 63, 63, True), (2, 32, 31, True), (3, 21, 21, True), (6, 13, 10, False)]
)
def test_the_published_export_of_500_pixels(bins: int, kernel: int, stride: int, exact: bool) -> None:
    assert published_pool(63, bins) == (kernel, stride)
    assert is_published_pool_exact(63, bins) is exact


def test_the_published_pool_is_exact_for_all_scales_only_sometimes() -> None:
    exact = [size for size in range(12, 73) if all(is_published_pool_exact(size, bins) for bins in SCALES)]
    assert {12, 18, 24, 60, 66, 72} <= set(exact) and 63 not in exact and 64 not in exact


def test_the_published_pool_needs_a_pixel_a_bin() -> None:
    with pytest.raises(ValueError, match="6 bins of 5 pixels"):
        published_pool(5, 6)


def test_nearest_sizes_look_both_ways() -> None:
    assert nearest_sizes(10, lambda size: size % 4 == 0, count=2, reach=8) == [4, 8, 12, 16]
    assert nearest_sizes(2, lambda size: size < 2) == [1]
    assert nearest_sizes(5, lambda _: False) == []


# -- against PyTorch ---------------------------------------------------------------------------------------------------


def replaced(size: tuple[int, int], bins: Any, kind: Any) -> Any:
    from torch import nn

    from pspfast.export.pspnet import replace_pooling

    model = nn.Sequential(nn.AdaptiveAvgPool2d(bins))
    replace_pooling(model, size, kind)
    return model


def difference(size: tuple[int, int], bins: Any, kind: Any) -> float:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's pooling")
    generator = torch.Generator().manual_seed(size[0] * 1000 + size[1])
    maps = torch.randn(2, 2, *size, generator=generator)
    expected = torch.nn.functional.adaptive_avg_pool2d(maps, bins)
    actual = replaced(size, bins, kind)(maps)
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max())


def partner(size: int) -> int:
    """Another width for a height, of another remainder by 6, small so that it costs little."""
    return 7 + (size * 5) % 31


@pytest.mark.parametrize("bins", SCALES)
def test_matmul_pooling_is_exact_for_every_size(bins: int) -> None:
    pytest.importorskip("torch", reason="compares with PyTorch's pooling")
    worst = {}
    for size in range(12, 301):
        worst[size] = max(difference((size, partner(size)), bins, "matmul"), difference((7, size), bins, "matmul"))
    assert {size: value for size, value in worst.items() if value > 1e-5} == {}


@pytest.mark.parametrize("bins", SCALES)
def test_cascade_pooling_is_exact_or_refused_for_every_size(bins: int) -> None:
    pytest.importorskip("torch", reason="compares with PyTorch's pooling")
    exact, worst = [], {}
    for size in range(12, 301):
        window = uniform_window(size, bins)
        if window is None or window[0] > 255:
            with pytest.raises(ValueError, match=f"cascade pooling is not exact here: {size} pixels in {bins} bins"):
                replaced((size, size), bins, "cascade")
            continue
        exact.append(size)
        worst[size] = max(difference((size, 12), bins, "cascade"), difference((12, size), bins, "cascade"))
    assert {size: value for size, value in worst.items() if value > 1e-5} == {}
    assert {60, 63, 66} <= set(exact) and (64 in exact) == (bins != 6)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 12), st.integers(1, 12))
@example(3, 5, 6, 6)
@example(1, 1, 6, 2)
@settings(deadline=None)
def test_any_bins_of_any_size(height: int, width: int, rows: int, columns: int) -> None:
    assert difference((height, width), (rows, columns), "matmul") <= 1e-5
    if uniform_window(height, rows) and uniform_window(width, columns):
        assert difference((height, width), (rows, columns), "cascade") <= 1e-5


@pytest.mark.parametrize("kind", ["matmul", "cascade"])
@pytest.mark.parametrize("bins", [(None, 1), (2, None), (None, None)])
def test_an_axis_that_is_not_pooled_stays(kind: str, bins: tuple[int | None, int | None]) -> None:
    assert difference((10, 12), bins, kind) <= 1e-6


def test_the_batch_does_not_matter_to_the_matmul_pooling() -> None:
    torch = pytest.importorskip("torch", reason="runs modules")
    pool = replaced((13, 9), 6, "matmul")
    maps = torch.randn(5, 3, 13, 9)
    together = pool(maps)
    assert all((pool(one[None])[0] - each).abs().max() < 1e-6 for one, each in zip(maps, together, strict=True))


def test_replaced_pools_leave_the_state_dict_as_it_is() -> None:
    pytest.importorskip("torch", reason="runs modules")
    assert list(replaced((13, 9), 6, "matmul").state_dict()) == []


def test_native_changes_nothing_and_other_kinds_are_refused() -> None:
    torch = pytest.importorskip("torch", reason="runs modules")
    assert isinstance(replaced((13, 9), 6, "native")[0], torch.nn.AdaptiveAvgPool2d)
    with pytest.raises(ValueError, match="matmul, cascade or native, got 'average'"):
        replaced((13, 9), 6, "average")


def test_a_refused_cascade_says_why_and_what_would_do() -> None:
    pytest.importorskip("torch", reason="runs modules")
    with pytest.raises(ValueError) as caught:
        replaced((64, 64), 6, "cascade")
    text = str(caught.value)
    assert "64 pixels in 6 bins have windows of 11 and 12 pixels (0..10, 10..21" in text
    assert "maps of 62, 63, 66, 67 pixels" in text and "matmul" in text


def test_a_cascade_is_refused_beyond_a_kernel_of_255() -> None:
    pytest.importorskip("torch", reason="runs modules")
    with pytest.raises(ValueError, match="windows of 256 pixels; Ascend pools 255 at most"):
        replaced((256, 20), 1, "cascade")


def test_a_refused_replacement_leaves_the_network_as_it_was() -> None:
    torch = pytest.importorskip("torch", reason="runs modules")
    from pspfast.export.pspnet import replace_pooling

    model = torch.nn.ModuleList(torch.nn.AdaptiveAvgPool2d(bins) for bins in SCALES)
    with pytest.raises(ValueError, match="not exact"):
        replace_pooling(model, (64, 64), "cascade")
    assert all(isinstance(pool, torch.nn.AdaptiveAvgPool2d) for pool in model)
