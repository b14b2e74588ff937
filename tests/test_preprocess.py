"""The command as a user runs it: on real pictures, on broken ones, killed, resumed, on full disks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import pspfast
from pspfast.formats.bins import BinFolder, Manifest
from pspfast.pictures.reader import Picture, PictureReader
from pspfast.stages import letterboxing as preparing
from pspfast.stages import preprocessing as stage
from pspfast.system import files
from pspfast.system.files import OutputError
from tests import reference

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(*options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pspfast.preprocess", *map(str, options)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.bin"))}


def golden(data: Path) -> dict[str, str]:
    lines = (data / "golden" / "bins.sha256").read_text().splitlines()
    return {Path(name).name: digest for digest, name in (line.split() for line in lines)}


def save_pictures(folder: Path, count: int, seed: int = 0) -> list[str]:
    """``count`` different small JPEGs; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = [f"picture_{index:03d}" for index in range(count)]
    for index, name in enumerate(names):
        noise = rng.integers(0, 256, (5, 7, 3), np.uint8)
        Image.fromarray(noise).resize((40 + index % 9, 30 + index % 5)).save(folder / f"{name}.jpg", quality=95)
    return names


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    save_pictures(tmp_path / "pictures", 11)
    return tmp_path / "pictures"


# ---- real pictures ----


@pytest.mark.parametrize("isa", pspfast.isa()["runnable"])
def test_the_73_bins_are_the_published_ones(isa: str, shared_data: Path, tmp_path: Path) -> None:
    voc = shared_data / "voc" / "VOC2012"
    done = run(
        f"--image_folder_path={voc}/JPEGImages/",
        f"--split={voc}/ImageSets/Segmentation/val.txt",
        f"--bin_folder_path={tmp_path}/voc12_bin/",
        PSPFAST_ISA=isa,
    )
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "voc12_bin") == golden(shared_data)
    assert "73 pictures in 73 bins" in done.stdout
    manifest = Manifest.read(tmp_path / "voc12_bin")
    assert len(manifest.bins) == 73
    for one in manifest.bins:
        (picture,) = one.pictures
        assert picture.geometry.picture == reference.imread(voc / "JPEGImages" / picture.source).shape[:2]


def test_photos_and_broken_files_in_one_go(shared_data: Path, tmp_path: Path) -> None:
    """Every photo gets its bin, every unusable file a line, whatever is next to it."""
    folder = tmp_path / "all"
    folder.mkdir()
    for path in (*(shared_data / "photos").iterdir(), *(shared_data / "broken").iterdir()):
        (folder / path.name).symlink_to(path)
    done = run("--image_folder_path", folder, "--bin_folder_path", tmp_path / "bins", "--quiet")
    assert done.returncode == 1
    failed = Manifest.read(tmp_path / "bins").failed
    assert len(failed) == 16
    for name, reason in failed:
        assert reason.startswith(str(folder / name))
        assert reason in done.stderr
    made = digests(tmp_path / "bins")
    assert len(made) == 38 + 14
    for path in (shared_data / "photos").iterdir():
        wanted = reference.letterbox(reference.imread(path))
        assert made[path.name.split(".")[0] + ".bin"] == hashlib.sha256(wanted.tobytes()).hexdigest(), path.name


# ---- options ----


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_bytes_do_not_depend_on_workers(pictures: Path, tmp_path: Path, workers: int, batch_size: int) -> None:
    one = stage.preprocess(pictures, tmp_path / "one", batch_size=batch_size, workers=1)
    many = stage.preprocess(pictures, tmp_path / "many", batch_size=batch_size, workers=workers)
    assert one.pictures == many.pictures == 11
    assert digests(tmp_path / "one") == digests(tmp_path / "many")
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "many/manifest.json").read_bytes()


