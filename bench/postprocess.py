"""Postprocessing against everything else: ``python -m bench.postprocess [--json FILE]``.

Three parts: counting one mask on one thread (a real one, one class throughout, noise), unpadding it, and the whole
command over 1449 pictures against the published route. Real masks and labels are those of ``PSPFAST_TEST_DATA`` or
``../shared/data``, repeated under new names. The published route and some others need PyTorch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import pspfast
from bench import counting
from bench.harness import (
    PICTURES,
    ROOT,
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CLASSES = counting.CLASSES
MASK_BYTES = 500 * 500 * 4
_MASKS_IN_TURN = 150


def masks(voc: Path | None) -> dict[str, tuple[NDArray[np.int32], NDArray[np.uint8]]]:
    """Masks of a 500x500 canvas and labels of their pictures."""
    cases = {}
    if voc is not None:
        name = "2007_000123"
        mask = np.array(Image.open(voc.parents[1] / "golden" / "preds" / f"{name}.png"), np.int32)
        target = np.array(Image.open(voc / "SegmentationClass" / f"{name}.png"))
        cases["a real mask"] = mask, target
        larger = Image.fromarray(target).resize((640, 480), Image.Resampling.NEAREST)
        cases["a real mask, picture of 640x480"] = mask, np.array(larger)
    rng = np.random.default_rng(0)
    cases["one class"] = np.ones((500, 500), np.int32), np.ones((375, 500), np.uint8)
    noise, labels = rng.integers(0, CLASSES, (500, 500)), rng.integers(0, CLASSES, (375, 500))
    cases["noise"] = noise.astype(np.int32), labels.astype(np.uint8)
    return cases


def counting_rows(case: str, mask: NDArray[np.int32], target: NDArray[np.uint8], rounds: int) -> list[Row]:
    box = pspfast.Letterbox.fit(target.shape, mask.shape)
    (top, left), (height, width) = box.offset, box.resized
    crop = mask[top : top + height, left : left + width]
    active, *others = sorted(pspfast.isa()["runnable"], key=lambda isa: isa != pspfast.isa()["active"])
    matrices = {isa: pspfast.ConfusionMatrix(CLASSES, isa=isa) for isa in (active, *others)}
    wanted = counting.bincount(mask, target, box)
    wanted_areas = np.stack((wanted.diagonal(), wanted.sum(0), wanted.sum(1)))

    contenders: dict[str, Callable[[], Any]] = {}
    for isa, matrix in matrices.items():
        matrix.update_letterboxed(mask, target, box)
        if not np.array_equal(matrix.counts, wanted):
            raise SystemExit(f"{case}: {isa} counts differ from bincount; not timed")
        contenders[f"update_letterboxed, {isa}"] = partial(matrix.update_letterboxed, mask, target, box)
    contenders["reading the same bytes (NumPy maxima)"] = lambda: (crop.max(), target.max())
    contenders["adding the same bytes up (NumPy sums, in int64)"] = lambda: (crop.sum(), target.sum())
    found, _ = counting.routes()
    for name, route in found.items():
        counts = route(mask, target, box)
        if not np.array_equal(counts, wanted if len(counts) == CLASSES else wanted_areas):
            raise SystemExit(f"{case}: {name} counts differ from bincount; not timed")
        contenders[name] = partial(route, mask, target, box)
    times = time_in_turns(contenders, rounds=rounds, seconds=0.03)
    size = crop.size * crop.itemsize + target.nbytes
    return rows_of(f"Counting, one thread, {case}", times, dict.fromkeys(contenders, size))


def memory_rows(mask: NDArray[np.int32], target: NDArray[np.uint8], rounds: int) -> list[Row]:
    """Counting and reading where every mask comes from memory: more of them in turn than caches hold."""
    copies = [(mask.copy(), target.copy()) for _ in range(_MASKS_IN_TURN)]
    box, matrix = pspfast.Letterbox.fit(target.shape, mask.shape), pspfast.ConfusionMatrix(CLASSES)
    (top, _), (height, _) = box.crop()
    wanted = counting.bincount(mask, target, box)

    def count() -> None:
        for one, labels in copies:
            matrix.update_letterboxed(one, labels, box)

    def read() -> list[Any]:
        return [(one[top : top + height].max(), labels.max()) for one, labels in copies]

    count()
    if not np.array_equal(matrix.counts, _MASKS_IN_TURN * wanted):
        raise SystemExit("counts of masks in turn differ from bincount; not timed")
    times = time_in_turns({"update_letterboxed": count, "reading (NumPy maxima)": read}, rounds=rounds, seconds=0.01)
    size = _MASKS_IN_TURN * (height * mask.shape[1] * mask.itemsize + target.nbytes)
    return rows_of(f"Counting from memory, one thread, {_MASKS_IN_TURN} real masks", times, dict.fromkeys(times, size))


def unpad_rows(mask: NDArray[np.int32], target: NDArray[np.uint8], rounds: int) -> list[Row]:
    box = pspfast.Letterbox.fit(target.shape, mask.shape)
    out, small = np.empty(target.shape, np.int32), np.empty(target.shape, np.uint8)
    contenders: dict[str, Callable[[], Any]] = {
        "pspfast.unpad": lambda: pspfast.unpad(mask, box, out=out),
        "pspfast.unpad into uint8": lambda: pspfast.unpad(mask, box, out=small),
        "NumPy indexing": lambda: counting.numpy_unpad(mask, box),
    }
    wanted = counting.numpy_unpad(mask, box)
    for name, call in contenders.items():
        if not np.array_equal(call(), wanted):
            raise SystemExit(f"{name} differs from NumPy indexing; not timed")
    times = time_in_turns(contenders, rounds=rounds, seconds=0.03)
    sizes = dict.fromkeys(contenders, out.nbytes) | {"pspfast.unpad into uint8": small.nbytes}
    return rows_of("Unpadding and resizing, one thread, 500x500 -> 640x480", times, sizes)


def repeated(voc: Path, folder: Path) -> dict[str, Path]:
    """Dumps, labels, info file and split of 1449 pictures."""
    paths = {name: folder / name for name in ("dumps", "labels", "info", "split")}
    paths["dumps"].mkdir()
    paths["labels"].mkdir()
    named = (voc / "ImageSets/Segmentation/val.txt").read_text().split()
    names, info = [], []
    for index in range(PICTURES):
        source = named[index % len(named)]
        names.append(f"{source}_{index // len(named):02d}")
        mask = np.array(Image.open(voc.parents[1] / "golden" / "preds" / f"{source}.png"), np.int32)
        mask.tofile(paths["dumps"] / f"{names[-1]}_1.bin")
        shutil.copy(voc / "SegmentationClass" / f"{source}.png", paths["labels"] / f"{names[-1]}.png")
        height, width = pspfast.picture_size(voc / "JPEGImages" / f"{source}.jpg")
        info.append(f"{index} JPEGImages/{names[-1]}.jpg {width} {height}\n")
    # The published script pairs dumps, sorted, with the split, as it stands.
    paths["split"].write_text("".join(f"{name}\n" for name in sorted(names)))
    paths["info"].write_text("".join(info))
    return paths


def command_rows(voc: Path, scratch: Path, rounds: int) -> list[Row]:
    """The whole command as a process, with its start."""
    paths = {name: str(path) for name, path in repeated(voc, scratch).items()}
    python, result = [sys.executable, "-m"], str(scratch / "result.json")
    ours = [
        *(*python, "pspfast.postprocess", "--quiet", "--geometry=reference", f"--bin_data_path={paths['dumps']}"),
        *(f"--test_annotation={paths['info']}", f"--ann_dir={paths['labels']}", f"--split={paths['split']}"),
        *(f"--result-file={scratch / 'voc_seg_result.txt'}", f"--json={result}"),
    ]
    published = [*python, "bench.published_scores", *(paths[name] for name in ("dumps", "info", "labels", "split"))]
    commands = {
        "pspfast, 1 worker": [*ours, "--workers=1"],
        "pspfast, 2 workers": [*ours, "--workers=2"],
        "pspfast, 1 worker, with a ledger": [*ours, "--workers=1", f"--ledger={scratch / 'ledger'}"],
        "published route": published,
        "published route, one thread": ["/usr/bin/env", "OMP_NUM_THREADS=1", *published],
    }
    wanted = json.loads(subprocess.run(published, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    times: dict[str, list[float]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0)
    for number in range(rounds + 1):
        for name, command in list(commands.items())[:: -1 if number % 2 else 1]:
            seconds, peak = run(command)
            (scratch / "ledger").unlink(missing_ok=True)
            if not name.startswith("published"):
                found = json.loads(Path(result).read_text())["classes"]
                areas = [[one[key] for one in found] for key in ("intersection", "predicted", "truth")]
                if areas != wanted:
                    raise SystemExit(f"{name}: areas differ from those of the published route; not timed")
            if number:  # the first round warms the page cache
                times[name].append(seconds)
                peaks[name] = max(peaks[name], peak)
            print(f"round {number}: {name} {seconds:.2f} s", file=sys.stderr, flush=True)
    rows = []
    for name in commands:
        if not name.startswith("published"):
            chosen = {one: times[one] for one in (name, "published route", "published route, one thread")}
            notes = {
                one: f"{PICTURES / statistics.median(taken):.0f} pictures/s, peak {peaks[one] / 1e6:.0f} MB"
                for one, taken in chosen.items()
            }
            contest = f"Whole command, {PICTURES} pictures: {name}"
            rows += rows_of(contest, chosen, dict.fromkeys(chosen, PICTURES * MASK_BYTES), notes)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.postprocess", description=__doc__)
    parser.add_argument("--scratch", help="folder for about 1.5 GB of dumps; the system's temporary one if left out")
    parser.add_argument(
        "--rounds", type=positive, help="measurements of every row (15 of the kernel, 5 of the command)"
    )
    parser.add_argument("--part", choices=["kernel", "command", "both"], default="both")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    for reason in counting.routes()[1]:
        print(reason)
    voc = find_voc()
    if voc is None:
        print("real masks and the whole command are left out: neither PSPFAST_TEST_DATA nor ../shared/data is there")

    table: list[Row] = []
    if options.part in ("kernel", "both"):
        cases = masks(voc)
        table += [row for case, pair in cases.items() for row in counting_rows(case, *pair, options.rounds or 15)]
        if voc is not None:
            table += memory_rows(*cases["a real mask"], options.rounds or 15)
            table += unpad_rows(*cases["a real mask, picture of 640x480"], options.rounds or 15)
    if options.part in ("command", "both") and voc is not None:
        for name in ("torch", "mmcv"):
            if find_spec(name) is None:
                raise SystemExit(f"the published route needs {name}: pip install torch==2.13.0 mmcv-lite==2.1.0")
        with tempfile.TemporaryDirectory(prefix="pspfast-bench-", dir=options.scratch) as scratch:
            table += command_rows(voc, Path(scratch), options.rounds or 5)
    print_table(table)
    if options.json:
        write_json(options.json, table)


if __name__ == "__main__":
    main()
