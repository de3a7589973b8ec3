"""The tables of the queue: made at once or step by step they are the same, and a step that is cut short leaves the old ones whole."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from guardrail import review
from guardrail.review.case import Case
from guardrail.store import engine, schema, tables
from guardrail.store.migrate import migrate
from guardrail.store.sqlite import StoreError

DIALECTS = ["embedded", "postgres"]
OLD_TICKET = (
    "INSERT INTO guardrail_ticket (id, queue, guard, version, key, decision_id, reason, reasons, arguments, priority, skills, created,"
    " on_expiry, state, choices) VALUES (:id, 'loans', 'credit', '1', :key, 'd', 'low', '[]', '{\"income\": 1}', 0, '[]', 1.0, 'hold',"
    ' :state, \'["yes", "no"]\')'
)
OLD_STEP = "INSERT INTO guardrail_step (ticket_id, at, state, verdict, value, actor, known_by) VALUES (:id, 2.0, 'decided', 'change', '\"no\"', 'anna', 'asserted')"
OLD_LABEL = "INSERT INTO guardrail_label (id, decision_id, guard, actual, at, stored, source) VALUES ('l1', 'd', 'credit', '\"no\"', 2.0, 2.0, 'review')"


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database of each kind, which the store then uses; returns its SQLAlchemy URL."""
    if request.param == "embedded":
        home.mkdir(mode=0o700)
        return f"sqlite:///{home / 'store.db'}"
    url = request.getfixturevalue("postgres_server").database()
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", url)
    monkeypatch.setenv("GUARDRAIL_SERVICE", "tests")
    return "postgresql+psycopg://" + url.partition("://")[2]


@pytest.fixture
def opened(place: str) -> Iterator[Engine]:
    """That database, opened by SQLAlchemy."""
    made = create_engine(place)
    yield made
    made.dispose()


def upgrade(connection: Connection, to: str) -> None:
    """Apply the migrations up to a revision."""
    settings = schema.config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, to)


def ours(object_: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:  # noqa: FBT001 - as Alembic calls it
    """Leave out what the ledger and delivery have in PostgreSQL; they are made by their own statements."""
    if kind == "table":
        return name in tables.metadata.tables
    return True


def wheres(connection: Connection) -> dict[str, str]:
    """Return the conditions of the indexes, as the database has them, without what only its spelling adds."""
    found = {}
    for table in tables.metadata.tables:
        for index in inspect(connection).get_indexes(table):
            options = index.get("dialect_options", {})
            where = options.get("sqlite_where", options.get("postgresql_where"))
            found[str(index["name"])] = "" if where is None else str(where)
    return found


def test_the_newest_revision_is_the_one_that_is_stamped() -> None:
    """A new store says of itself what the last migration says."""
    assert ScriptDirectory.from_config(schema.config()).get_current_head() == schema.HEAD


def test_made_at_once_and_step_by_step_the_tables_are_the_same(opened: Engine, place: str, tmp_path: Path) -> None:
    """Columns, types, keys, indexes and their conditions: on both databases."""
    with opened.begin() as connection:
        upgrade(connection, "head")
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False, "include_object": ours}
        )
        assert compare_metadata(context, tables.metadata) == []
        stepwise = wheres(connection)
        if opened.dialect.name == "postgresql":
            tables.metadata.drop_all(connection)
            tables.metadata.create_all(connection)
            assert wheres(connection) == stepwise
    if opened.dialect.name == "sqlite":
        other = create_engine(f"sqlite:///{tmp_path / 'once.db'}")
        with other.begin() as connection:
            tables.metadata.create_all(connection)
            assert wheres(connection) == stepwise
        other.dispose()
    assert len([words for words in stepwise.values() if words]) == 7


def filled(opened: Engine) -> None:
    """Make the tables of the release before, with an open and a decided ticket."""
    with opened.begin() as connection:
        upgrade(connection, "0003")
        connection.execute(text(OLD_TICKET), {"id": "t-open", "key": b"1", "state": "pending"})
        connection.execute(text(OLD_TICKET), {"id": "t-done", "key": b"2", "state": "decided"})
        connection.execute(text(OLD_STEP), {"id": "t-done"})
        connection.execute(text(OLD_LABEL))
        if opened.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA user_version = 0")


def bring(place: str) -> None:
    """Migrate as a user does: a shared database by the command, an embedded one by using it."""
    if place.startswith("postgresql"):
        migrate("postgresql://" + place.partition("://")[2])
    engine.warm()


def test_a_store_with_cases_in_it_is_migrated(opened: Engine, place: str) -> None:
    """Nothing is lost, and what was open can be worked on with what is new."""
    filled(opened)
    bring(place)
    assert {each.ticket.id: each.state for each in review.listing(state="all")} == {"t-open": "pending", "t-done": "decided"}
    done = review.details("t-done").ending
    assert done is not None
    assert (done.value, done.what) == ("no", "decided")
    claim = review.claim("loans", actor="anna")
    assert claim is not None
    assert claim.ticket.id == "t-open"
    review.decide("t-open", "yes", actor="anna", token=claim.token)


