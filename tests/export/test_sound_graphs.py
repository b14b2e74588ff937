"""What people bring as ONNX: open dimensions however spelt, damaged graphs, a batch that is none, weights elsewhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")

from onnx import TensorProto, helper, numpy_helper

from pspfast.cli.main import main
from pspfast.graphs import model_files
from pspfast.graphs.batch_dimension import example_shape, has_batch, pictures_at_once
from pspfast.graphs.declared import open_dimensions, shape_of
from pspfast.graphs.diagnosis import diagnose
from pspfast.graphs.simplification import fixed_shapes, simplify
from pspfast.graphs.soundness import GraphError, complaint_about
from pspfast.system import apart
from pspfast.system.apart import DiedApart, call_apart

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]], np.float32).reshape(4, 3, 1, 1)


def labeller(shape: list[Any] | None = None, out: list[Any] | None = None, **conv: Any) -> Any:
    """A convolution and an ArgMax: the smallest segmentation model."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["l"], "conv", **conv),
        helper.make_node("ArgMax", ["l"], ["y"], "argmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or [1, 3, 16, 24])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, out or ["n", 1, "h", "w"])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def written(model: Any, folder: Path, name: str = "m.onnx") -> str:
    (folder / name).write_bytes(model.SerializeToString())
    return str(folder / name)


def command(*words: str) -> Result:
    done = CliRunner().invoke(main, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


# ---------------------------------------------------------------------------------------------------- open dimensions


@pytest.mark.parametrize("spelt", [-1, 0, -7])
def test_dimensions_of_zero_and_less_are_open_for_every_command(spelt: int, tmp_path: Path) -> None:
    path = written(labeller([spelt, 3, spelt, spelt], [spelt, 1, spelt, spelt]), tmp_path)
    done = command("doctor", path)
    assert done.exit_code == 0 and "[?, 3, ?, ?]" in done.output and "batch is open" in done.output
    refused = command("atc", path, "--soc-version", "Ascend310", "--dry-run")
    assert refused.exit_code == 2 and "x is ?,3,?,?" in refused.stderr.replace("input x of " + path, "x")
    shape = "x:1,3,16,24"
    done = command("atc", path, "--soc-version", "Ascend310", "--dry-run", "--input-shape", shape)
    assert done.exit_code == 0 and f"--input_shape={shape}" in done.output
    done = command("simplify", path, str(tmp_path / "s.onnx"), "--input-shape", shape)
    assert done.exit_code == 0
    assert shape_of(model_files.load(tmp_path / "s.onnx").graph.output[0]) == (1, 1, 16, 24)
    assert command("verify", path, path, "--shape", "16", "24", "--quiet").exit_code == 0
    assert command("aipp", path).exit_code == 0


def test_dimensions_inside_of_a_graph_and_of_its_branches_are_open(tmp_path: Path) -> None:
    model = labeller([1, 3, 16, 24], [1, 1, -1, -1])
    model.graph.value_info.append(helper.make_tensor_value_info("l", TensorProto.FLOAT, [-1, 4, 0, -1]))
    model.graph.value_info.append(helper.make_tensor_value_info("none", TensorProto.FLOAT, [0]))
    branch = helper.make_graph([], "b", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [-1, 4])])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], "if", then_branch=branch, else_branch=branch))
    open_dimensions(model)
    assert shape_of(model.graph.output[0]) == (1, 1, None, None)
    assert [dim.HasField("dim_value") for dim in model.graph.value_info[0].type.tensor_type.shape.dim] == [
        False, True, False, False
    ]  # fmt: skip
    assert model.graph.value_info[1].type.tensor_type.shape.dim[0].HasField("dim_value"), "an empty constant's"
    inner = model.graph.node[-1].attribute[0].g.output[0]
    assert not inner.type.tensor_type.shape.dim[0].HasField("dim_value")
    path = written(labeller([1, 3, 16, 24], [1, 1, -1, -1]), tmp_path)
    assert command("simplify", path, str(tmp_path / "s.onnx")).exit_code == 0


def test_a_model_without_open_dimensions_stays_as_it_is() -> None:
    model = labeller([1, 3, 16, 24], [1, 1, 16, 24])
    before = model.SerializeToString()
    open_dimensions(model)
    assert model.SerializeToString() == before


