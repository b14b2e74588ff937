"""A run is the three stages one after the other, whatever its batch, its workers, and how often it was killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.costless import CostlessRuntime
from pspfast.cli.commands.run import main
from pspfast.datasets import VOC, sources
from pspfast.datasets.sources import data_set_source, picture_source
from pspfast.formats.ledger import Ledger
from pspfast.formats.result import Result
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.stages.inference import infer
from pspfast.stages.model_input import InputOptions
from pspfast.stages.postprocessing import postprocess
from pspfast.stages.preprocessing import preprocess
from pspfast.stages.whole_run import Run, run
from pspfast.stages.whole_run import running as pipeline
from pspfast.system.files import OutputError
from pspfast.system.locks import FolderBusyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = (60, 80)


class ArgMax(CostlessRuntime):
    """Labels a pixel with its largest channel, and the row it is in: depends on every byte that it is given."""

    def __init__(self, batch: int | None = 1, dtype: str = "float32", labels: str = "int64", delay: float = 0) -> None:
        super().__init__(batch, SIZE, dtype, labels)
        self._delay = delay

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        time.sleep(self._delay)
        found = batch.argmax(1) + 3 * (np.abs(batch).sum(1) > 2)
        return [found[:, None].astype(self.outputs[0].dtype)]


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Pictures of several sizes, drawn; noise and squares."""
    return make_voc(tmp_path / "VOC2012", 21)


def make_voc(root: Path, count: int) -> Path:
    generator = np.random.default_rng(7)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    names = []
    for number in range(count):
        name = f"2007_{number:06d}"
        height, width = ((60, 80), (80, 60), (41, 97), (75, 100))[number % 4]
        pixels = generator.integers(0, 256, (height // 10 + 1, width // 10 + 1, 3), np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(root / "JPEGImages" / f"{name}.jpg", quality=90)
        labels = generator.integers(0, 6, (height // 10 + 1, width // 10 + 1), np.uint8)
        labels[0, 0] = 255
        Image.fromarray(labels).resize((width, height), 0).save(root / "SegmentationClass" / f"{name}.png")
        names.append(name)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(names) + "\n")
    return root


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def by_stages(root: Path, model: Path, out: Path, runtime: Any, batch: int = 1, **options: Any) -> Path:
    """The same with files between the stages."""
    split = root / "ImageSets/Segmentation/val.txt"
    preprocess(root / "JPEGImages", out / "bins", split, size=SIZE, **options)
    infer(model, out / "bins", out, runtime=runtime, batch=batch)
    dumps = out / "dumpOutput_device0"
    found = postprocess(
        dumps,
        manifest=out / "bins",
        label_folder=root / "SegmentationClass",
        split=split,
        ledger=out / "ledger.jsonl",
        masks=out / "masks",
    )
    (out / "result.json").write_text(found.result.to_json())
    (out / "voc_seg_result.txt").write_text(found.result.published())
    return out


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_stages_one_after_the_other(voc: Path, model: Path, tmp_path: Path, batch: int, workers: int) -> None:
    def runtime(_: int) -> ArgMax:
        return ArgMax(batch)

    wanted = by_stages(voc, model, tmp_path / "wanted", runtime, batch)
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=runtime, workers=workers, keep_bins=True, keep_masks=True)
    assert (done.pictures, done.failed, done.stopped, done.unwritten) == (21, (), "", ())
    out = tmp_path / "out"
    for name in ("ledger.jsonl", "result.json", "voc_seg_result.txt"):
        assert (out / name).read_bytes() == (wanted / name).read_bytes(), name
    assert files(out / "bins") == files(wanted / "bins")
    assert files(out / "dumps") == files(wanted / "dumpOutput_device0")
    assert files(out / "masks") == files(wanted / "masks")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("labels", ["int64", "int32", "uint8", "float32", "bool"])
def test_types_of_models(voc: Path, model: Path, tmp_path: Path, dtype: str, labels: str) -> None:
    def runtime(_: int) -> ArgMax:
        return ArgMax(4, dtype, labels)

    wanted = by_stages(voc, model, tmp_path / "wanted", runtime, 4)
    with data_set_source(voc) as source:
        run(model, source, tmp_path / "out", runtime=runtime)
    for name in ("ledger.jsonl", "result.json"):
        assert (tmp_path / "out" / name).read_bytes() == (wanted / name).read_bytes(), name


def test_pictures_in_full_precision(voc: Path, model: Path, tmp_path: Path) -> None:
    wanted = by_stages(voc, model, tmp_path / "wanted", lambda _: ArgMax(), stats="exact", dtype="float32")
    with data_set_source(voc) as source:
        wishes = InputOptions(stats="exact", dtype="float32")
        run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), input_options=wishes, keep_bins=True)
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == (wanted / "ledger.jsonl").read_bytes()
    assert files(tmp_path / "out/bins") == files(wanted / "bins")


