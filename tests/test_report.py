"""The report's content: scores, classes, confusions, pictures, times and facts of made-up runs, read from the page."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pspfast.accuracy.comparison import Side, compare
from pspfast.datasets import VOC, palette
from pspfast.formats.ledger import Entry, Ledger, Subject, write_ledger
from pspfast.metrics.class_pairs import Pairs
from pspfast.report import charts
from pspfast.report.examples import difference, make_cards
from pspfast.report.page import render, write_report
from pspfast.report.saved import Record, SavedRun, read_runs
from pspfast.system import libraries as extras
from pspfast.system.libraries import MissingExtra
from tests.report_runs import SIZE, make_ledger, make_result, make_run, predicted, save_example, scene

pytest.importorskip("jinja2", reason="not installed: jinja2 (pip install 'pspfast[run]')")

EVIL = '<script>alert("1")</script>'
CLASSES = ("background", "road", "sky", "tree")
_VOID_TAGS = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart: texts by section, attributes by tag; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: dict[str, list[dict[str, str]]] = {}
        self.sections: dict[str, str] = {"": ""}
        self.rows: list[list[str]] = []
        self._section = ""
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.setdefault(tag, []).append(found)
        if tag == "section":
            self._section = found["id"]
            self.sections[self._section] = ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in _VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.setdefault(tag, []).append({name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.sections[self._section] += data
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] += data

    def text(self, section: str) -> str:
        return " ".join(self.sections[section].split())

    def row(self, first: str) -> list[str]:
        (found,) = [row for row in self.rows if row and row[0].split() == first.split()]
        return [cell.strip() for cell in found]


def page_of(*results: Path, **options: Any) -> Page:
    output = results[0].parent / "page.html"
    assert write_report(results, output, **options).faults == ()
    return Page(output.read_text())


def picture_of(uri: str) -> Image.Image:
    kind, data = uri.split(",", 1)
    assert kind in ("data:image/jpeg;base64", "data:image/png;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "first")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return make_run(tmp_path / "second", shift=6)


# ---- one run ----


def test_scores_are_the_result_s(run: Path) -> None:
    text = page_of(run).text("scores")
    fields = json.loads((run / "result.json").read_text())
    for name in ("mIoU", "mAcc", "aAcc"):
        assert f"{name} {100 * fields[name]:.2f}" in text
    for name, meaning in (("mDice", "mean Dice"), ("fwIoU", "frequency-weighted IoU"), ("kappa", "Cohen's kappa")):
        assert f"{meaning} {100 * fields[name]:.2f}" in text
    assert "24 pictures" in text and "accepted" not in text and "reference" not in text


def test_classes_are_sorted_and_have_bars(run: Path) -> None:
    page = page_of(run)
    iou = make_ledger(2).matrix().iou()
    wanted = [VOC.classes[index] for index in np.argsort(-iou, kind="stable")]
    shown = [row for row in page.rows if len(row) == 3 and row[0] in VOC.classes]
    assert [row[0] for row in shown] == wanted
    assert [row[2] for row in shown] == [f"{100 * iou[VOC.classes.index(name)]:.2f}" for name in wanted]
    widths = [tag["width"] for tag in page.tags["rect"] if tag["class"] == "fill"][: len(wanted)]
    assert widths == [f"{100 * iou[VOC.classes.index(name)]:.2f}%" for name in wanted]


def test_heat_map_is_the_matrix_by_rows(run: Path) -> None:
    page = page_of(run)
    matrix = make_ledger(2).matrix()
    counts, truth = matrix.counts, matrix.areas().truth
    titles = [tag["title"] for tag in page.tags["td"] if "pixels)" in tag.get("title", "")]
    assert len(titles) == 21 * 21
    for index, title in enumerate(titles):
        row, column = divmod(index, 21)
        share = f"{100 * counts[row, column] / truth[row]:.3g} %"
        assert title.endswith(f": {share} ({counts[row, column]:,} of {truth[row]:,} pixels)"), title
        assert title.startswith(f"{VOC.classes[row]}, predicted ")
        assert ("predicted right" in title) == (row == column)
    assert "Most confused" in page.text("confusion")


def test_heat_map_colours_follow_the_limits() -> None:
    pixels = [0, 1, 49, 50, 99, 100, 199, 200, 9500, 9999]
    truth = 10_000
    steps = [charts._cell("a", "b", one, truth, False).step for one in pixels]
    assert steps == [0, 1, 1, 2, 2, 3, 3, 4, 11, 11]
    texts = [charts._cell("a", "b", one, truth, False).text for one in (49, 51, 9999, 10_000)]
    assert texts == ["", "1", "99", "100"]


def test_heat_map_of_many_classes_takes_the_worst(tmp_path: Path) -> None:
    classes = tuple(f"class{number}" for number in range(150))
    ledger = make_ledger(3, classes, pictures=60)
    map_ = charts.heat_map(ledger.matrix(), classes)
    areas = ledger.matrix().areas()
    wrong = areas.truth + areas.predicted - 2 * areas.intersection
    worst = {classes[index] for index in np.argsort(-wrong, kind="stable")[:40]}
    assert set(map_.columns) == worst and map_.of_classes == 150
    write_ledger(tmp_path / "many", ledger)
    assert "Of 150 classes the 40 with the most wrong pixels." in page_of(tmp_path / "many").text("confusion")


def test_confusions_are_the_largest_shares(run: Path) -> None:
    matrix = make_ledger(2).matrix()
    shares = matrix.counts / matrix.areas().truth[:, None]
    np.fill_diagonal(shares, 0)
    row, column = np.unravel_index(shares.argmax(), shares.shape)
    first = charts.heat_map(matrix, VOC.classes).confusions[0]
    assert (first.truth, first.predicted) == (VOC.classes[row], VOC.classes[column])
    assert first.share == f"{100 * shares[row, column]:.1f} %"
    page = page_of(run)
    assert page.row(f"{first.truth} → {first.predicted}")[1:] == [first.share, first.pixels]


def test_time_facts_and_commands(run: Path) -> None:
    page = page_of(run)
    time = page.text("time")
    for part in ("1.92 pictures/s", "time 12.5 s", "batch 4", "workers 2", "peak memory 312 MB", "infer limits"):
        assert part in time
    assert page.row("infer limits")[2:] == ["11 s", "93.2 %"]
    assert page.row("read")[2:] == ["31 ms", "0.3 %"]
    for name, value in (
        ("geometry", "exact"), ("canvas", "60 x 90"), ("ignore index", "255"), ("path", "m.onnx"),
        ("sha256", "0f" * 32), ("metadata canvas", "60, 90"), ("isa", "avx2"), ("threads", "2"), ("split", "val"),
    ):  # fmt: skip
        assert page.row(name) == [name, value]
    commands = page.text("commands")
    assert "pspfast run --voc-root 'my data/VOC2012' --model m.onnx" in commands
    assert f"pspfast ledger score {run / 'ledger.jsonl'}" in commands
    assert f"pspfast report {run} --output {run.parent / 'page.html'}" in commands


def test_faults_are_named(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        result={"left_out": (("p98", "its labels are damaged"),), "remarks": (("p01", "labels of odd size"),)},
        failed=[["p98", "its labels are damaged"], ["p99", "truncated"]],
    )
    text = page_of(folder).text("scores")
    assert "These scores leave out 1 of 25 pictures." in text
    assert "3 pictures with a fault" in text
    for part in ("p98 its labels are damaged", "p99 truncated", "p01 labels of odd size"):
        assert text.count(part) == 1


def test_the_same_runs_give_the_same_page(run: Path, other: Path, tmp_path: Path) -> None:
    first = render(read_runs([run, other]))
    assert render(read_runs([run, other])) == first
    assert "pspfast report" in first and str(tmp_path) in first  # the ledgers' paths are in the commands


# ---- several runs ----


def test_differences_are_those_of_compare(run: Path, other: Path) -> None:
    page = page_of(run, other)
    found = compare(Side.read(run / "ledger.jsonl"), Side.read(other / "ledger.jsonl"))
    text = page.text("scores")
    for name in ("mIoU", "mAcc", "aAcc"):
        low, high = found.intervals[name]
        moved = found.second.scores[name] - found.first.scores[name]
        assert moved < 0 and high < 0
        told = f"{100 * moved:+.2f} {100 * low:+.2f} to {100 * high:+.2f}".replace("-", "−")  # noqa: RUF001
        assert f"{name} {100 * found.second.scores[name]:.2f} {told}" in text
    assert f"✗ mIoU falls by {found.drop:.2f} points: not accepted, the loss is not under 1." in text
    assert text.count("reference") == 1
    assert found.first.total is not None and found.second.total is not None
    moved = (found.second.total.iou() - found.first.total.iou())[8]
    low, high = found.class_intervals[8]
    told = f"{100 * moved:+.2f} {100 * low:+.2f} to {100 * high:+.2f}".replace("-", "−")  # noqa: RUF001
    cat = next(index for index, row in enumerate(page.rows) if row[:1] == ["cat"] and "first" in row)
    assert page.rows[cat + 1][-1] == told


def test_whiskers_lie_on_the_common_scale(run: Path, other: Path) -> None:
    page = page_of(run, other)
    found = compare(Side.read(run / "ledger.jsonl"), Side.read(other / "ledger.jsonl"))
    (scale,) = re.findall(r"to \+(\S+) points", page.text("scores"))
    dots = [float(tag["cx"].rstrip("%")) for tag in page.tags["circle"]]
    moved = [found.second.scores[name] - found.first.scores[name] for name in ("mIoU", "mAcc", "aAcc")]
    assert dots == pytest.approx([50 + 50 * 100 * one / float(scale) for one in moved], abs=0.01)
    (limit,) = [tag["x1"] for tag in page.tags["line"] if tag["class"] == "limit"]
    assert float(limit.rstrip("%")) == pytest.approx(50 - 50 / float(scale))


def test_the_limit_and_the_draws_are_options(run: Path, other: Path) -> None:
    text = page_of(run, other, max_drop=90.0, resamples=0).text("scores")
    assert "✓ mIoU falls by" in text and "accepted, the loss is under 90" in text
    assert "interval" not in text and " to −" not in text  # noqa: RUF001


def test_baseline_may_be_one_of_the_results_or_another(run: Path, other: Path, tmp_path: Path) -> None:
    third = make_run(tmp_path / "third", shift=1)
    forward = page_of(run, other, baseline=str(other))
    assert "Differences are to second" in forward.text("scores") and "✓ mIoU rises by" in forward.text("scores")
    assert forward.text("").count("first against second") == 2  # the tab and the heading
    added = page_of(run, other, baseline=str(third))
    assert "Differences are to third" in added.text("scores") and added.text("scores").count("✗") == 2


def test_published_baseline(run: Path) -> None:
    page = page_of(run, baseline="voc-om")
    text = page.text("scores")
    assert "mIoU 76.18" in text and "1,449 pictures, published scores" in text
    assert "are of different pictures, which is part of the difference" in text
    assert "pspfast compare --baseline voc-om" in page.text("commands")
    assert "voc-om" not in page.text("facts")


def test_published_baseline_is_of_voc_alone(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", classes=CLASSES)
    with pytest.raises(ValueError, match=r"voc-om has VOC's 21 classes, run has 4: they cannot be compared"):
        write_report([folder], tmp_path / "page.html", baseline="voc-om")


def test_different_classes_are_refused(run: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "small", classes=CLASSES)
    with pytest.raises(ValueError, match=r"first has 21 classes .*, small has 4 classes .*: they cannot be compared"):
        write_report([run, folder], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_differing_facts_are_marked(run: Path, other: Path) -> None:
    fields = json.loads((other / "run.json").read_text())
    fields["environment"]["isa"] = "avx512"
    del fields["environment"]["cpu"]
    (other / "run.json").write_text(json.dumps(fields))
    page = page_of(run, other)
    assert page.row("isa ≠ differs") == ["isa ≠ differs", "avx2", "avx512"]
    assert page.row("cpu ≠ differs") == ["cpu ≠ differs", "A CPU", charts.NONE]
    assert page.row("canvas") == ["canvas", "60 x 90", "60 x 90"]


def test_runs_of_other_pictures_say_so(run: Path, tmp_path: Path) -> None:
    ledger = make_ledger(6)
    del ledger.entries["p03"]
    write_ledger(tmp_path / "less", ledger)
    assert "first has 1 more pictures, left out here, p03 among them" in page_of(run, tmp_path / "less").text("scores")


def test_labels_are_the_shortest_that_differ(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name) for name in ("a/out", "b/out", "c")]
    assert [run.label for run in read_runs([*folders[:2], folders[2] / "ledger.jsonl"])] == ["a/out", "b/out", "c"]
    with pytest.raises(ValueError, match="is given twice"):
        read_runs([folders[0], tmp_path / "a/../a/out"])


# ---- what is missing ----


def test_a_result_alone(run: Path, other: Path) -> None:
    page = page_of(run / "result.json", other / "result.json")
    assert "which class was taken for which: a ledger has that" in page.text("confusion")
    assert "95" not in page.text("scores").split("Differences")[1].split("points.")[0]
    assert "No pictures were kept to be shown" in page.text("pictures")
    assert "time" not in page.sections
    assert not [tag for tag in page.tags["td"] if "pixels)" in tag.get("title", "")]


def test_a_ledger_alone(run: Path) -> None:
    page = page_of(run / "ledger.jsonl")
    assert "24 pictures" in page.text("scores") and "Most confused" in page.text("confusion")
    assert "time" not in page.sections and "No pictures" in page.text("pictures")


def test_a_folder_of_a_killed_run(run: Path) -> None:
    for name in ("run.json", "result.json"):
        (run / name).unlink()
    assert "first has no run.json: the run did not end" in page_of(run).text("scores")


def test_a_ledger_that_went_on(run: Path) -> None:
    write_ledger(run / "ledger.jsonl", make_ledger(2, pictures=30))
    text = page_of(run).text("scores")
    assert "its ledger has 30 pictures and its result 24; the ledger is shown" in text and "30 pictures" in text


def test_rules_of_the_result_hold_for_the_ledger(run: Path) -> None:
    ledger = make_ledger(2)
    changes = {1: 255, 2: 3}
    source = (("geometry", "exact"), ("label_map", {"1": 255, "2": 3}), ("reduce_zero_label", False))
    matrix = ledger.matrix(label_map=changes)
    result = type(make_result(ledger)).of(matrix, VOC.classes, 24, source=source)
    (run / "result.json").write_text(result.to_json())
    page = page_of(run)
    assert f"mIoU {100 * matrix.miou():.2f}" in page.text("scores")
    assert page.row("ignored pixels")[1] == f"{matrix.ignored:,}" != f"{ledger.matrix().ignored:,}"


def test_classes_that_do_not_occur(tmp_path: Path) -> None:
    """Neither labelled nor predicted: absent, last, no bar. Predicted only: IoU 0, and said so."""
    pairs = Pairs(np.array([0, 0, 1]), np.array([0, 3, 1]), np.array([40, 10, 50]))
    write_ledger(tmp_path / "ledger", Ledger(Subject(CLASSES), {"a": Entry("a", "0", (10, 10), pairs)}))
    page = page_of(tmp_path / "ledger")
    shown = [row for row in page.rows if len(row) == 3 and row[0] in CLASSES]
    assert shown == [
        ["road", "", "100.00"], ["background", "", "80.00"], ["tree", "not labelled", "0.00"],
        ["sky", "absent", charts.NONE],
    ]  # fmt: skip
    assert "Absent classes are neither labelled nor predicted" in page.text("classes")
    assert "No row: sky, tree, of which no pixel is labelled." in page.text("confusion")
    assert "nan" not in " ".join(page.sections.values()).casefold()


def test_scores_that_do_not_exist(tmp_path: Path) -> None:
    """Every pixel is ignored."""
    pairs = Pairs(np.array([255]), np.array([0]), np.array([100]))
    write_ledger(tmp_path / "ledger", Ledger(Subject(CLASSES), {"a": Entry("a", "0", (10, 10), pairs)}))
    page = page_of(tmp_path / "ledger")
    assert f"mIoU {charts.NONE} mAcc {charts.NONE} aAcc {charts.NONE}" in page.text("scores")
    assert page.text("classes").count("absent") == 4
    assert "nan" not in " ".join(page.sections.values()).casefold()


def test_predictions_that_are_no_class_have_a_column(tmp_path: Path) -> None:
    pairs = Pairs(np.array([0, 0, 1]), np.array([0, 77, 1]), np.array([40, 10, 50]))
    write_ledger(tmp_path / "ledger", Ledger(Subject(CLASSES), {"a": Entry("a", "0", (10, 10), pairs)}))
    titles = [tag.get("title", "") for tag in page_of(tmp_path / "ledger").tags["td"]]
    assert "background, predicted as no class: 20 % (10 of 50 pixels)" in titles


def test_a_run_without_labels(tmp_path: Path) -> None:
    """``--images``: masks and pictures, no scores."""
    folder = make_run(tmp_path / "run")
    for name in ("result.json", "ledger.jsonl"):
        (folder / name).unlink()
    for path in folder.glob("examples/*_truth.png"):
        path.unlink()
    page = page_of(folder)
    assert "Nothing was scored" in page.text("scores") and "1.92 pictures/s" in page.text("time")
    assert "classes" not in page.sections and "confusion" not in page.sections
    assert "difference" not in page.text("pictures") and page.text("pictures").count("prediction") == 6


# ---- pictures ----


def test_cards_hold_the_picture_and_what_is_laid_over_it(run: Path) -> None:
    (saved,) = read_runs([run])
    cards, legend, faults = make_cards([saved])
    assert not faults and {card.name for card in cards} == {"p00", "p05", "p10", "p15", "p03", "p04"}
    assert saved.side is not None
    scores = {name: saved.side.only([name]).scores["mIoU"] for name in ("p00", "p05", "p10", "p15", "p03", "p04")}
    assert [card.name for card in cards] == sorted(scores, key=lambda name: (scores[name], name))
    (card,) = [card for card in cards if card.name == "p03"]
    labels = scene(3, 21)
    mask = predicted(labels, 3, 2, 21)
    assert (card.width, card.height) == SIZE[::-1] == picture_of(card.picture).size
    colours = np.frombuffer(palette(), np.uint8).reshape(-1, 3)
    for uri, values in ((card.truth, labels), (card.views[0].prediction, mask)):
        drawn = np.asarray(picture_of(uri).convert("RGBA"))
        assert np.array_equal(drawn[..., :3], colours[values])
        assert set(drawn[values == 0][:, 3]) == {110} and set(drawn[values != 0][:, 3]) == {205}
    wrong = (labels != mask) & (labels != 255)
    drawn = np.asarray(picture_of(card.views[0].difference).convert("RGBA"))
    assert np.array_equal(drawn[..., 3] == 255, wrong)
    assert card.views[0].wrong == wrong.sum() / (labels != 255).sum()
    assert card.views[0].score == scores["p03"]
    assert {one.name for one in legend} > {"background", "no class, or not counted"}
    assert next(one.colour for one in legend if one.name == "background") == "#000000"


def test_differences_without_a_background() -> None:
    truth, mask = np.array([[0, 0, 1, 9]]), np.array([[0, 1, 0, 0]])
    assert difference(truth, mask, ("wall", "door")).tolist() == [[0, 3, 3, 4]]
    assert difference(truth, mask, ("Background", "door")).tolist() == [[0, 2, 1, 4]]


def test_pictures_of_several_runs_stand_together(run: Path, tmp_path: Path) -> None:
    second = make_run(tmp_path / "second", shift=6, shown=(0, 7))
    page = page_of(run, second)
    text = page.text("pictures")
    assert text.count("p00") == 1
    ids = {tag["id"] for tag in page.tags["image"] if "id" in tag}
    assert {tag["href"] for tag in page.tags["use"]} == {f"#{one}" for one in ids} and len(ids) == 7
    cards = {card.name: card for card in make_cards(read_runs([run, second]))[0]}
    assert [bool(view.prediction) for view in cards["p00"].views] == [True, True]
    assert [bool(view.prediction) for view in cards["p07"].views] == [False, True]
    assert cards["p07"].views[0].score is not None


def test_a_picture_is_embedded_once_and_small(run: Path) -> None:
    Image.new("RGB", (1200, 800), "navy").save(run / "examples/p00_picture.jpg")
    cards = make_cards(read_runs([run]))[0]
    (card,) = [card for card in cards if card.name == "p00"]
    assert (card.width, card.height) == (480, 320) == picture_of(card.picture).size == picture_of(card.truth).size
    html = render(read_runs([run]))
    assert html.count(card.picture) == 1 and len(html) < 400_000


def test_masks_of_more_than_256_classes(run: Path) -> None:
    for kind in ("truth", "prediction"):
        values = np.asarray(Image.open(run / f"examples/p00_{kind}.png")).astype(np.uint16)
        values[values == 255] = 65_535
        values[:5, :5] = 300
        Image.fromarray(values).save(run / f"examples/p00_{kind}.png")
    cards, _, faults = make_cards(read_runs([run]))
    assert not faults
    drawn = np.asarray(picture_of(next(card.truth for card in cards if card.name == "p00")).convert("RGBA"))[..., :3]
    labels = scene(0, 21)
    assert set(map(tuple, drawn[labels == 255].tolist())) == {(224, 224, 192)}


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: (folder / "p00_picture.jpg").unlink(), "p00_picture.jpg: No such file"),
        (lambda folder: (folder / "p00_picture.jpg").write_bytes(b"\xff\xd8\xff"), "p00_picture.jpg: not a picture"),
        (lambda folder: (folder / "p00_picture.jpg").write_text("<svg onload=alert(1)>"), "jpg: not a picture"),
        (lambda folder: cut(folder / "p00_picture.jpg"), "p00_picture.jpg: damaged picture: "),
        (lambda folder: (folder / "p00_prediction.png").unlink(), "p00_prediction.png: No such file"),
        (lambda folder: Image.new("RGB", SIZE[::-1]).save(folder / "p00_truth.png"), "p00_truth.png: in colours"),
        (lambda folder: Image.new("L", (90, 20)).save(folder / "p00_truth.png"), "it is 90 x 20, the picture 90 x 60"),
        (lambda folder: Image.new("L", (12_000, 8_000)).save(folder / "p00_truth.png"), "96,000,000 pixels"),
        (lambda folder: cut(folder / "p00_truth.png"), "p00_truth.png: damaged PNG"),
    ],
)
def test_a_damaged_picture_is_told(run: Path, break_it: Any, reason: str) -> None:
    break_it(run / "examples")
    written = write_report([run], run.parent / "page.html")
    (fault,) = written.faults
    assert fault.startswith("first: p00 cannot be shown: ") and reason in fault
    page = Page((run.parent / "page.html").read_text())
    assert "p00 cannot be shown" in page.text("pictures") and "p05" in page.text("pictures")


def test_examples_that_are_all_gone(run: Path) -> None:
    shutil.rmtree(run / "examples")
    written = write_report([run], run.parent / "page.html")
    assert len(written.faults) == 6
    assert "No pictures were kept" in Page((run.parent / "page.html").read_text()).text("pictures")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "", "a\0b"])
def test_names_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run", examples={"folder": "examples", "names": [[name, 0.5]]})
    with pytest.raises(
        ValueError, match=r"run\.json is not the record of a run of pspfast: .* within the run's folder"
    ):
        read_runs([folder])


# ---- names of all kinds ----


def test_names_are_harmless(tmp_path: Path) -> None:
    """Classes, pictures, folders, reasons, commands, stages and facts called as badly as can be."""
    names = ("background", EVIL, '" onload="alert(1)', "{{ 7 * 7 }}")
    folder = make_run(
        tmp_path / "a<b>&'\"",
        classes=names,
        shown=(),
        result={"left_out": ((EVIL, EVIL),), "remarks": (("x", "</style>" + EVIL),)},
        failed=[[EVIL, "<img src=x onerror=alert(1)>"]],
        command=["pspfast", EVIL],
        stages={EVIL: 1.0},
        environment={EVIL: EVIL, "url": "https://example.org/x"},
        started=EVIL,
        limited_by=EVIL,
        examples={"folder": "examples", "names": [["<i>x", 0.5]]},
    )
    save_example(folder, "<i>x", scene(0, 4), predicted(scene(0, 4), 0, 2, 4))
    html = tmp_path / "page.html"
    write_report([folder], html, title="</title>" + EVIL)
    text = html.read_text()
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags and "i" in page.tags
    assert not [name for tags in page.tags.values() for tag in tags for name in tag if name.startswith("on")]
    assert EVIL in page.text("classes") and "{{ 7 * 7 }}" in page.text("classes") and "49" not in page.text("facts")
    assert EVIL in page.text("") and EVIL in page.text("facts") and EVIL in page.text("time")
    assert f"pspfast '{EVIL}'" in page.text("commands")


def test_nothing_is_loaded(run: Path, other: Path) -> None:
    page = page_of(run, other)
    for tags in page.tags.values():
        for tag in tags:
            for name in ("href", "src", "xlink:href", "action", "srcset"):
                assert tag.get(name, "#").startswith(("#", "data:")), tag
    css = re.findall(r"<style>(.*?)</style>", (run.parent / "page.html").read_text(), re.DOTALL)
    assert len(css) == 1 and "url(" not in css[0] and "@import" not in css[0]
    (policy,) = [tag["content"] for tag in page.tags["meta"] if "http-equiv" in tag]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_link_has_its_place(run: Path) -> None:
    page = page_of(run)
    ids = [tag["id"] for tags in page.tags.values() for tag in tags if "id" in tag]
    assert len(ids) == len(set(ids))
    for tag in (*page.tags["a"], *page.tags["use"]):
        assert tag["href"][1:] in ids
    for tag in page.tags["section"]:
        assert tag["aria-labelledby"] in ids


def test_pictures_are_told_in_words(run: Path) -> None:
    page = page_of(run)
    pictures = [tag for tag in page.tags["svg"] if tag.get("class", "").startswith("picture")]
    assert len(pictures) == 6 * 4
    assert all(tag["role"] == "img" and tag["aria-label"].startswith("p") for tag in pictures)
    others = [tag for tag in page.tags["svg"] if not tag.get("class", "").startswith("picture")]
    assert others and all(tag["aria-hidden"] == "true" for tag in others)


def test_file_names_that_are_not_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "caf\udce9", shown=())
    write_report([folder], tmp_path / "page.html")
    assert "caf\\udce9" in (tmp_path / "page.html").read_text("utf-8")


# ---- colours ----


def _contrast(first: str, second: str) -> float:
    """WCAG's ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _schemes() -> dict[str, dict[str, str]]:
    css = (Path(charts.__file__).parent / "page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    found = {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text)) for name, text in (("light", light), ("dark", dark))
    }
    assert found["light"].keys() == found["dark"].keys()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(scheme: str) -> None:
    """WCAG AA: 4.5 for text, 3 for figures."""
    colours = _schemes()[scheme]
    for ground in ("paper", "card", "sunken"):
        for ink in ("ink", "quiet", "link", "yes", "no"):
            assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for number in range(6):
            assert _contrast(colours[f"run-{number}"], colours[ground]) >= 3, (number, ground)
    for step in range(len(charts.HEAT_LIMITS) + 2):
        assert _contrast(colours[f"heat-{step}"], colours[f"on-heat-{step}"]) >= 4.5, step


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_heat_goes_one_way(scheme: str) -> None:
    """Lightness alone tells the order: what colour-blind eyes, and grey printers, go by."""
    colours = _schemes()[scheme]
    ratios = [_contrast(colours["paper"], colours[f"heat-{step}"]) for step in range(1, 12)]
    assert ratios == sorted(ratios) and min(np.diff(ratios)) > 0.1


