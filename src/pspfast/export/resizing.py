"""Resizing to a constant size, with scales that reach it exactly."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["resize", "scale_reaching"]


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Scale maps bilinearly; in a traced graph to this size for good, whatever the batch.

    PyTorch's exporter takes the batch from the input whenever that can vary, by a chain of ``Shape`` operators that
    compilers refuse. Constant scales say nothing of the batch.

    Args:
        x: ``(N, C, h, w)``.
        size: ``(H, W)`` wanted.
        align_corners: as PyTorch's.

    Returns:
        ``(N, C, H, W)``; ``x`` itself if it has that size.
    """
    if not torch.jit.is_tracing():
        if x.shape[2:] == torch.Size(size):
            return x
        return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=align_corners)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # a constant is what is wanted
        height, width = map(int, size)
        before = [int(side) for side in x.shape[2:]]
    if before == [height, width]:
        return x
    scales = [scale_reaching(one, other) for one, other in zip(before, (height, width), strict=True)]
    return _ConstantResize.apply(x, height, width, scales, align_corners)


def scale_reaching(before: int, after: int) -> float:
    """The least float32 whose product with a size, rounded down, is another size, in float32 and finer arithmetic.

    ONNX rounds down: by the nearest float32 to 7/25, 25 pixels may become 6. Being off by one unit in the last place
    moves no sample by more than the rounding of its coordinate does.

    Example:
        >>> scale_reaching(63, 500) * 63 >= 500
        True
    """
    scale = np.float32(after / before)
    while float(scale) * before < after:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


class _ConstantResize(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor, height: int, width: int, _scales: list[float], align_corners: bool) -> Tensor:
        return functional.interpolate(x, (height, width), mode="bilinear", align_corners=align_corners)

    @staticmethod
    def symbolic(g: Any, x: Any, height: int, width: int, scales: list[float], align_corners: bool) -> Any:
        resized = g.op(
            "Resize",
            x,
            g.op("Constant", value_t=torch.tensor([], dtype=torch.float32)),
            g.op("Constant", value_t=torch.tensor([1, 1, *scales], dtype=torch.float32)),
            mode_s="linear",
            coordinate_transformation_mode_s="align_corners" if align_corners else "half_pixel",
        )
        if (sizes := x.type().sizes()) is not None:
            resized.setType(x.type().with_sizes([*sizes[:2], height, width]))
        return resized
