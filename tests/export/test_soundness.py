"""Networks that no file should be made of: NaN, random numbers, values beyond half precision; and what is remarked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra 'export' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'export' is not installed")

from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from pspfast.cli.main import main
from pspfast.export import networks
from pspfast.export.checkpoint_kinds import CheckpointError
from pspfast.export.exporting import Exported, export
from pspfast.export.networks import Network
from pspfast.export.pspnet import random_pspnet
from pspfast.export.soundness import first_not_finite

SHAPE = (32, 40)
IDENTITY: Any = ((0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exports a module as if a checkpoint were of it."""

    def run(module: Any, **options: Any) -> Exported:
        module.num_classes = 4
        module.eval().requires_grad_(False)
        network = Network(module, 4, ("a", "b", "c", "d"), (), IDENTITY[0], IDENTITY[1], True, "0" * 64, "")
        monkeypatch.setattr(networks, "load_network", lambda *_, **__: network)
        (tmp_path / "some.pth").touch()
        (file,) = export(str(tmp_path / "some.pth"), str(tmp_path / "m.onnx"), shape=SHAPE, **options)
        return file

    return run


def conv(seed: int = 0, before: int = 3, after: int = 4) -> Any:
    torch.manual_seed(seed)
    return nn.Conv2d(before, after, 3, padding=1)


# -- what is not finite ------------------------------------------------------------------------------------------------


def broken(tmp_path: Path, key: str, value: float) -> str:
    state = random_pspnet(18, width=8).state_dict()
    state[key].view(-1)[0] = value
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "broken.pth")
    return str(tmp_path / "broken.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone.stem.1.running_var", float("nan")),
        ("backbone.layer2.0.conv1.weight", float("nan")),
        ("decode_head.conv_seg.bias", float("inf")),
        ("decode_head.bottleneck.bn.running_mean", float("-inf")),
    ],
)
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, key: str, value: float) -> None:
    checkpoint = broken(tmp_path, key, value)
    done = CliRunner().invoke(
        main, ["export", "--checkpoint", checkpoint, "--shape", "64", "64", "--output-file", str(tmp_path / "m.onnx")]
    )
    assert done.exit_code == 2 and not done.stdout
    assert f"broken.pth: has weights that are NaN or infinite ({key}, 1 of " in done.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_how_many_tensors_are_no_numbers(tmp_path: Path) -> None:
    checkpoint = broken(tmp_path, "backbone.stem.1.running_var", float("nan"))
    state = torch.load(checkpoint)["state_dict"]
    for key in ("backbone.stem.0.weight", "decode_head.conv_seg.weight"):
        state[key].fill_(float("nan"))
    torch.save({"meta": {}, "state_dict": state}, checkpoint)
    with pytest.raises(CheckpointError, match=r"stem\.0\.weight, 108 of 108 values, and 2 more tensors"):
        export(checkpoint, str(tmp_path / "m.onnx"), shape=(64, 64))


def test_what_helps_in_training_alone_does_not_matter(tmp_path: Path) -> None:
    checkpoint = broken(tmp_path, "auxiliary_head.conv_seg.bias", float("nan"))
    (file,) = export(checkpoint, str(tmp_path / "m.onnx"), shape=(64, 64))
    assert file.agreement is not None and file.agreement >= 0.9995


class _Squared(nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return x * x


def test_the_first_layer_that_is_not_finite_is_named(exported: Any, tmp_path: Path) -> None:
    first, last = conv(), conv(1, 4)
    first.weight.data *= 1e30
    with pytest.raises(
        RuntimeError, match=r"5,120 .* NaN or infinite.*layer that gives such values is 1; nothing"
    ) as e:
        exported(nn.Sequential(first, _Squared(), last))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "m.onnx").exists()


def test_the_first_layer_that_is_not_finite() -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), _Squared()), nn.Identity())
    assert first_not_finite(net, torch.tensor([1e30, -1.0])) == "1.1"
    assert first_not_finite(net, torch.tensor([1e3, -1.0])) == ""
    assert first_not_finite(net, torch.tensor([float("nan")])) == "0"


# -- half precision ----------------------------------------------------------------------------------------------------


def test_half_precision_names_the_first_layer_beyond_it(exported: Any, tmp_path: Path) -> None:
    large, small = conv(), conv(1, 4)
    large.weight.data *= 3e5
    small.weight.data /= 3e5
    body = nn.Sequential(nn.Sequential(large, nn.ReLU()), small)
    with pytest.raises(
        RuntimeError, match=r"m\.onnx: half precision ends at 65504, .* beyond it is 0\.0, which reaches"
    ):
        exported(body, fp16=True)
    assert not (tmp_path / "m.onnx").exists()
    assert exported(body).agreement == 1.0


