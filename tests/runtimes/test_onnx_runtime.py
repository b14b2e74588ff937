from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what these tests are about")

from pspfast.runtimes import onnx
from pspfast.runtimes.engines import open_runtime
from pspfast.runtimes.onnx import OnnxRuntime
from pspfast.runtimes.runtime import Runtime, RuntimeFault, TensorSpec
from pspfast.system.libraries import MissingExtra
from tests.runtimes.small_models import labels_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def pictures(count: int, dtype: str = "float32", size: tuple[int, int] = (6, 8)) -> NDArray[Any]:
    return np.random.default_rng(count).standard_normal((count, 3, *size)).astype(dtype)


@pytest.mark.parametrize("layout", ["n1hw", "nhw", "1nhw"])
@pytest.mark.parametrize("batch", [1, 4, None])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_padding_goes_in_and_never_comes_out(tmp_path: Path, layout: str, batch: int | None, count: int) -> None:
    given = pictures(count)
    with open_runtime(labels_model(tmp_path / "m.onnx", batch=batch, layout=layout)) as runtime:
        if batch is not None and count > batch:
            with pytest.raises(ValueError, match=f"takes 1 to {batch} pictures at once, not {count}"):
                runtime.infer(given)
            return
        for _ in range(2):  # the second call goes into buffers of ours
            (labels,) = runtime.infer(given)
            assert len(labels) == count
            assert labels.reshape(count, 6, 8).tolist() == given.argmax(1).tolist()
        assert len(runtime.compute_seconds) == 2


def test_what_it_takes_is_the_models_own_word(tmp_path: Path) -> None:
    with open_runtime(labels_model(tmp_path / "x_bs7_fp32.onnx", batch=16, dtype="float16")) as runtime:
        assert runtime.inputs == (TensorSpec("input", "float16", (16, 3, 6, 8)),)
        assert runtime.outputs == (TensorSpec("output", "int64", (16, 1, 6, 8)),)
        assert runtime.batches == (16,)
    with open_runtime(labels_model(tmp_path / "bs1.onnx", batch=None, size=(None, None))) as runtime:
        assert runtime.input.shape == (None, 3, None, None)
        assert runtime.batches == ()


def test_a_declared_shape_that_is_wrong_is_not_believed(tmp_path: Path) -> None:
    path = labels_model(tmp_path / "m.onnx", batch=2, declared=["what", "ever", "it", "is"])
    given = pictures(2)
    with open_runtime(path) as runtime:
        for _ in range(2):
            assert runtime.infer(given)[0][:, 0].tolist() == given.argmax(1).tolist()


def test_outputs_are_the_callers(tmp_path: Path) -> None:
    with open_runtime(labels_model(tmp_path / "m.onnx")) as runtime:
        wanted = [pictures(1) + seed for seed in range(3)]
        for seed in range(3):
            wanted[seed][:, seed] += 100
        found = [runtime.infer(one)[0] for one in wanted]
    assert [np.unique(labels).tolist() for labels in found] == [[0], [1], [2]]


def test_other_batch_sizes_in_turn(tmp_path: Path) -> None:
    with open_runtime(labels_model(tmp_path / "m.onnx", batch=None)) as runtime:
        for count in (3, 1, 3, 2, 1):
            given = pictures(count)
            assert runtime.infer(given)[0][:, 0].tolist() == given.argmax(1).tolist()


@pytest.mark.parametrize(
    "given",
    [
        pictures(1, "float16"),
        pictures(1, "float64"),
        pictures(1)[0],
        pictures(1, size=(8, 6)),
        pictures(1)[:0],
        pictures(1).astype(np.uint8),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, given: NDArray[Any]) -> None:
    with open_runtime(labels_model(tmp_path / "m.onnx")) as runtime, pytest.raises(ValueError, match="the model takes"):
        runtime.infer(given)


def test_strided_input(tmp_path: Path) -> None:
    given = pictures(2)[:, :, :, ::-1]
    with open_runtime(labels_model(tmp_path / "m.onnx", batch=2)) as runtime:
        assert runtime.infer(given)[0][:, 0].tolist() == given.argmax(1).tolist()


def test_threads_are_those_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "default_workers", lambda: 1)
    path = labels_model(tmp_path / "m.onnx")
    with open_runtime(path) as runtime:
        assert runtime.describe()["threads"] == 1
    with open_runtime(path, threads=2) as runtime:
        told = runtime.describe()
    assert (told["runtime"], told["device"], told["threads"]) == ("onnxruntime", "CPU", 2)
    assert told["provider"] == "CPUExecutionProvider"