# ---- damaged inputs ----


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "pspfast result"}, "format 'pspfast result'"),
        ({"version": 2}, "of version 2"),
        ({"stages": {"read": "fast"}}, "'fast' is not a finite number of 0 or more"),
        ({"stages": {"read": -1}}, "-1 is not a finite number"),
        ({"stages": ["read"]}, "is not an object"),
        ({"seconds": True}, "True is not a finite number"),
        ({"seconds": float("inf")}, "inf is not a finite number"),
        ({"command": "pspfast run"}, "'pspfast run' is not a list"),
        ({"command": [1]}, "1 is not text"),
        ({"failed": [["a"]]}, "not enough values"),
        ({"examples": {"names": []}}, "no field 'folder'"),
        ({"examples": {"folder": "examples", "names": ["p00"]}}, "'p00' is not a list"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    folder = make_run(tmp_path / "run", **change)
    with pytest.raises(ValueError, match=re.escape(reason)) as raised:
        Record.read(folder / "run.json")
    assert str(raised.value).startswith(f"{folder / 'run.json'} is not the record of a run of pspfast: ")


def test_a_record_may_say_little(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "run.json").write_text(
        '{"format": "pspfast run", "version": 1, "data": null, "model": "m", "canvas": 500}'
    )
    page = page_of(folder)
    assert page.row("canvas") == ["canvas", "500"] and "time" not in page.sections


def test_times_are_worth_reading(tmp_path: Path) -> None:
    nothing = make_run(tmp_path / "run", pictures_per_s=0, seconds=0, stages={"read": 0, "infer": 0})
    assert "0 pictures/s" in page_of(nothing).text("time")


def test_what_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no ledger\.jsonl, result\.json or run\.json; give the folder"):
        SavedRun.read(tmp_path / "empty")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="neither a ledger"):
        SavedRun.read(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        SavedRun.read(tmp_path / "gone")


# ---- the file, and the command ----


def test_the_page_is_whole_or_not_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "deep/er/index.html"
    write_report([run], output)
    before = output.read_bytes()
    assert (
        before.startswith(b"<!DOCTYPE html>") and before.endswith(b"</html>") and [*output.parent.iterdir()] == [output]
    )

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pspfast.system.files.os.write", full)
    with pytest.raises(OSError, match=r"cannot write .*index\.html: No space left"):
        write_report([run], output)
    monkeypatch.undo()
    assert output.read_bytes() == before and [*output.parent.iterdir()] == [output]


def test_jinja2_may_be_missing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"this needs jinja2, .*; pip install 'pspfast\[run\]'"):
        write_report([run], run.parent / "page.html")


