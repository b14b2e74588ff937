"""The doctor: what it finds in old exports and in graphs made by hand, and that what it repairs is exact."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch")
onnx = pytest.importorskip("onnx", reason="needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from pspfast.cli.commands.doctor import main
from pspfast.formats.model_metadata import ModelMetadata, read_metadata, write_metadata
from pspfast.graphs import model_files as graphs
from pspfast.graphs import pool_repair
from pspfast.graphs.ascend_limits import LIMITS, OPERATORS, POOL_LIMITS, lists_with, pool_excesses
from pspfast.graphs.diagnosis import Diagnosis, diagnose, exact_feature_sizes
from pspfast.graphs.inference import infer
from pspfast.graphs.pool_repair import RepairError, repair
from pspfast.graphs.pool_windows import average_matrix, published_pool

SCALES = (1, 2, 3, 6)
nn = torch.nn


# ------------------------------------------------------------------------------------------------------------- models


class TinyPSPNet(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A stem of stride 8 and a pyramid: a PSPNet as far as its pools go."""

    def __init__(self, channels: int = 8, classes: int = 6, scales: tuple[int, ...] = SCALES) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 9, stride=8, padding=4)
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(scale) for scale in scales)
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in scales)
        self.score = nn.Conv2d(channels * (1 + len(scales)), classes, 3, padding=1)

    def forward(self, x: Any) -> Any:
        features = self.stem(x).relu()
        size = [int(side) for side in features.shape[2:]]
        maps = [features]
        for pool, conv in zip(self.pools, self.convs, strict=True):
            pooled = 4 * conv(pool(features))
            maps.append(nn.functional.interpolate(pooled, size, mode="bilinear", align_corners=False))
        return self.score(torch.cat(maps, 1))


def with_old_pools(model: Any, size: tuple[int, int]) -> Any:
    """What mmcv's exporter made of adaptive pools: a global one, or one of a single kernel and stride."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                bins = child.output_size
                bins = (bins, bins) if isinstance(bins, int) else bins
                (height, down), (width, across) = map(published_pool, size, bins)
                setattr(module, name, nn.AvgPool2d((height, width), (down, across)))
    return model.eval()


def exported(model: Any, example: Any, path: Path, *, dynamic: bool = False, opset: int = 11) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (example,),
            str(path),
            input_names=["input"],
            output_names=["output"],
            opset_version=opset,
            dynamo=False,
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}} if dynamic else None,
        )
    return str(path)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny() -> Any:
    torch.manual_seed(0)
    return TinyPSPNet().eval()


@pytest.fixture(scope="module")
def old_file(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("old") / "old.onnx"
    return exported(with_old_pools(tiny, (63, 63)), torch.zeros(1, 3, 500, 500), path)


def picture(height: int, width: int, number: int = 1) -> Any:
    """Normalized, with structure at several scales."""
    generator = torch.Generator().manual_seed(height * width)
    coarse = torch.randn(number, 3, 9, 9, generator=generator)
    fine = torch.randn(number, 3, height, width, generator=generator)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return smooth + 0.2 * fine


def run(model: Any, *values: Any) -> Any:
    data = model if isinstance(model, str) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, values, strict=True)))[0]


def agreement(file: str, network: Any, pictures: Any) -> float:
    with torch.no_grad():
        expected = network(pictures).argmax(1).numpy()
    masks = np.concatenate([run(file, pictures.numpy()[index : index + 1]).argmax(1) for index in range(len(pictures))])
    return float((masks == expected).mean())


def graph(
    nodes: list[Any],
    shape: list[int | str],
    *,
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
    kind: int = TensorProto.FLOAT,
    opset: int = 11,
    out: list[int | str] | None = None,
    out_kind: int | None = None,
    domains: tuple[str, ...] = (),
) -> Any:
    """A model of ``x`` to ``y``."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", out_kind or kind, out)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(made, opset_imports=imports, ir_version=7)
    if out is None and (known := infer(model).get("y")) is not None and known.shape is not None:
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", out_kind or kind, known.shape))
    return model


def pyramid(size: tuple[int, int], kind: int = TensorProto.FLOAT, batch: int | str = 2) -> Any:
    """Old pools of one tensor, flattened and joined."""
    nodes = []
    for scale in SCALES:
        if scale == 1:
            nodes.append(helper.make_node("GlobalAveragePool", ["x"], ["p1"], "global"))
        else:
            kernel, stride = zip(*(published_pool(side, scale) for side in size), strict=True)
            nodes.append(
                helper.make_node(
                    "AveragePool", ["x"], [f"p{scale}"], f"pool{scale}", kernel_shape=kernel, strides=stride
                )
            )
        nodes.append(helper.make_node("Reshape", [f"p{scale}", "flat"], [f"f{scale}"]))
    nodes.append(helper.make_node("Concat", [f"f{scale}" for scale in SCALES], ["y"], axis=2))
    return graph(nodes, [batch, 3, *size], constants={"flat": np.array([0, 0, -1])}, kind=kind)


