"""Which lanes a ledger has, and with which keys: hash-linked lines of their own, written by all processes under one lock.

So the removal of a whole lane shows. Every append is followed by a signed checkpoint of the manifest itself.
"""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from guardrail import clock, notices
from guardrail.ledger import disk, merkle, notes, signing
from guardrail.ledger.manifest_lines import LaneFacts, ManifestLines
from guardrail.ledger.record import iso
from guardrail.ledger.schema import LINE_LIMIT
from guardrail.store import file_lock

FILE: Final = "manifest.jsonl"
NOTES: Final = "manifest.notes"
LOCK: Final = "manifest.lock"
NAME: Final = "manifest"  # in the place of a lane's name
LOCK_SECONDS: Final = 10.0  # the most that an append waits for other processes
_POLL: Final = 0.01
_TAIL: Final = 8_192  # bytes of a file of notes in which its last one surely begins

Event = tuple[str, dict[str, Any]]


class Manifest:
    """The manifest of one ledger, read as far as it was when somebody asked last.

    Reading needs neither a key nor a lock. What cannot be read is passed over, and told by `damaged`.

    Args:
        folder: The ledger's folder, `<home>/ledger`; it need not exist before the first append.

    Attributes:
        folder: As given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = ManifestLines()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def refresh(self) -> None:
        """Read what other processes have appended meanwhile.

        Raises:
            OSError: It cannot be read.
        """
        path = self.folder / FILE
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._read.end:
            notices.say("manifest-cut", f"{path} was cut or put back to an older copy; `guardrail audit verify` says more")
            self._read = ManifestLines()
        rest = b""
        for block in disk.read_from(path, self._read.end):
            *lines, rest = (rest + block).split(b"\n")
            self._take(lines)

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, as they are now."""
        return self._content()

    @property
    def damaged(self) -> int:
        """How many lines are not what they should be; an honest writer goes on behind them."""
        return self._read.damaged

    @property
    def ledger_id(self) -> str | None:
        """The ledger's id, 16 hexadecimal digits; None before the first append."""
        return self._read.ledger_id

    @property
    def key_id(self) -> str | None:
        """The key that the ledger is signed with from now on; None before the first append."""
        return self._read.keys[-1] if self._read.keys else None

    def lanes(self) -> dict[str, LaneFacts]:
        """Return what is said of each lane, in the order in which they began."""
        self.refresh()
        return self._read.lanes()

    def open_lanes(self) -> list[str]:
        """Return the names of the lanes that nobody has closed, the oldest first."""
        self.refresh()
        return self._read.open_lanes()

    def knows(self, lane: str) -> bool:
        """Tell whether a lane of this name is in what was read last."""
        return self._read.knows(lane)

    def key_lines(self) -> list[dict[str, Any]]:
        """Return the `key` lines: every key that was ever in use, the latest last."""
        return self._content("key")

    def holds(self) -> dict[str, dict[str, Any]]:
        """Return the legal holds that are in force, by name: the line that began each."""
        found: dict[str, dict[str, Any]] = {}
        for line in self._content("hold", "release"):
            if line["event"] == "hold":
                found[str(line.get("hold"))] = line
            else:
                found.pop(str(line.get("hold")), None)
        return found

    def _content(self, *events: str) -> list[dict[str, Any]]:
        self.refresh()
        return self._read.content(*events)

    def _take(self, lines: list[bytes]) -> None:
        before = self._read.damaged
        self._read.take(lines)
        if self._read.damaged > before:
            notices.say("manifest", f"{self.folder / FILE} was changed by another hand; `guardrail audit verify` says where")

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Append one line and a checkpoint, durably. Returns the line as it stands there.

        Raises:
            KeyRefused: The ledger's key cannot be used.
            OSError: It is not durable, or another process holds the lock for too long.
        """
        with self.locked():
            return self.append_all([(event, fields)])[0]

    @contextlib.contextmanager
    def locked(self, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Keep all other processes from appending inside the block, at whose beginning the manifest is read anew.

        Raises:
            OSError: Another process holds the lock for longer than these seconds.
        """
        if not self.folder.is_dir():
            with contextlib.suppress(FileExistsError):
                disk.make_folder(self.folder)
        until = clock.now() + seconds
        while True:
            with file_lock.held(self.folder / LOCK, block=False) as mine:
                if mine:
                    self.refresh()
                    yield
                    return
            if clock.now() >= until:
                raise TimeoutError(f"another process has held {self.folder / LOCK} for {seconds:g} s")
            clock.sleep(_POLL)

    def append_all(self, events: list[Event], signers: list[signing.SigningKey] | None = None) -> list[dict[str, Any]]:
        """Append lines and one checkpoint for all of them. Only inside `locked`.

        Args:
            events: Kind and fields of each.
            signers: The keys to sign the checkpoint with; None: the ledger's own.

        Raises:
            KeyRefused: The ledger's key cannot be used; nothing was appended.
            OSError: It is not durable.
        """
        keys = signers or [self.signer()]
        begun: list[Event] = []
        if self.ledger_id is None:
            begun.append(("ledger", {"ledger": self._id_of_notes() or secrets.token_hex(8)}))
        if self.key_id is None:
            public = base64.b64encode(keys[-1].public).decode()
            begun.append(("key", {"key": public, "key_id": keys[-1].key_id, "by": "first"}))
        torn = self._torn()
        made: list[bytes] = []
        leaf, number, now = self._read.leaf, self._read.number, iso(clock.wall())
        for event, fields in [*begun, *events]:
            number += 1
            plain = {name: value for name, value in fields.items() if value is not None}
            if torn and not made:
                plain["cut_bytes"] = torn
            line = orjson.dumps({"v": 1, "n": number, "prev": leaf.hex(), "ts": now, "event": event, **plain})
            if len(line) >= LINE_LIMIT:
                raise ValueError(f"the manifest's {event} line is too long")
            leaf = merkle.leaf(line)
            made.append(line)
        self._put(made)
        self._take(made)
        tree = self._read.tree
        self._put_note(notes.sign(notes.Note(self.origin(), tree.size, tree.root(), now), keys))
        return [orjson.loads(line) for line in made[len(begun) :]]

    def signer(self) -> signing.SigningKey:
        """Return the key to sign with, made where this is the first use of all.

        Raises:
            KeyRefused: It cannot be used.
            OSError: It cannot be read.
        """
        return signing.signing_key(self.ledger_id, self.key_id)

    def origin(self, lane: str = NAME) -> str:
        """Return the origin line, and name of the key, in the checkpoints of a lane."""
        return f"guardrail/{self.ledger_id}/{lane}"

    def _torn(self) -> int:
        """Return how many bytes a crash has left of a line."""
        return max(0, (self.folder / FILE).stat().st_size - self._read.end) if self._read.end else 0

    def _put(self, lines: list[bytes]) -> None:
        disk.append(self.folder / FILE, b"".join(line + b"\n" for line in lines), at=self._read.end)

    def _put_note(self, note: str) -> None:
        add_note(self.folder / NOTES, note)

    def _first_note(self) -> bytes:
        """Return at least the first line of the first checkpoint, b"" where there is none."""
        return b"".join(disk.read_from(self.folder / NOTES, 0))

    def _id_of_notes(self) -> str | None:
        """Return the ledger's id as its checkpoints say it, where the first line of the manifest is gone."""
        first = self._first_note().split(b"\n", 1)[0].decode(errors="replace")
        kind, _, rest = first.partition("/")
        found, _, name = rest.partition("/")
        return found if kind == "guardrail" and name == NAME and re.fullmatch(r"[0-9a-f]{16}", found) else None


def add_note(path: Path, note: str) -> None:
    """Append a checkpoint to a file of them, durably; what a crash left of its last one is cut off before.

    Raises:
        OSError: It is not durable.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = 0
    begin = max(0, size - _TAIL)
    tail = b"".join(disk.read_from(path, begin))
    disk.append(path, f"{note}\n".encode(), at=begin + notes.whole(tail) if size else 0)
