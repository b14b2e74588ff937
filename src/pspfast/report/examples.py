"""Pictures to look at: what was labelled, what was predicted, and where the two differ, to be laid over the picture.

The picture is embedded once; labels, predictions and differences are palette PNGs of a few kilobytes with transparency,
which the page lays over it.
"""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.datasets import palette as voc_palette
from pspfast.pictures.colouring import colour_of, has_background
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureError, check_pixels, read_picture_file, with_pillow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pspfast.report.saved import SavedRun

__all__ = ["DIFFERENCES", "Card", "Swatch", "View", "difference", "make_cards", "swatches"]

_LONGEST_SIDE = 480
_EXPECTED_BYTES = 1 << 17
_MOST_BYTES = 1 << 18  # of a picture that is embedded as it is; one that a run writes has a tenth
_MOST_PIXELS = 64 << 20
_VOID = 1 << 32  # stands for all labels that are no class

RIGHT, MISSED, EXTRA, CONFUSED, NOT_COUNTED = range(5)
DIFFERENCES = {
    # Okabe and Ito's colours, which stay apart for every kind of colour blindness; on grey.
    MISSED: ("missed: predicted as background", "#e69f00"),
    EXTRA: ("too much: labelled as background", "#56b4e9"),
    CONFUSED: ("one class for another", "#d6336c"),
    NOT_COUNTED: ("not counted", "#ffffff"),
}
"""What a pixel can be besides right: in words, and its colour."""

_ALPHA_BACKGROUND, _ALPHA_CLASS, _ALPHA_NOT_COUNTED = 110, 205, 120


@dataclass(frozen=True, slots=True)
class View:
    """What one run made of a picture.

    Attributes:
        run: which one, by its place on the page.
        score: of this picture, 0 to 1, if it is known.
        prediction, difference: data URIs to lay over the picture; empty if there is none.
        wrong: share of the counted pixels that are wrong in what is shown, ``None`` without labels.
    """

    run: int
    score: float | None
    prediction: str = ""
    difference: str = ""
    wrong: float | None = None


@dataclass(slots=True)
class Card:
    """A picture, its labels, and what each run made of it.

    Attributes:
        name: of the picture.
        width, height: as shown.
        picture: data URI.
        truth: data URI to lay over it; empty if there are no labels.
        views: of the runs.
    """

    name: str
    width: int
    height: int
    picture: str
    truth: str
    views: list[View] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Swatch:
    """An entry of the legend."""

    name: str
    colour: str


def difference(truth: NDArray[Any], prediction: NDArray[Any], classes: Sequence[str]) -> NDArray[np.uint8]:
    """What each pixel is: ``RIGHT``, ``MISSED``, ``EXTRA``, ``CONFUSED`` or ``NOT_COUNTED``.

    Missed and extra are told apart where class 0 is called background; else all that is wrong is confused. Labels that
    are no class do not count.

    Example:
        >>> truth, prediction = np.array([[0, 0, 1, 1, 2, 255]]), np.array([[0, 1, 1, 0, 1, 1]])
        >>> difference(truth, prediction, ("background", "cat", "dog"))
        array([[0, 2, 0, 1, 3, 4]], dtype=uint8)
    """
    found = np.where(truth == prediction, RIGHT, CONFUSED)
    if has_background(classes):
        found[(truth != 0) & (prediction == 0)] = MISSED
        found[(truth == 0) & (prediction != 0)] = EXTRA
    found[truth >= len(classes)] = NOT_COUNTED
    return found.astype(np.uint8)


def make_cards(runs: Sequence[SavedRun]) -> tuple[list[Card], list[Swatch], list[str]]:
    """The pictures that runs kept to be shown, worst first, each once with the views of all runs that kept it.

    Returns:
        Cards, the legend of the classes in them, and what could not be shown.
    """
    cards: dict[tuple[str, int, int], Card] = {}
    seen: dict[int, str] = {}  # colours of the classes that occur in what is shown
    faults = []
    names: dict[int, str] = {}
    for place, run in enumerate(runs):
        examples = run.record.examples if run.record else None
        if examples is None:
            continue
        classes = run.side.classes if run.side else _classes_of_record(run)
        names |= dict(enumerate(classes))
        for name in examples.scores:
            try:
                _add(cards, seen, place, run, examples.folder, name, classes)
            except PictureError as error:
                reason = f"{os.path.basename(error.filename)}: {error.strerror}"
                faults.append(f"{run.label}: {name} cannot be shown: {reason}")
    for card in cards.values():
        for place, run in enumerate(runs):
            if run.path and all(view.run != place for view in card.views):
                score = run.score_of(card.name)
                if score is not None:
                    card.views.append(View(place, score))
        card.views.sort(key=lambda view: view.run)
    ordered = sorted(cards.values(), key=_worst_first)
    legend = [Swatch(names.get(index, "no class, or not counted"), colour) for index, colour in sorted(seen.items())]
    return ordered, legend, faults


