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
from pspfast.stages.whole_run.own_outputs import BINS, DUMPS, EXAMPLES, MASKS, OVERLAYS, files_of
from pspfast.system.files import folder_for_output
from pspfast.system.output_conflicts import MARK, check_folder, own_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pspfast.datasets.sources import Item, Source
    from pspfast.formats.bins import PictureRecord
    from pspfast.runtimes.runtime import TensorSpec
    from pspfast.stages.model_input import ModelInput
    from pspfast.stages.whole_run.options import RunOptions

__all__ = ["KeptOutputs", "bin_manifest", "check_kept_folders", "open_outputs"]


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


def check_kept_folders(folder: Path, source: Source, options: RunOptions, outputs: int) -> None:
    """See that nothing of somebody else would be replaced by what is kept of pictures; nothing is changed.

    Args:
        folder: of the run.
        source, options: of the run.
        outputs: how many the model has.

    Raises:
        ValueError: it would.
    """
    names = [item.name for item in source.items]
    for kind in _picture_folders(source, options):
        path = folder / kind
        for read in (source.picture_folder, source.label_folder):
            if read is not None and path.exists() and os.path.exists(read) and os.path.samefile(path, read):
                raise ValueError(f"{path} has the labels or pictures, which would be replaced; choose another folder")
        check_folder(path, (MARK,), files_of(kind, names))
    if options.keep_bins:
        deep = next((item.id for item in source.items if "/" in item.name), "")
        if deep:
            raise ValueError(f"--keep-bins: bins lie in one folder, {deep} is in a folder of the pictures' folder")
        check_folder(folder / BINS, BinFolder.MARKS, _bin_files(names))
        check_folder(folder / DUMPS, DumpFolder.MARKS, _dump_files(names, dump_names("benchmark", outputs)))


def _bin_files(names: Sequence[str]) -> list[str]:
    return [f"{name}.bin" for name in names]


def _dump_files(names: Sequence[str], endings: Sequence[str]) -> list[str]:
    return [f"{name}{ending}" for name in names for ending in endings]


def _picture_folders(source: Source, options: RunOptions) -> list[str]:
    """Which folders with files of single pictures there are to be."""
    asked = {
        MASKS: options.keep_masks or not source.is_scored,
        OVERLAYS: options.keep_overlays or not source.is_scored,
        EXAMPLES: source.is_scored,
    }
    return [kind for kind, is_asked in asked.items() if is_asked]


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
        ValueError: see :func:`check_kept_folders`.
    """
    names = [item.name for item in source.items]
    made = {kind: str(own_folder(folder / kind, files_of(kind, names))) for kind in _picture_folders(source, options)}
    bins = dumps = None
    endings = tuple(dump_names("benchmark", len(runtime.outputs)))
    if options.keep_bins:
        bins = opened.enter_context(
            BinFolder(
                folder_for_output(folder / BINS),
                model_input.parameters,
                source.picture_folder,
                resume=options.resume,
                names=_bin_files(names),
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
            DumpFolder(
                folder_for_output(folder / DUMPS),
                follows_from,
                resume=options.resume,
                names=_dump_files(names, endings),
            )
        )
    return KeptOutputs(made.get(MASKS), made.get(OVERLAYS), bins, dumps, endings, runtime.outputs)


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
