"""Where a ledger is read from to be verified and proven: a folder of files, or the database that is configured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.ledger import postgres
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.manifest import Manifest

if TYPE_CHECKING:
    from guardrail.ledger.verify import Source


def is_url(place: Path | str) -> bool:
    """Tell whether a place is a database."""
    return isinstance(place, str) and place.startswith(("postgresql://", "postgres://"))


def _url(place: Path | str) -> str | None:
    if isinstance(place, str):
        return place if is_url(place) else None
    return postgres.url(place)


def source_of(home: Path | str) -> Source:
    """Return what the ledger of a home is read from; a text is a folder, or the URL of a database.

    Raises:
        OSError: There is no such folder, or the database cannot be used.
        ConfigError: A setting cannot be used.
    """
    url = _url(home)
    if url is None:
        from guardrail.ledger.verify import Files  # noqa: PLC0415 - only who verifies needs it

        return Files(str(home))
    from guardrail.ledger.postgres.source import Rows  # noqa: PLC0415 - brings psycopg

    return Rows(url)


def manifest_of(home: Path | str, *, writing: bool = False) -> Manifest:
    """Return the manifest of a home's ledger, to be read, or `writing`; either may raise OSError."""
    url = _url(home)
    if url is None:
        return Manifest(Path(home) / FOLDER)
    from guardrail.ledger.postgres.link import Link  # noqa: PLC0415 - brings psycopg
    from guardrail.ledger.postgres.manifest import SharedManifest  # noqa: PLC0415 - as above

    return SharedManifest(Link(url, writing=writing))
