"""Facts of this machine, of what this process may use of it, and of what it has taken."""

from __future__ import annotations

import os
import platform

__all__ = ["cpu_name", "cpu_quota", "peak_memory", "physical_memory"]


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


def cpu_quota(root: str = "/") -> float | None:
    """How many CPUs the control groups of this process may use on the average, as containers are limited.

    Quotas of version 2 (``cpu.max``) and version 1 (``cpu.cfs_quota_us``), of the group and all above it that can be
    seen; the smallest of them counts.

    Args:
        root: of the file system.

    Returns:
        ``None`` without a quota, or where control groups cannot be read.
    """
    try:
        with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8", errors="surrogateescape") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
        with open(os.path.join(root, "proc/self/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
            mounts = [found for found in map(_cgroup_mount, file) if found]
    except OSError:
        return None
    quotas = []
    for kind, controllers, mounted, place in mounts:
        for group in groups:
            is_v2 = kind == "cgroup2" and group[:2] == ["0", ""]
            is_v1 = kind == "cgroup" and "cpu" in controllers and len(group) == 3 and "cpu" in group[1].split(",")
            if is_v2 or is_v1:
                quotas += [
                    quota
                    for folder in _group_folders(os.path.join(root, place.lstrip("/")), mounted, group[2])
                    if (quota := _quota_v2(folder) if is_v2 else _quota_v1(folder)) is not None
                ]
    return min(quotas, default=None)


def _cgroup_mount(line: str) -> tuple[str, list[str], str, str] | None:
    """Kind, controllers, mounted group and mount point of a line of ``mountinfo``, if it is of control groups."""
    before, dash, after = line.partition(" - ")
    fields, ends = before.split(" "), after.split()
    if not dash or len(fields) < 5 or len(ends) < 3 or ends[0] not in ("cgroup", "cgroup2"):
        return None
    mounted, place = (one.encode().decode("unicode_escape") if "\\" in one else one for one in fields[3:5])
    return ends[0], ends[2].split(","), mounted, place


def _group_folders(place: str, mounted: str, group: str) -> list[str]:
    """A group's folder and those above it, up to what is mounted; only that where the group is not to be seen."""
    inside = os.path.relpath(group, mounted) if group.startswith("/") and mounted.startswith("/") else ".."
    parts = [] if inside.startswith("..") else [part for part in inside.split("/") if part not in ("", ".")]
    return [os.path.join(place, *parts[:count]) for count in range(len(parts) + 1)]


def _quota_v2(folder: str) -> float | None:
    quota, _, period = _first_line(os.path.join(folder, "cpu.max")).partition(" ")
    return _ratio(quota, period)


def _quota_v1(folder: str) -> float | None:
    quota, period = (_first_line(os.path.join(folder, f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
    return _ratio(quota, period)


def _first_line(path: str) -> str:
    try:
        with open(path) as file:
            return file.readline().strip()
    except (OSError, ValueError):
        return ""  # the root group has none


def _ratio(quota: str, period: str) -> float | None:
    """CPUs of a quota in microseconds a period; ``max`` and -1 are none."""
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def peak_memory() -> int:
    """Of this process, in bytes; ``ru_maxrss`` is no less than what the parent had when it started us."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def physical_memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
