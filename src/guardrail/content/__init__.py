"""What the library does with content: keys and digests, copies for the cache, JSON for people, and what a record keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardrail.content.copies import freeze
from guardrail.content.encoding import digest, encode, encode_call, size_of
from guardrail.content.errors import Unencodable, Unkeyable
from guardrail.content.summaries import Sealed, digested, schema_of, shown, summary

if TYPE_CHECKING:
    from guardrail.content.readable import dumps, is_secret, jsonable

__all__ = [
    "Sealed",
    "Unencodable",
    "Unkeyable",
    "digest",
    "digested",
    "dumps",
    "encode",
    "encode_call",
    "freeze",
    "is_secret",
    "jsonable",
    "schema_of",
    "shown",
    "size_of",
    "summary",
]


def __getattr__(name: str) -> Any:
    if name in ("dumps", "is_secret", "jsonable"):
        from guardrail.content import readable  # noqa: PLC0415 - most programs never show a value as JSON

        globals()[name] = getattr(readable, name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
