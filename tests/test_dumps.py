"""Dumps: whose they are, by name alone, and what is in them."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pspfast.formats.dumped_masks import DumpError, DumpReader, UnlikeMaskError
from pspfast.formats.dumps import Dump, find_dumps

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CANVAS = (6, 10)
EVERY_ROW = range(CANVAS[0])


def one_a_bin(*stems: str) -> dict[str, tuple[str, ...]]:
    return {stem: (stem,) for stem in stems}


def touch(folder: Path, *names: str, size: int = 240) -> None:
    for name in names:
        (folder / name).write_bytes(bytes(size))


def files(folder: Path, *stems: str, output: int | None = None) -> dict[str, str]:
    found = find_dumps(str(folder), one_a_bin(*stems), output=output).found
    return {picture: os.path.basename(dump.path) for picture, dump in found.items()}


# ---- whose they are ----


@pytest.mark.parametrize("ending", ["_1.bin", "_0.bin", "_12.bin", ".bin", "_1.npy", ".npy"])
@pytest.mark.parametrize(
    "stems",
    [
        ("2007_000033", "2007_000039"),
        ("a", "a_1", "a_1_1"),
        ("1", "11", "1_1", "1_11"),
        ("_", "__1", "_1_1"),
        ("with space", "ümläut", "new\nline", "quote'\"", "-dash", "日本"),
    ],
)
def test_names(ending: str, stems: tuple[str, ...], tmp_path: Path) -> None:
    touch(tmp_path, *(stem + ending for stem in stems))
    assert files(tmp_path, *stems) == {stem: stem + ending for stem in stems}


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_dump_goes_to_its_own_picture_or_to_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever pictures there are and whichever dumps are missing: nobody gets another one's."""
    stems = data.draw(st.sets(st.sampled_from(["a", "a_1", "a_1_1", "a_0", "a_2", "b", "b_1", "b_0_1"]), min_size=1))
    ending = data.draw(st.sampled_from(["_1.bin", "_0.bin", ".bin", "_1.npy"]))
    there = data.draw(st.sets(st.sampled_from(sorted(stems)), min_size=1))
    asked = data.draw(st.sets(st.sampled_from(sorted(stems)), min_size=1))
    folder = tmp_path_factory.mktemp("dumps")
    touch(folder, *(stem + ending for stem in there))
    number = ending.split(".")[0][1:]
    for output in (None, int(number)) if number else (None,):
        dumps = find_dumps(str(folder), one_a_bin(*asked), output=output)
        # Without a number asked for there is only how most files are named to go by.
        misread = [stem for stem in there if {stem + ending.split(".")[0], stem.rpartition("_")[0]} & (asked - {stem})]
        if output is not None or len(there & asked) >= len(misread):
            assert all(os.path.basename(dump.path) == picture + ending for picture, dump in dumps.found.items())
        if output is not None:
            assert set(dumps.found) == there & asked
            assert set(dumps.strays) == {stem + ending for stem in there - asked}
        assert len(dumps.found) + len(dumps.unusable) + len(dumps.strays) >= 1


def test_what_most_are_named_like_decides(tmp_path: Path) -> None:
    touch(tmp_path, "a_1.bin", "b_1.bin", "c_1.bin")
    assert files(tmp_path, "a_1", "b", "c") == {"b": "b_1.bin", "c": "c_1.bin"}
    assert find_dumps(str(tmp_path), one_a_bin("a_1", "b", "c")).strays == ("a_1.bin",)
    assert files(tmp_path, "a_1", "b_1", "c_1") == {stem: f"{stem}.bin" for stem in ("a_1", "b_1", "c_1")}


def test_a_doubtful_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a_1.bin")
    dumps = find_dumps(str(tmp_path), one_a_bin("a", "a_1"))
    assert dumps.found == {}
    reason = "a_1.bin may be of 'a_1' as <stem>.bin or 'a' as <stem>_1.bin; rename it, or choose an output (--output N)"
    assert dict(dumps.unusable) == {"a": reason, "a_1": reason}
    assert files(tmp_path, "a", "a_1", output=1) == {"a": "a_1.bin"}
    assert files(tmp_path, "a_1") == {"a_1": "a_1.bin"}


