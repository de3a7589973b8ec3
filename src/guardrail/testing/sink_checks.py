"""The conformance kit for sinks: what the courier relies on, tried against a peer that misbehaves to order."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import orjson

from guardrail.delivery.sink import Item, Result
from guardrail.testing.peers import CANARY

State = Literal["passed", "failed", "not offered"]
How = Literal["ok", "429", "500", "401", "413", "reset", "slow", "partial"]
RETRY_AFTER: Final = 7.0  # seconds that a peer asks for with "429"
_SLOWNESS: Final = 3.0  # seconds more than its timeout that a sink may take on a busy machine


class Peer(Protocol):
    """The other side of a sink, for `check_sink`.

    Attributes:
        url: The URL of a sink that delivers to it, with `guardrail.testing.CANARY` wherever a secret stands, and a timeout of
            a second or less.
    """

    url: str

    def received(self) -> list[bytes]:
        """Return what it has got, in order, also what it answered with a failure; one entry for each request or message."""
        ...

    def behave(self, how: How) -> bool:
        """Do so from now on; return whether it can.

        "ok" takes everything. "429" asks to be left alone for 7 s, "500" fails, "401" lets nobody in, "413" finds it too long,
        "reset" closes the connection in the middle, "slow" answers later than the timeout, "partial" refuses the second item.
        """
        ...

    def stop(self) -> None:
        """Be away."""

    def start(self) -> None:
        """Be there again, at the same URL."""

    def holds(self, body: bytes, item: Item) -> bool:
        """Return whether one entry of `received` brings an item."""
        ...


class Check(NamedTuple):
    """What came of one check: its name, its state, and why."""

    name: str
    state: State
    why: str


class Report(NamedTuple):
    """What came of all checks."""

    checks: tuple[Check, ...]

    def raise_for_failures(self) -> None:
        """Raise where a check failed.

        Raises:
            AssertionError: It names the checks, with what is wrong.
        """
        failed = [check for check in self.checks if check.state == "failed"]
        if failed:
            raise AssertionError("\n".join(f"{check.name}: {check.why}" for check in failed))

    def __str__(self) -> str:
        """Return a line for each check."""
        return "\n".join(f"{check.state:>11}  {check.name}{': ' * bool(check.why)}{check.why}" for check in self.checks)


class _NotOffered(Exception):
    """The peer cannot do that, so nothing is known."""


class _Trial:
    """A sink, its peer, and everything that the sink showed anywhere."""

    def __init__(self, make: Callable[[str], Any], peer: Peer) -> None:
        self.make, self.peer = make, peer
        self.shown: list[str] = []
        self.sink: Any = make(peer.url)
        self._next = 0

    def items(self, many: int, filler: int = 0) -> list[Item]:
        """Return records that were never sent before."""
        first = self._next + 1
        self._next += many
        return [
            Item(
                "20260101T000000000000Z-kit-1-00000000",
                seq,
                orjson.dumps(_record(seq) | ({"filler": "x" * filler} if filler else {})),
            )
            for seq in range(first, first + many)
        ]

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send in batches of the sink's size, and keep what was shown; an exception counts as all of it to be sent again, as for the courier."""
        most = max(1, self.sink.caps.items)
        results: list[Result] = []
        with self._watched():
            for part in [batch[at : at + most] for at in range(0, max(1, len(batch)), most)]:
                try:
                    results += list(self.sink.send(part))
                except Exception as problem:  # noqa: BLE001 - whatever a sink raises
                    self.shown.append(f"{problem!r} {problem}")
                    results += [Result("retry", f"it raised {type(problem).__name__}")] * len(part)
        self.shown += [repr(self.sink), str(self.sink), *(result.reason for result in results if isinstance(result, Result))]
        return results

    def behave(self, how: How) -> None:
        """Have the peer behave so, or leave the check out."""
        if not self.peer.behave(how):
            raise _NotOffered(f"the peer cannot do {how!r}")

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        heard = io.StringIO()
        handler = logging.StreamHandler(heard)
        root = logging.getLogger()
        level, disabled = root.level, logging.root.manager.disable
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        out, problem = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(problem):
                yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            logging.disable(disabled)
            self.shown += [heard.getvalue(), out.getvalue(), problem.getvalue()]


