"""Tables of npu-smi, by generation of chips."""

from __future__ import annotations

from pathlib import Path

import pytest

from pspfast.system.processes import ToolFailed, ToolMissing
from pspfast.vendors import npu_smi
from pspfast.vendors.npu_smi import Chip, parse_board, parse_info, query, soc_name

from . import fakes


def test_a_card_of_four_310() -> None:
    info = parse_info(fakes.NPU_SMI_310)
    assert info.version == "21.0.2"
    assert [(chip.npu, chip.chip, chip.device) for chip in info.chips] == [(112, i, i) for i in range(4)]
    assert info.chips[1] == Chip(
        112, 1, 1, "310", "OK", "0000:08:00.0", 15.8, 43.0, aicore_percent=37, memory_used=2621, memory=8192
    )
    assert info.chips[3].bus == ""
    assert info.processes == ()


def test_310p3() -> None:
    first, second = parse_info(fakes.NPU_SMI_310P3).chips
    assert (first.power, first.temperature, first.health) == (None, 42.0, "OK")
    assert (second.device, second.health, second.aicore_percent, second.memory) == (1, "Warning", 99, 21534)
    assert {first.soc_version, second.soc_version} == {"Ascend310P3"}
    assert (first.hbm, second.hbm) == (None, None)


def test_processes_are_no_chips() -> None:
    info = parse_info(fakes.NPU_SMI_310P3)
    first, second = info.chips
    assert info.users_of(first) == ()
    (user,) = info.users_of(second)
    assert (user.pid, user.name, user.memory) == (4711, "python3", 512)


def test_910b_has_hbm_and_no_device() -> None:
    (chip,) = parse_info(fakes.NPU_SMI_910B).chips
    assert (chip.device, chip.aicore_percent, chip.memory, chip.hbm_used, chip.hbm) == (None, 5, 0, 3363, 65536)
    assert chip.soc_version == "Ascend910B3"


def test_a3_has_physical_numbers() -> None:
    chips = parse_info(fakes.NPU_SMI_A3).chips
    assert [(chip.device, chip.hbm_used, chip.power) for chip in chips] == [(4, 62449, 165.3), (5, 2887, None)]
    assert chips[0].soc_version == "Ascend910"


@pytest.mark.parametrize(
    "text", ["", "dcmi model initialized failed, because the device is used. ret is -8020", "| 0 |"]
)
def test_no_chip(text: str) -> None:
    with pytest.raises(ValueError, match="no chip"):
        parse_info(text)


def test_board() -> None:
    assert parse_board("        Chip Name                      : 310P3\n        NPU Name   : NA\n") == "Ascend310P3"
    assert parse_board("  Chip Name : Ascend910\n  NPU Name : 9392") == "Ascend910_9392"
    with pytest.raises(ValueError, match="no chip name"):
        parse_board("NPU ID : 0")


def test_soc_name(tmp_path: Path) -> None:
    fakes.fake_npu_smi(tmp_path, fakes.NPU_SMI_310)
    assert soc_name(env=fakes.environment(tmp_path)) == "Ascend310"
    fakes.fake_npu_smi(tmp_path, fakes.NPU_SMI_A3, "Chip Name : Ascend910\nNPU Name : 9382\n")
    assert soc_name(env=fakes.environment(tmp_path)) == "Ascend910_9382"
    assert fakes.calls(tmp_path)[-1] == ["npu-smi", "info", "-t", "board", "-i", "2", "-c", "0"]


def test_chips_of_several_kinds(tmp_path: Path) -> None:
    fakes.fake_npu_smi(tmp_path, fakes.NPU_SMI_310 + fakes.NPU_SMI_910B)
    with pytest.raises(ValueError, match="310, 910B3; name one"):
        soc_name(env=fakes.environment(tmp_path))


def test_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npu_smi, "_FOLDERS", (str(tmp_path / "local"),))
    with pytest.raises(ToolMissing, match="Ascend's driver"):
        query(env=fakes.environment(tmp_path))
    fakes.program(tmp_path, "npu-smi", "print('dcmi module initialize failed. ret is -8005'); sys.exit(1)")
    with pytest.raises(ToolFailed, match="-8005"):
        query(env=fakes.environment(tmp_path))
    fakes.program(tmp_path, "npu-smi", "print('No NPU')")
    with pytest.raises(ToolFailed, match="no chip"):
        query(env=fakes.environment(tmp_path))
    fakes.program(tmp_path, "npu-smi", "time.sleep(60)")
    with pytest.raises(ToolFailed, match="still running"):
        query(env=fakes.environment(tmp_path), timeout=0.3)


def test_a_folder_that_is_not_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    fakes.fake_npu_smi(tmp_path / "local", fakes.NPU_SMI_310P3)
    monkeypatch.setattr(npu_smi, "_FOLDERS", (str(tmp_path / "nowhere"), str(tmp_path / "local")))
    assert len(query(env=fakes.environment(tmp_path)).chips) == 2
