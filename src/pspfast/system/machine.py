"""Facts of this machine and of what this process has taken of it."""

from __future__ import annotations

import os
import platform

__all__ = ["cpu_name", "peak_memory", "physical_memory"]


def cpu_name() -> str:
    """The CPU as it calls itself; the machine's kind if it does not.

    Example:
        >>> bool(cpu_name())
        True
    """
    name = ""
    try:
        with open("/proc/cpuinfo") as file:
            name = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        pass
    return name or platform.processor() or platform.machine()


def peak_memory() -> int:
    """Of this process, in bytes; ``ru_maxrss`` is no less than what the parent had when it started us."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def physical_memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
