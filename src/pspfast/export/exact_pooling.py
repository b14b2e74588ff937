"""Exact pyramid pooling in place of adaptive average pools, in any network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

from pspfast.graphs import pool_windows as pooling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

__all__ = ["CascadePool", "MatmulPool", "PoolingKind", "feature_size", "pool_sizes", "prepare", "replace_pooling"]

PoolingKind = Literal["matmul", "cascade", "native"]


# The documented limits of Ascend's AveragePool (docs/export.md).
_MOST_KERNEL_SIDE, _MOST_STRIDE = 255, 63


class MatmulPool(nn.Module):
    """Adaptive average pooling as a product with a matrix from either side; exact for every size.

    One matrix a side rather than one for all bins of all scales at once: it takes the place of one adaptive pool in
    whatever network, its tensors keep four dimensions, and nothing of it depends on the batch. The single product would
    save 2.5 ms of 3.3 s (docs/export.md).

    Args:
        size: ``(h, w)`` of the maps.
        bins: of the output; ``None`` leaves an axis as it is.
    """

    def __init__(self, size: tuple[int, int], bins: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.size, self.bins = size, bins
        rows, columns = (
            None if one is None else torch.from_numpy(pooling.average_matrix(side, one)).float()
            for side, one in zip(size, bins, strict=True)
        )
        # Not in the state dict: checkpoints know nothing of it.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", None if columns is None else columns.t().contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Average ``(N, C, H, W)`` to ``(N, C, *bins)``."""
        if self.columns is not None:
            x = torch.matmul(x, self.columns)
        return x if self.rows is None else torch.matmul(self.rows, x)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"size={self.size}, bins={self.bins}"


class CascadePool(nn.Module):
    """Adaptive average pooling as average pools along one axis each, where all windows of an axis have the same length.

    Windows that are not evenly spaced are picked from the averages of every position.

    Args:
        size, bins: as for :class:`MatmulPool`.

    Raises:
        ValueError: the windows of an axis differ, or are beyond what Ascend's pooling takes.
    """

    def __init__(self, size: tuple[int, int], bins: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.size, self.bins = size, bins
        for side, one in zip(size, bins, strict=True):
            if one is not None and (problem := _cascade_problem(side, one)):
                raise ValueError(problem)

    def forward(self, x: Tensor) -> Tensor:
        """Average ``(N, C, H, W)`` to ``(N, C, *bins)``."""
        for axis, (side, bins) in enumerate(zip(self.size, self.bins, strict=True)):
            if bins is None or bins == side:
                continue
            window = pooling.uniform_window(side, bins)
            assert window is not None
            length, step = window
            kernel = (length, 1) if axis == 0 else (1, length)
            if bins == 1 or 0 < step <= _MOST_STRIDE:
                stride = 1 if bins == 1 else step
                x = functional.avg_pool2d(x, kernel, (stride, 1) if axis == 0 else (1, stride), count_include_pad=False)
                continue
            x = functional.avg_pool2d(x, kernel, 1, count_include_pad=False)
            starts = [start for start, _ in pooling.windows(side, bins)]
            x = torch.cat([x.narrow(axis + 2, start, 1) for start in starts], dim=axis + 2)
        return x

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"size={self.size}, bins={self.bins}"


def _cascade_problem(side: int, bins: int) -> str:
    """Why an axis cannot be pooled by one average pool; empty if it can."""
    window = pooling.uniform_window(side, bins)
    if window is None:
        spans = pooling.windows(side, bins)
        lengths = sorted({stop - start for start, stop in spans})
        shown = ", ".join(f"{start}..{stop - 1}" for start, stop in spans[:8]) + ", ..." * (len(spans) > 8)
        return (
            f"{side} pixels in {bins} bins have windows of {lengths[0]} and {lengths[-1]} pixels ({shown}), which no "
            "average pool has"
        )
    if window[0] > _MOST_KERNEL_SIDE:
        return (
            f"{side} pixels in {bins} bins have windows of {window[0]} pixels; Ascend pools {_MOST_KERNEL_SIDE} at most"
        )
    return ""


def _fits_cascade(bins: Iterable[int], side: int) -> bool:
    return not any(_cascade_problem(side, one) for one in bins)


_POOLS: dict[str, type[MatmulPool] | type[CascadePool]] = {"matmul": MatmulPool, "cascade": CascadePool}


def replace_pooling(model: nn.Module, feature_size: tuple[int, int], kind: PoolingKind) -> None:
    """Replace the adaptive average pools of a network, in place, for maps of one size.

    State dict and outputs stay what they are.

    Args:
        model: with ``nn.AdaptiveAvgPool2d`` anywhere in it; without any, nothing happens.
        feature_size: ``(h, w)`` of the maps that all of them pool. Where they pool maps of several sizes, use
            :func:`prepare`.
        kind: ``"matmul"``, exact for every size; ``"cascade"``, average pools within Ascend's limits; ``"native"``,
            which changes nothing.

    Raises:
        ValueError: no such kind or size, or ``"cascade"`` where it is not exact.

    Example:
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(6))
        >>> replace_pooling(pool, (63, 63), "matmul")
        >>> pool
        Sequential(
          (0): MatmulPool(size=(63, 63), bins=(6, 6))
        )
    """
    pools = {name for name, module in model.named_modules() if isinstance(module, nn.AdaptiveAvgPool2d)}
    _replace(model, dict.fromkeys(sorted(pools), feature_size), kind)


def _replace(model: nn.Module, sizes: Mapping[str, tuple[int, int]], kind: str, *, stride: float | None = None) -> None:
    if kind == "native":
        return
    if kind not in _POOLS:
        raise ValueError(f"pooling must be matmul, cascade or native, got {kind!r}")
    bins = {name: _bins(model.get_submodule(name)) for name in sizes}
    if kind == "cascade":
        _check_cascade([(sizes[name], bins[name]) for name in sizes], stride)
    for name, size in sizes.items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, _POOLS[kind](size, bins[name]))


