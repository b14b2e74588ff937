"""Timing in turns, and the table: what every benchmark of the project shares."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

import pspfast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "PICTURES",
    "Row",
    "find_voc",
    "machine",
    "positive",
    "print_table",
    "rows_of",
    "run",
    "time_in_turns",
    "write_json",
]

ROOT = Path(__file__).resolve().parents[1]
PICTURES = 1449  # of VOC2012 val


@dataclass(frozen=True)
class Row:
    """One contender of a contest; ``ratio`` is its time over the first contender's, round by round, the median."""

    contest: str
    name: str
    seconds: float
    spread: float
    ratio: float
    bytes_per_second: float
    note: str = ""


def time_in_turns(
    contenders: dict[str, Callable[[], object]], *, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds a call of each contender, once a round, all of them in turn so that drift meets them alike.

    Args:
        rounds: how many times each is measured.
        seconds: about how long one measurement lasts; short calls are repeated to fill it.
    """
    repeats = {}
    for name, call in contenders.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times


def rows_of(
    contest: str, times: dict[str, list[float]], sizes: dict[str, int], notes: dict[str, str] | None = None
) -> list[Row]:
    """Rows against the first contender; ``sizes`` are the bytes of one call."""
    first = next(iter(times.values()))
    rows = []
    for name, taken in times.items():
        median = statistics.median(taken)
        deviation = statistics.median(abs(one - median) for one in taken)
        ratio = statistics.median(one / base for one, base in zip(taken, first, strict=True))
        rows.append(Row(contest, name, median, deviation, ratio, sizes[name] / median, (notes or {}).get(name, "")))
    return rows


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "isa": pspfast.isa()["active"],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pspfast": pspfast.__version__,
    }


def find_voc() -> Path | None:
    """The test data's VOC2012: of ``PSPFAST_TEST_DATA``, else beside the checkout."""
    for data in (os.environ.get("PSPFAST_TEST_DATA"), ROOT.parent / "shared" / "data"):
        if data and Path(data, "voc", "VOC2012").is_dir():
            return Path(data, "voc", "VOC2012")
    return None


def positive(text: str) -> int:
    """A whole number above 0, as an option's type."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


# Started from a small process: a child's peak memory includes what its parent held when it was forked.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - start, usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(command: list[str]) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a command."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {done.returncode}")
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), int(peak)


def print_table(rows: list[Row]) -> None:
    """Print a Markdown table for each contest."""
    for contest in dict.fromkeys(row.contest for row in rows):
        print(f"\n{contest}\n")
        print("| | median | spread | ratio | output |  |\n| --- | ---: | ---: | ---: | ---: | --- |")
        for row in (row for row in rows if row.contest == contest):
            unit, scale = ("s", 1.0) if row.seconds >= 0.5 else ("ms", 1e3)
            print(
                f"| {row.name} | {row.seconds * scale:.3f} {unit} | ±{row.spread / row.seconds:.0%} | {row.ratio:.2f} "
                f"| {row.bytes_per_second / 1e6:.0f} MB/s | {row.note} |"
            )


def write_json(path: str, rows: list[Row]) -> None:
    """Write the machine and the rows as JSON."""
    Path(path).write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
