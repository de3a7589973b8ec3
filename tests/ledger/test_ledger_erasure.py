"""Erasing a person: everything that was sealed is gone, what else is kept is cleared, and the ledger stays whole."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Annotated

import pytest
import redis
from people import ANN, BOB, ID, NAME, PASSWORD, Applicant, holding, records

from guardrail import (
    PII,
    Audit,
    AuditUnavailable,
    BusinessId,
    ConfigError,
    Prediction,
    Refused,
    Review,
    decide,
    feedback,
    flush,
    guard_of,
    guarded,
    ledger,
    notices,
    settings,
    shutdown,
)
from guardrail import review as queue
from guardrail.ledger import blobs, erasure, opening, reader, signing, subjects, verify, writer
from guardrail.ledger.keys import config_folder
from guardrail.ledger.segments import forwards, lanes, segments
from guardrail.review import labels, spool
from guardrail.store import engine, redis_connections


@pytest.fixture
def loans():
    """A guard that files tickets."""

    @guarded(name="loans", confidence=0.9, review="loans", audit=Audit(inputs="plain"))
    def predict(applicant: Applicant, number: Annotated[str, BusinessId] = "loan-1") -> Prediction[Annotated[str, PII]]:
        return Prediction(f"yes to {applicant.name}", 0.1)

    return predict


def test_all_of_a_person_is_erased_and_nothing_of_another(loans):
    """Records, tickets open and decided, labels, feedback; and one more record says what was done, by digest only."""
    decided = decide(loans, ANN, "loan-1")
    opened = decide(loans, ANN, "loan-2")
    other = decide(loans, BOB, "loan-3")
    queue.decide(decided.ticket.id, f"no to {NAME}", note=f"{NAME} called")
    feedback(decided.id, f"{NAME} paid")
    feedback(business_id="loan-2", guard="loans", actual=f"{NAME} did not")
    feedback(other.id, "Bob paid")
    waiting = queue.signal(opened.ticket.id)
    before = records()

    planned = ledger.erase(ID, dry_run=True)
    assert (planned.keys, planned.records, planned.tickets, planned.labels) == (1, 2, 2, 3)
    assert planned.id is None and queue.get(opened.ticket.id).state == "pending"

    done = ledger.erase(ID, reason="asked to be forgotten", by="dpo@bank.example")
    assert (done.keys, done.records, done.tickets, done.labels, done.undone) == (1, 2, 2, 3, ())
    assert holding(NAME, ID, PASSWORD) == set()
    assert waiting.result(10).state == "cancelled"
    with pytest.raises(Refused):
        opened.ticket.wait("1s")
    shown = {each.ticket.id: each for each in queue.listing(state="all")}
    assert shown[decided.ticket.id].arguments == {"applicant": "[erased]", "number": "[erased]"}
    assert shown[decided.ticket.id].ticket.provisional == "[erased]"
    assert shown[decided.ticket.id].ticket.business_id is None
    assert [step.value for step in shown[decided.ticket.id].steps] == ["[erased]"] and shown[decided.ticket.id].steps[
        0
    ].note is None
    assert shown[other.ticket.id].arguments["applicant"]["name"] == BOB.name
    assert sorted(str(each.actual) for each in labels.read()) == ["Bob paid", "[erased]", "[erased]", "[erased]"]

    assert records() == before  # no record has changed
    assert opening.unsealed(before[0])["input"]["value"]["applicant"]["name"] == "[erased]"
    (told,) = records(event="erase")
    assert told["id"] == done.id
    assert told["subject"] == subjects.digest(ID) == done.subject
    assert told["actor"] == {"id": "dpo@bank.example", "known_by": "asserted"} and told["reason"] == "asked to be forgotten"
    assert told["erased"] == {"keys": 1, "records": 2, "blobs": 0, "tickets": 2, "labels": 3, "spool": 0, "cache": 0}
    assert subjects.keys().counts() == (1, 1, 0)

    again = ledger.erase(ID)
    assert (again.keys, again.records, again.tickets, again.labels) == (0, 2, 0, 0)


def test_a_person_who_comes_back_begins_anew(loans):
    """A new key for what the application sends after the erasure; the old stays unreadable."""
    decide(loans, ANN)
    (old,) = records()
    ledger.erase(ID)
    decide(loans, ANN, "loan-9")
    new = records()[-1]
    assert new["subject"] == old["subject"]
    assert new["sealed"]["input.value.applicant.name"]["kid"] != old["sealed"]["input.value.applicant.name"]["kid"]
    assert opening.unsealed(new)["input"]["value"]["applicant"]["name"] == NAME
    assert opening.unsealed(old)["input"]["value"]["applicant"]["name"] == "[erased]"


def test_a_record_that_comes_late_brings_nobody_back():
    """Its call was before the erasure, its line after it: it says that the content was erased."""
    from fake_calls import make_entry, make_plan

    from guardrail.content.personal import Part

    before = time.time()
    subjects.keys().destroy(subjects.keys().digest(ID), before + 1)
    extra = {"plain": b'{"name": {"$sealed": "input.value.name"}}', "subject": (ID,)}
    extra["personal"] = (Part("input.value.name", b'"Ann"', ID),)
    writer.push(make_entry(make_plan(inputs="plain"), at=before, extra=extra))
    (record,) = records()
    assert record["sealed"] == {"input.value.name": {"erased": True}}
    assert opening.unsealed(record)["input"]["value"] == {"name": "[erased]"}
    assert subjects.keys().counts().living == 0


def test_cases_in_the_spool_are_cleared(loans, home):
    """Sealed there too; those that cannot move into the store are emptied where they are, drafts and unreadable ones removed."""
    decide(loans, BOB)
    engine.finish(5)
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "store.db").mkdir()
    filed = decide(loans, ANN, "loan-1").ticket
    decide(loans, BOB, "loan-3")
    assert filed.provisional["value"] == f"yes to {NAME}"
    assert spool.count() == 2
    assert holding(NAME, ID) == set()
    left = spool.folder() / "broken.unreadable"
    left.write_text(f'{{"arguments": "{subjects.digest(ID)} income 5000"')
    os.utime(left, (1, 1))
    done = ledger.erase(ID)
    assert done.spool == 2 and "tickets" in done.undone[0]
    assert not left.exists()
    bodies = [path.read_text() for path in spool.folder().glob("*.json")]
    assert len(bodies) == 2 and sum("[erased]" in body for body in bodies) == 1
    assert not any(subjects.digest(ID) in body for body in bodies)
    assert subjects.keys().counts().untold == 1  # not all was done
    (home / "store.db").rmdir()
    assert ledger.erase(ID).undone == ()
    assert queue.details(filed.id).arguments["applicant"] == "[erased]"
    assert subjects.keys().counts().untold == 0


def test_a_case_whose_reviewer_sees_what_a_function_shows_is_sealed(home):
    """`Review(show=...)` may show anything of the arguments."""

    @guarded(name="shown", confidence=0.9, review=Review("q", show=lambda applicant: {"who": applicant.name}))
    async def predict(applicant: Applicant) -> Prediction[str]:
        return Prediction("yes", 0.1)

    ticket = asyncio.run(_decide(predict)).ticket
    flush()
    assert holding(NAME, ID) == set()
    assert queue.details(ticket.id).shown == {"who": NAME}
    assert ledger.erase(ID).tickets == 1
    assert queue.details(ticket.id).shown == "[erased]"


async def _decide(predict):
    return await decide(predict, ANN)


def test_tickets_of_rows_are_sealed_each_for_its_own_person():
    """Many cases in one transaction."""

    @guarded(name="rows", batch=True, confidence=0.9, review="rows")
    def predict(applicants: list[Applicant]) -> list[Prediction[str]]:
        return [Prediction("yes", 0.1) for _ in applicants]

    decide(predict, [ANN, BOB])
    assert holding(NAME, ID) == set()
    assert {each.arguments["name"] for each in queue.listing()} == {NAME, BOB.name}
    assert ledger.erase(ID).tickets == 1
    assert sorted(each.arguments["name"] for each in queue.listing(state="all")) == [BOB.name, "[erased]"]


def test_tickets_without_keys_hold_no_personal_data(loans):
    """Fail closed: the reviewer is told that it cannot be read."""
    config_folder().mkdir(parents=True)
    (config_folder() / "subjects.db").mkdir()
    ticket = decide(loans, ANN).ticket
    assert holding(NAME, ID) == set()
    assert queue.details(ticket.id).arguments["applicant"] == {
        "id": opening.UNREADABLE,
        "name": opening.UNREADABLE,
        "income": 5000.0,
    }
    assert ticket.provisional == opening.UNREADABLE


def test_answers_kept_in_memory_go_with_the_person():
    """Cache and latest decisions of every guard with personal data, in this process at once."""

    @guarded(name="cached", cache="1h")
    def predict(applicant: Applicant) -> str:
        return applicant.name

    @guarded(name="bare", cache="1h")
    def bare(x: int) -> int:
        return x

    predict(ANN), bare(1)
    assert decide(predict, ANN).outcome == "cached"
    ledger.erase(ID)
    assert guard_of(predict).last() == []
    assert decide(predict, ANN).outcome == "answered"
    assert decide(bare, 1).outcome == "cached"


OTHER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from people import ANN, Applicant
from guardrail import guarded, decide, flush, Audit

@guarded(name="cached", cache="1h", audit=Audit(inputs="plain"))
def predict(applicant: Applicant) -> str:
    return applicant.name

predict(ANN)
flush()
print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + 2.0
while time.monotonic() < until:
    if decide(predict, ANN).outcome == "answered":
        flush()
        print("dropped", flush=True)
        break
    time.sleep(0.05)
"""


