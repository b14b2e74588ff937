"""The order of a run's work: which picture goes into which slot of which batch, and who does what next.

A batch buffer is filled slot by slot by as many threads as want to, run when it is full, and used again; what the model
made of it is counted picture by picture. Whoever is free feeds an idle engine first, then counts, then prepares: so the
engine waits for nobody but the data, and no more than a fixed number of batches is ever under way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from pspfast.datasets.sources import Item
    from pspfast.formats.bins import PictureRecord
    from pspfast.runtimes.runtime import Runtime
    from pspfast.stages.counting import Outcome

__all__ = ["Count", "FinishedPicture", "Flow", "Infer", "Prepare"]


class _Batch:
    """A buffer and what is in it."""

    __slots__ = ("array", "being_filled", "filled", "open")

    def __init__(self, shape: Sequence[int], dtype: str) -> None:
        self.array: NDArray[Any] = np.empty(shape, dtype)
        self.begin()

    def begin(self) -> None:
        """Empty it."""
        self.open = deque(range(len(self.array)))
        self.filled: dict[int, tuple[Item, PictureRecord]] = {}
        self.being_filled = 0

    def close_up(self) -> None:
        """Bring the last pictures into the slots that pictures which failed have left."""
        for slot, last in zip(sorted(self.open), sorted(self.filled, reverse=True), strict=False):
            if last < slot:
                break
            self.array[slot] = self.array[last]
            self.filled[slot] = self.filled.pop(last)


@dataclass(frozen=True, slots=True, eq=False)
class Prepare:
    """Bring a picture into a slot; done with its record, or with the reason why it cannot be used."""

    item: Item
    batch: _Batch
    number: int

    @property
    def slot(self) -> NDArray[Any]:
        """To fill."""
        slot: NDArray[Any] = self.batch.array[self.number]
        return slot


@dataclass(frozen=True, slots=True, eq=False)
class Infer:
    """Run a batch; done with the outputs."""

    batch: _Batch
    runtime: Runtime
    pictures: tuple[tuple[Item, PictureRecord], ...]

    @property
    def input(self) -> NDArray[Any]:
        """Of the model."""
        return self.batch.array[: len(self.pictures)]


@dataclass(frozen=True, slots=True, eq=False)
class Count:
    """Count what the model made of a picture; done with an outcome."""

    item: Item
    record: PictureRecord
    outputs: list[NDArray[Any]]
    of: _Counted


@dataclass(slots=True, eq=False)
class _Counted:
    """How many pictures of a batch that was run are still to be counted."""

    left: int


@dataclass(frozen=True, slots=True)
class FinishedPicture:
    """What came of a picture."""

    item: Item
    record: PictureRecord | None
    outcome: Outcome


Task = Prepare | Infer | Count
Done = Any  # PictureRecord or str; list of arrays; Outcome; with seconds by stage


class Flow:
    """See :class:`pspfast.system.threads.Plan`.

    Args:
        items: in order.
        runtimes: each as many times as it has lanes.
        batch: pictures at once.
        shape, dtype: of a picture as the model takes it.
        workers: threads besides those that wait for the engine.
        failed: makes an outcome of the reason why a picture cannot be used.

    Attributes:
        seconds: by stage, added up over the threads.
        batches: that were run.
    """

    def __init__(
        self,
        items: Sequence[Item],
        runtimes: Sequence[Runtime],
        batch: int,
        shape: Sequence[int],
        dtype: str,
        workers: int,
        failed: Any,
    ) -> None:
        self._items, self._next = items, 0
        self._engines = deque(runtimes)
        self._failed = failed
        beside = -(-workers // batch)  # batches that the workers can be at
        self._free = [_Batch((batch, *shape), dtype) for _ in range(len(runtimes) + 1 + beside)]
        self._filling: deque[_Batch] = deque()
        self._ready: deque[_Batch] = deque()
        self._to_count: deque[Count] = deque()
        self._uncounted, self._most_uncounted = 0, len(runtimes) + beside  # batches
        self._running = 0
        self.seconds: dict[str, float] = {"read": 0.0, "letterbox": 0.0, "write": 0.0, "infer": 0.0, "count": 0.0}
        self.batches = 0

    def take(self) -> Task | None:
        """The next task; ``None`` while there is none."""
        if self._ready and self._engines and self._uncounted < self._most_uncounted:
            batch = self._ready.popleft()
            self._uncounted += 1
            self._running += 1
            pictures = tuple(batch.filled[slot] for slot in sorted(batch.filled))
            return Infer(batch, self._engines.popleft(), pictures)
        if self._to_count:
            return self._to_count.popleft()
        if self._next == len(self._items):
            return None
        batch_to_fill = next((one for one in self._filling if one.open), None)
        if batch_to_fill is None:
            if not self._free:
                return None
            batch_to_fill = self._free.pop()
            batch_to_fill.begin()
            self._filling.append(batch_to_fill)
        item = self._items[self._next]
        self._next += 1
        batch_to_fill.being_filled += 1
        return Prepare(item, batch_to_fill, batch_to_fill.open.popleft())

    def finish(self, task: Task, done: Done) -> Iterable[FinishedPicture]:
        """Note what a task came to: its result, and seconds by stage."""
        result, seconds = done
        for stage, taken in seconds.items():
            self.seconds[stage] += taken
        if isinstance(task, Prepare):
            return self._prepared(task, result)
        if isinstance(task, Infer):
            self._inferred(task, result)
            return ()
        task.of.left -= 1
        if not task.of.left:
            self._uncounted -= 1
        return (FinishedPicture(task.item, task.record, result),)

    def is_over(self) -> bool:
        """Whether there are no tasks left to take."""
        under_way = self._filling or self._ready or self._running or self._to_count
        return self._next == len(self._items) and not under_way

    def _prepared(self, task: Prepare, result: PictureRecord | str) -> Iterable[FinishedPicture]:
        batch = task.batch
        batch.being_filled -= 1
        told: tuple[FinishedPicture, ...] = ()
        if isinstance(result, str):
            batch.open.append(task.number)  # another picture's
            told = (FinishedPicture(task.item, None, self._failed(result)),)
        else:
            batch.filled[task.number] = (task.item, result)
        is_last = self._next == len(self._items)
        for one in [one for one in self._filling if not one.being_filled and (is_last or not one.open)]:
            self._filling.remove(one)
            if one.filled:
                one.close_up()
                self._ready.append(one)
            else:
                self._free.append(one)
        return told

    def _inferred(self, task: Infer, outputs: list[NDArray[Any]]) -> None:
        self._running -= 1
        self.batches += 1
        self._engines.append(task.runtime)
        self._free.append(task.batch)
        of = _Counted(len(task.pictures))
        for number, (item, record) in enumerate(task.pictures):
            self._to_count.append(Count(item, record, [output[number] for output in outputs], of))
