"""Functions that PyTorch's exporter cannot write, computed otherwise: the same numbers, for any batch."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="the functions are PyTorch's")
pytest.importorskip("onnx", reason="reads the traced graph")
pytest.importorskip("onnxruntime", reason="runs the traced graph")

from torch import nn
from torch.nn import functional

from pspfast.export.traceable import TraceableFunctions
from tests.export.test_exact_pooling import traced


class _Within(nn.Module):  # type: ignore[misc]
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(6, 1, 3, 3), requires_grad=False)

    def forward(self, x: Any) -> Any:
        with TraceableFunctions():
            return self.function(self, x)


def diagonal(_: Any, x: Any) -> Any:
    mask = torch.diag(torch.tensor(float("-inf")).repeat(x.shape[2]), 0)
    return functional.softmax(x + mask, dim=-1)


def dynamic_filters(size: tuple[int, int]) -> Any:
    """As in DMNet: a kernel for each channel of each picture, made of the picture."""

    def run(_: Any, x: Any) -> Any:
        b, c, h, w = x.shape
        kernels = functional.adaptive_avg_pool2d(x[..., :6, :6], 6)[..., : size[0], : size[1]].reshape(b * c, 1, *size)
        padded = functional.pad(x, (size[1] // 2, (size[1] - 1) // 2, size[0] // 2, (size[0] - 1) // 2))
        return functional.conv2d(padded.view(1, b * c, *padded.shape[2:]), kernels, groups=b * c).view(b, c, h, w)

    return run


CASES = {
    "diagonal": diagonal,
    "3x3 kernels": dynamic_filters((3, 3)),
    "1x1 kernels": dynamic_filters((1, 1)),
    "2x5 kernels": dynamic_filters((2, 5)),
    "constant kernels by channel": lambda self, x: functional.conv2d(x, self.weight, padding=1, groups=6),
}


@pytest.mark.parametrize("name", CASES)
def test_functions_are_traced_for_any_batch(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    x = torch.randn(2, 6, 12, 12, generator=torch.Generator().manual_seed(3))
    network = _Within(CASES[name])
    with torch.no_grad():
        expected = CASES[name](network, x)
        assert float((network(x) - expected).abs().max()) < 1e-5
    assert float((traced(network, x) - expected).abs().max()) < 1e-4
    capfd.readouterr()


@pytest.mark.parametrize("offset", [-1, 2])
def test_other_diagonals_and_matrices_are_pytorchs(offset: int) -> None:
    vector, matrix = torch.arange(3.0), torch.arange(9.0).reshape(3, 3)
    with TraceableFunctions():
        found = torch.diag(vector, offset), torch.diag(matrix)
    assert torch.equal(found[0], torch.diag(vector, offset)) and torch.equal(found[1], torch.diag(matrix))


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 1}, {"padding": "same"}, {"dilation": 2}, {"bias": torch.ones(6)}]
)
def test_other_convolutions_are_pytorchs(options: dict[str, Any]) -> None:
    x, kernels = torch.randn(1, 6, 12, 12), torch.randn(6, 1, 3, 3)
    expected = functional.conv2d(x, kernels, groups=6, **options)
    with TraceableFunctions():
        assert torch.equal(functional.conv2d(x, kernels, groups=6, **options), expected)
