"""A runtime that costs nothing: what is left when it runs is the data path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.runtimes.runtime import Runtime, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CostlessRuntime"]


class CostlessRuntime(Runtime):
    """Labels every picture alike, and at once: bands of 100 rows, of the classes 0, 1, 2, ...

    So a picture has about as many pairs of label and prediction as with a network.

    Args:
        batch: pictures at once; ``None`` for any number.
        size: ``(H, W)``.
        dtype: of its input.
        labels: of its output.

    Attributes:
        picture_labels: what every picture is labelled as.
    """

    def __init__(
        self,
        batch: int | None = 1,
        size: tuple[int, int] = (500, 500),
        dtype: str = "float32",
        labels: str = "int64",
    ) -> None:
        self.inputs = (TensorSpec("input", dtype, (batch, 3, *size)),)
        self.outputs = (TensorSpec("output", labels, (batch, 1, *size)),)
        self.batches = () if batch is None else (batch,)
        self.compute_seconds = []
        self.picture_labels = np.broadcast_to((np.arange(size[0]) // 100)[:, None], size).astype(labels)
        self._labels = np.broadcast_to(self.picture_labels, (batch or 1, 1, *size)).copy()

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        if len(batch) != len(self._labels):
            return [np.broadcast_to(self.picture_labels, (len(batch), 1, *self.picture_labels.shape))]
        return [self._labels]

    def close(self) -> None:
        """Nothing to release."""

    def describe(self) -> dict[str, Any]:
        """See :class:`pspfast.runtimes.runtime.Runtime`."""
        return {"runtime": "costless", "version": "0", "device": "none", "provider": None, "threads": None}
