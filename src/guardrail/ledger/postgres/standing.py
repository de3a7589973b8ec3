"""What `guardrail doctor` says of the database: whether it answers, takes records durably, and what still waits to be replayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from guardrail import settings
from guardrail.ledger.postgres.link import Link
from guardrail.ledger.postgres.recovery import waiting
from guardrail.settings.values import masked

_SECONDS = 5.0


def standing(home: Path) -> Iterator[tuple[Literal["ok", "info", "warn", "bad"], str]]:
    """Look at the database of a home's ledger.

    Yields:
        Level and text of each finding.
    """
    url = settings.current().database_url
    if url is None:
        return
    link = Link(url.reveal())
    try:
        link.ready(_SECONDS)
        durable = link.run("SELECT current_setting('fsync'), current_setting('server_version')", seconds=_SECONDS)
        may = link.run(
            "SELECT has_table_privilege('guardrail_ledger', 'UPDATE, DELETE, TRUNCATE'), has_table_privilege('guardrail_ledger', 'INSERT')",
            seconds=_SECONDS,
        )  # fmt: skip
    except OSError as problem:
        yield "bad", f"{masked(url.reveal())}: {problem.strerror or problem}"
    else:
        yield "ok", f"{masked(url.reveal())} answers, PostgreSQL {durable[0][1]}"
        if durable[0][0] != "on":
            yield "bad", "the server runs with fsync = off: what it acknowledges may be lost with its machine"
        if not may[0][1]:
            yield "bad", "its user may not insert into guardrail_ledger: docs/postgres.md has the grants"
        if may[0][0]:
            yield (
                "warn",
                "its user may change and delete records: whoever has its password may, too; docs/postgres.md has a safer role",
            )
    finally:
        link.drop()
    kept = waiting(home)
    if kept:
        size = sum(each for _, each in kept) / 2**20
        yield (
            "warn",
            f"{len(kept)} lanes with {size:.1f} MiB wait in {home} to be replayed: by their process, or `guardrail store replay`",
        )
