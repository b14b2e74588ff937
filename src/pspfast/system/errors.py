"""What a file that cannot be used is told with."""

from __future__ import annotations

import os

__all__ = ["FileError"]


class FileError(OSError):
    """A file that cannot be used; ``filename`` is its path, or its URL, and ``strerror`` the reason.

    Kinds of files have subclasses, by which callers tell a picture that is left out from a model that ends the run.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(None, reason, os.fspath(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"
