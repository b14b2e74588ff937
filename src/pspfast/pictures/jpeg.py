"""JPEG files, strictly: sizes from the header, pixels as ``cv2.imread`` gives them, damage as an error.

The decoding is libjpeg-turbo's, through ``simplejpeg``. This module adds what that leaves out: the EXIF orientation, a
size that costs no decode, and the difference between a picture with junk between its segments (usable) and one whose
coded data is damaged (OpenCV fills it with grey and says nothing).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Header", "JpegError", "decode", "orient", "read_header"]

SIGNATURE = b"\xff\xd8\xff"  # as OpenCV wants it: the first marker follows at once
START_OF_IMAGE = b"\xff\xd8"
END_OF_IMAGE = b"\xff\xd9"

# Markers, ITU-T T.81 table B.1.
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END, _APP0, _APP1, _APP14, _APP15, _COMMENT, _RESTART = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE, 0xDD

_LARGEST_SIDE = 65535

_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_RESTART_OR_END = re.compile(rb"\xff+[\xd0-\xd7\xd9]")


class JpegError(ValueError):
    """The bytes are not a whole JPEG picture; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the segments before the first scan say.

    Attributes:
        height, width: as coded, in pixels; see :attr:`size` for the picture as shown.
        orientation: the EXIF orientation, 1 to 8 (1 where there is none).
        segments: byte ranges of the segments before the first scan, markers included.
        scan: offset of the first scan's marker.
    """

    height: int
    width: int
    orientation: int
    segments: tuple[tuple[int, int], ...]
    scan: int

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` after the orientation is applied, as ``cv2.imread`` shows the picture."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: bytes) -> Header:
    """Walk the segments up to the first scan.

    Args:
        data: the file, or a beginning of it.

    Raises:
        JpegError: not a JPEG, cut inside the header, or without a frame of at least 1x1.
        EOFError: everything is sound so far but ``data`` ends before the first scan.
    """
    if not data.startswith(SIGNATURE):
        raise JpegError("not a JPEG (no FF D8 FF at the start)")
    frame: tuple[int, int] | None = None
    orientation = 0
    segments = []
    position = 2
    try:
        while True:
            start, marker = _next_marker(data, position)
            position = start + 2
            if marker in _STANDALONE:
                continue
            if marker == _END:
                raise JpegError("ends before any picture data")
            if marker == _SCAN:
                break
            if position + 2 > len(data):
                raise EOFError
            length = int.from_bytes(data[position : position + 2], "big")
            end = position + length
            if end > len(data):
                raise EOFError
            if length < 2:
                raise JpegError(f"segment FF {marker:02X} at byte {start} has the length {length}")
            if marker in _FRAMES:
                if length < 8:
                    raise JpegError(f"frame header at byte {start} is only {length} bytes long")
                precision, height, width = struct.unpack_from(">BHH", data, position + 2)
                if precision != 8:
                    raise JpegError(f"{precision}-bit samples; only 8-bit JPEG can be used")
                frame = (height, width)
            elif marker == _APP1 and data.startswith(b"Exif\0\0", position + 2):
                # The first orientation found stands, as in OpenCV.
                orientation = orientation or _exif_orientation(data[position + 8 : end])
            segments.append((start, end))
            position = end
    except IndexError:
        raise EOFError("the file ends inside its header") from None
    if frame is None:
        raise JpegError("picture data without a frame header")
    if 0 in frame:
        raise JpegError(f"the header says {frame[1]}x{frame[0]} pixels")
    return Header(*frame, orientation if 1 <= orientation <= 8 else 1, tuple(segments), start)


def decode(data: bytes, header: Header, buffer: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], str]:
    """Decode to BGR, without the orientation.

    Args:
        data: the whole file.
        header: what :func:`read_header` found in it.
        buffer: at least ``height * width * 3`` bytes; the pixels are a view of it.

    Returns:
        ``(height, width, 3)`` uint8 pixels, and a remark on junk that was passed over (else an empty string).

    Raises:
        JpegError: cut short or damaged.
    """
    try:
        pixels, remark = _decode(data, buffer), ""
    except ValueError as error:
        remark = str(error)
        # Only what defines pixels: other complaints about the header were about metadata or junk between segments.
        whole = _without_metadata(data, header)
        complains = bool(_complaint(whole))
        if complains:
            _check_only_left_over(whole)
        pixels = _decode(whole, buffer, strict=not complains)
    if pixels.shape[:2] != (header.height, header.width):
        raise JpegError(
            f"decoded to {pixels.shape[1]}x{pixels.shape[0]}, the header says {header.width}x{header.height}"
        )
    return pixels, remark


def orient(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror pixels as EXIF orientation 1 to 8 says; contiguous, and a copy unless it is 1."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """Offset of the next marker's last FF and its code, junk before it passed over as libjpeg does."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise IndexError
        while data[position + 1] == 0xFF:
            position += 1
        if data[position + 1] != 0:
            return position, data[position + 1]
        position += 2


