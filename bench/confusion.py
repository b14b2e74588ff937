"""Counting a letterboxed mask against everything else: ``python -m bench.confusion [--json FILE]``.

One 500x500 int32 mask, as the network dumps it, against the 500x375 labels of its picture, on one thread: a real mask
(``PSPFAST_TEST_DATA`` or ``../shared/data``), one class throughout, and noise. The published route needs PyTorch and is
left out, in words, where that is not installed.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import pspfast
from bench.harness import Row, machine, print_table, rows_of, time_in_turns, write_json
from bench.preprocess import find_voc

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CLASSES = 21


def bincount_route(mask: NDArray[np.int32], target: NDArray[np.uint8], box: pspfast.Letterbox) -> NDArray[np.int64]:
    """NumPy: crop, nearest by indexing where the picture was scaled, and one bincount."""
    preds = mask
    (top, left), (height, width) = box.offset, box.resized
    preds = mask[top : top + height, left : left + width]
    if box.is_scaled:
        preds = preds[np.ix_(*(_nearest(side, to) for side, to in zip(box.resized, box.picture, strict=True)))]
    valid = target != 255
    pairs = target[valid].astype(np.int64) * CLASSES + preds[valid]
    return np.bincount(pairs, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES)


def _nearest(side: int, to: int) -> NDArray[Any]:
    scale = np.float32(side) / np.float32(to)
    index: NDArray[np.int64] = np.floor(np.arange(to, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, side - 1)


def published_route(mask: NDArray[np.int32], target: NDArray[np.uint8], box: pspfast.Letterbox) -> list[Any]:
    """What the published script calls, in the same order: crop, interpolate, three histograms."""
    import torch

    (top, left), (height, width) = box.offset, box.resized
    preds = torch.from_numpy(mask)[None, None, top : top + height, left : left + width].float()
    preds = torch.nn.functional.interpolate(preds, size=box.picture, mode="nearest")[0, 0]
    label = torch.from_numpy(target).float()
    valid = label != 255
    preds, label = preds[valid], label[valid]
    options = {"bins": CLASSES, "min": 0, "max": CLASSES - 1}
    return [torch.histc(one, **options) for one in (preds[preds == label], preds, label)]


def rows(case: str, mask: NDArray[np.int32], target: NDArray[np.uint8], rounds: int) -> list[Row]:
    box = pspfast.Letterbox.fit(target.shape, mask.shape)
    (top, left), (height, width) = box.offset, box.resized
    crop = mask[top : top + height, left : left + width]
    active, *others = sorted(pspfast.isa()["runnable"], key=lambda isa: isa != pspfast.isa()["active"])
    matrices = {isa: pspfast.ConfusionMatrix(CLASSES, isa=isa) for isa in (active, *others)}
    contenders: dict[str, Callable[[], Any]] = {
        f"update_letterboxed, {isa}": partial(matrix.update_letterboxed, mask, target, box)
        for isa, matrix in matrices.items()
    }
    contenders["reading the same bytes (NumPy sums)"] = lambda: (crop.sum(), target.sum())
    contenders["NumPy bincount"] = lambda: bincount_route(mask, target, box)
    try:
        import torch
    except ImportError:
        print("the published route is left out: PyTorch is not installed (pip install torch==2.13.0)")
    else:
        torch.set_num_threads(1)
        contenders["published route (PyTorch)"] = lambda: published_route(mask, target, box)

    wanted = bincount_route(mask, target, box)
    for isa, matrix in matrices.items():
        matrix.update_letterboxed(mask, target, box)
        if not np.array_equal(matrix.counts, wanted):
            raise SystemExit(f"{case}: {isa} counts differ from bincount; not timed")
    if "published route (PyTorch)" in contenders:
        areas = matrices[active].areas()
        for theirs, ours in zip(
            published_route(mask, target, box), (areas.intersection, areas.predicted, areas.truth), strict=True
        ):
            if not np.array_equal(theirs.numpy().astype(np.int64), ours):
                raise SystemExit(f"{case}: the published route counts differ; not timed")
    times = time_in_turns(contenders, rounds=rounds, seconds=0.03)
    size = crop.size * crop.itemsize + target.nbytes
    return rows_of(f"Counting, one thread, {case}", times, dict.fromkeys(contenders, size))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.confusion", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measurements of every row (15)")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in machine().items()))

    rng = np.random.default_rng(0)
    one, noise = np.ones((500, 500), np.int32), rng.integers(0, CLASSES, (500, 500), dtype=np.int32)
    labels = rng.integers(0, CLASSES, (375, 500), dtype=np.uint8)
    cases = [("one class", one, np.ones((375, 500), np.uint8)), ("noise", noise, labels)]
    voc = find_voc()
    if voc is None:
        print("the real mask is left out: neither PSPFAST_TEST_DATA nor ../shared/data is there")
    else:
        name = "2007_000123"
        mask = np.array(Image.open(voc.parents[1] / "golden" / "preds" / f"{name}.png"), np.int32)
        target = np.array(Image.open(voc / "SegmentationClass" / f"{name}.png"))
        cases.insert(0, ("a real mask", mask, target))
        larger = np.array(Image.fromarray(target).resize((640, 480), Image.Resampling.NEAREST))
        cases.insert(1, ("a real mask, picture of 640x480", mask, larger))
    table = [row for case in cases for row in rows(*case, options.rounds)]
    print_table(table)
    if options.json:
        write_json(options.json, table)


if __name__ == "__main__":
    main()
