"""CloudEvents 1.0 (https://cloudevents.io), the structured JSON form, one event per line; the record stands in `data` as stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import orjson

from guardrail.ledger.reader import Stored


def cloudevents(records: Iterator[Stored], out: BinaryIO, ledger: str) -> None:
    """Write one event per record: `id` is lane/number, which is unique, and `sequence` orders the events of a lane."""
    for each in records:
        event = {
            "specversion": "1.0",
            "id": f"{each.lane}/{each.seq}",
            "source": f"guardrail/{ledger}/{each.lane}",
            "type": f"guardrail.{each.record.get('event', 'unknown')}",
            "time": each.record["ts"],
            "datacontenttype": "application/json",
            "sequence": f"{each.seq:020d}",
        }
        guard = each.record.get("guard")
        if isinstance(guard, str) and guard:
            event["subject"] = guard
        out.write(b'%b,"data":%b}\n' % (orjson.dumps(event)[:-1], each.line.rstrip(b"\n")))
