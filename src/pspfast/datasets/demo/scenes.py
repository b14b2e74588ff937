"""Scenes that are drawn on the spot: pictures, and labels with void borders, in folders as VOC's.

Drawing is integers alone, and chance is raw bits of a generator whose stream NumPy promises to keep: a scene has the
same pixels and labels on every machine. So have its files with the same libjpeg-turbo and zlib, which encode them.
"""

from __future__ import annotations

import io
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from pspfast.datasets import VOC, palette
from pspfast.system.files import folder_for_output, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["CLASSES", "SIZES", "TRAINING", "draw", "name_of", "write_scenes"]

SIZES = ((375, 500), (333, 500), (500, 375), (500, 500), (281, 500), (480, 640), (357, 487))
"""``(H, W)`` of the scenes, in turn: such as VOC has, and one that is larger than the guide's canvas."""

CLASSES = tuple(VOC.classes.index(name) for name in ("bird", "boat", "bottle", "bus", "sheep", "train"))
"""What there is to see besides background, by VOC's indices."""

TRAINING = range(1000, 1600)
"""The scenes that the demo's network has learnt from; all others are new to it."""

_BIRD, _BOAT, _BOTTLE, _BUS, _SHEEP, _TRAIN = CLASSES
_VOID = 255
_BORDER = 5  # pixels of void along an outline, as VOC has them
_QUALITY = 92

_Colour = tuple[int, int, int]

# The ground, what it is strewn with, and what stands on it.
_LANDS: tuple[tuple[_Colour, _Colour, tuple[int, ...]], ...] = (
    ((86, 128, 62), (66, 104, 48), (_SHEEP, _SHEEP, _BUS, _TRAIN)),
    ((52, 96, 132), (74, 120, 152), (_BOAT, _BOAT, _BOAT, _BOTTLE)),
    ((112, 108, 106), (94, 91, 90), (_BUS, _TRAIN, _BOTTLE)),
    ((168, 132, 96), (146, 112, 80), (_BOTTLE, _SHEEP, _BUS)),
)
# From the top of the sky to the horizon: noon, overcast, dusk.
_SKIES: tuple[tuple[_Colour, _Colour], ...] = (
    ((126, 170, 214), (206, 222, 232)),
    ((168, 176, 186), (214, 214, 212)),
    ((96, 112, 164), (236, 188, 150)),
)


def name_of(index: int) -> str:
    """The id of a scene.

    Example:
        >>> name_of(7)
        'scene_00007'
    """
    return f"scene_{index:05d}"


