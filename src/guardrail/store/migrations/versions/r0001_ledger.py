"""The ledger: its lines as they were written, what is searched beside them, the manifest and the checkpoints."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A generated column, so that what is searched can never differ from the line: not even by an UPDATE. PostgreSQL takes no
# U+0000 in jsonb, and a few things more that a line may hold; then the fields that every line begins with are kept.
_RECORD = r"""
CREATE FUNCTION guardrail_record(line bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    spelled text;
BEGIN
    IF line IS NULL THEN
        RETURN NULL;
    END IF;
    spelled := convert_from(line, 'UTF8');
    RETURN replace(spelled, '\u0000', '\ufffd')::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN jsonb_build_object(
        'id', substring(encode(line, 'escape') from '"id":"([^"\\]*)"'),
        'ts', substring(encode(line, 'escape') from '"ts":"([^"\\]*)"'),
        'event', substring(encode(line, 'escape') from '"event":"([^"\\]*)"'),
        'outcome', substring(encode(line, 'escape') from '"outcome":"([^"\\]*)"'),
        'guard', substring(encode(line, 'escape') from '"guard":"([^"\\]*)"')
    );
END
$$
"""

_TABLES = """
CREATE TABLE guardrail_ledger (
    lane text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    line bytea,
    leaf bytea NOT NULL,
    record jsonb GENERATED ALWAYS AS (guardrail_record(line)) STORED,
    PRIMARY KEY (lane, seq)
);
CREATE TABLE guardrail_manifest (n bigint PRIMARY KEY, line bytea NOT NULL);
CREATE TABLE guardrail_notes (lane text COLLATE "C" NOT NULL, size bigint NOT NULL, note bytea NOT NULL, PRIMARY KEY (lane, size));
"""

# Spelled out as the queries spell it: PostgreSQL uses an index on an expression only where it sees the same one.
_INDEXES = """
CREATE INDEX guardrail_ledger_id ON guardrail_ledger (((record ->> 'id') COLLATE "C"));
CREATE INDEX guardrail_ledger_ts ON guardrail_ledger (((record ->> 'ts') COLLATE "C"), lane, seq);
CREATE INDEX guardrail_ledger_guard ON guardrail_ledger (((record ->> 'guard') COLLATE "C"), ((record ->> 'ts') COLLATE "C"));
CREATE INDEX guardrail_ledger_business ON guardrail_ledger (((record ->> 'business_id') COLLATE "C")) WHERE record ? 'business_id';
CREATE INDEX guardrail_ledger_actor ON guardrail_ledger (((record -> 'actor' ->> 'id') COLLATE "C")) WHERE record ? 'actor';
CREATE INDEX guardrail_ledger_event ON guardrail_ledger (((record ->> 'event') COLLATE "C"), ((record ->> 'ts') COLLATE "C"))
    WHERE NOT (record ->> 'event') IN ('call', 'row', 'beat');
CREATE INDEX guardrail_ledger_outcome ON guardrail_ledger (((record ->> 'outcome') COLLATE "C"), ((record ->> 'ts') COLLATE "C"))
    WHERE NOT (record ->> 'outcome') IN ('answered', 'cached');
CREATE INDEX guardrail_ledger_parent ON guardrail_ledger (((record ->> 'parent') COLLATE "C")) WHERE record ? 'parent';
CREATE INDEX guardrail_ledger_ticket ON guardrail_ledger (((record ->> 'ticket') COLLATE "C")) WHERE record ? 'ticket';
CREATE INDEX guardrail_ledger_subject ON guardrail_ledger USING gin ((record -> 'subject')) WHERE record ? 'subject';
"""


def upgrade() -> None:
    """Make the tables."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        return  # an embedded store has its ledger in files
    connection.exec_driver_sql(_RECORD)
    for statement in (_TABLES + _INDEXES).split(";"):
        if statement.strip():
            connection.exec_driver_sql(statement)
