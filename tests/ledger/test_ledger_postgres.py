"""The ledger over PostgreSQL, on a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import psycopg
import pytest
from shared import end, process, rows, spooled, use, verified

import guardrail
from guardrail import BusinessId, doctor, guarded, ledger, lifecycle, notices, settings
from guardrail.errors import AuditUnavailable, ConfigError
from guardrail.ledger import holds, proofs, reader, rotation, story, trust, writer
from guardrail.ledger import verify as verify_module
from guardrail.ledger.postgres import reading
from guardrail.ledger.postgres.link import Link
from guardrail.ledger.postgres.manifest import SharedManifest
from guardrail.ledger.postgres.source import export_files
from guardrail.ledger.wanted import Wanted
from guardrail.store.migrate import migrate


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


def test_records_go_into_the_database_and_are_proven_there(url, home):
    """Every call a row, line and leaf as a file would have them; lanes in the manifest; the same verifier says proven."""
    use(url)
    for x in range(50):
        predict(x)
    assert guardrail.flush(10)
    found = rows(url)
    assert [seq for _, seq, _ in found] == list(range(1, len(found) + 1))
    assert sum(json.loads(line)["event"] == "call" for *_, line in found) == 50
    assert not spooled(home)
    end()
    report = verified(url)
    assert (report.code, report.findings) == (0, [])
    assert not report.beside
    assert report.lanes[1].proven == report.lanes[1].records == len(rows(url))
    assert not (home / "ledger").exists()


def test_a_legal_hold_stands_in_the_shared_manifest(url, home):
    """Every host sees it, erasure heeds it, and the ledger verifies with it."""
    use(url)
    predict(1)
    assert guardrail.flush(10)
    holds.hold("case-1", reason="a lawsuit", everything=True, by="ann")
    assert [each.name for each in holds.holds(home)] == ["case-1"]
    assert [each["hold"] for each in SharedManifest(Link(url, writing=False)).holds().values()] == ["case-1"]
    with pytest.raises(holds.Held, match="case-1"):
        ledger.erase("customer-7")
    holds.release("case-1", reason="it was settled", by="ann")
    assert holds.holds(home) == []
    end()
    assert verified(url).code == 0


def test_an_unmigrated_database_is_refused_with_what_to_type(postgres_server, home):
    """No record is taken, no table is made, and the text names the command."""
    use(postgres_server.database())
    with pytest.raises(AuditUnavailable):
        writer.event("incident", fields={"what": "x"}, sync=True)
    said = " ".join(text for _, text in notices.counts().values())
    assert "guardrail store migrate" in said
    assert (
        rows(guardrail.settings.current().database_url.reveal(), "SELECT 1 FROM pg_tables WHERE tablename LIKE 'guardrail%'")
        == []
    )
    assert not spooled(home)


def test_a_shared_database_needs_a_service(url):
    """As every shared store does; nothing of the URL is in the error."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SERVICE"):
        guardrail.configure(database_url=url.replace("guardrail@", "guardrail:hunter2@"))


@pytest.mark.parametrize(
    "wrong", ["mysql://u:hunter2@h/db", "postgresql://h", "postgresql://u:hun@ter2@h/db", "postgresql://u:hunter2@[h/db"]
)
def test_what_is_no_database_is_refused(wrong):
    """When it is read, with what to write instead, and without what was written."""
    with pytest.raises(ConfigError) as caught:
        use(wrong)
    assert "postgresql://" in str(caught.value)
    assert "ter2" not in str(caught.value)


def test_a_password_shows_nowhere(url, home, caplog):
    """Not in settings, notices, doctor, errors or any file of the home, though the server cannot be reached with it."""
    wrong = url.replace("guardrail@127.0.0.1", "guardrail:hunter2@127.0.0.1").replace("/t", "/missing_t")
    use(wrong)
    predict(1)
    assert guardrail.flush(10)
    said = [text for _, text in notices.counts().values()] + [str(each) for each in doctor.examine(stdout=False)]
    with pytest.raises(OSError) as caught:
        list(reader.read())
    shown = [
        *said,
        repr(caught.value),
        str(caught.value),
        repr(settings.current()),
        *(str(row) for row in settings.rows()),
        caplog.text,
    ]
    shown += [path.read_text(errors="replace") for path in home.rglob("*") if path.is_file()]
    assert any("no such database" in each for each in said)
    assert not [each for each in shown if "hunter2" in each]


def test_an_older_release_goes_on_with_a_newer_schema(url, home):
    """A revision that it does not know only adds to the tables: it opens a lane as ever, and does not migrate back."""
    rows(url, "UPDATE guardrail_schema SET version_num = '9999'")
    rows(url, "ALTER TABLE guardrail_ledger ADD COLUMN novelty text")
    use(url)
    predict(1)
    assert guardrail.flush(10)
    assert not spooled(home)
    assert migrate(url).after == "9999"
    end()
    assert verified(url).code == 0