def check_sink(make: Callable[[str], Any], peer: Peer) -> Report:
    """Try whether a sink keeps to what the courier relies on.

    Args:
        make: Makes the sink for a URL; it is called several times.
        peer: The other side, such as a `guardrail.testing.HttpPeer`. It is left running.

    Returns:
        What came of each check. What the peer cannot do is "not offered", never passed.
    """
    found: list[Check] = []
    trial = _Trial(make, peer)
    for name, check in _CHECKS:
        try:
            peer.behave("ok")
            check(trial)
        except _NotOffered as lack:
            found.append(Check(name, "not offered", str(lack)))
        except AssertionError as wrong:
            found.append(Check(name, "failed", str(wrong)))
        except Exception as problem:  # noqa: BLE001 - a sink may raise anything; that is a finding as well
            found.append(Check(name, "failed", f"it met an unexpected {type(problem).__name__}"))
        else:
            found.append(Check(name, "passed", ""))
    with contextlib.suppress(Exception):
        peer.behave("ok")
        trial.sink.close()
    return Report(tuple(found))


# ── the checks ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _opens_nothing(trial: _Trial) -> None:
    before = {thread.ident for thread in threading.enumerate()}
    got = len(trial.peer.received())
    trial.make(trial.peer.url)
    started = [thread.name for thread in threading.enumerate() if thread.ident not in before]
    _must(not started, f"its constructor starts threads: {', '.join(started)}")
    _must(len(trial.peer.received()) == got, "its constructor already sends something")


def _one_result_for_each(trial: _Trial) -> None:
    batch = trial.items(3)
    results = trial.send(batch)
    _must(len(results) == len(batch), f"it gives {len(results)} results for {len(batch)} items")
    _must(all(isinstance(each, Result) for each in results), "a result is not made by ok, retry, reject or pending")
    _must(all(each.kind in {"ok", "pending"} for each in results), "it does not take what its peer takes")


def _order(trial: _Trial) -> None:
    batch = trial.items(5)
    got = len(trial.peer.received())
    _delivered(trial, batch)
    bodies = trial.peer.received()[got:]
    places = [next((at for at, body in enumerate(bodies) if trial.peer.holds(body, item)), None) for item in batch]
    _must(None not in places, "an item that it calls arrived did not arrive")
    _must(places == sorted(places, key=lambda at: at or 0), "items arrive in another order")


def _same_on_every_try(trial: _Trial) -> None:
    trial.behave("500")
    batch = trial.items(1)
    got = len(trial.peer.received())
    trial.send(batch)
    first = trial.peer.received()[got:]
    trial.behave("ok")
    got = len(trial.peer.received())
    _delivered(trial, batch)
    again = trial.peer.received()[got:]
    _must(bool(first), "nothing was sent")
    _must(first[0] == again[0], "a second try has another body, so nobody can tell duplicates")


def _sends_once(trial: _Trial) -> None:
    trial.behave("500")
    got = len(trial.peer.received())
    results = trial.send(trial.items(1))
    sent = len(trial.peer.received()) - got
    _must(sent <= 1, f"it tries {sent} times by itself: the courier does that, with pauses, a breaker and a bound")
    _must(results[0].kind == "retry", f"a failure of the peer is {results[0].kind!r}, not 'retry'")


def _too_many_requests(trial: _Trial) -> None:
    trial.behave("429")
    (result,) = trial.send(trial.items(1))
    _must(result.kind == "retry", f"429 is {result.kind!r}, not 'retry'")
    _must(result.after is not None and result.after > RETRY_AFTER - 2.0, f"Retry-After says 7 s, and it says {result.after}")


def _partial_failure(trial: _Trial) -> None:
    trial.behave("partial")
    batch = trial.items(3)
    results = trial.send(batch)
    _must(results[1].kind in {"retry", "reject"}, "an item that its peer refused counts as arrived")


