"""What Alembic runs to apply the changes, on the connection that `store.migrate` gives it."""

from __future__ import annotations

from alembic import context

from guardrail.store.schema import TABLE

context.configure(connection=context.config.attributes["connection"], version_table=TABLE)
context.run_migrations()
