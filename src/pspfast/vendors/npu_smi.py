"""``npu-smi info``: which Ascend chips this machine has, and who uses them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pspfast.system.processes import Ran, ToolFailed, ToolMissing, must_succeed, run

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Chip", "NpuInfo", "NpuProcess", "parse_board", "parse_info", "query", "soc_name"]

_SECONDS = 60.0  # it hangs where the driver does
_FOLDERS = ("/usr/local/bin", "/usr/local/sbin")

_HEALTH = "OK|Warning|Alarm|Critical|UNKNOWN"
# A name may have parts: 910B4-1.
_CHIP = re.compile(rf"\|\s*(\d+)\s+([0-9A-Za-z][0-9A-Za-z_-]*)\s*\|\s*({_HEALTH})\s*\|([^|]*)\|", re.IGNORECASE)
_PLACE = re.compile(
    r"\|\s*(\d+)(?:\s+(\d+|NA|-))?\s*\|\s*([0-9A-Fa-f]+(?::[0-9A-Fa-f]+)+\.[0-9A-Fa-f]+|NA|-)\s*\|([^|]*)\|"
)
_PROCESS = re.compile(r"\|\s*(\d+)\s+(\d+)\s*\|\s*(\d+)\s*\|\s*([^|]*?)\s*\|\s*(\d+)\s*\|")
_OF = r"(\d+)\s*/\s*(\d+)"

# Where the table names a family only, and the board says which of it: the A3 cards, and 950 (that one is inferred).
_FAMILIES = frozenset({"Ascend910", "Ascend950"})


@dataclass(frozen=True, slots=True)
class Chip:
    """One device. What the table does not show is ``None``; memory is in MB.

    Attributes:
        npu, chip: as ``npu-smi`` counts: cards, and chips of a card.
        device: as programs count, the number for ``--device``; the physical one where the table has that.
        name: as printed, e.g. ``"310P3"``.
        health: as printed, e.g. ``"OK"``.
    """

    npu: int
    chip: int
    device: int | None
    name: str
    health: str
    bus: str = ""
    power: float | None = None
    temperature: float | None = None
    aicore_percent: int | None = None
    memory_used: int | None = None
    memory: int | None = None
    hbm_used: int | None = None
    hbm: int | None = None

    @property
    def soc_version(self) -> str:
        """As ``atc --soc_version`` takes it; true of 310, 310P, 310B, 910 and 910B, others need :func:`soc_name`."""
        return self.name if self.name.startswith("Ascend") else f"Ascend{self.name}"


@dataclass(frozen=True, slots=True)
class NpuProcess:
    """A process that holds memory of a chip, in MB."""

    npu: int
    chip: int
    pid: int
    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class NpuInfo:
    """What ``npu-smi info`` prints. ``version`` is the tool's; empty if it does not say."""

    version: str
    chips: tuple[Chip, ...]
    processes: tuple[NpuProcess, ...]

    def users_of(self, chip: Chip) -> tuple[NpuProcess, ...]:
        """Processes on a chip."""
        return tuple(one for one in self.processes if (one.npu, one.chip) == (chip.npu, chip.chip))


def parse_info(text: str) -> NpuInfo:
    """Read the tables of ``npu-smi info``.

    A chip has two rows: card, name, health; then chip, device, bus. Cards of several chips may print the first row
    for each or once.

    Args:
        text: what it printed; lines before and after the tables do not matter.

    Raises:
        ValueError: there is no chip in it.
    """
    version = re.search(r"npu-smi\s+v?(\d[\w.]*)", text)
    chips: list[Chip] = []
    head: Chip | None = None
    processes = []
    in_processes = False
    for line in map(str.strip, text.splitlines()):
        in_processes = in_processes or "Process id" in line or "No running processes" in line
        if in_processes:
            if found := _PROCESS.match(line):
                npu, chip, pid, name, memory = found.groups()
                processes.append(NpuProcess(int(npu), int(chip), int(pid), name, int(memory)))
        elif found := _CHIP.match(line):
            power, temperature = _numbers(found[4], 2)
            head = Chip(int(found[1]), 0, None, found[2], found[3], power=power, temperature=temperature)
        elif head is not None and (found := _PLACE.match(line)):
            chips.append(
                replace(
                    head,
                    chip=int(found[1]),
                    device=int(found[2]) if found[2] and found[2].isdecimal() else None,
                    bus=found[3] if ":" in found[3] else "",
                    **_use(found[4]),
                )
            )
    if not chips:
        raise ValueError(f"no chip in what npu-smi info printed; it begins {text.strip()[:80]!r}")
    return NpuInfo(version[1] if version else "", tuple(chips), tuple(processes))


