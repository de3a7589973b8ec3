"""What became of a case is sent to where the guard wants it: signed, again after a failure, and told apart by its id."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import ConfigError, Prediction, Review, batch, configure, decide, guarded, ledger, review
from guardrail import settings as all_settings
from guardrail.review import callbacks
from guardrail.review.case import Case

sys.path.insert(0, str(Path(__file__).parents[1] / "delivery"))
import web

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
CANARY = "c4n4ry-in-the-path"
Make = Callable[..., Case]


class Receiver:
    """A server over TLS that answers as it is told, one answer for each request; the last one again and again."""

    def __init__(self, authority_and_key: Path) -> None:
        self.answers: list[bytes | Callable[[socket.socket], object]] = [web.answer(204)]
        self.peer = web.Peer(self._answer, web.server_context(authority_and_key))
        self.url = f"https://{self.peer.at}/hooks/{CANARY}?of=loans"

    def _answer(self, sock: socket.socket) -> None:
        act = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(act):
            act(sock)
        else:
            sock.sendall(act)

    @property
    def got(self) -> list[tuple[dict[str, str], bytes]]:
        """The headers, in lower case, and the body of each request."""
        found = []
        for request in self.peer.requests:
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
            found.append(({name.lower(): value for name, _, value in lines}, body))
        return found


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """An authority, and what a server of this machine shows."""
    return web.certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def receiver(certificates: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver whose authority we trust, and leave to send to this machine."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    monkeypatch.setenv("GUARDRAIL_CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("GUARDRAIL_CALLBACK_PRIVATE", "true")
    all_settings.reset()
    made = Receiver(certificates[1])
    yield made
    made.peer.close()


def delivery(ticket_id: str) -> str:
    """Return how far the answer to a ticket has come."""
    return str(review.details(ticket_id).delivery)


def signed(headers: dict[str, str], body: bytes) -> bool:
    """Check a signature as the receiver would, by the specification of Standard Webhooks."""
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(KEY, text, "sha256")).decode()


@pytest.mark.usefixtures("store")
def test_a_decision_is_sent_once(case: Make, receiver: Receiver, wall: Any) -> None:
    """Signed by the key, named by the ticket, with who asked and what the person answered; the ledger knows."""
    ticket = review.put(case(callback=receiver.url, business_id="loan-17", decision_id="decision-17"))
    assert (callbacks.deliver_due(), delivery(ticket.id)) == (0, "none")
    review.decide(ticket.id, "no", actor="anna")
    assert delivery(ticket.id) == "queued"
    assert (callbacks.deliver_due(), callbacks.deliver_due(), delivery(ticket.id)) == (1, 0, "delivered")
    ((headers, body),) = receiver.got
    assert signed(headers, body)
    assert (headers["webhook-id"], headers["content-type"]) == (ticket.id, "application/json")
    assert int(headers["webhook-timestamp"]) == wall.now
    assert receiver.peer.requests[0].startswith(f"POST /hooks/{CANARY}?of=loans HTTP/1.1".encode())
    said = json.loads(body)
    assert (said["type"], said["timestamp"]) == ("review.decided", "2027-01-15T08:00:00+00:00")
    assert said["data"] == {
        "ticket": ticket.id, "kind": "case", "queue": "loans", "guard": "credit", "version": "1", "decision_id": "decision-17",
        "business_id": "loan-17", "state": "decided", "verdict": "change", "value": "no", "on_expiry": None,
    }  # fmt: skip
    (event,) = [each for each in ledger.read(event="ticket") if each["state"] == "called_back"]
    assert (event["ticket"], event["tries"]) == (ticket.id, 1)


@pytest.mark.usefixtures("store")
def test_every_ending_is_sent(case: Make, receiver: Receiver, wall: Any) -> None:
    """An expired ticket and a cancelled one too; a case without a callback is not."""
    cancelled = review.put(case(1, callback=receiver.url))
    expired = review.put(case(2, callback=receiver.url, due=wall.now + 60, on_expiry="reject"))
    review.put(case(3))
    cancelled.cancel("withdrawn")
    wall.now += 61
    review.expire_due()
    assert callbacks.deliver_due() == 2
    found = {json.loads(body)["data"]["ticket"]: json.loads(body) for _, body in receiver.got}
    assert {key: said["type"] for key, said in found.items()} == {cancelled.id: "review.cancelled", expired.id: "review.expired"}
    assert found[expired.id]["data"]["on_expiry"] == "reject"
    assert [found[each.id]["data"]["value"] for each in (cancelled, expired)] == [None, None]


@pytest.mark.usefixtures("store")
def test_a_receiver_that_fails_gets_it_later(case: Make, receiver: Receiver, wall: Any) -> None:
    """After an error of its own, a broken connection, and a time in which it is not there: delivered once, under one id."""
    receiver.answers = [web.answer(500), web.reset, web.answer(429, Retry_After="3000"), web.answer(200)]
    ticket = review.put(case(callback=receiver.url))
    review.decide(ticket.id, "no", actor="anna")
    for tries in range(1, 4):
        assert (callbacks.deliver_due(), delivery(ticket.id)) == (0, "retrying")
        assert callbacks.deliver_due() == 0
        assert len(receiver.got) == tries  # not before its time
        wall.now += 2999 if tries == 3 else 5.0 * 2 ** (tries - 1)
    callbacks.deliver_due()
    assert len(receiver.got) == 3  # it asked to be left alone for 3,000 s
    wall.now += 2
    assert (callbacks.deliver_due(), delivery(ticket.id)) == (1, "delivered")
    wall.now += 1e6
    assert callbacks.deliver_due() == 0
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [ticket.id] * 4
    assert all(signed(headers, body) for headers, body in receiver.got)
    assert len({body for _, body in receiver.got}) == 1


def test_a_receiver_that_is_away_gets_it_later(case: Make, receiver: Receiver, wall: Any) -> None:
    """Nobody listens at its port for a while, then it is there again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"https://127.0.0.1:{taken.getsockname()[1]}/"
    tickets = [review.put(case(key, callback=url)) for key, url in enumerate([away, receiver.url])]
    for ticket in tickets:
        review.decide(ticket.id, "no", actor="anna")
    assert callbacks.deliver_due() == 1
    assert [delivery(ticket.id) for ticket in tickets] == ["retrying", "delivered"]
    for _ in range(callbacks.MOST_TRIES - 1):
        wall.now += 7 * 3600
        callbacks.deliver_due()
    assert delivery(tickets[0].id) == "dead"
    (event,) = [each for each in ledger.read(event="ticket") if each["state"] == "callback_dead"]
    assert (event["ticket"], event["tries"]) == (tickets[0].id, callbacks.MOST_TRIES)


