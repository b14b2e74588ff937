"""What ``pspfast benchmark`` has measured: as tables, as JSON, and as the benchmark tool's files."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.formats.measurements import Measurement, benchmark_json
from pspfast.system.files import stem
from pspfast.system.machine import cpu_name
from pspfast.system.threads import default_workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pspfast.stages.inference import PictureFailure

__all__ = ["WIDEN", "Benchmark", "latencies", "table"]

WIDEN = "bins to the model's type"
"""A stage of bins: no preprocessing, and not to be taken for it where CPU cores are reckoned from its time."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured.

    Attributes:
        measurements: stages first.
        pictures: that were measured.
        seconds: wall clock, from the first picture's reading to the last one's end; without warm-up.
        batch: pictures at once.
        workers: threads of the data path.
        runtime: see :meth:`pspfast.runtimes.runtime.Runtime.describe`.
        mode: ``"data set"`` or ``"pure inference"``.
        failures: pictures that could not be used.
        miou: mean IoU in percent where pictures were scored; ``None`` else.
        stopped: why not every picture was tried; empty if they were.
        remarks: what is odd about what came out.
    """

    measurements: tuple[Measurement, ...]
    pictures: int
    seconds: float
    batch: int
    workers: int
    runtime: dict[str, Any]
    mode: str
    failures: tuple[PictureFailure, ...] = ()
    miou: float | None = None
    stopped: str = ""
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        threads = f", {self.runtime['threads']} threads" if self.runtime.get("threads") else ""
        provider = f" ({self.runtime['provider']})" if self.runtime.get("provider") else ""
        what = f"{self.pictures} pictures" + " of random numbers, no data set" * (self.mode == "pure inference")
        lines = [
            f"{what}, batch {self.batch}, {self.seconds:.2f} s",
            f"{self.runtime['runtime']} {self.runtime['version']}{provider} on {self.runtime['device']}{threads}; "
            f"data path on {self.workers} thread{'s' * (self.workers != 1)}; pspfast {pspfast.__version__}, "
            f"Python {platform.python_version()}, {os.cpu_count()} CPUs of which {default_workers()} are ours",
            "",
            table(self.measurements),
        ]
        if self.miou is not None:
            lines.append(f"mIoU {self.miou:.2f}")
        lines += self.remarks
        if self.failures:
            lines.append(f"{len(self.failures)} failed:")
            lines += [f"  {failure.name}: {failure.reason}" for failure in self.failures]
        return "\n".join(lines)

    def published(self) -> tuple[str, str]:
        """Name and text of the benchmark tool's file for such a run."""
        found = {one.kind: one for one in self.measurements}
        index = found["infer" if "infer" in found else "pure inference"].device_index or 0
        if self.mode == "pure inference":
            pure = found["pure inference"]
            name = stem(os.path.basename(str(self.runtime.get("model", "model"))))
            text = f"ave_throughputRate = {pure.throughput:g}samples/s, ave_latency = {1000 / pure.throughput:g}ms\n"
            return f"PureInfer_perf_of_{name}_in_device_{index}.txt", text
        interface = found["compute" if "compute" in found else "infer"].throughput
        whole = found["end to end"].throughput
        lines = [f"[e2e] throughputRate: {whole:g}, latency: {1000 * self.seconds:g}"]
        rates = {
            "data read": found["data read"].throughput,
            "preprocess": found["preprocess" if "preprocess" in found else WIDEN].throughput,
            "infer": found["infer"].throughput,
            # Of the tool, how many batches arrive there in a second; how long they take there it does not tell.
            "post": found["infer"].throughput / self.batch,
        }
        for kind, rate in rates.items():
            extra = f"Interface throughputRate: {interface:g}, " if kind == "infer" else ""
            lines.append(f"[{kind}] throughputRate: {rate:g}, {extra}moduleLatency: {1000 / rate:g}")
        return f"perf_vision_batchsize_{self.batch}_device_{index}.txt", "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Everything, as :func:`pspfast.formats.measurements.measurements_from_json` reads it."""
        return benchmark_json(
            self.measurements,
            pspfast=pspfast.__version__,
            mode=self.mode,
            pictures=self.pictures,
            seconds=self.seconds,
            batch=self.batch,
            workers=self.workers,
            runtime=self.runtime,
            machine={
                "cpu": cpu_name(),
                "cpus": default_workers(),
                "isa": pspfast.isa()["active"],
                "python": platform.python_version(),
                "numpy": np.__version__,
            },
            mIoU=self.miou,
            failures=[[failure.name, failure.reason] for failure in self.failures],
            stopped=self.stopped,
            remarks=list(self.remarks),
        )


def table(measurements: Iterable[Measurement]) -> str:
    """A line for each measurement."""
    rows = [("", "pictures/s", "mean ms", "median", "p90", "p95", "p99", "of a")]
    for one in measurements:
        latencies = [one.latency_ms.get(name) for name in ("mean", "median", "p90", "p95", "p99")]
        shown = ["-" if value is None else f"{value:.3f}" for value in latencies]
        rows.append((one.kind, f"{one.throughput:.2f}", *shown, one.latency_of))  # type: ignore[arg-type]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Mean, median, p90, p95, p99, min and max, in ms."""
    values = 1000 * np.asarray(seconds, np.float64)
    median, p90, p95, p99 = np.percentile(values, (50, 90, 95, 99))
    figures = {"mean": values.mean(), "median": median, "p90": p90, "p95": p95, "p99": p99}
    return {name: float(value) for name, value in (figures | {"min": values.min(), "max": values.max()}).items()}
