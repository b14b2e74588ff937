"""What an evaluation found: the guide's tables, and the files that scores are kept in."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.metrics.scores import Areas, mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.metrics.confusion import ConfusionMatrix

__all__ = ["Result"]

_FORMAT, _VERSION = "pspfast result", 1
_MUCH = 0.1  # of the pixels; the outlines of objects are about a twentieth in VOC


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of a number of pictures.

    Attributes:
        classes: names, by class index.
        areas: pixels by class.
        pictures: how many were counted.
        ignored, invalid_labels, invalid_predictions: pixels that were ignored, labelled as no class, or labelled as a
            class and predicted as none (these lower the scores of their class).
        left_out: ``(name, reason)`` of pictures that are not in the scores.
        remarks: ``(name, what)`` of pictures that are, though something about them is wrong.
        strays: dumps that belong to no picture asked for.
        source: options that decide the scores, as plain values.

    Example:
        >>> matrix = pspfast.ConfusionMatrix(2)
        >>> matrix.update(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]))
        >>> result = Result.of(matrix, ("road", "sky"), pictures=1)
        >>> print(result.tables())
        per class results:
        <BLANKLINE>
        +-------+------+-------+
        | Class | IoU  | Acc   |
        +-------+------+-------+
        | road  | 50.0 | 50.0  |
        | sky   | 50.0 | 100.0 |
        +-------+------+-------+
        Summary:
        <BLANKLINE>
        +--------+------+------+-------+
        | Scope  | mIoU | mAcc | aAcc  |
        +--------+------+------+-------+
        | global | 50.0 | 75.0 | 66.67 |
        +--------+------+------+-------+
    """

    classes: tuple[str, ...]
    areas: Areas
    pictures: int
    ignored: int = 0
    invalid_labels: int = 0
    invalid_predictions: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    remarks: tuple[tuple[str, str], ...] = ()
    strays: tuple[str, ...] = ()
    source: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, matrix: ConfusionMatrix, classes: tuple[str, ...], pictures: int, **others: Any) -> Result:
        """The result of a confusion matrix."""
        return cls(
            classes,
            matrix.areas(),
            pictures,
            matrix.ignored,
            matrix.invalid_labels,
            int(matrix.invalid_predictions.sum()),
            **others,
        )

    def summary(self) -> dict[str, float]:
        """Scores over all classes, 0 to 1; classes that do not occur are left out of means."""
        areas = self.areas
        return {
            "mIoU": mean(areas.iou()),
            "mAcc": mean(areas.recall()),
            "aAcc": areas.pixel_accuracy(),
            "mDice": mean(areas.dice()),
            "fwIoU": areas.frequency_weighted_iou(),
            "kappa": areas.kappa(),
        }

    def by_class(self) -> dict[str, NDArray[np.float64]]:
        """Scores of each class, 0 to 1; NaN for classes that do not occur."""
        areas = self.areas
        return {"IoU": areas.iou(), "Acc": areas.recall(), "Dice": areas.dice(), "Precision": areas.precision()}

    def tables(self) -> str:
        """The guide's two tables, character for character as the published script prints them."""
        scores, total = self.by_class(), self.summary()
        columns = (self.classes, map(_percent, scores["IoU"]), map(_percent, scores["Acc"]))
        rows = [list(row) for row in zip(*columns, strict=True)]
        summary = ["global", *(_percent(total[name]) for name in ("mIoU", "mAcc", "aAcc"))]
        return (
            f"per class results:\n\n{table([['Class', 'IoU', 'Acc'], *rows])}\n"
            f"Summary:\n\n{table([['Scope', 'mIoU', 'mAcc', 'aAcc'], summary])}"
        )

    def published(self) -> str:
        """``voc_seg_result.txt`` as the published script writes it: percents of two digits, divided by 100."""
        scores, total = self.by_class(), self.summary()
        values = {name: total[name] for name in ("mIoU", "mAcc", "aAcc")}
        for key in ("IoU", "Acc"):
            values |= {f"{key}.{name}": float(value) for name, value in zip(self.classes, scores[key], strict=True)}
        return "".join(f"{key}: {_rounded(value) / 100.0}\n" for key, value in values.items())

    def to_json(self) -> str:
        """Everything; equal results are equal bytes. Scores that do not exist are ``null``."""
        classes = [
            {
                "class": name,
                **{key: _or_none(values[index]) for key, values in self.by_class().items()},
                "intersection": int(self.areas.intersection[index]),
                "truth": int(self.areas.truth[index]),
                "predicted": int(self.areas.predicted[index]),
            }
            for index, name in enumerate(self.classes)
        ]
        fields = {
            "format": _FORMAT,
            "version": _VERSION,
            "pspfast": pspfast.__version__,
            **{key: _or_none(value) for key, value in self.summary().items()},
            "pictures": self.pictures,
            "pixels": {
                "labelled": int(self.areas.truth.sum()),
                "ignored": self.ignored,
                "invalid_labels": self.invalid_labels,
                "invalid_predictions": self.invalid_predictions,
            },
            "source": dict(self.source),
            "classes": classes,
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "remarks": [{"name": name, "remark": remark} for name, remark in self.remarks],
            "strays": list(self.strays),
        }
        return json.dumps(fields, indent=1) + "\n"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Result:
        """Read what :meth:`to_json` wrote.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a result; the text names the file.
        """
        with open(path, "rb") as file:
            data = file.read()
        try:
            fields = json.loads(data)
            if fields["format"] != _FORMAT or fields["version"] != _VERSION:
                raise ValueError(f"format {fields['format']!r} of version {fields['version']}")
            areas = _areas_from_fields(fields["classes"])
            pixels = fields["pixels"]
            return cls(
                tuple(_text(one["class"]) for one in fields["classes"]),
                areas,
                _count(fields["pictures"]),
                _count(pixels["ignored"]),
                _count(pixels["invalid_labels"]),
                _count(pixels["invalid_predictions"]),
                tuple((_text(one["name"]), _text(one["reason"])) for one in fields["left_out"]),
                tuple((_text(one["name"]), _text(one["remark"])) for one in fields["remarks"]),
                tuple(map(_text, fields["strays"])),
                _checked_source(fields["source"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{os.fspath(path)} is not a result of pspfast: {reason}") from error

    def to_csv(self) -> str:
        """One line a class, scores from 0 to 1 in full precision, empty where there is none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        scores = self.by_class()
        writer.writerow(["class", *scores, "intersection", "truth", "predicted"])
        for index, name in enumerate(self.classes):
            values = [float(column[index]) for column in scores.values()]
            counts = [column[index] for column in (self.areas.intersection, self.areas.truth, self.areas.predicted)]
            writer.writerow([name, *("" if math.isnan(value) else repr(value) for value in values), *counts])
        return text.getvalue()

    def caveats(self) -> list[str]:
        """What has to be said beside the scores; mostly nothing."""
        total = self.pictures + len(self.left_out)
        lines = []
        if self.left_out:
            lines.append(f"These scores leave out {len(self.left_out)} of {total} pictures.")
        if self.invalid_predictions:
            lines.append(
                f"{self.invalid_predictions:,} pixels were predicted as no class of {len(self.classes)} and count "
                "against the class that they are labelled as."
            )
        predicted = np.flatnonzero(self.areas.predicted)
        if len(predicted) == 1 and not self.invalid_predictions and np.count_nonzero(self.areas.truth) > 1:
            (only,) = predicted
            lines.append(
                f"Every pixel is predicted as {self.classes[only]} (class {only}): the model tells nothing apart, or "
                "its pictures are not made as in its training."
            )
        if self.invalid_labels:
            lines.append(f"{self.invalid_labels:,} pixels are labelled as no class and count nowhere.")
        return [*lines, *self._ignored_classes()]

    def _ignored_classes(self) -> list[str]:
        """What looks like a class whose label is the one that is ignored, as in masks of 0 and 255; mostly nothing."""
        without = [index for index, pixels in enumerate(self.areas.truth.tolist()) if not pixels]
        share = self.ignored / max(1, self.ignored + int(self.areas.truth.sum()))
        has_one_left = self.ignored > 0 and len(self.classes) - len(without) <= 1
        if not without or not (has_one_left or share >= _MUCH):
            return []
        source = dict(self.source)
        label, told = source.get("ignore_index"), ""
        if label is not None and not source.get("reduce_zero_label"):
            stands_for = without[0] if len(without) == 1 else "CLASS"
            told = f" (label {label}); if {label} stands for a class, --label-map {label}:{stands_for} says so"
        names = ", ".join(self.classes[index] for index in without[:3]) + ", ..." * (len(without) > 3)
        have = "class has" if len(without) == 1 else "classes have"
        return [f"{len(without)} {have} no labels ({names}), while {share:.1%} of the pixels are ignored{told}."]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Text in a frame, the first row above a rule; columns as wide as need be, to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _rounded(value: float) -> float:
    """Percent of two digits, by NumPy's rule, which is not Python's: the published figures are made so."""
    return float(np.round(np.float64(value) * 100, 2))


def _percent(value: float) -> str:
    return str(_rounded(value))


def _areas_from_fields(classes: Sequence[dict[str, Any]]) -> Areas:
    """Counts that can be: an intersection is no more than what it is the intersection of."""
    for one in classes:
        if _count(one["intersection"]) > min(_count(one["truth"]), _count(one["predicted"])):
            raise ValueError(f"class {one['class']!r} has an intersection beyond its truth or predicted pixels")
    keys = ("intersection", "truth", "predicted")
    return Areas(*(np.array([one[key] for one in classes], np.int64) for key in keys))


def _checked_source(source: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Options that decide the scores, of which those about labels are used again."""
    for old, new in (source.get("label_map") or {}).items():
        if not (old.isascii() and old.isdecimal() and type(new) is int and new >= 0):
            raise ValueError(f"label_map has {old!r}: {new!r}; expected labels")
    if not isinstance(source.get("reduce_zero_label") or False, bool):
        raise TypeError(f"reduce_zero_label is {source['reduce_zero_label']!r}, expected true or false")
    return tuple(source.items())


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of pixels or pictures")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
