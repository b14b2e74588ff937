"""The course of a run: open, resume, do every picture, and write what came of them."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import pspfast
from pspfast.formats.external_weights import sha256_of_model
from pspfast.formats.ledger import LedgerWriter, Subject
from pspfast.pictures.geometry import crop_remark
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.runtimes.runtime import Runtime, RuntimeFault
from pspfast.stages.batching import Flow
from pspfast.stages.counting import Outcome, Rules, Tally
from pspfast.stages.device_runtimes import batch_of, open_on
from pspfast.stages.model_input import InputOptions, check_classes, resolve_input
from pspfast.stages.model_output import ModelMismatch, resolve_output
from pspfast.stages.showcase import Showcase, own_miou
from pspfast.stages.whole_run.kept_outputs import bin_manifest, check_kept_folders, open_outputs
from pspfast.stages.whole_run.monitor import RunMonitor, tell_picture
from pspfast.stages.whole_run.options import RunOptions
from pspfast.stages.whole_run.own_outputs import EXAMPLES, LEDGER, PAGE, PUBLISHED, RECORD, RESULT, claim_run_folder
from pspfast.stages.whole_run.picture_worker import PictureWorker
from pspfast.stages.whole_run.record import finish_examples, noted, run_record
from pspfast.stages.whole_run.resuming import ResumeState, follows_from, locked
from pspfast.stages.whole_run.summary import Run
from pspfast.system import threads
from pspfast.system.files import OutputError, write_whole
from pspfast.system.machine import peak_memory
from pspfast.system.terminal import Progress, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pspfast.datasets import DataSet
    from pspfast.datasets.sources import Source
    from pspfast.formats.bins import PictureRecord
    from pspfast.formats.model_metadata import ModelMetadata
    from pspfast.formats.result import Result
    from pspfast.pictures.geometry import CropRule
    from pspfast.stages.batching import FinishedPicture
    from pspfast.stages.model_input import ModelInput
    from pspfast.stages.model_output import ModelOutput
    from pspfast.stages.whole_run.kept_outputs import KeptOutputs

__all__ = ["run", "run_with"]

_AHEAD = 16


def run(
    model: str | os.PathLike[str],
    source: Source,
    output: str | os.PathLike[str],
    *,
    input_options: InputOptions | None = None,
    geometry: CropRule = "exact",
    runtime: str | Callable[[int], Runtime] = "auto",
    devices: Sequence[int] = (0,),
    provider: str | None = None,
    provider_options: Mapping[str, str] | None = None,
    allow_cpu: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    output_name: str | None = None,
    keep_bins: bool = False,
    keep_masks: bool = False,
    keep_overlays: bool = False,
    report: Callable[[list[str], str], object] | Literal[False] = False,
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
        input_options: about the model's input, which its file knows best.
        geometry: ``"exact"``, or ``"reference"`` for the published script's crop.
        runtime, devices, provider, provider_options, allow_cpu, threads, batch: see
            :func:`pspfast.stages.inference.infer`.
        workers: threads that read, letterbox and count while the model runs; the CPUs this process may use if left out.
        output_name: which of the model's outputs has the labels; the only one that can be it if left out.
        keep_bins: also write what ``pspfast preprocess`` and ``pspfast infer`` would, into ``bins`` and ``dumps``.
        keep_masks: also write what ``pspfast postprocess --save-masks`` would, into ``masks``; always without
            labels.
        keep_overlays: also write the pictures with their masks laid over them, into ``overlays``; likewise.
        report: writes the page of a list of run folders to a path, as :func:`pspfast.report.page.write_report` does; no
            page if left out.
        resume: go on with what an earlier run left in ``output``.
        max_pixels: larger pictures are refused.
        command: how the run was called, for its record.
        quiet: no progress on standard error.

    Raises:
        OSError: something cannot be read, or the output folder not be made.
        TypeError: ``report`` is True, as it was until 0.1.
        ValueError: options, model, pictures or an earlier run in the folder that do not go together; or something in
            the folder that no run wrote and this one would replace.
        RuntimeFault: a device or model that cannot be used. While pictures are run, it is ``stopped`` that says so.
        MissingExtra: the runtime is not installed.
        FolderBusyError: another run is writing there.
    """
    if not (report is False or callable(report)):
        raise TypeError("report is what writes the page, pspfast.report.write_report, or False; not True")
    options = RunOptions(
        input=input_options,
        geometry=geometry,
        runtime=runtime,
        devices=devices,
        provider=provider,
        provider_options=provider_options,
        allow_cpu=allow_cpu,
        threads=threads,
        batch=batch,
        workers=workers,
        output_name=output_name,
        keep_bins=keep_bins,
        keep_masks=keep_masks,
        keep_overlays=keep_overlays,
        report=report,
        resume=resume,
        max_pixels=max_pixels,
        command=command,
        quiet=quiet,
    )
    return run_with(model, source, output, options)


