"""Models in ONNX Runtime: on the CPU, or through the providers for CUDA, TensorRT and CANN."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.formats.model_metadata import channels_told
from pspfast.runtimes.picture_input import is_one_picture, with_batch_axis
from pspfast.runtimes.runtime import Runtime, RuntimeFault, TensorSpec
from pspfast.system.captured_output import first_line
from pspfast.system.libraries import MissingExtra, need
from pspfast.system.onnx_sessions import CPU_PROVIDER, open_session
from pspfast.system.threads import default_workers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["PROVIDERS", "OnnxRuntime"]

PROVIDERS = {
    "cpu": CPU_PROVIDER,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cann": "CANNExecutionProvider",
}
"""Providers as ``--provider`` takes them, and what ONNX Runtime calls them."""

# Which package brings a provider, in place of onnxruntime; all of them are imported as onnxruntime.
_PACKAGES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu", "cann": "onnxruntime-cann"}
# What else has to be there.
_NEEDS = {
    "cuda": "NVIDIA's driver, and CUDA and cuDNN of the versions it was built for",
    "tensorrt": "NVIDIA's driver, CUDA and TensorRT of the versions it was built for",
    "cann": "Ascend's driver, and CANN's environment (source set_env.sh of the toolkit)",
}
# Where a provider keeps tensors.
_MEMORY = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "cuda", "cann": "cann"}

_TYPES = {
    "tensor(bool)": "bool", "tensor(double)": "float64", "tensor(float)": "float32", "tensor(float16)": "float16",
    "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32", "tensor(int64)": "int64",
    "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64",
}  # fmt: skip


class OnnxRuntime(Runtime):
    """An ONNX file in ONNX Runtime, fed through IO binding.

    Args:
        path: the file, with the data that it keeps beside it.
        device: number of the device; of no meaning on the CPU.
        provider: one of :data:`PROVIDERS`.
        provider_options: further options of the provider, by ONNX Runtime's names.
        allow_cpu: let the CPU compute what the provider cannot, and everything if the provider does not start.
        threads: on the CPU; the CPUs this process may use if left out.

    Attributes:
        providers: what ONNX Runtime really uses, in order.

    Raises:
        MissingExtra: ONNX Runtime is not installed, or not with this provider.
        RuntimeFault: it refuses the model, or the provider does not start.
        ValueError: an unknown provider, or a model that cannot be fed with pictures.
    """

    def __init__(
        self,
        path: str,
        *,
        device: int = 0,
        provider: str = "cpu",
        provider_options: Mapping[str, str] | None = None,
        allow_cpu: bool = False,
        threads: int | None = None,
    ) -> None:
        if provider not in PROVIDERS:
            raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}, got {provider!r}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._path, self._provider = path, provider
        self._device = 0 if provider == "cpu" else device
        self._threads = default_workers() if threads is None else threads
        self._library = need("onnxruntime")
        self._session: Any = self._open(dict(provider_options or {}), allow_cpu=allow_cpu)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        if PROVIDERS[provider] not in self.providers and not allow_cpu:
            self.close()
            raise RuntimeFault(self._not_started("it fell back to " + ", ".join(self.providers)))
        self._memory = _MEMORY[provider] if PROVIDERS[provider] in self.providers else "cpu"
        self.inputs = tuple(map(_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_spec, self._session.get_outputs()))
        if not self.inputs or not self.inputs[0].shape:
            raise ValueError(f"{path}: a model without inputs that have dimensions")
        self._is_one_picture = len(self.inputs) == 1 and is_one_picture(self.inputs[0].shape)
        if self._is_one_picture:
            self.inputs, self.outputs = (tuple(map(with_batch_axis, one)) for one in (self.inputs, self.outputs))
        batch = self.inputs[0].shape[0]
        self.batches = () if batch is None else (batch,)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata, self.channels = properties.get("pspfast"), channels_told(properties)
        self.compute_seconds = []
        self._shapes: dict[int, list[tuple[int, ...]]] = {}  # of the outputs, by batch, once they are known
        self._given: dict[int, Any] = {}  # on the device, by batch

    def _open(self, extra: dict[str, str], *, allow_cpu: bool) -> Any:
        ort, provider = self._library, self._provider
        wanted = PROVIDERS[provider]
        available = ort.get_available_providers()
        if wanted not in available:
            if not allow_cpu:
                package = _PACKAGES[provider]
                raise MissingExtra(
                    f"the onnxruntime {ort.__version__} that is installed has no {wanted} (it has "
                    f"{', '.join(available)}); pip uninstall onnxruntime, then pip install {package}; it needs "
                    f"{_NEEDS.get(provider, 'nothing else')}"
                )
            wanted = PROVIDERS["cpu"]
        config: dict[str, str] = {}
        providers: list[Any] = [wanted]
        if wanted != PROVIDERS["cpu"]:
            if not allow_cpu:
                config["session.disable_cpu_ep_fallback"] = "1"
            chosen: dict[str, str] = {"device_id": str(self._device)}
            if provider == "cann":
                chosen["enable_cann_graph"] = "1"
            providers = [(wanted, chosen | extra)]
            if provider == "tensorrt" and PROVIDERS["cuda"] in available:  # for what TensorRT cannot
                providers.append((PROVIDERS["cuda"], {"device_id": str(self._device)}))
            if allow_cpu:
                providers.append(PROVIDERS["cpu"])
        try:
            session = open_session(self._path, threads=self._threads, providers=providers, config=config)
        except Exception as error:  # each reason has its own class, which are not public
            reason = first_line(error)
            if wanted == PROVIDERS["cpu"]:
                raise RuntimeFault(f"{self._path}: ONNX Runtime refuses it: {reason}") from error
            raise RuntimeFault(self._not_started(reason)) from error
        session.disable_fallback()  # else a failing run is repeated on the CPU
        return session

    def _not_started(self, reason: str) -> str:
        return (
            f"{self._path}: {PROVIDERS[self._provider]} does not run all of it on device {self._device}: {reason}; it "
            f"needs {_NEEDS.get(self._provider, 'nothing else')}; --allow-cpu lets the CPU compute what is left"
        )

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        if self._session is None:
            raise RuntimeFault(f"{self._path}: the runtime was closed")
        given = batch[0] if self._is_one_picture else batch
        try:
            found = self._run_here(given) if self._memory == "cpu" else self._run_there(given)
        except Exception as error:  # not public either
            raise RuntimeFault(f"{self._path}: ONNX Runtime fails: {first_line(error)}") from error
        return [output[None] for output in found] if self._is_one_picture else found

    def _run_here(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """In this process's memory: the model reads the batch where it is and writes into the arrays returned."""
        value_of = self._library.OrtValue.ortvalue_from_numpy
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self.input.name, value_of(batch))
        shapes = self._shapes.get(len(batch))
        if shapes is None:  # a model's own word about them need not be true
            for spec in self.outputs:
                binding.bind_output(spec.name)
            self._compute(binding)
            found = binding.copy_outputs_to_cpu()
            self._shapes[len(batch)] = [array.shape for array in found]
            return list(found)
        outputs = [np.empty(shape, spec.dtype) for spec, shape in zip(self.outputs, shapes, strict=True)]
        for spec, array in zip(self.outputs, outputs, strict=True):
            binding.bind_ortvalue_output(spec.name, value_of(array))
        self._compute(binding)
        return outputs

    def _run_there(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """In the device's memory, in a buffer that is made once for each batch."""
        given = self._given.get(len(batch))
        if given is None:
            given = self._library.OrtValue.ortvalue_from_numpy(batch, self._memory, self._device)
            self._given[len(batch)] = given
        else:
            given.update_inplace(batch)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self.input.name, given)
        for spec in self.outputs:
            binding.bind_output(spec.name, self._memory, self._device)
        self._compute(binding)
        return list(binding.copy_outputs_to_cpu())

    def _compute(self, binding: Any) -> None:
        binding.synchronize_inputs()
        before = time.perf_counter()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        self.compute_seconds.append(time.perf_counter() - before)

    def close(self) -> None:
        """Release the session and what it holds on the device."""
        self._given = {}
        self._session = None

    def describe(self) -> dict[str, Any]:
        """See :class:`pspfast.runtimes.runtime.Runtime`."""
        on_cpu = self._memory == "cpu"
        return {
            "runtime": "onnxruntime",
            "version": self._library.__version__,
            "device": "CPU" if on_cpu else f"{self._memory}:{self._device}",
            "provider": ", ".join(self.providers),
            "threads": self._threads if on_cpu else None,
        }


def _spec(value: Any) -> TensorSpec:
    if value.type not in _TYPES:
        raise ValueError(f"{value.name!r} is {value.type}; known are {', '.join(_TYPES)}")
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape)
    return TensorSpec(value.name, _TYPES[value.type], shape)
