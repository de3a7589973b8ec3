"""The conformance kit for sinks: ours pass, and each way of being broken is found by its name."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable

import pytest
import urllib3

from guardrail import ConfigError
from guardrail.delivery import Caps, Option, ok, pending, reject, retry, schemes
from guardrail.delivery.address import address
from guardrail.testing import CANARY, SINK_CHECKS, HttpPeer, check_sink


class Good:
    """A sink that keeps to the rules."""

    OPTIONS = {"key": Option(None, None, "a secret")}
    caps = Caps(items=10)

    def __init__(self, where) -> None:
        self.where = where
        self.pool = urllib3.PoolManager(retries=False, timeout=where.timeout)

    def post(self, body: bytes):
        url = f"{self.where.scheme}://{self.where.host}:{self.where.port}/"
        return self.pool.request("POST", url, body=body, headers={"Key": self.where.options["key"].reveal()}, redirect=False)

    def body(self, batch) -> bytes:
        return b"\n".join(item.line for item in batch)

    def send(self, batch):
        if not batch:
            return []
        try:
            answer = self.post(self.body(batch))
        except urllib3.exceptions.HTTPError as problem:
            return [retry(reason=type(problem).__name__)] * len(batch)
        if answer.status in (401, 403):
            return [retry(reason="not let in", credentials=True)] * len(batch)
        if answer.status == 207:
            said = json.loads(answer.data)
            return [ok if good else reject("refused") for good in said]
        if answer.status == 413:
            return [reject("too long") if len(batch) == 1 else retry(reason="too much")] * len(batch)
        after = answer.headers.get("Retry-After")
        return [ok if answer.status < 300 else retry(after and float(after), f"HTTP {answer.status}")] * len(batch)

    def probe(self) -> str:
        self.post(b"")
        return "it answers"

    def close(self) -> None:
        self.pool.clear()


class Swallows(Good):
    def send(self, batch):
        super().send(batch)
        return [ok] * len(batch)


class RetriesItself(Good):
    def send(self, batch):
        for _ in range(3):
            results = super().send(batch)
            if not results or results[0].kind == "ok":
                break
        return results


class ShowsItsSecret(Good):
    def send(self, batch):
        logging.getLogger("mine").info("sending with %s", self.where.options["key"].reveal())
        return super().send(batch)


class ShowsItInItsRepr(Good):
    def __repr__(self) -> str:
        return f"Sink({self.where.options['key'].reveal()})"


class ChangesTheBody(Good):
    tries = 0

    def body(self, batch) -> bytes:
        ChangesTheBody.tries += 1
        return super().body(batch) + b" try %d" % ChangesTheBody.tries


class Hangs(Good):
    """As long as its peer does."""

    def post(self, body: bytes):
        self.pool = urllib3.PoolManager(retries=False, timeout=60.0)
        return super().post(body)


class TooFewResults(Good):
    def send(self, batch):
        return super().send(batch)[:1]


class Reorders(Good):
    def send(self, batch):
        return [each for item in reversed(batch) for each in super(Reorders, self).send([item])]


class ReordersWithinABody(Good):
    def body(self, batch) -> bytes:
        return super().body(batch[::-1])


class LosesHalf(Good):
    def body(self, batch) -> bytes:
        return super().body(batch[: (len(batch) + 1) // 2])


class SendsNothing(Good):
    def send(self, batch):
        if not batch:
            self.post(b"")
        return super().send(batch)


class OneResultForNothing(Good):
    def send(self, batch):
        return super().send(batch) or [ok]


class StartsAThread(Good):
    def __init__(self, where) -> None:
        super().__init__(where)
        threading.Thread(target=time.sleep, args=(0.5,), name="too-early", daemon=True).start()


class ConnectsTooEarly(Good):
    def __init__(self, where) -> None:
        super().__init__(where)
        self.early = socket.create_connection((where.host, where.port))

    def close(self) -> None:
        super().close()
        self.early.close()


class SendsTooEarly(Good):
    def __init__(self, where) -> None:
        super().__init__(where)
        self.post(b"hello")


class GivesUpForGood(Good):
    def send(self, batch):
        return [reject("it failed") if each.kind == "retry" else each for each in super().send(batch)]


class DoesNotWait(Good):
    def send(self, batch):
        return [each._replace(after=None) for each in super().send(batch)]


class NeverRereads(Good):
    def send(self, batch):
        return [each._replace(credentials=False) for each in super().send(batch)]


class AlwaysTooLong(Good):
    def send(self, batch):
        return [retry(reason=each.reason) if each.kind == "reject" else each for each in super().send(batch)]


class RefusesTheLot(Good):
    def send(self, batch):
        results = super().send(batch)
        return [reject(each.reason) if each.reason == "too much" else each for each in results]


class TakesPartsForTheWhole(Good):
    def send(self, batch):
        results = super().send(batch)
        return [ok] * len(batch) if any(each.kind == "ok" for each in results) else results


class OneForEach(Good):
    """A request for each item, as many protocols have it."""

    def send(self, batch):
        results = []
        for item in batch:
            results += super().send([item])
            if results[-1].kind != "ok":
                break
        return results + [retry(reason="not tried")] * (len(batch) - len(results))


class ForgetsWhatBroke(OneForEach):
    def send(self, batch):
        results = super().send(batch)
        return [results[0]] * len(batch)


class TrustsAnybody(Good):
    def __init__(self, where) -> None:
        self.where = where
        self.pool = urllib3.PoolManager(retries=False, timeout=where.timeout, cert_reqs="CERT_NONE")


class CannotReopen(Good):
    closed = False

    def send(self, batch):
        if self.closed:
            raise RuntimeError("closed")
        return super().send(batch)

    def close(self) -> None:
        self.closed = True


class StaysAway(Good):
    """Once its peer was away, it is done with it."""

    away = False

    def send(self, batch):
        results = [retry(reason="away")] * len(batch) if self.away else super().send(batch)
        self.away = self.away or any("NewConnection" in each.reason for each in results)
        return results


class TellsWhatItSaid(Good):
    """The other side's words are not ours to repeat: here they hold our own secret."""

    def send(self, batch):
        results = super().send(batch)
        if results and results[0].kind == "retry":
            answer = self.post(self.body(batch))
            return [retry(reason=answer.data.decode())] * len(batch)
        return results


