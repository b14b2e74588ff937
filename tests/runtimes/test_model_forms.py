"""Models as others export them: orders of channels, layouts, open sizes, several outputs.

Each is fed as it wants to be, or refused; none is scored as something that it is not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what these tests run")

from pspfast.cli.main import main
from pspfast.runtimes.engines import open_runtime
from pspfast.runtimes.picture_input import is_one_picture, picture_input, picture_shape
from pspfast.runtimes.picture_output import choose_output
from pspfast.runtimes.runtime import Runtime, TensorSpec
from pspfast.stages.model_output import ModelMismatch, resolve_output
from tests.runtimes.colours import SIZE, colour_model, coloured_pictures

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from numpy.typing import NDArray


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return coloured_pictures(tmp_path / "set")


def command(*words: str | Path | int) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def run(pictures: Path, model: Path, *words: str | Path | int) -> Result:
    return command(
        "run", "--dataset", "folder", "--root", pictures, "--model", model, "--no-report", "--workers", 1,
        "--output", pictures / "out", *words,
    )  # fmt: skip


def miou_of_run(pictures: Path, model: Path, *words: str | Path | int) -> float:
    done = run(pictures, model, "--no-resume", *words)
    assert done.exit_code == 0, done.output
    found: float = json.loads((pictures / "out" / "result.json").read_text())["mIoU"]
    return found


def benchmark(pictures: Path, model: Path, *words: str | Path | int) -> Result:
    return command(
        "benchmark", "--model", model, "--image-folder-path", pictures / "images", "--ann-dir", pictures / "labels",
        "--warmup", 0, "--dataset", "folder", "--classes", pictures / "classes.txt",
        "--json", pictures / "benchmark.json", *words,
    )  # fmt: skip


def miou_of_benchmark(pictures: Path, model: Path, *words: str | Path | int) -> float:
    done = benchmark(pictures, model, *words)
    assert done.exit_code == 0, done.output
    found: float = json.loads((pictures / "benchmark.json").read_text())["mIoU"] / 100
    return found


# ---- the order of channels, and where they are


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(("kind", "last"), [("uint8", True), ("uint8", False), ("float32", False)])
def test_the_order_of_channels(pictures: Path, tmp_path: Path, kind: str, last: bool, channels: str) -> None:
    model = colour_model(tmp_path / "m.onnx", kind=kind, last=last, channels=channels)
    other = {"rgb": "bgr", "bgr": "rgb"}[channels]
    assert miou_of_run(pictures, model, "--channels", channels) > 0.95
    assert miou_of_run(pictures, model, "--channels", other) < 0.6
    assert miou_of_benchmark(pictures, model, "--channels", channels) > 0.95
    assert miou_of_benchmark(pictures, model, "--channels", other) < 0.6
    reference = colour_model(tmp_path / "reference.onnx")
    words = ("verify", reference, model, "--images", pictures / "images")
    assert command(*words, "--channels", channels).exit_code == 0
    assert command(*words, "--channels", other).exit_code == 1
    words = ("verify", model, reference, "--images", pictures / "images")
    assert command(*words, "--reference-channels", channels).exit_code == 0
    assert command(*words, "--reference-channels", other).exit_code == 1


@pytest.mark.parametrize(("kind", "taken", "other"), [("uint8", "blue first", "rgb"), ("float32", "red first", "bgr")])
def test_what_is_assumed_is_said(pictures: Path, tmp_path: Path, kind: str, taken: str, other: str) -> None:
    wrong = {"rgb": "rgb", "bgr": "bgr"}[other]
    model = colour_model(tmp_path / "m.onnx", kind=kind, last=kind == "uint8", channels=wrong)
    for done in (run(pictures, model), benchmark(pictures, model)):
        assert done.exit_code == 0, done.output
        assert f"{taken} (--channels {other}" in done.output
    quiet = run(pictures, model, "--no-resume", "--quiet")
    assert (taken in quiet.output) == (kind == "uint8")  # which has no usual order
    reference = colour_model(tmp_path / "reference.onnx")
    done = command("verify", reference, model, "--images", pictures / "images")
    assert done.exit_code == 1 and f"{taken} was taken (--channels {other})" in done.output
    assert taken not in run(pictures, model, "--no-resume", "--channels", other).output
    record = json.loads((pictures / "out" / "run.json").read_text())
    assert taken not in (record["model"]["assumed"] or "")


@pytest.mark.parametrize(("value", "channels"), [("Rgb8", "rgb"), ("Bgr8", "bgr")])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_onnxs_own_property_tells_the_order(
    pictures: Path, tmp_path: Path, kind: str, value: str, channels: str
) -> None:
    properties = {"Image.BitmapPixelFormat": value}
    model = colour_model(tmp_path / "m.onnx", kind=kind, last=kind == "uint8", channels=channels, properties=properties)
    assert miou_of_run(pictures, model) > 0.95
    assert miou_of_benchmark(pictures, model) > 0.95
    reference = colour_model(tmp_path / "reference.onnx")
    assert command("verify", reference, model, "--images", pictures / "images").exit_code == 0
    other = {"rgb": "bgr", "bgr": "rgb"}[channels]
    for done in (
        run(pictures, model, "--no-resume", "--channels", other),
        benchmark(pictures, model, "--channels", other),
        command("verify", reference, model, "--channels", other),
    ):
        assert done.exit_code == 2 and f"takes {channels}, --channels says {other}" in done.output


def test_constants_follow_the_order_of_channels(pictures: Path, tmp_path: Path) -> None:
    """--mean and --std are of red, green and blue, whatever the network has first."""
    model = colour_model(tmp_path / "m.onnx", channels="bgr")
    words = ("--mean", "123.675", "116.28", "103.53", "--std", "58.395", "57.12", "57.375")
    assert miou_of_run(pictures, model, "--channels", "bgr", *words) == miou_of_run(
        pictures, model, "--channels", "bgr"
    )


def test_floats_with_their_channels_last_are_refused_everywhere(pictures: Path, tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", last=True)
    preprocess(pictures, tmp_path / "bins")
    for done in (
        run(pictures, model),
        benchmark(pictures, model),
        command("infer", "--model", model, "--input", tmp_path / "bins", "--output", tmp_path / "result"),
        command("benchmark", "--model", model, "--input", tmp_path / "bins"),
        command("verify", model, model, "--images", pictures / "images"),
    ):
        assert done.exit_code == 2 and "channels last" in done.output, done.output
    assert command("benchmark", "--model", model, "--rounds", 2).exit_code == 0  # random numbers have no order


@pytest.mark.parametrize("shape", [(1, None, None, None), (1, 3, None, None), (1, None, 24, 32), (None, 3, 24, 32)])
def test_where_height_and_width_are(shape: tuple[int | None, ...]) -> None:
    assert picture_shape(TensorSpec("x", "float32", shape), (24, 32)) == (3, 24, 32)
    assert not picture_input(TensorSpec("x", "float32", shape), "m").is_channels_last


def test_bytes_that_say_nothing_about_their_channels() -> None:
    assert picture_input(TensorSpec("x", "uint8", (1, None, None, 3)), "m").is_channels_last
    with pytest.raises(ValueError, match="neither that its channels are first nor that they are last"):
        picture_input(TensorSpec("x", "uint8", (1, None, None, None)), "m")
    for shape in ((1, 4, 24, 32), (1, 24, 32), (3,)):
        with pytest.raises(ValueError, match="pictures are"):
            picture_input(TensorSpec("x", "float32", shape), "m")


# ---- open sizes


def preprocess(pictures: Path, bins: Path, *words: str | Path | int) -> Path:
    done = command(
        "preprocess", "--dataset", "folder", "--root", pictures, "--size", *SIZE, "--bin-folder-path", bins, *words
    )
    assert done.exit_code == 0, done.output
    return bins


def test_all_dimensions_open(pictures: Path, tmp_path: Path) -> None:
    """As Hugging Face's exports have them, the channels too."""
    model = colour_model(tmp_path / "m.onnx", batch="batch", size=("height", "width"), open_channels=True)
    assert miou_of_run(pictures, model, "--size", *SIZE) > 0.95
    assert miou_of_benchmark(pictures, model, "--size", *SIZE) > 0.95
    assert command("benchmark", "--model", model, "--rounds", 2, "--size", *SIZE).exit_code == 0
    bins = preprocess(pictures, tmp_path / "bins")
    done = command("infer", "--model", model, "--input", bins, "--output", tmp_path / "result")
    assert done.exit_code == 0, done.output
    fixed = colour_model(tmp_path / "fixed.onnx")
    command("infer", "--model", fixed, "--input", bins, "--output", tmp_path / "wanted")
    for path in (tmp_path / "wanted/dumpOutput_device0").glob("*.bin"):
        assert (tmp_path / "result/dumpOutput_device0" / path.name).read_bytes() == path.read_bytes()
    done = command("benchmark", "--model", model, "--rounds", 2)
    assert done.exit_code == 2 and "say which (--size H W)" in done.output


