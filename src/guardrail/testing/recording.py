"""Records what guarded calls leave, as the ledger writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from guardrail.ledger import reader, writer


class Recorded(Sequence[dict[str, Any]]):
    """The records since the block began; looking at it waits until all of them are written."""

    def __init__(self, before: set[str]) -> None:
        self._before = before

    def _records(self) -> list[dict[str, Any]]:
        writer.flush(5)
        return [record for record in reader.read() if record["id"] not in self._before and record["event"] != "config"]

    def __len__(self) -> int:
        return len(self._records())

    def __getitem__(self, at: Any) -> Any:
        return self._records()[at]

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the records of one kind of event: "call", "row", "mode", "ticket", ..."""
        return [record for record in self._records() if record["event"] == event]


@contextmanager
def recorded() -> Iterator[Recorded]:
    """Collect the ledger's records inside the block, in order."""
    writer.flush(5)
    yield Recorded({record["id"] for record in reader.read()})
