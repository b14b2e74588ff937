"""One download: attempts, what is left to fetch, and what a server says."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pspfast
from pspfast.export.file_hashes import DownloadError, Fetched, Hashes, hashes_of
from pspfast.system.files import OutputError, write_all, write_whole
from pspfast.system.terminal import Progress, tell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Job"]

_CHUNK = 1 << 20


_MB = 1_000_000


# An attempt that brought this much more than any before counts as none that failed.
_ENOUGH_TO_GO_ON = 1 << 20


_LONGEST_WAIT = 60.0


_RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)


_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class _Failure(Exception):  # noqa: N818 - of one attempt, not of the download
    """An attempt that may go better next time."""

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(slots=True)
class _Part:
    """What there is of a file, and of which version of it.

    Attributes:
        size: bytes that are here.
        total: bytes of the whole file, if the server told.
        version: its ETag or date, to ask for the rest of the same version only.
    """

    size: int = 0
    total: int | None = None
    version: str | None = None


class Job:
    """The download of one file, by whoever holds its lock."""

    def __init__(
        self,
        url: str,
        path: str,
        expected: Hashes,
        *,
        quiet: bool,
        retries: int,
        timeout: float,
        sleep: Callable[[float], None],
    ) -> None:
        self._url, self._path, self._expected, self._quiet = url, path, expected, quiet
        self._retries, self._timeout, self._sleep = retries, timeout, sleep
        self._part_path, self._note_path = path + ".part", path + ".part.json"
        self._opener = _opener(https_only=url.startswith("https:") and not expected)

    def run(self) -> Fetched:
        """Fetch what is left of it, as often as it takes."""
        complaint = None
        for _ in range(2):
            self._fetch()
            self._refuse_pages()
            actual = self._hashes()
            complaint = self._expected.complaint(actual)
            if complaint is None:
                self._finish()
                return Fetched(self._path, actual)
            self._forget()  # the part may have been of another version: once more, from the beginning
            self._tell(f"{complaint}; downloading it again")
        raise DownloadError(
            self._url,
            f"{complaint}, twice; it was removed. The server's file was exchanged, or something on the way changes it. "
            "A file that you trust can be given by its path",
        )

    def _fetch(self) -> None:
        """Attempts until the part is whole."""
        failures, furthest = 0, self._read_note().size
        while True:
            try:
                self._attempt()
                return
            except _Failure as failure:
                size = self._read_note().size
                if size >= furthest + _ENOUGH_TO_GO_ON:
                    failures, furthest = 0, size
                failures += 1
                if failures > self._retries:
                    raise DownloadError(self._url, f"{failure} (tried {failures} times{_left(size)})") from failure
                wait = min(max(2.0 ** (failures - 1), failure.wait), _LONGEST_WAIT)
                self._tell(f"{failure}; trying again in {wait:.0f} s")
                self._sleep(wait)

    def _attempt(self) -> None:
        part = self._read_note()
        response = self._open(part)
        if response is None:
            return
        with response:
            part = self._begin(part, response)
            self._receive(part, response)
        if part.total is not None and part.size != part.total:
            raise _Failure(f"the connection ended after {part.size} of {part.total} bytes")

    def _open(self, part: _Part) -> Any:
        """The response, or ``None`` if there is nothing left to ask for."""
        headers = {"Accept-Encoding": "identity", "User-Agent": f"pspfast/{pspfast.__version__}"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if part.version:
                headers["If-Range"] = part.version
        try:
            return self._opener.open(urllib.request.Request(self._url, headers=headers), timeout=self._timeout)
        except DownloadError:  # of a redirect
            raise
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and part.size:
                    if part.size == part.total == _total(error.headers):
                        return None
                    self._forget()
                    raise _Failure("what is here of it is no part of what the server has now") from error
                if error.code in _RETRY_STATUSES:
                    raise _Failure(f"the server answers {_status(error)}", wait=_retry_after(error.headers)) from error
                raise DownloadError(self._url, f"the server answers {_status(error)}{_advice(error.code)}") from error
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise DownloadError(self._url, f"its certificate is not trusted: {reason.verify_message}") from error
            if not isinstance(reason, OSError):
                raise DownloadError(self._url, str(reason)) from error
            raise _Failure(_network_reason(reason, self._timeout)) from error
        except (http.client.InvalidURL, UnicodeError, ValueError) as error:
            raise DownloadError(self._url, f"is no URL ({error})") from error
        except (http.client.HTTPException, OSError) as error:
            raise _Failure(_network_reason(error, self._timeout)) from error

    def _begin(self, part: _Part, response: Any) -> _Part:
        """What the response is to be added to: the part, if it is the rest of it, else nothing."""
        headers = response.headers
        if headers.get_content_type() in ("text/html", "application/xhtml+xml") and "Content-Type" in headers:
            raise DownloadError(self._url, "the server sends a web page instead of the file")
        encoding = headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":
            raise DownloadError(self._url, f"the server sends it as {encoding}, which was not asked for")
        version = _version(headers)
        if response.status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
            total = _total(headers)
            if (
                not part.size  # nothing was asked for but the whole
                or found is None
                or found[1] is None
                or int(found[1]) != part.size
                or (part.total is not None and total is not None and total != part.total)
                or (part.version is not None and version is not None and version != part.version)
            ):
                self._forget()
                raise _Failure("the server sends a part of something else")
            return _Part(part.size, total if total is not None else part.total, part.version)
        if response.status != 200:
            raise DownloadError(self._url, f"the server answers {response.status} {response.reason}")
        self._forget()
        length = headers.get("Content-Length", "")
        chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        fresh = _Part(0, int(length) if length.isdecimal() and not chunked else None, version)
        note = {"url": self._url, "total": fresh.total, "version": fresh.version}
        write_whole(self._note_path, json.dumps(note).encode())
        return fresh

    def _receive(self, part: _Part, response: Any) -> None:
        """Add what comes to the part."""
        try:
            file = os.open(self._part_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(self._path, error) from error
        try:
            with _Megabytes(part, os.path.basename(self._path), quiet=self._quiet) as megabytes:
                while True:
                    try:
                        data = response.read1(_CHUNK)
                    except (http.client.HTTPException, OSError) as error:
                        raise _Failure(_network_reason(error, self._timeout)) from error
                    if not data:
                        return
                    try:
                        write_all(file, data)
                    except OSError as error:
                        raise OutputError(self._path, error) from error
                    part.size += len(data)
                    megabytes.show(part.size)
        finally:
            os.close(file)

    def _read_note(self) -> _Part:
        """What is here from an earlier attempt, of whichever process; nothing if it cannot be added to safely."""
        try:
            size = os.stat(self._part_path).st_size
            with open(self._note_path, "rb") as file:
                note = json.load(file)
            part = _Part(size, note["total"], note["version"])
            fits = note["url"] == self._url and (part.total is None or size <= part.total)
        except FileNotFoundError:
            return _Part()
        except OSError as error:
            raise OutputError(self._path, error) from error
        except (ValueError, TypeError, KeyError):
            return _Part()
        # Without a version, only a hash can tell whether the two ends belong together.
        return part if fits and (part.version or self._expected) else _Part()

    def _refuse_pages(self) -> None:
        try:
            with open(self._part_path, "rb") as file:
                head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        except FileNotFoundError:  # a file of no bytes
            head = b""
        except OSError as error:
            raise OutputError(self._path, error) from error
        if not head:
            self._forget()
            raise DownloadError(self._url, "the server sends an empty file")
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            self._forget()
            raise DownloadError(self._url, "the server sends a web page instead of the file")

    def _hashes(self) -> Hashes:
        try:
            return hashes_of(self._part_path)
        except OSError as error:
            raise OutputError(self._path, error) from error

    def _finish(self) -> None:
        try:
            os.replace(self._part_path, self._path)
        except OSError as error:
            raise OutputError(self._path, error) from error
        with suppress(OSError):  # without a part it means nothing
            os.unlink(self._note_path)

    def _forget(self) -> None:
        """Remove the part, and its note after it: a note alone means nothing, a part alone is no part of anything."""
        for path in (self._part_path, self._note_path):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise OutputError(self._path, error) from error

    def _tell(self, text: str) -> None:
        if not self._quiet:
            tell(f"{os.path.basename(self._path)}: {text}")


class _Megabytes:
    """Progress in whole megabytes; of a file whose size is not known, nothing but its name."""

    def __init__(self, part: _Part, name: str, *, quiet: bool) -> None:
        self._shown = part.size // _MB
        if not quiet:
            rest = f", {part.size / _MB:.0f} MB are here already" if part.size else ""
            size = "size not known" if part.total is None else f"{part.total / _MB:.0f} MB"
            tell(f"downloading {name} ({size}{rest})")
        self._bytes, self._total = part.total, -(-(part.total or 0) // _MB)
        self._progress = Progress("MB", self._total, already=self._shown, quiet=quiet or part.total is None)

    def __enter__(self) -> _Megabytes:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def show(self, size: int) -> None:
        megabytes = self._total if size == self._bytes else size // _MB
        if megabytes > self._shown:
            self._progress.advance(megabytes - self._shown)
            self._shown = megabytes


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects, also the permanent ones (308) that Python 3.10 does not know; not from https to http if told so."""

    def __init__(self, *, https_only: bool) -> None:
        self._https_only = https_only

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if self._https_only and not newurl.startswith("https:"):
            reason = f"redirects to {newurl}, which is not https, and no hash is known to check the file by"
            raise DownloadError(req.full_url, reason)
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    if sys.version_info < (3, 11):
        http_error_308 = urllib.request.HTTPRedirectHandler.http_error_307


def _opener(*, https_only: bool) -> urllib.request.OpenerDirector:
    """HTTP only: a redirect must not lead to a file or to FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(https_only=https_only),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _version(headers: Any) -> str | None:
    """What asks for the rest of this version of a file: its ETag, unless it is a weak one, else its date."""
    tag: str = headers.get("ETag", "").strip()
    if tag and not tag.startswith("W/"):
        return tag
    return headers.get("Last-Modified", "").strip() or None


def _total(headers: Any) -> int | None:
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    return int(found[3]) if found and found[3] != "*" else None


def _retry_after(headers: Any) -> float:
    value = headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() else 0.0


def _status(error: urllib.error.HTTPError) -> str:
    return f"{error.code} {error.reason}".partition("\n")[0].strip()


def _advice(status: int) -> str:
    if status in (401, 403, 407):
        return "; if you may have the file, fetch it by other means and give its path"
    return "; it is not there (any more)" if status in (404, 410) else ""


def _network_reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no byte came for {timeout:g} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended in the middle"
    return f"the connection failed ({getattr(error, 'strerror', None) or error or type(error).__name__})"


def _left(size: int) -> str:
    return f"; {size} bytes are kept, the next call goes on from there" if size else ""
