"""PagerDuty: people are called once for each trouble, and told nothing that is personal."""

from __future__ import annotations

import orjson
import pytest
from web import PRIVATE, answer, items, made, peer
from werkzeug import Request, Response

from guardrail import ConfigError
from guardrail.delivery import Item
from guardrail.delivery.sink import ok

KEY = "0123456789abcdef0123456789abcdef"


class Pager:
    """The Events API."""

    def __init__(self, httpserver) -> None:
        self.at = f"127.0.0.1:{httpserver.port}"
        self.events: list[dict] = []
        self.answers: list[Response] = []
        httpserver.expect_request("/v2/enqueue", method="POST").respond_with_handler(self.enqueue)

    def enqueue(self, request: Request) -> Response:
        event = orjson.loads(request.get_data())
        self.events.append(event)
        if self.answers:
            return self.answers.pop(0)
        if event["routing_key"] != KEY:
            said = {"status": "invalid event", "message": "Event object is invalid", "errors": ["Invalid routing key"]}
            return Response(orjson.dumps(said), 400)
        return Response(orjson.dumps({"status": "success", "dedup_key": event["dedup_key"]}), 202)

    def sink(self, options: str = "", key: str = KEY):
        return made(f"pagerduty+http://{key}@{self.at}" + (f"?{options}" if options else ""))


@pytest.fixture
def pager(httpserver):
    return Pager(httpserver)


def test_one_event_for_each_trouble(pager):
    """Records of one guard and outcome are one incident; what is no trouble calls nobody."""
    batch = [
        *items(3),
        *items(2, outcome="answered", error=None),
        *items(1, outcome="deferred", error=None),
        *items(1, guard="cars"),
    ]
    assert list(pager.sink().send(batch)) == [ok] * 7
    assert [event["dedup_key"] for event in pager.events] == [
        "guardrail/loans/failed", "guardrail/loans/deferred", "guardrail/cars/failed",
    ]  # fmt: skip
    assert pager.events[0] == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "guardrail/loans/failed",
        "payload": {
            "summary": "failed by loans (KeyError by retry), 3 times", "source": "loans", "severity": "error",
            "component": "loans", "class": "failed", "custom_details": {"first": "lane-1/1", "records": 3},
        },
    }  # fmt: skip
    assert PRIVATE not in str(pager.events)


@pytest.mark.parametrize(
    "dedup, keys",
    [
        ("kind", ["guardrail/loans/failed"]),
        ("guard", ["guardrail/loans"]),
        ("record", ["guardrail/lane-1/1", "guardrail/lane-1/2"]),
    ],
)
def test_what_makes_an_incident(pager, dedup, keys):
    """By default guard and kind; each record, if somebody wants that."""
    assert list(pager.sink(f"dedup={dedup}").send(items(2))) == [ok, ok]
    assert [event["dedup_key"] for event in pager.events] == keys


@pytest.mark.parametrize(
    "fields, severity",
    [({"outcome": "deferred"}, "warning"), ({"outcome": "late"}, "error"), ({"event": "gap", "outcome": None}, "critical"),
     ({"outcome": "refused"}, "warning"), ({"event": "mode", "outcome": None}, "warning"), ({"outcome": "answered"}, "info")],
)  # fmt: skip
def test_how_bad_it_is(pager, fields, severity):
    """Each kind has its severity, and who is called is the operator's to say."""
    batch = items(1, **fields)
    pager.sink("least=info").send(batch)
    assert pager.events[0]["payload"]["severity"] == severity
    pager.sink("least=critical").send(batch)
    assert len(pager.events) == (2 if severity == "critical" else 1)


def test_long_and_strange_names(pager):
    """Keys and summaries keep to PagerDuty's limits, whatever a record holds, and stay distinct."""
    first, second = items(1, guard="g" * 400 + "1")[0], items(1, guard="g" * 400 + "2")[0]
    big = items(1, input={"value": "x" * 60_000}, guard="big")[0]
    strange = Item("lane-1", 3, b'{"guard":[],"outcome":{},"event":"gap","error":{"type":1}}')
    assert {each.kind for each in pager.sink().send([first, second, big, strange, Item("lane-1", 4, b"{cut")])} == {"ok"}
    keys = [event["dedup_key"] for event in pager.events]
    assert len(set(keys)) == 4
    assert max(map(len, keys)) == 255
    assert max(len(event["payload"]["summary"]) for event in pager.events) <= 1024
    assert max(len(orjson.dumps(event)) for event in pager.events) < 2_000


def test_a_pause_of_half_a_minute_at_least(pager):
    """They ask for patience; a longer wait that they name counts."""
    pager.answers = [Response(status=429), Response(status=500), Response(status=429, headers={"Retry-After": "90"})]
    assert [pager.sink().send(items())[0].after for _ in range(3)] == [30.0, 30.0, 90.0]


def test_after_a_failure_the_others_are_not_tried(pager):
    """What was taken is not sent again, what follows waits."""
    pager.answers = [Response(status=202), Response(status=500)]
    batch = [*items(1, guard="a"), *items(1, guard="b"), *items(1, guard="c"), *items(1, guard="a")]
    assert [each.kind for each in pager.sink().send(batch)] == ["ok", "retry", "retry", "ok"]
    assert len(pager.events) == 2


def test_a_refusal_concerns_one_incident_only(pager):
    """The others are sent all the same."""
    pager.answers = [Response(status=400)]
    batch = [*items(1, guard="a"), *items(1, guard="b"), *items(1, guard="a")]
    assert [each.kind for each in pager.sink().send(batch)] == ["reject", "ok", "reject"]


def test_a_wrong_key(pager):
    """PagerDuty says 400 to that, and no record is to blame."""
    (result,) = pager.sink(key="wrong").send(items())
    assert (result.kind, result.credentials) == ("retry", True)


def test_the_probe_calls_nobody(pager):
    """It ends an incident that there never was."""
    assert pager.sink().probe() == "it takes the end of an incident that never was"
    assert pager.events == [{"routing_key": KEY, "event_action": "resolve", "dedup_key": "guardrail/test/out"}]
    with peer(answer(500)) as other, pytest.raises(ConfigError, match="HTTP 500"):
        made(f"pagerduty+http://{KEY}@{other.at}").probe()


def test_urls_that_do_not_give_the_key_alone():
    """The key is the user, and there is nothing else."""
    for url in ("pagerduty://events.pagerduty.com", f"pagerduty://{KEY}:x@events.pagerduty.com", f"pagerduty://{KEY}@host/path"):
        with pytest.raises(ConfigError, match="key alone"):
            made(url)
