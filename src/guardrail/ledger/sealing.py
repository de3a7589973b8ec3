"""Seals what is personal: AES-256-GCM under the key of its subject, bound to the field and the record in which it stands.

`{"kid": …, "nonce": …, "ct": …}`; nonce (12 random bytes) and ciphertext in base64. Keys are kept in memory, bounded, and dropped as
soon as any process erases a subject. Where the store of keys does not work, a keyed digest stands in place of the content.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock, content, lifecycle, notices
from guardrail.content.personal import SEALED, Part, filled
from guardrail.content.summaries import Sealed
from guardrail.ledger import subjects as store
from guardrail.ledger.data_keys import NOBODY, DataKey

if TYPE_CHECKING:
    from guardrail.ledger.entry import Entry

MOST_KEYS: Final = 10_000  # in memory
MOST_USES: Final = 2**28  # of one key in one process, far below the 2**32 random nonces that GCM bears (NIST SP 800-38D, 8.3)
_NONCE: Final = 12
_FRESH: Final = 0.1  # seconds in which keys in memory are used without looking whether somebody was erased
_PAUSE: Final = 2.0  # seconds in which a store that failed is not asked again
_MOST_SUBJECTS: Final = 200  # digests in one record


class _Ready:
    """A key in memory."""

    __slots__ = ("after", "digest", "encrypt", "kid", "left")

    def __init__(self, digest: str, key: DataKey | None) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 50 ms, paid by who seals

        self.digest = digest
        self.kid = "" if key is None else key.kid
        self.after = float("inf") if key is None else key.after
        self.encrypt = None if key is None or key.secret is None else AESGCM(key.secret).encrypt
        self.left = MOST_USES


_lock = threading.Lock()
_ready: OrderedDict[str | None, _Ready] = OrderedDict()  # by the subject's own id; None: nobody's
_epoch: int | None = None
_followed_at = float("-inf")
_failed_at: float | None = None


# ── sealing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def prepare(entries: Iterable[Entry]) -> None:
    """Have the keys of a whole batch ready: those that are missing are made in one transaction."""
    wanted: dict[str | None, float] = {}
    for entry in entries:
        if entry[9] is None and entry[6].__class__ is not Sealed:
            continue  # most calls, also of a process in which somebody has loaded this
        parts, named = _personal(entry[9], entry[6])
        wanted.update(dict.fromkeys((*named, *(part.subject for part in parts)), entry[1]))
    if wanted:
        ready(wanted)


def ready(wanted: Mapping[str | None, float]) -> dict[str | None, _Ready | None]:
    """Return the key of each subject, None where the store does not work (counted, and said once).

    Args:
        wanted: By the subject's own id (None: nobody's), the moment of the data in seconds since the epoch.
    """
    global _failed_at  # noqa: PLW0603 - one store per process
    if clock.now() - _followed_at < _FRESH:
        at_hand = {subject: _ready.get(subject) for subject in wanted}
        if all(key is not None and key.left > 0 for key in at_hand.values()):
            return at_hand
    found: dict[str | None, _Ready | None] = dict.fromkeys(wanted)
    if _failed_at is not None and clock.now() - _failed_at < _PAUSE:
        _say("it failed a moment ago", len(found))
        return found
    try:
        follow()
        with _lock:
            for subject in wanted:
                known = _ready.get(subject)
                if known is not None and known.left > 0:
                    _ready.move_to_end(subject)
                    found[subject] = known
        missing = [subject for subject, known in found.items() if known is None]
        if missing:
            keys = store.keys()
            digests = {subject: NOBODY if subject is None else keys.digest(subject) for subject in missing}
            used_up = [subject for subject in missing if subject in _ready]
            made = keys.obtain({digests[subject]: wanted[subject] for subject in missing if subject not in used_up})
            made |= {digests[subject]: keys.another(digests[subject]) for subject in used_up}
            fresh = {subject: _Ready(digests[subject], made[digests[subject]]) for subject in missing}
            found |= fresh
            with _lock:
                _ready.update({subject: key for subject, key in fresh.items() if key.encrypt is not None})
                while len(_ready) > MOST_KEYS:
                    _ready.popitem(last=False)
        _failed_at = None
    except OSError as problem:
        _failed_at = clock.now()
        _say(str(problem), len(found))
        return dict.fromkeys(wanted)
    return found


def _say(why: str, many: int) -> None:
    for _ in range(many):
        notices.say("sealing", f"personal data are left out of records and tickets, for they cannot be sealed: {why}")


def seal(parts: Sequence[Part], identity: str, at: float) -> dict[str, dict[str, Any]]:
    """Seal parts of one record or ticket.

    Args:
        parts: What is personal in it.
        identity: Its id.
        at: The moment of the data, in seconds since the epoch.

    Returns:
        By field: kid, nonce and ct; where that cannot be, digest and size; of a subject erased since, that it was.
    """
    keys = ready({part.subject: at for part in parts})
    return {part.field: sealed(keys[part.subject], part.field, part.content, identity, at) for part in parts}


def sealed(key: _Ready | None, field: str, body: bytes, identity: str, at: float) -> dict[str, Any]:
    """Seal one part under a key, or say what stands in its place."""
    if key is None:
        return _digested(body)
    if at <= key.after or key.encrypt is None:
        return {"erased": True}
    key.left -= 1
    nonce = os.urandom(_NONCE)
    text = key.encrypt(nonce, body, bound(field, identity))
    return {"kid": key.kid, "nonce": spelled(nonce), "ct": spelled(text)}


def _digested(body: bytes) -> dict[str, Any]:
    from guardrail.ledger.keys import digest_key  # noqa: PLC0415 - where all else has failed

    try:
        return {"digest": content.digest(body, key=digest_key()).hex(), "size": len(body)}
    except (OSError, RuntimeError):
        return {"size": len(body)}


def put(record: dict[str, Any], extra: Mapping[str, Any] | None, output: Any, at: float) -> None:
    """Put into a record whose it is, and what is personal in it, sealed."""
    parts, named = _personal(extra, output)
    keys = ready(dict.fromkeys((*named, *[part.subject for part in parts]), at))
    if len(named) == 1:
        key = keys[named[0]]
        if key is not None:
            record["subject"] = key.digest
    elif named:
        digests = list(dict.fromkeys(key.digest for subject in named if (key := keys[subject]) is not None))
        if digests:
            record["subject"] = digests[:_MOST_SUBJECTS]
    if parts:
        identity = record["id"]
        record["sealed"] = {part.field: sealed(keys[part.subject], part.field, part.content, identity, at) for part in parts}


def _personal(extra: Mapping[str, Any] | None, output: Any) -> tuple[list[Part], Sequence[str]]:
    """Return what is personal in a call, and the subjects that it names."""
    parts: list[Part] = []
    named: Sequence[str] = ()
    if extra is not None and "subject" in extra:
        named = extra["subject"]
        parts += extra.get("personal", ())
    if output.__class__ is Sealed:
        mine = named[0] if named else None
        parts += [part if part.subject is not None else part._replace(subject=mine) for part in output.parts]
    return parts, named


def digest_of(subject: str) -> str | None:
    """Return the digest that stands for a subject; None where the store does not work (said once)."""
    try:
        return store.keys().digest(subject)
    except OSError as problem:
        _say(str(problem), 1)
        return None


def warm() -> None:
    """Open the store of keys before a call needs it; what is wrong with it is told where something is to be sealed."""
    from cryptography.hazmat.primitives.ciphers import aead  # noqa: F401, PLC0415 - 50 ms

    with contextlib.suppress(OSError):
        store.keys().digest("")
        follow()


def inlined(shown: Any, boxes: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return JSON with the sealed parts in the places where they were taken out."""
    return filled(shown, lambda field: {SEALED: {**boxes[field], "field": field}})


