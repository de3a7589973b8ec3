"""What a sink is: it takes a batch of records and says of each what became of it. Everything else is the courier's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

import orjson


class Item(NamedTuple):
    """One record on its way: the same id and the same bytes on every try.

    Attributes:
        lane: Which part of the ledger it stands in.
        seq: Its number there.
        line: The record as stored: one JSON object in UTF-8, without a newline.
    """

    lane: str
    seq: int
    line: bytes

    @property
    def id(self) -> str:
        """What no other record is called, and what duplicates are told by."""
        return f"{self.lane}/{self.seq}"

    @property
    def record(self) -> dict[str, Any]:
        """What the line says. It is parsed at each use."""
        found: dict[str, Any] = orjson.loads(self.line)
        return found


class Result(NamedTuple):
    """What became of one item; made by `ok`, `retry`, `reject` and `pending`."""

    kind: Literal["ok", "retry", "reject", "pending"]
    reason: str = ""
    after: float | None = None
    token: str = ""
    credentials: bool = False


ok: Final = Result("ok")


def retry(after: float | None = None, reason: str = "", *, credentials: bool = False) -> Result:
    """Say that an item did not arrive and may later: the courier backs off and sends it again.

    Args:
        after: Seconds that the other side asked to wait; None where it did not say.
        reason: Why, in words that hold nothing secret and nothing of the record.
        credentials: Whether the other side does not let us in: secrets are read again, and nothing is sent for longer.
    """
    return Result("retry", reason, after, credentials=credentials)


def reject(reason: str) -> Result:
    """Say that this very item will never be taken: it becomes a dead letter, and those behind it go on."""
    return Result("reject", reason)


def pending(token: str) -> Result:
    """Say that an item was sent and its arrival is confirmed later: the courier asks `poll` about the token."""
    return Result("pending", token=token)


class Caps(NamedTuple):
    """What a sink can take.

    Attributes:
        items: The most items of one batch.
        size: The most bytes of one batch, counted in lines.
        item_size: The most bytes of one line; a longer one is a dead letter without being sent.
        per_process: Whether each process delivers what it made itself, as to its own standard output; otherwise one
            process at a time delivers what all made.
    """

    items: int = 500
    size: int = 1_000_000
    item_size: int = 1_000_000
    per_process: bool = False


@runtime_checkable
class Sink(Protocol):
    """A place that records are delivered to. Its constructor takes an `Address`, checks it and connects to nothing.

    One thread at a time uses a sink. `send` must come to an end: give every wait the address' `timeout`. A sink may have
    `OPTIONS`, a mapping from the names of its URL's options to `Option`s, and `poll(tokens)`, which says of each token of
    a `pending` what became of it.
    """

    caps: Caps

    def send(self, batch: Sequence[Item]) -> Sequence[Result]:
        """Send a batch, in order, and return the result of each item.

        An exception means that nobody knows what arrived: all of it is sent again.
        """
        ...

    def probe(self) -> str:
        """Prove that the other side can be reached and lets us in, where possible by a labelled round trip.

        Returns:
            What was proven, in a few words.

        Raises:
            Exception: It was not.
        """
        ...

    def close(self) -> None:
        """Let go of what is open; `send` may open it again."""
