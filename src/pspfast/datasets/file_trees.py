"""Where a data set's files are: a folder, or an uncompressed ``.tar`` that is read where it lies.

An archive's headers are read once, when it is opened, its files are then read with one ``pread`` each, from as many
threads as want to. Links are followed inside the archive.
"""

from __future__ import annotations

import os
import tarfile
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from pspfast.datasets.splits import text_of
from pspfast.pictures.reader import PictureError, read_picture_file

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Archive", "Folder", "Tree", "open_tree"]

# First bytes of what tar files are compressed with, and what undoes it.
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"PK\x03\x04": "unzip",
}
_NS = 1_000_000_000
_END = bytes(512)  # the block after the last file
_MOST_LINKS = 40  # that are followed for one path, as Linux does; more are a circle


class Tree(ABC):
    """Files below a root, by their paths from there with ``/`` between names. Use as a context manager.

    Attributes:
        root: the folder or archive; absolute.
    """

    root: str

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Sorted names of the files and folders right in a folder.

        Raises:
            NotADirectoryError: no such folder.
        """

    @abstractmethod
    def has(self, path: str) -> bool:
        """Whether there is such a file or folder."""

    @abstractmethod
    def stat(self, path: str) -> tuple[int, int]:
        """Bytes of a file and its modification time in ns.

        Raises:
            PictureError: there is no such file.
        """

    @abstractmethod
    def read(self, path: str, expected_bytes: int = 1 << 18) -> tuple[bytes, int]:
        """All bytes of a file, at least one, and its modification time in ns.

        Raises:
            PictureError: it is not there, cannot be read, or is empty.
        """

    @abstractmethod
    def shown(self, path: str) -> str:
        """How a file is named in messages; of a folder's file, its path."""

    @abstractmethod
    def close(self) -> None:
        """Release what is open; a second call does nothing."""

    def text(self, path: str) -> str:
        """A file as text.

        Raises:
            PictureError: it cannot be read.
            ValueError: it is not text.
        """
        data, _ = self.read(path)
        return text_of(data, self.shown(path))

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Folder(Tree):
    """A folder.

    Raises:
        NotADirectoryError: there is none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root, Folder(root) as tree:
        ...     tree.has("JPEGImages"), tree.shown("a.jpg") == os.path.join(root, "a.jpg")
        (False, True)
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        if not os.fspath(root):
            raise ValueError("the folder of the data has an empty name")
        self.root = os.path.abspath(root)
        if not os.path.isdir(self.root):
            raise NotADirectoryError(None, "no such folder", self.root)

    def names(self, folder: str) -> list[str]:
        """See :class:`Tree`."""
        try:
            return sorted(os.listdir(self.shown(folder)))
        except (FileNotFoundError, NotADirectoryError):
            raise NotADirectoryError(None, "no such folder", self.shown(folder)) from None

    def has(self, path: str) -> bool:
        """See :class:`Tree`."""
        return os.path.exists(self.shown(path))

    def stat(self, path: str) -> tuple[int, int]:
        """See :class:`Tree`."""
        try:
            found = os.stat(self.shown(path))
        except (OSError, ValueError) as error:  # gone, or a name that cannot be one
            raise PictureError(self.shown(path), getattr(error, "strerror", None) or str(error)) from error
        return found.st_size, found.st_mtime_ns

    def read(self, path: str, expected_bytes: int = 1 << 18) -> tuple[bytes, int]:
        """See :class:`Tree`."""
        return read_picture_file(self.shown(path), expected_bytes)

    def shown(self, path: str) -> str:
        """See :class:`Tree`."""
        return os.path.join(self.root, path) if path else self.root

    def close(self) -> None:
        """Nothing to release."""


class Archive(Tree):
    """An uncompressed tar file.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is compressed, damaged, or no tar file at all.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(path)
        self._file = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        self._links: dict[str, str] = {}
        try:
            self._members = self._indexed()
        except BaseException:  # Ctrl-C as well: nobody else can close it
            os.close(self._file)
            raise
        self._folders: dict[str, set[str]] = {}
        for path in (*self._members, *self._links):
            rest = path
            while rest:
                folder, _, name = rest.rpartition("/")
                if name in self._folders.setdefault(folder, set()):
                    break
                self._folders[folder].add(name)
                rest = folder

    def _indexed(self) -> dict[str, tuple[int, int, int]]:
        """Where each file starts, its bytes, and its modification time."""
        first = os.pread(self._file, 8, 0)
        for signature, tool in _COMPRESSED.items():
            if first.startswith(signature):
                raise ValueError(
                    f"{self.root} is compressed, so that no picture can be read without all before it; "
                    f"{tool} it and give the .tar, or unpack it and give the folder"
                )
        size = os.fstat(self._file).st_size
        members: dict[str, tuple[int, int, int]] = {}
        try:
            with open(os.dup(self._file), "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    name = os.path.normpath(member.name).lstrip("/")
                    if member.islnk() or member.issym():
                        self._add_link(name, member, members)
                    if not member.isreg():
                        continue
                    if member.issparse():
                        raise ValueError(f"{self.root}: {name} is a sparse file; unpack the archive, give the folder")
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError(f"it ends inside {name}")
                    members[name] = (member.offset_data, member.size, int(member.mtime * _NS))
                    self._links.pop(name, None)  # what was added later counts
                if os.pread(self._file, len(_END), archive.offset) != _END:
                    raise tarfile.ReadError("it ends without an end mark")
        except tarfile.TarError as error:
            raise ValueError(f"{self.root} is not a whole tar file: {error}") from error
        if not members:
            raise ValueError(f"{self.root}: no files in this tar file")
        return members

    def _add_link(self, name: str, link: tarfile.TarInfo, members: dict[str, tuple[int, int, int]]) -> None:
        """Take a link for the file that it leads to; a hard link is what tar makes of a file it meets a second time."""
        members.pop(name, None)
        folder = os.path.dirname(name) if link.issym() else ""  # a hard link is named from the archive's root
        target = os.path.normpath(os.path.join(folder, link.linkname)).lstrip("/")
        if link.islnk() and target in members:
            members[name] = members[target]
            self._links.pop(name, None)
        else:
            self._links[name] = target

    def names(self, folder: str) -> list[str]:
        """See :class:`Tree`."""
        folder = self._followed(folder)
        if folder not in self._folders:
            raise NotADirectoryError(None, "no such folder in this archive", self.shown(folder))
        return sorted(self._folders[folder])

    def has(self, path: str) -> bool:
        """See :class:`Tree`."""
        path = self._followed(path)
        return path in self._members or path in self._folders

    def stat(self, path: str) -> tuple[int, int]:
        """See :class:`Tree`."""
        _, size, modified_ns = self._member(path)
        return size, modified_ns

    def read(self, path: str, expected_bytes: int = 1 << 18) -> tuple[bytes, int]:
        """See :class:`Tree`."""
        del expected_bytes  # known here
        start, size, modified_ns = self._member(path)
        if not size:
            raise PictureError(self.shown(path), "the file is empty")
        try:
            data = os.pread(self._file, size, start)
            while len(data) < size and (more := os.pread(self._file, size - len(data), start + len(data))):
                data += more
        except OSError as error:
            raise PictureError(self.shown(path), error.strerror or str(error)) from error
        except MemoryError:
            raise PictureError(self.shown(path), "there is not enough memory for it") from None
        if len(data) != size:
            raise PictureError(self.shown(path), f"the archive ends {size - len(data):,} bytes before it does")
        return data, modified_ns

    def shown(self, path: str) -> str:
        """See :class:`Tree`."""
        return f"{self.root}:{path}"

    def below(self, folder: str) -> Iterable[str]:
        """Paths of all files that have ``folder`` as one of the folders they are in, up to that folder's parent."""
        inside = f"/{folder}/"
        paths = (f"/{name}" for name in (*self._members, *(f"{link}/" for link in self._links)))
        return sorted({path.split(inside)[0].lstrip("/") for path in paths if inside in path})

    def close(self) -> None:
        """See :class:`Tree`."""
        with suppress(OSError):
            if self._file >= 0:
                os.close(self._file)
        self._file = -1

    def _member(self, path: str) -> tuple[int, int, int]:
        name = self._followed(path)
        try:
            return self._members[name]
        except KeyError:
            led = f"; a link leads to {name}" if name != _inside(path) else ""
            raise PictureError(self.shown(path), f"no such file in this archive{led}") from None

    def _followed(self, path: str) -> str:
        """Where a path leads when its links are followed inside the archive, those of its folders, too."""
        path = _inside(path)
        if path in self._members or not self._links:
            return path
        for _ in range(_MOST_LINKS):
            parts = path.split("/")
            ends = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
            link = next((end for end in ends if end in self._links), None)
            if link is None:
                return path
            path = _inside(self._links[link] + path[len(link) :])
        return path


def _inside(path: str) -> str:
    """A path from the archive's root, which is empty; names keep their dots (``.data``, ``set.``)."""
    path = os.path.normpath(path)
    return "" if path == "." else path.strip("/")


class _Below(Tree):
    """A folder of another tree, as a tree of its own."""

    def __init__(self, tree: Tree, folder: str) -> None:
        self._tree, self._folder = tree, folder
        self.root = tree.shown(folder)

    def names(self, folder: str) -> list[str]:
        return self._tree.names(self._path(folder))

    def has(self, path: str) -> bool:
        return self._tree.has(self._path(path))

    def stat(self, path: str) -> tuple[int, int]:
        return self._tree.stat(self._path(path))

    def read(self, path: str, expected_bytes: int = 1 << 18) -> tuple[bytes, int]:
        return self._tree.read(self._path(path), expected_bytes)

    def shown(self, path: str) -> str:
        return self._tree.shown(self._path(path))

    def close(self) -> None:
        self._tree.close()

    def _path(self, path: str) -> str:
        return f"{self._folder}/{path}" if path else self._folder


def open_tree(root: str | os.PathLike[str], marker: str = "") -> Tree:
    """A folder, or a tar file from where the data set in it begins.

    Args:
        root: the folder or file.
        marker: of an archive: the folder that the data set has in its root, such as ``JPEGImages``; where that is not
            at the archive's own root (``VOCdevkit/VOC2012/JPEGImages``), the tree begins above it.

    Raises:
        OSError: it is neither, or cannot be read.
        ValueError: see :class:`Archive`; or an archive with no such folder, or several.
    """
    if os.path.isdir(root) or not os.path.exists(root):
        return Folder(root)
    archive = Archive(root)
    if not marker or archive.has(marker):
        return archive
    places = list(archive.below(marker))
    if len(places) != 1:
        archive.close()
        found = f"in several places ({', '.join(places[:3])})" if places else "nowhere in it"
        raise ValueError(f"{archive.root}: the folder {marker} is {found}; expected it once")
    return _Below(archive, places[0])
