"""Two evaluations against each other, by hand-made ledgers whose scores are known, and as the command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pspfast import ConfusionMatrix
from pspfast.compare import BASELINES, Side, compare
from pspfast.ledger import Entry, Ledger, Subject, write_ledger
from pspfast.pairs import Pairs
from pspfast.results import Result

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("road", "sky", "tree")


def entry(name: str, pairs: dict[tuple[int, int], int]) -> Entry:
    labels, preds = (np.array(column) for column in zip(*pairs, strict=True))
    pixels = np.array(list(pairs.values()))
    return Entry(name, "0", (1, int(pixels.sum())), Pairs(labels, preds, pixels))


def ledger(seed: int, accuracy: float, pictures: int = 40) -> Ledger:
    """Labels depend on the picture only, predictions on the seed too."""
    entries = {}
    for number in range(pictures):
        truth = np.random.default_rng(number).integers(1, 500, 3)
        rng = np.random.default_rng((seed, number))
        pairs = {}
        for label, pixels in enumerate(truth.tolist()):
            right = int(rng.binomial(pixels, accuracy))
            pairs[label, label] = right + 1
            pairs[label, (label + 1) % 3] = pixels - right + 1
        pairs[255, 0] = 7
        entries[f"p{number:02d}"] = entry(f"p{number:02d}", pairs)
    return Ledger(Subject(CLASSES), entries)


def side(tmp_path: Path, name: str, made: Ledger) -> Side:
    write_ledger(tmp_path / name, made)
    return Side.read(tmp_path / name)


def test_scores_are_those_of_the_matrix(tmp_path: Path) -> None:
    made = ledger(1, 0.9)
    matrix = made.matrix()
    found = side(tmp_path, "a", made)
    assert found.scores == {"mIoU": matrix.miou(), "mAcc": matrix.macc(), "aAcc": matrix.aacc()}
    assert found.iou is not None and np.array_equal(found.iou, matrix.iou())


def test_intervals_are_those_of_drawing_pictures_one_by_one(tmp_path: Path) -> None:
    """The slow, obvious bootstrap from the same draws."""
    first, second = ledger(1, 0.9, 12), ledger(2, 0.8, 12)
    found = compare(side(tmp_path, "a", first), side(tmp_path, "b", second), resamples=50, seed=3)
    weights = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=50)
    differences = []
    for drawn in weights:
        names = [f"p{number:02d}" for number, times in enumerate(drawn) for _ in range(times)]
        differences.append(second.matrix(names).miou() - first.matrix(names).miou())
    assert found.intervals["mIoU"] == pytest.approx(tuple(np.percentile(differences, (2.5, 97.5))), abs=1e-12)
    assert set(found.intervals) == {"mIoU", "mAcc", "aAcc", *CLASSES}


def test_intervals_cover_the_difference_and_equal_sides_have_none(tmp_path: Path) -> None:
    one, other = side(tmp_path, "a", ledger(1, 0.9)), side(tmp_path, "b", ledger(2, 0.8))
    low, high = compare(one, other).intervals["mIoU"]
    assert low < other.scores["mIoU"] - one.scores["mIoU"] < high < 0
    same = compare(one, one)
    assert set(same.intervals.values()) == {(0.0, 0.0)}
    assert same.drop == 0 and not any(same.influence.values())


def test_influence_is_what_is_gone_without_the_picture(tmp_path: Path) -> None:
    first, second = ledger(1, 0.9), ledger(2, 0.8)
    found = compare(side(tmp_path, "a", first), side(tmp_path, "b", second), resamples=0)
    whole = second.matrix().miou() - first.matrix().miou()
    for name in ("p00", "p07"):
        rest = [other for other in first.entries if other != name]
        without = second.matrix(rest).miou() - first.matrix(rest).miou()
        assert found.influence[name] == pytest.approx(whole - without, abs=1e-12)
    sizes = [abs(value) for value in found.influence.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_only_common_pictures_count(tmp_path: Path) -> None:
    first, second = ledger(1, 0.9), ledger(2, 0.8)
    del first.entries["p03"], second.entries["p05"]
    found = compare(side(tmp_path, "a", first), side(tmp_path, "b", second), resamples=0)
    assert (found.only_first, found.only_second) == (("p05",), ("p03",))
    common = [name for name in first.entries if name in second.entries]
    assert found.first.scores["mIoU"] == first.matrix(common).miou()
    assert found.second.scores["mIoU"] == second.matrix(common).miou()


def test_the_order_of_pictures_does_not_matter(tmp_path: Path) -> None:
    first, second = ledger(1, 0.9), ledger(2, 0.8)
    head, *lines = second.to_bytes().splitlines(keepends=True)
    (tmp_path / "c").write_bytes(b"".join([head, *reversed(lines)]))
    one = side(tmp_path, "a", first)
    straight = compare(one, side(tmp_path, "b", second), resamples=0)
    assert compare(one, Side.read(tmp_path / "c"), resamples=0).influence.keys() == straight.influence.keys()
    assert straight.drop == compare(one, Side.read(tmp_path / "c"), resamples=0).drop


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = side(tmp_path, "a", ledger(1, 0.9))
    labelled_otherwise = ledger(1, 0.9)
    labelled_otherwise.entries["p04"] = entry("p04", {(0, 0): 5})
    with pytest.raises(ValueError, match="different labels for 1 pictures, p04 among them"):
        compare(one, side(tmp_path, "b", labelled_otherwise))
    renamed = replace(ledger(1, 0.9), subject=Subject(("a", "b", "c")))
    with pytest.raises(ValueError, match="different classes"):
        compare(one, side(tmp_path, "c", renamed))
    other = {f"q{name}": replace(value, name=f"q{name}") for name, value in ledger(1, 0.9).entries.items()}
    with pytest.raises(ValueError, match="no picture in common"):
        compare(one, side(tmp_path, "d", Ledger(Subject(CLASSES), other)))
    with pytest.raises(ValueError, match="has no pictures yet"):
        side(tmp_path, "e", Ledger(Subject(CLASSES), {}))


def test_results_and_absent_classes(tmp_path: Path) -> None:
    """A class that neither side has is NaN, and stays out of everything."""
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1]]), np.array([[0, 0]]))
    result = tmp_path / "r.json"
    result.write_text(Result.of(matrix, CLASSES, 1).to_json())
    absent = Ledger(Subject(CLASSES), {"a": entry("a", {(0, 0): 3, (0, 1): 1})})
    found = compare(Side.read(result), side(tmp_path, "a", absent))
    assert found.intervals == {} and found.influence == {}
    assert found.drop == pytest.approx(100 * (0.25 - 0.375))
    assert "nan" in str(found)
    assert json.loads(found.to_json())["scores"]["tree"]["difference"] is None
    both = compare(side(tmp_path, "a", absent), side(tmp_path, "a", absent))
    assert all(np.isnan(end) for end in both.intervals["tree"])


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pspfast.cli", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command(tmp_path: Path) -> None:
    for name, made in (("a", ledger(1, 0.9)), ("b", ledger(2, 0.899)), ("c", ledger(3, 0.7))):
        write_ledger(tmp_path / name, made)
    near = run(tmp_path / "a", tmp_path / "b", "--json", tmp_path / "out.json")
    assert near.returncode == 0, near.stderr
    assert "accepted, the loss is under 1" in near.stdout and "95 % interval" in near.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["pictures"] == 40 and len(written["influence"]) == 40
    far = run(tmp_path / "a", tmp_path / "c")
    assert far.returncode == 1 and "not accepted, the loss is not under 1" in far.stdout
    assert run(tmp_path / "a", tmp_path / "c", "--max-drop", "60").returncode == 0
    assert run(tmp_path / "c", tmp_path / "a").returncode == 0
    assert run(tmp_path / "a", tmp_path / "b").stdout == run(tmp_path / "a", tmp_path / "b").stdout
    (tmp_path / "split").write_text("p01\np02\n")
    subset = run(tmp_path / "a", tmp_path / "b", "--split", tmp_path / "split", "--max-drop", "100")
    assert subset.returncode == 0 and "(2 pictures)" in subset.stdout


def test_command_against_a_baseline(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a", ledger(1, 0.95))
    found = run("--baseline", "voc-opensource", tmp_path / "a")
    assert found.returncode == 0, found.stderr
    assert "76.78" in found.stdout and "voc-opensource is the score of 1449 pictures" in found.stderr
    assert BASELINES["voc-opensource"] == {"mIoU": 0.76778, "mAcc": 0.85529, "aAcc": 0.94787}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give two files, or one and --baseline"),
        (("nowhere", "nowhere"), "nowhere: No such file or directory"),
        (("{a}",), "give two files"),
        (("{a}", "{junk}"), "is not a ledger"),
        (("{a}", "{json}"), "is not a result of pspfast"),
        (("{a}", "{a}", "--split", "{split}"), "lacks 1 of the pictures"),
        (("{a}", "{a}", "--label-map", "1"), "expected OLD:NEW"),
    ],
)
def test_command_refuses(tmp_path: Path, arguments: tuple[str, ...], reason: str) -> None:
    write_ledger(tmp_path / "a", ledger(1, 0.9))
    (tmp_path / "junk").write_bytes(b"\x89PNG\n")
    (tmp_path / "json").write_text("{\n}")
    (tmp_path / "split").write_text("nobody\n")
    places = {name: tmp_path / name for name in ("a", "junk", "json", "split")}
    done = run(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 2 and reason in done.stderr and "Traceback" not in done.stderr
