"""The courier: at least once, in order, from a durable cursor; what fails waits, what is refused is a dead letter."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from made import Recorder, courier, lane, run, sink

from guardrail import notices
from guardrail.delivery import Caps, Item, Result, ok, pending, reject, retry, waiting
from guardrail.delivery import courier as courier_module
from guardrail.delivery.keeping import FileKeeping
from guardrail.testing import fake_clock


def test_every_record_of_every_lane_arrives_in_the_order_of_its_lane(home: Path) -> None:
    """Batches are as large as the sink takes; the cursor stands behind the last one."""
    want = lane(home, "a", 7) + lane(home, "b", 3)
    found = courier(home)
    assert run(found) is None
    assert found._to.sent == want
    assert [len(batch) for batch in found._to.batches] == [4, 4, 2]
    assert FileKeeping(home, "out").positions() == {"a": 7, "b": 3}


def test_another_process_goes_on_where_one_ended(home: Path) -> None:
    """Nothing is sent twice where the first one ended in order."""
    lane(home, "a", 5)
    first = courier(home)
    run(first)
    first.close()
    more = lane(home, "a", 3, first=6)
    second = courier(home)
    run(second)
    assert second._to.sent == more


def test_one_process_at_a_time_serves_a_sink(home: Path) -> None:
    """Another one waits for its turn, and takes over when the first has gone."""
    lane(home, "a", 2)
    first, second = courier(home), courier(home)
    run(first)
    assert second.step() == courier_module.WAIT_TURN
    first.close()
    lane(home, "b", 1)
    run(second)
    assert second._to.sent == [("b", 1)]


def test_what_was_sent_and_not_remembered_is_sent_again(home: Path) -> None:
    """A process killed between the sending and the cursor: the same ids and the same bytes once more."""
    lane(home, "a", 3)
    killed = courier(home)
    killed._keeping.hold()
    killed._begin()
    killed._fill()
    killed._send(0.0)
    killed._keeping.release()
    again = courier(home)
    run(again)
    assert again._to.batches[0] == killed._to.batches[0]


def test_a_sink_that_is_away_is_tried_again_with_growing_pauses_and_loses_nothing(home: Path) -> None:
    """The breaker opens, one item at a time is a probe, and everything arrives in order when it is back."""
    want = lane(home, "a", 30)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry(reason="it is away")
        for _ in range(12):
            due = found.step()
            time.advance(due or 0.0)
        assert found._pace.breaker == "open"
        assert len(found._to.batches[-1]) == 1
        assert len(found._waiting) <= Recorder.caps.items
        found._to.batches.clear()
        found._to.answers = lambda item: ok
        time.advance(400)
        run(found)
    assert found._to.sent == want
    assert found._pace.breaker == "closed"


def test_the_pause_that_the_other_side_asks_for_is_kept(home: Path) -> None:
    """A Retry-After is the least that is waited."""
    lane(home, "a", 1)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry(after=90)
        found.step()
        assert found.step() == pytest.approx(90, abs=0.01)
        time.advance(89)
        assert found.step() > 0
        assert len(found._to.batches) == 1


def test_what_is_refused_is_a_dead_letter_and_the_rest_goes_on(home: Path) -> None:
    """A pointer into the ledger with the reason, durable before the cursor moves on."""
    lane(home, "a", 5)
    found = courier(home)
    found._to.answers = lambda item: reject("it is malformed") if item.seq == 2 else ok
    run(found)
    (letter,) = FileKeeping(home, "out").dead()
    assert (letter.lane, letter.seq, letter.reason, letter.attempts) == ("a", 2, "it is malformed", 1)
    assert FileKeeping(home, "out").positions() == {"a": 5}
    assert notices.counts()[None, "sink-out-dead"][0] == 1


def test_only_what_failed_of_a_batch_is_sent_again(home: Path) -> None:
    """Of a batch of which some arrived, the others are tried again with the same bytes, and none twice."""
    lane(home, "a", 4)
    tries = itertools.count()
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry() if item.seq == 2 and next(tries) < 2 else ok
        while found._to.batches[-1:] != [[]] and (due := found.step()) is not None:
            time.advance(due)
    assert [[item.seq for item in batch] for batch in found._to.batches] == [[1, 2, 3, 4], [2], [2]]
    assert len({item for batch in found._to.batches for item in batch if item.seq == 2}) == 1


def test_an_item_that_alone_fails_does_not_hold_up_the_others_for_ever(home: Path) -> None:
    """After some tries of its own, those behind it are tried: where they arrive, it is a dead letter."""
    lane(home, "a", 9)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry(reason="500") if item.seq == 3 else ok
        while (due := found.step()) is not None:
            time.advance(due)
    (letter,) = FileKeeping(home, "out").dead()
    assert letter.seq == 3
    assert letter.attempts >= waiting.POISON_TRIES
    assert {seq for _, seq in found._to.sent} == set(range(1, 10))
    assert FileKeeping(home, "out").positions() == {"a": 9}


def test_a_sink_that_is_away_makes_no_dead_letters(home: Path) -> None:
    """However long nothing arrives, nothing is given up."""
    lane(home, "a", 9)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry(reason="500")
        for _ in range(60):
            time.advance(found.step() or 0.0)
    assert FileKeeping(home, "out").dead() == []
    assert FileKeeping(home, "out").positions() == {"a": 0}


def test_the_cursor_waits_for_what_is_not_confirmed(home: Path) -> None:
    """What a sink only has accepted is asked for, and sent again where it is never confirmed."""
    lane(home, "a", 2)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: pending(f"t{len(found._to.batches)}")
        found._to.confirmed = lambda token: pending(token)
        found.step()
        found.step()
        assert FileKeeping(home, "out").positions() == {"a": 0}
        time.advance(courier_module.CONFIRM_SECONDS + 1)
        found.step()
        time.advance(1_000)
        found._to.confirmed = lambda token: ok
        while (due := found.step()) is not None:
            time.advance(due)
    assert found._to.sent == [("a", 1), ("a", 2)] + [("a", 1), ("a", 2)]
    assert FileKeeping(home, "out").positions() == {"a": 2}


def test_a_route_leaves_out_what_it_does_not_name(home: Path) -> None:
    """The cursor passes it all the same."""
    lane(home, "a", 3)
    want = lane(home, "b", 2, outcome="refused")
    found = courier(home, route="outcome:refused,deferred")
    run(found)
    assert found._to.sent == want
    assert FileKeeping(home, "out").positions() == {"a": 3, "b": 2}


def test_a_sink_begins_with_what_is_owed_to_it(home: Path) -> None:
    """Of lanes whose process knew the sink everything, of others what comes from now on."""
    owed = lane(home, "a", 3, sinks=["out"])
    lane(home, "b", 3)
    found = courier(home, sink())
    run(found)
    assert found._to.sent == owed
    later = lane(home, "b", 1, first=4) + lane(home, "c", 2)
    run(found)
    assert found._to.sent == owed + later


def test_from_the_beginning_means_all_that_there_is(home: Path) -> None:
    """An option of the URL."""
    want = lane(home, "a", 3)
    found = courier(home, sink(start="beginning"))
    run(found)
    assert found._to.sent == want


def test_what_was_pruned_before_it_arrived_is_counted_and_said(home: Path) -> None:
    """The cursor goes on with what is left."""
    lane(home, "a", 3)
    lane(home, "a", 3, first=4)
    found = courier(home)
    found._to.answers = lambda item: ok
    (home / "ledger" / "a" / f"{1:020}.jsonl").unlink()
    run(found)
    assert found._to.sent == [("a", 4), ("a", 5), ("a", 6)]
    assert found._state.lost == 3
    assert "3 records were pruned" in notices.counts()[None, "sink-out-lost"][1]


def test_a_line_that_is_too_long_for_the_sink_is_not_sent(home: Path) -> None:
    """It is a dead letter at once."""
    lane(home, "a", 1)
    lane(home, "b", 1, filler="x" * 2_000)

    class Small(Recorder):
        caps = Caps(item_size=1_000)

    found = courier(home, sink(kind=Small, start="beginning"))
    run(found)
    assert found._to.sent == [("a", 1)]
    assert [letter.lane for letter in FileKeeping(home, "out").dead()] == ["b"]


def test_a_rate_is_kept(home: Path) -> None:
    """No more than it says arrive in a stretch of time."""
    lane(home, "a", 8)
    with fake_clock() as time:
        found = courier(home, sink(start="beginning", rate="2/s"))
        begun = time.now()
        while (due := found.step()) is not None:
            time.advance(due)
        assert time.now() - begun >= 3.0
    assert max(map(len, found._to.batches)) == 2


def test_a_batch_that_is_not_full_is_waited_for(home: Path) -> None:
    """As long as `linger` says, unless somebody is in a hurry."""
    lane(home, "a", 1)
    with fake_clock() as time:
        found = courier(home, sink(start="beginning", linger="5s"))
        assert found.step() == pytest.approx(5, abs=0.1)
        lane(home, "a", 1, first=2)
        time.advance(5.1)
        run(found)
        assert [len(batch) for batch in found._to.batches] == [2]
        lane(home, "a", 1, first=3)
        run(found, hurry=True)
        assert len(found._to.batches) == 2


@pytest.mark.parametrize("wrong", [[], [ok] * 9, None, ["ok"]], ids=["none", "many", "nothing", "no results"])
def test_a_sink_that_does_not_say_what_became_of_each_is_asked_again(home: Path, wrong: object) -> None:
    """A wrong number of results counts as none arrived; the courier goes on."""
    lane(home, "a", 1)
    found = courier(home)
    found._to.send = lambda batch: wrong
    assert found.step() == 0.0
    assert found.failing
    assert len(found._waiting) == 1


def test_what_a_sink_raises_is_not_shown(home: Path) -> None:
    """Its text may hold a secret: only its type is told."""
    lane(home, "a", 1)
    found = courier(home)

    def fail(batch: list[Item]) -> list[Result]:
        raise RuntimeError("Bearer s3cr3t")

    found._to.send = fail
    found.step()
    assert "RuntimeError" in notices.counts()[None, "sink-out"][1]
    assert "s3cr3t" not in str(notices.counts())


def test_who_is_not_let_in_reads_its_secrets_again_and_waits(home: Path) -> None:
    """The sink is closed, so that it opens with what the secret is by then."""
    lane(home, "a", 1)
    with fake_clock():
        found = courier(home)
        found._to.answers = lambda item: retry(reason="401", credentials=True)
        found.step()
        assert found._to.closed == 1
        assert found.step() >= 59


def test_a_closed_lane_that_has_arrived_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the cursor, and is not looked at again."""
    lane(home, "a", 2)
    with fake_clock() as time:
        found = courier(home)
        run(found)
        monkeypatch.setattr(found._outbox, "closed", lambda: {"a"})
        time.advance(courier_module.LOOK_CLOSED + 1)
        run(found)
    assert FileKeeping(home, "out").positions() == {}
    assert FileKeeping(home, "out").done() == {"a"}
    assert found._lanes() == []
    found.close()
    again = courier(home)
    run(again)
    assert again._to.sent == []