def test_open_bytes(pictures: Path, tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", kind="uint8", last=True, batch="n", size=("h", "w"), channels="bgr")
    assert miou_of_run(pictures, model, "--size", *SIZE) > 0.95
    assert miou_of_benchmark(pictures, model, "--size", *SIZE) > 0.95


# ---- one picture without a batch


@pytest.mark.parametrize(("kind", "last"), [("float32", False), ("uint8", True), ("uint8", False)])
def test_one_picture_without_a_dimension_for_it(pictures: Path, tmp_path: Path, kind: str, last: bool) -> None:
    model = colour_model(tmp_path / "m.onnx", kind=kind, last=last, batch=None)
    assert miou_of_run(pictures, model, "--channels", "rgb") > 0.95
    assert miou_of_benchmark(pictures, model, "--channels", "rgb") > 0.95
    done = command("benchmark", "--model", model, "--rounds", 2, "--json", tmp_path / "f.json")
    assert done.exit_code == 0 and "batch 1" in done.output
    assert json.loads((tmp_path / "f.json").read_text())["pictures"] == 2
    reference = colour_model(tmp_path / "reference.onnx")
    assert command("verify", reference, model, "--channels", "rgb", "--images", pictures / "images").exit_code == 0
    with open_runtime(model) as runtime:
        assert runtime.batches == (1,)
        assert [len(one) for one in runtime.infer(np.zeros((1, *runtime.input.shape[1:]), kind))] == [1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "is_one"),
    [
        ((3, 24, 32), True),
        ((24, 32, 3), True),
        ((3, None, None), True),
        ((None, 24, 32), False),
        ((2, 24, 32), False),
        ((1, 24, 3), False),
        ((1, 3, 24, 32), False),
        ((3,), False),
    ],
)
def test_what_is_one_picture(shape: tuple[int | None, ...], is_one: bool) -> None:
    assert is_one_picture(shape) == is_one


