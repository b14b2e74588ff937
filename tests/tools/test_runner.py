"""Starting processes: what they print, how they end, and that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pspfast.cli.console import MISSING, handles_errors
from pspfast.system import processes as runner
from pspfast.system.processes import Ran, ToolFailed, ToolMissing, ToolTimeout, must_succeed, run


def sh(text: str) -> list[str]:
    return ["sh", "-c", text]


def is_alive(pid: int) -> bool:
    """A process that has ended and waits for its parent counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    until = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < until, f"{pids} are still there"
        time.sleep(0.02)


def test_both_streams_in_order_line_by_line() -> None:
    lines: list[str] = []
    ran = run(sh("echo one; echo two >&2; printf 'three\\r\\nfour'"), on_line=lines.append)
    assert lines == ["one", "two", "three", "four"]
    assert ran.output == "one\ntwo\nthree\r\nfour"
    assert (ran.status, ran.killed_by, ran.lost) == (0, "", 0)


def test_nothing_can_be_read_and_no_shell_looks_at_arguments(tmp_path: Path) -> None:
    assert run(["cat"]).output == ""
    assert run(["printf", "%s", "$HOME; `id` \"' *"]).output == "$HOME; `id` \"' *"
    assert Path(run(["pwd"], cwd=tmp_path).output.strip()).samefile(tmp_path)


def test_what_is_no_text_is_no_error() -> None:
    assert run(["printf", "a\\377b\\n"]).output == "a\N{REPLACEMENT CHARACTER}b\n"


def test_the_end_of_very_much_output_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_MOST_CHARACTERS", 1000)
    ran = run(sh("i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done"))
    assert ran.output.endswith("line 399\n")
    assert len(ran.output) <= 1000
    assert ran.lost + len(ran.output) == sum(len(f"line {i}\n") for i in range(400))


def test_a_line_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_MOST_CHARACTERS_OF_A_LINE", 10)
    lines: list[str] = []
    assert run(["printf", "%s", "x" * 25], on_line=lines.append).output == "x" * 25
    assert max(map(len, lines)) == 10


def test_a_signal_is_told_in_words() -> None:
    ran = run(sh("kill -SEGV $$"))
    assert ran.status == 128 + signal.SIGSEGV
    assert "SIGSEGV" in ran.ending
    with pytest.raises(ToolFailed, match="memory runs out"):
        must_succeed(run(sh("echo working; kill -KILL $$")))


def test_failure_has_the_last_lines() -> None:
    ran = run(sh("echo first; echo; echo last; exit 3"))
    with pytest.raises(ToolFailed, match="exit status 3") as caught:
        must_succeed(ran, "try again")
    assert str(caught.value).endswith("first\nlast")
    assert "try again" in str(caught.value)
    assert caught.value.ran is ran


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.parent, "no such program"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text("#!/bin/sh\n"), "chmod \\+x"),
        (lambda path: (path.write_bytes(b"\x7fELF junk"), path.chmod(0o755)), "no program for this machine"),
        (lambda path: (path.write_text("#!/no/such/sh\n"), path.chmod(0o755)), "interpreter or loader"),
    ],
)
def test_programs_that_cannot_be_run(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "tool"
    make(path)  # type: ignore[operator]
    with pytest.raises(ToolMissing, match=message):
        run([str(path)])
    if path.is_file() and not os.access(path, os.X_OK):
        with pytest.raises(ToolMissing, match="chmod"):
            run(["tool"], env={"PATH": str(tmp_path)})


def test_a_missing_program_is_exit_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    @handles_errors
    def command() -> int:
        run(["no-such-program-here"])
        return 0

    with pytest.raises(SystemExit) as caught:
        command()
    assert caught.value.code == MISSING
    assert "in none of the folders of PATH" in capsys.readouterr().err


def test_a_program_is_found_from_here_not_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["./tool"], cwd="elsewhere").output.strip().endswith("/elsewhere")


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="no program"):
        run([])
    with pytest.raises(ValueError, match="timeout"):
        run(["true"], timeout=0)
    with pytest.raises(NotADirectoryError):
        run(["true"], cwd="/no/such/folder")


def test_timeout_ends_the_whole_group_though_it_does_not_want_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SECONDS_TO_END_BY_ITSELF", 0.3)
    pids = tmp_path / "pids"
    stubborn = (
        f"trap '' TERM HUP INT; echo $$ >> {pids}; (trap '' TERM; sleep 60) & echo $! >> {pids}; echo working; sleep 60"
    )
    with pytest.raises(ToolTimeout, match=r"still running after 0\.5 s") as caught:
        run(sh(stubborn), timeout=0.5)
    assert "working" in str(caught.value)
    assert caught.value.ran is not None
    assert caught.value.ran.killed_by.startswith("SIGKILL")
    found = [int(line) for line in pids.read_text().split()]
    assert len(found) == 2
    wait_until_gone(found)


def test_a_hung_tool_without_a_word() -> None:
    with pytest.raises(ToolTimeout, match="it had written nothing"):
        run(["sleep", "60"], timeout=0.2)


def test_who_closes_its_output_is_waited_for_and_still_ended() -> None:
    assert run(sh("exec >&- 2>&-; sleep 0.3; exit 4")).status == 4
    with pytest.raises(ToolTimeout):
        run(sh("exec >&- 2>&-; sleep 60"), timeout=0.3)


def test_what_a_tool_leaves_behind_is_ended_and_not_waited_for() -> None:
    ran = run(sh("sleep 60 & echo $!"))
    assert ran.seconds < 30
    wait_until_gone([int(ran.output)])


def test_a_tool_that_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    kill, pids = os.killpg, []
    monkeypatch.setattr(runner, "_SECONDS_TO_END_BY_ITSELF", 0.1)
    monkeypatch.setattr(runner, "_SECONDS_TO_BE_KILLED", 0.1)
    monkeypatch.setattr(os, "killpg", lambda pid, _: pids.append(pid))
    with pytest.raises(ToolFailed, match="cannot be ended: it waits in the kernel"):
        run(["sleep", "60"], timeout=0.1)
    kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)


def test_an_error_of_the_reader_ends_the_tool() -> None:
    seen: list[int] = []

    def fail(line: str) -> None:
        seen.append(int(line))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(sh("echo $$; sleep 60"), on_line=fail)
    wait_until_gone(seen)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)]
)
def test_signals_end_the_tool_then_us(tmp_path: Path, number: signal.Signals, status: int) -> None:
    pids, cleaned = tmp_path / "pids", tmp_path / "cleaned"
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from pspfast.cli.console import handles_errors
        from pspfast.system.processes import run
        @handles_errors
        def command():
            try:
                run(["sh", "-c", "(sleep 60) & echo $$ $! > {pids}.part; mv {pids}.part {pids}; sleep 60"])
            finally:
                Path({str(cleaned)!r}).touch()
            return 0
        command()
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not pids.exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert cleaned.exists()
    wait_until_gone([int(pid) for pid in pids.read_text().split()])


def test_signal_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    run(["true"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_threads_can_run_tools() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda i: run(["echo", str(i)]).output, range(12)))
    assert outputs == [f"{i}\n" for i in range(12)]


def test_command_can_be_pasted() -> None:
    assert Ran(("atc", "--input_shape=a:1;b:2", "x y"), 0, "", 0.0).command == "atc '--input_shape=a:1;b:2' 'x y'"
