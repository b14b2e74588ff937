"""What the bytes of a dumped mask are: as a record says, else by the file's size and its content together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast import _core
from pspfast.formats.dump_contents import are_scores, classes_are_last, wider_integers
from pspfast.formats.dump_readings import is_npu_format, npu_formats, reading_of, suspects_of
from pspfast.formats.mask_arrays import (
    MOST_CLASSES,
    DumpError,
    UnlikeMaskError,
    labels_of_floats,
    labels_of_scores,
    output_fault,
    scores_axis,
    without_leading_ones,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.formats.dump_record import Tensor
    from pspfast.formats.dumps import Dump

__all__ = ["DumpError", "DumpReader", "UnlikeMaskError"]

_INTEGERS: dict[int, type[np.generic]] = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
_FLOAT_BYTES = (2, 4, 8)
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    # As 2.0, but for names of fields beyond Latin-1, which labels have none of.
    (3, 0): np.lib.format.read_array_header_2_0,
}


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
        """Read a mask, as integers where its type or size allows.

        Args:
            dump: where it is.
            rows: of the canvas that are needed; the others are not read and hold anything.

        Returns:
            ``(H, W)`` integers, valid until the next call, and what they were in the file. If some of them are no
            class, :meth:`settle` says what they are.

        Raises:
            DumpError: missing, of a size that no mask has, damaged, or holding what cannot be labels.
        """
        if dump.path.endswith(".npy"):
            return self._read_npy(dump, rows)
        if dump.tensor is not None:
            return self._read_known(dump, dump.tensor, rows)
        bytes_a_pixel = self._bytes_a_pixel(dump)
        value_bytes = self._score_bytes.get(bytes_a_pixel, 0)
        if bytes_a_pixel not in _INTEGERS:
            return self._read_scores(dump, rows, value_bytes)
        # Scores of two or four classes have as many bytes: what it is only the whole mask tells.
        needed = range(self._canvas[0]) if value_bytes else rows
        mask = self._read_rows(dump, np.dtype(_INTEGERS[bytes_a_pixel]), needed)
        # Pairs of scores begin where halves are no longer denormal.
        if value_bytes and max(-int(mask.min()), int(mask.max())) > (1023 if value_bytes == 2 else MOST_CLASSES):
            scores = mask.reshape(-1).view(f"f{value_bytes}")
            reading = reading_of(mask, self._num_classes, scores)
            if reading == "scores":
                shaped = scores.reshape(self._num_classes, *self._canvas)
                return labels_of_scores(dump.path, shaped, rows), f"class scores of {scores.dtype}"
            if reading == "unclear":
                raise _unlike(dump, mask, suspects_of(mask, self._num_classes, scores))
        elif wider_integers(_aligned(mask, needed), bytes_a_pixel)[0]:
            raise _unlike(dump, mask, suspects_of(mask[needed.start : needed.stop], self._num_classes, None))
        return mask, str(mask.dtype)

    def take(self, path: str, output: NDArray[Any], rows: range) -> tuple[NDArray[Any], str]:
        """What :meth:`read` makes of a dump of this array, without the dump.

        Args:
            path: of the dump, in messages.
            output: of a model, for one picture: labels, ``(H, W)`` of any integer or float type, or class scores.
            rows: of the canvas that are needed.

        Raises:
            DumpError: of another shape, or not to be labels.
        """
        kind = str(output.dtype)
        if fault := output_fault(kind, output.shape, self._canvas, self._num_classes):
            raise DumpError(path, f"the model gives {fault}")
        array = without_leading_ones(output)
        if array.ndim == 3:
            return self._labels(path, array, rows, None)
        if array.dtype.kind == "f":
            return np.ascontiguousarray(array).view(f"i{array.itemsize}"), kind
        return (array.view(np.uint8), "uint8") if array.dtype.kind == "b" else (array, "int32")

    def settle(self, dump: Dump, rows: range, mask: NDArray[Any], kind: str) -> tuple[NDArray[Any], str]:
        """What a mask is whose integers are not all classes.

        Args:
            dump, rows: as given to :meth:`read`.
            mask, kind: what that returned.

        Returns:
            As :meth:`read`: the same integers, some of which are no class, or labels that were stored as floats.

        Raises:
            UnlikeMaskError: neither; or it could be several things.
        """
        if dump.path.endswith(".npy") or (dump.tensor is not None and not kind.startswith("float")):
            return mask, kind
        if dump.tensor is not None:
            return labels_of_floats(dump.path, mask.view(kind), self._num_classes, rows), kind
        part = mask[rows.start : rows.stop]
        reading = reading_of(part, self._num_classes, None)
        if reading == "floats":
            kind = f"float{8 * mask.itemsize}"
            return labels_of_floats(dump.path, mask.view(kind), self._num_classes, rows), kind
        if reading == "unclear":
            raise _unlike(dump, part, suspects_of(part, self._num_classes, None))
        return mask, kind

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
            formats = [] if rest else npu_formats(bytes_a_pixel, self._num_classes)
            raise DumpError(
                dump.path,
                f"{size:,} bytes; {what} {known}"
                + (f" or, as scores of {self._num_classes} classes, {scores}" if scores else "")
                + (
                    f"; {_npu_words(formats)}"
                    if formats
                    else "; of another size? --net-input-width, --net-input-height"
                ),
            )
        return bytes_a_pixel

    def _read_rows(self, dump: Dump, kind: np.dtype[Any], rows: range) -> NDArray[Any]:
        """A mask of labels of which some rows are read."""
        width = self._canvas[1] * kind.itemsize
        start = dump.slot * self._canvas[0] * width
        room = self._room(self._canvas[0] * width)
        _read_into(dump, room[rows.start * width : rows.stop * width], start + rows.start * width)
        return room.view(kind).reshape(self._canvas)

    def _read_known(self, dump: Dump, tensor: Tensor, rows: range) -> tuple[NDArray[Any], str]:
        """A dump of which a record or an option says what it is."""
        size, wanted = _size_of(dump), dump.slots * tensor.size
        if size != wanted:
            raise DumpError(dump.path, f"{size:,} bytes; {tensor} has {wanted:,}, and {tensor.told_by} says it is that")
        axis = tensor.axis
        fault = output_fault(tensor.dtype, tensor.shape, self._canvas, self._num_classes)
        if fault and axis is None:
            raise UnlikeMaskError(dump.path, f"{tensor.told_by} says {fault}")
        if math.prod(tensor.shape) == math.prod(self._canvas) and axis is None:
            if tensor.dtype == "bool":
                return self._read_rows(dump, np.dtype(np.uint8), rows), tensor.dtype
            kind = np.dtype(tensor.dtype)
            mask = self._read_rows(dump, kind, rows)
            return (mask.view(f"i{kind.itemsize}") if kind.kind == "f" else mask), tensor.dtype
        room = self._room(tensor.size)
        _read_into(dump, room, dump.slot * tensor.size)
        shape = tuple(tensor.shape[-3:])
        return self._labels(dump.path, room.view(tensor.dtype).reshape(shape), rows, axis)

    def _read_scores(self, dump: Dump, rows: range, value_bytes: int) -> tuple[NDArray[Any], str]:
        """Class scores that nothing but their size tells."""
        pixels = self._canvas[0] * self._canvas[1]
        room = self._room(self._num_classes * pixels * value_bytes)
        _read_into(dump, room, dump.slot * len(room))
        if is_npu_format(room, len(room) // pixels, self._num_classes):
            raise UnlikeMaskError(dump.path, _npu_words(npu_formats(len(room) // pixels, self._num_classes)))
        scores = room.view(f"f{value_bytes}")
        if not are_scores(scores, self._num_classes, nan=True):
            raise UnlikeMaskError(
                dump.path,
                f"has the size of {scores.dtype} scores of {self._num_classes} classes, and its bytes are no such "
                f"numbers: quantized scores? Dump floats or labels (--dump-type scores-{scores.dtype} takes them so)",
            )
        is_last = classes_are_last(scores, self._num_classes)
        if is_last is None:
            options = f"--dump-type scores-{scores.dtype} or scores-last-{scores.dtype}"
            raise UnlikeMaskError(
                dump.path,
                f"{scores.dtype} scores whose values do not tell whether classes come first or last ({options})",
            )
        shape = (*self._canvas, self._num_classes) if is_last else (self._num_classes, *self._canvas)
        return self._labels(dump.path, scores.reshape(shape), rows, 2 if is_last else 0)

    def _labels(self, path: str, scores: NDArray[Any], rows: range, axis: int | None) -> tuple[NDArray[Any], str]:
        """Of class scores of three dimensions; where both may be that of the classes, the content says which."""
        axes = scores_axis(scores.shape, self._canvas, self._num_classes)
        if axis is None and len(axes) == 1:
            (axis,) = axes
        if axis is None:
            native = np.ascontiguousarray(scores, scores.dtype.newbyteorder("="))
            is_last = classes_are_last(native.reshape(-1), self._num_classes)
            if is_last is not False:
                raise UnlikeMaskError(path, f"class scores {scores.shape} whose classes may come first or last")
            axis = 0
        kind = f"class scores of {scores.dtype}" + ", classes last" * (axis == 2)
        return labels_of_scores(path, np.moveaxis(scores, axis, 0), rows), kind

    def _read_npy(self, dump: Dump, rows: range) -> tuple[NDArray[Any], str]:
        given, array = self._load_npy(dump)
        kind = str(array.dtype)
        batch = (dump.slots,) * (dump.slots > 1)
        array = without_leading_ones(array)
        axes = scores_axis(array.shape, self._canvas, self._num_classes)
        if (batch and given[:1] != batch) or not (axes or array.shape == self._canvas):
            labels, scores = (*batch, *self._canvas), (*batch, self._num_classes, *self._canvas)
            raise DumpError(dump.path, f"of shape {given}; expected {labels} labels or {scores} class scores")
        if array.ndim == 3:
            if array.dtype.kind != "f":
                raise DumpError(dump.path, f"{self._num_classes} maps of type {kind}; class scores are floats")
            return self._labels(dump.path, array, rows, None)
        if array.dtype.kind == "f":
            return labels_of_floats(dump.path, array, self._num_classes, rows), kind
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


def _unlike(dump: Dump, mask: NDArray[Any], suspects: list[str]) -> UnlikeMaskError:
    size = f"as many bytes as {mask.dtype} labels of the canvas have"
    if not suspects:
        return UnlikeMaskError(dump.path, f"{size}, and its values are none, nor anything else that is known")
    if len(suspects) > 1:
        return UnlikeMaskError(dump.path, f"{size}, and what is in it could be {'; or '.join(suspects)}")
    (suspect,) = suspects
    return UnlikeMaskError(
        dump.path,
        f"{size}, and what is in it looks like {suspect}"
        + "; masks have the network's own sides: --net-input-width, --net-input-height" * ("the pixels" in suspect)
        + f" (--dump-type {mask.dtype} takes it as such labels)" * ("--dump-type" not in suspect),
    )


def _npu_words(formats: list[str]) -> str:
    return (
        f"NC1HWC0, an NPU's own layout ({' or '.join(formats)}), has this size, and is not read: have the tool write "
        "NCHW (ND), or transpose it"
    )


def _aligned(mask: NDArray[Any], rows: range) -> NDArray[np.uint8]:
    """Bytes of some rows of a mask, from a multiple of 8 bytes on."""
    width = mask.shape[1] * mask.itemsize
    start = -(-rows.start * width // 8) * 8
    return mask.reshape(-1).view(np.uint8)[start : rows.stop * width]


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