def parse_board(text: str) -> str:
    """The soc version of ``npu-smi info -t board -i ID``: chip and NPU name, joined where both are there.

    Raises:
        ValueError: neither is.

    Example:
        >>> parse_board("Chip Name : Ascend910\\nNPU Name : 9382")
        'Ascend910_9382'
    """
    found = dict(re.findall(r"^[ \t|]*(Chip Name|NPU Name)[ \t]*:[ \t]*(\w[\w-]*)", text, re.MULTILINE))
    if "Chip Name" not in found:
        raise ValueError(f"no chip name in what npu-smi printed about the board; it begins {text.strip()[:80]!r}")
    name = found["Chip Name"] if found["Chip Name"].startswith("Ascend") else "Ascend" + found["Chip Name"]
    npu = found.get("NPU Name", "NA")
    return name if npu == "NA" else f"{name}_{npu}"


def query(*, env: Mapping[str, str] | None = None, timeout: float = _SECONDS) -> NpuInfo:
    """Ask ``npu-smi info``. It is not safe to be called many times at once.

    Raises:
        ToolMissing: it is not there: no driver, or a container without it.
        ToolFailed: it failed, hung, or printed no chip.
    """
    ran = must_succeed(_npu_smi(["info"], env, timeout), "is the driver loaded, and may this user use the devices?")
    try:
        return parse_info(ran.output)
    except ValueError as error:
        raise ToolFailed(f"npu-smi info: {error}", ran) from error


def soc_name(*, env: Mapping[str, str] | None = None) -> str:
    """What ``atc --soc_version`` takes for the chips of this machine.

    Raises:
        ToolMissing, ToolFailed: see :func:`query`.
        ValueError: there are chips of several kinds.
    """
    info = query(env=env)
    names = sorted({chip.name for chip in info.chips})
    if len(names) > 1:
        raise ValueError(f"this machine has chips of several kinds, {', '.join(names)}; name one with --soc-version")
    first = info.chips[0]
    if first.soc_version not in _FAMILIES:
        return first.soc_version
    ran = must_succeed(_npu_smi(["info", "-t", "board", "-i", str(first.npu), "-c", str(first.chip)], env, _SECONDS))
    try:
        return parse_board(ran.output)
    except ValueError as error:
        raise ToolFailed(f"{ran.command}: {error}", ran) from error


def _npu_smi(arguments: list[str], env: Mapping[str, str] | None, timeout: float) -> Ran:
    try:
        return run(["npu-smi", *arguments], env=env, timeout=timeout)
    except ToolMissing as error:
        for folder in _FOLDERS:
            try:
                return run([f"{folder}/npu-smi", *arguments], env=env, timeout=timeout)
            except ToolMissing:
                continue
        raise ToolMissing(f"{error}; it comes with Ascend's driver") from error


def _numbers(cell: str, count: int) -> list[float | None]:
    words = (cell.split() + [""] * count)[:count]
    return [float(word) if re.fullmatch(r"\d+(\.\d+)?", word) else None for word in words]


def _use(cell: str) -> dict[str, Any]:
    """AI core load, memory, HBM: ``0  2621 / 8192`` or ``0  0 / 0  3363 / 65536``."""
    use: dict[str, Any] = {}
    if found := re.match(r"\s*(\d+)\s+(?!/)", cell):
        use["aicore_percent"] = int(found[1])
    pairs = re.findall(_OF, cell)
    for (used, whole), pair in zip((("memory_used", "memory"), ("hbm_used", "hbm")), pairs, strict=False):
        use[used], use[whole] = map(int, pair)
    return use
