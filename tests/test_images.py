from __future__ import annotations

import io
import os
import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, features

import pspfast
from pspfast import _core
from pspfast.pictures import jpeg
from pspfast.pictures.reader import PictureReader, read_picture_file
from tests import reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The broken files whose pixels are whole: what is wrong is metadata or junk between segments.
USABLE = {
    "jpegdec_multiple-0xff-before-eoi.jpg": "",
    "pillow_icc-after-SOF.jpg": "bad ICC marker",
    "pillow_jpeg_ff00_header.jpg": "extraneous bytes",
    "pillow_junk_jpeg_header.jpg": "extraneous bytes",
    "pillow_truncated_app14.jpg": "extraneous bytes",
    "pillow_truncated_exif_dpi.jpg": "",
    "libpng_gray-16.png": "",
    "libpng_gray-alpha-8.png": "",
    "libpng_ibasn3p08.png": "",
    "libpng_palette-1.png": "",
    "libpng_palette-4.png": "",
    "libpng_small-palette-4.png": "",
    "libpng_test-palette-8.png": "",
    "pillow_i_trns.png": "",
}
UNUSABLE = {
    "jpegdec_8a9cc8eeed66aeb423a91c44111d9450.jpg": "two SOF",
    "jpegdec_empty.jpg": "empty",
    "jpegdec_f012a4321f00f12af6b1eee7580ffb9c.jpg": "not a picture",
    "jpegdec_max_size.jpg": "over the limit",
    "jpegdec_missing-frame-image-1410.jpg": "ends before any picture data",
    "jpegdec_missing-sof.jpg": "ends inside its header",
    "jpegdec_null_height.jpg": "800x0|0x800",
    "jpegdec_subtract-with-overflow.jpg": "damaged",
    "libpng_badadler.png": "damaged",
    "libpng_badcrc.png": "damaged|cannot decode",
    "pillow_broken.png": "not a picture",
    "pillow_hopper_bad_exif.jpg": "Huffman",
    "pillow_truncated_jpeg.jpg": "Premature end",
    "sharp_corrupt-header.jpg": "ends inside its header",
    "sharp_giant-image.jpg": "20000x14000 is 280,000,000 pixels, over the limit",
    "turbo_monkey12.jpg": "12-bit",
}


def encoded(height: int = 90, width: int = 64, **options: object) -> bytes:
    rng = np.random.default_rng(3)
    smooth = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def test_photos_are_what_opencv_reads(shared_data: Path) -> None:
    photos = sorted((shared_data / "photos").iterdir())
    assert len(photos) == 38
    reader = PictureReader()
    for photo in photos:
        wanted = reference.imread(photo)
        picture = reader.read(str(photo))
        assert np.array_equal(picture.pixels, wanted), photo.name
        assert pspfast.picture_size(photo) == wanted.shape[:2], photo.name
        assert bool(picture.remark) == (photo.name == "jpegdec_mjpeg.jpg"), (photo.name, picture.remark)
        for size in ((500, 500), (96, 161)):
            got = pspfast.letterbox(picture.pixels, size)
            assert np.array_equal(reference.bits(got), reference.bits(reference.letterbox(wanted, size))), photo.name


def test_voc_pictures_are_what_opencv_reads(shared_data: Path) -> None:
    pictures = sorted((shared_data / "voc/VOC2012/JPEGImages").iterdir())
    assert len(pictures) == 73
    for path in pictures:
        assert np.array_equal(pspfast.imread(path), reference.imread(path)), path.name


def test_broken_files_are_all_accounted_for(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "broken").iterdir()} == {*USABLE, *UNUSABLE}


@pytest.mark.parametrize("name", USABLE)
def test_odd_but_whole_files_are_used(name: str, shared_data: Path) -> None:
    path = shared_data / "broken" / name
    picture = PictureReader().read(str(path))
    assert np.array_equal(picture.pixels, reference.imread(path))
    assert pspfast.picture_size(path) == picture.pixels.shape[:2]
    assert (USABLE[name] in picture.remark) if USABLE[name] else picture.remark == ""


