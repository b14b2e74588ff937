"""A folder of dumped masks to scores: what ``python -m pspfast.postprocess`` does, as a function."""

from __future__ import annotations

import io
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast import console, parallel
from pspfast.console import Progress
from pspfast.datasets import VOC, palette
from pspfast.dumps import DumpError, DumpReader
from pspfast.files import OutputError, folder_for_output, write_whole
from pspfast.geometry import Letterbox
from pspfast.images import MAX_PIXELS, PictureError
from pspfast.labels import read_labels
from pspfast.ledger import Entry, LedgerWriter, Subject, add_entries
from pspfast.ops import unpad
from pspfast.pairing import Pairing, Pictured, Sources, pair
from pspfast.pairs import PairCounter, Pairs
from pspfast.results import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pspfast.geometry import CropRule
    from pspfast.metrics import ConfusionMatrix

__all__ = ["Evaluation", "postprocess"]

# Outcomes are small: workers need not wait for them to be told.
_AHEAD = 64
_MOST_8_BIT_CLASSES = 256


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


@dataclass(frozen=True, slots=True)
class _Outcome:
    entry: Entry | None
    kind: str
    failure: str
    kept: bool = False


class _Worker:
    """Counts one picture after the other in its own buffers."""

    def __init__(
        self,
        canvas: tuple[int, int],
        rule: CropRule,
        num_classes: int,
        counter: PairCounter,
        masks: str | None,
        max_pixels: int,
        known: Mapping[str, Entry] | None,
    ) -> None:
        self._canvas, self._rule, self._num_classes = canvas, rule, num_classes
        self._reader, self._count = DumpReader(canvas, num_classes), counter
        self._masks, self._max_pixels, self._known = masks, max_pixels, known

    def __call__(self, picture: Pictured) -> _Outcome:
        try:
            return self._evaluate(picture)
        except (PictureError, DumpError) as error:
            return _Outcome(None, "", str(error))
        except OutputError as error:
            if error.is_lasting:
                raise
            return _Outcome(None, "", str(error))

    def _evaluate(self, picture: Pictured) -> _Outcome:
        labels = read_labels(picture.labels, wide=self._num_classes > _MOST_8_BIT_CLASSES, max_pixels=self._max_pixels)
        size = labels.pixels.shape
        geometry = picture.geometry or Letterbox.fit((size[0], size[1]), self._canvas)
        if size != geometry.picture:
            height, width = geometry.picture
            reason = f"{picture.labels}: the labels are {size[1]}x{size[0]}, the picture is {width}x{height}"
            return _Outcome(None, "", reason)
        try:
            (top, _), (height, _) = geometry.crop(self._rule)
        except ValueError as error:
            return _Outcome(None, "", str(error))
        rows = range(top, top + height)
        mask, kind = self._reader.read(picture.dump, rows)
        digest, entry = "", None
        if self._known is not None:
            digest = self._digest(labels.data, mask[rows.start : rows.stop], geometry)
            entry = self._known.get(picture.name)
        kept = entry is not None and entry.digest == digest
        if entry is None or not kept or self._masks is not None:
            mask, kind, pairs = self._counted(picture, rows, mask, kind, labels.pixels, geometry)
            entry = Entry(picture.name, digest, (size[0], size[1]), pairs)
        if self._masks is not None:
            self._save(os.path.join(self._masks, f"{picture.name}.png"), mask, geometry)
        return _Outcome(entry, kind, "", kept)

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
        if _no_classes(pairs.preds, self._num_classes).any():
            other = self._reader.as_floats(picture.dump, rows, mask)
            if other is not None:
                mask, kind = other
                pairs = self._count(mask, labels, geometry, self._rule)
        if pairs.total != labels.size:  # every pixel is somewhere, or the kernel is wrong
            raise RuntimeError(f"{picture.name}: {pairs.total} pixels counted of {labels.size}; please report this")
        return mask, kind, pairs

    def _digest(self, labels: bytes, mask: NDArray[Any], geometry: Letterbox) -> str:
        """Of everything the pairs follow from, 128 bits."""
        import hashlib  # 4 ms, for ledgers only

        content = hashlib.sha256(labels)
        content.update(np.ascontiguousarray(mask).data)
        content.update(f"{mask.dtype} {geometry.to_json()} {self._rule}".encode())
        return content.hexdigest()[:32]

    def _save(self, path: str, mask: NDArray[Any], geometry: Letterbox) -> None:
        from PIL import Image

        classes = unpad(np.where(_no_classes(mask, self._num_classes), self._void, mask), geometry, rule=self._rule)
        file = io.BytesIO()
        if self._num_classes > _MOST_8_BIT_CLASSES:
            Image.fromarray(classes.astype(np.uint16)).save(file, "PNG")
        else:
            image = Image.fromarray(classes.astype(np.uint8)).convert("L")
            image.putpalette(palette())
            image.save(file, "PNG", compress_level=1)
        write_whole(path, file.getbuffer())

    @property
    def _void(self) -> int:
        """Stands in saved masks for predictions that are no class."""
        return 255 if self._num_classes <= _MOST_8_BIT_CLASSES else 65_535


