"""How commands end when they cannot even begin: Ctrl-C while they load, a full disk, results that are damaged."""

from __future__ import annotations

import copy
import json
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from pspfast import __main__ as door
from pspfast.cli import main as commands
from pspfast.cli.commands import postprocess
from pspfast.formats.result import Result
from tests.report_runs import make_ledger, make_result, make_run

if TYPE_CHECKING:
    from collections.abc import Iterator

# ---- Ctrl-C


def interrupts(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("line", [["run", "--model", "m.onnx"], ["doctor", "--help"], ["ledger", "score", "x"]])
def test_ctrl_c_while_a_command_is_loaded(monkeypatch: pytest.MonkeyPatch, line: list[str]) -> None:
    monkeypatch.setattr(commands, "import_module", interrupts)
    done = CliRunner().invoke(commands.main, line)
    assert done.exit_code == 130
    assert done.stderr.startswith("interrupted") and "Aborted" not in done.output


def test_ctrl_c_while_options_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    option = next(one for one in postprocess.main.params if one.name == "workers")
    monkeypatch.setattr(option, "process_value", interrupts)
    for command, line in ((postprocess.main, []), (commands.main, ["postprocess"])):
        done = CliRunner().invoke(command, [*line, "--bin-data-path", "x", "--workers", "1"])
        assert done.exit_code == 130, done.output


def test_ctrl_c_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "pspfast.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "pspfast.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        door.main()
    assert ended.value.code == 130


def test_a_process_that_calls_an_interrupted_command_can_still_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook, a test suite: Ctrl-C works there afterwards, and in the programs that it starts."""
    monkeypatch.setattr(commands, "import_module", interrupts)
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler, "Ctrl-C must work where this suite runs"
    assert CliRunner().invoke(commands.main, ["run"]).exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with ThreadPoolExecutor(1) as threads:  # where no handler can be set
        assert threads.submit(CliRunner().invoke, commands.main, ["run"]).result().exit_code == 130


# ---- a full disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    "line",
    [
        ["-m", "pspfast", "--help"],
        ["-m", "pspfast", "--version"],
        ["-m", "pspfast", "compare", "--help"],
        ["-m", "pspfast", "ledger", "merge", "--help"],
        ["-m", "pspfast.preprocess", "--help"],
        ["-m", "pspfast.get_info", "--help"],
    ],
)
def test_help_onto_a_full_disk(line: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, *line], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "cannot write standard output: No space left on device\n"


def test_help_to_a_reader_that_has_gone() -> None:
    line = [sys.executable, "-m", "pspfast", "--help"]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    told = child.stderr.read()
    child.stderr.close()
    child.wait()
    assert "Traceback" not in told


# ---- damaged results

NONSENSE: list[Any] = [
    None,
    True,
    -1,
    1.5,
    "x",
    [],
    {},
    [[]],
    {"a": None},
    {"x": 1},
    {"1": -1},
    10**30,
    "\ud800",
    1e400,
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, one in items:
        yield from places(one, (*path, key))


def damaged(whole: Any, path: tuple[Any, ...], value: Any) -> str:
    if not path:
        return json.dumps(value)
    changed = copy.deepcopy(whole)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(changed)


def test_a_damaged_result_is_told_by_its_name(tmp_path: Path) -> None:
    """Every field, with everything that it cannot be: read all the same, or refused in a sentence."""
    whole = json.loads(make_result(make_ledger(1)).to_json())
    path = tmp_path / "r.json"
    for place in places(whole):
        for value in NONSENSE:
            path.write_text(damaged(whole, place, value))
            try:
                Result.read(path).caveats()
            except ValueError as error:
                assert str(error).startswith(f"{path} is not a result of pspfast: "), (place, value)


@pytest.mark.parametrize("value", [10**30, [1], "x", {"a": 1}, {"1": "2"}, {"1": -2}, {"-1": 2}])
@pytest.mark.parametrize("command", ["compare", "report", "report of a folder"])
def test_damaged_label_rules(tmp_path: Path, value: Any, command: str) -> None:
    pytest.importorskip("jinja2", reason="writes a page")
    folder = make_run(tmp_path / "run")
    fields = json.loads((folder / "result.json").read_text())
    fields["source"]["label_map"] = value
    (folder / "result.json").write_text(json.dumps(fields))
    result = str(folder / "result.json")
    line = {
        "compare": ["compare", result, str(folder / "ledger.jsonl")],
        "report": ["report", result, "--output", str(tmp_path / "p.html")],
        "report of a folder": ["report", str(folder), "--output", str(tmp_path / "p.html")],
    }[command]
    done = CliRunner().invoke(commands.main, line)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1 and "result.json is not a result of pspfast" in done.stderr


def test_damage_of_any_kind_ends_in_a_sentence(tmp_path: Path) -> None:
    """A folder whose result or record is changed in one place: a page, or one line and status 2."""
    pytest.importorskip("jinja2", reason="writes a page")
    folder = make_run(tmp_path / "run")
    generator = random.Random(5)
    for name in ("result.json", "run.json"):
        text = (folder / name).read_text()
        whole = json.loads(text)
        cases = [(place, value) for place in places(whole) for value in NONSENSE]
        for place, value in generator.sample(cases, 60):
            (folder / name).write_text(damaged(whole, place, value))
            line = ["report", str(folder), "--output", str(tmp_path / "p.html"), "--resamples", "0"]
            done = CliRunner().invoke(commands.main, line)
            assert done.exception is None or isinstance(done.exception, SystemExit), (name, place, value)
            assert done.exit_code in (0, 1, 2), (name, place, value)
        (folder / name).write_text(text)
