"""The sink that is a table: exact bytes, in order, once; one that is at fault stands alone; nothing waits for ever."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from backends import CANARY, LANE, dead_port, forked, items, kinds, quickly, sink
from tests.servers import Proxy

from guardrail.errors import ConfigError


@pytest.fixture
def database(postgres_server):
    return postgres_server.database()


def rows(url: str, query: str = "SELECT lane, seq, line, outcome FROM guardrail_records ORDER BY lane, seq") -> list:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for each in statements:
            connection.execute(each)


def prepared(url: str) -> None:
    """Make the table."""
    found = sink(f"{url}?create=true")
    assert kinds(found.send(items(1, "first"))) == ["ok"]
    found.close()


def test_each_record_stands_there_once(database):
    """Lines as they are, what is asked for beside them; a second try changes nothing, and the probe leaves nothing."""
    found = sink(f"{database}?create=true")
    batch = items(5) + items(2, "b")
    assert kinds(found.send(batch)) == ["ok"] * 7
    assert kinds(found.send([*batch, *items(1, first=6)])) == ["ok"] * 8
    assert [(lane, seq, bytes(line)) for lane, seq, line, _ in rows(database)] == sorted([*batch, *items(1, first=6)])
    assert {outcome for *_, outcome in rows(database)} == {"answered"}
    assert "takes a test record" in found.probe()
    assert len(rows(database)) == 8
    found.close()


def test_a_record_that_jsonb_cannot_hold_takes_nothing_from_the_others(database):
    """Of that one alone the JSON column is empty; a text that only looks like it is no such record."""
    found = sink(f"{database}?create=true")
    batch = [*items(3), *items(1, first=4, text="a\0b"), *items(1, first=5, text="a\\u0000b"), *items(2, first=6, text="ä")]
    assert kinds(found.send(batch)) == ["ok"] * 7
    got = rows(database, "SELECT line, record FROM guardrail_records ORDER BY seq")
    assert [bytes(line) for line, _ in got] == [each.line for each in batch]
    assert [record is None for _, record in got] == [False, False, False, True, False, False, False]
    found.close()


def test_what_a_constraint_refuses_is_a_dead_letter_and_the_rest_arrives(database):
    """The table is its owner's, who may ask for more of a record than it says."""
    prepared(database)
    run(database, "ALTER TABLE guardrail_records ADD CHECK (seq <> 3)")
    found = sink(database)
    results = found.send(items(9))
    assert kinds(results) == ["ok", "ok", "reject", *["ok"] * 6]
    assert results[2].reason == "PostgreSQL answers 23514"
    assert [seq for (seq,) in rows(database, f"SELECT seq FROM guardrail_records WHERE lane = '{LANE}' ORDER BY seq")] == [
        1,
        2,
        4,
        5,
        6,
        7,
        8,
        9,
    ]
    found.close()


def test_without_its_table_it_says_what_to_run(database):
    """Nothing is made in somebody's database without being asked; what the text says works."""
    found = sink(database)
    with pytest.raises(ConfigError, match="CREATE TABLE guardrail_records") as caught:
        found.probe()
    (result,) = found.send(items(1))
    assert (result.kind, result.reason) == ("retry", "PostgreSQL answers 42P01")
    run(database, str(caught.value).partition("or run: ")[2].removesuffix(")"))
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()


def test_a_server_that_ends_the_connection_is_asked_again(postgres_server, database):
    """The same object goes on; what was in between is to be sent again."""
    found = sink(f"{database}?create=true&timeout=2s")
    assert kinds(found.send(items(1))) == ["ok"]
    run(
        postgres_server.url("postgres"),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'guardrail'",
    )
    assert kinds(found.send(items(2))) == ["retry"] * 2
    assert kinds(found.send(items(2))) == ["ok"] * 2
    found.close()


def test_a_server_that_is_away_is_told_in_time(database):
    """One where nothing listens, and one that does not know the database; the password in no text."""
    away = sink(f"postgresql://u:{CANARY}@127.0.0.1:{dead_port()}/d?timeout=1s")
    results = quickly(away)
    assert {(each.kind, each.reason) for each in results} == {("retry", "it refuses the connection")}
    assert CANARY not in repr(results) + repr(vars(away))
    with pytest.raises(OSError, match="refuses the connection"):
        away.probe()
    (result,) = sink(database + "nowhere").send(items(1))
    assert (result.reason, result.credentials) == ("it has no such database", True)


def test_a_network_that_swallows_everything_holds_up_nobody(postgres_server, database):
    """In the middle of a session: no timeout of the server's own would ever come back."""
    proxy = Proxy(postgres_server.port)
    found = sink(f"{database.replace(f':{postgres_server.port}', f':{proxy.port}')}?create=true&timeout=0.5s")
    assert kinds(found.send(items(1))) == ["ok"]
    proxy.flowing.clear()
    results = quickly(found, seconds=3.0)
    assert {(each.kind, each.reason) for each in results} == {("retry", "it does not answer")}
    proxy.flowing.set()
    assert kinds(found.send(items(2))) == ["ok"] * 2
    found.close()
    proxy.close()


def test_who_is_not_let_in_is_told_from_a_server_that_is_away(postgres_server, database):
    """No password, a wrong one, and no right to insert; with all of it in order the same object goes on."""
    user = f"writer_{database[-12:]}"
    rules: Path = postgres_server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{before}")
    run(database, f"CREATE ROLE {user} LOGIN PASSWORD '{CANARY}'", "SELECT pg_reload_conf()")
    try:

        def of(password: str):
            return sink(database.replace("guardrail@", f"{user}{password}@"))

        for password, reason in (("", "it asks for a password"), (f":{CANARY}x", "it does not accept user and password")):
            found = of(password)
            (result,) = found.send(items(1))
            assert (result.kind, result.credentials, result.reason) == ("retry", True, reason)
            assert CANARY not in repr(result) + repr(vars(found))
        prepared(database)
        found = of(f":{CANARY}")
        (result,) = found.send(items(1))
        assert (result.kind, result.credentials, result.reason) == ("retry", True, "PostgreSQL answers 42501")
        run(database, f"GRANT INSERT, SELECT ON guardrail_records TO {user}")
        assert kinds(found.send(items(1))) == ["ok"]
        found.close()
    finally:
        rules.write_text(before)
        run(database, "SELECT pg_reload_conf()")


def test_a_forked_child_leaves_the_connection_to_its_parent(database):
    """It says no goodbye to the server in the parent's name."""
    found = sink(f"{database}?create=true")
    assert kinds(found.send(items(1))) == ["ok"]
    forked(found)
    assert kinds(found.send(items(2))) == ["ok"] * 2
    found.close()


@pytest.mark.parametrize(
    "url",
    ["postgresql://h", "postgresql://g,h/d", "postgresql:///d", "postgresql://h/d?table=a;b", "postgresql://h/d?sslmode=maybe", "postgresql://h/d?insecure=true",
     "postgresql://h/d?connect_timeout=1"],
)  # fmt: skip
def test_a_url_that_says_too_little_or_what_means_nothing_is_refused(url):
    """When the settings are read."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT"):
        sink(url)
