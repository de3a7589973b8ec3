"""Legal holds: what they name is neither pruned nor erased, each is recorded, and none is overtaken."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from kept import body, later, made, names, old, own_lane, stands_alone
from people import ANN, BOB, ID, Applicant, records

from guardrail import Audit, AuditUnavailable, ConfigError, guarded, ledger, shutdown
from guardrail.ledger import holds, reader, retention, subjects, writer
from guardrail.ledger.lane import Lane
from guardrail.ledger.manifest import Manifest


@pytest.fixture
def loans():
    @guarded(name="loans", audit=Audit(inputs="plain"))
    def predict(applicant: Applicant) -> float:
        return 0.5

    return predict


def stays(home: Path, **what) -> bool:
    """Tell whether a hold keeps an old lane."""
    holds.hold("case", reason="court", **what)
    done = retention.prune("180d", dry_run=True)
    holds.release("case", reason="settled")
    return not done.ranges and {each["why"] for each in done.kept} == {"hold case"}


def test_a_hold_keeps_what_it_names(home: Path) -> None:
    """By guard, business id and time, all of which must fit; or everything."""
    old(home, 4)
    assert stays(home, everything=True)
    assert stays(home, guard="loans") and not stays(home, guard="cards")
    assert stays(home, business_id="loan-3") and not stays(home, business_id="loan-4")
    assert stays(home, since="201d") and not stays(home, since="199d")
    assert stays(home, until="199d") and not stays(home, until="201d")
    assert stays(home, guard="loans", business_id="loan-3", since="201d", until="199d")
    assert not stays(home, guard="loans", business_id="loan-3", until="201d")
    assert stands_alone(home) == 0


def test_a_hold_keeps_the_whole_story_of_a_business_id(home: Path) -> None:
    """What people said of the decision stands in other segments, which name it by its id or its ticket's."""
    decision = old(home, 1, ticket="ticket-17")
    identity = next(reader.read(home, event="call"))["id"]
    with later(-199):
        one = Lane(home)
        of = {"ticket": {"ticket": "ticket-17"}, "feedback": {"decision": identity}, "other": {"ticket": "ticket-18"}}
        lanes = {}
        for kind, fields in of.items():
            one = lanes[kind] = Lane(home)
            one.append(
                [
                    body(5)
                    .replace(b'"event":"call"', b'"event":"feedback"')
                    .replace(b'"business_id":"loan-5"', orjson.dumps(fields)[1:-1])
                ]
            )
            one.close()
    holds.hold("case", reason="court", business_id="loan-0")
    retention.prune("180d")
    assert [bool(names(each)) for each in (decision, lanes["ticket"], lanes["feedback"], lanes["other"])] == [
        True,
        True,
        True,
        False,
    ]


def test_a_hold_is_a_line_of_the_manifest_and_a_record(home: Path) -> None:
    """Who, why, and what; of its end as well. It is in force in every process, and after a restart."""
    made(home, 1)
    placed = holds.hold("case-17", reason="  a court\n order ", by="counsel@bank.example", guard="loans")
    assert (placed.name, placed.reason, placed.by, placed.what) == (
        "case-17",
        "a court order",
        "counsel@bank.example",
        {"guard": "loans"},
    )
    assert [each.name for each in holds.holds()] == ["case-17"]
    with pytest.raises(ConfigError, match="case-17 already"):
        holds.hold("case-17", reason="again", everything=True)
    assert shutdown(10)
    assert [each.to_dict() for each in holds.holds()] == [placed.to_dict()]
    assert holds.release("case-17", reason="settled", by="judge").name == "case-17"
    assert holds.holds() == []
    with pytest.raises(ConfigError, match="no such hold"):
        holds.release("case-17", reason="settled")
    told = [
        (each["what"], each["hold"], each["reason"], each["actor"]["id"]) for each in records(event="config") if "hold" in each
    ]
    assert told == [("hold", "case-17", "a court order", "counsel@bank.example"), ("release", "case-17", "settled", "judge")]
    said = [each for each in Manifest(home / "ledger").lines() if each["event"] in {"hold", "release"}]
    assert [(each["event"], each["hold"], each["by"]["id"]) for each in said] == [
        ("hold", "case-17", "counsel@bank.example"), ("release", "case-17", "judge"),
    ]  # fmt: skip
    assert shutdown(10)
    assert stands_alone(home) == 0