def run_with(model: str | os.PathLike[str], source: Source, output: str | os.PathLike[str], options: RunOptions) -> Run:
    """:func:`run`, with its options as a record."""
    pspfast.isa()  # a wrong PSPFAST_ISA is told before anything is touched
    workers = threads.default_workers() if options.workers is None else options.workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if not source.items and not source.missing:
        raise ValueError(f"{source.root}: no pictures")
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    unwritten: list[str] = []
    result: Result | None = None
    shown: list[list[Any]] = []
    with ExitStack() as opened:
        setup = _set_up(opened, os.fspath(model), source, options)
        source, rules = setup.source, setup.rules
        folder = claim_run_folder(output, has_page=bool(options.report))
        check_kept_folders(folder, source, options, len(setup.runtimes[0].outputs))
        opened.enter_context(locked(folder))
        outputs = opened.enter_context(ExitStack())
        state, writer, keep, kept = _take_up(outputs, folder, setup, options)
        showcase = Showcase(str(folder / EXAMPLES), rules.num_classes, source.data_set.mask_palette())
        total = len(source.items) + len(source.missing)
        progress = opened.enter_context(Progress("pictures", total, already=len(kept), quiet=options.quiet))
        if remark := crop_remark(options.geometry, setup.model_input.letterbox.canvas):
            progress.say(remark)
        tally = _begun_tally(source, rules, writer, progress, kept, showcase)

        left = [item for item in source.items if item.name not in kept]
        lanes = [one for one in setup.runtimes for _ in range(one.lanes)]
        settings = setup.model_input.letterbox
        flow = Flow(
            left, lanes, setup.batch, settings.shape, settings.dtype, workers, lambda reason: Outcome(None, "", reason)
        )
        started = time.perf_counter()
        monitor = RunMonitor(flow, tally, progress, len(lanes), workers, started, is_scored=source.is_scored)
        records: dict[str, PictureRecord] = {}
        stopped = ""

        def make_worker() -> PictureWorker:
            return PictureWorker(
                source, setup.model_input, setup.model_output, rules, keep, showcase, options.max_pixels
            )

        try:
            if left:
                count = min(workers, len(left)) + len(lanes)
                for one in _finished_pictures(make_worker, flow, count):
                    tell_picture(one, tally, progress, records if options.keep_bins else None)
                    monitor.look()
        except ModelMismatch:  # what its file declares is not what it gives: of every picture
            if not kept:
                outputs.close()
                state.forget()  # so that other options may be tried in the same folder
            raise
        except (OutputError, RuntimeFault) as error:
            stopped = str(error)
        except MemoryError as error:
            stopped = f"not enough memory ({error}); a smaller --batch or fewer --workers need less"
        except Exception as error:  # whatever it is: what was counted is in the ledger, and that is worth telling
            stopped = _died(error)
        seconds = time.perf_counter() - started

        if not stopped:
            with noted(unwritten):
                if keep.bins is not None:
                    keep.bins.finish(bin_manifest(source, setup.model_input, records, keep, kept, tally))
            if source.is_scored and tally.counted:
                result = rules.result(tally)
                _write_result(folder, result, unwritten)
                with noted(unwritten):
                    shown = finish_examples(showcase, source, rules, options.max_pixels)
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
        batch=setup.batch,
        workers=workers,
        stages=monitor.stages(seconds),
        limited_by=monitor.limited_by(seconds),
        peak_memory=peak_memory(),
        runtime=setup.engine,
        report="",
        stopped=stopped,
        unwritten=(),
    )
    if not stopped:
        finished = _write_record(finished, setup, options, started_at, shown, unwritten)
    return replace(finished, unwritten=tuple(unwritten))


def _write_result(folder: Path, result: Result, unwritten: list[str]) -> None:
    """The scores, for programs and as the published script writes them."""
    for name, text in ((RESULT, result.to_json), (PUBLISHED, result.published)):
        with noted(unwritten):
            write_whole(str(folder / name), text().encode())


def _write_record(
    finished: Run,
    setup: _Setup,
    options: RunOptions,
    started_at: str,
    shown: list[list[Any]],
    unwritten: list[str],
) -> Run:
    """How the run went, and the page that is made of it; the run with the page's path, if there is one."""
    with noted(unwritten):
        record = run_record(
            finished, options, started_at, setup.path, setup.sha256, setup.model_input, setup.source, shown
        )
        write_whole(os.path.join(finished.output, RECORD), (json.dumps(record, indent=1) + "\n").encode())
    if options.report and finished.result is not None:
        page = os.path.join(finished.output, PAGE)
        with noted(unwritten):
            options.report([finished.output], page)
            finished = replace(finished, report=page)
    return finished


class _Setup(NamedTuple):
    """What a run is of, agreed between model, pictures and options before anything is written."""

    path: str
    sha256: str
    runtimes: list[Runtime]
    engine: dict[str, Any]
    batch: int
    model_input: ModelInput
    model_output: ModelOutput
    source: Source
    rules: Rules


