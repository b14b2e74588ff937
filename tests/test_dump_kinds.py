"""Dumps that nobody recorded: told by size and content together, refused where they could be several things."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pspfast.datasets import pictures_in
from pspfast.formats.dump_contents import classes_are_last
from pspfast.formats.dump_record import DUMP_TYPES
from pspfast.formats.dumped_masks import DumpError, DumpReader, UnlikeMaskError
from pspfast.formats.dumps import Dump, find_dumps
from pspfast.formats.info_files import jpg_info
from pspfast.stages.postprocessing import postprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pspfast.formats.dump_record import DumpType

CANVAS = (64, 96)
ROWS = range(8, 50)


def mask_of(classes: int, canvas: tuple[int, int] = CANVAS) -> NDArray[np.int64]:
    """Areas, as a network paints them, of every class."""
    y, x = np.mgrid[: canvas[0], : canvas[1]]
    mask: NDArray[np.int64] = ((x // (canvas[1] // 6) + 2 * (y // (canvas[0] // 5))) % classes).astype(np.int64)
    return mask


def scores_of(mask: NDArray[np.int64], classes: int, kind: str, noise: float = 0.0) -> NDArray[Any]:
    """``(H, W, classes)`` of a network that is sure of the mask, more or less."""
    scores = np.eye(classes)[mask] * 7 - 4 + np.linspace(-0.4, 0.4, mask.shape[0])[:, None, None]
    return (scores + noise * np.random.default_rng(3).standard_normal(scores.shape)).astype(kind)


def read(folder: Path, array: NDArray[Any], classes: int, rows: range = ROWS) -> tuple[NDArray[Any], str]:
    """As the command reads."""
    path = folder / "a.bin"
    array.tofile(path)
    reader, dump = DumpReader(CANVAS, classes), Dump(str(path), path.stat().st_size)
    mask, kind = reader.read(dump, rows)
    part = mask[rows.start : rows.stop]
    if part.min() < 0 or part.max() >= classes:
        mask, kind = reader.settle(dump, rows, mask, kind)
    return mask[rows.start : rows.stop], kind


def refused(folder: Path, array: NDArray[Any], classes: int) -> str:
    with pytest.raises(UnlikeMaskError) as caught:
        read(folder, array, classes)
    return str(caught.value)


# ---- of other sides


@pytest.mark.parametrize("kind", ["int32", "int64", ">i4", ">i8"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 21, 150])
@pytest.mark.parametrize("void", [False, True])
def test_masks_of_half_the_sides(kind: str, classes: int, void: bool, tmp_path: Path) -> None:
    half = mask_of(classes, (32, 48))
    if void:
        half[:, :1] = -1  # no byte of it is zero
    told = refused(tmp_path, half.astype(kind), classes)
    assert f"looks like int{8 * int(np.dtype(kind).itemsize)} labels of a quarter of the pixels" in told
    assert "--net-input-width, --net-input-height" in told and "takes it as such labels" in told


@pytest.mark.parametrize("kind", ["int16", "int32", "int64"])
def test_masks_of_half_the_pixels(kind: str, tmp_path: Path) -> None:
    """Of a canvas that is half as high, which the size does not show."""
    wide = f"int{16 * np.dtype(kind).itemsize}"
    if wide == "int128":
        return
    told = refused(tmp_path, mask_of(5, (32, 96)).astype(wide), 5)
    assert f"{wide} labels of half the pixels" in told


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floats_of_half_the_sides(kind: str, tmp_path: Path) -> None:
    labels = (mask_of(3, (32, 48)) + np.linspace(0, 0.01, 48)).astype(kind)
    assert f"{kind} of a quarter of the pixels" in refused(tmp_path, labels, 3)


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("classes", [2, 4, 21, 150])
def test_masks_that_are_nearly_empty_are_masks(kind: str, classes: int, tmp_path: Path) -> None:
    """A pixel, a column, a row, a frame of void: what is zero in most places is not for that of a wider type."""
    for at in (np.s_[20, 40], np.s_[20:22, 40], np.s_[:, 41], np.s_[20], np.s_[10:40, 7:9], np.s_[:]):
        mask = np.zeros(CANVAS, kind)
        mask[at] = 1
        if kind == "uint8":
            mask[:3] = mask[-3:] = 255
            mask[:, :3] = mask[:, -3:] = 255
        found, told = read(tmp_path, mask, classes)
        assert told == kind
        assert np.array_equal(found, mask[ROWS.start : ROWS.stop])


def test_lines_that_could_be_a_wider_type_are_refused_with_the_option(tmp_path: Path) -> None:
    mask = np.zeros(CANVAS, np.uint8)
    mask[:, 40] = 1
    told = refused(tmp_path, mask, 3)
    assert "could be" in told and "--dump-type uint8" in told and "int64 labels" in told


# ---- class scores


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 21, 33])
@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_classes_first_and_last(kind: str, classes: int, noise: float, tmp_path: Path) -> None:
    """First is read; last is read where nothing else has its size, and refused with the options where something has."""
    mask = mask_of(classes)
    scores = scores_of(mask, classes, kind, noise)
    wanted = scores.argmax(2)[ROWS.start : ROWS.stop]
    found, told = read(tmp_path, np.ascontiguousarray(scores.transpose(2, 0, 1)), classes)
    assert told == f"class scores of {kind}"
    assert np.array_equal(found, wanted)
    if classes * np.dtype(kind).itemsize in (4, 8):  # one float of a pixel has this size
        assert f"--dump-type scores-last-{kind}" in refused(tmp_path, scores, classes)
    else:
        found, told = read(tmp_path, scores, classes)
        assert told == f"class scores of {kind}, classes last"
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["float16", "float32"])
@pytest.mark.parametrize("classes", [2, 4, 21])
def test_probabilities(kind: str, classes: int, tmp_path: Path) -> None:
    """Those of the other classes are next to nothing, as integers are."""
    scores = 3 * scores_of(mask_of(classes), classes, "float64", 0.2)
    shares = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    for values in (shares.astype(kind), np.log(shares).astype(kind)):
        found, _ = read(tmp_path, np.ascontiguousarray(values.transpose(2, 0, 1)), classes)
        assert np.array_equal(found, values.argmax(2)[ROWS.start : ROWS.stop])


def test_values_that_do_not_tell_where_classes_are(tmp_path: Path) -> None:
    scores = scores_of(mask_of(5), 5, "float32", 6.0)
    assert classes_are_last(scores.reshape(-1), 5) is None
    told = refused(tmp_path, scores, 5)
    assert "whether classes come first or last (--dump-type scores-float32 or scores-last-float32)" in told


@pytest.mark.parametrize(
    ("kind", "classes"), [("float32", 2), ("float32", 5), ("float64", 2), ("float64", 4), ("float16", 21)]
)
def test_one_class(kind: str, classes: int, tmp_path: Path) -> None:
    """Probabilities or logits of one class are as large as scores of two, in half the bytes."""
    logits = scores_of(mask_of(2), 2, kind, 0.1)[..., 1]
    assert f"{kind} scores of one class, from -" in refused(tmp_path, logits, classes)
    shares = (1 / (1 + np.exp(-logits))).astype(kind)
    assert f"{kind} probabilities of one class, from " in refused(tmp_path, shares, classes)
    assert "which are no class indices" in refused(tmp_path, np.where(mask_of(2), 0.6, 0.4).astype(kind), classes)
    refused(tmp_path, np.where(mask_of(2), 40, -40).astype(kind), classes)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("classes", [4, 5, 21])
def test_quantized_scores(kind: str, classes: int, tmp_path: Path) -> None:
    scores = (scores_of(mask_of(classes), classes, "float64", 0.1) * 10).astype(kind).transpose(2, 0, 1)
    with pytest.raises(DumpError):
        read(tmp_path, np.ascontiguousarray(scores), classes)


@pytest.mark.parametrize("kind", [">i2", ">i4", ">i8"])
def test_the_other_byte_order(kind: str, tmp_path: Path) -> None:
    told = refused(tmp_path, mask_of(5).astype(kind), 5)
    assert f"looks like int{8 * np.dtype(kind).itemsize} labels in the other byte order" in told


@pytest.mark.parametrize(("kind", "block"), [("float16", 16), ("float32", 16), ("float32", 8)])
@pytest.mark.parametrize("classes", [2, 4, 5, 19, 21, 32])
def test_an_npus_own_layout(kind: str, block: int, classes: int, tmp_path: Path) -> None:
    blocks = -(-classes // block)
    filled = np.zeros((*CANVAS, blocks * block), kind)
    filled[..., :classes] = scores_of(mask_of(classes), classes, kind, 0.1)
    array = filled.reshape(*CANVAS, blocks, block).transpose(2, 0, 1, 3)
    with pytest.raises(DumpError, match=r"NC1HWC0, an NPU's own layout \(.*\), has this size, and is not read"):
        read(tmp_path, np.ascontiguousarray(array), classes)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3, 4, 21])
def test_several_classes_at_plus_infinity(kind: str, classes: int, tmp_path: Path) -> None:
    scores = scores_of(mask_of(classes), classes, kind)
    scores[20, 10:15] = np.inf
    scores[21, 0, 1] = np.inf  # alone, it is the largest
    first = np.ascontiguousarray(scores.transpose(2, 0, 1))
    np.save(tmp_path / "b.npy", first)
    with pytest.raises(
        DumpError, match=r"plus infinity in several classes at 5 pixels: .*half precision that overflow"
    ):
        read(tmp_path, first, classes)
    with pytest.raises(DumpError, match="plus infinity in several classes at 5 pixels"):
        DumpReader(CANVAS, classes).read(Dump(str(tmp_path / "b.npy"), (tmp_path / "b.npy").stat().st_size), ROWS)
    with pytest.raises(DumpError, match="plus infinity in several classes at 5 pixels"):
        DumpReader(CANVAS, classes).take("a", first, ROWS)
    found, _ = read(tmp_path, first, classes, range(21, 40))
    assert found[0, 0] == 1
    scores[20, 10:15] = np.nan
    with pytest.raises(DumpError, match=r"not numbers \(NaN\) at 5 pixels"):
        read(tmp_path, np.ascontiguousarray(scores.transpose(2, 0, 1)), classes)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy(version: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, mask_of(5), version=version)
    found, kind = DumpReader(CANVAS, 5).read(Dump(str(path), path.stat().st_size), ROWS)
    assert kind == "int64"
    assert np.array_equal(found, mask_of(5))


@pytest.mark.parametrize("swapped", [False, True])
def test_npy_with_classes_last(swapped: bool, tmp_path: Path) -> None:
    scores = scores_of(mask_of(5), 5, "float32").astype(">f4" if swapped else "<f4")
    path = tmp_path / "a.npy"
    np.save(path, scores[None])
    found, kind = DumpReader(CANVAS, 5).read(Dump(str(path), path.stat().st_size), ROWS)
    assert kind.endswith(", classes last")
    assert np.array_equal(found[ROWS.start : ROWS.stop], mask_of(5)[ROWS.start : ROWS.stop])


# ---- the option, and the whole command


def folder_of(folder: Path, array: NDArray[Any], classes: int, ending: str = "_1.bin") -> dict[str, Any]:
    (folder / "dumps").mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    for name in ("a", "b"):
        array.tofile(folder / "dumps" / f"{name}{ending}")
        Image.fromarray(mask_of(classes).astype(np.uint8)).save(folder / "labels" / f"{name}.png")
    names = tuple(f"class {number}" for number in range(classes))
    return {"label_folder": folder / "labels", "size": CANVAS, "classes": names}


@pytest.mark.parametrize("dump_type", DUMP_TYPES)
@pytest.mark.parametrize("classes", [2, 4, 5])
def test_the_option_settles_it(dump_type: Any, classes: int, tmp_path: Path) -> None:
    mask, (*form, kind) = mask_of(classes), dump_type.split("-")
    array = scores_of(mask, classes, kind) if form else mask.astype(kind)
    if form == ["scores"]:
        array = np.ascontiguousarray(array.transpose(2, 0, 1))
    options = folder_of(tmp_path, array, classes)
    found = postprocess(tmp_path / "dumps", dump_type=dump_type, **options)
    assert (found.faults, found.result.summary()["mIoU"]) == ((), 1.0)
    wrong: DumpType = "int16" if kind != "int16" else "int32"
    if array.itemsize * array.size != mask.size * np.dtype(wrong).itemsize:
        found = postprocess(tmp_path / "dumps", dump_type=wrong, **options)
        assert f"--dump-type {wrong} says it is that" in found.faults[0]


def test_a_folder_of_no_masks_is_refused_once(tmp_path: Path) -> None:
    options = folder_of(tmp_path, mask_of(5, (32, 48)).astype(np.int32), 5)
    with pytest.raises(ValueError, match=r"a_1\.bin: .*int32 labels of a quarter.*none of the 2 dumps can be scored"):
        postprocess(tmp_path / "dumps", **options)
    mask_of(5).astype(np.uint8).tofile(tmp_path / "dumps" / "b_1.bin")
    found = postprocess(tmp_path / "dumps", **options)
    assert (found.result.pictures, len(found.faults), found.kinds) == (1, 1, ("uint8",))


def test_folders_in_the_folder(tmp_path: Path) -> None:
    """ais_bench makes one for each run, named by the time."""
    for name, files in (
        ("2023_01_01-10_00_00", ["a_0.bin"]),
        ("2023_02_01-10_00_00", ["a_0.npy"]),
        ("other", ["a.txt"]),
    ):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(bytes(60))
    two = rf"there are some in 2 folders in it \({tmp_path}/2023_02_01-10_00_00, {tmp_path}/2023_01_.*: name one"
    with pytest.raises(ValueError, match=two):
        find_dumps(str(tmp_path), {"a": ("a",)})
    (tmp_path / "2023_02_01-10_00_00" / "a_0.npy").unlink()
    with pytest.raises(ValueError, match=rf"they are in {tmp_path}/2023_01_01-10_00_00: name that one"):
        find_dumps(str(tmp_path), {"a": ("a",)}, output=0)
    with pytest.raises(ValueError, match=r"no dumps of output 1 \(<stem>_1"):
        find_dumps(str(tmp_path), {"a": ("a",)}, output=1)


def test_the_published_crop_of_a_canvas_that_is_not_square_is_remarked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = folder_of(tmp_path, mask_of(5).astype(np.int32), 5)
    postprocess(tmp_path / "dumps", **options)
    assert capfd.readouterr().err == ""
    postprocess(tmp_path / "dumps", geometry="reference", **options)
    assert "knows square canvases only: of 64x96 (height x width)" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["._a.png", ".hidden.jpg", "._a.PNG"])
def test_hidden_files_are_no_pictures(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"macOS was here")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert pictures_in(tmp_path) == ["a.png"]
    Image.new("RGB", (4, 4)).save(tmp_path / "b.jpg")
    lines, left_out = jpg_info(str(tmp_path))
    assert ([line.split()[1] for line in lines], left_out) == ([str(tmp_path / "b.jpg")], [])
