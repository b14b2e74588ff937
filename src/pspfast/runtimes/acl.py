"""Ascend devices through pyACL, the ``acl`` module of CANN. There was none to try this on; see docs.

A model has two sets of buffers and three streams: one that computes and one for the copies of each set. What is
waited for is always a stream, since that wait alone lets other threads run; copies and preparation of one batch
overlap with the computing of another when two threads call :meth:`AclRuntime.infer`, as those of ``pspfast infer`` do.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.runtimes.acl_codes import REPEATED_INIT, AclFault, explain
from pspfast.runtimes.runtime import Runtime, RuntimeFault, TensorSpec
from pspfast.system.libraries import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["AclRuntime"]

# Constants of acl_base_rt.h and acl_rt.h, which the module does not export.
_ON_THE_DEVICE_ITSELF = 0  # run mode of a program that runs on the chip's own CPU
_HUGE_PAGES_FIRST = 0
_HOST_TO_DEVICE, _DEVICE_TO_HOST, _DEVICE_TO_DEVICE = 1, 2, 3
_DTYPES = {
    0: "float32", 1: "float16", 2: "int8", 3: "int32", 4: "uint8", 6: "int16", 7: "uint16", 8: "uint32", 9: "int64",
    10: "uint64", 11: "float64", 12: "bool",
}  # fmt: skip
_PLAIN_FORMATS = (0, 1, 2)  # NCHW, NHWC, ND; the others are the chip's own orders of bytes

_GEARS = "ascend_mbatch_shape_data"
"""The input that atc adds for ``--dynamic_batch_size``."""

_HOW_TO_INSTALL = (
    "pyACL comes with CANN, not from PyPI: install it, `source /usr/local/Ascend/ascend-toolkit/set_env.sh` "
    "(from 8.5 on /usr/local/Ascend/cann/set_env.sh) in this shell, and run the command again"
)


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
        self._library = _library()
        self._acl = self._library.acl
        self._device = int(device)
        self._where = f"{self._path} on device {self._device}"
        self._computing = threading.Lock()
        self._guard = threading.Lock()
        self._is_closed = False
        self._unreleased: list[str] = []
        self._free: SimpleQueue[_Buffers] = SimpleQueue()
        self.compute_seconds: list[float] = []
        with self._library.context_kept(), ExitStack() as stack:
            self._open_device(stack)
            self._load(stack)
            self._resources = stack.pop_all()

    def _open_device(self, stack: ExitStack) -> None:
        acl = self._acl
        count = self._value("acl.rt.get_device_count", acl.rt.get_device_count())
        if not 0 <= self._device < count:
            there = "there is none" if count == 0 else f"those here are 0 to {count - 1}"
            raise RuntimeFault(
                f"{self._path}: there is no device {self._device}: {there}. `npu-smi info` lists what the driver sees; "
                "ASCEND_RT_VISIBLE_DEVICES and containers hide devices"
            )
        self._done("acl.rt.set_device", acl.rt.set_device(self._device))
        self._later(stack, "acl.rt.reset_device", acl.rt.reset_device, self._device)

    def _load(self, stack: ExitStack) -> None:
        acl = self._acl
        self._context = self._value("acl.rt.create_context", acl.rt.create_context(self._device))
        self._later(stack, "acl.rt.destroy_context", acl.rt.destroy_context, self._context)
        mode = self._value("acl.rt.get_run_mode", acl.rt.get_run_mode())
        self._is_host = mode != _ON_THE_DEVICE_ITSELF
        self._stream = self._make_stream(stack)
        self._model = self._value("acl.mdl.load_from_file", acl.mdl.load_from_file(self._path))
        self._later(stack, "acl.mdl.unload", acl.mdl.unload, self._model)
        desc = self._handle("acl.mdl.create_desc", acl.mdl.create_desc())
        self._later(stack, "acl.mdl.destroy_desc", acl.mdl.destroy_desc, desc)
        self._done("acl.mdl.get_desc", acl.mdl.get_desc(desc, self._model))
        self._describe(desc)
        for _ in range(self.lanes):
            self._free.put(self._make_buffers(stack))

    def _describe(self, desc: int) -> None:
        """Learn what the model takes and gives, and refuse what cannot be fed."""
        mdl = self._acl.mdl
        count = mdl.get_num_inputs(desc)
        names = [self._name_of(desc, "input", index) for index in range(count)]
        size_of = partial(self._handle, "acl.mdl.get_input_size_by_index")
        self._input_bytes = [int(size_of(mdl.get_input_size_by_index(desc, index))) for index in range(count)]
        self._gear_index = names.index(_GEARS) if _GEARS in names else None
        pictures = [index for index in range(count) if index != self._gear_index]
        if len(pictures) != 1:
            raise ValueError(
                f"{self._path}: the model has inputs {', '.join(names) or 'none'}; one is what is fed here"
            )
        self._picture_index = pictures[0]

        dtype, dims = self._type_of(desc, "input", self._picture_index)
        if not dims:
            raise ValueError(f"{self._path}: input {names[pictures[0]]!r} is a single number, not pictures")
        if self._gear_index is None:
            self.batches = (dims[0],)
        else:
            index = self._value("acl.mdl.get_input_index_by_name", mdl.get_input_index_by_name(desc, _GEARS))
            gears = self._value("acl.mdl.get_dynamic_batch", mdl.get_dynamic_batch(desc))
            self.batches = tuple(sorted(int(one) for one in gears.get("batch", ())))
            if index != self._gear_index or not self.batches:
                raise ValueError(
                    f"{self._path}: the model takes pictures of several sizes, not several batches; convert it with "
                    "--dynamic_batch_size or with a fixed shape"
                )
        most = self.batches[-1]
        if min(self.batches) < 1 or min(dims[1:], default=1) < 1:
            raise ValueError(
                f"{self._path}: input {names[pictures[0]]!r} has sizes left open ({_shape(dims)}); convert the model "
                "with a fixed --input_shape, or with --dynamic_batch_size"
            )
        self._check_bytes("input", names[pictures[0]], self._input_bytes[pictures[0]], dtype, (most, *dims[1:]))
        first = None if self._gear_index is not None else most
        self.inputs = (TensorSpec(names[pictures[0]], dtype, (first, *dims[1:])),)
        self._read_outputs(desc)

    def _read_outputs(self, desc: int) -> None:
        mdl, most = self._acl.mdl, self.batches[-1]
        specs, self._output_bytes, self._batch_axes = [], [], []
        for index in range(mdl.get_num_outputs(desc)):
            name = self._name_of(desc, "output", index)
            dtype, dims = self._type_of(desc, "output", index)
            axis = next((one for one, side in enumerate(dims[:2]) if side in (-1, most)), None)
            if axis is None or (axis == 1 and dims[0] != 1):
                raise ValueError(
                    f"{self._path}: output {name!r} is {_shape(dims)} for {most} pictures: none of its first "
                    "dimensions is theirs"
                )
            largest = (*dims[:axis], most, *dims[axis + 1 :])
            size = int(mdl.get_output_size_by_index(desc, index))
            if min(largest) < 1 or size == 0:
                raise ValueError(
                    f"{self._path}: output {name!r} has sizes left open ({_shape(dims)}); convert the model "
                    "with a fixed shape"
                )
            self._check_bytes("output", name, size, dtype, largest)
            self._output_bytes.append(size)
            self._batch_axes.append(axis)
            is_open = self._gear_index is not None
            specs.append(TensorSpec(name, dtype, (*dims[:axis], None if is_open else most, *dims[axis + 1 :])))
        if not specs:
            raise ValueError(f"{self._path}: the model has no outputs")
        self.outputs = tuple(specs)

    def _name_of(self, desc: int, side: str, index: int) -> str:
        call = f"get_{side}_name_by_index"
        return str(self._handle(f"acl.mdl.{call}", getattr(self._acl.mdl, call)(desc, index)))

    def _type_of(self, desc: int, side: str, index: int) -> tuple[str, list[int]]:
        """Type and dimensions of an input or output."""
        mdl = self._acl.mdl
        code, order = (getattr(mdl, f"get_{side}_{what}")(desc, index) for what in ("data_type", "format"))
        if code not in _DTYPES:
            raise ValueError(f"{self._path}: {side} {index} has the data type {code}, which NumPy has none for")
        if order not in _PLAIN_FORMATS:
            raise ValueError(
                f"{self._path}: {side} {index} has the chip's own layout (format {order}); convert the model with "
                "--is_input_adjust_hw_layout=false"
            )
        name = f"get_{side}_dims"
        found = self._value(f"acl.mdl.{name}", getattr(mdl, name)(desc, index))
        return _DTYPES[code], [int(one) for one in found["dims"]]

    def _check_bytes(self, side: str, name: str, size: int, dtype: str, shape: tuple[int, ...]) -> None:
        expected = math.prod(shape) * np.dtype(dtype).itemsize
        # An output may be rounded up; an input that is larger is not what its shape says.
        if size < expected or (side == "input" and size != expected):
            raise ValueError(
                f"{self._path}: {side} {name!r} has {size} bytes, but {dtype} {_shape(shape)} is {expected}: this is "
                "not the layout that its description says"
            )

    def _make_stream(self, stack: ExitStack) -> int:
        stream: int = self._value("acl.rt.create_stream", self._acl.rt.create_stream())
        self._later(stack, "acl.rt.destroy_stream", self._acl.rt.destroy_stream, stream)
        return stream

    def _make_buffers(self, stack: ExitStack) -> _Buffers:
        """Buffers of the largest batch; in the order in which they are released backwards."""
        acl = self._acl
        stream = self._make_stream(stack)
        inputs = [self._device_memory(stack, size) for size in self._input_bytes]
        outputs = [self._device_memory(stack, size) for size in self._output_bytes]
        staged_input, staged_outputs = None, []
        if self._is_host:
            staged_input = self._host_memory(stack, self._input_bytes[self._picture_index])
            staged_outputs = [self._host_memory(stack, size) for size in self._output_bytes]
        datasets = []
        for pointers, sizes in ((inputs, self._input_bytes), (outputs, self._output_bytes)):
            dataset = self._handle("acl.mdl.create_dataset", acl.mdl.create_dataset())
            self._later(stack, "acl.mdl.destroy_dataset", acl.mdl.destroy_dataset, dataset)
            for pointer, size in zip(pointers, sizes, strict=True):
                buffer = self._handle("acl.create_data_buffer", acl.create_data_buffer(pointer, size))
                self._later(stack, "acl.destroy_data_buffer", acl.destroy_data_buffer, buffer)
                self._value("acl.mdl.add_dataset_buffer", acl.mdl.add_dataset_buffer(dataset, buffer))
            datasets.append(dataset)
        return _Buffers(
            stream, inputs[self._picture_index], outputs, staged_input, staged_outputs, datasets[0], datasets[1]
        )

    def _device_memory(self, stack: ExitStack, size: int) -> int:
        pointer: int = self._value("acl.rt.malloc", self._acl.rt.malloc(size, _HUGE_PAGES_FIRST), f"{size} bytes")
        self._later(stack, "acl.rt.free", self._acl.rt.free, pointer)
        return pointer

    def _host_memory(self, stack: ExitStack, size: int) -> _Staging:
        """Memory that copies can go on in by themselves; that of NumPy may be paged out."""
        pointer = self._value("acl.rt.malloc_host", self._acl.rt.malloc_host(size), f"{size} bytes")
        self._later(stack, "acl.rt.free_host", self._acl.rt.free_host, pointer)
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
        rt, size = self._acl.rt, self._input_bytes[self._picture_index] // self.batches[-1] * len(batch)
        if batch.nbytes != size or not batch.flags.c_contiguous:
            raise ValueError(f"{self._path}: a batch of {len(batch)} has {size} bytes in a row, not {batch.nbytes}")
        room = self._input_bytes[self._picture_index]
        if buffers.staged_input is None:
            code = rt.memcpy(buffers.input, room, int(batch.ctypes.data), size, _DEVICE_TO_DEVICE)
            self._done("acl.rt.memcpy", code, f"{size} bytes in")
            return
        staged = buffers.staged_input
        staged.memory[:size] = batch.reshape(-1).view(np.uint8)
        with self._settled(buffers.stream):
            code = rt.memcpy_async(buffers.input, room, staged.pointer, size, _HOST_TO_DEVICE, buffers.stream)
            self._done("acl.rt.memcpy_async", code, f"{size} bytes to the device")
            self._wait(buffers.stream)

    def _start(self, buffers: _Buffers, count: int) -> None:
        mdl = self._acl.mdl
        if self._gear_index is not None:
            code = mdl.set_dynamic_batch_size(self._model, buffers.inputs, self._gear_index, count)
            self._done("acl.mdl.set_dynamic_batch_size", code, f"batch {count}")
        code = mdl.execute_async(self._model, buffers.inputs, buffers.results, self._stream)
        self._done("acl.mdl.execute_async", code, f"batch {count}")

    def _download(self, buffers: _Buffers, count: int) -> list[NDArray[Any]]:
        rt = self._acl.rt
        outputs: list[NDArray[Any]] = []
        for spec, axis in zip(self.outputs, self._batch_axes, strict=True):
            shape: Any = (*spec.shape[:axis], count, *spec.shape[axis + 1 :])  # the others are never open
            outputs.append(np.empty(shape, spec.dtype))
        if not self._is_host:
            for output, pointer in zip(outputs, buffers.outputs, strict=True):
                code = rt.memcpy(int(output.ctypes.data), output.nbytes, pointer, output.nbytes, _DEVICE_TO_DEVICE)
                self._done("acl.rt.memcpy", code, f"{output.nbytes} bytes out")
            return outputs
        with self._settled(buffers.stream):
            for output, pointer, staged in zip(outputs, buffers.outputs, buffers.staged_outputs, strict=True):
                code = rt.memcpy_async(
                    staged.pointer, staged.memory.nbytes, pointer, output.nbytes, _DEVICE_TO_HOST, buffers.stream
                )
                self._done("acl.rt.memcpy_async", code, f"{output.nbytes} bytes from the device")
            self._wait(buffers.stream)
        for output, staged in zip(outputs, buffers.staged_outputs, strict=True):
            output.reshape(-1).view(np.uint8)[:] = staged.memory[: output.nbytes]
        return outputs

    def _wait(self, stream: int) -> None:
        self._done("acl.rt.synchronize_stream", self._acl.rt.synchronize_stream(stream))

    @contextmanager
    def _settled(self, stream: int) -> Iterator[None]:
        """On an error: go on only when nothing reads or writes the buffers any more."""
        try:
            yield
        except BaseException:
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
        if self._unreleased:
            raise RuntimeFault(f"{self._where}: could not release everything: {'; '.join(self._unreleased)}")

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
            self._done("acl.rt.set_context", self._acl.rt.set_context(self._context))
            yield

    def _later(self, stack: ExitStack, call: str, release: Any, handle: int) -> None:
        stack.callback(partial(self._release, call, release, handle))

    def _release(self, call: str, release: Any, handle: int) -> None:
        """The rest has to be released as well, so that this only takes note of what fails."""
        code = release(handle)
        if code != 0:
            self._unreleased.append(f"{call} gave {code} ({explain(code)})")

    def _done(self, call: str, code: int, what: str = "") -> None:
        if code != 0:
            raise self._library.fault(self._where, call, code, what)

    def _value(self, call: str, given: tuple[Any, int], what: str = "") -> Any:
        value, code = given
        self._done(call, code, what)
        return value

    def _handle(self, call: str, handle: Any) -> Any:
        """These calls have no code, only a handle that is null, or a name that is empty."""
        if not handle:
            raise RuntimeFault(f"{self._where}: {call} gave nothing{self._library.last_words()}")
        return handle


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


class _Library:
    """AscendCL, initialised once in this process, for all runtimes.

    It is closed when the process ends: older versions cannot be initialised a second time.
    """

    def __init__(self, acl: Any) -> None:
        self.acl = acl
        self._process = os.getpid()
        code = acl.init()
        if code not in (0, REPEATED_INIT):
            raise self.fault("", "acl.init", code, "")
        # Somebody else's, e.g. torch_npu's: theirs are the finalizing and the contexts of the threads.
        self.is_ours = code == 0
        self._is_final = False

    def fault(self, where: str, call: str, code: int, what: str) -> AclFault:
        start = f"{where}: " if where else ""
        about = f" ({what})" if what else ""
        return AclFault(f"{start}{call}{about} gave {code}: {explain(code)}{self.last_words()}", call, code)

    def last_words(self) -> str:
        """What AscendCL has to say about the last failure in this thread, if it can."""
        try:
            said = self.acl.get_recent_err_msg()  # not in older versions
        except (AttributeError, TypeError, ValueError):
            return ""
        text = next((one for one in (said if isinstance(said, tuple) else (said,)) if isinstance(one, str)), "")
        return f"; AscendCL says: {text.strip()}" if text.strip() else ""

    def check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeFault("AscendCL does not outlive a fork: start processes with multiprocessing's 'spawn'")
        if self._is_final:
            raise RuntimeFault("AscendCL has been closed in this process")

    @contextmanager
    def context_kept(self) -> Iterator[None]:
        """Give a thread its context back that others rely on."""
        if self.is_ours:
            yield
            return
        before, code = self.acl.rt.get_context()
        try:
            yield
        finally:
            if code == 0 and before:
                self.acl.rt.set_context(before)

    def finalize(self) -> None:
        """At the end of the process, when the models are closed."""
        if self._is_final or os.getpid() != self._process:
            return
        self._is_final = True
        if self.is_ours:
            self.acl.finalize()
        elif hasattr(self.acl, "finalize_reference"):  # there, even a repeated init counts
            self.acl.finalize_reference()


_libraries: list[_Library] = []
_initialising = threading.Lock()


def _library() -> _Library:
    """AscendCL.

    Raises:
        MissingExtra: it is not installed here.
        AclFault: it cannot be initialised.
    """
    try:
        acl = import_module("acl")
    except ImportError as error:
        message = f"this needs pyACL, whose module acl cannot be imported ({error}); {_HOW_TO_INSTALL}"
        raise MissingExtra(message) from error
    if not (hasattr(acl, "rt") and hasattr(acl, "mdl")):
        file = getattr(acl, "__file__", None)
        raise MissingExtra(f"this needs pyACL, but {file} is another module of the name acl; {_HOW_TO_INSTALL}")
    with _initialising:
        if not _libraries or _libraries[-1].acl is not acl:
            library = _Library(acl)
            _libraries.append(library)
            atexit.register(library.finalize)
        library = _libraries[-1]
    library.check_process()
    return library


def _shape(dims: Iterable[int]) -> str:
    return "x".join(map(str, dims))