def test_the_release_before_goes_on_working(opened: Engine, place: str) -> None:
    """What it writes, naming no new column, has sensible values; what it decides is decided for this release too."""
    filled(opened)
    bring(place)
    with opened.begin() as connection:
        connection.execute(text(OLD_TICKET), {"id": "t-new", "key": b"3", "state": "pending"})
        connection.execute(text("UPDATE guardrail_ticket SET state = 'decided' WHERE id = 't-open'"))
        connection.execute(text(OLD_STEP), {"id": "t-open"})
    case = review.details("t-new")
    assert (case.kind, case.reviewers, case.inclusion, case.triggers, case.state) == ("case", 1, 1.0, [], "pending")
    answer = review.ending("t-open")
    assert answer is not None
    assert answer.value == "no"
    assert review.claim("loans", actor="ben") is not None


def test_a_shared_database_is_never_migrated_by_a_process(postgres_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tables, or with older ones, the store says what to type, and cases wait in the spool."""
    url = postgres_server.database()
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", url)
    monkeypatch.setenv("GUARDRAIL_SERVICE", "tests")
    with pytest.raises(StoreError, match=r"no tables of guardrail.*guardrail store migrate"):
        engine.read(lambda connection: connection.execute(text("SELECT 1")))
    ticket = review.put(
        Case(queue="loans", guard="g", version="1", key=b"k", decision_id="d", reason="low", arguments={}, provisional="yes")
    )
    assert ticket.state == "pending"
    migrate(url)
    review.catch_up()
    assert [each.id for each in review.find("loans")] == [ticket.id]


CUT = """
import os, signal, sys
from sqlalchemy import create_engine, event
from guardrail.store import schema
from alembic import command
made = create_engine(sys.argv[1])
count = 0
with made.connect() as connection:
    @event.listens_for(made, "before_cursor_execute")
    def cut(conn, cursor, statement, *rest):
        global count
        count += "guardrail_" in statement and ("ALTER" in statement or "CREATE" in statement)
        if count == 8:
            os.kill(os.getpid(), signal.SIGKILL)
    if made.dialect.name == "sqlite":
        connection.connection.driver_connection.isolation_level = None
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    settings = schema.config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
"""


def test_a_migration_that_is_killed_half_way_leaves_the_old_tables(opened: Engine, place: str) -> None:
    """All or nothing, on both databases; the next try goes through."""
    filled(opened)
    opened.dispose()
    done = subprocess.run([sys.executable, "-c", CUT, place], timeout=60, check=False, capture_output=True)  # noqa: S603 - our own program
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with opened.connect() as connection:
        assert schema.revision(connection) == "0003"
        assert "kind" not in {each["name"] for each in inspect(connection).get_columns("guardrail_ticket")}
        assert connection.execute(text("SELECT count(*) FROM guardrail_ticket")).scalar() == 2
    bring(place)
    assert review.details("t-open").kind == "case"


def test_two_processes_open_an_old_store_at_once(home: Path) -> None:
    """One of them migrates it, and both go on."""
    home.mkdir(mode=0o700)
    opened = create_engine(f"sqlite:///{home / 'store.db'}")
    filled(opened)
    opened.dispose()
    program = "from guardrail import review; print(review.count(state='all'))"
    run = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]  # noqa: S603
    assert [each.communicate(timeout=60)[0].strip() for each in run] == ["2"] * 3
    with sqlite3.connect(home / "store.db") as connection:
        assert connection.execute(f"SELECT version_num FROM {schema.TABLE}").fetchall() == [(schema.HEAD,)]
    connection.close()


def test_the_server_goes_away_in_the_middle(postgres_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that the server closes are made anew; work that was not committed is done again, once."""
    url = postgres_server.database()
    migrate(url)
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", url)
    monkeypatch.setenv("GUARDRAIL_SERVICE", "tests")
    made = [
        Case(queue="loans", guard="g", version="1", key=str(number).encode(), decision_id="d", reason="low", arguments={})
        for number in range(200)
    ]
    stop = threading.Event()

    def hang_up() -> None:
        import psycopg

        with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
            while not stop.wait(0.05):
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'guardrail' AND datname = %s",
                    (url.rpartition("/")[2].partition("?")[0],),
                )

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        tickets = [review.put(case) for case in made]
    finally:
        stop.set()
        thread.join()
    review.catch_up()
    assert len({ticket.id for ticket in tickets}) == 200
    assert {each.id for each in review.find("loans", limit=None)} == {ticket.id for ticket in tickets}


def test_a_server_that_is_not_there_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the URL nor the server's words are repeated."""
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", "postgresql://nobody:topsecret@127.0.0.1:1/none")
    monkeypatch.setenv("GUARDRAIL_SERVICE", "tests")
    with pytest.raises(StoreError) as raised:
        engine.read(lambda connection: connection.execute(text("SELECT 1")))
    assert "topsecret" not in f"{raised.value!r} {raised.value} {raised.value.__cause__!r}"
    assert "nothing listens" in str(raised.value)
