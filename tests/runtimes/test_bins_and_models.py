"""Bins and the model that they are for: what could be read as something else is refused, with what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what these tests run")

from pspfast.cli.main import main
from pspfast.formats.model_metadata import ModelMetadata
from pspfast.runtimes.acl import AclRuntime
from pspfast.runtimes.engines import open_runtime
from pspfast.runtimes.runtime import TensorSpec
from pspfast.stages.bin_values import another_type
from pspfast.stages.feeding import find_feed
from pspfast.stages.model_input import check_bins
from tests.runtimes.colours import SIZE, colour_model, coloured_pictures
from tests.runtimes.fake_acl import FakeAcl, write_om
from tests.runtimes.fake_acl import installed as acl_installed
from tests.runtimes.fake_ais_bench import FakeAisBench
from tests.runtimes.fake_ais_bench import installed as ais_bench_installed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CHW = (3, *SIZE)


def write_bin(folder: Path, values: NDArray[Any]) -> Path:
    folder.mkdir()
    values.tofile(folder / "a.bin")
    return folder


def floats(dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal(CHW).astype(dtype)


def integers(dtype: str) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, CHW).astype(dtype)


@pytest.mark.parametrize(
    ("values", "taken", "said"),
    [
        (integers("int32"), "float32", "bytes of int32, such as 0 to 255"),
        (integers("int32") - 128, "float32", "bytes of int32, such as -128 to 127"),
        (integers("int16"), "float16", "bytes of int16, such as 0 to 255"),
        (integers("int64"), "float64", "bytes of int64, such as 0 to 255"),
        (floats(), "int32", "bytes of float32"),
        (floats("float64"), "int64", "bytes of float64"),
    ],
)
def test_types_of_the_same_size(tmp_path: Path, values: NDArray[Any], taken: str, said: str) -> None:
    folder = write_bin(tmp_path / "bins", values)
    with pytest.raises(ValueError, match=said):
        find_feed(folder, TensorSpec("x", taken, (1, *CHW)))


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        (floats(), "float32"),
        (floats("float16"), "float16"),
        (floats("float16"), "float32"),  # widened
        (integers("float32"), "float32"),  # whole numbers
        (np.ones(CHW, np.float32), "float32"),
        (np.zeros(CHW, np.float32), "float32"),
        (np.ones(CHW, np.float16), "float16"),
        (floats() * np.float32(1e-3), "float32"),
        (integers("int32"), "int32"),
        (integers("int64") - 128, "int64"),
        (np.zeros(CHW, np.int32), "int32"),
        (integers("uint8"), "int8"),
    ],
)
def test_what_bins_may_hold(tmp_path: Path, values: NDArray[Any], taken: str) -> None:
    folder = write_bin(tmp_path / "bins", values)
    assert [one.name for one in find_feed(folder, TensorSpec("x", taken, (1, *CHW))).pictures] == ["a"]


def test_zeros_say_nothing_and_the_next_bin_is_looked_at(tmp_path: Path) -> None:
    folder = write_bin(tmp_path / "bins", np.zeros(CHW, np.float32))
    integers("int32").tofile(folder / "b.bin")
    with pytest.raises(ValueError, match=r"b\.bin: as float32"):
        find_feed(folder, TensorSpec("x", "float32", (1, *CHW)))
    assert another_type(np.zeros(0, np.float32)) == ""


def test_a_manifest_is_believed(tmp_path: Path) -> None:
    """Nothing is guessed where the type is written down."""
    coloured_pictures(tmp_path / "set")
    words = ("--dataset", "folder", "--root", tmp_path / "set", "--size", *SIZE, "--bin-folder-path", tmp_path / "bins")
    assert CliRunner().invoke(main, ["preprocess", *map(str, words)]).exit_code == 0
    for path in (tmp_path / "bins").glob("*.bin"):
        np.full(CHW, 3, np.int16).tofile(path)
    assert len(find_feed(tmp_path / "bins", TensorSpec("x", "float16", (1, *CHW))).pictures) == 3


@pytest.mark.parametrize("kind", ["int32", "int64", "int8"])
def test_advice_is_what_preprocess_takes(tmp_path: Path, kind: str) -> None:
    coloured_pictures(tmp_path / "set")
    words = ("--dataset", "folder", "--root", tmp_path / "set", "--size", *SIZE, "--bin-folder-path", tmp_path / "bins")
    CliRunner().invoke(main, ["preprocess", *map(str, words)])
    with pytest.raises(ValueError, match="bins of float16") as told:
        find_feed(tmp_path / "bins", TensorSpec("x", kind, (1, *CHW)))
    assert "--dtype" not in str(told.value) and "float16 and float32 only" in str(told.value)
    with pytest.raises(ValueError, match="preprocess --dtype float16 makes bins for it"):
        (tmp_path / "other").mkdir()
        manifest = json.loads((tmp_path / "bins/manifest.json").read_text())
        manifest["parameters"]["dtype"] = "float32"
        (tmp_path / "bins/manifest.json").write_text(json.dumps(manifest))
        find_feed(tmp_path / "bins", TensorSpec("x", "float16", (1, *CHW)))


# ---- layouts


def test_channels_first_and_last(tmp_path: Path) -> None:
    """The bytes are as many; a manifest decides, else an option."""
    coloured_pictures(tmp_path / "set")
    words = ("--dataset", "folder", "--root", tmp_path / "set", "--size", *SIZE, "--bin-folder-path", tmp_path / "bins")
    CliRunner().invoke(main, ["preprocess", *map(str, words)])
    last = TensorSpec("x", "float32", (1, *SIZE, 3))
    for layout in (None, "nchw", "nhwc"):
        with pytest.raises(ValueError, match="bins with their channels first, and the model takes x float32 1x24x32x3"):
            find_feed(tmp_path / "bins", last, layout)
    (tmp_path / "bins" / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"nothing says whether these bins .* --bin-layout nhwc"):
        find_feed(tmp_path / "bins", last)
    with pytest.raises(ValueError, match="channels first, and the model takes"):
        find_feed(tmp_path / "bins", last, "nchw")
    feed = find_feed(tmp_path / "bins", last, "nhwc")
    assert (feed.shape, len(feed.pictures)) == ((*SIZE, 3), 3)
    first = TensorSpec("x", "float32", (1, *CHW))
    assert find_feed(tmp_path / "bins", first, "nchw").shape == CHW
    with pytest.raises(ValueError, match="says that channels are last, and the model takes x float32 1x3x24x32"):
        find_feed(tmp_path / "bins", first, "nhwc")


def test_channels_last_by_the_commands(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", last=True)
    last = np.ascontiguousarray(floats().transpose(1, 2, 0))
    folder = write_bin(tmp_path / "bins", last)
    words = ["--model", str(model), "--input", str(folder)]
    for command in (["infer", *words, "--output", str(tmp_path / "out")], ["benchmark", *words]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2 and "--bin-layout nhwc" in done.output
        done = CliRunner().invoke(main, [*command, "--bin-layout", "nhwc"])
        assert done.exit_code == 0, done.output
    labels = np.fromfile(tmp_path / "out/dumpOutput_device0/a_1.bin", np.int32).reshape(SIZE)
    with open_runtime(colour_model(tmp_path / "first.onnx")) as runtime:
        assert np.array_equal(labels, runtime.infer(floats()[None])[0][0, 0])


# ---- constants of the bins and of the model


def metadata(**others: Any) -> ModelMetadata:
    fields: dict[str, Any] = {
        "checkpoint": "m.pth", "checkpoint_sha256": "", "config": "", "classes": (), "palette": (),
        "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0), "to_rgb": True, "size": SIZE, "input": "float32",
        "output": "labels", "layout": "n1hw", "pooling": "native", "version": "0",
    }  # fmt: skip
    return ModelMetadata(**(fields | others))


def test_bins_of_other_constants() -> None:
    bins = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "channels": "RGB"}
    check_bins("m.onnx", metadata(), "bins", bins)
    check_bins("m.onnx", None, "bins", bins)
    check_bins("m.onnx", metadata(), "bins", None)
    with pytest.raises(ValueError, match=r"bins made with mean 1 2 3, and m\.onnx was exported with 3 2 1"):
        check_bins("m.onnx", metadata(mean=(3.0, 2.0, 1.0)), "bins", bins)
    with pytest.raises(ValueError, match="bins made with std 4 5 6"):
        check_bins("m.onnx", metadata(std=(1.0, 1.0, 1.0)), "bins", bins)
    with pytest.raises(ValueError, match=r"bins with channels RGB, and m\.onnx takes BGR"):
        check_bins("m.onnx", metadata(to_rgb=False), "bins", bins)


def test_infer_and_benchmark_refuse_them(tmp_path: Path) -> None:
    from pspfast.formats.model_metadata import write_metadata

    onnx = pytest.importorskip("onnx")
    path = colour_model(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    write_metadata(model, metadata())
    onnx.save(model, str(path))
    coloured_pictures(tmp_path / "set")
    words = ("--dataset", "folder", "--root", tmp_path / "set", "--size", *SIZE, "--bin-folder-path", tmp_path / "bins")
    CliRunner().invoke(main, ["preprocess", *map(str, words)])
    given = ("--model", path, "--input", tmp_path / "bins")
    for command in (["infer", *given, "--output", tmp_path / "out"], ["benchmark", *given]):
        done = CliRunner().invoke(main, list(map(str, command)))
        assert done.exit_code == 2 and "was exported with 1 2 3" in done.output
    assert not (tmp_path / "out").exists()


# ---- one picture without a dimension for it, on an Ascend host


def test_acl_takes_one_picture(tmp_path: Path) -> None:
    onnx = colour_model(tmp_path / "m.onnx", batch=None)
    om = write_om(tmp_path / "m.om", onnx, batch=1)
    with open_runtime(onnx) as runtime:
        (wanted,) = runtime.infer(floats()[None])
    with acl_installed(FakeAcl()), AclRuntime(om) as there:
        assert there.batches == (1,) and there.input.shape == (1, *CHW)
        (labels,) = there.infer(floats()[None])
    assert np.array_equal(labels.reshape(SIZE), wanted.reshape(SIZE))


def test_ais_bench_takes_one_picture(tmp_path: Path) -> None:
    onnx = colour_model(tmp_path / "m.onnx", batch=None)
    om = write_om(tmp_path / "m.om", onnx, batch=1)
    with open_runtime(onnx) as runtime:
        (wanted,) = runtime.infer(floats()[None])
    with ais_bench_installed(FakeAisBench()), open_runtime(om, "ais_bench") as there:
        assert there.batches == (1,) and there.input.shape == (1, *CHW)
        (labels,) = there.infer(floats()[None])
    assert np.array_equal(labels.reshape(SIZE), wanted.reshape(SIZE))
