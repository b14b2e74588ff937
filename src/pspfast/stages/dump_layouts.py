"""How the files are named and typed that inference leaves of a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast.runtimes.runtime import RuntimeFault
from pspfast.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LAYOUTS", "Layout", "dump_names", "write_dumps"]

Layout = Literal["benchmark", "ais_bench"]
LAYOUTS: tuple[Layout, ...] = ("benchmark", "ais_bench")
"""Whose files: the benchmark tool's ``<stem>_1.bin``, labels as int32; ais_bench's ``<stem>_0.bin``, as they come."""


def dump_names(layout: Layout, outputs: int) -> list[str]:
    """What follows a picture's name in the names of its files.

    Example:
        >>> dump_names("benchmark", 1), dump_names("ais_bench", 2)
        (['_1.bin'], ['_0.bin', '_1.bin'])
    """
    first = 1 if layout == "benchmark" else 0
    return [f"_{first + number}.bin" for number in range(outputs)]


def write_dumps(
    folder: Path, name: str, endings: Sequence[str], outputs: Sequence[NDArray[Any]], layout: Layout
) -> dict[str, int]:
    """Write a picture's outputs; their file names and sizes.

    Raises:
        OutputError: one of them cannot be written.
        RuntimeFault: a label that the layout's int32 cannot hold.
    """
    files = {}
    for ending, output in zip(endings, outputs, strict=True):
        array = np.ascontiguousarray(output)
        if layout == "benchmark" and array.dtype.kind in "iu" and array.dtype != np.int32:
            labels = array.astype(np.int32)
            if array.itemsize >= 4 and (labels != array).any():
                raise RuntimeFault(f"{name}: the model gives {array.dtype} values that int32 cannot hold")
            array = labels
        file = f"{name}{ending}"
        write_whole(os.path.join(folder, file), array.data.cast("B"))
        files[file] = array.nbytes
    return files
