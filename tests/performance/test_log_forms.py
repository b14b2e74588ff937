"""The forms that logs come in: with something before each line, in UTF-16, as excerpts in documents with errors."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from pspfast.cli.commands.compare_perf import main
from pspfast.formats.measurements import Measurement, benchmark_json
from pspfast.vendors.texts import parse, read, read_measurements
from tests.performance import texts

if TYPE_CHECKING:
    from pathlib import Path

TRT_8 = texts.trt_8("trtexec --onnx=m.onnx --shapes=input:16x3x500x500")
LOGS = {
    "trtexec 8": TRT_8,
    "trtexec 7": texts.TRT_7,
    "ais_bench": texts.AIS_2023,
    "ais_bench, early": texts.AIS_EARLY,
    "two devices": texts.AIS_TWO_DEVICES,
    "perf_vision": texts.PERF_BS1,
    "PureInfer": texts.PURE_STDOUT,
    "msame": "Inference average time: 126.5 ms\nInference average time without first time: 125.0 ms\n",
}
PREFIXES = [
    "trt-1  | ",  # docker compose
    "2026-05-01T12:00:00.1234567Z ",  # GitHub Actions
    "[12:00:01] ",
    "[2026-05-01T12:00:01.123Z] ",  # Jenkins
    "[pod/bench-0/main] ",  # kubectl logs --prefix
    "May 01 12:00:00 host bench[4242]: ",  # journald
    "2026-05-01 12:00:00,123 INFO stdout: ",  # Python's logging
    "\x1b[36mtrt-1  |\x1b[0m ",
    "   12\t",  # cat -n
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("tool", LOGS)
def test_something_before_each_line(tool: str, prefix: str) -> None:
    plain = parse(LOGS[tool], "log").measurements
    kept = parse("".join(prefix + line for line in LOGS[tool].splitlines(keepends=True)), "log").measurements
    assert kept == plain


def test_a_prefixed_log_that_failed_or_is_cut_short() -> None:
    def kept(text: str) -> str:
        return "".join("trt-1  | " + line for line in text.splitlines(keepends=True))

    with pytest.raises(ValueError, match="this run of trtexec failed"):
        parse(kept(texts.trt_8("trtexec --onnx=m", passed=False)), "log")
    with pytest.raises(ValueError, match=r"cut short: trtexec's last line"):
        parse(kept(TRT_8.rsplit("&&&&", 1)[0]), "log")
    with pytest.raises(ValueError, match=r"2 runs|twice"):
        parse(kept(TRT_8 + TRT_8), "log")


def test_numbers_with_commas() -> None:
    with pytest.raises(ValueError, match=r"log writes its numbers with commas \(19,67 qps\)"):
        parse(TRT_8.replace(".0 ms", ",0 ms").replace("19.67", "19,67"), "log")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
@pytest.mark.parametrize("tool", LOGS)
def test_encodings_with_a_mark(tmp_path: Path, tool: str, encoding: str) -> None:
    """As PowerShell's > writes them."""
    file = tmp_path / "log"
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-8": codecs.BOM_UTF8}[encoding]
    file.write_bytes(mark + LOGS[tool].replace("\n", "\r\n").encode(encoding))
    assert read(file).measurements == parse(LOGS[tool], str(file)).measurements


def test_utf_16_json_and_what_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text(json.dumps([{"computeMs": 4.0, "latencyMs": 5.0}] * 3), encoding="utf-16")
    assert read(file).measurements[0].throughput == 250
    file.write_bytes(codecs.BOM_UTF16_LE + b"\0\0" * 50)
    with pytest.raises(ValueError, match="log is not text"):
        read(file)
    file.write_bytes(codecs.BOM_UTF16_LE + "Throughput".encode("utf-16-le")[:-1])
    with pytest.raises(ValueError, match="no tool's output is recognised"):
        read(file)


# ---- documents ----


def excerpt(command: str, mean: float) -> str:
    """The part of a log of 7.2 that documents show."""
    lines = [f"GPU Compute\nmin: {mean - 1:g}ms", f"max: {mean + 1:g} ms", f"mean: {mean:g} ms", f"median: {mean:g} ms"]
    return f"&&&& RUNNING TensorRT.trtexec # {command}\n...\n" + "\n".join(
        texts.TRT_STAMP + line for line in "\n".join(lines).splitlines()
    )


def test_excerpts_without_passed() -> None:
    document = f"# T4\n```\n{excerpt('trtexec --onnx=m.onnx --shapes=x:1x3x5x5', 5.0)}\n```\n\n" + (
        f"```\n{excerpt('trtexec --onnx=m.onnx --shapes=x:16x3x5x5', 64.0)}\n```\n"
    )
    reading = parse(document, "d.md")
    assert [(one.batch, one.latency_ms["min"], one.throughput) for one in reading.measurements] == [
        (1, 4, 200), (16, 63, 1000 / 64),
    ]  # fmt: skip
    assert reading.left_out == ()
    with pytest.raises(ValueError, match="last line, '&&&& PASSED', is missing"):
        parse(excerpt("trtexec --onnx=m.onnx", 5.0), "log")


def test_a_throughput_alone_in_a_document() -> None:
    document = "trtexec --onnx=m.onnx --shapes=x:4x3x5x5 (TensorRT 8.6.1)\n```\n[I] Throughput: 19.67 qps\n```\n"
    (one,) = parse(document, "d.md").measurements
    assert (one.kind, one.throughput, one.batch) == ("wall clock", 19.67, 4)


