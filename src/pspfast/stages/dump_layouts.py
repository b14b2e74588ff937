"""How the files that inference leaves of a picture are named, typed and recorded, and which outputs are dumped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pspfast.formats.dump_record import DumpRecord, RecordedOutput
from pspfast.formats.mask_arrays import output_fault
from pspfast.runtimes.picture_output import declared_fault
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pspfast.formats.dump_record import DumpRecorder
    from pspfast.runtimes.runtime import TensorSpec

__all__ = ["LAYOUTS", "Layout", "check_outputs", "describe_dumps", "dump_names", "write_dumps"]

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


def check_outputs(model: str, outputs: Sequence[TensorSpec], canvas: tuple[int, int] | None, batch: int) -> None:
    """Refuse a model none of whose outputs can be masks of its canvas, as ``pspfast run`` does, before it is run.

    Args:
        model: in messages.
        outputs: as the model says; sides that it leaves open may be anything.
        canvas: ``(H, W)`` of its pictures; ``None`` where these are none, and anything goes.
        batch: pictures at once.

    Raises:
        ValueError: there is none.
    """
    if canvas is None:
        return
    faults = []
    for one in outputs:
        fault = declared_fault(one, canvas, None, batch)
        if not fault:
            return
        faults.append(f"output {one.name} is {fault}")
    raise ValueError(f"{model}: {'; '.join(faults)}")


def describe_dumps(
    recorder: DumpRecorder,
    canvas: tuple[int, int] | None,
    specs: Sequence[TensorSpec],
    endings: Sequence[str],
    outputs: Sequence[NDArray[Any]],
    layout: Layout,
) -> None:
    """Record what :func:`write_dumps` is about to write of a picture.

    Raises:
        OutputError: the record cannot be written.
        RuntimeFault: no output can be a mask, or they are not what those of other pictures were.
    """
    record = DumpRecord(
        canvas,
        tuple(
            RecordedOutput(spec.name, ending, str(_dumped_type(output.dtype, layout)), output.shape)
            for spec, ending, output in zip(specs, endings, outputs, strict=True)
        ),
    )
    if canvas is not None:
        faults = [output_fault(one.dtype, one.shape, canvas) for one in record.outputs]
        if all(faults):
            raise RuntimeFault(f"the model gives {'; '.join(faults)}")
    if not recorder.describe(record):
        assert recorder.record is not None
        given, before = (
            ", ".join(f"{one.name} {one.dtype} {one.shape}" for one in shown.outputs)
            for shown in (record, recorder.record)
        )
        raise RuntimeFault(f"the model gives {given}, and gave {before} before: dumps of one folder are all alike")


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
        dtype = _dumped_type(array.dtype, layout)
        if array.dtype != dtype:
            labels = array.astype(dtype)
            if array.itemsize >= 4 and (labels != array).any():
                raise RuntimeFault(f"{name}: the model gives {array.dtype} values that int32 cannot hold")
            array = labels
        file = f"{name}{ending}"
        write_whole(os.path.join(folder, file), array.data.cast("B"))
        files[file] = array.nbytes
    return files


def _dumped_type(dtype: np.dtype[Any], layout: Layout) -> np.dtype[Any]:
    """Of the files: the benchmark tool's labels are int32."""
    return np.dtype(np.int32) if layout == "benchmark" and dtype.kind in "iu" else dtype
