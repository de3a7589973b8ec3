"""Sends records by e-mail, many in one: when, of which guard, what, and the id. Nothing of an input or an output."""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from email.errors import MessageError
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery import digest, trust
from guardrail.delivery.address import COMMON, Address, Option
from guardrail.delivery.answers import why
from guardrail.delivery.sink import Caps, Item, Result, ok, reject, retry
from guardrail.errors import ConfigError
from guardrail.settings.secrets import Secret
from guardrail.settings.values import text

if TYPE_CHECKING:
    from guardrail.delivery.connection import Deadline

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
_MOST: Final = 50  # addresses of one mail
_REFUSES: Final = 500  # codes from here on are about the mail itself, those before it about this moment
_BLOCK: Final = 16_384
_NOT_LET_IN: Final = frozenset({432, 454, 530, 534, 535, 538})  # RFC 4954, 4.7 and 6: about who we are


def _mailbox(word: str, where: str) -> str:
    try:
        return Mailbox(addr_spec=text(word, where)).addr_spec
    except (ValueError, IndexError, TypeError, AttributeError, MessageError):  # the parser lets all of these out
        raise ConfigError(f"{where} is not an address of e-mail", hint="write risk@bank.example") from None


def _mailboxes(word: str, where: str) -> tuple[str, ...]:
    found = tuple(_mailbox(each.strip(), where) for each in word.split(","))
    if len(found) > _MOST:
        raise ConfigError(f"{where} names more than {_MOST} addresses", hint="write to a list")
    return found


