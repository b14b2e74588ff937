"""``pspfast benchmark``: what it computes is what it should, its files are read back, and the vendors' programs."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what these tests run")

from pspfast.cli.main import main
from pspfast.datasets import VOC
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.speed.benchmarking import benchmark_bins, benchmark_pictures, benchmark_pure
from pspfast.speed.data_path import DataPath
from pspfast.stages import device_runtimes
from pspfast.stages.inference import infer
from pspfast.stages.postprocessing import postprocess
from pspfast.stages.preprocessing import preprocess
from pspfast.vendors.texts import read_measurements
from tests.runtimes.small_models import bins, labels_model
from tests.runtimes.test_infer import DUMPS, Watched, contents
from tests.tools import fakes

if TYPE_CHECKING:
    from click.testing import Result

    from pspfast.formats.measurements import Measurement
    from pspfast.speed.tables import Benchmark
    from tests.runtimes.deployed import Deployed

LATENCIES = {"mean", "median", "p90", "p95", "p99", "min", "max"}


def command(*words: str | Path | int) -> Result:
    return CliRunner().invoke(main, ["benchmark", *map(str, words)])


def by_kind(measured: list[Measurement] | tuple[Measurement, ...]) -> dict[str, Measurement]:
    assert len({one.kind for one in measured}) == len(measured)
    return {one.kind: one for one in measured}


def pictures(folder: Path, count: int = 6) -> tuple[Path, Path]:
    """Pictures of the models' size, and label pictures that are right about the channel that is largest."""
    images, labels = folder / "images", folder / "labels"
    images.mkdir()
    labels.mkdir()
    for number in range(count):
        pixels = np.full((6, 8, 3), 10, np.uint8)
        pixels[:3, :, number % 3] = 200
        pixels[3:, :, (number + 1) % 3] = 200
        Image.fromarray(pixels).save(images / f"{number}.png")
        Image.fromarray(pixels.argmax(2).astype(np.uint8)).save(labels / f"{number}.png")
    return images, labels


# ---- it computes what the commands one after the other compute


