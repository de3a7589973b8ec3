"""Whether one record is covered by a signed checkpoint of its lane: leaf, inclusion and signature, checked here and now."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from guardrail.ledger import postgres
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.reader import Stored
from guardrail.ledger.sources import manifest_of, source_of

_AT_ONCE: Final = 50_000
_MOST: Final = 4_000_000  # records of a lane whose leaf hashes are read for this; `guardrail audit verify` knows no bound


class Proof(NamedTuple):
    """What is known of a record's integrity.

    Attributes:
        state: "proven": a checkpoint with a good signature contains the record as it stands. "altered": it contains another.
            "pending": no checkpoint reaches it yet. "unknown": it could not be looked at; `why` says why.
        size: Number of records under that checkpoint.
        time: When it was made.
        key_id: The key that signed it, as the manifest names it.
        why: What stands in the way.
    """

    state: Literal["proven", "altered", "pending", "unknown"]
    size: int | None = None
    time: str | None = None
    key_id: str | None = None
    why: str | None = None


def proof(home: Path, found: Stored) -> Proof:
    """Look a record up in the oldest checkpoint of its lane that reaches it.

    The key is taken from the manifest beside the ledger, so this says nothing of someone who has changed both: that is what
    anchors, and `guardrail audit verify` with a key of one's own, are for.
    """
    try:
        return _proof(home, found)
    except (OSError, ValueError) as problem:
        return Proof("unknown", why=getattr(problem, "strerror", None) or type(problem).__name__)


def _proof(home: Path, found: Stored) -> Proof:
    from guardrail.ledger import merkle, notes  # noqa: PLC0415 - hashes and signatures, for who looks at one decision

    content, leaves_of = _kept(home, found.lane)
    if not content:
        return Proof("pending", why="the lane has no checkpoint")
    reaching = next((each for each in notes.parse_all(content) if each[0].size >= found.seq), None)
    if reaching is None:
        return Proof("pending", why="it is newer than the latest checkpoint")
    note, signatures = reaching
    if note.size > _MOST:
        return Proof("unknown", note.size, note.time, why="the lane is long: guardrail audit verify")
    leaves = leaves_of(note.size)
    if len(leaves) < note.size:
        return Proof("altered", note.size, note.time, why="records under the checkpoint are missing")
    leaf = merkle.leaf(found.line.rstrip(b"\n"))
    path = merkle.inclusion(leaves, found.seq - 1, note.size)
    if not merkle.verify_inclusion(leaf, found.seq - 1, note.size, path, note.root):
        return Proof("altered", note.size, note.time, why="the checkpoint contains another record at this number")
    for public, key_id in _keys(home):
        if any(_good(notes, note, signature, public) for signature in signatures):
            return Proof("proven", note.size, note.time, key_id)
    return Proof("altered", note.size, note.time, why="no key of the manifest has signed the checkpoint")


def _good(notes: Any, note: Any, signature: Any, public: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return bool(notes.verify(note.text(), signature, public))
    return False


def _keys(home: Path) -> list[tuple[bytes, str]]:
    return [(base64.b64decode(each["key"]), str(each.get("key_id"))) for each in manifest_of(home).key_lines()]


def _kept(home: Path, lane: str) -> tuple[bytes, Callable[[int], list[bytes]]]:
    """Return a lane's checkpoints, and what gives the hashes of its first records."""
    from guardrail.ledger import derived  # noqa: PLC0415 - as above

    if postgres.url(home) is not None:
        rows = source_of(home)
        blocks = [rows.leaves(lane, at, _AT_ONCE) for at in range(0, min(rows.stored(lane), _MOST), _AT_ONCE)]
        content = b"".join(blocks)
        hashes = [content[at : at + 32] for at in range(0, len(content), 32)]
        return b"".join(rows.notes(lane)), lambda size: hashes[:size]
    folder = home / FOLDER / lane
    try:
        content = (folder / derived.CHECKPOINTS).read_bytes()
    except FileNotFoundError:
        content = b""

    def leaves(size: int) -> list[bytes]:
        found = derived.read_leaves(folder, size)
        return found if len(found) == size else list(derived.hashes(folder, size))

    return content, leaves