def draw(index: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one scene.

    Args:
        index: of the scene; :data:`SIZES` are taken in turn.
        seed: of the set.

    Returns:
        The picture, ``(H, W, 3)`` uint8, red first, and its labels, ``(H, W)`` uint8: classes of VOC, 255 along
        outlines.

    Example:
        >>> picture, labels = draw(2)
        >>> picture.shape, labels.shape, 255 in labels
        ((500, 375, 3), (500, 375), True)
    """
    dice = _Dice(seed, index)
    height, width = SIZES[index % len(SIZES)]
    sheet = _Sheet(height, width)
    ground, dots, kinds = dice.pick(_LANDS)
    horizon = height * dice.between(36, 56) // 100
    _sky(sheet, horizon, dice)
    _ground(sheet, horizon, ground, dots, dice)
    # From far to near: what is lower in the picture is larger, and in front.
    for foot in sorted(dice.between(horizon + height // 12, height - 4) for _ in range(dice.between(2, 5))):
        percent = 55 + 45 * (foot - horizon) // (height - horizon)
        size = min(height, width) * percent * dice.between(40, 60) // 10_000
        _put(dice.pick(kinds), sheet, dice.between(0, width), foot, size, dice)
    for _ in range(dice.between(0, 3)):
        size = min(height, width) * dice.between(16, 32) // 100
        _put(_BIRD, sheet, dice.between(0, width), horizon * dice.between(45, 95) // 100, size, dice)
    return _photographed(sheet.pixels, dice), _with_void(sheet.labels)


def write_scenes(root: str | os.PathLike[str], splits: Mapping[str, Iterable[int]], seed: int = 0) -> None:
    """Write scenes as VOC's development kit has its pictures: ``JPEGImages``, ``SegmentationClass``, ``ImageSets``.

    Args:
        root: folder for the tree; made if need be. Files of the same names are replaced.
        splits: name of each split -> the scenes in it.
        seed: of the set.

    Raises:
        OutputError: something cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_scenes(folder, {"val": [0]})
        ...     sorted(os.listdir(folder))
        ['ImageSets', 'JPEGImages', 'SegmentationClass']
    """
    pictures = folder_for_output(os.path.join(root, VOC.picture_folder))
    labels = folder_for_output(os.path.join(root, VOC.label_folder))
    for split, indices in splits.items():
        names = []
        for index in indices:
            names.append(name_of(index))
            picture, truth = draw(index, seed)
            indexed = Image.fromarray(truth)
            indexed.putpalette(palette())
            jpeg = _coded(Image.fromarray(picture), "JPEG", quality=_QUALITY)
            write_whole(str(pictures / f"{names[-1]}.jpg"), jpeg)
            write_whole(str(labels / f"{names[-1]}{VOC.label_suffix}"), _coded(indexed, "PNG"))
        listed = os.path.join(root, *VOC.split_file.format(split=split).split("/"))
        folder_for_output(os.path.dirname(listed))
        write_whole(listed, "".join(f"{name}\n" for name in names).encode())


def _coded(image: Image.Image, kind: str, **options: Any) -> bytes:
    coded = io.BytesIO()
    image.save(coded, kind, **options)
    return coded.getvalue()


class _Dice:
    """Chance that is the same everywhere. What a ``Generator`` makes of its bits may change, the bits may not."""

    def __init__(self, seed: int, index: int) -> None:
        self._bits = np.random.PCG64([seed, index])

    def between(self, low: int, high: int) -> int:
        """``low`` to ``high``, without the latter."""
        return low + int(self._bits.random_raw()) % (high - low)

    def pick(self, things: Sequence[Any]) -> Any:
        return things[self.between(0, len(things))]

    def grain(self, *shape: int, reach: int) -> NDArray[np.int32]:
        """``-reach`` to ``reach``."""
        count = int(np.prod(shape))
        raw: NDArray[np.uint64] = np.asarray(self._bits.random_raw(-(-count // 8)), np.uint64)
        values = raw.astype("<u8").view(np.uint8)[:count].astype(np.int32)
        return ((values * (2 * reach + 1) >> 8) - reach).reshape(shape)


class _Sheet:
    """A picture and its labels, painted at the same time. Points are ``x, y`` in pixels; what is outside is cut off."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.pixels: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
        self.labels: NDArray[np.uint8] = np.zeros((height, width), np.uint8)

    def rectangle(self, points: Sequence[int], colour: _Colour, kind: int | None = None) -> None:
        left, top, right, bottom = points
        self._paint(left, top, right, bottom, None, colour, kind)

    def ellipse(self, points: Sequence[int], colour: _Colour, kind: int | None = None, share: int = 4) -> None:
        """In the box of these corners; ``share`` quarters of it cover what is below."""
        left, top, right, bottom = points
        rows, columns = self._grid(left, top, right, bottom)
        wide, high = max(right - left, 1), max(bottom - top, 1)
        inside = ((2 * columns - left - right) * high) ** 2 + ((2 * rows - top - bottom) * wide) ** 2 <= (
            wide * high
        ) ** 2
        self._paint(left, top, right, bottom, inside, colour, kind, share)

    def polygon(self, points: Sequence[int], colour: _Colour, kind: int | None = None) -> None:
        xs, ys = points[0::2], points[1::2]
        box = min(xs), min(ys), max(xs), max(ys)
        rows, columns = self._grid(*box)
        inside: NDArray[np.bool_] = np.zeros((rows.size, columns.size), bool)
        corners = list(zip(ys, xs, strict=True))
        for side in pairwise([*corners, corners[0]]):
            (y, x), (low_y, low_x) = sorted(side)
            # Whatever has an odd number of sides to its right is inside.
            inside ^= (y <= rows) & (rows < low_y) & ((columns - x) * (low_y - y) < (rows - y) * (low_x - x))
        self._paint(*box, inside, colour, kind)

    def _grid(self, left: int, top: int, right: int, bottom: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the box that are on the sheet."""
        rows: NDArray[np.int64] = np.arange(max(top, 0), max(min(bottom + 1, self.height), 0), dtype=np.int64)
        columns: NDArray[np.int64] = np.arange(max(left, 0), max(min(right + 1, self.width), 0), dtype=np.int64)
        return rows[:, None], columns[None]

    def _paint(
        self,
        left: int,
        top: int,
        right: int,
        bottom: int,
        inside: NDArray[np.bool_] | None,
        colour: _Colour,
        kind: int | None,
        share: int = 4,
    ) -> None:
        box = slice(max(top, 0), max(bottom + 1, 0)), slice(max(left, 0), max(right + 1, 0))
        where = ... if inside is None else inside
        pixels = self.pixels[box]
        below = pixels[where].astype(np.int32)
        pixels[where] = (below * (4 - share) + np.array(colour, np.int32) * share) // 4
        if kind is not None:
            self.labels[box][where] = kind


def _sky(sheet: _Sheet, horizon: int, dice: _Dice) -> None:
    top, low = dice.pick(_SKIES)
    for row in range(horizon):
        sheet.rectangle((0, row, sheet.width, row), _mixed(top, low, row, horizon))
    if dice.between(0, 2):
        x, y, reach = dice.between(0, sheet.width), dice.between(0, horizon), dice.between(12, 26)
        sheet.ellipse((x - reach, y - reach, x + reach, y + reach), (255, 244, 214), share=3)
    for _ in range(dice.between(0, 4)):
        x, y = dice.between(0, sheet.width), dice.between(0, horizon * 3 // 4)
        for _ in range(5):
            middle, row, reach = x + dice.between(-60, 60), y + dice.between(-8, 8), dice.between(8, 20)
            sheet.ellipse((middle - 2 * reach, row - reach, middle + 2 * reach, row + reach), (246, 246, 248), share=2)


def _ground(sheet: _Sheet, horizon: int, ground: _Colour, dots: _Colour, dice: _Dice) -> None:
    height, width = sheet.height, sheet.width
    haze = _mixed(ground, (200, 210, 215), 1, 3)
    if dice.between(0, 2):
        ridge = [(x, horizon - dice.between(4, 44)) for x in range(-30, width + 90, 60)]
        points = [value for point in ridge for value in point]
        sheet.polygon([-30, horizon, *points, width + 90, horizon], _mixed(haze, (120, 140, 160), 1, 2))
    for row in range(horizon, height):
        sheet.rectangle((0, row, width, row), _mixed(haze, ground, row - horizon, height - horizon))
    for _ in range(260):
        x, y = dice.between(0, width), dice.between(horizon, height)
        reach = 1 + 7 * (y - horizon) // (height - horizon)
        sheet.rectangle((x - 2 * reach, y, x + 2 * reach, y + reach // 3), dots)


def _put(kind: int, sheet: _Sheet, x: int, foot: int, size: int, dice: _Dice) -> None:
    """Draw a thing that stands at ``(x, foot)``, about ``size`` pixels high, and its shadow."""
    tint = [dice.between(-18, 19) for _ in range(3)]
    if kind != _BIRD:
        reach = size * (6 if kind != _BOTTLE else 2) // 10
        sheet.ellipse((x - reach, foot - size // 16, x + reach + size // 3, foot + size // 16), (24, 28, 34), share=2)

    def fill(shape: str, *points: int, rgb: _Colour) -> None:
        """Points are percent of the size, to the right of the foot and up."""
        placed = [x + to * size // 100 if one % 2 == 0 else foot - to * size // 100 for one, to in enumerate(points)]
        if shape != "polygon":
            xs, ys = sorted(placed[0::2]), sorted(placed[1::2])
            placed = [xs[0], ys[0], xs[1], ys[1]]
        red, green, blue = (max(0, min(255, value + more)) for value, more in zip(rgb, tint, strict=True))
        getattr(sheet, shape)(placed, (red, green, blue), kind)

    _THINGS[kind](fill, dice)


def _bird(fill: Any, dice: _Dice) -> None:
    side, beat = dice.pick((-1, 1)), dice.between(30, 84)
    fill("polygon", -78, beat, -30, 30 + beat // 3, 0, 42, -12, 22, -44, 4 + beat // 2, rgb=(52, 50, 58))
    fill("polygon", 78, beat + 4, 30, 32 + beat // 3, 0, 42, 12, 22, 44, 6 + beat // 2, rgb=(60, 58, 66))
    fill("ellipse", -16, 18, 22, 58, rgb=(46, 44, 52))
    fill("ellipse", side * 10, 40, side * 36, 64, rgb=(46, 44, 52))
    fill("polygon", side * 34, 56, side * 50, 49, side * 34, 46, rgb=(214, 150, 40))


def _boat(fill: Any, dice: _Dice) -> None:
    side = dice.pick((-1, 1))
    hull = dice.pick(((150, 56, 46), (46, 60, 92), (232, 230, 224)))
    fill("rectangle", -2, 20, 2, 112, rgb=(104, 78, 56))
    fill("polygon", side * 4, 108, side * 4, 32, side * 58, 32, rgb=dice.pick(((236, 232, 222), (198, 74, 60))))
    fill("polygon", side * -4, 98, side * -4, 32, side * -42, 32, rgb=(226, 222, 212))
    fill("polygon", -70, 28, 70, 28, 52, -4, -52, -4, rgb=hull)
    fill("polygon", -70, 28, 70, 28, 66, 20, -66, 20, rgb=(240, 238, 232))


def _bottle(fill: Any, dice: _Dice) -> None:
    glass = dice.pick(((38, 104, 62), (112, 66, 34), (70, 96, 120)))
    fill("ellipse", -24, 5, 24, -5, rgb=glass)
    fill("rectangle", -24, 0, 24, 66, rgb=glass)
    fill("polygon", -24, 66, 24, 66, 10, 88, -10, 88, rgb=glass)
    fill("rectangle", -10, 86, 10, 112, rgb=glass)
    fill("rectangle", -12, 106, 12, 116, rgb=(206, 176, 72))
    fill("rectangle", -24, 20, 24, 50, rgb=(232, 220, 190))
    fill("rectangle", -17, 4, -12, 64, rgb=(150, 190, 160))


def _bus(fill: Any, dice: _Dice) -> None:
    side = dice.pick((-1, 1))
    fill("rectangle", -92, 12, 92, 100, rgb=dice.pick(((200, 44, 40), (224, 168, 36), (60, 110, 170))))
    fill("rectangle", -92, 94, 92, 102, rgb=(226, 222, 214))
    for left in range(-84, 60, 34):
        fill("rectangle", side * left, 56, side * (left + 27), 86, rgb=(64, 82, 98))
    fill("rectangle", side * 62, 16, side * 84, 86, rgb=(74, 92, 108))
    fill("rectangle", side * -92, 34, side * 58, 42, rgb=(238, 234, 226))
    for middle in (-54, 46):
        fill("ellipse", side * middle - 17, 32, side * middle + 17, -2, rgb=(34, 34, 36))
        fill("ellipse", side * middle - 8, 23, side * middle + 8, 7, rgb=(150, 150, 152))


def _sheep(fill: Any, dice: _Dice) -> None:
    side = dice.pick((-1, 1))
    wool = (228, 222, 208)
    for leg in (-34, -18, 16, 32):
        fill("rectangle", leg - 4, 0, leg + 4, 34, rgb=(58, 52, 50))
    fill("ellipse", -56, 24, 56, 88, rgb=wool)
    for to_right, up in ((-40, 70), (-14, 82), (16, 82), (40, 70), (-50, 48), (50, 48), (0, 34)):
        red, green, blue = (value + dice.between(-10, 11) for value in wool)
        fill("ellipse", to_right - 17, up - 15, to_right + 17, up + 15, rgb=(red, green, blue))
    fill("ellipse", side * 48, 48, side * 80, 86, rgb=(62, 54, 52))
    fill("ellipse", side * 44, 84, side * 58, 74, rgb=(62, 54, 52))


def _train(fill: Any, dice: _Dice) -> None:
    side = dice.pick((-1, 1))
    body = dice.pick(((52, 84, 150), (70, 128, 118), (190, 60, 44)))
    fill("rectangle", -140, 0, 150, 8, rgb=(74, 68, 66))
    nose = (-140, 10, 118, 10, 150, 26, 138, 64, 112, 84, -140, 84)
    fill("polygon", *(side * to if one % 2 == 0 else to for one, to in enumerate(nose)), rgb=body)
    fill("rectangle", side * -140, 28, side * 144, 36, rgb=(230, 226, 216))
    for left in range(-130, 90, 30):
        fill("rectangle", side * left, 48, side * (left + 20), 72, rgb=(38, 48, 66))
    fill("polygon", side * 104, 50, side * 136, 50, side * 128, 70, side * 104, 74, rgb=(38, 48, 66))
    for middle in range(-116, 130, 48):
        fill("ellipse", middle - 10, 16, middle + 10, -4, rgb=(44, 42, 44))


_THINGS = {_BIRD: _bird, _BOAT: _boat, _BOTTLE: _bottle, _BUS: _bus, _SHEEP: _sheep, _TRAIN: _train}


def _mixed(one: _Colour, other: _Colour, share: int, of: int) -> _Colour:
    red, green, blue = ((a * (of - share) + b * share) // of for a, b in zip(one, other, strict=True))
    return red, green, blue


def _photographed(pixels: NDArray[np.uint8], dice: _Dice) -> NDArray[np.uint8]:
    """Brightness, darker corners, and grain."""
    height, width = pixels.shape[:2]
    light = dice.between(200, 290)  # of 256
    rows, columns = np.ogrid[:height, :width]
    corner = (2 * rows - height) ** 2 * 24 // height**2 + (2 * columns - width) ** 2 * 24 // width**2
    values = pixels.astype(np.int32) * (light - corner[..., None]).astype(np.int32) // 256
    values += dice.grain(height, width, 1, reach=9)
    values += dice.grain(height, width, 3, reach=4)
    photo: NDArray[np.uint8] = values.clip(0, 255).astype(np.uint8)
    return photo


def _with_void(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(labels)
    least = np.asarray(image.filter(ImageFilter.MinFilter(_BORDER)))
    most = np.asarray(image.filter(ImageFilter.MaxFilter(_BORDER)))
    found: NDArray[np.uint8] = np.where(least == most, labels, np.uint8(_VOID))
    return found
