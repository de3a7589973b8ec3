"""The review queue and its labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OPEN = "state IN ('pending', 'claimed', 'adjudicate')"


def upgrade() -> None:
    """Make the tables."""
    counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "guardrail_ticket",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("guard", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("business_id", sa.String()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text()),
        sa.Column("provisional", sa.Text()),
        sa.Column("confidence", sa.Double()),
        sa.Column("threshold", sa.Double()),
        sa.Column("choices", sa.Text()),
        sa.Column("guide", sa.Text()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("skills", sa.Text(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("due", sa.Double()),
        sa.Column("on_expiry", sa.String(), nullable=False),
        sa.Column("actor", sa.Text()),
        sa.Column("state", sa.String(), nullable=False),
    )
    _index("guardrail_ticket_one_open", "guardrail_ticket", ["key"], _OPEN, unique=True)
    _index("guardrail_ticket_open", "guardrail_ticket", ["queue", sa.text("priority DESC"), "id"], _OPEN)
    _index("guardrail_ticket_due", "guardrail_ticket", ["due"], _OPEN)
    _index("guardrail_ticket_answered", "guardrail_ticket", ["guard", "business_id"], "state = 'decided'")
    op.create_table(
        "guardrail_step",
        sa.Column("seq", counter, primary_key=True),
        sa.Column("ticket_id", sa.String(), sa.ForeignKey("guardrail_ticket.id"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("verdict", sa.String()),
        sa.Column("value", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("actor", sa.String()),
        sa.Column("known_by", sa.String()),
    )
    op.create_index("ix_guardrail_step_ticket_id", "guardrail_step", ["ticket_id"])
    op.create_table(
        "guardrail_twin",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("ticket_id", sa.String(), sa.ForeignKey("guardrail_ticket.id"), nullable=False),
    )
    op.create_table(
        "guardrail_label",
        sa.Column("seq", counter, primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("decision_id", sa.String()),
        sa.Column("guard", sa.String()),
        sa.Column("business_id", sa.String()),
        sa.Column("ticket_id", sa.String(), sa.ForeignKey("guardrail_ticket.id")),
        sa.Column("actual", sa.Text(), nullable=False),
        sa.Column("value", sa.Double()),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("stored", sa.Double(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
    )
    op.create_index("ix_guardrail_label_decision_id", "guardrail_label", ["decision_id"])
    op.create_index("guardrail_label_business", "guardrail_label", ["business_id", "guard"])
    op.create_table(
        "guardrail_untold",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("guard", sa.String()),
        sa.Column("fields", sa.Text(), nullable=False),
    )


def _index(name: str, table: str, columns: list[str | sa.TextClause], where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
