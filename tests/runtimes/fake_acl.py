"""A stand-in for pyACL that is stricter than the real one, and computes through ONNX Runtime.

What it knows is in ``ascend.md``: positional arguments, real ints, values and codes. Beyond what the real module
notices, it holds its caller to: contexts of threads; sizes and kinds of every copy; nothing that is read or written by
work that was not waited for; nothing released twice, too early or never. Work of a stream is done when somebody waits
for the stream, not before, so that whoever does not wait gets rubbish.

An ``.om`` file is, here, a JSON file about an ``.onnx`` file; see :func:`write_om`.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
import zlib
from contextlib import contextmanager
from ctypes import c_uint8
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.runtimes import acl_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

H2D, D2H, D2D = 1, 2, 3
ON_DEVICE, ON_HOST = 0, 1
GEARS = "ascend_mbatch_shape_data"
_GEAR_BYTES = 8
_POISON = 0xA5
_DEVICE_SPACE = 1 << 52  # no address of this process: who reads it without a copy crashes
_CODES = {"float32": 0, "float16": 1, "int8": 2, "int32": 3, "uint8": 4, "int64": 9, "bfloat16": 27}
_ONNX_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64",
               "tensor(int32)": "int32", "tensor(uint8)": "uint8"}  # fmt: skip

# Function -> kinds of its arguments (k: int from 0, i: int, s: str; alternatives by "|") and what it gives back.
_SIGNATURES = {
    "init": ("|s", "ret"),
    "finalize": ("", "ret"),
    "finalize_reference": ("", "value"),
    "get_version": ("", "version"),
    "get_soc_name": ("", "name"),
    "get_recent_err_msg": ("", "name"),
    "create_data_buffer": ("kk", "int"),
    "destroy_data_buffer": ("k", "ret"),
    "rt.get_device_count": ("", "value"),
    "rt.set_device": ("i", "ret"),
    "rt.reset_device": ("i", "ret"),
    "rt.get_run_mode": ("", "value"),
    "rt.create_context": ("i", "value"),
    "rt.destroy_context": ("k", "ret"),
    "rt.set_context": ("k", "ret"),
    "rt.get_context": ("", "value"),
    "rt.create_stream": ("", "value"),
    "rt.destroy_stream": ("k", "ret"),
    "rt.synchronize_stream": ("k", "ret"),
    "rt.malloc": ("kk", "value"),
    "rt.free": ("k", "ret"),
    "rt.malloc_host": ("k", "value"),
    "rt.free_host": ("k", "ret"),
    "rt.memcpy": ("kkkkk", "ret"),
    "rt.memcpy_async": ("kkkkkk", "ret"),
    "mdl.load_from_file": ("s", "value"),
    "mdl.unload": ("k", "ret"),
    "mdl.create_desc": ("", "int"),
    "mdl.destroy_desc": ("k", "ret"),
    "mdl.get_desc": ("kk", "ret"),
    "mdl.get_num_inputs": ("k", "int"),
    "mdl.get_num_outputs": ("k", "int"),
    "mdl.get_input_size_by_index": ("kk", "int"),
    "mdl.get_output_size_by_index": ("kk", "int"),
    "mdl.get_input_dims": ("kk", "dict"),
    "mdl.get_output_dims": ("kk", "dict"),
    "mdl.get_input_data_type": ("kk", "type"),
    "mdl.get_output_data_type": ("kk", "type"),
    "mdl.get_input_format": ("kk", "type"),
    "mdl.get_output_format": ("kk", "type"),
    "mdl.get_input_name_by_index": ("kk", "text"),
    "mdl.get_output_name_by_index": ("kk", "text"),
    "mdl.get_input_index_by_name": ("ks", "value"),
    "mdl.create_dataset": ("", "int"),
    "mdl.destroy_dataset": ("k", "ret"),
    "mdl.add_dataset_buffer": ("kk", "value"),
    "mdl.get_dynamic_batch": ("k", "dict"),
    "mdl.set_dynamic_batch_size": ("kkkk", "ret"),
    "mdl.execute_async": ("kkkk", "ret"),
}
_ADDED_LATER = ("finalize_reference", "get_recent_err_msg")
# What these hold is gone even when they report a failure: nobody can release it a second time.
RELEASES = (
    "finalize", "destroy_data_buffer", "rt.reset_device", "rt.destroy_context", "rt.destroy_stream", "rt.free",
    "rt.free_host", "mdl.unload", "mdl.destroy_desc", "mdl.destroy_dataset",
)  # fmt: skip
_FAILURES: dict[str, Callable[[int], Any]] = {
    "ret": lambda code: code,
    "value": lambda code: (0, code),
    "dict": lambda code: ({}, code),
    "version": lambda code: (0, 0, 0, code),
    "int": lambda _: 0,
    "type": lambda _: -1,
    "text": lambda _: "",
    "name": lambda _: None,
}
_WITH_CODE = ("value", "dict")


class Misuse(AssertionError):
    """A call that the real module would answer with a crash, a leak or wrong bytes."""


class _Refused(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class Call:
    name: str
    args: tuple[Any, ...]
    thread: int


@dataclass(eq=False)
class _Context:
    device: int


@dataclass(eq=False)
class _Operation:
    """Work of a stream: what it touches, and what does it."""

    reads: list[_Span]
    writes: list[_Span]
    uses: set[int]
    model: int | None
    work: Callable[[], None]


@dataclass(eq=False)
class _Stream:
    context: int
    queue: list[_Operation] = field(default_factory=list)
    draining: threading.Lock = field(default_factory=threading.Lock)


@dataclass(eq=False)
class _Memory:
    start: int
    data: Any
    context: int
    device: int | None  # None: of the host

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass(eq=False)
class _Span:
    """Some bytes; ``memory`` is ``None`` for those of the host that were not allocated here."""

    memory: _Memory | None
    first: int
    end: int
    data: Any

    def meets(self, other: _Span) -> bool:
        same = self.memory is not None and self.memory is other.memory
        return same and self.first < other.end and other.first < self.end


@dataclass(eq=False)
class _Tensor:
    name: str
    dims: list[int]
    dtype: str
    size: int
    order: int


@dataclass(eq=False)
class _Model:
    context: int
    session: Any
    inputs: list[_Tensor]
    outputs: list[_Tensor]
    gears: list[int]
    batch: int
    gear_index: int | None


@dataclass(eq=False)
class _Desc:
    model: _Model | None = None


@dataclass(eq=False)
class _Buffer:
    pointer: int
    size: int


@dataclass(eq=False)
class _Dataset:
    buffers: list[int] = field(default_factory=list)
    gear: int | None = None


def write_om(path: Path, onnx: Path, *, batch: int | None = None, gears: Iterable[int] = (), **changes: Any) -> Path:
    """Write a file that this module loads as a model.

    Args:
        path: to write.
        onnx: the model that computes; its first dimension is open, or ``batch``.
        batch: pictures at once, if there are no gears.
        gears: of a dynamic batch.
        changes: ``input_type``, ``output_type`` as atc has them changed; ``input_size``, ``output_size``,
            ``input_dims``, ``output_dims``, ``input_code``, ``order``, ``more_inputs`` for models that are odd;
            ``gear_first`` to have the gears' input before the pictures', ``picture_gears`` for several sizes.
    """
    path.write_text(json.dumps({"onnx": str(onnx), "batch": batch, "gears": list(gears), **changes}))
    return path


class FakeAcl:
    """The module and all that it keeps account of.

    Args:
        devices: how many there are.
        run_mode: ``ON_HOST`` or ``ON_DEVICE``.
        is_foreign: somebody else in the process has initialised AscendCL, and uses it.
        is_old: without what was added later.
        fail: given a call's number, from 0, and name: the code to fail with, or ``None``.

    Attributes:
        calls: all that were made.
        misuses: what was wrong with them.
        while_waiting: called, without a lock, by whoever waits for a stream.
    """

    def __init__(
        self,
        *,
        devices: int = 2,
        run_mode: int = ON_HOST,
        is_foreign: bool = False,
        is_old: bool = False,
        fail: Callable[[int, str], int | None] = lambda _number, _name: None,
    ) -> None:
        self.devices = devices
        self.run_mode = run_mode
        self.is_foreign = is_foreign
        self.fail = fail
        self.calls: list[Call] = []
        self.misuses: list[str] = []
        self.while_waiting: Callable[[int], None] = lambda _stream: None
        self.is_lost: int | None = None
        self.state = "initialised" if is_foreign else "new"
        self.references = 0
        self._lock = threading.RLock()
        self._local = threading.local()
        self._alive: dict[int, Any] = {}
        self._dead: dict[int, Any] = {}
        self._next_handle = 0x1000
        self._next_address = _DEVICE_SPACE
        self._opened = dict.fromkeys(range(devices), 0)
        self._defaults: dict[int, int] = {}
        self._last_error: str | None = None
        self.module = ModuleType("acl")
        for name in ("rt", "mdl"):
            setattr(self.module, name, SimpleNamespace())
        for name in _SIGNATURES:
            if is_old and name in _ADDED_LATER:
                continue
            *place, last = name.split(".")
            setattr(getattr(self.module, place[0]) if place else self.module, last, self._function(name))

    def names(self) -> list[str]:
        """Of the calls, in order."""
        return [call.name for call in self.calls]

    def alive(self) -> list[str]:
        """What was made and not released."""
        left = [type(one).__name__[1:] for one in self._alive.values()]
        return left + [f"device {device}" for device, count in self._opened.items() if count]

    def check(self) -> None:
        """Nothing was done wrong, and nothing is left."""
        assert self.misuses == []
        assert self.alive() == []
        if "init" in self.names() and not self.is_foreign and self.state != "new":
            assert self.state == "finalised"
        if self.is_foreign:
            assert self.state == "initialised"
            assert self.references == 0

    def use_as_others_do(self) -> int:
        """Make a context current that belongs to somebody else in the process."""
        with self._lock:
            handle = self._make(_Context(0))
            self._local.context = handle
            return handle

    def forget(self, handle: int) -> None:
        """The other one releases its context."""
        with self._lock:
            del self._alive[handle]

    @property
    def current(self) -> int | None:
        """This thread's context."""
        return getattr(self._local, "context", None)

    # What all calls share.

    def _function(self, name: str) -> Callable[..., Any]:
        kinds, gives = _SIGNATURES[name]
        method = getattr(self, "_" + name.replace(".", "_"))

        def call(*args: Any) -> Any:  # as of METH_VARARGS: no keywords
            _check_arguments(name, kinds, args)
            with self._lock:
                number = len(self.calls)
                self.calls.append(Call(name, args, threading.get_ident()))
                if name not in ("init", "get_recent_err_msg") and self.state != "initialised":
                    self._misuse(f"{name} while AscendCL is {self.state}")
                code = self.fail(number, name) if self.is_lost is None else self._lost_code(name, args)
            if code is not None and name not in RELEASES:
                self._last_error = f"EE9999: injected {code}"
                return _FAILURES[gives](code)
            try:
                value = method(*args)
            except _Refused as refused:
                self._last_error = str(refused)
                return _FAILURES[gives](refused.code)
            if code is not None:
                return code
            return (value, 0) if gives in _WITH_CODE else (0 if gives == "ret" else value)

        call.__name__ = name
        return call

    def _lost_code(self, name: str, args: tuple[Any, ...]) -> int | None:
        """A device that has gone: nothing works there, and nothing goes on there either."""
        if name == "rt.synchronize_stream":
            self._of(_Stream, args[0]).queue.clear()
        on_host = name in ("rt.set_context", "rt.get_context", "get_recent_err_msg", "get_soc_name", "get_version")
        return None if on_host else self.is_lost

    def _misuse(self, what: str) -> Any:
        self.misuses.append(what)
        raise Misuse(what)

    def _make(self, one: Any) -> int:
        self._next_handle += 0x10
        self._alive[self._next_handle] = one
        return self._next_handle

    def _of(self, kind: type[Any], handle: int) -> Any:
        one = self._alive.get(handle)
        if not isinstance(one, kind):
            before = self._dead.get(handle)
            state = "released already" if isinstance(before, kind) else f"not one ({type(one or before).__name__})"
            self._misuse(f"{kind.__name__[1:]} {handle:#x} is {state}")
        return one

    def _drop(self, kind: type[Any], handle: int) -> Any:
        one = self._of(kind, handle)
        for stream in self._streams():
            for operation in stream.queue:
                if handle in operation.uses or any(
                    span.memory is one for span in operation.reads + operation.writes if span.memory is not None
                ):
                    self._misuse(f"{kind.__name__[1:]} {handle:#x} is released while work with it is under way")
        self._dead[handle] = self._alive.pop(handle)
        return one

    def _streams(self) -> list[_Stream]:
        return [one for one in self._alive.values() if isinstance(one, _Stream)]

    def _context(self) -> int:
        handle = self.current
        if handle is None or not isinstance(self._alive.get(handle), _Context | _Default):
            raise _Refused(107002, "no context is current in this thread")
        return handle

    def _stream(self, handle: int) -> _Stream:
        stream: _Stream = self._of(_Stream, handle)
        if stream.context != self._context():
            raise _Refused(107003, "the stream is of another context")
        return stream

    # acl

    def _init(self, _config: str = "") -> None:
        if self.state != "new":
            self.references += 1
            raise _Refused(100002, "initialised already")
        self.state = "initialised"

    def _finalize(self) -> None:
        if self.is_foreign:
            self._misuse("finalize closes what others in the process use")
        if self.alive():
            self._misuse(f"finalize with {self.alive()} alive")
        self.state = "finalised"

    def _finalize_reference(self) -> int:
        self.references -= 1
        return self.references

    def _get_version(self) -> tuple[int, int, int, int]:
        return 1, 12, 0, 0

    def _get_soc_name(self) -> str:
        return "Ascend310P3"

    def _get_recent_err_msg(self) -> str | None:
        return self._last_error

    def _create_data_buffer(self, pointer: int, size: int) -> int:
        with self._lock:
            self._span(pointer, size)
            return self._make(_Buffer(pointer, size))

    def _destroy_data_buffer(self, handle: int) -> None:
        with self._lock:
            self._drop(_Buffer, handle)

    # acl.rt

    def _rt_get_device_count(self) -> int:
        return self.devices

    def _rt_set_device(self, device: int) -> None:
        with self._lock:
            if not 0 <= device < self.devices:
                raise _Refused(107001, f"no device {device}")
            self._opened[device] += 1
            if self._opened[device] == 1:
                self._defaults[device] = self._make(_Default(device))
            self._local.context = self._defaults[device]

    def _rt_reset_device(self, device: int) -> None:
        with self._lock:
            if not self._opened.get(device):
                self._misuse(f"device {device} is reset more often than set")
            self._opened[device] -= 1
            if not self._opened[device]:
                left = [
                    type(one).__name__[1:]
                    for one in self._alive.values()
                    if getattr(one, "device", None) == device and not isinstance(one, _Default)
                ]
                if left and not self.is_foreign:
                    self._misuse(f"device {device} is reset with {left} alive")
                del self._alive[self._defaults[device]]

    def _rt_get_run_mode(self) -> int:
        self._context()
        return self.run_mode

    def _rt_create_context(self, device: int) -> int:
        with self._lock:
            if not self._opened.get(device):
                raise _Refused(107001, f"device {device} is not set")
            self._local.context = self._make(_Context(device))
            return int(self._local.context)

    def _rt_destroy_context(self, handle: int) -> None:
        with self._lock:
            left = [type(one).__name__[1:] for one in self._alive.values() if getattr(one, "context", None) == handle]
            if left:
                self._misuse(f"a context is destroyed with {left} alive")
            self._drop(_Context, handle)
            if self.current == handle:
                self._local.context = None

    def _rt_set_context(self, handle: int) -> None:
        with self._lock:
            if not isinstance(self._alive.get(handle), _Context | _Default):
                raise _Refused(107000, "no such context")
            self._local.context = handle

    def _rt_get_context(self) -> int:
        return self._context()

    def _rt_create_stream(self) -> int:
        with self._lock:
            return self._make(_Stream(self._context()))

    def _rt_destroy_stream(self, handle: int) -> None:
        with self._lock:
            if self._stream(handle).queue:
                self._misuse("a stream is destroyed with work under way")
            self._drop(_Stream, handle)

    def _rt_synchronize_stream(self, handle: int) -> None:
        with self._lock:
            stream = self._stream(handle)
        self.while_waiting(handle)
        with stream.draining:
            while stream.queue:
                stream.queue[0].work()
                with self._lock:
                    stream.queue.pop(0)

    def _rt_malloc(self, size: int, policy: int) -> int:
        with self._lock:
            context = self._context()
            if size == 0 or policy not in (0, 1, 2):
                raise _Refused(100000, "no size, or no such policy")
            start = self._next_address
            self._next_address += -(-size // 4096) * 4096 + 4096  # a gap, so that overruns hit nothing
            memory = _Memory(start, np.full(size, _POISON, np.uint8), context, self._alive[context].device)
            self._alive[start] = memory
            return start

    def _rt_free(self, pointer: int) -> None:
        with self._lock:
            self._check_unwrapped(pointer)
            memory = self._drop(_Memory, pointer)
            if memory.device is None:
                self._misuse("free of memory of the host")
            if memory.device != self._alive[self._context()].device:
                self._misuse("free on another device")

    def _rt_malloc_host(self, size: int) -> int:
        with self._lock:
            if self.run_mode == ON_DEVICE:
                raise _Refused(200001, "there is no host")
            context = self._context()
            data = np.full(size, _POISON, np.uint8)
            self._alive[data.ctypes.data] = _Memory(data.ctypes.data, data, context, None)
            return int(data.ctypes.data)

    def _rt_free_host(self, pointer: int) -> None:
        with self._lock:
            memory = self._drop(_Memory, pointer)  # the dead are kept, so that who still reads gets poison
            if memory.device is not None:
                self._misuse("free_host of memory of the device")
            memory.data[:] = _POISON

    def _check_unwrapped(self, pointer: int) -> None:
        for one in self._alive.values():
            if isinstance(one, _Buffer) and one.pointer == pointer:
                self._misuse("memory is freed before the data buffer around it is destroyed")

    def _rt_memcpy(self, to: int, room: int, source: int, count: int, kind: int) -> None:
        with self._lock:
            read, written = self._copy_sides(to, room, source, count, kind)
            self._check_meeting(None, [read], [written])
            written.data[:count] = read.data

    def _rt_memcpy_async(self, to: int, room: int, source: int, count: int, kind: int, handle: int) -> None:
        with self._lock:
            stream = self._stream(handle)
            read, written = self._copy_sides(to, room, source, count, kind)
            for span in (read, written):
                if span.memory is None:
                    self._misuse("a copy that goes on by itself, of memory that may be paged out")
            self._check_meeting(stream, [read], [written])
            is_host = read.memory is not None and read.memory.device is None
            checksum = zlib.crc32(read.data) if is_host else None
            if written.memory is not None and written.memory.device is None:
                written.data[:count] = _POISON

            def work() -> None:
                with self._lock:
                    if checksum is not None and zlib.crc32(read.data) != checksum:
                        self._misuse("what is being copied was changed before the copy was waited for")
                    written.data[:count] = read.data

            stream.queue.append(_Operation([read], [written], set(), None, work))

    def _copy_sides(self, to: int, room: int, source: int, count: int, kind: int) -> tuple[_Span, _Span]:
        if not 0 < count <= room:
            self._misuse(f"{count} bytes are copied to where there are {room}")
        written, read = self._span(to, room), self._span(source, count)
        written.end = written.first + count
        sides = ["host" if s.memory is None or s.memory.device is None else "device" for s in (read, written)]
        kinds = {("host", "device"): H2D, ("device", "host"): D2H, ("device", "device"): D2D, ("host", "host"): 0}
        expected = D2D if self.run_mode == ON_DEVICE else kinds[sides[0], sides[1]]
        if kind != expected:
            self._misuse(f"a copy of kind {kind} from {sides[0]} to {sides[1]}")
        return read, written

    def _span(self, pointer: int, count: int) -> _Span:
        """The bytes at an address, which have to be alive, and of this context's device."""
        for one in self._alive.values():
            if isinstance(one, _Memory) and one.start <= pointer < one.end:
                if pointer + count > one.end:
                    self._misuse(f"{count} bytes at {pointer:#x}, which has {one.end - pointer}")
                if one.device is not None and one.device != self._alive[self._context()].device:
                    self._misuse("memory of another device")
                first = pointer - one.start
                return _Span(one, first, first + count, one.data[first : first + count])
        for one in self._dead.values():
            if isinstance(one, _Memory) and one.start <= pointer < one.end:
                self._misuse("memory that was freed")
        if pointer >= _DEVICE_SPACE or not _is_mapped(pointer, count):
            self._misuse(f"no memory at {pointer:#x}")
        return _Span(None, 0, count, np.ctypeslib.as_array((c_uint8 * count).from_address(pointer)))

    def _check_meeting(self, stream: _Stream | None, reads: list[_Span], writes: list[_Span]) -> None:
        """What is under way in other streams must not touch the same bytes."""
        for other in self._streams():
            for operation in () if other is stream else other.queue:
                for mine, theirs, what in (
                    (reads, operation.writes, "reads what"),
                    (writes, operation.writes, "writes what"),
                    (writes, operation.reads, "changes what is read by"),
                ):
                    if any(a.meets(b) for a in mine for b in theirs):
                        self._misuse(f"this {what} work is under way that was not waited for")

    # acl.mdl

    def _mdl_load_from_file(self, path: str) -> int:
        with self._lock:
            context = self._context()
            try:
                about = json.loads(Path(path).read_bytes())
            except OSError as error:
                raise _Refused(100003, str(error)) from error
            except ValueError as error:
                raise _Refused(100012, "not a model") from error
            return self._make(_load(about, context))

    def _mdl_unload(self, handle: int) -> None:
        with self._lock:
            if self._of(_Model, handle).context != self._context():
                self._misuse("a model is unloaded in another context than it was loaded in")
            self._drop(_Model, handle)

    def _mdl_create_desc(self) -> int:
        with self._lock:
            return self._make(_Desc())

    def _mdl_destroy_desc(self, handle: int) -> None:
        with self._lock:
            self._drop(_Desc, handle)

    def _mdl_get_desc(self, handle: int, model: int) -> None:
        self._of(_Desc, handle).model = self._of(_Model, model)

    def _described(self, handle: int) -> _Model:
        model: _Model | None = self._of(_Desc, handle).model
        if model is None:
            self._misuse("a description of nothing")
        assert model is not None
        return model

    def _tensor(self, handle: int, side: str, index: int) -> _Tensor:
        tensors: list[_Tensor] = getattr(self._described(handle), side)
        if index >= len(tensors):
            self._misuse(f"{side}[{index}] of {len(tensors)}")
        return tensors[index]

    def _mdl_get_num_inputs(self, desc: int) -> int:
        return len(self._described(desc).inputs)

    def _mdl_get_num_outputs(self, desc: int) -> int:
        return len(self._described(desc).outputs)

    def _mdl_get_input_size_by_index(self, desc: int, index: int) -> int:
        return self._tensor(desc, "inputs", index).size

    def _mdl_get_output_size_by_index(self, desc: int, index: int) -> int:
        return self._tensor(desc, "outputs", index).size

    def _mdl_get_input_dims(self, desc: int, index: int) -> dict[str, Any]:
        return _dims(self._tensor(desc, "inputs", index))

    def _mdl_get_output_dims(self, desc: int, index: int) -> dict[str, Any]:
        return _dims(self._tensor(desc, "outputs", index))

    def _mdl_get_input_data_type(self, desc: int, index: int) -> int:
        return _CODES[self._tensor(desc, "inputs", index).dtype]

    def _mdl_get_output_data_type(self, desc: int, index: int) -> int:
        return _CODES[self._tensor(desc, "outputs", index).dtype]

    def _mdl_get_input_format(self, desc: int, index: int) -> int:
        return self._tensor(desc, "inputs", index).order

    def _mdl_get_output_format(self, desc: int, index: int) -> int:
        return self._tensor(desc, "outputs", index).order

    def _mdl_get_input_name_by_index(self, desc: int, index: int) -> str:
        return self._tensor(desc, "inputs", index).name

    def _mdl_get_output_name_by_index(self, desc: int, index: int) -> str:
        return self._tensor(desc, "outputs", index).name

    def _mdl_get_input_index_by_name(self, desc: int, name: str) -> int:
        names = [one.name for one in self._described(desc).inputs]
        if name not in names:
            raise _Refused(100000, f"no input {name}")
        return names.index(name)

    def _mdl_create_dataset(self) -> int:
        with self._lock:
            return self._make(_Dataset())

    def _mdl_destroy_dataset(self, handle: int) -> None:
        with self._lock:
            for buffer in self._of(_Dataset, handle).buffers:
                if buffer in self._alive:
                    self._misuse("a dataset is destroyed before its data buffers")
            self._drop(_Dataset, handle)

    def _mdl_add_dataset_buffer(self, dataset: int, buffer: int) -> int:
        with self._lock:
            self._of(_Buffer, buffer)
            self._of(_Dataset, dataset).buffers.append(buffer)
            return dataset

    def _mdl_get_dynamic_batch(self, desc: int) -> dict[str, Any]:
        gears = self._described(desc).gears
        return {"batchCount": len(gears), "batch": list(gears)}

    def _mdl_set_dynamic_batch_size(self, model_id: int, dataset_id: int, index: int, batch: int) -> None:
        with self._lock:
            model, dataset = self._of(_Model, model_id), self._of(_Dataset, dataset_id)
            if index != model.gear_index or len(dataset.buffers) != len(model.inputs):
                self._misuse("set_dynamic_batch_size of an input or dataset that is not the one")
            if batch not in model.gears:
                raise _Refused(100000, f"batch {batch} is none of {model.gears}")
            for stream in self._streams():
                if any(dataset_id in operation.uses for operation in stream.queue):
                    self._misuse("the batch is changed while the model runs with it")
            buffer = self._of(_Buffer, dataset.buffers[index])
            self._span(buffer.pointer, _GEAR_BYTES).data[:] = np.frombuffer(np.int64(batch).tobytes(), np.uint8)
            dataset.gear = batch

    def _mdl_execute_async(self, model_id: int, inputs_id: int, outputs_id: int, handle: int) -> None:
        with self._lock:
            stream, model = self._stream(handle), self._of(_Model, model_id)
            if model.context != self._context():
                self._misuse("a model is run in another context than it was loaded in")
            for other in self._streams():
                if any(operation.model == model_id for operation in other.queue):
                    self._misuse("a model is started before it was waited for")
            batch = model.batch
            uses = {model_id, inputs_id, outputs_id}
            sides = []
            for dataset_id, tensors, code in ((inputs_id, model.inputs, 100017), (outputs_id, model.outputs, 100018)):
                dataset = self._of(_Dataset, dataset_id)
                uses.update(dataset.buffers)
                buffers = [self._of(_Buffer, one) for one in dataset.buffers]
                if [one.size for one in buffers] != [one.size for one in tensors]:
                    raise _Refused(code, f"buffers of {[one.size for one in buffers]} bytes do not fit the model")
                sides.append([self._span(one.pointer, one.size) for one in buffers])
                if dataset_id == inputs_id and model.gear_index is not None:
                    if dataset.gear is None:
                        self._misuse("no batch was set: the largest one would run")
                    batch = dataset.gear
            self._check_meeting(stream, sides[0], sides[1])

            def work() -> None:
                _compute(self._lock, model, batch, sides[0], sides[1])

            stream.queue.append(_Operation(sides[0], sides[1], uses, model_id, work))


@dataclass(frozen=True)
class _Default:
    """The context that comes with a device."""

    device: int


def _check_arguments(name: str, kinds: str, args: tuple[Any, ...]) -> None:
    options = [one for one in kinds.split("|") if len(one) == len(args)]
    if not options:
        raise TypeError(f"{name} takes {' or '.join(str(len(one)) for one in kinds.split('|'))} arguments")
    for kind, value in zip(options[0], args, strict=True):
        if type(value) is not (str if kind == "s" else int):  # numpy's integers are refused as well
            raise TypeError(f"{name}: {value!r} is {type(value).__name__}")
        if kind == "k" and int(value) < 0:
            raise OverflowError(f"{name}: {value} is negative")


def _is_mapped(pointer: int, count: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, _, end = line.partition(" ")[0].partition("-")
        if int(first, 16) <= pointer < int(end, 16):
            # Neighbouring ranges may follow each other; one that ends early and has none behind is too short.
            if pointer + count <= int(end, 16):
                return True
            pointer, count = int(end, 16), count - (int(end, 16) - pointer)
    return False


def _dims(tensor: _Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dimCount": len(tensor.dims), "dims": list(tensor.dims)}


_sessions: dict[tuple[str, int], Any] = {}


def _session(path: str) -> Any:
    import onnxruntime

    key = path, Path(path).stat().st_mtime_ns
    if key not in _sessions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        _sessions[key] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return _sessions[key]


def _load(about: dict[str, Any], context: int) -> _Model:
    session = _session(about["onnx"])
    gears = about["gears"]
    batch = max(gears) if gears else about["batch"]
    sides: dict[str, list[_Tensor]] = {}
    for side, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        sides[side] = []
        for value in values:
            dims = [one if isinstance(one, int) else batch for one in value.shape]
            dtype = about.get(f"{side}_type", _ONNX_TYPES[value.type])
            size = int(np.prod(dims)) * np.dtype(dtype).itemsize
            shown = [-1, *dims[1:]] if gears and side == "input" else dims
            sides[side].append(
                _Tensor(
                    value.name,
                    about.get(f"{side}_dims", shown),
                    about.get(f"{side}_code", dtype),
                    about.get(f"{side}_size", size),
                    about.get("order", 0),
                )
            )
    gear_index = None
    if gears or about.get("picture_gears"):
        gear_index = 0 if about.get("gear_first") else len(sides["input"])
        sides["input"].insert(gear_index, _Tensor(GEARS, [1], "int64", _GEAR_BYTES, 2))
    sides["input"] += [_Tensor(name, [1], "float32", 4, 2) for name in about.get("more_inputs", ())]
    return _Model(context, session, sides["input"], sides["output"], gears, batch, gear_index)


def _compute(lock: Any, model: _Model, batch: int, reads: list[_Span], writes: list[_Span]) -> None:
    picture = 0 if model.gear_index != 0 else 1
    tensor, taken = model.inputs[picture], model.session.get_inputs()[0]
    is_one_picture = model.gear_index is None and len(tensor.dims) == 3  # which has no dimension for its number
    shape = tuple(tensor.dims) if is_one_picture else (batch, *tensor.dims[1:])
    count = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
    with lock:
        if model.gear_index is not None:
            assert int(reads[model.gear_index].data.view(np.int64)[0]) == batch
        pictures = reads[picture].data[:count].copy().view(tensor.dtype).reshape(shape)
        for span in writes:
            span.data[:] = _POISON
    outputs = model.session.run(None, {taken.name: pictures.astype(_ONNX_TYPES[taken.type])})
    with lock:
        for output, about, span in zip(outputs, model.outputs, writes, strict=True):
            data = np.ascontiguousarray(output.astype(about.dtype)).reshape(-1).view(np.uint8)
            span.data[: len(data)] = data


@contextmanager
def installed(fake: FakeAcl) -> Iterator[FakeAcl]:
    """Let ``import acl`` find it; at the end the process's end is played, and the accounts have to be even."""
    libraries, before = acl_library._libraries[:], sys.modules.get("acl")
    acl_library._libraries.clear()
    sys.modules["acl"] = fake.module
    try:
        yield fake
        for library in acl_library._libraries:
            library.finalize()
        fake.check()
    finally:
        for library in acl_library._libraries:
            atexit.unregister(library.finalize)
        acl_library._libraries[:] = libraries
        del sys.modules["acl"]
        if before is not None:
            sys.modules["acl"] = before
