"""Preprocessing against everything else: ``python -m bench.preprocess [--json FILE]``.

Three parts: one picture on one thread; JPEG files to tensors against what people use (``bench.files_to_tensors``); and
the whole command over 1449 pictures (those of ``PSPFAST_TEST_DATA`` or ``../shared/data`` repeated under new names, or
any VOCdevkit/VOC2012 given with ``--voc-root``).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

import pspfast
from bench import files_to_tensors, routes
from bench.harness import (
    PICTURES,
    Row,
    find_voc,
    machine,
    positive,
    print_table,
    rows_of,
    run,
    time_in_turns,
    write_json,
)
from pspfast.pictures.kernels import Normalization, letterbox_into

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


BIN_BYTES = 3 * 500 * 500 * 2


def kernel_rows(voc: Path, scratch: Path, rounds: int) -> list[Row]:
    """One picture, one thread."""
    cv2.setNumThreads(1)
    picture = pspfast.imread(voc / "JPEGImages" / "2007_000039.jpg")
    if picture.shape != (375, 500, 3):
        raise SystemExit(f"2007_000039.jpg should be 500x375, is {picture.shape}")
    cases: dict[str, Any] = {
        "no resize: 500x375": picture,
        "down: 640x480": cv2.resize(picture, (640, 480), interpolation=cv2.INTER_CUBIC),
        "exactly half: 1000x750": cv2.resize(picture, (1000, 750), interpolation=cv2.INTER_CUBIC),
        "down: 1920x1080": cv2.resize(picture, (1920, 1080), interpolation=cv2.INTER_CUBIC),
        "up: 320x240": cv2.resize(picture, (320, 240)),
    }
    return [row for case, image in cases.items() for row in one_picture_rows(case, image, scratch, rounds)]


def one_picture_rows(case: str, image: NDArray[np.uint8], scratch: Path, rounds: int) -> list[Row]:
    out, out32 = np.empty((3, 500, 500), np.float16), np.empty((3, 500, 500), np.float32)
    target = scratch / "one.bin"
    geometry = pspfast.Letterbox.fit(image.shape[:2], (500, 500))
    normalization = Normalization(pspfast.IMAGENET_MEAN, pspfast.IMAGENET_STD)
    active, *others = sorted(pspfast.isa()["runnable"], key=lambda isa: isa != pspfast.isa()["active"])
    kernel = partial(letterbox_into, image=image, geometry=geometry, normalization=normalization)
    contenders: dict[str, Callable[[], Any]] = {
        f"kernel, {active}": lambda: kernel(out),
        **{f"kernel, {isa}": partial(kernel, out, isa=isa) for isa in others},
        f"kernel, {active}, float32": lambda: kernel(out32),
        "pspfast.letterbox": lambda: pspfast.letterbox(image, out=out),
        "NumPy (cv2.resize)": lambda: routes.numpy_route(image),
        "OpenCV as mmcv calls it": lambda: routes.opencv_route(image),
        "cv2.dnn.blobFromImage": lambda: routes.blob_route(image),
        "published script with its tofile": lambda: routes.opencv_view(image).tofile(target),
    }

    wanted, wanted32 = routes.opencv_route(image).tobytes(), routes.opencv_float32(image).tobytes()
    for name, call in contenders.items():
        out.fill(-1)
        out32.fill(-1)
        returned = call()
        if "float32" in name:
            same = out32.tobytes() == wanted32
        elif "published" in name:
            same = target.read_bytes() == wanted
        else:
            same = (out if returned is None else returned).tobytes() == wanted
        if not same:
            raise SystemExit(f"{case}: {name} gives another result; not timed")
    times = time_in_turns(contenders, rounds=rounds, seconds=0.05)
    sizes = {name: BIN_BYTES * (1 + ("float32" in name)) for name in contenders}
    return rows_of(f"One picture, one thread, {case} -> 500x500", times, sizes)


def repeated(voc: Path, folder: Path) -> tuple[Path, Path]:
    """A folder of 1449 pictures and its split."""
    images, split = folder / "JPEGImages", folder / "val.txt"
    images.mkdir(parents=True)
    named = (voc / "ImageSets/Segmentation/val.txt").read_text().split()
    names = []
    for index in range(PICTURES):
        source = named[index % len(named)]
        names.append(f"{source}_{index // len(named):02d}" if len(named) < PICTURES else source)
        shutil.copy(voc / "JPEGImages" / f"{source}.jpg", images / f"{names[-1]}.jpg")
    split.write_text("\n".join(names) + "\n")
    return images, split


def digest(folder: Path) -> str:
    """Of the names and bytes of all bins."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.bin")):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def make_room(folder: Path) -> None:
    """Write as many bytes as a run will write, into one file, and let go of them.

    The kernel, and the host of a virtual machine, hand out memory for the page cache much faster the second time; which
    command pays for the first would be chance.
    """
    os.sync()
    with open(folder / "room", "wb") as file:
        for _ in range(PICTURES):
            file.write(bytes(BIN_BYTES))
        file.truncate(0)


