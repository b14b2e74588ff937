"""What a thread of a run does with a picture: prepare it, run its batch, count its mask."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.formats.bins import BinRecord
from pspfast.formats.dump_record import Tensor
from pspfast.formats.dumped_masks import DumpError, DumpReader
from pspfast.formats.dumps import Dump
from pspfast.formats.ledger import Entry
from pspfast.pictures.colouring import has_background, lay_over
from pspfast.pictures.labels import MOST_LABEL_BYTES, decode_labels
from pspfast.pictures.reader import PictureError
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.stages.batching import Count, Infer, Prepare
from pspfast.stages.counting import (
    Outcome,
    Rules,
    check_total,
    classes_of_picture,
    digest,
    no_classes,
    size_fault,
    write_mask,
)
from pspfast.stages.dump_layouts import describe_dumps, write_dumps
from pspfast.stages.letterboxing import Preparer, written_extents
from pspfast.stages.showcase import Showcase, own_miou
from pspfast.system.files import OutputError, folder_for_output, write_sparse, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.datasets.sources import Item, Source
    from pspfast.formats.bins import PictureRecord
    from pspfast.pictures.geometry import Letterbox
    from pspfast.stages.model_input import ModelInput
    from pspfast.stages.model_output import ModelOutput
    from pspfast.stages.whole_run.kept_outputs import KeptOutputs

__all__ = ["PictureWorker"]

_OVERLAY_SHARE, _OVERLAY_QUALITY = 0.5, 90


class PictureWorker:
    """Does whatever is next, in its own buffers: prepares a picture, runs a batch, counts a mask."""

    def __init__(
        self,
        source: Source,
        model_input: ModelInput,
        model_output: ModelOutput,
        rules: Rules,
        keep: KeptOutputs,
        showcase: Showcase,
        max_pixels: int,
    ) -> None:
        self._source, self._rules, self._keep, self._showcase = source, rules, keep, showcase
        self._model_output = model_output
        self._rule, self._max_pixels = rules.subject.geometry, max_pixels
        self._prefix = source.prefix  # manifests name files from the folder of pictures on
        self._canvas = model_input.letterbox.canvas
        self._preparer = Preparer(model_input.letterbox, max_pixels)
        self._bin: NDArray[Any] | None = None
        if keep.bins is not None and model_input.of_bins is not None:
            self._bin_preparer = Preparer(model_input.of_bins, max_pixels)
            self._bin = np.empty(model_input.of_bins.shape, model_input.of_bins.dtype)
            self._padding_is_zero = not any(self._bin.dtype.type(model_input.of_bins.pad_value).tobytes())
        self._dumps = DumpReader(self._canvas, rules.num_classes)
        self._count, self._matrix = rules.counter(), rules.matrix()
        self._colours = source.data_set.mask_palette()

    def __call__(self, task: Prepare | Infer | Count) -> tuple[Any, dict[str, float]]:
        """What came of it, and the seconds by stage."""
        start = time.perf_counter()
        if isinstance(task, Infer):
            outputs = task.runtime.infer(task.input)
            self._model_output.check(outputs)
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
            describe_dumps(
                self._keep.dumps.recorder,
                self._canvas,
                self._keep.outputs,
                self._keep.endings,
                task.outputs,
                "benchmark",
            )
            files = write_dumps(self._keep.dumps.folder, item.name, self._keep.endings, task.outputs, "benchmark")
            self._keep.dumps.add([(self._keep.bin_slot(item.name), files)])
        try:
            (top, _), (height, _) = box.crop(self._rule)
        except ValueError as error:
            return Outcome(None, "", str(error))
        rows = range(top, top + height)
        output = task.outputs[self._model_output.index]
        mask, kind = self._dumps.take(item.name, output, rows)
        if self._source.labels is None:
            if output.dtype.kind == "f" and no_classes(mask, self._rules.num_classes).any():
                mask, kind = self._dumps.settle(_dump_of(item.name, output), rows, mask, kind)
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
            if output.dtype.kind == "f":
                mask, kind = self._dumps.settle(_dump_of(item.name, output), rows, mask, kind)
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
        """Write what is kept of a mask."""
        keep, rules = self._keep, self._rules
        if keep.masks is None and keep.overlays is None:
            return
        for kept in filter(None, (keep.masks, keep.overlays) * ("/" in item.name)):
            folder_for_output(os.path.dirname(os.path.join(kept, item.name)))
        classes = classes_of_picture(mask, box, self._rule, rules.num_classes)
        if keep.masks is not None:
            write_mask(os.path.join(keep.masks, f"{item.name}.png"), classes, rules.num_classes, self._colours)
        if keep.overlays is not None:
            pixels = self._preparer.reader.decode(
                self._source.pictures.shown(item.picture), *self._source.pictures.read(item.picture)
            ).pixels
            self._write_overlay(os.path.join(keep.overlays, f"{item.name}.jpg"), pixels, classes)

    def _write_overlay(self, path: str, pixels: NDArray[np.uint8], classes: NDArray[Any]) -> None:
        import simplejpeg  # type: ignore[import-untyped]

        but_background = has_background(self._rules.subject.classes)
        shown = lay_over(pixels, classes, self._colours, share=_OVERLAY_SHARE, but_background=but_background)
        write_whole(path, simplejpeg.encode_jpeg(shown, quality=_OVERLAY_QUALITY, colorspace="BGR"))


def _dump_of(name: str, output: NDArray[Any]) -> Dump:
    """A dump of an output, which says what it is."""
    return Dump(name, None, tensor=Tensor(str(output.dtype), output.shape, "the model"))
