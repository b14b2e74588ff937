"""ais_bench's InferSession as a runtime, held to a strict stand-in."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what the stand-in computes with")

from pspfast.cli.main import main
from pspfast.datasets import VOC
from pspfast.runtimes.engines import open_runtime
from pspfast.runtimes.runtime import RuntimeFault
from pspfast.stages.postprocessing import postprocess
from pspfast.system.libraries import MissingExtra
from tests.runtimes.fake_acl import write_om
from tests.runtimes.fake_ais_bench import FakeAisBench, installed
from tests.runtimes.small_models import bins, labels_model

if TYPE_CHECKING:
    from pathlib import Path

    from tests.runtimes.deployed import Deployed


@pytest.mark.parametrize("is_old", [False, True])
def test_labels_and_times(tmp_path: Path, is_old: bool) -> None:
    om = write_om(tmp_path / "m.om", labels_model(tmp_path / "m.onnx", batch=4), batch=4, output_type="int32")
    pictures = np.random.default_rng(0).standard_normal((3, 3, 6, 8)).astype(np.float32)
    with installed(FakeAisBench(is_old=is_old)) as fake:
        with open_runtime(om, "ais_bench", device=1) as runtime:
            (labels,) = runtime.infer(pictures)
            assert labels.dtype == np.int32
            assert np.array_equal(labels[:, 0], pictures.argmax(1))
            assert runtime.compute_seconds == [pytest.approx(0.007)]
            assert runtime.batches == (4,) and runtime.describe()["device"] == "Ascend:1"
        runtime.close()
        with pytest.raises(RuntimeFault, match="was closed"):
            runtime.infer(pictures)
        assert fake.runs == 1


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("source", ["bins", "packed"])
def test_the_whole_route(deployed: Deployed, tmp_path: Path, batch: int, source: str, is_old: bool) -> None:
    om = write_om(tmp_path / "m.om", deployed.models[batch], batch=batch, input_type="float16", output_type="int32")
    given = deployed.bins if source == "bins" else deployed.packed
    words = [
        "infer",
        "--model",
        om,
        "--input",
        given,
        "--output",
        tmp_path,
        "--runtime",
        "ais_bench",
        "--device",
        "0,1",
    ]
    with installed(FakeAisBench(is_old=is_old)) as fake:
        done = CliRunner().invoke(main, list(map(str, words)))
        assert done.exit_code == 0, done.output
        assert (fake.made, fake.runs) == (2, {1: 73, 16: 5}[batch])
    dumps = tmp_path / "dumpOutput_device0"
    found = postprocess(dumps, label_folder=deployed.labels, manifest=given, classes=VOC.classes)
    assert found.result.summary()["mIoU"] == deployed.wanted.miou()


@pytest.mark.parametrize("is_old", [False, True])
def test_each_session_runs_where_its_context_is(tmp_path: Path, is_old: bool) -> None:
    """Whichever thread asks, and whatever else was opened or closed in the meantime."""
    om = write_om(tmp_path / "m.om", labels_model(tmp_path / "m.onnx"), batch=1)
    pictures = np.random.default_rng(0).standard_normal((1, 3, 6, 8)).astype(np.float32)
    with installed(FakeAisBench(is_old=is_old)) as fake, ThreadPoolExecutor(1) as elsewhere:
        with open_runtime(om, "ais_bench") as first:
            with open_runtime(om, "ais_bench", device=1) as second:
                for runtime in (first, second, first):
                    for (labels,) in (runtime.infer(pictures), elsewhere.submit(runtime.infer, pictures).result()):
                        assert np.array_equal(labels[:, 0], pictures.argmax(1))
            assert (fake.made, fake.released) == (2, 1)
            first.infer(pictures)
        assert fake.released == 2


def test_a_session_that_cannot_be_released(tmp_path: Path) -> None:
    om = write_om(tmp_path / "m.om", labels_model(tmp_path / "m.onnx"), batch=1)
    failing = ["release"]
    with installed(FakeAisBench(fail=lambda name: OSError("ret = 507899") if name in failing else None)) as fake:
        runtime = open_runtime(om, "ais_bench")
        with pytest.raises(RuntimeFault, match="507899 is an internal error of the driver"):
            runtime.close()
        runtime.close()
        fake.released += 1


@pytest.mark.parametrize("call", ["InferSession", "infer"])
def test_failures_are_sentences(tmp_path: Path, call: str) -> None:
    om = write_om(tmp_path / "m.om", labels_model(tmp_path / "m.onnx"), batch=1)

    def fail(name: str) -> Exception | None:
        return RuntimeError("execute failed, ret = 507015\nmore") if name == call else None

    with installed(FakeAisBench(fail=fail)), pytest.raises(RuntimeFault, match="507015 is the AI core stopped"):
        with open_runtime(om, "ais_bench") as runtime:
            runtime.infer(np.zeros((1, 3, 6, 8), np.float32))


def test_what_is_refused(tmp_path: Path) -> None:
    onnx = labels_model(tmp_path / "m.onnx")
    with installed(FakeAisBench(devices=1)):
        with pytest.raises(RuntimeFault, match="107001 is no such device"):
            open_runtime(write_om(tmp_path / "m.om", onnx, batch=1), "ais_bench", device=1)
        (tmp_path / "bad.om").write_bytes(b"no model")
        with pytest.raises(RuntimeFault, match="100012 is the model cannot be read"):
            open_runtime(tmp_path / "bad.om", "ais_bench")
        open_batch = labels_model(tmp_path / "open.onnx", batch=None)
        with pytest.raises(ValueError, match="sizes are left open"):
            open_runtime(write_om(tmp_path / "gears.om", open_batch, gears=[1, 4]), "ais_bench")
        with pytest.raises(ValueError, match="not the layout"):
            open_runtime(write_om(tmp_path / "odd.om", onnx, batch=1, input_size=1000), "ais_bench")
        with pytest.raises(ValueError, match="2 inputs"):
            open_runtime(write_om(tmp_path / "two.om", onnx, batch=1, more_inputs=["other"]), "ais_bench")
        with pytest.raises(ValueError, match="bfloat16"):
            open_runtime(
                write_om(tmp_path / "bf.om", onnx, batch=1, input_code="bfloat16", input_size=288), "ais_bench"
            )


def test_the_evaluator_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's ais_bench_benchmark has a package ais_bench without what is for inference."""
    package = tmp_path / "site" / "ais_bench"
    (package / "benchmark").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ais_bench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    om = write_om(tmp_path / "m.om", labels_model(tmp_path / "m.onnx"), batch=1)
    with pytest.raises(
        MissingExtra, match=r"probably ais_bench_benchmark.*up to 3\.11.*msprobe install_deps"
    ) as missing:
        open_runtime(om, "ais_bench")
    assert str(package / "__init__.py") in str(missing.value)
    monkeypatch.delitem(sys.modules, "ais_bench")
    # What inference needs in turn is not there: that is another matter.
    (package / "infer").mkdir()
    (package / "infer" / "__init__.py").write_text("")
    (package / "infer" / "interface.py").write_text("import aclruntime")
    with pytest.raises(MissingExtra, match=r"cannot be imported .*aclruntime"):
        open_runtime(om, "ais_bench")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ais_bench"]:
        monkeypatch.delitem(sys.modules, name)


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    om = write_om(tmp_path / "m.om", labels_model(tmp_path / "m.onnx"), batch=1)
    monkeypatch.setitem(sys.modules, "ais_bench", None)
    with pytest.raises(MissingExtra, match="not on PyPI"):
        open_runtime(om, "ais_bench")
    bins(tmp_path / "bins", 1)
    words = ["infer", "--model", om, "--input", tmp_path / "bins", "--output", tmp_path, "--runtime", "ais_bench"]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 3
