"""The fields of a record, in the order in which a line has them, and how long a line may be."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
ORDER: Final = (
    "v", "id", "seq", "prev", "ts", "event", "outcome", "guard", "version", "plan", "mode", "actor", "purpose", "business_id",
    "subject", "input", "output", "confidence", "threshold", "group", "reasons", "ticket", "parent", "attempts", "stop_reason", "timings",
    "budget_ms", "cache", "error", "would", "trace_id", "span_id", "service", "origin", "host", "pid", "sdk", "sealed", "blob",
    "tags",
)  # fmt: skip
# What the ledger itself says of every record; events bring fields of other names.
OWN: Final = frozenset(
    {"v", "id", "seq", "prev", "ts", "event", "guard", "service", "origin", "host", "pid", "sdk", "truncated", "blob"}
)

LINE_LIMIT: Final = 65_535  # bytes of a line with its newline: the entry limit of C2SP tlog-tiles
BODY_LIMIT: Final = LINE_LIMIT - 128  # room for number, hash link and newline