def test_two_processes_write_at_once(url, home):
    """Each its own lane, entered in one manifest under one lock; nothing is lost, doubled or out of order."""
    body = "for x in range(200): predict(x)"
    both = [process(url, home, body) for _ in range(2)]
    for each in both:
        out, errors = each.communicate(timeout=60)
        assert (each.returncode, errors) == (0, ""), errors
        assert out == "ready\n"
    found = rows(url)
    assert len({lane for lane, *_ in found}) == 2
    assert sum(json.loads(line)["event"] == "call" for *_, line in found) == 400
    report = verified(url)
    assert (report.code, report.findings) == (0, [])


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_ledger_is_read_from_the_database(url):
    """By all filters, in both orders, as records and as one story; what has U+0000 in it is found, and given as it was."""

    @guarded(name="risk", version="1", confidence=0.5)
    def risk(loan: Annotated[str, BusinessId]):
        return ("yes", 0.9)

    use(url)
    with guardrail.acting_as(guardrail.Principal(id="ann")):
        risk("loan-1")
    risk("loan\0two")
    for x in range(5):
        predict(x)
    writer.event("incident", fields={"what": "x"}, sync=True)
    every = list(reader.read())
    assert [each["ts"] for each in every] == sorted(each["ts"] for each in every)
    assert [each["id"] for each in reader.read(newest_first=True)] == [each["id"] for each in every][::-1]
    assert len(list(ledger.read(guard="loans", event="call"))) == 5
    assert [each["business_id"] for each in reader.read(business_id="loan-1")] == ["loan-1"]
    assert len(list(reader.read(business_id="loan\0two"))) == len(list(reader.read(guard="risk", event="call"))) - 1 == 1
    assert [each["business_id"] for each in reader.read(actor="ann")] == ["loan-1"]
    assert [each["what"] for each in reader.read(event="incident")] == ["x"]
    assert list(reader.read(until=1.0)) == []
    assert len(list(reader.read(since=every[0]["ts"], limit=3))) == 3
    wanted = next(each for each in every if each["event"] == "call")
    assert reader.find(wanted["id"]) == reader.find(wanted["id"][:-1]) == wanted
    assert guardrail.flush(5)
    assert lifecycle.finish_all(5)
    told = story.tell(wanted["id"])
    assert told is not None
    assert (told.proof.state, told.config["event"], told.process["event"]) == ("proven", "config", "config")
    assert proofs.check(proofs.prove(wanted["id"], settings.home()), trust.own_keys(settings.home())).seq == told.seq


def test_records_of_more_than_one_page_are_all_given(url, monkeypatch):
    """Pages end between records of one moment, too."""
    monkeypatch.setattr(reading, "_FIRST_PAGE", 2)
    monkeypatch.setattr(reading.rows, "PAGE", 3)
    use(url)
    for x in range(20):
        predict(x)
    assert guardrail.flush(5)
    whole = [each["id"] for each in reader.read()]
    assert len(whole) == len(set(whole)) == len(rows(url))
    assert [each["id"] for each in reader.read(newest_first=True)] == whole[::-1]


def test_follow_gives_what_is_written_from_now_on(url):
    """Of lanes that begin later too, each record once."""
    use(url)
    predict(1)
    assert guardrail.flush(5)
    coming = reader.follow()
    predict(2)
    assert guardrail.flush(5)
    assert [next(coming)["event"], next(coming)] == ["call", None]
    end()
    predict(3)
    assert guardrail.flush(5)
    fresh = list(takewhile(lambda each: each is not None, coming))
    assert [each["event"] for each in fresh][-1] == "call"
    coming.close()


def test_search_uses_the_indexes(url):
    """By id, business id, guard and time: no query of theirs reads the whole table."""
    use(url)
    predict(1)
    assert guardrail.flush(5)
    with psycopg.connect(url) as connection:
        connection.execute("SET enable_seqscan = off")
        for which in (
            Wanted(ids=frozenset({"x"})), Wanted(begins="x"), Wanted(business_id="x"), Wanted(guard=frozenset({"x"})), Wanted(since=1.0),
            Wanted(event=frozenset({"mode"})), Wanted(outcome=frozenset({"failed"})), Wanted(actor=frozenset({"x"})),
        ):  # fmt: skip
            tests, values = reading._tests(which)
            plan = connection.execute(f"EXPLAIN SELECT line FROM guardrail_ledger WHERE {' AND '.join(tests)}", values).fetchall()
            assert "Seq Scan" not in str(plan), which
            assert "Index Cond" in str(plan), which


