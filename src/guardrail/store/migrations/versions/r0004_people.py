"""People at work on cases: claims and votes, levels, callbacks, who reviews. All of it has defaults, for the release before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OPEN = "state IN ('pending', 'claimed', 'adjudicate')"


def upgrade() -> None:
    """Add tables and columns."""
    for column in (
        sa.Column("kind", sa.String(), nullable=False, server_default="case"),
        sa.Column("parent", sa.String()),
        sa.Column("triggers", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("inclusion", sa.Double(), nullable=False, server_default="1"),
        sa.Column("answers", sa.Text()),
        sa.Column("expected", sa.Text()),
        sa.Column("reviewers", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("agree", sa.Integer()),
        sa.Column("voted", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("free_at", sa.Double(), nullable=False, server_default="0"),
        sa.Column("levels", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("level", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("role", sa.String()),
        sa.Column("act_at", sa.Double()),
        sa.Column("callback", sa.Text()),
        sa.Column("delivery", sa.String(), nullable=False, server_default="none"),
        sa.Column("delivery_at", sa.Double()),
        sa.Column("delivery_tries", sa.Integer(), nullable=False, server_default="0"),
    ):
        op.add_column("guardrail_ticket", column)
    _index("guardrail_ticket_act", ["act_at"], _OPEN)
    _index("guardrail_ticket_audited", ["key"], "kind = 'audit'")
    op.create_index("guardrail_ticket_decision", "guardrail_ticket", ["decision_id"])
    _index("guardrail_ticket_delivery", ["delivery_at"], "delivery IN ('queued', 'retrying')")
    op.create_table(
        "guardrail_claim",
        sa.Column("ticket_id", sa.String(), sa.ForeignKey("guardrail_ticket.id"), primary_key=True),
        sa.Column("reviewer", sa.String(), primary_key=True),
        sa.Column("known_by", sa.String(), nullable=False),
        sa.Column("slot", sa.Integer()),
        sa.Column("token", sa.String(), nullable=False, unique=True),
        sa.Column("claimed", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.String()),
        sa.Column("value", sa.Text()),
        sa.Column("reason", sa.String()),
        sa.Column("note", sa.Text()),
        sa.Column("voted", sa.Double()),
        sa.UniqueConstraint("ticket_id", "slot", name="guardrail_claim_slot"),
    )
    op.create_index("guardrail_claim_reviewer", "guardrail_claim", ["reviewer", "voted"])
    for column in (sa.Column("what", sa.String()), sa.Column("reason", sa.String())):
        op.add_column("guardrail_step", column)
    for column in (sa.Column("reason", sa.String()), sa.Column("actor", sa.String()), sa.Column("inclusion", sa.Double())):
        op.add_column("guardrail_label", column)
    op.create_table(
        "guardrail_reviewer",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("skills", sa.Text(), nullable=False),
    )
    op.create_table(
        "guardrail_desk",
        sa.Column("queue", sa.String(), primary_key=True),
        sa.Column("opened", sa.Double()),
        sa.Column("told", sa.Double()),
    )


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "guardrail_ticket", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
