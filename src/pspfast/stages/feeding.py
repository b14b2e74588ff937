"""What a model is fed with: pictures in a folder of bins, or in the bins that an info file lists."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast import _core
from pspfast.formats.bins import MANIFEST, BinSlot, Manifest
from pspfast.runtimes.picture_input import is_channels_last, picture_shape
from pspfast.stages.bin_values import check_values
from pspfast.system.errors import FileError
from pspfast.system.files import stem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from pspfast.runtimes.runtime import TensorSpec

__all__ = ["BinLayout", "Feed", "FeedError", "FeedReader", "find_feed", "listed_in"]

PREPROCESSED = ("float16", "float32")
"""Types of the bins that ``pspfast preprocess`` makes."""

BinLayout = Literal["nchw", "nhwc"]
"""Where the channels of a bin are, as ``--bin-layout`` says it."""

# Types of bins that a model takes besides its own, with every value kept.
_WIDENED = {"float32": ("float16",)}


class FeedError(FileError):
    """A bin that cannot be used; ``filename`` is its path and ``strerror`` the reason."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Pictures that a model can be fed with.

    Attributes:
        source: the folder or info file, absolute.
        pictures: in the manifest's or the info file's order, else by name.
        failures: ``(name, reason)`` of those that cannot be used.
        dtype: of the bins.
        shape: of one picture.
        canvas: ``(H, W)`` of one picture; ``None`` where the model takes something else.
        parameters: what decides the bins' bytes, by their manifest; ``None`` without one.
    """

    source: str
    pictures: tuple[BinSlot, ...]
    failures: tuple[tuple[str, str], ...]
    dtype: str
    shape: tuple[int, ...]
    parameters: dict[str, Any] | None = None
    canvas: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Bin:
    path: str
    names: tuple[str, ...]


def find_feed(source: str | os.PathLike[str], taken: TensorSpec, layout: BinLayout | None = None) -> Feed:
    """List the pictures of a folder of bins or an info file, and hold every file's size to what the model takes.

    Args:
        source: a folder that ``pspfast preprocess`` wrote (``manifest.json`` says what is in packed bins); a folder of
            bins with a picture each; or an info file with ``index path width height`` a line, where a relative path
            is meant from here or, if it is not there, from beside the info file.
        taken: the model's input.
        layout: of bins that no manifest describes, where the model has its channels last: ``"nhwc"`` if they have too.

    Raises:
        OSError: the folder or file cannot be read.
        ValueError: it holds nothing, or pictures of another size, type or layout than the model takes.
    """
    path = os.path.abspath(source)
    if not os.fspath(source):
        raise ValueError("the input has an empty name")
    manifest: Manifest | None = None
    canvas: tuple[int, int] | None = None
    if os.path.isdir(path):
        if os.path.exists(os.path.join(path, MANIFEST)):
            manifest = Manifest.read(path)
            bins = [_Bin(os.path.join(path, one.name), tuple(map(stem, one.names))) for one in manifest.bins]
        else:
            bins = [_single(entry) for entry in sorted(_bins_in(path))]
        nothing = f"{path}: no .bin files in this folder; pspfast preprocess makes them"
    else:
        listed, canvas = listed_in(path)
        beside = os.path.join(os.path.dirname(listed[0]), MANIFEST) if listed else ""
        known = {}
        if os.path.exists(beside):
            manifest = Manifest.read(beside)
            known = {one.name: tuple(map(stem, one.names)) for one in manifest.bins}
        bins = [_Bin(one, known.get(os.path.basename(one), (stem(one),))) for one in listed]
        nothing = f"{path}: lists no bins"
    if not bins:
        raise ValueError(nothing)
    if manifest is not None:
        height, width = manifest.parameters["size"]
        canvas = (height, width)
    shape = _picture_shape(path, taken, canvas)
    _check_layout(path, shape, taken, manifest, layout)
    sizes, failures = _sizes(bins)
    if manifest is not None:
        slots, dtype = manifest.parameters["batch_size"], str(manifest.parameters["dtype"])
        _check_type(path, dtype, taken)
    else:
        slots, dtype = 1, _type_of(path, [size for size, _ in sizes.values()], shape, taken)
        check_values([one.path for one in bins if one.path in sizes], dtype, taken)
    wanted = slots * math.prod(shape) * np.dtype(dtype).itemsize
    pictures: list[BinSlot] = []
    owner: dict[str, str] = {}
    for one in bins:
        if one.path not in sizes:
            continue
        size, modified = sizes[one.path]
        if size != wanted:
            what = f"{slots} pictures" if slots > 1 else "a picture"
            reason = f"{one.path} has {size:,} bytes; {what} of {dtype} {_by(shape)} has {wanted:,}"
            failures += [(name, reason) for name in one.names]
            continue
        for slot, name in enumerate(one.names):
            if name in owner:
                failures.append((name, f"{one.path} would have the same outputs as {owner[name]}, not used"))
            else:
                owner[name] = one.path
                pictures.append(BinSlot(name, one.path, slot, size, modified))
    parameters = None if manifest is None else manifest.parameters
    at = 0 if is_channels_last(shape, taken.dtype) else 1
    sides = (shape[at], shape[at + 1]) if len(shape) == 3 else None
    return Feed(path, tuple(pictures), tuple(failures), dtype, shape, parameters, sides)


class FeedReader:
    """Reads one picture after the other into the model's type; one reader a thread."""

    def __init__(self, feed: Feed, dtype: str) -> None:
        self._bytes = math.prod(feed.shape) * np.dtype(feed.dtype).itemsize
        self._staging = None if feed.dtype == dtype else np.empty(feed.shape, feed.dtype)

    def read(self, picture: BinSlot, out: NDArray[Any]) -> None:
        """Fill ``out``, C-contiguous and of the picture's shape.

        Raises:
            FeedError: the file is gone, cannot be read, or was changed since it was listed.
        """
        self.load(picture, out)
        self.widen(out)

    def load(self, picture: BinSlot, out: NDArray[Any]) -> None:
        """The first half of :meth:`read`: the file, which is in ``out`` already if its type is the model's."""
        target = out if self._staging is None else self._staging
        room = target.reshape(-1).view(np.uint8)
        try:
            size, _, count = _core.read_file(picture.path, picture.slot * self._bytes, room)
        except (OSError, ValueError) as error:
            raise FeedError(picture.path, getattr(error, "strerror", None) or str(error)) from error
        if size != picture.size or count != len(room):
            raise FeedError(picture.path, f"it had {picture.size:,} bytes a moment ago and has {size:,} now")

    def widen(self, out: NDArray[Any]) -> None:
        """The second half of :meth:`read`: bring what was loaded into the model's type."""
        if self._staging is not None:
            np.copyto(out, self._staging)


