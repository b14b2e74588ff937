"""Pools of constant windows that take the place of adaptive ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from pspfast.graphs import pool_windows as pooling

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CascadePool", "MatmulPool", "MaxPool", "cascade_problem"]

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
            if one is not None and (problem := cascade_problem(side, one)):
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


class MaxPool(nn.Module):
    """Adaptive maximum pooling along one axis after the other: the maximum of each window, cut out; for every size.

    Args:
        size, bins: as for :class:`MatmulPool`.

    Example:
        >>> x = torch.randn(1, 2, 7, 10)
        >>> torch.equal(MaxPool((7, 10), (3, None))(x), functional.adaptive_max_pool2d(x, (3, 10)))
        True
    """

    def __init__(self, size: tuple[int, int], bins: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.size, self.bins = size, bins

    def forward(self, x: Tensor) -> Tensor:
        """Maxima of ``(N, C, H, W)`` as ``(N, C, *bins)``."""
        for dim, (side, bins) in zip((-2, -1), zip(self.size, self.bins, strict=True), strict=True):
            if bins is not None and bins != side:
                spans = pooling.windows(side, bins)
                x = torch.cat([x.narrow(dim, a, b - a).amax(dim, keepdim=True) for a, b in spans], dim=dim)
        return x

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"size={self.size}, bins={self.bins}"


def cascade_problem(side: int, bins: int) -> str:
    """Why an axis cannot be pooled by one average pool within Ascend's limits; empty if it can."""
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
