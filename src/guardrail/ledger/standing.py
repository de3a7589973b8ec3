"""What `guardrail doctor` says of the ledger as a whole: its loss window, its key, its place, lanes that nobody closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from guardrail.ledger import notes, places, postgres, signing
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.sources import manifest_of

Level = Literal["ok", "info", "warn", "bad"]
_LOSS: Final = (
    "a crash loses at most the last 20 ms of buffered records, never one that was waited for; checkpoints are signed every"
    " 1,000 records or 10 s"
)


def standing(home: Path) -> Iterator[tuple[Level, str]]:
    """Look at what all lanes share.

    Args:
        home: The folder of the embedded store.

    Yields:
        Level and text of each finding.
    """
    yield "info", _LOSS
    if postgres.url(home) is not None:
        from guardrail.ledger.postgres.standing import standing as database  # noqa: PLC0415 - brings psycopg

        yield from database(home)
    why = places.refused(home)
    if why is not None:
        yield "bad", f"takes no records: {why}"
    manifest = manifest_of(home)
    try:
        open_lanes = len(manifest.open_lanes())
    except OSError as problem:
        yield "bad", f"the manifest cannot be read ({problem.strerror})"
        return
    if manifest.damaged:
        yield "bad", f"{manifest.damaged} lines of the manifest are not what they should be; guardrail audit verify says more"
    if open_lanes:
        yield "info", f"{open_lanes} lanes are open: in use, or closed by the next process that writes records"
    yield from _key(home, manifest)


def _key(home: Path, manifest: Manifest) -> Iterator[tuple[Level, str]]:
    try:
        key = signing.signing_key(manifest.ledger_id, manifest.key_id, create=False)
    except OSError as problem:
        if manifest.key_id is None and not signing.places().given and not signing.places().paths[-1].exists():
            yield "info", f"the signing key is made with the first record, at {signing.places().paths[-1]}"
        else:
            yield "bad", f"takes no records: {problem.strerror or problem}"
        return
    yield "ok", f"signed with the key {key.key_id} in {key.path}"
    if signing.beside(key.path, home):
        yield "warn", f"the key lies beside the ledger: whoever can change one can sign with the other; keep {key.path} elsewhere"


def vkey_of(manifest: Manifest, key: signing.SigningKey) -> str:
    """Return what a verifier needs: the public key, under the name that the manifest's checkpoints are signed with."""
    return notes.vkey(manifest.origin(), key.public)
