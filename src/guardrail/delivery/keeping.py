"""What is remembered of a sink between processes: how far it was served, what is dead, who serves it. In files of the home."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson

from guardrail import clock
from guardrail.ledger import disk
from guardrail.store import file_lock

FOLDER: Final = "sinks"
CURSOR: Final = "cursor.json"
DONE: Final = "done"
DEAD: Final = "dead.jsonl"
STATE: Final = "state.json"
LOCK: Final = "lock"
DEAD_LOCK: Final = "dead.lock"


class Letter(NamedTuple):
    """A dead letter: a pointer to a record that a sink will not take.

    Attributes:
        lane: Where the record stands.
        seq: Its number there.
        reason: Why, in words without anything of the record.
        attempts: How often it was sent.
        first: When it was sent first, in seconds since the epoch.
        last: When it was sent last.
    """

    lane: str
    seq: int
    reason: str
    attempts: int
    first: float
    last: float


class State(NamedTuple):
    """How the delivery to a sink goes, as its courier told last.

    Attributes:
        breaker: "closed", or "open" while nothing but a probe is sent.
        failures: Tries that failed since the last one that did not.
        problem: Why the last one failed, "" if it did not.
        delivered: Records that arrived, ever.
        dead: Records that became dead letters, ever.
        lost: Records that were pruned from the ledger before they arrived.
        delivered_at: When one arrived last, in seconds since the epoch; 0 for never.
        told_at: When this was told.
    """

    breaker: str = "closed"
    failures: int = 0
    problem: str = ""
    delivered: int = 0
    dead: int = 0
    lost: int = 0
    delivered_at: float = 0.0
    told_at: float = 0.0


class Keeping(Protocol):
    """Where a sink's cursor and dead letters are kept."""

    def hold(self) -> bool:
        """Return whether this process is the one that serves the sink, becoming it where nobody is."""
        ...

    def positions(self) -> dict[str, int] | None:
        """Return the number of the last record that arrived, by lane; None where the sink was never served."""
        ...

    def save(self, positions: Mapping[str, int]) -> None:
        """Remember positions, durably. Lanes that are left out stay as they were."""

    def done(self) -> set[str]:
        """Return the lanes of which everything has arrived and nothing more comes."""
        ...

    def finish(self, lanes: Collection[str]) -> None:
        """Remember that lanes are done, and forget their positions."""

    def bury(self, letters: Iterable[Letter]) -> None:
        """Keep dead letters, durably."""

    def dead(self) -> list[Letter]:
        """Return all dead letters, the oldest first."""
        ...

    def exhume(self, arrived: Collection[tuple[str, int]]) -> None:
        """Forget dead letters that have arrived after all."""

    def tell(self, state: State) -> None:
        """Remember how it goes, for whoever asks."""

    def state(self) -> State:
        """Return how it went when the courier told last."""
        ...

    def release(self) -> None:
        """Let another process serve the sink."""

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's, without ending it for the parent."""


class FileKeeping:
    """A sink's files in the home; one process at a time holds the lock beside them.

    Args:
        home: The folder of the embedded store.
        name: The sink's name.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.folder = home / FOLDER / name
        self._held: ExitStack | None = None
        self._positions: dict[str, int] = {}

    def hold(self) -> bool:
        """As the protocol says: an flock, which ends with its process."""
        if self._held is not None:
            return True
        disk.have_folder(self.folder)
        with ExitStack() as stack:
            if not stack.enter_context(file_lock.held(self.folder / LOCK, block=False)):
                return False
            self._held = stack.pop_all()
        return True

    def positions(self) -> dict[str, int] | None:
        """As the protocol says."""
        try:
            found = orjson.loads((self.folder / CURSOR).read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError:
            raise OSError("the sink's cursor is not readable; remove it to begin anew") from None
        self._positions = {str(lane): int(seq) for lane, seq in found.items()}
        return dict(self._positions)

    def save(self, positions: Mapping[str, int]) -> None:
        """As the protocol says: a new file in the place of the old one."""
        self._positions.update(positions)
        disk.replace(self.folder / CURSOR, orjson.dumps(self._positions))

    def done(self) -> set[str]:
        """As the protocol says."""
        with contextlib.suppress(FileNotFoundError):
            return set((self.folder / DONE).read_text().split())
        return set()

    def finish(self, lanes: Collection[str]) -> None:
        """As the protocol says: appended first, so that a crash in between forgets nothing."""
        path = self.folder / DONE
        size = path.stat().st_size if path.exists() else 0
        disk.append(path, "".join(f"{lane}\n" for lane in lanes).encode(), at=size)
        for lane in lanes:
            self._positions.pop(lane, None)
        self.save({})

    def bury(self, letters: Iterable[Letter]) -> None:
        """As the protocol says."""
        with file_lock.held(self.folder / DEAD_LOCK):
            path = self.folder / DEAD
            whole = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
            disk.append(path, b"".join(orjson.dumps(letter._asdict()) + b"\n" for letter in letters), at=whole)

    def dead(self) -> list[Letter]:
        """As the protocol says; what a crash left of a last line is passed over."""
        try:
            lines = (self.folder / DEAD).read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return list({(found["lane"], found["seq"]): Letter(**found) for found in map(orjson.loads, lines)}.values())

    def exhume(self, arrived: Collection[tuple[str, int]]) -> None:
        """As the protocol says."""
        disk.have_folder(self.folder)
        with file_lock.held(self.folder / DEAD_LOCK):
            left = [letter for letter in self.dead() if (letter.lane, letter.seq) not in arrived]
            disk.replace(self.folder / DEAD, b"".join(orjson.dumps(letter._asdict()) + b"\n" for letter in left))

    def tell(self, state: State) -> None:
        """As the protocol says; it need not be durable."""
        making = self.folder / f".{STATE}.{os.getpid()}"
        with contextlib.suppress(OSError):
            making.write_bytes(orjson.dumps(state._replace(told_at=clock.wall())._asdict()))
            making.replace(self.folder / STATE)

    def state(self) -> State:
        """As the protocol says."""
        try:
            found: dict[str, Any] = orjson.loads((self.folder / STATE).read_bytes())
            return State(**found)
        except (OSError, orjson.JSONDecodeError, TypeError):
            return State()

    def release(self) -> None:
        """As the protocol says."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def abandon(self) -> None:
        """As the protocol says: the lock is let go of by whoever made it."""
        self._held = None
