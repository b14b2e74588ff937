"""Figures against a reference: which of its figures is nearest to each, and which of these pairs decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.formats.measurements import DEVICE_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.speed.throughputs import Figure

__all__ = ["Pair", "pairs_with", "reference_owners"]

_WITH_COPIES = frozenset({"infer", "post", "host latency", "wall clock"})


@dataclass(frozen=True, slots=True)
class Pair:
    """A figure against the reference's nearest of the same batch.

    Attributes:
        figure, reference: both.
        decides: whether the verdict is of this one: the two nearest kinds of a batch.
        target: least ratio that will do.
    """

    figure: Figure
    reference: Figure
    decides: bool
    target: float

    @property
    def ratio(self) -> float:
        """By card."""
        return self.figure.per_card / self.reference.per_card

    @property
    def is_met(self) -> bool:
        """Whether the ratio will do."""
        return self.ratio >= self.target

    @property
    def verdict(self) -> str:
        """In words."""
        kinds = "" if self.figure.measured.kind == self.reference.measured.kind else ", kinds differ"
        return ("met" if self.is_met else "not met") + kinds


def reference_owners(figures: Sequence[Figure], reference: str | None) -> set[tuple[str, str | None]]:
    """Side and device of the figures that the others are held to: named, or NVIDIA devices, or the first side.

    Raises:
        ValueError: no side and no device is called so.
    """
    owners = list(dict.fromkeys(figure.owner for figure in figures))
    if reference is not None:
        chosen = {owner for owner in owners if owner[0] == reference} or {
            owner for owner in owners if owner[1] == reference
        }
        if not chosen:
            names = dict.fromkeys(name for owner in owners for name in owner if name)
            raise ValueError(f"--reference {reference}: it is none of {', '.join(names)}")
        return chosen
    on_gpu = {figure.owner for figure in figures if figure.measured.is_of_gpu}
    return on_gpu if on_gpu and len(on_gpu) < len(owners) else set(owners[:1])


def pairs_with(figures: Sequence[Figure], references: set[tuple[str, str | None]], target: float) -> list[Pair]:
    """Each figure of inference that is not the reference's, with the reference's nearest of its batch."""
    usable = [figure for figure in figures if figure.is_of_inference]
    theirs = [figure for figure in usable if figure.owner in references]
    mine = [figure for figure in usable if figure.owner not in references]
    common = {figure.batch for figure in mine} & {figure.batch for figure in theirs}
    found: list[Pair] = []
    for owner in dict.fromkeys(figure.owner for figure in mine):
        of_owner = [figure for figure in mine if figure.owner == owner]
        # Without a batch in common, the fastest of each are all there is.
        shared = [figure for figure in of_owner if figure.batch in common]
        if not shared and theirs and not common:
            shared = [max(of_owner, key=lambda figure: figure.per_card)]
        for batch in sorted({figure.batch for figure in shared}, key=lambda batch: batch or 0):
            of_batch = [figure for figure in shared if figure.batch == batch]
            others = [figure for figure in theirs if figure.batch == batch] or theirs
            nearest = [(figure, _nearest(figure, others)) for figure in of_batch]
            deciding = min(nearest, key=lambda pair: _distance(*pair))
            found += [Pair(*pair, pair is deciding, target) for pair in nearest]
    return found


def _nearest(figure: Figure, others: Sequence[Figure]) -> Figure:
    return min(others, key=lambda other: _distance(figure, other))


def _distance(figure: Figure, other: Figure) -> tuple[int, int, int, float]:
    """How far two figures are from being of the same thing; of equals the real and the slower one."""
    kinds = {figure.measured.kind, other.measured.kind}
    if len(kinds) == 1:
        apart = 0
    elif kinds <= DEVICE_TIME:
        apart = 1
    elif kinds <= _WITH_COPIES:
        apart = 2
    else:
        apart = 3
    unreal = bool(figure.measured.on_random_data) + bool(other.measured.on_random_data)
    return apart, unreal, "post" in kinds, -other.per_card
