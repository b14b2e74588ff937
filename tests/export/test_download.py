"""The downloader against a server on this machine that cuts, stalls, corrupts and changes its mind."""

from __future__ import annotations

import errno
import hashlib
import http.server
import multiprocessing
import os
import random
import re
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pspfast.export import known, transfer
from pspfast.export.download import DownloadError, Fetched, Hashes, cache_folder, download, hashes_of
from pspfast.system.files import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BODY = random.Random(4).randbytes(3_000_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()


@dataclass
class Answer:
    """What the server does with one request.

    ``cut`` bytes of the body are sent, then the connection is closed, or left open for ``stall`` seconds.
    """

    status: int = 200
    body: bytes = BODY
    cut: int | None = None
    stall: float = 0.0
    ranges: bool = True
    honours_if_range: bool = True
    length: int | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    chunked: bool = False
    content_range: str | None = None


class Server:
    """Gives ``answers`` in turn, then ``default``; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.default = Answer()
        self.requests: list[dict[str, str]] = []
        self.paths: list[str] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with outer._lock:
                    outer.requests.append({key.lower(): value for key, value in self.headers.items()})
                    outer.paths.append(self.path)
                    answer = outer.answers.pop(0) if outer.answers else outer.default
                self.close_connection = True
                outer._give(self, answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that has gone away

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _give(self, handler: http.server.BaseHTTPRequestHandler, answer: Answer) -> None:
        body, status, headers = answer.body, answer.status, dict(answer.headers)
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        condition = handler.headers.get("If-Range")
        same = condition in (None, headers.get("ETag"), headers.get("Last-Modified")) or not answer.honours_if_range
        if status == 200 and asked and answer.ranges and same:
            start = int(asked[1])
            if start >= len(body):
                status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
            else:
                status = 206
                headers["Content-Range"] = answer.content_range or f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:]
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        if answer.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(len(body) if answer.length is None else answer.length))
        handler.end_headers()
        sent = body[: answer.cut]
        if answer.chunked:
            for at in range(0, len(sent), 100_000):
                piece = sent[at : at + 100_000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if answer.cut is None:
                handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.wfile.write(sent)
        if answer.stall:
            handler.wfile.flush()
            time.sleep(answer.stall)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    it = Server()
    yield it
    it.close()


@pytest.fixture
def fetch(server: Server, tmp_path: Path) -> Callable[..., Fetched]:
    """``download`` of ``/x.pth`` into the test's own cache, without waiting; ``waits`` are the seconds asked for."""

    def run(path: str = "/x.pth", **options: Any) -> Fetched:
        return download(
            server.url + path,
            **{"cache": str(tmp_path / "cache"), "timeout": 5.0, "sleep": run.waits.append} | options,  # type: ignore[attr-defined]
        )

    run.waits = []  # type: ignore[attr-defined]
    return run


def in_cache(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".lock")


def test_whole_and_kept(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    fetched = fetch()
    assert Path(fetched.path).read_bytes() == BODY
    assert os.path.basename(fetched.path) == "x.pth"
    assert fetched.hashes == Hashes(SHA256, MD5) == hashes_of(fetched.path)
    assert in_cache(tmp_path) == ["x.pth"]
    assert fetch() == fetched
    assert fetch(expected=Hashes(SHA256, MD5)) == fetched
    assert len(server.requests) == 1
    assert "range" not in server.requests[0]
    assert server.requests[0]["user-agent"].startswith("pspfast/")


@pytest.mark.parametrize("expected", [Hashes(sha256=SHA256[:8]), Hashes(md5=MD5.upper()), Hashes(SHA256, MD5[:9])])
def test_hashes_that_are_right(fetch: Callable[..., Fetched], expected: Hashes) -> None:
    assert fetch(expected=expected).hashes.sha256 == SHA256


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("validator", [{"ETag": '"1"'}, {"Last-Modified": "Wed, 17 Jun 2020 10:19:58 GMT"}])
def test_goes_on_after_a_cut(
    server: Server, fetch: Callable[..., Fetched], validator: dict[str, str], chunked: bool
) -> None:
    server.default = Answer(headers=validator, chunked=chunked)
    server.answers = [Answer(cut=1_000_000, headers=validator, chunked=chunked)]
    assert fetch().hashes.sha256 == SHA256
    assert len(server.requests) == 2
    assert server.requests[1]["range"] == "bytes=1000000-"
    assert server.requests[1]["if-range"] == next(iter(validator.values()))
    assert fetch.waits == [1.0]  # type: ignore[attr-defined]


def test_goes_on_after_a_stall(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.answers = [Answer(cut=700_000, stall=2.0)]
    assert fetch(timeout=0.3).hashes.sha256 == SHA256
    assert server.requests[1]["range"] == "bytes=700000-"


def test_stalls_without_end(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    server.default = Answer(cut=0, stall=1.0)
    with pytest.raises(DownloadError, match=r"no byte came for 0\.2 s \(tried 3 times\)") as caught:
        fetch(timeout=0.2, retries=2)
    assert caught.value.filename == server.url + "/x.pth"
    assert "x.pth" not in in_cache(tmp_path)


def test_next_call_goes_on(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    server.answers = [Answer(cut=1_500_000)]
    with pytest.raises(DownloadError, match=r"1500000 of 3000000 bytes.*1500000 bytes are kept"):
        fetch(retries=0)
    assert in_cache(tmp_path) == ["x.pth.part", "x.pth.part.json"]
    assert fetch().hashes.sha256 == SHA256
    assert server.requests[1]["range"] == "bytes=1500000-"
    assert in_cache(tmp_path) == ["x.pth"]


def test_interrupted(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    server.answers = [Answer(cut=1_200_000)]

    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(sleep=stop)
    assert in_cache(tmp_path) == ["x.pth.part", "x.pth.part.json"]
    assert fetch().hashes.sha256 == SHA256
    assert server.requests[1]["range"] == "bytes=1200000-"


def test_many_cuts_that_get_further(server: Server, fetch: Callable[..., Fetched]) -> None:
    """Attempts that bring something do not add up to a failure."""
    body = random.Random(5).randbytes(8_000_000)
    server.default = Answer(body=body, cut=1_200_000)
    assert fetch(retries=1).hashes.sha256 == hashlib.sha256(body).hexdigest()
    assert len(server.requests) == 7


def test_server_that_ignores_ranges(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.answers = [Answer(cut=1_000_000)]
    server.default = Answer(ranges=False)
    assert fetch().hashes.sha256 == SHA256
    assert "range" in server.requests[1]


def test_ever_cut_and_no_ranges_ends(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.default = Answer(ranges=False, cut=2_000_000)
    with pytest.raises(DownloadError, match="the connection ended after 2000000 of 3000000 bytes"):
        fetch(retries=3)
    assert len(server.requests) <= 5  # the first one got further than nothing


@pytest.mark.parametrize("honours", [True, False])
def test_changed_in_between(server: Server, fetch: Callable[..., Fetched], honours: bool) -> None:
    other = random.Random(6).randbytes(len(BODY))
    server.answers = [Answer(cut=1_000_000)]
    server.default = Answer(body=other, headers={"ETag": '"2"'}, honours_if_range=honours)
    assert fetch().hashes.sha256 == hashlib.sha256(other).hexdigest()


def test_shrunk_in_between(server: Server, fetch: Callable[..., Fetched]) -> None:
    """The server has less than the part: 416."""
    server.answers = [Answer(cut=1_000_000)]
    server.default = Answer(body=BODY[:900_000], headers={"ETag": '"2"'}, honours_if_range=False)
    assert fetch().hashes.sha256 == hashlib.sha256(BODY[:900_000]).hexdigest()


def test_part_that_is_whole(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    """Killed after the last byte and before the rename."""
    server.answers = [Answer(cut=1_000_000)]
    with pytest.raises(DownloadError):
        fetch(retries=0)
    (part,) = (tmp_path / "cache").rglob("x.pth.part")
    part.write_bytes(BODY)
    assert fetch().hashes.sha256 == SHA256
    assert server.requests[1]["range"] == "bytes=3000000-"
    assert len(server.requests) == 2


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"url": 3, "total": null, "version": "a"}', None])
def test_part_of_unknown_origin(server: Server, fetch: Callable[..., Fetched], tmp_path: Path, note: bytes) -> None:
    server.answers = [Answer(cut=1_000_000)]
    with pytest.raises(DownloadError):
        fetch(retries=0)
    (path,) = (tmp_path / "cache").rglob("x.pth.part.json")
    if note is None:
        path.unlink()
    else:
        path.write_bytes(note)
    assert fetch().hashes.sha256 == SHA256
    assert "range" not in server.requests[1]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}])
def test_nothing_to_tell_versions_by(server: Server, fetch: Callable[..., Fetched], headers: dict[str, str]) -> None:
    """The rest is asked for only if a hash will tell whether it fits."""
    server.default = Answer(headers=headers)
    server.answers = [Answer(cut=1_000_000, headers=headers)]
    assert fetch().hashes.sha256 == SHA256
    assert "range" not in server.requests[1]
    server.answers = [Answer(cut=1_000_000, headers=headers)]
    assert fetch("/y.pth", expected=Hashes(SHA256)).hashes.sha256 == SHA256
    assert server.requests[3]["range"] == "bytes=1000000-"
    assert "if-range" not in server.requests[3]


def test_rest_of_something_else_is_noticed_by_hash(server: Server, fetch: Callable[..., Fetched]) -> None:
    other = random.Random(7).randbytes(len(BODY))
    server.answers = [Answer(body=other, cut=1_000_000, headers={}), Answer(headers={})]
    assert fetch(expected=Hashes(SHA256)).hashes.sha256 == SHA256
    assert len(server.requests) == 3


def test_wrong_range_comes(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.answers = [Answer(cut=1_000_000), Answer(content_range="bytes 999999-2999998/3000000")]
    assert fetch().hashes.sha256 == SHA256
    assert "range" not in server.requests[2]


def test_range_that_nobody_asked_for(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    server.default = Answer(status=206, headers={"Content-Range": f"bytes 0-99/{len(BODY)}"}, body=BODY[:100])
    with pytest.raises(DownloadError, match="a part of something else"):
        fetch(retries=1)
    assert in_cache(tmp_path) == []


@pytest.mark.parametrize("length", [len(BODY) + 7, len(BODY) * 10])
def test_promises_more_than_it_sends(server: Server, fetch: Callable[..., Fetched], length: int) -> None:
    server.default = Answer(length=length, ranges=False)
    with pytest.raises(DownloadError, match=f"after 3000000 of {length} bytes"):
        fetch(retries=1)


def test_corrupted_once(server: Server, fetch: Callable[..., Fetched], capfd: pytest.CaptureFixture[str]) -> None:
    server.answers = [Answer(body=BODY[:-1] + b"?")]
    assert fetch(expected=Hashes(md5=MD5), quiet=False).hashes.md5 == MD5
    assert len(server.requests) == 2
    assert "range" not in server.requests[1]
    out, err = capfd.readouterr()
    assert f"expected {MD5}; downloading it again" in err
    assert out == ""


def test_corrupted_always(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"its sha256 is {SHA256}, expected 0123abcd"):
        fetch(expected=Hashes(sha256="0123ABCD"))
    assert len(server.requests) == 2
    assert in_cache(tmp_path) == []


def test_cached_file_that_has_changed(server: Server, fetch: Callable[..., Fetched]) -> None:
    path = Path(fetch().path)
    path.write_bytes(BODY[:1000])
    assert fetch(expected=Hashes(SHA256)).hashes.sha256 == SHA256
    assert path.read_bytes() == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_no_use_in_asking_again(server: Server, fetch: Callable[..., Fetched], status: int) -> None:
    server.default = Answer(status=status, body=b"<html>sorry</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(DownloadError, match=f"the server answers {status} "):
        fetch()
    assert len(server.requests) == 1


def test_busy_then_there(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.answers = [
        Answer(status=500, body=b""),
        Answer(status=503, body=b"", headers={"Retry-After": "7"}),
        Answer(status=429, body=b"", headers={"Retry-After": "100000"}),
        Answer(status=502, body=b"", headers={"Retry-After": "tomorrow"}),
    ]
    assert fetch().hashes.sha256 == SHA256
    assert fetch.waits == [1.0, 7.0, 60.0, 8.0]  # type: ignore[attr-defined]


def test_busy_for_ever(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.default = Answer(status=503, body=b"")
    with pytest.raises(DownloadError, match=r"the server answers 503 .*\(tried 5 times\)"):
        fetch()
    assert fetch.waits == [1.0, 2.0, 4.0, 8.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, b"log in first"),
        ({}, b"\r\n<!DOCTYPE html><html>log in first</html>"),
        ({"Content-Type": "application/octet-stream"}, b"<html>log in first</html>"),
    ],
)
def test_web_page_instead(
    server: Server, fetch: Callable[..., Fetched], tmp_path: Path, headers: dict[str, str], body: bytes
) -> None:
    server.default = Answer(headers=headers, body=body)
    with pytest.raises(DownloadError, match="a web page instead of the file"):
        fetch()
    assert len(server.requests) == 1
    assert in_cache(tmp_path) == []


def test_empty_file(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    server.default = Answer(body=b"")
    with pytest.raises(DownloadError, match="an empty file"):
        fetch()
    assert in_cache(tmp_path) == []


def test_encoded_file(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.default = Answer(headers={"Content-Encoding": "gzip"})
    with pytest.raises(DownloadError, match="sends it as gzip"):
        fetch()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(server: Server, fetch: Callable[..., Fetched], status: int) -> None:
    to = {"Location": "/elsewhere/y.bin?token=1"}
    server.answers = [
        Answer(status=status, body=b"", headers=to),
        Answer(cut=1_000_000),
        Answer(status=status, body=b"", headers=to),
    ]
    fetched = fetch()
    assert fetched.hashes.sha256 == SHA256
    assert os.path.basename(fetched.path) == "x.pth"
    assert server.paths == ["/x.pth", "/elsewhere/y.bin?token=1"] * 2
    assert server.requests[3]["range"] == "bytes=1000000-"


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/x.pth"])
def test_redirects_to_nowhere(server: Server, fetch: Callable[..., Fetched], to: str) -> None:
    """To a file, to another protocol, in a circle."""
    server.default = Answer(status=302, body=b"", headers={"Location": to})
    with pytest.raises(DownloadError) as caught:
        fetch()
    assert "\n" not in str(caught.value)
    assert fetch.waits == []  # type: ignore[attr-defined]


def test_redirect_away_from_https() -> None:
    refuses = transfer._Redirects(https_only=True)
    request = urllib.request.Request("https://example.org/x.pth")
    with pytest.raises(DownloadError, match="which is not https"):
        refuses.redirect_request(request, None, 302, "Found", {}, "http://example.org/x.pth")
    follows = transfer._Redirects(https_only=False)
    followed = follows.redirect_request(request, None, 302, "Found", {}, "http://example.org/x.pth")
    assert followed.full_url == "http://example.org/x.pth"


def test_redirect_away_from_https_is_final(
    server: Server, fetch: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = transfer._opener(https_only=True)
    monkeypatch.setattr(transfer, "_opener", lambda **_: strict)  # no certificate here to serve https by
    server.answers = [Answer(status=302, body=b"", headers={"Location": server.url + "/y.pth"})]
    with pytest.raises(DownloadError, match="which is not https"):
        fetch()
    assert (server.paths, fetch.waits) == (["/x.pth"], [])  # type: ignore[attr-defined]


def test_nobody_listens(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.close()
    with pytest.raises(DownloadError, match=r"Connection refused.*\(tried 3 times\)"):
        fetch(retries=2)
    server.__init__()  # type: ignore[misc]  # for the fixture to close


def test_proxy_of_the_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert download("http://nowhere.invalid/x.pth", cache=str(tmp_path)).hashes.sha256 == SHA256
    assert server.paths == ["http://nowhere.invalid/x.pth"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b/net.pth?download=1&x=/y.pth#part", "net.pth"),
        ("/a/My%20net%2Fv2.pth", "My net_v2.pth"),
        ("/a/ä b.pth", "ä b.pth"),
        ("/a/..%2F..%2Fetc", "_.._etc"),
        ("/a/%2e%2e", "download"),
        ("/a/...", "download"),
        ("", "download"),
        ("/folder/", "folder"),
        ("/" + "n" * 300 + "-0123abcd.pth", "n" * 187 + "-0123abcd.pth"),
    ],
)
def test_names(server: Server, fetch: Callable[..., Fetched], tmp_path: Path, path: str, name: str) -> None:
    fetched = fetch(path)
    assert os.path.basename(fetched.path) == name
    assert Path(fetched.path).resolve().parents[1] == (tmp_path / "cache").resolve()
    assert server.paths[0].isascii()
    assert "#" not in server.paths[0]
    assert urllib.parse.unquote(server.paths[0].partition("?")[0]) == urllib.parse.unquote(
        path.partition("#")[0].partition("?")[0] or "/"
    )


def test_same_name_of_two_urls(server: Server, fetch: Callable[..., Fetched]) -> None:
    server.answers = [Answer(body=b"first"), Answer(body=b"second")]
    first, second = fetch("/x.pth?version=1"), fetch("/x.pth?version=2")
    assert Path(first.path).read_bytes() == b"first"
    assert Path(second.path).read_bytes() == b"second"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/x.pth", "expected http, https or file"),
        ("http:///x.pth", "names no host"),
        ("http://[::1/x.pth", "is no URL"),
        ("http://host:port/x.pth", "is no URL"),
        ("file://elsewhere/x.pth", "another machine"),
        ("file:///no/such/file.pth", "No such file"),
        ("file:///", "Is a directory"),
    ],
)
def test_urls_that_cannot_be(url: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=reason) as caught:
        download(url, cache=str(tmp_path / "cache"), sleep=lambda _seconds: None)
    assert caught.value.filename == url
    assert in_cache(tmp_path) == []


def test_local_file_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "a b.pth"
    path.write_bytes(BODY)
    url = path.as_uri()
    assert "%20" in url
    fetched = download(url, cache=str(tmp_path / "cache"), expected=Hashes(SHA256))
    assert (fetched.path, fetched.hashes) == (str(path), Hashes(SHA256, MD5))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DownloadError, match="expected 00000000"):
        download(url, expected=Hashes(md5="00000000"))
    assert path.read_bytes() == BODY


def test_disk_full(server: Server, fetch: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "write_all", full)
        with pytest.raises(OutputError, match=r"cannot write .*/x\.pth: No space left on device"):
            fetch()
    assert len(server.requests) == 1
    assert fetch().hashes.sha256 == SHA256


def test_cache_that_cannot_be(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(OutputError):
        fetch()
    assert server.requests == []


@pytest.mark.parametrize("cut", [None, 1_000_000])
def test_two_processes(server: Server, tmp_path: Path, cut: int | None) -> None:
    """Each gets the whole file, and it is fetched once."""
    server.answers = [Answer(cut=cut, stall=0.5)] if cut else []
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        results = pool.map(_fetch_elsewhere, [(server.url + "/x.pth", str(tmp_path / "cache"))] * 4, chunksize=1)
    assert {hashes for _, hashes in results} == {Hashes(SHA256, MD5)}
    assert len(server.requests) == (2 if cut else 1)
    assert in_cache(tmp_path) == ["x.pth"]
    assert Path(results[0][0]).read_bytes() == BODY


def test_killed(server: Server, fetch: Callable[..., Fetched], tmp_path: Path) -> None:
    """Its part is gone on with, and its lock is gone with it."""
    server.answers = [Answer(cut=1_000_000, stall=2.0)]
    job = (server.url + "/x.pth", str(tmp_path / "cache"))
    process = multiprocessing.get_context("spawn").Process(target=_fetch_elsewhere, args=(job,))
    process.start()
    deadline = time.monotonic() + 60
    while sum(path.stat().st_size for path in (tmp_path / "cache").rglob("x.pth.part")) < 1_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert in_cache(tmp_path) == ["x.pth.part", "x.pth.part.json"]
    assert fetch().hashes.sha256 == SHA256
    assert server.requests[1]["range"] == "bytes=1000000-"


def _fetch_elsewhere(job: tuple[str, str]) -> tuple[str, Hashes]:
    fetched = download(job[0], cache=job[1], sleep=lambda _seconds: None)
    return fetched.path, fetched.hashes


def test_second_thread_waits_and_says_so(
    server: Server, fetch: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [Answer(cut=1_000_000)]
    waiting, go_on, told = threading.Event(), threading.Event(), threading.Event()
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        told.set()

    monkeypatch.setattr("pspfast.export.download.tell", tell)

    def hold(_seconds: float) -> None:
        waiting.set()
        assert go_on.wait(30)

    results: list[Fetched] = []
    first = threading.Thread(target=lambda: results.append(fetch(sleep=hold)))
    first.start()
    assert waiting.wait(30)
    second = threading.Thread(target=lambda: results.append(fetch(quiet=False)))
    second.start()
    assert told.wait(30)
    go_on.set()
    first.join()
    second.join()
    assert said[0] == "x.pth: another process is downloading it; waiting"
    assert [fetched.hashes.sha256 for fetched in results] == [SHA256] * 2
    assert len(server.requests) == 2


def test_says_what_it_does(server: Server, fetch: Callable[..., Fetched], capfd: pytest.CaptureFixture[str]) -> None:
    server.answers = [Answer(cut=1_000_000)]
    fetch(quiet=False)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "downloading x.pth (3 MB)",
        "x.pth: the connection ended after 1000000 of 3000000 bytes; trying again in 1 s",
        "downloading x.pth (3 MB, 1 MB are here already)",
    ]
    fetch("/y.pth")
    assert capfd.readouterr() == ("", "")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("PSPFAST_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == "/home/somebody/.cache/pspfast"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == "/home/somebody/.cache/pspfast"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == "/xdg/pspfast"
    monkeypatch.setenv("PSPFAST_CACHE", "~/mine")
    assert cache_folder() == "/home/somebody/mine"
    assert cache_folder("/given") == "/given"


@pytest.mark.parametrize("options", [{"sha256": "abc"}, {"md5": "0" * 33}, {"sha256": "xyzxyzxyz"}, {"md5": ""}])
def test_no_hashes(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="hex digits"):
        Hashes(**options)


def test_known_checkpoints_are_those_of_the_wheel() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with mmsegmentation")
    pytest.importorskip("mmseg", reason="mmsegmentation is not installed")
    import mmseg

    metafile = Path(mmseg.__file__).parent / ".mim/configs/pspnet/metafile.yaml"
    models = yaml.safe_load(metafile.read_text())["Models"]
    published = {
        (model["Name"], model["Weights"], model["Results"]["Metrics"]["mIoU"])
        for model in models
        if model["Results"]["Dataset"] == "Pascal VOC 2012 + Aug"
    }
    assert {(entry.config, entry.url, entry.miou) for entry in known.KNOWN} == published
    for entry in known.KNOWN:
        assert (metafile.parent / f"{entry.config}.py").is_file()


def test_known_checkpoints() -> None:
    for entry in known.KNOWN:
        assert known.find(entry.name) is known.find(entry.config) is entry
        folder, _, name = entry.url.rpartition("/")
        assert os.path.basename(folder) == entry.name
        assert re.fullmatch(re.escape(entry.name) + r"_\d{8}_\d{6}-[0-9a-f]{8}\.pth", name)
        assert entry.hashes.md5 or entry.hashes.sha256 == name[-12:-4]
    guide = known.find("pspnet_r50-d8_512x512_20k_voc12aug")
    assert guide is not None
    assert guide.hashes == Hashes(md5="c563f7683bab2a869fe095a9eb801f6c")
    assert known.find("pspnet") is None
    assert len({*known.names(), *known.aliases()}) == 8


def test_hash_in_a_name() -> None:
    assert known.hashes_in_name("https://download.pytorch.org/models/resnet18-f37072fd.pth").sha256 == "f37072fd"
    assert not known.hashes_in_name("https://example.org/x-f37072fd.pth")
    assert not known.hashes_in_name("https://download.openmmlab.com/x_20200617.pth")
