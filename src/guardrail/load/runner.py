"""Puts load on a target: every call is started when it is due, as far as a bound allows, whatever became of those before."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextvars import copy_context
from typing import Any, Final

from guardrail import clock
from guardrail.load.schedule import Step
from guardrail.load.tally import Tally
from guardrail.load.targets import Target

_LOOK: Final = 0.05  # seconds that a sleep lasts at most, so that a stop is heeded
_WATCH: Final = 0.1  # seconds between two looks of who watches
_HURRY: Final = 2.0  # seconds that what is under way still has, once somebody has stopped the load


class Runner:
    """Runs steps one after another.

    Args:
        target: What is asked.
        item: Gives what a call is asked with, for a step; called in the order of the arrivals.
        gaps: Gives a step's gaps between arrivals.
        in_flight: How many calls may be waiting or under way; what is due beyond that is not sent.
        drain: Seconds that a step waits at its end for what is under way.
        budget: Seconds that a call may take, None for the target's own.
    """

    def __init__(
        self, target: Target, item: Callable[[Step], Any], *, gaps: Callable[[], Iterator[float]], in_flight: int, drain: float,
        budget: float | None = None,
    ) -> None:  # fmt: skip
        self.target = target
        self.budget = target.budget if budget is None else budget
        self.stopped = threading.Event()
        self._item = item
        self._gaps = gaps
        self._in_flight = in_flight
        self._drain = drain
        self._trouble: BaseException | None = None

    def run(self, steps: list[Step], watch: Callable[[Tally], None] = lambda _: None, *, warm_up: int = 0) -> list[Tally]:
        """Run the steps and return their figures; Ctrl-C ends the step that is running, and what has been done is returned.

        Args:
            steps: In their order.
            watch: Called some times a second, in this thread, with the figures so far.
            warm_up: How many calls are made before, one by one, that do not count.

        Raises:
            ConfigError: The target is used in a wrong way.
        """
        made: list[Tally] = []
        loop = _Loop() if self.target.later else None
        try:
            for _ in range(warm_up):
                self._ask_once(steps[0], loop)
            for step in steps:
                if self.stopped.is_set():
                    break
                made.append(self._run(step, watch, loop))
        finally:
            if loop is not None:
                loop.end()
            self.target.close()
        return made

    def _ask_once(self, step: Step, loop: _Loop | None) -> None:
        if loop is None:
            copy_context().run(self.target.ask, self._item(step))
        else:
            loop.do(self.target.ask(self._item(step)))

    def _run(self, step: Step, watch: Callable[[Tally], None], loop: _Loop | None) -> Tally:
        tally = Tally(step, self.budget)
        work = threading.Thread(target=self._safely, args=(step, tally, loop), name="guardrail-load", daemon=True)
        work.start()
        while work.is_alive():
            try:
                watch(tally)
                work.join(_WATCH)
            except KeyboardInterrupt:
                if self.stopped.is_set():
                    raise  # twice: not even for what is under way
                self.stopped.set()
        if self._trouble is not None:
            raise self._trouble
        watch(tally)
        return tally

    def _safely(self, step: Step, tally: Tally, loop: _Loop | None) -> None:
        try:
            if loop is None:
                self._on_threads(step, tally)
            else:
                loop.do(self._as_tasks(step, tally))
        except BaseException as problem:  # noqa: BLE001 - raised again in the thread that asked for the load
            self._trouble = problem
        finally:
            tally.close()

    def _fail(self, problem: BaseException) -> None:
        self._trouble = problem
        self.stopped.set()

    # ── arrivals ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _until(self, due: float) -> float | None:
        """Return how long to sleep towards a moment, None once it has come."""
        left = due - clock.now()
        return None if left <= 0 else min(left, _LOOK)

    def _interrupt(self, tally: Tally) -> None:
        tally.interrupted = True
        tally.asked = max(min(clock.now() - tally.began, tally.step.seconds), 1e-9)

    def _takes(self, tally: Tally, due: float) -> bool:
        """Count an arrival that has come, and tell whether it is sent: not where as many as may be are waiting or under way."""
        tally.due(clock.now() - due)
        if tally.pending > self._in_flight:  # itself among them
            tally.lose()
            return False
        return True

    def _patience(self) -> float:
        """Return until when what is under way is waited for."""
        return clock.now() + (min(self._drain, _HURRY) if self.stopped.is_set() else self._drain)

    # ── on threads ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _on_threads(self, step: Step, tally: Tally) -> None:
        # Unbounded, but filled up to `in_flight` only; an arrival never waits for a place in it.
        waiting: queue.SimpleQueue[tuple[float, Any] | None] = queue.SimpleQueue()
        many = step.workers or self.target.workers
        threads = [
            threading.Thread(target=self._work, args=(waiting, tally), name=f"guardrail-load-{at}", daemon=True)
            for at in range(many)
        ]
        for thread in threads:
            thread.start()
        for offset in step.offsets(self._gaps()):
            due = tally.began + offset
            while (pause := self._until(due)) is not None and not self.stopped.is_set():
                clock.sleep(pause)
            if self.stopped.is_set():
                self._interrupt(tally)
                break
            if self._takes(tally, due):
                waiting.put((due, self._item(step)))
        until = self._patience()
        while tally.pending and clock.now() < until and self._trouble is None:
            clock.sleep(0.002)
        self._empty(waiting, tally)
        for _ in threads:
            waiting.put(None)

    def _empty(self, waiting: queue.SimpleQueue[Any], tally: Tally) -> None:
        """Take back what nobody has begun with."""
        while True:
            try:
                waiting.get_nowait()
            except queue.Empty:
                return
            tally.lose()

    def _work(self, waiting: queue.SimpleQueue[tuple[float, Any] | None], tally: Tally) -> None:
        while (given := waiting.get()) is not None:
            due, item = given
            key = tally.start(due)
            if key is None:
                return
            try:
                ended = copy_context().run(self.target.ask, item)
            except BaseException as problem:  # noqa: BLE001 - wrong use, or SystemExit: either ends the load
                self._fail(problem)
                return
            tally.end(key, ended)

    # ── in an event loop ──────────────────────────────────────────────────────────────────────────────────────────────
    async def _as_tasks(self, step: Step, tally: Tally) -> None:
        places = asyncio.Semaphore(step.workers or self._in_flight)
        tasks: set[asyncio.Task[None]] = set()
        for offset in step.offsets(self._gaps()):
            due = tally.began + offset
            while (pause := self._until(due)) is not None and not self.stopped.is_set():
                await clock.asleep(pause)
            if self.stopped.is_set():
                self._interrupt(tally)
                break
            if self._takes(tally, due):
                task = asyncio.create_task(self._ask_later(places, due, self._item(step), tally))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await clock.asleep(0)  # an arrival that is late already must not keep those under way from getting on
        until = self._patience()
        while tally.pending and clock.now() < until and self._trouble is None:
            await clock.asleep(0.002)
        tally.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_HURRY)

    async def _ask_later(self, places: asyncio.Semaphore, due: float, item: Any, tally: Tally) -> None:
        begun = False
        try:
            async with places:
                begun = True
                key = tally.start(due)
                if key is not None:
                    tally.end(key, await self.target.ask(item))
        except asyncio.CancelledError:
            if not begun:
                tally.lose()
            raise
        except BaseException as problem:  # noqa: BLE001 - as on threads
            self._fail(problem)


class _Loop:
    """One event loop for all steps, on a thread of its own: what belongs to a loop lasts, and Ctrl-C reaches the main thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="guardrail-load-loop", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something in the loop, and wait for its end."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def end(self) -> None:
        """Close the loop; a call that blocks it is left behind with it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_HURRY)
        if not self._thread.is_alive():
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