def test_several_dumps_for_one_picture(tmp_path: Path) -> None:
    touch(tmp_path, "a_0.bin", "a_1.bin", "b_1.bin", "c.bin", "c.npy")
    dumps = find_dumps(str(tmp_path), one_a_bin("a", "b", "c"))
    assert list(dumps.found) == ["b"]
    unusable = dict(dumps.unusable)
    assert unusable["a"] == (
        "2 dumps for one bin: a_0.bin, a_1.bin; remove the wrong ones or choose an output (--output N)"
    )
    assert "c.bin, c.npy" in unusable["c"]
    assert files(tmp_path, "a", "b", "c", output=1) == {"a": "a_1.bin", "b": "b_1.bin"}


def test_sizes_that_the_others_do_not_have(tmp_path: Path) -> None:
    touch(tmp_path, "a_1.bin", "b_1.bin", "c_1.bin", "h_1.bin")
    touch(tmp_path, "d_1.bin", size=100)
    touch(tmp_path, "e_1.bin", size=1000)
    touch(tmp_path, "f_1.bin", size=0)
    touch(tmp_path, "g.npy", size=17)
    dumps = find_dumps(str(tmp_path), one_a_bin(*"abcdefgh"))
    assert sorted(dumps.found) == ["a", "b", "c", "g", "h"]
    assert dict(dumps.unusable)["d"] == "d_1.bin has 100 bytes where the others have 240"
    assert dict(dumps.unusable)["e"] == "e_1.bin has 1,000 bytes where the others have 240"
    assert dict(dumps.unusable)["f"] == "f_1.bin has 0 bytes where the others have 240"


def test_batches(tmp_path: Path) -> None:
    bins = {"batch_00000": ("a", "b"), "batch_00001": ("c", None), "a": ("a",), "b": ("b",), "c": ("c",)}
    touch(tmp_path, "batch_00000_1.bin", "batch_00001_1.bin", size=480)
    found = find_dumps(str(tmp_path), bins).found
    assert {picture: (os.path.basename(dump.path), dump.slot, dump.slots) for picture, dump in found.items()} == {
        "a": ("batch_00000_1.bin", 0, 2),
        "b": ("batch_00000_1.bin", 1, 2),
        "c": ("batch_00001_1.bin", 0, 2),
    }
    touch(tmp_path, "b_1.bin")
    dumps = find_dumps(str(tmp_path), bins)
    assert sorted(dumps.found) == ["a", "c"]
    assert dict(dumps.unusable)["b"].startswith("two dumps for one picture")


def test_what_is_no_dump(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.bin or \.npy dumps in this folder$"):
        find_dumps(str(tmp_path), one_a_bin("a"))
    touch(tmp_path, "a_1.txt", ".a_1.bin", "a_1.bin.part", "a_1.BIN")
    with pytest.raises(ValueError, match="run the benchmark tool with -output_binary=true"):
        find_dumps(str(tmp_path), one_a_bin("a"))
    touch(tmp_path, "a_1.bin")
    assert files(tmp_path, "a") == {"a": "a_1.bin"}
    with pytest.raises(ValueError, match=r"no dumps of output 7 \(<stem>_7\.bin or \.npy\)"):
        find_dumps(str(tmp_path), one_a_bin("a"), output=7)


def test_things_named_like_dumps(tmp_path: Path) -> None:
    """Paired like dumps, so that the picture's fault is told, and refused when they are read."""
    (tmp_path / "folder_1.bin").mkdir()
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "nowhere_1.bin").symlink_to("nothing")
    (tmp_path / "loop_1.bin").symlink_to("loop_1.bin")
    os.mkfifo(tmp_path / "pipe_1.bin")
    os.mkfifo(tmp_path / "pipe2.npy")
    touch(tmp_path, "elsewhere")
    (tmp_path / "link_1.bin").symlink_to("elsewhere")
    dumps = find_dumps(str(tmp_path), one_a_bin("nowhere", "loop", "pipe", "pipe2", "link"))
    assert dumps.unusable == ()
    for picture, text in (
        ("nowhere", "nowhere_1.bin: No such file or directory"),
        ("loop", "loop_1.bin: Too many levels"),
        ("pipe", "pipe_1.bin: not a regular file"),
        ("pipe2", "pipe2.npy: not a regular file"),
    ):
        with pytest.raises(DumpError, match=text):
            DumpReader(CANVAS, 3).read(dumps.found[picture], EVERY_ROW)
    assert DumpReader(CANVAS, 3).read(dumps.found["link"], EVERY_ROW)[1] == "int32"
    assert len(find_dumps(str(tmp_path), one_a_bin("folder")).unusable) == 1


