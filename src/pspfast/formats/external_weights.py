"""The files beside a model that hold its weights: whatever the tensors of an ONNX file name as their ``external_data``.

The file is walked as the nested messages that it is, without the library onnx, which need not be installed where a
model is run. Only names of files are looked for; weights inside of the file are stepped over.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from pspfast.system.digests import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["external_weights", "sha256_of_model"]

# Message of onnx.proto -> number of a field -> the message in it.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
_KEY, _VALUE = 1, 2  # fields of an entry of external_data
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf
_DEEPEST = 100  # as protobuf's own readers


def sha256_of_model(path: str | os.PathLike[str]) -> str:
    """Of a model's file; where weights lie beside it, of that and theirs, each under its name; hex digits.

    Raises:
        OSError: one cannot be read.
    """
    beside = external_weights(path)
    if not beside:
        return sha256_of(path)
    lines = [sha256_of(path), *(f"{sha256_of(one)} {os.path.basename(one)}" for one in beside)]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def external_weights(path: str | os.PathLike[str]) -> list[str]:
    """Paths of the files beside a model that hold its weights, sorted.

    Those that an ONNX file names, and those that are named after the model (``m.onnx.data``, ``m.onnx_data``), whatever
    reads them. What is not there is left out: the runtime that loads the model says so.

    Raises:
        OSError: the file cannot be read.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not os.fstat(file.fileno()).st_size:
            return []  # a device or pipe ends never, or can be read but once
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found: set[bytes] = set()
            with suppress(_NotProtobufError):
                found.update(_locations(data, 0, len(data), "model", 0))
    folder = os.path.dirname(os.path.abspath(name))
    paths = {os.path.normpath(os.path.join(folder, os.fsdecode(one))) for one in found if b"\0" not in one}
    paths |= {os.path.abspath(f"{name}{ending}") for ending in (".data", "_data")}
    return sorted(one for one in paths if os.path.isfile(one))


class _NotProtobufError(ValueError):
    """Bytes that are no message."""


def _locations(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[bytes]:
    """Values of ``location`` in the message at ``data[start:end]``."""
    inside = _MESSAGES[message]
    texts: dict[int, bytes] = {}
    for field, first, last in _fields(data, start, end):
        if message == "entry":
            texts[field] = data[first:last]
        elif field in inside and depth < _DEEPEST:
            yield from _locations(data, first, last, inside[field], depth + 1)
    if texts.get(_KEY) == b"location" and _VALUE in texts:
        yield texts[_VALUE]


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """``(number, start, end)`` of the fields of a message that have a length."""
    while at < end:
        tag, at = _varint(data, at, end)
        field, kind = tag >> 3, tag & 7
        if not field:
            raise _NotProtobufError("field 0")
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        elif kind == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
            if at <= end:
                yield field, start, at
        else:
            raise _NotProtobufError(f"wire type {kind}")
    if at > end:
        raise _NotProtobufError("a field beyond its message")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _NotProtobufError("a number without an end")
