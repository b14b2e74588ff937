"""Measured throughputs: of a device, and what they make by card, watt and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pspfast.formats.measurements import Measurement, Statement

__all__ = ["Figure", "MeasuredSide"]


@dataclass(frozen=True, slots=True)
class MeasuredSide:
    """A file that takes part.

    Attributes:
        name: as it is called in tables.
        measurements: what it holds.
        statements: what it says about them, if it is a document.
        left_out: of its blocks those that are no good, a sentence each.
    """

    name: str
    measurements: tuple[Measurement, ...]
    statements: tuple[Statement, ...] = ()
    left_out: tuple[str, ...] = ()


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
