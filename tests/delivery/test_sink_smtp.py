"""E-mail against a real server: what a mail tells, what it does not, and what a server's refusals mean."""

from __future__ import annotations

import contextlib
import email
import socket
import ssl
import threading
import time
from email import policy

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from messages import CANARY, certificate, dead_port, free_port, items, kinds, sink

from guardrail.delivery import schemes
from guardrail.errors import ConfigError

__all__ = ["certificate"]


class Mails:
    """What a mail server got; it answers as it is told."""

    def __init__(self) -> None:
        self.got: list = []
        self.answer = "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.answer.startswith("2"):
            self.got.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return self.answer

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def let_in(server, session, envelope, mechanism, data) -> AuthResult:
    return AuthResult(success=data.password == b"right", handled=data.password == b"right")


@pytest.fixture
def mails(certificate):
    handler = Mails()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Controller(
        handler, hostname="127.0.0.1", port=free_port(), tls_context=context, authenticator=let_in, auth_require_tls=True, server_hostname="localhost",
    )  # fmt: skip
    server.start()
    handler.url = f"smtp://ann:right@localhost:{server.port}?to=risk@bank.example,it@bank.example&from=guardrail@bank.example&ca={certificate}"
    yield handler
    server.stop()


def test_a_mail_tells_of_a_batch_and_nothing_of_what_was_decided(mails):
    """Encrypted and logged in; the same batch has the same Message-ID, and a guard's name forges no header."""
    found = sink(mails.url)
    batch = [*items(2), *items(1, first=3, guard="x\r\nBcc: eve@evil.example")]
    assert kinds(found.send(batch)) == ["ok"] * 3
    assert kinds(found.send(batch)) == ["ok"] * 3
    one, two = mails.got
    assert one["Message-ID"] == two["Message-ID"]
    assert one["Subject"] == "guardrail: 3 refused"
    assert one["To"] == "risk@bank.example, it@bank.example"
    assert one["Bcc"] is None
    assert "loans  refused  01a2-1" in one.get_content()
    assert "measles" not in one.as_string()
    assert "takes a test mail" in found.probe()


def test_a_mail_server_that_refuses(mails):
    """For now, for good, an address, a login; each is told from the others, and no secret is in any text."""
    found = sink(mails.url)
    mails.answer = "451 try again"
    assert kinds(found.send(items(2))) == ["retry"] * 2
    mails.answer = "554 no"
    assert kinds(found.send(items(2))) == ["reject"] * 2
    mails.answer = "250 OK"
    assert kinds(sink(mails.url.replace("it@", "nobody@")).send(items(1))) == ["reject"]
    (result,) = sink(mails.url.replace("right", CANARY)).send(items(1))
    assert (result.kind, result.credentials) == ("retry", True)
    assert CANARY not in repr(result)


def test_no_password_goes_to_a_mail_server_that_is_not_proven(mails):
    """An unknown certificate; and one that is away is told from it."""
    (result,) = sink(mails.url.partition("&ca=")[0]).send(items(1))
    assert (result.kind, "certificate" in result.reason) == ("retry", True)
    (result,) = sink(f"smtp://localhost:{dead_port()}?to=a@b.example&from=c@d.example&timeout=1s").send(items(1))
    assert (result.kind, result.reason) == ("retry", "it refuses the connection")
    assert mails.got == []


def test_a_mail_of_other_records_has_another_id(mails):
    """As many records, and the same first one: whoever removes duplicates must not lose the others."""
    found = sink(mails.url)
    one, two, three = items(3)
    for batch in ([one, two], [one, three], [one], [one, two]):
        assert kinds(found.send(batch)) == ["ok"] * len(batch)
    first, second, third, again = (mail["Message-ID"] for mail in mails.got)
    assert len({first, second, third}) == 3
    assert again == first


def test_an_empty_batch_is_nothing():
    """Not even a connection."""
    assert sink(f"smtp://localhost:{dead_port()}?to=a@b.example&from=c@d.example").send([]) == []


def test_mails_are_gathered_for_a_minute():
    """Where nothing else is said."""
    where, _ = schemes.read("out", "smtp://h?to=a@b.example&from=c@d.example", "GUARDRAIL_SINK_OUT")
    assert (where.options["linger"], where.options["batch"]) == (60.0, 200)
    where, _ = schemes.read("out", "smtp://h?to=a@b.example&from=c@d.example&linger=1s&batch=5", "GUARDRAIL_SINK_OUT")
    assert (where.options["linger"], where.options["batch"]) == (1.0, 5)