@pytest.mark.parametrize(
    ("url", "private", "why"),
    [
        ("https://127.0.0.1:{port}/", "false", "port that is not allowed"),
        ("https://127.0.0.1/", "false", "loopback address"),
        ("https://10.1.2.3/", "false", "private address"),
        ("https://169.254.169.254/latest", "true", "metadata address"),
        ("https://user:word@127.0.0.1/", "true", "user or password"),
    ],
)
def test_a_callback_does_not_reach_into_our_network(
    url: str, private: str, why: str, case: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the permission in so many words; and to a metadata service never. The owner is told, and nothing is sent."""
    monkeypatch.setenv("GUARDRAIL_CALLBACK_PRIVATE", private)
    all_settings.reset()
    ticket = review.put(case(callback=url.format(port=receiver.peer.port), owner="credit-ml"))
    review.decide(ticket.id, "no", actor="anna")
    wait_for(lambda: delivery(ticket.id) == "dead")
    assert receiver.peer.connections == 0
    assert any(why in (each.note or "") for each in review.details(ticket.id).steps)
    (event,) = [each for each in ledger.read(event="ticket") if each["state"] == "callback_dead"]
    assert event["notify"] == ["credit-ml"]


def test_what_is_not_taken_is_not_sent_again(case: Make, receiver: Receiver, wall: Any) -> None:
    """A receiver that calls the message wrong would do so again; one that does not let us in may change its mind."""
    receiver.answers = [web.answer(422), web.answer(403)]
    for key in (1, 2):
        review.decide(review.put(case(key, callback=receiver.url)).id, "no", actor="anna")
        assert callbacks.deliver_due() == 0
        wall.now += 1  # one after the other
    assert sorted(each.delivery for each in review.listing("loans", state="all")) == ["dead", "retrying"]


@pytest.mark.usefixtures("store")
def test_two_processes_do_not_send_the_same(case: Make, receiver: Receiver, wall: Any) -> None:
    """Whoever has taken an answer has it for a minute, and then anybody may."""
    del wall
    held = threading.Event()
    receiver.answers = [lambda sock: (held.wait(5), sock.sendall(web.answer(200)))]
    for key in range(4):
        review.decide(review.put(case(key, callback=receiver.url)).id, "no", actor="anna")
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(callbacks.deliver_due())) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(receiver.peer.requests) >= 1)
    held.set()
    for thread in threads:
        thread.join(20)
    assert sum(counts) == 4
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == len(receiver.got) == 4


KILLED = """
import os, signal
from guardrail import clock
from guardrail.review import callbacks
from guardrail.store import engine
clock.wall = engine.now = lambda: 1_800_000_000.0
sweeper.ensure = lambda: None
ticket = queue.put(case(1, callback=sys.argv[1]))
queue.decide(ticket.id, "no", actor="anna")
print(ticket.id, flush=True)
callbacks._note = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
callbacks.deliver_due()
"""


@pytest.mark.usefixtures("store")
def test_who_is_killed_after_sending_has_it_sent_again(receiver: Receiver, start: Any, wall: Any) -> None:
    """At least once, under the same id: the receiver knows it again. Nobody has to clean up behind the dead."""
    process = start(KILLED, receiver.url)
    ticket_id = process.stdout.readline().strip()
    assert process.wait(30) == -signal.SIGKILL
    assert len(receiver.got) == 1
    assert (callbacks.deliver_due(), delivery(ticket_id)) == (0, "queued")  # the dead one has it for a minute
    wall.now += 61
    assert (callbacks.deliver_due(), delivery(ticket_id)) == (1, "delivered")
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [ticket_id] * 2
    assert len({body for _, body in receiver.got}) == 1


def test_a_dead_receiver_does_not_keep_the_others_waiting(
    case: Make, receiver: Receiver, wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that keeps deadlines goes back to them before everything is sent."""
    del wall
    monkeypatch.setattr(callbacks, "_ROUND", 0.0)
    for key in range(3):
        review.decide(review.put(case(key, callback=receiver.url)).id, "no", actor="anna")
    assert callbacks.deliver_due() == 0
    monkeypatch.setattr(callbacks, "_ROUND", 20.0)
    monkeypatch.setattr(callbacks, "_AT_ONCE", 2)
    assert callbacks.deliver_due() == 3


@pytest.mark.parametrize("kind", ["sync", "async", "table"])
def test_a_guard_calls_back_by_itself(kind: str, receiver: Receiver) -> None:
    """From the deferred call to the request, without anybody who looks at the queue."""
    option = Review("loans", callback=receiver.url)

    @guarded(name="g", version="1", confidence=0.9, review=option)
    def predict(x: int) -> Prediction[int]:
        return Prediction(x, 0.5)

    @guarded(name="g", version="1", confidence=0.9, review=option)
    async def later(x: int) -> Prediction[int]:
        return Prediction(x, 0.5)

    @guarded(name="g", version="1", confidence=0.9, review=option, batch=True)
    def table(rows: list[int]) -> list[Prediction[int]]:
        return [Prediction(row, 0.5) for row in rows]

    if kind == "async":
        ticket = asyncio.run(decide(later, 7)).ticket
    else:
        ticket = decide(predict, 7).ticket if kind == "sync" else batch(table, [7])[0].ticket
    assert ticket is not None
    review.decide(ticket.id, 8, actor="anna")
    wait_for(lambda: delivery(ticket.id) == "delivered")
    ((_, body),) = receiver.got
    assert json.loads(body)["data"]["value"] == 8


def pushed(case: Make, receiver: Receiver, **fields: Any) -> review.Ticket:
    """File a case that is pushed."""
    return review.put(case(callback=receiver.url, push=True, **fields))


@pytest.mark.usefixtures("store")
def test_a_new_case_is_pushed_and_then_how_it_ended(case: Make, receiver: Receiver, wall: Any) -> None:
    """Each once, signed, under ids of their own; the first with what a reviewer sees."""
    del wall
    shown = {"income": 100, "name": {"$sealed": {"field": "name"}}}
    ticket = pushed(case, receiver, business_id="loan-17", arguments={"rival": "CC"}, shown=shown, guide="chapter 4")
    assert (callbacks.deliver_due(), callbacks.deliver_due(), delivery(ticket.id)) == (1, 0, "delivered")
    review.decide(ticket.id, "no", actor="anna")
    assert (callbacks.deliver_due(), callbacks.deliver_due(), delivery(ticket.id)) == (1, 0, "delivered")
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"{ticket.id}-filed", ticket.id]
    assert all(signed(headers, body) for headers, body in receiver.got)
    new, ended = (json.loads(body) for _, body in receiver.got)
    assert (new["type"], ended["type"], ended["data"]["value"]) == ("review.filed", "review.decided", "no")
    assert new["data"] == {
        "ticket": ticket.id, "queue": "loans", "guard": "credit", "version": "1", "business_id": "loan-17", "reason": "low",
        "guide": "chapter 4", "confidence": 0.4, "reviewers": 1, "due": None, "case": {"income": 100, "name": "sealed"},
        "provisional": "yes", "choices": ["yes", "no"], "answers": None,
    }  # fmt: skip
    states = [each["state"] for each in ledger.read(event="ticket")]
    assert [state for state in states if state in ("pushed", "called_back")] == ["pushed", "called_back"]