def lone_pool(size: int, kernel: int, stride: int, operator: str = "AveragePool", **others: Any) -> Any:
    node = helper.make_node(
        operator, ["x"], ["y"], "lone", kernel_shape=[kernel, kernel], strides=[stride, stride], **others
    )
    return graph([node], [1, 2, size, size])


def findings(found: Diagnosis, rule: str, severity: str | None = None) -> list[Any]:
    return [one for one in found.findings if one.rule == rule and severity in (None, one.severity)]


def doctor(*arguments: Any) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


# ------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(
    ("kernel", "stride", "beyond"),
    [
        ((16, 16), (63, 63), []),
        ((1, 255), (1, 1), []),
        ((16, 17), (1, 1), ["kernel area"]),
        ((1, 256), (1, 1), ["kernel side"]),
        ((2, 2), (1, 64), ["stride"]),
        ((300, 300), (64, 1), ["kernel side", "kernel area", "stride"]),
    ],
)
def test_limits_end_where_documented(
    operator: str, kernel: tuple[int, int], stride: tuple[int, int], beyond: list[str]
) -> None:
    assert [limit.subject for limit, _ in pool_excesses(operator, kernel, stride)] == beyond
    assert pool_excesses("GlobalAveragePool", kernel, stride) == []


def test_limits_and_lists_have_sources() -> None:
    assert all(limits.source for limits in POOL_LIMITS.values()) and all(limit.source for limit in LIMITS.values())
    assert all(len(names) > 100 and source for names, source in OPERATORS.values())
    # All that the project's own export and a ResNet are made of.
    for operator in ("Conv", "Relu", "MaxPool", "Add", "MatMul", "Concat", "Resize", "ArgMax", "Cast", "Sub", "Mul"):
        assert lists_with(operator) == list(OPERATORS), operator


