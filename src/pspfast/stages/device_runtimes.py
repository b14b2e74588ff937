"""A model on the devices that are to run it: opened, how many pictures at once, and how many threads beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.runtimes.engines import open_runtime, runtime_for
from pspfast.system.threads import default_workers

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from pspfast.runtimes.runtime import Runtime

__all__ = ["batch_of", "open_on", "workers_for"]

_BESIDE_A_DEVICE = 2
_MOST_WORKERS = 16  # by themselves: each has a batch of floats


def open_on(
    opened: ExitStack,
    model: str | os.PathLike[str],
    runtime: str | Callable[[int], Runtime],
    devices: Sequence[int],
    threads: int | None,
    **options: Any,
) -> list[Runtime]:
    """A runtime on each device, closed when ``opened`` is.

    Raises:
        ValueError: no devices, one of them twice, or runtimes that take different things.
        RuntimeFault, MissingExtra: see :func:`pspfast.runtimes.engines.open_runtime`.
    """
    if not devices or len(set(devices)) != len(devices) or min(devices) < 0:
        raise ValueError(f"devices must be different numbers from 0 on, got {', '.join(map(str, devices)) or 'none'}")
    is_onnx = isinstance(runtime, str) and runtime_for(model, runtime) == "onnxruntime"
    if len(devices) > 1 and is_onnx and options.get("provider") in (None, "cpu"):
        # On the CPU they would take each other's threads.
        threads = max(1, (threads or default_workers()) // len(devices))
    runtimes: list[Runtime] = []
    for device in devices:
        if isinstance(runtime, str):
            one = open_runtime(model, runtime, device=device, threads=threads, **options)
        else:
            one = runtime(device)
        runtimes.append(opened.enter_context(one))
    first = runtimes[0]
    for one in runtimes:
        if (one.inputs, one.outputs, one.batches) != (first.inputs, first.outputs, first.batches):
            raise ValueError("the model takes or gives something else on another device")
    return runtimes


def workers_for(runtimes: Sequence[Runtime]) -> int:
    """How many threads keep these busy that read, feed and write.

    A batch that is being read and one that is being written for each device, besides those that are run. Where a device
    does the computing, the CPUs are free for more of them.
    """
    enough = sum(one.lanes + _BESIDE_A_DEVICE for one in runtimes)
    if any(one.describe()["device"] == "CPU" for one in runtimes):
        return enough
    return max(enough, min(default_workers(), _MOST_WORKERS))


def batch_of(runtime: Runtime, asked: int | None) -> int:
    """How many pictures are run at once.

    Raises:
        ValueError: more than the model takes, or another fixed number than was asked for.
    """
    most = runtime.largest_batch
    if asked is None:
        return most or 1
    if asked < 1:
        raise ValueError(f"batch must be at least 1, got {asked}")
    if most is not None and (asked > most or (len(runtime.batches) == 1 and asked != most)):
        takes = f"batch {most}" if len(runtime.batches) == 1 else f"batches of {', '.join(map(str, runtime.batches))}"
        raise ValueError(f"the model takes {takes}, not {asked}; another batch needs another model (export --batch)")
    return asked
