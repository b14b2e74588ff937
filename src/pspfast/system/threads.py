"""Threads for all work; only an ais_bench session has one of its own. Kernels, decoders, file calls release the GIL."""

from __future__ import annotations

import math
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pspfast.system.machine import cpu_quota

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Plan", "default_workers", "interrupts_noted", "run", "run_plan"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Task = TypeVar("Task")
Done_contra = TypeVar("Done_contra", contravariant=True)
Outcome_co = TypeVar("Outcome_co", covariant=True)

_END: Any = object()
_LATER: Any = object()
_SECONDS_BETWEEN_LOOKS = 0.05  # how stale a progress display may be


def default_workers() -> int:
    """The CPUs this process may use, not those the machine has: by its affinity, and by its container's quota.

    A part of a CPU counts as one, so that a quota of 1.5 is not left half unused.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


class Plan(Protocol[Task, Done_contra, Outcome_co]):
    """What is to be done next, where that depends on what was done; asked by one thread at a time."""

    def take(self) -> Task | None:
        """The next task; ``None`` while there is none, which may change when one of those taken is done."""

    def finish(self, task: Task, done: Done_contra) -> Iterable[Outcome_co]:
        """Note what a task came to; what there is to tell of it."""

    def is_over(self) -> bool:
        """Whether there are no tasks left to take, whatever becomes of those that are under way."""


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
    source = iter(items)
    return _run(make_worker, lambda: next(source, _END), lambda item, result: ((item, result),), workers, ahead)


def run_plan(
    make_worker: Callable[[], Callable[[Task], Done_contra]],
    plan: Plan[Task, Done_contra, Outcome_co],
    workers: int,
    *,
    ahead: int,
) -> Iterator[Outcome_co]:
    """:func:`run` for work in stages: what there is to do next follows from what was done.

    Args:
        make_worker: called once a thread; returns what does a task, which may own buffers.
        plan: asked for tasks, and told what they came to.
        workers, ahead: see :func:`run`.
    """

    def take() -> Any:
        task = plan.take()
        if task is None:
            return _END if plan.is_over() else _LATER
        return task

    return _run(make_worker, take, plan.finish, workers, ahead)


def _run(
    make_worker: Callable[[], Callable[[Any], Any]],
    take: Callable[[], Any],
    finish: Callable[[Any, Any], Iterable[Any]],
    workers: int,
    ahead: int,
) -> Iterator[Any]:
    """Tasks from ``take`` to outcomes of ``finish``, which are called by one thread at a time."""
    if workers < 1 or ahead < 1:
        raise ValueError(f"workers and ahead must be at least 1, got {workers} and {ahead}")

    most = ahead * workers
    lock = threading.Lock()  # guards everything below, and what is called
    news, chance = threading.Condition(lock), threading.Condition(lock)  # for the caller, and for idle workers
    done: list[Any] = []
    errors: list[BaseException] = []
    running, idle, stop = workers, 0, False

    def next_task() -> Any:
        """Once there is one and room for its outcome, else ``_END``; call with the lock held."""
        nonlocal idle
        while not (stop or errors):
            task = take() if len(done) < most else _LATER
            if task is not _LATER:
                return task
            idle += 1
            chance.wait()
            idle -= 1
        return _END

    def loop() -> None:
        nonlocal running
        try:
            work = make_worker()
            with lock:
                task = next_task()
            while task is not _END:
                result = work(task)
                with lock:
                    done.extend(finish(task, result))
                    if 2 * len(done) >= most:
                        news.notify()
                    if idle:
                        chance.notify_all()
                    task = next_task()
        except BaseException as error:  # handed to the caller, whatever it is
            errors.append(error)
        with lock:
            running -= 1
            news.notify()
            chance.notify_all()

    threads: list[threading.Thread] = []
    with interrupts_noted() as interrupts:
        try:
            for number in range(workers):
                thread = threading.Thread(target=loop, name=f"pspfast-{number}", daemon=True)
                thread.start()  # may fail, and then ends those already there
                threads.append(thread)
            ended = False
            while not ended:
                with lock:
                    news.wait_for(lambda: not running or 2 * len(done) >= most, timeout=_SECONDS_BETWEEN_LOOKS)
                    ended, taken = not running, done[:]
                    done.clear()
                    chance.notify_all()
                yield from taken
                if interrupts:
                    raise KeyboardInterrupt
        finally:
            # Whoever called owns what the workers use: they end first.
            with lock:
                stop = True
                chance.notify_all()
            for thread in threads:
                thread.join()
    if errors:
        raise errors[0]


@contextmanager
def interrupts_noted() -> Iterator[list[int]]:
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