# ── verifying ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def written(url):
    use(url)
    for x in range(30):
        predict(x)
    assert guardrail.flush(5)
    end()
    assert verified(url).code == 0
    return url


@pytest.mark.parametrize(("change", "code", "what", "seq"), [
    ("UPDATE guardrail_ledger SET line = replace(line::text, '\"outcome\":\"answered\"', '\"outcome\":\"fallback\"')::bytea WHERE seq = 9", 1, "altered", 9),
    ("UPDATE guardrail_ledger SET line = overlay(line placing 'x' from 200) WHERE seq = 9", 1, "altered", 9),
    ("UPDATE guardrail_ledger SET leaf = sha256('x') WHERE seq = 9", 1, "leaves", 9),
    ("DELETE FROM guardrail_ledger WHERE seq = 9", 1, "deleted", 9),
    ("DELETE FROM guardrail_ledger WHERE seq BETWEEN 9 AND 11", 1, "deleted", 9),
    ("DELETE FROM guardrail_ledger WHERE seq > 25", 2, "cut", 26),
    ("DELETE FROM guardrail_ledger", 2, "lane removed", 1),
    ("DELETE FROM guardrail_manifest WHERE n = 4", 2, "cut", 4),
    ("INSERT INTO guardrail_ledger (lane, seq, line, leaf) SELECT lane, 9999, line, leaf FROM guardrail_ledger WHERE seq = 9", 1, "replayed", 9),
    ("INSERT INTO guardrail_ledger (lane, seq, line, leaf) SELECT 'x', seq, line, leaf FROM guardrail_ledger", 1, "foreign lane", None),
])  # fmt: skip
def test_whatever_was_changed_is_found_and_named(written, change, code, what, seq):
    """With the place; the same change shows to the verifier for files once the ledger was exported."""
    if "overlay" not in change:
        change = change.replace("replace(line::text", "convert_to(replace(convert_from(line, 'UTF8')").replace(
            ")::bytea", "), 'UTF8')"
        )
    rows(written, change)
    report = verified(written)
    assert report.code == code
    assert (what, seq) in {(each.what, each.seq) for each in report.findings}


def test_what_is_searched_cannot_differ_from_the_line(written):
    """The column is made by the database out of the line."""
    with pytest.raises(psycopg.errors.GeneratedAlways):
        rows(written, "UPDATE guardrail_ledger SET record = '{}'")


def test_export_as_files_is_verified_by_the_verifier_alone(written, tmp_path):
    """Byte by byte the same lines; the single file says proven, and finds what was deleted in the database."""
    assert export_files(written, tmp_path / "out") == (1, len(rows(written)))
    lines = next((tmp_path / "out" / "ledger").glob("*/*.jsonl")).read_bytes().splitlines()
    assert lines == [line for *_, line in rows(written)]
    script = tmp_path / "verify.py"
    script.write_bytes(Path(verify_module.__file__).read_bytes())
    done = subprocess.run([sys.executable, "-I", script, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    with pytest.raises(ConfigError, match="not empty"):
        export_files(written, tmp_path / "out")
    rows(written, "DELETE FROM guardrail_ledger WHERE seq = 9")
    export_files(written, tmp_path / "again")
    done = subprocess.run([sys.executable, "-I", script, tmp_path / "again"], capture_output=True, text=True, check=False)
    assert (done.returncode, "#9" in done.stdout) == (1, True)
    assert export_files(written, tmp_path / "none", since="2099-01-01").lanes == 0


def test_a_rotated_key_is_followed(url):
    """Rotation happens in the database's manifest; the next checkpoint carries both signatures."""
    use(url)
    predict(1)
    assert guardrail.flush(5)
    rotation.rotate(settings.home() / "ledger")
    predict(2)
    assert guardrail.flush(5)
    end()
    report = verified(url)
    assert (report.code, len(report.keys)) == (0, 2)


def test_a_user_who_may_only_insert_and_read_is_enough(url):
    """The role of docs/postgres.md: it writes, reads and verifies, and can neither change nor delete."""
    page = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text()
    role = f"w{os.urandom(4).hex()}"
    for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL):
        rows(url, block.replace("guardrail_writer", role).replace("guardrail_reader", f"{role}r"))
    mine = url.replace("guardrail@", f"{role}@")
    use(mine)
    predict(1)
    assert guardrail.flush(5)
    end()
    assert verified(mine).code == 0
    for query in ("UPDATE guardrail_ledger SET line = ''", "DELETE FROM guardrail_ledger", "TRUNCATE guardrail_manifest"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(mine, query)
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            rows(url, query)
