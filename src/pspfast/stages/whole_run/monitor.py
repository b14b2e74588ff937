"""Looks at a run while it goes on, and tells what it sees."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pspfast.stages.batching import Flow
from pspfast.stages.counting import Tally
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from pspfast.formats.bins import PictureRecord
    from pspfast.stages.batching import FinishedPicture

__all__ = ["RunMonitor", "tell_picture"]

_SECONDS_BETWEEN_NOTES = 0.5


class RunMonitor:
    """Looks at a run while it goes on: rate, running mIoU, the stage that limits it."""

    def __init__(
        self,
        flow: Flow,
        tally: Tally,
        progress: Progress,
        lanes: int,
        workers: int,
        started: float,
        *,
        is_scored: bool,
    ) -> None:
        self._flow, self._tally, self._progress, self._is_scored = flow, tally, progress, is_scored
        self._lanes, self._workers, self._started = lanes, workers, started
        self._looked = started

    def look(self) -> None:
        """Tell the progress display, now and then."""
        now = time.perf_counter()
        if now - self._looked < _SECONDS_BETWEEN_NOTES:
            return
        self._looked = now
        parts = []
        if self._is_scored and self._tally.counted:
            parts.append(f"mIoU {100 * self._tally.matrix.miou():.2f}")
        parts.append(f"limited by {self.limited_by(now - self._started)}")
        self._progress.note(", ".join(parts))

    def stages(self, seconds: float) -> dict[str, float]:
        """Seconds by stage."""
        taken = self._flow.seconds
        wait = max(0.0, seconds * self._lanes - taken["infer"])
        return {
            "read": taken["read"],
            "letterbox": taken["letterbox"],
            "wait": wait,
            "infer": taken["infer"],
            "count": taken["count"],
            "write": taken["write"],
        }

    def limited_by(self, seconds: float) -> str:
        """The engine if it is busier than the threads beside it, else what takes most of their time."""
        taken = dict(self._flow.seconds)
        engine = taken.pop("infer") / self._lanes
        beside = sum(taken.values()) / self._workers
        if engine >= beside or not seconds:
            return "infer"
        return max(taken, key=lambda stage: taken[stage])


def tell_picture(
    told: FinishedPicture, tally: Tally, progress: Progress, records: dict[str, PictureRecord] | None
) -> None:
    """Enter a picture that is done, and tell what is wrong with it."""
    item, record, outcome = told.item, told.record, told.outcome
    tally.add(item.name, outcome)
    if outcome.failure:
        progress.say(f"{item.name}: {outcome.failure}")
    if record is not None:
        if record.remark:
            progress.say(f"{record.source}: used, though it has a fault: {record.remark}")
        if records is not None:
            records[item.name] = record
