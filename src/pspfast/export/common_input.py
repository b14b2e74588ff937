"""What two models are fed to be compared: pictures normalized alike, each model's in its own order of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pspfast.export.labellers import InputNormalization, Taken
from pspfast.pictures.kernels import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.export.labellers import Facts
    from pspfast.formats.model_metadata import Channels

__all__ = ["as_taken", "assumed_orders", "common_normalization", "red_first"]

_DEFAULT = InputNormalization(IMAGENET_MEAN, IMAGENET_STD, True)
_ORDERS = {"rgb": "red first", "bgr": "blue first"}


def common_normalization(facts: Sequence[Facts]) -> tuple[InputNormalization, list[str]]:
    """How pictures are normalized for two models, and remarks on what was assumed.

    Raises:
        ValueError: differently.
    """
    known = [(one.name, one.normalization) for one in facts if one.normalization is not None]
    if len({red_first(normalization) for _, normalization in known}) > 1:
        texts = [f"{name} has {_text(normalization)}" for name, normalization in known]
        raise ValueError(
            f"the pictures are normalized differently for the two: {', '.join(texts)}; they cannot be compared"
        )
    if known:
        return known[0][1], []
    return _DEFAULT, [f"no model tells how its pictures are normalized; {_text(_DEFAULT)} was taken"]


def red_first(normalization: InputNormalization) -> InputNormalization:
    """The same in the order of red, green and blue.

    Example:
        >>> red_first(InputNormalization((1, 2, 3), (4, 5, 6), False)).mean
        (3, 2, 1)
    """
    (first, second, third), (one, two, three), to_rgb = normalization
    if to_rgb:
        return normalization
    return InputNormalization((third, second, first), (three, two, one), True)


def as_taken(taken: Taken, facts: Facts, normalization: InputNormalization) -> Taken:
    """A picture in the order of channels that a model takes.

    Args:
        taken: the picture, its floats red first and its bytes blue first.
        facts: of the model.
        normalization: of both models, for a model that does not tell its order.
    """
    tensor, pixels = taken
    order = _order(facts, normalization)
    if facts.input == "uint8":
        if order == "rgb" and pixels is not None:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
    elif order == "bgr":
        tensor = np.ascontiguousarray(tensor[::-1])
    return Taken(tensor, pixels)


def assumed_orders(facts: Sequence[Facts]) -> list[str]:
    """A remark on each model whose order of channels nothing tells."""
    lines = []
    for one, option in zip(facts, ("--reference-channels", "--channels"), strict=True):
        if one.channels is None and one.normalization is None:
            taken = "bgr" if one.input == "uint8" else "rgb"
            other = "rgb" if taken == "bgr" else "bgr"
            lines.append(
                f"{one.name} does not tell the order of its channels; {_ORDERS[taken]} was taken ({option} {other})"
            )
    return lines


def _order(facts: Facts, normalization: InputNormalization) -> Channels:
    if facts.channels is not None:
        return facts.channels
    if facts.input == "uint8":
        return "bgr"
    return "rgb" if (facts.normalization or normalization).to_rgb else "bgr"


def _text(normalization: InputNormalization) -> str:
    mean, std = (" ".join(f"{value:g}" for value in values) for values in normalization[:2])
    return f"mean {mean}, std {std}, {'red' if normalization.to_rgb else 'blue'} first"
