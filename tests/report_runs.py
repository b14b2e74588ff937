"""Folders as runs leave them, small and made up, for tests of the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pspfast.datasets import VOC, palette
from pspfast.formats.ledger import Entry, Ledger, Subject, write_ledger
from pspfast.formats.result import Result
from pspfast.metrics.class_pairs import PairCounter

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIZE = (60, 90)
"""Height and width of the pictures."""


def scene(number: int, classes: int) -> NDArray[np.uint8]:
    """Labels of a picture: background, two classes, and void round them."""
    labels = np.zeros(SIZE, np.uint8)
    first, second = 1 + number % (classes - 1), 1 + (3 * number + 1) % (classes - 1)
    labels[8:40, 10:40] = 255
    labels[10:38, 12:38] = first
    labels[20:55, 50:85] = 255
    labels[22:53, 52:83] = second
    return labels


def predicted(labels: NDArray[np.uint8], number: int, shift: int, classes: int) -> NDArray[np.uint8]:
    """The labels moved aside, a class taken for another now and then, and never void."""
    moved = np.roll(np.where(labels == 255, 0, labels), (shift, shift // 2), (0, 1)).astype(np.uint8)
    if number % 5 == 0:
        moved[moved == 1 + number % (classes - 1)] = 1 + (number + 1) % (classes - 1)
    return moved


def make_ledger(shift: int, classes: tuple[str, ...] = VOC.classes, pictures: int = 24) -> Ledger:
    """Pictures ``p00``, ``p01``, ..., predicted the worse the larger the shift."""
    from pspfast import Letterbox

    count = PairCounter(len(classes))
    entries = {}
    for number in range(pictures):
        labels = scene(number, len(classes))
        mask = predicted(labels, number, shift, len(classes))
        name = f"p{number:02d}"
        entries[name] = Entry(name, "0", SIZE, count(mask, labels, Letterbox.fit(SIZE, SIZE)))
    return Ledger(Subject(classes), entries)


def make_result(ledger: Ledger, **others: Any) -> Result:
    source: tuple[tuple[str, Any], ...] = (("geometry", "exact"), ("ignore_index", 255), ("label_map", {}))
    return Result.of(ledger.matrix(), ledger.subject.classes, len(ledger.entries), source=source, **others)


def make_run(
    folder: Path,
    shift: int = 2,
    classes: tuple[str, ...] = VOC.classes,
    *,
    shown: tuple[int, ...] = (0, 5, 10, 15, 3, 4),
    result: dict[str, Any] | None = None,
    **record: Any,
) -> Path:
    """A whole folder; ``result`` and ``record`` replace what its files say."""
    ledger = make_ledger(shift, classes)
    (folder / "examples").mkdir(parents=True)
    write_ledger(folder / "ledger.jsonl", ledger)
    (folder / "result.json").write_text(make_result(ledger, **(result or {})).to_json())
    for number in shown:
        labels = scene(number, len(classes))
        save_example(folder, f"p{number:02d}", labels, predicted(labels, number, shift, len(classes)))
    fields = {
        "format": "pspfast run",
        "version": 1,
        "pspfast": "0.6.0",
        "command": ["pspfast", "run", "--voc-root", "my data/VOC2012", "--model", "m.onnx"],
        "started": "2025-06-03T14:22:07+02:00",
        "seconds": 12.5,
        "pictures": 24,
        "kept": 0,
        "failed": [],
        "pictures_per_s": 1.92,
        "batch": 4,
        "workers": 2,
        "stages": {"read": 0.031, "letterbox": 0.02, "wait": 0.5, "infer": 11.0, "count": 0.25},
        "limited_by": "infer",
        "peak_memory": 312_000_000,
        "model": {"path": "m.onnx", "sha256": "0f" * 32, "metadata": {"canvas": [60, 90], "dtype": "float16"}},
        "runtime": {"runtime": "onnxruntime", "version": "1.32.0", "device": "CPU", "provider": None, "threads": 2},
        "data": {"kind": "voc", "root": "my data/VOC2012", "pictures": None, "labels": None, "split": "val"},
        "canvas": [60, 90],
        "geometry": "exact",
        "environment": {"cpu": "A CPU", "isa": "avx2", "cores": 2, "python": "3.11.7", "numpy": "2.3.1"},
        "examples": {"folder": "examples", "names": [[f"p{number:02d}", 0.5] for number in shown]},
    } | record
    (folder / "run.json").write_text(json.dumps(fields, indent=1) + "\n")
    return folder


def save_example(folder: Path, name: str, labels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """The three files of a picture to show."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = np.stack((rows * 4, columns * 2, labels.astype(np.int64) * 9 % 256), axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"examples/{name}_picture.jpg", quality=90)
    for kind, values in (("truth", labels), ("prediction", mask)):
        image = Image.fromarray(values)
        image.putpalette(palette())
        image.save(folder / f"examples/{name}_{kind}.png")
