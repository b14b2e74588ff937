"""Figures side by side, by device and by card, and what follows: the guide's section 7.3."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.formats.measurements import ASSUMED_BATCH, DEVICE_TIME, is_gpu
from pspfast.formats.result import table
from pspfast.speed import claims

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pspfast.formats.measurements import Measurement, Statement
    from pspfast.speed.claims import Finding
    from pspfast.speed.data_path import DataPath

__all__ = ["Comparison", "Figure", "Pair", "Side", "compare"]

_WITH_COPIES = frozenset({"infer", "post", "host latency", "wall clock"})


@dataclass(frozen=True, slots=True)
class Side:
    """A file that takes part.

    Attributes:
        name: as it is called in tables.
        measurements: what it holds.
        statements: what it says about them, if it is a document.
    """

    name: str
    measurements: tuple[Measurement, ...]
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A measurement of a side, and what it makes by card, watt and cost.

    Attributes:
        side: its name.
        measured: the record.
        devices: on a card.
        watts, cost: of a card, if given.
    """

    side: str
    measured: Measurement
    devices: int = 1
    watts: float | None = None
    cost: float | None = None

    @property
    def owner(self) -> tuple[str, str | None]:
        """Which figures belong together: of a device in a file."""
        return self.side, self.measured.device

    @property
    def per_card(self) -> float:
        """Pictures a second of all devices on a card."""
        return self.measured.throughput * self.devices

    @property
    def per_watt(self) -> float | None:
        """Pictures a second and watt of a card."""
        return None if self.watts is None else self.per_card / self.watts

    @property
    def per_cost(self) -> float | None:
        """Pictures a second for one unit of what a card costs."""
        return None if self.cost is None else self.per_card / self.cost

    @property
    def batch(self) -> int | None:
        """As declared, else as it ran."""
        return self.measured.batch if self.measured.batch is not None else self.measured.batch_run

    @property
    def is_of_inference(self) -> bool:
        """Whether it can stand for the device, and is not a stage before or after it."""
        kind = self.measured.kind
        return kind not in ("data read", "preprocess") and (kind != "post" or self.measured.tool == "benchmark")

    def __str__(self) -> str:
        card = f"{self.measured.device or self.side}"
        return f"{card} card (x{self.devices})" if self.devices > 1 else card

    def fields(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "side": self.side,
            "devices_per_card": self.devices,
            "per_card": self.per_card,
            "per_watt": self.per_watt,
            "per_cost": self.per_cost,
            **self.measured.to_json(),
        }


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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        figures: every figure of every side.
        pairs: figures against the reference's.
        findings: what is unsound.
        data_path: what the host has to do, if it was measured.
        target: least ratio that will do.
        said: sums that documents do, with the figures they are of.
    """

    figures: tuple[Figure, ...]
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]
    data_path: DataPath | None = None
    target: float = 1.0
    said: tuple[tuple[Statement, Measurement], ...] = ()

    @property
    def is_met(self) -> bool | None:
        """Whether every deciding pair reaches the target; None if there is nothing to compare with."""
        deciding = [pair.is_met for pair in self.pairs if pair.decides]
        return all(deciding) if deciding else None

    def verdict(self) -> str:
        """A sentence for each pair that decides, and one for all of them."""
        if self.is_met is None:
            return "Verdict: none, there is nothing to compare with"
        lines: list[str] = []
        for pair in (pair for pair in self.pairs if pair.decides):
            mine, theirs = pair.figure, pair.reference
            than = "slower than" if pair.ratio < 1 else "as fast as" if pair.ratio == 1 else "faster than"
            batch = "" if mine.batch is None else f"batch {mine.batch}: "
            lines.append(
                f"{batch}{mine} is {than} {theirs}: {mine.per_card:.2f} ({mine.measured.kind}) against "
                f"{theirs.per_card:.2f} ({theirs.measured.kind}{_ran(theirs)}), {pair.ratio:.3f} of it: "
                + ("met" if pair.is_met else "not met")
            )
        target = f"a ratio of {self.target:g} by card"
        return "\n".join([*lines, f"Verdict: {'met' if self.is_met else 'not met'}, the target is {target}"])

    def __str__(self) -> str:
        with_watts = any(figure.watts is not None for figure in self.figures)
        with_cost = any(figure.cost is not None for figure in self.figures)
        head = ["side", "device", "batch", "ran", "kind", "per device", "x", "per card"]
        head += ["per watt"] * with_watts + ["per cost"] * with_cost + ["ms mean", "ms p99", "of"]
        rows = [head, *(_row(figure, with_watts, with_cost) for figure in self.figures)]
        parts = ["Pictures a second", table(rows)]
        if self.pairs:
            compared = [["batch", "card", "kind", "per card", "reference", "kind", "per card", "ratio", "verdict"]]
            parts += ["", "By card, each kind against the nearest of the reference (* decides)"]
            parts += [table([*compared, *(_compared(pair) for pair in self.pairs)])]
        if self.said:
            sums = [["where", "said", "makes", "which is", "device", "batch"], *map(_said, self.said)]
            parts += ["", "Sums in the text, by what their figures are", table(sums)]
        if self.findings:
            parts += ["", f"Unsound ({len(self.findings)})", *(f"- {finding}" for finding in self.findings)]
        if self.data_path is not None:
            parts += ["", *self._cores(self.data_path)]
        return "\n".join([*parts, "", self.verdict()])

    def _cores(self, data_path: DataPath) -> Iterator[str]:
        stages = ", ".join(f"{part} {ms:.2f}" for part, ms in data_path.milliseconds.items())
        yield f"Data path: {data_path.total:.2f} ms of one core a picture ({stages}); {data_path.source}"
        for figure in self.fastest():
            yield (
                f"{_cores(data_path.cores_for(figure.measured.throughput))} keep a device of {figure} busy "
                f"({figure.measured.throughput:.2f}/s, {figure.measured.kind}), "
                f"{_cores(data_path.cores_for(figure.per_card))} the card"
            )

    def fastest(self) -> list[Figure]:
        """Of each device in each file."""
        best: dict[tuple[str, str | None], Figure] = {}
        for figure in self.figures:
            known = best.get(figure.owner)
            if figure.is_of_inference and (known is None or figure.per_card > known.per_card):
                best[figure.owner] = figure
        return list(best.values())

    def to_json(self) -> str:
        """Everything, for programs."""
        data_path = self.data_path
        fields = {
            "format": "pspfast performance comparison",
            "version": 1,
            "met": self.is_met,
            "target": self.target,
            "figures": [figure.fields() for figure in self.figures],
            "pairs": [
                {
                    "batch": pair.figure.batch,
                    "figure": _reference_to(pair.figure),
                    "reference": _reference_to(pair.reference),
                    "ratio": pair.ratio,
                    "met": pair.is_met,
                    "decides": pair.decides,
                }
                for pair in self.pairs
            ],
            "said": [
                {
                    "where": f"{said.source}:{said.line}",
                    "said": _sum_of(said),
                    "makes": _made(said),
                    "kind": one.kind,
                    "device": one.device,
                    "batch": one.batch,
                    "batch_run": one.batch_run,
                }
                for said, one in self.said
            ],
            "findings": [{"code": one.code, "where": one.where, "text": one.text} for one in self.findings],
            "data_path": None
            if data_path is None
            else {
                "milliseconds": data_path.milliseconds,
                "source": data_path.source,
                "cores": [
                    {
                        **_reference_to(figure),
                        "device_cores": data_path.cores_for(figure.measured.throughput),
                        "card_cores": data_path.cores_for(figure.per_card),
                    }
                    for figure in self.fastest()
                ],
            },
        }
        return json.dumps(fields, indent=1) + "\n"

    def to_csv(self) -> str:
        """A line a figure, in full precision, empty where there is none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = [
            "side", "source", "line", "tool", "tool_version", "device", "device_index", "batch", "batch_run", "kind",
            "throughput", "devices_per_card", "per_card", "per_watt", "per_cost", "latency_of", "iterations",
            "pictures", "on_random_data",
        ]  # fmt: skip
        latencies = ["mean", "median", "p90", "p95", "p99", "min", "max"]
        writer.writerow([*columns, *(f"ms_{name}" for name in latencies), "notes"])
        for figure in self.figures:
            fields = figure.fields()
            times = figure.measured.latency_ms
            row = [fields.get(name) for name in columns] + [times.get(name) for name in latencies]
            writer.writerow([*("" if value is None else value for value in row), "; ".join(figure.measured.notes)])
        return text.getvalue()


