"""Picture files: the pixels ``cv2.imread(path)`` gives, or an error that names the file and what is wrong with it.

JPEG goes through :mod:`pspfast.pictures.jpeg` and needs no OpenCV. Everything else is decoded by OpenCV itself,
after Pillow has checked that the file is whole (OpenCV does not say when it is not).
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast import _core
from pspfast.pictures import jpeg
from pspfast.system.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["MAX_PIXELS", "Picture", "PictureError", "PictureReader", "imread", "picture_size"]

MAX_PIXELS = 100_000_000
"""Largest picture decoded unless told otherwise: 300 MB of pixels, twice what the largest common cameras write."""

# Enough for the header of nearly every JPEG; the rest is read only if this turns out not to be.
_HEADER_BYTES = 1 << 14
# A decode buffer above this is given back after its picture, so that one giant does not stay for the whole run.
_KEPT_BUFFER_BYTES = 1 << 25


class PictureError(FileError):
    """A picture file that cannot be used; ``filename`` is its path and ``strerror`` the reason."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: ``(height, width, 3)`` uint8, BGR, EXIF orientation applied. It may share the reader's buffer.
        file_bytes, modified_ns: size and modification time of the file it was read from.
        remark: what was odd about the file though its pixels are whole; mostly empty.
    """

    pixels: NDArray[np.uint8]
    file_bytes: int
    modified_ns: int
    remark: str


class PictureReader:
    """Reads pictures one after the other into one buffer that grows as needed; one reader a thread.

    Args:
        max_pixels: larger pictures are refused by their header, before they are decoded.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels
        self._buffer = np.empty(0, np.uint8)

    def read(self, path: str) -> Picture:
        """Read one picture; its pixels are valid until the next call.

        Raises:
            PictureError: missing, empty, not a picture, cut short, damaged or larger than ``max_pixels``.
        """
        return self.decode(path, *read_picture_file(path))

    def decode(self, path: str, data: bytes, modified_ns: int = 0) -> Picture:
        """The second half of :meth:`read`: a picture out of the bytes of its file.

        Raises:
            PictureError: see there; it names ``path``.
        """
        try:
            if data.startswith(jpeg.SIGNATURE):
                pixels, remark = self._read_jpeg(path, data)
            else:
                pixels, remark = _read_with_opencv(path, data, self.max_pixels), ""
        except MemoryError:
            raise PictureError(path, "there is not enough memory for it") from None
        return Picture(pixels, len(data), modified_ns, remark)

    def _read_jpeg(self, path: str, data: bytes) -> tuple[NDArray[np.uint8], str]:
        try:
            header = jpeg.read_header(data)
            check_pixels(path, header.height, header.width, self.max_pixels)
            pixels, remark = jpeg.decode(data, header, self._room(header.height * header.width * 3))
        except EOFError:
            raise PictureError(path, "the file ends inside its header") from None
        except jpeg.JpegError as error:
            raise PictureError(path, f"damaged JPEG: {error}") from None
        return jpeg.orient(pixels, header.orientation), remark

    def _room(self, size: int) -> NDArray[np.uint8]:
        if size > _KEPT_BUFFER_BYTES:
            return np.empty(size, np.uint8)
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        return self._buffer


