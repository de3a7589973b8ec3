"""The ledger over PostgreSQL: the same lines, hashes and checkpoints in tables; while the server is away, in local files.

Used where `GUARDRAIL_DATABASE_URL` is set. Everything that imports psycopg is in here, and imported by who needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guardrail import settings

SPOOL: Final = "ledger-spool"  # folder in the home: beside the ledger of files, to which these lanes do not belong


def url(home: Path | None = None) -> str | None:
    """Return the URL of the database that holds the ledger, in full; None where the ledger is in files.

    Args:
        home: Whose ledger is meant. Another home than this process's, such as an auditor's copy, is always files.

    Raises:
        ConfigError: A setting cannot be used.
    """
    found = settings.current().database_url
    if found is None or (home is not None and home != settings.home(create=False)):
        return None
    return found.reveal()