def compare(
    figures: Sequence[Figure],
    statements: Sequence[Statement] = (),
    *,
    reference: str | None = None,
    target: float = 1.0,
    min_iterations: int = claims.MIN_ITERATIONS,
    data_path: DataPath | None = None,
) -> Comparison:
    """Set figures against a reference, batch by batch, and look for what is unsound.

    Args:
        figures: of all sides.
        statements: of the prose of those that are documents.
        reference: a side or device; if left out the NVIDIA devices if there are others too, else the first side.
        target: the verdict is "met" if by card each deciding ratio is at least this.
        min_iterations: fewer inferences are told.
        data_path: what the host has to do for a picture.

    Raises:
        ValueError: no side and no device is called so.
    """
    references = _references(figures, reference)
    pairs = _pairs(figures, references, target)
    measured = [figure.measured for figure in figures]
    found = claims.check_measurements(measured, min_iterations=min_iterations)
    found += claims.check_statements(statements, measured)
    for pair in pairs:
        if pair.decides:
            found += claims.check_comparison(pair.figure.measured, pair.reference.measured)
    found += claims.check_cards({figure.measured.device: figure.devices for figure in figures})
    sums: dict[tuple[float, float, bool], tuple[Statement, Measurement]] = {}
    for said in statements:
        match = claims.meant(said, measured)
        if match is not None and said.called is None:
            sums.setdefault((said.value, said.factor, said.is_latency), (said, match))
    unsound = tuple(dict.fromkeys(found))
    return Comparison(tuple(figures), tuple(pairs), unsound, data_path, target, tuple(sums.values()))


