"""What ``pspfast run`` adds to a model: ``python -m bench.run --model r18.onnx``.

First that it gives what the three stages give, batch 1 and 16. Then, over as many pictures as VOC2012 val has, with a
runtime that costs nothing, against a loop that only decodes and letterboxes; with its peak memory. Then with the r18
model, against a loop that calls ONNX Runtime with tensors in memory and does nothing else. Without ``--model`` a random
PSPNet r18 of the full width is exported first, which needs the extra ``export``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from bench.costless import CostlessRuntime
from bench.harness import PICTURES, ROOT, Row, find_voc, machine, positive, print_table, rows_of, time_in_turns
from bench.harness import write_json as write_rows
from bench.inference import exported
from pspfast.datasets import read_split
from pspfast.datasets.sources import data_set_source
from pspfast.pictures import kernels as ops
from pspfast.pictures.reader import PictureReader
from pspfast.stages.inference import infer
from pspfast.stages.postprocessing import postprocess
from pspfast.stages.preprocessing import preprocess
from pspfast.stages.whole_run import run
from pspfast.system import threads as parallel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pspfast.stages.whole_run import Run

SIZE = (500, 500)
FOLDERS = (("JPEGImages", ".jpg"), ("SegmentationClass", ".png"))


def repeated(voc: Path, root: Path, count: int) -> Path:
    """A VOC2012 of ``count`` pictures: links to those that there are."""
    names = read_split(voc / "ImageSets/Segmentation/val.txt").ids
    ids = [f"{names[number % len(names)]}_{number:05d}" for number in range(count)]
    for folder, suffix in FOLDERS:
        (root / folder).mkdir(parents=True)
        for number, name in enumerate(ids):
            (root / folder / f"{name}{suffix}").symlink_to(voc / folder / f"{names[number % len(names)]}{suffix}")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids) + "\n")
    return root


def ours(model: Path, root: Path, out: Path, **options: Any) -> Run:
    """A run from nothing."""
    with data_set_source(root) as source:
        return run(model, source, out, resume=False, report=False, **options)


def check(model: Path, voc: Path, scratch: Path, runtime: Any, batch: int) -> None:
    """Raise SystemExit unless a run leaves what the stages do."""
    split = voc / "ImageSets/Segmentation/val.txt"
    out = scratch / f"stages{batch}"
    preprocess(voc / "JPEGImages", out / "bins", split)
    infer(model, out / "bins", out, runtime=runtime, batch=batch)
    found = postprocess(
        out / "dumpOutput_device0",
        manifest=out / "bins",
        label_folder=voc / "SegmentationClass",
        split=split,
        ledger=out / "ledger.jsonl",
    )
    for workers in (1, 4):
        done = ours(model, voc, scratch / "checked", runtime=runtime, batch=batch, workers=workers)
        same = (scratch / "checked/ledger.jsonl").read_bytes() == (out / "ledger.jsonl").read_bytes()
        if done.result is None or not same or done.result.to_json() != found.result.to_json():
            raise SystemExit(f"batch {batch}, {workers} workers: not what the stages give; not timed")


def costless_rows(root: Path, voc: Path, scratch: Path, rounds: int) -> list[Row]:
    """With a runtime that costs nothing."""
    model = scratch / "costless.onnx"
    model.write_bytes(b"costless")
    for batch in (1, 16):
        check(model, voc, scratch, lambda _, batch=batch: CostlessRuntime(batch), batch)
    names = read_split(root / "ImageSets/Segmentation/val.txt").ids
    workers = parallel.default_workers()

    def sketch(dtype: str) -> Callable[[], None]:
        def make() -> Callable[[str], None]:
            reader, slot = PictureReader(), np.empty((3, *SIZE), dtype)
            normalization = ops.Normalization(ops.IMAGENET_MEAN, ops.IMAGENET_STD)

            def work(name: str) -> None:
                pixels = reader.read(os.path.join(root, "JPEGImages", f"{name}.jpg")).pixels
                ops.letterbox_into(slot, pixels, pspfast.Letterbox.fit(pixels.shape[:2], SIZE), normalization)

            return work

        def all_of_them() -> None:
            for _ in parallel.run(make, names, workers, ahead=32):
                pass

        return all_of_them

    peaks: list[int] = []

    def costless(batch: int, dtype: str) -> Callable[[], None]:
        def all_of_them() -> None:
            runtime = CostlessRuntime(batch, dtype=dtype)
            peaks.append(ours(model, root, scratch / "costless", runtime=lambda _: runtime).peak_memory)

        return all_of_them

    contenders: dict[str, Callable[[], object]] = {
        "decode and letterbox alone, float16": sketch("float16"),
        "pspfast run, batch 1, float16": costless(1, "float16"),
        "pspfast run, batch 1, float32": costless(1, "float32"),
        "pspfast run, batch 16, float32": costless(16, "float32"),
    }
    times = time_in_turns(contenders, rounds=rounds, seconds=0.0)
    notes = {name: f"{len(names) / min(taken):.0f} pictures/s at best" for name, taken in times.items()}
    title = f"A runtime that costs nothing, {len(names)} pictures, {workers} workers; peak {max(peaks) / 1e6:.0f} MB"
    return rows_of(title, times, dict.fromkeys(contenders, len(names) * SIZE[0] * SIZE[1]), notes)


PEAK = """
import sys
from pathlib import Path
from bench.costless import CostlessRuntime
from bench.run import ours
root, model, out, batch = map(Path, sys.argv[1:])
runtime = CostlessRuntime(int(str(batch)))
print(ours(model, root, out, runtime=lambda _: runtime).peak_memory)
"""


def peaks(voc: Path, scratch: Path) -> None:
    """Print the peak memory of processes of their own, for two numbers of pictures."""
    model = scratch / "costless.onnx"
    for count in (PICTURES, 4 * PICTURES):
        root = repeated(voc, scratch / f"voc{count}", count)
        for batch in (1, 16):
            command = [sys.executable, "-c", PEAK, str(root), str(model), str(scratch / f"peak{count}"), str(batch)]
            told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            print(f"{count} pictures, batch {batch}: peak memory {int(told.split()[-1]) / 1e6:.0f} MB")


def model_rows(model: Path, voc: Path, scratch: Path, count: int, rounds: int) -> list[Row]:
    """With ONNX Runtime: its own time, and ours."""
    import onnxruntime

    root = repeated(voc, scratch / "few", count)
    names = read_split(root / "ImageSets/Segmentation/val.txt").ids
    preprocess(root / "JPEGImages", scratch / "few_bins", root / "ImageSets/Segmentation/val.txt")
    tensors = [
        np.fromfile(scratch / "few_bins" / f"{name}.bin", np.float16).reshape(1, 3, *SIZE).astype(np.float32)
        for name in names
    ]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = parallel.default_workers()
    options.inter_op_num_threads = 1
    taken_by = {"ONNX Runtime alone, tensors in memory": [0.0], "pspfast run: pictures to scores": [0.0]}
    alone, whole = taken_by.values()

    def loop() -> None:
        # New each time, as ours: the first picture of a session takes longer.
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        start = time.perf_counter()
        for tensor in tensors:
            session.run(None, {"input": tensor})
        alone.append(time.perf_counter() - start)

    def all_of_it() -> None:  # with the model already loaded, as above
        whole.append(ours(model, root, scratch / "few_run").seconds)

    check(model, root, scratch / "of_model", "auto", 1)
    time_in_turns({"alone": loop, "whole": all_of_it}, rounds=rounds, seconds=0.0)
    times = {name: taken[-rounds:] for name, taken in taken_by.items()}
    title = f"{count} pictures with {model.name}, batch 1, {parallel.default_workers()} CPUs, loading not included"
    return rows_of(title, times, dict.fromkeys(times, count * SIZE[0] * SIZE[1]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--voc-root", type=Path, help="VOCdevkit/VOC2012 with the val pictures")
    parser.add_argument("--model", type=Path, help="ONNX file for batch 1 at 500x500")
    parser.add_argument("--pictures", type=positive, default=8, help="for the model")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--part", choices=["model", "costless", "memory", "all"], default="all")
    parser.add_argument("--scratch", metavar="DIR", help="where files are kept meanwhile; a temporary folder")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args()
    voc = options.voc_root or find_voc()
    if voc is None:
        raise SystemExit("no pictures: give --voc-root VOCdevkit/VOC2012, or set PSPFAST_TEST_DATA")
    voc = voc.resolve()

    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(f"load {os.getloadavg()[0]:.2f} as this begins")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pspfast-bench-", dir=options.scratch) as folder:
        scratch = Path(folder)
        if options.part in ("costless", "all"):
            rows += costless_rows(repeated(voc, scratch / "voc", PICTURES), voc, scratch, options.rounds)
        if options.part in ("memory", "all"):
            (scratch / "costless.onnx").write_bytes(b"costless")
            peaks(voc, scratch)
        if options.part in ("model", "all"):
            model = options.model or exported(scratch)
            rows += model_rows(model, voc, scratch, options.pictures, options.rounds)
    print(f"load {os.getloadavg()[0]:.2f} as this ends")
    print_table(rows)
    if options.json:
        write_rows(options.json, rows)


if __name__ == "__main__":
    main()
