"""What a run did, as its caller is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pspfast.formats.result import Result

__all__ = ["Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did.

    Attributes:
        output: its folder.
        result: the scores; ``None`` without labels, and of a run that was stopped.
        pictures: done, in this run or before.
        kept: how many of them were done before.
        failed: ``(name, reason)`` of those left out.
        remarks: ``(name, what)`` of what is wrong with others.
        seconds: wall clock of the pictures, with the model loaded.
        pictures_per_second: in this run.
        batch, workers: pictures at once; threads of the data path.
        stages: seconds by stage, added up over the threads; ``wait`` is how long the engine had nothing to do.
        limited_by: the stage that the others waited for.
        peak_memory: of the process, bytes.
        runtime: see :meth:`pspfast.runtimes.runtime.Runtime.describe`.
        report: path of the page, empty if none was written.
        stopped: why the run ended before every picture was tried; empty if it did not.
        unwritten: outputs that could not be written.
    """

    output: str
    result: Result | None
    pictures: int
    kept: int
    failed: tuple[tuple[str, str], ...]
    remarks: tuple[tuple[str, str], ...]
    seconds: float
    pictures_per_second: float
    batch: int
    workers: int
    stages: dict[str, float]
    limited_by: str
    peak_memory: int
    runtime: dict[str, Any]
    report: str
    stopped: str
    unwritten: tuple[str, ...]

    def __str__(self) -> str:
        made = self.pictures - self.kept
        stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in self.stages.items() if seconds)
        lines = [
            f"{self.pictures} pictures" + f", {self.kept} of them from before" * bool(self.kept),
            f"{made} pictures in {self.seconds:.2f} s: {self.pictures_per_second:.1f} pictures/s, batch {self.batch}, "
            f"{self.workers} worker{'s' * (self.workers != 1)}, limited by {self.limited_by}",
            f"{stages}; peak memory {self.peak_memory / 1e6:.0f} MB",
        ]
        return "\n".join(lines)
