"""How fast a model runs, with everything around it and without: what ``pspfast benchmark`` does, as functions."""

from __future__ import annotations

import os
import queue
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.datasets import VOC, find_labels, pictures_in, read_split
from pspfast.formats.measurements import Measurement
from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureError
from pspfast.runtimes.model_facts import metadata_of, shape_of_picture
from pspfast.runtimes.runtime import Runtime, RuntimeFault
from pspfast.speed.clocks import Bins, Pictures, Preparation, Times
from pspfast.speed.tables import WIDEN, Benchmark, latencies
from pspfast.stages.device_runtimes import batch_of, open_on, workers_for
from pspfast.stages.dump_layouts import dump_names, write_dumps
from pspfast.stages.feeding import FeedError, find_feed
from pspfast.stages.inference import PictureFailure
from pspfast.system import threads as parallel
from pspfast.system.files import OutputError, folder_for_output, stem
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pspfast.pictures.geometry import Letterbox
    from pspfast.speed.clocks import Source

__all__ = ["benchmark_bins", "benchmark_pictures", "benchmark_pure"]

_AHEAD = 8
_SEED = 20210729
_LEAST_SECONDS = 1e-9  # of a stage that took nothing a clock can see


def benchmark_pictures(
    model: str | os.PathLike[str],
    images: str | os.PathLike[str],
    split: str | os.PathLike[str] | None = None,
    *,
    labels: str | os.PathLike[str] | None = None,
    dump: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    runtime: str | Callable[[int], Runtime] = "auto",
    device: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    warmup: int = 3,
    quiet: bool = True,
    **options: Any,
) -> Benchmark:
    """Measure a model with a data set: pictures are read, letterboxed, run, and scored or dumped, all at once.

    Args:
        model: the file.
        images: folder of the pictures.
        split: file with one id a line; every picture of the folder if left out.
        labels: folder of label pictures to score against.
        dump: folder for the model's outputs, as :func:`pspfast.stages.inference.infer` writes them.
        num_classes: for scores; the model's own, or VOC's, if left out.
        runtime, device, threads, **options: see :func:`pspfast.runtimes.engines.open_runtime`; or what opens a runtime.
        batch: pictures at once, see :func:`pspfast.stages.device_runtimes.batch_of`.
        workers: threads of the data path; enough to keep the device busy if left out.
        warmup: batches that are run before and count for nothing.
        quiet: no progress on standard error.

    Raises:
        OSError: the folder, the split or the model cannot be read, or the folder for outputs not be made.
        ValueError: a model that does not take pictures, or nothing to run.
        RuntimeFault, MissingExtra: see :func:`pspfast.runtimes.engines.open_runtime`.
    """
    folder = os.fspath(images)
    if not os.path.isdir(folder):
        raise NotADirectoryError(None, "no such folder of pictures", folder)
    names = pictures_in(folder) if split is None else list(read_split(split).ids)
    if not names:
        raise ValueError(f"{folder}: no pictures in this folder")
    label_folder = None if labels is None else os.fspath(labels)
    if label_folder is not None and not os.path.isdir(label_folder):
        raise NotADirectoryError(None, "no such folder of labels", label_folder)
    with ExitStack() as opened:
        (one,) = open_on(opened, model, runtime, (device,), threads, **options)
        metadata = metadata_of(one, os.fspath(model))
        known = num_classes or (len(metadata.classes) if metadata and metadata.classes else len(VOC.classes))
        preparation = Preparation.of(one, metadata, os.fspath(model))
        shape = preparation.shape
        posts = _posts(dump, label_folder, one, known)

        def make_source() -> Source:
            return Pictures(folder, preparation)

        run = _Run(one, batch_of(one, batch), workers, warmup, shape, quiet)
        return run.data_set(make_source, names, posts, model=os.fspath(model), device=device)


