"""The only place that makes threads. Kernels, decoders and file calls release the GIL, so threads are enough."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["default_workers", "run"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_END: Any = object()
_SECONDS_BETWEEN_LOOKS = 0.05  # how stale a progress display may be


def default_workers() -> int:
    """The CPUs this process may use, not those the machine has."""
    return len(os.sched_getaffinity(0))


def run(
    make_worker: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: int, *, ahead: int = 2
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to every item on ``workers`` threads; yield ``(item, result)`` as they are done, in any order.

    Args:
        make_worker: called once a thread; returns the function, which may own buffers.
        items: consumed as workers become free.
        workers: at least 1. The calling thread does none of the work, so that Ctrl-C finds it at rest.
        ahead: at most so many results a worker wait to be taken. More let the workers run undisturbed: the calling
            thread, for which they have to let go of the interpreter, is woken when half of them are there.

    The first exception of a worker is raised here after the others have finished the item at hand and every result has
    been yielded. Leaving the loop early, and Ctrl-C, end the workers in the same way.

    Example:
        >>> sorted(run(lambda: str.upper, ["a", "b", "c"], workers=2))
        [('a', 'A'), ('b', 'B'), ('c', 'C')]
    """
    if workers < 1 or ahead < 1:
        raise ValueError(f"workers and ahead must be at least 1, got {workers} and {ahead}")

    source, most = iter(items), ahead * workers
    changed = threading.Condition()  # guards everything below, and the source
    done: list[tuple[Item, Result]] = []
    errors: list[BaseException] = []
    running, stop = workers, False

    def next_item() -> Item:
        """Once there is room for its result, else ``_END``; call with ``changed`` held."""
        changed.wait_for(lambda: stop or len(done) < most)
        return _END if stop or errors else next(source, _END)

    def loop() -> None:
        nonlocal running
        try:
            work = make_worker()
            with changed:
                item = next_item()
            while item is not _END:
                result = work(item)
                with changed:
                    done.append((item, result))
                    if 2 * len(done) >= most:
                        changed.notify_all()
                    item = next_item()
        except BaseException as error:  # handed to the caller, whatever it is
            errors.append(error)
        with changed:
            running -= 1
            changed.notify_all()

    threads: list[threading.Thread] = []
    with _interrupts_noted() as interrupts:
        try:
            for number in range(workers):
                thread = threading.Thread(target=loop, name=f"pspfast-{number}", daemon=True)
                thread.start()  # may fail, and then ends those already there
                threads.append(thread)
            ended = False
            while not ended:
                with changed:
                    changed.wait_for(lambda: not running or 2 * len(done) >= most, timeout=_SECONDS_BETWEEN_LOOKS)
                    ended, taken = not running, done[:]
                    done.clear()
                    changed.notify_all()
                yield from taken
                if interrupts:
                    raise KeyboardInterrupt
        finally:
            # Whoever called owns what the workers use: they end first.
            with changed:
                stop = True
                changed.notify_all()
            for thread in threads:
                thread.join()
    if errors:
        raise errors[0]


@contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Note Ctrl-C in a list instead of raising it wherever the interpreter happens to be, even in the way out."""
    noted: list[int] = []
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield noted  # somebody else's business
        return
    signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