# ---- several outputs


def test_the_output_that_can_only_be_right(pictures: Path, tmp_path: Path) -> None:
    for others in (("features", "labels"), ("features", "quarter", "scores"), ("last", "scores")):
        model = colour_model(tmp_path / "m.onnx", outputs=others)
        assert miou_of_run(pictures, model) > 0.95
        assert miou_of_benchmark(pictures, model) > 0.95
        reference = colour_model(tmp_path / "reference.onnx")
        assert command("verify", reference, model, "--images", pictures / "images").exit_code == 0


def test_several_outputs_that_can_be_right(pictures: Path, tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", outputs=("wrong", "scores"))
    reference = colour_model(tmp_path / "reference.onnx")
    verify = ("verify", reference, model, "--images", pictures / "images")
    for done in (run(pictures, model), benchmark(pictures, model), command(*verify)):
        assert done.exit_code == 2, done.output
        assert "has the outputs wrong, scores; which are the labels?" in done.output
    assert not (pictures / "out").exists()
    assert miou_of_run(pictures, model, "--output-name", "scores") > 0.95
    assert miou_of_run(pictures, model, "--output-name", "wrong") < 0.5
    done = run(pictures, model, "--output-name", "scores")
    assert done.exit_code == 2 and "a run of another kind (output wrong, now scores)" in done.output
    assert miou_of_benchmark(pictures, model, "--output-name", "scores") > 0.95
    assert command(*verify, "--output", "scores").exit_code == 0
    assert command(*verify, "--output", 1).exit_code == 0
    assert command(*verify, "--output", 0).exit_code == 1
    assert command("verify", model, reference, "--reference-output", 1).exit_code == 0
    for done in (run(pictures, model, "--output-name", "y"), command(*verify, "--output", 2)):
        assert done.exit_code == 2 and "it has wrong float32 1x4x24x32, scores float32 1x4x24x32" in done.output


def test_no_output_can_be_right() -> None:
    outputs = [TensorSpec("f", "float32", (1, 64, 6, 8)), TensorSpec("g", "float32", (1, 24, 32, 4))]
    with pytest.raises(ValueError, match="none of them can be labels 24x32 or scores of 4 classes 4x24x32"):
        choose_output(outputs, "m.onnx", SIZE, 4)


@pytest.mark.parametrize(
    ("declared", "index"),
    [
        ([("int64", (1, 1, 24, 32)), ("float32", (1, 8, 24, 32))], 0),  # features of the size
        ([("float32", (1, 19, 24, 32)), ("float32", (1, 4, 24, 32))], 1),  # another data set's head
        ([("float32", (4, 12, 16)), ("uint8", (1, 24, 32))], 1),
        ([("float32", (None, None)), ("float32", (None, 4, None, None))], 1),  # of open sizes
        ([("int64", (1, 16, 24, 32)), ("float32", (16, 4, 12, 16))], 0),  # pictures second, as the published model
    ],
)
def test_which_output_it_is(declared: list[tuple[str, tuple[int | None, ...]]], index: int) -> None:
    outputs = [TensorSpec(f"y{number}", kind, shape) for number, (kind, shape) in enumerate(declared)]
    assert choose_output(outputs, "m.onnx", SIZE, 4, batch=16) == index


# ---- a model that cannot fit: refused once, before anything is written


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("quarter", "gives float32 4x6x8 for a picture (quarter): masks of 6x8 (height x width)"),
        ("last", "gives float32 24x32x4 for a picture (last): classes last"),
        ("features", "gives float32 3x12x16 for a picture"),
    ],
)
@pytest.mark.parametrize("is_open", [False, True])
def test_a_model_that_cannot_fit(pictures: Path, tmp_path: Path, output: str, said: str, is_open: bool) -> None:
    model = colour_model(
        tmp_path / "m.onnx", outputs=(output,), batch="n" if is_open else 1, size=("h", "w") if is_open else SIZE
    )
    for done in (run(pictures, model, "--size", *SIZE), benchmark(pictures, model, "--size", *SIZE)):
        assert done.exit_code == 2, done.output
        assert done.output.count(said) == 1 and "Traceback" not in done.output
        assert len(done.output.splitlines()) <= 2
    assert not (pictures / "out").exists()