def imread(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture as ``cv2.imread(path)`` would, but strictly.

    Args:
        path: a JPEG, or any other file that OpenCV reads.
        max_pixels: larger pictures are refused by their header, before they are decoded.

    Returns:
        ``(height, width, 3)`` uint8, BGR, EXIF orientation applied; grey and CMYK pictures become BGR.

    Raises:
        PictureError: an ``OSError`` with the path and the reason: missing, empty, not a picture, cut short, damaged,
            larger than ``max_pixels``. OpenCV returns ``None`` or a picture filled up with grey for these.

    Example:
        >>> try:
        ...     imread("no such picture.jpg")
        ... except PictureError as error:
        ...     print(error)
        no such picture.jpg: No such file or directory
    """
    return PictureReader(max_pixels).read(os.fspath(path)).pixels


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """``(height, width)`` in pixels that :func:`imread` would return, from the file's header alone.

    Which orientations OpenCV follows differs between its versions, but for JPEG: any other file that may say one is
    decoded to know.

    Raises:
        PictureError: missing, empty, not a picture, or cut inside its header. Damage after the header goes unseen.
    """
    path = os.fspath(path)
    data, _, _ = _read(path, 0, np.empty(_HEADER_BYTES, np.uint8))
    if not data:
        raise PictureError(path, "the file is empty")
    if not data.startswith(jpeg.SIGNATURE):
        return _size_of_other_format(path)
    try:
        while True:
            try:
                return jpeg.read_header(data).size
            except EOFError:
                more, _, _ = _read(path, len(data), np.empty(len(data), np.uint8))  # twice as much as before
                if not more:
                    raise
                data += more
    except EOFError:
        raise PictureError(path, "the file ends inside its header") from None
    except jpeg.JpegError as error:
        raise PictureError(path, f"damaged JPEG: {error}") from None


def read_picture_file(path: str, expected_bytes: int = 1 << 18) -> tuple[bytes, int]:
    """All bytes of a file, at least one, and its modification time in ns.

    Args:
        path: the file.
        expected_bytes: files below this are read in one go.

    Raises:
        PictureError: it cannot be read, is empty, or is no regular file.
    """
    try:
        room = np.empty(expected_bytes, np.uint8)
        while True:
            data, size, modified_ns = _read(path, 0, room)
            if len(data) < len(room):
                break
            room = np.empty(max(2 * len(room), size + 1), np.uint8)
    except MemoryError:
        raise PictureError(path, "there is not enough memory for it") from None
    if not data:
        raise PictureError(path, "the file is empty")
    return data, modified_ns


def _read(path: str, start: int, room: NDArray[np.uint8]) -> tuple[bytes, int, int]:
    """As many bytes as there are and fit, the file's size (0 of one in /proc) and its modification time in ns."""
    try:
        size, modified_ns, count = _core.read_file(path, start, room)
    except OSError as error:
        raise PictureError(path, error.strerror or str(error)) from error
    except ValueError as error:  # a path that cannot be one: with a NUL, or not to be encoded
        raise PictureError(path, str(error)) from error
    return room[:count].tobytes(), size, modified_ns


def check_pixels(path: str, height: int, width: int, limit: int) -> None:
    """Raise PictureError for a picture of more pixels than the limit."""
    if height * width > limit:
        raise PictureError(
            path, f"{width}x{height} is {height * width:,} pixels, over the limit of {limit:,} (--max-pixels)"
        )


_pillow_limit = threading.Lock()


def with_pillow(path: str, data: bytes | None, use: Callable[[Any], Any]) -> Any:
    """``use`` an opened Pillow image; whatever Pillow says against the file becomes a PictureError."""
    import io

    import PIL
    from PIL import Image

    try:
        # Pillow's own pixel limit is a module global. Ours is checked instead, so that there is one limit and one text.
        with _pillow_limit:
            kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(io.BytesIO(data) if data is not None else path)
            finally:
                Image.MAX_IMAGE_PIXELS = kept
        with image:
            return use(image)
    except PictureError:
        raise
    except PIL.UnidentifiedImageError:
        raise PictureError(path, "not a picture") from None
    # Pillow's plug-ins raise whatever their parsing runs into (SyntaxError, ValueError, struct.error, zlib.error, ...).
    except Exception as error:
        raise PictureError(path, f"damaged picture: {error}") from error


_ORIENTATION = 274  # EXIF's and TIFF's tag


def _size_of_other_format(path: str) -> tuple[int, int]:
    def plain(image: Any) -> tuple[int, int] | None:
        """None if the file may say an orientation; of an AVIF, Pillow and OpenCV look for it in different places."""
        if image.info.get("exif") or image.getexif().get(_ORIENTATION, 1) != 1:
            return None
        return image.height, image.width

    size: tuple[int, int] | None = with_pillow(path, None, plain)
    if size is None:
        data, _ = read_picture_file(path)
        height, width = _read_with_opencv(path, data, sys.maxsize).shape[:2]
        size = height, width
    return size


def _read_with_opencv(path: str, data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    def check(image: Any) -> None:
        check_pixels(path, image.height, image.width, max_pixels)
        image.load()

    with_pillow(path, data, check)
    try:
        import cv2
    except ImportError as error:
        raise PictureError(
            path,
            f"only JPEG can be read without OpenCV, which does not load here ({error}); on a server without a screen: "
            "apt-get install libgl1 libglib2.0-0, or pip install opencv-python-headless",
        ) from error
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise PictureError(path, f"OpenCV refuses it: {str(error).strip()}") from error
    if pixels is None:
        raise PictureError(path, "OpenCV cannot decode it")
    return np.asarray(pixels, np.uint8)