def test_every_option_reaches_the_kernel(pictures: Path, tmp_path: Path) -> None:
    done = run(
        "--image-folder-path", pictures, "--bin-folder-path", tmp_path / "bins", "--size", "64", "96",
        "--stats", "exact",
        "--dtype", "float32", "--mean", "1", "2", "3", "--std", "4", "5", "6.5", "--pad-value", "-1.5",
        "--no-scale-up", "--workers", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for path in pictures.iterdir():
        wanted = reference.letterbox(
            reference.imread(path), (64, 96), mean=(1, 2, 3), std=(4, 5, 6.5), stats="exact", dtype=np.float32,
            pad_value=-1.5, scale_up=False,
        )  # fmt: skip
        assert (tmp_path / "bins" / f"{path.stem}.bin").read_bytes() == wanted.tobytes()
    parameters = Manifest.read(tmp_path / "bins").parameters
    assert (parameters["size"], parameters["dtype"], parameters["stats"]) == ([64, 96], "float32", "exact")


def test_batches(pictures: Path, tmp_path: Path) -> None:
    summary = stage.preprocess(pictures, tmp_path / "bins", batch_size=4, size=(32, 48))
    assert (summary.pictures, summary.bins) == (11, 3)
    manifest = Manifest.read(tmp_path / "bins")
    assert [len(one.pictures) for one in manifest.bins] == [4, 4, 3]
    for one in manifest.bins:
        batch = np.fromfile(tmp_path / "bins" / one.name, np.float16).reshape(4, 3, 32, 48)
        for slot, picture in zip(batch, one.pictures, strict=False):
            wanted = reference.letterbox(reference.imread(pictures / picture.source), (32, 48))
            assert np.array_equal(reference.bits(slot), reference.bits(wanted))
        assert not batch[len(one.pictures) :].any()


def test_a_failure_inside_a_batch_leaves_no_hole(pictures: Path, tmp_path: Path) -> None:
    (pictures / "picture_005.jpg").write_bytes(b"not a picture")
    summary = stage.preprocess(pictures, tmp_path / "bins", batch_size=4, size=(32, 48))
    assert [failure.name for failure in summary.failures] == ["picture_005.jpg"]
    batch = np.fromfile(tmp_path / "bins" / "batch_00001.bin", np.float16).reshape(4, 3, 32, 48)
    assert not batch[3].any()
    members = Manifest.read(tmp_path / "bins").bins[1].pictures
    assert [picture.name for picture in members] == ["picture_004.jpg", "picture_006.jpg", "picture_007.jpg"]
    save_pictures(pictures, 11)  # mended: only the batch it belongs to is made again
    again = stage.preprocess(pictures, tmp_path / "bins", batch_size=4, size=(32, 48))
    assert (again.pictures, again.failures) == (11, ())


def test_manifest_round_trip(pictures: Path, tmp_path: Path) -> None:
    stage.preprocess(pictures, tmp_path / "bins", size=(32, 48))
    manifest = Manifest.read(tmp_path / "bins")
    assert manifest.to_json() == (tmp_path / "bins" / "manifest.json").read_text()
    assert manifest.pspfast == pspfast.__version__
    fields = json.loads(manifest.to_json())
    assert fields["counts"] == {"pictures": 11, "bins": 11, "failed": 0}
    assert {"name", "source", "height", "width", "geometry", "bin", "slot"} <= set(fields["pictures"][0])


# ---- going on ----


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.bin")}


def test_a_second_run_has_nothing_to_do(pictures: Path, tmp_path: Path) -> None:
    bins = tmp_path / "bins"
    stage.preprocess(pictures, bins, size=(32, 48))
    before, manifest = modified(bins), (bins / "manifest.json").read_bytes()
    summary = stage.preprocess(pictures, bins, size=(32, 48))
    assert (summary.pictures, summary.kept, summary.bytes_written) == (11, 11, 0)
    assert modified(bins) == before
    assert (bins / "manifest.json").read_bytes() == manifest


def test_only_what_changed_is_made_again(pictures: Path, tmp_path: Path) -> None:
    bins = tmp_path / "bins"
    stage.preprocess(pictures, bins, size=(32, 48))
    before = modified(bins)
    Image.new("RGB", (20, 20), "red").save(pictures / "picture_003.jpg")
    (bins / "picture_007.bin").unlink()
    (bins / "picture_008.bin").write_bytes(b"short")
    summary = stage.preprocess(pictures, bins, size=(32, 48))
    after = modified(bins)
    assert summary.kept == 8
    assert {name for name in after if after[name] != before[name]} == {f"picture_00{n}.bin" for n in (3, 7, 8)}
    wanted = reference.letterbox(reference.imread(pictures / "picture_003.jpg"), (32, 48))
    assert (bins / "picture_003.bin").read_bytes() == wanted.tobytes()


@pytest.mark.parametrize("change", [{"stats": "exact"}, {"mean": (1, 2, 3)}, {"pad_value": 1.0}, {"scale_up": False}])
def test_other_parameters_make_everything_again(pictures: Path, tmp_path: Path, change: Any) -> None:
    bins = tmp_path / "bins"
    stage.preprocess(pictures, bins, size=(64, 96))
    assert stage.preprocess(pictures, bins, size=(64, 96), **change).kept == 0
    stage.preprocess(pictures, tmp_path / "fresh", size=(64, 96), **change)
    assert digests(bins) == digests(tmp_path / "fresh")


def test_no_resume_makes_everything_again(pictures: Path, tmp_path: Path) -> None:
    stage.preprocess(pictures, tmp_path / "bins", size=(32, 48))
    assert stage.preprocess(pictures, tmp_path / "bins", size=(32, 48), resume=False).kept == 0


def test_killed_at_random_and_run_again(tmp_path: Path) -> None:
    """kill -9 in the middle, again and again: never half a bin, and in the end all of them, right."""
    folder, bins = tmp_path / "pictures", tmp_path / "bins"
    save_pictures(folder, 400)
    wanted = tmp_path / "wanted"
    stage.preprocess(folder, wanted)
    rng = np.random.default_rng(0)
    command = [sys.executable, "-m", "pspfast.preprocess", "--image_folder_path", str(folder)]
    seen = kills = 0
    while kills < 12:
        child = subprocess.Popen([*command, "--bin_folder_path", str(bins), "--quiet"])
        deadline = time.monotonic() + 20
        while child.poll() is None and time.monotonic() < deadline:
            # Wait until it writes, so that the kill lands in the middle of the work and not of the start.
            if len(list(bins.glob("*.bin"))) > seen:
                break
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.03)))
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills += 1
        whole = digests(bins)
        seen = len(whole)
        good = digests(wanted)
        assert all(good[name] == digest for name, digest in whole.items())
    assert seen > 0
    journal = bins / ".manifest.journal"
    if seen < 400:
        assert not (bins / "manifest.json").exists()
        with journal.open("ab") as file:
            file.write(b'{"bin": "picture_3')  # as a kill in the middle of a line leaves it
    done = run("--image_folder_path", folder, "--bin_folder_path", bins)
    assert done.returncode == 0, done.stderr
    assert digests(bins) == digests(wanted)
    assert (bins / "manifest.json").read_bytes() == (wanted / "manifest.json").read_bytes()
    assert sorted(path.name for path in bins.iterdir() if path.suffix != ".bin") == ["manifest.json"]
    if seen > 20:
        assert "from before" in done.stdout


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    folder, bins = tmp_path / "pictures", tmp_path / "bins"
    save_pictures(folder, 600)
    command = [sys.executable, "-m", "pspfast.preprocess", "--image_folder_path", str(folder)]
    # Large bins and one worker: the signal is there long before the end.
    command += ["--bin_folder_path", str(bins), "--size", "800", "800", "--workers", "1"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(bins.glob("*.bin")):
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    _, complaint = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "run the same command again to go on" in complaint
    assert not list(bins.glob(".*.part"))
    assert stage.preprocess(folder, bins, size=(800, 800)).pictures == 600


def test_two_runs_do_not_mix(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "bins").mkdir()
    with BinFolder(tmp_path / "bins", {}, "", resume=True):
        done = run("--image_folder_path", pictures, "--bin_folder_path", tmp_path / "bins")
    assert done.returncode == 2
    assert "another run is writing" in done.stderr


def test_a_record_is_not_believed_once_its_bin_may_be_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ids in another order: a bin written but not noted must not pass for the one of the first run."""
    folder, bins, wanted = tmp_path / "pictures", tmp_path / "bins", tmp_path / "wanted"
    save_pictures(folder, 8)
    ids = [f"picture_{n:03d}" for n in range(8)]
    (tmp_path / "up").write_text("\n".join(ids))
    (tmp_path / "down").write_text("\n".join(reversed(ids)))
    stage.preprocess(folder, wanted, tmp_path / "up", batch_size=4)
    stage.preprocess(folder, bins, tmp_path / "up", batch_size=4)

    def killed(*_: object) -> None:
        assert not (bins / "manifest.json").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BinFolder, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.preprocess(folder, bins, tmp_path / "down", batch_size=4, workers=1)
    assert digests(bins) != digests(wanted)
    assert stage.preprocess(folder, bins, tmp_path / "up", batch_size=4).kept == 0
    assert digests(bins) == digests(wanted)


@pytest.mark.parametrize("name", ["foo", "SCALAR", "avx2 "])
def test_a_wrong_isa(name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSPFAST_ISA", name)
    done = run("--image_folder_path", pictures, "--bin_folder_path", tmp_path / "bins")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"PSPFAST_ISA: instruction set '{name}' cannot be used" in done.stderr
    assert not (tmp_path / "bins").exists()
    assert run("--help").returncode == 0


def test_bins_of_another_version_are_made_again(pictures: Path, tmp_path: Path) -> None:
    stage.preprocess(pictures, tmp_path / "bins")
    manifest = tmp_path / "bins" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{pspfast.__version__}"', '"0.0.1"'))
    assert stage.preprocess(pictures, tmp_path / "bins").kept == 0
    assert stage.preprocess(pictures, tmp_path / "bins").kept == 11


def test_a_wrong_number_of_workers_touches_nothing(pictures: Path, tmp_path: Path) -> None:
    stage.preprocess(pictures, tmp_path / "bins")
    with pytest.raises(ValueError, match="workers"):
        stage.preprocess(pictures, tmp_path / "bins", workers=0, resume=False)
    assert (tmp_path / "bins" / "manifest.json").exists()


def test_names_that_are_not_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "pictures")
    os.mkdir(folder)
    with open(os.path.join(folder, b"bad\xff.jpg"), "wb") as file:
        file.write(b"no picture")
    with open(os.path.join(folder, b"good\xfe.jpg"), "wb") as file:
        Image.new("RGB", (5, 4)).save(file, "JPEG")
    command: list[str | bytes] = [sys.executable, "-m", "pspfast.preprocess", "--image_folder_path", folder]
    done = subprocess.run(
        [*command, "--bin_folder_path", str(tmp_path / "bins")],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "0", "LC_ALL": "en_US.UTF-8", "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.returncode == 1, done.stderr
    assert b"1 pictures in 1 bins" in done.stdout
    assert b"bad\xff.jpg: not a picture" in done.stdout
    assert (os.fsencode(tmp_path) + b"/bins/good\xfe.bin") in [
        os.path.join(os.fsencode(tmp_path), b"bins", name) for name in os.listdir(os.fsencode(tmp_path / "bins"))
    ]


def test_pictures_of_another_folder_are_not_taken_for_these(tmp_path: Path) -> None:
    for name, colour in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 10), (colour,) * 3).save(tmp_path / name / "x.bmp")
        os.utime(tmp_path / name / "x.bmp", (1, 1))
        stage.preprocess(tmp_path / name, tmp_path / "bins")
    assert digests(tmp_path / "bins") != {}
    stage.preprocess(tmp_path / "b", tmp_path / "wanted")
    assert digests(tmp_path / "bins") == digests(tmp_path / "wanted")


def test_a_picture_that_fails_now_leaves_no_bin_of_before(pictures: Path, tmp_path: Path) -> None:
    stage.preprocess(pictures, tmp_path / "bins")
    (pictures / "picture_003.jpg").write_bytes(b"")
    assert stage.preprocess(pictures, tmp_path / "bins").kept == 10
    assert not (tmp_path / "bins" / "picture_003.bin").exists()


def test_ctrl_c_twice_waits_for_the_workers(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal closed under a working thread could become the file that another thread has just opened."""
    at_work = threading.Event()
    ended = []

    class Slow(PictureReader):
        def read(self, path: str) -> Picture:
            at_work.set()
            time.sleep(0.3)
            ended.append(path)
            return super().read(path)

    def interrupt() -> None:
        at_work.wait()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.03)

    monkeypatch.setattr(preparing, "PictureReader", Slow)
    before = threading.active_count()
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        stage.preprocess(pictures, tmp_path / "bins", workers=3)
    at_rest = len(ended)
    interrupter.join()
    assert threading.active_count() == before
    assert len(ended) == at_rest == 3
    assert len(digests(tmp_path / "bins")) == 3


