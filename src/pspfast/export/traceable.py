"""Functions that PyTorch's exporter cannot write, or not for any batch: computed otherwise while it traces."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pspfast.export.resizing import resize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

__all__ = ["TraceableFunctions"]


class TraceableFunctions(TorchFunctionMode):
    """While active, wherever a network calls them: bilinear scaling, ``torch.diag``, convolution by computed kernels.

    Example:
        >>> with TraceableFunctions():
        ...     torch.diag(torch.tensor([2.0, float("-inf")]))
        tensor([[2., 0.],
                [0., -inf]])
    """

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _OTHERWISE:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", torch.jit.TracerWarning)  # constants are what is wanted
                given = _OTHERWISE[func](*args, **kwargs)
            if given is not None:
                return given
        return func(*args, **kwargs)


# Each takes what the function takes, and gives None where that is to be left to PyTorch.


def _interpolate(*args: Any, **kwargs: Any) -> Tensor | None:
    """By constant scales, see :func:`pspfast.export.resizing.resize`."""
    names = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
    said = dict(zip(names, args, strict=False)) | kwargs
    size, is_bilinear = said.get("size"), said.get("mode") == "bilinear"
    if is_bilinear and isinstance(size, (tuple, list)) and not said.get("antialias"):
        return resize(said["input"], size, align_corners=bool(said.get("align_corners")))
    return None


def _diag(input: Tensor, diagonal: int = 0) -> Tensor | None:
    """A vector as a matrix, by a constant mask: no opset has this operator, which CCNet calls."""
    if input.dim() != 1 or diagonal != 0:
        return None
    mask = torch.from_numpy(np.eye(int(input.shape[0]), dtype=bool))
    return torch.where(mask, input, torch.tensor(0, dtype=input.dtype))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Tensor | None:
    """Channel by channel with kernels that the network computes, as DMNet does: as a sum over the kernel's cells.

    The exporter wants constant kernels, and a number of groups that depends on the batch is no attribute.
    """
    # Asked first: in a trace, looking at sizes leaves nodes behind.
    if isinstance(weight, nn.Parameter) or bias is not None:
        return None
    is_plain = all(int(one) == 1 for of in (stride, dilation) for one in _pair(of)) and padding in (0, (0, 0), [0, 0])
    channels, of_group, height, width = (int(side) for side in weight.shape)
    is_by_channel = int(groups) == channels == int(input.shape[1]) and of_group == 1
    if not (is_plain and is_by_channel):
        return None
    rows, columns = int(input.shape[2]) - height + 1, int(input.shape[3]) - width + 1
    cells = weight.reshape(1, -1, height * width, 1, 1)
    terms = [
        input[:, :, i : i + rows, j : j + columns] * cells[:, :, i * width + j]
        for i in range(height)
        for j in range(width)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


_OTHERWISE: dict[Any, Callable[..., Tensor | None]] = {
    functional.interpolate: _interpolate,
    torch.diag: _diag,
    functional.conv2d: _conv2d,
}
