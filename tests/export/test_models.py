"""The project's own PSPNet: read from its checkpoint's shapes, refused when it is another, ready to be traced."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.export.tiny import CONFIG_TEXT, save_checkpoint, smooth_pictures, tiny_pspnet

torch: Any = pytest.importorskip("torch", reason="the models are PyTorch's")

from pspfast.export.checkpoint_kinds import CheckpointError
from pspfast.export.pspnet import (
    build,
    feature_size,
    pool_sizes,
    prepare,
    random_pspnet,
    replace_pooling,
    resize,
)
from pspfast.export.resizing import scale_reaching

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return tiny_pspnet()


@pytest.fixture
def weights(tiny: Any) -> dict[str, Any]:
    return dict(tiny.state_dict())


def run(model: Any, pictures: Any) -> Any:
    with torch.no_grad():
        return model(pictures)


# -- reading a checkpoint ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_the_architecture_is_read_from_the_shapes(depth: int, auxiliary: bool) -> None:
    model = random_pspnet(depth, 7, width=2, head_channels=6, auxiliary=auxiliary)
    built = build(model.state_dict())
    assert (built.depth, built.num_classes, built.training) == (depth, 7, False)
    assert list(built.state_dict()) == list(model.state_dict())
    assert all(torch.equal(value, built.state_dict()[key]) for key, value in model.state_dict().items())
    pictures = smooth_pictures(1, (40, 56))
    assert torch.equal(run(built, pictures), run(model, pictures))


def test_a_saved_checkpoint_is_read(tiny: Any, tmp_path: Path) -> None:
    from pspfast.export.checkpoints import load_checkpoint

    read = load_checkpoint(save_checkpoint(tmp_path / "tiny.pth", tiny, classes=list("abcde")))
    built = build(read.state_dict, path=read.path, config_text=read.meta["config"])
    pictures = smooth_pictures(2, (64, 48))
    assert torch.equal(run(built, pictures), run(tiny, pictures))
    assert read.classes == tuple("abcde")


def test_what_does_not_matter_is_tolerated(tiny: Any, weights: dict[str, Any]) -> None:
    pictures = smooth_pictures(1, (64, 48))
    expected = run(tiny, pictures)
    counters = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    assert len(counters) < len(weights)
    without_help = {key: value for key, value in weights.items() if not key.startswith("auxiliary_head.")}
    assert len(without_help) == len(weights) - 8
    parallel = {f"module.{key}": value for key, value in weights.items()}
    for variant in (counters, without_help, parallel):
        assert torch.equal(run(build(variant), pictures), expected)
    assert int(build(counters).state_dict()["backbone.stem.1.num_batches_tracked"]) == 0


def test_weights_are_copied(weights: dict[str, Any]) -> None:
    built = build(weights)
    before = weights["decode_head.conv_seg.bias"].clone()
    with torch.no_grad():
        built.decode_head.conv_seg.bias.add_(1)
    assert torch.equal(weights["decode_head.conv_seg.bias"], before)


def test_half_precision_weights_are_widened(weights: dict[str, Any]) -> None:
    built = build({key: value.half() if value.is_floating_point() else value for key, value in weights.items()})
    assert {value.dtype for value in built.state_dict().values()} == {torch.float32, torch.int64}


def refused(weights: dict[str, Any], **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        build(weights, path="some.pth", **options)
    assert caught.value.filename == "some.pth"
    return str(caught.value)


def test_missing_unexpected_and_misshaped_keys_are_listed(weights: dict[str, Any]) -> None:
    for key in list(weights):
        if key.startswith("backbone.layer3.1.bn"):
            del weights[key]
    weights["backbone.neck.weight"] = torch.zeros(1)
    weights["decode_head.conv_seg.bias"] = torch.zeros(9)
    text = refused(weights)
    assert "8 missing: backbone.layer3.1.bn1.weight, backbone.layer3.1.bn1.bias" in text and "and 3 more" in text
    assert "1 unexpected: backbone.neck.weight" in text
    assert "1 of another shape: decode_head.conv_seg.bias (9,) instead of (5,)" in text


@pytest.mark.parametrize(
    "absent", ["decode_head.conv_seg.weight", "backbone.stem.6.weight", "backbone.layer2.1.conv2.weight"]
)
def test_a_checkpoint_that_is_not_whole_names_the_key(weights: dict[str, Any], absent: str) -> None:
    del weights[absent]
    assert absent in refused(weights)


OTHERS = {
    "FCN": ("backbone.stem.0.weight", "decode_head.convs.0.conv.weight"),
    "DeepLabV3+": ("backbone.stem.0.weight", "decode_head.aspp_modules.0.bn.weight", "decode_head.c1_bottleneck.x"),
    "DeepLabV3;": ("backbone.stem.0.weight", "decode_head.aspp_modules.0.conv.weight"),
    "UPerNet": (
        "decode_head.psp_modules.0.1.conv.weight",
        "backbone.stem.0.weight",
        "decode_head.fpn_convs.0.conv.weight",
    ),
    "SegFormer": ("backbone.layers.0.0.projection.weight", "decode_head.convs.0.conv.weight"),
    "another backbone than ResNetV1c": ("backbone.conv1.weight", "decode_head.psp_modules.0.1.conv.weight"),
    "a backbone alone": ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight"),
    "keys such as encoder.a, encoder.b": ("encoder.a", "encoder.b"),
    "nothing: it has no tensors": (),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_network_is_named(name: str) -> None:
    text = refused({key: torch.zeros(1) for key in OTHERS[name]})
    assert "not PSPNet on ResNetV1c" in text and name in text and "--config" in text


def test_a_resnet_of_no_known_depth_is_refused(weights: dict[str, Any]) -> None:
    extra = {key.replace("layer2.1.", "layer2.2."): value for key, value in weights.items() if "layer2.1." in key}
    assert "2, 3, 2, 2 blocks" in refused(weights | extra)


def test_resnet_v1d_is_told_apart(weights: dict[str, Any]) -> None:
    for key in [key for key in weights if ".downsample." in key]:
        number = int(key.split(".downsample.")[1][0])
        weights[key.replace(f".downsample.{number}", f".downsample.{number + 1}")] = weights[key]
    assert "ResNetV1d" in refused(weights)


@pytest.mark.parametrize(
    ("said", "instead", "told"),
    [
        ("strides=(1, 2, 1, 1)", "strides=(1, 2, 2, 2)", "strides (1, 2, 2, 2)"),
        ("dilations=(1, 1, 2, 4)", "dilations=(1, 1, 1, 2)", "dilations (1, 1, 1, 2)"),
        ("align_corners=False", "align_corners=True", "align_corners=True"),
        ("contract_dilation=True", "contract_dilation=False", "contract_dilation=False"),
        ("pool_scales=(1, 2, 3, 6)", "pool_scales=(1, 2, 3)", "4 pools"),
        ("style='pytorch'", "style='caffe'", "style 'caffe'"),
    ],
)
def test_what_only_the_config_says_is_looked_up_there(
    weights: dict[str, Any], said: str, instead: str, told: str
) -> None:
    build(weights, config_text=CONFIG_TEXT)
    changed = CONFIG_TEXT.replace(said, instead)
    assert changed != CONFIG_TEXT
    text = refused(weights, config_text=changed)
    assert told in text and "--config" in text


def test_pool_scales_of_the_config_are_taken(tiny: Any, weights: dict[str, Any]) -> None:
    built = build(weights, config_text=CONFIG_TEXT.replace("(1, 2, 3, 6)", "[1, 2, 4, 8]"))
    assert [pool[0].output_size for pool in built.decode_head.psp_modules] == [1, 2, 4, 8]
    pictures = smooth_pictures(1, (64, 64))
    assert not torch.equal(run(built, pictures), run(tiny, pictures))


# -- random networks ---------------------------------------------------------------------------------------------------


def test_random_networks_repeat_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (tiny_pspnet(seed=seed) for seed in (1, 1, 3))
    assert torch.equal(torch.random.get_rng_state(), before)
    key = "decode_head.bottleneck.conv.weight"
    assert torch.equal(one.state_dict()[key], same.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])


def test_random_networks_tell_most_classes_apart() -> None:
    labels = run(random_pspnet(18, 21, width=16), smooth_pictures(4, (128, 128))).argmax(1)
    shares = torch.bincount(labels.flatten(), minlength=21) / labels.numel()
    assert int((shares > 0.001).sum()) >= 14 and float(shares.max()) < 0.7


@pytest.mark.parametrize("options", [{"depth": 20}, {"width": 5}, {"width": 0}, {"num_classes": 0}])
def test_networks_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(depth|width) must be"):
        random_pspnet(**options)


# -- sizes and pooling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (64, 64), (100, 141), (500, 375)])
def test_the_size_of_pooled_maps(tiny: Any, shape: tuple[int, int]) -> None:
    assert feature_size(tiny, shape) == (-(-shape[0] // 8), -(-shape[1] // 8))


def test_finding_sizes_computes_nothing(tiny: Any, weights: dict[str, Any]) -> None:
    sizes = pool_sizes(tiny, (20_000, 30_000))  # terabytes, if it did
    assert set(sizes.values()) == {(2500, 3750)} and len(sizes) == 4
    assert all(value.device.type == "cpu" for value in tiny.state_dict().values())
    assert all(torch.equal(value, weights[key]) for key, value in tiny.state_dict().items())


@pytest.mark.parametrize("shape", [(0, 64), (64, -8)])
def test_pictures_without_pixels_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"cannot take pictures of {shape[0]}x{shape[1]}"):
        prepare(tiny_pspnet(), shape)


def test_a_map_that_vanishes_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 9), torch.nn.AdaptiveAvgPool2d(2))
    with pytest.raises(ValueError, match=r"cannot take pictures of 8x20 .*Kernel size"):
        prepare(model, (8, 20))


def test_a_network_that_needs_numbers_is_run_with_them() -> None:
    class Picky(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.pool = torch.nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Any) -> Any:
            return x * (2 if float(x.sum()) > 0 else 1) + self.pool(x)

    assert pool_sizes(Picky(), (8, 9)) == {"pool": (8, 9)}


def test_a_network_that_gives_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="makes"):
        prepare(torch.nn.Conv2d(3, 4, 3), (8, 20))


@pytest.mark.parametrize(("kind", "shape"), [("matmul", (100, 141)), ("matmul", (40, 33)), ("cascade", (96, 48))])
def test_replaced_pooling_changes_neither_scores_nor_keys(kind: Any, shape: tuple[int, int]) -> None:
    model = tiny_pspnet()
    pictures = smooth_pictures(3, shape)
    expected, keys = run(model, pictures), list(model.state_dict())
    assert prepare(model, shape, kind) is model
    assert not any(isinstance(module, torch.nn.AdaptiveAvgPool2d) for module in model.modules())
    assert float((run(model, pictures) - expected).abs().max()) < 1e-4
    assert list(model.state_dict()) == keys


def test_replace_pooling_takes_one_size_for_all(tiny: Any) -> None:
    model = tiny_pspnet()
    replace_pooling(model, (13, 18), "matmul")
    pictures = smooth_pictures(1, (100, 141))
    assert float((run(model, pictures) - run(tiny, pictures)).abs().max()) < 1e-4


def test_a_refused_cascade_names_sizes_of_pictures() -> None:
    model = tiny_pspnet()
    with pytest.raises(
        ValueError, match=r"64 pixels in 6 bins .* maps of .*63, 66, 67 pixels \(pictures of .*504, 528"
    ):
        prepare(model, (512, 512), "cascade")
    prepare(model, (500, 500), "cascade")


# -- tracing -----------------------------------------------------------------------------------------------------------


def test_scales_reach_every_size_in_any_arithmetic() -> None:
    for before in range(1, 130):
        for after in (*range(1, 60), 127, 375, 499, 500, 512, 1023, 2048):
            scale = scale_reaching(before, after)
            assert float(np.float32(scale)) == scale
            assert int(np.float32(before) * np.float32(scale)) == int(before * scale) == after
            assert abs(scale * before / after - 1) < 2.5e-7


def test_resize_is_pytorchs() -> None:
    maps = torch.randn(1, 2, 7, 9)
    for align_corners in (False, True):
        expected = torch.nn.functional.interpolate(maps, (20, 31), mode="bilinear", align_corners=align_corners)
        assert torch.equal(resize(maps, (20, 31), align_corners=align_corners), expected)
    assert resize(maps, (7, 9)) is maps


def traced(model: Any, shape: tuple[int, int], opset: int) -> Any:
    onnx = pytest.importorskip("onnx", reason="reads the traced graph")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, *shape),),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )
    read = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(read, full_check=True)
    return read


ALLOWED = {"Conv", "Relu", "Add", "MaxPool", "MatMul", "Resize", "Concat", "Constant"}


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("shape", [(100, 141), (500, 72), (41, 48)])
def test_the_graph_has_constant_sizes_for_any_batch(opset: int, shape: tuple[int, int]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="runs the traced graph")
    model = tiny_pspnet()
    pictures = smooth_pictures(3, shape)
    expected = run(model, pictures)
    graph = traced(prepare(model, shape), shape, opset)
    counts = Counter(node.op_type for node in graph.graph.node)
    assert set(counts) <= ALLOWED and counts["MatMul"] == 8
    made = {node.output[0]: node.op_type for node in graph.graph.node}
    weights = {one.name for one in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "Resize":
            assert all(name in weights or made[name] == "Constant" for name in node.input[1:] if name)
    declared = [dim.dim_value or dim.dim_param for dim in graph.graph.output[0].type.tensor_type.shape.dim]
    assert declared == ["N", 5, *shape]
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        (scores,) = session.run(None, {"input": pictures[:batch].numpy()})
        assert float(np.abs(scores - expected[:batch].numpy()).max()) < 1e-3


def test_the_cascade_has_average_pools_within_the_limits() -> None:
    runtime = pytest.importorskip("onnxruntime", reason="runs the traced graph")
    model = tiny_pspnet()
    shape = (500, 500)
    pictures = smooth_pictures(1, shape)
    expected = run(model, pictures)
    graph = traced(prepare(model, shape, "cascade"), shape, 11)
    pools = [node for node in graph.graph.node if node.op_type == "AveragePool"]
    assert len(pools) == 8
    for node in pools:
        said = {one.name: list(one.ints) for one in node.attribute if one.ints}
        kernel, strides = said["kernel_shape"], said.get("strides", [1, 1])
        assert kernel[0] * kernel[1] <= 256 and max(kernel) <= 255 and max(strides) <= 63
    assert {node.op_type for node in graph.graph.node} <= ALLOWED | {"AveragePool", "Slice"}
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": pictures.numpy()})
    assert float(np.abs(scores - expected.numpy()).max()) < 1e-3


def test_align_corners_is_kept_in_the_graph() -> None:
    runtime = pytest.importorskip("onnxruntime", reason="runs the traced graph")

    class Scaled(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return resize(x, (29, 40), align_corners=True)

    graph = traced(Scaled(), (7, 9), 11)
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    maps = torch.randn(2, 3, 7, 9)
    (scaled,) = session.run(None, {"input": maps.numpy()})
    expected = torch.nn.functional.interpolate(maps, (29, 40), mode="bilinear", align_corners=True)
    assert float(np.abs(scaled - expected.numpy()).max()) < 1e-5
