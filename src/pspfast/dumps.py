"""Masks as inference tools dump them: which file belongs to which picture, and what its bytes are.

Files are paired with pictures by name and never by position. What a file holds follows from its size; where a size
means several things, from its content.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast import _core

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Dump", "DumpError", "DumpReader", "Dumps", "find_dumps"]

_SUFFIXES = (".bin", ".npy")
_OUTPUT = re.compile(r"(.+)_(\d{1,3})")

_INTEGERS: dict[int, type[np.generic]] = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
_FLOAT_BYTES = (2, 4, 8)
# No data set has classes beyond this: such integers are rather something else, read as integers.
_MOST_CLASSES = 65_535


class DumpError(OSError):
    """A dumped mask that cannot be used; ``filename`` is its path and ``strerror`` the reason."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(None, reason, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


@dataclass(frozen=True, slots=True)
class Dump:
    """Where a picture's mask is: in slot ``slot`` of ``slots`` in the file ``path`` of ``size`` bytes."""

    path: str
    size: int
    slot: int = 0
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Dumps:
    """What a folder of dumps has.

    Attributes:
        found: picture -> its dump.
        unusable: ``(picture, reason)``: several files for one picture, or one of another size than the others.
        strays: ``(file name, reason)`` of dumps that belong to no picture asked for.
    """

    found: dict[str, Dump]
    unusable: tuple[tuple[str, str], ...]
    strays: tuple[tuple[str, str], ...]


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
    files, claims = _claims(folder, bins, output)
    if not files:
        raise ValueError(f"{folder}: {_no_dumps(folder, output)}")
    strays = [(name, f"{name}: belongs to no picture asked for") for name in files if name not in claims]

    by_bin: dict[str, list[str]] = {}
    for name, owners in claims.items():
        for owner in owners:
            by_bin.setdefault(owner, []).append(name)
    usual = _usual_sizes(files, by_bin, bins)
    found: dict[str, Dump] = {}
    unusable: dict[str, str] = {}
    for owner, names in sorted(by_bin.items()):
        (first, *others), slots = sorted(names), len(bins[owner])
        expected, problem = usual.get((slots, first[-4:])), ""
        if others:
            problem = f"{len(names)} dumps for one bin: {', '.join(sorted(names))}; remove the wrong ones" + (
                " or choose an output (--output N)" * (output is None)
            )
        elif expected not in (None, files[first]):
            problem = f"{first} has {files[first]:,} bytes where the others have {expected:,}"
        for slot, picture in enumerate(bins[owner]):
            if picture is None:
                continue
            if problem:
                unusable[picture] = problem
            elif picture in found:
                unusable[picture] = f"two dumps for one picture: {os.path.basename(found[picture].path)} and {first}"
            else:
                found[picture] = Dump(os.path.join(folder, first), files[first], slot, slots)
    for picture in unusable:
        found.pop(picture, None)
    return Dumps(found, tuple(unusable.items()), tuple(strays))


