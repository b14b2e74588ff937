"""The vendors' tools that measure: command lines as published, and results that are there or an error."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from pspfast.system.processes import ToolFailed, ToolMissing
from pspfast.vendors.drivers import (
    ais_bench_argv,
    benchmark_argv,
    benchmark_program,
    pure_inference_argv,
    run_ais_bench,
    run_benchmark,
    run_pure_inference,
    run_trtexec,
    trtexec_argv,
    trtexec_takes,
)

from . import fakes

GUIDE = """
./benchmark.x86_64 -model_type=vision -om_path=pspnet_r50-d8_512x512_20k_voc12aug_sim_fp16_bs1.om -device_id=0 -batch_size=1 -input_text_path=voc12.info -input_width=500 -input_height=500 -useDvpp=false -output_binary=true
./benchmark.x86_64 -model_type=vision -om_path=pspnet_r50-d8_512x512_20k_voc12aug_sim_fp16_bs16.om -device_id=1 -batch_size=16 -input_text_path=voc12.info -input_width=500 -input_height=500 -useDvpp=false -output_binary=true
./benchmark.x86_64 -round=20 -om_path=pspnet_r50-d8_512x512_20k_voc12aug_bs1.om -device_id=0 -batch_size=1
./benchmark.x86_64 -round=20 -om_path=pspnet_r50-d8_512x512_20k_voc12aug_bs16.om -device_id=0 -batch_size=16
"""  # noqa: E501
PROGRAM = "./benchmark.x86_64"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a model and an info file; programs are in ``tools``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tools").mkdir()
    (tmp_path / "m_bs1.om").write_text("om")
    (tmp_path / "voc12.info").write_text("0 ./bin/a.bin 8 6\n1 ./bin/b.x.bin 8 6\n2 /x/c.bin 8 6\n")
    return tmp_path


def test_command_lines_are_the_guides() -> None:
    name = "pspnet_r50-d8_512x512_20k_voc12aug"
    ours = [
        benchmark_argv(f"{name}_sim_fp16_bs1.om", "voc12.info", program=PROGRAM),
        benchmark_argv(f"{name}_sim_fp16_bs16.om", "voc12.info", program=PROGRAM, device=1, batch=16),
        pure_inference_argv(f"{name}_bs1.om", program=PROGRAM),
        pure_inference_argv(f"{name}_bs16.om", program=PROGRAM, batch=16),
    ]
    assert ours == [shlex.split(line) for line in GUIDE.strip().splitlines()]


def test_width_and_height_are_not_swapped() -> None:
    argv = benchmark_argv("m.om", "i", program=PROGRAM, size=(6, 8))
    assert "-input_width=8" in argv
    assert "-input_height=6" in argv


def test_benchmark_over_a_data_set(here: Path) -> None:
    fakes.fake_benchmark(here / "tools")
    done = run_benchmark("m_bs1.om", "voc12.info", size=(6, 8), device=2, env=fakes.environment(here / "tools"))
    assert [str(file) for file in done.files] == ["result/perf_vision_batchsize_1_device_2.txt"]
    assert "Interface throughputRate: 8.19018" in done.files[0].read_text()
    assert done.dumps is not None
    assert sorted(file.name for file in done.dumps.iterdir()) == ["a_1.bin", "b_1.bin", "c_1.bin"]
    with pytest.raises(ValueError, match="outputs of an earlier run"):
        run_benchmark("m_bs1.om", "voc12.info", size=(6, 8), device=2, env=fakes.environment(here / "tools"))


def test_benchmark_of_the_guide_lies_in_the_folder(here: Path) -> None:
    path = fakes.fake_benchmark(here)
    assert benchmark_program() == f"./{path.name}"
    path.chmod(0o644)
    with pytest.raises(ToolMissing, match="chmod"):
        benchmark_program()
    path.unlink()
    with pytest.raises(ToolMissing, match="CANN 5"):
        benchmark_program(env=fakes.environment(here))


def test_benchmark_that_loses_outputs(here: Path) -> None:
    fakes.fake_benchmark(here / "tools", lose=1)
    with pytest.raises(ToolFailed, match="1 of 3 outputs are missing in result/dumpOutput_device0, c_1"):
        run_benchmark("m_bs1.om", "voc12.info", size=(6, 8), env=fakes.environment(here / "tools"))


def test_figures_of_an_earlier_run_are_not_taken(here: Path) -> None:
    env = fakes.environment(here / "tools")
    fakes.fake_benchmark(here / "tools")
    assert "8.12674" in run_pure_inference("m_bs1.om", env=env).files[0].read_text()
    fakes.fake_benchmark(here / "tools", write_perf=False)
    with pytest.raises(ToolFailed, match="left as an earlier run wrote it"):
        run_pure_inference("m_bs1.om", env=env)
    os.unlink("result/PureInfer_perf_of_m_bs1_in_device_0.txt")
    with pytest.raises(ToolFailed, match="did not write"):
        run_pure_inference("m_bs1.om", env=env)


def test_benchmark_that_fails(here: Path) -> None:
    fakes.fake_benchmark(here / "tools", status=1, output="[ERROR] Failed to set device 0\n")
    with pytest.raises(ToolFailed, match=r"npu-smi info shows it(.|\n)*Failed to set device 0"):
        run_benchmark("m_bs1.om", "voc12.info", size=(6, 8), env=fakes.environment(here / "tools"))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("", "lists no files"),
        ("0 a b.bin 8 6\n", "without blanks"),
        ("0 a.bin 8\n", "expected 'index"),
        ("0 x/a.bin 8 6\n1 y/a.bin 8 6\n", "two files give one output, a_1.bin"),
    ],
)
def test_info_files_that_the_tool_cannot_read(here: Path, info: str, message: str) -> None:
    fakes.fake_benchmark(here / "tools")
    (here / "voc12.info").write_text(info)
    with pytest.raises(ValueError, match=message):
        run_benchmark("m_bs1.om", "voc12.info", env=fakes.environment(here / "tools"))
    assert fakes.calls(here / "tools") == []


def test_a_model_that_is_not_there(here: Path) -> None:
    fakes.fake_benchmark(here / "tools")
    with pytest.raises(FileNotFoundError):
        run_pure_inference("no.om", env=fakes.environment(here / "tools"))


def test_ais_bench_command_lines() -> None:
    assert ais_bench_argv("m.om", inputs=["bins"], output="out", name="run", device=(0, 1), batch=16) == shlex.split(
        "python3 -m ais_bench --model m.om --input bins --output out --output_dirname run --outfmt BIN --device 0,1 "
        "--batchsize 16"
    )
    assert ais_bench_argv("m.om", loop=20, data="random", warm_up=5) == shlex.split(
        "python3 -m ais_bench --model m.om --pure_data_type random --device 0 --loop 20 --warmup_count 5"
    )
    with pytest.raises(ValueError, match="only with --output"):
        ais_bench_argv("m.om", name="run")
    with pytest.raises(ValueError, match="commas"):
        ais_bench_argv("m.om", inputs=["a,b"])


@pytest.mark.parametrize(("mode", "summary"), [("new", "run_summary.json"), ("old", "run/sumary.json")])
def test_ais_bench(here: Path, mode: str, summary: str) -> None:
    fakes.fake_ais_bench(here / "tools", mode=mode)
    (here / "bins").mkdir()
    for name in ("a.bin", "b.bin"):
        (here / "bins" / name).touch()
    env = fakes.environment(here / "tools")
    done = run_ais_bench("m_bs1.om", output="out", name="run", inputs=["bins"], batch=1, env=env)
    assert [str(file) for file in done.files] == [f"out/{summary}"]
    assert json.loads(done.files[0].read_text())["throughput"] == 66.0
    assert done.dumps is not None
    assert {"a_0.bin", "b_0.bin"} <= {file.name for file in done.dumps.iterdir()}
    assert "throughput 1000*batchsize.mean" in done.ran.output
    with pytest.raises(ValueError, match="earlier run"):
        run_ais_bench("m_bs1.om", output="out", name="run", inputs=["bins"], env=env)


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("no module", ToolMissing, "no module ais_bench; .*up to 3.11.* `msprobe install_deps"),
        ("other package", ToolMissing, "another package of the name ais_bench, probably ais_bench_benchmark"),
        ("device", ToolFailed, "the device cannot be opened"),
        ("mismatch", ToolFailed, "filesize: 750000 not match"),
        ("nothing", ToolFailed, "exit status 0 and no summary"),
    ],
)
def test_ais_bench_that_fails(here: Path, mode: str, kind: type[Exception], message: str) -> None:
    fakes.fake_ais_bench(here / "tools", mode=mode)
    with pytest.raises(kind, match=message):
        run_ais_bench("m_bs1.om", output="out", name="run", env=fakes.environment(here / "tools"))


def test_trtexec_command_lines() -> None:
    assert trtexec_argv("m.onnx") == ["trtexec", "--onnx=m.onnx", "--fp16"]
    assert trtexec_argv(
        "m.onnx", shapes={"input": (1, 3, 500, 500), "b": (1, 2)}, fp16=False, explicit_batch=True, times="t.json"
    ) == shlex.split("trtexec --onnx=m.onnx --explicitBatch --shapes=input:1x3x500x500,b:1x2 --exportTimes=t.json")


def test_trtexec_tells_its_flags_and_version(here: Path) -> None:
    env = fakes.environment(here / "tools")
    with pytest.raises(ToolMissing, match="comes with TensorRT"):
        trtexec_takes("--fp16", env=env)
    for version, flags in (("7.2", ({"--fp16": True}, "")), ("8.6", ({"--fp16": True}, "8.6.1")),
                           ("11", ({"--fp16": False}, "11.1.0"))):  # fmt: skip
        fakes.fake_trtexec(here / "tools", version=version)
        assert trtexec_takes("--fp16", env=env) == flags
    fakes.program(here / "tools", "trtexec", "print('hello')")
    with pytest.raises(ToolFailed, match="is this TensorRT's"):
        trtexec_takes("--fp16", env=env)


class TestTrtexec:
    """With ONNX files."""

    def save(self, batch: int | str) -> str:
        onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
        values = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, 3, 6, 8])
            for name in ("input", "y")
        ]
        node = onnx.helper.make_node("Relu", ["input"], ["y"])
        graph = onnx.helper.make_graph([node], "test", values[:1], values[1:])
        Path("m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
        return "m.onnx"

    @pytest.mark.parametrize(
        ("version", "batch", "last"),
        [
            ("7.2", 1, "--onnx=m.onnx --fp16"),
            ("7.2", "batch", "--onnx=m.onnx --fp16 --explicitBatch --shapes=input:16x3x6x8"),
            ("8.6", 1, "--onnx=m.onnx --fp16"),
            ("8.6", "batch", "--onnx=m.onnx --fp16 --shapes=input:16x3x6x8"),
        ],
    )
    def test_gets_shapes_only_where_they_are_open(self, here: Path, version: str, batch: int | str, last: str) -> None:
        fakes.fake_trtexec(here / "tools", version=version)
        wanted = None if batch == 1 else 16
        done = run_trtexec(self.save(batch), batch=wanted, env=fakes.environment(here / "tools"))
        assert fakes.calls(here / "tools")[-1] == ["trtexec", *last.split()]
        assert "&&&& PASSED" in done.ran.output

    def test_times(self, here: Path) -> None:
        fakes.fake_trtexec(here / "tools", version="11")
        env = fakes.environment(here / "tools")
        done = run_trtexec(self.save(1), fp16=False, times="times.json", env=env)
        assert json.loads(done.files[0].read_text())[0]["computeMs"] == 16.2
        with pytest.raises(ValueError, match=r"\(11\.1\.0\) has no --fp16"):
            run_trtexec(self.save(1), env=env)

    def test_refuses_another_batch_than_the_models(self, here: Path) -> None:
        fakes.fake_trtexec(here / "tools")
        env = fakes.environment(here / "tools")
        with pytest.raises(ValueError, match="made for batch 1; trtexec would run that"):
            run_trtexec(self.save(1), batch=16, env=env)
        with pytest.raises(ValueError, match="any batch; say which"):
            run_trtexec(self.save("batch"), env=env)
        assert fakes.calls(here / "tools") == []

    @pytest.mark.parametrize(("mode", "message"), [("fails", "Parsing model failed"), ("half", "without its line")])
    def test_that_fails(self, here: Path, mode: str, message: str) -> None:
        fakes.fake_trtexec(here / "tools", mode=mode)
        with pytest.raises(ToolFailed, match=message):
            run_trtexec(self.save(1), env=fakes.environment(here / "tools"))
