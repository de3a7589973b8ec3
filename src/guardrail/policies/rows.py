"""A bounded table of answers: least recently used out first, by entries and by bytes, each row safe from its readers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from guardrail import content, notices


class Row(NamedTuple):
    """One kept answer. What a reader gets is its own copy, unless nobody can change it anyway.

    Attributes:
        kept: The answer in safe keeping.
        thaw: Makes a reader's copy of it; None where all may share it.
        size: Bytes, estimated.
        confidence: As read from the answer.
        expires: Until when it is fresh, in monotonic seconds.
    """

    kept: Any
    thaw: Callable[[Any], Any] | None
    size: int
    confidence: float | None
    expires: float

    def answer(self) -> Any:
        """Return the answer, for one reader."""
        return self.kept if self.thaw is None else self.thaw(self.kept)


_new = tuple.__new__  # what `Row(...)` does, at a third of its cost


def _row_of(answer: Any, confidence: float | None, expires: float, guard: str) -> Row | None:
    """Return the row that keeps an answer, or None where it cannot be copied safely (said once)."""
    try:
        kept, thaw, size = content.freeze(answer)
    except content.Unkeyable as problem:
        notices.say(
            "uncopyable", f"answers of type {problem.kind} are not kept: they cannot be copied for each reader", guard=guard
        )
        return None
    return _new(Row, (kept, thaw, size, confidence, expires))


class Rows:
    """Rows by key, bounded.

    An OrderedDict, since this is on the path of every miss: cachetools' LRUCache runs twice the instructions to keep a new row.

    Args:
        size: The most rows.
        max_bytes: The most bytes of all rows together, as estimated.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        self.size = size
        self.max_bytes = max_bytes
        self.bytes = 0
        self._lock = threading.Lock()
        self._rows: OrderedDict[Any, Row] = OrderedDict()  # the least recently used first

    row_of = staticmethod(_row_of)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: Any) -> Row | None:
        """Return the row of a key, expired or not, and mark it as used. A key without a row costs no lock."""
        rows = self._rows
        row = rows.get(key)
        if row is not None:
            with self._lock:
                if key in rows:
                    rows.move_to_end(key)
        return row

    def put(self, key: Any, row: Row) -> None:
        """Keep a row, and drop the least recently used ones that no longer fit. A row larger than all is not kept."""
        weight = _weight(key, row)
        if weight > self.max_bytes:
            return
        rows = self._rows
        with self._lock:
            before = rows.pop(key, None)
            rows[key] = row
            self.bytes += weight if before is None else weight - _weight(key, before)
            while len(rows) > self.size or self.bytes > self.max_bytes:
                self.bytes -= _weight(*rows.popitem(last=False))


def _weight(key: Any, row: Row) -> int:
    """Return the bytes of a row and of the question beside it, where that is the exact encoding."""
    return row.size + len(key) if key.__class__ is bytes else row.size
