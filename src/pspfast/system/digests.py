"""Digests of whole files, by which they are known again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["sha256_and_md5_of", "sha256_of"]

_BYTES_AT_ONCE = 1 << 20


def sha256_of(*paths: str | os.PathLike[str]) -> str:
    """Of a file, or of several as if they were one; hex digits.

    Raises:
        OSError: one cannot be read.
    """
    content = hashlib.sha256()
    for path in paths:
        for block in _blocks(path):
            content.update(block)
    return content.hexdigest()


def sha256_and_md5_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Both digests of a file, read once; hex digits.

    Raises:
        OSError: it cannot be read.
    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for block in _blocks(path):
        sha256.update(block)
        md5.update(block)
    return sha256.hexdigest(), md5.hexdigest()


def _blocks(path: str | os.PathLike[str]) -> Iterator[memoryview]:
    """A file's bytes; each block is overwritten by the next one."""
    buffer = memoryview(bytearray(_BYTES_AT_ONCE))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]
