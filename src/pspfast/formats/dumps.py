"""Masks as inference tools dump them: which file belongs to which picture, and what its bytes are.

Files are paired with pictures by name and never by position. What a file holds follows from its size; where a size
means several things, from its content.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast import _core
from pspfast.system.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Dump", "DumpError", "DumpReader", "Dumps", "find_dumps"]

_SUFFIXES = (".bin", ".npy")
_OUTPUT = re.compile(r"(.+)_([0-9]{1,3})", re.DOTALL)

_INTEGERS: dict[int, type[np.generic]] = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
_FLOAT_BYTES = (2, 4, 8)
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# No data set has classes beyond this: such integers are rather something else, read as integers.
_MOST_CLASSES = 65_535


class DumpError(FileError):
    """A dumped mask that cannot be used; ``filename`` is its path and ``strerror`` the reason."""


@dataclass(frozen=True, slots=True)
class Dump:
    """Where a picture's mask is: in slot ``slot`` of ``slots`` in the file ``path``.

    Attributes:
        path, slot, slots: as above.
        size: bytes of the file; ``None`` if it is no regular file, or its size cannot be told.
    """

    path: str
    size: int | None
    slot: int = 0
    slots: int = 1


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


def find_dumps(folder: str, bins: Mapping[str, Sequence[str | None]], *, output: int | None = None) -> Dumps:
    """Pair the dumps of a folder with pictures.

    Args:
        folder: of ``<stem>_1.bin`` (the benchmark tool), ``<stem>_0.bin`` (ais_bench), ``<stem>.bin``, or the same as
            ``.npy``; ``<stem>`` is that of the bin that went in.
        bins: stem of each bin -> pictures in it, slot by slot, ``None`` for padding; for bins of one picture the
            picture's own stem.
        output: number of the model's output to take, the ``N`` of ``<stem>_N.bin``; whichever is there if left out.

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
                found[picture] = Dump(os.path.join(folder, first), sizes[first], slot, slots)
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
    if output is not None:
        return f"no dumps of output {output} (<stem>_{output}.bin or .npy) in this folder"
    if any(name.endswith(".txt") for name in os.listdir(folder)):
        return "no .bin or .npy dumps in this folder, but text: run the benchmark tool with -output_binary=true"
    return "no .bin or .npy dumps in this folder"


