"""What the ledger's thread does with a batch: taps, lines, one write and one sync, promises kept. It never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from guardrail import clock, notices, settings
from guardrail.errors import AuditUnavailable, ConfigError
from guardrail.ledger import postgres, taps
from guardrail.ledger.chores import Chores, close
from guardrail.ledger.entry import Entry
from guardrail.ledger.lane import Lane
from guardrail.ledger.lines import Lines
from guardrail.ledger.places import PlaceRefused
from guardrail.ledger.postgres.schema import SchemaRefused
from guardrail.ledger.queued import Event, Losses, Mark, Pledge
from guardrail.ledger.signing import KeyRefused

KEPT_LINES: Final = 100_000  # lines that wait for a disk that is full or gone
KEPT_BYTES: Final = 64 * 2**20
_AT_ONCE: Final = 5_000  # lines in one write
_FIRST_WAIT: Final = 0.1  # seconds until an unusable disk is tried again, doubled each time
_LONGEST_WAIT: Final = 5.0
_ENTRIES: Final = frozenset({tuple, Entry})
_FAIL_FAST: Final = 0.02  # a forced commit this soon after a failed one is not worth another try


class _Promise(NamedTuple):
    """Somebody waits until everything up to a number of lines is durable."""

    upto: int
    item: Pledge | Event | Mark


class Committer:
    """Turns queued items into durable lines, in order, and answers those who wait for them.

    What cannot be written now is kept, bounded, and offered again with growing pauses; what finds no room is counted in
    `losses` and becomes a gap record. Nothing in here raises.

    Args:
        losses: Counts of records that were lost on the way here; shared with the callers' side.
    """

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self._lane: Lane | None = None
        self._chores = Chores()
        self._lines = Lines(self._keep)
        self._file = 0  # number of the first record of the file in which plans were spelled out
        self._kept: deque[bytes] = deque()  # an empty one was withdrawn
        self._kept_bytes = 0
        self._made = 0  # lines made so far
        self._done = 0  # of them, durable or withdrawn
        self._promises: deque[_Promise] = deque()
        self._retry_at = 0.0
        self._failed_at = float("-inf")
        self._pause = 0.0

    @property
    def lane(self) -> str | None:
        """The name of the lane, None before the first record."""
        return None if self._lane is None or not self._lane.begun else self._lane.name

    @property
    def waiting(self) -> bool:
        """Whether anything is left to be written or answered."""
        return bool(self._kept or self._promises or self.losses)

    def take(self, items: Sequence[Any]) -> bool:
        """Run the taps over a batch and turn it into lines.

        Returns:
            Whether somebody waits for one of them, so that they should be written now.
        """
        self._follow_home()
        plain = _ENTRIES.issuperset(map(type, items))
        entries = (
            items
            if plain
            else [item if isinstance(item, tuple) else item.entry for item in items if not isinstance(item, Event | Mark)]
        )
        if entries:
            taps.before_write(cast("list[Entry]", entries))
        if plain:
            self._calls(items)
            return False
        urgent = False
        for are_calls, run in groupby(items, _is_call):
            if are_calls:
                self._calls(list(run))
                continue
            urgent = True
            for item in run:
                self._awaited(item)
        return urgent

    def _awaited(self, item: Pledge | Event | Mark) -> None:
        if isinstance(item, Pledge):
            lost = self._calls([item.entry], awaited=True)
            if lost is not None:
                item.settle(OSError(lost))
                return
        elif isinstance(item, Event):
            if item.future is not None and item.future.cancelled():
                return  # whoever asked for it has given up: it must not appear later
            self._keep(self._lines.event(item))
        elif not item.durable:
            item.settle(None)
            return
        if item.future is not None:
            self._promises.append(_Promise(self._made, item))

    def commit(self, *, force: bool) -> None:
        """Write what is kept, unless the disk failed a moment ago; then answer who waits.

        Args:
            force: Somebody waits: try although the pause after a failure is not over.
        """
        now = clock.now()
        if (self._kept or self.losses) and (now >= self._retry_at or (force and now - self._failed_at > _FAIL_FAST)):
            problem = self._write()
            if problem is not None:
                self._pause = min(max(_FIRST_WAIT, self._pause * 2), _LONGEST_WAIT)
                self._failed_at = now = clock.now()
                self._retry_at = now + self._pause
                self._give_up(problem)
                notices.say("ledger", _text(problem))
            else:
                self._pause = self._retry_at = 0.0
        elif force and self._kept:
            self._give_up(OSError("the ledger's disk failed a moment ago"))
        self._answer()
        if self._lane is not None and not self._promises:
            for item in self._chores.do(self._lane, now):
                self._keep(self._lines.event(item))

    def close(self) -> None:
        """Tell the last beat, sign the last checkpoint, and close the lane."""
        if self._lane is not None:
            if self._lane.begun and not self._kept:
                for item in self._chores.beats.take(clock.now()):
                    self._keep(self._lines.event(item))
                self._write()
            close(self._lane)
        for promise in self._promises:
            promise.item.settle(OSError("the process ended before the record was durable"))
        self._promises.clear()
        if self._kept:
            notices.say("ledger-lost", f"{len(self._kept)} records could not be written before the process ended")

    def abandon(self) -> None:
        """In a forked child: close what was inherited, and leave everything to the parent."""
        if self._lane is not None:
            self._lane.abandon()

    # ── making lines ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _calls(self, entries: Sequence[Entry], *, awaited: bool = False) -> str | None:
        """Make and keep the lines of calls; return why one was lost, None if none was."""
        lost: str | None = None

        def odd(entry: Entry, problem: Exception) -> None:
            nonlocal lost
            lost = "it could not be made"
            notices.say("record", f"a record could not be made ({type(problem).__name__})", guard=entry[3].name)
            self.losses.count(lost, entry[1])

        # While the disk refuses, or little room is left, the bounds are looked at before every line.
        step = 1 if self._retry_at or len(self._kept) + len(entries) > KEPT_LINES else len(entries)
        for at in range(0, len(entries), step):
            part = entries[at : at + step]
            if len(self._kept) < KEPT_LINES and self._kept_bytes < KEPT_BYTES:
                made = self._lines.calls(part, odd, awaited=awaited)
                self._kept += made
                self._kept_bytes += sum(map(len, made))
                self._made += len(made)
                continue
            for entry in part:
                if awaited or entry[3].audit.durability != "off":
                    lost = "the disk did not take it"
                    self.losses.count(lost, entry[1])
        return lost

    def _keep(self, body: bytes) -> None:
        self._kept.append(body)
        self._kept_bytes += len(body)
        self._made += 1

    def _follow_home(self) -> None:
        """Begin another lane where the folder was configured anew."""
        lane = self._lane
        if lane is None or self._kept:
            return
        try:
            moved = settings.home(create=False) != lane.home or postgres.url() != lane.url
        except (OSError, ConfigError):
            return
        if moved:
            close(lane)
            self._another()

    def _another(self) -> None:
        """Begin another lane with the next record, and tell in it again what the process and its plans are."""
        self._lane = None
        self._chores = Chores(self._chores.beats)
        self._lines = Lines(self._keep)
        self._file = 0

    # ── writing them ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _write(self) -> Exception | None:
        """Write everything kept, gaps first; return what is wrong, if not all of it is durable."""
        if self._lane is not None and self._lane.lost:
            notices.say("ledger-lost-lane", "the files of the ledger were removed while in use; another lane was begun")
            self._lane.abandon()
            self._another()
        self._lines.begin(clock.wall())
        try:
            if self._lane is None:
                self._lane = _lane(settings.home())
        except (OSError, ConfigError) as problem:
            return problem
        lost = self.losses.take()
        if lost:
            gaps = self._lines.gaps(lost)
            durable = self._lane.append(gaps)
            if len(durable) < len(gaps):
                self.losses.give_back(lost)
                return self._lane.problem
            taps.after_write()
        while self._kept:
            part = list(islice(self._kept, _AT_ONCE))
            lines = self._lane.append([body for body in part if body])
            if self._file != self._lane.first:
                if self._file:
                    self._lines.again()
                self._file = self._lane.first
            self._release(part, len(lines))
            if lines:
                taps.after_write()
                self._answer()
                if self._kept:
                    self._chores.sign(self._lane, clock.now())
            if self._lane.problem is not None:
                return self._write() if self._lane.lost else self._lane.problem
        return None

    def _release(self, part: list[bytes], durable: int) -> None:
        if durable == len(part) == len(self._kept):
            self._kept.clear()
            self._kept_bytes = 0
            self._done += durable
            return
        for body in part:
            if body:
                if not durable:
                    return
                durable -= 1
            self._kept.popleft()
            self._kept_bytes -= len(body)
            self._done += 1

    # ── answering who waits ───────────────────────────────────────────────────────────────────────────────────────────
    def _answer(self) -> None:
        promises = self._promises
        while promises and promises[0].upto <= self._done:
            promises.popleft().item.settle(None)

    def _give_up(self, problem: Exception) -> None:
        """Tell those who wait for a record that it is not durable; who flushes goes on waiting.

        An event that somebody waited for is withdrawn, since it did not take effect. A call did happen and its record stays,
        but where audit is required there was no answer, and then the record says so.
        """
        still: deque[_Promise] = deque()
        for promise in self._promises:
            item = promise.item
            if promise.upto <= self._done or isinstance(item, Mark):
                still.append(promise)
                continue
            at = promise.upto - self._done - 1
            if isinstance(item, Event):
                self._replace(at, b"")
            elif item.entry[3].audit.required:
                self._replace(at, self._lines.call(_unanswered(item.entry)))
            item.settle(problem)
        self._promises = still

    def _replace(self, at: int, body: bytes) -> None:
        self._kept_bytes += len(body) - len(self._kept[at])
        self._kept[at] = body


def _is_call(item: Any) -> bool:
    return isinstance(item, tuple)


def _lane(home: Path) -> Lane:
    """Return a new lane, in files or in the database that is configured."""
    url = postgres.url()
    if url is None:
        return Lane(home)
    from guardrail.ledger.postgres.lane import SharedLane  # noqa: PLC0415 - brings psycopg

    return SharedLane(home, url)


def _unanswered(entry: Entry) -> Entry:
    extra = {**(entry[9] or {}), "error": AuditUnavailable(), "policy": "audit"}
    return Entry._make(entry)._replace(outcome="refused", output=None, extra=extra)


def _reason(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem)


def _text(problem: Exception) -> str:
    if isinstance(problem, KeyRefused | PlaceRefused | SchemaRefused):
        return f"the ledger takes no records: {_reason(problem)}"
    return (
        f"the ledger cannot be written ({_reason(problem)}): records are kept in memory and offered again;"
        " free or repair the disk under GUARDRAIL_HOME"
    )
