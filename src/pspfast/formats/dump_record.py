"""What ``pspfast infer`` records beside its dumps: type and shape of each output, so that nobody has to guess them."""

from __future__ import annotations

import json
import math
import os
import threading
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from pspfast.system.files import write_whole

__all__ = [
    "DUMP_TYPES",
    "RECORD",
    "DumpRecord",
    "DumpRecorder",
    "DumpType",
    "RecordedOutput",
    "Tensor",
    "tensor_of_type",
]

RECORD = "dumps.json"
_FORMAT, _FORMAT_VERSION = "pspfast dumps", 1

DumpType = Literal[
    "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
    "scores-float16", "scores-float32", "scores-float64",
    "scores-last-float16", "scores-last-float32", "scores-last-float64",
]  # fmt: skip
DUMP_TYPES: tuple[DumpType, ...] = get_args(DumpType)
"""What ``--dump-type`` says of dumps without a record: labels of a type; class scores ``(classes, H, W)``, or with the
classes last, ``(H, W, classes)``."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a dump holds of one picture.

    Attributes:
        dtype: NumPy's name of its type.
        shape: of one picture's.
        told_by: who says so, in messages: the record's path, or an option.
        axis: of the classes, where the shape of class scores does not tell it; else ``None``.
    """

    dtype: str
    shape: tuple[int, ...]
    told_by: str
    axis: int | None = None

    @property
    def size(self) -> int:
        """Bytes of one picture's."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True, slots=True)
class RecordedOutput:
    """One of a model's outputs, as its dumps are.

    Attributes:
        name: in the model.
        ending: what follows a picture's name in the names of its dumps.
        dtype, shape: see :class:`Tensor`.
    """

    name: str
    ending: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DumpRecord:
    """What is in a folder of dumps; ``dumps.json``.

    Attributes:
        canvas: ``(H, W)`` of what the model took; ``None`` if that were no pictures.
        outputs: in the model's order.

    Example:
        >>> record = DumpRecord((2, 3), (RecordedOutput("mask", "_1.bin", "int32", (1, 2, 3)),))
        >>> DumpRecord.from_json(record.to_json(), "dumps.json") == record
        True
    """

    canvas: tuple[int, int] | None
    outputs: tuple[RecordedOutput, ...]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Put it into a folder.

        Raises:
            OutputError: it cannot be written.
        """
        write_whole(os.path.join(folder, RECORD), self.to_json().encode())

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> DumpRecord | None:
        """That of a folder, ``None`` if there is none.

        Raises:
            OSError: it cannot be read.
            ValueError: it is damaged, or something else.
        """
        path = os.path.join(folder, RECORD)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        return cls.from_json(data, path)

    def to_json(self) -> str:
        """As it stands in the file."""
        head: dict[str, Any] = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "canvas": self.canvas}
        return json.dumps({**head, "outputs": [asdict(one) for one in self.outputs]}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, path: str) -> DumpRecord:
        """The inverse of :meth:`to_json`; ``path`` is for messages.

        Raises:
            ValueError: anything else.
        """
        try:
            found = json.loads(text)
            if (found["format"], found["format_version"]) != (_FORMAT, _FORMAT_VERSION):
                raise ValueError(f"format {found['format']!r}, version {found['format_version']!r}")
            canvas = None if found["canvas"] is None else _sides(found["canvas"])
            if canvas is not None and len(canvas) != 2:
                raise ValueError(f"a canvas of {len(canvas)} sides")
            outputs = tuple(
                RecordedOutput(
                    str(one["name"]), str(one["ending"]), np.dtype(one["dtype"]).name, tuple(_sides(one["shape"]))
                )
                for one in found["outputs"]
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{path} is not a record of dumps ({type(error).__name__}: {error}); run pspfast infer again, or "
                "remove it to have the dumps told by their size and content"
            ) from error
        return cls(None if canvas is None else (canvas[0], canvas[1]), outputs)

    def tensor_of(self, name: str, folder: str) -> Tensor | None:
        """What the dump of this file name holds; ``None`` if none of the outputs has such names."""
        for one in self.outputs:
            if name.endswith(one.ending):
                return Tensor(one.dtype, one.shape, os.path.join(folder, RECORD))
        return None


class DumpRecorder:
    """Writes a folder's record before its first dump, and holds the further ones to it. Thread-safe.

    Attributes:
        record: that of the folder; ``None`` until there is one.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self.record: DumpRecord | None = None

    def describe(self, record: DumpRecord) -> bool:
        """Say what is about to be written of a picture, and whether that is what the folder's other dumps hold.

        Raises:
            OutputError: the record cannot be written.
        """
        with self._lock:
            if self.record is None:
                record.write(self._folder)
                self.record = record
            return self.record == record


def tensor_of_type(dump_type: DumpType, canvas: tuple[int, int], num_classes: int) -> Tensor:
    """What dumps hold of which an option says the type.

    Raises:
        ValueError: no such type.

    Example:
        >>> tensor_of_type("scores-last-float16", (64, 96), 21).shape
        (64, 96, 21)
    """
    if dump_type not in DUMP_TYPES:
        raise ValueError(f"dump_type must be one of {', '.join(DUMP_TYPES)}, got {dump_type!r}")
    *scores, dtype = dump_type.split("-")
    shape, axis = {
        0: (canvas, None),
        1: ((num_classes, *canvas), 0),
        2: ((*canvas, num_classes), 2),
    }[len(scores)]
    return Tensor(dtype, shape, f"--dump-type {dump_type}", axis)


def _sides(values: Any) -> tuple[int, ...]:
    sides = tuple(values)
    if not all(type(side) is int and side >= 0 for side in sides):
        raise ValueError(f"sides {values!r}")
    return sides
