"""``pspfast infer`` as a user runs it: PyTorch's confusion matrix, resuming, and everything that can be wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="ONNX models are made for these tests")
pytest.importorskip("onnxruntime", reason="what these tests run")

from pspfast import ConfusionMatrix, Letterbox
from pspfast.cli.main import main
from pspfast.datasets import VOC
from pspfast.formats.info_files import bin_info
from pspfast.formats.ledger import Ledger
from pspfast.pictures.labels import read_labels
from pspfast.runtimes.engines import open_runtime
from pspfast.runtimes.runtime import Runtime, RuntimeFault
from pspfast.stages import device_runtimes, dump_layouts
from pspfast.stages.inference import infer
from pspfast.stages.postprocessing import postprocess
from pspfast.stages.preprocessing import preprocess
from pspfast.system.files import OutputError, write_whole
from pspfast.system.locks import FolderBusyError
from pspfast.vendors.texts import read_measurements
from tests.runtimes.small_models import bins, exact_labels, exact_model, labels_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from numpy.typing import NDArray

    from tests.runtimes.deployed import Deployed

DUMPS = "dumpOutput_device0"


def command(*words: str | Path | int) -> Result:
    return CliRunner().invoke(main, ["infer", *map(str, words)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.bin")}


def expected(labels: dict[str, NDArray[Any]], ending: str = "_1.bin", dtype: str = "int32") -> dict[str, bytes]:
    return {f"{name}{ending}": label.astype(dtype).tobytes() for name, label in labels.items()}


class Watched(Runtime):
    """The model in ONNX Runtime; something happens before each call."""

    def __init__(self, model: Path, before: Callable[[int], object]) -> None:
        self._real = open_runtime(model)
        self._before, self.calls = before, 0
        self.inputs, self.outputs, self.batches = self._real.inputs, self._real.outputs, self._real.batches
        self.compute_seconds = self._real.compute_seconds

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        self._before(self.calls)
        self.calls += 1
        return self._real._run(batch)

    def close(self) -> None:
        self._real.close()

    def describe(self) -> dict[str, Any]:
        return self._real.describe()


# ---- against PyTorch, on the real pictures


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("source", ["bins", "packed", "info"])
def test_confusion_matrix_is_pytorchs(deployed: Deployed, tmp_path: Path, batch: int, source: str) -> None:
    given = deployed.packed if source == "packed" else deployed.bins
    if source == "info":
        lines, left_out = bin_info(str(deployed.bins), 96, 64)
        assert not left_out
        given = tmp_path / "voc12.info"
        given.write_text("\n".join(lines) + "\n")
    done = command("--model", deployed.models[batch], "--input", given, "--output", tmp_path / "result", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "73 pictures in" in done.output and f"batch {batch}" in done.output
    dumps = tmp_path / "result" / DUMPS
    assert contents(dumps).keys() == {f"{name}_1.bin" for name in deployed.masks}
    for name, mask in deployed.masks.items():
        labels = np.fromfile(dumps / f"{name}_1.bin", np.int32).reshape(mask.shape)
        assert not ((labels != mask) & ~deployed.ties[name]).any()
    ledger = tmp_path / "val.ledger"
    found = postprocess(dumps, label_folder=deployed.labels, manifest=deployed.bins, ledger=ledger, classes=VOC.classes)
    assert np.array_equal(Ledger.read(ledger).matrix().counts, deployed.wanted.counts)
    assert found.result.summary()["mIoU"] == deployed.wanted.miou()
    assert sum(ties.mean() for ties in deployed.ties.values()) < 0.002 * len(deployed.ties)


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("source", ["bins", "packed"])
def test_miou_is_exactly_pytorchs(deployed: Deployed, tmp_path: Path, batch: int, source: str) -> None:
    """With a network whose sums are exact there are no near ties: every pixel of every picture counts."""
    first, second = exact_model(tmp_path / "m.onnx", batch, (64, 96))
    given = deployed.packed if source == "packed" else deployed.bins
    done = command("--model", tmp_path / "m.onnx", "--input", given, "--output", tmp_path)
    assert done.exit_code == 0, done.output
    annotations = deployed.voc / "SegmentationClass"
    found = postprocess(tmp_path / DUMPS, label_folder=annotations, manifest=given, ledger=tmp_path / "val.ledger")
    wanted = ConfusionMatrix(21)
    for path in sorted(deployed.bins.glob("*.bin")):
        mask = exact_labels(np.fromfile(path, np.float16).reshape(3, 64, 96), first, second)
        dump = np.fromfile(tmp_path / DUMPS / f"{path.stem}_1.bin", np.int32).reshape(mask.shape)
        assert np.array_equal(dump, mask)
        truth = read_labels(str(annotations / f"{path.stem}.png")).pixels
        wanted.update_letterboxed(mask, truth, Letterbox.fit(truth.shape, mask.shape))
    assert np.array_equal(Ledger.read(tmp_path / "val.ledger").matrix().counts, wanted.counts)
    assert found.result.summary()["mIoU"] == wanted.miou() > 0


def test_layout_of_ais_bench(deployed: Deployed, tmp_path: Path) -> None:
    words = ("--layout", "ais_bench", "--output-dirname", "run", "--output", tmp_path, "--threads", 1)
    done = command("--model", deployed.models[16], "--input", deployed.packed, *words)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "run"
    assert {len(data) for data in contents(folder).values()} == {64 * 96 * 8}  # int64, as the model gives it
    found = postprocess(folder, label_folder=deployed.labels, manifest=deployed.packed, classes=VOC.classes)
    assert found.result.summary()["mIoU"] == deployed.wanted.miou()
    summary = json.loads((tmp_path / "run_summary.json").read_text())
    assert [Path(one["outfiles"][0]).name for one in summary["filesinfo"].values()] == [
        f"{name}_0.bin" for name in sorted(deployed.masks)
    ]
    (measured,) = read_measurements(tmp_path / "run_summary.json")
    assert measured.throughput == pytest.approx(16_000 / summary["NPU_compute_time"]["mean"])
    assert measured.iterations == summary["NPU_compute_time"]["count"] == 5


# ---- what goes in and comes out


@pytest.mark.parametrize("layout", ["n1hw", "nhw", "1nhw"])
@pytest.mark.parametrize("batch", [1, 4, None])
def test_every_picture_has_its_own_labels(tmp_path: Path, layout: str, batch: int | None) -> None:
    labels = bins(tmp_path / "bins", 10)
    model = labels_model(tmp_path / "m.onnx", batch=batch, layout=layout)
    summary = infer(model, tmp_path / "bins", tmp_path, batch=batch or 3)
    assert contents(tmp_path / DUMPS) == expected(labels)
    assert (summary.pictures, summary.batches, summary.failures) == (10, {1: 10, 4: 3, None: 4}[batch], ())


def test_types_of_bins(tmp_path: Path) -> None:
    for bin_type, taken in (("float16", "float16"), ("float32", "float32"), ("uint8", "uint8")):
        labels = bins(tmp_path / bin_type, 3, dtype=bin_type)
        model = labels_model(tmp_path / f"{taken}.onnx", dtype=taken, layout="nhw")
        infer(model, tmp_path / bin_type, tmp_path / "out", folder_name=bin_type)
        assert contents(tmp_path / "out" / bin_type) == expected(labels)


def test_packed_bins_that_are_not_full(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    from PIL import Image

    for number in range(5):
        pixels = np.zeros((6, 8, 3), np.uint8)
        pixels[..., number % 3] = 255
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    preprocess(tmp_path / "pictures", tmp_path / "packed", size=(6, 8), batch_size=4)
    infer(labels_model(tmp_path / "m.onnx", batch=4), tmp_path / "packed", tmp_path)
    found = {name: set(np.frombuffer(data, np.int32)) for name, data in contents(tmp_path / DUMPS).items()}
    assert found == {f"{number}_1.bin": {number % 3} for number in range(5)}  # and none of the padding


def test_devices_share_the_work(tmp_path: Path) -> None:
    labels = bins(tmp_path / "bins", 12)
    model = labels_model(tmp_path / "m.onnx")
    made: dict[int, Watched] = {}

    def on(device: int) -> Runtime:
        made[device] = Watched(model, lambda _: time.sleep(0.01))
        return made[device]

    summary = infer(model, tmp_path / "bins", tmp_path, runtime=on, devices=(1, 0, 3))
    assert summary.folder.endswith("dumpOutput_device1")
    assert contents(Path(summary.folder)) == expected(labels)
    assert all(one.calls for one in made.values()) and sum(one.calls for one in made.values()) == 12
    words = ("--model", model, "--input", tmp_path / "bins", "--output", tmp_path)
    assert command(*words, "--device", "0,1").exit_code == 0
    assert contents(tmp_path / DUMPS) == expected(labels)
    for wrong in ("0,0", "a", "", "-1"):
        assert command(*words, "--device", wrong).exit_code == 2


def test_labels_that_int32_cannot_hold(tmp_path: Path) -> None:
    class Large(Watched):
        def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
            return [labels + (1 << 40) for labels in super()._run(batch)]

    bins(tmp_path / "bins", 1)
    model = labels_model(tmp_path / "m.onnx")
    summary = infer(model, tmp_path / "bins", tmp_path, runtime=lambda _: Large(model, lambda _: None))
    assert "int64 values that int32 cannot hold" in summary.stopped
    assert contents(tmp_path / DUMPS) == {}


# ---- resuming

KILLED = """
import sys, time
from pathlib import Path
from pspfast.stages.inference import infer
from tests.runtimes.test_infer import Watched
model, source, output = map(Path, sys.argv[1:4])
print(infer(model, source, output, runtime=lambda _: Watched(model, lambda _: time.sleep(float(sys.argv[4])))).kept)
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    labels = bins(tmp_path / "bins", 60)
    model = labels_model(tmp_path / "m.onnx")
    words = [sys.executable, "-c", KILLED, str(model), str(tmp_path / "bins"), str(tmp_path / "out")]
    folder = tmp_path / "out" / DUMPS
    with subprocess.Popen([*words, "0.05"], cwd=Path(__file__).parents[2]) as running:
        while running.poll() is None and len(contents(folder)) < 5:
            time.sleep(0.01)
        with pytest.raises(FolderBusyError):
            infer(model, tmp_path / "bins", tmp_path / "out")
        running.send_signal(signal.SIGKILL)
    before = contents(folder)
    assert 5 <= len(before) < 60
    assert before.items() <= expected(labels).items()
    (folder / ".p59_1.bin.123.part").write_bytes(b"half")
    done = subprocess.run([*words, "0"], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert 4 <= int(done.stdout) <= len(before)  # the last one written may not be noted yet
    assert contents(folder) == expected(labels)
    assert not list(folder.glob("*.part")) and not list(folder.glob(".*.part"))
    # The command's runtime tells the same of itself, so it finds everything done.
    again = command("--model", model, "--input", tmp_path / "bins", "--output", tmp_path / "out")
    assert "60 of them from before" in again.output


def test_what_is_done_again(tmp_path: Path) -> None:
    labels = bins(tmp_path / "bins", 6)
    model = labels_model(tmp_path / "m.onnx")
    infer(model, tmp_path / "bins", tmp_path, workers=1)
    folder = tmp_path / DUMPS
    (folder / "p00_1.bin").write_bytes(b"short")
    (folder / "p01_1.bin").unlink()
    changed = bins(tmp_path / "other", 3, seed=1)["p02"]
    os.replace(tmp_path / "other" / "p02.bin", tmp_path / "bins" / "p02.bin")
    journal = folder / ".inference.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:-9])  # as a kill leaves it
    summary = infer(model, tmp_path / "bins", tmp_path, workers=1)
    assert (summary.pictures, summary.kept) == (6, 2)
    assert contents(folder) == expected(labels | {"p02": changed})
    assert infer(model, tmp_path / "bins", tmp_path, workers=1).kept == 6
    os.truncate(journal, journal.stat().st_size - 9)
    assert [infer(model, tmp_path / "bins", tmp_path, workers=1).kept for _ in range(2)] == [5, 6]
    assert infer(model, tmp_path / "bins", tmp_path, resume=False).kept == 0


def test_outputs_of_another_model_go(tmp_path: Path) -> None:
    labels = bins(tmp_path / "bins", 4)
    infer(labels_model(tmp_path / "a.onnx"), tmp_path / "bins", tmp_path)
    (tmp_path / DUMPS / "mine.bin").write_bytes(b"not of a run")
    (tmp_path / "bins" / "p03.bin").unlink()
    summary = infer(labels_model(tmp_path / "b.onnx", batch=2), tmp_path / "bins", tmp_path)
    assert (summary.removed, summary.kept, summary.strays) == (4, 0, 1)
    del labels["p03"]
    assert contents(tmp_path / DUMPS) == expected(labels) | {"mine.bin": b"not of a run"}


def test_weights_beside_the_model_belong_to_it(tmp_path: Path) -> None:
    bins(tmp_path / "bins", 2)
    model = labels_model(tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").write_bytes(b"weights")
    infer(model, tmp_path / "bins", tmp_path)
    assert infer(model, tmp_path / "bins", tmp_path).kept == 2
    (tmp_path / "m.onnx.data").write_bytes(b"others!")
    assert infer(model, tmp_path / "bins", tmp_path).kept == 0


# ---- what can be wrong


def test_a_half_written_bin(tmp_path: Path) -> None:
    labels = bins(tmp_path / "bins", 5)
    os.truncate(tmp_path / "bins" / "p02.bin", 100)
    done = command("--model", labels_model(tmp_path / "m.onnx"), "--input", tmp_path / "bins", "--output", tmp_path)
    assert done.exit_code == 1
    assert "p02.bin has 100 bytes; a picture of float16 3x6x8 has 288" in done.output
    del labels["p02"]
    assert contents(tmp_path / DUMPS) == expected(labels)


@pytest.mark.parametrize(("batch", "what"), [(1, "truncated"), (4, "truncated"), (1, "removed")])
def test_a_bin_that_changes_while_others_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, what: str
) -> None:
    labels = bins(tmp_path / "bins", 12)
    model = labels_model(tmp_path / "m.onnx", batch=batch)
    victim = tmp_path / "bins" / "p10.bin"

    def harm(calls: int) -> None:
        if calls == 1:
            victim.unlink() if what == "removed" else os.truncate(victim, 100)

    monkeypatch.setattr(device_runtimes, "open_runtime", lambda *_, **__: Watched(model, harm))
    done = command("--model", model, "--input", tmp_path / "bins", "--output", tmp_path, "--workers", 1)
    assert done.exit_code == 1
    assert f"{victim}: " + ("it had 288 bytes" if what == "truncated" else "No such file") in done.output
    del labels["p10"]
    assert contents(tmp_path / DUMPS) == expected(labels)


def test_a_device_that_fails_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = bins(tmp_path / "bins", 12)
    model = labels_model(tmp_path / "m.onnx")

    def fail(calls: int) -> None:
        if calls == 5:
            raise RuntimeFault("device 0 is lost")

    with monkeypatch.context() as patched:
        patched.setattr(device_runtimes, "open_runtime", lambda *_, **__: Watched(model, fail))
        done = command("--model", model, "--input", tmp_path / "bins", "--output", tmp_path)
    assert done.exit_code == 1
    assert "stopped: device 0 is lost; outputs written so far are whole" in done.output
    written = contents(tmp_path / DUMPS)
    assert len(written) >= 5 and written.items() < expected(labels).items()
    assert infer(model, tmp_path / "bins", tmp_path).kept == len(written)
    assert contents(tmp_path / DUMPS) == expected(labels)


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = bins(tmp_path / "bins", 12)
    model = labels_model(tmp_path / "m.onnx")

    def write(path: str, data: Any) -> None:
        if path.endswith("p06_1.bin"):
            raise OutputError(path, OSError(errno.ENOSPC, "No space left on device"))
        write_whole(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(dump_layouts, "write_whole", write)
        done = command("--model", model, "--input", tmp_path / "bins", "--output", tmp_path, "--workers", 1)
    assert done.exit_code == 1
    assert "p06_1.bin: No space left on device" in done.output
    assert contents(tmp_path / DUMPS) == dict(list(expected(labels).items())[:6])


@pytest.mark.parametrize("output", ["file/result", "/proc/nowhere"])
def test_an_output_folder_that_cannot_be(tmp_path: Path, output: str) -> None:
    bins(tmp_path / "bins", 1)
    (tmp_path / "file").write_text("")
    model = labels_model(tmp_path / "m.onnx")
    done = command("--model", model, "--input", tmp_path / "bins", "--output", tmp_path / output)
    assert done.exit_code == 1 and "cannot write" in done.output and "Traceback" not in done.output


def test_outputs_never_among_the_bins(tmp_path: Path) -> None:
    bins(tmp_path / DUMPS, 2)
    done = command("--model", labels_model(tmp_path / "m.onnx"), "--input", tmp_path / DUMPS, "--output", tmp_path)
    assert done.exit_code == 2 and "choose another folder" in done.output


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--model", "m.onnx", "--input", "empty"], 2, "empty: no .bin files in this folder"),
        (["--model", "m.onnx", "--input", "gone"], 2, "gone: No such file"),
        (["--model", "m.onnx", "--input", "other"], 2, "most bins have 480 bytes, and a picture for the model"),
        (["--model", "m.onnx", "--input", "bins", "--batch", "16"], 2, "the model takes batch 1, not 16"),
        (["--model", "m.onnx", "--input", "bins", "--provider", "abacus"], 2, "'abacus' is not one of"),
        (["--model", "m.onnx", "--input", "bins", "--provider", "cuda"], 3, "pip install onnxruntime-gpu"),
        (["--model", "no.onnx", "--input", "bins"], 2, "no.onnx: ONNX Runtime refuses it"),
        (["--model", "gone.onnx", "--input", "bins"], 2, "gone.onnx: No such file"),
        (["--model", "m.om", "--input", "bins"], 3, "CANN"),
        (["--model", "m.onnx", "--input", "bins", "--runtime", "acl"], 2, "acl takes .om"),
        (["--model", "m.om", "--input", "bins", "--threads", "2"], 2, "threads: an option of the runtime onnxruntime"),
        (["--model", "m.onnx", "--input", "bad.info"], 2, "bad.info, line 2: expected 'index path width height'"),
        (["--model", "m.onnx", "--input", "size.info"], 2, "pictures of 6x8, and the model takes 8x6"),
        (["--model", "m.onnx", "--input", "jpg.info"], 2, "is no .bin; pspfast preprocess makes bins"),
        (["--model", "m.onnx", "--input", "bins", "--provider-option", "x"], 2, "expected KEY=VALUE"),
        (["--model", "any.onnx", "--input", "bins"], 2, "of any size, and nothing says that of these bins"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    bins(Path("bins"), 3)
    bins(Path("other"), 3, size=(8, 10))
    Path("empty").mkdir()
    labels_model(Path("m.onnx"))
    labels_model(Path("any.onnx"), size=(None, None))
    Path("no.onnx").write_bytes(b"no model")
    Path("m.om").write_bytes(b"om")
    Path("bad.info").write_text("0 bins/p00.bin 8 6\n1 bins/p01.bin\n")
    Path("size.info").write_text("0 bins/p00.bin 6 8\n")
    Path("jpg.info").write_text("0 bins/p00.jpg 8 6\n")
    done = command(*words, "--output", "out")
    assert done.exit_code == status, done.output
    assert message in done.output
    assert not list(tmp_path.glob("out/*/*.bin"))


def test_info_file_beside_its_bins(tmp_path: Path) -> None:
    labels = bins(tmp_path / "data" / "bins", 3)
    info = tmp_path / "data" / "voc12.info"
    info.write_text("0 ./bins/p02.bin 8 6\n1 ./bins/p00.bin 8 6\n2 ./bins/gone.bin 8 6\n")
    done = command("--model", labels_model(tmp_path / "m.onnx"), "--input", info, "--output", tmp_path)
    assert done.exit_code == 1 and "gone.bin: No such file" in done.output
    assert contents(tmp_path / DUMPS) == expected({name: labels[name] for name in ("p00", "p02")})


def test_a_model_that_differs_between_devices(tmp_path: Path) -> None:
    models = [labels_model(tmp_path / "a.onnx"), labels_model(tmp_path / "b.onnx", batch=2)]
    bins(tmp_path / "bins", 1)
    with pytest.raises(ValueError, match="something else on another device"):
        infer(models[0], tmp_path / "bins", tmp_path, runtime=lambda one: open_runtime(models[one]), devices=(0, 1))
