"""Serves one sink: reads the ledger from its cursor on, sends, and moves the cursor when things have arrived.

At least once, and in the order of each lane. What a sink refuses becomes a dead letter; what it cannot take now waits in the
ledger, so that a sink that is away costs neither memory nor anybody's time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from guardrail import clock, notices
from guardrail.delivery.keeping import Keeping, Letter, State
from guardrail.delivery.outbox import Outbox
from guardrail.delivery.pace import Pace
from guardrail.delivery.sink import Caps, Item, Result, retry
from guardrail.delivery.waiting import POISON_PASSES, Key, Waiting, key
from guardrail.errors import ConfigError
from guardrail.settings import Route, Sink

POLL: Final = 0.2  # seconds between two looks for what other processes have written
ASK_OTHERS: Final = 0.05  # seconds between two looks how far another process has come that serves the sink, while somebody waits
WAIT_TURN: Final = 1.0  # seconds between two looks whether whoever serves the sink is gone
SAVE_EVERY: Final = 0.2
TELL_EVERY: Final = 1.0
LOOK_CLOSED: Final = 10.0  # seconds between two looks for lanes that are done with
CONFIRM_SECONDS: Final = 120.0  # an item whose arrival is not confirmed for so long is sent again
POLL_TOKENS: Final = 0.5
_SCAN: Final = 20_000  # records looked at in one round that a route does not want


class Courier:
    """The courier of one sink. `step` does one round and never waits, so that tests need no clock of their own.

    Args:
        sink: As configured.
        route: What it wants, None for everything.
        outbox: Where records are read.
        keeping: Where cursor and dead letters are.
        own: Says which lane this process writes; for a sink that each process serves itself.
    """

    def __init__(self, sink: Sink, route: Route | None, outbox: Outbox, keeping: Keeping, own: Callable[[], str | None]) -> None:
        self.sink = sink
        self.route = route
        self._to: Any = sink.kind(sink.address)
        caps: Caps = getattr(self._to, "caps", Caps())
        options = sink.address.options
        self._caps = caps._replace(
            items=min(caps.items, options["batch"] or caps.items), size=min(caps.size, options["size"] or caps.size)
        )
        self._outbox = outbox
        self._keeping = keeping
        self._own = own
        self._pace = Pace(self._caps.items, options["rate"])
        self._read: dict[str, int] = {}  # number of the last record that was read, by lane
        self._saved: dict[str, int] = {}
        self._waiting = Waiting()
        self._tokens: dict[str, list[Item]] = {}  # sent, and not confirmed
        self._confirm_until = 0.0
        self._done: set[str] = set()
        self._began = False
        self.looked = False  # whether it is known if another process serves the sink
        self._next_save = self._next_tell = self._next_closed = 0.0
        self._filled_at = 0.0
        self._state = State()
        self.sending_since = 0.0  # monotonic; 0 while nothing is being sent

    # ── one round ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def step(self, *, hurry: bool = False) -> float | None:
        """Do one round.

        Args:
            hurry: Send what there is, also where a batch is not full.

        Returns:
            Seconds until the next round is due; None where there is nothing to be done before something new is written.
        """
        if not self._caps.per_process and not self._keeping.hold():
            self._began, self.looked = False, True
            if hurry:
                return None if self._others_had_mine() else ASK_OTHERS
            return WAIT_TURN
        if not self._began:
            self._begin()
        now = clock.now()
        if self._tokens:
            return self._confirm(now)
        if now < self._pace.ready:
            self._tell(now)
            return self._pace.ready - now
        more = len(self._waiting) < self._pace.size and self._fill()
        if not self._waiting:
            self._save(now, force=not more)
            self._tell(now)
            return 0.0 if more else None
        linger = float(self.sink.address.options["linger"])
        if linger and not hurry and len(self._waiting) < self._pace.size and now < self._filled_at + linger:
            self._save(now)
            return self._filled_at + linger - now
        self._send(now)
        self._save(clock.now())
        self._tell(clock.now())
        return 0.0

    @property
    def serving(self) -> bool:
        """Whether this process is the one that serves the sink, as far as it knows."""
        return self._began

    def _others_had_mine(self) -> bool:
        """Return whether whoever serves the sink has delivered what this process has written so far."""
        own = self._own()
        if own is None:
            return True
        found = self._keeping.positions() or {}
        return found.get(own, 0) >= self._outbox.last(own) or own in self._keeping.done()

    @property
    def failing(self) -> bool:
        """Whether the last try did not work."""
        return self._pace.failures > 0

    def close(self) -> None:
        """Remember how far it came, and let another process go on."""
        if self._began:
            with contextlib.suppress(OSError):
                self._save(clock.now(), force=True)
                self._tell(clock.now(), force=True)
        with contextlib.suppress(Exception):
            self._to.close()
        self._outbox.close()
        self._keeping.release()
        self._began = False

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent."""
        with contextlib.suppress(Exception):
            self._to.close()
        self._outbox.abandon()
        self._keeping.abandon()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _begin(self) -> None:
        self._waiting.clear()
        self._tokens.clear()
        if self._caps.per_process:
            self._read = {}
        else:
            found = self._keeping.positions()
            if found is None:
                found = self._first_positions()
                self._keeping.save(found)
            self._read = found
            self._done = self._keeping.done()
            self._state = self._keeping.state()
        self._saved = dict(self._read)
        self._began = self.looked = True

    def _first_positions(self) -> dict[str, int]:
        """Say where a sink begins that was never served: with what is owed to it, or with everything."""
        if self.sink.address.options["start"] == "beginning":
            return {}
        return {lane: self._outbox.last(lane) for lane in self._outbox.lanes() if not self._outbox.owes(lane, self.sink.name)}

    def _lanes(self) -> list[str]:
        if self._caps.per_process:
            own = self._own()
            return [] if own is None else [own]
        return [lane for lane in self._outbox.lanes() if lane not in self._done]

    def _fill(self) -> bool:
        """Read on, one lane after the other; return whether there may be more."""
        looked = 0
        lanes = self._lanes()
        size = self._waiting.size
        for lane in lanes:
            while looked < _SCAN and len(self._waiting) < self._pace.size and size < self._caps.size:
                many, taken = self._take(lane, self._pace.size - len(self._waiting))
                if not many:
                    break
                looked += many
                size += taken
        if not looked:
            self._close_lanes(lanes)
        return looked >= _SCAN

    def _take(self, lane: str, most: int) -> tuple[int, int]:
        """Read on in a lane; return how many records were read, and the bytes of those that now wait."""
        items, gone = self._outbox.read(lane, self._read.get(lane, 0), most)
        if gone:
            self._lost(lane, gone)
        if not items:
            return 0, 0
        self._read[lane] = items[-1].seq
        wanted = items if self.route is None else [item for item in items if _goes(self.route, item, self.sink.name)]
        too_long = [item for item in wanted if len(item.line) > self._caps.item_size]
        if too_long:
            self._bury([self._waiting.letter(item, "it is longer than the sink takes") for item in too_long])
            wanted = [item for item in wanted if len(item.line) <= self._caps.item_size]
        if wanted and not self._waiting:
            self._filled_at = clock.now()
        self._waiting.add(wanted)
        return len(items), sum(len(item.line) for item in wanted)

    def _lost(self, lane: str, many: int) -> None:
        self._read[lane] = self._read.get(lane, 0) + many
        self._state = self._state._replace(lost=self._state.lost + many)
        notices.say(
            f"sink-{self.sink.name}-lost",
            f"{many} records were pruned from the ledger before the sink {self.sink.name} had them",
        )

    def _close_lanes(self, lanes: Sequence[str]) -> None:
        """Leave lanes alone of which everything has arrived and nothing more comes."""
        now = clock.now()
        if self._caps.per_process or self._waiting or now < self._next_closed:
            return
        self._next_closed = now + LOOK_CLOSED
        closed = self._outbox.closed()
        over = [lane for lane in lanes if lane in closed and not self._outbox.read(lane, self._read.get(lane, 0), 1)[0]]
        if over:
            self._keeping.finish(over)
            self._done.update(over)
            for lane in over:
                self._read.pop(lane, None)
                self._saved.pop(lane, None)

    # ── sending ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _send(self, now: float) -> None:
        if self._waiting.lonely:
            for lane in self._lanes():
                self._take(lane, POISON_PASSES)
        batch = self._waiting.next(self._pace.size, self._caps.size)
        self.sending_since = now
        try:
            results = list(self._to.send(batch))
        except ConfigError as problem:
            results = [retry(reason=str(problem))] * len(batch)
        except OSError as problem:
            results = [retry(reason=problem.strerror or type(problem).__name__)] * len(batch)
        except Exception as problem:  # noqa: BLE001 - the courier outlives whatever a client's library raises; its text may hold what is secret
            results = [retry(reason=f"it met an unexpected {type(problem).__name__}")] * len(batch)
        finally:
            self.sending_since = 0.0
        if len(results) != len(batch) or not all(isinstance(each, Result) for each in results):
            results = [retry(reason="it did not say what became of each record")] * len(batch)
        self._settle(batch, results)
        # Asked right after it failed, and never before it is tried: what only waited for a sink that was away arrives first.
        if self._waiting.suspicious and self._is_there():
            self._waiting.set_aside()

    def _is_there(self) -> bool:
        """Ask the sink itself, so that an item is not blamed for a sink that is away."""
        try:
            self._to.probe()
        except Exception:  # noqa: BLE001 - whatever it raises, that is the answer
            return False
        return True

    def _settle(self, batch: Sequence[Item], results: Sequence[Result]) -> None:
        """Take note of what became of items."""
        arrived: set[Key] = set()
        dead: list[Letter] = []
        again: list[Result] = []
        for item, result in zip(batch, results, strict=True):
            if result.kind == "ok":
                arrived.add(key(item))
            elif result.kind == "reject":
                dead.append(self._waiting.letter(item, result.reason))
            elif result.kind == "pending":
                if not self._tokens:
                    self._confirm_until = clock.now() + CONFIRM_SECONDS
                self._tokens.setdefault(result.token, []).append(item)
            else:
                again.append(result)
        poison = self._waiting.poison(batch, arrived)
        if poison is not None:
            dead.append(self._waiting.letter(poison, f"it failed {self._waiting.tries(poison)} times, while others arrived"))
        if dead:
            self._bury(dead)
        if arrived:
            self._state = self._state._replace(delivered=self._state.delivered + len(arrived), delivered_at=clock.wall())
        gone = arrived | {(letter.lane, letter.seq) for letter in dead}
        if gone:
            self._waiting.drop(gone)
        if again:
            self._put_off(again, some=bool(gone))
        elif not self._tokens:
            self._pace.worked(len(batch))
            self._state = self._state._replace(problem="")

    def _put_off(self, again: Sequence[Result], *, some: bool) -> None:
        refused = any(each.credentials for each in again)
        after = max((each.after for each in again if each.after is not None), default=None)
        reason = next((each.reason for each in again if each.reason), "it could not be reached")
        if some and not refused:
            self._pace.failures = 0  # it is there, though it did not take everything
        self._pace.failed(after, refused=refused)
        if refused:
            for secret in self.sink.address.secrets():
                secret.forget()
            with contextlib.suppress(Exception):
                self._to.close()
        self._state = self._state._replace(problem=reason)
        notices.say(f"sink-{self.sink.name}", f"the sink {self.sink.name} does not take records ({reason}); the ledger has them")

    def _bury(self, letters: Sequence[Letter]) -> None:
        self._keeping.bury(letters)
        self._state = self._state._replace(dead=self._state.dead + len(letters))
        notices.say(
            f"sink-{self.sink.name}-dead",
            f"the sink {self.sink.name} refused records ({letters[0].reason}); `guardrail sink dead {self.sink.name}` lists them",
        )

    def _confirm(self, now: float) -> float:
        """Ask what became of what was sent and not confirmed."""
        tokens = list(self._tokens)
        try:
            results = list(self._to.poll(tokens))
        except Exception as problem:  # noqa: BLE001 - as in `_send`
            results = [retry(reason=f"it met an unexpected {type(problem).__name__}")] * len(tokens)
        if len(results) != len(tokens) or not all(isinstance(each, Result) for each in results):
            results = [retry(reason="it did not say what became of each token")] * len(tokens)
        for token, result in zip(tokens, results, strict=True):
            if result.kind == "pending" and now < self._confirm_until:
                continue
            if result.kind == "retry" and now < self._confirm_until:
                self._state = self._state._replace(problem=result.reason)
                continue  # whether it arrived is not known yet: asked again
            late = retry(reason="its arrival was not confirmed")
            items = self._tokens.pop(token)
            self._settle(items, [late if result.kind in {"pending", "retry"} else result] * len(items))
        self._save(now)
        return POLL_TOKENS if self._tokens else 0.0

    # ── remembering ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _save(self, now: float, *, force: bool = False) -> None:
        if self._caps.per_process or (not force and now < self._next_save):
            return
        arrived = self._waiting.before(self._read)
        changed = {lane: seq for lane, seq in arrived.items() if self._saved.get(lane) != seq}
        if changed:
            self._keeping.save(changed)
            self._saved.update(changed)
        self._next_save = now + SAVE_EVERY

    def _tell(self, now: float, *, force: bool = False) -> None:
        if self._caps.per_process or (not force and now < self._next_tell):
            return
        self._next_tell = now + TELL_EVERY
        self._keeping.tell(self._state._replace(breaker=self._pace.breaker, failures=self._pace.failures))


def _goes(route: Route, item: Item, name: str) -> bool:
    try:
        return route.takes(orjson.loads(item.line), name)
    except orjson.JSONDecodeError:
        return True  # somebody has changed it: whoever watches the sink should see that
