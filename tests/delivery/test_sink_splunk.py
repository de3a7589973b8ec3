"""Splunk's HTTP Event Collector, as its manual and those who met it tell of it."""

from __future__ import annotations

import gzip
import uuid

import orjson
import pytest
from web import SECRET, answer, items, made, peer
from werkzeug import Request, Response

from guardrail import ConfigError
from guardrail.delivery import Item
from guardrail.delivery.sink import ok

TOKEN = "12345678-1234-1234-1234-1234567890AB"


def parts(text: bytes) -> list[dict]:
    """Take concatenated JSON apart, as HEC does."""
    import json

    decoder, found, rest = json.JSONDecoder(), [], text.decode()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


class Collector:
    """An Event Collector: it checks the token, keeps events, and gives acknowledgements when it is told to."""

    def __init__(self, httpserver) -> None:
        self.at = f"127.0.0.1:{httpserver.port}"
        self.events: list[dict] = []
        self.bodies: list[bytes] = []
        self.channels: list[str | None] = []
        self.answer: tuple[int, dict] | None = None
        self.indexed: set[int] = set()
        self.acks = 0
        self.acknowledges = False
        httpserver.expect_request("/services/collector/event", method="POST").respond_with_handler(self.event)
        httpserver.expect_request("/services/collector/ack", method="POST").respond_with_handler(self.ack)

    def refused(self, request: Request) -> Response | None:
        given = request.headers.get("Authorization")
        if given is None:
            return self.say(401, {"text": "Token is required", "code": 2})
        if given != f"Splunk {TOKEN}":
            return self.say(403, {"text": "Invalid token", "code": 4})
        self.channels.append(request.headers.get("X-Splunk-Request-Channel"))
        if self.acknowledges and self.channels[-1] is None:
            return self.say(400, {"text": "Data channel is missing", "code": 10})
        return None

    def event(self, request: Request) -> Response:
        body = request.get_data()
        body = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
        self.bodies.append(body)
        refused = self.refused(request)
        if refused is not None:
            return refused
        if self.answer is not None:
            return self.say(*self.answer)
        self.events += parts(body)
        if not self.acknowledges:
            return self.say(200, {"text": "Success", "code": 0})
        self.acks += 1
        return self.say(200, {"text": "Success", "code": 0, "ackId": self.acks - 1})

    def ack(self, request: Request) -> Response:
        body = request.get_data()
        body = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
        refused = self.refused(request)
        if refused is not None:
            return refused
        asked = orjson.loads(body)["acks"]
        assert all(type(each) is int for each in asked)
        return self.say(200, {"acks": {str(each): each in self.indexed for each in asked}})

    def say(self, status: int, body: dict) -> Response:
        return Response(orjson.dumps(body), status=status, content_type="application/json")

    def sink(self, options: str = "", token: str = TOKEN):
        return made(f"splunk+http://:{token}@{self.at}" + (f"?{options}" if options else ""))


@pytest.fixture
def hec(httpserver):
    return Collector(httpserver)


def test_events_as_splunk_has_them(hec):
    """The record is the event; its time, host and id stand where Splunk looks for them."""
    batch = items(2)
    assert list(hec.sink("sourcetype=guardrail:record&index=audit").send(batch)) == [ok, ok]
    assert hec.events == [
        {
            "event": item.record, "time": 1767323045.678901, "host": "node-1", "source": "guardrail",
            "sourcetype": "guardrail:record", "index": "audit", "fields": {"event_id": item.id},
        }
        for item in batch
    ]  # fmt: skip
    assert batch[0].line in hec.bodies[0]  # the very bytes
    assert b'"time":1767323045.678901,' in hec.bodies[0]


def test_what_is_not_said_is_left_to_the_token(hec):
    """Without options, source type and index are the token's own; every try is alike."""
    for _ in range(2):
        assert list(hec.sink("gzip=false").send(items(host=None, ts="yesterday"))) == [ok]
    assert set(hec.events[0]) == {"event", "source", "fields"}
    assert hec.bodies[0] == hec.bodies[1]


def test_a_line_that_somebody_has_changed(hec):
    """It is passed on as a text."""
    assert list(hec.sink().send([Item("lane-1", 9, b"{cut")])) == [ok]
    assert hec.events[0]["event"] == "{cut"


def test_a_wrong_token(hec):
    """No record is to blame for it."""
    (result,) = hec.sink(token="wrong").send(items())
    assert (result.kind, result.credentials) == ("retry", True)


@pytest.mark.parametrize("status, code", [(503, 9), (200, 9), (500, 8), (503, 20), (429, 26)])
def test_a_busy_collector(hec, status, code):
    """It is asked again."""
    hec.answer = status, {"text": "Server is busy", "code": code}
    found = hec.sink().send(items(3))
    assert [(each.kind, each.credentials) for each in found] == [("retry", False)] * 3


@pytest.mark.parametrize("code", [7, 10, 11, 14])
def test_settings_of_the_token(hec, code):
    """What an administrator must change makes no dead letters, and says what to change."""
    hec.answer = 400, {"text": SECRET, "code": code, "invalid-event-number": 1}
    found = hec.sink().send(items(3))
    assert [(each.kind, each.credentials) for each in found] == [("retry", True)] * 3
    assert f"code {code}: the token" in found[0].reason