def test_a_hold_says_what_it_needs(home: Path) -> None:
    """A name, a reason, and what it keeps; never the person's id in the reason."""
    for wrong in (
        {"name": "", "reason": "r", "everything": True}, {"name": "a b", "reason": "r", "everything": True},
        {"name": "a", "reason": " ", "everything": True}, {"name": "a", "reason": "r"},
        {"name": "a", "reason": "r", "guard": "loans", "everything": True}, {"name": "a", "reason": "r", "since": "soon"},
        {"name": "a", "reason": "x" * 1_001, "everything": True}, {"name": "a", "reason": "r", "subject": ID},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            holds.hold(**wrong)
    assert not (home / "ledger" / "manifest.jsonl").exists()


def test_a_person_under_hold_cannot_be_erased(home: Path, loans) -> None:
    """Whether held by themselves, by a record about them, or with all else; the refusal names the hold, and nothing is touched."""
    loans(ANN), loans(BOB)
    records()
    before = (home / "ledger" / "manifest.jsonl").read_bytes()
    placed = holds.hold("case-17", reason="court", subject=ID)
    assert placed.what == {"subject": [subjects.digest(ID)]}
    assert ID.encode() not in (home / "ledger" / "manifest.jsonl").read_bytes()[len(before) :]
    for dry_run in (True, False):
        with pytest.raises(holds.Held, match="case-17"):
            ledger.erase(ID, dry_run=dry_run)
    assert subjects.keys().counts() == (2, 0, 0)
    assert ledger.erase("customer-2").keys == 1
    with pytest.raises(ConfigError, match="names the person"):
        holds.hold("another", reason=f"{ID} sued", subject=ID)
    holds.release("case-17", reason="settled")
    for what in ({"everything": True}, {"guard": "loans"}, {"since": "1h"}):
        holds.hold("case-18", reason="court", **what)
        with pytest.raises(holds.Held, match="case-18"):
            ledger.erase(ID)
        holds.release("case-18", reason="settled")
    holds.hold("case-19", reason="court", guard="cards")
    assert ledger.erase(ID).keys == 1


def test_a_person_under_hold_is_kept_from_pruning(home: Path, loans) -> None:
    """By the digest that stands in their records."""
    with later(-200):
        loans(ANN)
        assert shutdown(10)
        loans(BOB)
        assert shutdown(10)
    holds.hold("case-17", reason="court", subject=ID)
    done = retention.prune("180d")
    assert [each["why"] for each in done.kept] == ["hold case-17"]
    assert len(done.ranges) == 1
    assert len(records()) == 1


def test_a_hold_that_cannot_be_recorded_is_in_force_and_a_release_is_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, too much is kept rather than too little."""
    made(home, 1)

    def refuses(*_: object, **__: object) -> str:
        raise AuditUnavailable("no")

    with monkeypatch.context() as broken:
        broken.setattr(writer, "event", refuses)
        with pytest.raises(AuditUnavailable):
            holds.hold("case", reason="court", everything=True)
        assert [each.name for each in holds.holds()] == ["case"]
        with pytest.raises(AuditUnavailable):
            holds.release("case", reason="settled")
    assert [each.name for each in holds.holds()] == ["case"]


def test_a_hold_of_a_later_release_keeps_everything(home: Path) -> None:
    """It names what we do not know, so nothing is pruned while it is in force."""
    one = old(home, 4)
    Manifest(home / "ledger").append("hold", hold="new", reason="r", what={"region": "EU"})
    (found,) = holds.holds()
    assert found.keeps_all
    assert retention.prune("180d").ranges == []
    assert names(one)


def test_the_lane_that_told_of_a_hold_is_this_process_own(home: Path) -> None:
    """A hold can be the first thing that is ever recorded."""
    holds.hold("case", reason="court", everything=True)
    assert own_lane().is_dir()
    assert stands_alone(home) in {0, 3}
