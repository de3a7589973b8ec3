"""The rows of lanes: written many at once, each number only once, and read back a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from guardrail import clock
from guardrail.ledger.postgres.link import Link

AT_ONCE: Final = 4 * 2**20  # bytes of lines in one statement
PAGE: Final = 5_000

# One statement, and so one transaction: the records, and checkpoints over earlier ones that ride along. What is there
# already stays as it is.
_INSERT: Final = """
WITH told AS (
    INSERT INTO guardrail_notes (lane, size, note)
    SELECT %(lane)s, size, note FROM unnest(%(sizes)b::bigint[], %(notes)b::bytea[]) AS new (size, note) ON CONFLICT DO NOTHING
)
INSERT INTO guardrail_ledger (lane, seq, line, leaf)
SELECT %(lane)s, %(first)s + place - 1, line, leaf
FROM unnest(%(lines)b::bytea[], %(leaves)b::bytea[]) WITH ORDINALITY AS new (line, leaf, place)
ON CONFLICT (lane, seq) DO NOTHING
"""


def insert(  # noqa: PLR0917 - a part of a lane, and how long
    link: Link,
    lane: str,
    first: int,
    lines: Sequence[bytes],
    leaves: Sequence[bytes],
    notes: Sequence[tuple[int, bytes]],
    seconds: float,
) -> None:
    """Put lines into a lane, durably.

    Args:
        link: To the database.
        lane: Its name.
        first: Number of the first line.
        lines: Without their newlines.
        leaves: The hash of each.
        notes: Checkpoints, with their sizes.
        seconds: The most that it may take.

    Raises:
        Away: They are not there, or nobody knows.
    """
    until = clock.now() + seconds
    begin = 0
    while begin < len(lines) or notes:
        end, size = begin, 0
        while end < len(lines) and (end == begin or size + len(lines[end]) <= AT_ONCE):
            size += len(lines[end])
            end += 1
        values = {
            "lane": lane, "first": first + begin, "lines": list(lines[begin:end]), "leaves": list(leaves[begin:end]),
            "sizes": [each for each, _ in notes], "notes": [each for _, each in notes],
        }  # fmt: skip
        link.run(_INSERT, values, seconds=until - clock.now())
        begin, notes = end, ()


def last(link: Link, lane: str) -> int:
    """Return the number of a lane's last record, 0 where it has none."""
    rows = link.run("SELECT seq FROM guardrail_ledger WHERE lane = %s ORDER BY seq DESC LIMIT 1", (lane,))
    return int(rows[0][0]) if rows else 0


def leaves(link: Link, lane: str) -> Iterator[tuple[int, bytes]]:
    """Yield number and hash of every record of a lane."""
    after = 0
    while rows := link.run(
        "SELECT seq, leaf FROM guardrail_ledger WHERE lane = %s AND seq > %s ORDER BY seq LIMIT %s", (lane, after, 10 * PAGE)
    ):
        yield from rows
        after = rows[-1][0]


# The names of all lanes: a step of the primary key's index for each, however many rows it has.
LANES: Final = """
WITH RECURSIVE each (lane) AS (
    (SELECT lane FROM guardrail_ledger ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT lane FROM guardrail_ledger AS later WHERE later.lane > each.lane ORDER BY lane LIMIT 1)
    FROM each WHERE each.lane IS NOT NULL
)
SELECT lane FROM each WHERE lane IS NOT NULL
"""
