"""Two models on the same pictures, one after the other."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pspfast.datasets import VOC, find_labels
from pspfast.export.agreement import Agreement, PictureAgreement
from pspfast.export.common_input import as_taken, assumed_orders, common_normalization, red_first
from pspfast.export.labellers import Taken
from pspfast.export.seen_outputs import SeenOutputs
from pspfast.export.sheets import Sheet, top_two_margin, write_sheet
from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.pictures.byte_canvas import ByteCanvas, border_near_mean
from pspfast.pictures.geometry import Letterbox
from pspfast.pictures.kernels import DEFAULT_SIZE, letterbox, unpad
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureError, PictureReader
from pspfast.system.files import stem
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pspfast.datasets import DataSet
    from pspfast.export.labellers import Facts, Given, Runner

__all__ = ["Debug", "ModelComparison", "Sample", "Truth", "noise"]

_MOST_8_BIT_CLASSES = 256


@dataclass(frozen=True, slots=True)
class Truth:
    """Where labels are, what they mean (see :class:`pspfast.ConfusionMatrix`), and how their files are named."""

    folder: str
    ignore_index: int | None = 255
    label_map: Mapping[int, int] | None = None
    reduce_zero_label: bool = False
    data_set: DataSet = VOC

    def labels_of(self, sample: Sample) -> str | None:
        """Path of a picture's labels; ``None`` if there are none.

        They are where the data set has them, by the picture's id; or under the picture's own name, as ``.png``.
        """
        name = os.path.basename(sample.path)
        tries = [(sample.id or name, self.data_set), (name, self.data_set), (name, VOC)]
        if self.data_set.nested:  # a single file is in the folder that its labels' folder is called by
            tries.append((os.path.join(os.path.basename(os.path.dirname(sample.path)), name), self.data_set))
        paths = (find_labels(self.folder, one, data_set) for one, data_set in tries)
        return next((path for path in paths if os.path.exists(path)), None)


@dataclass(frozen=True, slots=True)
class Debug:
    """Folder for a sheet of each picture that differs, or of every picture."""

    folder: str
    all: bool = False


def noise(size: tuple[int, int], seed: int = 0, number: int = 0) -> NDArray[np.uint8]:
    """A picture of seeded noise with structure from 1 to 64 pixels, so that it gets through to a network's features.

    Args:
        size: ``(height, width)``.
        seed, number: the same, the same picture.

    Returns:
        ``(height, width, 3)`` uint8.

    Example:
        >>> noise((2, 2), seed=1).shape, (noise((9, 9), 1) == noise((9, 9), 1)).all()
        ((2, 2, 3), np.True_)
    """
    height, width = size
    rng = np.random.default_rng([seed, number])
    total = np.full((height, width, 3), 115.0)
    for cell, strength in ((64, 45), (16, 35), (4, 20), (1, 10)):
        coarse = strength * rng.standard_normal((-(-height // cell), -(-width // cell), 3))
        total += coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    picture: NDArray[np.uint8] = np.clip(total, 0, 255).astype(np.uint8)
    return picture


class Sample(NamedTuple):
    """A picture to compare, with its id in the data set; of noise if it has no path."""

    name: str
    path: str
    seed: int = 0
    number: int = 0
    id: str = ""


class _Prepared(NamedTuple):
    """A picture as it is fed."""

    sample: Sample
    geometry: Letterbox
    taken: Taken


class ModelComparison:
    """Checks that two models can be compared, and keeps what was found so far."""

    def __init__(
        self,
        reference: Runner,
        model: Runner,
        shape: tuple[int, int] | None,
        truth: Truth | None,
        debug: Debug | None,
        *,
        own_input: bool,
        max_pixels: int,
    ) -> None:
        self._max_pixels = max_pixels
        self._reference, self._model = reference, model
        self._truth, self._debug, self._own_input = truth, debug, own_input
        facts = reference.facts, model.facts
        self._remarks: list[str] = []
        self._size = self._common_size(facts, shape)
        self._normalization, assumed = common_normalization(facts)
        self._remarks += assumed
        self._num_classes = self._common_classes(facts)
        self._takes_bytes = any(one.input == "uint8" for one in facts)
        self._takes_halves = any(one.input == "float16" for one in facts)
        self._colours = next((one.palette for one in facts if one.palette), ())
        self._pictures: list[PictureAgreement] = []
        self._faults: list[tuple[str, str]] = []
        self._matrices: tuple[ConfusionMatrix, ConfusionMatrix] | None = None
        self._labelled = self._unlabelled = 0
        self._sides = (SeenOutputs(), SeenOutputs())
        self._sheets: list[str] = []
        self._sheet_names: Counter[str] = Counter()

    # -- can they be compared? --

    def _common_size(self, facts: tuple[Facts, Facts], shape: tuple[int, int] | None) -> tuple[int, int]:
        sizes = [(one.name, one.size) for one in facts if one.size is not None]
        if shape is not None:
            sizes.append(("--shape", shape))
        if len({size for _, size in sizes}) > 1:
            texts = [f"{width}x{height} ({name})" for name, (height, width) in sizes]
            raise ValueError(f"these are models for different pictures: {', '.join(texts)}; they cannot be compared")
        if sizes:
            return sizes[0][1]
        self._remarks.append(
            f"no model tells the size of its pictures; {DEFAULT_SIZE[1]}x{DEFAULT_SIZE[0]} was taken (--shape)"
        )
        return DEFAULT_SIZE

    def _common_classes(self, facts: tuple[Facts, Facts]) -> int | None:
        known = [(one.name, one.num_classes) for one in facts if one.num_classes is not None]
        if len({count for _, count in known}) > 1:
            _refuse_classes(known)
        first, second = facts
        if first.classes and second.classes and first.classes != second.classes:
            self._remarks.append("the classes have other names in the one than in the other")
        hashes = first.checkpoint_sha256, second.checkpoint_sha256
        if all(hashes) and hashes[0] != hashes[1]:
            short = " and ".join(f"{one[:12]}..." for one in hashes)
            self._remarks.append(f"they are of different checkpoints by what they say of themselves (sha256 {short})")
        return known[0][1] if known else None

    # -- pictures --

    def prepare(self, sample: Sample, reader: PictureReader) -> _Prepared:
        """Read a picture and letterbox it."""
        image = reader.read(sample.path).pixels if sample.path else noise(self._size, sample.seed, sample.number)
        geometry = Letterbox.fit((image.shape[0], image.shape[1]), self._size)
        pixels = None
        if self._takes_bytes or self._debug is not None:
            pixels = self._canvas(image, geometry)
        mean, std, _ = red_first(self._normalization)
        source = image if self._own_input or not self._takes_bytes or pixels is None else pixels
        tensor = letterbox(source, self._size, mean=mean, std=std, stats="exact", swap_channels=True, dtype=np.float32)
        if self._takes_halves and not self._own_input:
            tensor = tensor.astype(np.float16).astype(np.float32)
        return _Prepared(sample, geometry, Taken(tensor, pixels))

    def _canvas(self, image: NDArray[np.uint8], geometry: Letterbox) -> NDArray[np.uint8]:
        """The letterboxed picture in bytes, ``(H, W, 3)``, blue first; round it what is nearest to the mean."""
        canvas = np.empty((*self._size, 3), np.uint8)
        border = border_near_mean(self._normalization.mean, to_rgb=self._normalization.to_rgb)
        ByteCanvas(self._size).fill(canvas, image, geometry, border)
        return canvas

    # -- comparing --

    def compare(self, group: Sequence[_Prepared], progress: Progress) -> list[str]:
        """Compare a batch; returns what went wrong with single pictures."""
        if not group:
            return []
        told: list[str] = []
        expected, found = (
            runner.run([as_taken(one.taken, runner.facts, self._normalization) for one in group])
            for runner in (self._reference, self._model)
        )
        for prepared, wanted, given in zip(group, expected, found, strict=True):
            told += self._compare(prepared, wanted, given)
            progress.advance()
        return told

    def _compare(self, prepared: _Prepared, reference: Given, model: Given) -> list[str]:
        for given, runner in ((reference, self._reference), (model, self._model)):
            self._check_given(given, runner.facts.name)
        (top, left), (height, width) = prepared.geometry.crop()
        inside = np.s_[..., top : top + height, left : left + width]
        ours, theirs = reference.labels[inside], model.labels[inside]
        logits = [None if one.logits is None else one.logits[inside] for one in (reference, model)]
        different = ours != theirs
        count = int(np.count_nonzero(different))
        margin: float | None = 0.0
        judge = logits[0] if logits[0] is not None else logits[1]
        if count:
            margin = None if judge is None else _largest_gap(judge, ours, theirs, different, logits[0] is not None)
        for side, labels_there, given in zip(self._sides, (ours, theirs), (reference, model), strict=True):
            side.look_at(labels_there, None if given.logits is None else given.logits[inside])
        self._pictures.append(
            PictureAgreement(prepared.sample.name, ours.size, count, margin, _largest_difference(*logits))
        )
        labels, told = self._score(prepared, reference, model)
        if self._debug is not None and (count or self._debug.all):
            self._draw(self._debug, prepared, ours, theirs, judge, labels)
        return told

    def _check_given(self, given: Given, name: str) -> None:
        if given.labels.shape != self._size:
            height, width = given.labels.shape
            raise ValueError(f"{name} gives masks of {width}x{height} for pictures of {self._size[1]}x{self._size[0]}")
        if given.logits is None:
            return
        if self._num_classes is None:
            self._num_classes = len(given.logits)
        if len(given.logits) != self._num_classes:
            _refuse_classes([(name, len(given.logits)), ("the other, or its metadata,", self._num_classes)])

    def _score(self, prepared: _Prepared, reference: Given, model: Given) -> tuple[NDArray[Any] | None, list[str]]:
        """Count a picture against its labels, and give them, if it has any."""
        truth, sample = self._truth, prepared.sample
        if truth is None:
            return None, []
        path = truth.labels_of(sample)
        if path is None:
            self._unlabelled += 1
            return None, []
        if self._matrices is None:
            if self._num_classes is None:
                raise ValueError("neither model tells how many classes there are, which mIoU needs")
            options = {"label_map": truth.label_map, "reduce_zero_label": truth.reduce_zero_label}
            self._matrices = (
                ConfusionMatrix(self._num_classes, truth.ignore_index, **options),  # type: ignore[arg-type]
                ConfusionMatrix(self._num_classes, truth.ignore_index, **options),  # type: ignore[arg-type]
            )
        try:
            wide = self._matrices[0].num_classes > _MOST_8_BIT_CLASSES
            labels = read_labels(path, wide=wide, max_pixels=self._max_pixels).pixels
            if labels.shape != prepared.geometry.picture:
                (height, width), size = prepared.geometry.picture, labels.shape
                raise PictureError(path, f"the labels are {size[1]}x{size[0]}, the picture is {width}x{height}")
        except PictureError as error:
            self.fault(sample.name, str(error))
            return None, [f"{sample.name}: {error}"]
        for matrix, given in zip(self._matrices, (reference, model), strict=True):
            matrix.update_letterboxed(given.labels, labels, prepared.geometry)
        self._labelled += 1
        return labels, []

    def _draw(
        self,
        debug: Debug,
        prepared: _Prepared,
        reference: NDArray[Any],
        model: NDArray[Any],
        logits: NDArray[np.float32] | None,
        labels: NDArray[Any] | None,
    ) -> None:
        shown = prepared.taken.pixels
        assert shown is not None
        one = self._pictures[-1]
        (top, left), (height, width) = prepared.geometry.crop()
        name = stem(one.name) or "picture"
        self._sheet_names[name] += 1
        if self._sheet_names[name] > 1:  # of the same name in another folder
            name = f"{name}-{self._sheet_names[name]}"
        path = os.path.join(debug.folder, f"{name}.png")
        margin = "" if one.margin is None else f", largest margin {one.margin:.2g}"
        caption = f"{os.path.basename(one.name)}: {one.different:,} of {one.pixels:,} pixels differ{margin}"
        truth = None
        if labels is not None:
            back = Letterbox((height, width), prepared.geometry.picture, 1.0, prepared.geometry.picture, (0, 0))
            truth = unpad(labels, back)
        sheet = Sheet(
            caption,
            shown[top : top + height, left : left + width],
            reference,
            model,
            None if logits is None or len(logits) < 2 else top_two_margin(logits),
            truth,
        )
        write_sheet(path, sheet, self._colours)
        self._sheets.append(path)

    # -- the end --

    def fault(self, name: str, reason: str) -> None:
        """Note what could not be compared or scored."""
        self._faults.append((name, reason))

    def agreement(self) -> Agreement:
        """What was found."""
        remarks = list(self._remarks)
        for side, what in zip(self._sides, ("reference", "model"), strict=True):
            remarks += side.remarks(what)
        if any(one.different for one in self._pictures):  # agreement proves an assumption
            remarks += assumed_orders((self._reference.facts, self._model.facts))
        miou = None
        if self._matrices is not None and self._labelled:
            if self._matrices[0].invalid_labels:
                remarks.append(
                    f"{self._matrices[0].invalid_labels:,} pixels are labelled as no class and count nowhere in mIoU"
                )
            first, second = (matrix.miou() for matrix in self._matrices)
            if math.isnan(first) or math.isnan(second):
                remarks.append("there is no mIoU: no pixel is labelled as a class")
            else:
                miou = first, second
        if self._unlabelled:
            remarks.append(f"{self._unlabelled} of {len(self._pictures)} pictures have no labels; mIoU is without them")
        return Agreement(
            self._reference.facts.name,
            self._model.facts.name,
            tuple(self._pictures),
            miou,
            self._labelled if miou is not None else 0,
            tuple(self._faults),
            tuple(remarks),
            tuple(self._sheets),
        )


def _largest_gap(
    logits: NDArray[np.float32],
    reference: NDArray[Any],
    model: NDArray[Any],
    different: NDArray[np.bool_],
    are_of_reference: bool,
) -> float:
    """How far the class of whom the scores are of was ahead of the other's, at most."""
    here, there = (reference, model) if are_of_reference else (model, reference)
    winners, others = here[different].astype(np.int64), there[different].astype(np.int64)
    if min(winners.min(), others.min()) < 0 or max(winners.max(), others.max()) >= len(logits):
        return math.inf
    scores = logits[:, different]
    column = np.arange(scores.shape[1])
    with np.errstate(invalid="ignore"):
        gaps = scores[winners, column] - scores[others, column]
    return float(np.abs(gaps).max()) if np.isfinite(gaps).all() else math.inf


def _largest_difference(first: NDArray[np.float32] | None, second: NDArray[np.float32] | None) -> float | None:
    if first is None or second is None:
        return None
    with np.errstate(invalid="ignore"):
        differences = np.abs(first - second)
    largest = float(differences.max())
    return largest if math.isfinite(largest) else math.inf


def _refuse_classes(known: Sequence[tuple[str, int]]) -> None:
    texts = [f"{name} tells {count} classes apart" for name, count in known]
    raise ValueError(f"{', '.join(texts)}; they cannot be compared")
