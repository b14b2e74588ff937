"""A loaded model that is warm: how fast it runs alone, and with the data path round it on several threads."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.formats.measurements import Measurement
from pspfast.formats.result import Result
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.speed.clocks import Times
from pspfast.speed.output_values import remarks_on, values_of
from pspfast.speed.tables import WIDEN, Benchmark, latencies
from pspfast.speed.timed_batches import BatchWorker
from pspfast.stages.device_runtimes import workers_for
from pspfast.system import threads
from pspfast.system.files import OutputError
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pspfast.metrics.confusion import ConfusionMatrix
    from pspfast.runtimes.runtime import Runtime
    from pspfast.speed.clocks import TimedSource
    from pspfast.speed.output_values import OutputValues
    from pspfast.speed.timed_batches import OutputHandling
    from pspfast.stages.inference import PictureFailure

__all__ = ["WarmModel"]

_AHEAD = 8
_SEED = 20210729
_LEAST_SECONDS = 1e-9  # of a stage that took nothing a clock can see


class WarmModel:
    """A loaded model, warmed up, and the threads that bring it batches."""

    def __init__(
        self, runtime: Runtime, batch: int, workers: int | None, warmup: int, shape: Sequence[int], quiet: bool
    ) -> None:
        if warmup < 0 or (workers is not None and workers < 1):
            raise ValueError(f"warmup must not be negative and workers at least 1, got {warmup} and {workers}")
        self._runtime, self._batch, self._shape, self._quiet = runtime, batch, tuple(shape), quiet
        self._workers = workers_for([runtime]) if workers is None else workers
        for random in [self._made_up()] * warmup if warmup else ():
            runtime.infer(random)
        runtime.compute_seconds.clear()

    def _made_up(self) -> NDArray[Any]:
        """Seeded: the same numbers for every model of this shape."""
        generator = np.random.default_rng(_SEED)
        shape, kind = (self._batch, *self._shape), np.dtype(self._runtime.input.dtype)
        if kind.kind == "f":
            return generator.standard_normal(shape, np.float32).astype(kind, copy=False)
        return generator.integers(0, 256 if kind == np.uint8 else 2, shape).astype(kind)

    def pure(self, rounds: int, *, model: str, device: int) -> Benchmark:
        """One batch of random numbers, ``rounds`` times."""
        infer, random = [], self._made_up()
        outputs: list[NDArray[Any]] = []
        start = time.perf_counter()
        for _ in range(rounds):
            before = time.perf_counter()
            outputs = self._runtime.infer(random)
            infer.append(time.perf_counter() - before)
        seconds = time.perf_counter() - start
        engine = self._runtime.describe() | {"model": model}
        count = rounds * self._batch
        common = self._common(engine, device, count, rounds, on_random_data=True)
        found = [self._of_batches("pure inference", infer, count, common)]
        if self._runtime.compute_seconds:
            found.append(self._of_batches("compute", self._runtime.compute_seconds, count, common))
        seen = [values_of(spec.name, one) for spec, one in zip(self._runtime.outputs, outputs, strict=True)]
        remarks = tuple(remarks_on(seen, on_random_data=True))
        return Benchmark(tuple(found), count, seconds, self._batch, 1, engine, "pure inference", remarks=remarks)

    def data_set(
        self,
        make_source: Callable[[], TimedSource],
        names: Sequence[str],
        handling: OutputHandling,
        *,
        model: str,
        device: int,
        failures: Sequence[PictureFailure] = (),
    ) -> Benchmark:
        """Every picture, once."""
        if not names:
            raise ValueError("none of the pictures can be used" if failures else "no pictures")
        jobs = [tuple(names[start : start + self._batch]) for start in range(0, len(names), self._batch)]
        lanes: queue.SimpleQueue[Runtime] = queue.SimpleQueue()
        for _ in range(self._runtime.lanes):
            lanes.put(self._runtime)
        matrices: list[ConfusionMatrix] = []
        seen: list[OutputValues] = []

        def make_worker() -> BatchWorker:
            matrix = None
            if handling.scoring is not None:
                matrix = handling.scoring.rules.matrix()
                matrices.append(matrix)
            batch: NDArray[Any] = np.empty((self._batch, *self._shape), self._runtime.input.dtype)
            return BatchWorker(make_source(), lanes, batch, handling, matrix, seen)

        times, done, failed, stopped = Times(), 0, list(failures), ""
        workers = min(self._workers, len(jobs))
        with Progress("pictures", len(names), quiet=self._quiet) as progress:
            start = time.perf_counter()
            try:
                for job, measured in threads.run(make_worker, jobs, workers, ahead=_AHEAD):
                    times.add(measured.times)
                    done += measured.pictures
                    failed += measured.failures
                    for failure in measured.failures:
                        progress.say(f"{failure.name}: {failure.reason}")
                    progress.advance(len(job))
            except (OutputError, RuntimeFault) as error:
                stopped = str(error)
            seconds = time.perf_counter() - start
        engine = self._runtime.describe() | {"model": model}
        if not done:
            raise RuntimeFault(stopped or "no picture could be run: " + "; ".join(one.reason for one in failed[:3]))
        common = self._common(engine, device, done, len(times.infer), on_random_data=False)
        notes = (*common["notes"], f"data path on {workers} threads")
        found = [
            self._of_pictures(kind, taken, {**common, "notes": ("of one thread",)})
            for kind, taken in (("data read", times.read), ("preprocess", times.preprocess), (WIDEN, times.widen))
            if taken
        ]
        found.append(self._of_batches("infer", times.infer, done, common))
        if self._runtime.compute_seconds:
            found.append(self._of_batches("compute", self._runtime.compute_seconds, done, common))
        if times.post:
            found.append(self._of_pictures("post", times.post, {**common, "notes": ("of one thread",)}))
        found.append(
            Measurement(
                kind="end to end",
                throughput=done / seconds,
                latency_ms=latencies(times.whole),
                latency_of="batch",
                **{**common, "notes": notes},
            )
        )
        for matrix in matrices[1:]:
            matrices[0].merge(matrix)
        miou, remarks = None, remarks_on(seen, on_random_data=False)
        if matrices and handling.scoring is not None:
            miou = 100 * matrices[0].miou()
            scored = Result.of(matrices[0], handling.scoring.rules.subject.classes, done)
            remarks = scored.caveats() or remarks
        return Benchmark(
            tuple(found),
            done,
            seconds,
            self._batch,
            workers,
            engine,
            "data set",
            tuple(failed),
            miou,
            stopped,
            tuple(remarks),
        )

    def _common(
        self, engine: dict[str, Any], device: int, pictures: int, batches: int, *, on_random_data: bool
    ) -> dict[str, Any]:
        notes = (f"{engine['runtime']} on {engine['threads']} threads",) if engine.get("threads") else ()
        return {
            "source": "pspfast benchmark",
            "tool": "pspfast",
            "tool_version": f"{pspfast.__version__} with {engine['runtime']} {engine['version']}",
            "device": engine["device"],
            "device_index": device,
            "batch": self._batch,
            "batch_run": self._batch,
            "iterations": batches,
            "pictures": pictures,
            "on_random_data": on_random_data,
            "notes": notes,
        }

    def _of_batches(self, kind: str, seconds: Sequence[float], pictures: int, common: dict[str, Any]) -> Measurement:
        rate = pictures / max(sum(seconds), _LEAST_SECONDS)
        return Measurement(kind=kind, throughput=rate, latency_ms=latencies(seconds), latency_of="batch", **common)

    def _of_pictures(self, kind: str, seconds: Sequence[float], common: dict[str, Any]) -> Measurement:
        rate = len(seconds) / max(sum(seconds), _LEAST_SECONDS)
        return Measurement(kind=kind, throughput=rate, latency_ms=latencies(seconds), latency_of="picture", **common)