class SmtpSink:
    """The sink of `smtp://user:password@host:587` (with STARTTLS) and `smtps://…` (TLS from the start).

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL does not name one host, does not say from whom and to whom, or gives a user without a password.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "to": Option(_mailboxes, (), "who gets the mails, joined by commas"),
        "from": Option(_mailbox, None, "who sends them"),
        "subject": Option(text, None, "what stands before what the mail counts"),
        **trust.OPTIONS,
        "batch": COMMON["batch"]._replace(default=200),
        "linger": COMMON["linger"]._replace(default=60.0),
    }
    caps = Caps(items=1_000)

    def __init__(self, address: Address) -> None:
        options = address.options
        if not address.host or "," in address.host or address.path.strip("/"):
            raise ConfigError(f"{address.where} does not name one server", hint='write "smtp://host:587?to=…&from=…"')
        if not options["to"] or options["from"] is None:
            raise ConfigError(f"{address.where} does not say to whom and from whom", hint="write ?to=risk@bank.example&from=…")
        if (address.user is None) != (address.password is None):
            raise ConfigError(f"{address.where} gives only one of user and password", hint="give both, or none")
        self._address = address
        self._trusted = trust.Trust.of(address)
        self._tls = address.scheme == "smtps"
        self._plain = not self._tls and address.host in _LOOPBACK

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send one mail about a batch."""
        if not batch:
            return []
        result = self._mail(self._message(digest.title(batch), digest.text(batch), [item.id for item in batch]))
        return [result] * len(batch)

    def probe(self) -> str:
        """Send a mail that says what it is.

        Raises:
            ConfigError: The server did not take it.
        """
        said = orjson.dumps({"event": "test", "sink": self._address.name}).decode()
        result = self._mail(self._message("guardrail: a test", f"{said}\n", [f"test/{clock.wall()}"]))
        if result.kind != "ok":
            raise ConfigError(f"{self._address.where}: {result.reason}")
        many = len(self._address.options["to"])
        return f"it takes a test mail to {many} address{'es' * (many > 1)}"

    def close(self) -> None:
        """Nothing stays open between two mails."""

    def _message(self, title: str, words: str, ids: Sequence[str]) -> EmailMessage:
        options = self._address.options
        found = EmailMessage()
        found["From"], found["To"] = options["from"], ", ".join(options["to"])
        found["Subject"] = f"{options['subject']} {title}" if options["subject"] else title
        found["Date"] = formatdate(clock.wall())
        # The same on every try, so that a mail server or a reader can tell duplicates.
        name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]
        found["Message-ID"] = f"<{name}@guardrail.{options['from'].rpartition('@')[2]}>"
        found["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence notice answers
        found.set_content(words)
        return found

    def _mail(self, message: EmailMessage) -> Result:
        try:
            with self._connected() as server:
                refused = server.send_message(message)
        except smtplib.SMTPAuthenticationError as problem:
            return retry(reason=f"it does not let us in ({problem.smtp_code})", credentials=True)
        except smtplib.SMTPRecipientsRefused as problem:
            return _of_codes([code for code, _ in problem.recipients.values()], "the addresses")
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as problem:
            return _of_codes([problem.smtp_code], "the mail")
        except smtplib.SMTPResponseException as problem:  # it has not seen the mail yet
            return retry(reason=f"it takes no mails now ({problem.smtp_code})")
        except smtplib.SMTPNotSupportedError:
            return retry(reason="it offers no encryption, or no login: write smtps://, or insecure=true", credentials=True)
        except (_Refused, trust.NotReadable) as problem:
            return retry(reason=str(problem), credentials=True)
        except (smtplib.SMTPServerDisconnected, ConnectionResetError, BrokenPipeError):
            return retry(reason="the connection broke")
        except smtplib.SMTPException:
            return retry(reason="it knows no way to log in that we know", credentials=True)
        except (OSError, UnicodeError) as problem:
            return retry(reason=why(problem))
        return _of_codes([code for code, _ in refused.values()], "some of the addresses") if refused else ok

    @contextlib.contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        from guardrail.delivery.connection import Deadline  # noqa: PLC0415 - nothing is needed before something is sent

        where, deadline = self._address, Deadline()
        deadline.begin(where.timeout)
        login = self._login()
        context = self._trusted.context()
        server = _Bounded(
            where.host, where.port or (465 if self._tls else 587), deadline, context if self._tls else None,
            self._trusted.named(where.host),
        )  # fmt: skip
        try:
            if not self._tls:
                server.ehlo_or_helo_if_needed()
                if server.has_extn("starttls"):
                    _encrypt(server, context)
                elif not self._plain and not where.options["insecure"]:
                    raise smtplib.SMTPNotSupportedError
            if login is not None:
                server.login(*login)
            yield server
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()  # the mail has arrived, whatever becomes of the farewell
        finally:
            server.close()

    def _login(self) -> tuple[str, str] | None:
        if self._address.user is None or self._address.password is None:
            return None
        return _ascii(self._address.user), _ascii(self._address.password)


class _Refused(Exception):
    """Something of ours, or of the server's settings, that no mail is to blame for."""


class _Lines:
    """What a server says, line by line, until the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        self._rest = b""

    def readline(self, most: int) -> bytes:
        while b"\n" not in self._rest and len(self._rest) < most:
            self._sock.settimeout(self._deadline.left())
            block = self._sock.recv(_BLOCK)
            if not block:
                break
            self._rest += block
        end = min(self._rest.find(b"\n") + 1 or len(self._rest), most)
        line, self._rest = self._rest[:end], self._rest[end:]
        return line

    def close(self) -> None:
        self._rest = b""


class _Bounded(smtplib.SMTP):
    """A conversation under one deadline, however slowly the server's lines drip in.

    Args:
        host: Where.
        port: There.
        deadline: Of the whole conversation.
        context: For TLS from the start; None to begin in plain text.
        name: The name that the server's certificate must be for.
    """

    def __init__(self, host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None, name: str) -> None:
        self._deadline, self._context, self._name = deadline, context, name
        own = socket.gethostname()
        # By itself, smtplib would look our own name up, which may take long; its own stopgap is the address.
        super().__init__(host, port, local_hostname=own if "." in own and own.isascii() else "[127.0.0.1]")
        self._host = name  # which STARTTLS has the certificate checked for

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - the deadline is what counts
        plain = socket.create_connection((host, port), self._deadline.left())
        if self._context is None:
            return plain
        try:
            plain.settimeout(self._deadline.left())
            return self._context.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise

    def send(self, s: Any) -> None:
        for at in range(0, len(s), _BLOCK):
            if self.sock is not None:
                self.sock.settimeout(self._deadline.left())
            super().send(s[at : at + _BLOCK])

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Lines(self.sock, self._deadline)
        try:
            return super().getreply()
        except smtplib.SMTPServerDisconnected:
            self._deadline.left()  # it may have been that
            raise


def _encrypt(server: smtplib.SMTP, context: ssl.SSLContext) -> None:
    try:
        server.starttls(context=context)
    except smtplib.SMTPResponseException as problem:  # no mail has been seen yet
        raise _Refused(f"it does not begin TLS ({problem.smtp_code})") from None


def _ascii(secret: Secret) -> str:
    found = secret.reveal()
    if not found.isascii():
        raise ConfigError(f"{secret.where} holds what no login over SMTP can carry", hint="use plain characters")
    return found


def _of_codes(codes: Sequence[int], what: str) -> Result:
    """Say what refusals mean: as long as one of them is for now, the mail may still arrive."""
    if any(code in _NOT_LET_IN for code in codes):
        return retry(reason="it does not let us in", credentials=True)
    code = min(codes, default=450)
    said = f"it does not take {what} ({code})"
    return reject(said) if code >= _REFUSES else retry(reason=said)
