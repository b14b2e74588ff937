"""trtexec with several streams: what the clock says is a rate, the time of a batch is none."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pspfast.cli.commands.compare_perf import main
from pspfast.formats.measurements import SEVERAL_STREAMS
from pspfast.vendors.texts import parse
from tests.performance import texts

if TYPE_CHECKING:
    from pathlib import Path

DIMENSIONS = "4x3x64x64"


def log_of(command: str, streams: int) -> str:
    """A log of so many streams: batches take as long as ever, and so many times as many run."""
    text = texts.trt_8(command, dimensions=DIMENSIONS)
    text = text.replace("has 60 queries", f"has {60 * streams} queries").replace(
        "19.67 qps", f"{19.67 * streams:.6g} qps"
    )
    return text.replace("Total GPU Compute Time: 3.0 s", f"Total GPU Compute Time: {3.0 * streams:.6g} s")


@pytest.mark.parametrize("option", ["--infStreams=2", "--streams=2", "--infStreams 2"])
def test_several_streams_by_the_command(option: str) -> None:
    (one,) = parse(log_of(f"trtexec --onnx=m.onnx {option}", 2), "log").measurements
    assert (one.kind, one.batch_run, one.iterations) == ("wall clock", 4, 120)
    assert one.throughput == pytest.approx(4 * 39.34) and one.latency_ms["mean"] == 52
    assert SEVERAL_STREAMS in one.notes


@pytest.mark.parametrize("line", ["Inference Streams: 3", "Streams: 3"])
def test_several_streams_by_the_options_that_the_log_repeats(line: str) -> None:
    text = log_of("trtexec --loadEngine=m.engine", 1).replace(
        "Timing trace", f"x\n[08/03/2023-10:27:37] [I] {line}\nTiming trace"
    )
    (one,) = parse(text, "log").measurements
    assert (one.kind, one.throughput) == ("wall clock", 4 * 19.67)
    same = text.replace(line, line.replace("3", "1"))
    assert {one.kind for one in parse(same, "log").measurements} == {"gpu compute", "host latency", "wall clock"}


@pytest.mark.parametrize("streams", [2, 10])
def test_several_streams_by_the_figures(streams: int) -> None:
    """An excerpt without the command line: a stream cannot compute for longer than the clock runs."""
    text = log_of("trtexec", streams)
    excerpt = text[text.index("=== Performance summary") :].rsplit("&&&&", 1)[0]
    (one,) = parse(excerpt, "log").measurements
    assert one.kind == "wall clock" and one.throughput == pytest.approx(19.67 * streams)
    two_lines = "\n".join(
        line for line in excerpt.splitlines() if "Throughput" in line or "GPU Compute Time: min" in line
    )
    (one,) = parse(two_lines, "log").measurements
    assert one.kind == "wall clock" and one.throughput == pytest.approx(19.67 * streams)


def test_several_streams_of_7_count_by_walltime() -> None:
    text = texts.TRT_7.replace("total compute time: 3.04154 s", "total compute time: 6.08308 s")
    (one,) = parse(text, "log", command="trtexec --onnx=m.onnx --streams=2").measurements
    assert one.kind == "wall clock" and one.throughput == pytest.approx(374 / 3.07)
    with pytest.raises(ValueError, match=r"log is of several streams, .* expected a line 'Throughput: X qps'"):
        parse(re.sub(r".*walltime.*\n", "", text), "log", command="trtexec --onnx=m.onnx --streams=2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("39.34 qps", "19.67 qps"), "120 queries in 3.05 s are 39.3443 a second, the log says 19.67 qps"),
        (("has 120 queries", "has 60 queries"), "60 queries of 50 ms make 3 s, the log says 6 s"),
        (("Walltime: 3.05 s", "Walltime: 1.525 s"), "120 queries in 1.525 s are 78.6885 a second"),
    ],
)
def test_contradictions_of_several_streams(change: tuple[str, str], message: str) -> None:
    text = log_of("trtexec --onnx=m.onnx --infStreams=2", 2)
    assert change[0] in text
    with pytest.raises(ValueError, match=f"log contradicts itself: {message}"):
        parse(text.replace(*change), "log")


def test_one_stream_that_says_another_throughput() -> None:
    text = log_of("trtexec --onnx=m.onnx", 1)
    with pytest.raises(ValueError, match=r"log contradicts itself: 60 queries in 3\.05 s"):
        parse(text.replace("19.67 qps", "39.34 qps"), "log")


def test_implicit_batch_counts_pictures() -> None:
    """With --batch trtexec 8 counts pictures as queries, in its trace and in its throughput."""
    text = texts.trt_8("trtexec --deploy=m.prototxt --output=prob --batch=16")
    text = text.replace("has 60 queries", "has 960 queries").replace("19.67 qps", f"{16 * 19.67:g} qps")
    found = {one.kind: one for one in parse(text, "log").measurements}
    assert found["gpu compute"].throughput == 320 and found["wall clock"].throughput == pytest.approx(16 * 19.67)
    assert found["gpu compute"].iterations == 60 and found["gpu compute"].batch_run == 16


# ---- --exportTimes ----


def times(*begins: float, length: float = 50.0, keys: tuple[str, str] = ("H2d", "D2h")) -> str:
    first, last = keys
    return json.dumps(
        [
            {
                f"start{first}Ms": begin,
                f"end{first}Ms": begin + 0.25,
                "startComputeMs": begin + 0.25,
                "endComputeMs": begin + 0.25 + length,
                f"start{last}Ms": begin + 0.25 + length,
                f"end{last}Ms": begin + 0.5 + length,
                "computeMs": length,
                "latencyMs": length + 0.5,
            }
            for begin in begins
        ]
    )


@pytest.mark.parametrize("keys", [("H2d", "D2h"), ("In", "Out")])
def test_times_that_overlap(keys: tuple[str, str]) -> None:
    (one,) = parse(times(0.0, 0.5, 51.0, 51.5, keys=keys), "log").measurements
    assert one.kind == "wall clock" and one.throughput == pytest.approx(4000 / 102)
    assert one.latency_ms["mean"] == 50.5 and SEVERAL_STREAMS in one.notes and one.iterations == 4


def test_times_that_partly_overlap() -> None:
    """Two streams that are idle for most of the time: nothing is full, and a batch's time is no rate all the same."""
    (one,) = parse(times(0.0, 25.0, 500.0, 525.0), "log").measurements
    assert one.kind == "wall clock" and one.throughput == pytest.approx(4000 / 575.5)


