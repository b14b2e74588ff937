"""A checkpoint to ONNX files: every kind of input and output, against PyTorch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'export' is not installed")
onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
ort = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'export' is not installed")

from click.testing import CliRunner

import pspfast
from pspfast.cli.main import main
from pspfast.datasets import VOC
from pspfast.export import attempts, proving
from pspfast.export.exporting import export
from pspfast.export.networks import load_network
from pspfast.export.pspnet import PSPNet, random_pspnet
from pspfast.formats.model_metadata import read_metadata
from pspfast.graphs import model_files as graphs

SHAPE = (120, 136)
MEAN, STD = np.array(pspfast.IMAGENET_MEAN, np.float32), np.array(pspfast.IMAGENET_STD, np.float32)


def save(model: PSPNet, path: Path, **meta: Any) -> str:
    torch.save({"meta": meta, "state_dict": model.state_dict()}, path)
    return str(path)


@pytest.fixture(scope="module")
def network() -> PSPNet:
    return random_pspnet(18, width=16)


@pytest.fixture(scope="module")
def checkpoint(network: PSPNet, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(network, tmp_path_factory.mktemp("checkpoint") / "pspnet_r18.pth")


def picture(batch: int = 1, shape: tuple[int, int] = SHAPE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """``(N, H, W, 3)``, blue first: smooth, so that few pixels are undecided."""
    rng = np.random.default_rng(5)
    coarse = torch.from_numpy(rng.uniform(0, 255, (batch, 3, 9, 9)))
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="bicubic").clamp(0, 255)
    return np.ascontiguousarray(smooth.round().byte().numpy().transpose(0, 2, 3, 1))


def normalized(bgr: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(((bgr[..., ::-1].astype(np.float32) - MEAN) / STD).transpose(0, 3, 1, 2))


def scores_of(network: PSPNet, x: np.ndarray[Any, Any]) -> Any:
    with torch.no_grad():
        return network(torch.from_numpy(x.astype(np.float32))).numpy()


def run(path: str, x: np.ndarray[Any, Any]) -> Any:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["input", "output"]
    (output,) = session.run(None, {"input": x})
    return output


def shapes(path: str) -> list[tuple[graphs.Dim, ...] | None]:
    graph = graphs.load(path).graph
    return [graphs.shape_of(value) for value in (*graph.input, *graph.output)]


def assert_same(labels: Any, scores: Any, least: float = 0.9995, margin: float = 1e-2) -> None:
    """Labels are the scores', but for few pixels, and those are undecided."""
    expected = scores.argmax(1)
    wrong = labels != expected
    assert wrong.mean() <= 1 - least
    best = np.sort(scores, axis=1)
    assert (best[:, -1] - best[:, -2])[wrong].max(initial=0) < margin


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8"])
@pytest.mark.parametrize(("output_type", "layout"), [("int64", "n1hw"), ("int32", "nhw")])
def test_labels_are_those_of_pytorch(
    network: PSPNet, checkpoint: str, tmp_path: Path, kind: Any, output_type: Any, layout: Any
) -> None:
    path = str(tmp_path / "m.onnx")
    (file,) = export(checkpoint, path, shape=SHAPE, input=kind, output_type=output_type, layout=layout)
    assert (file.path, file.batch) == (path, 1)
    assert file.agreement is not None and file.agreement >= 0.9995
    bgr = picture()
    x = bgr if kind == "uint8" else normalized(bgr).astype(kind)
    labels = run(path, x)
    assert labels.dtype == output_type
    assert labels.shape == ((1, 1, *SHAPE) if layout == "n1hw" else (1, *SHAPE))
    assert len(np.unique(labels)) > 5, "a picture of one class proves nothing"
    assert_same(labels.reshape(1, *SHAPE), scores_of(network, normalized(bgr) if kind == "uint8" else x))