@settings(max_examples=60, deadline=None)
@given(near=st.integers(6, 160), scale=st.integers(2, 6))
def test_exact_sizes_are_exact_in_pytorch(near: int, scale: int) -> None:
    sizes = exact_feature_sizes((1, scale), near)
    assert [abs(size - near) for size in sizes] == sorted(abs(size - near) for size in sizes)
    for size in {*sizes, near}:
        kernel, stride = published_pool(size, scale)
        # On an axis of its own: the map is one row.
        row = torch.randn(1, 1, 1, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
        old = nn.functional.avg_pool2d(row, (1, kernel), (1, stride))
        same = torch.allclose(old, nn.functional.adaptive_avg_pool2d(row, (1, scale)))
        assert same == (size in sizes) or (size == near and not same and near not in sizes)


# ------------------------------------------------------------------------------------------------------- old exports


def test_finds_what_the_guide_complains_of_and_what_it_did_not_see(old_file: str) -> None:
    found = diagnose(graphs.load(old_file))
    slow = findings(found, "pool-limit")
    assert [(one.severity, one.numbers["kernel"], one.numbers["area"]) for one in slow] == [
        ("error", (32, 32), 1024),
        ("error", (21, 21), 441),
    ]
    (wrong,) = findings(found, "pool-inexact")
    assert wrong.severity == "error" and wrong.inferred
    assert wrong.numbers["kernel"] == (13, 13) and wrong.numbers["stride"] == (10, 10)
    assert wrong.numbers["windows"] == [11] and "window 1 averages 0 to 12 instead of 0 to 10" in wrong.problem
    assert [pool.node for pool in found.pools if pool.is_wrong] == list(wrong.nodes)
    assert {pool.bins: pool.exact for pool in found.pools} == {
        (1, 1): True, (2, 2): True, (3, 3): True, (6, 6): False,
    }  # fmt: skip
    assert wrong.numbers["exact_feature_heights"][0] == 61 and wrong.numbers["scale"] == 8
    assert wrong.numbers["exact_input_heights"][0] == [481, 488]
    assert found.batch == 1 and found.opset == 11


def test_fix_brings_pytorchs_masks_back(tiny: Any, old_file: str, tmp_path: Path) -> None:
    fixed = str(tmp_path / "fixed.onnx")
    done = doctor(old_file, "--fix", fixed)
    assert done.exit_code == 0, done.output
    assert "What is left in it: 0 errors" in done.output and "3 changed" in done.output
    pictures = picture(500, 500, 2)
    before, after = (agreement(file, tiny, pictures) for file in (old_file, fixed))
    assert before < 0.9995 <= after
    with torch.no_grad():
        assert np.abs(run(fixed, pictures.numpy()[:1]) - tiny(pictures[:1]).numpy()).max() < 1e-4

    old, new = graphs.load(old_file), graphs.load(fixed)
    assert "AveragePool" not in graphs.operator_counts(new) and graphs.operator_counts(new)["MatMul"] == 6
    rest = [
        [node for node in model.graph.node if node.op_type not in ("AveragePool", "MatMul")] for model in (old, new)
    ]
    assert rest[0] == rest[1]
    assert not [one for one in diagnose(new).findings if one.rule.startswith("pool")]
    # Nothing is left to do: the same model comes out.
    done = doctor(fixed, "--fix", tmp_path / "twice.onnx")
    assert done.exit_code == 0 and "nothing to change" in done.output
    assert (tmp_path / "twice.onnx").read_bytes() == Path(fixed).read_bytes()


@pytest.mark.slow
def test_fix_of_a_resnet_18_at_500(tmp_path: Path) -> None:
    from pspfast.export.pspnet import random_pspnet

    network = random_pspnet(18, 21, auxiliary=False)
    old_file = exported(with_old_pools(network, (63, 63)), torch.zeros(1, 3, 500, 500), tmp_path / "old.onnx")
    done = doctor(old_file, "--fix", tmp_path / "fixed.onnx")
    assert done.exit_code == 0, done.output
    areas = [one.numbers["area"] for one in findings(diagnose(graphs.load(old_file)), "pool-limit")]
    assert areas == [1024, 441]
    pictures = picture(500, 500)
    before = agreement(old_file, network, pictures)
    assert before < 0.9995 <= agreement(str(tmp_path / "fixed.onnx"), network, pictures)


def test_dynamic_batch_stays_dynamic(tiny: Any, tmp_path: Path) -> None:
    old = exported(with_old_pools(tiny, (17, 23)), torch.zeros(2, 3, 136, 184), tmp_path / "o.onnx", dynamic=True)
    found = diagnose(graphs.load(old))
    assert found.batch == "N" and "batch is open (N)" in findings(found, "batch")[0].problem
    fixed = tmp_path / "f.onnx"
    doctor(old, "--fix", fixed)
    for number in (1, 3):
        pictures = picture(136, 184, number)
        with torch.no_grad():
            assert np.abs(run(str(fixed), pictures.numpy()) - tiny(pictures).numpy()).max() < 1e-4
    assert np.abs(run(old, pictures.numpy()) - tiny(pictures).detach().numpy()).max() > 1e-2


@pytest.mark.parametrize(
    ("kind", "dtype", "tolerance"),
    [(TensorProto.FLOAT16, np.float16, 3e-3), (TensorProto.FLOAT, np.float32, 1e-6)],
)
@pytest.mark.parametrize("size", [(63, 63), (64, 128), (15, 40)])
def test_every_type_and_size_becomes_pytorchs_pooling(
    kind: int, dtype: Any, tolerance: float, size: tuple[int, int]
) -> None:
    model = pyramid(size, kind)
    values = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(dtype)
    exact = np.concatenate(
        [
            nn.functional.adaptive_avg_pool2d(torch.from_numpy(values.astype(np.float64)), scale).reshape(2, 3, -1)
            for scale in SCALES
        ],
        axis=2,
    )
    new, repairs, left = repair(model, diagnose(model))
    assert repairs and not left and "AveragePool" not in {one.node for one in repairs}
    after = run(new, values)
    assert after.dtype == dtype and np.abs(after - exact).max() < tolerance
    assert np.abs(run(model, values) - exact).max() > 5e-3
    assert not diagnose(new).count("error")


@pytest.mark.parametrize("pooling", ["matmul", "cascade"])
def test_the_projects_own_exports_have_nothing_to_repair(pooling: Any) -> None:
    from pspfast.export.pspnet import prepare
    from pspfast.export.tracing import trace
    from tests.export.tiny import tiny_pspnet

    model = trace(prepare(tiny_pspnet(), (500, 500), pooling), torch.zeros(1, 3, 500, 500), 11)
    found = diagnose(model)
    assert not found.count("error") and not findings(found, "pool-inexact")
    assert ("AveragePool" in found.operators) == (pooling == "cascade")
    assert not [one for one in repair(model, found)[1] if one.kind != "attribute"]


def test_half_precision_of_an_old_export(old_file: str, tiny: Any) -> None:
    from pspfast.export.tracing import halve

    model = halve(graphs.load(old_file), keep=())
    graphs.sort_nodes(model)
    found = diagnose(model)
    assert {pool.type for pool in found.pools} == {"FLOAT16"} and len(findings(found, "pool-limit")) == 2
    assert not findings(found, "shape-declared")
    new, repairs, left = repair(model, found)
    assert len(repairs) == 3 and not left
    values = picture(500, 500)
    with torch.no_grad():
        expected = tiny(values).numpy()
    offs = [np.abs(run(one, values.numpy().astype(np.float16)) - expected).max() for one in (model, new)]
    assert offs[1] < offs[0] / 5


def test_numbers_of_repairs_are_measured(old_file: str) -> None:
    model = graphs.load(old_file)
    before = model.SerializeToString()
    _, repairs, _ = repair(model, diagnose(model))
    assert model.SerializeToString() == before
    assert {one.kind for one in repairs} == {"adaptive"}
    offs = sorted((one.before or 0, one.after) for one in repairs)
    assert offs[-1][0] > 0.05 and offs[-2][0] < 1e-6 and all(after is not None and after < 1e-6 for _, after in offs)


def test_a_repair_that_is_not_right_is_not_written(
    old_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = pool_repair._products

    def wrong(node: Any, pool: Any, matrices: Any, names: Any) -> Any:
        return right(node, pool, (matrices[0][::-1], matrices[1]), names)

    monkeypatch.setattr(pool_repair, "_products", wrong)
    done = doctor(old_file, "--fix", tmp_path / "out.onnx")
    assert done.exit_code == 2 and "nothing was written" in done.output and not list(tmp_path.iterdir())
    model = graphs.load(old_file)
    with pytest.raises(RepairError, match=r"off by .* where 1e-05 is accepted"):
        repair(model, diagnose(model))


def test_metadata_tell_of_the_new_pooling() -> None:
    model = pyramid((63, 63))
    write_metadata(
        model,
        ModelMetadata(
            "c.pth", "0" * 64, "", (), (), (0, 0, 0), (1, 1, 1), True, (500, 500), "float32", "labels", "n1hw",
            "native", "0",
        ),
    )  # fmt: skip
    new, _, _ = repair(model, diagnose(model))
    found = read_metadata(new)
    assert found is not None and found.pooling == "matmul" and found.checkpoint == "c.pth"


# ------------------------------------------------------------------------------------------------ pools of other kinds


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_large_pools_of_any_form_stay_what_they_are(data: st.DataObject) -> None:
    """Pads, ceil_mode, count_include_pad and auto_pad: matrix products give what ONNX Runtime gave."""
    size = [data.draw(st.integers(20, 45)) for _ in range(2)]
    kernel = [data.draw(st.integers(17, 20)) for _ in range(2)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [data.draw(st.integers(1, 17)) for _ in range(2)],
        "count_include_pad": data.draw(st.integers(0, 1)),
    }
    auto_pad = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto_pad == "NOTSET":
        attributes["pads"] = [data.draw(st.integers(0, 8)) for _ in range(4)]
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    else:
        attributes["auto_pad"] = auto_pad
    model = graph([helper.make_node("AveragePool", ["x"], ["y"], "pool", **attributes)], [1, 2, *size])
    found = diagnose(model)
    assert findings(found, "pool-limit")
    # Some of these are what exporters make of adaptive pools; alone, that is no reason to change them.
    assert found.pools[0].intent != "adaptive"
    new, repairs, left = repair(model, found)
    values = np.random.default_rng(0).standard_normal((1, 2, *size)).astype(np.float32)
    before, after = run(model, values), run(new, values)
    assert before.shape == after.shape and np.abs(before - after).max() < 1e-5
    if not left:
        # ONNX's own inference is wrong about some pads with ceil_mode; the product's shape is plain.
        assert [one.kind for one in repairs] in (["same"], ["same", "shape"])
        assert "AveragePool" not in graphs.operator_counts(new)
        assert found.pools[0].bins == before.shape[2:]


def test_most_forms_are_understood() -> None:
    """So that the test above cannot hold because everything was left as it was."""
    for others in (
        {},
        {"pads": [3, 0, 1, 2]},
        {"pads": [3, 3, 3, 3], "count_include_pad": 1},
        {"auto_pad": "SAME_UPPER"},
    ):
        model = lone_pool(40, 20, 7, **others)
        _, repairs, left = repair(model, diagnose(model))
        assert [one.kind for one in repairs] == ["same"] and not left


def test_a_lone_pool_is_taken_for_adaptive_only_when_told(tmp_path: Path) -> None:
    model = lone_pool(63, 13, 10)
    found = diagnose(model)
    (doubt,) = findings(found, "pool-inexact")
    assert doubt.severity == "warning" and doubt.inferred and "--adaptive lone" in doubt.advice
    assert repair(model, found)[1] == []
    graphs.save(model, tmp_path / "m.onnx")
    assert doctor(tmp_path / "m.onnx").exit_code == 0
    told = doctor(tmp_path / "m.onnx", "--adaptive", "lone", "--fix", tmp_path / "f.onnx")
    assert told.exit_code == 0 and "you said that" in told.output
    values = np.random.default_rng(0).standard_normal((1, 2, 63, 63)).astype(np.float32)
    exact = nn.functional.adaptive_avg_pool2d(torch.from_numpy(values), 6)
    assert np.abs(run(str(tmp_path / "f.onnx"), values) - exact.numpy()).max() < 1e-6
    unknown = doctor(tmp_path / "m.onnx", "--adaptive", "other")
    assert unknown.exit_code == 2 and "no pool named 'other'" in unknown.output and "lone" in unknown.output


def test_pools_that_onnx_runtime_cannot_run_are_repaired_all_the_same() -> None:
    """It has no average pool of float64, but products."""
    node = helper.make_node("AveragePool", ["x"], ["y"], "lone", kernel_shape=[13, 13], strides=[10, 10])
    model = graph([node], [1, 2, 63, 63], kind=TensorProto.DOUBLE)
    new, (done,), _ = repair(model, diagnose(model, adaptive=["y"]))
    assert done.before is None and done.after is not None and done.after < 1e-14
    values = np.random.default_rng(0).standard_normal((1, 2, 63, 63))
    exact = nn.functional.adaptive_avg_pool2d(torch.from_numpy(values), 6).numpy()
    assert np.abs(run(new, values) - exact).max() < 1e-14
    bits = graph([node], [1, 2, 63, 63], kind=TensorProto.BFLOAT16)
    _, repairs, left = repair(bits, diagnose(bits, adaptive=["lone"]))
    assert not repairs and "BFLOAT16" in left[0][1]


def test_told_of_a_padded_pool() -> None:
    model = lone_pool(20, 5, 4, pads=[2, 2, 2, 2], count_include_pad=1)
    found = diagnose(model, adaptive=["lone"])
    (wrong,) = findings(found, "pool-inexact")
    assert wrong.severity == "error" and not wrong.inferred
    new, repairs, _ = repair(model, found)
    assert [one.kind for one in repairs] == ["adaptive"]
    values = np.random.default_rng(0).standard_normal((1, 2, 20, 20)).astype(np.float32)
    matrix = average_matrix(20, 5)
    assert np.abs(run(new, values) - matrix @ values @ matrix.T).max() < 1e-6


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "others"),
    [
        (62, 2, 2, {}),
        (63, 2, 2, {}),
        (35, 3, 1, {}),  # of an Inception block
        (35, 3, 1, {"pads": [1, 1, 1, 1]}),
        (33, 3, 2, {}),
    ],
)
def test_ordinary_pools_raise_no_suspicion(size: int, kernel: int, stride: int, others: dict[str, Any]) -> None:
    found = diagnose(lone_pool(size, kernel, stride, **others))
    assert not [one for one in found.findings if one.rule.startswith("pool")]


