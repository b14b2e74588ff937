"""``pspfast.toml`` and the options of ``pspfast`` itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pspfast.cli.main import main

_PICTURES = "pictures"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one picture, which is the current one."""
    from PIL import Image

    (tmp_path / _PICTURES).mkdir()
    Image.new("RGB", (40, 30), (10, 200, 90)).save(tmp_path / _PICTURES / "a.jpg")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PSPFAST_")]:
        monkeypatch.delenv(name)
    return tmp_path


def _run(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, args)
    return done.exit_code, done.output


def _size(folder: Path) -> list[int]:
    canvas: list[int] = json.loads((folder / "manifest.json").read_text())["parameters"]["canvas"]
    return canvas


_FILE = """
[all]
workers = 1

[preprocess]
image-folder-path = "pictures"
bin_folder_path = "bins"
size = [32, 48]
"""


def test_options_come_from_the_file(place: Path) -> None:
    (place / "pspfast.toml").write_text(_FILE)
    status, said = _run("preprocess")
    assert status == 0, said
    assert (place / "bins/a.bin").stat().st_size == 3 * 32 * 48 * 2


def test_precedence(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed, environment, the stage's table, [all], the option's own default."""
    (place / "pspfast.toml").write_text(
        '[all]\ndtype = "float32"\nbin-folder-path = "of-all"\n\n[preprocess]\nimage-folder-path = "pictures"\n'
        'bin-folder-path = "of-stage"\nsize = [32, 32]\n'
    )
    assert _run("preprocess")[0] == 0
    assert (place / "of-stage/a.bin").stat().st_size == 3 * 32 * 32 * 4
    monkeypatch.setenv("PSPFAST_PREPROCESS_BIN_FOLDER_PATH", "of-environment")
    assert _run("preprocess")[0] == 0
    assert (place / "of-environment/a.bin").exists()
    assert _run("preprocess", "--bin-folder-path", "typed", "--dtype", "float16")[0] == 0
    assert (place / "typed/a.bin").stat().st_size == 3 * 32 * 32 * 2


def test_named_file_and_paths_from_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "elsewhere").mkdir()
    shutil.move(place / _PICTURES, place / "elsewhere" / _PICTURES)
    (place / "elsewhere/mine.toml").write_text(_FILE)
    (place / "pspfast.toml").write_text("[preprocess]\nsize = [8, 8]\n")
    assert _run("--config", "elsewhere/mine.toml", "preprocess")[0] == 0
    assert (place / "elsewhere/bins/a.bin").exists()
    monkeypatch.setenv("PSPFAST_CONFIG", "elsewhere/mine.toml")
    assert _run("preprocess", "--bin-folder-path", "again")[0] == 0
    assert (place / "again/a.bin").stat().st_size == 3 * 32 * 48 * 2
    monkeypatch.setenv("PSPFAST_CONFIG", "")
    assert _run("preprocess")[0] == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[preproces]\n", "'preproces' is no stage (did you mean preprocess?)"),
        ("workers = 3\n", "'workers' is no stage"),
        ("preprocess = 3\n", "preprocess must be a table"),
        ("[preprocess]\nbin-folder-pat = 'x'\n", "no such option (did you mean bin-folder-path?)"),
        ("[all]\nwrokers = 3\n", "no stage has an option --wrokers"),
        ("[preprocess]\nsize = 3\n", "[preprocess] size must be a list"),
        ("[preprocess]\nworkers = [3]\n", "[preprocess] workers must be a single value"),
        ("[preprocess]\nquiet = 'yes'\n", "[preprocess] quiet must be true or false"),
        ("[preprocess]\nworkers = true\n", "[preprocess] workers must be a value"),
        ("[preprocess]\nworkers = 'many'\n", "'many' is not a valid integer"),
        ("[preprocess\n", "not TOML"),
    ],
)
def test_mistakes_are_named(place: Path, text: str, said: str) -> None:
    (place / "pspfast.toml").write_text(text)
    status, told = _run("preprocess", "--image-folder-path", _PICTURES, "--bin-folder-path", "bins")
    assert status == 2
    assert said in told.replace("\n", " ")
    assert not (place / "bins").exists()


@pytest.mark.usefixtures("place")
def test_named_file_must_be_there() -> None:
    status, said = _run("--config", "no.toml", "preprocess")
    assert status == 2 and "no.toml: No such file" in said


def test_subcommands_have_tables_of_their_own(place: Path) -> None:
    (place / "pspfast.toml").write_text("[ledger.score]\nno-such = 1\n")
    status, said = _run("ledger", "score", "x")
    assert status == 2 and "no such option" in said
    (place / "pspfast.toml").write_text("[ledger]\nscore = 1\n")
    status, said = _run("ledger", "score", "x")
    assert status == 2 and "[ledger.score]" in said


def test_quiet_for_every_stage(place: Path) -> None:
    (place / "pspfast.toml").write_text(_FILE)
    assert "pictures/s" in _run("preprocess")[1]
    assert "pictures/s" not in _run("--log-level", "warning", "preprocess", "--no-resume")[1]


@pytest.mark.usefixtures("place")
def test_debug_shows_where_errors_come_from() -> None:
    args = ("preprocess", "--image-folder-path", "nowhere", "--bin-folder-path", "bins")
    assert "Traceback" not in _run(*args)[1]
    status, said = _run("--log-level", "debug", *args)
    assert status == 2
    assert "Traceback" in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    status, script = _run("completion", shell)
    assert status == 0
    assert "_PSPFAST_COMPLETE" in script


@pytest.mark.parametrize(
    ("words", "offered"),
    [("pspfast prepro", "preprocess"), ("pspfast preprocess --bin-f", "--bin-folder-path")],
)
def test_completion_offers(words: str, offered: str) -> None:
    count = len(words.split()) - 1
    env = os.environ | {"_PSPFAST_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    code = "from pspfast.cli.main import main; main(prog_name='pspfast')"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert offered in done.stdout, done.stderr
