"""The tables of the review queue and its labels, in the embedded store and in PostgreSQL alike.

A new store is made from them; one that is there already is changed by the migrations, which give the same tables. What a later
release adds has a default in the database, so that the release before, which does not know of it, goes on working.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# Spelled out as the indexes below spell it: SQLite uses a partial index only where it sees the same words.
is_open: Final = text("guardrail_ticket.state IN ('pending', 'claimed', 'adjudicate')")
is_closed: Final = text("guardrail_ticket.state NOT IN ('pending', 'claimed', 'adjudicate')")
was_decided: Final = text("guardrail_ticket.state = 'decided'")
undelivered: Final = text("guardrail_ticket.delivery IN ('queued', 'retrying')")

metadata: Final = MetaData()
_Counter: Final = BigInteger().with_variant(Integer, "sqlite")  # the only type that SQLite counts up by itself

# A case that waits for a person, or did. Times are seconds since the epoch; what the user gave is JSON text.
ticket: Final = Table(
    "guardrail_ticket",
    metadata,
    Column("id", String, primary_key=True),
    Column(
        "kind", String, nullable=False, server_default="case"
    ),  # case, audit (a sure answer, drawn by lot), appeal, override, gold
    Column("queue", String, nullable=False),
    Column("guard", String, nullable=False),
    Column("version", String, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("decision_id", String, nullable=False),
    Column("business_id", String),
    Column("parent", String),  # the ticket or decision that an appeal or a second approval is about
    Column("reason", String, nullable=False),
    Column("reasons", Text, nullable=False),
    Column("triggers", Text, nullable=False, server_default="[]"),  # all that fired: [{"name", "version"}]
    Column(
        "inclusion", Double, nullable=False, server_default="1"
    ),  # the probability that the case would be here; 1 but for what was drawn
    Column("arguments", Text, nullable=False),
    Column("shown", Text),
    Column("provisional", Text),
    Column("confidence", Double),
    Column("threshold", Double),
    Column("choices", Text),
    Column("guide", Text),
    Column("answers", Text),  # the JSON schema that an answer must fit
    Column("expected", Text),  # the answer of a gold case, which reviewers are not shown
    Column("priority", Integer, nullable=False),
    Column("skills", Text, nullable=False),
    Column("owner", String),
    Column("created", Double, nullable=False),
    Column("due", Double),
    Column("on_expiry", String, nullable=False),
    Column("actor", Text),
    Column("state", String, nullable=False),
    Column("reviewers", Integer, nullable=False, server_default="1"),  # how many people must answer
    Column("agree", Integer),  # how many of them must give the same answer; NULL for all
    Column("voted", Integer, nullable=False, server_default="0"),  # how many have
    Column(
        "free_at", Double, nullable=False, server_default="0"
    ),  # since when somebody may claim it: 0, or when the first lease ends
    Column("levels", Text, nullable=False, server_default="[]"),  # [{"role", "within", "notify"}]
    Column("level", Integer, nullable=False, server_default="0"),  # the present one, from 0
    Column("role", String),  # who may claim it at this level, None for everybody
    Column("act_at", Double),  # when time has something to do next: a reminder, the next level, the end
    Column("callback", Text),
    Column("delivery", String, nullable=False, server_default="none"),  # none, queued, retrying, delivered, dead
    Column("delivery_at", Double),  # the next try
    Column("delivery_tries", Integer, nullable=False, server_default="0"),
)


def _where(words: str) -> Any:
    return {"sqlite_where": text(words), "postgresql_where": text(words)}


_OPEN: Final = "state IN ('pending', 'claimed', 'adjudicate')"
Index("guardrail_ticket_one_open", ticket.c.key, unique=True, **_where(_OPEN))
Index("guardrail_ticket_open", ticket.c.queue, ticket.c.priority.desc(), ticket.c.id, **_where(_OPEN))
Index("guardrail_ticket_due", ticket.c.due, **_where(_OPEN))
Index("guardrail_ticket_act", ticket.c.act_at, **_where(_OPEN))
Index("guardrail_ticket_answered", ticket.c.guard, ticket.c.business_id, **_where("state = 'decided'"))
Index("guardrail_ticket_audited", ticket.c.key, **_where("kind = 'audit'"))
Index("guardrail_ticket_decision", ticket.c.decision_id)
Index("guardrail_ticket_delivery", ticket.c.delivery_at, **_where("delivery IN ('queued', 'retrying')"))

# One person's part in a ticket: a lease with its fencing token, then the vote. Nobody has two parts in one ticket.
claim: Final = Table(
    "guardrail_claim",
    metadata,
    Column("ticket_id", String, ForeignKey("guardrail_ticket.id"), primary_key=True),
    Column("reviewer", String, primary_key=True),
    Column("known_by", String, nullable=False),
    Column("slot", Integer),  # which of the ticket's places; None when the lease was lost or the case declined
    Column("token", String, nullable=False, unique=True),
    Column("claimed", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("state", String, nullable=False),  # held, voted, declined, released
    Column("blind", Boolean, nullable=False),  # whether the model's answer, and others' votes, were hidden
    Column("verdict", String),  # accept, change, reject, unsure
    Column("value", Text),
    Column("reason", String),
    Column("note", Text),
    Column("voted", Double),
    UniqueConstraint("ticket_id", "slot", name="guardrail_claim_slot"),
)
Index("guardrail_claim_reviewer", claim.c.reviewer, claim.c.voted)

# What happened to a ticket after it was filed, by whom; only ever appended to.
step: Final = Table(
    "guardrail_step",
    metadata,
    Column("seq", _Counter, primary_key=True),
    Column("ticket_id", String, ForeignKey("guardrail_ticket.id"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column(
        "what", String
    ),  # declined, reassigned, reminded, escalated, adjudicate, late, called_back, or the state that ended it
    Column("state", String, nullable=False),  # of the ticket, afterwards
    Column("verdict", String),
    Column("value", Text),
    Column("reason", String),
    Column("note", Text),
    Column("actor", String),
    Column("known_by", String),
)

# A ticket that was handed out from the spool while another one of the same key was open here: both are one case.
twin: Final = Table(
    "guardrail_twin",
    metadata,
    Column("id", String, primary_key=True),
    Column("ticket_id", String, ForeignKey("guardrail_ticket.id"), nullable=False),
)

# What turned out to be true, from the caller or from a reviewer.
label: Final = Table(
    "guardrail_label",
    metadata,
    Column("seq", _Counter, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("decision_id", String, index=True),
    Column("guard", String),
    Column("business_id", String),
    Column("ticket_id", String, ForeignKey("guardrail_ticket.id")),
    Column("actual", Text, nullable=False),
    Column("value", Double),
    Column("at", Double, nullable=False),
    Column("stored", Double, nullable=False),
    Column("source", String, nullable=False),  # caller, review, audit, override, appeal, late, or what the caller named
    Column("reason", String),
    Column("actor", String),
    Column("inclusion", Double),
)
Index("guardrail_label_business", label.c.business_id, label.c.guard)

# Who reviews, and what they may: only of those who are named here are roles and skills known.
reviewer: Final = Table(
    "guardrail_reviewer",
    metadata,
    Column("name", String, primary_key=True),
    Column("roles", Text, nullable=False),
    Column("skills", Text, nullable=False),
)

# When somebody last looked at a queue, and when it was last said that nobody does.
desk: Final = Table(
    "guardrail_desk",
    metadata,
    Column("queue", String, primary_key=True),
    Column("opened", Double),
    Column("told", Double),
)

# Events that stand in the store and not yet in the ledger: written with the change, removed when the ledger has them.
untold: Final = Table(
    "guardrail_untold",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Double, nullable=False),
    Column("kind", String, nullable=False, server_default="case"),
    Column("guard", String),
    Column("fields", Text, nullable=False),
)
