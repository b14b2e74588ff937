"""What is written of a whole run when it ends: ``run.json`` and the examples."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.pictures.labels import MOST_LABEL_BYTES, decode_labels
from pspfast.pictures.reader import PictureReader
from pspfast.stages.counting import Rules
from pspfast.stages.showcase import Showcase
from pspfast.system.files import OutputError
from pspfast.system.machine import cpu_name
from pspfast.system.threads import default_workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.datasets.sources import Source
    from pspfast.stages.model_input import ModelInput
    from pspfast.stages.whole_run.options import RunOptions
    from pspfast.stages.whole_run.summary import Run

__all__ = ["finish_examples", "noted", "run_record"]

_FORMAT, _VERSION = "pspfast run", 1


def finish_examples(showcase: Showcase, source: Source, rules: Rules, max_pixels: int) -> list[list[Any]]:
    """Complete the examples."""
    items = {item.name: item for item in source.items}
    reader, matrix = PictureReader(max_pixels), rules.matrix()

    def picture_of(name: str) -> NDArray[np.uint8]:
        item = items[name]
        return reader.decode(source.pictures.shown(item.picture), *source.pictures.read(item.picture)).pixels

    def truth_of(name: str) -> NDArray[Any]:
        item = items[name]
        assert source.labels is not None
        data, _ = source.labels.read(item.labels, MOST_LABEL_BYTES)
        labels = decode_labels(item.labels, data, wide=rules.has_wide_labels, max_pixels=max_pixels).pixels
        rows = matrix.rows_of(labels.astype(np.int64))
        return np.where(rows < rules.num_classes, rows, 65_535 if rules.has_wide_labels else 255)

    return showcase.finish(items, picture_of, truth_of)


def run_record(
    finished: Run,
    options: RunOptions,
    started: str,
    model: str,
    sha256: str,
    model_input: ModelInput,
    source: Source,
    shown: list[list[Any]],
) -> dict[str, Any]:
    """``run.json``: how a run went, on what, and with what."""
    metadata = model_input.metadata
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "pspfast": pspfast.__version__,
        "command": list(options.command),
        "started": started,
        "seconds": finished.seconds,
        "pictures": finished.pictures,
        "kept": finished.kept,
        "failed": [list(one) for one in finished.failed],
        "pictures_per_s": finished.pictures_per_second,
        "batch": finished.batch,
        "workers": finished.workers,
        "stages": finished.stages,
        "limited_by": finished.limited_by,
        "peak_memory": finished.peak_memory,
        "model": {
            "path": model,
            "sha256": sha256,
            "metadata": None if metadata is None else asdict(metadata),
            "assumed": model_input.assumed or None,
        },
        "runtime": finished.runtime,
        "data": source.described(),
        "canvas": list(model_input.letterbox.canvas),
        "geometry": options.geometry,
        "environment": _environment(),
        "examples": {"folder": "examples", "names": shown},
    }


def _environment() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "isa": pspfast.isa()["active"],
        "cores": default_workers(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


class noted:  # noqa: N801 - used like a function
    """Outputs that cannot be written are told in the end; the others are there all the same."""

    def __init__(self, unwritten: list[str]) -> None:
        self._unwritten = unwritten

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, OutputError):
            self._unwritten.append(str(error))
            return True
        return False
