"""Where a picture went in the network's canvas, and the way back: the one record of it.

Everything that letterboxes, unpads, scores or draws takes its numbers from :class:`Letterbox`; nothing else in the
package computes a scale or an offset.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CropRule", "Letterbox", "crop_remark"]

CropRule = Literal["exact", "reference"]


@dataclass(frozen=True)
class Letterbox:
    """A picture of ``picture`` pixels, resized to ``resized`` and placed at ``offset`` in a canvas of ``canvas``.

    All sizes are ``(height, width)`` and offsets ``(top, left)``, in pixels, as in NumPy shapes.

    Attributes:
        picture: the picture's own size.
        canvas: the network's input size.
        scale: the one factor of both axes before rounding down, ``min(H / h, W / w)``.
        resized: the picture's size in the canvas, ``floor(side * scale)``, never below 1.
        offset: rows above and columns left of it; what is odd goes below and to the right.

    Example:
        >>> box = Letterbox.fit((375, 500), (500, 500))
        >>> box.resized, box.offset
        ((375, 500), (62, 0))
        >>> box.forward(0, 0)  # the first pixel of the picture, in the canvas
        (62.0, 0.0)
        >>> Letterbox.from_json(box.to_json()) == box
        True
    """

    picture: tuple[int, int]
    canvas: tuple[int, int]
    scale: float
    resized: tuple[int, int]
    offset: tuple[int, int]

    def __post_init__(self) -> None:
        for name, least in (("picture", 1), ("canvas", 1), ("resized", 1), ("offset", 0)):
            object.__setattr__(self, name, _check_pair(name, getattr(self, name), least=least))
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be a positive finite number, got {self.scale!r}")
        for axis, name in enumerate(("height", "width")):
            if self.offset[axis] + self.resized[axis] > self.canvas[axis]:
                raise ValueError(
                    f"resized {name} {self.resized[axis]} at offset {self.offset[axis]} "
                    f"leaves the canvas of {self.canvas[axis]}"
                )

    @classmethod
    def fit(cls, picture: tuple[int, int], canvas: tuple[int, int], *, scale_up: bool = True) -> Letterbox:
        """Fit a picture into a canvas, centred, its aspect ratio kept (``semantics``: the published script's rule).

        Args:
            picture: ``(height, width)`` of the picture.
            canvas: ``(height, width)`` of the network's input.
            scale_up: whether a picture smaller than the canvas is enlarged; if not it is only centred.

        Raises:
            ValueError: a side below 1.
            TypeError: a side that is not an integer.
        """
        picture, canvas = _check_pair("picture", picture, least=1), _check_pair("canvas", canvas, least=1)
        scale = min(canvas[1] / picture[1], canvas[0] / picture[0])
        if not scale_up:
            scale = min(scale, 1.0)
        # side * scale is off by a rounding error at most, so that floor() never leaves the canvas. It may fall a pixel
        # short of it, as in the published script.
        resized = (max(1, math.floor(picture[0] * scale)), max(1, math.floor(picture[1] * scale)))
        offset = ((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2)
        return cls(picture, canvas, scale, resized, offset)

    @property
    def is_scaled(self) -> bool:
        """Whether the picture changes size; if not, pixels are copied one to one."""
        return self.resized != self.picture

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Padded pixels ``(top, bottom, left, right)``."""
        (top, left), (height, width) = self.offset, self.resized
        return top, self.canvas[0] - height - top, left, self.canvas[1] - width - left

    def forward(self, y: float, x: float) -> tuple[float, float]:
        """Picture coordinates to canvas coordinates, both ``(row, column)`` of pixel centres.

        Pixel centres lie at whole numbers and the axes are scaled by ``resized / picture``, as ``cv2.resize`` does.
        """
        return (
            (y + 0.5) * (self.resized[0] / self.picture[0]) - 0.5 + self.offset[0],
            (x + 0.5) * (self.resized[1] / self.picture[1]) - 0.5 + self.offset[1],
        )

    def inverse(self, y: float, x: float) -> tuple[float, float]:
        """Canvas coordinates to picture coordinates: the inverse of :meth:`forward`.

        A point in the padding gives coordinates outside the picture.
        """
        return (
            (y - self.offset[0] + 0.5) * (self.picture[0] / self.resized[0]) - 0.5,
            (x - self.offset[1] + 0.5) * (self.picture[1] / self.resized[1]) - 0.5,
        )

    def crop(self, rule: CropRule = "exact") -> tuple[tuple[int, int], tuple[int, int]]:
        """``(top, left), (height, width)`` of the canvas to take for the picture.

        Args:
            rule: ``"exact"`` is where the picture is. ``"reference"`` is what the published postprocessing script
                takes, ``int((H - h * scale) // 2)`` on both sides: where the padding is odd a row or column too many,
                and with the canvas sides swapped for the columns, which only a square canvas survives. It knows
                nothing of ``scale_up=False``.

        Raises:
            ValueError: another rule, or the reference rule leaves nothing of this canvas.
        """
        if rule == "exact":
            return self.offset, self.resized
        if rule != "reference":
            raise ValueError(f"rule must be 'exact' or 'reference', got {rule!r}")
        scale = min(self.canvas[1] / self.picture[1], self.canvas[0] / self.picture[0])
        # A rounding error may take them below zero, where the floor would be -1.
        top = max(int((self.canvas[0] - self.picture[0] * scale) // 2), 0)
        left = max(int((self.canvas[1] - self.picture[1] * scale) // 2), 0)
        rows = range(self.canvas[0])[top : self.canvas[1] - top]
        columns = range(self.canvas[1])[left : self.canvas[0] - left]
        if not rows or not columns:
            raise ValueError(f"the reference rule leaves nothing of a canvas {self.canvas} for {self.picture}")
        return (top, left), (len(rows), len(columns))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, as they stand in ``manifest.json``."""
        return {
            "picture": list(self.picture),
            "canvas": list(self.canvas),
            "scale": self.scale,
            "resized": list(self.resized),
            "offset": list(self.offset),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Letterbox:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: a field is missing, unknown or out of range.
        """
        expected = {"picture", "canvas", "scale", "resized", "offset"}
        if not hasattr(fields, "keys") or set(fields) != expected:
            found = sorted(fields) if hasattr(fields, "keys") else type(fields).__name__
            raise ValueError(f"a letterbox has the fields {sorted(expected)}, got {found}")
        pairs = {name: _pair_from_list(name, fields[name]) for name in expected - {"scale"}}
        scale = fields["scale"]
        if isinstance(scale, bool) or not isinstance(scale, (int, float)):
            raise ValueError(f"letterbox field 'scale' must be a number, got {scale!r}")
        try:
            return cls(scale=float(scale), **pairs)
        except OverflowError:
            raise ValueError(f"letterbox field 'scale' is too large: {scale}") from None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Letterbox:
        """The inverse of :meth:`to_json`; raises ``ValueError`` for anything else."""
        try:
            fields = json.loads(text)
        except RecursionError:
            raise ValueError("a letterbox has no nested fields") from None
        return cls.from_dict(fields)


def crop_remark(rule: CropRule, canvas: tuple[int, int]) -> str:
    """What has to be said of scores by a rule; empty if nothing.

    Example:
        >>> crop_remark("reference", (500, 500)), crop_remark("exact", (64, 96))
        ('', '')
    """
    if rule != "reference" or canvas[0] == canvas[1]:
        return ""
    return (
        f"the published crop knows square canvases only: of {canvas[0]}x{canvas[1]} (height x width) it takes other "
        "columns than those of the picture, and these scores are of that; --geometry exact takes the picture"
    )


def _check_pair(name: str, pair: object, *, least: int) -> tuple[int, int]:
    """A ``(height, width)`` or ``(top, left)`` as plain ints; NumPy integers are welcome, bools and floats are not."""
    try:
        first, second = cast("tuple[Any, Any]", pair)
        if isinstance(first, bool) or isinstance(second, bool):
            raise TypeError
        whole = (first.__index__(), second.__index__())
    except (TypeError, ValueError, AttributeError):
        raise TypeError(f"{name} must be two integers (height, width), got {pair!r}") from None
    if min(whole) < least:
        raise ValueError(f"{name} must be at least {least} on both axes, got {whole}")
    return whole


def _pair_from_list(name: str, value: object) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(type(side) is int for side in value):
        raise ValueError(f"letterbox field {name!r} must be two integers, got {value!r}")
    return value[0], value[1]
