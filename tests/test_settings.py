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


def test_the_home_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is what it is in a shell, in every option that takes a path."""
    home = place / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (place / "pspfast.toml").write_text(
        '[preprocess]\nimage-folder-path = "pictures"\nbin-folder-path = "~/bins"\nsize = [32, 48]\n'
        'json = "~/all.json"\n'
    )
    status, said = _run("preprocess")
    assert status == 0, said
    assert (home / "bins/a.bin").exists() and (home / "all.json").exists() and not (place / "~").exists()
    (place / "pspfast.toml").write_text("[preprocess]\nbin-folder-path = '~nobody-at-all/bins'\n")
    status, said = _run("preprocess", "--image-folder-path", _PICTURES)
    assert status == 2 and "nobody here has this home folder" in said
    assert not list(place.glob("~*"))


@pytest.mark.parametrize(
    ("stage", "option", "value", "became"),
    [
        ("run", "split", "train", "train"),
        ("run", "split", "lists/val.txt", "{0}/lists/val.txt"),
        ("run", "split", "val.txt", "{0}/val.txt"),
        ("run", "split", "here", "{0}/here"),
        ("preprocess", "split", "train", "train"),
        ("postprocess", "split", "train", "train"),
        ("oracle", "split", "my.txt", "{0}/my.txt"),
        ("run", "checkpoint", "pspnet_r50-d8_512x512_20k_voc12aug", "pspnet_r50-d8_512x512_20k_voc12aug"),
        ("export", "checkpoint", "https://host/a.pth", "https://host/a.pth"),
        ("export", "checkpoint", "a.pth", "{0}/a.pth"),
        ("verify", "checkpoint", "down/a.pth", "{0}/down/a.pth"),
        (
            "verify",
            "config",
            "pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py",
            "pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py",
        ),
        ("run", "config", "mine.py", "{0}/mine.py"),
        ("export", "config", "./no.py", "{0}/./no.py"),
        ("report", "baseline", "voc-om", "voc-om"),
        ("report", "baseline", "runs/old", "{0}/runs/old"),
        ("doctor", "model", "env", "env"),
        ("doctor", "model", "m.onnx", "{0}/m.onnx"),
        ("verify", "split", "val", "{0}/val"),  # a file in any case
    ],
)
def test_names_stay_names(tmp_path: Path, stage: str, option: str, value: str, became: str) -> None:
    """A path is meant from the file's folder in every command, and a name is none in any."""
    from pspfast.cli import settings
    from pspfast.cli.main import main

    for name in ("here", "mine.py"):
        (tmp_path / name).touch()
    command = main.get_command(None, stage)  # type: ignore[arg-type]
    assert command is not None
    found = settings.defaults(f"{tmp_path}/pspfast.toml", {stage: {option: value}}, stage, command, lambda: ())
    assert list(found.values()) == [became.format(tmp_path)]


def test_sides_of_compare_perf_have_paths_from_the_file(tmp_path: Path) -> None:
    from pspfast.cli import settings
    from pspfast.cli.commands.compare_perf import main as command

    table = {"files": ["npu=logs/a.txt", "b.txt", "~/c.txt"]}
    found = settings.defaults(f"{tmp_path}/pspfast.toml", {"compare-perf": table}, "compare-perf", command, lambda: ())
    assert found["files"] == [f"npu={tmp_path}/logs/a.txt", f"{tmp_path}/b.txt", os.path.expanduser("~/c.txt")]


