"""Networks of mmsegmentation's configs, and that the project's own PSPNet is mmsegmentation's."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.export.tiny import smooth_pictures

torch: Any = pytest.importorskip("torch", reason="the models are PyTorch's")
pytest.importorskip("mmengine", reason="needs mmsegmentation (extra 'mmseg')")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("mmseg", reason="needs mmsegmentation (extra 'mmseg')")

from pspfast.export.checkpoint_kinds import CheckpointError
from pspfast.export.mmseg import build_from_config, facts_of_config, find_config, packaged_configs
from pspfast.export.pspnet import build, pool_sizes, prepare, random_pspnet
from pspfast.system.libraries import MissingExtra

if TYPE_CHECKING:
    from pathlib import Path

R18 = "pspnet_r18-d8_4xb2-80k_cityscapes-512x1024"
R50 = "pspnet_r50-d8_4xb4-20k_voc12aug-512x512"
SEGFORMER = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
# Config -> adaptive pools that run, least opset it can be traced to.
NETWORKS = {
    R50: (4, 11),
    "fcn_r50-d8_4xb4-20k_voc12aug-512x512": (0, 11),
    "deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512": (1, 11),
    "upernet_r50_4xb4-20k_voc12aug-512x512": (4, 11),
    SEGFORMER: (0, 13),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(model: Any, pictures: Any) -> Any:
    with torch.no_grad():
        return model(pictures)


# -- the project's own PSPNet ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "depth", "classes"), [(R18, 18, 19), (R50, 50, 21)])
def test_our_pspnet_is_mmsegmentations(config: str, depth: int, classes: int) -> None:
    ours = random_pspnet(depth, classes, seed=3)
    theirs = build_from_config(config)
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert list(theirs.state_dict()) == list(shapes)
    assert {key: tuple(value.shape) for key, value in theirs.state_dict().items()} == shapes

    loaded = build_from_config(config, ours.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    back = build(loaded.state_dict())
    ours.load_state_dict(loaded.state_dict(), strict=True)
    for shape in ((64, 64), (97, 130)):
        pictures = smooth_pictures(2, shape)
        expected = run(loaded, pictures)
        assert tuple(expected.shape) == (2, classes, *shape)
        for other in (ours, theirs, back):
            assert float((run(other, pictures) - expected).abs().max()) < 1e-5


# -- other networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", NETWORKS)
def test_networks_build_run_and_take_replaced_pooling(config: str) -> None:
    model = build_from_config(config)
    assert not model.training
    assert not any("SyncBatchNorm" in type(module).__name__ for module in model.modules())
    pictures = smooth_pictures(1, (128, 128))
    scores, keys = run(model, pictures), list(model.state_dict())
    assert tuple(scores.shape) == (1, model.num_classes, 128, 128)
    assert float(scores.std()) > 0
    pools = pool_sizes(model, (128, 128))
    assert len(pools) == NETWORKS[config][0]
    prepare(model, (128, 128), "matmul")
    assert not any(isinstance(model.get_submodule(name), torch.nn.AdaptiveAvgPool2d) for name in pools)
    assert float((run(model, pictures) - scores).abs().max()) < 1e-5
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("config", NETWORKS)
def test_networks_are_traced_for_any_batch(config: str, capfd: pytest.CaptureFixture[str]) -> None:
    onnx: Any = pytest.importorskip("onnx", reason="reads the traced graph")
    runtime: Any = pytest.importorskip("onnxruntime", reason="runs the traced graph")
    shape = (72, 88)
    opset = NETWORKS[config][1]
    model = prepare(build_from_config(config), shape)
    pictures = smooth_pictures(2, shape)
    expected = run(model, pictures)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (pictures[:1],),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )
    capfd.readouterr()
    counts = Counter(node.op_type for node in onnx.load_from_string(file.getvalue()).graph.node)
    assert counts["Resize"] >= 1 and not {"GatherND", "Loop", "AveragePool"} & set(counts)
    assert config == SEGFORMER or "Shape" not in counts
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": pictures.numpy()})
    assert float(abs(scores - expected.numpy()).max()) < 1e-3


def test_align_corners_of_the_config_is_honoured(tmp_path: Path) -> None:
    config = whole(tmp_path, "pspnet_r18-d8_4xb2-80k_cityscapes-769x769")
    ours = random_pspnet(18, 19, width=64)
    aligned = build_from_config(config, ours.state_dict())
    pictures = smooth_pictures(1, (65, 81))
    assert float((run(aligned, pictures) - run(ours, pictures)).abs().max()) > 1e-2
    for module in aligned.modules():
        if hasattr(module, "align_corners"):
            module.align_corners = False
    assert float((run(aligned, pictures) - run(ours, pictures)).abs().max()) < 1e-5


# -- configs -----------------------------------------------------------------------------------------------------------


def whole(folder: Path, name: str) -> str:
    """A copy of a config that is tested on whole pictures."""
    path = folder / "whole.py"
    path.write_text(f"_base_ = [{find_config(name)!r}]\nmodel = dict(test_cfg=dict(_delete_=True, mode='whole'))\n")
    return str(path)


def test_packaged_configs_have_names() -> None:
    configs = packaged_configs()
    assert len(configs) > 500 and not any(name.startswith("_") for name in configs)
    assert find_config(R50) == find_config(R50 + ".py") == configs[R50]
    assert find_config(configs[R50]) == configs[R50]


def test_facts_of_a_config() -> None:
    facts = facts_of_config(R50)
    assert (facts.mean, facts.std, facts.to_rgb) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), True)
    assert facts.classes is not None and facts.palette is not None
    assert (len(facts.classes), facts.classes[:2]) == (21, ("background", "aeroplane"))
    assert (len(facts.palette), facts.palette[1]) == (21, (128, 0, 0))
    classes = facts_of_config(R18).classes
    assert classes is not None and classes[0] == "road" and len(classes) == 19


def written(folder: Path, text: str) -> str:
    path = folder / "config.py"
    path.write_text(text)
    return str(path)


def test_facts_that_a_config_changes(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        f"_base_ = [{find_config(R50)!r}]\n"
        "data_preprocessor = dict(mean=[1, 2, 3], std=[4, 5, 6], bgr_to_rgb=False)\n"
        "model = dict(data_preprocessor=data_preprocessor)\n"
        "test_dataloader = dict(dataset=dict(metainfo=dict(classes=('a', 'b'))))\n",
    )
    facts = facts_of_config(config)
    assert (facts.mean, facts.std, facts.to_rgb) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), False)
    assert facts.classes == ("a", "b")
    assert facts.palette is None  # that of the data set has 21 colours


def test_facts_of_a_config_without_data(tmp_path: Path) -> None:
    facts = facts_of_config(written(tmp_path, "model = dict(type='EncoderDecoder')\n"))
    assert (facts.mean, facts.std, facts.to_rgb, facts.classes) == ((0, 0, 0), (1, 1, 1), False, None)


def test_a_config_in_windows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"windows of \(769, 769\)"):
        build_from_config("pspnet_r50-d8_4xb2-40k_cityscapes-769x769")


def test_a_missing_config_is_told_with_its_likes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither a file nor .*like it: pspnet_r50-d8_4xb4-20k_voc12aug-512x512"):
        build_from_config("pspnet_r50-d8_4xb4-20k_voc12aug-513x513")
    with pytest.raises(FileNotFoundError, match=r"needs none: leave it out.*absent\.py"):
        build_from_config(str(tmp_path / "absent.py"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model = dict(", "cannot be read as a config"),
        ("raise KeyError('nothing')", "cannot be read as a config"),
        ("_base_ = ['absent.py']", "cannot be read as a config"),
        ("model = 3", "has no model with a type"),
        ("x = 1", "has no model with a type"),
        ("model = dict(type='NoSuchNetwork')", "cannot build its model"),
        ("model = dict(type='EncoderDecoder')", "cannot build its model"),
        ("model = dict(type='SegDataPreProcessor')", "is no segmentor"),
    ],
)
def test_what_is_no_config_of_a_segmentor_is_refused(tmp_path: Path, text: str, told: str) -> None:
    config = written(tmp_path, text)
    with pytest.raises(ValueError, match=told) as caught:
        build_from_config(config)
    assert config in str(caught.value)


def test_a_network_with_one_channel_is_refused(tmp_path: Path) -> None:
    head = "dict(num_classes=2, out_channels=1, threshold=0.3)"
    base = f"_base_ = [{find_config(R18)!r}]\n"
    with pytest.raises(ValueError, match="one channel of scores"):
        build_from_config(written(tmp_path, f"{base}model = dict(decode_head={head}, auxiliary_head={head})\n"))


def test_weights_of_another_network_are_refused() -> None:
    weights = random_pspnet(18, 21, width=8).state_dict()
    with pytest.raises(
        CheckpointError, match=r"^some\.pth: its keys are not those of the network in fcn_r50"
    ) as caught:
        build_from_config("fcn_r50-d8_4xb4-20k_voc12aug-512x512", weights, path="some.pth")
    text = str(caught.value)
    assert " missing: " in text and " unexpected: " in text and " of another shape: " in text


def test_what_does_not_matter_in_weights_is_tolerated() -> None:
    ours = random_pspnet(18, 19)
    weights = {
        f"module.{key}": value
        for key, value in ours.state_dict().items()
        if not key.endswith("num_batches_tracked") and not key.startswith("auxiliary_head.")
    }
    pictures = smooth_pictures(1, (64, 48))
    assert float((run(build_from_config(R18, weights), pictures) - run(ours, pictures)).abs().max()) < 1e-5


def test_building_prints_nothing_and_leaves_warnings_alone() -> None:
    """In a process of its own, where everything is imported for the first time and every warning is an error."""
    code = (
        "import warnings\n"
        "from pspfast.export.mmseg import build_from_config, facts_of_config\n"
        "before = list(warnings.filters)\n"
        f"build_from_config({R18!r}); facts_of_config({R18!r})\n"
        "assert warnings.filters == before\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_compiled_operator_that_is_called_is_named() -> None:
    build_from_config(R18)
    operators = sys.modules["mmcv._ext"]
    if getattr(operators, "__file__", None):
        pytest.skip("this mmcv has compiled operators")
    with pytest.raises(MissingExtra, match="compiled operator deform_conv_forward"):
        operators.deform_conv_forward(1, 2)


def test_a_compiled_operator_is_no_matter_of_the_shape(tmp_path: Path) -> None:
    sizes = "in_channels=512, in_index=3, channels=8, mask_size=(97, 97), num_classes=19"
    head = f"dict(_delete_=True, type='PSAHead', {sizes})"
    model = build_from_config(written(tmp_path, f"_base_ = [{find_config(R18)!r}]\nmodel = dict(decode_head={head})\n"))
    with pytest.raises(MissingExtra, match="needs mmcv's compiled operator psamask_forward") as caught:
        prepare(model, (64, 64))
    assert "another shape" not in str(caught.value)


# -- libraries that parts are from -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "model = dict(decode_head=dict(_delete_=True, type='nosuchlibrary.PixelDecoder'))",
        "model = dict(decode_head=dict(loss_decode=[dict(type='nosuchlibrary.Loss')]))",
        "custom_imports = dict(imports='nosuchlibrary.models', allow_failed_imports=False)",
        "import nosuchlibrary",
    ],
)
def test_a_missing_library_is_named(tmp_path: Path, text: str) -> None:
    config = written(tmp_path, f"_base_ = [{find_config(R18)!r}]\n{text}\n")
    with pytest.raises(MissingExtra, match="parts of nosuchlibrary, which is not installed; pip install nosuchlibrary"):
        build_from_config(config)


@pytest.mark.parametrize(
    "name", ["maskformer_r50-d32_8xb2-160k_ade20k-512x512", "mask2former_r50_8xb2-160k_ade20k-512x512"]
)
def test_mmdet_is_named(name: str) -> None:
    if importlib.util.find_spec("mmdet"):
        pytest.skip("mmdet is installed")
    with pytest.raises(MissingExtra, match="parts of mmdet, which is not installed"):
        build_from_config(name)


def test_a_model_that_takes_no_auxiliary_head(tmp_path: Path) -> None:
    """As SAN's: its constructor has no such argument."""
    from mmseg.models.segmentors import EncoderDecoder
    from mmseg.registry import MODELS

    class NoAuxiliary(EncoderDecoder):  # type: ignore[misc]
        def __init__(self, backbone: Any, decode_head: Any, data_preprocessor: Any = None, **rest: Any) -> None:
            assert "auxiliary_head" not in rest
            super().__init__(backbone, decode_head, data_preprocessor=data_preprocessor)

    MODELS.register_module(module=NoAuxiliary, force=True)
    config = written(
        tmp_path,
        f"from mmengine import Config\nmodel = Config.fromfile({find_config(R18)!r}).model.to_dict()\n"
        "model.pop('auxiliary_head')\nmodel['type'] = 'NoAuxiliary'\n",
    )
    state = random_pspnet(18, 19, auxiliary=False).state_dict()
    assert build_from_config(config, state).num_classes == 19
