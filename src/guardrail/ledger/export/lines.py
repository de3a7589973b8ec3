"""Lines: the records as stored (`jsonl`), which can still be proven, and a flat table for spreadsheets (`csv`)."""

from __future__ import annotations

import csv as _csv
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import orjson

from guardrail.ledger.columns import COLUMNS, MORE, row
from guardrail.ledger.reader import Stored

_STEERS: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula


def jsonl(records: Iterator[Stored], out: BinaryIO, ledger: str) -> None:
    """Write the bytes of each record as they lie in the ledger."""
    del ledger  # which a line does not name
    out.writelines(each.line for each in records)


def csv(records: Iterator[Stored], out: BinaryIO, ledger: str) -> None:
    """Write a table (RFC 4180, UTF-8) with a heading; a text that a spreadsheet would run gets an apostrophe before it."""
    del ledger
    names = [*(column.name for column in COLUMNS), "lane", "seq", MORE]
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        table = _csv.writer(text)
        table.writerow(names)
        for each in records:
            cells = row(each)
            table.writerow([_shown(cells[name]) for name in names])
    finally:
        text.detach()  # which flushes it, and leaves the file open


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_STEERS) else value
    return orjson.dumps(value).decode() if isinstance(value, dict | list | bool) else str(value)
