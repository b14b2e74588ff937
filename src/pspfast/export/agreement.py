"""How far two models agree: on one picture, and on all."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pspfast

__all__ = ["MAX_MARGIN", "MIN_AGREEMENT", "Agreement", "PictureAgreement"]

MIN_AGREEMENT = 0.9995
"""Share of equal pixels that exact exports reach: 0.9999 and more was measured."""


MAX_MARGIN = 1e-2
"""Margin under which a pixel may differ: scores of exact exports were at most 4e-4 apart."""


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


def _percent(share: float) -> str:
    return f"{math.floor(share * 1e6 + 1e-6) / 1e4:.4f} %"  # 100 is said of all of them only


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