def test_the_order_of_the_folder_means_nothing(tmp_path: Path) -> None:
    stems = [f"p{number}" for number in range(40)]
    random.Random(0).shuffle(stems)
    for stem in stems[3:]:
        touch(tmp_path, f"{stem}_1.bin")
    touch(tmp_path, "zz_1.bin", "0_1.bin")
    dumps = find_dumps(str(tmp_path), one_a_bin(*stems))
    assert {picture: os.path.basename(dump.path) for picture, dump in dumps.found.items()} == {
        stem: f"{stem}_1.bin" for stem in stems[3:]
    }
    assert dumps.strays == ("0_1.bin", "zz_1.bin")


# ---- what is in them ----


def read(path: Path, classes: int = 5, rows: range = EVERY_ROW, slot: int = 0, slots: int = 1) -> tuple[list[Any], str]:
    """As the command reads: once more, as floats, where the integers are not all classes."""
    reader, dump = DumpReader(CANVAS, classes), dump_of(path, slot, slots)
    mask, kind = reader.read(dump, rows)
    part = mask[rows.start : rows.stop]
    if part.min() < 0 or part.max() >= classes:
        mask, kind = reader.settle(dump, rows, mask, kind)
    return mask[rows.start : rows.stop].tolist(), kind


def dump_of(path: Path, slot: int = 0, slots: int = 1) -> Dump:
    return Dump(str(path), path.stat().st_size, slot, slots)


def labels(classes: int = 5) -> NDArray[np.int64]:
    return np.random.default_rng(7).integers(0, classes, CANVAS)


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 8, 256])
@pytest.mark.parametrize("rows", [EVERY_ROW, range(2, 5), range(1), range(5, 6)])
def test_every_type(kind: str, classes: int, rows: range, tmp_path: Path) -> None:
    wanted = labels(classes)
    wanted.astype(kind).tofile(tmp_path / "a.bin")
    found, what = read(tmp_path / "a.bin", classes, rows)
    assert found == wanted[rows.start : rows.stop].tolist()
    # Floats of nothing but zeros are integers as well.
    assert what == kind or (kind.startswith("float") and not wanted[rows.start : rows.stop].any())
    np.save(tmp_path / "a.npy", wanted.astype(kind))
    assert read(tmp_path / "a.npy", classes, rows) == (found, kind)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 8, 21])
@pytest.mark.parametrize("rows", [EVERY_ROW, range(2, 5)])
def test_scores(kind: str, classes: int, rows: range, tmp_path: Path) -> None:
    """Two and four classes have scores as large as integers are."""
    rng = np.random.default_rng(8)
    for scores in (
        rng.standard_normal((classes, *CANVAS)),
        np.repeat(rng.standard_normal((1, *CANVAS)), classes, 0),  # ties: the first one counts
        np.eye(classes)[labels(classes)].transpose(2, 0, 1),
        np.where(rng.random((classes, *CANVAS)) < 0.3, -np.inf, rng.standard_normal((classes, *CANVAS))),
        np.where(np.arange(classes)[:, None, None] == 1, np.inf, np.full((classes, *CANVAS), -np.inf)),
    ):
        scores.astype(kind).tofile(tmp_path / "a.bin")
        np.save(tmp_path / "a.npy", scores.astype(kind))
        np.save(tmp_path / "b.npy", np.asfortranarray(scores.astype(kind))[None])
        wanted = scores.astype(kind).argmax(0)[rows.start : rows.stop].tolist()
        for name in ("a.bin", "a.npy", "b.npy"):
            assert read(tmp_path / name, classes, rows) == (wanted, f"class scores of {kind}"), name


def test_scores_whose_rows_are_zeros_as_integers(tmp_path: Path) -> None:
    """What the size leaves open is decided by the whole mask: its middle, as integers, is class 0 all over."""
    scores = np.zeros((2, *CANVAS), np.float16)
    scores[0, 2:4] = scores[1, 4] = 1
    scores.tofile(tmp_path / "a.bin")
    np.zeros(CANVAS, np.int32).tofile(tmp_path / "zeros.bin")
    assert not scores.view(np.int32).reshape(CANVAS)[2:5].any()
    reader = DumpReader(CANVAS, 2)
    reader.read(dump_of(tmp_path / "zeros.bin"), EVERY_ROW)
    found, kind = reader.read(dump_of(tmp_path / "a.bin"), range(2, 5))
    assert (found[2:5].tolist(), kind) == ([[0] * 10, [0] * 10, [1] * 10], "class scores of float16")


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3, 4, 21])
@pytest.mark.parametrize("channel", [0, 1, -1])
def test_scores_that_are_no_numbers(kind: str, classes: int, channel: int, tmp_path: Path) -> None:
    scores = np.random.default_rng(9).standard_normal((classes, *CANVAS)).astype(kind)
    scores[channel, 3, 4] = np.nan
    scores.tofile(tmp_path / "a.bin")
    np.save(tmp_path / "a.npy", scores)
    for name in ("a.bin", "a.npy"):
        with pytest.raises(DumpError, match=r"a\.(bin|npy): class scores that are not numbers"):
            read(tmp_path / name, classes)
        assert read(tmp_path / name, classes, range(4, 6))[0] == scores.argmax(0)[4:].tolist()


