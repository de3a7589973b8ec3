"""Which keys this machine trusts for a ledger without being told: its own signing key, where that does not lie beside the ledger."""

from __future__ import annotations

from pathlib import Path

from guardrail.errors import ConfigError
from guardrail.ledger import signing
from guardrail.ledger.sources import manifest_of


def own_keys(home: Path | str) -> set[bytes]:
    """Return the public key that this machine signs a ledger with; nothing where it has none, or where it proves nothing."""
    try:
        manifest = manifest_of(home)
        manifest.refresh()
        key = signing.signing_key(manifest.ledger_id, manifest.key_id, create=False)
    except (OSError, ConfigError):
        return set()
    return set() if isinstance(home, Path) and signing.beside(key.path, home) else {key.public}
