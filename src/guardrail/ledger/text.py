"""Makes any value fit for a record: valid UTF-8, finite numbers, bounded length. What stands in a record is never trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from enum import Enum
from typing import Any, Final

NAME_LIMIT: Final = 200  # characters of a name, an id or a purpose
TEXT_LIMIT: Final = 1_000  # characters of one text for people
ITEMS_LIMIT: Final = 200  # entries of one list or mapping
_DEPTH_LIMIT: Final = 12
_BYTES_LIMIT: Final = 64  # a digest
_INT_LIMIT: Final = 2**63
_CUT: Final = "… (cut)"


def text(value: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text of at most `limit` characters that is valid UTF-8; lone surrogates become question marks."""
    if len(value) > limit:
        value = value[: limit - len(_CUT)] + _CUT
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def number(value: float) -> float | str:
    """Return a number that JSON has; NaN and the infinities become "NaN", "Infinity" and "-Infinity"."""
    if math.isfinite(value):
        return float(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN alone differs from itself


def clean(value: Any, depth: int = 0) -> Any:
    """Return a JSON value that says the same, bounded; a digest in hexadecimal; of what is no data, only the type's name."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if -_INT_LIMIT <= value < _INT_LIMIT else text(hex(value))
    if isinstance(value, float):
        return number(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if depth < _DEPTH_LIMIT:
        if isinstance(value, Mapping):
            items = [(text(str(key), NAME_LIMIT), item) for key, item in list(value.items())[:ITEMS_LIMIT]]
            return {key: clean(item, depth + 1) for key, item in items}
        if isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes | bytearray | memoryview):
            return [clean(item, depth + 1) for item in list(value)[:ITEMS_LIMIT]]
    if isinstance(value, bytes) and len(value) <= _BYTES_LIMIT:
        return value.hex()
    return f"<{text(type(value).__name__, NAME_LIMIT)}>"