def test_two_plain_pools_of_one_tensor_are_no_pyramid() -> None:
    nodes = [
        helper.make_node("AveragePool", ["x"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("AveragePool", ["x"], ["b"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], mode="linear"),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    model = graph(nodes, [1, 2, 65, 65], constants={"scales": np.array([1, 1, 2, 2], np.float32)})
    found = diagnose(model)
    assert [pool.intent for pool in found.pools] == ["", ""] and [pool.node for pool in found.pools] == ["a", "b"]


def test_pools_of_renamed_tensors_are_of_one_pyramid() -> None:
    model = pyramid((63, 63))
    for index, node in enumerate([node for node in model.graph.node if node.op_type.endswith("Pool")]):
        node.input[0] = f"x{index}"
    aliases = [helper.make_node("Identity", ["x" if i == 0 else f"x{i - 1}"], [f"x{i}"]) for i in range(4)]
    nodes = [*aliases, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    found = diagnose(model)
    assert {pool.source for pool in found.pools} == {"x"} and sum(pool.is_wrong for pool in found.pools) == 1
    new, repairs, _ = repair(model, found)
    assert len(repairs) == 3 and not diagnose(new).count("error")


def test_reduce_mean_over_space_is_a_pool() -> None:
    node = helper.make_node("ReduceMean", ["x"], ["y"], "mean", axes=[-2, -1], keepdims=1)
    (pool,) = diagnose(graph([node], [1, 4, 70, 90])).pools
    assert (pool.size, pool.bins, pool.excesses) == ((70, 90), (1, 1), ())
    node = helper.make_node("ReduceMean", ["x"], ["y"], "mean", axes=[1], keepdims=1)
    assert diagnose(graph([node], [1, 4, 70, 90])).pools == ()


def test_large_max_pools_are_found_and_left(tmp_path: Path) -> None:
    graphs.save(lone_pool(100, 20, 20, "MaxPool"), tmp_path / "m.onnx")
    done = doctor(tmp_path / "m.onnx", "--fix", tmp_path / "f.onnx")
    assert done.exit_code == 1 and "kernel area 400" in done.output and "nothing to change" in done.output


def test_count_include_pad() -> None:
    padded = lone_pool(20, 5, 4, pads=[2, 2, 2, 2], count_include_pad=1)
    assert findings(diagnose(padded), "pool-padding", "error")
    new, (done,), _ = repair(padded, diagnose(padded))
    assert done.kind == "same"
    values = np.random.default_rng(0).standard_normal((1, 2, 20, 20)).astype(np.float32)
    assert np.abs(run(new, values) - run(padded, values)).max() < 1e-6
    plain = lone_pool(20, 4, 4, count_include_pad=1)
    assert findings(diagnose(plain), "pool-padding", "warning") and not diagnose(plain).count("error")
    new, (done,), _ = repair(plain, diagnose(plain))
    assert done.kind == "attribute" and np.array_equal(run(new, values), run(plain, values))
    assert not findings(diagnose(new), "pool-padding")


def test_pools_of_open_size_are_judged_by_their_kernels() -> None:
    node = helper.make_node("AveragePool", ["x"], ["y"], "pool", kernel_shape=[32, 32], strides=[31, 31])
    model = graph([node], ["N", 3, "H", "W"])
    found = diagnose(model)
    assert findings(found, "pool-limit") and findings(found, "pool-unjudged") and findings(found, "shape-open")
    _, repairs, left = repair(model, found)
    assert not repairs and left[0][0] == "pool" and "not fixed" in left[0][1]


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_windows_larger_than_the_picture_are_found_and_left(operator: str) -> None:
    model = lone_pool(32, 40, 1, operator)
    found = diagnose(model)
    (one,) = findings(found, "pool-window", "error")
    assert "larger than the 32x32 that it reads" in one.problem and not findings(found, "pool-limit")
    _, repairs, left = repair(model, found)
    assert not repairs
    assert left == [] if operator == "MaxPool" else left[0][1] == "its window is larger than what it reads"


def test_ir_3_lists_constants_among_inputs() -> None:
    model = pyramid((63, 63))
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("flat", TensorProto.INT64, [3]))
    found = diagnose(model)
    assert [port.name for port in found.inputs] == ["x"]
    new, repairs, _ = repair(model, found)
    assert len(repairs) == 3
    onnx.checker.check_model(new, full_check=True)


# ------------------------------------------------------------------------------------------- operators, Resize, opset


def test_operators_that_no_list_has() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Relu", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 2, 8, 8]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 2, 8, 8]),
        ],
    )
    node = helper.make_node("Loop", ["times", "", "x"], ["y"], "loop", body=body)
    found = diagnose(graph([node], [1, 2, 8, 8], constants={"times": np.array(2)}))
    (one,) = findings(found, "operator-unlisted", "error")
    assert one.nodes == ("loop",) and found.operators == {"Identity": 1, "Loop": 1, "Relu": 1}

    own = helper.make_node("Special", ["x"], ["y"], "mine", domain="my.domain")
    (one,) = findings(diagnose(graph([own], [1, 2, 8, 8], domains=("my.domain",))), "operator-unlisted", "error")
    assert "my.domain.Special" in one.problem
    later = helper.make_node("Einsum", ["x"], ["y"], "sum", equation="abcd->abdc")
    (one,) = findings(diagnose(graph([later], [1, 2, 8, 8], opset=12)), "operator-unlisted", "warning")
    assert "listed for CANN 8.0, not for 5.0.4" in one.problem


def test_operators_that_exporters_leave_of_sizes_not_fixed() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"], "where"),
        helper.make_node("Transpose", ["n"], ["t"], perm=[1, 0]),
        helper.make_node("GatherND", ["x", "t"], ["y"], "pick"),
        helper.make_node("Shape", ["x"], ["s"], "shape"),
    ]
    found = diagnose(graph(nodes, [1, 2, 8, 8]))
    assert {one.nodes[0] for one in findings(found, "operator-awkward", "warning")} == {"where", "pick", "shape"}


