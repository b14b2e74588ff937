"""One batch after the other all the way, with a clock at each stage: what a thread of a benchmark does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.datasets import find_labels
from pspfast.formats.dump_record import DumpRecorder
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureError
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.speed.clocks import Times
from pspfast.stages.dump_layouts import describe_dumps, dump_names, write_dumps
from pspfast.stages.feeding import FeedError
from pspfast.stages.inference import PictureFailure
from pspfast.system.files import folder_for_output, stem

if TYPE_CHECKING:
    import os
    import queue
    from pathlib import Path

    from numpy.typing import NDArray

    from pspfast.metrics.confusion import ConfusionMatrix
    from pspfast.pictures.geometry import Letterbox
    from pspfast.runtimes.runtime import Runtime, TensorSpec
    from pspfast.speed.clocks import TimedSource

__all__ = ["BatchWorker", "MeasuredBatch", "OutputHandling"]


@dataclass(frozen=True, slots=True)
class OutputHandling:
    """What becomes of the outputs.

    Attributes:
        dump: folder for them; ``None`` if they are not written.
        endings: of their files' names.
        outputs: of the model.
        recorder: of what the dumps hold; ``None`` if they are not written.
        labels: folder of label pictures to score them against.
        num_classes: for scores.
    """

    dump: Path | None
    endings: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    recorder: DumpRecorder | None
    labels: str | None
    num_classes: int

    @classmethod
    def of(
        cls, dump: str | os.PathLike[str] | None, labels: str | None, runtime: Runtime, num_classes: int
    ) -> OutputHandling:
        """Make the folder for dumps, if there is to be one.

        Raises:
            OSError: it cannot be made.
        """
        folder = None if dump is None else folder_for_output(dump)
        recorder = None if folder is None else DumpRecorder(folder)
        endings = tuple(dump_names("benchmark", len(runtime.outputs)))
        return cls(folder, endings, runtime.outputs, recorder, labels, num_classes)


@dataclass(frozen=True, slots=True)
class MeasuredBatch:
    """How long a batch took, stage by stage, how many of its pictures ran, and which could not be used."""

    times: Times
    pictures: int
    failures: tuple[PictureFailure, ...]


class BatchWorker:
    """Takes one batch after the other all the way, in its own buffer, and looks at the clock."""

    def __init__(
        self,
        source: TimedSource,
        lanes: queue.SimpleQueue[Runtime],
        batch: NDArray[Any],
        handling: OutputHandling,
        matrix: ConfusionMatrix | None,
    ) -> None:
        self._source, self._lanes, self._batch, self._handling, self._matrix = source, lanes, batch, handling, matrix

    def __call__(self, job: tuple[str, ...]) -> MeasuredBatch:
        """Read, prepare, run and use the pictures of these names."""
        times = Times()
        failures: list[PictureFailure] = []
        ready: list[tuple[str, Letterbox | None]] = []
        start = time.perf_counter()
        for name in job:
            try:
                ready.append((name, self._source.fill(name, self._batch[len(ready)], times)))
            except (PictureError, FeedError) as error:
                failures.append(PictureFailure(name, str(error)))
        if not ready:
            return MeasuredBatch(times, 0, tuple(failures))
        runtime = self._lanes.get()
        before = time.perf_counter()
        try:
            outputs = runtime.infer(self._batch[: len(ready)])
        finally:
            self._lanes.put(runtime)
        times.infer.append(time.perf_counter() - before)
        if self._handling.dump is not None or self._matrix is not None:
            for slot, (name, geometry) in enumerate(ready):
                before = time.perf_counter()
                try:
                    self._post(name, geometry, [output[slot] for output in outputs])
                except PictureError as error:
                    failures.append(PictureFailure(name, str(error)))
                times.post.append(time.perf_counter() - before)
        times.whole.append(time.perf_counter() - start)
        return MeasuredBatch(times, len(ready), tuple(failures))

    def _post(self, name: str, geometry: Letterbox | None, outputs: list[NDArray[Any]]) -> None:
        handling = self._handling
        if handling.dump is not None and handling.recorder is not None:
            canvas = None if geometry is None else geometry.canvas
            describe_dumps(handling.recorder, canvas, handling.outputs, handling.endings, outputs, "benchmark")
            write_dumps(handling.dump, stem(name), handling.endings, outputs, "benchmark")
        if self._matrix is not None and self._handling.labels is not None and geometry is not None:
            path = find_labels(self._handling.labels, name)
            labels = read_labels(path).pixels
            if labels.shape != geometry.picture:
                raise PictureError(path, f"the labels are {labels.shape}, the picture is {geometry.picture}")
            self._matrix.update_letterboxed(_mask(outputs[0], geometry.canvas), labels, geometry)


def _mask(output: NDArray[Any], canvas: tuple[int, int]) -> NDArray[Any]:
    """Labels ``(H, W)`` of one picture, from labels or class scores."""
    if output.dtype.kind == "f" and output.ndim == 3:
        output = output.argmax(axis=0)
    if output.ndim == 3 and len(output) == 1:
        output = output[0]
    if output.shape != canvas or output.dtype.kind not in "iu":
        raise RuntimeFault(
            f"the model gives {output.dtype} {output.shape} for a picture; scores need labels {canvas} or class scores"
        )
    return output
