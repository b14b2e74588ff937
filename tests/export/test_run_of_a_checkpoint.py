"""``pspfast run --checkpoint --config`` exports once for what the config says, not for where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

for library in ("torch", "mmengine"):
    pytest.importorskip(library, reason=f"not installed: {library}")

from pspfast.cli.commands import run as command
from pspfast.export import exporting
from pspfast.export.mmseg import config_content

BASE = "model = dict(type='EncoderDecoder', decode_head=dict(num_classes={classes}))\nmean = [1, 2, 3]\n"


def write(folder: Path, classes: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "base.py").write_text(BASE.format(classes=classes))
    (folder / "config.py").write_text("_base_ = ['./base.py']\nmean = [4, 5, 6]\n")
    return folder / "config.py"


def test_content_is_what_a_config_says_with_what_it_inherits(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", 21), write(tmp_path / "b", 21)
    assert config_content(str(one)) == config_content(str(other))
    commented = other.read_text() + "# a remark\n"
    other.write_text(commented)
    assert config_content(str(one)) == config_content(str(other))
    write(tmp_path / "b", 19)
    assert config_content(str(one)) != config_content(str(other))


@pytest.mark.parametrize("changed", ["config.py", "base.py"])
def test_another_content_under_the_same_path_is_exported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    made = []

    def export(_: str, path: str, **options: Any) -> None:
        made.append(options["config"])
        Path(path).write_bytes(b"a model")

    monkeypatch.setattr(exporting, "export", export)
    checkpoint = tmp_path / "c.pth"
    checkpoint.write_bytes(b"weights")
    config = write(tmp_path / "a", 21)

    def exported(config: Path) -> str:
        return command._exported(
            str(checkpoint), str(tmp_path / "out"), (64, 64), None, str(config), trust=False, quiet=True
        )

    first = exported(config)
    assert exported(config) == first and len(made) == 1
    assert exported(write(tmp_path / "elsewhere", 21)) == first and len(made) == 1
    file = tmp_path / "a" / changed
    file.write_text(file.read_text().replace("6]", "7]").replace("21", "19"))
    assert exported(config) != first and len(made) == 2