class Scores(ArgMax):
    """Class scores in place of labels."""

    def __init__(self) -> None:
        super().__init__(4)
        self.outputs = (type(self.outputs[0])("output", "float32", (4, 21, *SIZE)),)

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        return [np.concatenate([batch * (number + 1) for number in range(7)], axis=1)]


def test_class_scores(voc: Path, model: Path, tmp_path: Path) -> None:
    wanted = by_stages(voc, model, tmp_path / "wanted", lambda _: Scores(), 4)
    with data_set_source(voc) as source:
        run(model, source, tmp_path / "out", runtime=lambda _: Scores())
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == (wanted / "ledger.jsonl").read_bytes()


def test_real_pictures_and_a_real_runtime(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="runs a model")
    pytest.importorskip("onnx", reason="makes a model")
    from tests.runtimes.small_models import labels_model

    root = shared_data / "voc/VOC2012"
    path = labels_model(tmp_path / "labels.onnx", batch=None, size=SIZE)
    wanted = by_stages(root, path, tmp_path / "wanted", "auto", 16)
    with data_set_source(root) as source:
        done = run(path, source, tmp_path / "out", batch=16, keep_masks=True)
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == (wanted / "ledger.jsonl").read_bytes()
    assert (tmp_path / "out/result.json").read_bytes() == (wanted / "result.json").read_bytes()
    assert files(tmp_path / "out/masks") == files(wanted / "masks")
    assert done.runtime["runtime"] == "onnxruntime"


CHILD = """
import sys
from pathlib import Path
from pspfast.stages.whole_run import run
from pspfast.datasets.sources import data_set_source
from tests.test_run import ArgMax
root, model, out, batch = sys.argv[1:]
with data_set_source(root) as source:
    runtime = lambda _: ArgMax(int(batch), delay=0.02)
    run(model, source, out, runtime=runtime, workers=2, keep_masks=True, keep_bins=True)
"""


@pytest.mark.parametrize("batch", [1, 4])
def test_killed_again_and_again(voc: Path, model: Path, tmp_path: Path, batch: int) -> None:
    with data_set_source(voc) as source:
        run(
            model, source, tmp_path / "wanted", runtime=lambda _: ArgMax(batch), keep_masks=True, keep_bins=True,
            report=False,
        )  # fmt: skip
    wanted, out = tmp_path / "wanted", tmp_path / "out"
    generator = np.random.default_rng(batch)
    counted = []
    for _ in range(12):
        arguments = [sys.executable, "-c", CHILD, str(voc), str(model), str(out), str(batch)]
        child = subprocess.Popen(arguments, cwd=Path(__file__).parents[1])
        before = len(Ledger.read(out / "ledger.jsonl").entries) if (out / "ledger.jsonl").exists() else 0
        until = before + int(generator.integers(1, 6))
        for _ in range(2000):  # let it count a few
            lines = (out / "ledger.jsonl").read_bytes().count(b"\n") - 1 if (out / "ledger.jsonl").exists() else 0
            if lines >= until or child.poll() is not None:
                break
            time.sleep(0.01)
        ended = child.poll()
        child.kill()
        child.wait()
        counted.append(lines)
        if ended == 0:
            break
    assert counted == sorted(counted)
    assert 0 < counted[0] < 21  # it was really killed on its way
    with data_set_source(voc) as source:
        done = run(model, source, out, runtime=lambda _: ArgMax(batch), keep_masks=True, keep_bins=True, report=False)
    assert done.kept >= counted[-1] > 0
    for name in ("ledger.jsonl", "result.json", "voc_seg_result.txt"):
        assert (out / name).read_bytes() == (wanted / name).read_bytes(), name
    for name in ("bins", "dumps", "masks", "examples"):
        assert files(out / name) == files(wanted / name), name