def test_scores_are_those_of_pytorch(network: PSPNet, checkpoint: str, tmp_path: Path) -> None:
    path = str(tmp_path / "m.onnx")
    export(checkpoint, path, shape=SHAPE, logits=True)
    x = normalized(picture())
    scores = run(path, x)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, scores_of(network, x), atol=2e-3)


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8"])
def test_half_precision_is_nearly_the_same(network: PSPNet, checkpoint: str, tmp_path: Path, kind: Any) -> None:
    path = str(tmp_path / "m.onnx")
    export(checkpoint, path, shape=SHAPE, input=kind, fp16=True, logits=True)
    model = graphs.load(path)
    weights = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4 and tensor.dims[0] > 1}
    assert weights == {onnx.TensorProto.FLOAT16}
    bgr = picture()
    scores = run(path, bgr if kind == "uint8" else normalized(bgr).astype(kind))
    assert scores.dtype == np.float32
    expected = scores_of(network, normalized(bgr))
    assert 0 < np.abs(scores - expected).max() < 0.2, "in half precision, and no other network"
    assert_same(scores.argmax(1), expected, least=0.97, margin=0.2)


def test_half_precision_keeps_the_scales_of_resize(tmp_path: Path) -> None:
    """16 / 12 in half precision makes 15 pixels of 12."""
    checkpoint = save(random_pspnet(18, width=16), tmp_path / "a.pth")
    export(checkpoint, str(tmp_path / "m.onnx"), shape=(96, 128), fp16=True)
    assert shapes(str(tmp_path / "m.onnx")) == [(1, 3, 96, 128), (1, 1, 96, 128)]


def test_files_for_several_batches_are_one_network(network: PSPNet, checkpoint: str, tmp_path: Path) -> None:
    path = str(tmp_path / "m.onnx")
    files = export(checkpoint, path, shape=SHAPE, batch=(1, 4), dynamic_batch=True)
    assert [(os.path.basename(file.path), file.batch) for file in files] == [
        ("m.onnx", None), ("m_bs1.onnx", 1), ("m_bs4.onnx", 4),
    ]  # fmt: skip
    x = normalized(picture(16))
    expected = scores_of(network, x)
    for batch in (1, 4, 16):
        assert_same(run(path, x[:batch])[:, 0], expected[:batch])
    for file in files[1:]:
        assert file.batch is not None
        assert shapes(file.path) == [(file.batch, 3, *SHAPE), (file.batch, 1, *SHAPE)]
        assert_same(run(file.path, x[: file.batch])[:, 0], expected[: file.batch])
    assert shapes(path) == [("N", 3, *SHAPE), ("N", 1, *SHAPE)]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_there_is_nothing_that_compilers_refuse(checkpoint: str, tmp_path: Path, dynamic: bool, opset: int) -> None:
    path = str(tmp_path / "m.onnx")
    export(checkpoint, path, shape=SHAPE, dynamic_batch=dynamic, opset=opset)
    model = graphs.load(path)
    assert model.opset_import[0].version == opset
    counts = graphs.operator_counts(model)
    refused = {"AveragePool", "GlobalAveragePool", "GatherND", "Shape", "Loop", "If", "BatchNormalization", "Identity"}
    assert not refused & set(counts)
    assert counts["Resize"] == 5
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        if node.op_type == "Resize":
            assert all(name in constants for name in node.input[1:] if name)


def test_cascade_is_exact_and_within_limits(network: PSPNet, checkpoint: str, tmp_path: Path) -> None:
    path = str(tmp_path / "m.onnx")
    export(checkpoint, path, shape=(96, 96), pooling="cascade")
    for node in graphs.load(path).graph.node:
        if node.op_type == "AveragePool":
            found = {attribute.name: list(attribute.ints) for attribute in node.attribute}
            assert np.prod(found["kernel_shape"]) <= 256 and max(found["strides"]) <= 63
    x = normalized(picture(shape=(96, 96)))
    assert_same(run(path, x)[:, 0], scores_of(network, x))


def test_the_file_says_what_it_is(network: PSPNet, tmp_path: Path) -> None:
    checkpoint = save(network, tmp_path / "a.pth", CLASSES=[f"c{i}" for i in range(21)], PALETTE=[[1, 2, 3]] * 21)
    path = str(tmp_path / "m.onnx")
    export(checkpoint, path, shape=SHAPE, input="uint8", layout="nhw")
    found = read_metadata(graphs.load(path))
    assert found is not None
    assert (found.checkpoint, found.size, found.input, found.layout) == (checkpoint, SHAPE, "uint8", "nhw")
    assert (found.classes[20], found.palette[20], found.mean) == ("c20", (1, 2, 3), pspfast.IMAGENET_MEAN)
    assert (found.pooling, found.output, found.version) == ("matmul", "labels", pspfast.__version__)
    assert len(found.checkpoint_sha256) == 64


