"""Chips whose names have parts, CANN of conda, codes of newer ATCs, MindSpore's files, and ATC's newest mode."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pspfast.runtimes.engines import runtime_for
from pspfast.system import cann_places
from pspfast.system.cann_places import cann_places as places
from pspfast.system.processes import ToolMissing
from pspfast.vendors.atc_log import family, read_log
from pspfast.vendors.npu_smi import parse_board, parse_info
from pspfast.vendors.soc_version import check_soc_version
from pspfast.vendors.toolkit import find_toolkit

from . import fakes

ROW = """
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
| 3     {name:20}| OK            | 88.4        31                0    / 0             |
| 0                         | 0000:01:00.0  | 2           0    / 0          2877 / 32768         |
"""


@pytest.mark.parametrize("name", ["910B4-1", "310P3", "Ascend950PR", "910_9392", "910B2C", "A-1-2"])
def test_names_of_chips_may_have_parts(name: str) -> None:
    (chip,) = parse_info(ROW.format(name=name)).chips
    assert chip.name == name
    check_soc_version(chip.soc_version)
    assert parse_board(f"Chip Name : {name}\nNPU Name : NA").endswith(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("910B4-1", "do you mean Ascend910B4-1"), ("Ascend910B4-", "expected a chip's name"), ("-x", "expected a chip")],
)
def test_names_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_soc_version(name)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("EZ0501", "this CANN does not have"),
        ("EZ3002", "this chip does not have"),
        ("EZ3003", "this chip does not have"),
        ("EZ9010", "has no parser: another opset"),
        ("EC0010", "a Python module that CANN needs"),
        ("EC0123", "the Python environment of CANN"),
        ("EZ9999", "an operator's own code"),
    ],
)
def test_codes_of_operators_and_modules(code: str, words: str) -> None:
    assert words in family(code)
    (error,) = read_log(f"ATC run failed\n{code}: [PID: 1] 2025-01-01-10:00:00.1 Something about [Some_1].\n").errors
    assert words in str(error)


@pytest.mark.parametrize("place", ["Ascend/cann", "Ascend/ascend-toolkit/latest"])
def test_the_cann_of_a_conda_environment_is_found(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cann_places, "INSTALL_ROOTS", (str(tmp_path / "none"),))
    root = tmp_path / "conda" / place
    (root / "bin").mkdir(parents=True)
    fakes.fake_atc(root / "bin", output="")
    (root / "set_env.sh").write_text("")
    env = {"PATH": "/nowhere", "CONDA_PREFIX": str(tmp_path / "conda")}
    assert str(root) in places(env) and str(root) not in places({})
    with pytest.raises(ToolMissing, match=f"installed in {root}.*\n  source {root}/set_env.sh"):
        find_toolkit(env)
    from pspfast.runtimes.acl_library import _how_to_install

    monkeypatch.setenv("CONDA_PREFIX", env["CONDA_PREFIX"])
    assert f"source {root}/set_env.sh" in _how_to_install()
    monkeypatch.delenv("CONDA_PREFIX")
    assert "/usr/local/Ascend/cann/set_env.sh" in _how_to_install()


# --------------------------------------------------------------------------------------------------- .air and .om2


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; programs are in ``tools``, which is all of PATH."""
    for name in ("tools", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    (tmp_path / "work" / "m.air").write_bytes(b"of MindSpore")
    return tmp_path / "work"


def command(*words: str) -> Result:
    from pspfast.cli.commands.atc import main

    done = CliRunner().invoke(main, ["--soc-version", "Ascend310P3", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_mindspores_files_are_compiled_as_they_are(here: Path) -> None:
    for options in ([], ["--framework", "1"]):
        done = command("m.air", "--dry-run", *options)
        assert done.exit_code == 0, done.output
        assert done.stdout == "atc --framework=1 --model=m.air --output=m --log=error --soc_version=Ascend310P3\n"
    fakes.fake_atc(here.parent / "tools", output=fakes.ATC_START + fakes.ATC_SUCCESS)
    assert command("m.air", "--output", "out").exit_code == 0
    assert (here / "out.om").read_bytes() == b"an om"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.air", "--framework", "5"], "1 is for MindSpore's .air files"),
        (["m.onnx", "--framework", "1"], "1 is for MindSpore's .air files"),
        (["m.air", "--batch", "4"], "has its own shapes and types"),
        (["m.air", "--input-shape", "x:1,3,4,4"], "has its own shapes and types"),
        (["gone.air"], "gone.air: No such file"),
        (["m.air", "--atc-option", "mode=1"], "--mode=1 makes no .om"),
    ],
)
def test_what_does_not_go_with_them(words: list[str], message: str, here: Path) -> None:
    assert here.is_dir()
    done = command(*words, "--dry-run")
    assert done.exit_code == 2 and message in done.stderr


def test_mode_7_makes_an_om2(here: Path) -> None:
    done = command("m.air", "--atc-option", "mode=7", "--output", "n.om2", "--dry-run")
    assert "--output=n " in done.stdout and "this is n.om2" in done.stderr
    fakes.fake_atc(here.parent / "tools", output=fakes.ATC_START + fakes.ATC_SUCCESS)
    done = command("m.air", "--atc-option", "mode=7")
    assert done.exit_code == 1 and "has written no .om2" in done.stderr, "this stand-in writes an .om"
    fakes.fake_atc(here.parent / "tools", suffix=".om2")
    assert command("m.air", "--atc-option", "mode=7").exit_code == 0
    assert sorted(one.name for one in here.iterdir()) == ["m.air", "m.om2", "m.om2.json"]
    assert runtime_for("m.om2") == "acl" and runtime_for("m.om2", "ais_bench") == "ais_bench"
    with pytest.raises(ValueError, match=r"onnxruntime takes \.onnx"):
        runtime_for("m.om2", "onnxruntime")