class Counting(ArgMax):
    """Notes how many pictures it was given."""

    def __init__(self, seen: list[int], **options: Any) -> None:
        super().__init__(**options)
        self._seen = seen

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        self._seen.append(len(batch))
        return super()._run(batch)


def test_what_is_done_is_not_done_again_unless_it_changed(voc: Path, model: Path, tmp_path: Path) -> None:
    def again(**options: Any) -> tuple[Run, int]:
        seen: list[int] = []
        with data_set_source(voc) as source:
            done = run(model, source, tmp_path / "out", runtime=lambda _: Counting(seen), report=False, **options)
        return done, sum(seen)

    first, ran = again()
    assert (first.kept, ran) == (0, 21)
    kept = files_but_record(tmp_path / "out")
    second, ran = again()
    assert (second.kept, second.pictures, ran) == (21, 21, 0)
    assert files_but_record(tmp_path / "out") == kept
    assert scores_of(second) == scores_of(first)

    os.utime(voc / "JPEGImages/2007_000003.jpg", (1, 1))
    os.utime(voc / "SegmentationClass/2007_000005.png", (1, 1))
    third, ran = again()
    assert (third.kept, ran) == (19, 2)
    assert scores_of(third) == scores_of(first)
    assert len(Ledger.read(tmp_path / "out/ledger.jsonl").entries) == 21
    assert (tmp_path / "out/ledger.jsonl").read_bytes().count(b"\n") == 22

    fourth, ran = again(keep_masks=True)  # which are not there yet
    assert (fourth.kept, ran) == (0, 21)
    fifth, ran = again(resume=False)
    assert (fifth.kept, ran) == (0, 21)


def scores_of(done: Run) -> str:
    assert done.result is not None
    return done.result.to_json()


def files_but_record(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".") and path.name != "run.json"
    }


def test_another_model_does_not_go_on_with_this_ones_scores(voc: Path, model: Path, tmp_path: Path) -> None:
    with data_set_source(voc) as source:
        run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False)
        kept = (tmp_path / "out/ledger.jsonl").read_bytes()
        model.write_bytes(b"another model")
        with pytest.raises(ValueError, match=r"a run of another kind \(model .*--no-resume"):
            run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False)
        assert (tmp_path / "out/ledger.jsonl").read_bytes() == kept
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), resume=False, report=False)
    assert done.kept == 0


def test_two_runs_at_once(voc: Path, model: Path, tmp_path: Path) -> None:
    def second() -> None:
        with data_set_source(voc) as source, pytest.raises(FolderBusyError):
            run(model, source, tmp_path / "out", runtime=lambda _: ArgMax())
        refused.set()

    class Meeting(ArgMax):
        def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
            if not refused.is_set():
                second()
            return super()._run(batch)

    refused = threading.Event()
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: Meeting(), report=False)
    assert refused.is_set() and done.pictures == 21


@pytest.mark.parametrize("batch", [1, 4])
def test_pictures_that_lack_something(voc: Path, model: Path, tmp_path: Path, batch: int) -> None:
    (voc / "JPEGImages/2007_000001.jpg").unlink()
    (voc / "SegmentationClass/2007_000004.png").unlink()
    (voc / "JPEGImages/2007_000006.jpg").write_bytes((voc / "JPEGImages/2007_000006.jpg").read_bytes()[:400])
    Image.new("P", (7, 9)).save(voc / "SegmentationClass/2007_000020.png")
    with (voc / "ImageSets/Segmentation/val.txt").open("a") as file:
        file.write("2007_000002\n")
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(batch), report=False)
    assert done.stopped == ""
    reasons = dict(done.failed)
    assert sorted(reasons) == ["2007_000001", "2007_000004", "2007_000006", "2007_000020"]
    assert "No such file" in reasons["2007_000004"] and "2007_000004.png" in reasons["2007_000004"]
    assert "damaged JPEG" in reasons["2007_000006"] or "ends" in reasons["2007_000006"]
    assert "the labels are 7x9" in reasons["2007_000020"]
    assert [name for name, _ in done.remarks] == ["2007_000002"]
    assert done.result is not None and done.result.pictures == 17
    wanted = tmp_path / "wanted"
    preprocess(voc / "JPEGImages", wanted / "bins", voc / "ImageSets/Segmentation/val.txt", size=SIZE)
    infer(model, wanted / "bins", wanted, runtime=lambda _: ArgMax(batch))
    found = postprocess(
        wanted / "dumpOutput_device0", manifest=wanted / "bins", label_folder=voc / "SegmentationClass",
        ledger=wanted / "ledger.jsonl",
    )  # fmt: skip
    assert found.result.areas.truth.tolist() == done.result.areas.truth.tolist()
    assert found.result.areas.intersection.tolist() == done.result.areas.intersection.tolist()
    ours, theirs = (Ledger.read(folder / "ledger.jsonl") for folder in (tmp_path / "out", wanted))
    assert ours.to_bytes() == theirs.to_bytes()