@pytest.mark.parametrize(
    "number, taken",
    [(0, 0), (1, 0), (2, 1), (4, 3), (5, 4), (99, 4), (-3, 0), ("4", 0), (None, 0), (True, 0), ([], 0)],
)
def test_an_event_in_the_middle_that_is_not_taken(hec, number, taken):
    """What stands before it is taken; from there on all is tried again, since nobody knows whether they count from 0 or 1."""
    hec.answer = 400, {"text": "Invalid data format", "code": 6, "invalid-event-number": number}
    found = hec.sink().send(items(5))
    assert [each.kind for each in found] == ["ok"] * taken + ["retry"] * (5 - taken)
    hec.answer = 503, {"text": "Server is busy", "code": 9, "invalid-event-number": number}
    assert [each.kind for each in hec.sink().send(items(5))] == ["ok"] * taken + ["retry"] * (5 - taken)
    hec.answer = 400, {"text": "Invalid data format", "code": 6, "invalid-event-number": number}
    assert [each.kind for each in hec.sink("ack=true").send(items(5))] == ["retry"] * 5  # nobody acknowledges those before
    assert [each.kind for each in hec.sink().send(items(1))] == ["reject"]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'{"code":[]}', b'{"code":"9"}', b"\xff"])
def test_answers_that_make_no_sense(body):
    """They are judged by their status alone."""
    for status, kind in ((200, "ok"), (500, "retry"), (400, "reject")):
        with peer(answer(status, body)) as other:
            out = made(f"splunk+http://:{TOKEN}@{other.at}")
            assert [each.kind for each in out.send(items())] == [kind]
            out.close()


def test_acknowledgement(hec):
    """With ack=true a record has arrived when the indexers say so, and not when it was taken."""
    hec.acknowledges = True
    out = hec.sink("ack=true")
    found = [*out.send(items(2)), *out.send(items(1))]
    assert [(each.kind, each.token) for each in found] == [("pending", "0"), ("pending", "0"), ("pending", "1")]
    assert [each.kind for each in out.poll(["0", "1"])] == ["pending", "pending"]
    hec.indexed = {1}
    assert [(each.kind, each.token) for each in out.poll(["0", "1"])] == [("pending", "0"), ("ok", "")]
    assert len(set(hec.channels)) == 1
    assert uuid.UUID(hec.channels[0])
    assert hec.sink("ack=true")._channel == hec.channels[0]  # a fixed one, so that another process can ask


def test_ids_that_splunk_gives_again_tell_of_nothing_sent_before(hec):
    """After its restart the same id stands for another event: what was sent before is not taken for arrived, and is sent again."""
    hec.acknowledges = True
    out = hec.sink("ack=true")
    before = [out.send(items())[0].token for _ in range(2)]
    hec.acks = 0
    after = [out.send(items())[0].token for _ in range(2)]
    assert len({*before, *after}) == 4
    hec.indexed = {0, 1}
    assert [each.kind for each in out.poll([before[0], after[0], before[1], after[1]])] == ["retry", "ok", "retry", "ok"]
    assert [each.kind for each in out.poll(before)] == ["retry", "retry"]


def test_acknowledgement_that_nobody_gives(hec):
    """ack=true where the token gives none, and no ack=true where it wants one: both say what to change."""
    (result,) = hec.sink("ack=true").send(items())
    assert (result.kind, result.credentials) == ("retry", True)
    assert "acknowledgement" in result.reason
    hec.acknowledges = True
    (result,) = hec.sink().send(items())
    assert (result.kind, result.credentials) == ("retry", True)
    assert "add ack=true" in result.reason


@pytest.mark.parametrize("said", [answer(500), answer(200, b"{}"), answer(200, b'{"acks":[]}'), answer(400), answer(401)])
def test_no_word_of_what_is_indexed(said):
    """A poll that fails is not an answer: it is asked again."""
    with peer(said) as other:
        out = made(f"splunk+http://:{TOKEN}@{other.at}?ack=true")
        assert [each.kind for each in out.poll(["1", "2"])] == ["retry", "retry"]
        out.close()


def test_the_probe(hec):
    """A labelled event goes round."""
    assert hec.sink().probe() == "it takes a test event"
    assert hec.events[0]["event"]["event"] == "test"
    hec.acknowledges = True
    hec.indexed = {0}
    assert hec.sink("ack=true").probe() == "it takes a test event, and acknowledges"
    with pytest.raises(ConfigError, match="does not let us in"):
        hec.sink(token="wrong").probe()


def test_a_probe_waits_for_the_indexers(hec, monkeypatch):
    """A longer pause before each question; where nobody acknowledges it says so, with what is likely wrong."""
    hec.acknowledges = True
    at, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        at[0] += seconds

    monkeypatch.setattr("guardrail.clock.sleep", sleep)
    monkeypatch.setattr("guardrail.clock.now", lambda: at[0])
    with pytest.raises(ConfigError, match="did not acknowledge it within 30 s.*sticky") as told:
        hec.sink("ack=true").probe()
    assert TOKEN not in str(told.value)
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert 30 <= sum(pauses) < 33
    assert max(pauses) == 2.0


def test_urls_that_give_no_token():
    """The token is the password, alone."""
    for url in ("splunk://host", "splunk://token@host", "splunk://user:token@host"):
        with pytest.raises(ConfigError, match="no token, or more than one"):
            made(url)


def test_a_path_before_the_collectors(httpserver):
    """A proxy may stand in front."""
    httpserver.expect_request("/hec/services/collector/event").respond_with_data(b'{"code":0}')
    assert list(made(f"splunk+http://:{TOKEN}@127.0.0.1:{httpserver.port}/hec/").send(items())) == [ok]
