"""``--json``: every command that prints results also writes them for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pspfast.cli.main import main
from pspfast.datasets import palette
from pspfast.system.files import write_json

# Commands that print what they were asked to write: a model's AIPP file, a shell's script, info files, a ledger,
# a page; and the demonstration, whose results are files in its folder.
_OTHERS = {"aipp", "completion", "demo", "get-info bin", "get-info jpg", "ledger merge", "report"}


def _commands() -> dict[str, click.Command]:
    context = click.Context(main)
    found: dict[str, click.Command] = {}
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        found |= (
            {f"{name} {sub}": one for sub, one in command.commands.items()}
            if isinstance(command, click.Group)
            else {name: command}
        )
    return found


def test_every_command_that_prints_results() -> None:
    without = {name for name, command in _commands().items() if not any("--json" in one.opts for one in command.params)}
    assert without == _OTHERS


def test_values(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class One:
        name: str
        score: float

    write_json(str(tmp_path / "a.json"), {"ones": (One("a", float("nan")), One("b", 0.5)), 3: [None, True]})
    found = json.loads((tmp_path / "a.json").read_text())
    assert found == {"ones": [{"name": "a", "score": None}, {"name": "b", "score": 0.5}], "3": [None, True]}


def _run(*words: str | Path) -> Any:
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done


def test_preprocess_and_oracle(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (40, 30), (10, 200, 90)).save(tmp_path / "pictures/a.jpg")
    labels = Image.fromarray(np.eye(30, 40, dtype=np.uint8))
    labels.putpalette(palette())
    labels.save(tmp_path / "labels/a.png")
    told = tmp_path / "told.json"
    words = ("--image-folder-path", tmp_path / "pictures", "--bin-folder-path", tmp_path / "bins")
    _run("preprocess", *words, "--json", told)
    found = json.loads(told.read_text())
    assert (found["pictures"], found["bins"], found["failures"]) == (1, 1, [])
    _run("oracle", "--ann-dir", tmp_path / "labels", "--json", told)
    exact = [one for one in json.loads(told.read_text())["findings"] if one["way_back"] == "exact"]
    assert exact and all(one["miou"]["pictures"]["where it is read"] == 1.0 for one in exact)
    assert all(one["miou"]["scaled_down"]["where it is"] is None for one in exact)


def test_infer_simplify_and_atc(tmp_path: Path) -> None:
    for library in ("onnx", "onnxruntime", "onnxsim"):
        pytest.importorskip(library, reason=f"not installed: {library}")
    from tests.runtimes.small_models import bins, labels_model

    model = labels_model(tmp_path / "m.onnx")
    bins(tmp_path / "bins", 2)
    told = tmp_path / "told.json"
    _run("infer", "--model", model, "--input", tmp_path / "bins", "--output", tmp_path / "out", "--json", told)
    found = json.loads(told.read_text())
    assert (found["pictures"], found["batch"], found["runtimes"][0]["runtime"]) == (2, 1, "onnxruntime")
    _run("simplify", model, tmp_path / "s.onnx", "--json", told)
    found = json.loads(told.read_text())
    assert found["operators"]["ArgMax"] == {"before": 1, "after": 1}
    assert found["bytes"] == (tmp_path / "s.onnx").stat().st_size
    _run("atc", model, "--soc-version", "Ascend310", "--dry-run", "--json", told)
    ((program, *_),) = json.loads(told.read_text())["commands"]
    assert program == "atc"
