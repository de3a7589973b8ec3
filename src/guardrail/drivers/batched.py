"""Runs a function over many rows or portions of rows: one after another, on threads, or as tasks; results in order.

Nothing is asked for ahead of what the workers can take, so that rows may come from a generator.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

_LOOK: Final = 0.2  # seconds: a signal may have come to another thread than the one that waits
T = TypeVar("T")
U = TypeVar("U")


def on_threads(work: Callable[[T, Callable[[], bool]], U], portions: Iterable[T], workers: int) -> Generator[U, None, None]:
    """Yield what `work` makes of each portion, in order, on daemon threads; portions are fetched in this thread.

    Args:
        work: Is also given what tells whether the results are still wanted. What it raises ends everything.
        portions: What there is to do.
        workers: How many threads.

    Each portion runs in a copy of this thread's context. An interrupt passes at once: the threads end after their present row.
    """
    todo: queue.SimpleQueue[tuple[int, T] | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, U | None, BaseException | None]] = queue.SimpleQueue()
    over = threading.Event()
    context = copy_context()
    threads = [
        threading.Thread(target=_serve, args=(work, todo, done, over, context.copy()), name=f"guardrail-batch-{at}", daemon=True)
        for at in range(1, workers + 1)
    ]
    started = 0
    waiting: dict[int, U] = {}
    out = upcoming = 0

    def collected() -> None:
        nonlocal out
        while True:
            with contextlib.suppress(queue.Empty):
                number, result, error = done.get(timeout=_LOOK)
                break
        out -= 1
        if error is not None:
            raise error
        waiting[number] = result  # type: ignore[assignment]  # there is one where there is no error

    try:
        for number, portion in enumerate(portions):
            if started < workers:
                threads[started].start()
                started += 1
            todo.put((number, portion))
            out += 1
            while out >= 2 * workers:
                collected()
            while upcoming in waiting:
                yield waiting.pop(upcoming)
                upcoming += 1
        while out:
            collected()
            while upcoming in waiting:
                yield waiting.pop(upcoming)
                upcoming += 1
    finally:
        over.set()
        for _ in range(started):
            todo.put(None)


def _serve(work: Any, todo: Any, done: Any, over: threading.Event, context: Context) -> None:
    while True:
        task = todo.get()
        if task is None or over.is_set():
            return
        number, portion = task
        try:
            result = context.copy().run(work, portion, over.is_set)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            done.put((number, None, error))
        else:
            done.put((number, result, None))
        del task, portion


async def as_tasks(work: Callable[[T], Awaitable[U]], portions: Iterable[T], workers: int) -> AsyncGenerator[U, None]:
    """Yield what `work` makes of each portion, in order, so many at a time; each in a task with a context of its own.

    What `work` raises ends everything; so does cancellation.
    """
    running: dict[asyncio.Task[U], int] = {}
    waiting: dict[int, U] = {}
    upcoming = 0
    try:
        for number, portion in enumerate(portions):
            running[asyncio.ensure_future(_awaited(work, portion))] = number
            if len(running) >= workers:
                await _first(running, waiting)
            while upcoming in waiting:
                yield waiting.pop(upcoming)
                upcoming += 1
        while running:
            await _first(running, waiting)
            while upcoming in waiting:
                yield waiting.pop(upcoming)
                upcoming += 1
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)


async def _awaited(work: Callable[[T], Awaitable[U]], portion: T) -> U:
    return await work(portion)


async def _first(running: dict[asyncio.Task[U], int], waiting: dict[int, U]) -> None:
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        number = running.pop(task)
        waiting[number] = task.result()
