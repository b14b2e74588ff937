"""What a model keeps in other files is part of it: found by what its tensors name, wherever in the graph they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pspfast.formats.external_weights import external_weights, sha256_of_model
from pspfast.system.digests import sha256_of

onnx = pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what these tests run")

from onnx import TensorProto, helper, numpy_helper

from pspfast.datasets.sources import data_set_source
from pspfast.stages.inference import infer
from pspfast.stages.whole_run import run
from tests.runtimes.small_models import bins
from tests.test_run import make_voc

SIZE = (6, 8)


def outside(name: str, values: Any, folder: Path, file: str) -> Any:
    """A tensor whose values are in a file of their own."""
    tensor = numpy_helper.from_array(np.asarray(values, np.float32), name)
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, file, length=len(tensor.raw_data))
    tensor.ClearField("raw_data")
    return tensor


def saved(path: Path, nodes: list[Any], initializers: list[Any], size: tuple[int, int] = SIZE) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, *size])],
        [helper.make_tensor_value_info("output", TensorProto.INT64, ["n", 1, *size])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 7
    path.write_bytes(model.SerializeToString())
    return path


def biased(path: Path, file: str, bias: list[float], size: tuple[int, int] = SIZE) -> Path:
    """The largest channel after a bias, which lies in another file."""
    nodes = [
        helper.make_node("Add", ["input", "bias"], ["sum"]),
        helper.make_node("ArgMax", ["sum"], ["output"], axis=1),
    ]
    return saved(path, nodes, [outside("bias", np.reshape(bias, (3, 1, 1)), path.parent, file)], size)


@pytest.mark.parametrize("file", ["m.onnx.data", "m.onnx_data", "weights.bin", "part/conv1.weight", "größe"])
def test_a_file_is_found_by_what_the_model_calls_it(tmp_path: Path, file: str) -> None:
    model = biased(tmp_path / "m.onnx", file, [0, 0, 9])
    assert external_weights(model) == [str(tmp_path / file)]
    assert sha256_of_model(model) != sha256_of(model)


def test_tensors_of_every_place_in_a_model(tmp_path: Path) -> None:
    def constant(name: str, file: str) -> Any:
        return helper.make_node("Constant", [], [name], value=outside(name, [1.0], tmp_path, file))

    inner = helper.make_graph(
        [constant("x", "in_a_branch")], "then", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    )
    nodes = [constant("a", "in_a_node"), helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    path = saved(tmp_path / "m.onnx", nodes, [outside("w", [1.0, 2.0], tmp_path, "in_the_graph")])
    model = onnx.load(str(path), load_external_data=False)
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside("s", [1.0], tmp_path, "sparse"))
    function = model.functions.add()
    function.name = "f"
    function.node.append(constant("b", "in_a_function"))
    path.write_bytes(model.SerializeToString())
    wanted = ["in_a_branch", "in_a_function", "in_a_node", "in_the_graph", "sparse"]
    assert [os.path.basename(one) for one in external_weights(path)] == wanted


def test_what_is_no_model_has_no_weights(tmp_path: Path) -> None:
    whole = biased(tmp_path / "m.onnx", "w.bin", [0, 0, 0]).read_bytes()
    path = tmp_path / "other.onnx"
    for data in (b"", b"stands for a model", b"IMOD" + bytes(200), b"\xff" * 50, b":" + b"\x7f" * 9):
        path.write_bytes(data)
        assert external_weights(path) == []
        assert sha256_of_model(path) == sha256_of(path)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert set(external_weights(path)) <= {str(tmp_path / "w.bin")}
    (tmp_path / "w.bin").unlink()
    path.write_bytes(whole)
    assert external_weights(path) == []


def test_inference_does_not_keep_what_other_weights_made(tmp_path: Path) -> None:
    bins(tmp_path / "bins", 2)
    model = biased(tmp_path / "m.onnx", "weights.bin", [1e4, 0, 0])
    infer(model, tmp_path / "bins", tmp_path)
    assert infer(model, tmp_path / "bins", tmp_path).kept == 2
    biased(tmp_path / "m.onnx", "weights.bin", [0, 1e4, 0])
    assert infer(model, tmp_path / "bins", tmp_path).kept == 0


def test_a_run_does_not_go_on_with_other_weights(tmp_path: Path) -> None:
    voc = make_voc(tmp_path / "VOC2012", 3)
    model = biased(tmp_path / "m.onnx", "weights.bin", [1e4, 0, 0], (60, 80))
    with data_set_source(voc) as source:
        run(model, source, tmp_path / "out")
        assert run(model, source, tmp_path / "out").kept == 3
        graph = model.read_bytes()
        biased(model, "weights.bin", [0, 1e4, 0], (60, 80))
        assert model.read_bytes() == graph
        with pytest.raises(ValueError, match=r"a run of another kind \(model "):
            run(model, source, tmp_path / "out")
        done = run(model, source, tmp_path / "out", resume=False)
    assert done.kept == 0 and done.result is not None
    assert done.result.areas.predicted[1] > 0 == done.result.areas.predicted[0]


def test_bytes_that_move_from_one_file_to_the_other(tmp_path: Path) -> None:
    """Together they are the same bytes, in the same order."""
    model = biased(tmp_path / "m.onnx", "a.bin", [0, 0, 9])
    seen = set()
    for first, second in ((b"abcd", b"ef"), (b"abc", b"def"), (b"", b"abcdef"), (b"abcdef", b"")):
        (tmp_path / "a.bin").write_bytes(first)
        (tmp_path / "m.onnx.data").write_bytes(second)
        seen.add(sha256_of_model(model))
    assert len(seen) == 4
