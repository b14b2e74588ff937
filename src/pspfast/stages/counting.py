"""Masks and labels to entries of a ledger, and entries to a result.

Serves ``pspfast postprocess``, which reads the masks from files, and ``pspfast run``, which has them from the model.
"""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.datasets import palette
from pspfast.formats.ledger import Entry, add_entries
from pspfast.formats.result import Result
from pspfast.metrics.class_pairs import PairCounter, Pairs
from pspfast.pictures.kernels import unpad
from pspfast.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pspfast.formats.ledger import LedgerWriter, Subject
    from pspfast.metrics.confusion import ConfusionMatrix
    from pspfast.pictures.geometry import CropRule, Letterbox
    from pspfast.system.terminal import Progress

__all__ = [
    "Outcome", "Rules", "Tally", "check_total", "classes_of_picture", "digest", "is_own_mask", "no_classes",
    "save_mask", "size_fault", "void_of", "write_mask",
]  # fmt: skip

_MOST_8_BIT_CLASSES = 256
_COMMON_LABELS = 256
_MOST_WAITING = 256
# How masks begin: size, 256 colours, pixels at the quickest level of compression; or 16-bit grey.
_MASK_HEAD_BYTES = 1024
_PNG = rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR.{8}"
_MASK_8_BIT = re.compile(_PNG + rb"\x08\x03\0\0\0.{4}\0\0\x03\0PLTE.{768}.{8}IDAT\x78\x01", re.DOTALL)
_MASK_16_BIT = re.compile(_PNG + rb"\x10\0\0\0\0.{8}IDAT", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rules:
    """What pixels are counted as.

    Attributes:
        subject: of the ledger.
        label_map, reduce_zero_label: see :class:`pspfast.ConfusionMatrix`.
    """

    subject: Subject
    label_map: Mapping[int, int] | None = None
    reduce_zero_label: bool = False

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.subject.classes)

    @property
    def has_wide_labels(self) -> bool:
        """Whether label pictures may have 16 bits."""
        return self.num_classes > _MOST_8_BIT_CLASSES

    def matrix(self) -> ConfusionMatrix:
        """An empty one.

        Raises:
            ValueError: rules that contradict each other.
        """
        return self.subject.matrix(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label)

    def counter(self) -> PairCounter:
        """A new one."""
        labels = max(self.num_classes + self.reduce_zero_label, max(self.label_map or {}, default=0) + 1)
        return PairCounter(labels, self.subject.ignore_index)

    def result(self, tally: Tally, strays: Sequence[str] = ()) -> Result:
        """The scores of what was counted."""
        options = {
            "geometry": self.subject.geometry,
            "ignore_index": self.subject.ignore_index,
            "label_map": {str(old): new for old, new in (self.label_map or {}).items()},
            "reduce_zero_label": self.reduce_zero_label,
        }
        return Result.of(
            tally.matrix,
            self.subject.classes,
            tally.counted,
            left_out=tally.left_out,
            remarks=tally.remarks,
            strays=tuple(strays),
            source=tuple(options.items()),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a picture.

    Attributes:
        entry: ``None`` if it could not be counted, or was not to be.
        kind: what its mask was, in words.
        failure: why it could not be.
        kept: whether the entry was in the ledger before.
        is_unlike: whether it could not be because its dump is no mask, or could be several things.
    """

    entry: Entry | None
    kind: str
    failure: str
    kept: bool = False
    is_unlike: bool = False


def size_fault(path: str, labels: NDArray[Any], geometry: Letterbox) -> str:
    """What is wrong with labels that are not of their picture's size; empty if they are."""
    size = labels.shape
    if size == geometry.picture:
        return ""
    height, width = geometry.picture
    return f"{path}: the labels are {size[1]}x{size[0]}, the picture is {width}x{height}"


def digest(
    labels: bytes, mask: NDArray[Any], geometry: Letterbox, rule: CropRule, *, pairs: Pairs | None = None
) -> str:
    """Of everything the pairs follow from, 128 bits. Equal labels of different integer types have one digest.

    Args:
        labels: the label picture's file.
        mask: ``(H, W)`` integers, letterboxed; only what is taken of it is looked at.
        geometry, rule: where that is.
        pairs: of the picture, if they are known; they may tell that all of it fits a byte.
    """
    import hashlib  # 4 ms, for ledgers only

    (top, left), (height, width) = geometry.crop(rule)
    part = mask[top : top + height, left : left + width]
    small = part.astype(np.uint8)  # four times less to hash, nearly always
    if not (_are_bytes(pairs, geometry, rule) or part.dtype == np.uint8) and (small != part).any():
        small = part.astype(np.int64)
    content = hashlib.sha256(labels)
    content.update(small.data)
    content.update(_digest_end(str(small.dtype), geometry, rule))
    return content.hexdigest()[:32]


def _are_bytes(pairs: Pairs | None, geometry: Letterbox, rule: CropRule) -> bool:
    """Whether pairs tell that every prediction fits a byte: where each was counted once."""
    if pairs is None or geometry.crop(rule)[1] != geometry.picture:
        return False
    preds = pairs.preds.tolist()
    return bool(min(preds) >= 0 and max(preds) < 256)


@functools.lru_cache(maxsize=256)  # data sets have few sizes
def _digest_end(kind: str, geometry: Letterbox, rule: CropRule) -> bytes:
    return f"{kind} {geometry.to_json()} {rule}".encode()


def check_total(name: str, pairs: Pairs, labels: NDArray[Any]) -> None:
    """Raise RuntimeError unless every pixel is somewhere, or the kernel is wrong."""
    if pairs.total != labels.size:
        raise RuntimeError(f"{name}: {pairs.total} pixels counted of {labels.size}; please report this")


def no_classes(values: NDArray[Any], num_classes: int) -> NDArray[np.bool_]:
    """Which predictions are no class."""
    return (values < 0) | (values >= num_classes)


def void_of(num_classes: int) -> int:
    """Stands in saved masks for predictions that are no class."""
    return 255 if num_classes <= _MOST_8_BIT_CLASSES else 65_535


def classes_of_picture(
    mask: NDArray[Any], geometry: Letterbox, rule: CropRule, num_classes: int
) -> NDArray[np.uint8 | np.int32]:
    """A mask in its picture's size, with :func:`void_of` for predictions that are no class.

    Args:
        mask: ``(H, W)`` integers, letterboxed.
        geometry, rule: where the picture is in it.
        num_classes: predictions from here on, or below 0, are no class.

    Returns:
        ``(h, w)``: uint8 for up to 256 classes, which is what a large picture has room for, else int32.
    """
    # The small canvas is narrowed first, and by whole arrays: 65,535 beside uint8 is refused by newer NumPy.
    classes = mask.astype(np.uint8 if num_classes <= _MOST_8_BIT_CLASSES else np.int32)
    classes[no_classes(mask, num_classes)] = void_of(num_classes)
    return unpad(classes, geometry, rule=rule)


def save_mask(
    path: str,
    mask: NDArray[Any],
    geometry: Letterbox,
    rule: CropRule,
    num_classes: int,
    colours: bytes | None = None,
) -> None:
    """Write a mask in its picture's size; see :func:`classes_of_picture` and :func:`write_mask`.

    Raises:
        OutputError: it cannot be written.
    """
    write_mask(path, classes_of_picture(mask, geometry, rule, num_classes), num_classes, colours)


def write_mask(path: str, classes: NDArray[Any], num_classes: int, colours: bytes | None = None) -> None:
    """Write classes as a PNG with a palette; above 256 classes as 16-bit grey.

    Args:
        path: of the file.
        classes: ``(h, w)``.
        num_classes: how many there are.
        colours: RGB bytes of the palette; VOC's if left out.

    Raises:
        OutputError: it cannot be written.
    """
    from PIL import Image

    file = io.BytesIO()
    if num_classes > _MOST_8_BIT_CLASSES:
        Image.fromarray(classes.astype(np.uint16)).save(file, "PNG")
    else:
        image = Image.fromarray(classes.astype(np.uint8, copy=False))
        image.putpalette(palette() if colours is None else colours)
        image.save(file, "PNG", compress_level=1)
    write_whole(path, file.getbuffer())


def is_own_mask(path: str) -> bool:
    """Whether a file is such a picture, and not one that was drawn: other programs compress labels by another level.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_MASK_HEAD_BYTES)
    return bool(_MASK_8_BIT.match(head) or _MASK_16_BIT.match(head))


class Tally:
    """What came of the pictures so far; brought into the split's order, in which the ledger is written.

    Args:
        order: names of the pictures.
        rules: of the scores.
        writer: of the ledger, if there is one.
        progress: told of every picture.
        strict: whether the first fault stops everything.
        missing: ``(name, reason)`` of pictures that are not even tried.
        repeated: ``(name, remark)`` of what a split says twice.

    Attributes:
        counted: how many pictures are in the scores.
        kept: how many of them were in the ledger before.
        uncounted: pictures that were done without labels.
        kinds: what their masks were.
        stopped: why no more should be done; empty while it should.
    """

    def __init__(
        self,
        order: Sequence[str],
        rules: Rules,
        writer: LedgerWriter | None,
        progress: Progress,
        *,
        strict: bool = False,
        missing: Sequence[tuple[str, str]] = (),
        repeated: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._order, self._matrix = order, rules.matrix()
        self._writer, self._progress, self._strict = writer, progress, strict
        common = np.arange(_COMMON_LABELS)
        self._fine = frozenset(common[self._matrix.rows_of(common) <= self._matrix.num_classes].tolist())
        self._outcomes: dict[str, Outcome] = {}
        self._in_order = 0  # pictures from the first one on that are known
        self._missing, self._repeated = tuple(missing), tuple(repeated)
        self.counted = 0
        self._waiting: list[Entry] = []  # to be added up together, which is faster
        self.kept = 0
        self.uncounted = 0
        self.kinds: set[str] = set()
        self.stopped = ""
        self._failures: list[tuple[str, str]] = []
        self._remarks: list[tuple[str, str]] = []
        for name, reason in (*self._missing, *self._repeated):
            self.fault(name, reason)
        progress.advance(len(self._missing))

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """``(name, reason)`` of the pictures that are not in the scores."""
        return (*self._missing, *self._failures)

    @property
    def remarks(self) -> tuple[tuple[str, str], ...]:
        """``(name, what)`` of those that are, in spite of it."""
        return (*self._repeated, *self._remarks)

    def add(self, name: str, outcome: Outcome) -> None:
        """Note what came of a picture.

        Raises:
            OutputError: the ledger cannot be written.
        """
        self._outcomes[name] = outcome
        self._progress.advance()
        self._advance()

    def keep(self, name: str, entry: Entry | None) -> None:
        """Note a picture that was done before; ``progress`` knows of it already."""
        self._outcomes[name] = Outcome(entry, "", "", kept=True)
        self._advance()

    def _advance(self) -> None:
        while self._in_order < len(self._order) and self._order[self._in_order] in self._outcomes and not self.stopped:
            first = self._order[self._in_order]
            self._in_order += 1
            self._take(first, self._outcomes.pop(first))

    def fault(self, name: str, what: str) -> None:
        """Note that something is wrong, which stops a strict run."""
        if self._strict and not self.stopped:
            self.stopped = f"{name}: {what}"

    def _take(self, name: str, outcome: Outcome) -> None:
        if outcome.entry is None and not outcome.failure:
            self.uncounted += 1
            return
        if outcome.entry is None:
            self._failures.append((name, outcome.failure))
            self.fault(name, outcome.failure)
            return
        remark = self._remark(outcome.entry.pairs)
        if remark:
            self._remarks.append((name, remark))
            self.fault(name, remark)
        self.kept += outcome.kept
        if not outcome.kept:  # nobody looked closely at the others
            self.kinds.add(outcome.kind)
        if self._writer is not None and not outcome.kept:
            self._writer.add(outcome.entry)
        self.counted += 1
        self._waiting.append(outcome.entry)
        if len(self._waiting) >= _MOST_WAITING:
            self._add_up()

    @property
    def matrix(self) -> ConfusionMatrix:
        """The pixels of the pictures counted so far."""
        self._add_up()
        return self._matrix

    def _add_up(self) -> None:
        add_entries(self._matrix, self._waiting)
        self._waiting.clear()

    def _remark(self, pairs: Pairs) -> str:
        """What is wrong with a picture's values; nothing, mostly, which is found out quickly."""
        num_classes = self._matrix.num_classes
        if self._fine.issuperset(pairs.labels.tolist()) and pairs.preds.min() >= 0 and pairs.preds.max() < num_classes:
            return ""
        rows = self._matrix.rows_of(pairs.labels)
        strange = no_classes(pairs.preds, num_classes) & (rows < num_classes)
        unknown = rows > num_classes
        parts = []
        for what, chosen, values in (("predicted", strange, pairs.preds), ("labelled", unknown, pairs.labels)):
            if chosen.any():
                names = ", ".join(str(value) if value >= 0 else "out of range" for value in np.unique(values[chosen]))
                parts.append(f"{pairs.pixels[chosen].sum():,} pixels {what} as {names}")
        mapped = self._matrix.label_map or self._matrix.reduce_zero_label
        classes = f"classes are 0 to {num_classes - 1}" + ", which the label rules do not make of them" * bool(mapped)
        return "; ".join([*parts, classes]) if parts else ""
