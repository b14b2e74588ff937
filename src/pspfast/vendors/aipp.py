"""Static AIPP: an Ascend chip subtracts means and scales while it copies bytes in; the file that tells ATC so.

The chip computes ``(byte - mean_chn - min_chn) * var_reci_chn`` in half precision, ``mean_chn`` being an integer. It
swaps channels before that, so constants are in the network's order. The limits are those of the ATC manual.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import numpy as np

from pspfast.pictures.channel_statistics import check_statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Aipp", "AippOp", "Encoding", "parse_aipp"]

Encoding = Literal["integer+rest", "min"]
Triple = tuple[float, float, float]

_WIDTHS, _HEIGHTS = (2, 4096), (1, 4096)
_MOST_OF_A_BYTE = 255
_LARGEST_HALF, _SMALLEST_HALF = 65504.0, 2.0**-24


@dataclass(frozen=True, slots=True)
class Aipp:
    """A static AIPP configuration for pictures of three channels, without crop, padding and colour conversion.

    Args:
        mean, std: of each channel, in the network's order, for bytes of 0 to 255.
        size: ``(H, W)`` of the network's input.
        swap: whether the host gives the channels in the other order (blue first to a network that takes red first).
        encoding: ``"integer+rest"`` splits the mean into ``mean_chn`` and ``min_chn``, which is more exact in half
            precision; ``"min"`` has it in ``min_chn`` alone, as most published files do.
        input: which input of the model, counted from 0.

    Raises:
        ValueError: beyond a limit of the manual, or for pictures in 0..1.

    Example:
        >>> from pspfast import IMAGENET_MEAN, IMAGENET_STD
        >>> aipp = Aipp(IMAGENET_MEAN, IMAGENET_STD, (500, 500), swap=True)
        >>> f"{aipp.error():.1e}"
        '1.6e-03'
    """

    mean: Triple
    std: Triple
    size: tuple[int, int]
    swap: bool
    encoding: Encoding = "integer+rest"
    input: int = 0

    def __post_init__(self) -> None:
        for what, side, (least, most) in (("height", self.size[0], _HEIGHTS), ("width", self.size[1], _WIDTHS)):
            if not least <= side <= most:
                raise ValueError(f"AIPP takes a {what} of {least} to {most}, got {side}")
        if self.input < 0:
            raise ValueError(f"inputs are counted from 0, got {self.input}")
        for mean in self.mean:
            if not 0 <= mean <= _MOST_OF_A_BYTE:  # also if it is no number
                raise ValueError(f"AIPP takes means of 0 to 255, got {mean:g}")
        for std in self.std:
            if not (std > 0 and math.isfinite(std) and _SMALLEST_HALF <= 1 / std <= _LARGEST_HALF):
                raise ValueError(f"AIPP takes 1 / std as a half: {_SMALLEST_HALF:.1e} to 65504; got std {std:g}")
        check_statistics(self.mean, self.std)

    @property
    def mean_channels(self) -> tuple[int, int, int]:
        """``mean_chn``: integers."""
        first, second, third = (int(mean) if self.encoding == "integer+rest" else 0 for mean in self.mean)
        return first, second, third

    @property
    def min_channels(self) -> tuple[Decimal, Decimal, Decimal]:
        """``min_chn``: what is left of the means, as they are written."""
        first, second, third = (
            Decimal(repr(float(mean))) - whole for mean, whole in zip(self.mean, self.mean_channels, strict=True)
        )
        return first, second, third

    @property
    def scales(self) -> tuple[str, str, str]:
        """``var_reci_chn``: 1 / std, as they are written."""
        first, second, third = (f"{1 / std:.15g}" for std in self.std)
        return first, second, third

    @property
    def border(self) -> tuple[int, int, int]:
        """What a host pads with, since it has only bytes: the rounded means, in the network's order."""
        first, second, third = (int(mean + 0.5) for mean in self.mean)
        return first, second, third

    def border_values(self) -> Triple:
        """What padding becomes, where the guide's zeros after normalization are exactly 0."""
        first, second, third = ((byte - m) / s for byte, m, s in zip(self.border, self.mean, self.std, strict=True))
        return first, second, third

    def error(self) -> float:
        """Largest difference from ``(byte - mean) / std`` over all bytes and channels, as halves are computed."""
        worst = 0.0
        for channel in range(3):
            exact = (np.arange(256, dtype=np.float64) - self.mean[channel]) / self.std[channel]
            worst = max(worst, float(np.abs(self.simulate(channel) - exact).max()))
        return worst

    def simulate(self, channel: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """What a channel's 256 bytes become: every constant and every step rounded to half precision.

        The manual gives the formula, not where the chip rounds: this is the least exact way that it can be meant.
        """
        half = np.float16
        left = np.arange(256).astype(half) - half(self.mean_channels[channel])
        left = left - half(float(self.min_channels[channel]))
        normalized: np.ndarray[tuple[int], np.dtype[np.float64]] = left * half(float(self.scales[channel]))
        return normalized.astype(np.float64)

    def text(self) -> str:
        """The file for ``--insert_op_conf``."""
        lines = [
            "aipp_mode: static",
            f"related_input_rank: {self.input}",
            "input_format: RGB888_U8",
            f"src_image_size_w: {self.size[1]}",
            f"src_image_size_h: {self.size[0]}",
            "crop: false",
            "padding: false",
            "csc_switch: false",
            f"rbuv_swap_switch: {str(self.swap).lower()}",
        ]
        if self.encoding == "integer+rest":
            lines += [f"mean_chn_{i}: {value}" for i, value in enumerate(self.mean_channels)]
        lines += [f"min_chn_{i}: {value}" for i, value in enumerate(self.min_channels)]
        lines += [f"var_reci_chn_{i}: {value}" for i, value in enumerate(self.scales)]
        return "\n".join(["aipp_op {", *(f"    {line}" for line in lines), "}", ""])


@dataclass(frozen=True, slots=True)
class AippOp:
    """One ``aipp_op`` of a file: what a conversion needs to know of it."""

    keys: dict[str, str]

    @property
    def input(self) -> int:
        """Which input of the model."""
        return int(self.keys.get("related_input_rank", "0"))

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` of the pictures; zeros where the file does not say."""
        return int(self.keys.get("src_image_size_h", "0")), int(self.keys.get("src_image_size_w", "0"))

    @property
    def is_as_large_as_the_input(self) -> bool:
        """Whether nothing is cut off or added, so that the picture's size is the network's."""
        return self.keys.get("crop", "false") == "false" and self.keys.get("padding", "false") == "false"


def parse_aipp(text: str) -> tuple[AippOp, ...]:
    """Read the text of an AIPP file.

    Raises:
        ValueError: no ``aipp_op`` in it, a key twice that may be there once, or one that has to be there missing.

    Example:
        >>> parse_aipp("aipp_op { aipp_mode: static related_input_rank: 1 input_format: RGB888_U8 }")[0].input
        1
    """
    text = re.sub(r"#[^\n]*", "", text)
    ops = []
    for body in re.findall(r"aipp_op\s*:?\s*\{([^{}]*)\}", text):
        pairs: Sequence[tuple[str, str]] = re.findall(r"(\w+)\s*:\s*\"?([^\s\"]+)\"?", body)
        keys: dict[str, str] = {}
        for key, value in pairs:
            if key in keys and re.fullmatch(r"(mean|min|var_reci)_chn_\d", key):
                raise ValueError(f"{key} cannot be configured repeatedly")
            keys[key] = value
        for key in ("aipp_mode", *(("input_format",) if keys.get("aipp_mode") == "static" else ())):
            if key not in keys:
                raise ValueError(f"an aipp_op without {key}")
        for key in ("related_input_rank", "src_image_size_h", "src_image_size_w"):
            if not keys.get(key, "0").isdecimal():
                raise ValueError(f"{key} is {keys[key]!r}, expected a number")
        ops.append(AippOp(keys))
    if not ops:
        raise ValueError("no aipp_op { ... } in it")
    return tuple(ops)
