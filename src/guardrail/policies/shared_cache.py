"""`cache` behind `GUARDRAIL_CACHE_URL`: the same question is answered once by all processes together.

The shared store is the one truth: an answer that can be shared is not kept in this process's memory as well, so that what one
process resets or refreshes is so for all. In front of it stand the flights of this process, so that of its calls only one asks
the store. While one process finds out, the others wait for it: it holds a lease, and whoever finds neither row nor lease takes
the next. A store that does not answer is a miss. What cannot be shared exactly is cached in memory, as without a store.
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import Any, Final, Protocol
from urllib.parse import quote

from guardrail import clock, notices
from guardrail.asks import ANSWERED, Asks, Do, Port, Sleep, Turn
from guardrail.call import Call
from guardrail.errors import BudgetExceeded
from guardrail.policies.cache import Cache, Caching
from guardrail.policies.rows import Rows
from guardrail.policies.shared_answers import MOST_BYTES, Answers, Kept
from guardrail.store.cache_keys import subject_part

LEASE_SECONDS: Final = 30.0  # the longest; a call with a deadline has until then
_GRACE: Final = 0.05  # seconds that a lease outlives its call's deadline
_FIRST_PAUSE: Final = 0.002  # seconds between two looks of one who waits for another process
_LONGEST_PAUSE: Final = 0.05
_SLOWER: Final = 0.25  # of what was waited already, so that waiting adds a quarter at the most
_SHARE: Final = 0.25  # of the time left that a look may take: a store that hangs must not eat up the function's time
_LOOKS: Final = ("look", "peek")
_UNKNOWN: Final = -3  # less than any time to live that Redis tells
_LEAST: Final = 0.005  # seconds; who waits and has less left gives up
_REPLACED: Final = 3  # rows that are neither fresh nor stale; more in one call are not waited for


class Store(Port, Protocol):
    """Rows in a shared store, by a verb, keys, arguments and the seconds left; no answer in time is None."""

    def connect(self, *, wait: bool) -> None:
        """Connect ahead of the first call, or begin to."""


def prefix_of(service: str, guard: str, version: str) -> str:
    """Return what the keys of one guard's version begin with; no name can look like the end of another."""
    return ":".join((quote(service, safe=""), "guardrail:cache", quote(guard, safe=""), quote(version, safe=""), ""))


def _whose(call: Call) -> str | None:
    """Return what names the subject of a call in its key, so that the answer is found when it must be erased; None: not shared."""
    snapshot = call.plan.snapshot
    if snapshot.subject is None and not snapshot.scattered:
        return ""
    subjects = snapshot.subjects(call)
    if not subjects:
        return ""
    from guardrail.ledger import sealing  # noqa: PLC0415 - for guards that know subjects

    digest = sealing.digest_of(subjects[0]) if len(subjects) == 1 else None
    if digest is None:
        notices.say(
            "unshared-subjects", "answers about several subjects, or about one that cannot be named by a digest, stay in this process",
            guard=call.plan.name,
        )  # fmt: skip
        return None
    return subject_part(digest)


class Question:
    """What one call asks of the store.

    Attributes:
        row: The key of the answer.
        lock: The key of the lease.
        token: Proves whose lease it is.
        held: Whether this call may hold the lease: it does, or the store did not say.
        until: When (monotonic) the lease ends by itself.
    """

    __slots__ = ("held", "lock", "row", "token", "until")

    def __init__(self, row: str) -> None:
        self.row = row
        self.lock = f"{row}:lease"
        self.token = os.urandom(12).hex()
        self.held = False
        self.until = math.inf


