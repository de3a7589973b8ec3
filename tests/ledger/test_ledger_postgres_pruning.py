"""Pruning a ledger in PostgreSQL: the oldest lines go, their hashes stay, and every proof goes on."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from kept import earlier, later, stands_alone
from shared import end, rows, use, verified

import guardrail
from guardrail import AuditUnavailable, GuardrailError, clock, guarded, notices, settings
from guardrail.ledger import blobs, holds, reader, retention, upkeep, writer
from guardrail.ledger.postgres import pruning
from guardrail.ledger.postgres.source import export_files

COUNT = "SELECT count(*) FILTER (WHERE line IS NULL), count(*) FROM guardrail_ledger WHERE lane = %s"


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


def lane_of(many: int = 20, *, days: float = 200.0) -> str:
    """Return the name of a closed lane with so many calls of so many days ago."""
    with earlier(days):
        for x in range(many):
            predict(x)
        assert guardrail.flush(10)
        name = writer.lane()
        end()
    assert name is not None
    return name


def checkpoint() -> None:
    """Have the lane of this process sign what it has, and send that along with the next record."""
    writer._the_committer()._lane.upkeep(clock.now() + 3_600)
    predict(0)
    assert guardrail.flush(10)


def test_old_records_go_and_every_proof_stays(url, home, tmp_path):
    """Lines are gone, hashes stay; the verifier, an export and the searches go on; a second prune finds nothing."""
    use(url)
    old, young = lane_of(), lane_of(5, days=10)
    planned = retention.prune("180d", dry_run=True)
    assert [each["lane"] for each in planned.ranges] == [old]
    assert rows(url, COUNT, (old,))[0][0] == 0
    done = retention.prune("180d", by="dpo@bank.example", reason="yearly")
    many = rows(url, COUNT, (old,))[0]
    assert many[0] == many[1] == done.records == planned.records > 20
    assert (done.problems, done.kept) == ([], [])
    assert rows(url, COUNT, (young,))[0][0] == 0
    (record,) = reader.read(home, event="prune")
    assert (record["lane"], record["from"], record["upto"], record["reason"]) == (old, 1, many[1], "yearly")
    assert sum(each["event"] == "call" for each in reader.read(home)) == 5
    end()
    report = verified(url)
    assert (report.code, {each.lane: each.pruned for each in report.lanes}[old]) == (0, many[1])
    export_files(url, tmp_path / "out")
    assert stands_alone(tmp_path / "out") == 0
    assert retention.prune("180d").ranges == []


def test_of_a_lane_in_use_what_is_old_and_signed_goes(url, home):
    """Its younger records stay, it goes on, and the next prune takes up where this one stopped."""
    use(url)
    with earlier(200):
        for x in range(10):
            predict(x)
        assert guardrail.flush(10)
        lane = writer.lane()
    predict(11)
    checkpoint()
    predict(12)
    assert guardrail.flush(10)
    done = retention.prune("180d")
    gone, _ = rows(url, COUNT, (lane,))[0]
    assert gone == done.records >= 10
    assert writer.lane() == lane
    predict(13)
    assert guardrail.flush(10)
    checkpoint()
    with later(200):
        again = retention.prune("180d")
        assert [(each["lane"], each["from"]) for each in again.ranges] == [(lane, gone + 1)]
    end()
    assert verified(url).code == 0


def test_a_hold_keeps_what_comes_after_it_too(url, home):
    """Up to the held record all goes; what keeps it is named; once released the rest goes."""
    use(url)
    lane = lane_of(6)
    third = [each for each in rows(url) if b'"event":"call"' in each[2]][2]
    holds.hold("case-1", reason="a lawsuit", since=clock.wall() - 300 * 86_400, until=clock.wall(), by="ann")
    done = retention.prune("180d")
    assert (done.records, done.kept) == (0, [{"lane": lane, "first": 1, "why": "hold case-1"}])
    holds.release("case-1", reason="settled", by="ann")
    moment = next(each for each in reader.read(home, event="call") if each["seq"] == third[1])["ts"]
    holds.hold("case-2", reason="a lawsuit", since=moment, by="ann")
    done = retention.prune("180d")
    assert (done.records, done.kept) == (third[1] - 1, [{"lane": lane, "first": third[1], "why": "hold case-2"}])
    holds.release("case-2", reason="settled", by="ann")
    assert retention.prune("180d").ranges[0]["from"] == third[1]
    end()
    assert verified(url).code == 0


@pytest.mark.parametrize("step", ["record", "manifest", "lines"])
def test_a_prune_that_ends_at_any_step_can_be_finished(url, home, monkeypatch, step):
    """Whatever was done until then, the ledger verifies, and the next prune does the rest."""
    use(url)
    lane = lane_of(30)
    monkeypatch.setattr(pruning, "_ROWS", 10)
    run = pruning.Link.run
    count = [0]

    def broken(self, query, values=(), **more):
        if step == "lines" and query == pruning._EMPTY and values[1] - values[2] == -10:
            count[0] += 1
            if count[0] == 2:
                raise OSError("the server is gone")
        return run(self, query, values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(pruning.Link, "run", broken)
        if step == "record":
            patch.setattr(writer, "event", lambda *_, **__: (_ for _ in ()).throw(AuditUnavailable("full")))
        if step == "manifest":
            patch.setattr(pruning.SharedManifest, "append_all", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises((OSError, GuardrailError)):
            retention.prune("180d")
    gone = rows(url, COUNT, (lane,))[0][0]
    assert gone == (10 if step == "lines" else 0)
    assert verified(url).code in {0, 3}
    done = retention.prune("180d")
    assert done.problems == []
    assert [done.ranges[0]["from"], done.ranges[0]["id"] is None] == ([11, True] if step == "lines" else [1, False])
    gone, all_of_it = rows(url, COUNT, (lane,))[0]
    assert gone == all_of_it
    end()
    assert verified(url).code == 0


def test_what_does_not_verify_is_evidence_and_stays(url, home):
    """The lane is named, nothing of it is touched, and the others go."""
    use(url)
    bad, good = lane_of(5), lane_of(5)
    rows(url, "UPDATE guardrail_ledger SET line = set_byte(line, 60, get_byte(line, 60) # 1) WHERE lane = %s AND seq = 3", (bad,))
    done = retention.prune("180d")
    assert [each["lane"] for each in done.ranges] == [good]
    assert done.problems
    assert all(each.startswith(bad) for each in done.problems)
    assert rows(url, COUNT, (bad,))[0][0] == 0


def test_a_user_who_may_not_is_told_what_to_grant_before_anything_is_recorded(url, home):
    """Whoever only adds rows cannot prune; with the one right they can, and the triggers of the documentation let them."""
    use(url)
    lane = lane_of(5)
    page = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text()
    with psycopg.connect(url, autocommit=True) as owner:
        for statement in (each.split("```")[0] for each in page.split("```sql\n")[1:]):
            if "append_only" in statement:
                owner.execute(statement)
        owner.execute("DROP ROLE IF EXISTS guardrail_adder")
        owner.execute("CREATE ROLE guardrail_adder LOGIN")
        owner.execute("GRANT SELECT ON guardrail_schema TO guardrail_adder")
        owner.execute("GRANT SELECT, INSERT ON guardrail_ledger, guardrail_manifest, guardrail_notes TO guardrail_adder")
    base, _, name = url.rpartition("/")
    as_adder = f"postgresql://guardrail_adder@{base.rpartition('@')[2]}/{name}"
    settings.reset()
    use(as_adder)
    with pytest.raises(pruning.MayNot, match="may not prune") as told:
        retention.prune("180d")
    assert "GRANT UPDATE (line)" in str(told.value.hint)
    assert not list(reader.read(home, event="prune"))
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("GRANT UPDATE (line) ON guardrail_ledger TO guardrail_adder")
        with pytest.raises(psycopg.errors.RaiseException):
            owner.execute("UPDATE guardrail_ledger SET line = 'x' WHERE seq = 2")
        with pytest.raises(psycopg.errors.RaiseException):
            owner.execute("DELETE FROM guardrail_ledger")
    assert retention.prune("180d").ranges[0]["lane"] == lane
    end()
    assert verified(url).code == 0


def test_one_process_at_a_time_prunes(url, home):
    """By hand the other is told so; by itself it leaves it to the first."""
    use(url, retention="180d")
    lane_of(5)
    with pruning.Pruning(pruning.Plan(home, url, clock.wall(), {}, lambda _: None)) as first:
        assert first.alone()
        done = retention.prune("180d")
        assert (done.ranges, len(done.problems)) == ([], 1)
        aside = retention.by_itself(lambda _: None)
        assert aside is not None
        assert (aside.ranges, aside.problems) == ([], [])


def test_what_is_old_goes_by_itself_where_a_retention_is_set(url, home):
    """In the background, with the same result; a long record's file goes as well."""
    use(url, retention="180d")

    @guarded(name="long", audit=guardrail.Audit(inputs="plain"))
    def long(text: str) -> str:
        return "yes"

    with earlier(200):
        long("x" * 100_000)
        assert guardrail.flush(10)
        end()
    (name,) = [blobs.named(each) for each in reader.read(home, guard="long", event="call")]
    assert name is not None
    assert blobs.path_of(home, name).is_file()
    predict(1)
    assert guardrail.flush(10)
    upkeep.Upkeep(home).round()
    assert not [each for each in notices.counts() if each[1].startswith("ledger")]
    assert not blobs.path_of(home, name).exists()
    assert [each["reason"] for each in reader.read(home, event="prune")] == ["retention"]