def test_after_a_long_time_away_everything_arrives_in_order_and_nothing_is_given_up(home: Path) -> None:
    """However often the first item failed: a sink that was away is not taken for one that refuses it."""
    want = lane(home, "a", 12)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry(reason="503")
        found._to.probe = lambda: (_ for _ in ()).throw(OSError("away"))
        for _ in range(200):
            time.advance(found.step() or 0.0)
        found._to.batches.clear()
        found._to.answers = lambda item: ok
        found._to.probe = lambda: "it answers"
        while (due := found.step()) is not None:
            time.advance(due)
    assert found._to.sent == want
    assert FileKeeping(home, "out").dead() == []


def test_two_items_that_fail_for_good_hold_up_nobody(home: Path) -> None:
    """One behind the other, and both are found."""
    lane(home, "a", 20)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry(reason="500") if item.seq in {3, 4} else ok
        for _ in range(400):
            if (due := found.step()) is None:
                break
            time.advance(due)
    assert [letter.seq for letter in FileKeeping(home, "out").dead()] == [3, 4]
    assert FileKeeping(home, "out").positions() == {"a": 20}
    assert len(found._waiting) == 0


def test_a_sink_that_answers_its_probe_and_takes_nothing_makes_no_dead_letters(home: Path) -> None:
    """Nothing else arrives either: no item is to blame. What is read to find out is bounded."""
    lane(home, "a", 300)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: retry(reason="507")
        for _ in range(1_500):
            time.advance(found.step() or 0.0)
        assert FileKeeping(home, "out").dead() == []
        assert len(found._waiting) <= 64 + waiting.POISON_PASSES
        found._to.answers = lambda item: ok
        while (due := found.step()) is not None:
            time.advance(due)
    assert FileKeeping(home, "out").dead() == []
    assert FileKeeping(home, "out").positions() == {"a": 300}


