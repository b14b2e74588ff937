"""Ascend devices through pyACL, the ``acl`` module of CANN. There was none to try this on; see docs.

A model has two sets of buffers and three streams: one that computes and one for the copies of each set. What is
waited for is always a stream, since that wait alone lets other threads run; copies and preparation of one batch
overlap with the computing of another when two threads call :meth:`AclRuntime.infer`, as those of ``pspfast infer`` do.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.runtimes.acl_library import AclCalls, initialised_library
from pspfast.runtimes.acl_model import AclModel
from pspfast.runtimes.runtime import Runtime, RuntimeFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["AclRuntime"]

# Constants of acl_base_rt.h and acl_rt.h, which the module does not export.
_ON_THE_DEVICE_ITSELF = 0  # run mode of a program that runs on the chip's own CPU
_HUGE_PAGES_FIRST = 0
_HOST_TO_DEVICE, _DEVICE_TO_HOST, _DEVICE_TO_DEVICE = 1, 2, 3


class AclRuntime(Runtime):
    """An ``.om`` model on an Ascend device.

    Args:
        path: of the model.
        device: its number, from 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: a model that pspfast cannot feed: several inputs, sizes that vary, the chip's own layouts.
        MissingExtra: there is no pyACL.
        RuntimeFault: no such device, or AscendCL refuses something; what was made until then is released.
    """

    lanes = 2

    def __init__(self, path: str | os.PathLike[str], *, device: int = 0) -> None:
        self._path = os.fspath(path)
        with open(self._path, "rb"):  # AscendCL only has a number for files that are not there
            pass
        self._library = initialised_library()
        self._acl = self._library.acl
        self._device = int(device)
        self._where = f"{self._path} on device {self._device}"
        self._calls = AclCalls(self._library, self._where)
        self._computing = threading.Lock()
        self._guard = threading.Lock()
        self._is_closed = False
        self._free: SimpleQueue[_Buffers] = SimpleQueue()
        self.compute_seconds: list[float] = []
        with self._library.context_kept(), ExitStack() as stack:
            self._open_device(stack)
            self._load(stack)
            self._resources = stack.pop_all()

    def _open_device(self, stack: ExitStack) -> None:
        acl = self._acl
        count = self._calls.value("acl.rt.get_device_count", acl.rt.get_device_count())
        if not 0 <= self._device < count:
            there = "there is none" if count == 0 else f"those here are 0 to {count - 1}"
            raise RuntimeFault(
                f"{self._path}: there is no device {self._device}: {there}. `npu-smi info` lists what the driver sees; "
                "ASCEND_RT_VISIBLE_DEVICES and containers hide devices"
            )
        self._calls.done("acl.rt.set_device", acl.rt.set_device(self._device))
        self._calls.later(stack, "acl.rt.reset_device", acl.rt.reset_device, self._device)

    def _load(self, stack: ExitStack) -> None:
        acl = self._acl
        self._context = self._calls.value("acl.rt.create_context", acl.rt.create_context(self._device))
        self._calls.later(stack, "acl.rt.destroy_context", acl.rt.destroy_context, self._context)
        mode = self._calls.value("acl.rt.get_run_mode", acl.rt.get_run_mode())
        self._is_host = mode != _ON_THE_DEVICE_ITSELF
        self._stream = self._make_stream(stack)
        self._model = self._calls.value("acl.mdl.load_from_file", acl.mdl.load_from_file(self._path))
        self._calls.later(stack, "acl.mdl.unload", acl.mdl.unload, self._model)
        desc = self._calls.handle("acl.mdl.create_desc", acl.mdl.create_desc())
        self._calls.later(stack, "acl.mdl.destroy_desc", acl.mdl.destroy_desc, desc)
        self._calls.done("acl.mdl.get_desc", acl.mdl.get_desc(desc, self._model))
        self._described = AclModel(self._calls, self._path, desc)
        self.inputs, self.outputs = self._described.inputs, self._described.outputs
        self.batches = self._described.batches
        for _ in range(self.lanes):
            self._free.put(self._make_buffers(stack))

    def _make_stream(self, stack: ExitStack) -> int:
        stream: int = self._calls.value("acl.rt.create_stream", self._acl.rt.create_stream())
        self._calls.later(stack, "acl.rt.destroy_stream", self._acl.rt.destroy_stream, stream)
        return stream

    def _make_buffers(self, stack: ExitStack) -> _Buffers:
        """Buffers of the largest batch; in the order in which they are released backwards."""
        acl, described = self._acl, self._described
        stream = self._make_stream(stack)
        inputs = [self._device_memory(stack, size) for size in described.input_bytes]
        outputs = [self._device_memory(stack, size) for size in described.output_bytes]
        staged_input, staged_outputs = None, []
        if self._is_host:
            staged_input = self._host_memory(stack, described.picture_bytes)
            staged_outputs = [self._host_memory(stack, size) for size in described.output_bytes]
        datasets = []
        for pointers, sizes in ((inputs, described.input_bytes), (outputs, described.output_bytes)):
            dataset = self._calls.handle("acl.mdl.create_dataset", acl.mdl.create_dataset())
            self._calls.later(stack, "acl.mdl.destroy_dataset", acl.mdl.destroy_dataset, dataset)
            for pointer, size in zip(pointers, sizes, strict=True):
                buffer = self._calls.handle("acl.create_data_buffer", acl.create_data_buffer(pointer, size))
                self._calls.later(stack, "acl.destroy_data_buffer", acl.destroy_data_buffer, buffer)
                self._calls.value("acl.mdl.add_dataset_buffer", acl.mdl.add_dataset_buffer(dataset, buffer))
            datasets.append(dataset)
        return _Buffers(
            stream, inputs[described.picture_index], outputs, staged_input, staged_outputs, datasets[0], datasets[1]
        )

    def _device_memory(self, stack: ExitStack, size: int) -> int:
        pointer: int = self._calls.value("acl.rt.malloc", self._acl.rt.malloc(size, _HUGE_PAGES_FIRST), f"{size} bytes")
        self._calls.later(stack, "acl.rt.free", self._acl.rt.free, pointer)
        return pointer

    def _host_memory(self, stack: ExitStack, size: int) -> _Staging:
        """Memory that copies can go on in by themselves; that of NumPy may be paged out."""
        pointer = self._calls.value("acl.rt.malloc_host", self._acl.rt.malloc_host(size), f"{size} bytes")
        self._calls.later(stack, "acl.rt.free_host", self._acl.rt.free_host, pointer)
        return _Staging(pointer, np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer)))

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        buffers = self._take_buffers()
        try:
            with self._in_context():
                self._upload(buffers, batch)
                with self._computing:  # the same model must not run on two streams, or twice at once
                    started = time.perf_counter()
                    with self._settled(self._stream):
                        self._start(buffers, len(batch))
                        self._wait(self._stream)
                    self.compute_seconds.append(time.perf_counter() - started)
                return self._download(buffers, len(batch))
        finally:
            self._free.put(buffers)

    def _upload(self, buffers: _Buffers, batch: NDArray[Any]) -> None:
        rt, room = self._acl.rt, self._described.picture_bytes
        size = room // self.batches[-1] * len(batch)
        if batch.nbytes != size or not batch.flags.c_contiguous:
            raise ValueError(f"{self._path}: a batch of {len(batch)} has {size} bytes in a row, not {batch.nbytes}")
        if buffers.staged_input is None:
            code = rt.memcpy(buffers.input, room, int(batch.ctypes.data), size, _DEVICE_TO_DEVICE)
            self._calls.done("acl.rt.memcpy", code, f"{size} bytes in")
            return
        staged = buffers.staged_input
        staged.memory[:size] = batch.reshape(-1).view(np.uint8)
        with self._settled(buffers.stream):
            code = rt.memcpy_async(buffers.input, room, staged.pointer, size, _HOST_TO_DEVICE, buffers.stream)
            self._calls.done("acl.rt.memcpy_async", code, f"{size} bytes to the device")
            self._wait(buffers.stream)

    def _start(self, buffers: _Buffers, count: int) -> None:
        mdl = self._acl.mdl
        if self._described.gear_index is not None:
            code = mdl.set_dynamic_batch_size(self._model, buffers.inputs, self._described.gear_index, count)
            self._calls.done("acl.mdl.set_dynamic_batch_size", code, f"batch {count}")
        code = mdl.execute_async(self._model, buffers.inputs, buffers.results, self._stream)
        self._calls.done("acl.mdl.execute_async", code, f"batch {count}")

    def _download(self, buffers: _Buffers, count: int) -> list[NDArray[Any]]:
        rt = self._acl.rt
        outputs: list[NDArray[Any]] = []
        for spec, axis in zip(self.outputs, self._described.batch_axes, strict=True):
            shape: Any = (*spec.shape[:axis], count, *spec.shape[axis + 1 :])  # the others are never open
            outputs.append(np.empty(shape, spec.dtype))
        if not self._is_host:
            for output, pointer in zip(outputs, buffers.outputs, strict=True):
                code = rt.memcpy(int(output.ctypes.data), output.nbytes, pointer, output.nbytes, _DEVICE_TO_DEVICE)
                self._calls.done("acl.rt.memcpy", code, f"{output.nbytes} bytes out")
            return outputs
        with self._settled(buffers.stream):
            for output, pointer, staged in zip(outputs, buffers.outputs, buffers.staged_outputs, strict=True):
                code = rt.memcpy_async(
                    staged.pointer, staged.memory.nbytes, pointer, output.nbytes, _DEVICE_TO_HOST, buffers.stream
                )
                self._calls.done("acl.rt.memcpy_async", code, f"{output.nbytes} bytes from the device")
            self._wait(buffers.stream)
        for output, staged in zip(outputs, buffers.staged_outputs, strict=True):
            output.reshape(-1).view(np.uint8)[:] = staged.memory[: output.nbytes]
        return outputs

    def _wait(self, stream: int) -> None:
        self._calls.done("acl.rt.synchronize_stream", self._acl.rt.synchronize_stream(stream))

    @contextmanager
    def _settled(self, stream: int) -> Iterator[None]:
        """On an error: go on only when nothing reads or writes the buffers any more."""
        try:
            yield
        except BaseException:  # Ctrl-C as well: the device may still be at work
            self._acl.rt.synchronize_stream(stream)  # what it says matters no more
            raise

    def close(self) -> None:
        """Release everything, in order; waits for calls that are under way in other threads.

        Raises:
            RuntimeFault: something could not be released; the rest is.
        """
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
        taken = [self._free.get() for _ in range(self.lanes)]
        with self._library.context_kept():
            # If this fails, whatever is released fails as well, and is told of there.
            self._acl.rt.set_context(self._context)
            self._resources.close()
        for buffers in taken:  # who has been waiting for them since before learns that it is closed
            self._free.put(buffers)
        if self._calls.unreleased:
            raise RuntimeFault(f"{self._where}: could not release everything: {'; '.join(self._calls.unreleased)}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.close()
        except RuntimeFault:
            if error is None:  # else it is the reason, and is not to be hidden
                raise

    def describe(self) -> dict[str, Any]:
        """See :class:`pspfast.runtimes.runtime.Runtime`."""
        acl = self._acl
        *version, code = acl.get_version() if hasattr(acl, "get_version") else (1,)
        soc = acl.get_soc_name() if hasattr(acl, "get_soc_name") else None
        return {
            "runtime": "acl",
            "version": ".".join(map(str, version)) if code == 0 else None,
            "device": f"{soc or 'Ascend'}:{self._device}",
            "provider": None,
            "threads": None,
        }

    def _take_buffers(self) -> _Buffers:
        self._check_open()
        buffers = self._free.get()
        try:
            self._check_open()
        except RuntimeFault:
            self._free.put(buffers)
            raise
        return buffers

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeFault(f"{self._where}: the model is closed")
        self._library.check_process()

    @contextmanager
    def _in_context(self) -> Iterator[None]:
        """Any thread may call; AscendCL's context is each thread's own."""
        with self._library.context_kept():
            self._calls.done("acl.rt.set_context", self._acl.rt.set_context(self._context))
            yield


@dataclass(frozen=True, slots=True)
class _Staging:
    """Memory of the host.

    Attributes:
        pointer: to it.
        memory: it, as bytes.
    """

    pointer: int
    memory: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Buffers:
    """All that one batch under way needs.

    Attributes:
        stream: for its copies.
        input, outputs: device memory.
        staged_input, staged_outputs: memory of the host to copy from and to; none where the program runs on the
            device.
        inputs, results: the model's datasets around this memory.
    """

    stream: int
    input: int
    outputs: list[int]
    staged_input: _Staging | None
    staged_outputs: list[_Staging]
    inputs: int
    results: int
