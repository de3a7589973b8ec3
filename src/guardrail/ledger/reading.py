"""`guardrail.ledger.read(...)`: the ledger for users, as an iterator, a data frame or a table in a notebook. Each use is recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Final

from guardrail.errors import ConfigError
from guardrail.ledger import reader, told, writer
from guardrail.ledger.columns import COLUMNS, row
from guardrail.ledger.wanted import Moment, Record, Wanted, Which, wanted

if TYPE_CHECKING:
    import pandas as pd

_OWN_SECONDS: Final = 1.0  # how long a reader waits for what its own process has just done
_CARD: Final = 20  # records that a notebook shows
_SHOWN: Final = ("ts", "event", "outcome", "guard", "actor", "business_id", "output", "confidence", "id")
_LONGEST: Final = 60
_CELL: Final = "text-align:left;padding:1px 12px 1px 0;vertical-align:top;border:0"


class Reading:
    """The records that somebody asked for; nothing is read before they are looked at.

    Iterating gives each record as a dict, a bounded part of the ledger in memory. Each iteration, each data frame and each
    table in a notebook leaves one `read` event: who, what was asked for, how many records were given.
    """

    def __init__(self, which: Wanted, *, limit: int | None = None, newest_first: bool = False) -> None:
        self._which = which
        self._limit = limit
        self._newest_first = newest_first

    def __iter__(self) -> Iterator[Record]:
        given = 0
        found = self._stored(self._limit)
        try:
            with contextlib.closing(found):
                for each in found:
                    given += 1
                    yield each.record
        finally:
            self._tell(given)

    def to_frame(self) -> pd.DataFrame:
        """Return them as a pandas DataFrame, one row per record.

        Its columns are the fields of a record, of those that hold several the main one (`actor` is the id, `output` the value,
        `seconds` the whole duration), and `more` with what has no column. `ts` is a moment in UTC.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - only for who asks for it
        except ImportError:
            raise ConfigError("a data frame needs pandas", hint="pip install pandas; or iterate over the records") from None
        found = [row(each) for each in self._stored(self._limit)]
        self._tell(len(found))
        frame = pd.DataFrame(found, columns=[*(column.name for column in COLUMNS), "lane", "seq", "more"])
        for column in COLUMNS:
            if column.kind == "moment":
                frame[column.name] = pd.to_datetime(frame[column.name], utc=True, errors="coerce", format="ISO8601")
            elif column.kind == "float":
                frame[column.name] = frame[column.name].astype("float64")
            elif column.kind == "int":
                frame[column.name] = frame[column.name].astype("Int64")
        return frame

    def _repr_html_(self) -> str:
        many = _CARD if self._limit is None else min(_CARD, self._limit)
        found = [row(each) for each in self._stored(many + 1)]
        shown = found[:many]
        self._tell(len(shown))
        heads = "".join(f"<th style='{_CELL}'>{name}</th>" for name in _SHOWN)
        rows = "".join(f"<tr>{''.join(_cell(each[name]) for name in _SHOWN)}</tr>" for each in shown)
        rest = (
            "<div>… and more: iterate, or <code>.to_frame()</code></div>"
            if len(found) > len(shown) and many != self._limit
            else ""
        )
        empty = "" if shown else "<div>no such record</div>"
        return f"<div style='font:13px/1.45 system-ui,sans-serif'><table style='border:0'><tr>{heads}</tr>{rows}</table>{rest}{empty}</div>"

    def __repr__(self) -> str:
        asked = ", ".join(f"{name}={value!r}" for name, value in self._which.told().items())
        return f"<records of the ledger{f' where {asked}' if asked else ''}; iterate, or .to_frame()>"

    def _stored(self, limit: int | None) -> Generator[reader.Stored]:
        writer.flush(_OWN_SECONDS)
        yield from reader.stored(self._which, limit=limit, newest_first=self._newest_first)

    def _tell(self, count: int) -> None:
        told.tell("read", self._which, count, limit=self._limit)


def read(
    *,
    guard: Which | None = None,
    outcome: Which | None = None,
    event: Which | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    ids: Which | None = None,
    business_id: str | None = None,
    actor: Which | None = None,
    subject: Which | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> Reading:
    """Read the ledger of this home, oldest first.

    What can be looked up in the index is (ids, business id, actor, subject); all else is read in the order of time.

    Args:
        guard: One name, or several.
        outcome: One outcome, or several: "answered", "refused"…
        event: One kind of event, or several: "call", "row", "mode", "decision"…
        since: A moment: seconds since the epoch, a datetime (without a time zone it is local), "2026-01-31", or how long
            ago: "12h", "30d".
        until: As `since`; records of that very moment are left out.
        ids: One id, or several.
        business_id: The user's own key.
        actor: Id of whoever asked, or several.
        subject: A person whom records are about, by their own id or by the digest that stands in records, or several.
        limit: At most so many.
        newest_first: The latest first.

    Returns:
        What can be iterated, any number of times, and has `to_frame()`.

    Raises:
        ConfigError: A moment is none, or the limit is negative.
    """
    if limit is not None and limit < 0:
        raise ConfigError("limit is negative", hint="write how many records at most, or None for all")
    which = wanted(
        guard=guard, outcome=outcome, event=event, since=since, until=until, ids=ids, business_id=business_id, actor=actor,
        subject=subject,
    )  # fmt: skip
    return Reading(which, limit=limit, newest_first=newest_first)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"<td style='{_CELL}'>{escape(text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…')}</td>"
