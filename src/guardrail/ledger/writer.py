"""The way into the ledger: a queue that the call path appends to, and the one thread that writes it, many records at a time.

A buffered record is durable about 20 ms after its call; an awaited one as soon as the disk has it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Final

from guardrail import call as calls
from guardrail import clock, lifecycle, notices
from guardrail.errors import AuditUnavailable, ConfigError
from guardrail.ledger.queued import Event, Losses, Mark, Pledge
from guardrail.ledger.schema import OWN
from guardrail.store import forks

if TYPE_CHECKING:
    from guardrail.ledger.commit import Committer
    from guardrail.ledger.entry import Entry

CAPACITY: Final = 100_000  # entries in the queue; a caller that finds it full waits for room
ROOM_SECONDS: Final = 0.05  # how long
SYNC_SECONDS: Final = 5.0  # the most that an event with `sync` waits
EXIT_ORDER: Final = 80  # at exit: after those who still have something to record
_BATCH: Final = 2_000
_TICK: Final = 0.005  # seconds between two commits while there are calls
_STRUGGLING: Final = 0.05  # the same while the disk refuses
_IDLE: Final = 1.0  # seconds without a call before the thread parks
_LOOK: Final = 0.5  # seconds between two looks at the run-time switches, parked or not

entries: deque[Any] = deque()  # the call path appends plain tuples here; what else stands in it is in `queued`
parked = True  # whether a caller has to wake the thread; it may not even exist

_thread: threading.Thread | None = None
_ending = False
_starting = threading.Lock()
_bell = threading.Lock()  # held while nobody rings; releasing it rings
_bell.acquire()
_committer: Committer | None = None
_losses = Losses()


# ── for the call path ─────────────────────────────────────────────────────────────────────────────────────────────────
def push(entry: Entry) -> bool:
    """Hand over what a call left; return whether there was room. The call path does the same in place.

    It waits for room up to 50 ms. Without room the record is lost, and the loss itself is recorded.
    """
    if len(entries) >= CAPACITY and not wait_for_room(clock.now() + ROOM_SECONDS):
        lose(entry[1])
        return False
    entries.append(entry)
    if parked:
        wake()
    return True


def full() -> bool:
    """Return whether the queue has no room."""
    return len(entries) >= CAPACITY


def wait_for_room(until: float) -> bool:
    """Wait until a moment (monotonic) for room in the queue; return whether there is some."""
    while len(entries) >= CAPACITY:
        if clock.now() >= until:
            return False
        wake()
        clock.sleep(0.001)
    return True


def lose(at: float) -> None:
    """Count a record that found no room, by the moment of its call (seconds since the epoch)."""
    _losses.count("queue full", at)
    notices.say("ledger-full", "the ledger's queue is full: calls come faster than records can be written")


def acknowledge(entry: Entry) -> Future[None]:
    """Hand over what a call left and have it written at once.

    Returns:
        A future that is done when the record is durable, or fails with the reason why it is not.
    """
    future: Future[None] = Future()
    entries.append(Pledge(entry, future))
    _ring()
    return future


def wake() -> None:
    """Have the thread look at the queue, starting it first where there is none."""
    global parked  # noqa: PLW0603 - a plain flag is all that a call can afford to test
    thread = _thread
    if thread is None or not thread.is_alive():
        start()
    else:
        parked = False
        _ring()


def start() -> None:
    """Start the thread if it does not run. Called at a guard's first call, never at import."""
    global _thread, _ending, parked  # noqa: PLW0603 - one thread per process
    with _starting:
        if _thread is not None and _thread.is_alive():
            return
        _ending = False
        thread = threading.Thread(target=_run, name="guardrail-ledger", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, or there are no threads here at all
            _thread = None
            parked = True
            _round(_the_committer())
            return
        lifecycle.arm()  # from here on there is something to write at the exit
        _thread = thread
        parked = False


# ── for everybody else ────────────────────────────────────────────────────────────────────────────────────────────────
def event(kind: str, *, guard: str | None = None, fields: Mapping[str, Any], sync: bool = False) -> str:
    """Record something that is no call.

    Args:
        kind: One of the design's closed list: "mode", "ticket", "decision", "feedback", "override", "appeal", "incident"…
        guard: The guard concerned, if any.
        fields: What happened, by name: texts, numbers, moments, and lists and mappings of them. Never a secret.
        sync: Wait until it is durable, 5 s at most.

    Returns:
        The record's id.

    Raises:
        ConfigError: There is no such kind of event, or a field has a name that every record uses already.
        AuditUnavailable: With `sync`: it is not durable. Then it is not going to appear later either, unless the disk
            answered only after the 5 s.
    """
    from guardrail.settings.sinks import EVENTS  # noqa: PLC0415 - the one list of them

    if kind not in EVENTS or kind in {"call", "row"}:
        raise ConfigError(f"{kind!r} is no event of the ledger", hint=f"it is one of {', '.join(EVENTS)}")
    taken = sorted(OWN.intersection(fields) - {"guard"})
    if taken:
        raise ConfigError(f"fields of an event cannot be called {', '.join(taken)}", hint="every record has these already")
    at = clock.wall()
    identity = calls.decision_id(at, calls.next_seq())
    future: Future[None] | None = Future() if sync else None
    entries.append(Event(identity, at, kind, guard=guard, fields=dict(fields), future=future))
    lifecycle.arm()
    _ring()
    if future is not None:
        problem: BaseException | None
        try:
            problem = future.exception(SYNC_SECONDS)
        except FutureTimeout as late:
            future.cancel()
            problem = late
        if problem is not None:
            raise AuditUnavailable(
                f"the {kind} event could not be made durable", guard=guard, policy="audit",
                hint="free or repair the disk under GUARDRAIL_HOME; `guardrail doctor` shows what is wrong",
            ) from problem  # fmt: skip
    return identity


def lane() -> str | None:
    """Return the name of the lane that this process writes; None before its first record."""
    return None if _committer is None else _committer.lane


def flush(timeout: float) -> bool:
    """Wait until everything handed over so far is counted, traced and durable; return whether it is, within seconds."""
    return _reach(timeout, durable=True)


def drain(timeout: float = 1.0) -> bool:
    """Wait until everything handed over so far is counted and traced, durable or not; return whether it is."""
    return _reach(timeout, durable=False)


def shutdown(timeout: float) -> bool:
    """Flush, end the thread and close the files; a later call starts them anew. Return whether all was written."""
    global _thread, _ending, _committer, parked  # noqa: PLW0603
    until = clock.now() + timeout
    done = flush(timeout)
    with _starting:
        thread = _thread
        if thread is not None and thread.is_alive():
            _ending = True
            _release_bell()
            thread.join(max(0.1, until - clock.now()))
            if thread.is_alive():
                return False  # it hangs in the disk; being a daemon, it does not keep the process
        _thread = None
        parked = True
        if _committer is not None:
            while entries and clock.now() < until:  # other threads may have gone on calling
                _round(_committer)
            _committer.close()
            _committer = None
    return done


def _reach(timeout: float, *, durable: bool) -> bool:
    if _committer is None and not entries:
        return True
    future: Future[None] = Future()
    entries.append(Mark(future, durable=durable))
    _ring()
    try:
        return future.exception(timeout) is None
    except FutureTimeout:
        return False


# ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _ring() -> None:
    if _thread is None or not _thread.is_alive():
        start()
    _release_bell()


def _release_bell() -> None:
    with contextlib.suppress(RuntimeError):  # it has been rung already
        _bell.release()


def _run() -> None:
    global parked  # noqa: PLW0603
    bell = _bell
    with forks.apart(forks.LOADING):  # a child that is forked in the middle of an import could never import that module
        from guardrail import control  # noqa: PLC0415 - needed only on this thread
        from guardrail.telemetry import files  # noqa: PLC0415 - as above

        committer = _the_committer()
    busy = looked = clock.now()
    patience = forks.LOADING  # the first round brings what the disk needs
    while not _ending and bell is _bell:
        now = clock.now()
        with forks.apart(patience):
            if _round(committer):
                busy, patience = now, forks.PATIENCE
            if now - looked >= _LOOK:
                looked = now
                _quietly("control", control.poll)
                _quietly("metrics", files.poll)
                # Only who has sealed something keeps what may have to go; another thread may just be loading it.
                poll = getattr(sys.modules.get("guardrail.ledger.sealing"), "poll", None)
                if poll is not None:
                    _quietly("sealing", poll)
        if entries:
            continue
        if committer.waiting:
            bell.acquire(timeout=_STRUGGLING)
        elif now - busy < _IDLE:
            bell.acquire(timeout=_TICK)
        else:
            parked = True
            if not entries:  # whoever appended before this line sees the flag only after it, and so is seen here
                bell.acquire(timeout=_LOOK)
            parked = False


def _round(committer: Committer) -> bool:
    """Take a batch out of the queue and write it; return whether there was anything in it."""
    take = entries.popleft
    batch = [take() for _ in range(min(len(entries), _BATCH))]  # nobody else takes
    try:
        urgent = committer.take(batch) if batch else False
        committer.commit(force=urgent)
    except Exception as problem:  # noqa: BLE001 - the thread outlives whatever is wrong with one batch
        notices.say("ledger-thread", f"a batch of records met an unexpected {type(problem).__name__}")
    return bool(batch)


def _quietly(topic: str, do: Any) -> None:
    try:
        do()
    except Exception as problem:  # noqa: BLE001 - as above
        notices.say(topic, f"what the ledger's thread does beside writing failed ({topic}: {type(problem).__name__})")


def _the_committer() -> Committer:
    global _committer  # noqa: PLW0603
    if _committer is None:
        from guardrail.ledger.commit import Committer  # noqa: PLC0415 - brings the encoder

        _committer = Committer(_losses)
    return _committer


def _in_child() -> None:
    """A forked child has its own lane; what was queued is its parent's to write."""
    global _thread, _starting, _bell, _committer, _losses, _ending, parked  # noqa: PLW0603
    entries.clear()
    if _committer is not None:
        _committer.abandon()
    _thread = _committer = None
    _losses = Losses()
    _starting, _bell = threading.Lock(), threading.Lock()
    _bell.acquire()
    _ending = False
    parked = True


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, shutdown)
