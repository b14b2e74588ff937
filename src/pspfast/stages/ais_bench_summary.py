"""The summary that ais_bench writes beside a folder of outputs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

import pspfast
from pspfast.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pspfast.runtimes.runtime import Runtime
    from pspfast.stages.feeding import Feed

__all__ = ["write_summary"]


def write_summary(
    folder: Path,
    feed: Feed,
    files: dict[str, list[str]],
    runtimes: Sequence[Runtime],
    batch: int,
    seconds: float,
    model: str,
) -> None:
    """``<folder>_summary.json`` beside the folder, with ais_bench's keys and what else a figure has to be told with."""
    paths = {picture.name: picture.path for picture in feed.pictures}
    times = [1000 * one for runtime in runtimes for one in runtime.compute_seconds]
    found: dict[str, Any] = {
        "filesinfo": {
            str(number): {"infiles": [paths[name]], "outfiles": [str(folder / one) for one in outputs]}
            for number, (name, outputs) in enumerate(files.items())
        },
        "args": {
            "model": model,
            "input": feed.source,
            "output": str(folder.parent),
            "output_dirname": folder.name,
            "outfmt": "BIN",
            "batchsize": batch,
            "device": [one.describe()["device"] for one in runtimes],
        },
        "written_by": {"pspfast": pspfast.__version__, "runtimes": [one.describe() for one in runtimes]},
        "pid": os.getpid(),
    }
    if times:
        found["NPU_compute_time"] = {
            "min": min(times),
            "max": max(times),
            "mean": float(np.mean(times)),
            "median": float(np.median(times)),
            "percentile(99%)": float(np.percentile(times, 99)),
            "count": len(times),
        }
        found["throughput"] = 1000 * batch / float(np.mean(times))
        found["npu_compute_time_list"] = times
        found["wall_clock_seconds"] = seconds
    write_whole(f"{folder}_summary.json", (json.dumps(found, indent=1) + "\n").encode())
