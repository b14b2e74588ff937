"""pyACL as a runtime, held to a stand-in that is stricter than the real module."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what the stand-in computes with")

from pspfast.cli.main import main
from pspfast.datasets import VOC
from pspfast.runtimes.acl import AclRuntime
from pspfast.runtimes.acl_codes import AclFault, codes_in, explain
from pspfast.runtimes.engines import open_runtime
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.stages.postprocessing import postprocess
from pspfast.system.libraries import MissingExtra
from tests.runtimes.fake_acl import ON_DEVICE, RELEASES, FakeAcl, installed, write_om
from tests.runtimes.small_models import bins, labels_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.runtimes.deployed import Deployed


@pytest.fixture
def fake() -> Iterator[FakeAcl]:
    with installed(FakeAcl()) as made:
        yield made


def pictures(count: int, dtype: str = "float32", seed: int = 0) -> NDArray[Any]:
    generator = np.random.default_rng(seed)
    if dtype == "uint8":
        return np.stack([generator.permuted(np.arange(144, dtype=np.uint8)).reshape(6, 8, 3) for _ in range(count)])
    return generator.standard_normal((count, 3, 6, 8)).astype(dtype)


def make_om(folder: Path, batch: int | None = 1, gears: tuple[int, ...] = (), **changes: Any) -> Path:
    layout = "nhw" if changes.get("dtype") == "uint8" else "n1hw"
    dtype = changes.pop("dtype", "float32")
    onnx = labels_model(folder / "m.onnx", batch=None if gears else batch, dtype=dtype, layout=layout)
    return write_om(folder / "m.om", onnx, batch=batch, gears=gears, **changes)


# ---- the same masks come out


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("output", ["int32", "int64"])
@pytest.mark.parametrize("run_mode", [0, 1])
def test_types_and_run_modes(tmp_path: Path, dtype: str, output: str, run_mode: int) -> None:
    given = pictures(3, dtype)
    with (
        installed(FakeAcl(run_mode=run_mode)) as fake,
        AclRuntime(make_om(tmp_path, 4, dtype=dtype, output_type=output)) as om,
    ):
        (labels,) = om.infer(given)
        assert labels.dtype == np.dtype(output)
        assert np.array_equal(labels.reshape(3, 6, 8), given.argmax(3 if dtype == "uint8" else 1))
        assert ("rt.malloc_host" in fake.names()) == (run_mode != ON_DEVICE)


@pytest.mark.parametrize("gear_first", [False, True])
def test_the_smallest_gear_that_fits(fake: FakeAcl, tmp_path: Path, gear_first: bool) -> None:
    with AclRuntime(make_om(tmp_path, gears=(16, 1, 4), gear_first=gear_first)) as om:
        assert om.batches == (1, 4, 16)
        assert om.input.shape == (None, 3, 6, 8)
        for count in (1, 2, 4, 5, 16, 3):
            given = pictures(count, seed=count)
            (labels,) = om.infer(given)
            assert np.array_equal(labels[:, 0], given.argmax(1))
        with pytest.raises(ValueError, match="1 to 16 pictures at once, not 17"):
            om.infer(pictures(17))
    ran = [call.args[3] for call in fake.calls if call.name == "mdl.set_dynamic_batch_size"]
    assert ran == [1, 4, 4, 16, 16, 4]


def test_buffers_are_made_once(fake: FakeAcl, tmp_path: Path) -> None:
    with AclRuntime(make_om(tmp_path, 2)) as om:
        before = fake.names().count("rt.malloc")
        first = om.infer(pictures(2, seed=1))[0].copy()
        again = om.infer(pictures(2, seed=1))[0]
        om.infer(pictures(2, seed=2))
        assert np.array_equal(first, again)  # the caller's to keep
        assert fake.names().count("rt.malloc") == before == 4  # two sets of one input and one output
        assert len(om.compute_seconds) == 3


def test_two_sets_of_buffers_overlap(fake: FakeAcl, tmp_path: Path) -> None:
    """While one batch is computed, another one is brought to the device in other buffers."""
    given = [pictures(1, seed=seed) for seed in range(6)]
    first_computes, second_is_there = threading.Event(), threading.Event()
    om = AclRuntime(make_om(tmp_path))
    with om:
        computing = om._stream

        def waiting(stream: int) -> None:
            if stream != computing and first_computes.is_set():
                second_is_there.set()
            elif stream == computing and not first_computes.is_set():
                first_computes.set()
                assert second_is_there.wait(10), "nothing was copied while the first batch was computed"
                time.sleep(0.05)  # in which the second one must not be started

        def second(batches: list[NDArray[Any]]) -> list[list[NDArray[Any]]]:
            assert first_computes.wait(10)
            return [om.infer(batch) for batch in batches]

        fake.while_waiting = waiting
        with ThreadPoolExecutor(1) as thread:
            others = thread.submit(second, given[3:])
            found = [om.infer(batch) for batch in given[:3]] + others.result()
        for one, (labels,) in zip(given, found, strict=True):
            assert np.array_equal(labels[:, 0], one.argmax(1))
    used = [call.args[1] for call in fake.calls if call.name == "mdl.execute_async"]
    assert len(used) == 6 and len(set(used)) == 2
    assert len({call.args[3] for call in fake.calls if call.name == "mdl.execute_async"}) == 1


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("source", ["bins", "packed"])
def test_the_whole_route(fake: FakeAcl, deployed: Deployed, tmp_path: Path, batch: int, source: str) -> None:
    """preprocess, infer, postprocess: the confusion matrix of PyTorch, and the bytes of ONNX Runtime."""
    om = write_om(tmp_path / "m.om", deployed.models[batch], batch=batch, input_type="float16", output_type="int32")
    given = deployed.bins if source == "bins" else deployed.packed
    for name, model, more in (("onnx", deployed.models[batch], ["--threads", 1]), ("acl", om, ["--device", "0,1"])):
        words = ["infer", "--model", model, "--input", given, "--output", tmp_path / name, *more]
        done = CliRunner().invoke(main, list(map(str, words)))
        assert done.exit_code == 0, done.output
    dumps = {path.name: path.read_bytes() for path in (tmp_path / "acl/dumpOutput_device0").glob("*.bin")}
    assert dumps == {path.name: path.read_bytes() for path in (tmp_path / "onnx/dumpOutput_device0").glob("*.bin")}
    assert len(dumps) == 73
    found = postprocess(
        tmp_path / "acl/dumpOutput_device0", label_folder=deployed.labels, manifest=given, classes=VOC.classes
    )
    assert found.result.summary()["mIoU"] == deployed.wanted.miou()
    assert {call.args[0] for call in fake.calls if call.name == "rt.set_device"} == {0, 1}


def test_gears_in_the_whole_route(fake: FakeAcl, tmp_path: Path) -> None:
    labels = bins(tmp_path / "bins", 10)
    om = make_om(tmp_path, gears=(1, 4), input_type="float16", output_type="int32")
    words = ["infer", "--model", om, "--input", tmp_path / "bins", "--output", tmp_path, "--batch", 4]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    for name, label in labels.items():
        found = np.fromfile(tmp_path / "dumpOutput_device0" / f"{name}_1.bin", np.int32).reshape(label.shape)
        assert np.array_equal(found, label)
    assert fake.names().count("mdl.execute_async") == 3


# ---- every call may fail


def _scenario(om_path: Path) -> None:
    with AclRuntime(om_path) as om:
        for seed in range(2):
            given = pictures(3, seed=seed)
            (labels,) = om.infer(given)
            assert np.array_equal(labels[:, 0], given.argmax(1))


def _calls_of(om_path: Path, **options: Any) -> list[str]:
    with installed(FakeAcl(**options)) as fake:
        _scenario(om_path)
    return fake.names()


@pytest.mark.parametrize("run_mode", [0, 1])
@pytest.mark.parametrize("gears", [(), (1, 4)])
def test_an_error_at_every_call(tmp_path: Path, run_mode: int, gears: tuple[int, ...]) -> None:
    """Whichever call fails: one sentence, everything released once and in order, and it can be opened again."""
    om = make_om(tmp_path, None if gears else 4, gears=gears)
    names = _calls_of(om, run_mode=run_mode)
    silent = {"get_recent_err_msg", "get_version", "get_soc_name", "finalize"}
    last_set_context = max(number for number, name in enumerate(names) if name == "rt.set_context")  # that of close()
    tried = 0
    for number, name in enumerate(names):
        if name in silent:
            continue
        tried += 1
        failing = [number]

        def fail(now: int, _name: str, failing: list[int] = failing) -> int | None:
            return 507015 if now in failing else None

        with installed(FakeAcl(run_mode=run_mode, fail=fail)) as fake:
            if number == last_set_context:  # what it would have hindered fails by itself, or does not
                _scenario(om)
            else:
                with pytest.raises((RuntimeFault, ValueError)) as raised:
                    _scenario(om)
                    pytest.fail(f"{name}, call {number}, failed and nobody said so")
                message = str(raised.value)
                assert "m.om" in message or name == "init", (name, message)
                if isinstance(raised.value, AclFault):
                    assert f"acl.{name}" in message and "507015" in message
                    assert "the AI core stopped" in message and "injected 507015" in message
            failing.clear()
            if name != "init":
                assert fake.alive() == [], (number, name)
            _scenario(om)
    assert tried > 50


def test_a_device_that_has_gone(fake: FakeAcl, tmp_path: Path) -> None:
    """What is left cannot be released; the reason is told, not what follows from it."""
    om = AclRuntime(make_om(tmp_path))
    om.infer(pictures(1))
    fake.is_lost = 507899
    with pytest.raises(AclFault, match="internal error of the driver"):
        om.infer(pictures(1))
    with pytest.raises(RuntimeFault, match="could not release everything"):
        om.close()
    om.close()
    fake.is_lost = None


def test_the_first_error_is_the_one_that_is_told(tmp_path: Path) -> None:
    def fail(_number: int, name: str) -> int | None:
        return 507011 if name == "mdl.execute_async" else 507899 if name in RELEASES else None

    with installed(FakeAcl(fail=fail)), pytest.raises(AclFault, match="507011") as raised:
        _scenario(make_om(tmp_path, 4))
    assert raised.value.call == "acl.mdl.execute_async"


# ---- what is refused


def test_devices(fake: FakeAcl, tmp_path: Path) -> None:
    om = make_om(tmp_path)
    with pytest.raises(RuntimeFault, match=r"there is no device 2: those here are 0 to 1.*npu-smi info"):
        AclRuntime(om, device=2)
    with pytest.raises(RuntimeFault, match="no device -1"):
        AclRuntime(om, device=-1)
    fake.devices = 0
    with pytest.raises(RuntimeFault, match="there is none"):
        AclRuntime(om)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"more_inputs": ["other"]}, "the model has inputs input, other; one is what is fed here"),
        ({"input_dims": [1, 3, -1, 8]}, "sizes left open"),
        ({"output_dims": [1, 1, -1, 8]}, "sizes left open"),
        ({"input_size": 1024}, "has 1024 bytes, but float32 1x3x6x8 is 576"),
        ({"output_size": 8}, "has 8 bytes"),
        ({"input_code": "bfloat16", "input_size": 288}, "data type 27"),
        ({"order": 3}, "the chip's own layout"),
        ({"output_dims": [5, 6, 8, 1]}, "none of its first dimensions"),
        ({"picture_gears": True}, "several sizes, not several batches"),
    ],
)
def test_models_that_cannot_be_fed(fake: FakeAcl, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"m\.om") as raised:
        AclRuntime(make_om(tmp_path, **changes))
    assert said in str(raised.value)
    assert fake.alive() == []


def test_files_that_are_no_models(fake: FakeAcl, tmp_path: Path) -> None:
    (tmp_path / "bad.om").write_bytes(b"cut off")
    with pytest.raises(AclFault, match="the model cannot be read"):
        AclRuntime(tmp_path / "bad.om")
    with pytest.raises(FileNotFoundError):
        AclRuntime(tmp_path / "none.om")
    assert fake.alive() == []


def test_wrong_batches(fake: FakeAcl, tmp_path: Path) -> None:
    with AclRuntime(make_om(tmp_path, 2)) as om:
        for wrong in (pictures(3), pictures(1, "float16"), np.zeros((1, 3, 8, 6), np.float32), pictures(0)):
            with pytest.raises(ValueError, match="the model takes"):
                om.infer(wrong)
        strided = np.zeros((1, 3, 6, 16), np.float32)[..., ::2]
        om.infer(strided)
    assert "mdl.execute_async" in fake.names()


def test_closed(fake: FakeAcl, tmp_path: Path) -> None:
    om = AclRuntime(make_om(tmp_path))
    om.close()
    om.close()
    with pytest.raises(RuntimeFault, match="the model is closed"):
        om.infer(pictures(1))
    assert fake.alive() == []


def test_closed_while_somebody_waits_for_buffers(fake: FakeAcl, tmp_path: Path) -> None:
    om = AclRuntime(make_om(tmp_path))
    look = om._check_open

    def closed_just_behind() -> None:
        om._check_open = look  # type: ignore[method-assign]
        look()
        om.close()

    om._check_open = closed_just_behind  # type: ignore[method-assign]
    said: list[str] = []

    def ask() -> None:
        try:
            om.infer(pictures(1))
        except RuntimeFault as error:
            said.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
    assert len(said) == 1 and "the model is closed" in said[0]
    assert fake.alive() == []


def test_no_use_after_a_fork(fake: FakeAcl, tmp_path: Path) -> None:
    with AclRuntime(make_om(tmp_path)) as om:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                om.infer(pictures(1))
                said = b"went on"
            except BaseException as error:
                said = str(error).encode()
            os.write(writer, said)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            assert b"does not outlive a fork" in file.read()
        os.waitpid(child, 0)
    assert fake.alive() == []


@pytest.mark.parametrize("is_old", [False, True])
def test_somebody_else_uses_it(tmp_path: Path, is_old: bool) -> None:
    """torch_npu has initialised it: its context stays current, and it is not finalised."""
    with installed(FakeAcl(is_foreign=True, is_old=is_old)) as fake:
        theirs = fake.use_as_others_do()
        with AclRuntime(make_om(tmp_path)) as om:
            assert fake.current == theirs
            om.infer(pictures(1))
            assert fake.current == theirs
        assert fake.current == theirs
        fake.forget(theirs)
        fake.references -= int(is_old)  # older versions keep no count that could be lowered
    assert "finalize" not in fake.names()


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    om = make_om(tmp_path)
    monkeypatch.setitem(sys.modules, "acl", None)
    with pytest.raises(MissingExtra, match=r"set_env\.sh"):
        open_runtime(om)
    bins(tmp_path / "bins", 1)
    words = ["infer", "--model", om, "--input", tmp_path / "bins", "--output", tmp_path]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 3
    monkeypatch.setitem(sys.modules, "acl", os)  # another module of that name
    with pytest.raises(MissingExtra, match="another module of the name acl"):
        AclRuntime(om)


def test_what_figures_are_told_with(fake: FakeAcl, tmp_path: Path) -> None:
    with AclRuntime(make_om(tmp_path), device=1) as om:
        assert om.describe() == {
            "runtime": "acl", "version": "1.12.0", "device": "Ascend310P3:1", "provider": None, "threads": None,
        }  # fmt: skip
    assert fake.alive() == []


def test_codes() -> None:
    assert explain(999999).startswith("no code that is known")
    assert codes_in("a 507033, b 1507033 and 507033") == [507033]
