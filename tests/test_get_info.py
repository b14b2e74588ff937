from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pspfast.formats.info_files import bin_info, jpg_info
from pspfast.stages.preprocessing import preprocess
from tests import reference

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pspfast.get_info", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_bins_as_in_the_guide(tmp_path: Path) -> None:
    folder = tmp_path / "voc12_bin"
    folder.mkdir()
    for name in ("2007_000042.bin", "2007_000033.bin", "manifest.json", ".2007_000099.bin.7.part"):
        (folder / name).write_bytes(b"")
    done = run("bin", "./voc12_bin", "voc12.info", "500", "400", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "voc12.info").read_text() == (
        "0 ./voc12_bin/2007_000033.bin 500 400\n1 ./voc12_bin/2007_000042.bin 500 400\n"
    )


def test_sizes_are_what_opencv_shows(shared_data: Path, tmp_path: Path) -> None:
    for folder in (shared_data / "photos", shared_data / "voc/VOC2012/JPEGImages"):
        done = run("jpg", f"{folder}/", tmp_path / "jpg.info")
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "jpg.info").read_text().splitlines()
        names = sorted(path.name for path in folder.iterdir())
        for index, (line, name) in enumerate(zip(lines, names, strict=True)):
            height, width, _ = reference.imread(folder / name).shape
            assert line == f"{index} {folder}/{name} {width} {height}"


def test_broken_headers_are_named_and_left_out(shared_data: Path) -> None:
    lines, failures = jpg_info(str(shared_data / "broken"))
    assert [line.split()[0] for line in lines] == [str(index) for index in range(len(lines))]
    assert len(failures) == 7
    listed = {line.split()[1] for line in lines}
    assert not any(path in failure for failure in failures for path in listed)
    done = run("jpg", shared_data / "broken", "/dev/stdout")
    assert done.returncode == 1
    assert done.stdout.splitlines() == lines
    for failure in failures:
        assert failure in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("jpg", "{folder}/none", "{folder}/out"), "No such file"),
        (("jpg", "{folder}", "{folder}/out"), "no .jpg or .jpeg files"),
        (("bin", "{folder}", "{folder}/out", "500", "500"), "no .bin files"),
        (("bin", "{folder}", "{folder}/out", "0", "500"), "WIDTH"),
        (("bin", "{folder}", "{folder}/out"), "WIDTH"),
        (("png", "{folder}", "{folder}/out"), "No such command"),
    ],
)
def test_usage_errors(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    done = run(*(argument.format(folder=tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_white_space_cannot_be_written(tmp_path: Path) -> None:
    for name in ("a b", "c"):
        Image.new("RGB", (3, 2)).save(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.bin").write_bytes(b"")
    lines, left_out = jpg_info(str(tmp_path))
    assert lines == [f"0 {tmp_path}/c.jpg 3 2"]
    assert "a b.jpg' has white space" in left_out[0]
    lines, left_out = bin_info(str(tmp_path), 5, 4)
    assert lines == [f"0 {tmp_path}/c.bin 5 4"]
    assert "a b.bin' has white space" in left_out[0]
    assert run("bin", tmp_path, tmp_path / "out", 5, 4).returncode == 1


def test_a_device_is_written_into_and_stays_one(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    before = os.stat("/dev/full")
    done = run("bin", tmp_path, "/dev/full", "5", "5")
    assert done.returncode == 1
    assert "cannot write /dev/full: No space left" in done.stderr
    after = os.stat("/dev/full")
    assert (before.st_mode, before.st_ino, before.st_rdev) == (after.st_mode, after.st_ino, after.st_rdev)


def test_an_unwritable_target_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    done = run("bin", tmp_path, tmp_path / "none" / "out", "5", "5")
    assert done.returncode == 1
    assert f"cannot write {tmp_path}/none/out: No such file" in done.stderr


def test_another_size_than_the_bins_were_made_for(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "pictures" / "a.jpg")
    summary = preprocess(tmp_path / "pictures", tmp_path / "bins", size=(6, 8))
    assert summary.strays == 0
    folder = str(tmp_path / "bins")
    assert bin_info(folder, 8, 6)[0] == [f"0 {folder}/a.bin 8 6"]
    with pytest.raises(ValueError, match="its manifest says 8 x 6, not 6 x 8"):
        bin_info(folder, 6, 8)
    assert preprocess(tmp_path / "pictures", folder, size=(6, 8), batch_size=2).strays == 1


def test_standard_output_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    with (tmp_path / "out.txt").open("w") as file:
        file.write("before\n")
        file.flush()
        command = [sys.executable, "-m", "pspfast.get_info", "bin", str(tmp_path), "/dev/stdout", "5", "4"]
        subprocess.run(command, stdout=file, check=True)
        file.seek(0, os.SEEK_END)
        file.write("after\n")
    assert (tmp_path / "out.txt").read_text() == f"before\n0 {tmp_path}/a.bin 5 4\nafter\n"