def test_every_picture_broken(voc: Path, model: Path, tmp_path: Path) -> None:
    for path in (voc / "JPEGImages").iterdir():
        path.write_bytes(b"\xff\xd8\xff not a picture")
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(4), report=False)
    assert (done.pictures, len(done.failed), done.result) == (0, 21, None)


class Failing(ArgMax):
    """Fails at its seventh batch."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error, self._batches = error, 0

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        self._batches += 1
        if self._batches == 7:
            raise self._error
        return super()._run(batch)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeFault("the device is gone"), "the device is gone"),
        (KeyError("nobody foresaw this"), r"a worker died of KeyError: 'nobody foresaw this' \(test_run.py, line"),
        (MemoryError("no room"), "not enough memory"),
    ],
)
def test_a_worker_that_dies(voc: Path, model: Path, tmp_path: Path, error: Exception, told: str) -> None:
    before = threading.active_count()
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: Failing(error), report=False)
        assert re.search(told, done.stopped)
        assert threading.active_count() == before
        kept = len(Ledger.read(tmp_path / "out/ledger.jsonl").entries)
        assert 0 < kept == done.pictures < 21
        assert not (tmp_path / "out/result.json").exists()
        again = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False)
    assert (again.kept, again.pictures, again.stopped) == (kept, 21, "")


def test_a_full_disk(voc: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pspfast.formats import ledger

    written = 0

    def write(file: int, data: bytes) -> None:
        nonlocal written
        written += 1
        if written > 8:
            os.write(file, data[:5])
            raise OSError(28, "No space left on device")
        os.write(file, data)

    monkeypatch.setattr(ledger, "write_all", write)
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False)
        assert "No space left on device" in done.stopped and "ledger.jsonl" in done.stopped
        assert done.pictures == len(Ledger.read(tmp_path / "out/ledger.jsonl").entries) == 7
        monkeypatch.undo()
        assert run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False).kept == 7


def test_a_full_disk_at_the_end(voc: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pspfast.system.files import write_whole

    def write(path: str, data: bytes) -> None:
        if path.endswith("result.json"):
            raise OutputError(path, OSError(28, "No space left on device"))
        write_whole(path, data)

    monkeypatch.setattr(pipeline, "write_whole", write)
    with data_set_source(voc) as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False)
    assert len(done.unwritten) == 1 and "No space left" in done.unwritten[0]
    assert done.result is not None
    assert (tmp_path / "out/run.json").exists()


def packed(root: Path, path: Path, mode: Any = "w", prefix: str = "VOCdevkit/VOC2012") -> Path:
    with tarfile.open(path, mode) as archive:
        archive.add(root, prefix)
    return path


@pytest.mark.parametrize("prefix", ["VOCdevkit/VOC2012", "./VOC2012", "."])
def test_an_archive(voc: Path, model: Path, tmp_path: Path, prefix: str) -> None:
    path = packed(voc, tmp_path / "voc.tar", prefix=prefix)
    with data_set_source(voc) as source:
        run(model, source, tmp_path / "wanted", runtime=lambda _: ArgMax(), report=False)
    with data_set_source(path) as source:
        assert source.kind == "tar"
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), keep_bins=True, report=False)
        again = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), keep_bins=True, report=False)
    assert (done.pictures, again.kept) == (21, 21)
    for name in ("ledger.jsonl", "result.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "wanted" / name).read_bytes()
    assert files(tmp_path / "out/examples") == files(tmp_path / "wanted/examples")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["VOC2012", "model.onnx", "out", "wanted", "voc.tar"]
    )  # nothing was unpacked


def test_archives_that_cannot_be_used(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is compressed.*gunzip"):
        data_set_source(packed(voc, tmp_path / "voc.tar.gz", "w:gz"))
    whole = packed(voc, tmp_path / "voc.tar")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: 3 * whole.stat().st_size // 5])
    with pytest.raises(ValueError, match="not a whole tar file"):
        data_set_source(cut)
    (tmp_path / "text.tar").write_text("not a tar file" * 100)
    with pytest.raises(ValueError, match="not a whole tar file"):
        data_set_source(tmp_path / "text.tar")
    other = packed(voc / "JPEGImages", tmp_path / "other.tar", prefix="pictures")
    with pytest.raises(ValueError, match="the folder JPEGImages is nowhere in it"):
        data_set_source(other)


def test_an_archive_that_shrinks(voc: Path, model: Path, tmp_path: Path) -> None:
    path = packed(voc, tmp_path / "voc.tar")
    with data_set_source(path) as source:
        os.truncate(path, 2048)
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False)
    assert len(done.failed) == 21
    assert "the archive ends" in done.failed[0][1]


def test_any_pictures(voc: Path, model: Path, tmp_path: Path) -> None:
    def again() -> tuple[Run, int]:
        seen: list[int] = []
        with picture_source(voc / "JPEGImages") as source:
            return run(model, source, tmp_path / "out", runtime=lambda _: Counting(seen)), sum(seen)

    with data_set_source(voc) as source:
        run(model, source, tmp_path / "wanted", runtime=lambda _: ArgMax(), keep_masks=True, report=False)
    done, ran = again()
    assert (done.pictures, done.result, ran) == (21, None, 21)
    assert files(tmp_path / "out/masks") == files(tmp_path / "wanted/masks")
    for name in (path.stem for path in (voc / "JPEGImages").iterdir()):
        with Image.open(voc / "JPEGImages" / f"{name}.jpg") as picture:
            with Image.open(tmp_path / "out/overlays" / f"{name}.jpg") as overlay:
                assert picture.size == overlay.size
    assert not (tmp_path / "out/ledger.jsonl").exists()
    (tmp_path / "out/masks/2007_000003.png").unlink()
    (tmp_path / "out/overlays/2007_000005.jpg").unlink()
    done, ran = again()
    assert (done.kept, done.pictures, ran) == (19, 21, 2)


def test_overlays_show_the_picture_where_there_is_background(voc: Path, model: Path, tmp_path: Path) -> None:
    class Halves(ArgMax):
        def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
            labels = np.zeros((len(batch), 1, *SIZE), np.int64)
            labels[:, :, :, SIZE[1] // 2 :] = 15
            return [labels]

    with picture_source(voc / "JPEGImages") as source:
        run(model, source, tmp_path / "out", runtime=lambda _: Halves())
    with Image.open(voc / "JPEGImages/2007_000000.jpg") as file:
        picture = np.asarray(file, np.float64)
    with Image.open(tmp_path / "out/overlays/2007_000000.jpg") as file:
        overlay = np.asarray(file, np.float64)
    assert np.abs(overlay - picture)[:, :30].mean() < 6
    assert np.abs(overlay - (picture + np.array([192, 128, 128])) / 2)[:, 50:].mean() < 6


def test_two_folders_with_rules(voc: Path, model: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    data_set = replace(VOC, label_map={1: 2}, reduce_zero_label=False)
    with picture_source(voc / "JPEGImages", data_set, labels=voc / "SegmentationClass") as source:
        done = run(model, source, tmp_path / "out", runtime=lambda _: ArgMax(), report=False)
    assert done.result is not None
    assert done.result.areas.truth[1] == 0 and done.result.areas.truth[2] > 0
    assert dict(done.result.source)["label_map"] == {"1": 2}


def test_the_folder_that_a_run_leaves(voc: Path, model: Path, tmp_path: Path) -> None:
    with data_set_source(voc) as source:
        done = run(
            model, source, tmp_path / "out", runtime=lambda _: ArgMax(4), command=["pspfast", "run"], report=False
        )
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["format"] == "pspfast run" and record["version"] == 1
    assert record["command"] == ["pspfast", "run"]
    assert (record["pictures"], record["kept"], record["failed"], record["batch"]) == (21, 0, [], 4)
    assert record["data"]["kind"] == "voc" and record["data"]["labels"] == str(voc / "SegmentationClass")
    assert record["limited_by"] in record["stages"]
    assert record["canvas"] == list(SIZE) and record["model"]["metadata"] is None
    names = [name for name, _ in record["examples"]["names"]]
    scores = [score for _, score in record["examples"]["names"]]
    assert len(names) == 6 and scores[:4] == sorted(scores[:4]) and scores == sorted(scores)
    assert sorted(files(tmp_path / "out/examples")) == sorted(
        f"{name}_{end}" for name in names for end in ("picture.jpg", "truth.png", "prediction.png")
    )
    ledger = Ledger.read(tmp_path / "out/ledger.jsonl")
    own = sorted((ledger.matrix([name]).miou(), name) for name in ledger.entries)
    assert names == [name for _, name in (*own[:4], *own[-2:])]
    assert scores == pytest.approx([score for score, _ in (*own[:4], *own[-2:])], abs=1e-12)
    assert done.result is not None
    assert Result.read(tmp_path / "out/result.json").to_json() == done.result.to_json()


class Described(ArgMax):
    """Says of itself what an exported model does."""

    metadata = None

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        fields: dict[str, Any] = {
            "checkpoint": "x.pth", "checkpoint_sha256": "00", "config": "", "classes": list(VOC.classes), "palette": [],
            "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True, "size": list(SIZE),
            "input": "float32", "output": "labels", "layout": "n1hw", "pooling": "matmul", "version": "0.1.0",
        }  # fmt: skip
        self.metadata = json.dumps(fields | changes)


@pytest.mark.parametrize(
    ("changes", "wishes", "told"),
    [
        ({}, InputOptions(size=(500, 500)), r"takes pictures of 60x80 .*--size says 500x500"),
        ({}, InputOptions(mean=(1, 2, 3)), r"exported with mean 123.675 116.28 103.53, --mean says 1 2 3"),
        ({}, InputOptions(std=(1, 2, 3)), r"exported with std 58.395 57.12 57.375, --std says 1 2 3"),
        ({"size": [64, 64]}, InputOptions(), r"metadata say 64x64 .*its input is 60x80"),
        ({"input": "float16"}, InputOptions(), r"metadata say float16, its input is float32"),
        ({"classes": ["a", "b"]}, InputOptions(), r"tells 2 classes apart \(a, b\), PASCAL VOC 2012 has 21"),
        (
            {"classes": list(VOC.classes[::-1])},
            InputOptions(),
            r"has 'tvmonitor' as class 0, PASCAL VOC 2012 as class 20",
        ),
        ({"classes": [f"c{n}" for n in range(21)]}, InputOptions(), r"has the classes c0, c1, c2, .*background"),
    ],
)
def test_options_that_contradict_the_model(
    voc: Path, model: Path, tmp_path: Path, changes: dict[str, Any], wishes: InputOptions, told: str
) -> None:
    with data_set_source(voc) as source, pytest.raises(ValueError, match=told):
        run(model, source, tmp_path / "out", runtime=lambda _: Described(**changes), input_options=wishes)
    assert not (tmp_path / "out").exists()


def test_constants_come_from_the_model(voc: Path, model: Path, tmp_path: Path) -> None:
    mean, std = (10.0, 20.0, 30.0), (7.0, 8.0, 9.0)
    wanted = by_stages(voc, model, tmp_path / "wanted", lambda _: ArgMax(), mean=mean, std=std)
    with data_set_source(voc) as source:
        run(model, source, tmp_path / "out", runtime=lambda _: Described(mean=mean, std=std), report=False)
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == (wanted / "ledger.jsonl").read_bytes()
    assert json.loads((tmp_path / "out/run.json").read_text())["model"]["metadata"]["mean"] == list(mean)


def test_classes_of_the_model_name_the_masks_of_any_pictures(voc: Path, model: Path, tmp_path: Path) -> None:
    palette = [[1, 2, 3], [40, 50, 60]]
    with picture_source(voc / "JPEGImages") as source:
        run(model, source, tmp_path / "out", runtime=lambda _: Described(classes=["a", "b"], palette=palette))
    with Image.open(tmp_path / "out/masks/2007_000000.png") as mask:
        colours = mask.getpalette()
        assert colours is not None and colours[:6] == [1, 2, 3, 40, 50, 60]
        assert set(np.unique(np.asarray(mask))) <= {0, 1, 255}


def test_bytes(voc: Path, model: Path, tmp_path: Path) -> None:
    class Bytes(CostlessRuntime):
        def __init__(self) -> None:
            super().__init__(2, SIZE)
            self.inputs = (type(self.inputs[0])("input", "uint8", (2, *SIZE, 3)),)
            seen.clear()

        def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
            seen.extend(batch.copy())
            return [np.zeros((len(batch), 1, *SIZE), np.int64)]

    seen: list[NDArray[Any]] = []
    with data_set_source(voc) as source:
        with pytest.raises(ValueError, match="no bins"):
            run(model, source, tmp_path / "out", runtime=lambda _: Bytes(), keep_bins=True)
        run(model, source, tmp_path / "out", runtime=lambda _: Bytes(), workers=1, report=False)
    from pspfast.pictures.reader import imread

    wanted = imread(voc / "JPEGImages/2007_000000.jpg")  # of the canvas's own size
    assert any(np.array_equal(one, wanted) for one in seen)
    assert any((one[0] == (104, 116, 124)).all() for one in seen)  # a border of the mean


def test_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        picture_source(tmp_path / "empty")
    root = make_voc(tmp_path / "VOC2012", 1)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n\n")
    with pytest.raises(ValueError, match="names no pictures"):
        data_set_source(root)
    with pytest.raises(FileNotFoundError, match="lists the split 'train'"):
        data_set_source(root, VOC, "train")
    shutil.rmtree(root / "SegmentationClass")
    with pytest.raises(NotADirectoryError, match="has its labels"):
        data_set_source(root)


def test_batches_are_closed_up_round_pictures_that_fail(voc: Path, model: Path, tmp_path: Path) -> None:
    for number in (0, 3, 9, 10, 17, 18, 19):
        (voc / f"JPEGImages/2007_{number:06d}.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    seen: list[int] = []
    with data_set_source(voc) as source:
        done = run(
            model, source, tmp_path / "out", runtime=lambda _: Counting(seen, batch=None), batch=4, workers=3,
            report=False,
        )  # fmt: skip
    assert done.pictures == 14 and sum(seen) == 14
    assert len(done.failed) == 7


def test_memory_does_not_grow_with_the_pictures(voc: Path, model: Path, tmp_path: Path) -> None:
    """Slots are used again: as many as three batches and no more."""
    seen: set[int] = set()

    class Watched(ArgMax):
        def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
            seen.add(batch.__array_interface__["data"][0])
            return super()._run(batch)

    with data_set_source(voc) as source:
        run(model, source, tmp_path / "out", runtime=lambda _: Watched(None), batch=2, workers=2, report=False)
    assert 1 <= len(seen) <= 3


class TestCommand:
    """``pspfast run``."""

    @pytest.fixture
    def onnx(self, tmp_path: Path) -> Path:
        pytest.importorskip("onnxruntime", reason="runs a model")
        pytest.importorskip("onnx", reason="makes a model")
        from tests.runtimes.small_models import labels_model

        return labels_model(tmp_path / "labels.onnx", batch=4, size=SIZE)

    def test_tables_and_files(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        done = CliRunner().invoke(
            main,
            [
                "--voc-root", str(voc), "--model", str(onnx), "--output", str(out), "--json", str(tmp_path / "r.json"),
                "--no-report",
            ],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "per class results:" in done.stdout and "| global |" in done.stdout
        assert (tmp_path / "r.json").read_bytes() == (out / "result.json").read_bytes()
        assert "pictures/s" in done.stderr and "pictures/s" not in done.stdout

    def test_any_pictures(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        done = CliRunner().invoke(
            main, ["--images", str(voc / "JPEGImages"), "--model", str(onnx), "--output", str(out)]
        )
        assert done.exit_code == 0, done.output
        assert "21 masks and overlays" in done.stdout

    def test_labels_that_are_missing(self, voc: Path, onnx: Path, tmp_path: Path) -> None:
        (voc / "SegmentationClass/2007_000002.png").unlink()
        out = tmp_path / "out"
        done = CliRunner().invoke(
            main, ["--voc-root", str(voc), "--model", str(onnx), "--output", str(out), "--no-report"]
        )
        assert done.exit_code == 1
        assert "2007_000002" in done.stderr and "leave out 1 of 21 pictures" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([], "either a model"),
            (["--model", "m.onnx", "--checkpoint", "x.pth", "--images", "d"], "either a model"),
            (["--model", "m.onnx"], "give the pictures"),
            (["--model", "m.onnx", "--images", "d", "--voc-root", "e"], "not --voc-root and --images together"),
            (["--model", "m.onnx", "--voc-root", "e", "--labels", "f"], "--labels go with --images"),
            (["--model", "m.onnx", "--voc-root", "e", "--dataset", "ade20k"], "--dataset says ade20k"),
            (["--model", "m.onnx", "--voc-root", "/no/such"], "/no/such: no such folder"),
        ],
    )
    def test_usage(self, arguments: list[str], told: str) -> None:
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2
        assert told in done.stderr and len(done.stderr.strip().splitlines()) == 1

    def test_a_runtime_that_is_missing(
        self, voc: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        done = CliRunner().invoke(
            main, ["--voc-root", str(voc), "--model", str(model), "--output", str(tmp_path / "out")]
        )
        assert done.exit_code == 3
        assert "pip install" in done.stderr

    def test_ctrl_c(self, voc: Path, tmp_path: Path) -> None:
        model = tmp_path / "model.onnx"
        model.write_bytes(b"x")
        code = (
            "import sys; from pspfast.cli.commands import run; from tests.test_run import ArgMax\n"
            "import pspfast.stages.device_runtimes as i; i.open_runtime = lambda *a, **k: ArgMax(delay=0.1)\n"
            "sys.argv[0] = 'pspfast'; run.main()"
        )
        arguments = ["--voc-root", str(voc), "--model", str(model), "--output", str(tmp_path / "out"), "--no-report"]
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True
        )
        ledger = tmp_path / "out/ledger.jsonl"
        for _ in range(1000):
            if ledger.exists() and ledger.read_bytes().count(b"\n") > 3:
                break
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=30)
        assert child.returncode == 130
        assert "run the same command again to go on" in told
        assert 3 <= len(Ledger.read(ledger).entries) < 21

    def test_a_checkpoint_is_exported_once(self, voc: Path, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch", reason="exports a checkpoint")
        for library in ("onnx", "onnxruntime", "onnxsim"):
            pytest.importorskip(library, reason="exports a checkpoint")
        from pspfast.export.pspnet import random_pspnet

        checkpoint = tmp_path / "tiny.pth"
        torch.save({"meta": {}, "state_dict": random_pspnet(18, 21).state_dict()}, checkpoint)
        few = tmp_path / "few.txt"
        few.write_text("2007_000000\n2007_000003\n")
        arguments = [
            "--voc-root", str(voc), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"),
            "--size", "64", "64", "--split", str(few), "--no-report",
        ]  # fmt: skip
        first = CliRunner().invoke(main, arguments)
        assert first.exit_code == 0, first.output
        (exported,) = (tmp_path / "out/model").iterdir()
        modified = exported.stat().st_mtime_ns
        again = CliRunner().invoke(main, arguments)
        assert again.exit_code == 0 and exported.stat().st_mtime_ns == modified
        assert "exported before" in again.stderr and "2 of them from before" in again.stderr


def test_sources_find_what_a_data_set_says(tmp_path: Path) -> None:
    from pspfast.datasets import data_set

    for folder, end in (("leftImg8bit", "_leftImg8bit.png"), ("gtFine", "_gtFine_labelIds.png")):
        (tmp_path / folder / "val/ulm").mkdir(parents=True)
        for number in range(3):
            Image.new("RGB" if folder == "leftImg8bit" else "L", (8, 6), 7).save(
                tmp_path / folder / f"val/ulm/ulm_{number}{end}"
            )
    with data_set_source(tmp_path, data_set("cityscapes")) as source:
        assert [item.name for item in source.items] == ["ulm_0", "ulm_1", "ulm_2"]
        assert source.items[0].labels == "gtFine/val/ulm/ulm_0_gtFine_labelIds.png"
    assert sources.Item is type(source.items[0])
