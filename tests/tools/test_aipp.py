"""AIPP files: their text, their limits, and how far halves are from exact values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pspfast import IMAGENET_MEAN, IMAGENET_STD
from pspfast.cli.commands.aipp import main
from pspfast.vendors.aipp import Aipp, parse_aipp

IMAGENET: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "size": (500, 500), "swap": True}


def test_the_text() -> None:
    assert Aipp(**IMAGENET).text() == (
        "aipp_op {\n"
        "    aipp_mode: static\n"
        "    related_input_rank: 0\n"
        "    input_format: RGB888_U8\n"
        "    src_image_size_w: 500\n"
        "    src_image_size_h: 500\n"
        "    crop: false\n"
        "    padding: false\n"
        "    csc_switch: false\n"
        "    rbuv_swap_switch: true\n"
        "    mean_chn_0: 123\n"
        "    mean_chn_1: 116\n"
        "    mean_chn_2: 103\n"
        "    min_chn_0: 0.675\n"
        "    min_chn_1: 0.28\n"
        "    min_chn_2: 0.53\n"
        "    var_reci_chn_0: 0.0171247538316637\n"
        "    var_reci_chn_1: 0.0175070028011204\n"
        "    var_reci_chn_2: 0.0174291938997821\n"
        "}\n"
    )


def test_the_other_encoding_has_no_means() -> None:
    text = Aipp(**IMAGENET, encoding="min").text()
    assert "mean_chn" not in text
    assert "min_chn_1: 116.28\n" in text


def test_errors_are_those_known() -> None:
    # Computed by others, see ascend.md, section 2.
    assert Aipp(**IMAGENET).error() == pytest.approx(1.6e-3, abs=5e-5)
    assert Aipp(**IMAGENET, encoding="min").error() == pytest.approx(2.8e-3, abs=5e-5)
    assert Aipp(**IMAGENET).border == (124, 116, 104)
    assert Aipp(**IMAGENET).border_values() == pytest.approx((0.0056, -0.0049, 0.0082), abs=5e-5)


def test_constants_that_halves_have_make_no_error() -> None:
    plain = Aipp((128, 0, 255), (1, 2, 0.5), (4, 4), swap=False)
    assert plain.error() == 0
    assert plain.border_values() == (0, 0, 0)
    assert plain.simulate(1).tolist() == [i / 2 for i in range(256)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (500, 1)}, "width of 2 to 4096, got 1"),
        ({"size": (500, 4097)}, "width"),
        ({"size": (0, 500)}, "height of 1 to 4096, got 0"),
        ({"size": (4097, 500)}, "height"),
        ({"mean": (-1, 0, 0)}, "means of 0 to 255"),
        ({"mean": (0, 255.5, 0)}, "means of 0 to 255"),
        ({"mean": (0, float("nan"), 0)}, "means of 0 to 255"),
        ({"std": (1, 0, 1)}, "1 / std as a half"),
        ({"std": (1, 1, 1e-6)}, "1 / std as a half"),
        ({"std": (1, 1, float("inf"))}, "1 / std as a half"),
        ({"std": (1e9, 1, 1)}, "1 / std as a half"),
        ({"input": -1}, "counted from 0"),
        ({"std": (0.229, 0.224, 0.225)}, r"meant: std 58.395 57.12 57.375 \(--std"),
    ],
)
def test_limits(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Aipp(**{**IMAGENET, **change})


def test_limits_that_are_just_met() -> None:
    Aipp((0, 255, 0), (1, 1, 1), (1, 2), swap=False)
    Aipp((0, 255, 0), (1, 1, 1), (4096, 4096), swap=False)


def test_what_is_written_is_read() -> None:
    (op,) = parse_aipp("# by hand\n" + Aipp(**{**IMAGENET, "size": (375, 500)}, input=1).text())
    assert (op.input, op.size, op.is_as_large_as_the_input) == (1, (375, 500), True)
    first, second = parse_aipp(
        "aipp_op{aipp_mode:dynamic}\naipp_op {aipp_mode: static input_format: RGB888_U8 crop: true}"
    )
    assert first.size == (0, 0)
    assert not second.is_as_large_as_the_input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no aipp_op"),
        ("aipp_op { input_format: RGB888_U8 }", "without aipp_mode"),
        ("aipp_op { aipp_mode: static }", "without input_format"),
        ("aipp_op { aipp_mode: dynamic mean_chn_0: 1 mean_chn_0: 2 }", "repeatedly"),
        ("aipp_op { aipp_mode: dynamic related_input_rank: one }", "expected a number"),
    ],
)
def test_files_that_cannot_be_right(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_aipp(text)


def test_command_without_a_model(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--output", str(tmp_path / "aipp.cfg")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "aipp.cfg").read_text() == Aipp(**IMAGENET).text()
    for fact in (
        "1.6e-03",
        "+0.0056, -0.0049, +0.0082",
        "bgr 104 116 124",
        "Padding stays on the host",
        "750,000 bytes",
    ):
        assert fact in done.output


def test_command_prints_the_text_alone_to_standard_output() -> None:
    done = CliRunner().invoke(main, ["--host", "rgb", "--size", "375", "500", "--encoding", "min"])
    assert done.stdout == Aipp(IMAGENET_MEAN, IMAGENET_STD, (375, 500), swap=False, encoding="min").text()
    assert "Padding stays on the host" in done.stderr


def test_command_refuses() -> None:
    done = CliRunner().invoke(main, ["--mean", "1", "2", "300"])
    assert done.exit_code == 2
    assert "means of 0 to 255, got 300" in done.stderr
    done = CliRunner().invoke(main, ["--mean", "0.485", "0.456", "0.406"])
    assert done.exit_code == 2
    assert "mean 0.485 0.456 0.406 is for pictures in 0..1" in done.stderr
    assert "--mean 123.675 116.28 103.53" in done.stderr


class TestModels:
    """Constants of an ONNX file."""

    def save(self, path: Path, kind: str = "float32", **facts: Any) -> str:
        onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
        from pspfast.formats.model_metadata import ModelMetadata, write_metadata

        shape = ["n", 64, 80, 3] if kind == "uint8" else ["n", 3, 64, 80]
        types = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["input"], ["output"])],
            "test",
            [onnx.helper.make_tensor_value_info("input", types[kind], shape)],
            [onnx.helper.make_tensor_value_info("output", types[kind], shape)],
        )
        model = onnx.helper.make_model(graph)
        if facts:
            known: dict[str, Any] = {
                "checkpoint": "c", "checkpoint_sha256": "", "config": "", "classes": (), "palette": (),
                "mean": (10.5, 20.25, 30), "std": (2, 4, 8), "to_rgb": True, "size": (64, 80), "input": kind,
                "output": "labels", "layout": "nhw", "pooling": "matmul", "version": "0",
            }  # fmt: skip
            write_metadata(model, ModelMetadata(**(known | facts)))
        path.write_bytes(model.SerializeToString())
        return str(path)

    def test_are_taken_from_its_record(self, tmp_path: Path) -> None:
        model = self.save(tmp_path / "model.onnx", to_rgb=False)
        done = CliRunner().invoke(main, [model])
        assert done.stdout == Aipp((10.5, 20.25, 30.0), (2.0, 4.0, 8.0), (64, 80), swap=False).text()
        done = CliRunner().invoke(main, [model, "--network", "rgb", "--mean", "1", "2", "3"])
        assert done.stdout == Aipp((1.0, 2.0, 3.0), (2.0, 4.0, 8.0), (64, 80), swap=True).text()

    def test_are_imagenets_without(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(main, [self.save(tmp_path / "model.onnx")])
        assert done.stdout == Aipp(IMAGENET_MEAN, IMAGENET_STD, (64, 80), swap=True).text()
        assert "ImageNet's are used" in done.stderr

    def test_that_normalize_bytes_themselves_are_refused(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(main, [self.save(tmp_path / "model.onnx", kind="uint8", to_rgb=True)])
        assert done.exit_code == 2
        assert "normalizes them itself" in done.stderr

    def test_contradictions_are_refused(self, tmp_path: Path) -> None:
        model = self.save(tmp_path / "model.onnx")
        assert "is 64 by 80" in CliRunner().invoke(main, [model, "--size", "500", "500"]).stderr
        assert "has 1 inputs" in CliRunner().invoke(main, [model, "--input-rank", "1"]).stderr
        done = CliRunner().invoke(main, [model, "--output", model])
        assert done.exit_code == 2
        assert "is what this command reads" in done.stderr
