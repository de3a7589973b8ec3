"""One sink on trial against its peer: records to send, a bound on every wait, what it shows anywhere, and what came of it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar

import orjson

from guardrail.delivery.sink import Item, Result

T = TypeVar("T")
State = Literal["passed", "failed", "not offered", "not applicable"]
How = Literal["ok", "429", "500", "401", "403", "413", "reset", "slow", "drip", "partial", "second", "certificate"]
PRIVATE: Final = "pr1v4te-t0-s0meb0dy"  # stands in every record; where it is shown, something tells of a record
_LANE: Final = "20260101T000000000000Z-kit-1-00000000"
_HANDLES: Final = Path("/proc/self/fd") if sys.platform == "linux" else Path("/dev/fd")


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

        "ok" takes everything. "429" asks to be left alone for 7 s, "500" fails, "401" and "403" let nobody in, "413" finds it
        too long, "reset" breaks the connection in the middle, "slow" never answers, "drip" answers a byte at a time and never
        ends, "partial" refuses the second item of a batch, "second" takes one request and breaks the connection from the second
        on, and "certificate" shows one that nobody knows. For "slow", "drip" and "certificate" its `url` may be another meanwhile,
        with a shorter timeout or for TLS: the sink is made for it.
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
        return "\n".join(f"{check.state:>14}  {check.name}{': ' * bool(check.why)}{check.why}" for check in self.checks)


class NotOffered(Exception):
    """The peer cannot do that, so nothing is known."""


def must(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as assert, which optimised code leaves out
    """Let a check fail unless something holds."""
    if not holds:
        raise AssertionError(otherwise)


class Trial:
    """A sink, its peer, and everything that the sink showed anywhere.

    Args:
        make: Makes the sink for a URL.
        peer: The other side.
        patience: Seconds in which every call of the sink must come back.
    """

    def __init__(self, make: Callable[[str], Any], peer: Peer, patience: float) -> None:
        self._make, self.peer, self.patience = make, peer, patience
        self.shown: list[str] = []
        self.opened: list[str] = []  # by the constructor
        self._next = 0
        with self.watched():
            self.sink = self.made()

    def made(self) -> Any:
        """Make a sink for the peer as it is now, and note what that opens."""
        before, handles = set(threading.enumerate()), _handles()
        found = self._make(self.peer.url)
        self.opened += [f"the thread {each.name}" for each in threading.enumerate() if each not in before]
        self.opened += sorted(_handles() - handles)
        self.shown += [repr(found), str(found)]
        return found

    def items(self, many: int, filler: int = 0) -> list[Item]:
        """Return records that were never sent before."""
        first = self._next + 1
        self._next += many
        return [Item(_LANE, seq, orjson.dumps(_record(seq, filler))) for seq in range(first, first + many)]

    def behave(self, how: How) -> None:
        """Have the peer behave so, or leave the check out."""
        if not self.peer.behave(how):
            raise NotOffered(f"the peer cannot do {how!r}")

    def since(self, got: int) -> list[bytes]:
        """Return what the peer has got after so many."""
        return self.peer.received()[got:]

    def send(self, batch: Sequence[Item], by: Any = None) -> list[Result]:
        """Send in batches of the sink's size; an exception counts as all of it to be sent again, as for the courier."""
        sink = self.sink if by is None else by
        most = max(1, sink.caps.items)
        results: list[Result] = []
        for part in [batch[at : at + most] for at in range(0, len(batch), most)]:
            try:
                found = list(self.bounded(lambda part=part: sink.send(part)))  # type: ignore[misc]  # bound for each part
            except AssertionError:
                raise
            except Exception as problem:  # noqa: BLE001 - whatever a sink raises
                self.shown += traceback.format_exception(problem)
                found = [Result("retry", f"it raised {type(problem).__name__}")] * len(part)
            must(len(found) == len(part), f"it gives {len(found)} results for {len(part)} items")
            must(all(isinstance(each, Result) for each in found), "a result is not made by ok, retry, reject or pending")
            results += found
        self.shown += [repr(sink), str(sink), *(result.reason for result in results)]
        return self._confirmed(sink, results)

    def bounded(self, call: Callable[[], T]) -> T:
        """Call something of the sink's, and let the check fail where it does not come back."""
        found: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                found.append(call())
            except BaseException as problem:  # noqa: BLE001 - it is raised where the result is wanted
                raised.append(problem)

        thread = threading.Thread(target=run, name="guardrail-kit", daemon=True)
        thread.start()
        thread.join(self.patience)
        if thread.is_alive():
            self.sink = self.made()  # the other one is still busy
            raise AssertionError(
                f"it does not come back within {self.patience:g} s: all that it waits for needs one end, after the address' timeout"
            )
        if raised:
            raise raised[0]
        return found[0]

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Keep whatever is logged, printed or warned of meanwhile."""
        heard, out, problem = io.StringIO(), io.StringIO(), io.StringIO()
        handler = logging.StreamHandler(heard)
        root = logging.getLogger()
        level, disabled = root.level, logging.root.manager.disable
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        logging.disable(logging.NOTSET)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(problem):
                    yield
            finally:
                root.removeHandler(handler)
                root.setLevel(level)
                logging.disable(disabled)
                self.shown += [heard.getvalue(), out.getvalue(), problem.getvalue(), *(str(each.message) for each in warned)]

    def _confirmed(self, sink: Any, results: list[Result]) -> list[Result]:
        """Ask what became of what is pending, until that is known."""
        until = time.monotonic() + self.patience
        while waiting := {result.token for result in results if result.kind == "pending"}:
            must(hasattr(sink, "poll"), "it says 'pending', and has no poll that says what became of it")
            must(time.monotonic() < until, "what is 'pending' stays so")
            tokens = sorted(waiting)
            found = dict(zip(tokens, self.bounded(lambda tokens=tokens: sink.poll(tokens)), strict=True))  # type: ignore[misc]
            results = [found[each.token] if each.kind == "pending" else each for each in results]
            time.sleep(0.01)
        return results


def _handles() -> set[str]:
    found = set()
    for each in os.listdir(_HANDLES):  # noqa: PTH208 - names are all that is wanted
        with contextlib.suppress(OSError):
            status = os.fstat(int(each))
            if stat.S_ISSOCK(status.st_mode):
                found.add(f"a socket ({status.st_ino})")
            elif stat.S_ISREG(status.st_mode):
                found.add(f"a file ({status.st_ino})")
    return found


def _record(seq: int, filler: int) -> dict[str, Any]:
    return {
        "v": 1, "id": f"01900000-0000-7000-8000-{seq:012}", "seq": seq, "ts": "2026-01-02T03:04:05.678901Z", "event": "call",
        "outcome": "failed", "error": {"type": "KeyError", "policy": "retry"}, "guard": "kit", "service": "kit", "host": "kit",
        "output": {"value": PRIVATE}, "reasons": [PRIVATE], **({"filler": "x" * filler} if filler else {}),
    }  # fmt: skip
