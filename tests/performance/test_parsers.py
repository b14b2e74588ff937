"""Each tool's text to records: figures, batches that ran, and texts that are wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from pspfast.formats.measurements import (
    ASSUMED_BATCH,
    COMMAS_IN_SHAPES,
    ZERO_QPS,
    Measurement,
    benchmark_json,
    device_name,
)
from pspfast.vendors.texts import parse, read
from tests.performance import texts

if TYPE_CHECKING:
    from pathlib import Path


def by_kind(text: str, source: str = "log", **others: str) -> dict[str, Measurement]:
    found = parse(text, source, **others).measurements
    kinds = {one.kind: one for one in found}
    assert len(kinds) == len(found)
    return kinds


def test_perf_vision() -> None:
    found = by_kind(texts.PERF_BS1, "result/perf_vision_batchsize_1_device_0.txt")
    assert {kind: one.throughput for kind, one in found.items()} == {
        "end to end": 7.85666, "data read": 37.4296, "preprocess": 28.1654, "infer": 7.91227, "interface": 8.19018,
        "post": 7.91221,
    }  # fmt: skip
    assert {(one.batch, one.batch_run, one.device_index, one.pictures, one.iterations) for one in found.values()} == {
        (1, 1, 0, 1449, 1449)
    }
    assert found["infer"].latency_ms == {"mean": 126.139} and found["end to end"].latency_ms == {}
    assert {one.device for one in found.values()} == {None}


def test_post_of_a_batch_counts_batches() -> None:
    found = by_kind(texts.PERF_BS16, "perf_vision_batchsize_16_device_1.txt")
    assert found["post"].throughput == pytest.approx(16 * 0.515815) and "0.515815" in found["post"].notes[0]
    assert found["post"].latency_of == "batch" and found["infer"].iterations == 91
    # Without the name nothing says that these are batches.
    assert by_kind(texts.PERF_BS16)["post"].throughput == 0.515815


def test_perf_vision_of_newer_builds() -> None:
    found = by_kind(texts.PERF_NEWER, "some.txt")
    assert found["interface"].throughput == 8.19018 and found["post"].throughput == 7.91221
    assert found["data read"].throughput == 1.45105e6 and found["infer"].batch is None
    assert by_kind(texts.PERF_NEWER.replace("\n", "\r\n"), "some.txt") == found


@pytest.mark.parametrize(("rate", "latency"), [(202.9, 2.219), (261.51, 0.764943), (7.912, 128.0), (1000.0, 0.07)])
def test_the_inference_stage_waits_in_its_rate_alone(rate: float, latency: float) -> None:
    """Real files have products of 70 to 1013."""
    text = texts.PERF_BS1.replace("7.91227", str(rate)).replace("126.139", str(latency))
    found = by_kind(text)["infer"]
    assert (found.throughput, found.latency_ms) == (rate, {"mean": latency})


def test_pure_inference_of_uneven_rounds() -> None:
    """Both figures are means: that of rates times that of times is above 1000."""
    text = "[INFO] ave_throughputRate: 315.424samples/s, ave_latency: 3.4ms\n"
    assert by_kind(text)["pure inference"].throughput == 315.424


def test_pure_inference() -> None:
    printed = by_kind(texts.PURE_STDOUT)["pure inference"]
    assert (printed.throughput, printed.iterations, printed.device_index) == (8.12674, 20, 2)
    assert printed.on_random_data is True and printed.latency_ms == {"mean": 123.129}
    # The model's name is a declaration, no proof.
    assert (printed.batch, printed.batch_run) == (1, None)
    file = by_kind(texts.PURE_FILE, "PureInfer_perf_of_pspnet_bs16_in_device_3.txt")["pure inference"]
    assert (file.throughput, file.batch, file.batch_run, file.device_index) == (8.51957, 16, None, 3)
    known = by_kind(texts.PURE_FILE, command="./benchmark.x86_64 -round=20 -om_path=a.om -device_id=1 -batch_size=16")
    one = known["pure inference"]
    assert (one.batch, one.batch_run, one.iterations, one.device_index) == (16, 16, 20, 1)


def test_msame() -> None:
    text = "Inference average time: 126.5 ms\nInference average time without first time: 125.0 ms\n"
    one = by_kind(text)["infer"]
    assert one.throughput == 8 and one.tool == "msame" and ASSUMED_BATCH in one.notes
    assert one.with_batch(16).throughput == 128


@pytest.mark.parametrize("text", [texts.AIS_2023, texts.AIS_2022, texts.AIS_EARLY])
def test_ais_bench_in_three_spellings(text: str) -> None:
    one = by_kind(text)["npu compute"]
    assert one.throughput == 136.17021276595744 and (one.batch, one.batch_run) == (16, 16)
    assert one.latency_ms == {"min": 116.1, "max": 119.9, "mean": 117.5, "median": 117.4, "p99": 119.8}
    assert one.latency_of == "batch" and one.on_random_data is None


def test_ais_bench_with_copies() -> None:
    found = by_kind(texts.AIS_EARLY)
    assert found["host latency"].throughput == pytest.approx(16000 / 120)


def test_ais_bench_of_two_devices() -> None:
    found = parse(texts.AIS_TWO_DEVICES, "log").measurements
    assert [(one.device_index, round(one.throughput, 2)) for one in found] == [(1, 136.17), (2, 136.05)]
    with pytest.raises(ValueError, match=r"log contradicts itself: its devices make 272.* its summary says 999"):
        parse(texts.AIS_TWO_DEVICES.replace("272.22461", "999"), "log")


def summary(**others: Any) -> str:
    times = {"min": 116.0, "max": 119.0, "mean": 117.5, "median": 117.4, "percentile(99%)": 118.9, "count": 91}
    fields = {
        "filesinfo": {"0": {"infiles": ["a.bin"], "outfiles": ["a_0.bin"]}},
        "args": ["ais_bench", "--model", "m.om", "--input", "bins"],
        "NPU_compute_time": times,
        "throughput": 16000 / 117.5,
        "pid": 7,
    }
    return json.dumps({**fields, **others})


def test_ais_bench_summary() -> None:
    one = by_kind(summary())["npu compute"]
    assert (one.batch_run, one.iterations, one.on_random_data) == (16, 91, False)
    assert one.latency_ms["p99"] == 118.9
    pure = by_kind(summary(args=["ais_bench", "--model", "m.om", "--loop=20"]))["npu compute"]
    assert pure.on_random_data is True
    listed = by_kind(summary(npu_compute_time_list=[[0.0, 117.0], [200.0, 318.0]], NPU_compute_time={"min": 117.0,
                     "mean": 117.5}))["npu compute"]  # fmt: skip
    assert listed.iterations == 2
    early = by_kind(json.dumps({"NPU_compute_time": {"mean": 50.0}}))["npu compute"]
    assert early.throughput == 20 and ASSUMED_BATCH in early.notes


def threads_summary(*intervals: tuple[float, float], mean: float, batch: int = 1, **others: Any) -> str:
    """As ais_bench writes it with --threads: its throughput is 1000 x batch / mean, as ever."""
    copies = {"mean": 1.0, "count": len(intervals)}
    fields = {
        "NPU_compute_time": {"mean": mean, "count": len(intervals)},
        "H2D_latency": copies,
        "D2H_latency": copies,
        "npu_compute_time_list": intervals,
        "throughput": 1000 * batch / mean,
        "args": ["--model", "m.om", "--input", "bins", "--threads", "2"],
    }
    return summary(**{**fields, **others})


def test_ais_bench_summary_of_several_threads() -> None:
    """Its mean is of merged intervals: no inference takes so little."""
    found = by_kind(threads_summary((0.0, 20.0), (1.0, 21.0), (21.5, 41.5), (22.0, 42.0), mean=41.5 / 4, batch=8))
    assert found.keys() == {"npu compute"}  # copies run beside computation
    one = found["npu compute"]
    assert (one.throughput, one.batch_run, one.iterations) == (8000 / (41.5 / 4), 8, 4)
    assert one.latency_ms == {"mean": 41.5 / 4} and "several threads" in one.notes[0] and "takes 20 ms" in one.notes[0]
    # One inside the other, out of order; and such as happen not to overlap.
    nested = threads_summary((50.0, 60.0), (0.0, 30.0), (5.0, 10.0), mean=40 / 3)
    assert by_kind(nested)["npu compute"].throughput == pytest.approx(75)
    apart = threads_summary((0.0, 10.0), (10.0, 20.0), mean=10.0)
    assert by_kind(apart)["npu compute"].batch_run == 1
    log = texts.AIS_2023.replace("min = 116.1, max = 119.9, ", "").replace(
        ", median = 117.4, percentile(99%) = 119.8", ""
    )
    one = by_kind(log)["npu compute"]
    assert one.batch_run == 16 and "several threads" in one.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (threads_summary((0.0, 20.0), (1.0, 21.0), mean=20.0), "mean is 20 ms, that of its npu_compute_time_list 10.5"),
        (threads_summary((0.0, 20.0), (1.0, 21.0), mean=10.5, throughput=250.0), "make a batch of 2.6"),
        (
            threads_summary((0.0, 20.0), (1.0, 21.0), mean=10.5, NPU_compute_time={"mean": 10.5, "count": 3}),
            "count is 3, its npu_compute_time_list has 2",
        ),
    ],
)
def test_summaries_of_threads_that_contradict_themselves(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"log contradicts itself: .*{message}"):
        parse(text, "log")


def test_ais_bench_summary_of_changing_batches() -> None:
    one = by_kind(summary(throughput=150.0, args=["x", "--auto_set_dymdims_mode", "1"]))["npu compute"]
    assert (one.throughput, one.batch_run) == (150, None) and "17.625 on average" in one.notes[0]


@pytest.mark.parametrize(
    "line",
    [
        "[INFO] throughput 1000*batchsize.mean(16)/NPU_compute_time.mean(245.6): 65.14657980456026",
        "[INFO] throughput 1000*batchsize(16)/NPU_compute_time.mean(245.6): 65.14657980456026",
        "Throughput 1000*batchsize.mean(16)/NPU_compute_time.mean(245.6): 65.14657980456026",
    ],
)
def test_ais_bench_throughput_line_alone(line: str) -> None:
    for text in (line, f"# doc\n```\n{line}\n```\n"):
        one = by_kind(text)["npu compute"]
        assert (one.throughput, one.batch_run, one.latency_ms) == (65.14657980456026, 16, {"mean": 245.6})
        assert not one.notes
    with pytest.raises(ValueError, match="contradicts itself: batch 16"):
        parse(line.replace("65.1", "85.1"), "log")


def test_ais_bench_throughput_line_alone_as_it_was_first() -> None:
    line = "[INFO] throughput (1000*batchsize/NPU_compute_time): 172.41379310344828"
    (one,) = parse(f"# doc\n```\n{line}\n```\n", "log").measurements
    assert (one.throughput, one.batch_run, one.latency_ms) == (172.41379310344828, None, {})
    (one,) = parse(f"python ais_infer.py --batchsize 4\n```\n{line}\n```\n", "log").measurements
    assert (one.throughput, one.batch_run) == (172.41379310344828, 4)
    with pytest.raises(ValueError, match="cut short"):
        parse(line, "log")


def test_trtexec_7_takes_gpu_compute_and_never_0_qps() -> None:
    found = by_kind(texts.TRT_7)
    assert found.keys() == {"gpu compute", "host latency"}
    one = found["gpu compute"]
    assert one.throughput == pytest.approx(61.482, abs=5e-4)
    assert one.latency_ms == {"min": 15.829, "max": 20.5302, "mean": 16.2649, "median": 16.0951, "p99": 19.1857}
    assert one.iterations == 187 and ZERO_QPS in one.notes and ASSUMED_BATCH in one.notes
    assert found["host latency"].throughput == pytest.approx(1000 / 16.6)
    # A throughput of 7.x is of batches that ONNX models do not have.
    assert by_kind(texts.TRT_7.replace("throughput: 0 qps", "throughput: 61.2 qps")).keys() == found.keys()


@pytest.mark.parametrize(
    ("shapes", "declared", "commas"),
    [("input:16,3,500,500", 16, True), ("input:1,3,500,500", 1, True), ("input:16x3x500x500", 16, False)],
)
def test_trtexec_7_proves_no_batch(shapes: str, declared: int, commas: bool) -> None:
    one = by_kind(texts.TRT_7, command=f"trtexec --onnx=m.onnx --fp16 --shapes={shapes}")["gpu compute"]
    assert (one.batch, one.batch_run) == (declared, 1) and one.throughput == pytest.approx(61.482, abs=5e-4)
    assert ASSUMED_BATCH in one.notes and (COMMAS_IN_SHAPES in one.notes) is commas
    known = one.with_batch(16)
    assert known.throughput == pytest.approx(16 * 61.482, abs=1e-2) and known.has_proven_batch


def test_trtexec_8_counts_batches() -> None:
    found = by_kind(texts.trt_8("trtexec --onnx=m.onnx --shapes=input:16x3x500x500"))
    assert {kind: one.throughput for kind, one in found.items()} == pytest.approx(
        {"gpu compute": 320, "host latency": 16000 / 52, "wall clock": 16 * 19.67}
    )
    one = found["gpu compute"]
    assert (one.batch, one.batch_run, one.device, one.tool_version, one.iterations) == (16, 16, "T4", "8.6.1", 60)
    assert (one.latency_ms["p90"], one.latency_ms["p99"], one.has_proven_batch) == (51.0, 51.9, True)
    with pytest.raises(ValueError, match="log shows that batch 16 ran, not 4"):
        one.with_batch(4)


def test_trtexec_8_batch_is_that_of_the_binding() -> None:
    one = by_kind(texts.trt_8("trtexec --loadEngine=bs16.engine", dimensions="1x3x500x500"))["gpu compute"]
    assert (one.batch, one.batch_run, one.throughput) == (1, 1, 20) and one.has_proven_batch
    one = by_kind(texts.trt_8("trtexec --onnx=bs16.onnx"))["gpu compute"]
    assert (one.batch, one.batch_run) == (None, 1) and ASSUMED_BATCH in one.notes


def test_trtexec_8_reads_large_and_small_numbers() -> None:
    text = texts.trt_8("trtexec --onnx=m.onnx", dimensions="1x3x5x5")
    text = re.sub(r"= \d+\.\d+ ms", "= 7.5e-06 ms", text)
    text = re.sub(r"(?<=\] Latency: ).*", lambda line: line[0].replace("7.5e-06", "2.25e-05"), text)
    text = text.replace("60 queries over", "393450000 queries over")
    text = text.replace("19.67 qps", "1.29e+08 qps").replace(
        "Total GPU Compute Time: 3.0 s", "Total GPU Compute Time: 2.95 s"
    )
    assert by_kind(text)["wall clock"].throughput == 1.29e8
    assert by_kind(text)["gpu compute"].latency_ms["p99"] == 7.5e-6


@pytest.mark.parametrize(
    ("banner", "version"), [("v7203", "7.2.3"), ("v8001", "8.0.1"), ("v8601", "8.6.1"), ("v100300", "10.3.0")]
)
def test_trtexec_versions(banner: str, version: str) -> None:
    text = texts.trt_8("trtexec --onnx=m.onnx", banner=f"[TensorRT {banner}] ")
    one = by_kind(text.replace("TensorRT version: 8.6.1", ""))["gpu compute"]
    assert one.tool_version == version


def test_export_times() -> None:
    times = [{"computeMs": float(ms), "latencyMs": ms + 2.0} for ms in range(1, 102)]
    found = by_kind(json.dumps(times))
    assert found["gpu compute"].latency_ms == pytest.approx(
        {"mean": 51, "min": 1, "max": 101, "median": 51, "p90": 91, "p95": 96, "p99": 100}
    )
    assert found["gpu compute"].throughput == pytest.approx(1000 / 51) and found["host latency"].iterations == 101
    known = by_kind(json.dumps(times), command="trtexec --onnx=m --shapes=input:16,3,5,5")["gpu compute"]
    assert (known.batch, known.batch_run) == (16, 1)
    with pytest.raises(ValueError, match="log: expected computeMs as a number in each"):
        parse(json.dumps([{"computeMs": 1.0}, {"computeMs": "x"}]), "log")


def test_our_own_file() -> None:
    made = [
        Measurement(source="-", tool="pspfast", kind="preprocess", throughput=700.0, latency_ms={"mean": 1.4}),
        Measurement(source="-", tool="pspfast", kind="end to end", throughput=3.5, batch=16, notes=("two threads",)),
    ]
    found = parse(benchmark_json(made, threads=2), "ours.json").measurements
    assert [one.to_json() | {"source": "-"} for one in found] == [one.to_json() for one in made]
    assert found[0].source == "ours.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "pspfast result"}, "format 'pspfast result' of version 1"),
        ({"version": 2}, "version 2"),
        ({"measurements": []}, "holds no measurement"),
        ({"measurements": 5}, "not iterable"),
        ({"measurements": [{"kind": "infer"}]}, "needs the field 'source'"),
        ({"measurements": [{"source": "", "tool": "t", "kind": "infer", "throughput": -1}]}, "number above 0, got -1"),
        ({"measurements": [{"source": "", "tool": "t", "kind": "k", "throughput": 1, "speed": 2}]}, "no field 'speed'"),
        ({"measurements": [{"source": "", "tool": "t", "kind": "k", "throughput": 1, "batch": "4"}]}, "whole number"),
    ],
)
def test_our_own_file_damaged(change: dict[str, Any], message: str) -> None:
    fields = json.loads(benchmark_json([Measurement(source="-", tool="pspfast", kind="infer", throughput=1.0)]))
    with pytest.raises(ValueError, match=f"^ours.json is .*{message}"):
        parse(json.dumps({**fields, **change}), "ours.json")


PERF = "perf_vision_batchsize_16_device_1.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "log is empty"),
        (" \n", "log is empty"),
        ("hello", "log: no tool's output is recognised in it; expected the benchmark tool's"),
        ("[1, 2]", "JSON of no tool"),
        ('{"a": 1}', "JSON of no tool"),
        ('{"NPU_compute_time": {"mean": 5', "JSON that is cut short or damaged"),
        (texts.PERF_BS1.rsplit("\n", 2)[0], "log is cut short: .*'post' is missing"),
        (texts.PERF_BS1[:-12], r"the line of \[post\] is cut short"),
        (texts.PERF_BS1 + texts.PERF_BS1, r"has \[e2e\] twice; give the text of one run"),
        (
            texts.PERF_BS1.replace("28.1654", "281.654"),
            r"contradicts itself: \[preprocess\] has a throughputRate of 281",
        ),
        (
            texts.PERF_BS1.replace("126.139", "133.5"),
            r"\[infer\] has .* 133.5 ms, whose product .* about 1000, or less",
        ),
        (texts.PERF_BS1.replace("126.139", "0"), r"\[infer\] has .* moduleLatency of 0 ms"),
        (texts.PERF_BS1.replace("126.387", "12.6387"), r"\[post\] has .* whose product should be about 1000$"),
        (texts.PURE_STDOUT.replace("123.129", "246.258"), "contradicts itself: ave_throughputRate 8.12674"),
        (texts.PERF_BS1.replace("8.19018", "nan"), "Interface throughputRate that is no number"),
        (texts.PERF_BS1.replace("7.85666, lat", "0, lat"), "end to end: a throughput must be a number above 0"),
        (texts.PERF_BS1.replace("7.85666", "1e999"), "log: 1e999 is beyond any measurement"),
        (texts.PURE_STDOUT.replace("123.129ms", ""), "log is cut short: expected 'ave_throughputRate"),
        (texts.PURE_STDOUT.replace("123.129", "12.3129"), "contradicts itself: ave_throughputRate 8.12674"),
        (texts.PURE_STDOUT + texts.PURE_FILE, "has 2 summaries of pure inference"),
        ("Inference average time: \n", "log is cut short: .*msame"),
        (texts.AIS_2023.split("[INFO] throughput")[0], "cut short: expected a line 'throughput"),
        (texts.AIS_EARLY.replace("NPU_compute_time (ms)", "NPU (ms)"), r"cut short: expected NPU_compute_time \(ms\)"),
        (texts.AIS_2023.replace("mean = 117.5", "mean = 117.9").replace(".mean(117.5)", ".mean(107.5)"), "line of the"),
        (texts.AIS_2023.replace("(16)", "(8)"), "contradicts itself: batch 8 and a mean of 117.5 ms make 68"),
        (texts.AIS_2023.replace("min = 116.1", "min = 130.1"), "min 130.1 ms is above median 117.4 ms"),
        (summary(throughput=150.0), "log contradicts itself: .* make a batch of 17.6"),
        (summary(NPU_compute_time={"min": 1}), "cut short: NPU_compute_time has no mean"),
        (summary(NPU_compute_time=[1]), "not a summary of ais_bench"),
        (summary(npu_compute_time_list=[1.0, 2.0]), "contradicts itself: NPU_compute_time.mean is 117.5"),
        (texts.TRT_7.split("[09/24/2021-04:17:29] [I] mean: 16.2649")[0], "cut short: expected trtexec's GPU compute"),
        (texts.TRT_7 + texts.TRT_7, "has 'Host Latency' twice"),
        (texts.TRT_7.replace("max: 20.5302", "max: 2.05302"), "p99 19.1857 ms is above max 2.05302 ms"),
        (texts.trt_8("trtexec --onnx=m", passed=False), "this run of trtexec failed; it has no figures"),
        (texts.trt_8("trtexec --onnx=m").rsplit("&&&&", 1)[0], "cut short: trtexec's last line"),
        (texts.trt_8("trtexec --onnx=m").replace("has 60 queries", "has 10 queries"), "contradicts itself: 10 queries"),
        (
            texts.trt_8("trtexec --onnx=m").replace("mean = 52.0", "mean = 53.4"),
            "contradicts itself: a mean of 1.1 ms in, 50 ms of GPU compute and 0.9 ms out make 52 ms",
        ),
        ("# doc\n```\nls -l\n```\n", "none of its blocks is a tool's output"),
    ],
)
def test_texts_that_are_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"log.*{message}|^{message}"):
        parse(text, "log")


def test_a_failed_run_of_trtexec_tells_its_first_error() -> None:
    text = "&&&& RUNNING TensorRT.trtexec # t\n[E] Static model\n&&&& FAILED TensorRT.trtexec # t\n"
    with pytest.raises(ValueError, match=r"failed \(Static model\)"):
        parse(text, "log")


def test_a_name_that_contradicts_the_command() -> None:
    with pytest.raises(ValueError, match="its name says batch 16, its command line 1"):
        parse(texts.PERF_BS16, PERF, command="benchmark.x86_64 -batch_size=16".replace("16", "1"))


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"\xef\xbb\xbf" + texts.PURE_FILE.encode())
    assert read(file).measurements[0].throughput == 8.51957
    file.write_bytes(b"\0\1\2")
    with pytest.raises(ValueError, match="log is not text"):
        read(file)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


DOCUMENT = f"""# Speed of the 310P
TensorRT version: 8.4.1
batch 4:
```
ais_bench --model m.om --input bins --batchsize 16
```
```
{texts.AIS_2023}```
The T4, `trtexec --onnx=m.onnx --shapes=input:16,3,500,500`:
> ~~~
> {texts.TRT_7.replace(chr(10), chr(10) + "> ")}
> ~~~

T4: 1000/(16.2649/16)=983.7fps, 61.48 x 2. On the 310P, 136.17021276595744x4=544.7.
"""


def test_documents() -> None:
    reading = parse(DOCUMENT, "d.md")
    ours, compute, _ = reading.measurements
    assert (ours.device, ours.batch, ours.on_random_data, ours.line) == ("Ascend310P", 16, False, 8)
    assert (compute.device, compute.batch, compute.batch_run, compute.tool_version) == ("T4", 16, 1, "8.4.1")
    said = [(one.value, one.factor, one.is_latency, one.result) for one in reading.statements]
    assert said == [
        (61.48, 2, False, None), (136.17021276595744, 4, False, 544.7), (16.2649, 16, True, 983.7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name"),
    [("310", "Ascend310"), ("ascend310p3", "Ascend310P3"), ("Ascend 910B", "Ascend910B"), ("NVIDIA Tesla T4", "T4"),
     ("A100-SXM4-40GB", "A100"), ("CPU", "CPU"), ("NVIDIA GeForce RTX 3090", "RTX 3090")],
)  # fmt: skip
def test_device_names(text: str, name: str) -> None:
    assert device_name(text) == name
