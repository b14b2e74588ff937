"""How many CPUs a container may use: quotas of both versions of control groups, in trees as systems have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pspfast.system import threads
from pspfast.system.machine import cpu_quota

V2 = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "34 32 0:31 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
V1_DOCKER = V1.replace("0:30 / ", "0:30 /docker/abc ")
DISK = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        # Version 2: within a namespace the group is the root.
        ("0::/\n", DISK + V2, {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", DISK + V2, {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/\n", DISK + V2, {}, None),
        # A pod and a container in it, Kubernetes; a service of systemd; the one above may be the smaller.
        ("0::/p/c\n", V2, {"sys/fs/cgroup/p/c/cpu.max": "40000 10000", "sys/fs/cgroup/p/cpu.max": "5000 10000"}, 0.5),
        ("0::/p/c\n", V2, {"sys/fs/cgroup/p/c/cpu.max": "20000 10000", "sys/fs/cgroup/p/cpu.max": "max 100000"}, 2.0),
        # Somebody else's group, outside of what is mounted.
        ("0::/../other\n", V2, {"sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
        # Version 1.
        (
            "5:memory:/a\n4:cpu,cpuacct:/a\n",
            V1_MEMORY + V1,
            {
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        # Docker shows its own group as the root of the mount.
        (
            "4:cpu,cpuacct:/docker/abc\n0::/system.slice\n",
            V1_DOCKER,
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000",
            },
            2.0,
        ),
        # Both versions, the controller in the first.
        (
            "4:cpu:/\n0::/x\n",
            V1.replace("cpu,cpuacct", "cpu") + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "700000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            7.0,
        ),
        # Nonsense is no quota.
        ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "0 0"}, None),
        ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "many"}, None),
        ("garbage\n\n", "more\n", {}, None),
    ],
)  # fmt: skip
def test_quotas(tmp_path: Path, groups: str, mounts: str, files: dict[str, str], quota: float | None) -> None:
    for path, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert cpu_quota(str(tmp_path)) == quota


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("affinity", "quota", "workers"), [(8, None, 8), (8, 1.5, 2), (8, 2.0, 2), (2, 16.0, 2), (8, 0.25, 1)]
)
def test_workers(monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float | None, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert threads.default_workers() == workers
