"""Two evaluations against each other, by hand-made ledgers whose scores are known, and as the command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pspfast import ConfusionMatrix
from pspfast.accuracy.comparison import BASELINES, Side, compare
from pspfast.accuracy.comparison import verdict as verdict_of
from pspfast.datasets import VOC
from pspfast.formats.ledger import Entry, Ledger, Subject, write_ledger
from pspfast.formats.result import Result
from pspfast.metrics.class_pairs import Pairs

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
    assert found.total is not None and np.array_equal(found.total.iou(), matrix.iou())


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
    assert set(found.intervals) == {"mIoU", "mAcc", "aAcc"} and len(found.class_intervals) == 3


def test_intervals_cover_the_difference_and_equal_sides_have_none(tmp_path: Path) -> None:
    one, other = side(tmp_path, "a", ledger(1, 0.9)), side(tmp_path, "b", ledger(2, 0.8))
    low, high = compare(one, other).intervals["mIoU"]
    assert low < other.scores["mIoU"] - one.scores["mIoU"] < high < 0
    same = compare(one, one)
    assert {*same.intervals.values(), *same.class_intervals} == {(0.0, 0.0)}
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
    drawn = compare(one, side(tmp_path, "b", second), resamples=20)
    again = compare(one, Side.read(tmp_path / "c"), resamples=20)
    assert (drawn.intervals, drawn.class_intervals) == (again.intervals, again.class_intervals)


def test_classes_named_as_scores(tmp_path: Path) -> None:
    """Both have their own interval."""
    plain = compare(side(tmp_path, "a", ledger(1, 0.9)), side(tmp_path, "b", ledger(2, 0.8)), resamples=20)
    renamed = [replace(made, subject=Subject(("mIoU", "sky", "aAcc"))) for made in (ledger(1, 0.9), ledger(2, 0.8))]
    found = compare(side(tmp_path, "c", renamed[0]), side(tmp_path, "d", renamed[1]), resamples=20)
    assert (found.intervals, found.class_intervals) == (plain.intervals, plain.class_intervals)
    written = json.loads(found.to_json())
    assert written["scores"]["mIoU"]["interval"] == list(found.intervals["mIoU"])
    assert written["classes"][0]["class"] == "mIoU"
    assert written["classes"][0]["interval"] == list(found.class_intervals[0])


def test_a_single_picture_has_no_interval_and_all_of_the_difference(tmp_path: Path) -> None:
    found = compare(side(tmp_path, "a", ledger(1, 0.9, 1)), side(tmp_path, "b", ledger(2, 0.8, 1)))
    assert found.intervals == {} and found.class_intervals == ()
    assert found.influence == {"p00": found.second.scores["mIoU"] - found.first.scores["mIoU"]}
    assert found.remarks == ("no intervals: a single picture says nothing about others",)
    assert "(1 picture)" in str(found)


def test_many_pictures_take_no_square_of_their_number(tmp_path: Path) -> None:
    counted = Ledger(Subject(CLASSES), {f"{number}": entry(f"{number}", {(0, 0): 1}) for number in range(20_000)})
    one = side(tmp_path, "a", counted)
    started = time.perf_counter()
    compare(one, one, resamples=1)
    assert time.perf_counter() - started < 5  # it took 15 s


def result(tmp_path: Path, name: str, made: Ledger, **source: Any) -> Side:
    classes = made.subject.classes
    (tmp_path / name).write_text(
        Result.of(made.matrix(), classes, len(made.entries), source=tuple(source.items())).to_json()
    )
    return Side.read(tmp_path / name)


def test_what_else_differs_is_said(tmp_path: Path) -> None:
    whole, part, one = ledger(1, 0.9), ledger(1, 0.9, 30), side(tmp_path, "one", ledger(1, 0.9))
    assert compare(one, one).remarks == ()
    assert compare(result(tmp_path, "r", whole), result(tmp_path, "s", ledger(2, 0.8))).remarks == ()

    found = compare(result(tmp_path, "r", whole), result(tmp_path, "s", part))
    assert "r (40 pictures) and" in found.remarks[0] and "s (30 pictures) are of different pictures" in found.remarks[0]
    others = replace(whole, entries={name: entry(name, {(0, 0): 9}) for name in whole.entries})
    assert "are of different labels" in compare(one, result(tmp_path, "s", others)).remarks[0]
    reference = replace(whole, subject=Subject(CLASSES, geometry="reference"))
    found = compare(one, side(tmp_path, "s", reference))
    assert "one has exact geometry and" in found.remarks[0] and "s reference geometry" in found.remarks[0]
    assert compare(one, result(tmp_path, "s", whole, geometry="reference")).remarks == (found.remarks[0],)

    found = compare(one, side(tmp_path, "s", part))
    assert found.remarks == (f"{tmp_path}/one has 10 more pictures, left out here, p30 among them",)
    assert json.loads(found.to_json())["remarks"] == list(found.remarks)
    (tmp_path / "torn").write_bytes(whole.to_bytes()[:-20])
    assert "torn ends in half a line" in compare(one, Side.read(tmp_path / "torn")).remarks[0]


def test_results_are_of_the_same_label_rules(tmp_path: Path) -> None:
    result(tmp_path, "r", ledger(1, 0.9), label_map={"0": 1}, reduce_zero_label=False)
    assert Side.read(tmp_path / "r", label_map={}, reduce_zero_label=False).count == 40
    assert Side.read(tmp_path / "r", label_map={0: 1}, reduce_zero_label=False).count == 40
    with pytest.raises(ValueError, match="r has finished scores, made with another label_map; give a ledger"):
        Side.read(tmp_path / "r", label_map={0: 2}, reduce_zero_label=False)
    with pytest.raises(ValueError, match="made with another reduce_zero_label"):
        Side.read(tmp_path / "r", label_map={0: 1}, reduce_zero_label=True)


def test_results_need_not_be_laid_out_as_written(tmp_path: Path) -> None:
    written = result(tmp_path, "r", ledger(1, 0.9))
    (tmp_path / "r").write_text(json.dumps(json.loads((tmp_path / "r").read_text())))
    assert Side.read(tmp_path / "r").scores == written.scores


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = side(tmp_path, "a", ledger(1, 0.9))
    labelled_otherwise = ledger(1, 0.9)
    labelled_otherwise.entries["p04"] = entry("p04", {(0, 0): 5})
    with pytest.raises(ValueError, match="different labels for 1 of 40 pictures, p04 among them"):
        compare(one, side(tmp_path, "b", labelled_otherwise))
    renamed = replace(ledger(1, 0.9), subject=Subject(("road", "b", "tree")))
    with pytest.raises(ValueError, match=r"class 1 is 'sky' in .*a and 'b' in .*c: they cannot be compared"):
        compare(one, side(tmp_path, "c", renamed))
    more = replace(ledger(1, 0.9), subject=Subject((*CLASSES, "sea")))
    with pytest.raises(
        ValueError, match=r"3 classes \(road, sky, tree\), .* has 4 classes \(road, sky, tree, ...\): they"
    ):
        compare(one, side(tmp_path, "c", more))
    other = {f"q{name}": replace(value, name=f"q{name}") for name, value in ledger(1, 0.9).entries.items()}
    with pytest.raises(ValueError, match="no picture in common"):
        compare(one, side(tmp_path, "d", Ledger(Subject(CLASSES), other)))
    with pytest.raises(ValueError, match="has no pictures yet"):
        side(tmp_path, "e", Ledger(Subject(CLASSES), {}))
    ignored = side(tmp_path, "f", Ledger(Subject(CLASSES), {"p00": entry("p00", {(255, 0): 5})}))
    with pytest.raises(ValueError, match="f has no mIoU: none of its pixels is labelled as a class"):
        compare(ignored, ignored)
    with pytest.raises(ValueError, match="resamples must be 0 or more, got -1"):
        compare(one, one, resamples=-1)
    with pytest.raises(ValueError, match="voc-om has no single pictures to choose from"):
        Side.baseline("voc-om").only(["p00"])


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
    assert "+nan" not in str(found)
    tree = json.loads(found.to_json())["classes"][2]
    assert tree == {"class": "tree", "first": None, "second": None, "difference": None, "interval": None}
    absent.entries["b"] = replace(absent.entries["a"], name="b")
    both = compare(side(tmp_path, "a", absent), side(tmp_path, "a", absent))
    assert all(np.isnan(end) for end in both.class_intervals[2])


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pspfast.cli.main", "compare", *map(str, arguments)]
    return subprocess.run(command, input="", capture_output=True, text=True, check=False)


def test_command(tmp_path: Path) -> None:
    for name, made in (("a", ledger(1, 0.9)), ("b", ledger(2, 0.899)), ("c", ledger(3, 0.7))):
        write_ledger(tmp_path / name, made)
    near = run(tmp_path / "a", tmp_path / "b", "--json", tmp_path / "out.json")
    assert near.returncode == 0, near.stderr
    assert "accepted, the loss is under 1" in near.stdout and "95 % interval" in near.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["second"] == {"name": str(tmp_path / "b"), "pictures": 40} and len(written["influence"]) == 40
    far = run(tmp_path / "a", tmp_path / "c")
    assert far.returncode == 1 and "not accepted, the loss is not under 1" in far.stdout
    assert run(tmp_path / "a", tmp_path / "c", "--max-drop", "60").returncode == 0
    assert run(tmp_path / "c", tmp_path / "a").returncode == 0
    assert run(tmp_path / "a", tmp_path / "b").stdout == run(tmp_path / "a", tmp_path / "b").stdout
    (tmp_path / "split").write_text("p01\np02\n")
    subset = run(tmp_path / "a", tmp_path / "b", "--split", tmp_path / "split", "--max-drop", "100")
    assert subset.returncode == 0 and "(2 pictures)" in subset.stdout


def test_command_against_a_baseline(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a", Ledger(Subject(VOC.classes), {"p": entry("p", {(0, 0): 9, (1, 1): 1, (1, 0): 1})}))
    found = run("--baseline", "voc-opensource", tmp_path / "a")
    assert found.returncode == 1, found.stderr
    assert "76.78" in found.stdout and "voc-opensource (1449 pictures) and" in found.stderr
    assert "are of different pictures" in found.stderr
    assert BASELINES["voc-opensource"] == {"mIoU": 0.76778, "mAcc": 0.85529, "aAcc": 0.94787}


def test_verdict(tmp_path: Path) -> None:
    """A loss of 2 points, and none."""
    write_ledger(tmp_path / "a", Ledger(Subject(("a",)), {"p": entry("p", {(0, 0): 100})}))
    write_ledger(tmp_path / "b", Ledger(Subject(("a",)), {"p": entry("p", {(0, 0): 98, (0, 7): 2})}))
    for arguments, status, verdict in (
        (("a", "b"), 1, "mIoU falls by 2.00 points: not accepted, the loss is not under 1"),
        (("a", "b", "--max-drop", "2.5"), 0, "mIoU falls by 2.00 points: accepted, the loss is under 2.5"),
        (("a", "b", "--max-drop", "2.00001"), 0, "mIoU falls by 2.00 points: accepted, the loss is under 2.00001"),
        (("a", "b", "--max-drop", "1.999"), 1, "mIoU falls by 2.00 points: not accepted, the loss is not under 1.999"),
        (("b", "a"), 0, "mIoU rises by 2.00 points: accepted"),
        (("a", "a", "--max-drop", "0"), 0, "mIoU is the same: accepted"),
    ):
        done = run(*(tmp_path / argument if argument in "ab" else argument for argument in arguments))
        assert (done.returncode, done.stdout.splitlines()[-1]) == (status, verdict)


def test_rounding_does_not_contradict_the_verdict() -> None:
    assert verdict_of(0.996, 1.0) == (True, "mIoU falls by 0.996 points: accepted, the loss is under 1")
    assert verdict_of(0.99996, 1.0)[1].startswith("mIoU falls by 0.99996 points: accepted")
    assert verdict_of(1.0, 1.0) == (False, "mIoU falls by 1.00 points: not accepted, the loss is not under 1")
    assert verdict_of(0.0003, 0.0)[1] == "mIoU falls by 0.0003 points: not accepted, the loss is not under 0"
    assert verdict_of(-0.0003, 0.0)[1] == "mIoU rises by 0.0003 points: accepted"
    assert verdict_of(1e-30, 0.0)[1] == "mIoU falls by 1e-30 points: not accepted, the loss is not under 0"


def test_command_says_what_the_split_repeats(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a", ledger(1, 0.9))
    (tmp_path / "split").write_text("p01.jpg\np02\np01.png\np02\n")
    done = run(tmp_path / "a", tmp_path / "a", "--split", tmp_path / "split")
    assert "(2 pictures)" in done.stdout
    assert done.stderr.count("split: 2 lines name a picture that an earlier one names; each counts once") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give two evaluations, or one and --baseline"),
        (("nowhere", "nowhere"), "nowhere: No such file or directory"),
        (("{a}",), "give two evaluations"),
        (("{a}", "{junk}"), "junk is neither a ledger (--ledger) nor a result (--json) of pspfast"),
        (("{a}", "{json}"), "json is not a result of pspfast: no field 'version'"),
        (("{a}", "/dev/stdin"), "/dev/stdin is a pipe"),
        (("{a}", "{a}", "--max-drop", "-1"), "--max-drop must be 0 or more points, got -1"),
        (("{a}", "{a}", "--max-drop", "nan"), "--max-drop must be 0 or more points, got nan"),
        (("{a}", "{a}", "--json", "{a}"), "is what this command reads; choose another file for the output"),
        (("--baseline", "voc-om", "{a}"), "voc-om has VOC's 21 classes, "),
        (("{a}", "{a}", "--split", "{split}"), "lacks 1 of the pictures"),
        (("{a}", "{a}", "--label-map", "1"), "expected OLD:NEW"),
    ],
)
def test_command_refuses(tmp_path: Path, arguments: tuple[str, ...], reason: str) -> None:
    write_ledger(tmp_path / "a", ledger(1, 0.9))
    (tmp_path / "junk").write_bytes(b"\x89PNG\n")
    (tmp_path / "json").write_text('{\n "format": "pspfast result"}')
    (tmp_path / "split").write_text("nobody\n")
    places = {name: tmp_path / name for name in ("a", "junk", "json", "split")}
    done = run(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 2 and reason in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"intersection": 10**9}, "intersection beyond its truth"),
        ({"truth": 1.7}, "1.7 is no number of pixels"),
        ({"predicted": -5}, "-5 is no number of pixels"),
        ({"class": 5}, "5 is not text"),
    ],
)
def test_a_result_with_counts_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1]]), np.array([[0, 0]]))
    fields = json.loads(Result.of(matrix, CLASSES, 1).to_json())
    fields["classes"][0] |= change
    (tmp_path / "r.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=reason):
        Result.read(tmp_path / "r.json")


def run_folder(folder: Path, seed: int, accuracy: float, *, label_map: dict[int, int] | None = None) -> Path:
    """What a run with ``--label-map`` leaves: finished scores, and a ledger of labels as they are in the files."""
    counted = ledger(seed, accuracy)
    matrix = counted.matrix(label_map=label_map)
    source = (("label_map", {str(old): new for old, new in (label_map or {}).items()}), ("reduce_zero_label", False))
    folder.mkdir()
    write_ledger(folder / "ledger.jsonl", counted)
    (folder / "result.json").write_text(Result.of(matrix, CLASSES, len(counted.entries), source=source).to_json())
    return folder


@pytest.mark.parametrize("label_map", [None, {2: 1}])
def test_folders_of_runs(tmp_path: Path, label_map: dict[int, int] | None) -> None:
    """A folder is its ledger, by the rules that the run went by."""
    first, second = (run_folder(tmp_path / f"run{seed}", seed, 0.9, label_map=label_map) for seed in (1, 2))
    found = compare(Side.read(first), Side.read(second))
    files = [Side.read(folder / "ledger.jsonl", label_map=label_map) for folder in (first, second)]
    assert found.drop == compare(*files).drop != 0
    assert Side.read(first).scores == files[0].scores == Side.read(first / "result.json").scores
    assert Side.read(first).pictures and Side.read(first).name == str(first)
    asked = Side.read(first, label_map={0: 1}, reduce_zero_label=None)  # what is asked for wins
    assert asked.scores == Side.read(first / "ledger.jsonl", label_map={0: 1}).scores
    (first / "result.json").unlink()
    assert Side.read(first).scores == Side.read(first / "ledger.jsonl").scores
    (second / "ledger.jsonl").unlink()
    assert not Side.read(second).pictures
    (second / "result.json").unlink()
    with pytest.raises(ValueError, match=r"run2 is a folder without ledger\.jsonl or result\.json"):
        Side.read(second)


def test_every_command_that_takes_a_result_takes_a_folder(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from pspfast.cli.main import main

    one, two = (str(run_folder(tmp_path / f"run{seed}", seed, 0.9, label_map={2: 1})) for seed in (1, 2))

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    assert "accepted" in said("compare", one, two, "--max-drop", "50", "--resamples", "10")
    scores = said("ledger", "score", one)
    assert scores == said("ledger", "score", f"{one}/ledger.jsonl", "--label-map", "2:1")
    assert scores != said("ledger", "score", f"{one}/ledger.jsonl")
    assert said("ledger", "score", one, "--label-map", "none") == said("ledger", "score", f"{one}/ledger.jsonl")
    (tmp_path / "other").mkdir()
    write_ledger(tmp_path / "other/ledger.jsonl", Ledger(Subject(CLASSES), {"q": entry("q", {(0, 0): 5})}))
    assert "41 pictures" in said("ledger", "merge", str(tmp_path / "all.ledger"), one, str(tmp_path / "other"))


@pytest.mark.parametrize("name", ["ledger.jsonl", "result.json", "run.json"])
def test_an_output_does_not_replace_what_is_in_the_folder(tmp_path: Path, name: str) -> None:
    from click.testing import CliRunner

    from pspfast.cli.main import main

    folder = run_folder(tmp_path / "run", 1, 0.9)
    for command in (["compare", str(folder), str(folder)], ["ledger", "score", str(folder)]):
        done = CliRunner().invoke(main, [*command, "--json", str(folder / name)])
        assert done.exit_code == 2 and "is what this command reads" in done.output
