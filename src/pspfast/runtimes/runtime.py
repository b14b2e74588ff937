"""What runs a model: one interface for ONNX Runtime, pyACL and ais_bench.

What a model takes is what its file says: type, shape and batch are read from there, and never from a name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from pspfast.formats.model_metadata import Channels

__all__ = ["Runtime", "RuntimeFault", "TensorSpec"]


class RuntimeFault(RuntimeError):  # noqa: N818 - what a runtime reports; "RuntimeError" is taken
    """A runtime, device or model that does not do what was asked, in a sentence."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a model.

    Attributes:
        name: in the model.
        dtype: NumPy's name of its type, e.g. ``"float32"``.
        shape: ``None`` for dimensions of any size.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {'x'.join('?' if side is None else str(side) for side in self.shape)}"


class Runtime(ABC):
    """A loaded model on one device. Use as a context manager, or call :meth:`close`.

    A runtime of its own sets ``inputs``, ``outputs`` and ``batches`` in ``__init__`` and has :meth:`_run`, which only
    ever gets full batches of the right type and shape; checks, padding and cutting it off again are done here.

    Attributes:
        inputs, outputs: as the model has them; the first dimension of the input is that of pictures.
        batches: how many pictures it can take at once, ascending: one number for a fixed batch, the gears of a
            dynamic one; empty for any number.
        lanes: how many calls of :meth:`infer` may be under way at a time, each in a thread of its own (sets of
            buffers); whoever calls sees to it that there are no more. Calls may come from any thread.
        compute_seconds: what the model itself took, without copies to and from the device, a number for each call of
            :meth:`infer`; stays empty where a runtime cannot tell.
        metadata: what ``pspfast export`` wrote into the model, for
            :func:`pspfast.formats.model_metadata.parse_metadata`; ``None`` where there is none.
        channels: the order of a picture's channels, where the model tells it in another way.
    """

    lanes: ClassVar[int] = 1
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: tuple[int, ...]
    compute_seconds: list[float]
    metadata: str | None = None
    channels: Channels | None = None

    @abstractmethod
    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run a full batch: C-contiguous, of the input's type and shape, one of ``batches`` pictures.

        Adds to ``compute_seconds``. The arrays returned are the caller's to keep.

        Raises:
            RuntimeFault: the runtime failed; the message is a sentence.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything; a second call does nothing."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What a figure has to be told with: ``runtime``, ``version``, ``device``, ``provider``, ``threads``.

        ``threads`` and ``provider`` are ``None`` where they mean nothing.
        """

    @property
    def input(self) -> TensorSpec:
        """The only input.

        Raises:
            ValueError: there are several.
        """
        if len(self.inputs) != 1:
            raise ValueError(f"the model has {len(self.inputs)} inputs ({', '.join(map(str, self.inputs))}), not one")
        return self.inputs[0]

    @property
    def largest_batch(self) -> int | None:
        """The most pictures it can take at once, ``None`` for any number."""
        return self.batches[-1] if self.batches else None

    def infer(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """What the model makes of pictures.

        Fewer pictures than the model takes at once are filled up with the last one, whose further outputs are cut off.

        Args:
            batch: ``(N, ...)`` of the input's type, at least one picture and at most :attr:`largest_batch`.

        Returns:
            An array for each output, the first dimension being that of the N pictures. A model that has the pictures
            in the second dimension, behind one of size 1, gives ``(N, 1, ...)`` nevertheless.

        Raises:
            ValueError: another type or shape than the model takes, or too many pictures.
            RuntimeFault: the runtime failed.
        """
        count, full = len(batch), self._full(batch)
        outputs = self._run(full)
        return [
            _pictures_first(output, spec.name, len(full))[:count]
            for output, spec in zip(outputs, self.outputs, strict=True)
        ]

    def _full(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The batch, checked and filled up."""
        taken = self.input
        fits = batch.dtype == np.dtype(taken.dtype) and batch.ndim == len(taken.shape)
        if not fits or any(side not in (None, got) for side, got in zip(taken.shape[1:], batch.shape[1:], strict=True)):
            raise ValueError(f"the model takes {taken}, not {batch.dtype} {'x'.join(map(str, batch.shape))}")
        count = len(batch)
        size = count if not self.batches else next((one for one in self.batches if one >= count), 0)
        if not 0 < count <= size:
            most = self.largest_batch
            raise ValueError(f"the model takes 1 to {most} pictures at once, not {count}" if most else "no pictures")
        if size == count:
            return np.ascontiguousarray(batch)
        full = np.empty((size, *batch.shape[1:]), batch.dtype)
        full[:count] = batch
        full[count:] = batch[-1]
        return full

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _pictures_first(output: NDArray[Any], name: str, count: int) -> NDArray[Any]:
    if output.shape[:1] == (count,):
        return output
    if output.shape[:2] == (1, count):
        return np.moveaxis(output, 1, 0)
    shape = "x".join(map(str, output.shape))
    raise RuntimeFault(f"output {name!r} is {shape} for {count} pictures: none of its first dimensions is theirs")
