"""The report as a reader sees it: in headless Chromium, wide and as a phone, light and dark, on paper.

``PSPFAST_REQUIRE_ALL_TOOLS=1`` makes a missing browser a failure. ``PSPFAST_KEEP_SCREENSHOTS=DIR`` keeps the pictures.
"""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pspfast.report.page import write_report
from tests import browser
from tests.report_runs import make_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

pytest.importorskip("jinja2", reason="not installed: jinja2 (pip install 'pspfast[run]')")

LONG = "a_class_whose_name_is_so_long_that_no_phone_and_hardly_any_screen_has_the_room_for_it_in_one_line"
# What reaches beyond the window to the right, and is in no container of its own that scrolls.
BEYOND = """
[...document.querySelectorAll("body *")].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width && box.right > document.documentElement.clientWidth + 0.5 && !one.closest(".scroll, .unseen, .skip");
}).map(one => one.tagName + "." + one.getAttribute("class"))
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    program = browser.find()
    if program is None:
        reason = f"no browser found: none of {', '.join(browser.NAMES)} is installed"
        if os.environ.get("PSPFAST_REQUIRE_ALL_TOOLS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with browser.Browser(program, tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs of 21 classes side by side; one alone; names as long and as bad as can be; a result alone."""
    folder = tmp_path_factory.mktemp("pages")
    first, second = make_run(folder / "pytorch-fp32"), make_run(folder / "ascend-om-fp16", shift=6)
    names = ("background", LONG, "<script>document.title = 'taken'; console.error('run')</script>", "x" * 200)
    odd = make_run(
        folder / ("odd" * 30),
        classes=names,
        shown=(0, 1),
        command=["pspfast", "run", "--images", "/" + "folder/" * 40, LONG],
        environment={"cpu": LONG, LONG: "y" * 300},
        failed=[[LONG, "z" * 200]],
        stages={"w" * 60: 10_000.0, "infer": 123_456.0},
    )
    found = {"two": [first, second], "one": [first], "odd": [odd], "result": [first / "result.json"]}
    for name, results in found.items():
        baseline = "voc-opensource" if name == "one" else None
        assert not write_report(results, folder / f"{name}.html", baseline=baseline).faults
    return {name: folder / f"{name}.html" for name in found}


def seen(chromium: browser.Browser, name: str) -> NDArray[np.uint8]:
    data = chromium.screenshot()
    if folder := os.environ.get("PSPFAST_KEEP_SCREENSHOTS"):
        Path(folder, f"{name}.png").write_bytes(data)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ["two", "one", "odd", "result"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page(chromium: browser.Browser, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    chromium.open(pages[name], width, scheme)
    picture = seen(chromium, f"{name}-{width}-{scheme}")

    assert picture.shape[1] == width and picture.shape[0] > 1000
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value(BEYOND) == []

    corner = picture[2, 2].mean()
    assert corner < 60 if scheme == "dark" else corner > 200
    # Nowhere is it empty for the height of a screen, and everywhere it is more than one colour.
    ground = (picture == picture[2, 2]).all(axis=2).all(axis=1)
    ends = np.flatnonzero(np.diff(np.concatenate(([0], ground, [0])).astype(int)))
    assert max(ends[1::2] - ends[::2]) < 200
    assert len(np.unique(picture.astype(np.int64) @ (1 << 16, 1 << 8, 1))) > (300 if name != "result" else 60)

    assert chromium.seen.errors == []
    assert chromium.seen.requests == [pages[name].resolve().as_uri()]


def test_scripts_in_names_do_not_run(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["odd"], 1280, "light")
    assert chromium.value("document.title").endswith("· pspfast report")
    assert chromium.value("document.scripts.length") == 0
    assert "<script>document.title" in chromium.value("document.body.innerText")


def test_tall_figures_scroll_in_their_own_container(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["two"], 360, "light")
    wide = chromium.value(
        "[...document.querySelectorAll('.scroll')].map(one => [one.scrollWidth > one.clientWidth,"
        " getComputedStyle(one).overflowX, one.tabIndex])"
    )
    assert wide == [[True, "auto", 0]] * 3  # two heat maps and the facts
    chromium.value("document.querySelector('.scroll').scrollLeft = 200")
    heading = "document.querySelector('table.heat tbody th').getBoundingClientRect().left"
    assert chromium.value(heading) == pytest.approx(
        chromium.value("document.querySelector('.scroll').getBoundingClientRect().left")
    )


def test_bars_are_as_long_as_what_they_stand_for(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    for width in (360, 1280):
        chromium.open(pages["two"], width, "light")
        measured = chromium.value("""
            [...document.querySelectorAll("table.classes tbody tr")].map(row => {
              const [track, fill] = row.querySelectorAll("rect");
              return [fill.getBoundingClientRect().width / track.getBoundingClientRect().width,
                      parseFloat(row.querySelector(".number").textContent), track.getBoundingClientRect().width];
            })""")
        assert len(measured) == 42
        for share, told, length in measured:
            assert 100 * share == pytest.approx(told, abs=0.01) and length >= 100


def test_masks_are_drawn_and_step_aside(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    """The labels lie over the picture, the difference over a grey one; pointing at them shows what is beneath."""
    chromium.open(pages["two"], 1280, "light")
    chromium.value("document.querySelector('.card').scrollIntoView({behavior: 'instant'})")
    boxes = chromium.value("""
        [...document.querySelector(".card").querySelectorAll("svg")].slice(0, 4).map(one => {
          const box = one.getBoundingClientRect();
          return [Math.round(box.left), Math.round(box.top), Math.round(box.right), Math.round(box.bottom)];
        })""")

    def parts() -> list[NDArray[Any]]:
        with Image.open(io.BytesIO(chromium.screenshot(whole=False))) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        return [pixels[top + 4 : bottom - 4, left + 4 : right - 4] for left, top, right, bottom in boxes]

    picture, truth, prediction, wrong = parts()
    assert all(part.std() > 10 for part in (picture, truth, prediction, wrong))
    assert abs(picture - truth).mean() > 10 and abs(truth - prediction).mean() > 2
    is_grey = np.ptp(wrong, axis=2) < 8
    assert 0.5 < is_grey.mean() < 1 and np.ptp(picture, axis=2).mean() > 20
    left, top, right, bottom = boxes[1]
    chromium.point_at((left + right) / 2, (top + bottom) / 2)
    chromium.value("new Promise(done => setTimeout(done, 400))")
    assert abs(parts()[1] - picture).mean() < 0.3 * abs(truth - picture).mean()


def test_headings_and_names_for_those_who_hear_it(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["two"], 1280, "light")
    levels = chromium.value("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => +one.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert chromium.value("document.documentElement.lang") == "en"
    unnamed = (
        "[...document.querySelectorAll('svg')].filter(one => !one.closest('[aria-hidden]') && !one.ariaLabel).length"
    )
    assert chromium.value(unnamed) == 0


def test_it_prints(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["two"], 1280, "dark")
    data = chromium.print_pdf()
    assert data.startswith(b"%PDF-") and 4 <= data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") <= 20
    chromium.emulate_paper()
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.value("document.documentElement.scrollWidth") <= 700
    assert chromium.value("[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= 701)")
