"""What one of two compared models gave over all pictures, so that agreement in nothing is not taken for agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SeenOutputs"]


class SeenOutputs:
    """Classes that a model gave, and pixels whose scores say nothing.

    Example:
        >>> seen = SeenOutputs()
        >>> seen.look_at(np.zeros((2, 2), np.int64), None)
        >>> seen.remarks("model")
        ['the model labels every pixel as class 0; agreement says little then']
    """

    def __init__(self) -> None:
        self._classes: set[int] = set()
        self._pixels = self._nan = self._infinite = 0

    def look_at(self, labels: NDArray[Any], logits: NDArray[np.float32] | None) -> None:
        """Take in a picture: labels ``(H, W)``, and scores ``(classes, H, W)`` if there are any."""
        self._classes.update(np.unique(labels).tolist())
        self._pixels += labels.size
        if logits is None:
            return
        # The sum is finite unless one of them is not: one pass, where two over all scores would be slow.
        with np.errstate(invalid="ignore", over="ignore"):
            odd = ~np.isfinite(logits.sum(axis=0))
        if odd.any():
            scores = logits[:, odd]
            is_nan = np.isnan(scores).any(axis=0)
            self._nan += int(is_nan.sum())
            self._infinite += int((np.isposinf(scores).sum(axis=0) > 1)[~is_nan].sum())

    def remarks(self, what: str) -> list[str]:
        """Sentences about it; ``what`` is ``"reference"`` or ``"model"``."""
        lines = []
        if len(self._classes) == 1:
            (only,) = self._classes
            lines.append(f"the {what} labels every pixel as class {only}; agreement says little then")
        if self._nan:
            lines.append(
                f"the {what} gives scores that are not numbers (NaN) for {self._nan:,} of {self._pixels:,} pixels; "
                "their classes mean nothing"
            )
        if self._infinite:
            lines.append(
                f"the {what} gives infinite scores to several classes for {self._infinite:,} of {self._pixels:,} "
                "pixels: half precision that overflowed; their classes mean nothing"
            )
        return lines
