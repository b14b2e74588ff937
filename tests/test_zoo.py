"""The zoo's own rules: what counts as agreeing, what as one sentence, and where its table goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import zoo

GOOD = {
    "opset": 13, "operators": 10, "equal": 0.99996, "margin": 2e-4, "complaints": [], "classes": 9, "remarks": [],
    "seconds": 3,
}  # fmt: skip
MISSING = "its model has parts of mmdet"
BAD = {"status": 3, "reason": MISSING, "lines": 1, "log": f"{MISSING}\n", "seconds": 1}


@pytest.mark.parametrize(
    ("found", "is_good"),
    [
        (GOOD, True),
        (GOOD | {"complaints": ["a pixel differs"]}, False),
        (GOOD | {"classes": 1}, False),
        (BAD, False),
    ],
)
def test_what_agrees(found: dict[str, Any], is_good: bool) -> None:
    assert zoo.agrees(found) is is_good


@pytest.mark.parametrize(
    ("changed", "is_one"),
    [
        ({}, True),
        ({"lines": 2}, False),
        ({"log": "Traceback (most"}, False),
        ({"reason": "%" * 600}, False),
    ],
)
def test_what_is_one_sentence(changed: dict[str, Any], is_one: bool) -> None:
    assert zoo.is_one_sentence(BAD | changed) is is_one
    assert not zoo.is_one_sentence(GOOD)


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("before\n<!-- zoo -->\nold\n<!-- end of zoo -->\nafter\n")
    zoo.write_table(document, zoo.table({"knet": GOOD, "maskformer": BAD}))
    text = document.read_text()
    assert text.startswith("before\n<!-- zoo -->\n| config ") and text.endswith("|\n<!-- end of zoo -->\nafter\n")
    assert "| 160x128 | 13 | 99.9960 % | 2e-04 |" in text and "| | no: its model has parts of mmdet | |" in text


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zoo, "KEPT", tmp_path)
    return tmp_path


def test_what_is_kept_is_not_made_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept / "knet.json").write_text(json.dumps(GOOD | {"code": "abc"}))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("made again"))
    assert zoo.find("knet", "abc", again=False)["opset"] == 13


@pytest.mark.parametrize(("code", "again"), [("other", False), ("abc", True)])
def test_what_is_kept_of_other_code_is_made_again(
    kept: Path, monkeypatch: pytest.MonkeyPatch, code: str, again: bool
) -> None:
    (kept / "knet.json").write_text(json.dumps(GOOD | {"code": "abc"}))

    class Done:
        returncode, stdout, stderr = 0, "printed before\n" + json.dumps(GOOD | {"opset": 14}) + "\n", ""

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Done())
    assert zoo.find("knet", code, again=again)["opset"] == 14
    assert json.loads((kept / "knet.json").read_text())["code"] == code


@pytest.mark.parametrize(("good", "status"), [(38, 0), (37, 1)])
def test_the_status_counts_those_that_agree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], good: int, status: int
) -> None:
    names = list(zoo.ARCHITECTURES)
    monkeypatch.setattr(zoo, "find", lambda name, *_, **__: GOOD if names.index(name) < good else BAD)
    monkeypatch.setattr(sys, "argv", ["zoo"])
    assert zoo.main() == status
    assert f"{good} of {len(names)} agree; neither agree nor end in one sentence: none" in capsys.readouterr().out


def test_a_failure_that_is_no_sentence_is_one_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "find", lambda *_, **__: BAD | {"lines": 40})
    monkeypatch.setattr(sys, "argv", ["zoo", "knet"])
    assert zoo.main() == 1


def test_every_config_is_packaged() -> None:
    mmseg = pytest.importorskip("pspfast.export.mmseg", reason="needs mmsegmentation (extra 'mmseg')")
    pytest.importorskip("mmseg", reason="needs mmsegmentation (extra 'mmseg')")
    packaged = mmseg.packaged_configs()
    folders = {Path(path).parent.name for path in packaged.values()} - {"dsdl"}  # data sets, no architecture
    assert set(zoo.ARCHITECTURES) == folders
    for name, (config, _) in zoo.ARCHITECTURES.items():
        assert Path(packaged[config]).parent.name == name