def _set_up(opened: ExitStack, path: str, source: Source, options: RunOptions) -> _Setup:
    """Open the model on every device, and see that it, the pictures and the options go together."""
    sha256 = sha256_of_model(path)
    runtimes = open_on(
        opened,
        path,
        options.runtime,
        options.devices,
        options.threads,
        provider=options.provider,
        provider_options=options.provider_options,
        allow_cpu=options.allow_cpu,
    )
    batch = batch_of(runtimes[0], options.batch)
    model_input = resolve_input(runtimes[0], path, options.input or InputOptions())
    data_set = source.data_set
    if source.is_scored:
        check_classes(path, model_input.metadata, data_set)
    elif model_input.metadata is not None and model_input.metadata.classes:
        data_set = _of_model(data_set, model_input.metadata)
        source = replace(source, data_set=data_set)
    rules = Rules(
        Subject(data_set.classes, data_set.ignore_index, options.geometry, data_set.name),
        data_set.label_map,
        data_set.reduce_zero_label,
    )
    rules.matrix()  # refuses rules that contradict each other
    if options.keep_bins and (model_input.of_bins is None or model_input.parameters.get("channels") != "RGB"):
        raise ValueError(f"{path} takes pictures that preprocess makes no bins of (--keep-bins)")
    shape = model_input.letterbox.shape
    model_output = resolve_output(
        runtimes[0], path, model_input.letterbox.canvas, rules.num_classes, shape, options.output_name
    )
    if model_input.is_to_be_told(quiet=options.quiet):
        tell(model_input.assumed)
    return _Setup(path, sha256, runtimes, runtimes[0].describe(), batch, model_input, model_output, source, rules)


def _take_up(
    opened: ExitStack, folder: Path, setup: _Setup, options: RunOptions
) -> tuple[ResumeState, LedgerWriter | None, KeptOutputs, set[str]]:
    """Open the outputs, and find the pictures of an earlier run of the same kind that need not be done again."""
    source, model_input = setup.source, setup.model_input
    of_runtime = {key: setup.engine.get(key) for key in ("runtime", "version", "provider")}
    if len(setup.runtimes[0].outputs) > 1:
        of_runtime["output"] = setup.model_output.name
    resume_state = ResumeState(folder, source, follows_from(setup.sha256, of_runtime, model_input, setup.rules))
    earlier = resume_state.earlier() if options.resume else {}
    if not options.resume:
        resume_state.forget()
    writer = None
    if source.is_scored:
        writer = opened.enter_context(LedgerWriter(folder / LEDGER, setup.rules.subject, remember=False))
    keep = open_outputs(opened, folder, source, model_input, setup.sha256, of_runtime, options, setup.runtimes[0])
    bin_bytes = 0
    if model_input.of_bins is not None:
        bin_bytes = math.prod(model_input.of_bins.shape) * np.dtype(model_input.of_bins.dtype).itemsize
    kept = {
        item.name
        for item in source.items
        if earlier.get(item.name) == resume_state.state(item)
        and (writer is None or item.name in writer.entries)
        and keep.has(item, bin_bytes)
    }
    if writer is not None:
        writer.retain(kept)
    resume_state.begin(kept)
    if keep.bins is not None:
        keep.bins.begin([keep.bins.finished[f"{one.name}.bin"] for one in source.items if one.name in kept])
    return resume_state, writer, keep, kept


def _begun_tally(
    source: Source, rules: Rules, writer: LedgerWriter | None, progress: Progress, kept: set[str], showcase: Showcase
) -> Tally:
    """A tally that has what was kept, and what is missing."""
    order = [item.name for item in source.items]
    tally = Tally(order, rules, writer, progress, missing=source.missing, repeated=source.repeated)
    for name, reason in source.missing:
        progress.say(f"{name}: {reason}")
    known, matrix = writer.entries if writer is not None else {}, rules.matrix()
    for item in source.items:
        if item.name in kept:
            tally.keep(item.name, known.get(item.name))
            if writer is not None:
                showcase.consider(item.name, own_miou(known[item.name].pairs, matrix))
    known.clear()  # of a large data set, hundreds of megabytes
    return tally


def _finished_pictures(make_worker: Callable[[], PictureWorker], flow: Flow, workers: int) -> Iterator[FinishedPicture]:
    plan: threads.Plan[Any, Any, FinishedPicture] = flow
    return threads.run_plan(make_worker, plan, workers, ahead=_AHEAD)


def _of_model(data_set: DataSet, metadata: ModelMetadata) -> DataSet:
    """What a model's own classes are, where no labels say what they must be."""
    named = data_set.with_classes(metadata.classes)
    if len(metadata.palette) == len(metadata.classes):
        named = replace(named, palette=bytes(value for colour in metadata.palette for value in colour))
    return named


def _died(error: Exception) -> str:
    """An error that nobody foresaw, in a line."""
    at = ""
    frames = error.__traceback__
    while frames is not None:
        at = f"{os.path.basename(frames.tb_frame.f_code.co_filename)}, line {frames.tb_lineno}"
        frames = frames.tb_next
    return f"a worker died of {type(error).__name__}: {error} ({at}); please report this"
