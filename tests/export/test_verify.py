from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'export' is not installed")
onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")

from click.testing import CliRunner, Result
from PIL import Image

import pspfast
from pspfast.cli.commands.verify import main
from pspfast.export import labellers as runners
from pspfast.export import model_comparison
from pspfast.export.deployment import Deployed
from pspfast.export.exporting import export
from pspfast.export.labellers import OnnxRunner, TorchRunner
from pspfast.export.networks import Network, load_network
from pspfast.export.sheets import top_two_margin
from pspfast.export.tracing import trace
from pspfast.export.verification import Agreement, Debug, PictureAgreement, Truth, noise, verify
from pspfast.formats.model_metadata import ModelMetadata, write_metadata
from pspfast.graphs.pool_windows import published_pool
from tests.export.tiny import save_checkpoint, tiny_pspnet

SIZE = (24, 32)
CLASSES = 5
WEIGHTS = np.random.default_rng(7).standard_normal((CLASSES, 3)).astype(np.float32)
KINDS = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16, "uint8": onnx.TensorProto.UINT8}
FLIPPED = WEIGHTS[[1, 0, 2, 3, 4]]  # two classes change places


def network(weights: Any = WEIGHTS, **others: Any) -> Network:
    """Scores that are sums of the channels, in PyTorch."""
    module = torch.nn.Conv2d(3, len(weights), 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weights)[:, :, None, None])
    fields: dict[str, Any] = {
        "classes": (),
        "palette": (),
        "mean": pspfast.IMAGENET_MEAN,
        "std": pspfast.IMAGENET_STD,
        "to_rgb": True,
        "sha256": "",
        "config": "",
    }
    return Network(module.eval(), len(weights), **(fields | others))