def test_an_item_is_tried_once_more_after_others_arrived(home: Path) -> None:
    """It may have had bad luck: only who fails right after them is given up."""
    lane(home, "a", 9)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: (
            retry(reason="500") if item.seq == 1 and not any(seq == 3 for _, seq in found._to.sent) else ok
        )
        while (due := found.step()) is not None:
            time.advance(due)
    assert FileKeeping(home, "out").dead() == []
    assert {seq for _, seq in found._to.sent} == set(range(1, 10))


def test_tokens_that_are_not_told_of_are_sent_again_in_the_end(home: Path) -> None:
    """A sink that says nothing of them does not hold everything up for ever."""
    lane(home, "a", 1)
    with fake_clock() as time:
        found = courier(home)
        found._to.answers = lambda item: pending("t") if len(found._to.batches) == 1 else ok
        found._to.poll = lambda tokens: []
        found.step()
        found.step()
        time.advance(courier_module.CONFIRM_SECONDS + 1)
        while (due := found.step()) is not None:
            time.advance(due)
    assert found._to.sent == [("a", 1), ("a", 1)]


def test_whoever_does_not_serve_the_sink_waits_for_its_own_records_only(home: Path) -> None:
    """In a hurry, until whoever serves it has come so far; otherwise a second between two looks."""
    lane(home, "a", 2)
    lane(home, "b", 2)
    one, two = courier(home), courier(home, own=lambda: "b")
    one._keeping.hold()
    assert two.step() == courier_module.WAIT_TURN
    assert two.step(hurry=True) == courier_module.ASK_OTHERS
    run(one)
    assert two.step(hurry=True) is None
    assert not two.serving