def test_classes_are_vocs_where_nobody_tells(checkpoint: str, tmp_path: Path) -> None:
    export(checkpoint, str(tmp_path / "m.onnx"), shape=SHAPE)
    found = read_metadata(graphs.load(tmp_path / "m.onnx"))
    assert found is not None and found.classes == VOC.classes and found.palette[15] == (192, 128, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (0, 10)}, "positive height and width"),
        ({"shape": (10**20, 1)}, "no more than 100,000,000 pixels"),
        ({"batch": (0,)}, "batches must be positive"),
        ({"opset": 10}, "opset must be auto, or 11 to 18"),
        ({"logits": True, "layout": "nhw"}, "scores have neither"),
        ({"classes": ("a", "b")}, "tells 21 classes apart, 2 are named"),
        ({"pooling": "cascade", "shape": (512, 512)}, "not exact here"),
    ],
)
def test_wishes_that_cannot_be(checkpoint: str, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export(checkpoint, str(tmp_path / "m.onnx"), **options)
    assert not list(tmp_path.iterdir())


def test_native_pooling_is_refused_by_pytorch_with_advice(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"adaptive_avg_pool2d.*; pooling 'matmul' writes"):
        export(checkpoint, str(tmp_path / "m.onnx"), shape=SHAPE, pooling="native")
    assert not list(tmp_path.iterdir())


def invoke(*args: str) -> Any:
    return CliRunner().invoke(main, ["export", *args])


def test_the_command_takes_several_batches_after_one_option(checkpoint: str, tmp_path: Path) -> None:
    path = str(tmp_path / "m.onnx")
    done = invoke("--batch", "1", "2", "--checkpoint", checkpoint, "--shape", "96", "104", "--output_file", path)
    assert done.exit_code == 0, done.output
    assert sorted(os.listdir(tmp_path)) == ["m_bs1.onnx", "m_bs2.onnx"]
    assert done.stdout.count("operators") == 2 and "peak memory" in done.stderr


def test_the_command_is_silent_but_for_its_own_lines(checkpoint: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pspfast.export", f"--checkpoint={checkpoint}", "--shape", "96", "96"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("pspnet_r18.onnx: batch 1, ") and done.stdout.count("\n") == 1
    assert all(line[6:8] == " s" for line in done.stderr.splitlines()), done.stderr


def test_failure_is_one_sentence_without_the_graph(checkpoint: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pspfast.export", f"--checkpoint={checkpoint}", "--shape", "96", "104"]
    done = subprocess.run([*command, "--pooling=native"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    said = [line for line in done.stderr.splitlines() if not re.match(r" *\d+\.\d s  ", line)]
    assert len(said) == 1 and "opsets 11, 12, " in said[0] and "pooling 'matmul' writes" in said[0]
    assert not list(tmp_path.iterdir())


def test_the_guides_line_verifies(checkpoint: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture(shape=(80, 100))[0]).save(tmp_path / "a.png")
    path = str(tmp_path / "m.onnx")
    picked = ["--input-img", str(tmp_path / "a.png"), "--verify"]
    done = invoke("--checkpoint", checkpoint, "--shape", "96", "104", "--output-file", path, *picked)
    assert done.exit_code == 0, done.output
    assert "a" in done.stdout and "comparing" in done.stderr
    assert invoke("--checkpoint", checkpoint, "--output-file", path, *picked[:2]).exit_code == 2


def test_show_draws_the_picture_of_the_guides_line(checkpoint: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture(shape=(80, 100))[0]).save(tmp_path / "a.png")
    options = ["--checkpoint", checkpoint, "--shape", "96", "104", "--output-file", str(tmp_path / "m.onnx")]
    picked = ["--input-img", str(tmp_path / "a.png"), "--show"]
    assert invoke(*options, *picked).exit_code == 2, "without --verify"
    done = invoke(*options, *picked, "--verify")
    assert done.exit_code == 0, done.output
    assert os.listdir(tmp_path / "m_verify") == ["a.png"]


def test_a_picture_that_is_not_there_is_told_before_the_work(checkpoint: str, tmp_path: Path) -> None:
    options = ["--checkpoint", checkpoint, "--output-file", str(tmp_path / "m.onnx")]
    done = invoke(*options, "--verify", "--input-img", str(tmp_path / "a.png"))
    assert done.exit_code == 2 and "a.png" in done.stderr and "reading" not in done.stderr


def test_half_precision_verifies_by_its_own_budget(checkpoint: str, tmp_path: Path) -> None:
    path = str(tmp_path / "m.onnx")
    done = invoke("--checkpoint", checkpoint, "--shape", "96", "104", "--output-file", path, "--fp16", "--verify")
    assert done.exit_code == 0, done.output
    assert re.search(r"[1-9]\d* of 39,936 differ", done.stdout), "the default budget would have done"


def test_batches_after_an_equals_sign(checkpoint: str, tmp_path: Path) -> None:
    options = ["--checkpoint", checkpoint, "--shape", "64", "64", "--output-file", str(tmp_path / "m.onnx")]
    assert invoke("--batch=1", "2", *options).exit_code == 0
    assert sorted(os.listdir(tmp_path)) == ["m_bs1.onnx", "m_bs2.onnx"]


@pytest.mark.parametrize("batch", [(4,), (4, 1)])
def test_nothing_is_written_before_the_comparison(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: tuple[int, ...]
) -> None:
    label = proving.label

    def wrong(*args: Any, **options: Any) -> Any:
        labels, is_finite = label(*args, **options)
        return (labels + 1) % 21, is_finite

    monkeypatch.setattr(attempts, "label", wrong)
    with pytest.raises(RuntimeError, match=r"m.onnx: the exported model labels 0\.0"):
        export(checkpoint, str(tmp_path / "m.onnx"), shape=(64, 64), batch=batch)
    assert not list(tmp_path.iterdir())


def test_a_model_into_a_stream_stands_alone_there(checkpoint: str) -> None:
    command = [sys.executable, "-m", "pspfast", "export", "--checkpoint", checkpoint, "--shape", "64", "64"]
    done = subprocess.run([*command, "--output-file=/dev/stdout"], capture_output=True, check=True)
    model = onnx.ModelProto.FromString(done.stdout)
    onnx.checker.check_model(model, full_check=True)
    assert b"/dev/stdout: batch 1, " in done.stderr and b" 0.0 MB" not in done.stderr
    for wrong in (["--verify"], ["--batch", "1", "2"]):
        done = subprocess.run([*command, "--output-file=/dev/stdout", *wrong], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (2, b"") and b"/dev/stdout" in done.stderr


def test_names_that_are_wrong_in_the_checkpoint_can_be_given(network: PSPNet, tmp_path: Path) -> None:
    checkpoint = save(network, tmp_path / "a.pth", CLASSES=["one", "two"])
    (tmp_path / "names.txt").write_text("".join(f"c{i}\n" for i in range(21)))
    options = ["--checkpoint", checkpoint, "--shape", "64", "64", "--output-file", str(tmp_path / "m.onnx")]
    refused = invoke(*options)
    assert refused.exit_code == 2 and "21 classes apart, 2 are named" in refused.stderr
    assert "--classes" in refused.stderr
    done = invoke(*options, "--classes", str(tmp_path / "names.txt"), "--verify")
    assert done.exit_code == 0, done.output
    found = read_metadata(graphs.load(tmp_path / "m.onnx"))
    assert found is not None and found.classes[20] == "c20"


def test_scores_for_a_threshold_are_refused(tmp_path: Path) -> None:
    checkpoint = save(random_pspnet(18, 1, width=8), tmp_path / "a.pth")
    done = invoke("--checkpoint", checkpoint, "--shape", "64", "64", "--output-file", str(tmp_path / "m.onnx"))
    assert done.exit_code == 2 and "one channel of scores" in done.stderr


def test_what_onnx_runtime_refuses_is_told(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ort.capi.onnxruntime_pybind11_state.Fail("no memory for this\nat line 5")

    monkeypatch.setattr(ort, "InferenceSession", fail)
    done = invoke("--checkpoint", checkpoint, "--shape", "64", "64", "--output-file", str(tmp_path / "m.onnx"))
    assert done.exit_code == 2 and "no memory for this" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_batch_does_not_replace_the_checkpoint(network: PSPNet, tmp_path: Path) -> None:
    checkpoint = save(network, tmp_path / "a_bs1.pth")
    with pytest.raises(ValueError, match=r"a_bs1\.pth is what this command reads"):
        export(checkpoint, str(tmp_path / "a.pth"), batch=(1, 2))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for name, content in (("empty.pth", b""), ("text.pth", b"hello\n" * 100)):
        (tmp_path / name).write_bytes(content)
        done = invoke("--checkpoint", str(tmp_path / name), "--output-file", str(tmp_path / "m.onnx"))
        assert done.exit_code == 2 and name in done.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_a_truncated_checkpoint_is_refused(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "cut.pth").write_bytes(Path(checkpoint).read_bytes()[:-1000])
    done = invoke("--checkpoint", str(tmp_path / "cut.pth"), "--output-file", str(tmp_path / "m.onnx"))
    assert done.exit_code == 2 and "cut.pth" in done.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"backbone.patch_embed1.weight": torch.zeros(3)}}, tmp_path / "segformer.pth")
    done = invoke("--checkpoint", str(tmp_path / "segformer.pth"), "--output-file", str(tmp_path / "m.onnx"))
    assert done.exit_code == 2 and "SegFormer" in done.stderr and "--config" in done.stderr


@pytest.mark.parametrize("where", ["missing/m.onnx", "folder", "folder/"])
def test_an_output_that_cannot_be_written_is_told_before_the_work(checkpoint: str, tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    done = invoke("--checkpoint", checkpoint, "--output-file", f"{tmp_path}/{where}")
    assert done.exit_code == 1 and f"cannot write {tmp_path}/{where}" in done.stderr
    assert "reading" not in done.stderr


def test_an_output_without_a_name_is_refused_before_the_work(checkpoint: str) -> None:
    done = invoke("--checkpoint", checkpoint, "--output-file", "")
    assert done.exit_code == 1 and "empty name" in done.stderr and "reading" not in done.stderr


def test_the_checkpoint_is_not_replaced(checkpoint: str) -> None:
    before = Path(checkpoint).read_bytes()
    assert invoke("--checkpoint", checkpoint, "--output-file", checkpoint).exit_code == 2
    assert Path(checkpoint).read_bytes() == before


@pytest.mark.parametrize("library", ["torch", "onnx", "onnxsim", "onnxruntime"])
def test_a_missing_library_says_which_extra(checkpoint: str, tmp_path: Path, library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; from pspfast.cli.main import main; main(prog_name='pspfast')"
    command = [sys.executable, "-c", code, "export", "--checkpoint", checkpoint, "--output-file", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert (
        f"this needs {library}" in done.stderr
        and f"pip install 'pspfast[{'run' if library == 'onnxruntime' else 'export'}]'" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_shape_the_network_cannot_take(checkpoint: str, tmp_path: Path) -> None:
    done = invoke("--checkpoint", checkpoint, "--shape", "0", "5", "--output-file", str(tmp_path / "m.onnx"))
    assert done.exit_code == 2


@pytest.mark.slow
def test_a_resnet_50_end_to_end(tmp_path: Path, shared_data: Path) -> None:
    """The guide's network and size, with weights of no training; memory is the whole process's."""
    checkpoint = save(random_pspnet(50), tmp_path / "pspnet_r50.pth")
    path = str(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "pspfast", "export", f"--checkpoint={checkpoint}", f"--output-file={path}"]
    done = subprocess.run([*command, "--batch", "1", "16"], capture_output=True, text=True, check=True)
    peak = float(done.stderr.rsplit("peak memory ", 1)[1].split()[0])
    assert peak < 2.5, done.stderr

    files = sorted((shared_data / "voc/VOC2012/JPEGImages").glob("*.jpg"))[:16]
    assert len(files) == 16
    x = np.stack([pspfast.letterbox(pspfast.imread(file)) for file in files]).astype(np.float32)
    network = load_network(checkpoint).module
    for number in (1, 16):
        model = f"{path[:-5]}_bs{number}.onnx"
        onnx.checker.check_model(model, full_check=True)
        labels = run(model, x[:number])
        with torch.no_grad():
            for index in range(min(number, 4)):
                assert_same(labels[index], network(torch.from_numpy(x[index : index + 1])).numpy())