# ── a server that says what it is told to ─────────────────────────────────────────────────────────────────────────────
class Scripted:
    """Answers each command as told, otherwise as a plain server does; it keeps what it hears."""

    def __init__(self, **answers: str) -> None:
        self.answers = {"greeting": "220 hi", "EHLO": "250 me", "DATA": "354 go", "QUIT": "221 bye", ".": "250 taken", **answers}
        self.heard: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.at = f"localhost:{self.listener.getsockname()[1]}"
        self.over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            with near, near.makefile("rb") as lines, contextlib.suppress(OSError):
                self._say(near, self.answers["greeting"])
                data = False
                for line in lines:
                    text = line.decode().strip()
                    self.heard.append(text)
                    word = text.split(" ")[0].upper()
                    if data and text != ".":
                        continue
                    data = word == "DATA" and self.answers["DATA"].startswith("354")
                    self._say(near, self.answers.get(word, "250 fine"))

    def _say(self, near: socket.socket, answer: str) -> None:
        if answer == "hang up":
            near.shutdown(socket.SHUT_RDWR)
        elif answer == "drip":
            while not self.over.wait(0.05):
                near.sendall(b"2")
        elif answer == "talk":
            while not self.over.is_set():
                near.sendall(b"250-on and on\r\n" * 100)
        else:
            near.sendall(answer.encode() + b"\r\n")

    def send(self, more: str = "", user: str = "", many: int = 2, timeout: str = "1s"):
        found = sink(f"smtp://{user}{self.at}?to=a@b.example,c@d.example&from=e@f.example&timeout={timeout}{more}")
        return found.send(items(many))


@pytest.fixture
def scripted():
    made: list[Scripted] = []

    def make(**answers: str) -> Scripted:
        made.append(Scripted(**answers))
        return made[-1]

    yield make
    for each in made:
        each.over.set()
        each.listener.close()


@pytest.mark.parametrize(
    ("answers", "kind", "credentials"),
    [
        ({}, "ok", False),
        ({"QUIT": "hang up"}, "ok", False),
        ({"QUIT": "500 what"}, "ok", False),
        ({"greeting": "554 no mail service here"}, "retry", False),
        ({"greeting": "421 come back"}, "retry", False),
        ({"greeting": "hang up"}, "retry", False),
        ({"greeting": "hello"}, "retry", False),
        ({"greeting": "220 " + "x" * 20_000}, "retry", False),
        ({"EHLO": "500 what", "HELO": "550 no"}, "retry", False),
        ({"MAIL": "530 log in first"}, "retry", True),
        ({"MAIL": "550 not you"}, "reject", False),
        ({"MAIL": "452 full"}, "retry", False),
        ({"RCPT": "550 nobody"}, "reject", False),
        ({"RCPT": "450 later"}, "retry", False),
        ({"DATA": "hang up"}, "retry", False),
        ({".": "552 too long"}, "reject", False),
        ({".": "451 later"}, "retry", False),
        ({".": "hang up"}, "retry", False),
        ({".": "nonsense"}, "retry", False),
    ],
)
def test_what_a_server_says_of_the_mail_and_what_of_itself(scripted, answers, kind, credentials):
    """Only what is said of the mail makes dead letters; what was taken before the farewell has arrived."""
    server = scripted(**answers)
    results = server.send()
    assert [(each.kind, each.credentials) for each in results] == [(kind, credentials)] * 2
    shown = repr(results)
    assert not any(word in shown for word in ("nobody", "log in first", "come back", "service here"))


def test_an_address_that_is_refused_for_now_is_tried_again(scripted):
    """As servers do that list strangers gray; the others may get the mail twice, with the same Message-ID."""
    server = scripted()
    refusals = iter(["250 fine", "450 later", "550 nobody", "450 later", "250 fine", "550 nobody"])
    server.answers = Turning(server.answers, refusals)
    assert [server.send(many=1)[0].kind for _ in range(3)] == ["retry", "retry", "reject"]


class Turning(dict):
    """Answers of which that to RCPT is another each time."""

    def __init__(self, answers, refusals) -> None:
        super().__init__(answers)
        self.refusals = refusals

    def get(self, word, otherwise=None):
        return next(self.refusals) if word == "RCPT" else super().get(word, otherwise)