# ------------------------------------------------------------------------------------------------------ damaged graphs


def change(edit: Callable[[Any], Any]) -> Any:
    model = labeller()
    edit(model)
    return model


def of_other_domain(model: Any) -> None:
    del model.opset_import[:]
    model.opset_import.add(domain="com.example", version=1)


def pooled(operator: str, **attributes: Any) -> Any:
    model = labeller()
    model.graph.node.insert(1, helper.make_node(operator, ["l"], ["p"], "pool", **attributes))
    model.graph.node[2].input[0] = "p"
    return model


def sequence(model: Any) -> None:
    del model.graph.node[1:]
    model.graph.node.append(helper.make_node("SequenceConstruct", ["l"], ["y"], "seq"))
    model.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))


DAMAGED: dict[str, tuple[Any, str]] = {
    "no opset": (change(lambda m: m.ClearField("opset_import")), "names no version of ONNX's operators"),
    "another opset": (change(of_other_domain), "'conv' (Conv) is of ONNX itself"),
    "a domain": (change(lambda m: setattr(m.graph.node[0], "domain", "com.example")), "(Conv) is of com.example"),
    "no inputs": (change(lambda m: m.graph.node[0].ClearField("input")), "'conv' (Conv) reads 0 values; it needs 2 to"),
    "few inputs": (change(lambda m: m.graph.node[0].input.pop()), "'conv' (Conv) reads 1 values"),
    "no outputs": (change(lambda m: m.graph.node[0].ClearField("output")), "(Conv) makes nothing"),
    "no type": (change(lambda m: setattr(m.graph.initializer[0], "data_type", 0)), "constant 'w' has no type"),
    "an odd type": (change(lambda m: setattr(m.graph.initializer[0], "data_type", 99)), "constant 'w' has no type"),
    "cut short": (change(lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234")), "'w' has 4 bytes"),
    "an odd input": (
        change(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 99)),
        "input 'x' is of a type that ONNX does not know",
    ),
    "no nodes": (change(lambda m: m.graph.ClearField("node")), "the graph has no operators"),
    "one name twice": (change(lambda m: setattr(m.graph.node[1], "name", "conv")), "two nodes are called 'conv'"),
    "a sequence": (change(sequence), "output 'y' is a sequence, not a tensor"),
    "strides": (labeller(strides=[-1, 1]), "'conv' (Conv): strides is -1, 1; ONNX takes 1 and more"),
    "dilations": (labeller(dilations=[1, -2]), "(Conv): dilations is 1, -2"),
    "pads": (labeller(pads=[0, 0, -1, 0]), "(Conv): pads is 0, 0, -1, 0; ONNX takes 0 and more"),
    "few pads": (labeller(pads=[0, 0]), "(Conv): pads has 2 numbers, and a window of 2 axes needs 4"),
    "few strides": (labeller(strides=[1]), "(Conv): strides has 1 numbers, and a window of 2 axes needs 2"),
    "group": (labeller(group=-1), "(Conv): group is -1"),
    "a text": (labeller(pads="same"), "pads is of the kind STRING, not INTS"),
    "auto_pad": (labeller(auto_pad="SAME"), "auto_pad is 'SAME'"),
    "kernel": (pooled("MaxPool", kernel_shape=[2, -2]), "'pool' (MaxPool): kernel_shape is 2, -2"),
    "no kernel": (pooled("AveragePool"), "'pool' (AveragePool) lacks kernel_shape"),
    "pool strides": (pooled("AveragePool", kernel_shape=[2, 2], strides=[2]), "strides has 1 numbers"),
    "pool dilations": (pooled("MaxPool", kernel_shape=[2, 2], dilations=[-1, 1]), "dilations is -1, 1"),
    "blocks": (pooled("SpaceToDepth", blocksize=-2), "(SpaceToDepth): blocksize is -2"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_graphs_end_in_one_sentence_before_a_library_sees_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sentence = DAMAGED[kind]
    monkeypatch.setattr("pspfast.graphs.native.call_apart", lambda what, *_: pytest.fail(f"{what} was called"))
    path, out = written(model, tmp_path), tmp_path / "s.onnx"
    for words in (
        ("doctor", path),
        ("doctor", path, "--fix", str(out)),
        ("atc", path, "--soc-version", "Ascend310", "--dry-run"),
        ("simplify", path, str(out)),
        ("verify", path, path),
        ("aipp", path),
    ):
        done = command(*words)
        assert done.exit_code == 2, words
        assert done.stderr.startswith(f"{path}: ") and done.stderr.count("\n") == 1, words
        assert sentence in done.stderr, words
    assert not out.exists()
    for function in (diagnose, simplify):
        with pytest.raises(GraphError):
            function(model)


def test_what_no_graph_may_hold_is_found_inside_of_branches_and_functions() -> None:
    inner = helper.make_node("MaxPool", ["x"], ["z"], "inner", kernel_shape=[2, 2], strides=[-1, 1])
    branch = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])
    model = labeller()
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], "if", then_branch=branch, else_branch=branch))
    assert "'inner' (MaxPool): strides is -1, 1" in complaint_about(model)
    model = labeller()
    function = helper.make_function("own", "F", ["x"], ["z"], [inner], [helper.make_opsetid("", 13)])
    model.functions.append(function)
    model.opset_import.add(domain="own", version=1)
    assert "'inner' (MaxPool): strides is -1, 1" in complaint_about(model)


