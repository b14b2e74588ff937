"""Mean and standard deviation of channels: whether they are for pictures in 0..255, as all of ours are.

Most libraries publish them for pictures in 0..1. Taken for bytes they saturate a network, and nothing fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_statistics"]


def check_statistics(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse a mean or standard deviation for pictures in 0..1.

    No pictures' bytes spread by less than 1, or are 1 at most on average. A mean of 0 and a std of 1 leave bytes as
    they are, and are taken.

    Args:
        mean, std: per channel.

    Raises:
        ValueError: of such; the text says what was probably meant.

    Example:
        >>> check_statistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
        >>> check_statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        Traceback (most recent call last):
            ...
        ValueError: mean 0.5 0.5 0.5 and std 0.5 0.5 0.5 are for pictures in 0..1, and bytes are in 0..255; probably \
meant: mean 127.5 127.5 127.5 and std 127.5 127.5 127.5 (--mean 127.5 127.5 127.5 --std 127.5 127.5 127.5)
    """
    small = {}
    if any(mean) and max(map(abs, mean)) <= 1:
        small["mean"] = mean
    if max(std) < 1:
        small["std"] = std
    if not small:
        return
    given = " and ".join(f"{name} {_shown(values)}" for name, values in small.items())
    meant = {name: _shown([255 * value for value in values]) for name, values in small.items()}
    raise ValueError(
        f"{given} {'are' if len(small) > 1 else 'is'} for pictures in 0..1, and bytes are in 0..255; probably meant: "
        f"{' and '.join(f'{name} {values}' for name, values in meant.items())} "
        f"({' '.join(f'--{name} {values}' for name, values in meant.items())})"
    )


def _shown(values: Sequence[float]) -> str:
    return " ".join(f"{float(value):.6g}" for value in values)