def test_closed_streams_take_no_messages_into_bins(pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.jpg").write_bytes(b"")
    command = f"{sys.executable} -m pspfast.preprocess --image_folder_path={pictures}"
    for number, streams in enumerate(("0<&- >&- 2>&-", "2>&-", ">&-", "2>/dev/full")):
        bins = tmp_path / f"bins{number}"
        done = subprocess.run(f"{command} --bin_folder_path={bins} {streams}", shell=True, check=False)
        assert done.returncode == 1
        assert Manifest.read(bins).failed[0][0] == "broken.jpg"
        assert len(digests(bins)) == 11


# ---- bad input ----


def test_bad_splits(pictures: Path, tmp_path: Path) -> None:
    split = tmp_path / "val.txt"
    split.write_bytes(
        b"\xef\xbb\xbfpicture_000\r\n\r\n  picture_001 \r\npicture_000\r\nmissing\r\npicture_002.jpg\r\n\r\nno\0ne\n"
    )
    done = run("--image_folder_path", pictures, "--split", split, "--bin_folder_path", tmp_path / "bins")
    assert done.returncode == 1
    assert sorted(digests(tmp_path / "bins")) == ["picture_000.bin", "picture_001.bin", "picture_002.bin"]
    assert f"{split}, line 4: 'picture_000' is named again (first on line 1)" in done.stderr
    assert f"{pictures}/missing.jpg: No such file" in done.stderr
    assert "'no\\x00ne' cannot be the name of a file" in done.stderr
    assert "3 failed:" in done.stdout


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_changes_no_byte(pictures: Path, tmp_path: Path, workers: int) -> None:
    for number in range(2, 9, 2):
        (pictures / f"picture_{number:03d}.jpg").write_bytes(b"")
    summary = stage.preprocess(pictures, tmp_path / "bins", workers=workers, batch_size=3)
    assert [failure.name for failure in summary.failures] == [f"picture_{n:03d}.jpg" for n in range(2, 9, 2)]
    stage.preprocess(pictures, tmp_path / "wanted", workers=3, batch_size=3)
    for path in (tmp_path / "wanted").iterdir():
        assert (tmp_path / "bins" / path.name).read_bytes() == path.read_bytes()


def test_a_split_with_windows_line_ends_and_blank_lines_is_a_split(pictures: Path, tmp_path: Path) -> None:
    split = tmp_path / "val.txt"
    split.write_bytes(b"\r\npicture_000\r\n\r\npicture_001\r\n\r\n")
    done = run("--image_folder_path", pictures, "--split", split, "--bin_folder_path", tmp_path / "bins")
    assert done.returncode == 0, done.stderr
    assert len(digests(tmp_path / "bins")) == 2


def test_two_ids_with_one_stem(pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "picture_001.jpg", pictures / "picture_000.v2.jpg")
    done = run("--image_folder_path", pictures, "--bin_folder_path", tmp_path / "bins")
    assert done.returncode == 1
    assert "'picture_000.v2.jpg' would have the same bin picture_000.bin as 'picture_000.jpg'" in done.stderr
    wanted = reference.letterbox(reference.imread(pictures / "picture_000.jpg"))
    assert (tmp_path / "bins" / "picture_000.bin").read_bytes() == wanted.tobytes()
    assert len(digests(tmp_path / "bins")) == 11


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--split", "/no/such/split"], "/no/such/split: No such file"),
        (["--split", "{empty}"], "names no pictures"),
        (["--split", "{binary}"], "not UTF-8"),
        (["--std", "0", "1", "1"], "std must be positive"),
        (["--mean", "nan", "1", "1"], "mean must be finite"),
        (["--mean", "1e5", "1", "1"], "mean must fit float16"),
        (["--std", "70000", "1", "1"], "std must fit float16"),
        (["--std", "1e-40", "1", "1", "--stats", "exact"], "1 / std must fit float32"),
        (["--pad-value", "inf"], "finite"),
        (["--mean", "0.485", "0.456", "0.406"], "probably meant: mean 123.675 116.28 103.53 (--mean"),
        (["--std", "0.5", "0.5", "0.5"], "std 0.5 0.5 0.5 is for pictures in 0..1"),
        (["--size", "0", "5"], "at least 1"),
        (["--size", "5"], "requires 2 arguments"),
        (["--batch-size", "0"], "batch-size"),
        (["--workers", "0"], "workers"),
        (["--dtype", "int8"], "dtype"),
        (["--image_folder_path", "/no/such/folder"], "/no/such/folder: no such folder"),
        (["--workers", "1000000000000"], "workers must be 1 to"),
        (["--size", "99999999999", "1"], "size must be at most"),
        (["--pad-value", "1e5"], "pad_value must fit float16"),
        (["--batch-size", "10000000"], "not enough memory"),
        (["--bin_folder_path", ""], "empty name"),
        (["--no_such_option"], "No such option"),
    ],
)
def test_usage_errors(pictures: Path, tmp_path: Path, options: list[str], text: str) -> None:
    (tmp_path / "empty").write_text("\n \n")
    (tmp_path / "binary").write_bytes(b"\x80\xfe\x00")
    options = [option.format(empty=tmp_path / "empty", binary=tmp_path / "binary") for option in options]
    done = run("--image_folder_path", pictures, "--bin_folder_path", tmp_path / "bins", *options)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not digests(tmp_path / "bins")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("--image_folder_path", tmp_path / "empty", "--bin_folder_path", tmp_path / "bins")
    assert done.returncode == 2
    assert "no pictures in this folder" in done.stderr


