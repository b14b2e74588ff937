"""Figures side by side, by device and by card, and what follows: the guide's section 7.3."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.formats.result import table
from pspfast.speed import claims
from pspfast.speed.figure_pairs import pairs_with, reference_owners
from pspfast.speed.throughput_rows import (
    batch_that_ran,
    cores_text,
    figure_identity,
    figure_row,
    pair_row,
    statement_row,
    sum_made,
    sum_said,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pspfast.formats.measurements import Measurement, Statement
    from pspfast.speed.claims import UnsoundClaim
    from pspfast.speed.data_path import DataPath
    from pspfast.speed.figure_pairs import Pair
    from pspfast.speed.throughputs import Figure

__all__ = ["ThroughputComparison", "compare_throughputs"]


@dataclass(frozen=True, slots=True)
class ThroughputComparison:
    """What :func:`compare_throughputs` found.

    Attributes:
        figures: every figure of every side.
        pairs: figures against the reference's.
        findings: what is unsound.
        data_path: what the host has to do, if it was measured.
        target: least ratio that will do.
        said: sums that documents do, with the figures they are of.
        left_out: blocks of documents that are no good, a sentence each.
    """

    figures: tuple[Figure, ...]
    pairs: tuple[Pair, ...]
    findings: tuple[UnsoundClaim, ...]
    data_path: DataPath | None = None
    target: float = 1.0
    said: tuple[tuple[Statement, Measurement], ...] = ()
    left_out: tuple[str, ...] = ()

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
                f"{theirs.per_card:.2f} ({theirs.measured.kind}{batch_that_ran(theirs)}), {pair.ratio:.3f} of it: "
                + ("met" if pair.is_met else "not met")
            )
        target = f"a ratio of {self.target:g} by card"
        return "\n".join([*lines, f"Verdict: {'met' if self.is_met else 'not met'}, the target is {target}"])

    def __str__(self) -> str:
        with_watts = any(figure.watts is not None for figure in self.figures)
        with_cost = any(figure.cost is not None for figure in self.figures)
        head = ["side", "device", "batch", "ran", "kind", "per device", "x", "per card"]
        head += ["per watt"] * with_watts + ["per cost"] * with_cost + ["ms mean", "ms p99", "of"]
        rows = [head, *(figure_row(figure, with_watts, with_cost) for figure in self.figures)]
        parts = ["Pictures a second", table(rows)]
        if self.pairs:
            compared = [["batch", "card", "kind", "per card", "reference", "kind", "per card", "ratio", "verdict"]]
            parts += ["", "By card, each kind against the nearest of the reference (* decides)"]
            parts += [table([*compared, *(pair_row(pair) for pair in self.pairs)])]
        if self.said:
            sums = [["where", "said", "makes", "which is", "device", "batch"], *map(statement_row, self.said)]
            parts += ["", "Sums in the text, by what their figures are", table(sums)]
        if self.left_out:
            parts += ["", f"Left out ({len(self.left_out)})", *(f"- {text}" for text in self.left_out)]
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
                f"{cores_text(data_path.cores_for(figure.measured.throughput))} keep a device of {figure} busy "
                f"({figure.measured.throughput:.2f}/s, {figure.measured.kind}), "
                f"{cores_text(data_path.cores_for(figure.per_card))} the card"
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
        fields: dict[str, Any] = {
            "format": "pspfast performance comparison",
            "version": 1,
            "met": self.is_met,
            "target": self.target,
            "figures": [figure.fields() for figure in self.figures],
            "pairs": [
                {
                    "batch": pair.figure.batch,
                    "figure": figure_identity(pair.figure),
                    "reference": figure_identity(pair.reference),
                    "ratio": pair.ratio,
                    "met": pair.is_met,
                    "decides": pair.decides,
                }
                for pair in self.pairs
            ],
            "said": [
                {
                    "where": f"{said.source}:{said.line}",
                    "said": sum_said(said),
                    "makes": sum_made(said),
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
                        **figure_identity(figure),
                        "device_cores": data_path.cores_for(figure.measured.throughput),
                        "card_cores": data_path.cores_for(figure.per_card),
                    }
                    for figure in self.fastest()
                ],
            },
        }
        if self.left_out:
            fields["left_out"] = list(self.left_out)
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


def compare_throughputs(
    figures: Sequence[Figure],
    statements: Sequence[Statement] = (),
    *,
    reference: str | None = None,
    target: float = 1.0,
    min_iterations: int = claims.MIN_ITERATIONS,
    data_path: DataPath | None = None,
    left_out: Sequence[str] = (),
) -> ThroughputComparison:
    """Set figures against a reference, batch by batch, and look for what is unsound.

    Args:
        figures: of all sides.
        statements: of the prose of those that are documents.
        reference: a side or device; if left out the NVIDIA devices if there are others too, else the first side.
            trtexec's figures are of an NVIDIA device, whether they say which or not.
        target: the verdict is "met" if by card each deciding ratio is at least this.
        min_iterations: fewer inferences are told.
        data_path: what the host has to do for a picture.
        left_out: blocks of documents that are no good, for the report.

    Raises:
        ValueError: no side and no device is called so.
    """
    references = reference_owners(figures, reference)
    pairs = pairs_with(figures, references, target)
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
    return ThroughputComparison(
        tuple(figures), tuple(pairs), unsound, data_path, target, tuple(sums.values()), tuple(left_out)
    )