@pytest.mark.parametrize("batch", [1, 16])
def test_masks_and_scores_are_those_of_the_commands(deployed: Deployed, tmp_path: Path, batch: int) -> None:
    images, labels = deployed.voc / "JPEGImages", deployed.voc / "SegmentationClass"
    preprocess(images, tmp_path / "bins", deployed.split, size=(64, 96), dtype="float32")
    infer(deployed.models[batch], tmp_path / "bins", tmp_path, threads=1)
    wanted = postprocess(tmp_path / DUMPS, label_folder=labels, manifest=tmp_path / "bins", classes=VOC.classes)
    words = ("--image-folder-path", images, "--split", deployed.split, "--ann-dir", labels, "--dump", tmp_path / "dump")
    done = command("--model", deployed.models[batch], *words, "--threads", 1, "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    assert contents(tmp_path / "dump") == contents(tmp_path / DUMPS)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["mIoU"] == 100 * wanted.result.summary()["mIoU"]
    assert f"mIoU {found['mIoU']:.2f}" in done.output and f"73 pictures, batch {batch}" in done.output
    measured = by_kind(read_measurements(tmp_path / "found.json"))
    assert list(measured) == ["data read", "preprocess", "infer", "compute", "post", "end to end"]
    assert all(one.latency_ms.keys() == LATENCIES for one in measured.values())
    assert {one.pictures for one in measured.values()} == {73}
    assert {one.batch_run for one in measured.values()} == {batch}
    assert measured["infer"].iterations == -(-73 // batch)
    assert measured["infer"].throughput <= measured["compute"].throughput
    assert DataPath.read(str(tmp_path / "found.json")).milliseconds.keys() == {"data read", "preprocess", "post"}


def test_bins(deployed: Deployed, tmp_path: Path) -> None:
    infer(deployed.models[16], deployed.bins, tmp_path, threads=1)
    found = benchmark_bins(deployed.models[16], deployed.packed, dump=tmp_path / "dump", threads=1)
    assert contents(tmp_path / "dump") == contents(tmp_path / DUMPS)
    assert list(by_kind(found.measurements)) == [
        "data read", "bins to the model's type", "infer", "compute", "post", "end to end",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_pictures_come_in_the_models_type(tmp_path: Path, dtype: str) -> None:
    images, labels = pictures(tmp_path)
    # Blue first, as the published graph with uint8 input takes them; red first, normalized, else.
    model = labels_model(tmp_path / "m.onnx", batch=None, dtype=dtype, layout="nhw")
    if dtype == "uint8":
        for path in labels.iterdir():
            Image.fromarray(2 - np.asarray(Image.open(path))).save(path)
    found = benchmark_pictures(model, images, labels=labels, num_classes=3, batch=4)
    assert (found.miou, found.pictures, found.failures) == (100.0, 6, ())


def test_labels_of_another_suffix(tmp_path: Path) -> None:
    """Named once, and taken when a data set says what they mean."""
    images, labels = pictures(tmp_path)
    for path in list(labels.iterdir()):
        path.rename(labels / f"{path.stem}_mask.png")
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n")
    model = labels_model(tmp_path / "m.onnx", batch=2)
    with pytest.raises(ValueError, match=r"there is 0_mask\.png: give --label-suffix _mask\.png$"):
        benchmark_pictures(model, images, labels=labels, num_classes=3)
    words = ["benchmark", "--model", model, "--image-folder-path", images, "--ann-dir", labels, "--quiet"]
    words += ["--label-suffix", "_mask.png"]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 2 and "--label-suffix needs --dataset" in done.output
    words += ["--dataset", "folder", "--classes", tmp_path / "classes.txt"]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output


# ---- figures


def test_stages_are_of_pictures_and_batches(tmp_path: Path) -> None:
    images, labels = pictures(tmp_path, 7)
    model = labels_model(tmp_path / "m.onnx", batch=2)
    watched = Watched(model, lambda _: time.sleep(0.02))
    found = benchmark_pictures(model, images, labels=labels, runtime=lambda _: watched, warmup=2, num_classes=3)
    assert watched.calls == 2 + 4  # the last one half full
    measured = by_kind(found.measurements)
    assert [one.latency_of for one in measured.values()] == ["picture", "picture", "batch", "batch", "picture", "batch"]
    infer_ms = measured["infer"].latency_ms
    assert infer_ms["min"] >= 20 and measured["infer"].throughput <= 7 / 0.08
    assert measured["infer"].throughput == pytest.approx(7 / (4 * infer_ms["mean"] / 1000))
    assert measured["end to end"].throughput == pytest.approx(7 / found.seconds)
    assert measured["end to end"].latency_ms["min"] >= infer_ms["min"]
    assert infer_ms["min"] <= infer_ms["median"] <= infer_ms["p90"] <= infer_ms["p95"] <= infer_ms["p99"]
    assert infer_ms["p99"] <= infer_ms["max"]


def test_percentiles_of_times_that_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = labels_model(tmp_path / "m.onnx", batch=4)
    clock = iter(np.concatenate([[0.0], np.cumsum([step for ms in range(1, 101) for step in (0, ms / 1000)]), [9e9]]))
    with monkeypatch.context() as patched:
        watched = Watched(model, lambda _: None)
        watched._run = lambda batch: [batch[:, :1].astype(np.int64)]  # type: ignore[method-assign]
        patched.setattr("pspfast.speed.warm_model.time.perf_counter", lambda: float(next(clock)))
        found = benchmark_pure(model, rounds=100, runtime=lambda _: watched)
    (measured,) = found.measurements
    assert measured.throughput == pytest.approx(400 / 5.05)
    wanted = {"mean": 50.5, "median": 50.5, "p90": 90.1, "p95": 95.05, "p99": 99.01, "min": 1, "max": 100}
    assert measured.latency_ms == pytest.approx(wanted)


def test_pure_inference(tmp_path: Path) -> None:
    model = labels_model(tmp_path / "m_bs4.onnx", batch=4)
    watched = Watched(model, lambda _: None)
    found = benchmark_pure(model, rounds=5, warmup=2, runtime=lambda _: watched)
    assert watched.calls == 7
    measured = by_kind(found.measurements)
    assert list(measured) == ["pure inference", "compute"]
    assert {(one.iterations, one.pictures, one.on_random_data) for one in measured.values()} == {(5, 20, True)}
    done = command("--model", model, "--output", tmp_path / "result", "--json", tmp_path / "pure.json")
    assert done.exit_code == 0 and "80 pictures of random numbers, no data set, batch 4" in done.output
    (file,) = (tmp_path / "result").iterdir()
    assert file.name == "PureInfer_perf_of_m_bs4_in_device_0.txt"
    ours = by_kind(read_measurements(tmp_path / "pure.json"))["pure inference"]
    assert ours.iterations == 20  # as the guide's
    (theirs,) = read_measurements(file)
    assert theirs.throughput == pytest.approx(ours.throughput, rel=1e-5)
    assert theirs.latency_ms["mean"] == pytest.approx(ours.latency_ms["mean"] / 4, rel=1e-5)


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
def test_file_of_the_benchmark_tool_is_read_back(tmp_path: Path, batch: int, scored: bool) -> None:
    images, labels = pictures(tmp_path, 9)
    model = labels_model(tmp_path / "m.onnx", batch=batch)
    words = ("--model", model, "--image-folder-path", images, *(("--ann-dir", labels) if scored else ()))
    done = command(*words, "--output", tmp_path / "result", "--json", tmp_path / "all.json")
    assert done.exit_code == 0, done.output
    (file,) = (tmp_path / "result").iterdir()
    assert file.name == f"perf_vision_batchsize_{batch}_device_0.txt"
    ours, theirs = by_kind(read_measurements(tmp_path / "all.json")), by_kind(read_measurements(file))
    assert list(theirs) == ["end to end", "data read", "preprocess", "infer", "interface", "post"]
    assert all(one.batch == batch and one.pictures == 9 for one in theirs.values())
    for kind in ("end to end", "data read", "preprocess", "infer"):
        assert theirs[kind].throughput == pytest.approx(ours[kind].throughput, rel=1e-5), kind
    assert theirs["interface"].throughput == pytest.approx(ours["compute"].throughput, rel=1e-5)
    # What the tool means by it: pictures that arrive there. What they take there is in the JSON alone.
    assert theirs["post"].throughput == pytest.approx(ours["infer"].throughput, rel=1e-5)
    assert ("post" in ours) == scored


def test_json_holds_everything(tmp_path: Path) -> None:
    model = labels_model(tmp_path / "m.onnx")
    bins(tmp_path / "bins", 3)
    found: Benchmark = benchmark_bins(model, tmp_path / "bins")
    text = found.to_json()
    (tmp_path / "f.json").write_text(text)
    back = read_measurements(tmp_path / "f.json")
    assert [one.to_json() | {"source": ""} for one in back] == [
        one.to_json() | {"source": ""} for one in found.measurements
    ]
    told = json.loads(text)
    assert told["machine"].keys() >= {"cpu", "cpus", "isa", "python"}
    assert told["runtime"]["runtime"] == "onnxruntime" and told["runtime"]["threads"] >= 1


# ---- what can be wrong


def test_pictures_that_fail(tmp_path: Path) -> None:
    images, labels = pictures(tmp_path, 8)
    (images / "1.png").write_bytes(b"no picture")
    (labels / "3.png").unlink()
    Image.new("P", (5, 5)).save(labels / "4.png")
    model = labels_model(tmp_path / "m.onnx", batch=2)
    done = command("--model", model, "--image-folder-path", images, "--ann-dir", labels, "--workers", 1)
    assert done.exit_code == 1
    assert "3 failed" in done.output and "1.png" in done.output and "the labels are (5, 5)" in done.output
    for path in images.iterdir():
        path.write_bytes(b"nothing")
    done = command("--model", model, "--image-folder-path", images)
    assert done.exit_code == 2 and "no picture could be run" in done.output


def test_a_device_that_fails_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(calls: int) -> None:
        if calls == 5:
            raise RuntimeFault("device 0 is lost")

    bins(tmp_path / "bins", 9)
    model = labels_model(tmp_path / "m.onnx")
    monkeypatch.setattr(device_runtimes, "open_runtime", lambda *_, **__: Watched(model, fail))
    words = ("--model", model, "--input", tmp_path / "bins", "--warmup", 0, "--workers", 1)
    done = command(*words, "--dump", tmp_path / "dump")
    assert done.exit_code == 1 and "stopped: device 0 is lost" in done.output
    assert "5 pictures, batch 1" in done.output and len(contents(tmp_path / "dump")) == 5


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--model", "m.onnx", "--image-folder-path", "gone"], 2, "no such folder of pictures"),
        (["--model", "m.onnx", "--image-folder-path", "empty"], 2, "no pictures in this folder"),
        (["--model", "m.onnx", "--image-folder-path", "images", "--ann-dir", "x"], 2, "no such folder of labels"),
        (["--model", "m.onnx", "--image-folder-path", "images", "--input", "empty"], 2, "contradict"),
        (["--model", "m.onnx", "--ann-dir", "x"], 2, "--ann-dir goes with --image-folder-path"),
        (["--model", "m.onnx", "--dump", "x"], 2, "--dump goes with --image-folder-path or --input"),
        (["--model", "m.onnx", "--device", "0,1"], 2, "of one device"),
        (["--model", "m.onnx", "--batch", "16"], 2, "the model takes batch 1, not 16"),
        (["--model", "any.onnx"], 2, "say which (--size H W)"),
        (["--model", "m.onnx", "--provider", "cuda"], 3, "onnxruntime-gpu"),
        (["--model", "no.onnx"], 2, "ONNX Runtime refuses it"),
        (["--model", "m.onnx", "--image-folder-path", "images", "--dump", "m.onnx"], 1, "cannot write m.onnx"),
        (["--model", "m.om", "--runtime", "benchmark"], 3, "is neither in"),
        (["--model", "m.onnx", "--runtime", "trtexec"], 3, "comes with TensorRT"),
        (["--model", "m.onnx", "--runtime", "trtexec", "--device", "1"], 2, "CUDA_VISIBLE_DEVICES"),
        (["--model", "m.onnx", "--runtime", "trtexec", "--input", "images"], 2, "takes no --input"),
        (["--model", "m.om", "--runtime", "benchmark", "--input", "images"], 2, "takes an info file"),
        (["--model", "m.om", "--runtime", "benchmark", "--output", "x"], 2, "takes no --output"),
        (["--model", "m.om", "--runtime", "ais_bench", "--threads", "2"], 2, "--threads is nothing that ais_bench"),
        (["--model", "m.om", "--runtime", "ais_bench", "--provider-option", "a=b"], 2, "--provider-option is nothing"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    pictures(tmp_path, 2)
    Path("empty").mkdir()
    labels_model(Path("m.onnx"))
    labels_model(Path("any.onnx"), size=(None, None))
    Path("no.onnx").write_bytes(b"no model")
    Path("m.om").write_bytes(b"om")
    done = command(*words)
    assert done.exit_code == status, done.output
    assert message in done.output and "Traceback" not in done.output


def test_pure_inference_at_a_size(tmp_path: Path) -> None:
    model = labels_model(tmp_path / "any.onnx", size=(None, None), batch=None)
    watched = Watched(model, lambda _: None)
    seen: list[Any] = []
    real = watched._run
    watched._run = lambda batch: seen.append(batch.shape) or real(batch)  # type: ignore[func-returns-value, method-assign]
    benchmark_pure(model, rounds=2, size=(10, 12), batch=3, warmup=1, runtime=lambda _: watched)
    assert seen == [(3, 3, 10, 12)] * 3


# ---- the vendors' programs


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH; there is a model, and an info file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    (tmp_path / "m_bs1.om").write_text("om")
    bins(tmp_path / "bins", 2)
    (tmp_path / "voc12.info").write_text("0 ./bins/p00.bin 8 6\n1 ./bins/p01.bin 8 6\n")
    return folder


def test_benchmark_tool_over_a_data_set(tools: Path) -> None:
    fakes.fake_benchmark(tools)  # which refuses another size than the info file's
    words = ("--runtime", "benchmark", "--model", "m_bs1.om", "--input", "voc12.info", "--device", 2)
    done = command(*words, "--json", "f.json")
    assert done.exit_code == 0, done.output
    assert "-input_width=8 -input_height=6" in done.output and "7.86" in done.output
    measured = by_kind(read_measurements("f.json"))
    assert measured["interface"].throughput == 8.19018
    assert (measured["interface"].batch, measured["interface"].device_index) == (1, 2)
    again = command(*words)
    assert again.exit_code == 2 and "outputs of an earlier run" in again.output
    shutil.rmtree("result/dumpOutput_device2")
    assert command(*words).exit_code == 0


def test_benchmark_tool_on_random_numbers(tools: Path) -> None:
    fakes.fake_benchmark(tools)
    for rounds in (20, 7):
        words = [] if rounds == 20 else ["--rounds", rounds]
        done = command("--runtime", "benchmark", "--model", "m_bs1.om", "--json", "f.json", *words)
        assert done.exit_code == 0, done.output
        (measured,) = read_measurements("f.json")
        assert (measured.kind, measured.throughput, measured.iterations) == ("pure inference", 8.12674, rounds)
    assert fakes.calls(tools)[0][1:] == ["-round=20", "-om_path=m_bs1.om", "-device_id=0", "-batch_size=1"]


def test_ais_bench_has_a_folder_of_its_own_each_time(tools: Path) -> None:
    fakes.fake_ais_bench(tools)
    words = ("--runtime", "ais_bench", "--model", "m_bs1.om", "--output", "out", "--json", "f.json")
    for _ in range(2):
        done = command(*words, "--input", "bins", "--batch", 1)
        assert done.exit_code == 0, done.output
        (measured,) = read_measurements("f.json")
        assert (measured.kind, measured.tool) == ("npu compute", "ais_bench")
    assert command(*words).exit_code == 0
    assert len(list(Path("out").glob("*_summary.json"))) == 3
    call = fakes.calls(tools)[-1]
    assert call[call.index("--loop") + 1] == "20" and call[call.index("--pure_data_type") + 1] == "random"


def test_trtexec(tools: Path) -> None:
    fakes.fake_trtexec(tools)
    model = labels_model(Path("m.onnx"))
    words = ("--runtime", "trtexec", "--model", model, "--json", "f.json")
    done = command(*words, "--output", "out")
    assert done.exit_code == 0, done.output
    assert by_kind(read_measurements("f.json"))["gpu compute"].latency_ms["mean"] == 16.2649
    assert read_measurements("out/m_times.json")
    fakes.fake_trtexec(tools, version="11")
    assert "has no --fp16" in command(*words).output
    assert command(*words, "--no-fp16").exit_code == 0


@pytest.mark.parametrize("runtime", ["benchmark", "ais_bench", "trtexec"])
@pytest.mark.parametrize(
    ("body", "words", "message"),
    [
        ("time.sleep(60)", ["--timeout", "0.5"], "0.5 s"),
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", [], "killed"),
        ("print('[ERROR] no device'); sys.exit(1)", [], "no device"),
        ("sys.exit(0)", [], ""),
    ],
)
def test_programs_that_hang_die_or_fail(tools: Path, runtime: str, body: str, words: list[str], message: str) -> None:
    name = {"benchmark": f"benchmark.{os.uname().machine}", "ais_bench": "python3", "trtexec": "trtexec"}[runtime]
    helps = "if sys.argv[1:] == ['--help']:\n    print('--onnx --fp16')\n    sys.exit(0)\n"
    fakes.program(tools, name, helps + body + "\n")
    model = labels_model(Path("m.onnx")) if runtime == "trtexec" else "m_bs1.om"
    done = command("--runtime", runtime, "--model", model, *words, "--json", "f.json")
    assert done.exit_code == 1, done.output
    assert message in done.output and "Traceback" not in done.output
    assert not Path("f.json").exists()


def test_outputs_that_a_program_lost(tools: Path) -> None:
    fakes.fake_benchmark(tools, lose=1)
    done = command("--runtime", "benchmark", "--model", "m_bs1.om", "--input", "voc12.info")
    assert done.exit_code == 1 and "1 of 2 outputs are missing" in done.output