def test_half_precision_within_a_layer(exported: Any) -> None:
    class Within(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: Any) -> Any:
            return self.conv(x * 1e5) / 1e5

    class Outside(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: Any) -> Any:
            return (self.conv(x) * 1e6) / 1e6

    with pytest.raises(RuntimeError, match="beyond it is /network/Mul, which reaches 1e"):
        exported(Within(), fp16=True)
    with pytest.raises(RuntimeError, match=r"is /network/Mul, which reaches .*not all scores are finite"):
        exported(Outside(), fp16=True)


def test_large_values_that_half_precision_cuts_without_harm(exported: Any) -> None:
    large, last = conv(), conv(1, 4)
    large.weight.data *= 3e5  # at most 0.2 before
    found = exported(nn.Sequential(large, nn.Sigmoid(), last), fp16=True)
    assert found.agreement >= 0.97


# -- networks that are not the same twice ------------------------------------------------------------------------------


class _Drawing(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x: Any) -> Any:
        return self.conv(x) + 0.5 * torch.rand(1, 4, 1, 1)


class _Remembering(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.passes = conv(), 0

    def forward(self, x: Any) -> Any:
        self.passes += 1
        return self.conv(x).roll(self.passes, dims=1)


@pytest.mark.parametrize("network", [_Drawing, _Remembering])
@pytest.mark.parametrize("logits", [False, True])
def test_a_network_is_compared_with_itself_first(exported: Any, tmp_path: Path, network: Any, logits: bool) -> None:
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="two passes of the network over the same picture") as caught:
        exported(network(), logits=logits)
    assert "Please report" not in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8"])
def test_a_network_that_magnifies_roundings_is_blamed(exported: Any, tmp_path: Path, kind: str) -> None:
    class Chaotic(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: Any) -> Any:
            return torch.sin(self.conv(x) * 1e8)

    with pytest.raises(RuntimeError, match="changes by a millionth: the network magnifies roundings") as caught:
        exported(Chaotic(), input=kind)
    assert "Please report" not in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


def test_random_numbers_that_change_nothing_do_not_matter(exported: Any) -> None:
    class Harmless(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: Any) -> Any:
            return self.conv(x) + torch.rand(1)

    assert exported(Harmless()).agreement >= 0.9995


def test_a_network_that_keeps_what_it_computed_keeps_it_from_real_passes_only(exported: Any) -> None:
    class Keeping(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()
            self.kept: dict[str, Any] = {}
            self.listed: list[Any] = []

        def forward(self, x: Any) -> Any:
            if "grid" not in self.kept:
                self.kept["grid"] = torch.linspace(0, 1, x.shape[-1], device=x.device)
                self.listed.append(torch.zeros(1, device=x.device))
                self.register_buffer("lazy", torch.ones(4, 1, 1, device=x.device), persistent=False)
            return self.conv(x) * self.lazy + self.kept["grid"] + self.listed[0]

    assert exported(Keeping()).agreement >= 0.9995


# -- what is remarked --------------------------------------------------------------------------------------------------


def test_labels_of_one_class_are_remarked(tmp_path: Path) -> None:
    network = random_pspnet(18, width=8)
    network.decode_head.conv_seg.bias.data[7] += 1e3
    torch.save({"meta": {}, "state_dict": network.state_dict()}, tmp_path / "one.pth")
    options = ["--checkpoint", str(tmp_path / "one.pth"), "--shape", "64", "64", "--json", str(tmp_path / "m.json")]
    done = CliRunner().invoke(main, ["export", *options, "--output-file", str(tmp_path / "m.onnx"), "--quiet"])
    assert done.exit_code == 0
    assert "every pixel of the noise as class 7 (car)" in done.stderr
    (file,) = json.loads((tmp_path / "m.json").read_text())["files"]
    assert len(file["remarks"]) == 1 and file["opset"] == 11


def test_nothing_is_remarked_of_a_network_with_several_classes(exported: Any) -> None:
    assert exported(conv()).remarks == ()


# -- failures of the network's own code --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TypeError, KeyError, AttributeError])
def test_errors_of_the_networks_own_code_are_one_sentence(exported: Any, error: type[Exception]) -> None:
    class Failing(nn.Module):  # type: ignore[misc]
        def forward(self, _: Any) -> Any:
            raise error("no such thing\nand more")

    with pytest.raises(
        ValueError, match=f"the network fails with pictures of 32x40 .*{error.__name__}.*thing"
    ) as caught:
        exported(Failing())
    assert "choose another shape" not in str(caught.value) and "\n" not in str(caught.value)


def test_errors_that_come_with_numbers_only(exported: Any) -> None:
    class Late(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            if x.device.type == "cpu" and bool(x.any()):
                raise TypeError("not these")
            return functional.pad(x, (0, 0, 0, 0, 0, 1))

    with pytest.raises(RuntimeError, match="fails in PyTorch with a picture of noise: TypeError: not these"):
        exported(Late())


def test_a_network_that_gives_no_tensor(exported: Any) -> None:
    class Pair(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x, x

    with pytest.raises(ValueError, match="gives a tuple, expected scores"):
        exported(Pair())
