"""Ascend devices through ais_bench's Python interface. There was none to try this on; see docs."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.runtimes.acl_codes import codes_in, explain
from pspfast.runtimes.picture_input import is_one_picture, with_batch_axis
from pspfast.runtimes.runtime import Runtime, RuntimeFault, TensorSpec
from pspfast.system.libraries import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["HOW_TO_INSTALL_AIS_BENCH", "OTHER_AIS_BENCH", "AisBenchRuntime"]

_DTYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "bool",
)  # fmt: skip

HOW_TO_INSTALL_AIS_BENCH = (
    "ais_bench and aclruntime are wheels of Huawei's for Python up to 3.11, not on PyPI: `msprobe install_deps -m "
    "offline` of Ascend's mindstudio-probe installs both; then `source set_env.sh` of CANN in this shell"
)
OTHER_AIS_BENCH = "ais_bench_benchmark, PyPI's evaluator of language models, whose package is called ais_bench too"


class AisBenchRuntime(Runtime):
    """An ``.om`` model of a fixed batch in an ``InferSession``.

    The session lives in a thread of its own: version 0.0.2 makes its context current where it is made, and nowhere
    else, so that in another thread there would be none, or, with several devices, that of another session.

    Args:
        path: of the model.
        device: its number, from 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: a model that pspfast cannot feed: several inputs, or sizes left open.
        MissingExtra: ais_bench is not installed.
        RuntimeFault: no such device, or the session refuses the model.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: int = 0) -> None:
        self._path, self._device = os.fspath(path), int(device)
        with open(self._path, "rb"):  # the session only has a number for files that are not there
            pass
        try:
            interface = import_module("ais_bench.infer.interface")
        except ImportError as error:
            raise MissingExtra(f"this needs ais_bench{_why_not(error)}; {HOW_TO_INSTALL_AIS_BENCH}") from error
        self.compute_seconds = []
        self._session: Any = None
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, "ais_bench")
        try:
            self._there(self._open, interface)
            self.batches = (int(self.input.shape[0] or 0),)
        except BaseException:  # Ctrl-C as well: nobody else can close it
            with suppress(RuntimeFault):  # what went wrong before is the reason
                self.close()
            raise

    def _there(self, do: Callable[..., Any], *args: Any) -> Any:
        """Do it in the session's thread."""
        try:
            running = self._thread.submit(do, *args)
        except RuntimeError as error:  # the thread has ended
            raise RuntimeFault(f"{self._path}: the runtime was closed") from error
        return running.result()

    def _open(self, interface: Any) -> None:
        try:
            self._session = interface.InferSession(self._device, self._path)
        except Exception as error:  # RuntimeError mostly; what it raises is not documented
            raise self._fault(error) from error
        self.inputs = tuple(map(self._spec, self._session.get_inputs()))
        self.outputs = tuple(map(self._spec, self._session.get_outputs()))
        self._is_one_picture = len(self.inputs) == 1 and is_one_picture(self.inputs[0].shape)
        if self._is_one_picture:
            self.inputs, self.outputs = (tuple(map(with_batch_axis, one)) for one in (self.inputs, self.outputs))

    def _spec(self, tensor: Any) -> TensorSpec:
        shape = tuple(map(int, tensor.shape))
        shown = "x".join(map(str, shape)) or "a single number"
        dtype = str(tensor.datatype).rpartition(".")[2]  # an enumeration of aclruntime's
        if not shape or min(shape) < 1:
            raise ValueError(
                f"{self._path}: {tensor.name!r} is {shown}: sizes are left open, and ais_bench does not say which ones "
                "the model has; take --runtime acl, or convert with a fixed shape"
            )
        if dtype not in _DTYPES:
            raise ValueError(f"{self._path}: {tensor.name!r} is {dtype}; known are {', '.join(_DTYPES)}")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if tensor.realsize != size:
            raise ValueError(
                f"{self._path}: {tensor.name!r} has {tensor.realsize} bytes, but {dtype} {shown} is {size}: not the "
                "layout that its description says"
            )
        return TensorSpec(tensor.name, dtype, shape)

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self._there(self._run_there, batch)
        return found

    def _run_there(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            found = self._session.infer([batch[0] if self._is_one_picture else batch], mode="static")
        except Exception as error:  # as above
            raise self._fault(error) from error
        outputs = [np.array(one) for one in found]  # a copy: whose memory it is is not said
        if self._is_one_picture:
            outputs = [output[None] for output in outputs]
        for output, spec in zip(outputs, self.outputs, strict=True):
            if output.shape != spec.shape or output.dtype != np.dtype(spec.dtype):
                shape = "x".join(map(str, output.shape))
                raise RuntimeFault(f"{self._path}: output {spec.name!r} came as {output.dtype} {shape}, not {spec}")
        self._note_time()
        return outputs

    def _note_time(self) -> None:
        session = self._session
        summary = getattr(session, "summary", None) or session.sumary  # the older spelling
        last = summary().exec_time_list[-1]
        milliseconds = last[1] - last[0] if isinstance(last, (tuple, list)) else last  # pairs in newer versions
        self.compute_seconds.append(float(milliseconds) / 1000)
        # The whole list is copied each time it is asked for.
        (getattr(session, "reset_summaryinfo", None) or session.reset_sumaryinfo)()

    def close(self) -> None:
        """Release the session; a second call does nothing.

        Raises:
            RuntimeFault: it could not be released.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._there(self._release)
        finally:
            self._thread.shutdown()

    def _release(self) -> None:
        session, self._session = self._session, None
        # Older versions release a model with its session; finalize() is for all models of the process.
        release = getattr(session, "free_resource", None)
        if release is not None:
            try:
                release()
            except Exception as error:  # as above
                raise self._fault(error) from error

    def _fault(self, error: Exception) -> RuntimeFault:
        return RuntimeFault(f"{self._path} on device {self._device}: {_sentence(error)}")

    def describe(self) -> dict[str, Any]:
        """See :class:`pspfast.runtimes.runtime.Runtime`."""
        try:
            version = metadata.version("ais_bench")
        except metadata.PackageNotFoundError:
            version = None
        return {
            "runtime": "ais_bench",
            "version": version,
            "device": f"Ascend:{self._device}",
            "provider": None,
            "threads": None,
        }


def _why_not(error: ImportError) -> str:
    """Why ais_bench does not come, as the rest of a sentence that names it."""
    if error.name != "ais_bench.infer":  # the package itself, or what it needs in turn
        return f", which cannot be imported ({error})"
    other = import_module("ais_bench")
    file = getattr(other, "__file__", None) or ", ".join(getattr(other, "__path__", ()))
    return f" for inference, but {file} is another package of that name, probably {OTHER_AIS_BENCH}"


def _sentence(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "; ".join([f"ais_bench: {text}", *(f"{code} is {explain(code)}" for code in codes_in(text))])
