"""Keeps a line within its bound: what people wrote at length is cut, and the record names what was."""

from __future__ import annotations

from typing import Any, Final

import orjson

from guardrail.ledger.schema import BODY_LIMIT, OWN
from guardrail.ledger.text import text

_ITEMS: Final = 10  # of a list or mapping that is cut
_TEXT: Final = 200  # characters of a text that is cut


def shortened(body: bytes) -> bytes:
    """Return a line that fits: the longest fields cut, as many as must be, then left out; never what identifies the record.

    Args:
        body: A line that is too long.
    """
    record: dict[str, Any] = orjson.loads(body)
    sizes = {name: len(orjson.dumps(value)) for name, value in record.items() if name not in OWN}
    line = body
    longest = sorted(sizes, key=sizes.__getitem__, reverse=True)
    for way in (_cut, None):
        for name in longest:
            if way is None:
                del record[name]
            else:
                record[name] = way(record[name])
            record["truncated"] = [*dict.fromkeys([*record.get("truncated", ()), name])]
            line = orjson.dumps(record)
            if len(line) <= BODY_LIMIT:
                return line
    return line


def _cut(value: Any) -> Any:
    """Return the beginning of a value. Of an input or an answer nothing is left but what describes it."""
    if isinstance(value, str):
        return text(value, _TEXT)
    if isinstance(value, list):
        return [_cut(each) for each in value[:_ITEMS]]
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in [*value.items()][:_ITEMS] if name != "value"}
    return value
