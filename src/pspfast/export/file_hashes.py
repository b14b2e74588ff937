"""Hashes that a file should have, and a file that was fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pspfast.system.digests import sha256_and_md5_of
from pspfast.system.errors import FileError

__all__ = ["DownloadError", "Fetched", "Hashes", "hashes_of"]

_HEX = re.compile(r"[0-9a-f]+")


class DownloadError(FileError):
    """A file that cannot be fetched; ``filename`` is its URL and ``strerror`` the reason."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """Hashes of a file in hex digits: all of them, or the first ones of what it should be; ``None`` if not known.

    Raises:
        ValueError: not 8 to 64 (md5: 32) hex digits.

    Example:
        >>> Hashes(sha256="ED5DFBD9").sha256
        'ed5dfbd9'
        >>> bool(Hashes())
        False
    """

    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        for name, value, most in (("sha256", self.sha256, 64), ("md5", self.md5, 32)):
            if value is not None:
                lower = value.strip().lower()
                if not (_HEX.fullmatch(lower) and 8 <= len(lower) <= most):
                    raise ValueError(f"{name} {value!r} is not {most} hex digits, nor 8 or more of the first of them")
                object.__setattr__(self, name, lower)

    def __bool__(self) -> bool:
        return self.sha256 is not None or self.md5 is not None

    def complaint(self, actual: Hashes) -> str | None:
        """What differs, if these are the hashes that a file should have.

        Example:
            >>> Hashes(md5="c563f768").complaint(Hashes(md5="c563f7683bab2a869fe095a9eb801f6c"))
        """
        for name, expected, found in (("sha256", self.sha256, actual.sha256), ("md5", self.md5, actual.md5)):
            if expected is not None and not (found or "").startswith(expected):
                return f"its {name} is {found}, expected {expected}{'...' if len(expected) < len(found or '') else ''}"
        return None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is here now: its local ``path`` and its ``hashes``."""

    path: str
    hashes: Hashes


def hashes_of(path: str) -> Hashes:
    """Both hashes of a file, read once.

    Raises:
        OSError: it cannot be read.
    """
    return Hashes(*sha256_and_md5_of(path))
