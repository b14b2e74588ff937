"""A data set through a model to scores, in memory and all at once: what ``pspfast run`` does, as a function.

Pictures are read and letterboxed into slots of a batch, run, and counted where the model left their masks; nothing is
written between these but what is asked for.

A run leaves in its folder: ``result.json``, ``voc_seg_result.txt`` and ``ledger.jsonl`` as ``pspfast postprocess``
writes them; ``run.json``, how it went; ``examples``, its worst and best pictures; ``report/index.html``. ``bins``,
``dumps`` and ``masks`` are there if they were asked for; ``masks`` and ``overlays`` alone if there are no labels.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.formats.bins import BinFolder, BinRecord, BinSlot, Manifest
from pspfast.formats.dump_folder import DumpFolder
from pspfast.formats.dumps import Dump, DumpError, DumpReader
from pspfast.formats.ledger import Entry, LedgerWriter, Subject
from pspfast.pictures.labels import MOST_LABEL_BYTES, decode_labels
from pspfast.pictures.reader import MAX_PIXELS, PictureError, PictureReader
from pspfast.runtimes.runtime import Runtime, RuntimeFault
from pspfast.stages.batching import Count, Flow, Infer, Prepare
from pspfast.stages.counting import Outcome, Rules, Tally, check_total, digest, no_classes, save_mask, size_fault
from pspfast.stages.inference import batch_of, dump_names, open_on, write_dumps
from pspfast.stages.letterboxing import Preparer, written_extents
from pspfast.stages.model_input import Wishes, agree, check_classes
from pspfast.stages.showcase import Showcase, own_miou
from pspfast.system import threads as parallel
from pspfast.system.digests import sha256_of
from pspfast.system.files import OutputError, folder_for_output, remove_leftovers, write_sparse, write_whole
from pspfast.system.locks import FolderBusyError, held
from pspfast.system.machine import cpu_name, peak_memory
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pspfast.datasets import DataSet
    from pspfast.datasets.sources import Item, Source
    from pspfast.formats.bins import PictureRecord
    from pspfast.formats.model_metadata import ModelMetadata
    from pspfast.formats.result import Result
    from pspfast.pictures.geometry import CropRule, Letterbox
    from pspfast.stages.batching import Told
    from pspfast.stages.model_input import Agreement

__all__ = ["Run", "run"]

RESULT, LEDGER, PUBLISHED, RECORD = "result.json", "ledger.jsonl", "voc_seg_result.txt", "run.json"
_PLAN, _LOCK = ".run.plan", ".run.lock"
_FORMAT, _VERSION = "pspfast run", 1

_AHEAD = 16
_SECONDS_BETWEEN_NOTES = 0.5
_OVERLAY_SHARE, _OVERLAY_QUALITY = 0.5, 90


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
        report: path of the page, empty if there is none.
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


@dataclass(frozen=True, slots=True)
class _Keep:
    """What is kept of every picture besides its counts."""

    masks: str | None = None
    overlays: str | None = None
    bins: BinFolder | None = None
    dumps: DumpFolder | None = None
    endings: tuple[str, ...] = ()

    def bin_path(self, name: str) -> str:
        assert self.bins is not None
        return os.path.join(self.bins.folder, f"{name}.bin")

    def fed(self, name: str) -> BinSlot:
        """The bin as ``pspfast infer`` would list it."""
        path = os.path.abspath(self.bin_path(name))
        found = os.stat(path)
        return BinSlot(name, path, 0, found.st_size, found.st_mtime_ns)

    def has(self, item: Item, bin_bytes: int) -> bool:
        """Whether an earlier run left all of it."""
        if self.masks is not None and not os.path.exists(os.path.join(self.masks, f"{item.name}.png")):
            return False
        if self.overlays is not None and not os.path.exists(os.path.join(self.overlays, f"{item.name}.jpg")):
            return False
        if self.bins is not None and self.dumps is not None:
            record = self.bins.finished.get(f"{item.name}.bin")
            if record is None or record.names != (item.id,):
                return False
            (picture,) = record.pictures
            with suppress(OSError):
                is_whole = os.stat(self.bin_path(item.name)).st_size == bin_bytes
                is_same = (picture.source_bytes, picture.source_modified_ns) == item.state[:2]
                return is_whole and is_same and self.dumps.is_current(self.fed(item.name))
            return False
        return True


def run(
    model: str | os.PathLike[str],
    source: Source,
    output: str | os.PathLike[str],
    *,
    wishes: Wishes | None = None,
    geometry: CropRule = "exact",
    runtime: str | Callable[[int], Runtime] = "auto",
    devices: Sequence[int] = (0,),
    provider: str | None = None,
    provider_options: Mapping[str, str] | None = None,
    allow_cpu: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    keep_bins: bool = False,
    keep_masks: bool = False,
    report: bool = True,
    resume: bool = True,
    max_pixels: int = MAX_PIXELS,
    command: Sequence[str] = (),
    quiet: bool = True,
) -> Run:
    """Run a model over pictures and score what it says, with nothing written in between.

    Args:
        model: the file.
        source: the pictures, see :mod:`pspfast.datasets.sources`.
        output: folder for what the run leaves; made if need be.
        wishes: about the model's input, which its file knows best.
        geometry: ``"exact"``, or ``"reference"`` for the published script's crop.
        runtime, devices, provider, provider_options, allow_cpu, threads, batch: see
            :func:`pspfast.stages.inference.infer`.
        workers: threads that read, letterbox and count while the model runs; the CPUs this process may use if left out.
        keep_bins: also write what ``pspfast preprocess`` and ``pspfast infer`` would, into ``bins`` and ``dumps``.
        keep_masks: also write what ``pspfast postprocess --save-masks`` would, into ``masks``.
        report: write the page, if jinja2 is installed.
        resume: go on with what an earlier run left in ``output``.
        max_pixels: larger pictures are refused.
        command: how the run was called, for its record.
        quiet: no progress on standard error.

    Raises:
        OSError: something cannot be read, or the output folder not be made.
        ValueError: options, model, pictures or an earlier run in the folder that do not go together.
        RuntimeFault: a device or model that cannot be used. While pictures are run, it is ``stopped`` that says so.
        MissingExtra: the runtime is not installed.
        FolderBusyError: another run is writing there.
    """
    pspfast.isa()  # a wrong PSPFAST_ISA is told before anything is touched
    workers = parallel.default_workers() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if not source.items and not source.missing:
        raise ValueError(f"{source.root}: no pictures")
    path = os.fspath(model)
    sha256 = sha256_of(path)
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    data_set = source.data_set
    with ExitStack() as opened:
        options = {"provider": provider, "provider_options": provider_options, "allow_cpu": allow_cpu}
        runtimes = open_on(opened, path, runtime, devices, threads, **options)
        size = batch_of(runtimes[0], batch)
        agreement = agree(runtimes[0], path, wishes or Wishes())
        if source.is_scored:
            check_classes(path, agreement.metadata, data_set)
        elif agreement.metadata is not None and agreement.metadata.classes:
            data_set = _of_model(data_set, agreement.metadata)
            source = replace(source, data_set=data_set)
        rules = Rules(
            Subject(data_set.classes, data_set.ignore_index, geometry, data_set.name),
            data_set.label_map,
            data_set.reduce_zero_label,
        )
        rules.matrix()
        if keep_bins and (agreement.of_bins is None or agreement.parameters.get("channels") != "RGB"):
            raise ValueError(f"{path} takes pictures that preprocess makes no bins of (--keep-bins)")

        folder = folder_for_output(output)
        opened.enter_context(held(str(folder / _LOCK), FolderBusyError(str(folder))))
        remove_leftovers(folder)
        told = runtimes[0].describe()
        of_runtime = {key: told.get(key) for key in ("runtime", "version", "provider")}
        plan = _Plan(folder, source, _follows_from(sha256, of_runtime, agreement, rules))
        earlier = plan.earlier() if resume else {}
        if not resume:
            plan.forget()
        writer = (
            opened.enter_context(LedgerWriter(folder / LEDGER, rules.subject, remember=False))
            if source.is_scored
            else None
        )
        keep = _keep(opened, folder, source, agreement, sha256, of_runtime, keep_bins, keep_masks, resume, runtimes[0])
        bin_bytes = 0
        if agreement.of_bins is not None:
            bin_bytes = math.prod(agreement.of_bins.shape) * np.dtype(agreement.of_bins.dtype).itemsize

        known = writer.entries if writer is not None else {}
        kept = {
            item.name
            for item in source.items
            if earlier.get(item.name) == plan.state(item)
            and (writer is None or item.name in known)
            and keep.has(item, bin_bytes)
        }
        if writer is not None:
            writer.retain(kept)
            known = writer.entries
        plan.begin(stale=len(kept) < len(source.items))
        if keep.bins is not None:
            keep.bins.begin([keep.bins.finished[f"{one.name}.bin"] for one in source.items if one.name in kept])

        showcase = Showcase(str(folder / "examples"), rules.num_classes, data_set.mask_palette())
        matrix = rules.matrix()
        total = len(source.items) + len(source.missing)
        progress = opened.enter_context(Progress("pictures", total, already=len(kept), quiet=quiet))
        order = [item.name for item in source.items]
        tally = Tally(order, rules, writer, progress, missing=source.missing, repeated=source.repeated)
        for name, reason in source.missing:
            progress.say(f"{name}: {reason}")
        for item in source.items:
            if item.name in kept:
                tally.keep(item.name, known.get(item.name))
                if writer is not None:
                    showcase.consider(item.name, own_miou(known[item.name].pairs, matrix))

        known.clear()  # of a large data set, hundreds of megabytes
        left = [item for item in source.items if item.name not in kept]
        lanes = [one for one in runtimes for _ in range(one.lanes)]
        flow = Flow(
            left,
            lanes,
            size,
            agreement.preparation.shape,
            agreement.preparation.dtype,
            workers,
            lambda reason: Outcome(None, "", reason),
        )
        records: dict[str, PictureRecord] = {}
        started = time.perf_counter()
        watch = _Watch(flow, tally, progress, len(lanes), workers, started, is_scored=source.is_scored)
        stopped = ""

        def make_worker() -> _Worker:
            return _Worker(source, agreement, rules, keep, showcase, max_pixels)

        try:
            if left:
                count = min(workers + len(lanes), len(left) + len(lanes))
                for one in _told(make_worker, flow, count):
                    _note(one, tally, progress, records if keep_bins else None)
                    watch.look()
        except (OutputError, RuntimeFault) as error:
            stopped = str(error)
        except MemoryError as error:
            stopped = f"not enough memory ({error}); a smaller --batch or fewer --workers need less"
        except Exception as error:  # whatever it is: what was counted is in the ledger, and that is worth telling
            stopped = _died(error)
        seconds = time.perf_counter() - started

        unwritten: list[str] = []
        result: Result | None = None
        shown: list[list[Any]] = []
        if not stopped:
            with _noted(unwritten):
                if keep.bins is not None:
                    keep.bins.finish(_manifest(source, agreement, records, keep, kept, tally))
            if source.is_scored and tally.counted:
                result = rules.result(tally)
                for name, text in ((RESULT, result.to_json), (PUBLISHED, result.published)):
                    with _noted(unwritten):
                        write_whole(str(folder / name), text().encode())
                with _noted(unwritten):
                    shown = _show(showcase, source, rules, max_pixels)
    stages = watch.stages(seconds)
    made = tally.counted + tally.uncounted - len(kept)
    finished = Run(
        output=str(folder),
        result=result,
        pictures=made + len(kept),
        kept=len(kept),
        failed=tally.left_out,
        remarks=tally.remarks,
        seconds=seconds,
        pictures_per_second=made / seconds if made else 0.0,
        batch=size,
        workers=workers,
        stages=stages,
        limited_by=watch.limited_by(seconds),
        peak_memory=peak_memory(),
        runtime=told,
        report=str(folder / "report" / "index.html") if report and result is not None and _can_report() else "",
        stopped=stopped,
        unwritten=(),
    )
    if not stopped:
        with _noted(unwritten):
            record = _record(finished, command, started_at, path, sha256, agreement, source, geometry, shown)
            write_whole(str(folder / RECORD), (json.dumps(record, indent=1) + "\n").encode())
        if finished.report:
            with _noted(unwritten):
                _write_report(str(folder), finished.report)
    return replace(finished, unwritten=tuple(unwritten))


class _Worker:
    """Does whatever is next, in its own buffers: prepares a picture, runs a batch, counts a mask."""

    def __init__(
        self,
        source: Source,
        agreement: Agreement,
        rules: Rules,
        keep: _Keep,
        showcase: Showcase,
        max_pixels: int,
    ) -> None:
        self._source, self._rules, self._keep, self._showcase = source, rules, keep, showcase
        self._rule, self._max_pixels = rules.subject.geometry, max_pixels
        self._prefix = source.prefix  # manifests name files from the folder of pictures on
        self._canvas = agreement.preparation.canvas
        self._preparer = Preparer(agreement.preparation, max_pixels)
        self._bin: NDArray[Any] | None = None
        if keep.bins is not None and agreement.of_bins is not None:
            self._bin_preparer = Preparer(agreement.of_bins, max_pixels)
            self._bin = np.empty(agreement.of_bins.shape, agreement.of_bins.dtype)
            self._padding_is_zero = not any(self._bin.dtype.type(agreement.of_bins.pad_value).tobytes())
        self._dumps = DumpReader(self._canvas, rules.num_classes)
        self._count, self._matrix = rules.counter(), rules.matrix()
        self._colours = source.data_set.mask_palette()

    def __call__(self, task: Prepare | Infer | Count) -> tuple[Any, dict[str, float]]:
        start = time.perf_counter()
        if isinstance(task, Infer):
            outputs = task.runtime.infer(task.input)
            return outputs, {"infer": time.perf_counter() - start}
        if isinstance(task, Count):
            try:
                outcome = self._counted(task)
            except (PictureError, DumpError) as error:
                outcome = Outcome(None, "", str(error))
            except OutputError as error:
                if error.is_lasting:
                    raise
                outcome = Outcome(None, "", str(error))
            return outcome, {"count": time.perf_counter() - start}
        try:
            return self._prepared(task)
        except PictureError as error:
            return str(error), {"read": time.perf_counter() - start}
        except OutputError as error:
            if error.is_lasting:
                raise
            return str(error), {"write": time.perf_counter() - start}

    def _prepared(self, task: Prepare) -> tuple[Any, dict[str, float]]:
        item, tree = task.item, self._source.pictures
        preparer = self._preparer if self._bin is None else self._bin_preparer
        preparer.seconds = {"read": 0.0, "letterbox": 0.0}
        slot = task.slot if self._bin is None else self._bin
        path = tree.shown(item.picture)
        before = time.perf_counter()
        data = tree.read(item.picture)
        read = time.perf_counter() - before
        record = preparer.prepare(item.id, item.picture[self._prefix :], path, slot, data)
        if (record.source_bytes, record.source_modified_ns) != item.state[:2]:
            raise PictureError(path, "it was changed while the run was going on")
        seconds = dict(preparer.seconds)
        seconds["read"] += read
        if self._bin is not None:
            before = time.perf_counter()
            self._write_bin(item, record)
            np.copyto(task.slot, self._bin)
            seconds["write"] = time.perf_counter() - before
        return record, seconds

    def _write_bin(self, item: Item, record: PictureRecord) -> None:
        assert self._bin is not None and self._keep.bins is not None
        channels, height, width = self._bin.shape
        extents = written_extents(
            1,
            (channels, height, width),
            self._bin.itemsize,
            [record.geometry],
            padding_is_zero=self._padding_is_zero,
        )
        write_sparse(self._keep.bin_path(item.name), self._bin.data.cast("B"), extents)
        self._keep.bins.add(BinRecord(f"{item.name}.bin", (record,)))

    def _counted(self, task: Count) -> Outcome:
        item, box = task.item, task.record.geometry
        if self._keep.dumps is not None:
            files = write_dumps(self._keep.dumps.folder, item.name, self._keep.endings, task.outputs, "benchmark")
            self._keep.dumps.add([(self._keep.fed(item.name), files)])
        try:
            (top, _), (height, _) = box.crop(self._rule)
        except ValueError as error:
            return Outcome(None, "", str(error))
        rows = range(top, top + height)
        mask, kind = self._dumps.take(item.name, task.outputs[0], rows)
        if self._source.labels is None:
            if task.outputs[0].dtype.kind == "f" and no_classes(mask, self._rules.num_classes).any():
                mask, kind = self._dumps.as_floats(Dump(item.name, None), rows, mask) or (mask, kind)
            self._save(item, mask, box)
            return Outcome(None, kind, "")
        path = self._source.labels.shown(item.labels)
        data, _ = self._source.labels.read(item.labels, MOST_LABEL_BYTES)
        labels = decode_labels(path, data, wide=self._rules.has_wide_labels, max_pixels=self._max_pixels)
        if fault := size_fault(path, labels.pixels, box):
            return Outcome(None, "", fault)
        pairs = self._count(mask, labels.pixels, box, self._rule)
        mark = digest(labels.data, mask, box, self._rule, pairs=pairs)
        if no_classes(pairs.preds, self._rules.num_classes).any():
            if task.outputs[0].dtype.kind == "f":
                mask, kind = self._dumps.as_floats(Dump(item.name, None), rows, mask) or (mask, kind)
                pairs = self._count(mask, labels.pixels, box, self._rule)
            elif (
                mask.itemsize > 4
                and (mask[rows.start : rows.stop].astype(np.int32) != mask[rows.start : rows.stop]).any()
            ):
                raise RuntimeFault(f"{item.name}: the model gives {mask.dtype} values that int32 cannot hold")
        check_total(item.name, pairs, labels.pixels)
        entry = Entry(item.name, mark, box.picture, pairs)
        if self._showcase.consider(item.name, own_miou(pairs, self._matrix)):
            self._showcase.show(item.name, mask, box, self._rule)
        self._save(item, mask, box)
        return Outcome(entry, kind, "")

    def _save(self, item: Item, mask: NDArray[Any], box: Letterbox) -> None:
        if self._keep.masks is None:
            return
        path = os.path.join(self._keep.masks, f"{item.name}.png")
        classes = save_mask(path, mask, box, self._rule, self._rules.num_classes, self._colours)
        if self._keep.overlays is not None:
            pixels = self._preparer.reader.decode(
                self._source.pictures.shown(item.picture), *self._source.pictures.read(item.picture)
            ).pixels
            self._write_overlay(os.path.join(self._keep.overlays, f"{item.name}.jpg"), pixels, classes)

    def _write_overlay(self, path: str, pixels: NDArray[np.uint8], classes: NDArray[Any]) -> None:
        import simplejpeg  # type: ignore[import-untyped]

        colours = np.frombuffer(self._colours, np.uint8).reshape(-1, 3)[:, ::-1]
        painted = colours[np.minimum(classes, len(colours) - 1)]
        mixed = pixels * np.float32(1 - _OVERLAY_SHARE) + painted * np.float32(_OVERLAY_SHARE)
        shown = np.where((classes == 0)[..., None], pixels, (mixed + 0.5).astype(np.uint8))
        coded = simplejpeg.encode_jpeg(np.ascontiguousarray(shown), quality=_OVERLAY_QUALITY, colorspace="BGR")
        write_whole(path, coded)


class _Watch:
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


class _Plan:
    """What a run's outputs follow from, and in which state it found its pictures: what a later one goes by.

    It is written before the first picture is done, and after pictures that have changed since were dropped from the
    ledger: a picture that is in the ledger was in this state when it was counted.
    """

    def __init__(self, folder: Path, source: Source, follows_from: dict[str, Any]) -> None:
        self._folder, self._source, self._follows_from = folder, source, follows_from
        self._path = str(folder / _PLAN)

    def state(self, item: Item) -> list[Any]:
        """Of a picture, as it stands in the file."""
        trees = (self._source.pictures, self._source.labels)
        files = [tree.shown(one) for tree, one in zip(trees, (item.picture, item.labels), strict=True) if tree]
        return [item.id, *files, *item.state]

    def earlier(self) -> dict[str, list[Any]]:
        """States of the pictures when an earlier run of the same kind began.

        Raises:
            ValueError: it was one of another kind.
        """
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
            follows_from, pictures = found["follows_from"], dict(found["pictures"])
        except FileNotFoundError:
            if os.path.exists(self._folder / LEDGER):
                raise ValueError(
                    f"{self._folder} has a {LEDGER} that is of no run; choose another folder (--output), or start over "
                    "(--no-resume)"
                ) from None
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}  # half a plan: nothing was done by it
        if follows_from != self._follows_from:
            names = sorted(follows_from.keys() | self._follows_from.keys())
            changed = [key for key in names if follows_from.get(key) != self._follows_from.get(key)]
            what = "; ".join(
                f"{key} {_short(follows_from.get(key))}, now {_short(self._follows_from.get(key))}"
                for key in changed[:3]
            )
            raise ValueError(
                f"{self._folder} has a run of another kind ({what}); choose another folder (--output), or start over "
                "(--no-resume)"
            )
        return pictures

    def forget(self) -> None:
        """Remove what an earlier run left to go by."""
        for name in (_PLAN, LEDGER, RESULT, PUBLISHED, RECORD):
            _remove(self._folder / name)

    def begin(self, *, stale: bool) -> None:
        """Write it; what says more than is there (``stale``) is removed."""
        states = {item.name: self.state(item) for item in self._source.items}
        write_whole(self._path, json.dumps({"follows_from": self._follows_from, "pictures": states}).encode())
        for name in (RESULT, PUBLISHED, RECORD) if stale else ():
            _remove(self._folder / name)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _follows_from(sha256: str, of_runtime: dict[str, Any], agreement: Agreement, rules: Rules) -> dict[str, Any]:
    subject = rules.subject
    found = {
        "pspfast": pspfast.__version__,
        "model": sha256,
        **of_runtime,
        "input": agreement.preparation.dtype,
        **agreement.parameters,
        "classes": list(subject.classes),
        "ignore_index": subject.ignore_index,
        "geometry": subject.geometry,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))  # as it comes back out of a file
    return plain


def _keep(
    opened: ExitStack,
    folder: Path,
    source: Source,
    agreement: Agreement,
    sha256: str,
    of_runtime: dict[str, Any],
    keep_bins: bool,
    keep_masks: bool,
    resume: bool,
    runtime: Runtime,
) -> _Keep:
    masks = overlays = bins = dumps = None
    if keep_masks or not source.is_scored:
        masks = str(folder_for_output(folder / "masks"))
    if not source.is_scored:
        overlays = str(folder_for_output(folder / "overlays"))
    for path in (masks, overlays):
        for read in (source.picture_folder, source.label_folder):
            if path is not None and read is not None and os.path.exists(read) and os.path.samefile(path, read):
                raise ValueError(f"{path} has the labels or pictures, which would be replaced; choose another folder")
    if keep_bins:
        bins = opened.enter_context(
            BinFolder(folder_for_output(folder / "bins"), agreement.parameters, source.picture_folder, resume=resume)
        )
        follows_from = {
            "journal": 1,
            "pspfast": pspfast.__version__,
            "model": sha256,
            "layout": "benchmark",
            **of_runtime,
        }
        dumps = opened.enter_context(DumpFolder(folder_for_output(folder / "dumps"), follows_from, resume=resume))
    return _Keep(masks, overlays, bins, dumps, tuple(dump_names("benchmark", len(runtime.outputs))))


def _told(make_worker: Callable[[], _Worker], flow: Flow, threads: int) -> Iterator[Told]:
    plan: parallel.Plan[Any, Any, Told] = flow
    return parallel.run_plan(make_worker, plan, threads, ahead=_AHEAD)


def _note(told: Told, tally: Tally, progress: Progress, records: dict[str, PictureRecord] | None) -> None:
    item, record, outcome = told.item, told.record, told.outcome
    tally.add(item.name, outcome)
    if outcome.failure:
        progress.say(f"{item.name}: {outcome.failure}")
    if record is not None:
        if record.remark:
            progress.say(f"{record.source}: used, though it has a fault: {record.remark}")
        if records is not None:
            records[item.name] = record


def _of_model(data_set: DataSet, metadata: ModelMetadata) -> DataSet:
    """What a model's own classes are, where no labels say what they must be."""
    named = data_set.with_classes(metadata.classes)
    if len(metadata.palette) == len(metadata.classes):
        named = replace(named, palette=bytes(value for colour in metadata.palette for value in colour))
    return named


