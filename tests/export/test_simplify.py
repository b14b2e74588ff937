"""onnxsim, the files round it, and shapes that must not lie."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'export' is not installed")
ort = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")

from onnx import TensorProto, helper, numpy_helper

from pspfast.cli.main import main
from pspfast.formats.model_metadata import ModelMetadata, read_metadata, write_metadata
from pspfast.graphs import model_files as graphs
from pspfast.graphs.simplification import differences, fixed_shapes, simplify


def make(nodes: list[Any], given: list[Any], wanted: list[Any], constants: dict[str, Any] | None = None) -> Any:
    """A model of float inputs and outputs: ``(name, shape)``."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in given],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in wanted],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def doubled_resize(batch: int | str = "n") -> Any:
    """Resize to twice the size, which PyTorch's exporter writes as a chain that starts with Shape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["first"]),
        helper.make_node("Concat", ["first", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "none", "none", "sizes"], ["y"], mode="linear"),
    ]
    none = np.zeros(0, np.float32)
    constants = {"zero": np.array([0]), "two": np.array([2]), "size": np.array([8, 10]), "none": none}
    return make(nodes, [("x", [batch, 3, 4, 5])], [("y", [batch, 3, 8, 10])], constants)


def run(model: Any, x: Any) -> Any:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_makes_sizes_constant_and_outputs_follow(batch: int) -> None:
    model = doubled_resize()
    simple = simplify(model, fixed_shapes(model, batch))
    assert graphs.operator_counts(simple) == {"Resize": 1}
    assert graphs.shape_of(simple.graph.output[0]) == (batch, 3, 8, 10)
    x = np.random.default_rng(0).standard_normal((batch, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(run(simple, x), run(model, x))
    assert graphs.shape_of(model.graph.input[0]) == ("n", 3, 4, 5), "the given model is not changed"


def test_a_model_of_another_batch_is_refused() -> None:
    model = doubled_resize(1)
    with pytest.raises(ValueError, match=r"made for \[1, 3, 4, 5\] and cannot become \[16, 3, 4, 5\]"):
        simplify(model, fixed_shapes(model, 16))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"y": (1, 3, 4, 5)}, "no input 'y'; it has x"),
        ({"x": (1, 3, 4)}, "has 4 dimensions"),
        ({"x": (0, 3, 4, 5)}, "dimensions are positive"),
    ],
)
def test_impossible_shapes_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simplify(doubled_resize(), shapes)


def test_declared_shapes_that_lie_are_not_written(tmp_path: Path) -> None:
    model = make([helper.make_node("Relu", ["x"], ["y"])], [("x", [16, 3])], [("y", [1, 3])])
    with pytest.raises(graphs.GraphError):
        graphs.save(model, tmp_path / "lie.onnx")
    assert not list(tmp_path.iterdir())


def test_nodes_out_of_order_are_sorted() -> None:
    nodes = [helper.make_node("Relu", ["z"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    model = make(nodes, [("x", [2])], [("y", [2])])
    with pytest.raises(graphs.GraphError, match="not a valid ONNX graph"):
        graphs.check(model)
    graphs.sort_nodes(model)
    graphs.check(model)
    assert [node.op_type for node in model.graph.node] == ["Neg", "Relu"]


def test_nodes_in_a_circle_are_refused() -> None:
    nodes = [helper.make_node("Relu", ["z"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    with pytest.raises(graphs.GraphError, match="reads what no node"):
        graphs.sort_nodes(make(nodes, [("x", [2])], [("y", [2])]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not an ONNX model|holds no graph"),
        (doubled_resize().SerializeToString()[:-40], "not an ONNX model, or cut short"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(graphs.ModelFileError, match=reason) as error:
        graphs.load(path)
    assert str(path) in str(error.value)


def test_missing_external_data_is_told(tmp_path: Path) -> None:
    model = make(
        [helper.make_node("Add", ["x", "w"], ["y"])], [("x", [3])], [("y", [3])], {"w": np.zeros(3, np.float32)}
    )
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert len(graphs.load(tmp_path / "m.onnx").graph.initializer[0].raw_data) == 12
    (tmp_path / "m.data").unlink()
    with pytest.raises(graphs.ModelFileError, match="external data cannot be read"):
        graphs.load(tmp_path / "m.onnx")


METADATA = ModelMetadata(
    checkpoint="a.pth", checkpoint_sha256="00", config="", classes=("a", "b"), palette=((0, 0, 0), (1, 2, 3)),
    mean=(1.5, 2.0, 3.0), std=(1.0, 1.0, 1.0), to_rgb=True, size=(500, 400), input="float16", output="labels",
    layout="nhw", pooling="matmul", version="1",
)  # fmt: skip


def test_metadata_survive_the_file_and_simplification(tmp_path: Path) -> None:
    model = doubled_resize()
    assert read_metadata(model) is None
    model.metadata_props.add(key="author", value="somebody")
    write_metadata(model, METADATA)
    write_metadata(model, METADATA)
    simple = simplify(model, {"x": (1, 3, 4, 5)})
    graphs.save(simple, tmp_path / "m.onnx")
    found = graphs.load(tmp_path / "m.onnx")
    assert read_metadata(found) == METADATA
    assert {entry.key for entry in found.metadata_props} == {"author", "pspfast"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"checkpoint": 1}'])
def test_damaged_metadata_are_told(text: str) -> None:
    model = doubled_resize()
    model.metadata_props.add(key="pspfast", value=text)
    with pytest.raises(ValueError, match="metadata are damaged or of another version"):
        read_metadata(model)


def test_the_command_writes_and_lists(tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "s.onnx"
    model = doubled_resize()
    graphs.save(model, source)
    done = CliRunner().invoke(main, ["simplify", str(source), str(target), "--input-shape=1,3,4,5"])
    assert done.exit_code == 0, done.output
    assert "Shape        1      0  *" in done.stdout
    simple = graphs.load(target)
    assert differences(model, simple)[-1] == ("Slice", 1, 0)
    assert graphs.shape_of(simple.graph.input[0]) == (1, 3, 4, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch=2", "--input-shape=1,3,4,5"], "say the same"),
        (["--input-shape=x:1,3,a,5"], "expected numbers with commas"),
        (["--input-shape=z:1,3,4,5"], "no input 'z'"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_written(tmp_path: Path, options: list[str], message: str) -> None:
    graphs.save(doubled_resize(), tmp_path / "m.onnx")
    done = CliRunner().invoke(main, ["simplify", str(tmp_path / "m.onnx"), str(tmp_path / "s.onnx"), *options])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "s.onnx").exists()


def test_the_input_is_not_replaced(tmp_path: Path) -> None:
    graphs.save(doubled_resize(), tmp_path / "m.onnx")
    done = CliRunner().invoke(main, ["simplify", str(tmp_path / "m.onnx"), str(tmp_path / "m.onnx")])
    assert done.exit_code == 2
    assert "is what this command reads" in done.stderr


@pytest.mark.parametrize(
    ("output", "reason"), [(".", "is a folder"), ("missing/s.onnx", "no folder"), ("", "empty name")]
)
def test_an_output_that_cannot_be_written_is_told_first(tmp_path: Path, output: str, reason: str) -> None:
    done = CliRunner().invoke(main, ["simplify", str(tmp_path / "none.onnx"), output and f"{tmp_path}/{output}"])
    assert done.exit_code == 1 and reason in done.stderr


def test_a_model_into_a_stream_stands_alone_there(tmp_path: Path) -> None:
    graphs.save(doubled_resize(), tmp_path / "m.onnx")
    command = [
        sys.executable,
        "-m",
        "pspfast",
        "simplify",
        str(tmp_path / "m.onnx"),
        "/dev/stdout",
        "--input-shape=1,3,4,5",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    onnx.checker.check_model(onnx.ModelProto.FromString(done.stdout), full_check=True)
    assert b"before  after" in done.stderr


@pytest.mark.parametrize("compare", [False, True])
@pytest.mark.parametrize("empty", [(1, 3, 0, 1), (0, 2, 2, 1)])
def test_constants_without_elements_keep_their_shape(compare: bool, empty: tuple[int, ...]) -> None:
    """Onnxsim puts one of the empty parts for their Concat, an index of four columns that has one then."""
    indices = {f"part{number}": np.zeros((*empty, 1), np.int64) for number in range(4)}
    nodes = [
        helper.make_node("Concat", list(indices), ["index"], axis=-1),
        helper.make_node("ScatterND", ["x", "index", "nothing"], ["z"]),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    constants = {**indices, "nothing": np.zeros(empty, np.float32)}
    model = make(nodes, [("x", [1, 7, 7, 1])], [("y", [1, 7, 7, 1])], constants)
    simple = simplify(model, compare=compare)
    x = np.random.default_rng(0).standard_normal((1, 7, 7, 1)).astype(np.float32)
    session = ort.InferenceSession(simple.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.maximum(x, 0))


def test_empty_constants_that_are_all_there_is_fold_away() -> None:
    """As Swin's attention mask, which is made of constants alone."""
    indices = {f"part{number}": np.zeros((1, 3, 0, 1, 1), np.int64) for number in range(4)}
    nodes = [
        helper.make_node("Concat", list(indices), ["index"], axis=-1),
        helper.make_node("ScatterND", ["mask", "index", "nothing"], ["z"]),
        helper.make_node("Add", ["x", "z"], ["y"]),
    ]
    mask = np.arange(49, dtype=np.float32).reshape(1, 7, 7, 1)
    constants = {**indices, "nothing": np.zeros((1, 3, 0, 1), np.float32), "mask": mask}
    model = make(nodes, [("x", [1, 7, 7, 1])], [("y", [1, 7, 7, 1])], constants)
    assert graphs.operator_counts(simplify(model)) == {"Add": 1}
