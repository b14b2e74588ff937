"""Which opset a network is written in, and what is said where PyTorch can write it in none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="the extra 'export' is not installed")
onnx: Any = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'export' is not installed")

from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from pspfast.cli.main import main
from pspfast.export import attempts, networks
from pspfast.export.networks import Network
from pspfast.export.tracing import CannotTraceError, trace
from pspfast.graphs import simplification
from pspfast.graphs.model_files import GraphError

SHAPE = ("24", "32")


class _Network(nn.Module):  # type: ignore[misc]
    num_classes = 3

    def __init__(self, last: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), last

    def forward(self, x: Any) -> Any:
        return self.last(self.conv(x))


def plain(x: Any) -> Any:
    return x


def einsum(x: Any) -> Any:
    return torch.einsum("bchw,dc->bdhw", x, torch.eye(3) + 0.5)


def sampled(x: Any) -> Any:
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 32), indexing="ij")
    grid = torch.stack([columns, rows], -1)[None].repeat(x.shape[0], 1, 1, 1)
    return functional.grid_sample(x, grid, align_corners=True)


def spectrum(x: Any) -> Any:
    return torch.special.i0(x)


def unknown_kernel(x: Any) -> Any:
    b, c, h, w = x.shape
    kernels = x.mean((2, 3)).view(b * c, 1, 1, 1)
    return functional.conv2d(x.reshape(1, b * c, h, w), kernels, groups=b * c).view(b, c, h, w)


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``pspfast export`` of a module, as if a checkpoint were of it."""

    def run(last: Any, *options: str) -> Any:
        module = _Network(last).eval().requires_grad_(False)
        network = Network(module, 3, ("a", "b", "c"), (), (0.0,) * 3, (1.0,) * 3, True, "0" * 64, "")
        monkeypatch.setattr(networks, "load_network", lambda *_, **__: network)
        checkpoint = tmp_path / "some.pth"
        checkpoint.touch()
        words = [
            "export",
            "--checkpoint",
            str(checkpoint),
            "--shape",
            *SHAPE,
            "--output-file",
            str(tmp_path / "m.onnx"),
        ]
        return CliRunner().invoke(main, [*words, *options])

    return run


def opset_of(path: Path) -> int:
    return int(onnx.load(path).opset_import[0].version)


@pytest.mark.parametrize(("last", "opset", "operator"), [(einsum, 12, "einsum"), (sampled, 16, "grid_sample")])
def test_the_lowest_opset_that_works_is_taken(
    invoke: Any, tmp_path: Path, last: Any, opset: int, operator: str
) -> None:
    done = invoke(last, "--json", str(tmp_path / "m.json"), "--quiet")
    assert done.exit_code == 0, done.output
    assert opset_of(tmp_path / "m.onnx") == opset
    assert f", opset {opset}, 100.0000% of the pixels" in done.stdout
    assert re.fullmatch(rf"opset {opset}, the lowest that works \(with \d\d: .*{operator}.*\)\n", done.stderr)
    (file,) = json.loads((tmp_path / "m.json").read_text())["files"]
    assert file["opset"] == opset and len(file["remarks"]) == 1


def test_eleven_is_what_it_was(invoke: Any, tmp_path: Path) -> None:
    done = invoke(plain, "--quiet")
    assert done.exit_code == 0 and "opset" not in done.output
    chosen = (tmp_path / "m.onnx").read_bytes()
    assert invoke(plain, "--opset", "11").exit_code == 0
    assert (tmp_path / "m.onnx").read_bytes() == chosen
    assert invoke(plain, "--opset=18").exit_code == 0
    assert opset_of(tmp_path / "m.onnx") == 18


@pytest.mark.parametrize("word", ["10", "19", "eleven", "11.0"])
def test_no_such_opset(invoke: Any, word: str) -> None:
    done = invoke(plain, "--opset", word)
    assert done.exit_code == 2 and "--opset" in done.stderr


def test_an_opset_that_was_asked_for_is_not_replaced(invoke: Any, tmp_path: Path) -> None:
    done = invoke(einsum, "--opset", "11")
    assert done.exit_code == 2 and "to opset 11: " in done.stderr and "einsum" in done.stderr
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(("last", "told"), [(spectrum, "i0"), (unknown_kernel, "kernel of unknown shape")])
def test_what_no_opset_has_is_one_sentence_without_a_graph(invoke: Any, tmp_path: Path, last: Any, told: str) -> None:
    done = invoke(last, "--quiet")
    assert done.exit_code == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("PyTorch cannot export this model (opset") and told in line
    assert not re.search(r"%|\[Caused|Float\(|Please|node defined", line) and len(line) < 250
    assert not (tmp_path / "m.onnx").exists()


def test_an_operator_that_no_opset_has_is_tried_once(invoke: Any) -> None:
    assert "tracing at 32x24, opset 12" not in invoke(spectrum).stderr


def test_a_graph_that_is_not_valid_at_an_opset(invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simplify = simplification.simplify

    def refuse(model: Any, *args: Any, **options: Any) -> Any:
        if model.opset_import[0].version < 13:
            raise GraphError("not a valid ONNX graph: made up")
        return simplify(model, *args, **options)

    monkeypatch.setattr(attempts, "simplify", refuse)
    done = invoke(plain, "--quiet")
    assert done.exit_code == 0 and opset_of(tmp_path / "m.onnx") == 13
    assert "opset 13, the lowest that works (with 12: not a valid ONNX graph: made up)" in done.stderr


def test_errors_of_the_networks_own_code_in_a_trace() -> None:
    class Fails(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            if torch.jit.is_tracing():
                raise KeyError("only here")
            return x

    with pytest.raises(CannotTraceError, match="KeyError: 'only here'") as caught:
        trace(Fails(), torch.zeros(1, 3, 4, 4), 11)
    assert caught.value.next_opset is None
