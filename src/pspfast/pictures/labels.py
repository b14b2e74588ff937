"""Ground truth: label pictures as the indices they hold, never as colours.

The common kind, an 8-bit palette or grey PNG whose rows are stored unfiltered, is inflated and used where it lies: the
labels are a view of the inflated rows. Pillow decodes whatever else there is, after the PNG's checksums were looked at.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from zlib_ng import zlib_ng

from pspfast.pictures.reader import MAX_PIXELS, PictureError, check_pixels, read_picture_file, with_pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_LABEL_BYTES", "LabelPicture", "decode_labels", "read_labels"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")
_HEADER = struct.Struct(">IIBBBBB")
_GREY, _PALETTE = 0, 3  # colour types whose samples are indices (PNG specification, 11.2.1)
MOST_LABEL_BYTES = 1 << 15
"""More than nearly every label picture has: VOC's have 2 to 5 kB."""
_COLOURED = {2: "RGB", 4: "grey with transparency", 6: "RGBA"}

# First column and row of each pass, and the steps (8.2).
_ADAM7 = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
_LOSSY = ("JPEG", "MPO", "JPEG2000")

_ADVICE = (
    "labels must be the class indices themselves, in a palette or grey PNG; programs that expand palettes to colours "
    "(cv2 among them) lose them: take the original file, or turn each colour back into its index"
)


@dataclass(frozen=True, slots=True)
class LabelPicture:
    """The labels of one picture.

    Attributes:
        pixels: ``(height, width)`` uint8, or int32 from a 16-bit file; read-only, rows may be apart.
        data: the file's bytes.
    """

    pixels: NDArray[Any]
    data: bytes


def read_labels(path: str, *, wide: bool = False, max_pixels: int = MAX_PIXELS) -> LabelPicture:
    """Read a label picture: palette indices, or the samples of a grey picture; 1, 2, 4 and 8 bits, interlaced or not.

    Args:
        path: a PNG, or another lossless picture with a palette or in grey that Pillow reads.
        wide: whether 16-bit samples are taken for labels; below 257 classes they are other data (instance ids).
        max_pixels: larger pictures are refused by their header.

    Raises:
        PictureError: missing, empty, cut short, damaged, larger than ``max_pixels``, in colours, or 16-bit.

    Example:
        >>> import os, tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = os.path.join(folder, "labels.png")
        ...     Image.new("L", (4, 3), color=15).save(file)
        ...     read_labels(file).pixels[0].tolist()
        [15, 15, 15, 15]
    """
    data, _ = read_picture_file(path, MOST_LABEL_BYTES)
    return decode_labels(path, data, wide=wide, max_pixels=max_pixels)


def decode_labels(path: str, data: bytes, *, wide: bool = False, max_pixels: int = MAX_PIXELS) -> LabelPicture:
    """:func:`read_labels` for bytes that were read already; errors name ``path``."""
    try:
        pixels = _from_png(path, data, wide, max_pixels) if data.startswith(_SIGNATURE) else None
        if pixels is None:
            pixels = _with_pillow(path, data, wide, max_pixels)
    except MemoryError:
        raise PictureError(path, "there is not enough memory for it") from None
    return LabelPicture(pixels, data)


def _from_png(path: str, data: bytes, wide: bool, max_pixels: int) -> NDArray[np.uint8] | None:
    """The labels where they lie, ``None`` if they have to be decoded; damage raises either way."""
    header, coded = _checked_chunks(path, data)
    width, height, depth, colour, _, _, interlaced = _HEADER.unpack(header)
    check_pixels(path, height, width, max_pixels)
    if colour in _COLOURED:
        raise PictureError(path, f"in colours ({_COLOURED[colour]}); {_ADVICE}")
    if depth == 16 and not wide:
        raise PictureError(path, _not_wide("16-bit grey"))
    if colour not in (_GREY, _PALETTE) or not (width and height):
        raise PictureError(path, f"damaged PNG: {width}x{height} pixels of colour type {colour}")

    inflater = zlib_ng.decompressobj()
    size = _size_of_rows(width, height, depth, bool(interlaced))
    try:
        rows = np.frombuffer(inflater.decompress(coded, size + 1), np.uint8)
    except zlib_ng.error as error:  # type: ignore[misc]
        raise PictureError(path, f"damaged PNG: {error}") from None
    if rows.size != size or not inflater.eof:
        found = f"more than {size:,}" if rows.size > size else f"{rows.size:,}"
        raise PictureError(path, f"damaged PNG: {found} bytes of pixels, {width}x{height} needs {size:,}")
    if depth != 8 or interlaced:
        return None
    rows = rows.reshape(height, width + 1)
    return None if rows[:, 0].any() else rows[:, 1:]


def _size_of_rows(width: int, height: int, depth: int, interlaced: bool) -> int:
    """Bytes of a PNG's rows, each with its filter's number in front."""
    passes = [
        (-(-(height - top) // down), -(-(width - left) // right))
        for left, top, right, down in (_ADAM7 if interlaced else ((0, 0, 1, 1),))
    ]
    return sum(rows * (1 + (columns * depth + 7) // 8) for rows, columns in passes if rows > 0 and columns > 0)


def _checked_chunks(path: str, data: bytes) -> tuple[bytes, bytes]:
    """Header and coded pixels of a PNG whose every chunk up to its end mark is there and has its checksum."""
    header, coded, at = b"", [], len(_SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise PictureError(path, f"damaged PNG: the file ends after {len(data):,} bytes without an end mark")
        length, kind = _CHUNK.unpack_from(data, at)
        end = at + 12 + length
        if end > len(data):
            missing = end - len(data)
            raise PictureError(path, f"damaged PNG: the file ends {missing:,} bytes before its chunk {kind!r} does")
        body = memoryview(data)[at + 4 : end - 4]
        if zlib_ng.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            raise PictureError(path, f"damaged PNG: the checksum of chunk {kind!r} at byte {at} is wrong")
        if (kind == b"IHDR") != (at == len(_SIGNATURE)):
            raise PictureError(path, f"damaged PNG: chunk {kind!r} at byte {at}; the header comes first, and once")
        if kind == b"IHDR":
            header = bytes(body[4:])
        elif kind == b"IDAT":
            coded.append(body[4:])
        elif kind == b"IEND":
            break
        at = end
    if len(header) != _HEADER.size or not coded:
        raise PictureError(path, "damaged PNG: no header or no pixels")
    return header, b"".join(coded)


def _with_pillow(path: str, data: bytes, wide: bool, max_pixels: int) -> NDArray[Any]:
    def decode(image: Any) -> NDArray[Any]:
        check_pixels(path, image.height, image.width, max_pixels)
        if image.format in _LOSSY:
            raise PictureError(path, f"a {image.format}, which does not keep values as they are; {_ADVICE}")
        if image.mode in ("1", "P", "L"):
            image.load()
            pixels: NDArray[Any] = np.asarray(image, np.uint8)
            if image.format == "PNG" and image.mode == "L" and data[24] < 8:
                # Pillow spreads grey samples of 2 and 4 bits over 0..255.
                pixels = pixels // (255 // ((1 << data[24]) - 1))
            return pixels
        if image.mode.startswith("I"):
            if not wide:
                raise PictureError(path, _not_wide(f"of mode {image.mode}"))
            return np.asarray(image).astype(np.int32)
        raise PictureError(path, f"of mode {image.mode}, which holds no indices; {_ADVICE}")

    decoded: NDArray[Any] = with_pillow(path, data, decode)
    return decoded


def _not_wide(what: str) -> str:
    return f"{what}; labels of up to 256 classes have 8 bits, are these instance ids or depths?"