@pytest.mark.parametrize(
    "model",
    [
        labeller(strides=[1, 2], dilations=[1, 1], pads=[0, 1, 0, 1], group=1, auto_pad="NOTSET"),
        labeller(kernel_shape=[1, 1], auto_pad="SAME_UPPER"),
        pooled("MaxPool", kernel_shape=[2, 2], ceil_mode=1),
        pooled("GlobalAveragePool"),
        pooled("Pad", mode="constant"),
        change(lambda m: [node.ClearField("name") for node in m.graph.node]),
        change(lambda m: setattr(m.graph.node[0], "op_type", "SomeOperatorOfACustomCompiler")),
    ],
    ids=str,
)
def test_what_is_allowed_is_not_complained_about(model: Any) -> None:
    for node in model.graph.node:
        if node.op_type == "Pad":
            node.input.append("pads")
            model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1, 0, 0, 0, 0, -2]), "pads"))
    assert complaint_about(model) == ""


def test_an_operator_that_cannot_be_is_told_as_onnx_runtime_does(tmp_path: Path) -> None:
    model = labeller()
    model.graph.node[1].attribute[0].i = 9  # an axis that is not there
    for words in (["doctor"], ["atc", "--soc-version", "Ascend310", "--dry-run"]):
        done = command(*words, written(model, tmp_path))
        assert done.exit_code == 2 and "not a valid ONNX graph" in done.stderr and done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------------------- run apart


def _end(number: int) -> None:
    print("the library's last words")
    os.kill(os.getpid(), number)


def _leave(status: int) -> None:
    os._exit(status)


def _fail(text: str) -> None:
    raise GraphError(text)


class _Strange(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}\nand more")


def _fail_strangely() -> None:
    raise _Strange(1, 2)


@pytest.mark.parametrize("number", [signal.SIGFPE, signal.SIGSEGV, signal.SIGKILL])
def test_a_death_is_a_sentence_and_the_next_call_works(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DiedApart, match=rf"^somelib died \(ended by {signal.Signals(number).name}"):
        call_apart("somelib", _end, int(number))
    assert call_apart("somelib", np.hypot, 3.0, 4.0) == 5
    capfd.readouterr()


def test_an_early_end_and_errors_come_back() -> None:
    with pytest.raises(DiedApart, match="ended with exit status 7"):
        call_apart("somelib", _leave, 7)
    with pytest.raises(GraphError, match=r"^as it was$"):
        call_apart("somelib", _fail, "as it was")
    first = apart._worker
    with pytest.raises(RuntimeError, match=r"^1 and 2$"):
        call_apart("somelib", _fail_strangely)
    assert apart._worker is first, "an error ends nothing"