def test_bits_that_signal_are_no_class(tmp_path: Path) -> None:
    mask = labels(3).astype(np.int32)
    mask[2] = 0x7FA00000  # a signalling NaN
    mask.tofile(tmp_path / "a.bin")
    assert read(tmp_path / "a.bin", 3) == (mask.tolist(), "int32")
    floats = labels(3).astype(np.float32)
    floats[2] = mask.view(np.float32)[2]
    floats.tofile(tmp_path / "a.bin")
    assert read(tmp_path / "a.bin", 3) == (np.where(np.isnan(floats), -1, floats).tolist(), "float32")


@pytest.mark.parametrize("value", [-1.0, -65535.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 21])
def test_labels_that_are_floats_and_some_that_are_no_class(
    value: float, kind: str, classes: int, tmp_path: Path
) -> None:
    if kind == "float16" and value == -65535:
        value = -2048.0
    mask = labels(classes).astype(kind)
    mask[1, 3:6] = value
    wanted = labels(classes)
    wanted[1, 3:6] = -1
    mask.tofile(tmp_path / "a.bin")
    np.save(tmp_path / "a.npy", mask)
    for name in ("a.bin", "a.npy"):
        for rows in (EVERY_ROW, range(1, 4)):
            assert read(tmp_path / name, classes, rows) == (wanted[rows.start : rows.stop].tolist(), kind)


@pytest.mark.parametrize("values", [[0.5], [0, 1, 0.25], [65536.0], [-0.25, 1e30], [5, -5], [2.5, -3.75, 0.125]])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floats_that_are_no_labels(values: list[float], kind: str, tmp_path: Path) -> None:
    mask = np.resize(np.array(values, kind), CANVAS)
    mask.tofile(tmp_path / "a.bin")
    np.save(tmp_path / "a.npy", mask)
    with pytest.raises(UnlikeMaskError, match=r"a\.bin: as many bytes as int(32|64) labels of the canvas have, and "):
        read(tmp_path / "a.bin")
    with pytest.raises(UnlikeMaskError, match=rf"a\.npy: \d+ .*{kind} values (that are|are) no "):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("kind", ["int8", "uint16", "uint32", "uint64", ">i4", ">i8", ">u2", "bool", ">f4", ">f2"])
def test_types_of_npy(kind: str, tmp_path: Path) -> None:
    wanted = labels(2)
    np.save(tmp_path / "a.npy", wanted.astype(kind))
    np.save(tmp_path / "b.npy", np.asfortranarray(wanted.astype(kind)))
    for name in ("a.npy", "b.npy"):
        assert read(tmp_path / name, 2)[0] == wanted.tolist()


@pytest.mark.parametrize("suffix", ["bin", "npy"])
@pytest.mark.parametrize("kind", ["uint8", "int32", "int64", "float32"])
def test_slots_of_a_batch(suffix: str, kind: str, tmp_path: Path) -> None:
    batch = np.random.default_rng(10).integers(0, 5, (3, *CANVAS)).astype(kind)
    path = tmp_path / f"a.{suffix}"
    batch.tofile(path) if suffix == "bin" else np.save(path, batch)
    for slot in range(3):
        for rows in (EVERY_ROW, range(2, 5)):
            assert read(path, rows=rows, slot=slot, slots=3)[0] == batch[slot, rows.start : rows.stop].tolist()
    scores = np.random.default_rng(11).standard_normal((3, 5, *CANVAS)).astype(np.float16)
    scores.tofile(path) if suffix == "bin" else np.save(path, scores)
    for slot in range(3):
        assert read(path, slot=slot, slots=3)[0] == scores[slot].argmax(0).tolist()


