"""Benchmarks: equality is asserted before anything is timed, and ratios come from one run."""
