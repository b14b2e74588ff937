"""What ``infer`` writes, ``postprocess`` reads as what it is, by the record beside it, or one of both refuses it."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pspfast import ConfusionMatrix
from pspfast.formats.dump_record import RECORD, DumpRecord, DumpRecorder, RecordedOutput
from pspfast.runtimes.runtime import Runtime, TensorSpec
from pspfast.stages.inference import InferSummary, infer
from pspfast.stages.postprocessing import Evaluation, postprocess
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NAMES = ("a", "b", "c")
TYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)


class Given(Runtime):
    """Gives what it was handed, picture by picture, whatever it is fed with."""

    def __init__(self, canvas: tuple[int, int], outputs: list[list[NDArray[Any]]], *, is_open: bool = False) -> None:
        self.inputs = (TensorSpec("x", "float32", (1, 3, *canvas)),)
        self.outputs = tuple(
            TensorSpec(f"y{number}", str(one.dtype), (1, *((None,) * one.ndim if is_open else one.shape)))
            for number, one in enumerate(outputs[0])
        )
        self.batches, self.compute_seconds = (1,), []
        self._next = iter(outputs)

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        assert len(batch) == 1
        return [one[None] for one in next(self._next)]

    def close(self) -> None:
        """Nothing to close."""

    def describe(self) -> dict[str, Any]:
        return {"runtime": "given", "version": "1", "device": "none", "provider": None, "threads": None}


def inferred(
    folder: Path, canvas: tuple[int, int], outputs: list[list[NDArray[Any]]], *, is_open: bool = False, **options: Any
) -> InferSummary:
    (folder / "bins").mkdir(exist_ok=True)
    for name in NAMES[: len(outputs)]:
        path = folder / "bins" / f"{name}.bin"
        if not path.exists() or path.stat().st_size != 12 * canvas[0] * canvas[1]:
            np.zeros((3, *canvas), np.float32).tofile(path)
    (folder / "m.onnx").write_bytes(b"some model")
    runtime: Callable[[int], Runtime] = lambda _: Given(canvas, outputs, is_open=is_open)  # noqa: E731
    options = {"workers": 1, "resume": False, "folder_name": "dumps", **options}
    return infer(folder / "m.onnx", folder / "bins", folder, runtime=runtime, **options)


def scored(folder: Path, canvas: tuple[int, int], classes: int, pictures: int = 3, **options: Any) -> Evaluation:
    """Of dumps whose pictures have the canvas's own sides."""
    (folder / "labels").mkdir(exist_ok=True)
    for name, target in zip(NAMES[:pictures], targets(canvas, classes, pictures), strict=True):
        Image.fromarray(target).save(folder / "labels" / f"{name}.png")
    names = tuple(f"class {number}" for number in range(classes))
    return postprocess(folder / "dumps", label_folder=folder / "labels", classes=names, **options)


def targets(canvas: tuple[int, int], classes: int, pictures: int = 3) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(1).integers(0, classes, (pictures, *canvas)).astype(np.uint8))