@pytest.mark.usefixtures("store")
def test_a_case_that_ends_while_it_is_pushed_is_told_all_the_same(case: Make, receiver: Receiver, wall: Any) -> None:
    """Neither does the one overwrite the other, nor is a case pushed that nobody need answer any more."""
    early = pushed(case, receiver)
    receiver.answers = [
        lambda sock: (review.decide(early.id, "no", actor="anna"), sock.sendall(web.answer(200))),
        web.answer(200),
    ]
    callbacks.deliver_due()
    callbacks.deliver_due()
    assert delivery(early.id) == "delivered"
    gone = pushed(case, receiver, key=2)
    gone.cancel("withdrawn")
    wall.now += 1
    callbacks.deliver_due()
    types = [json.loads(body)["type"] for _, body in receiver.got]
    assert types == ["review.filed", "review.decided", "review.cancelled"]


def test_a_push_that_never_arrives_leaves_the_case_and_its_end(case: Make, receiver: Receiver, wall: Any) -> None:
    """The case waits here as ever; its end is tried anew."""
    receiver.answers = [web.answer(422), web.answer(200)]
    ticket = pushed(case, receiver)
    callbacks.deliver_due()
    assert (delivery(ticket.id), review.get(ticket.id).state) == ("dead", "pending")
    assert [each["state"] for each in ledger.read(event="ticket") if each["state"] == "push_dead"] == ["push_dead"]
    review.decide(ticket.id, "no", actor="anna")
    wall.now += 1
    assert (callbacks.deliver_due(), delivery(ticket.id)) == (1, "delivered")