def _bins_in(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".bin") and not entry.name.startswith("."):
                yield entry.path


def _single(path: str) -> _Bin:
    return _Bin(path, (stem(path),))


def listed_in(info: str) -> tuple[list[str], tuple[int, int] | None]:
    """Paths that an info file of bins lists, and the one size ``(H, W)`` of all of them; ``None`` of none.

    Raises:
        OSError: it cannot be read.
        ValueError: lines of something else, bins listed twice or of several sizes.
    """
    paths: dict[str, None] = {}
    sizes: set[tuple[int, int]] = set()
    with open(info, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            if not fields:
                continue
            try:
                _, name, width, height = fields
                sizes.add((int(height), int(width)))
            except ValueError:
                raise ValueError(f"{info}, line {number}: expected 'index path width height', got {line!r}") from None
            if not name.endswith(".bin"):
                raise ValueError(f"{info}, line {number}: {name} is no .bin; pspfast preprocess makes bins of pictures")
            path = os.path.abspath(name)
            if not os.path.isabs(name) and not os.path.exists(path):
                path = os.path.join(os.path.dirname(info), name)
            if path in paths:
                raise ValueError(f"{info}, line {number}: {name} is listed twice")
            paths[path] = None
    if len(sizes) > 1:
        raise ValueError(f"{info}: bins of {len(sizes)} sizes, {', '.join(f'{w}x{h}' for h, w in sorted(sizes)[:3])}")
    return list(paths), next(iter(sizes), None)


def _picture_shape(source: str, taken: TensorSpec, canvas: tuple[int, int] | None) -> tuple[int, ...]:
    """Shape of one picture as the model takes it, at the size that the bins are said to have."""
    shape = picture_shape(taken, canvas)
    if len(shape) == 3:
        at = 0 if is_channels_last(shape, taken.dtype) else 1
        sides = (shape[at], shape[at + 1])
        if canvas is not None and sides != canvas:
            raise ValueError(
                f"{source}: pictures of {canvas[1]}x{canvas[0]}, and the model takes {sides[1]}x{sides[0]} "
                "(width x height)"
            )
    known = tuple(side for side in shape if side is not None)
    if len(known) != len(shape):
        raise ValueError(f"{source}: the model takes {taken}, of any size, and nothing says that of these bins")
    return known


def _check_layout(
    source: str, shape: tuple[int, ...], taken: TensorSpec, manifest: Manifest | None, told: BinLayout | None
) -> None:
    """Refuse bins that may have their channels first for a model of floats that has them last: sizes are the same."""
    if taken.dtype == "uint8" or len(shape) != 3 or not is_channels_last(shape, taken.dtype):
        if told == "nhwc" and len(shape) == 3 and not is_channels_last(shape, taken.dtype):
            raise ValueError(f"{source}: --bin-layout says that channels are last, and the model takes {taken}")
        return
    if manifest is not None:
        told = "nhwc" if manifest.parameters.get("layout") == "NHWC" else "nchw"
    if told == "nhwc":
        return
    advice = "export it with its channels first (tf2onnx: --inputs-as-nchw)"
    if told == "nchw":
        raise ValueError(
            f"{source}: bins with their channels first, and the model takes {taken}, with its channels last; {advice}"
        )
    raise ValueError(
        f"{source}: nothing says whether these bins have their channels first, as pspfast preprocess and the guide's "
        f"script make them, or last, as the model takes them ({taken}). If they are last, --bin-layout nhwc; else "
        f"{advice}"
    )


def _sizes(bins: Iterable[_Bin]) -> tuple[dict[str, tuple[int, int]], list[tuple[str, str]]]:
    """Size and time of each file, and why for the pictures of those that are not there."""
    sizes: dict[str, tuple[int, int]] = {}
    failures: list[tuple[str, str]] = []
    for one in bins:
        try:
            found = os.stat(one.path)
        except OSError as error:
            failures += [(name, f"{one.path}: {error.strerror}") for name in one.names]
        else:
            sizes[one.path] = (found.st_size, found.st_mtime_ns)
    return sizes, failures


def _check_type(source: str, dtype: str, taken: TensorSpec) -> None:
    if dtype == taken.dtype or dtype in _WIDENED.get(taken.dtype, ()):
        return
    if taken.dtype == "uint8":
        advice = "it normalizes pictures itself: for these bins export it with --input float32"
    elif taken.dtype in PREPROCESSED:
        advice = f"pspfast preprocess --dtype {taken.dtype} makes bins for it"
    else:
        advice = f"pspfast preprocess makes bins of {' and '.join(PREPROCESSED)} only: export it for one of these"
    raise ValueError(f"{source}: bins of {dtype}, and the model takes {taken}; {advice}")


def _type_of(source: str, sizes: list[int], shape: tuple[int, ...], taken: TensorSpec) -> str:
    """Type of bins that nothing but their size tells: what most of them can be."""
    values = math.prod(shape)
    types = (*_WIDENED.get(taken.dtype, ()), taken.dtype)
    by_size: dict[int, str] = {values * np.dtype(one).itemsize: one for one in types}
    counted = Counter(sizes).most_common()
    for size, _ in counted[:1]:
        if size in by_size:
            return by_size[size]
    known = " or ".join(f"{size:,} ({one})" for size, one in by_size.items())
    size = counted[0][0] if counted else 0
    what = f"{source}: " + (f"most bins have {size:,} bytes" if counted else "none of the bins is there")
    what += f", and a picture for the model ({taken}) has {known}"
    if size == values and taken.dtype != "uint8":
        what += "; are these bytes that were never normalized?"
        what += " pspfast preprocess makes bins for it" if taken.dtype in PREPROCESSED else ""
    elif size and taken.dtype == "uint8" and size in (2 * values, 4 * values):
        what += "; it normalizes pictures itself: for these bins export it with --input float32"
    elif size and any(size % one == 0 for one in by_size):
        what += f"; of packed batches only their {MANIFEST} tells what is in them"
    raise ValueError(what)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
