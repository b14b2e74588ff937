"""What ``pspfast infer`` and ``benchmark`` add to ONNX Runtime: ``python -m bench.inference --model r18.onnx``.

Three parts: the r18 model, against a loop that calls ONNX Runtime with tensors in memory and does nothing else; and two
pipelines with a runtime that costs nothing, against the bare data path on as many threads. Without ``--model`` a random
PSPNet r18 of the full width is exported first, which needs the extra ``export``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from bench.costless import CostlessRuntime
from bench.harness import Row, find_voc, machine, positive, print_table, rows_of, time_in_turns, write_json
from pspfast.datasets import find_picture, read_split
from pspfast.metrics.confusion import ConfusionMatrix
from pspfast.pictures import kernels as ops
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureReader
from pspfast.runtimes.onnx import OnnxRuntime
from pspfast.speed.benchmarking import benchmark_pictures
from pspfast.stages.inference import infer
from pspfast.stages.preprocessing import preprocess
from pspfast.system import threads as parallel
from pspfast.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pspfast.speed.tables import Benchmark

SIZE = (500, 500)
INFER, BENCHMARK = "pspfast infer: bins to dumps", "pspfast benchmark: JPEGs to scores"
LABEL_BYTES = 4 * SIZE[0] * SIZE[1]


def model_rows(model: Path, voc: Path, bins: Path, names: list[str], scratch: Path, rounds: int) -> list[Row]:
    """With ONNX Runtime: its own time, and ours."""
    import onnxruntime

    tensors = {name: np.fromfile(bins / f"{name}.bin", np.float16).reshape(1, 3, *SIZE) for name in names}
    widened = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = parallel.default_workers()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    loaded = _Loaded(str(model))
    out = scratch / "model"
    split = scratch / "names.txt"
    split.write_text("\n".join(names) + "\n")

    def loop() -> dict[str, NDArray[Any]]:
        return {name: session.run(None, {"input": tensor})[0] for name, tensor in widened.items()}

    within: dict[str, list[float]] = {}  # wall clock over ONNX Runtime's own time in the same run

    def ours() -> None:
        loaded.compute_seconds.clear()
        start = time.perf_counter()
        infer(model, bins, out, runtime=lambda _: loaded, resume=False)
        taken = time.perf_counter() - start
        within.setdefault(INFER, []).append(taken / sum(loaded.compute_seconds))

    def measured() -> Benchmark:
        labels = voc / "SegmentationClass"
        start = time.perf_counter()
        found = benchmark_pictures(model, voc / "JPEGImages", split, labels=labels, runtime=lambda _: loaded, warmup=0)
        taken = time.perf_counter() - start
        within.setdefault(BENCHMARK, []).append(taken / sum(loaded.compute_seconds))
        return found

    wanted = loop()
    ours()
    matrix = ConfusionMatrix(21)
    for name, labels in wanted.items():
        if not np.array_equal(np.fromfile(out / "dumpOutput_device0" / f"{name}_1.bin", np.int32), labels.ravel()):
            raise SystemExit(f"{name}: pspfast infer gives other labels than ONNX Runtime; not timed")
        pixels = PictureReader().read(str(voc / "JPEGImages" / f"{name}.jpg")).pixels
        geometry = pspfast.Letterbox.fit(pixels.shape[:2], SIZE)
        tensor = pspfast.letterbox(pixels, SIZE, dtype="float32")[None]
        truth = read_labels(str(voc / "SegmentationClass" / f"{name}.png")).pixels
        matrix.update_letterboxed(session.run(None, {"input": tensor})[0][0, 0], truth, geometry)
    if measured().miou != 100 * matrix.miou():
        raise SystemExit("pspfast benchmark scores otherwise than ONNX Runtime's labels do; not timed")
    contenders: dict[str, Callable[[], object]] = {
        "ONNX Runtime alone, tensors in memory": loop,
        INFER: ours,
        BENCHMARK: measured,
    }
    times = time_in_turns(contenders, rounds=rounds, seconds=0.0)
    title = f"{len(names)} pictures with {model.name}, batch 1, {parallel.default_workers()} CPUs, loading not included"
    notes = {name: f"{1000 * min(taken) / len(names):.1f} ms a picture at best" for name, taken in times.items()}
    for name, ratios in within.items():
        notes[name] += f"; {statistics.median(ratios):.3f} of ONNX Runtime's own time in the same run"
    return rows_of(title, times, dict.fromkeys(contenders, len(names) * LABEL_BYTES), notes)


class _Loaded(OnnxRuntime):
    """Stays open: what is timed is not the loading, which takes as long either way."""

    def close(self) -> None:
        pass


def costless_rows(voc: Path, bins: Path, names: list[str], scratch: Path, rounds: int) -> list[Row]:
    """With a runtime that costs nothing: the data path by itself, and ours round that runtime."""
    out, plain = scratch / "ours", scratch / "plain"
    plain.mkdir()
    workers = CostlessRuntime.lanes + 2
    split = scratch / "all.txt"
    split.write_text("\n".join(names) + "\n")
    model = scratch / "costless.onnx"
    model.write_bytes(b"costless")
    labels = CostlessRuntime().picture_labels

    def bare_worker() -> Callable[[str], None]:
        batch, halves = np.empty((3, *SIZE), np.float32), np.empty((3, *SIZE), np.float16)

        def work(name: str) -> None:
            with open(bins / f"{name}.bin", "rb", buffering=0) as file:
                file.readinto(halves.data.cast("B"))
            np.copyto(batch, halves)
            write_whole(os.path.join(plain, f"{name}_1.bin"), labels.astype(np.int32).data.cast("B"))

        return work

    def bare() -> None:
        for _ in parallel.run(bare_worker, names, workers, ahead=8):
            pass

    def ours() -> None:
        infer(model, bins, out, runtime=lambda _: CostlessRuntime(), resume=False)

    bare()
    ours()
    for name in names:
        if (plain / f"{name}_1.bin").read_bytes() != (out / "dumpOutput_device0" / f"{name}_1.bin").read_bytes():
            raise SystemExit(f"{name}: other dumps; not timed")

    def path_worker() -> Callable[[str], None]:
        reader, batch = PictureReader(), np.empty((3, *SIZE), np.float32)
        normalization = ops.Normalization(ops.IMAGENET_MEAN, ops.IMAGENET_STD)
        matrix = ConfusionMatrix(21)

        def work(name: str) -> None:
            folder = str(voc / "JPEGImages")
            pixels = reader.read(os.path.join(folder, find_picture(folder, name))).pixels
            geometry = pspfast.Letterbox.fit(pixels.shape[:2], SIZE)
            ops.letterbox_into(batch, pixels, geometry, normalization)
            truth = read_labels(str(voc / "SegmentationClass" / f"{name}.png")).pixels
            matrix.update_letterboxed(labels, truth, geometry)

        return work

    def bare_path() -> None:
        for _ in parallel.run(path_worker, names, workers, ahead=8):
            pass

    def our_path() -> None:
        benchmark_pictures(
            model,
            voc / "JPEGImages",
            split,
            labels=voc / "SegmentationClass",
            runtime=lambda _: CostlessRuntime(),
            warmup=0,
        )

    rows = []
    for title, pair in (
        ("bins to dumps", {"read, widen, write": bare, "pspfast infer": ours}),
        ("JPEGs to scores", {"decode, letterbox, count": bare_path, "pspfast benchmark": our_path}),
    ):
        contenders: dict[str, Callable[[], object]] = dict(pair)
        times = time_in_turns(contenders, rounds=rounds, seconds=0.3)
        notes = {name: f"{len(names) / min(taken):.0f} pictures/s at best" for name, taken in times.items()}
        sizes = dict.fromkeys(contenders, len(names) * LABEL_BYTES)
        rows += rows_of(f"A runtime that costs nothing, {title}, {workers} threads", times, sizes, notes)
    return rows


def exported(folder: Path) -> Path:
    """A random r18, as an ONNX file for batch 1."""
    import torch

    from pspfast.export.exporting import export
    from pspfast.export.pspnet import random_pspnet

    torch.save({"meta": {}, "state_dict": random_pspnet(18, 21).state_dict()}, folder / "r18.pth")
    export(str(folder / "r18.pth"), str(folder / "r18.onnx"), shape=SIZE)
    return folder / "r18.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.inference", description=__doc__)
    parser.add_argument("--voc-root", type=Path, help="VOCdevkit/VOC2012 with the val pictures")
    parser.add_argument("--model", type=Path, help="ONNX file for batch 1 at 500x500")
    parser.add_argument("--pictures", type=positive, default=16, help="for the model")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--part", choices=["model", "costless", "both"], default="both")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args()
    voc = options.voc_root or find_voc()
    if voc is None:
        raise SystemExit("no pictures: give --voc-root VOCdevkit/VOC2012, or set PSPFAST_TEST_DATA")

    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    split = voc / "ImageSets/Segmentation/val.txt"
    names = list(read_split(split).ids)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pspfast-bench-") as folder:
        scratch = Path(folder)
        if options.part in ("costless", "both"):
            preprocess(voc / "JPEGImages", scratch / "bins", split)
            rows += costless_rows(voc, scratch / "bins", names, scratch, options.rounds)
        if options.part in ("model", "both"):
            few = names[: options.pictures]
            (scratch / "few.txt").write_text("\n".join(few) + "\n")
            preprocess(voc / "JPEGImages", scratch / "few", scratch / "few.txt")
            model = options.model or exported(scratch)
            rows += model_rows(model, voc, scratch / "few", few, scratch, options.rounds)
    print_table(rows)
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