class SharedCaching(Caching):
    """The cache of one function object, in a store that other processes use too.

    Args:
        option: How long; its bounds are those of the memory, for what cannot be shared.
        rows: The answers in memory that cannot be shared.
        store: The shared store, which can "look", "peek", "store" and "release".
        prefix: Of all its keys.
        answers: Makes rows of answers.
        blocking: Whether its calls block their threads.
    """

    def __init__(self, option: Cache, rows: Rows, *, store: Store, prefix: str, answers: Answers, blocking: bool) -> None:
        super().__init__(option, rows)
        self.store = store
        self.prefix = prefix
        self.place = (store, prefix)
        self.outermost = (Settling(self),)
        self.answers = answers
        self.blocking = blocking

    def warm(self) -> None:
        """Connect before the first call; meanwhile, where waiting would hold up an event loop."""
        if self.answers.usable:
            self.store.connect(wait=self.blocking)

    # ── the way in ────────────────────────────────────────────────────────────────────────────────────────────────────
    def enter(self, call: Call) -> Turn:
        """Answer from the store, join who is finding out, or find out."""
        key = call.plan.snapshot.shared_key_of(call) if self.answers.usable else None
        whose = None if key is None else _whose(call)
        if key is None or whose is None:
            return super().enter(call)
        # In braces what decides on a cluster's shard: row and lease stand on one.
        call.shared = Question(f"{self.prefix}{whose}{{{hashlib.blake2b(key, digest_size=32).hexdigest()}}}")
        turn = self.board(call, call.key)
        return self._find_out(call) if call.leads else turn

    def _follow(self, call: Call, key: Any, leader: Call) -> Asks:
        if call.shared is not None and self.option.stale_for:
            reply = yield self._do(call, "peek", (call.shared.row,), (MOST_BYTES,), call.deadline)
            row = self._read(call, reply)
            if row is not None:
                return self._answer_with(call, *row)
        turn = yield from super()._follow(call, key, leader)
        if call.shared is not None and call.leads:  # the leader has no answer: this call takes over
            turn = yield from self._find_out(call)
        return turn

    def _find_out(self, call: Call) -> Asks:
        """Ask the store on behalf of all who follow this flight."""
        try:
            turn = yield from self._ask(call, call.shared)
        except BaseException:
            self.land(call)
            raise
        if turn is ANSWERED:
            self.land(call)
        return turn

    def _ask(self, call: Call, mine: Question) -> Asks:
        stale: Kept | None = None
        known, rows = _UNKNOWN, 0
        began = clock.now()
        while True:
            lease = self._lease(call)
            asked = clock.now()
            mine.held = True  # even without a reply: the script may have run
            reply = yield self._do(call, "look", (mine.row, mine.lock), (mine.token, lease, MOST_BYTES, known), call.deadline)
            word = _word(reply)
            if word == "row" and rows < _REPLACED:
                mine.held = False
                found = self._read(call, reply)
                if found is not None and found[1] == "cached":
                    return self._answer_with(call, *found)
                stale = None if found is None else found[0]
                known, rows = _left(reply), rows + 1
                continue
            if word == "lead":
                mine.until = asked + lease / 1000
                if stale is not None:
                    call.stale = self.rows.row_of(stale.answer, stale.confidence, 0.0, call.plan.name)
                return None
            if word != "wait":
                return None  # the store is no help: this process finds out by itself
            mine.held = False
            if stale is not None:
                return self._answer_with(call, stale, "stale")
            now = clock.now()
            if now - began > LEASE_SECONDS or _holds(call.parent, mine.lock):
                return None
            yield Sleep(self._pause(call, now, began))

    def _pause(self, call: Call, now: float, began: float) -> float:
        pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, (now - began) * _SLOWER)) * (0.5 + clock.chance())
        left = math.inf if call.deadline is None else call.deadline - now
        if left <= _LEAST:
            raise BudgetExceeded(
                "the deadline passed while another process was answering the same question",
                policy="budget",
                hint="give the guard a larger budget: the answer is cached once it is there",
            )
        return min(pause, left - _LEAST)

    def _lease(self, call: Call) -> int:
        """Return for how many ms the call may be finding out."""
        left = LEASE_SECONDS
        if call.deadline is not None:
            left = min(left, max(0.0, call.deadline - clock.now()) + _GRACE)
        return math.ceil(left * 1000)

    # ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _read(self, call: Call, reply: Any) -> tuple[Kept, str] | None:
        """Return what a reply holds and how it may be served, None where it is of no use."""
        left = _left(reply)
        if _word(reply) != "row" or left < 0 or not isinstance(reply[1], bytes):
            return None
        kept = self.answers.load(reply[1])
        if kept is None or (kept.confidence is None and call.plan.threshold is not None):
            return None
        age = kept.fresh + kept.stale - left  # ms; both clocks are the store's
        over = age - min(kept.fresh, self.option.ttl * 1000)
        if age < 0 or over >= self.option.stale_for * 1000 > 0:
            return None
        if over < 0:
            return kept, "cached"
        return (kept, "stale") if self.option.stale_for else None

    def _answer_with(self, call: Call, kept: Kept, outcome: str) -> str:
        if call.leads and call.landed is not None and outcome == "cached":
            call.flown = self.rows.row_of(kept.answer, kept.confidence, 0.0, call.plan.name)
        call.result = kept.answer
        call.confidence = kept.confidence
        call.outcome = outcome
        return ANSWERED

    # ── the way out ───────────────────────────────────────────────────────────────────────────────────────────────────
    def leave(self, call: Call) -> Turn:
        """Land, as in memory; the lease stays until the answer is stored, or goes at once where there is none to store."""
        mine: Question | None = call.shared
        failed = call.error is not None
        super().leave(call)
        if mine is None or not mine.held:
            return None
        bar = call.plan.bar
        sure = not failed and (bar is None or bar.of(call).passes(call.confidence, call.result))
        return None if sure else self._give_back(call, mine)

    def keep(self, call: Call) -> None:
        """Keep in memory what cannot be shared."""
        if call.shared is None:
            super().keep(call)

    def settle(self, call: Call, mine: Question) -> Asks | None:
        """Store a fresh, confident answer that is on time, and give the lease back; after all other policies."""
        if call.error is not None or call.outcome != "answered" or call.late:
            return self._give_back(call, mine)
        fresh = math.ceil((self._ttl - self._jitter * clock.chance()) * 1000)
        stale = math.ceil(self.option.stale_for * 1000)
        body = self.answers.dump(call.result, call.confidence, fresh, stale)
        if body is None:
            return self._give_back(call, mine)
        lapsed = int(clock.now() >= mine.until)
        return self._last(call, mine, "store", (mine.row, mine.lock), (mine.token, body, fresh + stale, lapsed))

    def _give_back(self, call: Call, mine: Question) -> Asks | None:
        if isinstance(call.error, GeneratorExit):  # who is closed can wait for nothing more; the lease ends by itself
            mine.held = False
            return None
        return self._last(call, mine, "release", (mine.lock,), (mine.token,))

    def _last(self, call: Call, mine: Question, verb: str, keys: tuple[str, ...], args: tuple[Any, ...]) -> Asks:
        mine.held = False
        yield self._do(call, verb, keys, args, call.last_moment)
        return None

    def _do(self, call: Call, verb: str, keys: tuple[str, ...], args: tuple[Any, ...], until: float | None) -> Do:
        """Return the ask; the store has a short while, and never longer than the call."""
        until = until or call.deadline
        left = None if until is None else until - clock.now()
        if left is not None and verb in _LOOKS:
            left *= _SHARE
        return Do(self.store, verb, keys, args, left)


class Settling:
    """Stands outside all other policies, where it is known how the call ended: stores the answer for other processes."""

    def __init__(self, caching: SharedCaching) -> None:
        self.caching = caching

    def leave(self, call: Call) -> Asks | None:
        """Store what may be stored."""
        mine: Question | None = call.shared
        return None if mine is None or not mine.held else self.caching.settle(call, mine)


def _word(reply: Any) -> str | None:
    """Return the first word of a reply; None where there is none."""
    return reply[0].decode("ascii", "replace") if isinstance(reply, list) and reply and isinstance(reply[0], bytes) else None


def _left(reply: Any) -> int:
    """Return the time to live (ms) that a reply tells of a row."""
    return reply[2] if isinstance(reply, list) and len(reply) > 2 and isinstance(reply[2], int) else _UNKNOWN  # noqa: PLR2004


def _holds(call: Call | None, lock: str) -> bool:
    """Return whether a call or one around it holds a lease: who waited for it would wait for itself."""
    while call is not None:
        mine: Question | None = call.shared
        if mine is not None and mine.held and mine.lock == lock:
            return True
        call = call.parent
    return False
