"""Opens what was sealed, for whoever has the keys; what was erased, or cannot be read now, says so in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from guardrail.content.personal import filled
from guardrail.ledger import sealing
from guardrail.ledger import subjects as store

ERASED: Final = "[erased]"
UNREADABLE: Final = "[sealed: its key cannot be read now]"


def opened(boxes: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """Open what was sealed in one record or ticket.

    Args:
        boxes: As `seal` made them, by field.
        identity: The record's or ticket's id.

    Returns:
        By field the content; `ERASED` or `UNREADABLE` in place of what cannot be opened.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - 50 ms, paid by who opens
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 50 ms, paid by who opens

    kids = {box["kid"] for box in boxes.values() if isinstance(box, dict) and isinstance(box.get("kid"), str)}
    try:
        keys = store.keys().find(kids) if kids else {}
    except OSError:
        return dict.fromkeys(boxes, UNREADABLE)
    found: dict[str, Any] = {}
    for field, box in boxes.items():
        key = keys.get(box.get("kid", "")) if isinstance(box, dict) else None
        if key is None or key.secret is None:
            erased = key is not None or (isinstance(box, dict) and "erased" in box)
            found[field] = ERASED if erased else UNREADABLE
            continue
        try:
            plain = AESGCM(key.secret).decrypt(sealing.raw(box["nonce"]), sealing.raw(box["ct"]), sealing.bound(field, identity))
            found[field] = orjson.loads(plain)
        except (InvalidTag, KeyError, TypeError, ValueError):
            found[field] = UNREADABLE
    return found


def unsealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with everything in its place again that can be opened; who shows it records a `read` event first."""
    boxes = record.get("sealed")
    if not isinstance(boxes, Mapping):
        return dict(record)
    parts = opened(boxes, str(record.get("id")))
    shown: dict[str, Any] = {
        name: filled(each, lambda field: filled(parts.get(str(field), UNREADABLE), _never)) for name, each in record.items()
    }
    for field in boxes:
        side, _, rest = field.partition(".")
        if rest == "value" and side in ("input", "output"):
            value = filled(parts[field], lambda inner: parts.get(str(inner), UNREADABLE))
            shown[side] = {**(shown.get(side) or {}), "value": value}
    del shown["sealed"]
    return shown


def _never(_field: Any) -> str:
    return UNREADABLE


def revealed(shown: Any, identity: str) -> Any:
    """Return such JSON opened, for a person; what was erased says so."""
    boxes: dict[str, Any] = {}
    filled(shown, lambda box: boxes.setdefault(_field(box), box))
    if not boxes:
        return shown
    parts = opened(boxes, identity)
    inner = {
        field: filled(part, lambda box: UNREADABLE if isinstance(box, dict) else parts.get(str(box), UNREADABLE))
        for field, part in parts.items()
    }
    return filled(shown, lambda box: inner.get(_field(box), UNREADABLE))


def _field(box: Any) -> str:
    return str(box.get("field")) if isinstance(box, dict) else str(box)
