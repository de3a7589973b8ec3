"""Pushes the newest checkpoints to every anchor, each on a thread of its own: a dead anchor holds up nobody, and is counted."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from guardrail import clock, lifecycle, notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger import disk, postgres, sources
from guardrail.ledger.anchors import Place, place
from guardrail.ledger.derived import CHECKPOINTS
from guardrail.ledger.manifest import NOTES
from guardrail.ledger.notes import whole
from guardrail.settings.anchors import Anchor

EXIT_ORDER: Final = 85  # at exit: after the last checkpoints are signed
EXIT_SECONDS: Final = 1.0  # the most that an exit waits for the last push
STATES: Final = "anchors"  # folder in the home: what became of the latest pushes, one file for each anchor
_LONGEST_PAUSE: Final = 900.0
_TAIL: Final = 65_536  # bytes of a file of notes in which its last one surely begins


class State(NamedTuple):
    """What became of the latest pushes to one anchor, of any process of this home.

    Attributes:
        pushed_at: When one last worked (seconds since the epoch), 0 if none ever did.
        failures: How many have failed since.
        problem: Why the latest did not work, "" if it did.
    """

    pushed_at: float = 0.0
    failures: int = 0
    problem: str = ""


def newest(home: Path, lanes: Iterable[str]) -> list[bytes]:
    """Return the newest checkpoint of each lane and of the manifest, each whole, with the empty line behind it."""
    if postgres.url(home) is not None:
        from guardrail.ledger.postgres.source import newest_notes  # noqa: PLC0415 - brings psycopg

        return newest_notes(str(postgres.url(home)), lanes)
    folder = home / disk.FOLDER
    paths = [*(folder / lane / CHECKPOINTS for lane in lanes), folder / NOTES]
    return [note for note in map(_last, paths) if note]


def every_lane(home: Path) -> list[str]:
    """Return the names of all lanes that are there."""
    if postgres.url(home) is not None:
        return sources.source_of(home).lanes()
    folder = home / disk.FOLDER
    with contextlib.suppress(FileNotFoundError):
        return sorted(each.name for each in folder.iterdir() if (each / CHECKPOINTS).is_file())
    return []


def _last(path: Path) -> bytes:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return b""
    tail = b"".join(disk.read_from(path, max(0, size - _TAIL)))
    tail = tail[: whole(tail)]
    *_, body, signed, _ = ["", "", "", *tail.decode(errors="replace").split("\n\n")]
    return f"{body}\n\n{signed}\n\n".encode() if body and signed else b""


class Pusher:
    """Pushes to one anchor, on a thread of its own.

    Args:
        home: The folder of the embedded store.
        anchor: Where to.
    """

    def __init__(self, home: Path, anchor: Anchor) -> None:
        self.home = home
        self.anchor = anchor
        self.lane = ""
        self._place: Place | None = None
        self._pushed: list[bytes] = []
        self._failed = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"guardrail-anchor-{anchor.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Have a last push made, unless the latest one failed."""
        self._end.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def push(self, notes: list[bytes]) -> str:
        """Push checkpoints now; return what went wrong, "" if nothing did."""
        problem = ""
        try:
            if self._place is None:
                self._place = place(self.anchor)
            self._place.push(notes)
        except (OSError, ConfigError) as failed:
            problem = getattr(failed, "strerror", None) or str(failed)
        except Exception as failed:  # noqa: BLE001 - whatever a client's library raises; its text may hold what is secret
            problem = f"it met an unexpected {type(failed).__name__}"
        if problem:
            self._failed += 1
            notices.say(f"anchor-{self.anchor.name}", f"the anchor {self.anchor.name} takes no checkpoints: {problem}")
            self.close()
        else:
            self._failed = 0
            self._pushed = notes
        _remember(self.home, self.anchor.name, problem)
        return problem

    def close(self) -> None:
        """Let go of connections."""
        if self._place is not None:
            with contextlib.suppress(Exception):
                self._place.close()
            self._place = None

    def _run(self) -> None:
        end = self._end
        while not end.wait(min(self.anchor.every * 2**self._failed, max(_LONGEST_PAUSE, self.anchor.every))):
            self._push_new()
        if not self._failed:
            self._push_new()
        self.close()

    def _push_new(self) -> None:
        try:
            notes = newest(self.home, [self.lane])
        except OSError:
            return  # the ledger's own trouble, which is told elsewhere
        if notes and notes != self._pushed:
            self.push(notes)


_pushers: dict[str, Pusher] = {}
_lock = threading.Lock()


def begin(home: Path, lane: str) -> None:
    """Begin to push the checkpoints of a lane of this process to all anchors that are configured."""
    with _lock:
        for name, anchor in settings.current().anchors.items():
            pusher = _pushers.get(name)
            if pusher is None or pusher.home != home or pusher.anchor != anchor:
                if pusher is not None:
                    pusher.stop()
                pusher = _pushers[name] = Pusher(home, anchor)
                with contextlib.suppress(RuntimeError):  # no thread can be started any more
                    pusher.start()
            pusher.lane = lane


def push_now(home: Path) -> dict[str, str]:
    """Push the newest checkpoint of every lane to every anchor; return what went wrong, "" where nothing did, by name."""
    found: dict[str, str] = {}
    notes = newest(home, every_lane(home))
    for name, anchor in settings.current().anchors.items():
        pusher = Pusher(home, anchor)
        found[name] = pusher.push(notes) if notes else "there is no checkpoint yet"
        pusher.close()
    return found


def finish(seconds: float) -> bool:
    """Make the last pushes, within a bound; a later record begins anew."""
    with _lock:
        ending = list(_pushers.values())
        _pushers.clear()
    until = clock.now() + min(seconds, EXIT_SECONDS)
    for pusher in ending:
        pusher.stop()
    ended = [pusher.join(max(0.0, until - clock.now())) for pusher in ending]
    return all(ended)


def state(home: Path, name: str) -> State:
    """Return what became of the latest pushes to an anchor."""
    try:
        found = json.loads((home / STATES / f"{name}.json").read_bytes())
        return State(float(found["pushed_at"]), int(found["failures"]), str(found["problem"]))
    except (OSError, ValueError, KeyError, TypeError):
        return State()


def _remember(home: Path, name: str, problem: str) -> None:
    before = state(home, name)
    now: dict[str, Any] = State(clock.wall())._asdict()
    if problem:
        now = State(before.pushed_at, before.failures + 1, problem)._asdict()
    with contextlib.suppress(OSError):
        (home / STATES).mkdir(mode=0o700, exist_ok=True)
        disk.replace(home / STATES / f"{name}.json", json.dumps(now).encode())


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited one may be held
    _lock = threading.Lock()
    _pushers.clear()


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, finish)
