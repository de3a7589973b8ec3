"""Statements that the driver runs: each sees what those before it did, and all or none of them count, in both kinds of store."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, insert, select, update

from guardrail.store import engine
from guardrail.store.prepared import Prepared, Said, together
from guardrail.store.tables import reviewer, step

PUT = Prepared(insert(reviewer))
ALL = Prepared(select(reviewer.c.name, reviewer.c.roles).order_by(reviewer.c.name))
CHANGE = Prepared(update(reviewer).where(reviewer.c.name == bindparam("of")).returning(reviewer.c.name))
NOTE = Prepared(insert(step))  # into a table that counts by itself
pytestmark = pytest.mark.usefixtures("store")


def person(name: str) -> dict[str, str]:
    return {"name": name, "roles": "[]", "skills": "[]"}


def written(work: Any) -> Any:
    return engine.result(engine.write(work))


def names() -> list[str]:
    return [row["name"] for row in engine.read(lambda connection: ALL.all(connection, {}))]


def test_each_sees_what_those_before_it_did() -> None:
    """And says what it returned, and how many rows it changed."""
    said = written(
        lambda connection: together(
            connection,
            (PUT, person("anna")),
            (PUT, person("berta")),
            (CHANGE, {"of": "anna", "roles": '["senior"]'}),
            (CHANGE, {"of": "nobody", "roles": "[]"}),
            (ALL, {}),
        )
    )
    assert [each.changed for each in said[:4]] == [1, 1, 1, 0]
    assert said[0] == Said([], 1)
    assert said[2].first == {"name": "anna"}
    assert said[3].first is None
    assert said[4].rows == [{"name": "anna", "roles": '["senior"]'}, {"name": "berta", "roles": "[]"}]
    assert written(lambda connection: together(connection)) == []


def test_one_that_fails_takes_all_with_it() -> None:
    """Those before it, those after it, and what else the transaction did; the error says no value, and the store goes on."""

    def work(connection: Connection) -> None:
        PUT.run(connection, person("early"))
        together(connection, (PUT, person("canary")), (ALL, {}), (PUT, person("canary")), (PUT, person("late")))

    for _ in range(2):
        with pytest.raises(engine.StoreError) as caught:
            written(work)
        assert "canary" not in repr(caught.value) + str(caught.value)
        assert names() == []
    written(lambda connection: together(connection, (PUT, person("after"))))
    assert names() == ["after"]


def test_what_a_table_counts_by_itself_is_not_taken_for_an_answer() -> None:
    """PostgreSQL returns the new number unasked."""
    written(
        lambda connection: connection.exec_driver_sql(
            "INSERT INTO guardrail_ticket (id, queue, guard, version, key, decision_id, reason, reasons, arguments, priority, skills,"
            " created, on_expiry, state) VALUES ('t', 'q', 'g', '1', 'k', 'd', 'low', '[]', '{}', 0, '[]', 1, 'hold', 'pending')"
        )
    )
    noted: dict[str, Any] = {"ticket_id": "t", "at": 1.0, "what": "late", "state": "pending"}
    assert written(lambda connection: together(connection, (NOTE, noted))) == [Said([], 1)]


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_a_connection_that_is_cut_is_made_anew(postgres_server: Any) -> None:
    """The work runs again on another one, once."""
    written(lambda connection: together(connection, (PUT, person("first"))))
    runs = []

    def work(connection: Connection) -> None:
        runs.append(1)
        if len(runs) == 1:
            postgres_server.end()
            postgres_server.start()
        together(connection, (PUT, person("second")), (ALL, {}))

    written(work)
    assert len(runs) == 2
    assert names() == ["first", "second"]
