"""A folder of dumped masks to scores: what ``python -m pspfast.postprocess`` does, as a function."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pspfast
from pspfast.datasets import VOC
from pspfast.formats.dumped_masks import DumpError, DumpReader, UnlikeMaskError
from pspfast.formats.ledger import Entry, LedgerWriter, Subject
from pspfast.formats.result import Result
from pspfast.metrics.class_pairs import Pairs
from pspfast.pictures.geometry import Letterbox, crop_remark
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import MAX_PIXELS, PictureError
from pspfast.stages.counting import (
    Outcome,
    Rules,
    Tally,
    check_total,
    digest,
    is_own_mask,
    no_classes,
    save_mask,
    size_fault,
)
from pspfast.stages.matching import Pairing, Pictured, Sources, pair
from pspfast.system import threads
from pspfast.system.files import OutputError, folder_for_output, remove_leftovers
from pspfast.system.machine import peak_memory
from pspfast.system.output_conflicts import check_folder
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pspfast.datasets import DataSet
    from pspfast.formats.dump_record import DumpType
    from pspfast.pictures.geometry import CropRule

__all__ = ["Evaluation", "PostprocessOptions", "postprocess", "postprocess_with"]

# Outcomes are small: workers need not wait for them to be told.
_AHEAD = 64


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run found, and how.

    Attributes:
        result: the scores.
        faults: everything that is wrong, told one line each: what the scores leave out and what they have in spite
            of it.
        strays: dumps that belong to no picture asked for, a line each; a fault unless a split left them out.
        unasked: label pictures without a dump, where neither split nor manifest says which pictures there must be.
        kept: how many of the pictures were in the ledger already.
        kinds: what the dumps held.
        seconds: wall clock.
        peak_memory: of the process, bytes.
        stopped: why the run ended before every picture was tried; empty if it did not.
    """

    result: Result
    faults: tuple[str, ...]
    strays: tuple[str, ...]
    unasked: int
    kept: int
    kinds: tuple[str, ...]
    seconds: float
    peak_memory: int
    stopped: str

    def __str__(self) -> str:
        counted = self.result.pictures
        parts = [
            f"{counted} pictures in {self.seconds:.2f} s: {counted / self.seconds:.0f} pictures/s",
            f"dumps of {' and '.join(self.kinds)}" if self.kinds else "",
            f"{self.kept} of them from the ledger" if self.kept else "",
            f"peak memory {self.peak_memory / 1e6:.0f} MB",
        ]
        return "; ".join(part for part in parts if part)


class _ScoringWorker:
    """Counts one picture after the other in its own buffers."""

    def __init__(
        self,
        canvas: tuple[int, int],
        rules: Rules,
        colours: bytes,
        masks: str | None,
        max_pixels: int,
        known: Mapping[str, Entry] | None,
    ) -> None:
        self._canvas, self._rules, self._rule = canvas, rules, rules.subject.geometry
        self._reader, self._count = DumpReader(canvas, rules.num_classes), rules.counter()
        self._colours, self._masks, self._max_pixels, self._known = colours, masks, max_pixels, known

    def __call__(self, picture: Pictured) -> Outcome:
        try:
            return self._evaluate(picture)
        except (PictureError, DumpError) as error:
            return Outcome(None, "", str(error), is_unlike=isinstance(error, UnlikeMaskError))
        except OutputError as error:
            if error.is_lasting:
                raise
            return Outcome(None, "", str(error))

    def _evaluate(self, picture: Pictured) -> Outcome:
        labels = read_labels(picture.labels, wide=self._rules.has_wide_labels, max_pixels=self._max_pixels)
        size = labels.pixels.shape
        geometry = picture.geometry or Letterbox.fit((size[0], size[1]), self._canvas)
        if fault := size_fault(picture.labels, labels.pixels, geometry):
            return Outcome(None, "", fault)
        try:
            (top, _), (height, _) = geometry.crop(self._rule)
        except ValueError as error:
            return Outcome(None, "", str(error))
        rows = range(top, top + height)
        mask, kind = self._reader.read(picture.dump, rows)
        mark, entry = "", None
        if self._known is not None:
            mark = digest(labels.data, mask, geometry, self._rule)
            entry = self._known.get(picture.name)
        kept = entry is not None and entry.digest == mark
        if entry is None or not kept or self._masks is not None:
            mask, kind, pairs = self._counted(picture, rows, mask, kind, labels.pixels, geometry)
            entry = Entry(picture.name, mark, (size[0], size[1]), pairs)
        if self._masks is not None:
            path = os.path.join(self._masks, f"{picture.name}.png")
            save_mask(path, mask, geometry, self._rule, self._rules.num_classes, self._colours)
        return Outcome(entry, kind, "", kept)

    def _counted(
        self,
        picture: Pictured,
        rows: range,
        mask: NDArray[Any],
        kind: str,
        labels: NDArray[Any],
        geometry: Letterbox,
    ) -> tuple[NDArray[Any], str, Pairs]:
        pairs = self._count(mask, labels, geometry, self._rule)
        if no_classes(pairs.preds, self._rules.num_classes).any():
            settled, kind = self._reader.settle(picture.dump, rows, mask, kind)
            if settled is not mask:
                mask, pairs = settled, self._count(settled, labels, geometry, self._rule)
        check_total(picture.name, pairs, labels)
        return mask, kind, pairs


