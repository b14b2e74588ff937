"""One batch after the other all the way, with a clock at each stage: what a thread of a benchmark does."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.datasets import find_labels
from pspfast.formats.dump_folder import DumpFolder
from pspfast.formats.dump_record import RECORD, DumpRecorder, Tensor
from pspfast.formats.dumped_masks import DumpError, DumpReader
from pspfast.formats.dumps import Dump
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureError
from pspfast.speed.clocks import Times
from pspfast.speed.output_values import values_of
from pspfast.stages.dump_layouts import describe_dumps, dump_names, write_dumps
from pspfast.stages.feeding import FeedError
from pspfast.stages.inference import PictureFailure
from pspfast.system.files import remove, stem
from pspfast.system.output_conflicts import own_folder

if TYPE_CHECKING:
    import os
    import queue
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from pspfast.datasets import DataSet
    from pspfast.metrics.confusion import ConfusionMatrix
    from pspfast.pictures.geometry import Letterbox
    from pspfast.runtimes.runtime import Runtime, TensorSpec
    from pspfast.speed.clocks import TimedSource
    from pspfast.speed.output_values import OutputValues
    from pspfast.stages.counting import Rules
    from pspfast.stages.model_output import ModelOutput

__all__ = ["BatchWorker", "MeasuredBatch", "OutputHandling", "Scoring"]


@dataclass(frozen=True, slots=True)
class Scoring:
    """What outputs are scored against, and by which rules.

    Attributes:
        labels: folder of label pictures.
        data_set: says how they are named.
        rules: what pixels are counted as.
        output: the model's output that has the labels or scores.
    """

    labels: str
    data_set: DataSet
    rules: Rules
    output: ModelOutput


@dataclass(frozen=True, slots=True)
class OutputHandling:
    """What becomes of the outputs.

    Attributes:
        dump: folder for them; ``None`` if they are not written.
        endings: of their files' names.
        outputs: of the model.
        recorder: of what the dumps hold; ``None`` if they are not written.
        scoring: what they are scored against; ``None`` if they are not.
    """

    dump: Path | None
    endings: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    recorder: DumpRecorder | None
    scoring: Scoring | None

    @classmethod
    def of(
        cls,
        dump: str | os.PathLike[str] | None,
        runtime: Runtime,
        names: Iterable[str],
        scoring: Scoring | None = None,
    ) -> OutputHandling:
        """Make the folder for dumps of pictures, if there is to be one, and empty it of an earlier benchmark's.

        Raises:
            OSError: it cannot be made.
            ValueError: it has files that no benchmark wrote and this one would replace, or dumps of other pictures.
        """
        endings = tuple(dump_names("benchmark", len(runtime.outputs)))
        if dump is None:
            return cls(None, endings, runtime.outputs, None, scoring)
        written = {f"{stem(name)}{ending}" for name in names for ending in endings}
        if any(os.path.exists(os.path.join(dump, mark)) for mark in DumpFolder.MARKS):
            raise ValueError(f"{os.fspath(dump)} has dumps of pspfast infer; choose another folder for a benchmark's")
        folder = own_folder(dump, (*written, RECORD))
        others = [name for name in os.listdir(folder) if name.endswith(endings) and name not in written]
        if others:
            raise ValueError(
                f"{folder} has dumps of other pictures ({others[0]}); choose another folder, or empty it: together "
                "they would be scored as one"
            )
        for name in (RECORD, *written):
            remove(folder / name)
        return cls(folder, endings, runtime.outputs, DumpRecorder(folder), scoring)


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
        seen: list[OutputValues],
    ) -> None:
        self._source, self._lanes, self._batch, self._handling, self._matrix = source, lanes, batch, handling, matrix
        self._seen, self._is_first = seen, True
        scoring = handling.scoring
        self._masks = None if scoring is None else DumpReader(scoring.output.canvas, scoring.rules.num_classes)

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
        if self._handling.scoring is not None:
            self._handling.scoring.output.check(outputs)
        if self._handling.dump is not None or self._matrix is not None:
            for slot, (name, geometry) in enumerate(ready):
                before = time.perf_counter()
                try:
                    self._post(name, geometry, [output[slot] for output in outputs])
                except (PictureError, DumpError) as error:
                    failures.append(PictureFailure(name, str(error)))
                times.post.append(time.perf_counter() - before)
        times.whole.append(time.perf_counter() - start)
        if self._is_first:  # once a thread: it costs as much as a stage
            self._is_first = False
            self._seen += [values_of(spec.name, one) for spec, one in zip(runtime.outputs, outputs, strict=True)]
        return MeasuredBatch(times, len(ready), tuple(failures))

    def _post(self, name: str, geometry: Letterbox | None, outputs: list[NDArray[Any]]) -> None:
        handling = self._handling
        if handling.dump is not None and handling.recorder is not None:
            canvas = None if geometry is None else geometry.canvas
            describe_dumps(handling.recorder, canvas, handling.outputs, handling.endings, outputs, "benchmark")
            write_dumps(handling.dump, stem(name), handling.endings, outputs, "benchmark")
        scoring = handling.scoring
        if scoring is None or self._matrix is None or self._masks is None or geometry is None:
            return
        path = find_labels(scoring.labels, name, scoring.data_set)
        labels = read_labels(path, wide=scoring.rules.has_wide_labels).pixels
        if labels.shape != geometry.picture:
            raise PictureError(path, f"the labels are {labels.shape}, the picture is {geometry.picture}")
        (top, _), (height, _) = geometry.crop()
        rows, output = range(top, top + height), outputs[scoring.output.index]
        mask, kind = self._masks.take(name, output, rows)
        if kind.startswith("float"):  # labels stored as floats
            mask, _ = self._masks.settle(
                Dump(name, None, tensor=Tensor(kind, output.shape, "the model")), rows, mask, kind
            )
        self._matrix.update_letterboxed(mask, labels, geometry)
