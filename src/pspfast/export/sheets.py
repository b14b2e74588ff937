"""One picture, two masks, and where they differ: a sheet to look at, as the guide advises for single pictures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pspfast.datasets import palette as voc_palette
from pspfast.pictures.colouring import coloured
from pspfast.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Sheet", "top_two_margin", "write_sheet"]

_GAP, _LINE, _LEAST_WIDTH = 6, 16, 200
_BACKGROUND, _TEXT, _DIFFERENT = (32, 32, 32), (240, 240, 240), (255, 0, 0)
# Margins are shown by their magnitude: what rounding can flip is black, what nothing flips is white.
_DARKEST, _BRIGHTEST = 1e-4, 1e1


class Sheet(NamedTuple):
    """What is drawn; all of one height and width, the picture's in the network's canvas, without its padding."""

    caption: str
    picture: NDArray[np.uint8]
    """``(h, w, 3)``, blue first."""
    reference: NDArray[np.integer]
    model: NDArray[np.integer]
    margin: NDArray[np.floating] | None
    """Between the two highest scores of each pixel."""
    truth: NDArray[np.integer] | None = None


def top_two_margin(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far the highest score of each pixel is above the second.

    Args:
        logits: ``(classes, h, w)``, at least two classes.

    Example:
        >>> top_two_margin(np.array([[[1.0]], [[4.0]], [[3.5]]], np.float32)).item()
        0.5
    """
    highest = np.partition(logits, -2, axis=0)[-2:]
    margin: NDArray[np.float32] = highest[1] - highest[0]
    return margin


def write_sheet(path: str, sheet: Sheet, colours: Sequence[tuple[int, int, int]] = ()) -> None:
    """Draw a sheet: the picture, both masks, where they differ in red, and the margin; labels too if they are there.

    Pixels that differ are drawn three wide, so that a single one is seen.

    Args:
        path: of the PNG.
        sheet: what is drawn.
        colours: red, green, blue of each class; VOC's where there is none.

    Raises:
        OutputError: it cannot be written.
    """
    from PIL import Image, ImageDraw

    own = b"".join(map(bytes, colours[:255]))
    palette = own + voc_palette()[len(own) :]
    picture = sheet.picture[..., ::-1]
    different = _widened(sheet.reference != sheet.model)
    grey = (picture.mean(axis=2, keepdims=True) / 3).astype(np.uint8).repeat(3, axis=2)
    panels = [
        ("picture", picture),
        ("reference", coloured(sheet.reference.astype(np.int64), palette)),
        ("model", coloured(sheet.model.astype(np.int64), palette)),
    ]
    if sheet.truth is not None:
        panels.append(("labels", coloured(sheet.truth.astype(np.int64), palette)))
    panels.append(("difference", np.where(different[..., None], np.array(_DIFFERENT, np.uint8), grey)))
    if sheet.margin is not None:
        panels.append((f"margin, {_DARKEST:g} black to {_BRIGHTEST:g} white", _shown(sheet.margin)))

    height, width = sheet.reference.shape
    scale = -(-_LEAST_WIDTH // width)  # so that there is room for the words
    height, width = scale * height, scale * width
    canvas = Image.new("RGB", (len(panels) * (width + _GAP) + _GAP, height + 2 * _LINE + 2 * _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, 2), _ascii(sheet.caption), fill=_TEXT)
    for number, (name, pixels) in enumerate(panels):
        left = _GAP + number * (width + _GAP)
        draw.text((left, _LINE + 2), _ascii(name), fill=_TEXT)
        image = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
        canvas.paste(image.resize((width, height), Image.Resampling.NEAREST), (left, 2 * _LINE + _GAP))
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=1)
    write_whole(path, file.getbuffer())


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    height, width = mask.shape
    wide = np.zeros_like(mask)
    for top in range(3):
        for left in range(3):
            wide |= padded[top : top + height, left : left + width]
    return wide


def _shown(margin: NDArray[np.floating]) -> NDArray[np.uint8]:
    finite = np.nan_to_num(margin, nan=0.0, posinf=_BRIGHTEST)
    place = np.log(np.clip(finite, _DARKEST, _BRIGHTEST) / _DARKEST) / np.log(_BRIGHTEST / _DARKEST)
    grey: NDArray[np.uint8] = np.round(255 * place).astype(np.uint8)[..., None].repeat(3, axis=2)
    return grey


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # Pillow's built-in font may have no more