def _manifest(
    source: Source,
    agreement: Agreement,
    records: dict[str, PictureRecord],
    keep: _Keep,
    kept: set[str],
    tally: Tally,
) -> Manifest:
    assert keep.bins is not None
    bins = []
    for item in source.items:
        if item.name in kept:
            bins.append(keep.bins.finished[f"{item.name}.bin"])
        elif item.name in records:
            bins.append(BinRecord(f"{item.name}.bin", (records[item.name],)))
    made = {record.name.removesuffix(".bin") for record in bins}
    failed = tuple((name, reason) for name, reason in (*source.repeated, *tally.left_out) if name not in made)
    return Manifest(agreement.parameters, source.picture_folder, tuple(bins), failed, pspfast.__version__)


def _show(showcase: Showcase, source: Source, rules: Rules, max_pixels: int) -> list[list[Any]]:
    """Complete the examples."""
    items = {item.name: item for item in source.items}
    reader, matrix = PictureReader(max_pixels), rules.matrix()

    def picture_of(name: str) -> NDArray[np.uint8]:
        item = items[name]
        return reader.decode(source.pictures.shown(item.picture), *source.pictures.read(item.picture)).pixels

    def truth_of(name: str) -> NDArray[Any]:
        item = items[name]
        assert source.labels is not None
        data, _ = source.labels.read(item.labels, MOST_LABEL_BYTES)
        labels = decode_labels(item.labels, data, wide=rules.has_wide_labels, max_pixels=max_pixels).pixels
        rows = matrix.rows_of(labels.astype(np.int64))
        return np.where(rows < rules.num_classes, rows, 65_535 if rules.has_wide_labels else 255)

    return showcase.finish(picture_of, truth_of)