def resize(opset: int = 11, shape: list[int | str] | None = None, computed: bool = False, **attributes: Any) -> Any:
    attributes = {"mode": "linear", **attributes}
    constants: dict[str, Any] = {"sizes": np.array([1, 2, 16, 16])}
    nodes = [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], "resize", **attributes)]
    if computed:
        constants = {"two": np.array([1, 1, 2, 2])}
        nodes[:0] = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Mul", ["s", "two"], ["sizes"])]
    return graph(nodes, shape or [1, 2, 8, 8], constants=constants, opset=opset)


def test_resize() -> None:
    assert not findings(diagnose(resize()), "resize-size") and not findings(diagnose(resize()), "resize-form")
    assert findings(diagnose(resize(computed=True)), "resize-size", "warning")
    assert findings(diagnose(resize(computed=True, shape=[1, 2, "H", "W"])), "resize-size", "error")
    assert findings(diagnose(resize(mode="cubic")), "resize-form", "error")
    assert findings(diagnose(resize(mode="nearest")), "resize-form", "warning")
    assert not findings(diagnose(resize(mode="nearest", nearest_mode="round_prefer_ceil")), "resize-form")
    odd = resize(opset=19, coordinate_transformation_mode="half_pixel_symmetric")
    assert findings(diagnose(odd), "resize-form", "error")