def benchmark_bins(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    dump: str | os.PathLike[str] | None = None,
    runtime: str | Callable[[int], Runtime] = "auto",
    device: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    warmup: int = 3,
    quiet: bool = True,
    **options: Any,
) -> Benchmark:
    """Measure a model with bins, which are read, run and, if asked for, dumped; without preprocessing.

    Args:
        source: see :func:`pspfast.stages.feeding.find_feed`.
        model, dump, runtime, device, threads, batch, workers, warmup, quiet, **options: see
            :func:`benchmark_pictures`.

    Raises:
        OSError, ValueError, RuntimeFault, MissingExtra: see :func:`pspfast.stages.inference.infer`.
    """
    with ExitStack() as opened:
        (one,) = open_on(opened, model, runtime, (device,), threads, **options)
        feed = find_feed(source, one.input)
        by_name = {fed.name: fed for fed in feed.pictures}

        def make_source() -> Source:
            return Bins(feed, by_name, one.input.dtype)

        run = _Run(one, batch_of(one, batch), workers, warmup, feed.shape, quiet)
        return run.data_set(
            make_source,
            list(by_name),
            _posts(dump, None, one, 0),
            model=os.fspath(model),
            device=device,
            failures=[PictureFailure(*failure) for failure in feed.failures],
        )