class TellsOfARecord(Good):
    def send(self, batch):
        print("sending", *(item.line for item in batch))  # noqa: T201 - that is what is wrong with it
        return super().send(batch)


class RaisesItsSecret(Good):
    def send(self, batch):
        results = super().send(batch)
        if any(each.reason == "HTTP 500" for each in results):
            raise OSError(f"POST with {self.where.options['key'].reveal()} failed")
        return results


class SaysItInProbe(Good):
    def probe(self) -> str:
        super().probe()
        return f"it takes {self.where.options['key'].reveal()}"


class AlwaysWell(Good):
    def probe(self) -> str:
        return "fine"


class HasNoCaps(Good):
    caps = Caps(items=10, item_size=0)


class Pends(Good):
    """It says later what arrived."""

    asked = 0

    def send(self, batch):
        return [pending(item.id) if each.kind == "ok" else each for item, each in zip(batch, super().send(batch))]

    def poll(self, tokens):
        self.asked += 1
        return [ok if self.asked % 3 == 0 else pending(token) for token in tokens]


class PendsForEver(Pends):
    def poll(self, tokens):
        return [pending(token) for token in tokens]


class PendsUnasked(Pends):
    poll = property()


def make_of(kind: type) -> Callable[[str], object]:
    return lambda url: kind(address("x", url, "the test", kind.OPTIONS, "http://h"))


def url(scheme: str = "http", key: str = CANARY, timeout: str = "2s") -> Callable[[str], str]:
    return lambda at: f"{scheme}://{at}?key={key}&timeout={timeout}"


@pytest.fixture
def peer():
    found = HttpPeer(url(), slow_url=url(timeout="0.2s"), tls_url=url("https"), bodies={"partial": (207, b"[true,false,true]")})
    yield found
    found.stop()


def states(report) -> dict[str, str]:
    return {check.name: check.state for check in report.checks}


def test_a_good_sink_passes_every_check(peer):
    """None fails; what its peer was not asked for is left out."""
    report = check_sink(make_of(Good), peer)
    assert {check.name: (check.state, check.why) for check in report.checks if check.state != "passed"} == {
        "an answer that drips": ("not offered", "the peer cannot do 'drip'")
    }
    report.raise_for_failures()
    assert "passed  order" in str(report)
    assert tuple(states(report)) == SINK_CHECKS


def test_arrivals_that_are_confirmed_later_are_waited_for(peer):
    """As the courier does."""
    check_sink(make_of(Pends), peer).raise_for_failures()


BROKEN = [
    (StartsAThread, "its constructor opens nothing"),
    (ConnectsTooEarly, "its constructor opens nothing"),
    (SendsTooEarly, "its constructor opens nothing"),
    (HasNoCaps, "its shape"),
    (TooFewResults, "one result for each item"),
    (PendsForEver, "one result for each item"),
    (PendsUnasked, "one result for each item"),
    (OneResultForNothing, "an empty batch"),
    (SendsNothing, "an empty batch"),
    (Reorders, "order"),
    (ReordersWithinABody, "order"),
    (LosesHalf, "order"),
    (ChangesTheBody, "the same body on every try"),
    (Swallows, "it sends once"),
    (RetriesItself, "it sends once"),
    (DoesNotWait, "429 with Retry-After"),
    (TakesPartsForTheWhole, "partial failure"),
    (Swallows, "reset in the middle"),
    (Hangs, "a slow peer"),
    (AlwaysTooLong, "an item that is too long"),
    (RefusesTheLot, "an item that is too long"),
    (GivesUpForGood, "expired credentials"),
    (NeverRereads, "expired credentials"),
    (TrustsAnybody, "an unknown certificate"),
    (Swallows, "away and back"),
    (StaysAway, "away and back"),
    (CannotReopen, "close, and go on"),
    (AlwaysWell, "probe"),
    (ShowsItsSecret, "secrets are never shown"),
    (ShowsItInItsRepr, "secrets are never shown"),
    (TellsWhatItSaid, "secrets are never shown"),
    (RaisesItsSecret, "secrets are never shown"),
    (SaysItInProbe, "secrets are never shown"),
    (TellsOfARecord, "records are never shown"),
]