def _record(
    finished: Run,
    command: Sequence[str],
    started: str,
    model: str,
    sha256: str,
    agreement: Agreement,
    source: Source,
    geometry: str,
    shown: list[list[Any]],
) -> dict[str, Any]:
    metadata = agreement.metadata
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "pspfast": pspfast.__version__,
        "command": list(command),
        "started": started,
        "seconds": finished.seconds,
        "pictures": finished.pictures,
        "kept": finished.kept,
        "failed": [list(one) for one in finished.failed],
        "pictures_per_s": finished.pictures_per_second,
        "batch": finished.batch,
        "workers": finished.workers,
        "stages": finished.stages,
        "limited_by": finished.limited_by,
        "peak_memory": finished.peak_memory,
        "model": {"path": model, "sha256": sha256, "metadata": None if metadata is None else asdict(metadata)},
        "runtime": finished.runtime,
        "data": source.described(),
        "canvas": list(agreement.preparation.canvas),
        "geometry": geometry,
        "environment": _environment(),
        "examples": {"folder": "examples", "names": shown},
    }


def _environment() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "isa": pspfast.isa()["active"],
        "cores": parallel.default_workers(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


class _noted:  # noqa: N801 - used like a function
    """Outputs that cannot be written are told in the end; the others are there all the same."""

    def __init__(self, unwritten: list[str]) -> None:
        self._unwritten = unwritten

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, OutputError):
            self._unwritten.append(str(error))
            return True
        return False


def _can_report() -> bool:
    from importlib.util import find_spec

    return find_spec("jinja2") is not None and find_spec("pspfast.report") is not None


def _write_report(folder: str, path: str) -> None:
    from importlib import import_module

    import_module("pspfast.report.page").write_report([folder], path)


def _died(error: Exception) -> str:
    """An error that nobody foresaw, in a line."""
    at = ""
    frames = error.__traceback__
    while frames is not None:
        at = f"{os.path.basename(frames.tb_frame.f_code.co_filename)}, line {frames.tb_lineno}"
        frames = frames.tb_next
    return f"a worker died of {type(error).__name__}: {error} ({at}); please report this"


def _remove(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(path, error) from error