def _no_classes(values: NDArray[Any], num_classes: int) -> NDArray[np.bool_]:
    return (values < 0) | (values >= num_classes)


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
    geometry: CropRule = "exact",
    classes: tuple[str, ...] = VOC.classes,
    ignore_index: int | None = VOC.ignore_index,
    label_map: Mapping[int, int] | None = None,
    reduce_zero_label: bool = False,
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
            type, or class scores, ``(H, W)`` or ``(num_classes, H, W)``; told apart by size and content.
        manifest, info, image_folder, label_folder, split, size, output: see :class:`pspfast.pairing.Sources`.
        geometry: ``"exact"``, or ``"reference"`` for the published script's crop.
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
        ValueError: options that contradict each other, no dumps, or no labels.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "labels").mkdir()
        ...     Image.new("P", (4, 3), color=1).save(Path(folder, "labels", "a.png"))
        ...     np.ones((8, 8), np.int32).tofile(Path(folder, "a_1.bin"))
        ...     found = postprocess(folder, label_folder=Path(folder, "labels"), size=(8, 8), classes=("no", "yes"))
        ...     found.result.summary()["mIoU"]
        1.0
    """
    started = time.perf_counter()
    pspfast.isa()  # a wrong PSPFAST_ISA is told before anything is touched
    subject = Subject(classes, ignore_index, geometry)
    matrix = subject.matrix(label_map=label_map, reduce_zero_label=reduce_zero_label)
    workers = parallel.default_workers() if workers is None else workers
    paths = {"manifest": manifest, "info": info, "images": image_folder, "labels": label_folder, "split": split}
    named = {key: os.fspath(path) for key, path in paths.items() if path is not None}
    pairing = pair(Sources(os.fspath(dump_folder), canvas=size, output=output, **named))
    mask_folder = None if masks is None else _mask_folder(masks, pairing, image_folder)
    expected = max(len(classes) + reduce_zero_label, max(label_map or {}, default=0) + 1)

    with ExitStack() as open_files:
        writer = open_files.enter_context(LedgerWriter(ledger, subject)) if ledger is not None else None
        known = dict(writer.entries) if writer is not None else None

        def make_worker() -> _Worker:
            counter = PairCounter(expected, ignore_index)
            return _Worker(pairing.canvas, geometry, len(classes), counter, mask_folder, max_pixels, known)

        total = len(pairing.pictures) + len(pairing.missing)
        progress = open_files.enter_context(Progress("pictures", total, quiet=quiet))
        tally = _Tally(pairing, matrix, writer, progress, strict)
        if not tally.stopped:
            try:
                threads = min(workers, len(pairing.pictures) or 1)
                for picture, outcome in parallel.run(make_worker, pairing.pictures, threads, ahead=_AHEAD):
                    tally.add(picture, outcome)
                    if tally.stopped:
                        break
            except OutputError as error:
                tally.stopped = str(error)

    add_entries(matrix, tally.entries)
    options = {
        "geometry": geometry,
        "ignore_index": ignore_index,
        "label_map": {str(old): new for old, new in (label_map or {}).items()},
        "reduce_zero_label": reduce_zero_label,
    }
    result = Result.of(
        matrix,
        classes,
        len(tally.entries),
        left_out=tally.left_out,
        remarks=tally.remarks,
        strays=pairing.strays,
        source=tuple(options.items()),
    )
    return Evaluation(
        result=result,
        faults=tuple(f"{name}: {what}" for name, what in (*tally.left_out, *tally.remarks)),
        strays=tuple(f"{name}: of no picture in {pairing.asked_by}" for name in pairing.strays),
        unasked=pairing.unasked,
        kept=tally.kept,
        kinds=tuple(sorted(tally.kinds)),
        seconds=time.perf_counter() - started,
        peak_memory=console.peak_memory(),
        stopped=tally.stopped,
    )


def _mask_folder(folder: str | os.PathLike[str], pairing: Pairing, image_folder: str | os.PathLike[str] | None) -> str:
    path = str(folder_for_output(folder))
    inputs = {os.path.dirname(picture.labels) for picture in pairing.pictures}
    if image_folder is not None:
        inputs.add(os.fspath(image_folder))
    if any(os.path.samefile(path, one) for one in inputs if os.path.exists(one)):
        raise ValueError(f"{path} has the labels or pictures, which masks would replace; choose another folder")
    return path


class _Tally:
    """What came of the pictures so far; brought into the split's order, in which the ledger is written."""

    def __init__(
        self, pairing: Pairing, matrix: ConfusionMatrix, writer: LedgerWriter | None, progress: Progress, strict: bool
    ) -> None:
        self._order = [picture.name for picture in pairing.pictures]
        self._matrix, self._writer, self._progress, self._strict = matrix, writer, progress, strict
        common = np.arange(256)
        self._fine = frozenset(common[matrix.rows_of(common) <= matrix.num_classes].tolist())
        self._outcomes: dict[str, _Outcome] = {}
        self._in_order = 0  # pictures from the first one on that are known
        self._missing, self._repeated = pairing.missing, pairing.repeated
        self.entries: list[Entry] = []
        self.kept = 0
        self.kinds: set[str] = set()
        self.stopped = ""
        self._failures: list[tuple[str, str]] = []
        self._remarks: list[tuple[str, str]] = []
        for name, reason in (*pairing.missing, *pairing.repeated):
            self._fault(name, reason)
        for name in pairing.strays:
            self._fault(name, f"of no picture in {pairing.asked_by}")
        progress.advance(len(pairing.missing))

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        return (*self._missing, *self._failures)

    @property
    def remarks(self) -> tuple[tuple[str, str], ...]:
        return (*self._repeated, *self._remarks)

    def add(self, picture: Pictured, outcome: _Outcome) -> None:
        self._outcomes[picture.name] = outcome
        self._progress.advance()
        while self._in_order < len(self._order) and self._order[self._in_order] in self._outcomes and not self.stopped:
            name = self._order[self._in_order]
            self._in_order += 1
            self._take(name, self._outcomes.pop(name))

    def _take(self, name: str, outcome: _Outcome) -> None:
        if outcome.entry is None:
            self._failures.append((name, outcome.failure))
            self._fault(name, outcome.failure)
            return
        remark = self._remark(outcome.entry.pairs)
        if remark:
            self._remarks.append((name, remark))
            self._fault(name, remark)
        self.kept += outcome.kept
        if not outcome.kept:  # nobody looked closely at the others
            self.kinds.add(outcome.kind)
        if self._writer is not None and not outcome.kept:
            self._writer.add(outcome.entry)
        self.entries.append(outcome.entry)

    def _remark(self, pairs: Pairs) -> str:
        """What is wrong with a picture's values; nothing, mostly, which is found out quickly."""
        num_classes = self._matrix.num_classes
        if self._fine.issuperset(pairs.labels.tolist()) and pairs.preds.min() >= 0 and pairs.preds.max() < num_classes:
            return ""
        rows = self._matrix.rows_of(pairs.labels)
        strange = _no_classes(pairs.preds, num_classes) & (rows < num_classes)
        unknown = rows > num_classes
        parts = []
        for what, chosen, values in (("predicted", strange, pairs.preds), ("labelled", unknown, pairs.labels)):
            if chosen.any():
                names = ", ".join(str(value) if value >= 0 else "out of range" for value in np.unique(values[chosen]))
                parts.append(f"{pairs.pixels[chosen].sum():,} pixels {what} as {names}")
        mapped = self._matrix.label_map or self._matrix.reduce_zero_label
        classes = f"classes are 0 to {num_classes - 1}" + ", which the label rules do not make of them" * bool(mapped)
        return "; ".join([*parts, classes]) if parts else ""

    def _fault(self, name: str, what: str) -> None:
        if self._strict and not self.stopped:
            self.stopped = f"{name}: {what}"
