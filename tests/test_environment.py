"""``pspfast doctor env``: what is told is what is there."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import numpy as np
import pytest

import pspfast
from pspfast.cli.commands.doctor import main
from pspfast.cli.environment import environment, facts
from pspfast.system.threads import default_workers


def test_kept_with_results() -> None:
    here = environment()
    assert here["isa"] == pspfast.isa()["active"]
    assert here["packages"]["numpy"] == np.__version__
    assert here["python"] == platform.python_version()
    assert here["cores"] == default_workers() <= len(os.sched_getaffinity(0))
    json.dumps(here)


def test_missing_and_found(tmp_path: Path) -> None:
    tool = tmp_path / "trtexec"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    found = {fact.name: fact for fact in facts({"PATH": str(tmp_path)})}
    assert found["trtexec"].value == str(tool)
    assert found["npu-smi"].value == ""
    assert found["atc"].value == "" and "no CANN toolkit" in found["atc"].note
    assert found["numpy"].value == np.__version__


def test_forced_kernels_are_told() -> None:
    assert [fact.note for fact in facts({"PATH": "", "PSPFAST_ISA": "scalar"}) if fact.name == "kernels"] == [
        "PSPFAST_ISA=scalar"
    ]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["env", "--json", str(tmp_path / "env.json")])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"numpy                 {np.__version__}" in out
    assert pspfast.isa()["active"] in out
    told = json.loads((tmp_path / "env.json").read_text())["facts"]
    assert {"about": "package", "name": "pspfast", "value": pspfast.__version__, "note": ""} in told


def test_fix_is_for_models(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["env", "--fix", "out.onnx"])
    assert ended.value.code == 2
    assert "./env" in capsys.readouterr().err