@pytest.mark.parametrize(
    ("opset", "expected"), [(10, "warning"), (11, None), (12, "note"), (13, "warning"), (17, "note"), (19, "warning")]
)
def test_opsets(opset: int, expected: str | None) -> None:
    nodes = [helper.make_node("Resize", ["x", "scales"], ["y"])] if opset == 10 else resize().graph.node
    constants = {"scales": np.ones(4, np.float32), "sizes": np.array([1, 2, 16, 16])}
    found = findings(diagnose(graph(list(nodes), [1, 2, 8, 8], constants=constants, opset=opset)), "opset")
    assert (found[0].severity if found else None) == expected
    # 13 is in no list for Resize, of whichever version.
    assert any("Resize is not listed for opset 13" in one.problem for one in found) == (opset == 13)


# ------------------------------------------------------------------------------------------------------------- shapes


def test_declared_shapes_that_are_not_so_are_found_and_corrected(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model = graph([node], [16, 2, 8, 8], out=[1, 2, 8, 8])
    model.graph.value_info.append(helper.make_tensor_value_info("y2", TensorProto.FLOAT, [1]))
    found = diagnose(model)
    (lie,) = findings(found, "shape-declared", "error")
    assert lie.numbers == {"declared": (1, 2, 8, 8), "computed": (16, 2, 8, 8)} and found.batch == 16
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert doctor(tmp_path / "m.onnx").exit_code == 1
    done = doctor(tmp_path / "m.onnx", "--fix", tmp_path / "f.onnx")
    assert done.exit_code == 0 and "declared [1, 2, 8, 8], now [16, 2, 8, 8]" in done.output
    assert graphs.shape_of(graphs.load(tmp_path / "f.onnx").graph.output[0]) == (16, 2, 8, 8)


def test_stale_declarations_inside_are_found_and_removed() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    model = graph(nodes, [16, 2, 8, 8], out=[16, 2, 8, 8])
    model.graph.value_info.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [1, 2, 8, 8]))
    assert findings(diagnose(model), "shape-declared", "warning")[0].numbers == {"values": ["m"]}
    new, (done,), _ = repair(model, diagnose(model))
    assert done.kind == "shape" and not new.graph.value_info


