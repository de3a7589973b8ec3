"""Prunes a ledger in PostgreSQL: the oldest records of each lane lose their lines; their hashes stay, and with them every proof.

As in files a durable `prune` record and the manifest's signed line come first, so that a crash leaves a ledger that verifies,
which the next prune completes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import orjson

from guardrail.errors import GuardrailError
from guardrail.ledger import blobs, expiry, holds, merkle, trust, verify, writer
from guardrail.ledger.expiry import Kept, Needed, Part
from guardrail.ledger.keeping import Pace
from guardrail.ledger.lane import SEGMENT_SECONDS
from guardrail.ledger.postgres.link import Away, Link
from guardrail.ledger.postgres.manifest import SharedManifest
from guardrail.ledger.postgres.source import Rows
from guardrail.ledger.record import iso

LOCK_KEY: Final = 0x677561727072756E  # "guarprun"; one process at a time prunes a database
_LEAVES: Final = 50_000  # read at once
_ROWS: Final = 10_000  # emptied at once: a statement of a second, not of an hour
_SECONDS: Final = 60.0
_ALARMS: Final = frozenset({1, 2, 5})
_EMPTY: Final = "UPDATE guardrail_ledger SET line = NULL WHERE lane = %s AND seq > %s AND seq <= %s AND line IS NOT NULL"


class MayNot(GuardrailError):
    """The database's user may not prune."""


class Overtaken(Exception):
    """A hold was placed or released since this was looked at."""


class Plan(NamedTuple):
    """What is to be pruned, and by which rule.

    Attributes:
        home: The folder of the embedded store: files of long records are there.
        url: Of the database.
        before: Only records that were made before this moment, in seconds since the epoch.
        needed: By the name of a sink, what says from which record on it still needs a lane.
        pace: Called now and then with the bytes read since the last time.
    """

    home: Path
    url: str
    before: float
    needed: Mapping[str, Needed]
    pace: Pace


