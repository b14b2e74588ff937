"""What kind of file is given for a checkpoint: one of torch.save's, or refused by what it is, without loading it."""

from __future__ import annotations

import pickletools
import zipfile
import zlib

from pspfast.system.captured_output import first_line
from pspfast.system.errors import FileError

__all__ = ["CheckpointError", "check_kind"]

# What torch.save begins with in its older format, after the pickle protocol: a number, as a pickle of its own.
_MAGIC = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."


class CheckpointError(FileError):
    """A checkpoint that cannot be used; ``filename`` is its path (or what was typed), ``strerror`` the reason."""


def check_kind(path: str) -> bool:
    """Whether the file is a zip archive of torch's; any other file than a checkpoint is refused by what it is.

    Raises:
        CheckpointError: it cannot be read, is damaged, or is something else.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise CheckpointError(path, error.strerror or str(error)) from error
    if not head:
        raise CheckpointError(path, "is empty")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise CheckpointError(path, "has a name that is not UTF-8, which PyTorch cannot open; rename it") from None
    if head.startswith(b"PK"):
        _check_archive(path)
        return True
    other = _other_kind(head)
    if other:
        raise CheckpointError(path, other)
    if _MAGIC in head[:64]:
        _check_pickles(path)
    return False


def _check_archive(path: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
            damaged = _damaged_record(archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:  # the last: unknown compression
        raise CheckpointError(path, f"is a damaged or cut off checkpoint ({first_line(error)})") from error
    if damaged:
        raise CheckpointError(path, f"is damaged: the record {damaged} is not what was written (CRC)")
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise CheckpointError(path, "is a TorchScript program; expected a checkpoint of weights (a state dict)")
    if "data.pkl" not in names:
        if any(name.endswith(".npy") for name in names):
            reason = "is an archive of NumPy arrays"
        elif any("exported_program" in name or name.endswith("archive_format") for name in names):
            reason = "is a program of torch.export"
        else:
            reason = "is a zip archive without the data.pkl of a checkpoint"
        raise CheckpointError(path, f"{reason}; expected what torch.save makes of a state dict")


def _check_pickles(path: str) -> None:
    """Whether the pickles of the older format are whole, without loading them: torch would rather ask for trust."""
    try:
        with open(path, "rb") as file:
            for _ in range(5):  # magic number, version, machine, content, names of the tensors' values that follow
                for _operation in pickletools.genops(file):
                    pass
    except Exception as error:  # genops has no list of its own
        raise CheckpointError(path, f"is a damaged or cut off checkpoint ({first_line(error)})") from error


def _damaged_record(archive: zipfile.ZipFile) -> str | None:
    """The first record that is not what was written; torch itself does not look."""
    for info in archive.infolist():
        if info.CRC:  # torch can be told not to count it, and then writes 0
            try:
                with archive.open(info) as record:
                    while record.read(1 << 20):
                        pass
            except (zipfile.BadZipFile, zlib.error, EOFError):
                return info.filename
    return None


def _other_kind(head: bytes) -> str | None:
    """What a file is that is neither a zip archive nor a pickle."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<":
        return "is a web page or XML, not a checkpoint; the download may have failed"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the checkpoint itself; run `git lfs pull` where it is from"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30:
        return "is a safetensors file, which says nothing of its model; expected what torch.save makes of a state dict"
    if head.startswith(b"\x1f\x8b"):
        return "is compressed with gzip; unpack it first"
    if head.startswith(b"\x89HDF"):
        return "is an HDF5 file, not a checkpoint of PyTorch"
    if head[:1] == b"\x08" and 0 < head[1] < 32 and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42"):
        return "is an ONNX model, not a checkpoint of PyTorch"
    if _MAGIC in head[:64] or b"ustar" in head[257:263]:
        return None
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "is a pickle, but not one of torch.save"
    if _is_text(head):
        return "is a text file, not a checkpoint"
    return f"is not a checkpoint of PyTorch (it begins with the bytes {head[:8].hex(' ')})"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character that is cut is none
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
