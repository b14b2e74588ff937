"""Whether two models label pictures alike: what ``pspfast verify`` does, as a function.

Runtimes add up in different orders, so scores differ in their last digits, and a pixel whose two best classes are that
close may get the other one. Anything beyond that is another network. So two numbers decide: how many pixels are equal,
and how far ahead the winner was where they are not.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import pspfast
from pspfast.datasets import find_labels, find_picture, pictures_in, read_split
from pspfast.export.known import find as known_checkpoint
from pspfast.export.labellers import OnnxRunner, Preparation, Taken, TorchRunner
from pspfast.export.sheets import Sheet, top_two_margin, write_sheet
from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.pictures.geometry import Letterbox
from pspfast.pictures.kernels import DEFAULT_SIZE, IMAGENET_MEAN, IMAGENET_STD, letterbox, unpad
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import MAX_PIXELS, PictureError, PictureReader
from pspfast.system.files import folder_for_output, stem
from pspfast.system.libraries import need
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pspfast.export.labellers import Facts, Given, Runner

__all__ = ["MAX_MARGIN", "MIN_AGREEMENT", "Agreement", "Debug", "PictureAgreement", "Truth", "noise", "verify"]

MIN_AGREEMENT = 0.9995
"""Share of equal pixels that exact exports reach: 0.9999 and more was measured."""
MAX_MARGIN = 1e-2
"""Margin under which a pixel may differ: scores of exact exports were at most 4e-4 apart."""

_DEFAULT_PREPARATION = Preparation(IMAGENET_MEAN, IMAGENET_STD, True)
_DEFAULT_NOISE = 4
_MOST_8_BIT_CLASSES = 256


@dataclass(frozen=True, slots=True)
class PictureAgreement:
    """How alike a picture was labelled; of its own pixels in the canvas, not of the padding round them.

    Attributes:
        name: of the picture.
        pixels: how many there are.
        different: how many are labelled differently.
        margin: the largest among those: how far the reference's class was ahead of the model's, in the reference's
            scores (in the model's if only it has some). Never less than the margin of the two best classes. 0 if no
            pixel differs, ``None`` if there are no scores, infinite if one label is no class.
        logit_difference: the largest between scores; infinite if one is not finite; ``None`` unless both have some.
    """

    name: str
    pixels: int
    different: int
    margin: float | None
    logit_difference: float | None

    @property
    def equal(self) -> float:
        """Share of pixels that are labelled alike."""
        return 1 - self.different / self.pixels


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two models label pictures.

    Attributes:
        reference, model: which.
        pictures: of each picture.
        miou: of the reference and of the model, 0 to 1, over the pictures that have labels; ``None`` if none has.
        labelled: how many have.
        faults: ``(picture, reason)`` of what could not be compared, or not scored.
        remarks: what has to be said beside the numbers; mostly nothing.
        sheets: debug pictures that were written.

    Example:
        >>> picture = PictureAgreement("a.jpg", pixels=10_000, different=2, margin=3e-4, logit_difference=4e-4)
        >>> found = Agreement("x.pth", "x.onnx", (picture,))
        >>> found.equal, found.complaints()
        (0.9998, [])
        >>> found.complaints(min_agreement=0.9999)
        ['99.9800 % of the pixels are equal, under 99.99 %']
    """

    reference: str
    model: str
    pictures: tuple[PictureAgreement, ...]
    miou: tuple[float, float] | None = None
    labelled: int = 0
    faults: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    sheets: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Of all pictures."""
        return sum(picture.pixels for picture in self.pictures)

    @property
    def different(self) -> int:
        """Pixels that are labelled differently."""
        return sum(picture.different for picture in self.pictures)

    @property
    def equal(self) -> float:
        """Share of all pixels that are labelled alike; NaN if there are no pictures."""
        return 1 - self.different / self.pixels if self.pictures else math.nan

    @property
    def worst(self) -> PictureAgreement | None:
        """The picture with the largest share of different pixels."""
        return min(self.pictures, key=lambda picture: picture.equal, default=None)

    @property
    def margin(self) -> float | None:
        """The largest of any pixel that differs, see :class:`PictureAgreement`; ``None`` if it is not known of all."""
        margins = [picture.margin for picture in self.pictures]
        known = [margin for margin in margins if margin is not None]
        return max(known) if known and len(known) == len(margins) else None

    @property
    def logit_difference(self) -> float | None:
        """The largest between scores."""
        return max((one.logit_difference for one in self.pictures if one.logit_difference is not None), default=None)

    def complaints(self, min_agreement: float = MIN_AGREEMENT, max_margin: float = MAX_MARGIN) -> list[str]:
        """Why the two are not the same network; empty if they are, as far as these pictures tell.

        Args:
            min_agreement: least share of equal pixels.
            max_margin: pixels that differ must have a margin under this; it is not asked where there are no scores.
        """
        if not self.pictures:
            return ["no picture was compared"]
        reasons = []
        if self.equal < min_agreement:
            reasons.append(f"{_percent(self.equal)} of the pixels are equal, under {100 * min_agreement:g} %")
        if self.logit_difference is not None and math.isinf(self.logit_difference):
            reasons.append("there are scores that are not finite")
        if self.different and self.margin is not None and not self.margin < max_margin:
            if math.isinf(self.margin):
                reasons.append("there are labels that are no class, or differ where scores are not finite")
            else:
                reasons.append(
                    f"a pixel differs whose class was ahead by {self.margin:.2g}, which is not under {max_margin:g}"
                )
        return reasons

    def __str__(self) -> str:
        lines = [f"reference: {self.reference}", f"model:     {self.model}"]
        worst = self.worst
        if worst is None:
            return "\n".join(lines)
        known = self.logit_difference
        rows = [
            ("pixels that are equal", f"{_percent(self.equal)} ({self.different:,} of {self.pixels:,} differ)"),
            *[("in the worst of the pictures", f"{_percent(worst.equal)} ({worst.name})")] * bool(worst.different),
            ("largest difference of scores", "not known, not both give scores" if known is None else f"{known:.2g}"),
            ("largest margin of a pixel that differs", self._margin_text()),
        ]
        if self.miou is not None:
            reference, model = (100 * score for score in self.miou)
            moved = f"{model - reference:+.2g} points" if model != reference else "the same"
            text = f"{reference:.4f} -> {model:.4f} ({moved})"
            rows.append((f"mIoU, {self.labelled} labelled picture{'s' * (self.labelled != 1)}", text))
        width = max(len(name) for name, _ in rows)
        count = len(self.pictures)
        return "\n".join(
            [*lines, "", f"{count} picture{'s' * (count != 1)} compared", *(f"  {k:{width}}  {v}" for k, v in rows)]
        )

    def to_json(self, min_agreement: float = MIN_AGREEMENT, max_margin: float = MAX_MARGIN) -> str:
        """Everything, for programs; what is not finite or not known is ``null``."""
        worst = self.worst
        complaints = self.complaints(min_agreement, max_margin)
        fields = {
            "format": "pspfast agreement",
            "version": 1,
            "pspfast": pspfast.__version__,
            "reference": self.reference,
            "model": self.model,
            "holds": not complaints and not self.faults,
            "complaints": complaints,
            "min_agreement": min_agreement,
            "max_margin": max_margin,
            "pixels": self.pixels,
            "different": self.different,
            "equal": _finite(self.equal),
            "worst": None if worst is None else {"name": worst.name, "equal": worst.equal},
            "margin": _finite(self.margin),
            "logit_difference": _finite(self.logit_difference),
            "mIoU": None
            if self.miou is None
            else {"reference": self.miou[0], "model": self.miou[1], "pictures": self.labelled},
            "pictures": [
                {
                    "name": one.name,
                    "pixels": one.pixels,
                    "different": one.different,
                    "equal": one.equal,
                    "margin": _finite(one.margin),
                    "logit_difference": _finite(one.logit_difference),
                }
                for one in self.pictures
            ],
            "faults": [{"name": name, "reason": reason} for name, reason in self.faults],
            "remarks": list(self.remarks),
            "sheets": list(self.sheets),
        }
        return json.dumps(fields, indent=1) + "\n"

    def _margin_text(self) -> str:
        if not self.different:
            return "none differs"
        if self.margin is None:
            return "not known, neither gives scores"
        return "beyond any" if math.isinf(self.margin) else f"{self.margin:.2g}"


@dataclass(frozen=True, slots=True)
class Truth:
    """Where labels are, and what they mean; see :class:`pspfast.ConfusionMatrix`."""

    folder: str
    ignore_index: int | None = 255
    label_map: Mapping[int, int] | None = None
    reduce_zero_label: bool = False


@dataclass(frozen=True, slots=True)
class Debug:
    """Folder for a sheet of each picture that differs, or of every picture."""

    folder: str
    all: bool = False


def verify(
    model: str | Runner | Any,
    reference: str | Runner | Any | None = None,
    *,
    checkpoint: str | None = None,
    config: str | None = None,
    trust: bool = False,
    images: Sequence[str] = (),
    split: str | None = None,
    limit: int | None = None,
    noise_pictures: int = _DEFAULT_NOISE,
    seed: int = 0,
    truth: Truth | None = None,
    shape: tuple[int, int] | None = None,
    own_input: bool = False,
    batch: int = 1,
    debug: Debug | None = None,
    max_pixels: int = MAX_PIXELS,
    quiet: bool = True,
) -> Agreement:
    """Run two models on the same pictures and compare what they make of them. One batch is in memory at a time.

    Pictures are letterboxed to the models' size and normalized as the models' metadata say; where neither has metadata,
    as published for PSPNet. Both models get the same numbers: where one of them takes halves, the other one gets them
    rounded to halves too, and where one takes bytes, the other one's input is made from these bytes, the padding being
    the bytes next to the mean. So what differs is the models' doing.

    Args:
        model: what is examined: an ONNX file, an ``onnx.ModelProto``, or a runner.
        reference: what it is compared with, of the same kinds.
        checkpoint: in place of ``reference``: a path, a URL or a known name; run in PyTorch. If neither is given, the
            checkpoint and config that the model's metadata name, which must be the same file.
        config: mmsegmentation config for the checkpoint; what the model's metadata name if left out.
        trust: load a checkpoint that can run code.
        images: picture files, and folders of them.
        split: file that names the pictures to take from the folder, which is then the only one in ``images``.
        limit: take no more pictures than this.
        noise_pictures, seed: if there are no ``images``: how many pictures of seeded noise to make.
        truth: labels of the pictures, for what becomes of mIoU.
        shape: ``(H, W)`` if the models do not tell.
        own_input: give each model its own input instead of the same numbers: what the input's type costs is in the
            result then.
        batch: pictures at once for models that take any number.
        debug: where to draw pictures that differ.
        max_pixels: larger pictures are refused.
        quiet: no progress on standard error.

    Raises:
        ValueError: models that cannot be compared, or options that contradict each other.
        OSError: a model, checkpoint, folder or split that cannot be read; an output that cannot be written.
        RuntimeError: a model that fails.
        MissingExtra: a library is not installed.
    """
    if reference is not None and checkpoint is not None:
        raise ValueError("two references, a model and a checkpoint; give one")
    if config is not None and reference is not None:
        raise ValueError("a config is for a checkpoint, and the reference is a model")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if batch < 1 or (not images and noise_pictures < 1):
        raise ValueError(f"batch and noise_pictures must be at least 1, got {batch} and {noise_pictures}")
    pictures = _pictures(images, split, limit)
    if truth is not None:
        _check_truth(truth, pictures)
    if debug is not None:
        _check_debug(debug, pictures, truth)
    model_runner = _as_runner(model)
    if reference is not None:
        reference_runner = _as_runner(reference)
    else:
        reference_runner = _checkpoint_runner(model_runner, checkpoint, config, trust=trust, quiet=quiet)
    comparison = _Comparison(
        reference_runner, model_runner, shape, truth, debug, own_input=own_input, max_pixels=max_pixels
    )
    subjects = pictures or [_Subject(f"noise {number}", "", seed, number) for number in range(noise_pictures)]
    together = max(one.facts.batch or batch for one in (model_runner, reference_runner))
    reader = PictureReader(max_pixels)
    with Progress("pictures", len(subjects), quiet=quiet) as progress:
        for start in range(0, len(subjects), together):
            group = []
            for subject in subjects[start : start + together]:
                try:
                    group.append(comparison.prepare(subject, reader))
                except PictureError as error:
                    comparison.fault(subject.name, error.strerror or str(error))
                    progress.say(str(error))
                    progress.advance()
            for text in comparison.compare(group, progress):
                progress.say(text)
    return comparison.agreement()


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


class _Subject(NamedTuple):
    """A picture to compare; of noise if it has no path."""

    name: str
    path: str
    seed: int = 0
    number: int = 0


class _Prepared(NamedTuple):
    """A picture as it is fed."""

    subject: _Subject
    geometry: Letterbox
    taken: Taken


class _Comparison:
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
        self._preparation = self._common_preparation(facts)
        self._num_classes = self._common_classes(facts)
        self._takes_bytes = any(one.input == "uint8" for one in facts)
        self._takes_halves = any(one.input == "float16" for one in facts)
        self._colours = next((one.palette for one in facts if one.palette), ())
        self._pictures: list[PictureAgreement] = []
        self._faults: list[tuple[str, str]] = []
        self._matrices: tuple[ConfusionMatrix, ConfusionMatrix] | None = None
        self._labelled = self._unlabelled = 0
        self._classes_seen: set[int] = set()
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

    def _common_preparation(self, facts: tuple[Facts, Facts]) -> Preparation:
        known = [(one.name, one.preparation) for one in facts if one.preparation is not None]
        if len({preparation for _, preparation in known}) > 1:
            texts = [f"{name} has {_preparation_text(preparation)}" for name, preparation in known]
            raise ValueError(
                f"the pictures are normalized differently for the two: {', '.join(texts)}; they cannot be compared"
            )
        if known:
            return known[0][1]
        self._remarks.append(
            f"no model tells how its pictures are normalized; {_preparation_text(_DEFAULT_PREPARATION)} was taken"
        )
        return _DEFAULT_PREPARATION

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

    def prepare(self, subject: _Subject, reader: PictureReader) -> _Prepared:
        """Read a picture and letterbox it."""
        image = reader.read(subject.path).pixels if subject.path else noise(self._size, *subject[2:])
        geometry = Letterbox.fit((image.shape[0], image.shape[1]), self._size)
        pixels = None
        if self._takes_bytes or self._debug is not None:
            pixels = self._canvas(image, geometry)
        mean, std, to_rgb = self._preparation
        source = image if self._own_input or not self._takes_bytes or pixels is None else pixels
        tensor = letterbox(
            source, self._size, mean=mean, std=std, stats="exact", swap_channels=to_rgb, dtype=np.float32
        )
        if self._takes_halves and not self._own_input:
            tensor = tensor.astype(np.float16).astype(np.float32)
        return _Prepared(subject, geometry, Taken(tensor, pixels))

    def _canvas(self, image: NDArray[np.uint8], geometry: Letterbox) -> NDArray[np.uint8]:
        """The letterboxed picture in bytes, ``(H, W, 3)``, blue first; round it what is nearest to the mean."""
        planes = letterbox(
            image, self._size, mean=(0, 0, 0), std=(1, 1, 1), stats="exact", swap_channels=False, dtype=np.float32
        )
        (top, left), (height, width) = geometry.crop()
        mean = self._preparation.mean[::-1] if self._preparation.to_rgb else self._preparation.mean
        canvas = np.empty((*self._size, 3), np.uint8)
        canvas[:] = np.clip(np.round(mean), 0, 255).astype(np.uint8)
        inside = np.s_[top : top + height, left : left + width]
        canvas[inside] = planes.transpose(1, 2, 0)[inside].astype(np.uint8)
        return canvas

    # -- comparing --

    def compare(self, group: Sequence[_Prepared], progress: Progress) -> list[str]:
        """Compare a batch; returns what went wrong with single pictures."""
        if not group:
            return []
        told: list[str] = []
        expected, found = (runner.run([one.taken for one in group]) for runner in (self._reference, self._model))
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
        self._classes_seen.update(np.unique(ours).tolist())
        self._pictures.append(
            PictureAgreement(prepared.subject.name, ours.size, count, margin, _largest_difference(*logits))
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
        truth, subject = self._truth, prepared.subject
        if truth is None:
            return None, []
        path = find_labels(truth.folder, os.path.basename(subject.path))
        if not os.path.exists(path):
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
            self.fault(subject.name, str(error))
            return None, [f"{subject.name}: {error}"]
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
        if len(self._pictures) and len(self._classes_seen) == 1:
            (only,) = self._classes_seen
            remarks.append(f"the reference labels every pixel as class {only}; agreement says little then")
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


def _as_runner(model: Any) -> Runner:
    if hasattr(model, "run") and hasattr(model, "facts"):
        runner: Runner = model
        return runner
    return OnnxRunner(model)


def _checkpoint_runner(
    model: Runner, checkpoint: str | None, config: str | None, *, trust: bool, quiet: bool
) -> TorchRunner:
    need("torch")
    from pspfast.export.networks import load_network

    metadata, sha256 = getattr(model, "metadata", None), None
    if checkpoint is None:
        if metadata is None:
            raise ValueError(
                f"{model.facts.name} does not say what it was exported from; give --checkpoint, or a second model"
            )
        checkpoint, sha256 = metadata.checkpoint, metadata.checkpoint_sha256 or None
        if not (os.path.exists(checkpoint) or "://" in checkpoint or known_checkpoint(checkpoint)):
            raise FileNotFoundError(
                2,
                f"no such file here; {model.facts.name} says that it is from it. Give its place (--checkpoint)",
                checkpoint,
            )
    if config is None and metadata is not None:
        config = metadata.config or None
    return TorchRunner(load_network(checkpoint, config, trust=trust, sha256=sha256, quiet=quiet), checkpoint)


def _pictures(images: Sequence[str], split: str | None, limit: int | None) -> list[_Subject]:
    paths: list[str] = []
    if split is not None:
        if len(images) != 1 or not os.path.isdir(images[0]):
            raise ValueError(f"the split {split} names pictures in a folder; give that folder, and no other pictures")
        paths = [os.path.join(images[0], find_picture(images[0], name)) for name in read_split(split).ids]
    else:
        for path in images:
            if os.path.isdir(path):
                names = pictures_in(path)
                if not names:
                    raise ValueError(f"{path} has no pictures in it")
                paths += [os.path.join(path, name) for name in names]
            else:
                paths.append(path)
    return [_Subject(path, path) for path in dict.fromkeys(paths)][:limit]


def _check_truth(truth: Truth, pictures: Sequence[_Subject]) -> None:
    if not pictures:
        raise ValueError("labels are of pictures, and noise has none; give the pictures")
    if not os.path.isdir(truth.folder):
        raise ValueError(f"{truth.folder} is no folder; expected one of label pictures")
    if not any(os.path.exists(find_labels(truth.folder, os.path.basename(one.path))) for one in pictures):
        raise ValueError(
            f"{truth.folder} has labels for none of the {len(pictures)} pictures; expected their names with .png"
        )


def _check_debug(debug: Debug, pictures: Sequence[_Subject], truth: Truth | None) -> None:
    folder = folder_for_output(debug.folder)
    inputs = {os.path.dirname(one.path) or "." for one in pictures} | ({truth.folder} if truth is not None else set())
    if any(os.path.samefile(folder, one) for one in inputs if os.path.exists(one)):
        raise ValueError(
            f"{debug.folder} has the pictures or labels, which debug pictures would replace; choose another"
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


def _preparation_text(preparation: Preparation) -> str:
    mean, std = (" ".join(f"{value:g}" for value in values) for values in preparation[:2])
    return f"mean {mean}, std {std}, {'red' if preparation.to_rgb else 'blue'} first"


def _percent(share: float) -> str:
    return f"{math.floor(share * 1e6 + 1e-6) / 1e4:.4f} %"  # 100 is said of all of them only


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
