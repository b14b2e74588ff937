"""Ascend's and NVIDIA's programs: how they are called, and what they print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.vendors.drivers.ais_bench import run_ais_bench as run_ais_bench
    from pspfast.vendors.drivers.benchmark_tool import run_benchmark as run_benchmark
    from pspfast.vendors.drivers.benchmark_tool import run_pure_inference as run_pure_inference
    from pspfast.vendors.drivers.results import Driven as Driven
    from pspfast.vendors.drivers.trtexec import run_trtexec as run_trtexec
    from pspfast.vendors.texts import read_measurements as read_measurements
    from pspfast.vendors.toolkit import Toolkit as Toolkit
    from pspfast.vendors.toolkit import find_toolkit as find_toolkit
    from pspfast.vendors.toolkit import how_to_enter as how_to_enter

_HOMES = {
    "drivers.ais_bench": ("run_ais_bench",),
    "drivers.benchmark_tool": (
        "run_benchmark",
        "run_pure_inference",
    ),
    "drivers.results": ("Driven",),
    "drivers.trtexec": ("run_trtexec",),
    "texts": ("read_measurements",),
    "toolkit": (
        "Toolkit",
        "find_toolkit",
        "how_to_enter",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