def test_gold_cases_are_pushed_like_others_and_their_answers_are_not_sent(case: Make, receiver: Receiver, wall: Any) -> None:
    """Whoever gets answers would take one for a decision; whoever gets cases cannot tell them."""
    del wall
    for key, fields in ((1, {}), (2, {"kind": "gold", "expected": "no"})):
        pushed(case, receiver, key=key, **fields)
    assert callbacks.deliver_due() == 2
    bodies = [json.loads(body)["data"] for _, body in receiver.got]
    assert {key: value for key, value in bodies[0].items() if key != "ticket"} == {
        key: value for key, value in bodies[1].items() if key != "ticket"
    }
    for body in bodies:
        review.decide(body["ticket"], "no", actor="anna")
    assert callbacks.deliver_due() == 1


def test_a_guard_pushes_its_cases(receiver: Receiver) -> None:
    """With what `show` lets people see; without an address to push to it is misuse."""

    @guarded(name="g", version="1", confidence=0.9, review=Review("loans", callback=receiver.url, push=True, show=["x"]))
    def predict(x: int, rival: int) -> Prediction[int]:
        return Prediction(x, 0.5)

    decide(predict, 7, 8)
    wait_for(lambda: bool(receiver.got))
    assert json.loads(receiver.got[0][1])["data"]["case"] == {"x": 7}
    with pytest.raises(ConfigError, match="needs an address"):
        Review("loans", push=True)


def test_nothing_secret_is_told(
    case: Make, receiver: Receiver, wall: Any, home: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the key, nor the person's answer, nor the address, which may hold a token: not where it failed either."""
    caplog.set_level(logging.DEBUG)
    receiver.answers = [web.answer(500, b"you sent " + CANARY.encode()), web.answer(400, CANARY.encode())]
    ticket = review.put(case(callback=receiver.url, choices=None))
    review.decide(ticket.id, "an answer of its own", actor="anna")
    callbacks.deliver_due()
    wall.now += 3600
    callbacks.deliver_due()
    assert delivery(ticket.id) == "dead"
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file() and not path.name.startswith("store.db"))
    told = caplog.text + "".join(capfd.readouterr()) + written.decode(errors="replace") + repr(review.details(ticket.id).steps)
    assert "callback_dead" in written.decode(errors="replace")
    for secret in (CANARY, SECRET, KEY.decode(), web.SECRET, "an answer of its own"):
        assert secret not in told


def test_a_key_that_is_no_key_is_refused_with_the_guard() -> None:
    """Not when the first case has been decided."""
    configure(callback_secret="whsec_not base64!")

    @guarded(name="g", version="1", review=Review("loans", callback="https://bank.example/hook"))
    def predict(x: int) -> int:
        return x

    with pytest.raises(ConfigError, match="not base64"):
        predict(1)


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something is true."""
    until = time.monotonic() + 15
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)