def test_open_and_fixed_where_the_other_is_declared() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    assert findings(diagnose(graph([node], ["N", 2, 8, 8], out=[1, 2, 8, 8])), "shape-declared", "warning")
    assert findings(diagnose(graph([node], [1, 2, 8, 8], out=["N", 2, 8, 8])), "shape-declared", "note")
    assert not findings(diagnose(graph([node], ["N", 2, 8, 8], out=["M", 2, 8, 8])), "shape-declared")


def test_a_classifier_is_noted_as_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    graphs.save(graph(nodes, [1, 2, 8, 8], out=[1, 2]), tmp_path / "c.onnx")
    done = doctor(tmp_path / "c.onnx")
    assert done.exit_code == 0 and "no output has a height and a width" in done.output


# ------------------------------------------------------------------------------------------------------------ command


def test_the_report_fits_a_terminal_and_names_whole_nodes(tmp_path: Path) -> None:
    model = pyramid((63, 63))
    long = "/network/" + "a_module_of_a_module." * 5
    for node in model.graph.node:
        node.name = f"{long}{node.op_type}.{node.output[0]}"
    graphs.save(model, tmp_path / "m.onnx")
    done = doctor(tmp_path / "m.onnx", "--fix", tmp_path / "f.onnx")
    lines = done.output.splitlines()
    own = [line for line in lines if long not in line and str(tmp_path) not in line]
    assert max(map(len, own)) <= 100
    assert any(line.strip() == f"at {long}AveragePool.p6" for line in lines)
    tables = [line for line in own if line.startswith("|")]
    assert len({len(line) for line in tables}) == 1 and any("INEXACT" in line and "p6" in line for line in tables)