def benchmark_pure(
    model: str | os.PathLike[str],
    *,
    rounds: int = 20,
    size: tuple[int, int] | None = None,
    runtime: str | Callable[[int], Runtime] = "auto",
    device: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    warmup: int = 3,
    **options: Any,
) -> Benchmark:
    """Measure a model alone, with one batch of random numbers again and again.

    Args:
        rounds: how often.
        size: ``(H, W)``, for models that leave it open.
        model, runtime, device, threads, batch, warmup, **options: see :func:`benchmark_pictures`.

    Raises:
        OSError, ValueError, RuntimeFault, MissingExtra: see :func:`benchmark_pictures`.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    with ExitStack() as opened:
        (one,) = open_on(opened, model, runtime, (device,), threads, **options)
        count = batch_of(one, batch)
        shape = shape_of_picture(one, size, os.fspath(model))
        return _Run(one, count, 1, warmup, shape, quiet=True).pure(rounds, model=os.fspath(model), device=device)


@dataclass(frozen=True, slots=True)
class _Posts:
    """What becomes of the outputs."""

    dump: Path | None
    endings: tuple[str, ...]
    labels: str | None
    num_classes: int


def _posts(dump: str | os.PathLike[str] | None, labels: str | None, runtime: Runtime, num_classes: int) -> _Posts:
    folder = None if dump is None else folder_for_output(dump)
    return _Posts(folder, tuple(dump_names("benchmark", len(runtime.outputs))), labels, num_classes)


@dataclass(frozen=True, slots=True)
class _Outcome:
    times: Times
    pictures: int
    failures: tuple[PictureFailure, ...]


class _Worker:
    """Takes one batch after the other all the way, in its own buffer, and looks at the clock."""

    def __init__(
        self,
        source: Source,
        lanes: queue.SimpleQueue[Runtime],
        batch: NDArray[Any],
        posts: _Posts,
        matrix: ConfusionMatrix | None,
    ) -> None:
        self._source, self._lanes, self._batch, self._posts, self._matrix = source, lanes, batch, posts, matrix

    def __call__(self, job: tuple[str, ...]) -> _Outcome:
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
            return _Outcome(times, 0, tuple(failures))
        runtime = self._lanes.get()
        before = time.perf_counter()
        try:
            outputs = runtime.infer(self._batch[: len(ready)])
        finally:
            self._lanes.put(runtime)
        times.infer.append(time.perf_counter() - before)
        if self._posts.dump is not None or self._matrix is not None:
            for slot, (name, geometry) in enumerate(ready):
                before = time.perf_counter()
                try:
                    self._post(name, geometry, [output[slot] for output in outputs])
                except PictureError as error:
                    failures.append(PictureFailure(name, str(error)))
                times.post.append(time.perf_counter() - before)
        times.whole.append(time.perf_counter() - start)
        return _Outcome(times, len(ready), tuple(failures))

    def _post(self, name: str, geometry: Letterbox | None, outputs: list[NDArray[Any]]) -> None:
        if self._posts.dump is not None:
            write_dumps(self._posts.dump, stem(name), self._posts.endings, outputs, "benchmark")
        if self._matrix is not None and self._posts.labels is not None and geometry is not None:
            path = find_labels(self._posts.labels, name)
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


class _Run:
    """A loaded model, warmed up, and how it is fed."""

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
        start = time.perf_counter()
        for _ in range(rounds):
            before = time.perf_counter()
            self._runtime.infer(random)
            infer.append(time.perf_counter() - before)
        seconds = time.perf_counter() - start
        told = self._runtime.describe() | {"model": model}
        count = rounds * self._batch
        common = self._common(told, device, count, rounds, on_random_data=True)
        found = [self._of_batches("pure inference", infer, count, common)]
        if self._runtime.compute_seconds:
            found.append(self._of_batches("compute", self._runtime.compute_seconds, count, common))
        return Benchmark(tuple(found), count, seconds, self._batch, 1, told, "pure inference")

    def data_set(
        self,
        make_source: Callable[[], Source],
        names: Sequence[str],
        posts: _Posts,
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

        def make_worker() -> _Worker:
            matrix = None
            if posts.labels is not None:
                matrix = ConfusionMatrix(posts.num_classes, VOC.ignore_index)
                matrices.append(matrix)
            batch: NDArray[Any] = np.empty((self._batch, *self._shape), self._runtime.input.dtype)
            return _Worker(make_source(), lanes, batch, posts, matrix)

        times, done, failed, stopped = Times(), 0, list(failures), ""
        workers = min(self._workers, len(jobs))
        with Progress("pictures", len(names), quiet=self._quiet) as progress:
            start = time.perf_counter()
            try:
                for job, outcome in parallel.run(make_worker, jobs, workers, ahead=_AHEAD):
                    times.add(outcome.times)
                    done += outcome.pictures
                    failed += outcome.failures
                    for failure in outcome.failures:
                        progress.say(f"{failure.name}: {failure.reason}")
                    progress.advance(len(job))
            except (OutputError, RuntimeFault) as error:
                stopped = str(error)
            seconds = time.perf_counter() - start
        told = self._runtime.describe() | {"model": model}
        if not done:
            raise RuntimeFault(stopped or "no picture could be run: " + "; ".join(one.reason for one in failed[:3]))
        common = self._common(told, device, done, len(times.infer), on_random_data=False)
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
        miou = 100 * matrices[0].miou() if matrices else None
        return Benchmark(
            tuple(found), done, seconds, self._batch, workers, told, "data set", tuple(failed), miou, stopped
        )

    def _common(
        self, told: dict[str, Any], device: int, pictures: int, batches: int, *, on_random_data: bool
    ) -> dict[str, Any]:
        threads = (f"{told['runtime']} on {told['threads']} threads",) if told.get("threads") else ()
        return {
            "source": "pspfast benchmark",
            "tool": "pspfast",
            "tool_version": f"{pspfast.__version__} with {told['runtime']} {told['version']}",
            "device": told["device"],
            "device_index": device,
            "batch": self._batch,
            "batch_run": self._batch,
            "iterations": batches,
            "pictures": pictures,
            "on_random_data": on_random_data,
            "notes": threads,
        }

    def _of_batches(self, kind: str, seconds: Sequence[float], pictures: int, common: dict[str, Any]) -> Measurement:
        rate = pictures / max(sum(seconds), _LEAST_SECONDS)
        return Measurement(kind=kind, throughput=rate, latency_ms=latencies(seconds), latency_of="batch", **common)

    def _of_pictures(self, kind: str, seconds: Sequence[float], common: dict[str, Any]) -> Measurement:
        rate = len(seconds) / max(sum(seconds), _LEAST_SECONDS)
        return Measurement(kind=kind, throughput=rate, latency_ms=latencies(seconds), latency_of="picture", **common)