@pytest.mark.parametrize(("provider", "package"), [("cuda", "onnxruntime-gpu"), ("cann", "onnxruntime-cann")])
def test_a_provider_that_is_not_there_is_told_with_its_package(tmp_path: Path, provider: str, package: str) -> None:
    path = labels_model(tmp_path / "m.onnx")
    with pytest.raises(MissingExtra, match=package):
        open_runtime(path, provider=provider)
    with open_runtime(path, provider=provider, allow_cpu=True) as runtime:
        assert runtime.describe()["provider"] == "CPUExecutionProvider"
        assert runtime.describe()["device"] == "CPU"


class PretendingLibrary:
    """An onnxruntime that lists CUDA and, asked for it, falls back to the CPU without a word, as the real one does."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.asked: list[Any] = []
        self.options: list[Any] = []

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path: str, options: Any, providers: list[Any]) -> Any:
        self.asked = providers
        self.options.append(options)
        return self._real.InferenceSession(path, providers=["CPUExecutionProvider"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_no_silent_fall_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from pspfast.runtimes import onnx as onnx_runtime
    from pspfast.system import onnx_sessions

    pretending = PretendingLibrary(onnxruntime)
    monkeypatch.setattr(onnx_runtime, "need", lambda _: pretending)
    monkeypatch.setattr(onnx_sessions, "need", lambda _: pretending)
    path = str(labels_model(tmp_path / "m.onnx"))
    with pytest.raises(RuntimeFault, match=r"fell back to CPUExecutionProvider.*--allow-cpu"):
        OnnxRuntime(path, provider="cuda", device=3)
    assert pretending.asked == [("CUDAExecutionProvider", {"device_id": "3"})]
    assert pretending.options[0].get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    runtime = OnnxRuntime(path, provider="cuda", allow_cpu=True)
    assert runtime.providers == ("CPUExecutionProvider",)
    with runtime:
        given = pictures(1)
        assert runtime.infer(given)[0][:, 0].tolist() == given.argmax(1).tolist()
    with OnnxRuntime(path, provider="tensorrt", provider_options={"trt_fp16_enable": "1"}, allow_cpu=True, device=1):
        assert pretending.asked == [
            ("TensorrtExecutionProvider", {"device_id": "1", "trt_fp16_enable": "1"}),
            ("CUDAExecutionProvider", {"device_id": "1"}),
            "CPUExecutionProvider",
        ]


def test_files_that_are_no_models(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    with pytest.raises(RuntimeFault, match=r"bad\.onnx: ONNX Runtime refuses it"):
        open_runtime(bad)
    with pytest.raises(FileNotFoundError):
        open_runtime(tmp_path / "gone.onnx")
    with pytest.raises(ValueError, match=r"ends in \.onnx or \.om"):
        open_runtime(tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"onnxruntime takes \.onnx"):
        open_runtime(tmp_path / "model.om", "onnxruntime")
    with pytest.raises(ValueError, match="provider: an option of the runtime onnxruntime"):
        (tmp_path / "model.om").write_bytes(b"")
        open_runtime(tmp_path / "model.om", provider="cuda")


def test_closed_twice_and_used_after(tmp_path: Path) -> None:
    runtime = open_runtime(labels_model(tmp_path / "m.onnx"))
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeFault, match="closed"):
        runtime.infer(pictures(1))


class Gears(Runtime):
    """Takes 1, 4 or 8 pictures; gives what it got as output, twice."""

    def __init__(self) -> None:
        self.inputs = (TensorSpec("input", "float32", (None, 2)),)
        self.outputs = (TensorSpec("a", "float32", (None, 2)), TensorSpec("b", "float32", (1, None, 2)))
        self.batches, self.compute_seconds = (1, 4, 8), []
        self.seen: list[NDArray[Any]] = []

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        self.seen.append(batch)
        return [batch, batch[None]]

    def close(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(("count", "gear"), [(1, 1), (2, 4), (4, 4), (5, 8), (8, 8)])
def test_the_smallest_gear_that_fits_filled_with_the_last_picture(count: int, gear: int) -> None:
    runtime = Gears()
    given = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    first, second = runtime.infer(given)
    assert first.tolist() == second[:, 0].tolist() == given.tolist()
    assert runtime.seen[0].tolist() == [*given.tolist(), *[given[-1].tolist()] * (gear - count)]


def test_an_output_without_pictures_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Gears()
    runtime.outputs = (runtime.outputs[0],)
    monkeypatch.setattr(runtime, "_run", lambda _: [np.zeros((3, 5))])
    with pytest.raises(RuntimeFault, match="'a' is 3x5 for 4 pictures"):
        runtime.infer(np.zeros((4, 2), np.float32))