def wanted(masks: list[NDArray[Any]], canvas: tuple[int, int], classes: int) -> list[int]:
    matrix = ConfusionMatrix(classes)
    for mask, target in zip(masks, targets(canvas, classes, len(masks)), strict=True):
        matrix.update(mask.astype(np.int64), target)
    found: list[int] = matrix.areas().intersection.tolist()
    return found


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_read_as_what_it_is_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Types, shapes, layouts and sizes of every kind, those among them whose bytes could be something else."""
    folder = tmp_path_factory.mktemp("given")
    canvas = data.draw(st.sampled_from([(4, 8), (8, 4), (8, 8), (2, 2), (5, 7), (16, 8)]))
    classes = data.draw(st.sampled_from([2, 3, 4, 5, 8, 16]))
    dtype = data.draw(st.sampled_from(TYPES))
    layout = data.draw(st.sampled_from(["benchmark", "ais_bench"]))
    form = data.draw(st.sampled_from(["labels", "scores", "classes last", "one class", "half", "flat", "more classes"]))
    ones = data.draw(st.integers(0, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    height, width = canvas
    shape = {
        "labels": canvas,
        "scores": (classes, *canvas),
        "classes last": (*canvas, classes),
        "one class": canvas,
        "half": (-(-height // 2), -(-width // 2)),
        "flat": (height * width,),
        "more classes": (classes + 1, *canvas),
    }[form]
    is_float = dtype.startswith("float")
    arrays = []
    for _ in NAMES:
        values = rng.integers(0, 2 if dtype == "bool" else classes, shape).astype(np.float64)
        if form in ("scores", "classes last", "one class", "more classes"):
            values += rng.standard_normal(shape) * 3
        arrays.append(values.astype(dtype).reshape((1,) * ones + shape))
    try:
        summary = inferred(folder, canvas, [[one] for one in arrays], layout=layout, is_open=data.draw(st.booleans()))
    except ValueError as error:
        assert form not in ("labels",) and (form != "scores" or not is_float), error
        assert "for a picture; expected labels" in str(error)
        assert not (folder / "dumps").exists() or not list((folder / "dumps").iterdir())
        return
    if summary.stopped:
        assert "for a picture; expected labels" in summary.stopped or "int32 cannot hold" in summary.stopped
        # A label that is too large may come after pictures that have none.
        assert "int32 cannot hold" in summary.stopped or not list((folder / "dumps").glob("*.bin"))
        return
    masks = [one.reshape(shape) for one in arrays]
    try:
        found = scored(folder, canvas, classes)
    except ValueError as error:
        assert not (form == "labels" or (form == "scores" and is_float and shape != (*canvas, classes))), error
        return
    if form == "scores" or (form == "classes last" and shape == (classes, *canvas)):
        assert is_float
        masks = [one.argmax(0) for one in masks]
    else:
        assert form in ("labels", "one class") and (form == "labels" or not is_float)
    assert found.faults == () or form == "one class"
    assert found.result.areas.intersection.tolist() == wanted(masks, canvas, classes)


@pytest.mark.parametrize(
    ("layout", "ending", "kept"), [("benchmark", "_1.bin", "int32"), ("ais_bench", "_0.bin", "int64")]
)
def test_the_record(layout: Any, ending: str, kept: str, tmp_path: Path) -> None:
    masks = [np.full((1, 6, 10), number, np.int64) for number in range(3)]
    inferred(tmp_path, (6, 10), [[mask, mask.astype(np.float16)] for mask in masks], layout=layout)
    record = DumpRecord.read(tmp_path / "dumps")
    second = f"_{int(ending[1]) + 1}.bin"
    assert record == DumpRecord(
        (6, 10),
        (RecordedOutput("y0", ending, kept, (1, 6, 10)), RecordedOutput("y1", second, "float16", (1, 6, 10))),
    )
    for output in (int(ending[1]), int(second[1])):
        found = scored(tmp_path, (6, 10), 3, output=output)
        assert found.faults == ()
        assert found.result.areas.intersection.tolist() == wanted([mask[0] for mask in masks], (6, 10), 3)


def test_what_only_the_record_tells(tmp_path: Path) -> None:
    """Integers whose bytes are a wider type of half the sides, halves that are integers, noise with classes last."""
    mask = np.zeros((8, 8), np.uint8)
    mask[:, ::4] = 1
    inferred(tmp_path, (8, 8), [[mask]] * 3, layout="ais_bench")
    found = scored(tmp_path, (8, 8), 3)
    assert (found.faults, found.kinds) == ((), ("uint8",))
    assert found.result.areas.intersection.tolist() == wanted([mask] * 3, (8, 8), 3)
    (tmp_path / "dumps" / RECORD).unlink()
    with pytest.raises(ValueError, match=r"int32 labels of a quarter of the pixels.*none of the 3 dumps can be scored"):
        scored(tmp_path, (8, 8), 3, size=(8, 8))
    found = scored(tmp_path, (8, 8), 3, size=(8, 8), dump_type="uint8")
    assert found.result.areas.intersection.tolist() == wanted([mask] * 3, (8, 8), 3)


def test_where_classes_may_be_first_or_last(tmp_path: Path) -> None:
    """As many classes as the canvas has rows and columns: the shape does not tell, and values may not."""
    smooth = np.repeat(np.eye(8, dtype=np.float32)[:, :, None] * 5, 8, 2)  # class = row
    inferred(tmp_path, (8, 8), [[smooth]] * 3)
    found = scored(tmp_path, (8, 8), 8)
    assert found.result.areas.intersection.tolist() == wanted([smooth.argmax(0)] * 3, (8, 8), 8)
    inferred(tmp_path, (8, 8), [[np.ascontiguousarray(smooth.transpose(1, 2, 0))]] * 3)
    with pytest.raises(ValueError, match="whose classes may come first or last"):
        scored(tmp_path, (8, 8), 8)


def test_a_dump_that_is_not_what_was_recorded(tmp_path: Path) -> None:
    masks = [np.full((6, 10), number, np.int64) for number in range(3)]
    inferred(tmp_path, (6, 10), [[mask] for mask in masks])
    for name in NAMES:  # another program wrote there
        masks[0].tofile(tmp_path / "dumps" / f"{name}_1.bin")
    found = scored(tmp_path, (6, 10), 3)
    assert found.result.pictures == 0
    assert "a_1.bin: 480 bytes; int32 (6, 10) has 240, and " in found.faults[0]
    assert f"{RECORD} says it is that" in found.faults[0]
    with pytest.raises(ValueError, match=rf"{RECORD} says 6x10 \(height x width\), not 500x500"):
        scored(tmp_path, (6, 10), 3, size=(500, 500))
    with pytest.raises(ValueError, match=r"says what a_1\.bin is .*--dump-type is for dumps without one"):
        scored(tmp_path, (6, 10), 3, dump_type="int64")


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(format="pspfast bins"),
        lambda found: found.update(format_version=9),
        lambda found: found.pop("canvas"),
        lambda found: found.update(canvas=[6]),
        lambda found: found.update(canvas=[6, -1]),
        lambda found: found.update(outputs=5),
        lambda found: found["outputs"][0].update(dtype="int31"),
        lambda found: found["outputs"][0].update(shape=[6.0, 10]),
        lambda found: found["outputs"][0].pop("ending"),
    ],
)
def test_records_that_cannot_be(change: Any, tmp_path: Path) -> None:
    inferred(tmp_path, (6, 10), [[np.zeros((6, 10), np.int32)]] * 3)
    path = tmp_path / "dumps" / RECORD
    found = json.loads(path.read_text())
    change(found)
    for text in (json.dumps(found), "", "[]", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"{path} is not a record of dumps"):
            scored(tmp_path, (6, 10), 3)


def test_outputs_are_all_alike_or_the_run_stops(tmp_path: Path) -> None:
    outputs = [[np.zeros((6, 10), np.int32), np.zeros((side, 4), np.float32)] for side in (3, 3, 2)]
    summary = inferred(tmp_path, (6, 10), outputs, is_open=True)
    assert "y1 float32 (2, 4), and gave y0 int32 (6, 10), y1 float32 (3, 4) before" in summary.stopped
    assert sorted(path.name for path in (tmp_path / "dumps").glob("*.bin")) == [
        "a_1.bin", "a_2.bin", "b_1.bin", "b_2.bin"
    ]  # fmt: skip


def test_a_lost_record_is_made_again_with_its_dumps(tmp_path: Path) -> None:
    masks = [[np.full((6, 10), number, np.int32)] for number in range(3)]
    inferred(tmp_path, (6, 10), masks, resume=True)
    assert inferred(tmp_path, (6, 10), masks, resume=True).kept == 3
    (tmp_path / "dumps" / RECORD).unlink()
    assert inferred(tmp_path, (6, 10), masks, resume=True).kept == 0
    assert DumpRecord.read(tmp_path / "dumps") is not None
    (tmp_path / "dumps" / RECORD).write_text("damaged")
    assert inferred(tmp_path, (6, 10), masks, resume=True).kept == 0


def test_other_sides_than_before_are_another_run(tmp_path: Path) -> None:
    inferred(tmp_path, (6, 10), [[np.zeros((6, 10), np.int32)]] * 3, resume=True)
    inferred(tmp_path, (8, 10), [[np.zeros((8, 10), np.int32)]] * 2, resume=True)
    assert sorted(path.name for path in (tmp_path / "dumps").glob("*.bin")) == ["a_1.bin", "b_1.bin"]
    record = DumpRecord.read(tmp_path / "dumps")
    assert record is not None and record.canvas == (8, 10)


def test_a_recorder_writes_once(tmp_path: Path) -> None:
    first, other = (DumpRecord((6, 10), (RecordedOutput("y", "_1.bin", kind, (6, 10)),)) for kind in ("int32", "int8"))
    recorder = DumpRecorder(tmp_path)
    assert [recorder.describe(one) for one in (first, first, other, first)] == [True, True, False, True]
    assert DumpRecord.read(tmp_path) == first


@pytest.mark.parametrize(
    ("shape", "dtype"), list(product([(1, 3, 5), (6, 10, 21), (60,), (), (2, 6, 10)], ["int64", "bool"]))
)
def test_a_model_without_masks_is_refused_before_it_is_run(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"m\.onnx: output y0 is {dtype} .* for a picture; expected labels \(6, 10\)"):
        inferred(tmp_path, (6, 10), [[np.zeros(shape, dtype)]] * 3)
    assert not (tmp_path / "dumps").exists()


def test_what_a_killed_run_wrote_goes_when_another_model_comes(tmp_path: Path) -> None:
    """A dump without a line in the journal, of a picture that the next run has not."""
    ones, twos = ([np.full((4, 6), value, np.int32)] for value in (1, 2))
    inferred(tmp_path, (4, 6), [ones] * 3)
    folder = tmp_path / "dumps"
    journal = folder / ".inference.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"name"' not in line))  # killed before it noted any
    (tmp_path / "bins/a.bin").unlink()
    (tmp_path / "m.onnx").write_bytes(b"another model")
    other: Callable[[int], Runtime] = lambda _: Given((4, 6), [twos] * 2)  # noqa: E731
    infer(tmp_path / "m.onnx", tmp_path / "bins", tmp_path, runtime=other, workers=1, folder_name="dumps")
    assert sorted(path.name for path in folder.glob("*.bin")) == ["b_1.bin", "c_1.bin"]
    assert (folder / "b_1.bin").read_bytes() == twos[0].tobytes()


@pytest.mark.parametrize("state", ["dumps/dumps.json", "bins/manifest.json"])
def test_no_output_replaces_what_later_commands_go_by(tmp_path: Path, state: str) -> None:
    inferred(tmp_path, (4, 6), [[np.zeros((4, 6), np.int32)]] * 3)
    (tmp_path / "bins/manifest.json").write_text('{"format": "pspfast bins", "format_version": 1}')
    with pytest.raises(ValueError, match="tells later commands what is in its folder"):
        check_outputs([str(tmp_path / state)], [])
