"""How a data subject is named in records: by a digest, so that a search for a person needs no name in the ledger."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_DIGEST: Final = re.compile(r"[0-9a-f]{40}")


def digests(subjects: Collection[str]) -> frozenset[str]:
    """Return the digests that records hold for subjects, each given by its own id, or already by its digest.

    Raises:
        GuardrailError: The key of the digests cannot be read.
    """
    from guardrail.ledger import subjects as known  # noqa: PLC0415 - the store of keys, for who looks for a person

    found = {each if _DIGEST.fullmatch(each) else known.digest(each) for each in subjects}
    return frozenset(found - {""})
