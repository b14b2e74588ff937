"""Rows of the tables that ``pspfast compare-perf`` prints, and the words and fields in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.formats.measurements import ASSUMED_BATCH

if TYPE_CHECKING:
    from pspfast.formats.measurements import Measurement, Statement
    from pspfast.speed.figure_pairs import Pair
    from pspfast.speed.throughputs import Figure

__all__ = [
    "batch_that_ran", "cores_text", "figure_identity", "figure_row", "pair_row", "statement_row", "sum_made",
    "sum_said",
]  # fmt: skip


def figure_row(figure: Figure, with_watts: bool, with_cost: bool) -> list[str]:
    """A figure, with columns for watts and cost if any figure has them."""
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


def pair_row(pair: Pair) -> list[str]:
    """A figure against the reference's, and what of it."""
    mine, theirs = pair.figure, pair.reference
    return [
        _whole(mine.batch),
        str(mine),
        mine.measured.kind,
        f"{mine.per_card:.2f}",
        str(theirs),
        f"{theirs.measured.kind}{batch_that_ran(theirs)}",
        f"{theirs.per_card:.2f}",
        f"{pair.ratio:.3f}",
        pair.verdict + " *" * pair.decides,
    ]


def statement_row(said: tuple[Statement, Measurement]) -> list[str]:
    """A sum in a document, and the figure it is of."""
    statement, one = said
    batch = _whole(one.batch) + (f", ran at {one.batch_run}" if one.batch_run != one.batch else "")
    return [
        f"line {statement.line}",
        sum_said(statement),
        f"{sum_made(statement):.3f}",
        f"[{one.kind}]",
        one.device or "?",
        batch,
    ]


def sum_said(said: Statement) -> str:
    """The sum as the document does it."""
    return f"1000/({said.value:g}/{said.factor:g})" if said.is_latency else f"{said.value:g} x {said.factor:g}"


def sum_made(said: Statement) -> float:
    """What the sum makes."""
    return 1000 * said.factor / said.value if said.is_latency else said.value * said.factor


def batch_that_ran(figure: Figure) -> str:
    """The batch that ran, in words, where it is not the declared one."""
    ran = figure.measured.batch_run
    return f", ran at batch {ran}" if ran is not None and ran != figure.batch else ""


def figure_identity(figure: Figure) -> dict[str, Any]:
    """What tells a figure from others, as plain values."""
    return {
        "side": figure.side,
        "device": figure.measured.device,
        "kind": figure.measured.kind,
        "batch": figure.batch,
        "per_card": figure.per_card,
    }


def cores_text(count: float) -> str:
    """A number of cores in words."""
    return f"{count:.2f} core{'' if count == 1 else 's'}"


def _whole(value: int | None) -> str:
    return "?" if value is None else str(value)


def _or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if value < 1 else f"{value:.2f}"
