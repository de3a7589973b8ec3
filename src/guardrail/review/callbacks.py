"""Sends what became of a ticket, or that there is a new one, to where the guard wants it: signed, at least once.

Any process can do it: whoever sends one has it for a minute, then it is anybody's again. Receivers tell repetitions by `webhook-id`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, bindparam, func, select, update

from guardrail import clock, settings
from guardrail.errors import ConfigError, InvalidInput
from guardrail.review import rows, signing, tell
from guardrail.review.case import Answer, Row, from_text, moment
from guardrail.store import engine
from guardrail.store.states import OPEN_STATES
from guardrail.store.tables import is_open, ticket, undelivered

MOST_TRIES: Final = 20
_LEASE: Final = 60.0  # seconds that whoever sends one has for it
_TIMEOUT: Final = 10.0
_FIRST: Final = 5.0  # seconds; the limit of the pause doubles with every try, up to:
_LONGEST: Final = 6 * 3600.0
_AT_ONCE: Final = 5  # whose requests together end within the lease
_ROUND: Final = 20.0  # seconds after which no more are begun: deadlines are kept by the same thread
_due = (
    select(ticket.c.id)
    .where(undelivered, ticket.c.delivery_at <= bindparam("now"))
    .order_by(ticket.c.delivery_at)
    .limit(_AT_ONCE)
)
_take = (
    update(ticket)
    .where(ticket.c.id.in_(_due.with_for_update(skip_locked=True)))
    .values(delivery_at=bindparam("until"), delivery_tries=ticket.c.delivery_tries + 1)
    .returning(ticket)
)
_soonest = select(func.min(ticket.c.delivery_at)).where(undelivered)
_wanted = select(ticket.c.id).where(is_open, ticket.c.callback.is_not(None)).limit(1)
_done = update(ticket).where(ticket.c.id == bindparam("of"), undelivered)


class Sent(NamedTuple):
    """What came of one try.

    Attributes:
        state: "delivered", "retrying" or "dead".
        wait: Seconds until the next try.
        reason: What went wrong, in words that hold nothing of the other side's.
    """

    state: str
    wait: float = 0.0
    reason: str = ""


def queued(row: Row, now: float) -> Mapping[str, Any]:
    """Return what changes on a ticket that ends: where an answer is wanted elsewhere, it is to be sent.

    Not that to a gold case, which nobody asked; but it may just be on its way to where people answer it.
    """
    if row["callback"] is None:
        return {}
    if row["kind"] == "gold":
        return {"delivery": "none", "delivery_at": None}
    return {"delivery": "queued", "delivery_at": now, "delivery_tries": 0}


def soonest(connection: Connection) -> float | None:
    """Return when the next answer is to be sent, in seconds since the epoch; None where there is none."""
    return connection.execute(_soonest).scalar()


def wanted(connection: Connection) -> bool:
    """Return whether a case is open whose answer is to be sent: who decides it may be gone before it has arrived."""
    return connection.execute(_wanted).first() is not None


def deliver_due(within: float = engine.PATIENCE) -> int:
    """Send the answers whose time has come, as long as that does not take too long; return how many arrived.

    Raises:
        StoreError: The store cannot be read, or cannot take what came of it.
    """
    arrived = 0
    until = clock.now() + _ROUND
    while clock.now() < until:
        now = engine.now()
        if not engine.read(lambda connection, now=now: connection.execute(_due, {"now": now}).first() is not None, within):  # type: ignore[misc]
            return arrived
        taken = engine.result(engine.write(lambda connection, now=now: _taken(connection, now)), within)  # type: ignore[misc]
        if not taken:
            return arrived
        for row, answer in taken:
            sent = _send(row, answer)
            arrived += sent.state == "delivered"
            tell.tell(engine.result(engine.write(lambda connection, row=row, sent=sent: _note(connection, row, sent)), within))  # type: ignore[misc]
    return arrived


def _taken(connection: Connection, now: float) -> list[tuple[Row, Answer | None]]:
    found = connection.execute(_take, {"now": now, "until": now + _LEASE}).mappings().all()
    endings = rows.endings(connection, [row["id"] for row in found])
    return [(row, endings.get(row["id"])) for row in found]


def _note(connection: Connection, row: Row, sent: Sent) -> list[tell.Event]:
    now = engine.now()
    later = now + sent.wait if sent.state == "retrying" else None
    filed = row["state"] in OPEN_STATES
    done = _done.where(is_open) if filed else _done  # a case that ended meanwhile has something else to tell
    if not connection.execute(done.values(delivery=sent.state, delivery_at=later), {"of": row["id"]}).rowcount:
        return []  # another process was faster
    if sent.state == "retrying":
        return []
    arrived, dead = ("pushed", "push_dead") if filed else ("called_back", "callback_dead")
    what = arrived if sent.state == "delivered" else dead
    rows.note_step(connection, row["id"], what, row["state"], now, note=sent.reason or None)
    fields = rows.facts(row, what, None) | {"tries": row["delivery_tries"]}
    if row["owner"] is not None and sent.state == "dead":
        fields["notify"] = [row["owner"]]
    return [tell.note(connection, "ticket", row["guard"], fields, now)]


def _send(row: Row, answer: Answer | None) -> Sent:
    from guardrail.delivery.http import Client  # noqa: PLC0415 - for those who have callbacks
    from guardrail.delivery.sinks.webhook import signature  # noqa: PLC0415 - as above
    from guardrail.delivery.targets import checked_target  # noqa: PLC0415 - as above

    tries = row["delivery_tries"]
    name = row["id"] if answer is not None else f"{row['id']}-filed"
    body = orjson.dumps(_filed(row) if answer is None else message(row, answer))
    try:
        target = _target(row["callback"], checked_target)
        at = str(int(clock.wall()))
        headers = {
            "Content-Type": "application/json", "webhook-id": name, "webhook-timestamp": at,
            "webhook-signature": signature(signing.key(), name, at, body),
        }  # fmt: skip
        client = Client.to(target, _TIMEOUT)
        try:
            result = client.post(target.path, body, headers).result(alone=True)
        finally:
            client.close()
    except InvalidInput as problem:
        return Sent("dead", reason=str(problem.args[0]))
    except ConfigError as problem:
        return _later(tries, None, str(problem.args[0]))
    except OSError:
        return _later(tries, None, "its name is not known")
    if result.kind == "ok":
        return Sent("delivered")
    return Sent("dead", reason=result.reason) if result.kind == "reject" else _later(tries, result.after, result.reason)


def _target(url: str, checked: Any) -> Any:
    """Check a target; what leads into our own network needs the setting `callback_private`."""
    if not settings.current().callback_private:
        return checked(url)
    return checked(url, allow_private=True, ports=range(1, 65_536))


def _later(tries: int, after: float | None, reason: str) -> Sent:
    if tries >= MOST_TRIES:
        return Sent("dead", reason=reason)
    limit = min(_LONGEST, _FIRST * 2.0 ** (tries - 1))
    return Sent("retrying", max(after or 0.0, random.uniform(0.5, limit)), reason)  # noqa: S311 - jitter, not a secret


def message(row: Row, answer: Answer) -> dict[str, Any]:
    """Return what a callback says: which case it is about, how it ended, and the person's answer."""
    return {
        "type": f"review.{answer.state}",
        "timestamp": answer.at.isoformat(),
        "data": {
            "ticket": row["id"],
            "kind": row["kind"],  # the answer to an audit is no answer that somebody waits for; those to gold cases are not sent
            "queue": row["queue"],
            "guard": answer.guard,
            "version": answer.version,
            "decision_id": answer.decision_id,
            "business_id": row["business_id"],
            "state": answer.state,
            "verdict": answer.verdict,
            "value": answer.value,
            "on_expiry": answer.on_expiry if answer.state == "expired" else None,
        },
    }


def _filed(row: Row) -> dict[str, Any]:
    """Return what is told of a new case: what a reviewer sees, but for what is sealed."""
    from guardrail.review.training import without_sealed  # noqa: PLC0415 - for those who have cases pushed

    return {
        "type": "review.filed",
        "timestamp": moment(row["created"]).isoformat(),
        "data": {
            "ticket": row["id"],
            **{
                name: row[name]
                for name in ("queue", "guard", "version", "business_id", "reason", "guide", "confidence", "reviewers")
            },
            "due": None if row["due"] is None else moment(row["due"]).isoformat(),
            "case": without_sealed(from_text(row["arguments"] if row["shown"] is None else row["shown"])),
            "provisional": without_sealed(from_text(row["provisional"])),
            "choices": from_text(row["choices"]),
            "answers": from_text(row["answers"]),
        },
    }