class DumpReader:
    """Reads one mask after the other; one reader a thread.

    Args:
        canvas: ``(H, W)`` of the network's output.
        num_classes: channels of class scores, where that is what was dumped.
    """

    def __init__(self, canvas: tuple[int, int], num_classes: int) -> None:
        self._canvas, self._num_classes = canvas, num_classes
        # Bytes of a pixel's scores -> of one score.
        self._score_bytes = {num_classes * one: one for one in _FLOAT_BYTES if num_classes > 1}
        self._buffer = np.empty(0, np.uint8)

    def read(self, dump: Dump, rows: range) -> tuple[NDArray[Any], str]:
        """Read a mask, as integers where its size allows.

        Args:
            dump: where it is.
            rows: of the canvas that are needed; the others are not read and hold anything.

        Returns:
            ``(H, W)`` integers, valid until the next call, and what they were in the file.

        Raises:
            DumpError: missing, of a size that no mask has, damaged, or holding what cannot be labels.
        """
        if dump.path.endswith(".npy"):
            return self._read_npy(dump, rows)
        bytes_a_pixel = self._bytes_a_pixel(dump)
        value_bytes = self._score_bytes.get(bytes_a_pixel, 0)
        if bytes_a_pixel not in _INTEGERS:
            return self._read_scores(dump, rows, value_bytes)
        # Scores of two or four classes have as many bytes: what it is only the whole mask tells.
        needed = range(self._canvas[0]) if value_bytes else rows
        kind = np.dtype(_INTEGERS[bytes_a_pixel])
        width = self._canvas[1] * kind.itemsize
        start = dump.slot * self._canvas[0] * width
        room = self._room(self._canvas[0] * width)
        _read_into(dump, room[needed.start * width : needed.stop * width], start + needed.start * width)
        mask = room.view(kind).reshape(self._canvas)
        is_far = value_bytes and max(-int(mask.min()), int(mask.max())) > _MOST_CLASSES
        if is_far and self.as_floats(dump, needed, mask) is None:
            return self._read_scores(dump, rows, value_bytes)
        return mask, str(kind)

    def take(self, path: str, output: NDArray[Any], rows: range) -> tuple[NDArray[Any], str]:
        """What :meth:`read` makes of a dump of this array, without the dump.

        Args:
            path: of the dump, in messages.
            output: of a model, for one picture: labels, ``(H, W)`` of any integer or float type, or class scores.
            rows: of the canvas that are needed.

        Raises:
            DumpError: of another shape, or not to be labels.
        """
        array = output
        while array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
        kind = str(array.dtype)
        if array.ndim == 3 and array.dtype.kind == "f" and array.shape == (self._num_classes, *self._canvas):
            return self._argmax(path, array, rows), f"class scores of {kind}"
        if array.shape != self._canvas or array.dtype.kind not in "biuf":
            raise DumpError(
                path,
                f"the model gives {kind} {output.shape} for a picture; expected labels {self._canvas} or scores of "
                f"{self._num_classes} classes {(self._num_classes, *self._canvas)}",
            )
        if array.dtype.kind == "f":
            return np.ascontiguousarray(array).view(f"i{array.itemsize}"), f"int{8 * array.itemsize}"
        return (array.view(np.uint8), "uint8") if array.dtype.kind == "b" else (array, "int32")

    def as_floats(self, dump: Dump, rows: range, mask: NDArray[Any]) -> tuple[NDArray[np.int32], str] | None:
        """What a mask is whose integers are not all classes, if its bytes are labels stored as floats.

        Args:
            dump, rows: as given to :meth:`read`.
            mask: what that returned.

        Returns:
            As :meth:`read`, or ``None`` if they are not.
        """
        if dump.path.endswith(".npy") or mask.itemsize not in _FLOAT_BYTES:
            return None
        kind = np.dtype(f"f{mask.itemsize}")
        labels = self._rounded(mask.view(kind), rows)
        return None if labels is None else (labels, str(kind))

    def _bytes_a_pixel(self, dump: Dump) -> int:
        size, pixels = _size_of(dump), self._canvas[0] * self._canvas[1] * dump.slots
        bytes_a_pixel, rest = divmod(size, pixels)
        if rest or bytes_a_pixel not in (*_INTEGERS, *self._score_bytes):
            height, width = self._canvas
            what = (
                f"{dump.slots} masks of {width}x{height} have" if dump.slots > 1 else f"a mask of {width}x{height} has"
            )
            known = ", ".join(f"{pixels * one:,} ({np.dtype(kind)})" for one, kind in _INTEGERS.items())
            scores = ", ".join(f"{pixels * one:,}" for one in self._score_bytes)
            raise DumpError(
                dump.path,
                f"{size:,} bytes; {what} {known}"
                + (f" or, as scores of {self._num_classes} classes, {scores}" if scores else "")
                + "; of another size? --net-input-width, --net-input-height",
            )
        return bytes_a_pixel

    def _read_scores(self, dump: Dump, rows: range, value_bytes: int) -> tuple[NDArray[Any], str]:
        shape = (self._num_classes, *self._canvas)
        size = math.prod(shape) * value_bytes
        room = self._room(size)
        _read_into(dump, room, dump.slot * size)
        scores = room.view(f"f{value_bytes}").reshape(shape)
        return self._argmax(dump.path, scores, rows), f"class scores of {scores.dtype}"

    def _argmax(self, path: str, scores: NDArray[Any], rows: range) -> NDArray[np.int32]:
        """The first of the largest, as ``torch.argmax`` and ``numpy.argmax``, which are slow along the first axis."""
        part = scores[:, rows.start : rows.stop]
        best = part[0].astype(np.result_type(part, np.float32))  # halves are slow to compare
        other, labels = np.empty_like(best), np.zeros(best.shape, np.int32)
        with np.errstate(invalid="ignore"):  # NaN, which is looked for in the end
            for label in range(1, len(part)):
                np.copyto(other, part[label])
                labels[other > best] = label
                np.maximum(best, other, out=best)
        if np.isnan(best).any():
            raise DumpError(path, "class scores that are not numbers (NaN)")
        return self._whole(labels, rows)

    def _rounded(self, values: NDArray[Any], rows: range) -> NDArray[np.int32] | None:
        """Floats as labels, if every one is a label."""
        part = values[rows.start : rows.stop]
        part = part.astype(np.result_type(part, np.float32))  # halves cannot hold the largest label to compare with
        with np.errstate(invalid="ignore"):  # NaN, which is no label
            if not ((part >= 0) & (part <= _MOST_CLASSES)).all():
                return None
        labels = part.astype(np.int32)
        return self._whole(labels, rows) if (labels == part).all() else None

    def _whole(self, labels: NDArray[np.int32], rows: range) -> NDArray[np.int32]:
        whole = np.zeros(self._canvas, np.int32)
        whole[rows.start : rows.stop] = labels
        return whole

    def _read_npy(self, dump: Dump, rows: range) -> tuple[NDArray[Any], str]:
        given, array = self._load_npy(dump)
        kind = str(array.dtype)
        batch = (dump.slots,) * (dump.slots > 1)
        while array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
        if (batch and given[:1] != batch) or array.shape not in (self._canvas, (self._num_classes, *self._canvas)):
            labels, scores = (*batch, *self._canvas), (*batch, self._num_classes, *self._canvas)
            raise DumpError(dump.path, f"of shape {given}; expected {labels} labels or {scores} class scores")
        if array.ndim == 3:
            if array.dtype.kind != "f":
                raise DumpError(dump.path, f"{self._num_classes} maps of type {kind}; class scores are floats")
            return self._argmax(dump.path, array, rows), f"class scores of {kind}"
        if array.dtype.kind == "f":
            rounded = self._rounded(array, rows)
            if rounded is None:
                raise DumpError(dump.path, f"{kind} values that are no whole numbers from 0 to {_MOST_CLASSES}")
            return rounded, kind
        if array.dtype.kind not in "biu":
            raise DumpError(dump.path, f"of type {kind}; labels are integers")
        return array, kind

    def _load_npy(self, dump: Dump) -> tuple[tuple[int, ...], NDArray[Any]]:
        """Shape of an .npy file, and the part of it that is in the dump's slot; all of it if it has no slots.

        Not mapped into memory: a file that is cut short meanwhile would end the process.
        """
        size = _size_of(dump)
        try:
            with open(dump.path, "rb") as file:
                header = _NPY_HEADERS[np.lib.format.read_magic(file)]
                shape, is_fortran, kind = header(file)
                offset = file.tell()
        except OSError as error:
            raise DumpError(dump.path, error.strerror or str(error)) from error
        except Exception as error:  # NumPy raises whatever its parsing runs into
            raise DumpError(dump.path, f"damaged .npy file: {error}") from error
        if kind.hasobject:
            raise DumpError(dump.path, f"of type {kind}; labels are integers")
        wanted = offset + math.prod(shape) * kind.itemsize
        if size != wanted:
            raise DumpError(dump.path, f"damaged .npy file: {size:,} bytes, {wanted:,} by its header")
        has_slots = dump.slots > 1 and shape[:1] == (dump.slots,)
        part, taken = shape, dump.slot if has_slots else ...
        if has_slots and not is_fortran:  # then a slot's values lie together, and are read alone
            part, taken = shape[1:], ...
            offset += dump.slot * math.prod(part) * kind.itemsize
        room = self._room(math.prod(part) * kind.itemsize)
        _read_into(dump, room, offset)
        return shape, room.view(kind).reshape(part, order="F" if is_fortran else "C")[taken]

    def _room(self, size: int) -> NDArray[np.uint8]:
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        return self._buffer[:size]


def _size_of(dump: Dump) -> int:
    if dump.size is not None:
        return dump.size
    return _read(dump.path, np.empty(0, np.uint8), 0)[0]  # which says what it is instead


def _read_into(dump: Dump, room: NDArray[np.uint8], start: int) -> None:
    size, count = _read(dump.path, room, start)
    before = _size_of(dump)
    if size != before or count != len(room):
        raise DumpError(dump.path, f"it had {before:,} bytes a moment ago and has {size:,} now")


def _read(path: str, room: NDArray[np.uint8], start: int) -> tuple[int, int]:
    """Bytes of a file, and how many of them were read."""
    try:
        size, _, count = _core.read_file(path, start, room)
    except (OSError, ValueError) as error:
        raise DumpError(path, getattr(error, "strerror", None) or str(error)) from error
    return size, count