def _claims(
    folder: str, bins: Mapping[str, Sequence[str | None]], output: int | None
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Size in bytes of each dump, and the bins each may come from."""
    files: dict[str, int] = {}
    claims: dict[str, list[str]] = {}
    popular: Counter[str] = Counter()
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            base, suffix = os.path.splitext(entry.name)
            numbered = _OUTPUT.fullmatch(base)
            if suffix not in _SUFFIXES or entry.name.startswith(".") or not entry.is_file():
                continue
            if output is not None and not (numbered and int(numbered[2]) == output):
                continue
            files[entry.name] = entry.stat().st_size
            candidates = [base] * (base in bins and output is None)
            if numbered and numbered[1] in bins:
                candidates.append(numbered[1])
            if candidates:
                claims[entry.name] = candidates
                popular.update(_ending(entry.name, one) for one in candidates)
    for name, candidates in claims.items():
        if len(candidates) > 1:  # "a_1.bin" with pictures "a" and "a_1": as most files here are named
            candidates[:] = [max(candidates, key=lambda one: (popular[_ending(name, one)], len(one)))]
    return files, claims


def _ending(name: str, owner: str) -> str:
    return name[len(owner) :]


def _usual_sizes(
    files: Mapping[str, int], by_bin: Mapping[str, Sequence[str]], bins: Mapping[str, Sequence[str | None]]
) -> dict[tuple[int, str], int]:
    """Slots and suffix -> size of most such dumps, if a majority has one: a truncated or foreign one has another."""
    sizes: dict[tuple[int, str], Counter[int]] = {}
    for owner, names in by_bin.items():
        for name in names:
            sizes.setdefault((len(bins[owner]), name[-4:]), Counter())[files[name]] += 1
    usual = {}
    for kind, counted in sizes.items():
        size, count = counted.most_common(1)[0]
        if 2 * count > sum(counted.values()):
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
            return self._read_npy(dump)
        bytes_a_pixel = self._bytes_a_pixel(dump)
        if bytes_a_pixel not in _INTEGERS:
            return self._read_scores(dump, rows, bytes_a_pixel // self._num_classes)
        kind = np.dtype(_INTEGERS[bytes_a_pixel])
        width = self._canvas[1] * kind.itemsize
        start = dump.slot * self._canvas[0] * width
        room = self._room(self._canvas[0] * width)
        self._read_into(dump, room[rows.start * width : rows.stop * width], start + rows.start * width)
        return room.view(kind).reshape(self._canvas), str(kind)

    def reread(self, dump: Dump, rows: range, mask: NDArray[Any]) -> tuple[NDArray[Any], str] | None:
        """What a mask is whose integers are not all classes, if its bytes are no integers.

        Args:
            dump, rows: as given to :meth:`read`.
            mask: what that returned.

        Returns:
            As :meth:`read`, or ``None`` if integers it is.

        Raises:
            DumpError: class scores that are not numbers.
        """
        if dump.path.endswith(".npy") or mask.itemsize not in _FLOAT_BYTES:
            return None
        part = mask[rows.start : rows.stop]
        kind = np.dtype(f"f{mask.itemsize}")
        if (labels := _as_labels(part.view(kind))) is not None:
            whole = np.zeros(self._canvas, np.int32)
            whole[rows.start : rows.stop] = labels
            return whole, str(kind)
        value_bytes, rest = divmod(mask.itemsize, self._num_classes)
        if not rest and value_bytes in _FLOAT_BYTES and (part.min() < -_MOST_CLASSES or part.max() > _MOST_CLASSES):
            return self._read_scores(dump, rows, value_bytes)
        return None

    def _bytes_a_pixel(self, dump: Dump) -> int:
        pixels = self._canvas[0] * self._canvas[1] * dump.slots
        bytes_a_pixel, rest = divmod(dump.size, pixels)
        scores = [self._num_classes * one for one in _FLOAT_BYTES if self._num_classes > 1]
        if rest or bytes_a_pixel not in (*_INTEGERS, *scores):
            batch = f"{dump.slots} masks of " * (dump.slots > 1) + f"{self._canvas[0]}x{self._canvas[1]}"
            known = ", ".join(f"{pixels * one:,} ({kind.__name__})" for one, kind in _INTEGERS.items())
            raise DumpError(
                dump.path,
                f"{dump.size:,} bytes; {batch} have {known} or, as scores of {self._num_classes} classes, "
                + ", ".join(f"{pixels * one:,}" for one in scores),
            )
        return bytes_a_pixel

    def _read_scores(self, dump: Dump, rows: range, value_bytes: int) -> tuple[NDArray[Any], str]:
        height, width = self._canvas
        size = self._num_classes * height * width * value_bytes
        room = self._room(size)
        self._read_into(dump, room, dump.slot * size)
        scores = room.view(f"f{value_bytes}").reshape(self._num_classes, height, width)
        return self._argmax(dump.path, scores, rows), f"class scores of {scores.dtype}"

    def _argmax(self, path: str, scores: NDArray[Any], rows: range) -> NDArray[np.int32]:
        """The first of the largest, as ``torch.argmax`` and ``numpy.argmax``, which is slow along the first axis."""
        part = scores[:, rows.start : rows.stop]
        best, labels = part[0].copy(), np.zeros(part.shape[1:], np.int32)
        for label in range(1, len(part)):
            better = part[label] > best
            np.copyto(best, part[label], where=better)
            labels[better] = label
        if np.isnan(part.sum(dtype=np.float64)):  # infinities of both signs give one as well, and are as wrong
            raise DumpError(path, "class scores that are not numbers (NaN, or infinities of both signs)")
        whole = np.zeros(self._canvas, np.int32)
        whole[rows.start : rows.stop] = labels
        return whole

    def _read_npy(self, dump: Dump) -> tuple[NDArray[Any], str]:
        try:
            array = np.load(dump.path, allow_pickle=False)
        except OSError as error:
            raise DumpError(dump.path, error.strerror or str(error)) from error
        except (ValueError, EOFError, SyntaxError) as error:
            raise DumpError(dump.path, f"damaged .npy file: {error}") from error
        if not isinstance(array, np.ndarray):
            raise DumpError(dump.path, "an archive of several arrays; one .npy array is needed")
        kind, given = str(array.dtype), array.shape
        if dump.slots > 1:
            if not given or given[0] != dump.slots:
                raise DumpError(dump.path, f"of shape {given}; {dump.slots} masks are {self._npy_shapes(dump)}")
            array = array[dump.slot]
        while array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
        if array.shape == (self._num_classes, *self._canvas) and array.dtype.kind == "f":
            return self._argmax(dump.path, array, range(self._canvas[0])), f"class scores of {kind}"
        if array.shape != self._canvas:
            raise DumpError(dump.path, f"of shape {given}; expected {self._npy_shapes(dump)}")
        if array.dtype.kind == "f":
            labels = _as_labels(array)
            if labels is None:
                raise DumpError(dump.path, f"{kind} values that are no whole numbers from 0 to {_MOST_CLASSES}")
            return labels, kind
        if array.dtype.kind not in "biu":
            raise DumpError(dump.path, f"of type {kind}; labels are integers")
        return array, kind

    def _npy_shapes(self, dump: Dump) -> str:
        batch = (dump.slots,) * (dump.slots > 1)
        return f"{(*batch, *self._canvas)} labels or {(*batch, self._num_classes, *self._canvas)} class scores"

    def _read_into(self, dump: Dump, room: NDArray[np.uint8], start: int) -> None:
        try:
            size, _, count = _core.read_file(dump.path, start, room)
        except (OSError, ValueError) as error:
            raise DumpError(dump.path, getattr(error, "strerror", None) or str(error)) from error
        if size != dump.size or count != len(room):
            raise DumpError(dump.path, f"it had {dump.size:,} bytes a moment ago and has {size:,} now")

    def _room(self, size: int) -> NDArray[np.uint8]:
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        return self._buffer[:size]


def _as_labels(values: NDArray[Any]) -> NDArray[np.int32] | None:
    """Floats as labels, if every one is a label."""
    if values.dtype == np.float16:  # which cannot hold the largest label to compare with
        values = values.astype(np.float32)
    if not ((values >= 0) & (values <= _MOST_CLASSES)).all():
        return None
    labels = values.astype(np.int32)
    return labels if (labels == values).all() else None