def test_a_library_that_dies_ends_commands_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(labeller(), tmp_path)
    monkeypatch.setattr("pspfast.graphs.native._check", _end_of_check)
    monkeypatch.setattr("pspfast.graphs.native._simplify", _end_of_simplify)
    calls = {"onnx's checker": ("doctor", path), "onnxsim": ("simplify", path, str(tmp_path / "s.onnx"))}
    for what, words in calls.items():
        done = command(*words)
        assert done.exit_code == 2 and f"{what} died (ended by SIGFPE" in done.stderr
        assert not (tmp_path / "s.onnx").exists()


def _end_of_check(*_: Any) -> None:
    _end(signal.SIGFPE)


def _end_of_simplify(*_: Any) -> None:
    _end(signal.SIGFPE)


# ---------------------------------------------------------------------------------------------------------- the batch


def two_inputs(first: list[Any], other: list[Any], name: str = "orig_im_size") -> Any:
    model = labeller(first)
    model.graph.input.insert(0, helper.make_tensor_value_info(name, TensorProto.FLOAT, other))
    return model


def bare(model: Any) -> Any:
    """The same inputs, and an ArgMax alone, which takes any of them."""
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("ArgMax", ["x"], ["y"], "argmax", axis=0))
    return model


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (two_inputs(["n", 3, 16, 24], [2]), [], "orig_im_size:2;x:1,3,16,24"),
        (two_inputs(["n", 3, 16, 24], [2]), ["--batch", "4"], "orig_im_size:2;x:4,3,16,24"),
        (two_inputs([1, 3, 16, 24], [2]), ["--batch", "1"], "orig_im_size:2;x:1,3,16,24"),
        (two_inputs(["n", 3, 16, 24], [3, 3], "matrix"), ["--batch", "2"], "matrix:3,3;x:2,3,16,24"),
        (two_inputs(["n", 3, 16, 24], ["m", 2], "scale"), ["--batch", "2"], "scale:2,2;x:2,3,16,24"),
        (labeller([3, 16, 24]), [], "x:3,16,24"),
        (labeller([3, 16, 24]), ["--batch", "1"], "x:3,16,24"),
    ],
)
def test_only_the_first_dimension_of_pictures_is_the_batch(
    model: Any, options: list[str], expected: str, tmp_path: Path
) -> None:
    done = command("atc", written(bare(model), tmp_path), "--soc-version", "Ascend310", "--dry-run", *options)
    assert done.exit_code == 0, done.output
    assert f"--input_shape={expected} " in done.stdout.replace("'", "")


def test_a_model_of_one_picture_has_no_batch_of_others(tmp_path: Path) -> None:
    path = written(bare(labeller([3, 16, 24])), tmp_path)
    done = command("atc", path, "--soc-version", "Ascend310", "--dry-run", "--batch", "4")
    assert done.exit_code == 2 and "takes one picture and has no dimension for a batch: x is 3,16,24" in done.stderr
    with pytest.raises(ValueError, match="no dimension for a batch of 4"):
        fixed_shapes(labeller([3, 16, 24]), 4)
    assert fixed_shapes(two_inputs(["n", 3, 16, 24], [2]), 4) == {"orig_im_size": (2,), "x": (4, 3, 16, 24)}
    assert diagnose(bare(two_inputs([8, 3, 16, 24], [2]))).batch == 8


def test_which_inputs_have_a_batch() -> None:
    assert has_batch({"a": (2, 128)}) == {"a"}
    assert has_batch({"a": (16, 24, 3)}) == set()
    assert has_batch({"a": ("n", 16, 24)}) == {"a"}
    assert pictures_at_once({"a": (2, 3, 4, 4), "b": (1, 3, 4, 4)}) is None
    assert pictures_at_once({"a": ("n", 3, 4, 4)}) == "n"
    assert example_shape("x", (3, None, None)) == "x:3,500,500"
    assert example_shape("x", ("n", 64, None, 3), 2) == "x:2,64,500,3"
    assert example_shape("x", None) == "x:1,3,500,500"


def test_advice_fits_models_with_channels_last(tmp_path: Path) -> None:
    path = written(bare(labeller(["n", "h", "w", 3])), tmp_path)
    for words in (("atc", path, "--soc-version", "Ascend310", "--dry-run"), ("doctor", path)):
        assert "x:1,500,500,3" in command(*words).output
    done = command("simplify", path, str(tmp_path / "s.onnx"), "--batch", "2")
    assert done.exit_code == 2 and "e.g. x:2,500,500,3" in done.stderr