def test_scores_of_another_number_of_classes(pictures: Path, tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", outputs=("scores",))
    (pictures / "classes.txt").write_text("a\nb\nc\n")
    for done in (run(pictures, model), benchmark(pictures, model)):
        assert done.exit_code == 2 and done.output.count("scores of 4 classes, expected are 3") == 1
    assert not (pictures / "out").exists()


class _Liar(Runtime):
    """Declares labels of the right size, and gives them half as large."""

    def __init__(self) -> None:
        self.inputs = (TensorSpec("input", "float32", (1, 3, *SIZE)),)
        self.outputs = (TensorSpec("output", "int64", (1, 1, *SIZE)),)
        self.batches, self.compute_seconds = (1,), []

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        return [np.zeros((len(batch), 1, SIZE[0] // 2, SIZE[1] // 2), np.int64)]

    def close(self) -> None:
        """Nothing."""

    def describe(self) -> dict[str, Any]:
        return {"runtime": "liar", "version": "0", "device": "none", "provider": None, "threads": None}


def test_a_declaration_that_is_not_true(pictures: Path, tmp_path: Path) -> None:
    """Found with the first batch; the folder is free for another attempt."""
    from pspfast.datasets import data_set
    from pspfast.datasets.sources import data_set_source
    from pspfast.stages.whole_run import run as run_function

    model = colour_model(tmp_path / "m.onnx")
    with data_set_source(pictures, data_set("folder")) as source:
        with pytest.raises(ModelMismatch, match=r"12x16 .height x width., which the model has to resize"):
            run_function(model, source, pictures / "out", runtime=lambda _: _Liar())
    assert not (pictures / "out/ledger.jsonl").exists() and not (pictures / "out/.run.plan").exists()
    assert run(pictures, model).exit_code == 0


def test_asking_a_model_costs_no_measurement(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", batch="n", size=("h", "w"))
    with open_runtime(model) as runtime:
        found = resolve_output(runtime, str(model), SIZE, 4, (3, *SIZE), None)
        assert (found.name, found.index, runtime.compute_seconds) == ("labels", 0, [])


# ---- scores of a benchmark are those of a run


@pytest.mark.parametrize("output", ["scores", "wrong", "labels"])
def test_benchmark_scores_as_run_does(pictures: Path, tmp_path: Path, output: str) -> None:
    model = colour_model(tmp_path / "m.onnx", outputs=(output,), channels="bgr")  # so that it is wrong in places
    for words in (
        (),
        ("--label-map", "3:2"),
        ("--ignore-index", "2", "--label-map", "255:2"),
        ("--reduce-zero-label", "--label-map", "3:0"),
    ):
        by_run = miou_of_run(pictures, model, *words)
        assert miou_of_benchmark(pictures, model, *words) == pytest.approx(by_run, abs=1e-12)
        assert by_run < 0.9


def test_benchmark_finds_the_files_of_a_data_set(tmp_path: Path) -> None:
    """Cityscapes: labels are named otherwise than pictures, and its ids become 19 classes."""
    from PIL import Image

    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder in (images, labels):
        folder.mkdir()
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (*SIZE, 3), np.uint8)).save(images / "a_000000_000000_leftImg8bit.png")
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(labels / "a_000000_000000_gtFine_labelIds.png")  # road, class 0
    model = colour_model(tmp_path / "m.onnx", outputs=("constant",))
    words = ("--model", model, "--image-folder-path", images, "--ann-dir", labels, "--dataset", "cityscapes")
    done = command("benchmark", *words, "--json", tmp_path / "f.json")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "f.json").read_text())["mIoU"] == 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dataset", "voc", "--rounds", "1"], "--dataset goes with --image-folder-path"),
        (["--channels", "bgr"], "--channels goes with --image-folder-path"),
        (["--ignore-index", "3"], "--ignore-index goes with --ann-dir"),
        (["--label-map", "0:1"], "--label-map goes with --ann-dir"),
        (["--output-name", "y"], "--output-name goes with --ann-dir"),
        (["--bin-layout", "nhwc"], "--bin-layout goes with --input"),
        (["--input", "bins", "--size", "4", "4"], "bins have the size that they were made in"),
    ],
)
def test_options_without_what_they_go_with(tmp_path: Path, words: list[str], said: str) -> None:
    model = colour_model(tmp_path / "m.onnx")
    done = command("benchmark", "--model", model, *words)
    assert done.exit_code == 2 and said in done.output