@dataclass(frozen=True, slots=True)
class PostprocessOptions:
    """How dumps are scored; see :func:`postprocess` for what each means."""

    manifest: str | os.PathLike[str] | None = None
    info: str | os.PathLike[str] | None = None
    image_folder: str | os.PathLike[str] | None = None
    label_folder: str | os.PathLike[str] | None = None
    split: str | os.PathLike[str] | None = None
    size: tuple[int, int] | None = None
    output: int | None = None
    dump_type: DumpType | None = None
    geometry: CropRule = "exact"
    data_set: DataSet = VOC
    whole: bool = False
    classes: tuple[str, ...] | None = None
    ignore_index: int | Literal["same"] | None = "same"
    label_map: Mapping[int, int] | None = None
    reduce_zero_label: bool | None = None
    ledger: str | os.PathLike[str] | None = None
    masks: str | os.PathLike[str] | None = None
    strict: bool = False
    workers: int | None = None
    max_pixels: int = MAX_PIXELS
    quiet: bool = True


def postprocess(
    dump_folder: str | os.PathLike[str],
    *,
    manifest: str | os.PathLike[str] | None = None,
    info: str | os.PathLike[str] | None = None,
    image_folder: str | os.PathLike[str] | None = None,
    label_folder: str | os.PathLike[str] | None = None,
    split: str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    output: int | None = None,
    dump_type: DumpType | None = None,
    geometry: CropRule = "exact",
    data_set: DataSet = VOC,
    whole: bool = False,
    classes: tuple[str, ...] | None = None,
    ignore_index: int | Literal["same"] | None = "same",
    label_map: Mapping[int, int] | None = None,
    reduce_zero_label: bool | None = None,
    ledger: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    strict: bool = False,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    quiet: bool = True,
) -> Evaluation:
    """Score a folder of dumped masks against the labels of their pictures, one picture a worker in memory.

    Args:
        dump_folder: ``<stem>_1.bin``, ``<stem>_0.bin``, ``<stem>.bin`` or ``.npy``: labels of any integer or float
            type, or class scores, ``(H, W)`` or ``(num_classes, H, W)``; of the type and shape that ``dumps.json``
            beside them records, else told apart by size and content together.
        manifest, info, image_folder, label_folder, split, size, output, dump_type, whole: see
            :class:`pspfast.stages.matching.Sources`.
        geometry: ``"exact"``, or ``"reference"`` for the published script's crop.
        data_set: says how files are named and what labels mean; its rules hold where the following are left out.
        classes: names, by class index.
        ignore_index, label_map, reduce_zero_label: see :class:`pspfast.ConfusionMatrix`.
        ledger: file that keeps what was counted of each picture; pictures that are in it unchanged are not counted
            again.
        masks: folder for the masks in their pictures' sizes, palette PNGs; predictions that are no class are 255.
        strict: stop at the first fault instead of leaving it out.
        workers: threads; the CPUs this process may use if left out.
        max_pixels: larger label pictures are refused.
        quiet: no progress on standard error.

    Raises:
        OSError: a folder or file that was named cannot be read or written.
        ValueError: options that contradict each other, no dumps, no labels, or pictures in ``masks`` that postprocess
            did not write and would replace; or none of the dumps is a mask of the canvas that can be told from
            something else.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "labels").mkdir()
        ...     Image.new("P", (4, 3), color=1).save(Path(folder, "labels", "a.png"))
        ...     np.ones((8, 8), np.int32).tofile(Path(folder, "a_1.bin"))
        ...     found = postprocess(folder, label_folder=Path(folder, "labels"), size=(8, 8), classes=("no", "yes"))
        ...     found.result.summary()["mIoU"]
        1.0
    """
    options = PostprocessOptions(
        manifest=manifest,
        info=info,
        image_folder=image_folder,
        label_folder=label_folder,
        split=split,
        size=size,
        output=output,
        dump_type=dump_type,
        geometry=geometry,
        data_set=data_set,
        whole=whole,
        classes=classes,
        ignore_index=ignore_index,
        label_map=label_map,
        reduce_zero_label=reduce_zero_label,
        ledger=ledger,
        masks=masks,
        strict=strict,
        workers=workers,
        max_pixels=max_pixels,
        quiet=quiet,
    )
    return postprocess_with(dump_folder, options)


