"""Delivery over PostgreSQL: the outbox, the cursors and the dead letters of a fleet, of which one process serves a sink."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import orjson

from guardrail import clock
from guardrail.delivery.keeping import Letter, State
from guardrail.delivery.outbox import begun_with
from guardrail.delivery.sink import Item
from guardrail.ledger.postgres import rows
from guardrail.ledger.postgres.link import Link
from guardrail.ledger.postgres.schema import MIGRATE, SchemaRefused

_AHEAD: Final = 2_000  # records of one lane that are read at once
_LOOK: Final = 0.5  # seconds between two looks at which lanes have grown


class SharedOutbox:
    """The lanes of one service in the database.

    Args:
        url: As libpq takes it.
        service: Whose records; the database may hold several applications'.
    """

    def __init__(self, url: str, service: str | None) -> None:
        self._link = Link(url, writing=False)
        self._service = service
        self._ahead: dict[str, list[Item]] = {}
        self._lanes: list[str] = []
        self._looked = float("-inf")

    def lanes(self) -> list[str]:
        """As the protocol says. Only lanes that begin with a record of this service are its own."""
        if clock.now() - self._looked >= _LOOK:
            self._looked = clock.now()
            query = f"""
                SELECT lanes.lane FROM ({rows.LANES}) AS lanes CROSS JOIN LATERAL (
                    SELECT record FROM guardrail_ledger AS each
                    WHERE each.lane = lanes.lane AND line IS NOT NULL ORDER BY seq LIMIT 1
                ) AS first
                WHERE first.record ->> 'service' IS NOT DISTINCT FROM %s ORDER BY lanes.lane
            """  # noqa: S608 - of our own words only
            self._lanes = [lane for (lane,) in self._link.run(query, (self._service,))]
        return self._lanes

    def read(self, lane: str, after: int, most: int) -> tuple[list[Item], int]:
        """As the protocol says."""
        ahead = self._ahead.get(lane, [])
        if not ahead or ahead[0].seq != after + 1:
            found = self._link.run(
                "SELECT seq, line FROM guardrail_ledger WHERE lane = %s AND seq > %s AND line IS NOT NULL ORDER BY seq LIMIT %s",
                (lane, after, _AHEAD),
            )
            ahead = [Item(lane, seq, bytes(line)) for seq, line in found]
        items = ahead[:most]
        self._ahead[lane] = ahead[most:]
        if not self._ahead[lane]:
            del self._ahead[lane]
        return items, max(0, items[0].seq - after - 1) if items else 0

    def last(self, lane: str) -> int:
        """As the protocol says."""
        return rows.last(self._link, lane)

    def owes(self, lane: str, sink: str) -> bool:
        """As the protocol says."""
        found = self._link.run(
            "SELECT line FROM guardrail_ledger WHERE lane = %s AND line IS NOT NULL ORDER BY seq LIMIT 1", (lane,)
        )
        return not found or begun_with(bytes(found[0][0]), sink)

    def closed(self) -> set[str]:
        """As the protocol says."""
        found = self._link.run("SELECT line FROM guardrail_manifest WHERE position(%s IN line) > 0", (b'"event":"close"',))
        return {str(orjson.loads(bytes(line)).get("lane")) for (line,) in found}

    def close(self) -> None:
        """Close the connection."""
        self._ahead.clear()
        self._link.drop()

    def abandon(self) -> None:
        """As the protocol says."""
        self._link.abandon()


class SharedKeeping:
    """A sink's rows in the database. Who serves it holds an advisory lock, which ends with its connection.

    Args:
        url: As libpq takes it.
        service: Whose sink it is.
        name: The sink's name.
    """

    def __init__(self, url: str, service: str | None, name: str) -> None:
        self._sink = f"{service or ''}/{name}"
        self._link = Link(url)
        self._holds: Any = None  # the connection that holds the lock
        digest = hashlib.sha256(f"guardrail-sink/{self._sink}".encode()).digest()
        self._lock = int.from_bytes(digest[:8], "big", signed=True)

    def hold(self) -> bool:
        """As the protocol says. A connection that was lost has lost the lock, too."""
        connection = self._link.ready(5.0)
        if self._holds is connection:
            return True
        self._holds = None
        if self._link.run("SELECT to_regclass('guardrail_cursors')")[0][0] is None:
            raise SchemaRefused(f"the database has no tables for delivery: {MIGRATE}")
        if bool(self._link.run("SELECT pg_try_advisory_lock(%s)", (self._lock,))[0][0]) and self._link.up:
            self._holds = self._link.ready(0.0)
            return True
        return False

    def positions(self) -> dict[str, int] | None:
        """As the protocol says."""
        if not self._link.run("SELECT 1 FROM guardrail_sinks WHERE sink = %s", (self._sink,)):
            return None
        return dict(self._link.run("SELECT lane, seq FROM guardrail_cursors WHERE sink = %s AND NOT done", (self._sink,)))

    def save(self, positions: Mapping[str, int]) -> None:
        """As the protocol says."""
        self._link.run("INSERT INTO guardrail_sinks (sink) VALUES (%s) ON CONFLICT DO NOTHING", (self._sink,))
        self._link.run(
            "INSERT INTO guardrail_cursors (sink, lane, seq) SELECT %s, lane, seq FROM unnest(%s::text[], %s::bigint[]) AS new (lane, seq)"
            " ON CONFLICT (sink, lane) DO UPDATE SET seq = excluded.seq",
            (self._sink, list(positions), list(positions.values())),
        )

    def done(self) -> set[str]:
        """As the protocol says."""
        return {lane for (lane,) in self._link.run("SELECT lane FROM guardrail_cursors WHERE sink = %s AND done", (self._sink,))}

    def finish(self, lanes: Collection[str]) -> None:
        """As the protocol says."""
        self._link.run(
            "INSERT INTO guardrail_cursors (sink, lane, seq, done) SELECT %s, lane, 0, true FROM unnest(%s::text[]) AS new (lane)"
            " ON CONFLICT (sink, lane) DO UPDATE SET done = true",
            (self._sink, list(lanes)),
        )

    def bury(self, letters: Iterable[Letter]) -> None:
        """As the protocol says."""
        with self._link.transaction(10.0):
            self._link.many(
                "INSERT INTO guardrail_dead_letters (sink, lane, seq, reason, attempts, first_try, last_try)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(self._sink, *letter) for letter in letters],
            )

    def dead(self) -> list[Letter]:
        """As the protocol says."""
        found = self._link.run(
            "SELECT lane, seq, reason, attempts, first_try, last_try FROM guardrail_dead_letters WHERE sink = %s ORDER BY last_try, lane, seq",
            (self._sink,),
        )
        return [Letter(*row) for row in found]

    def exhume(self, arrived: Collection[tuple[str, int]]) -> None:
        """As the protocol says."""
        with self._link.transaction(10.0):
            self._link.many(
                "DELETE FROM guardrail_dead_letters WHERE sink = %s AND lane = %s AND seq = %s",
                [(self._sink, *key) for key in arrived],
            )

    def tell(self, state: State) -> None:
        """As the protocol says."""
        told = orjson.dumps(state._replace(told_at=clock.wall())._asdict()).decode()
        self._link.run(
            "INSERT INTO guardrail_sinks (sink, state) VALUES (%s, %s::jsonb) ON CONFLICT (sink) DO UPDATE SET state = excluded.state",
            (self._sink, told),
        )

    def state(self) -> State:
        """As the protocol says."""
        found = self._link.run("SELECT state FROM guardrail_sinks WHERE sink = %s AND state IS NOT NULL", (self._sink,))
        return State(**found[0][0]) if found else State()

    def release(self) -> None:
        """As the protocol says."""
        self._holds = None
        self._link.drop()

    def abandon(self) -> None:
        """As the protocol says."""
        self._holds = None
        self._link.abandon()