def graph(
    weights: Any = WEIGHTS,
    *,
    batch: int | str = 1,
    size: tuple[Any, Any] = SIZE,
    kind: str = "float32",
    labels: str | None = "INT64",
    keepdims: int = 1,
    softmax: bool = False,
    last: bool = False,
    extra: list[Any] | None = None,
) -> Any:
    """The same scores as a graph; a uint8 one normalizes by itself."""
    helper, shape = onnx.helper, [batch, *size, 3] if kind == "uint8" else [batch, 3, *size]
    nodes, name = list(extra or []), "input"
    constants = {"weights": np.ascontiguousarray(weights)[:, :, None, None]}
    if kind == "float16":
        nodes.append(helper.make_node("Cast", [name], ["floats"], to=1))
        name = "floats"
    if kind == "uint8":
        mean = np.array(pspfast.IMAGENET_MEAN, np.float32)[::-1]
        factor = (1 / np.array(pspfast.IMAGENET_STD)).astype(np.float32)[::-1]
        constants |= {"mean": mean.copy(), "factor": factor.copy(), "order": np.array([2, 1, 0], np.int64)}
        nodes += [
            helper.make_node("Cast", [name], ["floats"], to=1),
            helper.make_node("Sub", ["floats", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "factor"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Gather", ["planes", "order"], ["swapped"], axis=1),
        ]
        name = "swapped"
    nodes.append(helper.make_node("Conv", [name, "weights"], ["scores" if labels or softmax else "output"]))
    name = "scores"
    axis = 1
    if softmax:
        nodes.append(helper.make_node("Softmax", [name], ["shares" if labels else "output"], axis=1))
        name = "shares"
    if last:
        nodes.append(helper.make_node("Transpose", [name], ["turned"], perm=[0, 2, 3, 1]))
        name, axis = "turned", 3
    if labels:
        nodes.append(helper.make_node("ArgMax", [name], ["index"], axis=axis, keepdims=keepdims))
        nodes.append(helper.make_node("Cast", ["index"], ["output"], to=getattr(onnx.TensorProto, labels)))
    out = [batch, len(weights), *size] if not labels else [batch, 1, *size] if keepdims else [batch, *size]
    out = [batch, *size, 1] if last and keepdims else out
    output_kind = getattr(onnx.TensorProto, labels) if labels else onnx.TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", KINDS[kind], shape)],
        [helper.make_tensor_value_info("output", output_kind, out)],
        [onnx.numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def metadata(**others: Any) -> ModelMetadata:
    fields: dict[str, Any] = {
        "checkpoint": "x.pth",
        "checkpoint_sha256": "",
        "config": "",
        "classes": (),
        "palette": (),
        "mean": pspfast.IMAGENET_MEAN,
        "std": pspfast.IMAGENET_STD,
        "to_rgb": True,
        "size": SIZE,
        "input": "float32",
        "output": "labels",
        "layout": "n1hw",
        "pooling": "matmul",
        "version": "0",
    }
    return ModelMetadata(**(fields | others))


def tagged(model: Any, **fields: Any) -> Any:
    write_metadata(model, metadata(**fields))
    return model


def saved(path: Path, model: Any) -> str:
    onnx.save(model, str(path))
    return str(path)


def pictures(folder: Path, count: int = 3, *, shape: tuple[int, int] = (20, 32)) -> str:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(noise(shape, 5, number)[..., ::-1]).save(folder / f"p{number}.png")
    return str(folder)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--quiet"])


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    return saved(tmp_path / "a.onnx", graph()), saved(tmp_path / "b.onnx", graph(FLIPPED))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """A checkpoint and its export for 96x128."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.set_num_threads(1)
    checkpoint = save_checkpoint(folder / "tiny.pth", tiny_pspnet(num_classes=21, seed=0), meta={})
    export(checkpoint, str(folder / "tiny.onnx"), shape=(96, 128))
    return checkpoint, str(folder / "tiny.onnx"), folder


# -- the same network in every form ----------------------------------------------------------------------------------

FORMS = {
    "labels": {},
    "labels without their axis": {"keepdims": 0},
    "int32": {"labels": "INT32"},
    "uint8 labels": {"labels": "UINT8"},
    "scores": {"labels": None},
    "shares": {"labels": None, "softmax": True},
    "labels of shares": {"softmax": True},
    "labels along the last axis": {"last": True, "keepdims": 0},
    "batch 3": {"batch": 3},
    "any batch": {"batch": "n"},
    "any size": {"size": ("h", "w")},
    "float16": {"kind": "float16"},
    "uint8": {"kind": "uint8"},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_network_agree_with_pytorch_and_give_scores(tmp_path: Path, form: str) -> None:
    reference = TorchRunner(network(), "conv")
    folder = pictures(tmp_path / "pictures", 4)
    found = verify(graph(**FORMS[form]), reference, images=[folder], shape=SIZE, batch=2)  # type: ignore[arg-type]
    assert len(found.pictures) == 4 and not found.faults and not found.remarks
    assert found.pixels == 4 * 20 * 32  # the whole picture, and none of the padding
    assert found.logit_difference is not None and found.logit_difference < 1e-4
    assert found.equal >= 0.9995 and found.complaints() == []


@pytest.mark.parametrize("kind", ["float16", "uint8"])
def test_own_input_shows_what_the_type_costs(tmp_path: Path, kind: str) -> None:
    """Bytes are coarser than a float32 made of scaled-up bytes only where these are normalized: nearly nothing."""
    reference = TorchRunner(network(), "conv")
    options: dict[str, Any] = {"images": [pictures(tmp_path / "pictures")]}
    same = verify(graph(kind=kind), reference, **options)
    own = verify(graph(kind=kind), reference, own_input=True, **options)
    assert same.logit_difference is not None and own.logit_difference is not None
    if kind == "float16":
        assert own.logit_difference > 10 * same.logit_difference
    assert own.equal > 0.99


def test_what_is_fed(tmp_path: Path) -> None:
    """Bytes are cv2's letterbox with bytes near the mean round it; the other side gets these, normalized."""
    seen: dict[str, list[Any]] = {"float32": [], "uint8": []}

    class Spy:
        def __init__(self, kind: Any) -> None:
            self.kind, self.facts = kind, runners.Facts(kind, kind, (32, 32), num_classes=2)

        def run(self, group: Any) -> Any:
            for picture in group:
                seen[self.kind].append(picture)
                yield runners.Given(np.zeros((32, 32), np.int64), None)

    verify(Spy("float32"), Spy("uint8"), images=[pictures(tmp_path / "pictures", 1, shape=(20, 40))])
    tensor, pixels = seen["float32"][0]
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    picture = cv2.imread(str(tmp_path / "pictures" / "p0.png"))
    expected = np.empty((32, 32, 3), np.uint8)
    expected[:] = (104, 116, 124)
    expected[8:24] = cv2.resize(picture, (32, 16))
    assert (pixels == expected).all()
    normalized = (expected[..., ::-1].astype(np.float64) - pspfast.IMAGENET_MEAN) / pspfast.IMAGENET_STD
    np.testing.assert_allclose(tensor, normalized.transpose(2, 0, 1), atol=1e-6)
    assert seen["uint8"][0].tensor is tensor

    seen["float32"].clear()
    verify(Spy("float32"), Spy("uint8"), own_input=True, images=[str(tmp_path / "pictures")])
    assert (seen["float32"][0].tensor[:, :8] == 0).all()


def test_the_output_is_chosen_by_name() -> None:
    model = graph()
    model.graph.output.append(onnx.helper.make_tensor_value_info("index", onnx.TensorProto.INT64, [1, 1, *SIZE]))
    assert verify(model, graph()).equal == 1
    for name in ("output", "labels"):
        model.graph.output[0].name = name
        model.graph.node[-1].output[0] = name
        if name == "labels":
            with pytest.raises(ValueError, match="has the outputs labels, index; which are the labels"):
                verify(model, graph())


def test_the_model_that_is_given_is_not_changed() -> None:
    model = graph()
    before = model.SerializeToString()
    OnnxRunner(model, "x")
    assert model.SerializeToString() == before


# -- networks that differ --------------------------------------------------------------------------------------------


def test_wrong_weights(two: tuple[str, str]) -> None:
    found = verify(two[1], two[0])
    labels = OnnxRunner(two[0]), OnnxRunner(two[1])
    assert [one.facts.name for one in labels] == [found.reference, found.model]
    assert found.margin is not None and found.margin > 0.1 and found.equal < 0.9
    assert len(found.complaints()) == 2
    assert found.complaints(min_agreement=0, max_margin=100) == []


def test_numbers_are_what_they_say() -> None:
    """Against the plain computation, for two networks that differ in a class or two."""
    other = WEIGHTS + np.float32(0.2) * np.random.default_rng(1).standard_normal(WEIGHTS.shape).astype(np.float32)
    found = verify(graph(other), TorchRunner(network(), "conv"), noise_pictures=3, seed=9)
    mean, std = np.array(pspfast.IMAGENET_MEAN), np.array(pspfast.IMAGENET_STD)
    for number, one in enumerate(found.pictures):
        tensor = (noise(SIZE, 9, number)[..., ::-1] - mean) / std
        first, second = tensor @ WEIGHTS.T.astype(np.float64), tensor @ other.T.astype(np.float64)
        ours, theirs = first.argmax(-1), second.argmax(-1)
        rows, columns = np.nonzero(ours != theirs)
        assert one.name == f"noise {number}" and one.pixels == SIZE[0] * SIZE[1]
        assert one.different == len(rows) > 0
        gaps = first[rows, columns, ours[rows, columns]] - first[rows, columns, theirs[rows, columns]]
        assert one.margin == pytest.approx(gaps.max(), abs=1e-5)
        assert one.logit_difference == pytest.approx(np.abs(first - second).max(), abs=1e-5)
        top_two = top_two_margin(first.transpose(2, 0, 1).astype(np.float32))
        assert one.margin is not None and one.margin >= top_two[rows, columns].max() - 1e-6


def test_the_budgets_can_complain_each_by_itself() -> None:
    few = Agreement("a", "b", (PictureAgreement("p", 10_000, 1, 0.5, 0.5),))
    assert len(few.complaints()) == 1 and "ahead by 0.5" in few.complaints()[0]
    many = Agreement("a", "b", (PictureAgreement("p", 10_000, 100, 1e-4, 1e-3),))
    assert len(many.complaints()) == 1 and "99.0000 %" in many.complaints()[0]
    unknown = Agreement("a", "b", (PictureAgreement("p", 10_000, 1, None, None),))
    assert unknown.complaints() == [] and "not known" in str(unknown)
    assert Agreement("a", "b", ()).complaints() == ["no picture was compared"]
    nearly = Agreement("a", "b", (PictureAgreement("p", 10_000_000, 1, 1e-5, 1e-3),))
    assert "99.9999 % (1 of 10,000,000 differ)" in str(nearly)


def test_the_margin_is_known_of_all_or_not_at_all() -> None:
    known, unknown = PictureAgreement("p", 100, 1, 0.5, None), PictureAgreement("q", 100, 1, None, None)
    assert Agreement("a", "b", (known, unknown)).margin is None


def test_scores_that_are_not_finite() -> None:
    broken = WEIGHTS.copy()
    broken[2] = np.nan
    found = verify(graph(broken, labels=None), TorchRunner(network(), "conv"))
    assert any("not finite" in text for text in found.complaints(0, 1e9))
    json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_labels_that_are_no_class_are_refused_by_any_margin() -> None:
    model = graph()
    model.graph.node[-1].output[0] = "small"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(7, np.int64), "seven"))
    model.graph.node.append(onnx.helper.make_node("Add", ["small", "seven"], ["output"]))
    found = verify(model, TorchRunner(network(), "conv"))
    assert found.margin == np.inf and "no class" in found.complaints(0, 1e9)[0]


def test_an_inexact_pool_is_found(tiny: tuple[str, str, Path]) -> None:
    """The published exporter's pooling on 12x16 features, where it is not PyTorch's."""
    checkpoint, _, folder = tiny
    read = load_network(checkpoint, quiet=True)
    head = read.module.decode_head
    for module, bins in zip(head.psp_modules, (1, 2, 3, 6), strict=True):
        pools = [published_pool(side, bins) for side in (12, 16)]
        kernel, stride = zip(*pools, strict=True)
        module[0] = torch.nn.AvgPool2d(kernel, stride)
    deployed = Deployed(
        read.module, "float32", "n1hw", torch.int64, mean=read.mean, std=read.std, to_rgb=read.to_rgb
    ).eval()
    path = saved(folder / "inexact.onnx", trace(deployed, torch.zeros(1, 3, 96, 128), 11))
    result = run(path, "--checkpoint", checkpoint)
    assert result.exit_code == 1
    assert "not the same" in result.stdout and "was ahead by" in result.stdout
    assert run(tiny[1], "--checkpoint", checkpoint).exit_code == 0


# -- what cannot be compared -----------------------------------------------------------------------------------------


def test_mismatches_are_refused() -> None:
    reference = TorchRunner(network(), "conv")
    with pytest.raises(ValueError, match=r"32x24 .*, 16x8 .*cannot be compared"):
        verify(graph(size=(8, 16)), graph())
    with pytest.raises(ValueError, match=r"different pictures: 32x24 .*9x9 \(--shape\)"):
        verify(graph(), reference, shape=(9, 9))
    with pytest.raises(ValueError, match=r"4 classes apart.*5 classes apart|5 classes apart.*4 classes apart"):
        verify(graph(WEIGHTS[:4]), reference)
    with pytest.raises(ValueError, match="classes apart"):
        verify(graph(WEIGHTS[:4], labels=None), reference)
    with pytest.raises(ValueError, match=r"normalized differently.*blue first.*cannot be compared"):
        verify(tagged(graph(), to_rgb=False), reference)
    with pytest.raises(ValueError, match="normalized differently"):
        verify(tagged(graph(), std=(1, 1, 1)), tagged(graph()))
    with pytest.raises(ValueError, match=r"pictures of 32x24, and its metadata say 500x500"):
        verify(tagged(graph(), size=(500, 500)), reference)
    with pytest.raises(ValueError, match="two references"):
        verify(graph(), graph(), checkpoint="x.pth")
    with pytest.raises(ValueError, match="does not say what it was exported from"):
        verify(graph())
    with pytest.raises(FileNotFoundError, match=r"says that it is from it.*--checkpoint") as caught:
        verify(tagged(graph(), checkpoint="moved.pth"))
    assert caught.value.filename == "moved.pth"


def test_graphs_of_another_kind_are_refused(tmp_path: Path) -> None:
    for model, text in (
        (graph(np.ones((1, 3), np.float32), labels=None), "expected scores"),
        (graph(kind="uint8", size=(8, 8)), None),
    ):
        if text:
            with pytest.raises(ValueError, match=text):
                OnnxRunner(model, "m")
        else:
            assert OnnxRunner(model, "m").facts.size == (8, 8)
    four = graph(np.ones((5, 4), np.float32))
    four.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(ValueError, match="takes 4 channels"):
        OnnxRunner(four, "m")
    unknown = graph()
    unknown.graph.node[0].op_type = "Unheard"
    with pytest.raises(OSError, match="m: ONNX Runtime refuses it"):
        OnnxRunner(unknown, "m")
    with pytest.raises(OSError, match="not an ONNX model"):
        (tmp_path / "text.onnx").write_text("\x08\x01 hello hello")
        OnnxRunner(str(tmp_path / "text.onnx"))


def test_masks_of_another_size_are_refused() -> None:
    model = graph()
    model.graph.node[-1].output[0] = "whole"
    starts, ends = np.array([0, 0], np.int64), np.array([8, 8], np.int64)
    for key, value in (("starts", starts), ("ends", ends), ("axes", np.array([2, 3], np.int64))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, key))
    model.graph.node.append(onnx.helper.make_node("Slice", ["whole", "starts", "ends", "axes"], ["output"]))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ValueError, match="gives masks of 8x8 for pictures of 32x24"):
        verify(model, graph())


