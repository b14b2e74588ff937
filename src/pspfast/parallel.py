"""The only place that makes threads. Kernels, decoders and file calls release the GIL, so threads are enough."""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["default_workers", "run"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """The CPUs this process may use, not those the machine has."""
    return len(os.sched_getaffinity(0))


def run(
    make_worker: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to every item on ``workers`` threads; yield ``(item, result)`` as they are done, in any order.

    Args:
        make_worker: called once a thread; returns the function, which may own buffers.
        items: consumed as workers become free.
        workers: 1 runs in the calling thread.

    At most two results a worker wait to be taken. The first exception of a worker is raised here after the others have
    finished the item at hand; so is leaving the loop early, and Ctrl-C.

    Example:
        >>> sorted(run(lambda: str.upper, ["a", "b", "c"], workers=2))
        [('a', 'A'), ('b', 'B'), ('c', 'C')]
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        work = make_worker()
        for item in items:
            yield item, work(item)
        return

    source, source_lock = iter(items), threading.Lock()
    # None: a worker has ended; an exception: and this is why.
    done: queue.Queue[tuple[Item, Result] | BaseException | None] = queue.Queue(2 * workers)
    stop = threading.Event()

    def loop() -> None:
        last: BaseException | None = None
        try:
            work = make_worker()
            while not stop.is_set():
                with source_lock:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                done.put((item, work(item)))
        except BaseException as error:  # handed to the caller, whatever it is
            last = error
        done.put(last)

    threads = [threading.Thread(target=loop, name=f"pspfast-{n}", daemon=True) for n in range(workers)]
    for thread in threads:
        thread.start()
    running, first_error = workers, None
    try:
        while running:
            message = done.get()
            if isinstance(message, tuple):
                if first_error is None:
                    yield message
                continue
            running -= 1
            if message is not None:
                stop.set()
                first_error = first_error or message
    finally:
        stop.set()
        while running:  # workers may be waiting for room
            if not isinstance(done.get(), tuple):
                running -= 1
        for thread in threads:
            thread.join()
    if first_error is not None:
        raise first_error