@pytest.mark.parametrize("size", [0, 1, 59, 61, 239, 241, 360, 10**6])
def test_sizes_that_no_mask_has(size: int, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(size))
    with pytest.raises(DumpError) as caught:
        read(tmp_path / "a.bin", classes=7)
    for part in (
        f"a.bin: {size:,} bytes; a mask of 10x6 has 60 (uint8), 120 (int16), 240 (int32), 480 (int64)",
        " or,",
    ):
        assert part in str(caught.value)
    assert "as scores of 7 classes, 840, 1,680, 3,360; of another size? --net-input-width" in str(caught.value)
    with pytest.raises(DumpError, match=r"480 \(int64\); of another size") as caught:
        read(tmp_path / "a.bin", classes=1)
    assert "scores" not in str(caught.value)


def npy(array: NDArray[Any], folder: Path) -> bytes:
    np.save(folder / "good.npy", array)
    return (folder / "good.npy").read_bytes()


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((10, 6), int), r"of shape \(10, 6\); expected \(6, 10\) labels or \(5, 6, 10\) class scores"),
        (np.zeros((2, 6, 10), int), r"of shape \(2, 6, 10\)"),
        (np.zeros(60, int), r"of shape \(60,\)"),
        (np.zeros((), int), r"of shape \(\)"),
        (np.zeros((0, 6, 10), int), "damaged .npy file|of shape"),
        (np.zeros((5, 6, 10), int), "5 maps of type int64; class scores are floats"),
        (np.zeros(CANVAS, complex), "of type complex128; labels are integers"),
        (np.zeros(CANVAS, "U1"), "labels are integers"),
        (np.zeros(CANVAS, [("a", "i4")]), "labels are integers"),
        (np.zeros(CANVAS, "M8[s]"), "labels are integers"),
        (np.full(CANVAS, None), "of type object; labels are integers"),
    ],
)
def test_arrays_that_are_no_masks(array: NDArray[Any], text: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DumpError, match=text):
        read(tmp_path / "a.npy")


def test_damaged_npy(tmp_path: Path) -> None:
    good = npy(labels(), tmp_path)
    path = tmp_path / "a.npy"
    np.savez(tmp_path / "zip.npz", labels())
    huge = good.replace(b"(6, 10), ", b"(6, 99999999999), ").replace(b"         \n", b"\n")
    for data in (b"", b"\x93NUMPY", good[:50], good[:-1], huge, b"text", (tmp_path / "zip.npz").read_bytes()):
        path.write_bytes(data)
        with pytest.raises(DumpError, match=r"damaged \.npy file"):
            read(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(DumpError, match=rf"damaged \.npy file: {len(good) + 1:,} bytes, {len(good):,} by its header"):
        read(path)


@given(st.integers(0, 127), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_any_byte_of_an_npy_header(tmp_path_factory: pytest.TempPathFactory, at: int, change: int) -> None:
    folder = tmp_path_factory.mktemp("npy")
    data = bytearray(npy(labels().astype(np.int32), folder))
    data[at] ^= change
    (folder / "a.npy").write_bytes(data)
    try:
        read(folder / "a.npy")
    except DumpError as error:
        assert str(error).startswith(str(folder / "a.npy"))


def test_a_dump_that_changes_while_it_is_read(tmp_path: Path) -> None:
    np.zeros(CANVAS, np.int32).tofile(tmp_path / "a.bin")
    dump = dump_of(tmp_path / "a.bin")
    for size in (100, 239, 241):
        (tmp_path / "a.bin").write_bytes(bytes(size))
        with pytest.raises(DumpError, match=f"a.bin: it had 240 bytes a moment ago and has {size} now"):
            DumpReader(CANVAS, 5).read(dump, range(2, 3))
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DumpError, match="No such file"):
        DumpReader(CANVAS, 5).read(dump, EVERY_ROW)


def test_one_reader_many_masks(tmp_path: Path) -> None:
    """The buffer is used again: what was in it before must not show."""
    reader = DumpReader(CANVAS, 5)
    for number, kind in enumerate((np.int64, np.uint8, np.float16, np.int32, np.int16)):
        mask = np.random.default_rng(number).integers(1, 5, CANVAS)
        mask.astype(kind).tofile(tmp_path / "a.bin")
        found, _ = reader.read(dump_of(tmp_path / "a.bin"), EVERY_ROW)
        if kind is np.float16:
            found, _ = reader.settle(dump_of(tmp_path / "a.bin"), EVERY_ROW, found, "int16")
        assert np.array_equal(found, mask)