def test_output_that_cannot_be(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "below", Path("/dev/full"), Path("/proc/nothing")):
        done = run("--image_folder_path", pictures, "--bin_folder_path", target)
        assert done.returncode == 1, target
        assert f"cannot write {target}" in done.stderr
        assert "Traceback" not in done.stderr


def test_one_output_that_cannot_be_stops_nothing_else(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "bins" / "picture_004.bin").mkdir(parents=True)
    done = run("--image_folder_path", pictures, "--bin_folder_path", tmp_path / "bins")
    assert done.returncode == 1
    assert f"cannot write {tmp_path}/bins/picture_004.bin: Is a directory" in done.stderr
    assert sum(path.is_file() for path in (tmp_path / "bins").glob("*.bin")) == 10


def test_standard_output_that_is_full_or_gone(pictures: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pspfast.preprocess", "--image_folder_path", str(pictures)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "--bin_folder_path", str(tmp_path / "a")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot write standard output: No space left" in done.stderr
    assert (tmp_path / "a" / "manifest.json").exists()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*command, "--bin_folder_path", str(tmp_path / "b")],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_full_disk(pictures: Path, tmp_path: Path, workers: str) -> None:
    disk = tmp_path / "disk"
    options = ("--image_folder_path", pictures, "--bin_folder_path", disk / "bins", "--workers", workers)
    with small_disk(disk, "5m"):
        done = run(*options)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "the same command goes on from here" in done.stderr
        assert "Traceback" not in done.stderr
        whole = digests(disk / "bins")
        assert 1 <= len(whole) <= 4
        assert not list((disk / "bins").glob(".*.part"))
        assert all((disk / "bins" / name).stat().st_size == 1_500_000 for name in whole)
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        done = run(*options)
        assert done.returncode == 0, done.stderr
        assert "from before" in done.stdout
        stage.preprocess(pictures, tmp_path / "wanted")
        assert digests(disk / "bins") == digests(tmp_path / "wanted")