def test_remarks() -> None:
    found = verify(graph(), graph())
    assert ["normalized" in text for text in found.remarks] == [True]
    found = verify(
        tagged(graph(), classes=tuple("abcde"), checkpoint_sha256="1" * 64),
        tagged(graph(), classes=tuple("abcdx"), checkpoint_sha256="2" * 64),
    )
    assert "other names" in found.remarks[0] and "different checkpoints" in found.remarks[1]
    one_class = WEIGHTS * 0
    found = verify(tagged(graph(one_class)), tagged(graph(one_class)))
    assert "every pixel as class 0" in found.remarks[0]


# -- pictures --------------------------------------------------------------------------------------------------------


def test_broken_pictures_are_named_and_cost_nothing_else(tmp_path: Path, two: tuple[str, str]) -> None:
    folder = pictures(tmp_path / "pictures")
    (tmp_path / "pictures" / "p00.jpg").write_bytes(b"no picture")
    missing = str(tmp_path / "none.jpg")
    result = run(two[0], two[0], "--images", folder, "--images", missing, "--json", tmp_path / "o.json")
    assert result.exit_code == 1
    assert "p00.jpg: not a picture" in result.stderr and "none.jpg: No such file" in result.stderr
    assert "2 could not be compared" in result.stdout and "3 pictures compared" in result.stdout
    found = json.loads((tmp_path / "o.json").read_text())
    assert not found["holds"] and found["complaints"] == []
    assert [Path(one["name"]).name for one in found["faults"]] == ["p00.jpg", "none.jpg"]
    assert [Path(one["name"]).name for one in found["pictures"]] == ["p0.png", "p1.png", "p2.png"]


