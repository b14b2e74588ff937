"""The vendors' tools that run and measure models: their command lines, and where their results are.

Each ``..._argv`` gives a command line; each ``run_...`` runs one, makes sure that its results are there, whole and of
this run, and returns texts and files for :mod:`pspfast.vendors.texts`. Nothing is read out of them here.
"""

from pspfast.vendors.drivers.ais_bench import ais_bench_argv, ais_bench_results, run_ais_bench
from pspfast.vendors.drivers.benchmark_tool import (
    benchmark_argv,
    benchmark_program,
    pure_inference_argv,
    run_benchmark,
    run_pure_inference,
)
from pspfast.vendors.drivers.results import Driven
from pspfast.vendors.drivers.trtexec import run_trtexec, trtexec_argv, trtexec_shapes, trtexec_takes

__all__ = [
    "Driven", "ais_bench_argv", "ais_bench_results", "benchmark_argv", "benchmark_program", "pure_inference_argv",
    "run_ais_bench", "run_benchmark", "run_pure_inference", "run_trtexec", "trtexec_argv", "trtexec_shapes",
    "trtexec_takes",
]  # fmt: skip
