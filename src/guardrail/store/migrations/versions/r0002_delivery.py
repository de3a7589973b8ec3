"""Delivery: how far each sink was served, how that goes, and what it would not take."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE guardrail_sinks (sink text PRIMARY KEY, state jsonb);
CREATE TABLE guardrail_cursors (
    sink text NOT NULL,
    lane text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (sink, lane)
);
CREATE TABLE guardrail_dead_letters (
    sink text NOT NULL,
    lane text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    first_try double precision NOT NULL,
    last_try double precision NOT NULL,
    PRIMARY KEY (sink, lane, seq)
);
"""


def upgrade() -> None:
    """Make the tables."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        return  # an embedded store has its ledger in files
    for statement in _TABLES.split(";"):
        if statement.strip():
            connection.exec_driver_sql(statement)
