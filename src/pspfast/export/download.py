"""A URL to a file in the cache: whole and checked, or not there.

What has arrived stays beside it as ``NAME.part`` with a note of what it is part of, so that an interrupted download
goes on where it was. A lock in the file's folder keeps a second process from writing the same part.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pspfast.export.file_hashes import DownloadError, Fetched, Hashes, hashes_of
from pspfast.export.transfer import Job
from pspfast.system.files import OutputError, folder_for_output
from pspfast.system.locks import held
from pspfast.system.terminal import tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["DownloadError", "Fetched", "Hashes", "cache_folder", "download", "hashes_of"]

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


def cache_folder(cache: str | None = None) -> str:
    """Where downloads are kept: ``cache``, ``$PSPFAST_CACHE``, or ``pspfast`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Example:
        >>> cache_folder("/data/cache")
        '/data/cache'
    """
    if cache or (cache := os.environ.get("PSPFAST_CACHE")):
        return os.path.expanduser(cache)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # By its specification, a relative path there is to be ignored.
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "pspfast")


def download(
    url: str,
    *,
    expected: Hashes | None = None,
    cache: str | None = None,
    quiet: bool = True,
    retries: int = 4,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Fetch a file into the cache, unless it is there.

    One that is there is used as it is if nothing is known of its hash, else only if that is right. A ``file://`` URL is
    the file itself, which is not copied. Proxies are taken from the environment (``https_proxy`` ...).

    Args:
        url: ``http``, ``https`` or ``file``.
        expected: what the file's hashes have to begin with.
        cache: see :func:`cache_folder`; each URL has a folder of its own in it.
        quiet: no progress and no word about attempts that failed.
        retries: attempts in a row that may fail, after the first; one that gets further than all before (1 MB) is
            counted as none.
        timeout: seconds without a byte after which an attempt has failed.
        sleep: what waits between attempts: 1, 2, 4 ... seconds, or as long as the server asks for, a minute at most.

    Raises:
        DownloadError: it is not there, is something else, or does not come whole.
        OutputError: the cache cannot be written, or its disk is full.
    """
    expected = expected or Hashes()
    try:
        parts = urlsplit(url)
        name, host = _file_name(parts.path), parts.hostname
    except ValueError as error:
        raise DownloadError(url, f"is no URL ({error})") from error
    if parts.scheme == "file":
        return _local(url, host, unquote(parts.path), expected)
    if parts.scheme not in ("http", "https"):
        raise DownloadError(url, f"cannot fetch {parts.scheme!r}; expected http, https or file")
    if not host:
        raise DownloadError(url, "names no host")
    address = urlunsplit((parts.scheme, parts.netloc, _encoded(parts.path), _encoded(parts.query), ""))
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    path = os.path.join(cache_folder(cache), key, name)
    kept = _kept(path, expected)
    if kept is None:
        folder_for_output(os.path.dirname(path))
        with _lock(path, quiet=quiet):
            kept = _kept(path, expected)  # another process may have fetched it while this one waited
            if kept is None:
                if not quiet and os.path.exists(path):
                    tell(f"{path}: is not what it should be by its hash; downloading it again")
                job = Job(address, path, expected, quiet=quiet, retries=retries, timeout=timeout, sleep=sleep)
                kept = job.run()
    return kept


def _file_name(path: str) -> str:
    """Of a URL's path, such that it can be a file's here."""
    name = _UNSAFE.sub("_", unquote(path.rstrip("/").rpartition("/")[2])).lstrip(".")
    encoded = name.encode("utf-8", "surrogateescape")
    # The end of a name that is too long says more (its hash, its suffix); room is left for ".part.json".
    return encoded[-200:].decode("utf-8", "ignore").lstrip(".") or "download"


def _encoded(text: str) -> str:
    """Characters that must not stand in a URL, as they are typed, are encoded; what is encoded stays so."""
    return quote(text, safe="%/:=&?~#+!$,;'@()*[]")


def _local(url: str, host: str | None, path: str, expected: Hashes) -> Fetched:
    if host not in (None, "", "localhost"):
        raise DownloadError(url, f"is a file of another machine ({host}); expected file:///path")
    try:
        actual = hashes_of(path)
    except (OSError, ValueError) as error:
        raise DownloadError(url, getattr(error, "strerror", None) or str(error)) from error
    complaint = expected.complaint(actual)
    if complaint:
        raise DownloadError(url, complaint)
    return Fetched(path, actual)


def _kept(path: str, expected: Hashes) -> Fetched | None:
    """The file in the cache, if it is there and right."""
    try:
        actual = hashes_of(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(path, error) from error
    return None if expected.complaint(actual) else Fetched(path, actual)


def _lock(path: str, *, quiet: bool) -> AbstractContextManager[None]:
    """Held while the file and its part are written."""

    def wait() -> None:
        if not quiet:
            tell(f"{os.path.basename(path)}: another process is downloading it; waiting")

    return held(os.path.join(os.path.dirname(path), ".lock"), wait, named=path)