def _exif_orientation(tiff: bytes) -> int:
    """Tag 274 of the first directory, or 0; the rules, and what makes it give up, are those of OpenCV 5's reader."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
    if not order:
        return 0

    def number(form: str, offset: int) -> int:
        return int(struct.unpack_from(order + form, tiff, offset)[0])

    try:
        if number("H", 2) != 42:
            return 0
        directory = number("I", 4)
        for index in range(number("H", directory)):
            entry = directory + 2 + 12 * index
            tag = number("H", entry)
            if tag == 274:
                return number("H", entry + 8)
            # An entry whose value lies outside the block ends the reading; entries before it stand.
            if tag in _TEXT_TAGS:
                size = number("I", entry + 4)
                offset = number("I", entry + 8) if size > 4 else 8
                if offset + size > len(tiff):
                    return 0
            elif tag in _RATIONAL_TAGS:
                number("I", number("I", entry + 8) + 8 * _RATIONAL_TAGS[tag] - 4)
            elif tag in _SHORT_TAGS:
                number("H", entry + 8)
    except struct.error:
        return 0
    return 0


# Tags that OpenCV reads on its way to the orientation: text, shorts, and rationals with their count.
_TEXT_TAGS = frozenset({270, 271, 272, 305, 306, 33432})
_SHORT_TAGS = frozenset({296, 531})
_RATIONAL_TAGS = {282: 1, 283: 1, 318: 2, 319: 6, 529: 3, 532: 6}


def _decode(data: bytes, buffer: NDArray[np.uint8] | None, *, strict: bool = True) -> NDArray[np.uint8]:
    """BGR, a view of the buffer if one is given; ValueError for what the decoder complains of."""
    import simplejpeg  # type: ignore[import-untyped]

    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "BGR", buffer=buffer, strict=strict)
    return pixels


def _complaint(data: bytes) -> str:
    """The decoder's first complaint about a picture, or an empty string."""
    try:
        _decode(data, None)
    except ValueError as error:
        return str(error)
    return ""


def _without_metadata(data: bytes, header: Header) -> bytes:
    """The same picture with nothing before its first scan but the segments that decide its pixels."""

    def defines_pixels(marker: int) -> bool:
        is_metadata = marker == _COMMENT or _APP0 <= marker <= _APP15
        return not is_metadata or marker in (_APP0, _APP14)  # JFIF and Adobe name the colour space

    kept = [data[start:end] for start, end in header.segments if defines_pixels(data[start + 1])]
    return b"".join((START_OF_IMAGE, *kept, data[header.scan :]))


def _check_only_left_over(data: bytes) -> None:
    """Raise unless bytes left over at the end of coded data are all that is wrong.

    The decoder names only its first complaint, which hides whatever follows it. So the coded data is taken apart where
    decoding starts afresh, and a complaint about left-over bytes counts only as the last word of such a part.
    """
    for start in list(_restart_intervals(data)) or [data]:
        part = start
        remark = _complaint(part)
        left_over = _EXTRANEOUS.search(remark)
        while left_over and left_over[2] != "d9":  # between two scans of a progressive picture
            part = _without_left_over(part, remark, left_over)
            remark = _complaint(part)
            left_over = _EXTRANEOUS.search(remark)
        if remark and not left_over:
            raise JpegError(remark)


def _without_left_over(data: bytes, remark: str, found: re.Match[str]) -> bytes:
    """The same with the bytes taken out that ``remark`` complains of; at least one byte shorter."""
    extra, marker = int(found[1]), int(found[2], 16)
    if marker in _STANDALONE:  # restart markers in several scans: too many places to try
        raise JpegError(remark)
    for match in re.finditer(re.escape(bytes((0xFF, marker))), data):
        # Here it is if the same bytes are left over when the picture is made to end at this marker.
        ending = _complaint(data[: match.start()] + END_OF_IMAGE)
        if extra <= match.start() and ending == remark.replace(
            found[0], f"{extra} extraneous bytes before marker 0xd9"
        ):
            return data[: match.start() - extra] + data[match.start() :]
    raise JpegError(remark)


def _restart_intervals(data: bytes) -> Iterator[bytes]:
    """Each restart interval of a one-scan sequential picture as a picture of its own.

    Nothing for pictures without restart markers, or of several scans.
    """
    header = read_header(data)
    segments = {data[start + 1]: start for start, _ in header.segments}
    scan_data = header.scan + 2 + int.from_bytes(data[header.scan + 2 : header.scan + 4], "big")
    frame = next((segments[marker] for marker in (0xC0, 0xC1) if marker in segments), None)
    if frame is None or _RESTART not in segments:
        return
    interval = int.from_bytes(data[segments[_RESTART] + 4 : segments[_RESTART] + 6], "big")
    components = data[frame + 9]
    if interval == 0 or data[header.scan + 4] != components:
        return

    # An MCU is one 8x8 block of a lone component, else as many as the largest sampling factors say (T.81, A.2).
    factors = [data[frame + 11 + 3 * c] for c in range(components)]
    mcu_width = 8 * (max(f >> 4 for f in factors) if components > 1 else 1)
    mcu_height = 8 * (max(f & 15 for f in factors) if components > 1 else 1)
    mcus = -(-header.width // mcu_width) * -(-header.height // mcu_height)

    coded = _RESTART_OR_END.split(data[scan_data:])
    expected = -(-mcus // interval)
    markers = [found[-1] - 0xD0 for found in _RESTART_OR_END.findall(data[scan_data:])[: expected - 1]]
    if markers != [index % 8 for index in range(expected - 1)]:
        raise JpegError(f"restart markers are missing or out of order ({expected} intervals expected)")
    for index, part in enumerate(coded[:expected]):
        count = min(interval, mcus - index * interval)
        # MCUs follow each other whatever the number of them in a row: any rectangle of as many will do.
        columns = max((n for n in range(1, _LARGEST_SIDE // mcu_width + 1) if count % n == 0), default=1)
        if count // columns * mcu_height > _LARGEST_SIDE:
            raise JpegError(f"restart intervals of {count} MCUs cannot be looked into for damage")
        size = struct.pack(">HH", mcu_height * (count // columns), mcu_width * columns)
        yield b"".join((data[: frame + 5], size, data[frame + 9 : scan_data], part, END_OF_IMAGE))
