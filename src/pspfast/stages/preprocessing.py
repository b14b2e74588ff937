"""Pictures to the network's input: ``python -m pspfast.preprocess``.

Takes the published script's options and, with the defaults, writes its bins byte for byte.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import pspfast
from pspfast.datasets import VOC, find_picture, pictures_in
from pspfast.datasets.names import Failure, names_of_split, names_to_use
from pspfast.formats.bins import BinFolder, BinRecord, Manifest, PictureRecord
from pspfast.pictures import kernels
from pspfast.pictures.reader import MAX_PIXELS, PictureError
from pspfast.stages.letterboxing import LetterboxSettings, Preparer, parameters, written_extents
from pspfast.system import threads
from pspfast.system.files import OutputError, folder_for_output, stem, write_sparse
from pspfast.system.machine import peak_memory
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.datasets import DataSet

__all__ = ["Failure", "PreprocessOptions", "PreprocessSummary", "preprocess", "preprocess_with"]

STAGES = ("decode", "letterbox", "write")

# Outcomes are small: workers need not wait for them to be told.
_AHEAD = 32

_MOST_WORKERS = 1024


@dataclass(frozen=True, slots=True)
class PreprocessSummary:
    """What a run did.

    Attributes:
        pictures: pictures in bins now.
        kept: how many of them are in bins of an earlier run.
        bins: bins in the folder that belong to the manifest.
        bytes_written: by this run.
        seconds: wall clock.
        stage_seconds: by stage, added up over the workers.
        workers: threads.
        peak_memory: of the process, bytes.
        failures: pictures in no bin.
        strays: bins in the folder that do not belong to the manifest.
        stopped: why the run ended before every picture was tried; empty if it did not.
    """

    pictures: int
    kept: int
    bins: int
    bytes_written: int
    seconds: float
    stage_seconds: dict[str, float]
    workers: int
    peak_memory: int
    failures: tuple[Failure, ...]
    strays: int
    stopped: str

    def __str__(self) -> str:
        made = self.pictures - self.kept
        stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in self.stage_seconds.items())
        threads = f"{self.workers} worker{'s' * (self.workers != 1)}"
        lines = [
            f"{self.pictures} pictures in {self.bins} bins" + (f", {self.kept} of them from before" * bool(self.kept)),
            f"{made} pictures in {self.seconds:.2f} s: {made / self.seconds:.0f} pictures/s, "
            f"{self.bytes_written / self.seconds / 1e6:.0f} MB/s",
            f"{stages} ({threads}); peak memory {self.peak_memory / 1e6:.0f} MB",
        ]
        if self.strays:
            lines.append(f"the folder has {self.strays} other .bin files, which the manifest does not name")
        if self.failures:
            lines.append(f"{len(self.failures)} failed:")
            lines += [f"  {failure.name}: {failure.reason}" for failure in self.failures]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Job:
    """One bin to make, of the pictures with these names."""

    bin_name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _BinOutcome:
    record: BinRecord
    failures: tuple[Failure, ...]
    bytes_written: int
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """How pictures become bins; see :func:`preprocess` for what each means."""

    split: str | os.PathLike[str] | None = None
    size: tuple[int, int] = kernels.DEFAULT_SIZE
    mean: Sequence[float] = kernels.IMAGENET_MEAN
    std: Sequence[float] = kernels.IMAGENET_STD
    stats: Literal["float16", "exact"] = "float16"
    pad_value: float = 0.0
    scale_up: bool = True
    dtype: Literal["float16", "float32"] = "float16"
    batch_size: int = 1
    workers: int | None = None
    resume: bool = True
    max_pixels: int = MAX_PIXELS
    data_set: DataSet = VOC
    quiet: bool = True


def preprocess(
    image_folder: str | os.PathLike[str],
    bin_folder: str | os.PathLike[str],
    split: str | os.PathLike[str] | None = None,
    *,
    size: tuple[int, int] = kernels.DEFAULT_SIZE,
    mean: Sequence[float] = kernels.IMAGENET_MEAN,
    std: Sequence[float] = kernels.IMAGENET_STD,
    stats: Literal["float16", "exact"] = "float16",
    pad_value: float = 0.0,
    scale_up: bool = True,
    dtype: Literal["float16", "float32"] = "float16",
    batch_size: int = 1,
    workers: int | None = None,
    resume: bool = True,
    max_pixels: int = MAX_PIXELS,
    data_set: DataSet = VOC,
    quiet: bool = True,
) -> PreprocessSummary:
    """Letterbox pictures into bins of ``(batch_size, 3, H, W)`` and describe them in ``manifest.json``.

    Args:
        image_folder: where the pictures are.
        bin_folder: where the bins go; made if need be.
        split: file with one id a line; every picture of the folder, sorted, if left out.
        size: ``(H, W)`` of the canvas.
        mean, std, stats, pad_value, scale_up: see :func:`pspfast.letterbox`.
        dtype: of the bins.
        batch_size: pictures a bin. With 1 a bin is ``<stem>.bin``, else ``batch_00000.bin``, ...; the last one is as
            long as the others, filled up with zeros, and the manifest says how many pictures it has.
        workers: threads; the CPUs this process may use if left out.
        resume: keep bins of an earlier run with the same parameters whose pictures have not changed.
        max_pixels: larger pictures are refused.
        data_set: says which picture an id stands for, and which files of the folder are pictures.
        quiet: no progress on standard error; failures are told all the same.

    Returns:
        What was done. Pictures that cannot be used are in ``failures``; they stop nothing.

    Raises:
        OSError: the folder or the split cannot be read, the bin folder cannot be made.
        ValueError: the split names nothing, an option is out of range, or ``bin_folder`` has bins that preprocess did
            not write and would replace.
        FolderBusyError: another run is writing into ``bin_folder``.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     Image.new("RGB", (500, 375)).save(Path(folder, "grey.jpg"))
        ...     summary = preprocess(folder, Path(folder, "bins"))
        ...     Path(folder, "bins", "grey.bin").stat().st_size
        1500000
    """
    options = PreprocessOptions(
        split=split,
        size=size,
        mean=mean,
        std=std,
        stats=stats,
        pad_value=pad_value,
        scale_up=scale_up,
        dtype=dtype,
        batch_size=batch_size,
        workers=workers,
        resume=resume,
        max_pixels=max_pixels,
        data_set=data_set,
        quiet=quiet,
    )
    return preprocess_with(image_folder, bin_folder, options)


def preprocess_with(
    image_folder: str | os.PathLike[str], bin_folder: str | os.PathLike[str], options: PreprocessOptions
) -> PreprocessSummary:
    """:func:`preprocess`, with its options as a record."""
    started = time.perf_counter()
    how = parameters(
        options.size,
        options.mean,
        options.std,
        options.stats,
        options.pad_value,
        options.scale_up,
        options.dtype,
        options.batch_size,
    )
    workers = threads.default_workers() if options.workers is None else options.workers
    if not 1 <= workers <= _MOST_WORKERS:
        raise ValueError(f"workers must be 1 to {_MOST_WORKERS}, got {workers}")
    if not os.fspath(image_folder):
        raise ValueError("the folder of pictures has an empty name")
    pspfast.isa()  # a wrong PSPFAST_ISA is told before anything is touched
    source = os.path.abspath(image_folder)
    names, unusable = _names(source, options.split, options.data_set)
    jobs = _jobs(names, options.batch_size)
    preparation = LetterboxSettings(
        options.dtype,
        options.size,
        kernels.Normalization(options.mean, options.std, options.stats),
        options.pad_value,
        scale_up=options.scale_up,
    )
    bin_bytes = options.batch_size * math.prod(preparation.shape) * np.dtype(options.dtype).itemsize

    folder = folder_for_output(bin_folder)
    opened = BinFolder(
        folder,
        how,
        source,
        resume=options.resume,
        data_set=options.data_set,
        names=[job.bin_name for job in jobs],
    )
    with opened as bins:
        kept, to_do = [], []
        for job in jobs:
            record = bins.finished.get(job.bin_name)
            if record is not None and record.names == job.names and bins.is_current(record, bin_bytes):
                kept.append(record)
            else:
                to_do.append(job)
        bins.begin(kept)
        done = sum(len(record.pictures) for record in kept)

        def make_worker() -> _BinWorker:
            return _BinWorker(source, options.data_set, bins, preparation, options.batch_size, options.max_pixels)

        with Progress("pictures", len(names), already=done, quiet=options.quiet) as progress:
            tally = _BinTally(progress, kept)
            tally.fail(unusable)
            stopped = ""
            try:
                for _, outcome in threads.run(make_worker, to_do, min(workers, len(to_do) or 1), ahead=_AHEAD):
                    tally.add(outcome)
                # In the split's order, whichever worker was first.
                place = {name: index for index, name in enumerate(names)}
                tally.failures.sort(key=lambda failure: place.get(failure.name, len(names)))
                records = tuple(tally.records[job.bin_name] for job in jobs if job.bin_name in tally.records)
                failed = tuple((failure.name, failure.reason) for failure in tally.failures)
                bins.finish(Manifest(how, source, records, failed, pspfast.__version__))
            except OutputError as error:
                stopped = str(error)

    return PreprocessSummary(
        pictures=sum(len(record.pictures) for record in tally.records.values()),
        kept=done,
        bins=len(tally.records),
        bytes_written=tally.bytes_written,
        seconds=time.perf_counter() - started,
        stage_seconds=tally.seconds,
        workers=workers,
        peak_memory=peak_memory(),
        failures=tuple(tally.failures),
        strays=sum(name.endswith(".bin") and name not in tally.records for name in os.listdir(folder)),
        stopped=stopped,
    )


class _BinWorker:
    """Makes one bin after the other in its own buffers."""

    def __init__(
        self,
        source: str,
        data_set: DataSet,
        bins: BinFolder,
        preparation: LetterboxSettings,
        batch_size: int,
        max_pixels: int,
    ) -> None:
        self._source, self._data_set, self._bins = source, data_set, bins
        self._batch: NDArray[Any] = np.empty((batch_size, *preparation.shape), preparation.dtype)
        self._bytes = self._batch.data.cast("B")
        self._padding_is_zero = not any(self._batch.dtype.type(preparation.pad_value).tobytes())
        self._preparer = Preparer(preparation, max_pixels)

    def __call__(self, job: _Job) -> _BinOutcome:
        records: list[PictureRecord] = []
        failures = []
        self._preparer.seconds = {"read": 0.0, "letterbox": 0.0}
        for name in job.names:
            try:
                file = find_picture(self._source, name, self._data_set)
                path = os.path.join(self._source, file)
                records.append(self._preparer.prepare(name, file, path, self._batch[len(records)]))
            except PictureError as error:
                failures.append(Failure(name, str(error)))
        record = BinRecord(job.bin_name, tuple(records))
        if not records:
            self._bins.discard(job.bin_name)
            return _BinOutcome(record, tuple(failures), 0, self._seconds(0.0))

        before = time.perf_counter()
        try:
            write_sparse(os.path.join(self._bins.folder, job.bin_name), self._bytes, self._extents(records))
        except OutputError as error:
            if error.is_lasting:
                raise
            failures += [Failure(picture.name, str(error)) for picture in records]
            return _BinOutcome(BinRecord(job.bin_name, ()), tuple(failures), 0, self._seconds(0.0))
        self._bins.add(record)
        written = time.perf_counter() - before
        return _BinOutcome(record, tuple(failures), self._batch.nbytes, self._seconds(written))

    def _extents(self, records: Sequence[PictureRecord]) -> list[tuple[int, int]]:
        slots, channels, height, width = self._batch.shape
        return written_extents(
            slots,
            (channels, height, width),
            self._batch.itemsize,
            [record.geometry for record in records],
            padding_is_zero=self._padding_is_zero,
        )

    def _seconds(self, written: float) -> dict[str, float]:
        taken = self._preparer.seconds
        return {"decode": taken["read"], "letterbox": taken["letterbox"], "write": written}


class _BinTally:
    """What came of the bins so far, told to the progress display as it comes."""

    def __init__(self, progress: Progress, kept: Sequence[BinRecord]) -> None:
        self._progress = progress
        self.records = {record.name: record for record in kept}
        self.failures: list[Failure] = []
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.bytes_written = 0

    def fail(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self._progress.say(failure.reason)
        self.failures += failures

    def add(self, outcome: _BinOutcome) -> None:
        if outcome.record.pictures:
            self.records[outcome.record.name] = outcome.record
        self.fail(outcome.failures)
        for picture in outcome.record.pictures:
            if picture.remark:
                self._progress.say(f"{picture.source}: used, though it has a fault: {picture.remark}")
        self.bytes_written += outcome.bytes_written
        self.seconds = {stage: self.seconds[stage] + outcome.seconds[stage] for stage in STAGES}
        self._progress.advance(len(outcome.record.pictures) + len(outcome.failures))


def _names(source: str, split: str | os.PathLike[str] | None, data_set: DataSet) -> tuple[list[str], list[Failure]]:
    """Ids to use, in order, and those that cannot be because of another one."""
    if not Path(source).is_dir():
        raise NotADirectoryError(None, "no such folder of pictures", source)
    if split is not None:
        candidates, repeated = names_of_split(split)
    else:
        candidates, repeated = pictures_in(source, data_set), []
        if not candidates:
            kind = f" (*{data_set.picture_suffix})" * bool(data_set.picture_suffix)
            raise ValueError(f"{source}: no pictures{kind} in this folder")
    names, unusable = names_to_use(map(data_set.id_of, candidates))
    return names, repeated + unusable


def _jobs(names: list[str], batch_size: int) -> list[_Job]:
    if batch_size == 1:
        return [_Job(f"{stem(name)}.bin", (name,)) for name in names]
    starts = range(0, len(names), batch_size)
    return [_Job(f"batch_{n:05d}.bin", tuple(names[i : i + batch_size])) for n, i in enumerate(starts)]
