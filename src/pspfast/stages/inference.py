"""Bins to what a model makes of them: what ``pspfast infer`` does, as a function."""

from __future__ import annotations

import os
import queue
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.formats.dump_folder import DumpFolder
from pspfast.formats.external_weights import sha256_of_model
from pspfast.runtimes.model_facts import metadata_of
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.stages.ais_bench_summary import write_summary
from pspfast.stages.device_runtimes import batch_of, open_on, workers_for
from pspfast.stages.dump_layouts import LAYOUTS, Layout, check_outputs, describe_dumps, dump_names, write_dumps
from pspfast.stages.feeding import FeedError, FeedReader, find_feed
from pspfast.stages.model_input import check_bins
from pspfast.system import threads
from pspfast.system.files import OutputError, folder_for_output
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from pspfast.formats.bins import BinSlot
    from pspfast.runtimes.runtime import Runtime
    from pspfast.stages.feeding import BinLayout, Feed

__all__ = ["InferOptions", "InferSummary", "PictureFailure", "infer", "infer_with"]

STAGES = ("read", "infer", "write")

_AHEAD = 8


@dataclass(frozen=True, slots=True)
class PictureFailure:
    """A picture without outputs, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class InferSummary:
    """What a run did.

    Attributes:
        folder: where the outputs are.
        pictures: that have outputs now.
        kept: how many of them had them from an earlier run.
        batch: pictures at once.
        batches: that were run.
        seconds: wall clock, with the model already loaded.
        stage_seconds: by stage, added up over the threads.
        runtimes: one for each device, see :meth:`pspfast.runtimes.runtime.Runtime.describe`.
        failures: pictures without outputs.
        removed: outputs of another model that were in the folder.
        strays: other bins in the folder.
        stopped: why the run ended before every picture was tried; empty if it did not.
    """

    folder: str
    pictures: int
    kept: int
    batch: int
    batches: int
    seconds: float
    stage_seconds: dict[str, float]
    runtimes: tuple[dict[str, Any], ...]
    failures: tuple[PictureFailure, ...]
    removed: int
    strays: int
    stopped: str

    def __str__(self) -> str:
        made = self.pictures - self.kept
        runtime = self.runtimes[0]
        where = ", ".join(str(one["device"]) for one in self.runtimes)
        threads = f", {runtime['threads']} threads" if runtime.get("threads") else ""
        lines = [
            f"{self.pictures} pictures in {self.folder}" + f", {self.kept} of them from before" * bool(self.kept),
            f"{made} pictures in {self.seconds:.2f} s: {made / self.seconds:.1f} pictures/s, batch {self.batch}",
            f"{runtime['runtime']} {runtime['version']} on {where}{threads}",
            ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in self.stage_seconds.items()),
        ]
        if self.removed:
            lines.append(f"{self.removed} outputs of another model or run were there and are removed")
        if self.strays:
            lines.append(f"the folder has {self.strays} other .bin files, which are not of this run")
        if self.failures:
            lines.append(f"{len(self.failures)} failed:")
            lines += [f"  {failure.name}: {failure.reason}" for failure in self.failures]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class InferOptions:
    """How a model is run over bins; see :func:`infer` for what each means."""

    layout: Layout = "benchmark"
    folder_name: str | None = None
    runtime: str | Callable[[int], Runtime] = "auto"
    devices: Sequence[int] = (0,)
    provider: str | None = None
    provider_options: Mapping[str, str] | None = None
    allow_cpu: bool = False
    threads: int | None = None
    batch: int | None = None
    workers: int | None = None
    bin_layout: BinLayout | None = None
    resume: bool = True
    quiet: bool = True


def infer(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    layout: Layout = "benchmark",
    folder_name: str | None = None,
    runtime: str | Callable[[int], Runtime] = "auto",
    devices: Sequence[int] = (0,),
    provider: str | None = None,
    provider_options: Mapping[str, str] | None = None,
    allow_cpu: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    bin_layout: BinLayout | None = None,
    resume: bool = True,
    quiet: bool = True,
) -> InferSummary:
    """Run a model over bins and write what it makes of each picture, a file each.

    Args:
        model: the file.
        source: folder of bins or info file, see :func:`pspfast.stages.feeding.find_feed`.
        output: folder for the results; the outputs are in a folder of their own in it.
        layout: one of :data:`pspfast.stages.dump_layouts.LAYOUTS`. A picture of a packed bin has files of its own, by
            its own name.
        folder_name: of the folder in ``output``; ``dumpOutput_device<first device>`` if left out.
        runtime: see :func:`pspfast.runtimes.engines.open_runtime`; or what opens a runtime on a device.
        devices: which share the work. They write into one folder, that of the first one.
        provider, provider_options, allow_cpu, threads: see :func:`pspfast.runtimes.engines.open_runtime`;
            ``threads`` are shared by the devices.
        batch: pictures at once, for models that leave it open; the most a model of several batches takes, else 1.
        workers: threads that read, feed and write; enough to keep every device busy if left out.
        bin_layout: see :func:`pspfast.stages.feeding.find_feed`.
        resume: keep what an earlier run of this model made of pictures that have not changed.
        quiet: no progress on standard error; failures are told all the same.

    Raises:
        OSError: something cannot be read, or the output folder not be made.
        ValueError: options or bins that do not go with the model, outputs that are no masks, or outputs in the folder
            that infer did not write and would replace; nothing was run then.
        RuntimeFault: a device or model that cannot be used. While pictures are run, it is ``stopped`` that says so.
        MissingExtra: the runtime is not installed.
        FolderBusyError: another run is writing there.
    """
    options = InferOptions(
        layout=layout,
        folder_name=folder_name,
        runtime=runtime,
        devices=devices,
        provider=provider,
        provider_options=provider_options,
        allow_cpu=allow_cpu,
        threads=threads,
        batch=batch,
        workers=workers,
        bin_layout=bin_layout,
        resume=resume,
        quiet=quiet,
    )
    return infer_with(model, source, output, options)


def infer_with(
    model: str | os.PathLike[str], source: str | os.PathLike[str], output: str | os.PathLike[str], options: InferOptions
) -> InferSummary:
    """:func:`infer`, with its options as a record."""
    if options.layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {options.layout!r}")
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"workers must be at least 1, got {options.workers}")
    sha256 = sha256_of_model(model)
    with ExitStack() as opened:
        of_device = {
            "provider": options.provider,
            "provider_options": options.provider_options,
            "allow_cpu": options.allow_cpu,
        }
        runtimes = open_on(opened, model, options.runtime, options.devices, options.threads, **of_device)
        size = batch_of(runtimes[0], options.batch)
        feed = find_feed(source, runtimes[0].input, options.bin_layout)
        check_bins(str(model), metadata_of(runtimes[0], str(model)), feed.source, feed.parameters)
        check_outputs(os.fspath(model), runtimes[0].outputs, feed.canvas, size)
        names = dump_names(options.layout, len(runtimes[0].outputs))
        folder = folder_for_output(
            os.path.join(output, options.folder_name or f"dumpOutput_device{options.devices[0]}")
        )
        if os.path.realpath(folder) == os.path.realpath(feed.source):
            raise ValueError(f"{folder} has the bins, which are read; choose another folder")
        told = runtimes[0].describe()
        follows_from = {
            "journal": 2,
            "pspfast": pspfast.__version__,
            "model": sha256,
            "layout": options.layout,
            "input": [feed.dtype, *feed.shape],
            **{key: told.get(key) for key in ("runtime", "version", "provider")},
        }
        written = [f"{picture.name}{ending}" for picture in feed.pictures for ending in names]
        if options.layout == "ais_bench":
            written.append(f"../{folder.name}_summary.json")
        dumps = opened.enter_context(DumpFolder(folder, follows_from, resume=options.resume, names=written))
        kept = [picture for picture in feed.pictures if dumps.is_current(picture)]
        skipped = {picture.name for picture in kept}
        left = [picture for picture in feed.pictures if picture.name not in skipped]
        jobs = [tuple(left[start : start + size]) for start in range(0, len(left), size)]
        free: queue.SimpleQueue[Runtime] = queue.SimpleQueue()
        for one in runtimes:
            for _ in range(one.lanes):
                free.put(one)
        count = min(workers_for(runtimes) if options.workers is None else options.workers, len(jobs) or 1)

        started = time.perf_counter()
        total = len(feed.pictures) + len(feed.failures)
        progress = opened.enter_context(Progress("pictures", total, already=len(kept), quiet=options.quiet))
        tally = _BatchTally(progress)
        tally.fail([PictureFailure(*one) for one in feed.failures])
        stopped = ""
        try:
            for _, outcome in threads.run(
                lambda: _BatchWorker(feed, runtimes[0], free, dumps, names, size, options.layout),
                jobs,
                count,
                ahead=_AHEAD,
            ):
                tally.add(outcome)
        except (OutputError, RuntimeFault) as error:
            stopped = str(error)
        seconds = time.perf_counter() - started
        in_order = _in_order(feed, tally.files, {picture.name: dumps.files_of(picture) for picture in kept})
        if options.layout == "ais_bench" and not stopped:
            write_summary(folder, feed, in_order, runtimes, size, seconds, str(model))
        ours = {name for files in in_order.values() for name in files}
        return InferSummary(
            folder=str(folder),
            pictures=len(in_order),
            kept=len(kept),
            batch=size,
            batches=tally.batches,
            seconds=seconds,
            stage_seconds=tally.seconds,
            runtimes=tuple(one.describe() for one in runtimes),
            failures=tuple(tally.failures),
            removed=dumps.removed,
            strays=sum(name.endswith(".bin") and name not in ours for name in os.listdir(folder)),
            stopped=stopped,
        )


@dataclass(frozen=True, slots=True)
class _BatchOutcome:
    files: dict[str, list[str]]
    failures: tuple[PictureFailure, ...]
    seconds: dict[str, float]


class _BatchWorker:
    """Takes one batch after the other from its files to its outputs, in its own buffer, on whatever device is free."""

    def __init__(
        self,
        feed: Feed,
        runtime: Runtime,
        free: queue.SimpleQueue[Runtime],
        dumps: DumpFolder,
        endings: Sequence[str],
        size: int,
        layout: Layout,
    ) -> None:
        taken, self._outputs, self._canvas = runtime.input, runtime.outputs, feed.canvas
        self._reader, self._free, self._dumps = FeedReader(feed, taken.dtype), free, dumps
        self._endings, self._layout = endings, layout
        self._batch: NDArray[Any] = np.empty((size, *feed.shape), taken.dtype)

    def __call__(self, job: tuple[BinSlot, ...]) -> _BatchOutcome:
        start = time.perf_counter()
        failures: list[PictureFailure] = []
        ready: list[BinSlot] = []
        for picture in job:
            try:
                self._reader.read(picture, self._batch[len(ready)])
                ready.append(picture)
            except FeedError as error:
                failures.append(PictureFailure(picture.name, str(error)))
        seconds = {"read": time.perf_counter() - start, "infer": 0.0, "write": 0.0}
        if not ready:
            return _BatchOutcome({}, tuple(failures), seconds)
        runtime = self._free.get()
        start = time.perf_counter()
        try:
            outputs = runtime.infer(self._batch[: len(ready)])
        finally:
            self._free.put(runtime)
        read_and_run = time.perf_counter()
        seconds["infer"] = read_and_run - start
        first = [output[0] for output in outputs]
        describe_dumps(self._dumps.recorder, self._canvas, self._outputs, self._endings, first, self._layout)
        done = []
        for slot, picture in enumerate(ready):
            try:
                one = write_dumps(
                    self._dumps.folder, picture.name, self._endings, [output[slot] for output in outputs], self._layout
                )
                done.append((picture, one))
            except OutputError as error:
                if error.is_lasting:
                    self._dumps.add(done)
                    raise
                failures.append(PictureFailure(picture.name, str(error)))
        self._dumps.add(done)
        seconds["write"] = time.perf_counter() - read_and_run
        return _BatchOutcome({picture.name: list(files) for picture, files in done}, tuple(failures), seconds)


class _BatchTally:
    """What came of the batches so far, told to the progress display as it comes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.files: dict[str, list[str]] = {}
        self.failures: list[PictureFailure] = []
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.batches = 0

    def fail(self, failures: Sequence[PictureFailure]) -> None:
        for failure in failures:
            self._progress.say(f"{failure.name}: {failure.reason}")
        self.failures += failures
        if failures:
            self._progress.advance(len(failures))

    def add(self, outcome: _BatchOutcome) -> None:
        self.files |= outcome.files
        self.batches += 1
        self.seconds = {stage: self.seconds[stage] + outcome.seconds[stage] for stage in STAGES}
        self.fail(outcome.failures)
        self._progress.advance(len(outcome.files))


def _in_order(feed: Feed, made: dict[str, list[str]], kept: dict[str, list[str]]) -> dict[str, list[str]]:
    """Files by picture, in the feed's order."""
    known = kept | made
    return {picture.name: known[picture.name] for picture in feed.pictures if picture.name in known}
