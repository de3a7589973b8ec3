"""Tells the ledger that somebody read it: who, what they asked for, and how much they got."""

from __future__ import annotations

from typing import Any

from guardrail import settings
from guardrail.errors import AuditUnavailable
from guardrail.ledger import postgres, writer
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.wanted import Wanted
from guardrail.principal import acting


def reader() -> dict[str, Any]:
    """Return who reads: the principal of `acting_as`, else the user of the operating system."""
    now = acting.get()
    if now is not None:
        return {"id": now[0].id, "kind": now[0].kind, "known_by": "asserted"}
    from guardrail.review.case import Actor  # noqa: PLC0415 - only where nobody is named

    who = Actor.of(None)
    return {"id": who.id, "known_by": who.known_by}


def tell(how: str, which: Wanted, count: int, *, sync: bool = False, **more: Any) -> bool:
    """Write a `read` event; one for each time that somebody reads, whatever the number of records.

    Args:
        how: "read" (Python), "tail", "show", "search" or "export".
        which: What they asked for.
        count: How many records they got.
        sync: Wait until it is durable.
        **more: What else there is to say; None is left out.

    Returns:
        Whether it was taken. A ledger that may only be read, such as an auditor's copy, does not take it.
    """
    if postgres.url() is None and not (settings.home(create=False) / FOLDER).is_dir():
        return True  # nothing was ever recorded, so nothing was read
    now = acting.get()
    fields = {"actor": reader(), "purpose": now and now[1], "how": how, "filters": which.told(), "count": count, **more}
    try:
        writer.event("read", fields=fields, sync=sync)
    except (AuditUnavailable, OSError):
        return False
    return True
