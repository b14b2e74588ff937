"""Outputs replace nothing but outputs, and what killed processes left goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.costless import CostlessRuntime
from pspfast.cli.main import main
from pspfast.datasets.sources import data_set_source, picture_source
from pspfast.formats.bins import BinFolder
from pspfast.stages.counting import is_own_mask, write_mask
from pspfast.stages.postprocessing import postprocess
from pspfast.stages.preprocessing import preprocess
from pspfast.stages.whole_run import run
from pspfast.system.files import remove_leftovers, replace_file
from pspfast.system.output_conflicts import MARK, check_folder, check_outputs, own_folder
from tests.test_run import SIZE as RUN_SIZE
from tests.test_run import ArgMax, files, make_voc


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "VOC2012", 5)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- one file


def test_an_output_is_no_input_and_nothing_in_a_folder_that_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "notes.txt", "old.json", "table.csv", "result.txt", "list.info"):
        (folder / name).write_bytes(b"x")
    (folder / "table.csv").write_bytes(b"class,IoU,Acc\nroad,1,1\n")
    (folder / "result.txt").write_bytes(b"mIoU: 0.5\n")
    (folder / "list.info").write_bytes(b"0 ./a b.bin 500 375\n")
    for name in ("a.jpg", "notes.txt"):
        with pytest.raises(ValueError, match=r"is in a folder that this command reads.*choose another file"):
            check_outputs([str(folder / name)], [str(folder)])
    for name in ("old.json", "new.csv", "table.csv", "result.txt", "list.info"):
        check_outputs([None, str(folder / name)], [str(folder), None])
    with pytest.raises(ValueError, match="is what this command reads"):
        check_outputs([str(folder / "old.json")], [str(folder), str(tmp_path / "pictures/../pictures/old.json")])
    (tmp_path / "link").symlink_to(folder / "a.jpg")
    with pytest.raises(ValueError, match="in a folder that this command reads"):
        check_outputs([str(tmp_path / "link")], [str(folder)])
    check_outputs([str(tmp_path / "pictures2.txt")], [str(folder)])  # beside it


@pytest.mark.parametrize("option", ["--json", "--csv", "--result-file", "--ledger"])
def test_postprocess_does_not_replace_what_it_scores(tmp_path: Path, voc: Path, option: str) -> None:
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    (dumps / "2007_000000_1.bin").write_bytes(bytes(4 * 60 * 80))
    before = everything(tmp_path)
    for target in (
        dumps / "2007_000000_1.bin",
        voc / "SegmentationClass/2007_000000.png",
        voc / "JPEGImages/2007_000000.jpg",
    ):
        line = [
            "postprocess",
            "--bin-data-path",
            dumps,
            "--root",
            voc,
            "--net-input-height",
            60,
            "--net-input-width",
            80,
        ]
        if option != "--result-file":
            line += ["--result-file", tmp_path / "r.txt"]
        done = CliRunner().invoke(main, [*map(str, line), option, str(target)])
        assert done.exit_code == 2, done.output
        assert str(target) in done.stderr
    assert everything(tmp_path) == before


def test_get_info_does_not_replace_a_picture(tmp_path: Path, voc: Path) -> None:
    pictures = voc / "JPEGImages"
    before = everything(tmp_path)
    done = CliRunner().invoke(main, ["get-info", "jpg", str(pictures), str(pictures / "2007_000000.jpg")])
    assert done.exit_code == 2
    assert everything(tmp_path) == before
    for _ in range(2):
        done = CliRunner().invoke(main, ["get-info", "jpg", str(pictures), str(pictures / "voc.info")])
        assert done.exit_code == 0, done.output


# ---- folders


def test_a_folder_without_a_mark_keeps_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    check_folder(folder, (MARK,), ["a.png"])  # it need not be there
    folder.mkdir()
    (folder / "a.png").write_bytes(b"mine")
    (folder / "b.png").mkdir()
    with pytest.raises(ValueError, match=r"masks/a\.png is there and would be replaced.*move it away"):
        own_folder(folder, ["b.png", "a.png"])
    assert sorted(os.listdir(folder)) == ["a.png", "b.png"]
    own_folder(folder, ["b.png", "c.png"])
    own_folder(folder, ["a.png"])  # it is ours from here on
    with pytest.raises(ValueError, match=r"/x_summary\.json is there"):
        (tmp_path / "x_summary.json").write_bytes(b"{}")
        check_folder(tmp_path / "x", (MARK,), ["../x_summary.json"])


def test_bins_of_others_are_not_replaced(tmp_path: Path, voc: Path) -> None:
    bins = tmp_path / "bins"
    bins.mkdir()
    (bins / "2007_000003.bin").write_bytes(b"made by another program")
    with pytest.raises(ValueError, match=r"2007_000003\.bin is there and would be replaced"):
        preprocess(voc / "JPEGImages", bins, size=RUN_SIZE)
    assert os.listdir(bins) == ["2007_000003.bin"]
    (bins / "2007_000003.bin").rename(bins / "other.bin")
    assert preprocess(voc / "JPEGImages", bins, size=RUN_SIZE).strays == 1
    # What an earlier call wrote is replaced as ever, with other options and after a kill.
    assert preprocess(voc / "JPEGImages", bins, size=(30, 30)).kept == 0
    (bins / "manifest.json").rename(bins / ".manifest.journal")
    assert preprocess(voc / "JPEGImages", bins, size=RUN_SIZE).pictures == 5


@pytest.mark.parametrize("layout", ["benchmark", "ais_bench"])
def test_dumps_of_others_are_not_replaced(tmp_path: Path, voc: Path, model: Path, layout: str) -> None:
    from pspfast.stages.inference import infer

    preprocess(voc / "JPEGImages", tmp_path / "bins", size=RUN_SIZE)
    folder = tmp_path / "dumpOutput_device0"
    folder.mkdir()
    taken = folder / "2007_000001_1.bin" if layout == "benchmark" else tmp_path / "dumpOutput_device0_summary.json"
    taken.write_bytes(b"of the vendor's tool")
    with pytest.raises(ValueError, match=rf"{taken.name} is there and would be replaced"):
        infer(model, tmp_path / "bins", tmp_path, runtime=lambda _: ArgMax(), layout=layout)  # type: ignore[arg-type]
    assert taken.read_bytes() == b"of the vendor's tool"
    taken.unlink()
    for _ in range(2):
        infer(model, tmp_path / "bins", tmp_path, runtime=lambda _: ArgMax(), layout=layout)  # type: ignore[arg-type]


def test_masks_of_others_are_not_replaced(tmp_path: Path, voc: Path) -> None:
    dumps, masks = tmp_path / "dumps", tmp_path / "annotations"
    for folder in (dumps, masks):
        folder.mkdir()
    (dumps / "2007_000000_1.bin").write_bytes(bytes(4 * 60 * 80))
    (masks / "2007_000000.png").write_bytes(b"drawn by hand")
    options = {"label_folder": voc / "SegmentationClass", "size": RUN_SIZE, "masks": masks}
    with pytest.raises(ValueError, match=r"annotations/2007_000000\.png is there"):
        postprocess(dumps, **options)  # type: ignore[arg-type]
    assert everything(masks) == {"2007_000000.png": b"drawn by hand"}
    (masks / "2007_000000.png").unlink()
    for _ in range(2):
        postprocess(dumps, **options)  # type: ignore[arg-type]
    assert os.listdir(masks) == ["2007_000000.png"]
    for palette in (None, bytes(range(256)) * 3):  # as other programs write labels
        drawn = Image.new("L", (80, 60))
        if palette:
            drawn.putpalette(palette)
        drawn.save(masks / "2007_000000.png")
        with pytest.raises(ValueError, match=r"annotations/2007_000000\.png is there"):
            postprocess(dumps, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_classes", [2, 256, 257, 1000])
def test_masks_are_known_by_their_content(tmp_path: Path, num_classes: int) -> None:
    path = tmp_path / "a.png"
    for size in ((1, 1), (300, 400)):
        write_mask(str(path), np.ones(size, np.int32), num_classes)
        assert is_own_mask(str(path))
    Image.open(path).convert("RGB").save(path)
    assert not is_own_mask(str(path))
    path.write_bytes(b"")
    assert not is_own_mask(str(path))


# ---- a run's folder


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("result.json", {}),
        ("run.json", {}),
        ("voc_seg_result.txt", {}),
        ("ledger.jsonl", {}),
        ("report/index.html", {"report": lambda *_: None}),
        ("examples/2007_000003_picture.jpg", {}),
        ("masks/2007_000003.png", {"keep_masks": True}),
        ("overlays/2007_000003.jpg", {"keep_overlays": True}),
        ("bins/2007_000003.bin", {"keep_bins": True}),
        ("dumps/2007_000003_1.bin", {"keep_bins": True}),
    ],
)
@pytest.mark.parametrize("resume", [True, False])
def test_a_run_replaces_nothing_that_is_not_a_runs(
    voc: Path, model: Path, tmp_path: Path, name: str, options: dict[str, bool], resume: bool
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine, and no copy of it")
    with data_set_source(voc) as source:
        with pytest.raises(ValueError, match=rf"{name} is there .*move it away"):
            run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), resume=resume, **options)  # type: ignore[arg-type]
        assert path.read_bytes() == b"mine, and no copy of it"
        path.unlink()
        for _ in range(2):
            done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), resume=resume, **options)  # type: ignore[arg-type]
            assert done.pictures == 5


def test_what_else_is_in_a_runs_folder_stays(voc: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = [out / name for name in ("notes.txt", "examples/holiday_picture.jpg", "masks/drawn.png", "report/style.css")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    with data_set_source(voc) as source:
        for resume in (True, True, False):
            run(model, source, out, runtime=lambda _: ArgMax(), keep_masks=True, resume=resume, report=_page)
    assert all(path.read_bytes() == b"mine" for path in mine)


def _page(folders: list[str], path: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(f'<meta name="generator" content="pspfast 0.1"> of {folders}')


class Stops(CostlessRuntime):
    """Cannot do the third picture."""

    def __init__(self) -> None:
        super().__init__(1, RUN_SIZE)
        self._left = 2

    def _run(self, batch: object) -> list[object]:  # type: ignore[override]
        if not self._left:
            raise RuntimeError("the device is gone")
        self._left -= 1
        return super()._run(batch)  # type: ignore[arg-type, return-value]


def test_a_run_that_starts_over_and_fails_leaves_nothing_of_the_one_before(
    voc: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with data_set_source(voc) as source:
        run(
            model, source, out, runtime=lambda _: ArgMax(), keep_masks=True, keep_overlays=True, keep_bins=True,
            report=_page,
        )  # fmt: skip
        assert {"masks", "overlays", "examples", "dumps", "report", "result.json"} <= {*os.listdir(out)}
        model.write_bytes(b"another one")
        began = model.stat().st_mtime_ns
        done = run(model, source, out, runtime=lambda _: Stops(), workers=1, resume=False, report=_page)
    assert done.stopped and done.report == ""
    left = everything(out)
    assert not [name for name in left if name.startswith(("masks/2", "overlays/2", "dumps/2", "report/"))]
    assert not [name for name in left if name.endswith(("_picture.jpg", "_truth.png"))]
    assert not {"result.json", "run.json", "voc_seg_result.txt"} & left.keys()
    # The engine gave two of the five. Which ones is chance, and the ledger has those that come first in the split.
    shown = {name for name in left if name.startswith("examples/2")}
    assert len(shown) <= 2 and done.pictures <= 2
    assert all((out / name).stat().st_mtime_ns >= began for name in shown)


def test_pictures_that_are_done_again_and_fail_have_no_mask_of_before(voc: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with data_set_source(voc) as source:
        run(model, source, out, runtime=lambda _: ArgMax(), keep_masks=True, report=_page)
    (voc / "JPEGImages/2007_000001.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    with data_set_source(voc) as source:
        done = run(model, source, out, runtime=lambda _: ArgMax(), keep_masks=True)
    assert (done.kept, len(done.failed)) == (4, 1)
    assert sorted(files(out / "masks")) == [f"2007_{number:06d}.png" for number in (0, 2, 3, 4)]
    assert not (out / "report/index.html").exists()  # it told other scores


def test_pages_that_were_not_written_are_not_told(voc: Path, model: Path, tmp_path: Path) -> None:
    from pspfast.system.files import OutputError

    def fails(_: list[str], path: str) -> None:
        raise OutputError(path, OSError(28, "No space left on device"))

    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=fails)
        assert done.report == "" and len(done.unwritten) == 1
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=_page)
    assert done.report == str(tmp_path / "out/report/index.html")


@pytest.mark.parametrize("name", ["ledger.jsonl", "run.json", "voc_seg_result.txt"])
def test_one_file_is_not_two_outputs_of_a_run(voc: Path, model: Path, tmp_path: Path, name: str) -> None:
    line = ["run", "--voc-root", voc, "--model", model, "--output", tmp_path / "out", "--json", tmp_path / "out" / name]
    done = CliRunner().invoke(main, list(map(str, line)))
    assert done.exit_code == 2
    assert "cannot be two outputs at once" in done.stderr


def test_run_does_not_replace_what_it_reads(voc: Path, model: Path, tmp_path: Path) -> None:
    before = everything(tmp_path)
    split = voc / "ImageSets/Segmentation/val.txt"
    for target in (voc / "JPEGImages/2007_000000.jpg", split, model):
        line = ["run", "--voc-root", voc, "--model", model, "--output", tmp_path / "out", "--csv", target]
        done = CliRunner().invoke(main, list(map(str, line)))
        assert done.exit_code == 2 and str(target) in done.stderr
    assert everything(tmp_path) == before


def test_a_page_replaces_pages_only(tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="writes a page")
    from tests.report_runs import make_run

    folder = make_run(tmp_path / "run")
    page = tmp_path / "report/index.html"
    page.parent.mkdir()
    page.write_text("<html>my own site</html>")
    done = CliRunner().invoke(main, ["report", str(folder), "--output", str(page)])
    assert done.exit_code == 2 and "pspfast did not write it" in done.stderr
    assert page.read_text() == "<html>my own site</html>"
    page.unlink()
    for _ in range(2):
        assert CliRunner().invoke(main, ["report", str(folder), "--output", str(page)]).exit_code == 0


# ---- what killed processes leave


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_leftovers_are_those_that_replace_file_would_leave(tmp_path: Path) -> None:
    seen = []
    replace_file(str(tmp_path / ".run.plan"), lambda _: seen.extend(os.listdir(tmp_path)))
    (tmp_path / ".run.plan").unlink()
    kept = [".b.part", ".hidden", "c.12.part", ".12.part", "..12.part", ".a.png.x.part", ".a.png.12.partly"]
    gone = [".a.bin.123.part", "..run.plan.7.part", ".2007_1.png.5.part", ".index.html.1.part", *seen]
    for name in (*kept, *gone):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    remove_leftovers(tmp_path / "nowhere")


def test_in_a_shared_folder_what_others_write_stays(tmp_path: Path) -> None:
    alive, dead = f".a.png.{os.getppid()}.part", f".a.png.{dead_process()}.part"
    for name in (alive, dead):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path, shared=True)
    assert os.listdir(tmp_path) == [alive]


def test_resuming_removes_leftovers_everywhere(voc: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def again() -> None:
        with data_set_source(voc) as source:
            run(
                model, source, out, runtime=lambda _: ArgMax(), keep_masks=True, keep_overlays=True, keep_bins=True,
                report=_page,
            )  # fmt: skip

    again()
    before = sorted(everything(out))
    left = [
        ".ledger.jsonl", "..run.plan", ".result.json", "masks/.a.png", "overlays/.a.jpg", "examples/.a_truth.png",
        "report/.index.html", "bins/.a.bin", "bins/..manifest.journal", "dumps/.a_1.bin",
    ]  # fmt: skip
    for name in left:
        (out / f"{name}.4194000.part").write_bytes(b"half")
    again()
    assert sorted(everything(out)) == before


def test_commands_remove_what_their_killed_runs_left(tmp_path: Path, voc: Path) -> None:
    process = dead_process()
    dumps, masks = tmp_path / "dumps", tmp_path / "masks"
    for folder in (dumps, masks):
        folder.mkdir()
    (dumps / "2007_000000_1.bin").write_bytes(bytes(4 * 60 * 80))
    left = [masks / f".2007_000000.png.{process}.part", tmp_path / f".scores.json.{process}.part"]
    others = tmp_path / f".others.json.{process}.part"
    for path in (*left, others):
        path.write_bytes(b"half")
    line = [
        "postprocess", "--bin-data-path", dumps, "--ann-dir", voc / "SegmentationClass", "--net-input-height", 60,
        "--net-input-width", 80, "--save-masks", masks, "--json", tmp_path / "scores.json",
        "--result-file", tmp_path / "r",
    ]  # fmt: skip
    done = CliRunner().invoke(main, list(map(str, line)))
    assert done.exit_code == 0, done.output
    assert not any(path.exists() for path in left) and others.exists()


def test_the_folder_of_bins_is_told_by_manifest_or_journal(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="would be replaced"):
        BinFolder(tmp_path, {}, "", resume=True, names=["a.bin"])
    assert os.listdir(tmp_path) == ["a.bin"]


def test_pictures_without_labels_keep_to_their_own_as_well(voc: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out/overlays").mkdir(parents=True)
    (tmp_path / "out/overlays/2007_000000.jpg").write_bytes(b"mine")
    with picture_source(voc / "JPEGImages") as source, pytest.raises(ValueError, match="overlays/2007_000000"):
        run(model, source, tmp_path / "out", runtime=lambda _: ArgMax())
    assert everything(tmp_path / "out") == {"overlays/2007_000000.jpg": b"mine"}