def test_json(old_file: str, tmp_path: Path) -> None:
    done = doctor(old_file, "--json", tmp_path / "d.json")
    assert done.exit_code == 1
    found = json.loads((tmp_path / "d.json").read_text())
    assert found["format"] == "pspfast diagnosis" and found["model"] == old_file and "fix" not in found
    assert [pool["area"] for pool in found["pools"]] == [63 * 63, 1024, 441, 169]
    assert sum(one["severity"] == "error" for one in found["findings"]) == 3
    doctor(old_file, "--json", tmp_path / "d.json", "--fix", tmp_path / "f.onnx")
    found = json.loads((tmp_path / "d.json").read_text())
    assert len(found["fix"]["repairs"]) == 3 and found["fix"]["left"] == []
    assert "error" not in {one["severity"] for one in found["fix"]["findings"]}


def damaged(kind: str, old_file: str, folder: Path) -> Path:
    path, whole = folder / "model.onnx", Path(old_file).read_bytes()
    if kind == "missing":
        return path
    if kind == "external":
        model = graphs.load(old_file)
        onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
        (folder / "weights").unlink()
        return path
    if kind == "nodes":
        made = helper.make_graph(
            [], "g", [], [helper.make_tensor_value_info("y", 1, [1])], [numpy_helper.from_array(np.ones(1, "f"), "y")]
        )
        path.write_bytes(helper.make_model(made).SerializeToString())
        return path
    path.write_bytes({"text": b"not a model at all", "empty": b"", "cut": whole[: len(whole) // 2]}[kind])
    return path


@pytest.mark.parametrize("kind", ["missing", "external", "nodes", "text", "empty", "cut"])
def test_what_is_no_model(kind: str, old_file: str, tmp_path: Path) -> None:
    path = damaged(kind, old_file, tmp_path)
    before = sorted(tmp_path.iterdir())
    done = doctor(path, "--fix", tmp_path / "f.onnx", "--json", tmp_path / "d.json")
    assert done.exit_code == 2 and done.output.startswith(f"{path}: ") and done.output.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_graphs_that_onnx_refuses_are_reported(tmp_path: Path) -> None:
    node = helper.make_node("AveragePool", ["nowhere"], ["y"], kernel_shape=[3, 3])
    (tmp_path / "m.onnx").write_bytes(graph([node], [1, 2, 8, 8]).SerializeToString())
    done = doctor(tmp_path / "m.onnx")
    assert done.exit_code == 1 and "onnx.checker refuses" in done.output


def test_outputs_that_cannot_be_written(old_file: str, tmp_path: Path) -> None:
    assert doctor(old_file, "--fix", old_file).exit_code == 2
    done = doctor(old_file, "--fix", tmp_path / "no" / "f.onnx")
    assert done.exit_code == 1 and f"cannot write {tmp_path}/no/f.onnx" in done.output


def test_without_onnx(old_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert doctor(old_file).exit_code == 1  # it is needed to repair only
    done = doctor(old_file, "--fix", str(tmp_path / "f.onnx"))
    assert done.exit_code == 3 and "pspfast[run]" in done.output
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = doctor(old_file)
    assert done.exit_code == 3 and "pspfast[export]" in done.output