def postprocess_with(dump_folder: str | os.PathLike[str], options: PostprocessOptions) -> Evaluation:
    """:func:`postprocess`, with its options as a record."""
    started = time.perf_counter()
    pspfast.isa()  # a wrong PSPFAST_ISA is told before anything is touched
    data_set = options.data_set
    if options.classes is not None:
        data_set = data_set.with_classes(options.classes)
    rules = Rules(
        Subject(
            data_set.classes,
            data_set.ignore_index if options.ignore_index == "same" else options.ignore_index,
            options.geometry,
            data_set.name,
        ),
        data_set.label_map if options.label_map is None else options.label_map,
        data_set.reduce_zero_label if options.reduce_zero_label is None else options.reduce_zero_label,
    )
    rules.matrix()  # rules that contradict each other are told before anything is looked for
    workers = threads.default_workers() if options.workers is None else options.workers
    paths = {
        "manifest": options.manifest,
        "info": options.info,
        "images": options.image_folder,
        "labels": options.label_folder,
        "split": options.split,
    }
    named = {key: os.fspath(path) for key, path in paths.items() if path is not None}
    pairing = pair(
        Sources(
            os.fspath(dump_folder),
            canvas=options.size,
            output=options.output,
            dump_type=options.dump_type,
            data_set=data_set,
            whole=options.whole,
            **named,
        )
    )
    mask_folder = None if options.masks is None else _mask_folder(options.masks, pairing, options.image_folder)

    with ExitStack() as open_files:
        writer = (
            open_files.enter_context(LedgerWriter(options.ledger, rules.subject))
            if options.ledger is not None
            else None
        )
        known = dict(writer.entries) if writer is not None else None

        def make_worker() -> _ScoringWorker:
            return _ScoringWorker(
                pairing.canvas, rules, data_set.mask_palette(), mask_folder, options.max_pixels, known
            )

        total = len(pairing.pictures) + len(pairing.missing)
        progress = open_files.enter_context(Progress("pictures", total, quiet=options.quiet))
        if remark := crop_remark(options.geometry, pairing.canvas):
            progress.say(remark)
        order = [picture.name for picture in pairing.pictures]
        tally = Tally(
            order, rules, writer, progress, strict=options.strict, missing=pairing.missing, repeated=pairing.repeated
        )
        for name in pairing.strays:
            tally.fault(name, f"of no picture in {pairing.asked_by}")
        unlike: dict[str, str] = {}
        if not tally.stopped:
            try:
                count = min(workers, len(pairing.pictures) or 1)
                for picture, outcome in threads.run(make_worker, pairing.pictures, count, ahead=_AHEAD):
                    tally.add(picture.name, outcome)
                    if outcome.is_unlike:
                        unlike[picture.name] = outcome.failure
                    if tally.stopped:
                        break
            except OutputError as error:
                tally.stopped = str(error)

    if unlike and not tally.counted and not tally.stopped:
        first = next(name for name in order if name in unlike)
        raise ValueError(f"{unlike[first]}; none of the {len(order)} dumps can be scored")
    return Evaluation(
        result=rules.result(tally, pairing.strays),
        faults=tuple(f"{name}: {what}" for name, what in (*tally.left_out, *tally.remarks)),
        strays=tuple(f"{name}: of no picture in {pairing.asked_by}" for name in pairing.strays),
        unasked=pairing.unasked,
        kept=tally.kept,
        kinds=tuple(sorted(tally.kinds)),
        seconds=time.perf_counter() - started,
        peak_memory=peak_memory(),
        stopped=tally.stopped,
    )


def _mask_folder(folder: str | os.PathLike[str], pairing: Pairing, image_folder: str | os.PathLike[str] | None) -> str:
    made = folder_for_output(folder)
    inputs = {os.path.dirname(picture.labels) for picture in pairing.pictures}
    if image_folder is not None:
        inputs.add(os.fspath(image_folder))
    if any(os.path.samefile(made, one) for one in inputs if os.path.exists(one)):
        raise ValueError(f"{made} has the labels or pictures, which masks would replace; choose another folder")
    names = [f"{picture.name}.png" for picture in pairing.pictures]
    check_folder(made, (), names, is_own=is_own_mask)
    remove_leftovers(made, shared=True)
    return str(made)
