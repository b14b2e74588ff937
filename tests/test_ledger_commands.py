"""``pspfast ledger merge`` and ``score`` as commands, and the options that they share with others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pspfast.formats.ledger import Entry, Ledger, LedgerWriter, Subject, merge, write_ledger
from pspfast.metrics.class_pairs import Pairs
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from pathlib import Path

SUBJECT = Subject(("road", "sky", "tree"))


def ledger(*names: str) -> Ledger:
    """Picture ``p7`` has 7 right and 1 wrong pixel, and one that is ignored."""
    entries = {}
    for name in names:
        right = int(name[1:])
        pairs = Pairs(np.array([0, 1, 255]), np.array([0, 0, 2]), np.array([right, 1, 1]))
        entries[name] = Entry(name, "0", (1, right + 2), pairs)
    return Ledger(SUBJECT, entries)


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pspfast.cli.main", "ledger", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_merge(tmp_path: Path) -> None:
    one, two, both = (tmp_path / name for name in ("one", "two", "both"))
    write_ledger(one, ledger("p9", "p1"))
    write_ledger(two, ledger("p5", "p1"))
    done = run("merge", both, two, one)
    assert (done.returncode, done.stderr) == (0, f"3 pictures in {both}\n")
    assert both.read_bytes() == merge({"one": ledger("p9", "p1"), "two": ledger("p5")}).to_bytes()
    assert run("merge", "/dev/stdout", one, two).stdout == both.read_text()

    again = run("merge", both, one)
    assert again.returncode == 2 and "both is there already; name it among the shards" in again.stderr
    assert run("merge", one, two, one).returncode == 0
    assert one.read_bytes() == both.read_bytes()
    assert run("merge", one, one).returncode == 0
    assert one.read_bytes() == both.read_bytes()


def test_half_a_line_is_told(tmp_path: Path) -> None:
    """Of OUT as well, which is then whole."""
    torn = tmp_path / "torn"
    torn.write_bytes(ledger("p1", "p2").to_bytes()[:-20])
    for arguments in (("score", torn), ("merge", torn, torn)):
        done = run(*arguments)
        assert done.returncode == 0 and done.stderr.count("torn ends in half a line, as a killed run leaves it") == 1
    assert torn.read_bytes() == ledger("p1").to_bytes()


def test_a_ledger_that_is_being_written_is_not_replaced(tmp_path: Path) -> None:
    out, shard = tmp_path / "out", tmp_path / "shard"
    write_ledger(shard, ledger("p5"))
    with LedgerWriter(out, SUBJECT) as writer:
        done = run("merge", out, out, shard)
        assert done.returncode == 1 and "another run is writing into it" in done.stderr
        writer.add(ledger("p1").entries["p1"])
    assert list(Ledger.read(out).entries) == ["p1"]
    assert run("merge", out, out, shard).returncode == 0
    assert list(Ledger.read(out).entries) == ["p1", "p5"]


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("merge", "no/out", "a"), 1, "cannot write no/out: No such file or directory"),
        (("merge", ".", "a"), 1, "cannot write ."),
        (("merge", "out", "a", "nowhere"), 2, "nowhere: No such file or directory"),
        (("merge", "out", "a", "junk"), 2, "junk is not a ledger"),
        (("merge", "out", "a", "other"), 2, "other and a cannot be merged: 1 classes (road)"),
        (("merge", "out", "."), 2, ".: no ledger.jsonl in this folder"),
        (("merge", "out"), 2, "Missing argument"),
        (("score", "empty"), 2, "empty has no pictures yet"),
        (("score", "a", "--split", "split"), 2, "a lacks 1 of the pictures in split, p3 among them"),
        (("score", "a", "--ignore-index", "-1"), 2, "--ignore-index must be a label or 'none', got '-1'"),
        (("score", "a", "--json", "./a"), 2, "./a is what this command reads; choose another file for the output"),
        (("score", "a", "--split", "split", "--csv", "split"), 2, "split is what this command reads"),
        (("score", "a", "--csv", "x", "--json", "x"), 2, "x cannot be two outputs at once"),
    ],
)
def test_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_ledger("a", ledger("p1", "p2"))
    write_ledger("other", Ledger(Subject(("road",)), ledger("p1").entries))
    write_ledger("empty", ledger())
    (tmp_path / "junk").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "split").write_text("p1\np3\n")
    before = sorted(os.listdir())
    done = run(*arguments)
    assert done.returncode == status and reason in done.stderr and "Traceback" not in done.stderr
    assert sorted(os.listdir()) == before


def test_score_of_a_split_counts_each_picture_once(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a", ledger("p1", "p9"))
    (tmp_path / "split").write_text("p9\np9.jpg\nVOC/p9.png\n")
    done = run("score", tmp_path / "a", "--split", tmp_path / "split", "--json", tmp_path / "json")
    assert done.returncode == 0 and "split: 2 lines name a picture that an earlier one names" in done.stderr
    written = json.loads((tmp_path / "json").read_text())
    assert (written["pictures"], written["classes"][0]["truth"]) == (1, 9)


def test_score_by_other_rules(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a", ledger("p3"))
    for arguments, truth in (
        ((), [3, 1, 0]),
        (("--label-map", "0:1, 1:0"), [1, 3, 0]),
        (("--label-map", "0:1", "--label-map", "255:2"), [0, 4, 1]),
        (("--ignore-index", "0"), [0, 1, 0]),
        (("--reduce-zero-label",), [1, 0, 0]),
    ):
        assert run("score", tmp_path / "a", *arguments, "--json", tmp_path / "json").returncode == 0
        assert [one["truth"] for one in json.loads((tmp_path / "json").read_text())["classes"]] == truth


def test_outputs_may_be_streams(tmp_path: Path) -> None:
    check_outputs(["/dev/stdout", "/dev/stdout", None, str(tmp_path / "a")], [str(tmp_path / "b")])
    (tmp_path / "link").symlink_to(tmp_path / "b")
    with pytest.raises(ValueError, match="link is what this command reads"):
        check_outputs([str(tmp_path / "link")], [str(tmp_path / "b")])