def empty(folder: Path) -> None:
    """Let go of the bytes but not of the files: ext4 takes long to find room among files deleted a moment ago."""
    for path in folder.iterdir():
        os.truncate(path, 0)


def command_rows(voc: Path, scratch: Path, rounds: int) -> list[Row]:
    """The whole command as a process, with its start."""
    images, split = repeated(voc, scratch / "voc")
    out, used = scratch / "bins", scratch / "used"
    used.mkdir()
    python = [sys.executable, "-m"]
    options = [f"--image_folder_path={images}", f"--split={split}", f"--bin_folder_path={out}", "--quiet"]
    commands = {
        "1": {
            "pspfast, 1 worker": [*python, "pspfast.preprocess", *options, "--workers=1"],
            "floor: decode + write, 1 worker": [*python, "bench.floor", str(images), str(split), str(out), "1"],
            "published route": [*python, "bench.published", str(images), str(split), str(out)],
        },
        "2": {
            "pspfast, 2 workers": [*python, "pspfast.preprocess", *options, "--workers=2"],
            "floor: decode + write, 2 workers": [*python, "bench.floor", str(images), str(split), str(out), "2"],
        },
    }
    everything = {name: command for contest in commands.values() for name, command in contest.items()}
    times: dict[str, list[float]] = {name: [] for name in everything}
    peaks: dict[str, int] = dict.fromkeys(everything, 0)
    digests: dict[str, str] = {}
    for round_number in range(rounds + 1):
        # Every other round in the opposite order: nobody always follows the same neighbour.
        for name, command in list(everything.items())[:: -1 if round_number % 2 else 1]:
            make_room(scratch)
            seconds, peak = run(command)
            if round_number == 0:  # warms the page cache, and is looked at instead of timed
                digests[name] = digest(out)
                if sum(path.stat().st_size for path in out.glob("*.bin")) != PICTURES * BIN_BYTES:
                    raise SystemExit(f"{name}: not {PICTURES} bins of {BIN_BYTES} bytes")
            else:
                times[name].append(seconds)
                peaks[name] = max(peaks[name], peak)
            empty(out)
            out.rename(used / f"{round_number} {name}")
            print(f"round {round_number}: {name} {seconds:.2f} s", file=sys.stderr, flush=True)
        if len({digests[name] for name in everything if not name.startswith("floor")}) != 1:
            raise SystemExit("the bins of pspfast and of the published route differ; not timed")
    published = times["published route"]
    rows = []
    for workers, contest in commands.items():
        chosen = {name: times[name] for name in contest} | {"published route": published}
        speed = {
            name: f"{PICTURES / statistics.median(taken):.0f} pictures/s, peak {peaks[name] / 1e6:.0f} MB"
            for name, taken in chosen.items()
        }
        plural = "s" * (workers != "1")
        rows += rows_of(
            f"Whole command, {PICTURES} pictures, {workers} worker{plural}",
            chosen,
            dict.fromkeys(chosen, PICTURES * BIN_BYTES),
            speed,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.preprocess", description=__doc__)
    parser.add_argument("--voc-root", type=Path, help="VOCdevkit/VOC2012 with the val pictures")
    parser.add_argument("--scratch", help="folder for about 2.5 GB of bins; the system's temporary folder if left out")
    parser.add_argument(
        "--rounds",
        type=positive,
        help=f"measurements of every row (15 of the kernel, {files_to_tensors.ROUNDS} of files, 5 of the command)",
    )
    parser.add_argument("--part", choices=["kernel", "files", "command", "all"], default="all")
    parser.add_argument(
        "--pictures", type=positive, default=files_to_tensors.PICTURES, help="of the part files, the first so many"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args()
    voc = options.voc_root or find_voc()
    if voc is None:
        raise SystemExit("no pictures: give --voc-root VOCdevkit/VOC2012, or set PSPFAST_TEST_DATA")

    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    rows: list[Row] = []
    remarks: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pspfast-bench-", dir=options.scratch) as scratch:
        if options.part in ("kernel", "all"):
            rows += kernel_rows(voc, Path(scratch), options.rounds or 15)
        if options.part in ("command", "all"):
            rows += command_rows(voc, Path(scratch), options.rounds or 5)
    # Last: the peers' libraries and their threads stay in the process.
    if options.part in ("files", "all"):
        added, remarks = files_to_tensors.file_rows(voc, options.rounds or files_to_tensors.ROUNDS, options.pictures)
        rows += added
    print_table(rows)
    if remarks:
        print("", *remarks, sep="\n")
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