@pytest.mark.parametrize(("kind", "found"), BROKEN, ids=[f"{kind.__name__}, {found}" for kind, found in BROKEN])
def test_each_way_of_being_broken_is_found(peer, kind, found):
    """By the name of its check, and the report raises."""
    report = check_sink(make_of(kind), peer, patience=1.0, only=[found])
    assert states(report) == {found: "failed"}, str(report)
    with pytest.raises(AssertionError, match=found):
        report.raise_for_failures()


def test_every_check_can_fail():
    """There is a broken sink for each."""
    assert {found for _, found in BROKEN} | {"an answer that drips"} == set(SINK_CHECKS)


def test_a_timeout_that_begins_anew_with_each_byte_is_found():
    """By who asks for it."""
    peer = HttpPeer(url(timeout="0.2s"), drips=True)
    try:
        report = check_sink(make_of(Good), peer, patience=1.0, only=["an answer that drips"])
    finally:
        peer.stop()
    assert "does not come back within 1 s" in str(report)


@pytest.mark.parametrize(("kind", "state"), [(OneForEach, "passed"), (ForgetsWhatBroke, "failed"), (Good, "not offered")])
def test_a_connection_that_breaks_between_two_requests(kind, state):
    """Each item has its own result; where a batch is one request, nothing is known."""
    peer = HttpPeer(url())
    try:
        report = check_sink(make_of(kind), peer, only=["partial failure"])
    finally:
        peer.stop()
    assert states(report) == {"partial failure": state}, str(report)


def test_what_a_peer_cannot_do_is_not_passed():
    """It is not offered, and says so."""
    peer = HttpPeer(url(key="plain"), slow_url=url(key="plain", timeout="0.2s"))
    try:
        found = states(check_sink(make_of(Good), peer))
    finally:
        peer.stop()
    left_out = {"partial failure", "an answer that drips", "an unknown certificate", "secrets are never shown"}
    assert {name for name, state in found.items() if state == "not offered"} == left_out


def test_a_check_that_there_is_not(peer):
    """Is told, with the nearest that there is."""
    with pytest.raises(ConfigError, match="a slow peer"):
        check_sink(make_of(Good), peer, only=["slow peer"])
    with pytest.raises(ConfigError, match="a slow peer"):
        check_sink(make_of(Good), peer, inapplicable={"slow peer": "it is quick"})


def test_what_does_not_apply_is_not_made_and_says_why(peer):
    """Not even where it would fail, and never as passed; without a reason it is refused."""
    why = {"it sends once": "nothing answers"}
    report = check_sink(make_of(RetriesItself), peer, only=["it sends once", "its shape"], inapplicable=why)
    assert [tuple(check) for check in report.checks] == [
        ("its shape", "passed", ""), ("it sends once", "not applicable", "nothing answers"),
    ]  # fmt: skip
    assert "not applicable  it sends once: nothing answers" in str(report)
    with pytest.raises(ConfigError, match="not told why"):
        check_sink(make_of(Good), peer, inapplicable={"it sends once": " "})


# ── our own ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def ours(url: str):
    where, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    return kind(where)


def among(body: bytes, item) -> bool:
    return b"kit" in body  # one message tells of many records


SUCCESS = {"answer": b'{"text":"Success","code":0}'}
OURS = {
    "webhook": (f"webhook+http://{{}}/hook?secret={CANARY}&token={CANARY}", {}),
    "webhook in batches": (f"webhook+http://{{}}/hook?secret={CANARY}&format=ndjson&gzip=true", {}),
    "splunk": (f"splunk+http://:{CANARY}@{{}}", SUCCESS),
    "otlp": (f"otlp+http://{{}}?headers=x-key%3D{CANARY}", {}),
    "pagerduty": (f"pagerduty+http://{CANARY}@{{}}", {"answer": b'{"status":"success"}', "holds": among}),
    "slack": (f"slack+http://{{}}?webhook=/services/{CANARY}", {"answer": b"ok", "holds": among}),
}


@pytest.mark.parametrize("name", OURS)
def test_our_own_over_http_pass(name):
    """Whatever their protocol says of it; only what a protocol cannot have is left out."""
    url, more = OURS[name]
    url += "&timeout=" if "?" in url else "?timeout="
    tls = url.replace("+http://", "+https://" if name == "otlp" else "://")
    peer = HttpPeer(f"{url}2s".format, slow_url=f"{url}0.3s".format, tls_url=f"{tls}2s".format, drips=True, **more)
    try:
        report = check_sink(ours, peer)
    finally:
        peer.stop()
    report.raise_for_failures()
    left_out = {check.name for check in report.checks if check.state == "not offered"}
    assert left_out == (set() if name == "webhook" else {"partial failure"}), str(report)
