"""What the library does with content: keys and digests, copies for the cache, JSON for people, and what a record keeps."""

from __future__ import annotations

from guardrail.content.copies import freeze
from guardrail.content.encoding import digest, encode, encode_call, size_of
from guardrail.content.errors import Unencodable, Unkeyable
from guardrail.content.readable import dumps, is_secret, jsonable
from guardrail.content.summaries import digested, schema_of, shown, summary

__all__ = [
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