def test_split_limit_and_repetition(tmp_path: Path, two: tuple[str, str]) -> None:
    folder = pictures(tmp_path / "pictures")
    (tmp_path / "split.txt").write_text("p2\np0\n")
    found = verify(two[0], two[0], images=[folder], split=str(tmp_path / "split.txt"))
    assert [Path(one.name).name for one in found.pictures] == ["p2.png", "p0.png"]
    found = verify(two[0], two[0], images=[folder, f"{folder}/p0.png"], limit=3)
    assert len(found.pictures) == 3
    with pytest.raises(ValueError, match="give that folder"):
        verify(two[0], two[0], images=[f"{folder}/p0.png"], split=str(tmp_path / "split.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        verify(two[0], two[0], images=[str(tmp_path / "empty")])


def test_miou_of_both(tmp_path: Path) -> None:
    """Labels are what the reference says: its mIoU is 1, the other's what a confusion matrix says."""
    folder = pictures(tmp_path / "pictures", 3, shape=SIZE)
    (tmp_path / "labels").mkdir()
    runner, expected = OnnxRunner(graph()), pspfast.ConfusionMatrix(CLASSES)
    other = OnnxRunner(graph(FLIPPED))
    for number in range(2):  # the third has none
        image = pspfast.imread(f"{folder}/p{number}.png")
        taken = [runners.Taken(pspfast.letterbox(image, SIZE, stats="exact", dtype=np.float32), None)]
        (ours,), (theirs,) = runner.run(taken), other.run(taken)
        Image.fromarray(ours.labels.astype(np.uint8)).save(tmp_path / "labels" / f"p{number}.png")
        expected.update(theirs.labels, ours.labels)
    found = verify(other, runner, images=[folder], truth=Truth(str(tmp_path / "labels")))
    assert found.miou is not None and found.labelled == 2
    assert found.miou[0] == 1 and found.miou[1] == pytest.approx(expected.miou())
    assert any("1 of 3 pictures have no labels" in text for text in found.remarks)
    assert "mIoU, 2 labelled pictures" in str(found) and "100.0000 -> " in str(found)


def test_labels_that_cannot_be_used(tmp_path: Path, two: tuple[str, str]) -> None:
    folder = pictures(tmp_path / "pictures", 2)
    labels = tmp_path / "labels"
    labels.mkdir()
    with pytest.raises(ValueError, match="none of the 2 pictures"):
        verify(two[0], two[0], images=[folder], truth=Truth(str(labels)))
    Image.new("L", (32, 20)).save(labels / "p0.png")
    Image.new("L", (32, 21)).save(labels / "p1.png")
    result = run(two[0], two[0], "--images", folder, "--ann-dir", labels)
    assert result.exit_code == 1 and "the labels are 32x21, the picture is 32x20" in result.stderr
    assert "2 pictures compared" in result.stdout and "mIoU, 1 labelled picture " in result.stdout
    assert run(two[0], two[0], "--labels", labels).exit_code == 2


def test_each_side_has_its_own_order_of_channels() -> None:
    """A network that takes blue first, and files of it that take red first, say so or not."""
    turned = {"to_rgb": False, "mean": pspfast.IMAGENET_MEAN[::-1], "std": pspfast.IMAGENET_STD[::-1]}
    blue_first = TorchRunner(network(WEIGHTS, **turned), "conv")
    red_first = np.ascontiguousarray(WEIGHTS[:, ::-1])
    assert verify(OnnxRunner(graph(red_first), channels="rgb"), blue_first).equal == 1
    assert verify(OnnxRunner(graph(WEIGHTS), channels="bgr"), blue_first).equal == 1
    assert verify(OnnxRunner(graph(WEIGHTS)), blue_first).equal == 1  # what says nothing is fed as the other is
    assert verify(OnnxRunner(graph(red_first)), blue_first).equal < 0.9
    same = verify(TorchRunner(network(red_first), "conv"), blue_first)
    assert same.equal == 1  # the constants are the same, in another order
    with pytest.raises(ValueError, match="normalized differently"):
        verify(TorchRunner(network(red_first), "conv"), TorchRunner(network(WEIGHTS, to_rgb=False), "conv"))
    bytes_taken = graph(WEIGHTS, kind="uint8")
    assert verify(bytes_taken, OnnxRunner(graph()), channels="bgr").equal > 0.99
    assert verify(bytes_taken, OnnxRunner(graph()), channels="rgb").equal < 0.9
    with pytest.raises(ValueError, match="is a runner already"):
        verify(OnnxRunner(bytes_taken), graph(), channels="rgb")


def test_noise_is_seeded(two: tuple[str, str]) -> None:
    first, again, other = (verify(two[1], two[0], seed=seed) for seed in (1, 1, 2))
    assert first == again and first.pictures != other.pictures
    assert len({one.different for one in first.pictures}) > 1


# -- debug pictures --------------------------------------------------------------------------------------------------


def test_debug_pictures(tmp_path: Path, two: tuple[str, str]) -> None:
    folder = pictures(tmp_path / "pictures", 2)
    same = run(two[0], two[0], "--images", folder, "--debug-dir", tmp_path / "none")
    assert same.exit_code == 0 and "no picture differs" in same.stderr and list((tmp_path / "none").iterdir()) == []
    run(two[0], two[0], "--images", folder, "--debug-dir", tmp_path / "all", "--debug-all")
    assert len(list((tmp_path / "all").iterdir())) == 2
    differ = run(two[0], two[1], "--images", folder, "--debug-dir", tmp_path / "some")
    assert differ.exit_code == 1
    with Image.open(tmp_path / "some" / "p0.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    # Five panels of the picture in the canvas, seven times as large; the fourth is red where labels differ.
    found = verify(two[1], two[0], images=[f"{folder}/p0.png"])
    width, height = 7 * 32, 7 * 20
    assert pixels.shape == (height + 2 * 16 + 12, 5 * (width + 6) + 6, 3)
    panel = pixels[38 : 38 + height : 7, 6 + 3 * (width + 6) :: 7][:, :32]
    red = (panel == (255, 0, 0)).all(-1)
    assert red.sum() >= found.different > 0 and not red.all()


def test_debug_pictures_of_the_same_name_and_with_labels(tmp_path: Path, two: tuple[str, str]) -> None:
    images = [pictures(tmp_path / name, 1) for name in ("one", "two")]
    (tmp_path / "labels").mkdir()
    Image.new("L", (32, 20), 3).save(tmp_path / "labels" / "p0.png")
    debug = Debug(str(tmp_path / "out"))
    found = verify(two[0], two[1], images=images, debug=debug, truth=Truth(str(tmp_path / "labels")))
    assert [Path(path).name for path in found.sheets] == ["p0.png", "p0-2.png"]
    with Image.open(found.sheets[0]) as sheet:
        assert sheet.size[0] == 6 * (7 * 32 + 6) + 6
        assert sheet.convert("RGB").getpixel((6 + 3 * (7 * 32 + 6) + 9, 60)) == (128, 128, 0)  # VOC's colour of 3


def test_debug_pictures_replace_no_inputs(tmp_path: Path, two: tuple[str, str]) -> None:
    folder = pictures(tmp_path / "pictures", 1)
    before = (tmp_path / "pictures" / "p0.png").read_bytes()
    result = run(two[0], two[1], "--images", folder, "--debug-dir", folder)
    assert result.exit_code == 2 and "would replace" in result.stderr
    assert (tmp_path / "pictures" / "p0.png").read_bytes() == before


def test_unwritable_outputs(tmp_path: Path, two: tuple[str, str]) -> None:
    (tmp_path / "file").write_text("")
    result = run(two[0], two[1], "--debug-dir", tmp_path / "file")
    assert result.exit_code == 1 and "cannot write" in result.stderr
    assert run(two[0], two[0], "--json", tmp_path / "no" / "o.json").exit_code == 1
    assert run(two[0], two[0], "--json", two[0]).exit_code == 2


# -- the command -----------------------------------------------------------------------------------------------------


def test_usage(tmp_path: Path, two: tuple[str, str]) -> None:
    for arguments, text in (
        ((), "give one ONNX file"),
        ((*two, two[0]), "or two ONNX files"),
        ((*two, "--checkpoint", "x.pth"), "give one ONNX file"),
        ((*two, "--images", tmp_path, "--noise", "3"), "not both"),
        ((*two, "--debug-all"), "--debug-dir"),
        ((*two, "--min-agreement", "nan"), "must be numbers"),
        ((*two, "--min-agreement", "1.5"), "range"),
        ((*two, "--shape", "9", "9"), "different pictures"),
        ((two[0], tmp_path / "none.onnx"), "No such file"),
        ((two[0], "--checkpoint", tmp_path / "none.pth"), "none.pth"),
        ((*two, "--config", "x"), "config is for a checkpoint"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and text in result.stderr, (arguments, result.stderr)


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch, two: tuple[str, str]) -> None:
    from pspfast.system import libraries as extras

    def absent(library: str) -> Any:
        raise extras.MissingExtra(f"this needs {library}")

    monkeypatch.setattr(runners, "need", absent)
    result = run(*two)
    assert result.exit_code == 3 and "this needs onnx" in result.stderr


def test_a_checkpoint_and_its_export(tiny: tuple[str, str, Path], shared_data: Path) -> None:
    checkpoint, model, folder = tiny
    voc = shared_data / "voc" / "VOC2012"
    options = ["--images", voc / "JPEGImages", "--limit", 5, "--labels", voc / "SegmentationClass"]
    result = run(model, *options, "--json", folder / "o.json")  # it says itself where it is from
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "o.json").read_text())
    assert found["holds"] and found["equal"] >= 0.9995 and found["logit_difference"] < 1e-3
    assert found["mIoU"]["pictures"] == 5 and abs(found["mIoU"]["reference"] - found["mIoU"]["model"]) < 1e-3
    other = save_checkpoint(folder / "other.pth", tiny_pspnet(num_classes=21, seed=1), meta={})
    result = run(model, "--checkpoint", other, *options)
    assert result.exit_code == 1 and "different checkpoints" in result.stderr
    (folder / "moved").mkdir(exist_ok=True)
    Path(checkpoint).rename(folder / "moved" / "tiny.pth")
    try:
        assert run(model, *options).exit_code == 2
        save_checkpoint(checkpoint, tiny_pspnet(num_classes=21, seed=3), meta={})
        result = run(model, *options)
        assert result.exit_code == 2 and "sha256" in result.stderr
    finally:
        (folder / "moved" / "tiny.pth").replace(checkpoint)


@pytest.mark.parametrize(
    "options",
    [
        {"input": "uint8", "output_type": "int32"},
        {"input": "float16", "layout": "nhw"},
        {"logits": True},
        {"batch": (4,)},
        {"dynamic_batch": True},
    ],
    ids="-".join,
)
def test_exports_of_every_kind_agree(tiny: tuple[str, str, Path], shared_data: Path, options: dict[str, Any]) -> None:
    checkpoint, _, folder = tiny
    path = folder / f"{'-'.join(options)}.onnx"
    export(checkpoint, str(path), shape=(96, 128), **options)
    images = [str(shared_data / "voc" / "VOC2012" / "JPEGImages")]
    found = verify(str(path), checkpoint=checkpoint, images=images, limit=5, batch=4)
    assert len(found.pictures) == 5 and found.complaints() == []
    assert found.logit_difference is not None and found.logit_difference < 1e-3


def test_only_one_batch_is_in_memory() -> None:
    """Pictures are read as they are needed: of the second batch none is read before the first is done."""
    events: list[str] = []
    real = model_comparison.ModelComparison.prepare

    class Spy(OnnxRunner):
        def run(self, group: Any) -> Any:
            events.append(f"run {len(group)}")
            yield from super().run(group)

    def prepare(self: Any, subject: Any, reader: Any) -> Any:
        events.append("read")
        return real(self, subject, reader)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_comparison.ModelComparison, "prepare", prepare)
        verify(Spy(graph(batch=2), "m"), graph(), noise_pictures=3)
    assert events == ["read", "read", "run 2", "read", "run 1"]
