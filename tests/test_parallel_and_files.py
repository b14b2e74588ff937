from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pspfast.system import files
from pspfast.system import threads as parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_every_item_once(workers: int) -> None:
    results = sorted(parallel.run(lambda: lambda item: item * item, range(500), workers))
    assert results == [(item, item * item) for item in range(500)]


def test_each_worker_has_its_own_function() -> None:
    made = []

    def make() -> Callable[[int], int]:
        mine: list[int] = []
        made.append(mine)

        def work(item: int) -> int:
            mine.append(threading.get_ident())
            time.sleep(0.002)
            return item

        return work

    assert len(list(parallel.run(make, range(40), 3))) == 40
    assert len(made) == 3
    assert all(len(set(mine)) == 1 for mine in made)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_first_error_is_raised_and_threads_end(workers: int) -> None:
    def work(item: int) -> int:
        if item == 20:
            raise KeyError("twenty")
        return item

    before = threading.active_count()
    seen: list[tuple[int, int]] = []
    with pytest.raises(KeyError, match="twenty"):
        seen.extend(parallel.run(lambda: work, range(10_000), workers))
    assert len(seen) < 10_000
    assert threading.active_count() == before


def test_an_error_while_a_worker_is_made() -> None:
    def make() -> Callable[[int], int]:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        list(parallel.run(make, range(10), 3))


def test_an_error_of_the_source() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("the list ends early")

    with pytest.raises(OSError, match="ends early"):
        list(parallel.run(lambda: abs, items(), 3))


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_before_an_error_are_not_lost(workers: int) -> None:
    done = []

    def work(item: int) -> int:
        if item == 100:
            raise KeyError("hundred")
        done.append(item)
        return item

    seen = []
    with pytest.raises(KeyError):
        for item, _ in parallel.run(lambda: work, range(10_000), workers, ahead=32):
            seen.append(item)
    assert sorted(seen) == sorted(done)


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    for _ in parallel.run(lambda: abs, range(10_000), 4):
        break
    assert threading.active_count() == before


def test_results_wait_for_the_reader() -> None:
    """A bounded window: workers do not run ahead of whoever takes the results."""
    started = 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return item

    results = parallel.run(lambda: work, range(1000), 2)
    next(results)
    time.sleep(0.2)
    assert started <= 8
    results.close()  # type: ignore[attr-defined]


def test_a_thread_that_cannot_start_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def start_three(thread: threading.Thread) -> None:
        if thread.name == "pspfast-3":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_three)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="new thread"):
        list(parallel.run(lambda: abs, range(10_000), 5))
    assert threading.active_count() == before


def test_workers_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(parallel.run(lambda: abs, [1], 0))
    assert parallel.default_workers() >= 1


def test_write_whole_replaces_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    files.write_whole(str(path), b"first")
    files.write_whole(str(path), memoryview(b"second"))
    assert path.read_bytes() == b"second"
    assert [one.name for one in tmp_path.iterdir()] == ["out.bin"]


def test_write_whole_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    files.write_whole(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_write_whole_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_whole("plain", b"x")
    assert Path("plain").read_bytes() == b"x"


@pytest.mark.parametrize("extents", [[], [(0, 3 << 20)], [(5, 5000), (1 << 20, (1 << 20) + 7)], [(9000, 3 << 20)]])
def test_write_sparse_reads_as_zeros_between(tmp_path: Path, extents: list[tuple[int, int]]) -> None:
    data = bytes(range(1, 256)) * ((3 << 20) // 255 + 1)
    wanted = bytearray(3 << 20)
    for start, end in extents:
        wanted[start:end] = data[start:end]
    path = tmp_path / "out.bin"
    path.write_bytes(b"\xff" * (4 << 20))
    files.write_sparse(str(path), memoryview(data)[: 3 << 20], extents)
    assert path.read_bytes() == wanted
    assert [one.name for one in tmp_path.iterdir()] == ["out.bin"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    def full(file: int, _: object) -> None:
        os.write(file, b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", full)
    with pytest.raises(files.OutputError, match="No space left") as caught:
        files.write_whole(str(path), b"new")
    assert caught.value.filename == str(path)
    assert caught.value.is_lasting
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["out.bin"]


def test_leftovers_are_told_from_other_files(tmp_path: Path) -> None:
    for name in (".a.bin.123.part", "a.bin", ".hidden", ".b.part", "c.12.part"):
        (tmp_path / name).write_bytes(b"")
    files.remove_leftovers(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [".b.part", ".hidden", "a.bin", "c.12.part"]


@pytest.mark.parametrize(
    ("name", "stem"), [("a/b/2007_000033.jpg", "2007_000033"), ("x.y.z", "x"), ("plain", "plain"), (".jpg", "")]
)
def test_stem(name: str, stem: str) -> None:
    assert files.stem(name) == stem
