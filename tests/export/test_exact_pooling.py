"""Adaptive pools of every kind, in any network: called as functions, shared, maximum; as PyTorch computes them."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="the networks are PyTorch's")
pytest.importorskip("onnx", reason="reads the traced graph")
runtime: Any = pytest.importorskip("onnxruntime", reason="runs the traced graph")

from torch import nn
from torch.nn import functional

from pspfast.export.exact_pooling import pool_sizes, prepare
from pspfast.system.libraries import MissingExtra

SHAPE = (10, 11)


def scaled(maps: Any, x: Any) -> Any:
    return functional.interpolate(maps, size=x.shape[2:], mode="bilinear")


class _Network(nn.Module):  # type: ignore[misc]
    """Convolutions and pools, joined by a function."""

    def __init__(self, join: Any, **parts: Any) -> None:
        super().__init__()
        self.join = join
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Any) -> Any:
        return self.join(self, x)


def conv() -> Any:
    torch.manual_seed(0)
    return nn.Conv2d(3, 3, 1)


def tied_modules() -> Any:
    one = conv()
    return _Network(lambda s, x: scaled(s.pool(s.a(x) + s.b(x)), x), a=one, b=one, pool=nn.AdaptiveAvgPool2d(3))


def tied_parameters() -> Any:
    network = _Network(
        lambda s, x: scaled(s.pool(s.a(x) + s.b(x)), x), a=conv(), b=conv(), pool=nn.AdaptiveAvgPool2d(3)
    )
    network.b.weight = network.a.weight
    return network


def tied_buffers() -> Any:
    network = _Network(lambda s, x: s.a(x) + s.b(x) + s.pool(x), a=nn.BatchNorm2d(3), b=nn.BatchNorm2d(3))
    network.b.running_mean = network.a.running_mean
    network.pool = nn.AdaptiveAvgPool2d(1)
    return network


def shared_pool() -> Any:
    pool = nn.AdaptiveAvgPool2d(3)
    return _Network(lambda s, x: scaled(s.p(x) + s.q(2 * x), x), p=pool, q=pool)


def two_sizes() -> Any:
    return _Network(lambda s, x: scaled(s.p(x) + s.p(x[..., :7]), x), p=nn.AdaptiveAvgPool2d(3))


FUNCTIONS = {
    "average": lambda _, x: scaled(functional.adaptive_avg_pool2d(x, 3), x),
    "average of a tuple": lambda _, x: scaled(functional.adaptive_avg_pool2d(x, (4, 7)), x),
    "average, an axis left": lambda _, x: scaled(functional.adaptive_avg_pool2d(x, (None, 3)), x),
    "average to another map's size": lambda _, x: scaled(functional.adaptive_avg_pool2d(x, x[..., ::3].shape[2:]), x),
    "more bins than pixels": lambda _, x: scaled(functional.adaptive_avg_pool2d(x[..., :5, :6], (8, 9)), x),
    "by keyword": lambda _, x: scaled(functional.adaptive_avg_pool2d(input=x, output_size=3), x),
    "maximum": lambda _, x: scaled(functional.adaptive_max_pool2d(x, 3), x),
    "maximum of a tuple": lambda _, x: scaled(functional.adaptive_max_pool2d(x, (3, 4)), x),
    "of one axis": lambda _, x: x + functional.adaptive_avg_pool1d(x.flatten(2), 7).mean(-1)[..., None, None],
    "maximum of one axis": lambda _, x: x + functional.adaptive_max_pool1d(x.flatten(2), 7).mean(-1)[..., None, None],
    "side by side": lambda _, x: scaled(functional.adaptive_avg_pool2d(x, (5, 11)), x),
    "all of it": lambda _, x: x + functional.adaptive_avg_pool2d(x, 1) + functional.adaptive_max_pool2d(x, 1),
}  # fmt: skip
NETWORKS: dict[str, Any] = {
    "a module with two names": tied_modules,
    "a parameter with two names": tied_parameters,
    "a buffer with two names": tied_buffers,
    "a pool with two names": shared_pool,
    "a pool of two sizes": two_sizes,
    "a maximum pool": lambda: _Network(lambda s, x: scaled(s.p(x), x), p=nn.AdaptiveMaxPool2d(3)),
    "a pool of one axis": lambda: _Network(lambda s, x: x + s.p(x[:, 0])[:, None, :1, :1], p=nn.AdaptiveAvgPool1d(7)),
    **{name: (lambda join=join: _Network(join)) for name, join in FUNCTIONS.items()},
}  # fmt: skip


def traced(network: Any, x: Any) -> Any:
    """What ONNX Runtime makes of two pictures after a trace of one."""
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (x[:1],), file, dynamo=False, opset_version=11, input_names=["input"], output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )  # fmt: skip
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_pools_are_exact_and_traced_for_any_batch(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    network = NETWORKS[name]().eval()
    x = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(x)
        assert prepare(network, SHAPE) is network
        assert float((network(x) - expected).abs().max()) < 1e-5
    assert float((traced(network, x) - expected).abs().max()) < 1e-4
    capfd.readouterr()


@pytest.mark.parametrize("name", NETWORKS)
def test_finding_sizes_leaves_the_network_as_it_was(name: str) -> None:
    network = NETWORKS[name]().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    prepare(network, SHAPE)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(value.device.type == "cpu" and torch.equal(value, before[key]) for key, value in after.items())


def test_names_of_one_pool_stay_one_pool() -> None:
    network = prepare(shared_pool(), SHAPE)
    assert network.p is network.q and not isinstance(network.p, nn.AdaptiveAvgPool2d)


def test_another_size_than_the_prepared_one_is_left_to_pytorch() -> None:
    network = prepare(_Network(FUNCTIONS["maximum"]), SHAPE)
    x = torch.randn(1, 3, 13, 17)
    assert torch.equal(network(x), scaled(functional.adaptive_max_pool2d(x, 3), x))


def test_indices_of_a_maximum_are_left_to_pytorch() -> None:
    def join(_: Any, x: Any) -> Any:
        values, indices = functional.adaptive_max_pool2d(x, 3, return_indices=True)
        return scaled(values + indices, x)

    network, x = _Network(join), torch.randn(1, 3, *SHAPE)
    expected = network(x)
    assert torch.equal(prepare(network, SHAPE)(x), expected)


def test_a_cascade_is_asked_of_functions_too() -> None:
    with pytest.raises(ValueError, match="cascade pooling is not exact here: 11 pixels in 7 bins"):
        prepare(_Network(FUNCTIONS["average of a tuple"]), SHAPE, "cascade")
    network, x = _Network(FUNCTIONS["average"]), torch.randn(1, 3, 10, 13)  # windows of 4 and 5 pixels, 3 and 4 apart
    expected = network(x)
    assert float((prepare(network, (10, 13), "cascade")(x) - expected).abs().max()) < 1e-5


def test_pool_sizes_has_no_one_size_for_a_pool_of_two() -> None:
    with pytest.raises(ValueError, match=r"p pools maps of \(10, 11\) and of \(10, 7\)"):
        pool_sizes(two_sizes(), SHAPE)


def test_no_such_pooling_is_refused_without_any_pool() -> None:
    kind: Any = "average"
    with pytest.raises(ValueError, match="must be matmul, cascade or native"):
        prepare(conv(), SHAPE, kind)


def test_a_missing_operator_is_not_a_matter_of_the_shape() -> None:
    def join(_: Any, __: Any) -> Any:
        raise MissingExtra("this network needs an operator")

    with pytest.raises(MissingExtra, match="needs an operator"):
        prepare(_Network(join), SHAPE)