def _bins(pool: Any) -> tuple[int | None, int | None]:
    out = pool.output_size
    return tuple(out) if isinstance(out, (tuple, list)) else (out, out)


def _check_cascade(
    pools: Iterable[tuple[tuple[int, int], tuple[int | None, int | None]]], stride: float | None
) -> None:
    by_side: dict[int, set[int]] = {}
    for size, bins in pools:
        for side, one in zip(size, bins, strict=True):
            if one is not None:
                by_side.setdefault(side, set()).add(one)
    for side, wanted in by_side.items():
        problems = [problem for one in sorted(wanted) if (problem := _cascade_problem(side, one))]
        if not problems:
            continue
        near = pooling.nearest_sizes(side, partial(_fits_cascade, wanted))
        advice = "use the matmul pooling, which is exact for every size"
        if near:
            fitting = ", ".join(map(str, near))
            inputs = "" if stride is None else f" (pictures of {', '.join(str(round(n * stride)) for n in near)})"
            advice += f", or maps of {fitting} pixels{inputs}"
        raise ValueError(f"cascade pooling is not exact here: {'; '.join(problems)}; {advice}")


def pool_sizes(model: nn.Module, shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Sizes of the maps that adaptive average pools get for pictures of a size, found by running the network.

    Weights are left out of it: only shapes go through, which takes little time and memory.

    Args:
        model: any network that takes ``(N, 3, H, W)``.
        shape: ``(H, W)`` of the pictures.

    Returns:
        Name of each pool that ran -> ``(h, w)``.

    Raises:
        ValueError: a shape that the network cannot take, or a pool that gets maps of several sizes.
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"the network cannot take pictures of {height}x{width} (height x width): they have no pixels")
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size = (int(inputs[0].shape[-2]), int(inputs[0].shape[-1]))
        if sizes.setdefault(name, size) != size:
            raise ValueError(f"{name} pools maps of {sizes[name]} and of {size}: its pooling cannot be fixed")

    hooks = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in model.named_modules()
        if isinstance(module, (nn.AdaptiveAvgPool2d, MatmulPool, CascadePool))
    ]
    try:
        _run_shapes(model, height, width)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def _run_shapes(model: nn.Module, height: int, width: int) -> None:
    meta = {name: torch.empty_like(value, device="meta") for name, value in model.state_dict(keep_vars=True).items()}
    meta |= {name: torch.empty_like(value, device="meta") for name, value in model.named_buffers()}
    failures = RuntimeError, AssertionError, IndexError, ZeroDivisionError
    try:
        with torch.no_grad():
            try:
                out = torch.func.functional_call(model, meta, torch.empty(1, 3, height, width, device="meta"))
            except failures:
                # Not every operation knows how to do without numbers: then with them, or for the true reason.
                out = model(torch.zeros(1, 3, height, width))
    except failures as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"the network cannot take pictures of {height}x{width} (height x width): {reason}; choose another shape"
        ) from error
    if tuple(out.shape[2:]) != (height, width):
        raise ValueError(f"the network makes {tuple(out.shape[2:])} of pictures of {height}x{width} (height x width)")


def feature_size(model: nn.Module, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Size of the maps that are pooled, for pictures of a size.

    Args:
        model, shape: as for :func:`pool_sizes`.

    Returns:
        ``(h, w)`` of the first pool's maps; ``None`` if the network has no adaptive average pool.

    Raises:
        ValueError: as :func:`pool_sizes`.
    """
    return next(iter(pool_sizes(model, shape).values()), None)


def prepare(model: nn.Module, shape: tuple[int, int], pooling: PoolingKind = "matmul") -> nn.Module:
    """Make a network ready to be traced for pictures of one size: in place, with every adaptive pool replaced.

    Args:
        model: any network that takes ``(N, 3, H, W)`` and gives scores of that height and width.
        shape: ``(H, W)`` of the pictures.
        pooling: as ``kind`` of :func:`replace_pooling`.

    Returns:
        ``model``.

    Raises:
        ValueError: a shape that the network cannot take, or ``"cascade"`` where it is not exact.
    """
    sizes = pool_sizes(model, shape)
    sizes = {name: size for name, size in sizes.items() if isinstance(model.get_submodule(name), nn.AdaptiveAvgPool2d)}
    strides = {round(side / size[0]) for size in sizes.values() for side in shape[:1]}
    _replace(model, sizes, pooling, stride=strides.pop() if len(strides) == 1 else None)
    return model
