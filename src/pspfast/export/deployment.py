"""A network as it is deployed: what it takes and gives, in one module that is traced whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pspfast.formats.model_metadata import InputKind, Layout

__all__ = ["Deployed"]


class Deployed(nn.Module):
    """Pictures as they are fed to labels or scores as they are read.

    Args:
        network: ``(N, 3, H, W)`` float32, normalized, to scores ``(N, classes, H, W)``.
        input: see :class:`pspfast.formats.model_metadata.ModelMetadata`.
        layout: of labels.
        labels: ``torch.int64`` or ``torch.int32``; ``None`` for scores.
        mean, std, to_rgb: of uint8 input.

    Example:
        >>> scores = nn.Conv2d(3, 2, 1)
        >>> deployed = Deployed(scores, "float16", "nhw", torch.int32, mean=(0, 0, 0), std=(1, 1, 1), to_rgb=True)
        >>> labels = deployed(torch.zeros(1, 3, 4, 5, dtype=torch.float16))
        >>> labels.shape, labels.dtype
        (torch.Size([1, 4, 5]), torch.int32)
    """

    def __init__(
        self,
        network: nn.Module,
        input: InputKind,
        layout: Layout,
        labels: torch.dtype | None,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        to_rgb: bool,
    ) -> None:
        super().__init__()
        self.network = network
        self.normalize = _Normalize(mean, std, to_rgb) if input == "uint8" else None
        self._keeps_axis, self._labels = layout == "n1hw", labels

    def scores(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scores ``(N, classes, H, W)`` float32."""
        normalized = pictures.float() if self.normalize is None else self.normalize(pictures)
        scores: torch.Tensor = self.network(normalized)
        return scores

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the file's ``output`` is."""
        scores = self.scores(pictures)
        if self._labels is None:
            return scores
        labels = scores.argmax(1, keepdim=self._keeps_axis)
        return labels if self._labels == torch.int64 else labels.to(self._labels)


class _Normalize(nn.Module):
    """``(N, H, W, 3)`` bytes, blue first, to ``(N, 3, H, W)`` normalized.

    The mean is subtracted and not folded into the first convolution's bias, which would be wrong along the border,
    where that pads with zeros.
    """

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float], to_rgb: bool) -> None:
        super().__init__()
        order = [2, 1, 0] if to_rgb else [0, 1, 2]
        self._swap = order != [0, 1, 2]
        values: Any = (("order", order, torch.int64), ("mean", mean, torch.float64), ("std", std, torch.float64))
        for name, value, kind in values:
            self.register_buffer(name, torch.tensor(value, dtype=kind), persistent=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        planes = pictures.permute(0, 3, 1, 2)
        if self._swap:
            planes = planes.index_select(1, self.get_buffer("order"))
        mean = self.get_buffer("mean").float().view(1, 3, 1, 1)
        factor = (1.0 / self.get_buffer("std")).float().view(1, 3, 1, 1)
        return (planes.float() - mean) * factor