@pytest.mark.parametrize("value", ["3", "[3]", "1.5"])
def test_paths_are_text(place: Path, value: str) -> None:
    (place / "pspfast.toml").write_text(f"[preprocess]\nbin-folder-path = {value}\n")
    status, said = _run("preprocess", "--image-folder-path", _PICTURES)
    assert status == 2 and "[preprocess] bin-folder-path" in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PSPFAST_PREPROCESS_WORKRES", "1", "preprocess has no such option (did you mean PSPFAST_PREPROCESS_WORKERS?)"),
        ("PSPFAST_PREPROCESS_NO_RESUME", "1", "(did you mean PSPFAST_PREPROCESS_RESUME?)"),
        ("PSPFAST_PREPROCES_WORKERS", "1", "no variable of pspfast (did you mean PSPFAST_PREPROCESS_WORKERS?)"),
        ("PSPFAST_PREPROCESS_QQQ", "1", "preprocess has no such option; see pspfast preprocess -h"),
        ("PSPFAST_PREPROCESS_BIN_FOLDER_PATH", "~/bins", "only a shell knows the folder that ~ is"),
    ],
)
def test_variables_that_are_no_options(
    place: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    (place / "pspfast.toml").write_text(_FILE)
    monkeypatch.setenv(variable, value)
    status, told = _run("preprocess")
    assert status == 2 and said in told.replace("\n", " "), told
    assert not (place / "bins").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PSPFAST_COMPARE_PERF_TARGET", "0.9"),  # of another stage
        ("PSPFAST_RUN_WORKRES", "1"),  # that stage will say it
        ("PSPFAST_ISA", "scalar"),
        ("PSPFAST_CACHE", "/tmp/cache"),
        ("PSPFAST_TEST_DATA", "/tmp/data"),
        ("PSPFAST_PREPROCESS_DATASET", "voc"),
        ("PSPFAST_PREPROCESS_DATA_SET", "voc"),
        ("PSPFAST_PREPROCESS_QUIET", "1"),
        ("PSPFASTER_PREPROCESS", "1"),
    ],
)
def test_variables_of_others(place: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    (place / "pspfast.toml").write_text(_FILE)
    monkeypatch.setenv(variable, value)
    status, said = _run("preprocess")
    assert status == 0, said


def test_variables_are_called_as_options_are_typed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--json, whose parameter has another name in the code."""
    (place / "pspfast.toml").write_text(_FILE)
    monkeypatch.setenv("PSPFAST_PREPROCESS_JSON", "all.json")
    assert _run("preprocess")[0] == 0
    assert (place / "all.json").exists()


@pytest.mark.usefixtures("place")
def test_variables_of_subcommands_and_of_longer_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSPFAST_COMPARE_PERF_TARGT", "0.9")
    assert "compare-perf has no such option" in _run("compare-perf", "x")[1].replace("\n", " ")
    assert "no such option" not in _run("compare", "x", "y")[1]
    monkeypatch.setenv("PSPFAST_LEDGER_SCORE_SPLT", "x")
    assert "(did you mean PSPFAST_LEDGER_SCORE_SPLIT?)" in _run("ledger", "score", "x")[1].replace("\n", " ")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("preproces",), "No such command 'preproces' (did you mean preprocess?)"),
        (("rn",), "(did you mean run?)"),
        (("compare_prf",), "(did you mean compare-perf?)"),
        (("ledger", "mrge"), "(did you mean merge?)"),
        (("complete",), "(did you mean completion?)"),
        (("xyzzy",), "No such command 'xyzzy'."),
    ],
)
@pytest.mark.usefixtures("place")
def test_mistyped_stages(typed: tuple[str, ...], said: str) -> None:
    status, told = _run(*typed)
    assert status == 2 and said in told.replace("\n", " "), told


@pytest.mark.parametrize("room", range(12, 130))
def test_progress_fits_into_any_terminal(room: int) -> None:
    """In whole columns: nothing is cut, and the count is always there."""
    from pspfast.cli.progress_bar import fitting

    for widths in ((8, 9, 14, 5, 7, 0), (8, 9, 14, 5, 7, 15), (8, 11, 17, 9, 7, 40)):
        shown, bar = fitting(widths, room)
        assert 1 in shown and (bar == 0 or 10 <= bar <= 40)
        taken = [widths[index] for index in shown if widths[index]] + [bar] * bool(bar)
        assert sum(taken) + len(taken) - 1 <= room
    assert (len(fitting((8, 9, 14, 5, 7, 0), room)[0]) >= 3) is (room >= 23)


@pytest.mark.parametrize(
    ("columns", "line"), [(40, r"3/1449 0/s -:--:-- waits for: "), (100, r"pictures [ ━]{40} 3/1449 0 pictures/s")]
)
def test_progress_at_40_columns(monkeypatch: pytest.MonkeyPatch, columns: int, line: str) -> None:
    import re

    from pspfast.cli.progress_bar import ProgressBar

    monkeypatch.setenv("COLUMNS", str(columns))
    bar = ProgressBar("pictures", 1449, 0)
    bar.advance(3)
    bar.note("waits for: read")
    console = bar._bar.console
    with console.capture() as captured:
        console.print(bar._bar.get_renderable())
    said = re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).splitlines()
    assert len(said) == 1 and "…" not in said[0]
    assert re.match(line, said[0].replace("╸", "━").replace("╺", "━")), said