def _references(figures: Sequence[Figure], reference: str | None) -> set[tuple[str, str | None]]:
    owners = list(dict.fromkeys(figure.owner for figure in figures))
    if reference is not None:
        chosen = {owner for owner in owners if owner[0] == reference} or {
            owner for owner in owners if owner[1] == reference
        }
        if not chosen:
            names = dict.fromkeys(name for owner in owners for name in owner if name)
            raise ValueError(f"--reference {reference}: it is none of {', '.join(names)}")
        return chosen
    on_gpu = {owner for owner in owners if is_gpu(owner[1])}
    return on_gpu if on_gpu and len(on_gpu) < len(owners) else set(owners[:1])


def _pairs(figures: Sequence[Figure], references: set[tuple[str, str | None]], target: float) -> list[Pair]:
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


def _row(figure: Figure, with_watts: bool, with_cost: bool) -> list[str]:
    one = figure.measured
    ran = _whole(one.batch_run) + "?" * (ASSUMED_BATCH in one.notes)
    cells = [figure.side, one.device or "?", _whole(figure.batch), ran, one.kind, f"{one.throughput:.3f}"]
    if figure.is_of_inference:
        cells += [str(figure.devices), f"{figure.per_card:.2f}"]
        cells += [_or_empty(figure.per_watt)] * with_watts + [_or_empty(figure.per_cost)] * with_cost
    else:  # of the host, which the devices of a card share
        cells += [""] * (2 + with_watts + with_cost)
    mean, p99 = one.latency_ms.get("mean"), one.latency_ms.get("p99")
    return [*cells, _or_empty(mean), _or_empty(p99), one.latency_of if one.latency_ms else ""]


def _compared(pair: Pair) -> list[str]:
    mine, theirs = pair.figure, pair.reference
    return [
        _whole(mine.batch),
        str(mine),
        mine.measured.kind,
        f"{mine.per_card:.2f}",
        str(theirs),
        f"{theirs.measured.kind}{_ran(theirs)}",
        f"{theirs.per_card:.2f}",
        f"{pair.ratio:.3f}",
        pair.verdict + " *" * pair.decides,
    ]


def _said(said: tuple[Statement, Measurement]) -> list[str]:
    statement, one = said
    batch = _whole(one.batch) + (f", ran at {one.batch_run}" if one.batch_run != one.batch else "")
    return [
        f"line {statement.line}",
        _sum_of(statement),
        f"{_made(statement):.3f}",
        f"[{one.kind}]",
        one.device or "?",
        batch,
    ]


def _sum_of(said: Statement) -> str:
    return f"1000/({said.value:g}/{said.factor:g})" if said.is_latency else f"{said.value:g} x {said.factor:g}"


def _made(said: Statement) -> float:
    return 1000 * said.factor / said.value if said.is_latency else said.value * said.factor


def _ran(figure: Figure) -> str:
    """Said where it matters."""
    ran = figure.measured.batch_run
    return f", ran at batch {ran}" if ran is not None and ran != figure.batch else ""


def _reference_to(figure: Figure) -> dict[str, Any]:
    return {
        "side": figure.side,
        "device": figure.measured.device,
        "kind": figure.measured.kind,
        "batch": figure.batch,
        "per_card": figure.per_card,
    }


def _cores(count: float) -> str:
    return f"{count:.2f} core{'' if count == 1 else 's'}"


def _whole(value: int | None) -> str:
    return "?" if value is None else str(value)


def _or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if value < 1 else f"{value:.2f}"
