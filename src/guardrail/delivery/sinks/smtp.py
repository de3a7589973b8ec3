"""Sends records by e-mail, many in one: when, of which guard, what, and the id. Nothing of an input or an output."""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.utils import formatdate
from typing import ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery import digest
from guardrail.delivery.address import COMMON, Address, Option
from guardrail.delivery.sink import Caps, Item, Result, ok, reject, retry
from guardrail.errors import ConfigError
from guardrail.settings.values import text

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
_MOST: Final = 50  # addresses of one mail
_REFUSES: Final = 500  # codes from here on are about the mail itself, those before it about this moment


def _mailbox(word: str, where: str) -> str:
    try:
        return Mailbox(addr_spec=text(word, where)).addr_spec
    except (ValueError, IndexError, TypeError, AttributeError):
        raise ConfigError(f"{where} is not an address of e-mail", hint="write risk@bank.example") from None
    except Exception:  # noqa: BLE001 - the parser's own errors have no base but ValueError in some versions
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
        ConfigError: The URL names no host, or does not say from whom and to whom.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "to": Option(_mailboxes, (), "who gets the mails, joined by commas"),
        "from": Option(_mailbox, None, "who sends them"),
        "subject": Option(text, None, "what stands before what the mail counts"),
        "ca": Option(text, None, "the file with the certificate of the server's authority"),
        "batch": COMMON["batch"]._replace(default=200),
        "linger": COMMON["linger"]._replace(default=60.0),
    }
    caps = Caps(items=1_000)

    def __init__(self, address: Address) -> None:
        options = address.options
        if not address.host or address.path.strip("/"):
            raise ConfigError(f"{address.where} does not name one server", hint='write "smtp://host:587?to=…&from=…"')
        if not options["to"] or options["from"] is None:
            raise ConfigError(f"{address.where} does not say to whom and from whom", hint="write ?to=risk@bank.example&from=…")
        self._address = address
        self._tls = address.scheme == "smtps"
        self._plain = not self._tls and address.host in _LOOPBACK

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send one mail about a batch."""
        result = self._mail(self._message(digest.title(batch), digest.text(batch), batch[0].id, len(batch)))
        return [result] * len(batch)

    def probe(self) -> str:
        """Send a mail that says what it is.

        Raises:
            OSError: The server did not take it.
        """
        said = orjson.dumps({"event": "test", "sink": self._address.name}).decode()
        result = self._mail(self._message("guardrail: a test", f"{said}\n", f"test/{clock.wall()}", 1))
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return f"the server takes a test mail to {len(self._address.options['to'])} addresses"

    def close(self) -> None:
        """Nothing stays open between two mails."""

    def _message(self, title: str, words: str, first: str, many: int) -> EmailMessage:
        options = self._address.options
        found = EmailMessage()
        found["From"], found["To"] = options["from"], ", ".join(options["to"])
        found["Subject"] = f"{options['subject']} {title}" if options["subject"] else title
        found["Date"] = formatdate(clock.wall())
        # The same on every try, so that a mail server or a reader can tell duplicates.
        name = hashlib.sha256(f"{first}+{many}".encode()).hexdigest()[:32]
        found["Message-ID"] = f"<{name}@guardrail.{options['from'].rpartition('@')[2]}>"
        found["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence notice answers
        found.set_content(words)
        return found

    def _mail(self, message: EmailMessage) -> Result:
        try:
            with self._connected() as server:
                refused = server.send_message(message)
        except smtplib.SMTPAuthenticationError:
            return retry(reason="the mail server does not let us in", credentials=True)
        except smtplib.SMTPRecipientsRefused as problem:
            return _of_code(max((code for code, _ in problem.recipients.values()), default=450), "the addresses")
        except smtplib.SMTPResponseException as problem:
            return _of_code(problem.smtp_code, "the mail")
        except smtplib.SMTPNotSupportedError:
            return retry(
                reason="the mail server offers no encryption, or no login: write smtps://, or insecure=true", credentials=True
            )
        except ssl.SSLError:
            return retry(reason="the mail server's certificate is not accepted")
        except (OSError, smtplib.SMTPException):
            return retry(reason="the mail server does not answer")
        return reject("the mail server refuses some of the addresses") if refused else ok

    @contextlib.contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        where = self._address
        context = ssl.create_default_context(cafile=where.options["ca"])
        if where.options["insecure"]:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        server: smtplib.SMTP
        if self._tls:
            server = smtplib.SMTP_SSL(where.host, where.port or 465, timeout=where.timeout, context=context)
        else:
            server = smtplib.SMTP(where.host, where.port or 587, timeout=where.timeout)
        try:
            if not self._tls:
                server.ehlo_or_helo_if_needed()
                if server.has_extn("starttls"):
                    server.starttls(context=context)
                elif not self._plain and not where.options["insecure"]:
                    raise smtplib.SMTPNotSupportedError
            if where.user is not None and where.password is not None:
                server.login(where.user.reveal(), where.password.reveal())
            yield server
        finally:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()


def _of_code(code: int, what: str) -> Result:
    said = f"the mail server does not take {what} ({code})"
    return reject(said) if code >= _REFUSES else retry(reason=said)
