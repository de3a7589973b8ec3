"""The conformance kit for sinks: ours pass, and each way of being broken is found by its name."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable

import pytest
import urllib3

from guardrail.delivery import Caps, Option, ok, reject, retry, schemes
from guardrail.delivery.address import address
from guardrail.testing import CANARY, HttpPeer, check_sink


class Good:
    """A sink that keeps to the rules."""

    OPTIONS = {"key": Option(None, None, "a secret")}
    caps = Caps(items=10)

    def __init__(self, where) -> None:
        self.where = where
        self.pool = urllib3.PoolManager(retries=False, timeout=where.timeout)

    def post(self, body: bytes):
        url = f"http://{self.where.host}:{self.where.port}/"
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
        if answer.status == 401:
            return [retry(reason="not let in", credentials=True)] * len(batch)
        if answer.status == 207:
            said = json.loads(answer.data)
            return [ok if good else reject("refused") for good in said]
        if answer.status == 413:
            return [reject("too long")] * len(batch)
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
    def send(self, batch):
        try:
            return super().send(batch)
        finally:
            if batch and self.where.timeout and getattr(self, "slow", 0):
                time.sleep(0)

    def post(self, body: bytes):
        self.pool = urllib3.PoolManager(retries=False, timeout=30.0)
        return super().post(body)


class TooFewResults(Good):
    def send(self, batch):
        return super().send(batch)[:1]


class Reorders(Good):
    caps = Caps(items=10)

    def send(self, batch):
        return [each for item in reversed(batch) for each in super(Reorders, self).send([item])]


class StartsAThread(Good):
    def __init__(self, where) -> None:
        super().__init__(where)
        threading.Thread(target=time.sleep, args=(0.5,), name="too-early", daemon=True).start()


class GivesUpForGood(Good):
    def send(self, batch):
        return [reject("it failed") if each.kind == "retry" else each for each in super().send(batch)]


class AlwaysWell(Good):
    def probe(self) -> str:
        return "fine"


def make_of(kind: type) -> Callable[[str], object]:
    return lambda url: kind(address("x", url, "the test", kind.OPTIONS, "x://h"))


@pytest.fixture
def peer():
    found = HttpPeer(lambda at: f"x://{at}?key={CANARY}&timeout=0.5s", bodies={"partial": (207, b"[true,false,true]")})
    yield found
    found.stop()


def states(report) -> dict[str, str]:
    return {check.name: check.state for check in report.checks}


def test_a_good_sink_passes_every_check(peer):
    """None fails, and none is left out."""
    report = check_sink(make_of(Good), peer)
    assert {check.name: (check.state, check.why) for check in report.checks if check.state != "passed"} == {}
    report.raise_for_failures()
    assert "passed  order" in str(report)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (Swallows, "it sends once"),
        (RetriesItself, "it sends once"),
        (ShowsItsSecret, "secrets are never shown"),
        (ShowsItInItsRepr, "secrets are never shown"),
        (ChangesTheBody, "the same body on every try"),
        (Hangs, "a slow peer"),
        (TooFewResults, "one result for each item"),
        (Reorders, "order"),
        (StartsAThread, "its constructor opens nothing"),
        (GivesUpForGood, "expired credentials"),
        (AlwaysWell, "probe"),
    ],
)
def test_each_way_of_being_broken_is_found(peer, kind, found):
    """By the name of its check, and the report raises."""
    report = check_sink(make_of(kind), peer)
    assert states(report)[found] == "failed"
    with pytest.raises(AssertionError, match=found):
        report.raise_for_failures()


def test_what_a_peer_cannot_do_is_not_passed():
    """It is not offered, and says so."""
    peer = HttpPeer(lambda at: f"x://{at}?key=plain&timeout=0.5s")
    try:
        found = states(check_sink(make_of(Good), peer))
    finally:
        peer.stop()
    assert found["partial failure"] == found["secrets are never shown"] == "not offered"


# ── our own ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def ours(url: str):
    where, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    return kind(where)


def among(body: bytes, item) -> bool:
    return b"kit" in body  # one message tells of many records


@pytest.mark.parametrize(
    ("url", "more"),
    [
        (f"webhook+http://{{}}/hook?secret={CANARY}&format=ndjson&timeout=0.5s", {}),
        (f"splunk+http://:{CANARY}@{{}}?timeout=0.5s", {"answer": b'{"text":"Success","code":0}'}),
        (f"otlp+http://{{}}?headers=x-key%3D{CANARY}&timeout=0.5s", {}),
        (f"pagerduty+http://{CANARY}@{{}}?timeout=0.5s", {"answer": b'{"status":"success"}', "holds": among}),
        (f"slack+http://{{}}?webhook=/services/{CANARY}&timeout=0.5s", {"answer": b"ok", "holds": among}),
    ],
    ids=["webhook", "splunk", "otlp", "pagerduty", "slack"],
)
def test_our_own_over_http_pass(url, more):
    """Whatever their protocol says of it."""
    peer = HttpPeer(url.format, **more)
    try:
        report = check_sink(ours, peer)
    finally:
        peer.stop()
    failed = {check.name: check.why for check in report.checks if check.state == "failed"}
    assert failed == {}, str(report)
