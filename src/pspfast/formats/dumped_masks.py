"""What the bytes of a dumped mask are, by the file's size; where a size means several things, by its content."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast import _core
from pspfast.system.errors import FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.formats.dumps import Dump

__all__ = ["DumpError", "DumpReader"]

_INTEGERS: dict[int, type[np.generic]] = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
_FLOAT_BYTES = (2, 4, 8)
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# No data set has classes beyond this: such integers are rather something else, read as integers.
_MOST_CLASSES = 65_535


class DumpError(FileError):
    """A dumped mask that cannot be used; ``filename`` is its path and ``strerror`` the reason."""


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