def test_times_of_one_stream() -> None:
    """The next batch is copied while one is computed, which is no second stream."""
    found = parse(times(0.0, 50.0, 100.0), "log").measurements
    assert [one.kind for one in found] == ["gpu compute", "host latency"]
    assert found[0].throughput == 20 and not any(SEVERAL_STREAMS in one.notes for one in found)


def test_times_of_several_streams_without_their_begin() -> None:
    bare = json.dumps([{"computeMs": 50.0, "latencyMs": 50.5}] * 4)
    with pytest.raises(ValueError, match=r"log is of several streams, .* expected when each batch begins"):
        parse(bare, "log", command="trtexec --loadEngine=m.engine --infStreams=2")


# ---- the verdict ----


def test_the_verdict_follows_the_clock(tmp_path: Path) -> None:
    """30.3 a second are more than one stream's 20, and fewer than the 39.3 of two."""
    npu = tmp_path / "npu.log"
    npu.write_text("[INFO] throughput 1000*batchsize.mean(4)/NPU_compute_time.mean(33.0): 121.21212121212122\n")
    gpu = tmp_path / "gpu.log"
    for streams, status, verdict in ((1, 0, "met"), (2, 1, "not met")):
        gpu.write_text(log_of(f"trtexec --onnx=m.onnx --infStreams={streams}", streams))
        done = CliRunner().invoke(main, [str(npu), str(gpu), "--no-data-path"])
        assert (done.exit_code, f"Verdict: {verdict}," in done.output) == (status, True), done.output
        assert ("- several streams: " in done.output) is (streams > 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [("endComputeMs", None), ("endD2hMs", None), ("startH2dMs", None), ("endComputeMs", -1000.0), ("endD2hMs", -1.0)],
)
def test_times_of_which_one_lacks_or_lies(key: str, value: float | None) -> None:
    """One bad stamp must not make one stream of several."""
    values = json.loads(times(0.0, 0.5, 51.0, 51.5))
    if value is None:
        del values[2][key]
    else:
        values[2][key] = value
    with pytest.raises(ValueError, match=rf"log.*(expected {key} as a number|contradicts itself: a batch from)"):
        parse(json.dumps(values), "log")


@pytest.mark.parametrize("value", [-50.0, float("inf"), float("nan")])
@pytest.mark.parametrize("key", ["computeMs", "latencyMs"])
def test_times_that_are_no_times(key: str, value: float) -> None:
    values = json.loads(times(0.0, 60.0, 120.0))
    values[1][key] = value
    with pytest.raises(ValueError, match=f"{key} must be a number of milliseconds"):
        parse(json.dumps(values), "log")


@pytest.mark.parametrize("written", ["inf qps", "19,67 qps", "1.967k qps", "", "nan"])
def test_a_throughput_that_cannot_be_read(written: str) -> None:
    text = log_of("trtexec --onnx=m.onnx", 1).replace("19.67 qps", written)
    with pytest.raises(ValueError, match=r"'Throughput:.*' is no number of queries a second|its numbers with commas"):
        parse(text, "log")