@pytest.mark.parametrize("where", ["greeting", "EHLO", "MAIL", "DATA", "."])
@pytest.mark.parametrize("how", ["drip", "talk"])
def test_a_server_that_never_ends_is_left_in_time(scripted, where, how):
    """Neither a byte now and then nor an endless answer begins the time anew."""
    server = scripted(**{where: how})
    begun = time.monotonic()
    results = server.send(many=1, timeout="0.2s")
    assert kinds(results) == ["retry"]
    assert time.monotonic() - begun < 4


def test_no_password_is_told_to_a_server_without_encryption(scripted, monkeypatch):
    """Nor any mail, unless it is on this machine, or somebody has said that it may."""
    server = scripted(EHLO="250-me\r\n250 AUTH PLAIN", AUTH="235 in")
    assert kinds(server.send(user=f"ann:{CANARY}@")) == ["ok"] * 2
    monkeypatch.setattr("guardrail.delivery.sinks.smtp._LOOPBACK", frozenset())
    server.heard.clear()
    (result,) = server.send(user=f"ann:{CANARY}@", many=1)
    assert (result.kind, result.credentials) == ("retry", True)
    assert "encryption" in result.reason
    assert {line.split(" ")[0] for line in server.heard} <= {"ehlo", "QUIT", "quit"}
    assert kinds(server.send("&insecure=true", user=f"ann:{CANARY}@")) == ["ok"] * 2


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"EHLO": "250-me\r\n250 STARTTLS", "STARTTLS": "454 not now"}, "begin TLS"),
        ({"EHLO": "250 me"}, "no login"),
        ({"EHLO": "250-me\r\n250 AUTH GSSAPI"}, "way to log in"),
        ({"EHLO": "250-me\r\n250 AUTH PLAIN", "AUTH": "535 wrong"}, "let us in"),
        ({"EHLO": "250-me\r\n250 AUTH PLAIN", "AUTH": "454 later"}, "let us in"),
    ],
)
def test_a_login_that_does_not_come_about_is_about_credentials(scripted, answers, told):
    """No mail is to blame, and none is sent."""
    server = scripted(**answers)
    (result,) = server.send(user=f"ann:{CANARY}@", many=1)
    assert (result.kind, result.credentials) == ("retry", True)
    assert told in result.reason
    assert CANARY not in repr(result)
    assert not any(line.lower().startswith(("mail", "data")) for line in server.heard)


def test_files_and_passwords_that_cannot_be_used_are_told(scripted):
    """By the option's name, and without the password."""
    server = scripted()
    (result,) = server.send("&ca=/none", many=1)
    assert (result.kind, result.credentials, "that ca names" in result.reason) == ("retry", True, True)
    with pytest.raises(ConfigError, match="password holds what no login") as caught:
        server.send(user=f"ann:{CANARY}%C3%A4@")
    assert CANARY not in str(caught.value)
    assert server.heard == []
    with pytest.raises(ConfigError, match="that ca names"):
        sink(f"smtp://{server.at}?to=a@b.example&from=c@d.example&ca=/none").probe()


def test_smtps_talks_tls_from_the_start(certificate):
    """To whoever can prove itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handler = Mails()
    server = Controller(handler, hostname="127.0.0.1", port=free_port(), ssl_context=context, server_hostname="localhost")
    # The controller proves that it runs by a connection of its own, whose certificate nobody checks.
    server.start()
    try:
        at = f"smtps://localhost:{server.port}?to=a@b.example&from=c@d.example"
        assert kinds(sink(f"{at}&ca={certificate}").send(items(2))) == ["ok"] * 2
        (result,) = sink(at).send(items(1))
        assert (result.kind, "certificate" in result.reason) == ("retry", True)
    finally:
        server.stop()
    assert len(handler.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "smtp://h", "smtp://h?to=a&from=b@c.example", "smtp://h?to=a@b.example", "smtps://h/x?to=a@b.example&from=a@b.example",
        "smtp://ann@h?to=a@b.example&from=a@b.example", "smtp://h,i?to=a@b.example&from=a@b.example",
        "smtp://h?to=a@b.example%0D%0ABcc:x@y.example&from=a@b.example", "smtp://h?to=a@b.example&from=a@b.example&subject=x%0Ay",
    ],
)  # fmt: skip
def test_a_url_that_says_too_little_is_refused_at_the_start(url):
    """Before the first record."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT"):
        sink(url)
