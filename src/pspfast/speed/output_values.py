"""What a measured model gives, looked at once: figures of a model that computes nothing are worth nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["OutputValues", "remarks_on", "values_of"]


@dataclass(frozen=True, slots=True)
class OutputValues:
    """Of one output of one batch.

    Attributes:
        name: of the output.
        values: how many there are.
        nan, infinite: how many of them are not numbers, and beyond all numbers.
        least, most: of the others; ``None`` if there are none.
    """

    name: str
    values: int
    nan: int
    infinite: int
    least: float | None
    most: float | None


def values_of(name: str, output: NDArray[Any]) -> OutputValues:
    """Look at an output.

    Example:
        >>> values_of("y", np.array([1.0, np.nan, np.inf]))
        OutputValues(name='y', values=3, nan=1, infinite=1, least=1.0, most=1.0)
    """
    nan = infinite = 0
    if output.dtype.kind == "f":
        nan, infinite = int(np.isnan(output).sum()), int(np.isinf(output).sum())
        if nan or infinite:
            finite = output[np.isfinite(output)]
            limits = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
            return OutputValues(name, output.size, nan, infinite, *limits)
    if not output.size:
        return OutputValues(name, 0, 0, 0, None, None)
    return OutputValues(name, output.size, nan, infinite, float(output.min()), float(output.max()))


def remarks_on(seen: Sequence[OutputValues], *, on_random_data: bool) -> list[str]:
    """Sentences about outputs that are empty, not finite, or everywhere the same; mostly none.

    Args:
        seen: of a batch or more.
        on_random_data: whether the pictures were noise, which a sound network may well label all alike.
    """
    lines = []
    for name in dict.fromkeys(one.name for one in seen):
        of_it = [one for one in seen if one.name == name]
        count = sum(one.values for one in of_it)
        if not count:
            lines.append(f"Output {name} is empty.")
            continue
        for what, number in (
            ("not numbers (NaN)", sum(one.nan for one in of_it)),
            ("infinite", sum(one.infinite for one in of_it)),
        ):
            if number:
                lines.append(
                    f"Output {name}: {number:,} of {count:,} values are {what}; what is made of them means nothing."
                )
        limits = {limit for one in of_it for limit in (one.least, one.most) if limit is not None}
        if len(limits) == 1 and count > 1 and not on_random_data:
            (only,) = limits
            lines.append(f"Output {name} is {only:g} everywhere: the model tells nothing apart.")
    return lines
