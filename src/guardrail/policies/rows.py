"""A bounded table of answers: least recently used out first, by entries and by bytes, each row safe from its readers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cachetools import LRUCache

from guardrail import content, notices


class Row:
    """One kept answer. What a reader gets is its own copy, unless nobody can change it anyway."""

    __slots__ = ("confidence", "expires", "kept", "size", "thaw")

    def __init__(self, kept: Any, thaw: Callable[[Any], Any] | None, size: int, confidence: float | None, expires: float) -> None:
        self.kept = kept
        self.thaw = thaw
        self.size = size
        self.confidence = confidence
        self.expires = expires  # monotonic seconds

    def answer(self) -> Any:
        """Return the answer, for one reader."""
        return self.kept if self.thaw is None else self.thaw(self.kept)


def _row_of(answer: Any, confidence: float | None, expires: float, guard: str) -> Row | None:
    """Return the row that keeps an answer, or None where it cannot be copied safely (said once)."""
    try:
        kept, thaw, size = content.freeze(answer)
    except content.Unkeyable as problem:
        notices.say(
            "uncopyable", f"answers of type {problem.kind} are not kept: they cannot be copied for each reader", guard=guard
        )
        return None
    return Row(kept, thaw, size, confidence, expires)


class _Newest(LRUCache[Any, Row]):
    """Which rows there are, and which was used least recently; `index` has the same rows for a look without a lock."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.index: dict[Any, Row] = {}
        self.bytes = 0

    def popitem(self) -> tuple[Any, Row]:
        key, row = super().popitem()
        del self.index[key]
        self.bytes -= row.size
        return key, row


class Rows:
    """Rows by key, bounded.

    Args:
        size: The most rows.
        max_bytes: The most bytes of all rows together, as estimated.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._rows = _Newest(size)
        self._index = self._rows.index

    row_of = staticmethod(_row_of)

    def __len__(self) -> int:
        return len(self._index)

    def get(self, key: Any) -> Row | None:
        """Return the row of a key, expired or not, and mark it as used."""
        row = self._index.get(key)
        if row is not None:
            with self._lock:
                if key in self._index:
                    self._rows[key]  # looked up, it becomes the most recently used
        return row

    def put(self, key: Any, row: Row) -> None:
        """Keep a row, and drop the least recently used ones that no longer fit. A row larger than all is not kept."""
        if key.__class__ is bytes:
            row.size += len(key)  # the question is kept too
        if row.size > self.max_bytes:
            return
        rows = self._rows
        with self._lock:
            before = self._index.get(key)
            if before is not None:
                rows.bytes -= before.size
            rows[key] = self._index[key] = row
            rows.bytes += row.size
            while rows.bytes > self.max_bytes:
                rows.popitem()