def command(*arguments: object, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys; {before}\nfrom pspfast.cli.commands.report import main\nmain(prog_name='pspfast report')"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("run", "other")
def test_command(tmp_path: Path) -> None:
    done = command("first", "second", "--title", "Two of them", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "report/index.html\n", "")
    page = Page((tmp_path / "report/index.html").read_text())
    assert "Two of them" in page.text("") and "✗" in page.text("scores")
    again = "pspfast report first second --output report/index.html --title 'Two of them'"
    assert again in page.text("commands")


@pytest.mark.usefixtures("run")
def test_command_statuses(tmp_path: Path) -> None:
    assert command(cwd=tmp_path).returncode == 2
    done = command("nowhere", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == "nowhere: No such file or directory\n"
    done = command("first", "--baseline", "voc", cwd=tmp_path)
    assert done.returncode == 2 and "--baseline must be voc-opensource, voc-om, or a result" in done.stderr
    make_run(tmp_path / "small", classes=CLASSES)
    done = command("first", "small", cwd=tmp_path)
    assert done.returncode == 2 and "they cannot be compared" in done.stderr and done.stderr.count("\n") == 1
    done = command("first", "--output", "first/ledger.jsonl", cwd=tmp_path)
    assert done.returncode == 2 and "is what this command reads" in done.stderr
    done = command("first", "--output", "first", cwd=tmp_path)
    assert done.returncode == 2 and "first is a folder; give a file for the page, first/index.html say" in done.stderr
    (tmp_path / "file").write_text("")
    done = command("first", "--output", "file/index.html", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("cannot write file: ")
    (tmp_path / "first/examples/p00_truth.png").write_bytes(b"")
    done = command("first", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == "report/index.html\n" and "p00 cannot be shown" in done.stderr
    done = command("first", cwd=tmp_path, before="sys.modules['jinja2'] = None")
    assert done.returncode == 3 and "pip install 'pspfast[run]'" in done.stderr


@pytest.mark.usefixtures("run")
def test_page_to_standard_output(tmp_path: Path) -> None:
    done = command("first", "--output", "/dev/stdout", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("<!DOCTYPE html>") and done.stdout.endswith("</html>")


def test_help_imports_no_jinja2(tmp_path: Path) -> None:
    done = command("--help", cwd=tmp_path, before="sys.modules['jinja2'] = None")
    assert done.returncode == 0 and "voc-opensource" in done.stdout


def test_the_folder_of_a_real_run(shared_data: Path, tmp_path: Path) -> None:
    """What the pipeline writes is what the page reads: nothing is missing, nothing is refused."""
    from bench.costless import CostlessRuntime
    from pspfast.datasets.sources import data_set_source
    from pspfast.stages.whole_run import run

    class Bright(CostlessRuntime):
        def _run(self, batch: Any) -> list[Any]:
            return [((batch.astype(np.float32).sum(1) > 2) * 15)[:, None].astype(self.outputs[0].dtype)]

    (tmp_path / "model").write_text("none")
    found = run(
        tmp_path / "model",
        data_set_source(shared_data / "voc/VOC2012"),
        tmp_path / "run",
        runtime=lambda _: Bright(4, (500, 500), "float16", "int32"),
        command=["pspfast", "run"],
        report=False,
    )
    assert found.result is not None
    page = page_of(tmp_path / "run")
    assert f"mIoU {100 * found.result.summary()['mIoU']:.2f}" in page.text("scores") and "73 pictures" in page.text(
        "scores"
    )
    assert len([tag for tag in page.tags["svg"] if tag.get("class", "").startswith("picture")]) == 6 * 4
    assert "person" in page.text("pictures") and f"{found.limited_by} limits" in page.text("time")
    assert page.row("canvas")[1] == "500 x 500" and page.row("geometry")[1] == "exact"
