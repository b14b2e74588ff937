"""What is kept of every picture besides its counts: masks, overlays, bins and dumps."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pspfast
from pspfast.formats.bins import BinFolder, BinRecord, BinSlot, Manifest
from pspfast.formats.dump_folder import DumpFolder
from pspfast.runtimes.runtime import Runtime
from pspfast.stages.counting import Tally
from pspfast.stages.dump_layouts import dump_names
from pspfast.system.files import folder_for_output

if TYPE_CHECKING:
    from pathlib import Path

    from pspfast.datasets.sources import Item, Source
    from pspfast.formats.bins import PictureRecord
    from pspfast.runtimes.runtime import TensorSpec
    from pspfast.stages.model_input import ModelInput
    from pspfast.stages.whole_run.options import RunOptions

__all__ = ["KeptOutputs", "bin_manifest", "open_outputs"]


@dataclass(frozen=True, slots=True)
class KeptOutputs:
    """What is kept of every picture besides its counts."""

    masks: str | None = None
    overlays: str | None = None
    bins: BinFolder | None = None
    dumps: DumpFolder | None = None
    endings: tuple[str, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def bin_path(self, name: str) -> str:
        """Where the bin of a picture is."""
        assert self.bins is not None
        return os.path.join(self.bins.folder, f"{name}.bin")

    def bin_slot(self, name: str) -> BinSlot:
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
                return is_whole and is_same and self.dumps.is_current(self.bin_slot(item.name))
            return False
        return True


def open_outputs(
    opened: ExitStack,
    folder: Path,
    source: Source,
    model_input: ModelInput,
    sha256: str,
    of_runtime: dict[str, Any],
    options: RunOptions,
    runtime: Runtime,
) -> KeptOutputs:
    """Make the folders that were asked for; those with a journal are closed when ``opened`` is.

    Raises:
        ValueError: masks or overlays would replace labels or pictures.
    """
    masks = overlays = bins = dumps = None
    if options.keep_masks or not source.is_scored:
        masks = str(folder_for_output(folder / "masks"))
    if not source.is_scored:
        overlays = str(folder_for_output(folder / "overlays"))
    for path in (masks, overlays):
        for read in (source.picture_folder, source.label_folder):
            if path is not None and read is not None and os.path.exists(read) and os.path.samefile(path, read):
                raise ValueError(f"{path} has the labels or pictures, which would be replaced; choose another folder")
    if options.keep_bins:
        bins = opened.enter_context(
            BinFolder(
                folder_for_output(folder / "bins"), model_input.parameters, source.picture_folder, resume=options.resume
            )
        )
        follows_from = {
            "journal": 2,
            "pspfast": pspfast.__version__,
            "model": sha256,
            "layout": "benchmark",
            **of_runtime,
        }
        dumps = opened.enter_context(
            DumpFolder(folder_for_output(folder / "dumps"), follows_from, resume=options.resume)
        )
    return KeptOutputs(
        masks, overlays, bins, dumps, tuple(dump_names("benchmark", len(runtime.outputs))), runtime.outputs
    )


def bin_manifest(
    source: Source,
    model_input: ModelInput,
    records: dict[str, PictureRecord],
    keep: KeptOutputs,
    kept: set[str],
    tally: Tally,
) -> Manifest:
    """Of the bins that were kept, in the pictures' order, those of earlier runs among them."""
    assert keep.bins is not None
    bins = []
    for item in source.items:
        if item.name in kept:
            bins.append(keep.bins.finished[f"{item.name}.bin"])
        elif item.name in records:
            bins.append(BinRecord(f"{item.name}.bin", (records[item.name],)))
    made = {record.name.removesuffix(".bin") for record in bins}
    failed = tuple((name, reason) for name, reason in (*source.repeated, *tally.left_out) if name not in made)
    return Manifest(model_input.parameters, source.picture_folder, tuple(bins), failed, pspfast.__version__)
