"""Label pictures: the indices they hold, whatever way a PNG stores them, or an error that says why not."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pspfast.datasets import VOC, find_labels, palette, read_classes
from pspfast.pictures.labels import read_labels
from pspfast.pictures.reader import PictureError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
GREY, PALETTE = 0, 3


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filtered(row: bytes, above: bytes, unit: int, kind: int) -> bytes:
    """A row by one of the five filters, as the PNG specification (9.2) words them."""
    out = bytearray([kind])
    for x, value in enumerate(row):
        left = row[x - unit] if x >= unit else 0
        up, corner = above[x], above[x - unit] if x >= unit else 0
        near = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
        out.append(value - (0, left, up, (left + up) // 2, near)[kind] & 255)
    return bytes(out)


def rows_of(samples: NDArray[Any], depth: int, filters: tuple[int, ...]) -> bytes:
    """Samples as a PNG stores them, the filters in turn."""
    if 0 in samples.shape:
        return b""
    if depth == 16:
        packed = samples.astype(">u2").view(np.uint8).reshape(len(samples), -1)
    else:
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(len(samples), -1), axis=1)
    coded, above = b"", bytes(packed.shape[1])
    for number, row in enumerate(packed):
        coded += filtered(row.tobytes(), above, max(depth // 8, 1), filters[number % len(filters)])
        above = row.tobytes()
    return coded


def png(
    samples: NDArray[Any],
    depth: int = 8,
    colour: int = PALETTE,
    *,
    filters: tuple[int, ...] = (0,),
    interlaced: bool = False,
    pieces: int = 1,
) -> bytes:
    height, width = samples.shape
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    coded = zlib.compress(b"".join(rows_of(samples[y::dy, x::dx], depth, filters) for x, y, dx, dy in passes))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    table = chunk(b"PLTE", palette(1 << depth)) if colour == PALETTE else b""
    size = -(-len(coded) // pieces)
    data = b"".join(chunk(b"IDAT", coded[at : at + size]) for at in range(0, len(coded), size))
    return SIGNATURE + chunk(b"IHDR", header) + table + data + chunk(b"IEND", b"")


def saved(folder: Path, data: bytes) -> str:
    (folder / "labels.png").write_bytes(data)
    return str(folder / "labels.png")


def chunks(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Kind -> where its body starts and how long it is; the first of each kind."""
    found: dict[bytes, tuple[int, int]] = {}
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.setdefault(data[at + 4 : at + 8], (at + 8, length))
        at += 12 + length
    return found


# ---- what is read ----


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "colour"), [(d, c) for d in (1, 2, 4, 8) for c in (GREY, PALETTE)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 5), (13, 29), (31, 8)])
def test_every_depth_and_pass(
    shape: tuple[int, int], depth: int, colour: int, interlaced: bool, tmp_path: Path
) -> None:
    samples = np.random.default_rng(depth).integers(0, 1 << depth, shape)
    found = read_labels(saved(tmp_path, png(samples, depth, colour, interlaced=interlaced))).pixels
    assert found.dtype == np.uint8
    assert np.array_equal(found, samples)


@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4), (4, 0)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_filter(filters: tuple[int, ...], interlaced: bool, tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(0, 256, (23, 41))
    data = png(samples, filters=filters, interlaced=interlaced, pieces=5)
    found = read_labels(saved(tmp_path, data))
    assert np.array_equal(found.pixels, samples)
    assert found.data == data
    with Image.open(tmp_path / "labels.png") as image:  # the writer above is right, too
        assert np.array_equal(np.asarray(image), samples)


def test_sixteen_bits_only_where_asked_for(tmp_path: Path) -> None:
    samples = np.random.default_rng(2).integers(0, 1 << 16, (7, 12))
    for interlaced in (False, True):
        path = saved(tmp_path, png(samples, 16, GREY, filters=(4, 2), interlaced=interlaced))
        with pytest.raises(PictureError, match="16-bit grey; labels of up to 256 classes have 8 bits"):
            read_labels(path)
        found = read_labels(path, wide=True).pixels
        assert found.dtype == np.int32
        assert np.array_equal(found, samples)


@pytest.mark.parametrize("suffix", ["tif", "bmp", "gif", "pgm"])
def test_other_lossless_files(suffix: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(3).integers(0, 256, (11, 18)).astype(np.uint8)
    image = Image.fromarray(samples)
    if suffix in ("tif", "gif"):
        image = Image.frombytes("P", (18, 11), samples.tobytes())
        image.putpalette(palette())
    path = tmp_path / f"labels.{suffix}"
    image.save(path)
    if suffix == "gif":  # whose writer sorts its palette anew: what is stored is what counts
        with Image.open(path) as stored:
            samples = np.asarray(stored)
    assert np.array_equal(read_labels(str(path)).pixels, samples)


def test_real_labels_are_pillows_indices(shared_data: Path) -> None:
    paths = sorted((shared_data / "voc/VOC2012/SegmentationClass").glob("*.png"))
    assert len(paths) == 73
    for path in (*paths, *(shared_data / "golden/preds").glob("*.png")):
        with Image.open(path) as image:
            assert np.array_equal(read_labels(str(path)).pixels, np.asarray(image)), path.name


# ---- what is refused ----


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("RGB", r"in colours \(RGB\); labels must be the class indices"),
        ("RGBA", r"in colours \(RGBA\)"),
        ("LA", "in colours .grey with transparency"),
    ],
)
def test_colours_are_refused_with_advice(mode: str, text: str, tmp_path: Path) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "labels.png")
    with pytest.raises(PictureError, match=text) as caught:
        read_labels(str(tmp_path / "labels.png"))
    assert str(caught.value).startswith(str(tmp_path / "labels.png"))
    assert "take the original file" in str(caught.value)


