"""A stand-in for ais_bench's Python interface, stricter than it, computing through ONNX Runtime.

The real one takes any bytes of the right number; this one looks at their type as well, at contexts of threads, and at
who releases what. A model is a file as :func:`tests.runtimes.fake_acl.write_om` writes it.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.runtimes.fake_acl import _load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MODULES = ("ais_bench", "ais_bench.infer", "ais_bench.infer.interface")


class FakeAisBench:
    """The package and what it keeps account of.

    Args:
        devices: how many there are.
        is_old: names and times as in 2023.
        fail: given a call's name: what to raise, or ``None``.

    Attributes:
        made, released: how many sessions.
        runs: of all of them.
        current: the context of each thread, which is that of the session that was last made there.
    """

    def __init__(
        self, *, devices: int = 2, is_old: bool = False, fail: Callable[[str], Exception | None] = lambda _: None
    ) -> None:
        self.devices, self.is_old, self.fail = devices, is_old, fail
        self.made = self.released = self.runs = 0
        self.current = threading.local()

    def session(
        self, device_id: int, model_path: str, acl_json_path: Any = None, debug: bool = False, loop: int = 1
    ) -> Any:
        assert type(device_id) is int and type(model_path) is str
        assert (acl_json_path, debug, loop) == (None, False, 1)
        self._may("InferSession")
        if not 0 <= device_id < self.devices:
            raise RuntimeError(f"[-1][ACL: general failure] acl open device {device_id} failed, ret = 107001")
        try:
            about = json.loads(Path(model_path).read_bytes())
        except ValueError:
            raise RuntimeError("load model from file failed, model file is wrong, ret = 100012") from None
        self.made += 1
        return (_OldSession if self.is_old else _NewSession)(self, _load(about, 0))

    def _may(self, name: str) -> None:
        error = self.fail(name)
        if error is not None:
            raise error


class _Session:
    def __init__(self, fake: FakeAisBench, model: Any) -> None:
        self._fake, self._model, self._is_released = fake, model, False
        self._times: list[Any] = []
        self._number = fake.made
        fake.current.session = self._number

    def get_inputs(self) -> list[Any]:
        return [_described(one) for one in self._model.inputs]

    def get_outputs(self) -> list[Any]:
        return [_described(one) for one in self._model.outputs]

    def infer(self, feeds: list[Any], mode: str = "static", custom_sizes: int = 100000) -> list[Any]:
        assert not self._is_released and mode == "static" and custom_sizes == 100000
        here = getattr(self._fake.current, "session", None)
        if here != self._number:  # the old version sets no context for a run
            raise RuntimeError("execute failed, ret = 107002" if here is None else "run on another session's device")
        self._fake._may("infer")
        (taken,), (fed,) = self._model.inputs, feeds
        assert isinstance(fed, np.ndarray) and fed.flags.c_contiguous, "older versions read it as if it were"
        assert fed.dtype == np.dtype(taken.dtype) and list(fed.shape) == taken.dims
        wanted = self._model.session.get_inputs()[0]
        kind = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}[wanted.type]
        found = self._model.session.run(None, {wanted.name: fed.astype(kind)})
        self._fake.runs += 1
        self._times.append(7.0 if self._fake.is_old else (1000.0, 1007.0))
        return [one.astype(about.dtype) for one, about in zip(found, self._model.outputs, strict=True)]

    def finalize(self) -> None:
        raise AssertionError("this closes AscendCL for all models of the process")

    def _summary(self) -> Any:
        return SimpleNamespace(exec_time_list=list(self._times))

    def _release(self) -> None:
        assert not self._is_released, "released twice"
        self._fake._may("release")
        self._is_released = True
        self._fake.released += 1


class _OldSession(_Session):
    """Of 2023: releases its model when nobody refers to it any more, and has no other way."""

    def sumary(self) -> Any:
        return self._summary()

    def reset_sumaryinfo(self) -> None:
        self._times.clear()

    def __del__(self) -> None:
        self._release()


class _NewSession(_Session):
    def summary(self) -> Any:
        return self._summary()

    def reset_summaryinfo(self) -> None:
        self._times.clear()

    def free_resource(self) -> None:
        self._release()


def _described(tensor: Any) -> Any:
    return SimpleNamespace(
        name=tensor.name, shape=list(tensor.dims), datatype=f"dtype.{tensor.dtype}", format=tensor.order,
        size=tensor.size, realsize=tensor.size,
    )  # fmt: skip


@contextmanager
def installed(fake: FakeAisBench) -> Iterator[FakeAisBench]:
    """Let it be imported; at the end every session has to be released, once."""
    modules = {name: ModuleType(name) for name in _MODULES}
    modules[_MODULES[-1]].InferSession = fake.session  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in _MODULES}
    sys.modules.update(modules)
    try:
        yield fake
        assert fake.made == fake.released
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module