@pytest.mark.parametrize(
    ("shape", "kind"), [([1, 16, 24, 3], "UINT8"), ([1, 3, 16, 24], "UINT8"), ([1, 3, 4], "INT32")]
)
def test_aipp_is_not_for_models_of_integers(shape: list[int], kind: str, tmp_path: Path) -> None:
    model = labeller(shape)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DataType.Value(kind)
    done = command("aipp", written(model, tmp_path))
    expected = "takes bytes, which it normalizes itself" if kind == "UINT8" else "takes int32"
    assert done.exit_code == 2 and expected in done.stderr and done.stdout == ""


# --------------------------------------------------------------------------------------------------- weights elsewhere


def with_a_table(folder: Path, rows: int) -> str:
    """A model that looks its labels up in a table, which is a hole in a sparse file beside it."""
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, 4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "m.bin"), ("offset", 0), ("length", rows * 16)):
        table.external_data.add(key=key, value=str(value))
    model = labeller(["n", 3, 16, 24], ["n", 1, 16, 24])
    model.graph.initializer.append(table)
    model.graph.node[1].output[0] = "a"
    model.graph.node.append(helper.make_node("Gather", ["table", "a"], ["r"], "gather"))
    model.graph.node.append(helper.make_node("ArgMax", ["r"], ["y"], "last", axis=4, keepdims=0))
    with open(folder / "m.bin", "wb") as file:
        file.truncate(rows * 16)
    return written(model, folder)


def test_more_than_2_gb_beside_a_model_are_not_read_by_those_who_need_no_weights(tmp_path: Path) -> None:
    path = with_a_table(tmp_path, 150_000_000)
    assert model_files.is_too_large(model_files.load(path, weights=False))
    assert command("doctor", path).exit_code == 0
    done = command("atc", path, "--soc-version", "Ascend310", "--dry-run")
    assert done.exit_code == 0 and "x:1,3,16,24" in done.stdout
    os.truncate(tmp_path / "m.bin", 1000)
    done = command("doctor", path)
    assert done.exit_code == 2 and "m.bin has 1,000 bytes, 'table' ends at 2,400,000,000" in done.stderr


def test_what_no_message_holds_goes_through_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The limit is lowered instead of the model raised: the way is the same, and takes no memory.
    path = with_a_table(tmp_path, 300)
    small = simplify(model_files.load(path), {"x": (1, 3, 16, 24)})
    monkeypatch.setattr(model_files, "_MOST_BYTES", 4000)
    out = tmp_path / "s.onnx"
    done = command("simplify", path, str(out), "--batch", "1")
    assert done.exit_code == 0, done.output
    assert f"wrote {out} and {out}.data" in done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.bin", "m.onnx", "s.onnx", "s.onnx.data"]
    assert model_files.load(out).graph.node == small.graph.node
    done = command("verify", path, str(out), "--shape", "16", "24", "--quiet")
    assert done.exit_code == 0 and "the same" in done.stdout
    assert command("doctor", path, "--fix", str(tmp_path / "f.onnx")).exit_code == 0
    assert (tmp_path / "f.onnx.data").stat().st_size == 4800


def test_weights_beside_a_model_are_not_replaced(tmp_path: Path) -> None:
    path = with_a_table(tmp_path, 300)
    model = model_files.load(path, weights=False)
    for entry in model.graph.initializer[1].external_data:
        if entry.key == "location":
            entry.value = "s.onnx.data"
    (tmp_path / "m.bin").rename(tmp_path / "s.onnx.data")
    written(model, tmp_path)
    for words in (("simplify", path, str(tmp_path / "s.onnx")), ("doctor", path, "--fix", str(tmp_path / "s.onnx"))):
        done = command(*words)
        assert done.exit_code == 2 and "s.onnx.data is what this command reads" in done.stderr


@pytest.mark.parametrize("location", ["../m.bin", "/etc/hostname", "", "gone.bin"])
def test_weights_outside_of_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    path = with_a_table(tmp_path, 300)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[1].external_data[0].value = location
    done = command("doctor", written(model, tmp_path))
    assert done.exit_code == 2 and "its external data cannot be read" in done.stderr and done.stderr.count("\n") == 1