def test_a_full_disk_without_a_mount(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where a tmpfs cannot be mounted: the third bin meets a full disk."""
    written: list[str] = []

    def write(path: str, *contents: Any) -> None:
        if len(written) == 2:
            raise OutputError(path, OSError(28, os.strerror(28)))
        written.append(path)
        files.write_sparse(path, *contents)

    monkeypatch.setattr(stage, "write_sparse", write)
    summary = stage.preprocess(pictures, tmp_path / "bins", workers=1)
    assert "No space left" in summary.stopped
    assert (summary.pictures, summary.failures) == (2, ())
    monkeypatch.undo()
    assert stage.preprocess(pictures, tmp_path / "bins").kept == 2


# ---- what is shown ----


def test_plain_progress_and_summary(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pspfast.system import terminal

    monkeypatch.setattr(terminal, "_SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    summary = stage.preprocess(pictures, tmp_path / "bins", quiet=False)
    assert "1/11 pictures, " in stream.getvalue()
    assert "s left" in stream.getvalue()
    for word in ("11 pictures", "pictures/s", "MB/s", "decode", "letterbox", "write", "peak memory"):
        assert word in str(summary)


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 200):
        save_pictures(tmp_path / str(count), count)
        done = run("--image_folder_path", tmp_path / str(count), "--bin_folder_path", tmp_path / "bins")
        peaks.append(int(re.findall(r"peak memory (\d+) MB", done.stdout)[0]))
    assert peaks[1] <= peaks[0] + 10
    assert 0 < peaks[0] < 100


def test_quiet_says_nothing_when_all_is_well(pictures: Path, tmp_path: Path) -> None:
    done = run("--image_folder_path", pictures, "--bin_folder_path", tmp_path / "bins", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_live_bar_on_a_terminal(pictures: Path, tmp_path: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pspfast.preprocess",
            f"--image_folder_path={pictures}",
            f"--bin_folder_path={tmp_path}/b",
        ],
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is gone
            break
        if not part:
            break
        shown += part
    os.close(leader)
    assert child.wait() == 0
    assert b"11/11" in shown
    assert b"pictures/s" in shown


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "other", "format_version": 1}', "[" * 100_000])
def test_a_manifest_that_is_none_is_not_replaced(text: str, tmp_path: Path, pictures: Path) -> None:
    bins = tmp_path / "bins"
    bins.mkdir()
    (bins / "manifest.json").write_text(text)
    for call in (Manifest.read, lambda folder: stage.preprocess(pictures, folder)):
        with pytest.raises(ValueError, match=r"manifest.json is not a manifest of bins"):
            call(bins)
    assert (bins / "manifest.json").read_text() == text


@pytest.mark.parametrize("source", [5, None, "a\0b", "\ud800"])
def test_a_manifest_with_impossible_sources(source: object, tmp_path: Path, pictures: Path) -> None:
    stage.preprocess(pictures, tmp_path / "bins")
    path = tmp_path / "bins" / "manifest.json"
    fields = json.loads(path.read_text())
    fields["pictures"][3]["source"] = source
    path.write_text(json.dumps(fields))
    if isinstance(source, str):
        assert stage.preprocess(pictures, tmp_path / "bins").kept == 10
    else:
        with pytest.raises(ValueError, match="source must be str"):
            stage.preprocess(pictures, tmp_path / "bins")


@pytest.mark.parametrize("lines", ["garbage\n", "3\n", '{head}\n{{"bin": 3}}\n7\n', "[]\n", "\0\0\0\n"])
def test_a_journal_that_is_none(lines: str, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bins = tmp_path / "bins"
    with monkeypatch.context() as patch:
        patch.setattr(BinFolder, "finish", lambda *_: None)
        stage.preprocess(pictures, bins)
    head, *rest = (bins / ".manifest.journal").read_text().splitlines()
    assert len(rest) == 11
    (bins / ".manifest.journal").write_text(lines.replace("{head}", head).replace("{{", "{").replace("}}", "}"))
    done = stage.preprocess(pictures, bins)
    assert (done.pictures, done.kept) == (11, 0)