@pytest.mark.parametrize("name", UNUSABLE)
def test_broken_files_are_refused_by_name(name: str, shared_data: Path) -> None:
    path = shared_data / "broken" / name
    with pytest.raises(pspfast.PictureError, match=UNUSABLE[name]) as caught:
        pspfast.imread(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.filename == str(path)


def test_the_pixel_limit_is_an_option(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.new("RGB", (30, 20)).save(path)
    for file, pixels in ((path, 600), (shared_data / "photos" / "jpegdec_jpg-size-17x17.jpg", 289)):
        assert pspfast.imread(file, max_pixels=pixels).size == pixels * 3
        with pytest.raises(pspfast.PictureError, match="--max-pixels"):
            pspfast.imread(file, max_pixels=pixels - 1)


def test_pillows_own_limit_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "small.png"
    Image.new("RGB", (30, 20)).save(path)
    assert pspfast.imread(path).shape == (20, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_truncation_is_seen_wherever_it_falls(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        whole = encoded(**options)
        path.write_bytes(whole)
        assert np.array_equal(pspfast.imread(path), reference.imread(path))
        for cut in range(1, len(whole) - 2, 37):
            path.write_bytes(whole[:cut])
            with pytest.raises(pspfast.PictureError):
                pspfast.imread(path)


def test_truncated_pngs_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for cut in range(1, len(whole) - 12, 211):
        path.write_bytes(whole[:cut])
        with pytest.raises(pspfast.PictureError):
            pspfast.imread(path)


def with_left_over(data: bytes, before: bytes, count: int) -> bytes:
    """``count`` zero bytes before the first marker ``before`` after the start of scan."""
    place = data.index(before, data.index(b"\xff\xda"))
    return data[:place] + bytes(count) + data[place:]


@pytest.mark.parametrize("marker", [b"\xff\xd0", b"\xff\xd2", b"\xff\xd9"])
def test_left_over_bytes_alone_are_a_remark(marker: bytes, tmp_path: Path) -> None:
    path = tmp_path / "padded.jpg"
    path.write_bytes(with_left_over(encoded(restart_marker_rows=1), marker, 50))
    picture = PictureReader().read(str(path))
    assert "extraneous" in picture.remark
    assert np.array_equal(picture.pixels, reference.imread(path))


@pytest.mark.parametrize("marker", [b"\xff\xc4", b"\xff\xd9"])
def test_left_over_bytes_in_a_progressive_picture(marker: bytes, tmp_path: Path) -> None:
    path = tmp_path / "padded.jpg"
    path.write_bytes(with_left_over(encoded(progressive=True), marker, 50))
    picture = PictureReader().read(str(path))
    assert "extraneous" in picture.remark
    assert np.array_equal(picture.pixels, reference.imread(path))


def test_left_over_bytes_do_not_hide_damage(tmp_path: Path) -> None:
    """The decoder tells its first complaint only; the second one is what matters."""
    path = tmp_path / "padded.jpg"
    padded = with_left_over(encoded(restart_marker_rows=1), b"\xff\xd0", 50)
    path.write_bytes(padded[: len(padded) // 2])
    with pytest.raises(pspfast.PictureError):
        pspfast.imread(path)
    second, third = padded.index(b"\xff\xd1"), padded.index(b"\xff\xd2")
    path.write_bytes(padded[:second] + padded[third:])  # an interval is gone
    with pytest.raises(pspfast.PictureError):
        pspfast.imread(path)
    path.write_bytes(padded[: second + 8] + padded[third:])  # and half of one
    with pytest.raises(pspfast.PictureError):
        pspfast.imread(path)


def with_exif(*blocks: bytes) -> bytes:
    data = encoded(16, 24)
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in blocks)
    return data[:2] + segments + data[2:]


def exif(order: str, entries: list[bytes], magic: int = 42, first: int = 8, count: int | None = None) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HI", magic, first)
    return b"Exif\0\0" + head + struct.pack(order + "H", len(entries) if count is None else count) + b"".join(entries)


def entry(order: str, tag: int, kind: int = 3, count: int = 1, value: int = 0) -> bytes:
    fields = struct.pack(order + "HHI", tag, kind, count)
    return fields + (struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value))


def assert_turned_as_opencv_turns(data: bytes) -> None:
    wanted = reference.imdecode(data)
    header = jpeg.read_header(data)
    pixels, _ = jpeg.decode(data, header, np.empty(header.height * header.width * 3, np.uint8))
    assert np.array_equal(jpeg.orient(pixels, header.orientation), wanted)
    assert header.size == wanted.shape[:2]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 256, 65535])
def test_every_orientation(order: str, value: int) -> None:
    assert_turned_as_opencv_turns(with_exif(exif(order, [entry(order, 274, value=value)])))


@pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < 5, reason="the rules are those of OpenCV 5, later than 4.11's")
def test_orientation_where_it_is_odd() -> None:
    turn, back = entry("<", 274, value=6), entry("<", 274, value=3)
    good = exif("<", [turn])
    for blocks in (
        (b"http://ns.adobe.com/xap/1.0/\0" + bytes(40), good),
        (exif("<", [back]), good),
        (exif("<", []), good),
        (exif("<", [turn], magic=43), good),
        (exif("<", [back, turn]),),
        (exif("<", [entry("<", 271, 2, 5000, 4000), turn]),),
        (exif("<", [entry("<", 271, 2, 3, 0), turn]),),
        (exif("<", [entry("<", 282, 5, 1, 4000), turn]),),
        (exif("<", [entry("<", 319, 5, 6, 8), turn]),),
        (exif("<", [entry("<", 34665, 4, 1, 9000), entry("<", 37500, 7, 9999, 9999), turn]),),
        (exif("<", [turn], count=500),),
        (exif("<", [turn], first=9),),
        (exif("<", [turn], first=0xFFFFFFF0),),
        (exif("<", [entry("<", 274, 4, 1, 6)]),),
        (b"Exif\0\0",),
        (b"Exif\0\0I",),
        (b"Exif\0\0IM*\0" + bytes(20),),
        (b"Exif\0", good),
    ):
        assert_turned_as_opencv_turns(with_exif(*blocks))


@given(
    st.sampled_from("<>"),
    st.lists(
        st.tuples(
            st.sampled_from([270, 271, 274, 282, 296, 305, 318, 319, 529, 531, 532, 33432, 34665, 700]),
            st.integers(0, 12),
            st.integers(0, 80),
            st.one_of(st.integers(0, 90), st.integers(0, 9)),
        ),
        max_size=5,
    ),
    st.integers(0, 7),
    st.binary(max_size=30),
)
@settings(max_examples=400, deadline=None)
def test_orientation_fuzz(order: str, entries: list[tuple[int, int, int, int]], more: int, tail: bytes) -> None:
    block = exif(order, [entry(order, *fields) for fields in entries], count=len(entries) + more) + tail
    assert_turned_as_opencv_turns(with_exif(block))


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_header_or_an_error(data: bytes, start: bool) -> None:
    data = b"\xff\xd8\xff" + data if start else data
    try:
        header = jpeg.read_header(data)
    except (jpeg.JpegError, EOFError):
        return
    assert header.height > 0
    assert header.width > 0


@given(st.integers(0, 2000), st.integers(0, 255), st.booleans())
@example(2, 0, False)  # FF D8 without another FF: a JPEG to libjpeg, none to OpenCV
@settings(max_examples=300, deadline=None)
def test_damaged_files_give_what_opencv_gives_or_an_error(at: int, value: int, progressive: bool) -> None:
    data = bytearray(encoded(progressive=progressive))
    data[at % len(data)] = value
    try:
        header = jpeg.read_header(bytes(data))
        if header.height * header.width > 1_000_000:
            return
        pixels, _ = jpeg.decode(bytes(data), header, np.empty(header.height * header.width * 3, np.uint8))
    except (jpeg.JpegError, EOFError):
        return
    wanted = reference.imdecode(bytes(data))
    assert np.array_equal(jpeg.orient(pixels, header.orientation), wanted)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path, text in (
        (tmp_path, "not a regular file"),
        (pipe, "not a regular file"),
        (tmp_path / "no.jpg", "No such"),
    ):
        for read in (pspfast.imread, pspfast.picture_size):
            with pytest.raises(pspfast.PictureError, match=text):
                read(path)


def test_one_read_of_a_file(tmp_path: Path) -> None:
    """Size, modification time and number of bytes; whatever is no regular file is not waited for."""
    path, room = tmp_path / "file", np.zeros(4, np.uint8)
    path.write_bytes(bytes(range(10)))
    modified = path.stat().st_mtime_ns
    for start, wanted in ((0, [0, 1, 2, 3]), (7, [7, 8, 9]), (10, []), (10**12, [])):
        assert _core.read_file(str(path), start, room) == (10, modified, len(wanted))
        assert room[: len(wanted)].tolist() == wanted
    assert _core.read_file(str(path), 0, room[:0]) == (10, modified, 0)
    os.mkfifo(tmp_path / "pipe")
    for name in (str(tmp_path / "pipe"), str(tmp_path), "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            _core.read_file(name, 0, room)
    with pytest.raises(OSError, match="Invalid argument"):
        _core.read_file(str(path), -1, room)
    with pytest.raises(FileNotFoundError):
        _core.read_file("nowhere\udcff", 0, room)
    room.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _core.read_file(str(path), 0, room)


@pytest.mark.parametrize("expected", [0, 1, 9, 10, 11])
def test_a_file_of_any_size_is_read_whole(expected: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(10)))
    assert read_picture_file(str(tmp_path / "file"), expected)[0] == bytes(range(10))
    with open("/proc/self/cmdline", "rb") as file:  # whose size is 0, says the system
        assert read_picture_file("/proc/self/cmdline", expected)[0] == file.read()


def test_a_file_that_grows_or_goes_between_two_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read_file = tmp_path / "file", _core.read_file

    def then(change: Callable[[], object]) -> None:
        path.write_bytes(bytes(10))
        changes = [change]

        def read(*arguments: Any) -> tuple[int, int, int]:
            found = read_file(*arguments)
            if changes:
                changes.pop()()
            return found

        monkeypatch.setattr(_core, "read_file", read)

    then(lambda: path.write_bytes(bytes(1000)))
    assert len(read_picture_file(str(path), 4)[0]) == 1000
    then(path.unlink)
    with pytest.raises(pspfast.PictureError, match="file: No such file or directory"):
        read_picture_file(str(path), 4)


def test_a_header_longer_than_the_first_read(tmp_path: Path) -> None:
    data = encoded()
    comment = b"\xff\xfe" + struct.pack(">H", 60002) + bytes(60000)
    path = tmp_path / "long.jpg"
    path.write_bytes(data[:2] + comment + data[2:])
    assert pspfast.picture_size(path) == (90, 64)


def test_without_opencv_other_formats_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    path = tmp_path / "picture.png"
    Image.new("RGB", (3, 2)).save(path)
    with pytest.raises(pspfast.PictureError, match="libgl1"):
        pspfast.imread(path)


def test_a_giant_does_not_stay_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "giant.jpg"
    Image.new("RGB", (4000, 3000)).save(path)
    reader = PictureReader()
    assert reader.read(str(path)).pixels.shape == (3000, 4000, 3)
    assert reader._buffer.size == 0


def test_every_beginning_of_a_header_asks_for_more() -> None:
    data = encoded()
    for length in range(3, jpeg.read_header(data).scan + 2):
        with pytest.raises(EOFError):
            jpeg.read_header(data[:length])


def test_left_over_bytes_in_pictures_with_restart_markers(tmp_path: Path) -> None:
    """Each restart interval is looked into on its own, whatever its length and the size of the picture."""
    rng = np.random.default_rng(3)
    for width, height, rows in ((50, 10, 1), (17, 17, 1), (90, 64, 2), (1800, 1700, 40), (64, 48, 3)):
        noise = rng.integers(0, 255, (height, width, 3)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "JPEG", quality=30, restart_marker_rows=rows)
        path = tmp_path / "restart.jpg"
        path.write_bytes(buffer.getvalue()[:-2] + bytes(50) + jpeg.END_OF_IMAGE)
        picture = PictureReader().read(str(path))
        assert "extraneous bytes" in picture.remark
        assert np.array_equal(picture.pixels, reference.imread(path))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_from_headers_are_those_of_the_pixels(tmp_path: Path, suffix: str, orientation: int) -> None:
    if suffix == "webp" and int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV before 5 does not turn WebP pictures")
    path = tmp_path / f"picture.{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    # From memory: OpenCV 5.0 does not read a TIFF that lies on its side from a path.
    wanted = reference.imdecode(path.read_bytes())
    assert pspfast.picture_size(path) == pspfast.imread(path).shape[:2] == wanted.shape[:2]


def exif_only(path: Path, orientation: int) -> None:
    """An AVIF whose EXIF says an orientation, and whose own description none, as some cameras write it."""
    exif = Image.Exif()
    exif[296] = 1  # Pillow makes an orientation the format's own description: it is put in afterwards
    Image.new("RGB", (30, 20)).save(path, exif=exif.tobytes())
    data = path.read_bytes()
    for order in "<>":
        data = data.replace(
            struct.pack(f"{order}HHIHH", 296, 3, 1, 1, 0), struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0)
        )
    assert data != path.read_bytes()
    path.write_bytes(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("where", ["its own", "EXIF"])
def test_sizes_of_avif_are_those_of_the_pixels(tmp_path: Path, where: str, orientation: int) -> None:
    """OpenCV looks for the orientation in the EXIF alone, Pillow in the format's own description."""
    if not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    path = tmp_path / "picture.avif"
    if where == "EXIF" and orientation > 1:
        exif_only(path, orientation)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.new("RGB", (30, 20)).save(path, exif=exif.tobytes())
    if cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) is None:
        for read in (pspfast.imread, pspfast.picture_size):
            if read is pspfast.picture_size and orientation == 1:
                continue  # from the header alone
            with pytest.raises(pspfast.PictureError, match="OpenCV cannot decode it"):
                read(path)
        return
    assert pspfast.picture_size(path) == pspfast.imread(path).shape[:2]


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "1", "P", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_of_tiff_of_every_kind_are_those_of_the_pixels(tmp_path: Path, mode: str, orientation: int) -> None:
    path = tmp_path / "picture.tif"
    picture = Image.new("RGB", (30, 20), (200, 100, 50)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    picture.save(path, tiffinfo={274: orientation})
    assert pspfast.picture_size(path) == pspfast.imread(path).shape[:2]


def test_a_tiff_that_opencv_cannot_turn_is_refused_by_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.tif"
    Image.new("RGB", (30, 20)).save(path, tiffinfo={274: 6})
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    for read in (pspfast.imread, pspfast.picture_size):
        with pytest.raises(pspfast.PictureError, match=r"picture.tif: OpenCV cannot decode it"):
            read(path)


def test_what_opencv_refuses_is_an_error_of_that_picture(tmp_path: Path) -> None:
    path = tmp_path / "long.bmp"
    Image.new("L", (1_100_000, 1)).save(path)
    with pytest.raises(pspfast.PictureError, match=r"long.bmp: OpenCV refuses"):
        pspfast.imread(path)


def test_a_file_too_large_for_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(pspfast.PictureError, match="not enough memory"):
        pspfast.imread(path)


def test_junk_between_restart_markers_of_several_scans_is_told_at_once() -> None:
    """There are too many markers to try one after the other."""
    noise = np.random.default_rng(1).integers(0, 255, (600, 900, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", progressive=True, restart_marker_blocks=1)
    data = buffer.getvalue()
    middle = data.index(b"\xff\xd3", len(data) // 2)
    data = data[:middle] + bytes(3) + data[middle:]
    with pytest.raises(jpeg.JpegError, match="extraneous bytes"):
        jpeg.decode(data, jpeg.read_header(data), np.empty(600 * 900 * 3, np.uint8))


def test_a_damaged_interval_wider_than_a_jpeg_can_be() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", restart_marker_blocks=7500)
    data = buffer.getvalue()[:400_000]
    with pytest.raises(jpeg.JpegError):
        jpeg.decode(data, jpeg.read_header(data), np.empty(1600 * 1200 * 3, np.uint8))