@pytest.mark.parametrize(("suffix", "text"), [("jpg", "a JPEG, which does not keep values"), ("webp", "of mode RGB")])
def test_lossy_files_are_refused(suffix: str, text: str, tmp_path: Path) -> None:
    Image.new("L", (16, 9), 3).save(tmp_path / f"labels.{suffix}")
    with pytest.raises(PictureError, match=text):
        read_labels(str(tmp_path / f"labels.{suffix}"))


# One file that is used as it lies, one that is filtered, one interlaced, one packed: all ways through the reader.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"pieces": 3},
    "filtered": {"filters": (4,), "pieces": 2},
    "interlaced": {"interlaced": True},
    "packed": {"depth": 4, "colour": GREY},
}


def example(kind: str) -> tuple[NDArray[Any], bytes]:
    samples = np.random.default_rng(4).integers(0, 16, (17, 23))
    return samples, png(samples, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_checksums(kind: str, tmp_path: Path) -> None:
    _, data = example(kind)
    for name, (at, length) in chunks(data).items():
        damaged = bytearray(data)
        damaged[at + length] ^= 1
        with pytest.raises(PictureError, match=rf"checksum of chunk b'{name.decode()}' at byte {at - 8} is wrong"):
            read_labels(saved(tmp_path, bytes(damaged)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda coded: coded[:-1] + bytes([coded[-1] ^ 1]), "damaged PNG"),  # the checksum of the pixels
        (lambda coded: coded[:-4], "bytes of pixels, 23x17 needs"),  # without it
        (lambda coded: coded[: len(coded) // 2], "damaged PNG: .* bytes of pixels, 23x17 needs"),
        (lambda coded: zlib.compress(zlib.decompress(coded)[:-1]), "bytes of pixels, 23x17 needs"),
        (lambda coded: zlib.compress(zlib.decompress(coded) + b"\0"), "more than"),
        (lambda coded: zlib.compress(zlib.decompress(coded) + bytes(100_000_000)), "more than"),  # a bomb
        (lambda _: zlib.compress(b""), "damaged PNG: 0 bytes of pixels"),
        (lambda _: b"no zlib", "damaged PNG"),
    ],
)
def test_pixels_that_are_not_what_the_header_says(kind: str, change: Any, text: str, tmp_path: Path) -> None:
    _, data = example(kind)
    coded, at = b"", 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        coded += data[at + 8 : at + 8 + length] * (data[at + 4 : at + 8] == b"IDAT")
        at += 12 + length
    where = chunks(data)[b"IDAT"][0] - 8
    with pytest.raises(PictureError, match=text):
        read_labels(saved(tmp_path, data[:where] + chunk(b"IDAT", change(coded)) + chunk(b"IEND", b"")))


@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere(kind: str, tmp_path: Path) -> None:
    samples, data = example(kind)
    for length in range(len(data)):
        with pytest.raises(PictureError):
            read_labels(saved(tmp_path, data[:length]))
    assert np.array_equal(read_labels(saved(tmp_path, data + b"and more")).pixels, samples)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_anywhere_is_told(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    """Each byte of a PNG up to its end mark is under one checksum or other."""
    _, good = example(kind)
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = bytearray(good)
    damaged[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PictureError):
        read_labels(saved(tmp_path, bytes(damaged)))


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ((0, 4, 8, 3, 0, 0, 0), "damaged PNG: 0x4 pixels"),
        ((4, 0, 8, 0, 0, 0, 0), "damaged PNG: 4x0 pixels"),
        ((4, 4, 8, 5, 0, 0, 0), "colour type 5"),
        ((4, 4, 3, 3, 0, 0, 0), "damaged|not a picture"),
        ((1 << 20, 1 << 20, 8, 3, 0, 0, 0), "over the limit of 100,000,000"),
        ((1 << 20, 1 << 20, 1, 0, 0, 0, 1), "over the limit of 100,000,000"),
    ],
)
def test_headers_that_cannot_be(header: tuple[int, ...], text: str, tmp_path: Path) -> None:
    body = chunk(b"IDAT", zlib.compress(bytes(20))) + chunk(b"IEND", b"")
    with pytest.raises(PictureError, match=text):
        read_labels(saved(tmp_path, SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", *header)) + body))


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ([b"IHDR", b"IHDR", b"IDAT", b"IEND"], "the header comes first, and once"),
        ([b"tEXt", b"IHDR", b"IDAT", b"IEND"], "the header comes first, and once"),
        ([b"IHDR", b"IEND"], "no header or no pixels"),
        ([b"IHDR", b"IDAT"], "without an end mark"),
        ([b"IEND"], "the header comes first"),
    ],
)
def test_chunks_in_disorder(kinds: list[bytes], text: str, tmp_path: Path) -> None:
    bodies = {b"IHDR": struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(bytes(6))}
    with pytest.raises(PictureError, match=text):
        read_labels(saved(tmp_path, SIGNATURE + b"".join(chunk(kind, bodies.get(kind, b"")) for kind in kinds)))


def test_a_limit_of_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path, png(np.zeros((5, 7), int)))
    assert read_labels(path, max_pixels=35).pixels.shape == (5, 7)
    with pytest.raises(PictureError, match="7x5 is 35 pixels, over the limit of 34"):
        read_labels(path, max_pixels=34)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("labels")
    (tmp_path / "nowhere.png").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe.png")
    for name, text in (
        ("folder", "not a regular file"),
        ("empty", "the file is empty"),
        ("text", "not a picture"),
        ("nowhere", "No such file"),
        ("pipe", "not a regular file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(PictureError, match=text):
            read_labels(str(tmp_path / f"{name}.png"))


# What of the broken and odd files holds indices after all.
USABLE = {"libpng_ibasn3p08.png", "libpng_palette-1.png", "libpng_palette-4.png", "libpng_small-palette-4.png"}


def test_broken_files(shared_data: Path) -> None:
    seen = set()
    for path in sorted((shared_data / "broken").iterdir()):
        for wide in (False, True):
            try:
                pixels = read_labels(str(path), wide=wide).pixels
            except PictureError as error:
                assert str(path) in str(error)
                continue
            with Image.open(path) as image:
                assert np.array_equal(pixels, np.asarray(image)), path.name
            seen.add(path.name)
    assert seen >= USABLE
    assert not seen & {"libpng_badadler.png", "libpng_badcrc.png", "pillow_broken.png", "libpng_gray-alpha-8.png"}


# ---- names ----


def test_the_palette_is_vocs(shared_data: Path) -> None:
    with Image.open(shared_data / "voc/VOC2012/SegmentationClass/2007_000032.png") as image:
        assert bytes(image.getpalette() or []) == palette()


def test_classes(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("﻿road\r\n sky \nVélo\n\n\n", encoding="utf-8")
    assert read_classes(path) == ("road", "sky", "Vélo")
    assert len(VOC.classes) == 21
    for text, complaint in (
        ("a\n\nb\n", "line 2: a class without a name"),
        ("a\nb\na\n", "line 3: 'a' is already class 0"),
        ("\n\n", "names no classes"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            read_classes(path)
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match=r"not UTF-8 text: .* at byte 2"):
        read_classes(path)


def test_label_files_by_id(tmp_path: Path) -> None:
    for name in ("a.png", "b.PNG", "c.v2.png", "d.jpg.png"):
        (tmp_path / name).touch()
    for name, file in (
        ("a", "a.png"),
        ("a.jpg", "a.png"),
        ("a.JPG", "a.png"),
        ("b", "b.PNG"),
        ("b.PNG", "b.PNG"),
        ("c.v2", "c.v2.png"),
        ("none", "none.png"),
    ):
        assert find_labels(str(tmp_path), name) == str(tmp_path / file)