def test_an_empty_line_in_a_lane_moves_nothing(home: Path) -> None:
    """Somebody has put it there; the records behind it keep their numbers and their bytes."""
    lane(home, "a", 2)
    path = home / "ledger" / "a" / f"{1:020}.jsonl"
    path.write_bytes(path.read_bytes() + b"\n")
    with path.open("ab") as file:
        file.write(b'{"seq":4}\n')
    found = courier(home)
    run(found)
    assert [(item.seq, item.line) for batch in found._to.batches for item in batch][2:] == [(3, b""), (4, b'{"seq":4}')]
    with path.open("ab") as file:
        file.write(b'{"seq":5}\n')
    run(found)
    assert found._to.batches[-1][-1].line == b'{"seq":5}'


def test_a_line_without_an_end_fills_no_memory(home: Path) -> None:
    """A megabyte is enough to see that it is none of ours."""
    lane(home, "a", 1)
    with (home / "ledger" / "a" / f"{1:020}.jsonl").open("ab") as file:
        file.write(b"x" * 3_000_000)
    found = courier(home)
    run(found)
    assert found._to.sent == [("a", 1)]
    assert "none of ours" in notices.counts()[None, "outbox"][1]


def test_the_last_number_of_a_lane_is_read_from_its_end(home: Path) -> None:
    """Whatever stands behind it that is no record, and however long the file is."""
    lane(home, "a", 50)
    with (home / "ledger" / "a" / f"{1:020}.jsonl").open("ab") as file:
        file.write(b"what a crash left")
    found = courier(home)._outbox
    assert found.last("a") == 50
    assert found.last("nowhere") == 0
