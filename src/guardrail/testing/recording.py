"""Records what guarded calls leave, as the ledger writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, overload

from guardrail.errors import AuditUnavailable
from guardrail.ledger import reader, writer

Record = dict[str, Any]
_FLUSH_SECONDS: Final = 5.0


class Recorded(Sequence[Record]):
    """The records since the block began, oldest first; looking at it waits until all of them are written.

    The ledger's own notes (`config`: what a plan consists of) are left out; `of("config")` has them.
    """

    def __init__(self, before: set[str]) -> None:
        self._before = before

    def _read(self) -> list[Record]:
        _flush()
        return [dict(record) for record in reader.read() if record["id"] not in self._before]

    def _records(self) -> list[Record]:
        return [record for record in self._read() if record["event"] != "config"]

    def __len__(self) -> int:
        return len(self._records())

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | Sequence[Record]:
        return self._records()[at]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records())

    def of(self, event: str) -> list[Record]:
        """Return the records of one kind of event: "call", "row", "mode", "ticket", ..."""
        return [record for record in self._read() if record["event"] == event]

    def __repr__(self) -> str:
        records = self._records()
        return f"<{len(records)} records: {', '.join(str(record['event']) for record in records[:10])}>"


def _flush() -> None:
    if not writer.flush(_FLUSH_SECONDS):
        raise AuditUnavailable(
            "the records are not written yet", policy="audit", hint="`guardrail doctor` shows what is wrong with the ledger"
        )


@contextmanager
def recorded() -> Iterator[Recorded]:
    """Collect the ledger's records inside the block, in order.

    Raises:
        AuditUnavailable: The ledger cannot write them within 5 s.
    """
    _flush()
    yield Recorded({record["id"] for record in reader.read()})
