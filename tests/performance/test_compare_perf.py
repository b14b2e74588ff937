"""The table, the verdict and the linter: on the guide's own logs, and on files made for each rule."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from pspfast.cli.commands.compare_perf import main, read_sides
from pspfast.formats.measurements import Measurement, benchmark_json, devices_in_card
from pspfast.speed import claims
from pspfast.speed.data_path import DataPath
from pspfast.speed.throughput_comparison import ThroughputComparison, compare_throughputs
from pspfast.speed.throughputs import Figure
from pspfast.vendors.texts import parse, read
from tests.performance import texts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def guide(shared_data: Path) -> Path:
    file = shared_data.parent / "guide" / "pspnet_onnx_inference_guide.md"
    if not file.is_file():
        pytest.skip("the guide is not beside the shared data")
    return file


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    contents = {
        "perf_vision_batchsize_1_device_0.txt": texts.PERF_BS1,
        "perf_vision_batchsize_16_device_1.txt": texts.PERF_BS16,
        "trt7.log": "&&&& RUNNING TensorRT.trtexec # trtexec --onnx=m.onnx --shapes=input:1,3,500,500\n"
        + texts.TRT_7 + "&&&& PASSED TensorRT.trtexec # trtexec --onnx=m.onnx --shapes=input:1,3,500,500\n",
        "trt8.log": texts.trt_8("trtexec --onnx=m.onnx --shapes=input:16x3x500x500"),
        "ais.log": texts.AIS_2023,
    }  # fmt: skip
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    return {name.split(".")[0].split("_device")[0]: str(tmp_path / name) for name in contents}


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def figures_of(*measurements: Measurement) -> list[Figure]:
    return [Figure("side", one, devices_in_card(one.device)) for one in measurements]


def measured(kind: str, throughput: float, device: str | None, **others: Any) -> Measurement:
    return Measurement(source="f", tool="t", kind=kind, throughput=throughput, device=device, **{"batch": 1, **others})


def codes(found: list[claims.UnsoundClaim]) -> set[str]:
    return {finding.code for finding in found}


# ---- the guide ----


def test_guide_figures(guide: Path) -> None:
    reading = read(guide)
    found = {(one.kind, one.batch): one.throughput * devices_in_card(one.device) for one in reading.measurements}
    assert round(found["post", 1], 5) == 31.64884 and round(found["infer", 16], 3) == 32.857
    assert (round(found["interface", 1], 2), round(found["interface", 16], 2)) == (32.76, 34.11)
    assert (round(found["gpu compute", 1], 3), round(found["gpu compute", 16], 3)) == (61.482, 61.701)
    assert {one.batch_run for one in reading.measurements if one.device == "T4"} == {1}
    assert (round(found["pure inference", 1] / 4, 5), round(found["pure inference", 16] / 4, 5)) == (8.12674, 8.51957)
    assert {one.device for one in reading.measurements} == {"Ascend310", "T4"}
    assert {one.tool_version for one in reading.measurements if one.tool == "trtexec"} == {"7.2.3.4"}


def test_guide_verdict_and_sums(guide: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run(guide, "--no-data-path", "--json", out)
    assert result.exit_code == 1, result.output
    assert (
        "batch 1: Ascend310 card (x4) is slower than T4: 32.76 (interface) against 61.48 (gpu compute)" in result.output
    )
    assert "Verdict: not met" in result.output
    written = json.loads(out.read_text())
    assert written["met"] is False and len([pair for pair in written["pairs"] if pair["decides"]]) == 2
    assert not any(pair["met"] for pair in written["pairs"])
    sums = [
        (one["said"], round(one["makes"], 3), one["kind"], one["batch"], one["batch_run"]) for one in written["said"]
    ]
    assert sums == [
        ("7.91221 x 4", 31.649, "post", 1, 1),
        ("8.21425 x 4", 32.857, "infer", 16, 16),
        ("1000/(16.2649/1)", 61.482, "gpu compute", 1, 1),
        ("1000/(16.2072/1)", 61.701, "gpu compute", 16, 1),
    ]


def test_guide_claims(guide: Path) -> None:
    reading = read(guide)
    found = claims.check_measurements(reading.measurements)
    found += claims.check_statements(reading.statements, reading.measurements)
    by_code = {code: [one for one in found if one.code == code] for code in claims.CODES}
    lines = {code: [one.where.rpartition(":")[2] for one in ones] for code, ones in by_code.items() if ones}
    assert lines.pop("no data path") and lines == {
        "static batch": ["389"],
        "shapes with commas": ["373", "389"],
        "random data": ["348", "360", "373", "389"],
        "few iterations": ["348", "360"],
        "misnamed figure": ["329", "339"],
        "wrong batch": ["401", "401"],
        "different kinds": ["400", "401"],
        "four devices": ["371"],
    }
    assert "as batch 1 did (16.2649 ms)" in by_code["static batch"][0].text
    assert "the Interface throughputRate is 8.19018 (x4: 32.76, not 31.65)" in by_code["misnamed figure"][0].text


# ---- files ----


def test_files_side_by_side(files: dict[str, str], tmp_path: Path) -> None:
    arguments = [
        files["perf_vision_batchsize_16"], f"gpu={files['trt8']}", "--device", "Ascend310", "--no-data-path",
        "--power", "310=64", "--power", "gpu=70", "--cost", "T4=2000", "--csv", tmp_path / "out.csv",
    ]  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    by_kind = {(row["side"], row["kind"]): row for row in rows}
    ours = by_kind["perf_vision_batchsize_16_device_1.txt", "interface"]
    assert (ours["devices_per_card"], ours["device"], ours["per_cost"]) == ("4", "Ascend310", "")
    assert float(ours["per_watt"]) == pytest.approx(4 * 8.52684 / 64)
    theirs = by_kind["gpu", "gpu compute"]
    assert (theirs["devices_per_card"], theirs["device"], float(theirs["per_cost"])) == ("1", "T4", 320 / 2000)
    assert "static batch" not in result.output and "different batches" not in result.output
    assert "per watt" in result.output and "per cost" in result.output


def test_device_that_no_file_says(files: dict[str, str]) -> None:
    result = run(files["perf_vision_batchsize_1"], files["trt8"], "--no-data-path")
    assert "does not say its device" in result.stderr and "card (x4)" not in result.stdout
    result = run(f"a={files['trt8']}", "--device", "a=A100")
    assert result.exit_code == 2 and "says that its device is T4, not A100" in result.stderr
    assert read_sides([files["trt8"]], devices={None: "A100"})[0].measurements[0].device == "T4"


def test_batch_by_word(files: dict[str, str]) -> None:
    (side,) = read_sides([f"gpu={files['trt7']}"], batches={"gpu": 16})
    assert side.measurements[0].throughput == pytest.approx(16 * 61.482, abs=1e-2)
    with pytest.raises(ValueError, match="shows that batch 1 ran, not 16"):
        read_sides([f"a={files['perf_vision_batchsize_1']}"], batches={"a": 16})
    both = read_sides([files["perf_vision_batchsize_1"], files["trt7"]], batches={None: 16})
    assert [side.measurements[0].batch_run for side in both] == [1, 16]


def test_verdict_met_and_targets(files: dict[str, str]) -> None:
    sides = [f"old={files['perf_vision_batchsize_16']}", f"new={files['ais']}", "--no-data-path"]
    met = run(*sides, "--device", "old=310", "--device", "new=310P3")
    assert met.exit_code == 0 and "136.17 (npu compute) against 34.11 (interface), 3.992 of it: met" in met.output
    assert run(*sides, "--device", "old=310", "--device", "new=310P3", "--target", "4").exit_code == 1
    assert run(*sides, "--device", "old=310", "--device", "new=310P3", "--reference", "new").exit_code == 1
    assert run(*sides, "--device", "old=310", "--device", "new=310P3", "--reference", "310P3").exit_code == 1
    alone = run(files["ais"], "--no-data-path")
    assert alone.exit_code == 0 and "Verdict: none, there is nothing to compare with" in alone.output


def test_the_same_kind_decides() -> None:
    ours = [measured("interface", 10, "Ascend310P3"), measured("end to end", 5, "Ascend310P3")]
    theirs = [measured("gpu compute", 12, "T4"), measured("end to end", 4, "T4")]
    found = compare_throughputs(figures_of(*ours, *theirs))
    (deciding,) = [pair for pair in found.pairs if pair.decides]
    assert deciding.figure.measured.kind == "end to end" and found.is_met is True
    assert "different kinds" not in codes(list(found.findings))


def test_figures_of_pictures_decide_before_random_ones() -> None:
    ours = [measured("pure inference", 10, "Ascend310", on_random_data=True), measured("interface", 9, "Ascend310")]
    found = compare_throughputs(figures_of(*ours, measured("gpu compute", 50, "T4", on_random_data=True)))
    assert [pair.figure.measured.kind for pair in found.pairs if pair.decides] == ["interface"]
    assert found.is_met is False


def test_no_common_batch_is_told() -> None:
    found = compare_throughputs(
        figures_of(measured("infer", 9, "Ascend310"), measured("gpu compute", 5, "T4", batch=8))
    )
    assert found.is_met is True and "different batches" in codes(list(found.findings))


def test_stages_of_the_host_stand_for_no_device() -> None:
    stages = [measured("data read", 900, "Ascend310"), measured("preprocess", 900, "Ascend310")]
    found = compare_throughputs(
        figures_of(*stages, measured("post", 900, "Ascend310"), measured("gpu compute", 5, "T4"))
    )
    assert found.pairs == () and found.is_met is None


# ---- the linter ----


def test_sound_figures_have_no_findings() -> None:
    one = measured("end to end", 5, "Ascend310", batch=16, batch_run=16, iterations=91, on_random_data=False)
    assert claims.check_measurements([one]) == [] and claims.check_cards({"Ascend310": 4, "T4": 1}) == []
    assert claims.check_comparison(one, one) == []


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ({"batch": 16, "batch_run": 1}, "static batch"),
        ({"on_random_data": True}, "random data"),
        ({"iterations": 49}, "few iterations"),
    ],
)
def test_unsound_figures(others: dict[str, Any], code: str) -> None:
    assert codes(claims.check_measurements([measured("end to end", 5, "T4", **others)])) == {code}


def test_what_trtexec_says(files: dict[str, str]) -> None:
    found = claims.check_measurements(read(files["trt7"]).measurements, min_iterations=188)
    assert codes(found) == {"shapes with commas", "zero qps", "random data", "few iterations", "no data path"}
    plain = claims.check_measurements(parse(texts.TRT_7, "log").measurements)
    assert "unknown batch" in codes(plain)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("T4: 61.4820872 x 4 = 245.9", {"four devices"}),
        ("T4 has 4 devices", {"four devices"}),
        ("310P3: 8.5 x 4 = 34", {"four devices"}),
        ("310: 8.5 x 4 = 34", set()),
        ("1000/(16.2649/16) = 983.7", {"static batch"}),
        ("batch16: 1000/(16.2649/1) = 61.482", {"wrong batch"}),
        ("1000/(16.2649/1) = 91.5", {"wrong arithmetic"}),
        ("Interface throughputRate: 7.91221", {"misnamed figure"}),
        ("Interface throughputRate: 8.19018", set()),
        ("8.19018x4 < 1000/(16.2649/1)", {"different kinds"}),
        ("a canvas of 500 x 500 at 8.19018", set()),
    ],
)
def test_prose(said: str, expected: set[str]) -> None:
    document = (
        f"perf_vision_batchsize_1_device_0 of the Ascend 310:\n```\n{texts.PERF_BS1}```\n\n\n"
        f"The T4:\ntrtexec --shapes=input:1x3x500x500\n```\n{texts.TRT_7}```\n\n\n\n{said}\n"
    )
    reading = parse(document, "d.md")
    if "310P3" in said:
        reading = parse(document.replace("Ascend 310:", "board:"), "d.md")
    assert codes(claims.check_statements(reading.statements, reading.measurements)) == expected


def test_cards_of_other_counts(files: dict[str, str]) -> None:
    sides = [f"npu={files['perf_vision_batchsize_1']}", f"gpu={files['trt8']}", "--no-data-path"]
    result = run(*sides, "--device", "npu=310P3", "--devices-per-card", "gpu=4", "--devices-per-card", "npu=4")
    assert "counted as 4 devices a card; a T4 is one device" in result.output
    assert "a card of Ascend310P3 is taken to have 1; only that of the Ascend 310 has 4" in result.output
    # Without a name it is of Ascend devices alone.
    plain = run(*sides, "--device", "npu=310", "--devices-per-card", "2")
    assert "T4: counted" not in plain.output and "Ascend310: counted as 2" in plain.output


# ---- the data path ----


def test_cores_by_a_file_of_ours(files: dict[str, str], tmp_path: Path) -> None:
    stages = [
        Measurement(source="-", tool="pspfast", kind="data read", throughput=2000.0),
        Measurement(source="-", tool="pspfast", kind="preprocess", throughput=900.0, latency_ms={"mean": 1.0}),
        Measurement(source="-", tool="pspfast", kind="post", throughput=900.0, latency_ms={"mean": 8.0},
                    latency_of="batch", batch=16, batch_run=16),
        Measurement(source="-", tool="pspfast", kind="infer", throughput=3.0, latency_ms={"mean": 333.0}),
    ]  # fmt: skip
    file = tmp_path / "ours.json"
    file.write_text(benchmark_json(stages))
    path = DataPath.read(str(file))
    assert path.milliseconds == {"data read": 0.5, "preprocess": 1.0, "post": 0.5}
    result = run(files["trt8"], "--data-path", file, "--json", tmp_path / "out.json")
    assert result.exit_code == 0 and "0.64 cores keep a device of T4 busy (320.00/s, gpu compute)" in result.output
    (cores,) = json.loads((tmp_path / "out.json").read_text())["data_path"]["cores"]
    assert cores["card_cores"] == pytest.approx(0.64)
    wrong = run(files["trt8"], "--data-path", files["ais"])
    assert wrong.exit_code == 2 and "--data-path takes a file of pspfast benchmark --json" in wrong.stderr
    file.write_text(benchmark_json(stages[:1]))
    with pytest.raises(ValueError, match="has no stage 'preprocess'"):
        DataPath.read(str(file))


def test_cores_measured_now() -> None:
    path = DataPath.measure(seconds=0.05)
    assert path.milliseconds.keys() == {"data read", "preprocess", "post"}
    assert all(0 < ms < 1000 for ms in path.milliseconds.values()) and "measured now" in path.source
    found = ThroughputComparison(tuple(figures_of(measured("interface", 100, "Ascend310"))), (), (), path)
    assert f"{path.total:.2f} ms of one core a picture" in str(found) and "keep a device of Ascend310" in str(found)


# ---- usage ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none: No such file"),
        (["A", "A"], "is there twice"),
        (["=A"], "expected FILE or NAME=FILE"),
        (["A", "--device", "x=T4"], "there is no such side"),
        (["A", "--power", "x=5"], "neither a side nor a device here"),
        (["A", "--power", "5"], "expected NAME=WATTS"),
        (["A", "--cost", "A=-5"], "expected NAME=COST"),
        (["A", "--devices-per-card", "0"], "expected N, got"),
        (["A", "--batch", "x"], "expected N, got"),
        (["A", "--reference", "x"], "--reference x: it is none of"),
        (["A", "--target", "0"], "--target must be a ratio above 0"),
        (["A", "--data-path", "B", "--no-data-path"], "not both"),
        (["A", "--json", "A"], "choose another file"),
        ([], "Missing argument"),
    ],
)
def test_usage(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "A").write_text(texts.AIS_2023)
    result = run(*arguments, *[] if "--no-data-path" in arguments else ["--no-data-path"])
    assert result.exit_code == 2 and message in result.stderr, result.output


def test_output_that_cannot_be_written(files: dict[str, str], tmp_path: Path) -> None:
    result = run(files["ais"], "--no-data-path", "--json", tmp_path / "none" / "out.json")
    assert result.exit_code == 1 and "cannot write" in result.stderr and "npu compute" in result.stdout