def test_classes_of_the_model_have_to_be_those_of_the_data_set(tmp_path: Path) -> None:
    """``run`` refuses such a model; so does ``benchmark``."""
    from pspfast.formats.model_metadata import ModelMetadata, write_metadata

    onnx = pytest.importorskip("onnx")
    path = colour_model(tmp_path / "m.onnx", outputs=("labels",))
    loaded = onnx.load(str(path))
    metadata = ModelMetadata(
        "m.pth", "", "", ("a", "b", "c", "d"), (), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), True, SIZE,
        "float32", "labels", "n1hw", "native", "0",
    )  # fmt: skip
    write_metadata(loaded, metadata)
    onnx.save(loaded, str(path))
    pictures = coloured_pictures(tmp_path / "set")
    words = ("--image-folder-path", pictures / "images", "--ann-dir", pictures / "labels")
    for dataset in ((), ("--dataset", "ade20k")):
        done = command("benchmark", "--model", path, *words, *dataset)
        assert done.exit_code == 2 and "tells 4 classes apart" in done.output


# ---- models that compute nothing


def test_benchmark_remarks_on_outputs_that_say_nothing(pictures: Path, tmp_path: Path) -> None:
    constant = colour_model(tmp_path / "constant.onnx", outputs=("constant",))
    done = benchmark(pictures, constant)
    assert done.exit_code == 0 and "Every pixel is predicted as grey (class 0)" in done.output
    done = command("benchmark", "--model", constant, "--image-folder-path", pictures / "images")
    assert "Output constant is 0 everywhere" in done.output
    assert "everywhere" not in command("benchmark", "--model", constant, "--rounds", 2).output
    sound = colour_model(tmp_path / "sound.onnx")
    for words in (("--image-folder-path", pictures / "images"), ("--rounds", 2)):
        assert "Output" not in command("benchmark", "--model", sound, *words).output
    assert json.loads((pictures / "benchmark.json").read_text())["remarks"]


def test_run_remarks_on_one_class_everywhere(pictures: Path, tmp_path: Path) -> None:
    constant = colour_model(tmp_path / "constant.onnx", outputs=("constant",))
    assert "Every pixel is predicted as grey (class 0)" in run(pictures, constant).output
    assert "Every pixel" not in run(pictures, colour_model(tmp_path / "m.onnx"), "--no-resume").output


def test_verify_remarks_on_scores_that_are_not_numbers(pictures: Path, tmp_path: Path) -> None:
    """Also behind an ArgMax, which hides them."""
    nan, sound = colour_model(tmp_path / "nan.onnx", outputs=("nan",)), colour_model(tmp_path / "m.onnx")
    images = ("--images", pictures / "images")
    done = command("verify", sound, nan, *images)
    assert "the model gives scores that are not numbers (NaN) for" in done.output
    done = command("verify", nan, sound, *images)
    assert "the reference gives scores that are not numbers (NaN) for" in done.output
    assert "NaN" not in command("verify", sound, sound, *images).output
    constant = colour_model(tmp_path / "constant.onnx", outputs=("constant",))
    assert "the model labels every pixel as class 0" in command("verify", sound, constant, *images).output


def test_verify_names_an_output_that_is_no_tensor(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    from tests.runtimes.colours import save_graph

    path = save_graph(
        tmp_path / "m.onnx",
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *SIZE])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
        {},
    )
    done = command("verify", path, path)
    assert done.exit_code == 2 and "output 'y' is a sequence" in done.output