def _reset(trial: _Trial) -> None:
    trial.behave("reset")
    (result,) = trial.send(trial.items(1))
    _must(result.kind == "retry", f"a connection that is cut in the middle is {result.kind!r}, not 'retry'")


def _slow(trial: _Trial) -> None:
    trial.behave("slow")
    begun = time.monotonic()
    (result,) = trial.send(trial.items(1))
    took = time.monotonic() - begun
    _must(took < 1.0 + _SLOWNESS, f"it waits {took:.0f} s for an answer: every wait needs the address' timeout")
    _must(result.kind == "retry", f"no answer in time is {result.kind!r}, not 'retry'")


def _too_long(trial: _Trial) -> None:
    trial.behave("413")
    (result,) = trial.send(trial.items(1, filler=1_000))
    _must(result.kind == "reject", f"an item that its peer finds too long is {result.kind!r}: it would hold up all others")


def _credentials(trial: _Trial) -> None:
    trial.behave("401")
    (result,) = trial.send(trial.items(1))
    _must(result.kind == "retry", f"credentials that have expired are {result.kind!r}: all records would become dead letters")
    _must(result.credentials, "it does not say credentials=True, so that nobody reads the secret again")


def _away_and_back(trial: _Trial) -> None:
    trial.peer.stop()
    try:
        results = trial.send(trial.items(2))
        _must(all(each.kind == "retry" for each in results), "while its peer is away, an item is not 'retry'")
    finally:
        trial.peer.start()
    _delivered(trial, trial.items(1))


def _close_and_go_on(trial: _Trial) -> None:
    trial.sink.close()
    trial.sink.close()
    _delivered(trial, trial.items(1))


def _probe(trial: _Trial) -> None:
    said = trial.sink.probe()
    _must(isinstance(said, str) and bool(said), "probe does not say what it proved")
    trial.peer.stop()
    try:
        trial.sink.probe()
    except Exception as problem:  # noqa: BLE001 - it should raise something
        trial.shown.append(f"{problem!r} {problem}")
        return
    finally:
        trial.peer.start()
    raise AssertionError("probe says that all is well while its peer is away")


def _secrets(trial: _Trial) -> None:
    if CANARY not in trial.peer.url:
        raise _NotOffered("the peer's URL holds no CANARY")
    where = [text for text in trial.shown if CANARY in text]
    _must(not where, "its secret stands in what it shows: an error, a reason, a log line, its repr or its output")


def _delivered(trial: _Trial, batch: Sequence[Item]) -> None:
    results = trial.send(batch)
    if results and all(isinstance(each, Result) and each.kind == "retry" for each in results):
        results = trial.send(batch)  # a connection that its peer closed meanwhile may be noticed only now
    _must(
        all(isinstance(each, Result) and each.kind in {"ok", "pending"} for each in results),
        "it does not take what its peer takes",
    )


def _must(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as assert, which optimised code leaves out
    if not holds:
        raise AssertionError(otherwise)


def _record(seq: int) -> dict[str, Any]:
    return {
        "v": 1, "id": f"01900000-0000-7000-8000-{seq:012}", "seq": seq, "ts": "2026-01-02T03:04:05.678901Z", "event": "call",
        "outcome": "failed", "error": {"type": "KeyError", "policy": "retry"}, "guard": "kit", "service": "kit", "host": "kit",
    }  # fmt: skip


# Secrets last: they are looked for in all that was shown before.
_CHECKS: Final[tuple[tuple[str, Callable[[_Trial], None]], ...]] = (
    ("its constructor opens nothing", _opens_nothing),
    ("one result for each item", _one_result_for_each),
    ("order", _order),
    ("the same body on every try", _same_on_every_try),
    ("it sends once", _sends_once),
    ("429 with Retry-After", _too_many_requests),
    ("partial failure", _partial_failure),
    ("reset in the middle", _reset),
    ("a slow peer", _slow),
    ("an item that is too long", _too_long),
    ("expired credentials", _credentials),
    ("away and back", _away_and_back),
    ("close, and go on", _close_and_go_on),
    ("probe", _probe),
    ("secrets are never shown", _secrets),
)
