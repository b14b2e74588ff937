"""Masks as inference tools dump them: which file belongs to which picture, by name and never by position."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pspfast.formats.dump_record import Tensor

__all__ = ["Dump", "Dumps", "find_dumps"]

_SUFFIXES = (".bin", ".npy")
_OUTPUT = re.compile(r"(.+)_([0-9]{1,3})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Dump:
    """Where a picture's mask is: in slot ``slot`` of ``slots`` in the file ``path``.

    Attributes:
        path, slot, slots: as above.
        size: bytes of the file; ``None`` if it is no regular file, or its size cannot be told.
        tensor: what it holds of a picture, where a record or an option says so.
    """

    path: str
    size: int | None
    slot: int = 0
    slots: int = 1
    tensor: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Dumps:
    """What a folder of dumps has.

    Attributes:
        found: picture -> its dump.
        unusable: ``(picture, reason)``: several files for one picture, a file of another size than the others, or one
            that may be another picture's.
        strays: file names of the dumps that belong to no picture asked for.
    """

    found: dict[str, Dump]
    unusable: tuple[tuple[str, str], ...]
    strays: tuple[str, ...]


def find_dumps(
    folder: str,
    bins: Mapping[str, Sequence[str | None]],
    *,
    output: int | None = None,
    tensor_of: Callable[[str], Tensor | None] = lambda _: None,
) -> Dumps:
    """Pair the dumps of a folder with pictures.

    Args:
        folder: of ``<stem>_1.bin`` (the benchmark tool), ``<stem>_0.bin`` (ais_bench), ``<stem>.bin``, or the same as
            ``.npy``; ``<stem>`` is that of the bin that went in.
        bins: stem of each bin -> pictures in it, slot by slot, ``None`` for padding; for bins of one picture the
            picture's own stem.
        output: number of the model's output to take, the ``N`` of ``<stem>_N.bin``; whichever is there if left out.
        tensor_of: what a dump of such a name holds, where that is known.

    Raises:
        OSError: the folder cannot be read.
        ValueError: there is no dump in it.
    """
    readings: dict[str, list[str]] = {}
    sizes: dict[str, int | None] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if stems := _readings(entry.name, output):
                readings[entry.name] = stems
                sizes[entry.name] = _size(entry)
    if not readings:
        raise ValueError(f"{folder}: {_no_dumps(folder, output)}")
    by_bin, strays, doubtful = _owners(readings, bins)

    usual = _usual_sizes(sizes, by_bin, bins)
    found: dict[str, Dump] = {}
    unusable: dict[str, str] = {}
    for owner, names in by_bin.items():
        (first, *others), slots = names, len(bins[owner])
        expected, problem = usual.get((slots, first[-4:])), ""
        if others:
            problem = f"{len(names)} dumps for one bin: {', '.join(names)}; remove the wrong ones" + (
                " or choose an output (--output N)" * (output is None)
            )
        elif first in doubtful:
            whose = " or ".join(f"{stem!r} as <stem>{_ending(first, stem)}" for stem in readings[first])
            problem = f"{first} may be of {whose}; rename it, or choose an output (--output N)"
        elif expected is not None and sizes[first] not in (None, expected):
            problem = f"{first} has {sizes[first]:,} bytes where the others have {expected:,}"
        for slot, picture in enumerate(bins[owner]):
            if picture is None:
                continue
            if problem:
                unusable[picture] = problem
            elif picture in found:
                unusable[picture] = f"two dumps for one picture: {os.path.basename(found[picture].path)} and {first}"
            else:
                found[picture] = Dump(os.path.join(folder, first), sizes[first], slot, slots, tensor_of(first))
    for picture in unusable:
        found.pop(picture, None)
    return Dumps(found, tuple(unusable.items()), tuple(strays))


def _readings(name: str, output: int | None) -> list[str]:
    """Stems of the bins that a file may be the dump of: its name without ``.bin``, and without ``_1.bin``."""
    base, suffix = os.path.splitext(name)
    if suffix not in _SUFFIXES or name.startswith("."):
        return []
    numbered = _OUTPUT.fullmatch(base)
    if output is not None:
        return [numbered[1]] if numbered and int(numbered[2]) == output else []
    return [base, numbered[1]] if numbered else [base]


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size if entry.is_file() else None
    except OSError:
        return None  # whoever reads it says why


def _owners(
    readings: Mapping[str, list[str]], bins: Mapping[str, Sequence[str | None]]
) -> tuple[dict[str, list[str]], list[str], set[str]]:
    """Dumps of each bin, those of none, and those that may be of another one.

    ``a_1.bin`` is the dump of ``a_1`` or an output of ``a``: which of them, follows from how most files are named.
    """
    popular = Counter(_ending(name, stem) for name, stems in readings.items() for stem in stems if stem in bins)
    by_bin: dict[str, list[str]] = {}
    strays, doubtful = [], set()
    for name, stems in readings.items():
        if not any(stem in bins for stem in stems):
            strays.append(name)
            continue
        most = max(popular[_ending(name, stem)] for stem in stems)
        likely = [stem for stem in stems if popular[_ending(name, stem)] == most]
        owners = [stem for stem in likely if stem in bins]
        if not owners:
            strays.append(name)
        for owner in owners:
            by_bin.setdefault(owner, []).append(name)
        if len(likely) > 1:
            doubtful.add(name)
    return by_bin, strays, doubtful


def _ending(name: str, owner: str) -> str:
    return name[len(owner) :]


def _usual_sizes(
    sizes: Mapping[str, int | None], by_bin: Mapping[str, Sequence[str]], bins: Mapping[str, Sequence[str | None]]
) -> dict[tuple[int, str], int]:
    """Slots and suffix -> size of most such dumps, if a majority has one: a truncated or foreign one has another."""
    counts: dict[tuple[int, str], Counter[int]] = {}
    for owner, names in by_bin.items():
        for name in names:
            if (size := sizes[name]) is not None:
                counts.setdefault((len(bins[owner]), name[-4:]), Counter())[size] += 1
    usual = {}
    for kind, counted in counts.items():
        size, count = counted.most_common(1)[0]
        if 2 * count > counted.total():
            usual[kind] = size
    return usual


def _no_dumps(folder: str, output: int | None) -> str:
    kind = "dumps" if output is None else f"dumps of output {output}"
    inner = sorted(_folders_with_dumps(folder, output))
    if len(inner) == 1:
        return f"no {kind} in this folder; they are in {inner[0]}: name that one"
    if inner:
        newest = ", ".join(inner[-3:][::-1])
        return f"no {kind} in this folder; there are some in {len(inner)} folders in it ({newest}): name one"
    if output is not None:
        return f"no dumps of output {output} (<stem>_{output}.bin or .npy) in this folder"
    if any(name.endswith(".txt") for name in os.listdir(folder)):
        return "no .bin or .npy dumps in this folder, but text: run the benchmark tool with -output_binary=true"
    return "no .bin or .npy dumps in this folder"


def _folders_with_dumps(folder: str, output: int | None) -> Iterator[str]:
    """Folders right in a folder that have dumps: ais_bench makes one for each run, named by the time."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            with suppress(OSError):  # one that cannot be read has nothing to offer
                if any(_readings(name, output) for name in os.listdir(entry.path)):
                    yield entry.path