class Pruning:
    """One run over a database. Use it as a context: it holds a lock that keeps other processes from pruning.

    Args:
        plan: What is to be pruned.

    Raises:
        OSError: The database cannot be used.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._link = Link(plan.url)
        self._rows = Rows(plan.url)
        self._manifest = SharedManifest(self._link)
        self._before = iso(plan.before).encode()
        self._surely = iso(plan.before - SEGMENT_SECONDS).encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.finish()
        self._link.drop()  # and with it the lock

    def alone(self) -> bool:
        """Return whether this process is the one that prunes now."""
        return bool(self._link.run("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,))[0][0])

    def found(self) -> Iterator[Part | Kept]:
        """Yield what may go of each lane, and what stays though it is old.

        Raises:
            Untrusted: The manifest does not verify.
            OSError: The database cannot be read.
        """
        self._manifest.refresh()
        self._held = self._holds_now()
        self._keeps = holds.Holds(holds.in_force(self._manifest), self._plan.home)
        run = verify.Run(self._rows, trust.own_keys(self._plan.home))
        for lane, facts in sorted(expiry.signed(run, self._plan.pace).items()):
            yield from self._lane(run, lane, facts)

    def _lane(self, run: verify.Run, lane: str, facts: verify.Facts) -> Iterator[Part | Kept]:
        gone = max((last for _, last in facts.pruned), default=0)  # always the oldest ones
        oldest = self._link.run(
            "SELECT seq, line FROM guardrail_ledger WHERE lane = %s AND line IS NOT NULL ORDER BY seq LIMIT 1", (lane,)
        )
        if oldest and oldest[0][0] <= gone:  # a crash has left them
            yield Part(lane, int(oldest[0][0]), gone, b"", (), 0, (), pruned=True)
            oldest = self._link.run("SELECT seq, line FROM guardrail_ledger WHERE lane = %s AND seq = %s", (lane, gone + 1))
        if not oldest or expiry.moment(oldest[0][1]) >= (self._surely if facts.size is None else self._before):
            return  # of a lane in use a day's records go at once, not a few every hour
        earlier = len(run.report.findings)
        for many in run.lane_steps(lane):
            self._plan.pace(many)
        bad = [each for each in run.report.findings[earlier:] if each.lane == lane and each.code in _ALARMS]
        if bad:
            yield Kept(lane, gone + 1, bad[0].text, bad=True)
            return
        upto, size, names, why = self._look(lane, gone, run.report.lanes[-1].proven)
        if upto > gone:
            yield Part(lane, gone + 1, upto, self._root(lane, upto), (), size, names, pruned=False)
        if why:
            yield Kept(lane, upto + 1, why, bad=False)

    def _look(self, lane: str, gone: int, proven: int) -> tuple[int, int, tuple[str, ...], str]:
        """Return up to which record all may go, what their lines take, the files that go with them, and what keeps the next one."""
        floors = [(sink, at) for sink, needed in self._plan.needed.items() if (at := needed(self._plan.home, lane)) is not None]
        upto, size = gone, 0
        names: list[str] = []
        for page in self._rows.pages(lane, gone):
            self._plan.pace(sum(len(line) for _, line, _ in page))
            for seq, line, _ in page:
                if seq > proven or expiry.moment(line) >= self._before:
                    return upto, size, tuple(names), ""
                why = next((f"sink {sink}" for sink, at in floors if at <= seq), "")
                if not why and (self._keeps or b'"blob":{' in line):
                    record = orjson.loads(line)
                    hold = self._keeps.keeps(record)
                    why = "" if hold is None else f"hold {hold}"
                    name = blobs.named(record)
                    if not why and name is not None:
                        names.append(name)
                if why:
                    return upto, size, tuple(names), why
                upto, size = seq, size + len(line)
        return upto, size, tuple(names), ""

    def _root(self, lane: str, size: int) -> bytes:
        tree = merkle.Range()
        while tree.size < size:
            block = self._rows.leaves(lane, tree.size, min(_LEAVES, size - tree.size))
            tree.extend(block[at : at + merkle.SIZE] for at in range(0, len(block), merkle.SIZE))
            self._plan.pace(len(block))
        return tree.root()

    # ── what a crash may interrupt anywhere ───────────────────────────────────────────────────────────────────────────
    def go(self, part: Part, fields: dict[str, Any]) -> tuple[str | None, int]:
        """Record that a part goes, and let it go.

        Returns:
            The id of the record, None where an earlier prune has made it; and how many files of long records were here.

        Raises:
            MayNot: The database's user may not.
            Overtaken: A hold was placed or released meanwhile; nothing was changed.
            AuditUnavailable: The record could not be made durable; nothing was changed.
            OSError: The database cannot be written.
        """
        self._may(part)
        identity = None
        if not part.pruned:
            said = {"lane": part.lane, "from": part.first, "upto": part.last, "root": part.root.hex()}
            self._manifest.refresh()
            if self._holds_now() != self._held:
                raise Overtaken
            identity = writer.event("prune", fields=said | {"bytes": part.size, "blobs": len(part.blobs)} | fields, sync=True)
            by = self._place(identity)
            with self._manifest.locked():
                if self._holds_now() != self._held:
                    raise Overtaken
                self._manifest.append_all([("prune", said | {"by": by})])
        here = 0
        for name in part.blobs:
            path = blobs.path_of(self._plan.home, name)
            here += path.exists()
            path.unlink(missing_ok=True)
        for after in range(part.first - 1, part.last, _ROWS):
            self._link.run(_EMPTY, (part.lane, after, min(after + _ROWS, part.last)), seconds=_SECONDS)
        return identity, here

    def _may(self, part: Part) -> None:
        """See that one line can be taken away, and leave it.

        Raises:
            MayNot: It cannot.
        """
        try:
            with self._link.transaction(_SECONDS):
                self._link.run(_EMPTY, (part.lane, part.first - 1, part.first))
                raise Overtaken  # noqa: TRY301 - so that it is rolled back
        except Overtaken:
            return
        except Away as problem:
            if not problem.refused:
                raise
            raise MayNot(
                f"the database's user may not prune ({problem.strerror})",
                hint="GRANT UPDATE (line) ON guardrail_ledger TO whoever prunes, or run `guardrail audit prune` as the owner of the tables",
            ) from None

    def _place(self, identity: str) -> dict[str, Any]:
        query = "SELECT lane, seq FROM guardrail_ledger WHERE ((record ->> 'id') COLLATE \"C\") = %s"
        for lane, seq in self._link.run(query, (identity,)):
            return {"lane": lane, "seq": int(seq)}
        raise OSError("the record of the prune has not reached the database: it waits in this host's spool")

    def _holds_now(self) -> list[Any]:
        return [(name, line.get("n")) for name, line in self._manifest.holds().items()]