def test_other_processes_drop_keys_and_answers_within_two_seconds():
    """Whoever runs while somebody is erased by a command."""
    command = [sys.executable, "-c", OTHER, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        (old,) = records()
        ledger.erase(ID)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "dropped\n"
        assert child.wait(30) == 0
    kids = [record["sealed"]["input.value.applicant.name"].get("kid") for record in records()]
    assert kids[0] == old["sealed"]["input.value.applicant.name"]["kid"] and kids[-1] not in (None, kids[0])


@pytest.fixture
def service(redis_server, monkeypatch):
    monkeypatch.setattr(redis_connections, "ANSWER_SECONDS", 20.0)
    name = f"loans-{uuid.uuid4().hex[:8]}"
    settings.configure(service=name, cache_url=redis_server)
    return name


def test_answers_in_the_shared_cache_are_found_by_their_person(service, redis_server):
    """And only theirs are deleted; keys name nobody in clear."""

    @guarded(name="shared", version="1", cache="1h")
    def predict(applicant: Applicant) -> int:
        return len(applicant.name)

    with redis.Redis.from_url(redis_server) as server:
        predict(ANN), predict(BOB)
        assert decide(predict, ANN).outcome == "cached"
        keys = [key.decode() for key in server.keys(f"{service}:*")]
        assert len(keys) == 2 and all(ID not in key for key in keys)
        assert ledger.erase(ID, dry_run=True).cache == 1
        assert ledger.erase(ID).cache == 1
        assert len(server.keys(f"{service}:*")) == 1
        assert decide(predict, BOB).outcome == "cached" and decide(predict, ANN).outcome == "answered"
        guard_of(predict).reset()
        assert server.keys(f"{service}:*") == []


def test_personal_answers_and_answers_about_several_are_not_shared(service, redis_server):
    """What could not be sealed or found again stays in the memory of each process."""

    @guarded(name="answers", version="1", cache="1h")
    def answers(applicant: Applicant) -> Annotated[str, PII]:
        return applicant.name

    @guarded(name="several", version="1", cache="1h")
    def several(applicants: list[Applicant]) -> int:
        return 1

    answers(ANN), several([ANN, BOB])
    assert decide(answers, ANN).outcome == decide(several, [ANN, BOB]).outcome == "cached"
    with redis.Redis.from_url(redis_server) as server:
        assert server.keys(f"{service}:*") == []
    assert {topic for _, topic in notices.counts()} >= {"unshared-answers", "unshared-subjects"}


def test_a_shared_cache_that_is_away_is_told_and_tried_again(monkeypatch, loans):
    """The key is destroyed all the same; the erasure counts as not done."""
    settings.configure(service="away", cache_url="redis://127.0.0.1:9/0")
    decide(loans, ANN)
    done = ledger.erase(ID)
    assert done.keys == 1 and "shared cache" in done.undone[0]
    assert opening.unsealed(records()[0])["input"]["value"]["applicant"]["name"] == "[erased]"
    assert records(event="erase")[0]["undone"] == list(done.undone)
    assert subjects.keys().counts().untold == 1


def test_what_has_left_through_sinks_is_listed(loans, tmp_path):
    """By what is configured now and by what the processes of the records had; sealed there as here."""
    settings.configure(sinks={"siem": f"file://{tmp_path}/siem.jsonl", "none": "stdout:"}, routes={"none": "guard:other"})
    decide(loans, ANN)
    flush()
    assert holding(NAME, ID, more=(tmp_path / "siem.jsonl",)) == set()
    assert "siem.jsonl" in holding("applicant", more=(tmp_path / "siem.jsonl",))
    done = ledger.erase(ID)
    assert done.left["siem"] == {"to": f"file://{tmp_path}/siem.jsonl", "records": 1, "waiting": 0}
    assert done.left["none"]["records"] == 0
    settings.configure(sinks=None, routes=None)
    assert ledger.erase(ID).left["siem"] == {"to": f"file://{tmp_path}/siem.jsonl"}


def test_long_records_are_erased_with_their_files(loans):
    """The file stays, and nobody can read it."""
    decide(loans, Applicant(id=ID, name=NAME * 6_000))
    (record,) = records()
    done = ledger.erase(ID)
    assert done.blobs == 1
    assert blobs.whole(record)["blob"]["trouble"] == "[erased]"
    assert holding(NAME) == set()


def test_nobody_is_erased_where_the_keys_cannot_be_used(loans):
    """An error, and nothing else is cleared either."""
    ticket = decide(loans, ANN).ticket
    flush()
    subjects.keys().close()
    (config_folder() / "sealing.key").chmod(0o644)
    with pytest.raises(OSError, match="chmod 600"):
        ledger.erase(ID)
    (config_folder() / "sealing.key").chmod(0o600)
    assert queue.details(ticket.id).arguments["applicant"]["name"] == NAME
    assert records(event="erase") == []


def test_an_erasure_that_cannot_be_recorded_says_so_and_is_finished_later(loans, monkeypatch):
    """The data are gone; the count of keys is not lost."""
    decide(loans, ANN)
    flush()
    real = writer.event

    def refuse(kind, **more):
        if kind == "erase":
            raise AuditUnavailable("full", policy="audit")
        return real(kind, **more)

    with monkeypatch.context() as patch, pytest.raises(AuditUnavailable, match="erase the subject again"):
        patch.setattr(erasure.writer, "event", refuse)
        ledger.erase(ID)
    assert subjects.keys().counts().untold == 1
    assert ledger.erase(ID).keys == 1
    assert subjects.keys().counts().untold == 0


def test_an_erasure_that_names_nobody_or_somebody_in_its_reason_is_refused():
    """The ledger keeps the reason for ever."""
    with pytest.raises(ConfigError, match="nobody"):
        ledger.erase("")
    with pytest.raises(ConfigError) as caught:
        ledger.erase(ID, reason=f"request of {ID}")
    assert ID not in str(caught.value)
    assert not (config_folder() / "subjects.db").exists()


def test_somebody_unknown_is_erased_for_the_record():
    """A request that found nothing was answered all the same."""
    done = ledger.erase("nobody")
    assert (done.keys, done.records, done.tickets) == (0, 0, 0) and done.left == {}
    assert records(event="erase")[0]["subject"] == subjects.digest("nobody")
    assert holding("nobody") == set()


def test_calls_and_erasures_at_once_leave_nothing_readable(loans):
    """A busy service: whatever was called before the last erasure is gone after it."""
    stop = threading.Event()

    @guarded(name="busy", audit=Audit(inputs="plain"))
    def busy(applicant: Applicant) -> int:
        return 1

    def call():
        while not stop.is_set():
            busy(ANN)
            time.sleep(0.001)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for each in threads:
        each.start()
    for _ in range(3):
        time.sleep(0.1)
        ledger.erase(ID)
    stop.set()
    for each in threads:
        each.join()
    ledger.erase(ID)
    found = records(guard="busy")
    assert len(found) > 10
    assert all(NAME not in str(opening.unsealed(record)) for record in found)


def test_unsealing_is_recorded_before_anything_is_shown(loans, monkeypatch):
    """A `read` event with who and why; where the ledger does not take it, nothing is shown."""
    made = decide(loans, ANN)
    flush()
    found = ledger.unseal(made.id, reason="complaint 7")
    assert found["input"]["value"]["applicant"]["name"] == NAME
    (told,) = records(event="read")
    assert told["how"] == "unseal" and told["reason"] == "complaint 7" and told["filters"]["ids"] == [made.id]
    with pytest.raises(ConfigError):
        ledger.unseal("nothing")
    monkeypatch.setattr("guardrail.ledger.told.tell", lambda *_, **__: False)
    with pytest.raises(AuditUnavailable) as caught:
        ledger.unseal(made.id)
    assert NAME not in str(caught.value)


def test_searching_for_a_person_leaves_no_name_in_the_ledger(loans):
    """What somebody looked for is recorded by digest."""
    decide(loans, ANN)
    assert len(list(ledger.read(subject=ID))) == 1
    assert len(list(ledger.read(subject=subjects.digest(ID)))) == 1
    flush()
    assert holding(ID) == set()
    assert next(iter(reader.read(event="read")))["filters"]["subject"] == [subjects.digest(ID)]


def test_every_proof_still_verifies_after_an_erasure(loans, home):
    """Hashes, links and signed checkpoints cover what is stored, and that has not changed."""
    for number in range(30):
        decide(loans, ANN, f"loan-{number}")
    decide(loans, Applicant(id=ID, name=NAME * 6_000), "long")
    assert flush()
    before = stored(home)
    ledger.erase(ID)
    assert shutdown()
    assert before < stored(home)
    report = verify.verify(verify.Files(str(home / "ledger")), [signing.signing_key().public])
    assert report.code == 0 and report.findings == []


def stored(home):
    return {line for lane in lanes(home) for segment in segments(lane) for line in forwards(segment.path)}


def test_two_who_erase_at_once_do_no_harm(loans):
    """Each finds what there is, and each is recorded."""
    decide(loans, ANN)
    flush()
    done = []
    threads = [threading.Thread(target=lambda: done.append(ledger.erase(ID))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(done) == 4 and all(each.undone == () for each in done)
    assert len(records(event="erase")) == 4
    assert subjects.keys().counts() == (0, 1, 0)


def test_what_is_still_on_its_way_to_a_sink_is_told_apart(loans, tmp_path):
    """By the sink's cursor: taken, or waiting."""
    settings.configure(sinks={"siem": f"file://{tmp_path}/missing/siem.jsonl"})
    decide(loans, ANN)
    assert not flush(0.3)
    done = ledger.erase(ID)
    assert (done.left["siem"]["records"], done.left["siem"]["waiting"]) == (0, 1)


def test_what_somebody_keeps_in_the_log_of_the_store_is_told(loans, home, monkeypatch):
    """A reader that does not end keeps what was overwritten; it is undone until it has gone, and erasing again does it."""
    monkeypatch.setattr("guardrail.review.erasing._LOG_SECONDS", 0.2)
    ticket = decide(loans, ANN).ticket
    queue.decide(ticket.id, "no", note=f"{NAME} called")
    flush()
    reader_of_store = sqlite3.connect(home / "store.db", isolation_level=None)
    reader_of_store.execute("BEGIN")
    reader_of_store.execute("SELECT count(*) FROM guardrail_ticket").fetchone()
    done = ledger.erase(ID)
    assert any("log of the store" in each for each in done.undone)
    assert holding(NAME) == {"store.db-wal"}
    reader_of_store.close()
    assert ledger.erase(ID).undone == ()
    assert holding(NAME, ID, PASSWORD) == set()
