"""The tables of the embedded store, and the version of their shape, which comes with a migration when it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCHEMA: Final = 1  # raised with every change of these tables
OPEN_STATES: Final = ("pending", "claimed", "adjudicate")  # a person may still answer

# Spelled out as the indexes below spell it: SQLite uses a partial index only where it sees the same words.
is_open: Final = text("ticket.state IN ('pending', 'claimed', 'adjudicate')")
is_closed: Final = text("ticket.state NOT IN ('pending', 'claimed', 'adjudicate')")
was_decided: Final = text("ticket.state = 'decided'")

metadata: Final = MetaData()

meta: Final = Table(
    "meta",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

# A case that waits for a person, or did. Times are seconds since the epoch; what the user gave is JSON text.
ticket: Final = Table(
    "ticket",
    metadata,
    Column("id", String, primary_key=True),
    Column("queue", String, nullable=False),
    Column("guard", String, nullable=False),
    Column("version", String, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("decision_id", String, nullable=False),
    Column("business_id", String),
    Column("reason", String, nullable=False),
    Column("reasons", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("shown", Text),
    Column("provisional", Text),
    Column("confidence", Float),
    Column("threshold", Float),
    Column("choices", Text),
    Column("guide", Text),
    Column("priority", Integer, nullable=False),
    Column("skills", Text, nullable=False),
    Column("owner", String),
    Column("created", Float, nullable=False),
    Column("due", Float),
    Column("on_expiry", String, nullable=False),
    Column("actor", Text),
    Column("state", String, nullable=False),
)
_is_open: Final = text("state IN ('pending', 'claimed', 'adjudicate')")
_was_decided: Final = text("state = 'decided'")
Index("ticket_one_open", ticket.c.key, unique=True, sqlite_where=_is_open, postgresql_where=_is_open)
Index(
    "ticket_open",
    ticket.c.queue,
    ticket.c.priority.desc(),
    ticket.c.id,
    sqlite_where=_is_open,
    postgresql_where=_is_open,
)
Index("ticket_due", ticket.c.due, sqlite_where=_is_open, postgresql_where=_is_open)
Index("ticket_answered", ticket.c.guard, ticket.c.business_id, sqlite_where=_was_decided, postgresql_where=_was_decided)

# What ended a ticket, by whom; only ever appended to.
step: Final = Table(
    "step",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("ticket_id", String, ForeignKey("ticket.id"), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("verdict", String),
    Column("value", Text),
    Column("note", Text),
    Column("actor", String),
    Column("known_by", String),
)

# A ticket that was handed out from the spool while another one of the same key was open here: both are one case.
twin: Final = Table(
    "twin",
    metadata,
    Column("id", String, primary_key=True),
    Column("ticket_id", String, ForeignKey("ticket.id"), nullable=False),
)

# What turned out to be true, from the caller or from a reviewer.
label: Final = Table(
    "label",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("decision_id", String, index=True),
    Column("guard", String),
    Column("business_id", String),
    Column("ticket_id", String, ForeignKey("ticket.id")),
    Column("actual", Text, nullable=False),
    Column("value", Float),
    Column("at", Float, nullable=False),
    Column("stored", Float, nullable=False),
    Column("source", String, nullable=False),
)
Index("label_business", label.c.business_id, label.c.guard)

# Events that stand in the store and not yet in the ledger: written with the change, removed when the ledger has them.
untold: Final = Table(
    "untold",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("guard", String),
    Column("fields", Text, nullable=False),
)


def version(connection: Connection) -> int:
    """Return the schema version of a store, 0 for an empty one."""
    found = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").first()
    if found is None:
        return 0
    value = connection.execute(select(meta.c.value).where(meta.c.name == "schema")).scalar()
    return 0 if value is None else int(value)


def create(connection: Connection) -> None:
    """Make the tables and note their version, in the caller's transaction."""
    metadata.create_all(connection)
    connection.execute(insert(meta).values(name="schema", value=str(SCHEMA)))
