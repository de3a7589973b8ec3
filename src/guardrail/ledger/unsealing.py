"""`guardrail.ledger.unseal(...)`: one record with everything in its place that was sealed in it. Nobody reads it unrecorded."""

from __future__ import annotations

from typing import Any

from guardrail.errors import AuditUnavailable, ConfigError
from guardrail.ledger import blobs, opening, reader, told
from guardrail.ledger.wanted import Wanted


def unseal(identity: str, *, reason: str | None = None) -> dict[str, Any]:
    """Return a record with what was sealed in it, for whoever has the keys; a `read` event says so first, durably.

    Args:
        identity: The record's id, or the beginning of one.
        reason: Why, in words that stand in the ledger.

    Returns:
        The record, without `sealed`; what cannot be opened says "[erased]", or that its key cannot be read.

    Raises:
        ConfigError: There is no such record, or several have an id that begins so.
        AuditUnavailable: The ledger could not record that somebody reads; then nothing is shown.
    """
    record = reader.find(identity)
    if record is None:
        raise ConfigError("no record has this id", hint="`guardrail tail` shows the latest")
    if not told.tell("unseal", Wanted(ids=frozenset({record["id"]})), 1, sync=True, reason=reason):
        raise AuditUnavailable(
            "what is sealed is shown only where the ledger can record that it was read",
            policy="audit", decision_id=record["id"], hint="`guardrail doctor` says what is wrong with the ledger",
        )  # fmt: skip
    return opening.unsealed(blobs.whole(record))