def swatches() -> list[Swatch]:
    """The legend of differences."""
    return [Swatch(name, colour) for name, colour in DIFFERENCES.values()]


def _add(
    cards: dict[tuple[str, int, int], Card],
    seen: dict[int, str],
    place: int,
    run: SavedRun,
    folder: Path,
    name: str,
    classes: Sequence[str],
) -> None:
    size, picture = _picture(folder / f"{name}_picture.jpg")
    prediction, colours = _labels(folder / f"{name}_prediction.png", size)
    has_truth = os.path.exists(folder / f"{name}_truth.png")
    truth = _labels(folder / f"{name}_truth.png", size)[0] if has_truth else None
    difference_uri, wrong = "", None
    if truth is not None:
        what = difference(truth, prediction, classes)
        counted = int((what != NOT_COUNTED).sum())
        wrong = float(((what != RIGHT) & (what != NOT_COUNTED)).sum()) / counted if counted else None
        difference_uri = _drawn_difference(what)
    for mask in (prediction, truth):
        if mask is not None:
            for index in np.unique(mask).tolist():
                seen.setdefault(index if index < len(classes) else _VOID, "#" + colour_of(index, colours).hex())
    view = View(place, run.score_of(name), _drawn(prediction, colours, classes), difference_uri, wrong)
    truth_uri = "" if truth is None else _drawn(truth, colours, classes)
    card = cards.setdefault((name, *size), Card(name, *size, picture, truth_uri))
    card.truth = card.truth or truth_uri
    card.views.append(view)


def _picture(path: Path) -> tuple[tuple[int, int], str]:
    """Size and data URI of a picture, made smaller if need be."""
    name = str(path)
    data, _ = read_picture_file(name, _EXPECTED_BYTES)

    def shown(image: Any) -> tuple[tuple[int, int], str]:
        check_pixels(name, image.height, image.width, _MOST_PIXELS)
        image.load()  # what is embedded can be decoded
        is_plain = image.format == "JPEG" and image.mode in ("RGB", "L") and not image.getexif()
        if is_plain and max(image.size) <= _LONGEST_SIDE and len(data) <= _MOST_BYTES:
            return image.size, _data_uri("image/jpeg", data)
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=85)
        return small.size, _data_uri("image/jpeg", stream.getvalue())

    from PIL import ImageOps

    found: tuple[tuple[int, int], str] = with_pillow(name, data, shown)
    return found


def _labels(path: Path, size: tuple[int, int]) -> tuple[NDArray[np.int64], bytes]:
    """Labels in the picture's size, and 256 colours for them: their own, or VOC's."""
    name = str(path)
    read = read_labels(name, wide=True, max_pixels=_MOST_PIXELS)
    height, width = read.pixels.shape
    # Reduced to the same longer side, the shorter ones may differ by what rounding makes of them.
    if abs(width * size[1] - height * size[0]) > max(width, height, *size):
        raise PictureError(name, f"it is {width} x {height}, the picture {size[0]} x {size[1]}")
    own: bytes = with_pillow(name, read.data, lambda image: bytes(image.getpalette("RGB") or ()))
    rows, columns = (np.arange(new) * old // new for new, old in ((size[1], height), (size[0], width)))
    return read.pixels[rows[:, None], columns].astype(np.int64), own + voc_palette()[len(own) :]


def _drawn(labels: NDArray[np.int64], colours: bytes, classes: Sequence[str]) -> str:
    """Labels in their colours, as a PNG to lay over the picture: background lets more of it through than classes."""
    present, places = np.unique(labels, return_inverse=True)
    present, places = present[:256], np.minimum(places.reshape(labels.shape), 255)
    alpha = [_ALPHA_BACKGROUND if not one and has_background(classes) else _ALPHA_CLASS for one in present.tolist()]
    return _png(places, b"".join(colour_of(one, colours) for one in present.tolist()), bytes(alpha))


def _drawn_difference(what: NDArray[np.uint8]) -> str:
    colours = bytes(3) + b"".join(bytes.fromhex(colour[1:]) for _, colour in DIFFERENCES.values())
    return _png(
        what, colours, bytes([0, *(_ALPHA_NOT_COUNTED if kind == NOT_COUNTED else 255 for kind in DIFFERENCES)])
    )


def _png(labels: NDArray[Any], colours: bytes, alpha: bytes) -> str:
    from PIL import Image

    image: Any = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    image.putpalette(colours)
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=alpha, optimize=True)
    return _data_uri("image/png", stream.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _classes_of_record(run: SavedRun) -> tuple[str, ...]:
    """Class names of a run without scores, if its record has them."""
    names = run.record.fields.get("classes") if run.record else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _worst_first(card: Card) -> tuple[bool, float, str]:
    known = [view.score for view in card.views if view.score is not None and view.prediction]
    return not known, min(known, default=0.0), card.name