def again(kid: str, field: str, body: bytes, identity: str) -> dict[str, Any] | None:
    """Seal something further under a key that is known by its id; None where it was destroyed or cannot be read."""
    try:
        key = store.keys().find([kid]).get(kid)
    except OSError:
        return None
    if key is None or key.secret is None:
        return None
    return sealed(_Ready(key.subject, key), field, body, identity, clock.wall())


# ── keeping up with erasures ──────────────────────────────────────────────────────────────────────────────────────────
def follow() -> None:
    """Drop the keys and answers that are kept in memory if any process has erased a subject since.

    Raises:
        OSError: The store of keys cannot be read.
    """
    global _epoch, _followed_at  # noqa: PLW0603 - one store per process
    now = store.keys().epoch()
    _followed_at = clock.now()
    before, _epoch = _epoch, now
    if before is not None and now != before:
        drop()


def poll() -> None:
    """Do as `follow`, several times a second; what cannot be read now is told where something is to be sealed."""
    try:
        follow()
    except OSError:
        drop_keys()


def drop() -> None:
    """Drop every key, and every answer that guards with personal data keep in memory."""
    drop_keys()
    from guardrail import registry  # noqa: PLC0415 - it imports guards

    registry.forget_personal()


def drop_keys() -> None:
    """Drop every key that is kept in memory."""
    with _lock:
        _ready.clear()


def reset() -> None:
    """Forget all, as in a new process."""
    global _epoch, _failed_at, _followed_at  # noqa: PLW0603 - one store per process
    drop_keys()
    _epoch = _failed_at = None
    _followed_at = float("-inf")


def bound(field: str, identity: str) -> bytes:
    """Return what a ciphertext is bound to: a field of one record or ticket."""
    return f"guardrail sealed 1|{field}|{identity}".encode()


def spelled(content: bytes) -> str:
    """Return bytes as they stand in a record."""
    return binascii.b2a_base64(content, newline=False).decode("ascii")


def raw(text: str) -> bytes:
    """Return the bytes behind such a text."""
    return base64.b64decode(text, validate=True)


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.Lock()


lifecycle.after_fork(_in_child)
