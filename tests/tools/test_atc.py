"""ATC: the guide's command lines, what is refused, what becomes of its run, and what its log says."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pspfast.system import cann_places
from pspfast.system.processes import ToolMissing
from pspfast.vendors import npu_smi
from pspfast.vendors.atc import parse_shapes
from pspfast.vendors.atc_log import family, read_log
from pspfast.vendors.toolkit import find_toolkit, how_to_enter

from . import fakes

GUIDE = """
atc --framework=5 --model=pspnet_r50-d8_512x512_20k_voc12aug_sim.onnx  --output=pspnet_r50-d8_512x512_20k_voc12aug_sim_bs1 --input_format=NCHW --input_shape=" input:1,3,500,500" --log=debug --soc_version=Ascend310 --input_fp16_nodes=input
atc --framework=5 --model=pspnet_r50-d8_512x512_20k_voc12aug_sim.onnx  --output=pspnet_r50-d8_512x512_20k_voc12aug_sim_bs16 --input_format=NCHW --input_shape=" input:16,3,500,500" --log=debug --soc_version=Ascend310 --input_fp16_nodes=input
"""  # noqa: E501
NAME = "pspnet_r50-d8_512x512_20k_voc12aug_sim.onnx"

# The parser of ATC trims names, so the guide's blank means nothing and is not written here.
LINES = [[word.replace("= input", "=input") for word in shlex.split(line)] for line in GUIDE.strip().splitlines()]


# --------------------------------------------------------------------------------------------------------------- logs


def test_log_of_success_with_warnings() -> None:
    log = read_log(
        fakes.ATC_START
        + fakes.ATC_SUCCESS
        + "W11001: Op [AvgPool_1] does not hit the high-priority operator information library.\n"
        "        Possible Cause: its kernel is too large\n"
        "W11001: Op [AvgPool_1] does not hit the high-priority operator information library.\n"
    )
    assert (log.succeeded, log.failed, log.errors) == (True, False, ())
    assert [(one.code, one.cause) for one in log.warnings] == [("W11001", "its kernel is too large")]
    assert "may be slow" in log.warnings[0].meaning


@pytest.mark.parametrize(
    ("style", "code", "text", "meaning"),
    [
        ("until 7", "E19010", "No parser is registered for Op", "opset"),
        ("8", "E10016", "Opname [inputs] specified in", "names of its inputs"),
        ("newest", "E10001", "Invalid_Argument: Value [12] for parameter", "a value that the flag"),
    ],
)
def test_the_three_styles_of_errors(style: str, code: str, text: str, meaning: str) -> None:
    log = read_log(fakes.ATC_START + fakes.ATC_STYLES[style])
    assert (log.succeeded, log.failed) == (False, True)
    (error,) = log.errors
    assert error.code == code
    assert error.text.startswith(text)
    assert meaning in error.meaning
    assert error.solution
    assert "Call InitGraphInfo" not in str(error)
    if style == "8":
        assert error.cause == "The operator does not exist in the model."
        assert error.solution.endswith("and that its name is spelled right.")


def test_errors_after_a_traceback_count() -> None:
    log = read_log(fakes.ATC_STYLES["8"] + "E19999: Inner Error!\n        and more of it\n")
    assert [(one.code, one.text[-10:]) for one in log.errors][1:] == [("E19999", "more of it")]


def test_errors_without_a_code() -> None:
    (error,) = read_log("ERROR: unknown command line flag 'precision_mode_v2'\n").errors
    assert "does not know" in error.meaning
    (error,) = read_log("Traceback:\nModuleNotFoundError: No module named 'decorator'\n").errors
    assert "pip install" in error.meaning
    (error,) = read_log("atc: error while loading shared libraries: libascend_hal.so: cannot open\n").errors
    assert "devlib" in error.meaning


def test_the_log_itself_on_the_screen_is_no_error() -> None:
    log = read_log(
        "[ERROR] GE(12,atc.bin):2024-05-06 E19999 something\n[INFO] TEFUSION(1): EZ9999\n" + fakes.ATC_SUCCESS
    )
    assert log.succeeded
    assert log.errors == ()


@pytest.mark.parametrize(
    ("code", "word"), [("E10410", "file"), ("E12001", "TensorFlow"), ("EZ9999", "operator"), ("EL0003", "driver"),
                       ("E29999", "ops package"), ("E40021", "Python"), ("W11003", "fast form"), ("Q1", "")]
)  # fmt: skip
def test_families(code: str, word: str) -> None:
    assert word in family(code)
    assert bool(family(code)) == bool(word)


# ------------------------------------------------------------------------------------------------------------ toolkit


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_toolkit_by_path(tmp_path: Path) -> None:
    found = executable(tmp_path / "cann-8.5.0/bin/atc")
    (tmp_path / "cann-8.5.0/opp").mkdir()
    kit = find_toolkit({"PATH": str(found.parent)}, ())
    assert (kit.atc, kit.found_by, kit.root, kit.version) == (str(found), "PATH", str(tmp_path / "cann-8.5.0"), "8.5.0")
    assert kit.unset == ("ASCEND_OPP_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
    whole = {"ASCEND_OPP_PATH": "x", "LD_LIBRARY_PATH": "x", "PYTHONPATH": "x"}
    assert find_toolkit({"PATH": str(found.parent), **whole}, ()).unset == ()


@pytest.mark.parametrize("name", ["ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"])
@pytest.mark.parametrize("folder", ["bin", "atc/bin"])
def test_toolkit_by_variable(tmp_path: Path, name: str, folder: str) -> None:
    executable(tmp_path / folder / "atc")
    info = tmp_path / f"{platform.machine()}-linux/ascend_toolkit_install.info"
    info.parent.mkdir()
    info.write_text("package_name=Ascend-cann-toolkit\nversion=8.0.RC2\narch=x86_64\n")
    kit = find_toolkit({"PATH": "/nowhere", name: str(tmp_path)}, ())
    assert (kit.atc, kit.found_by, kit.version) == (str(tmp_path / folder / "atc"), name, "8.0.RC2")


def test_a_toolkit_that_the_shell_does_not_know(tmp_path: Path) -> None:
    new, old, oldest = tmp_path / "cann", tmp_path / "ascend-toolkit/latest", tmp_path / "5.0/latest"
    for root in (new, old):
        executable(root / "bin/atc")
    executable(oldest / "atc/bin/atc")
    (new / "set_env.sh").touch()
    (tmp_path / "ascend-toolkit/set_env.sh").touch()
    for root, line in ((new, f"source {new}/set_env.sh"), (old, f"source {tmp_path}/ascend-toolkit/set_env.sh")):
        with pytest.raises(ToolMissing, match=rf"is installed in {root}(.|\n)*Type\n  {line}\n"):
            find_toolkit({"PATH": "/nowhere"}, (str(tmp_path / "no"), str(root)))
    assert f"ASCEND_OPP_PATH={oldest}/opp" in how_to_enter(str(oldest))


def test_no_toolkit_says_where_it_looked(tmp_path: Path) -> None:
    env = {"PATH": "/nowhere", "ASCEND_HOME_PATH": str(tmp_path)}
    with pytest.raises(ToolMissing) as caught:
        find_toolkit(env, (str(tmp_path), "/no/such"))
    for fact in ("PATH", "ASCEND_TOOLKIT_HOME is not set", f"ASCEND_HOME_PATH is {tmp_path}, which has no bin/atc",
                 f"{tmp_path} has no atc", "/no/such is not there", "--dry-run"):  # fmt: skip
        assert fact in str(caught.value)


# --------------------------------------------------------------------------------------------------------- the command


def test_shapes() -> None:
    assert parse_shapes(" a:b:1,3 ; c : -1,1~10 ;") == {"a:b": ("1", "3"), "c": ("-1", "1~10")}
    for wrong in ("", "input", "input:", "input:1,x", "input:1.5", "a:1;a:2", ":1,2"):
        with pytest.raises(ValueError, match="input-shape"):
            parse_shapes(wrong)


def save(path: Path, batch: int | str | None = "n", *, size: int = 8, kernel: int = 2, kind: str = "FLOAT") -> Path:
    """A pool, which stands for a network."""
    onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    helper, tensor = onnx.helper, getattr(onnx.TensorProto, kind)
    shape = [batch, size, size, 3] if kind == "UINT8" else [batch, 3, size, size]
    out = [batch, 3, size // kernel, size // kernel]
    nodes = [helper.make_node("AveragePool", ["input"], ["output"], "pool", kernel_shape=[kernel] * 2,
                              strides=[kernel] * 2)]  # fmt: skip
    if kind == "UINT8":
        nodes, out = [helper.make_node("Identity", ["input"], ["output"])], shape
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("input", tensor, shape)],
        [helper.make_tensor_value_info("output", tensor, out)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; programs are in ``tools``, which is all of PATH."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    monkeypatch.setattr(cann_places, "INSTALL_ROOTS", (str(tmp_path / "no/such/cann"),))
    monkeypatch.setattr(npu_smi, "_FOLDERS", ())
    return tmp_path / "work"


def command(*words: str) -> Result:
    from pspfast.cli.commands.atc import main

    done = CliRunner().invoke(main, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def refused(*words: str) -> str:
    done = command("--soc-version", "Ascend310", *words)
    assert done.exit_code == 2, done.output
    return done.stderr


def test_the_guides_lines(here: Path) -> None:
    save(here / NAME, size=500)
    done = command(NAME, "--soc-version", "Ascend310", "--batch", "1", "16", "--log", "debug", "--dry-run")
    assert [shlex.split(line) for line in done.stdout.splitlines()] == LINES
    default = command(NAME, "--soc-version", "Ascend310", "--batch", "1", "16", "--dry-run")
    assert default.stdout == done.stdout.replace("--log=debug", "--log=error")
    assert default.stderr == ""
    assert fakes.calls(here.parent / "tools") == []


def test_the_guides_lines_work_as_they_are(here: Path) -> None:
    save(here / NAME, batch=1, size=500)
    for text, line in zip(GUIDE.strip().splitlines(), LINES, strict=True):
        done = command(*shlex.split(text)[1:], "--allow-fixed-batch", "--dry-run")
        assert shlex.split(done.stdout) == line


def test_both_files_are_made(here: Path) -> None:
    model = save(here / "m_sim.onnx")
    fakes.fake_atc(here.parent / "tools", output=fakes.ATC_START + fakes.ATC_SUCCESS + "W11001: Op [pool] is slow.\n")
    done = command("m_sim.onnx", "--soc-version", "Ascend310", "--batch", "1", "16")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in here.iterdir()) == [
        "m_sim.onnx", "m_sim_bs1.om", "m_sim_bs1.om.json", "m_sim_bs16.om", "m_sim_bs16.om.json"
    ]  # fmt: skip
    assert "ATC run success" in done.stderr
    assert "W11001: Op [pool] is slow" in done.stderr
    record = json.loads((here / "m_sim_bs16.om.json").read_text())
    assert record["batch"] == 16
    assert record["om"]["sha256"] == hashlib.sha256(b"an om").hexdigest()
    assert record["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert record["argv"][1:] == fakes.calls(here.parent / "tools")[1][1:]
    assert record["command"][2] == "--model=m_sim.onnx"
    assert [warning["code"] for warning in record["warnings"]] == ["W11001"]
    assert record["toolkit"]["found_by"] == "PATH"


@pytest.mark.parametrize("style", fakes.ATC_STYLES)
def test_failure_leaves_what_was_there(here: Path, style: str) -> None:
    save(here / "m.onnx")
    (here / "m_bs1.om").write_text("earlier")
    fakes.fake_atc(here.parent / "tools", output=fakes.ATC_START + fakes.ATC_STYLES[style], status=255)
    done = command("m.onnx", "--soc-version", "Ascend310", "--quiet")
    assert done.exit_code == 1
    assert "which is about" in done.stderr
    assert "ATC start working" not in done.stderr
    assert (here / "m_bs1.om").read_text() == "earlier"
    assert sorted(path.name for path in here.iterdir()) == ["m.onnx", "m_bs1.om"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"output": fakes.ATC_START}, "without saying 'ATC run success'"),
        ({"status": 255, "output": fakes.ATC_START}, "before its end (exit status 255"),
        ({"status": 255, "output": fakes.ATC_FAILURE}, "without saying why"),
        ({"output": fakes.ATC_FAILURE}, "without saying why"),
        ({"status": 1}, "exit status 1"),
        ({"suffix": None}, "has written no .om"),
        ({"om": ""}, "has written an empty m_bs1.om"),
        ({"then": "os.kill(os.getpid(), 9)", "output": fakes.ATC_START}, "SIGKILL (somebody killed it"),
        ({"then": "os.kill(os.getpid(), 9)"}, "ended by SIGKILL"),
        ({"output": "ERROR: unknown command line flag 'log'\n", "status": 1}, "does not know"),
    ],
)
def test_other_ways_to_fail(here: Path, facts: dict[str, Any], message: str) -> None:
    save(here / "m.onnx")
    fakes.fake_atc(here.parent / "tools", **facts)
    done = command("m.onnx", "--soc-version", "Ascend310")
    assert done.exit_code == 1
    assert message in done.stderr
    assert "ASCEND_OPP_PATH" in done.stderr
    assert [path.name for path in here.iterdir()] == ["m.onnx"]


def test_one_failure_of_two_keeps_the_other(here: Path) -> None:
    save(here / "m.onnx")
    fakes.fake_atc(
        here.parent / "tools", then="'_bs1' in flags['output'] and not '_bs16' in flags['output'] and sys.exit(255)"
    )
    done = command("m.onnx", "--soc-version", "Ascend310", "--batch", "1", "16")
    assert done.exit_code == 1
    assert (here / "m_bs16.om").exists()
    assert not (here / "m_bs1.om").exists()


def test_the_name_that_atc_gives_is_kept(here: Path) -> None:
    save(here / "m.onnx")
    fakes.fake_atc(here.parent / "tools", suffix="_linux_x86_64.om")
    done = command("m.onnx", "--soc-version", "Ascend310P3", "--output", "out/x.om")
    assert done.exit_code == 0, done.output
    assert (here / "out/x_linux_x86_64.om").read_text() == "an om"
    assert done.stdout.startswith("out/x_linux_x86_64.om: Ascend310P3, batch 1")
    assert "ATC adds .om itself" in done.stderr


def test_a_hung_atc_is_ended(here: Path) -> None:
    save(here / "m.onnx")
    fakes.fake_atc(here.parent / "tools", suffix=None, then="time.sleep(60)")
    done = command("m.onnx", "--soc-version", "Ascend310", "--timeout", "1")
    assert done.exit_code == 1
    assert "still running after 1 s" in done.stderr
    assert [path.name for path in here.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(here: Path, number: signal.Signals, status: int) -> None:
    save(here / "m.onnx")
    fakes.fake_atc(here.parent / "tools", then="time.sleep(60)")
    words = ["m.onnx", "--soc-version", "Ascend310"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pspfast.cli.commands.atc", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    until = time.monotonic() + 60
    while not list(here.glob(".m_bs1.atc-*/made/m_bs1.om")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert [path.name for path in here.iterdir()] == ["m.onnx"]


def test_no_toolkit_is_exit_status_3(here: Path) -> None:
    save(here / "m.onnx")
    done = command("m.onnx", "--soc-version", "Ascend310")
    assert done.exit_code == 3
    assert "no CANN toolkit" in done.stderr


def test_an_output_that_cannot_be_written(here: Path) -> None:
    save(here / "m.onnx")
    fakes.fake_atc(here.parent / "tools")
    (here / "file").touch()
    done = command("m.onnx", "--soc-version", "Ascend310", "--output", "file/x")
    assert done.exit_code == 1
    assert "cannot write" in done.stderr
    (here / "x.om").mkdir()
    assert "cannot write" in command("m.onnx", "--soc-version", "Ascend310", "--output", "x").stderr


# -------------------------------------------------------------------------------------------- what is in a command line


def argv(*words: str) -> dict[str, str]:
    """Flags of the one line that comes of an ordinary call."""
    done = command("m.onnx", "--soc-version", "Ascend310", "--dry-run", *words)
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    return dict(word.lstrip("-").split("=", 1) for word in shlex.split(line)[1:])


def test_every_flag(here: Path) -> None:
    save(here / "m.onnx")
    for name in ("p.ini", "f.cfg", "k.cfg"):
        (here / name).touch()
    given = {
        "input_format": "ND", "output_type": "FP16", "out_nodes": "pool:0", "precision_mode": "allow_mix_precision",
        "op_precision_mode": "p.ini", "op_select_implmode": "high_precision", "optypelist_for_implmode": "Pooling",
        "enable_small_channel": "1", "fusion_switch_file": "f.cfg", "log": "null",
    }  # fmt: skip
    others = {"buffer_optimize": "off_optimize", "keep_dtype": "k.cfg", "display_model_info": "1"}
    words = [f"--{name}={value}" for name, value in given.items()]
    words += [f"--atc-option={name}={value}" for name, value in others.items()]
    found = argv(*words)
    assert found.items() >= (given | others).items()
    fakes.fake_atc(here.parent / "tools")
    done = command("m.onnx", "--soc-version", "Ascend310", *words)
    assert done.exit_code == 0, done.output
    call = fakes.calls(here.parent / "tools")[0]
    for name, value in (given | others).items():
        assert f"--{name}={here / value if '.' in value else value}" in call
    assert argv("--precision_mode_v2=mixed_float16")["precision_mode_v2"] == "mixed_float16"


def test_types_of_inputs(here: Path) -> None:
    save(here / "m.onnx")
    assert argv()["input_fp16_nodes"] == "input"
    assert "input_fp16_nodes" not in argv("--keep-input-type")
    save(here / "m.onnx", kind="FLOAT16")
    assert "input_fp16_nodes" not in argv()
    assert "input_fp16_nodes" not in argv("--input-fp16-nodes", "input")
    assert argv()["input_format"] == "NCHW"
    save(here / "m.onnx", kind="UINT8")
    assert "input_fp16_nodes" not in argv()
    assert argv()["input_format"] == "ND"


def test_batches(here: Path) -> None:
    save(here / "m.onnx", batch=4)
    assert argv()["output"] == "m_bs4"
    assert argv("--batch", "8", "--allow-fixed-batch")["input_shape"] == "input:8,3,8,8"
    assert argv("--input-shape", "input:4,3,8,8", "--output", "x")["output"] == "x"
    save(here / "m.onnx")
    found = argv("--dynamic-batch-size", "1,4,16")
    assert (found["input_shape"], found["dynamic_batch_size"], found["output"]) == (
        "input:-1,3,8,8",
        "1,4,16",
        "m_dynamic",
    )
    found = argv("--dynamic-image-size", "8,8;4,4")
    assert found["input_shape"] == "input:1,3,-1,-1"
    assert argv("--input-shape", "input:-1,3,8,8", "--dynamic-dims", "1;2")["dynamic_dims"] == "1;2"


def test_a_name_that_has_the_batch_gets_no_second_one(here: Path) -> None:
    save(here / "m_bs16.onnx", batch=16)
    done = command("m_bs16.onnx", "--soc-version", "Ascend310", "--dry-run")
    assert "--output=m_bs16 " in done.stdout
    done = command("m_bs16.onnx", "--soc-version", "Ascend310", "--dry-run", "--batch", "1", "--allow-fixed-batch")
    assert "--output=m_bs16_bs1 " in done.stdout


def test_aipp(here: Path) -> None:
    from pspfast.vendors.aipp import Aipp

    save(here / "m.onnx")
    fakes.fake_atc(here.parent / "tools")
    (here / "a.cfg").write_text(Aipp((1, 2, 3), (1, 1, 1), (8, 8), swap=True).text())
    found = argv("--insert-op-conf", "a.cfg")
    assert found["insert_op_conf"] == "a.cfg"
    assert "input_fp16_nodes" not in found
    assert command("m.onnx", "--soc-version", "Ascend310", "--insert-op-conf", "a.cfg").exit_code == 0
    (here / "b.cfg").write_text(Aipp((1, 2, 3), (1, 1, 1), (4, 8), swap=True).text())
    assert "4 by 8, neither cut nor padded, but input input of m.onnx is 8 by 8" in refused(
        "m.onnx", "--insert-op-conf", "b.cfg"
    )
    (here / "c.cfg").write_text(Aipp((1, 2, 3), (1, 1, 1), (8, 8), swap=True, input=1).text())
    assert "has 1 inputs" in refused("m.onnx", "--insert-op-conf", "c.cfg")
    assert "is behind AIPP" in refused("m.onnx", "--insert-op-conf", "a.cfg", "--input-fp16-nodes", "input")
    (here / "d.cfg").write_text("nothing")
    assert "d.cfg: no aipp_op" in refused("m.onnx", "--insert-op-conf", "d.cfg")
    assert "No such file" in refused("m.onnx", "--insert-op-conf", "no.cfg")
    save(here / "u.onnx", kind="UINT8")
    assert "normalizes them itself" in refused("u.onnx", "--insert-op-conf", "a.cfg")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--input-fp16-nodes images", "no input 'images'; it has input"),
        ("--input-shape images:1,3,8,8", "no input 'images'; it has input"),
        ("--input-shape input:1,3,8", "has 4 dimensions"),
        ("--input-shape input:1,3,9,8", "is made for n,3,8,8"),
        ("--input-shape input:0,3,8,8", "positive"),
        ("--input-shape input:2,3,8,8 --batch 1", "say different things"),
        ("--input-shape input:x", "expected NAME:1,3,500,500"),
        ("--batch 2 2", "same batch twice"),
        ("--batch 1 --dynamic-batch-size 1,2", "decided when it runs"),
        ("--dynamic-batch-size 4", "2 to 100"),
        ("--dynamic-batch-size 4,4", "2 to 100 different"),
        ("--dynamic-batch-size 4;8", "expected 1,4,8,16"),
        ("--dynamic-batch-size 1,2 --dynamic-image-size 8,8;4,4", "exclude each other"),
        ("--dynamic-batch-size 1,2 --input-shape input:1,3,8,8", "needs -1"),
        ("--dynamic-batch-size 1,2 --input-shape input:-1,3,-1,8", "only the first"),
        ("--dynamic-dims 1;2", "needs --input-shape"),
        ("--precision-mode force_fp16 --precision-mode-v2 fp16", "exclude each other"),
        ("--op-precision-mode no.ini", "No such file"),
        ("--atc-option nothing", "expected NAME=VALUE"),
        ("--atc-option soc_version=Ascend310", "has an option of its own"),
        ("--atc-option log=info", "is an option of its own"),
        ("--atc-option mode=1", "makes no .om"),
        ("--atc-option auto_tune_mode=RL", "E10001"),
        ("--atc-option Keep-Dtype=x", "no name of a flag"),
        ("--keep-input-type --input-fp16-nodes input", "say different things"),
        ("--model m.onnx", "once"),
        ("--output out/", "has no name"),
        ("--output a+b", "not '+'"),
        ("--soc-version 310P3", "do you mean Ascend310P3"),
        ("--soc-version Ascend310P", "is a family"),
        ("--soc-version Ascend310;x", "expected a chip's name"),
        ("--log loud", "Invalid value"),
        ("--framework 3", "Invalid value"),
        ("--timeout 0", "Invalid value"),
    ],
)
def test_refused_before_atc_starts(here: Path, words: str, message: str) -> None:
    save(here / "m.onnx")
    fakes.fake_atc(here.parent / "tools")
    assert message in refused("m.onnx", *words.split())
    assert fakes.calls(here.parent / "tools") == []
    assert [path.name for path in here.iterdir()] == ["m.onnx"]


def test_models_that_are_refused(here: Path) -> None:
    save(here / "one.onnx", batch=1)
    assert "made for batch 1 (input is 1,3,8,8), not for 16" in refused("one.onnx", "--batch", "16")
    assert "--allow-fixed-batch" in refused("one.onnx", "--dynamic-batch-size", "1,2")
    save(here / "a b.onnx")
    assert "not ' '" in refused("a b.onnx")
    assert "No such file" in refused("no.onnx")
    (here / "junk.onnx").write_text("junk")
    assert "not an ONNX model" in refused("junk.onnx")
    (here / "with blank").mkdir()
    assert "name the ONNX file" in refused()


def test_an_absolute_path_that_atc_does_not_take(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.fake_atc(here.parent / "tools")
    (here / "with blank").mkdir()
    save(here / "with blank/m.onnx")
    monkeypatch.chdir(here / "with blank")
    assert "absolute path" in refused("m.onnx")


def test_pools_on_the_ai_cpu_are_refused(here: Path) -> None:
    save(here / "m.onnx", size=63, kernel=21)
    message = refused("m.onnx")
    assert "pool: AveragePool 21x21" in message
    assert "pspfast doctor m.onnx --fix OUT" in message
    assert argv("--allow-aicpu-pools")["input_shape"] == "input:1,3,63,63"


def test_the_chip_of_this_machine(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(here / "m.onnx")
    monkeypatch.setitem(sys.modules, "acl", None)
    done = command("m.onnx", "--dry-run")
    assert done.exit_code == 2
    assert "--soc-version Ascend310" in done.stderr

    class Acl:
        @staticmethod
        def get_soc_name() -> str | None:
            return "Ascend310B4"

    monkeypatch.setitem(sys.modules, "acl", Acl)
    assert "--soc_version=Ascend310B4" in command("m.onnx", "--dry-run").stdout
    monkeypatch.setattr(Acl, "get_soc_name", staticmethod(lambda: None))
    assert "gave None" in command("m.onnx", "--dry-run").stderr
    fakes.fake_npu_smi(here.parent / "tools", fakes.NPU_SMI_310P3)
    assert "--soc_version=Ascend310P3" in command("m.onnx", "--dry-run").stdout