GOOD = f"perf_vision_batchsize_1_device_0.txt of the Ascend 310:\n```\n{texts.PERF_BS1}```\n"
BAD = {
    "a comma lost": texts.PERF_BS16.replace("8.21425,", "8.21425"),
    "twice": texts.PERF_BS1 + texts.PERF_BS16,
    "a run that failed": texts.trt_8("trtexec --onnx=m.onnx", passed=False),
    "contradictory": texts.AIS_2023.replace("(16)", "(8)"),
    "damaged JSON": '{"NPU_compute_time": {"mean": 5',
    "beyond a float": texts.PERF_BS1.replace("7.85666", "1e999"),
    "out of order": texts.AIS_2023.replace("min = 116.1", "min = 130.1"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_block_that_is_no_good_is_left_out(tmp_path: Path, bad: str, is_first: bool) -> None:
    block = f"\n\n\n\n\nAnother:\n```\n{bad}\n```\n"
    document = block + GOOD if is_first else GOOD + block
    line = document[: document.index(bad)].count("\n") + 1
    file = tmp_path / "d.md"
    file.write_text(document)
    reading = read(file)
    assert len(reading.measurements) == 6
    (left_out,) = reading.left_out
    assert left_out.startswith(f"{file}:{line}")
    with pytest.raises(ValueError, match=r"d\.md:"):  # whoever cannot tell of it
        read_measurements(file)
    result = CliRunner().invoke(main, [str(file), "--no-data-path", "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 1 and "Left out (1)" in result.output and left_out in result.output
    assert json.loads((tmp_path / "out.json").read_text())["left_out"] == [left_out]


def test_documents_without_any_good_block() -> None:
    with pytest.raises(ValueError, match=r"^d\.md:2: this run of trtexec failed"):
        parse(f"```\n{BAD['a run that failed']}\n```\n\n```\n{BAD['twice']}```\n", "d.md")


# ---- devices that nothing names ----


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["--no-data-path", *map(str, arguments)])


@pytest.fixture
def unnamed(tmp_path: Path) -> tuple[Path, Path]:
    npu, gpu = tmp_path / "perf_vision_batchsize_1_device_0.txt", tmp_path / "trt.log"
    npu.write_text(texts.PERF_BS1)
    gpu.write_text(texts.TRT_7)
    return npu, gpu


def test_the_reference_is_of_the_tool_for_nvidia(unnamed: tuple[Path, Path]) -> None:
    npu, gpu = unnamed
    for sides in ((npu, gpu), (gpu, npu)):
        result = run(*sides)
        assert result.exit_code == 1 and "8.19 (interface) against 61.48 (gpu compute)" in result.output
    assert run(npu, gpu, "--reference", npu.name).exit_code == 0


@pytest.mark.parametrize("text", [texts.AIS_2023, texts.PURE_STDOUT, LOGS["msame"]])
def test_each_tool_for_ascend_is_held_to_it(unnamed: tuple[Path, Path], text: str) -> None:
    npu, gpu = unnamed
    npu.rename(npu.with_name("npu.log")).write_text(text)
    result = run(npu.with_name("npu.log"), f"gpu={gpu}")
    # msame's figure has its copies, as trtexec's host latency has.
    assert re.search(r"is slower than gpu: .* against 6[01]\.\d\d|is faster than gpu: .* against 61\.48", result.output)


def test_a_device_for_all_sides_is_of_those_that_can_be_it(unnamed: tuple[Path, Path]) -> None:
    npu, gpu = unnamed
    result = run(npu, gpu, "--device", "310")
    assert "Ascend310 card (x4) is slower than trt.log: 32.76" in result.output
    assert "trt.log does not say its device" in result.output
    result = run(npu, f"gpu={gpu}", "--device", "gpu=310P3")
    assert result.exit_code == 2 and "is of trtexec, which runs on NVIDIA devices, not on Ascend310P3" in result.output
    result = run(f"npu={npu}", gpu, "--device", "npu=T4")
    assert result.exit_code == 2 and "is of benchmark, which runs on Ascend devices, not on T4" in result.output


def test_devices_per_card_without_a_name_are_of_tools_for_ascend(unnamed: tuple[Path, Path]) -> None:
    result = run(*unnamed, "--devices-per-card", "4")
    assert "32.76 (interface) against 61.48" in result.output


# ---- files of ours that are damaged ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": 310}, "device must be text, got 310"),
        ({"device": ["T4"]}, "device must be text"),
        ({"tool_version": 8.6}, "tool_version must be text"),
        ({"on_random_data": "no"}, "on_random_data must be true or false"),
        ({"line": "12"}, "line must be a whole number"),
        ({"batch": 10**400}, "batch is beyond any measurement"),
        ({"throughput": 1e308}, "beyond any measurement"),
        ({"throughput": 5e-324}, "beyond any measurement"),
        ({"throughput": 10**400}, "int too large"),
        ({"latency_ms": {"mean": True}}, "latency mean must be a number"),
        ({"latency_of": ["batch"]}, "latency_of must be"),
    ],
)
def test_damaged_measurements_are_a_sentence(tmp_path: Path, change: dict[str, object], message: str) -> None:
    fields = json.loads(benchmark_json([Measurement(source="-", tool="pspfast", kind="infer", throughput=1.0)]))
    fields["measurements"][0] |= change
    file = tmp_path / "ours.json"
    file.write_text(json.dumps(fields))
    result = run(file)
    assert result.exit_code == 2 and message in result.stderr and str(file) in result.stderr
