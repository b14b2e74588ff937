"""Which files in its folder are a run's own: those it may replace, and those it removes when it does them again."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pspfast.formats.dump_folder import DumpFolder
from pspfast.formats.run_folder import LEDGER, RECORD, RESULT
from pspfast.stages.showcase import ENDINGS
from pspfast.system.files import folder_for_output, remove, remove_leftovers
from pspfast.system.output_conflicts import MARK, check_own

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

__all__ = [
    "BINS", "DUMPS", "EXAMPLES", "LEDGER", "MASKS", "OVERLAYS", "PAGE", "PUBLISHED", "RECORD", "RESULT",
    "claim_run_folder", "files_of", "outputs_of_run", "remove_dumps", "remove_leftovers_of_run", "remove_pictures",
    "remove_scores",
]  # fmt: skip

PUBLISHED = "voc_seg_result.txt"
PAGE = os.path.join("report", "index.html")
BINS, DUMPS, MASKS, OVERLAYS, EXAMPLES = "bins", "dumps", "masks", "overlays", "examples"

_SUFFIXES = {MASKS: (".png",), OVERLAYS: (".jpg",), EXAMPLES: tuple(f"_{end}" for end in ENDINGS)}


def claim_run_folder(output: str | os.PathLike[str], *, has_page: bool) -> Path:
    """Make a run's folder, or see that what a run writes right into it is a run's.

    Raises:
        OutputError: it cannot be made.
        ValueError: something is there that pspfast did not write; nothing is changed.
    """
    for name in (RESULT, LEDGER, PUBLISHED, RECORD):
        check_own(os.path.join(output, name))
    if has_page:
        check_own(os.path.join(output, PAGE), is_page=True)
    return folder_for_output(output)


def outputs_of_run(output: str | os.PathLike[str]) -> list[str]:
    """Files that a run writes right into its folder, but for the result, which is what ``--json`` writes."""
    return [os.path.join(output, name) for name in (LEDGER, PUBLISHED, RECORD, PAGE)]


def files_of(kind: str, names: Iterable[str]) -> list[str]:
    """What a run calls the files of pictures in one of its folders.

    Example:
        >>> files_of("masks", ["2007_000033"])
        ['2007_000033.png']
    """
    return [f"{name}{suffix}" for name in names for suffix in _SUFFIXES[kind]]


def remove_scores(folder: Path, *, with_ledger: bool) -> None:
    """Remove what tells the scores of a run: the result and its page, and perhaps what they are made of.

    Raises:
        OutputError: one of them cannot be removed.
    """
    for name in (RESULT, PUBLISHED, RECORD, *(LEDGER,) * with_ledger):
        remove(folder / name)
    with suppress(ValueError):  # a page of somebody else stays
        check_own(folder / PAGE, is_page=True)
        remove(folder / PAGE)


def remove_pictures(folder: Path, names: Collection[str], kinds: Iterable[str] = (MASKS, OVERLAYS, EXAMPLES)) -> None:
    """Remove masks, overlays and examples of pictures, where they are a run's.

    Raises:
        OutputError: one of them cannot be removed.
    """
    for kind in kinds:
        if (folder / kind / MARK).exists():
            present = frozenset(os.listdir(folder / kind))
            for file in files_of(kind, names):
                if file in present or "/" in file:
                    remove(folder / kind / file)


def remove_dumps(folder: Path) -> None:
    """Remove what a model made of bins, as the journal beside it lists it.

    Raises:
        FolderBusyError: another run is writing there.
        OutputError: one of them cannot be removed.
    """
    if any((folder / DUMPS / mark).exists() for mark in DumpFolder.MARKS):
        with DumpFolder(folder / DUMPS, {}, resume=False):
            pass


def remove_leftovers_of_run(folder: Path) -> None:
    """Remove what killed runs left half written; the run's lock is held."""
    for place in (folder, (folder / PAGE).parent):
        remove_leftovers(place)
    for kind in _SUFFIXES:
        for deep, _, _ in os.walk(folder / kind):
            remove_leftovers(deep)
