"""Sends records to a syslog server over TLS: RFC 5424 messages, framed by their length as RFC 5425 has it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery.address import Address, Option
from guardrail.delivery.plain import guard, kind, micros, parsed, severity, word
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError
from guardrail.settings.values import text

_FACILITY: Final = 13  # "log audit"
_SEVERITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6}
_ID: Final = "guardrail@32473"  # the number that RFC 5612 keeps for examples: guardrail has none of its own
_ESCAPED: Final = re.compile(r'(["\\\]])')
_NAME: Final = re.compile(r"[!-~]{1,48}")


def _app(word_: str, where: str) -> str:
    if not _NAME.fullmatch(word_):
        raise ConfigError(f"{where} is not a name that syslog takes", hint="use printable characters without blanks, 48 at most")
    return word_


class SyslogSink:
    """The sink of `syslog+tls://host:6514`.

    Syslog acknowledges nothing: a record counts as arrived when the connection took it and was not closed by the other side.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL names no host.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "app": Option(_app, "guardrail", "the name of the application in each message"),
        "ca": Option(text, None, "the file with the certificate of the server's authority"),
        "cert": Option(text, None, "the file with a certificate of our own, and its key where `key` names no other"),
        "key": Option(text, None, "the file with the key of that certificate"),
    }
    caps = Caps(items=500, item_size=60_000)

    def __init__(self, address: Address) -> None:
        if not address.host or address.path.strip("/"):
            raise ConfigError(f"{address.where} does not name one server", hint='write "syslog+tls://host:6514"')
        self._address = address
        self._app: str = address.options["app"]
        self._host = socket.gethostname() or "-"
        self._socket: ssl.SSLSocket | None = None

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Write a batch; where the connection was closed meanwhile, all of it is sent again: twice is better than never."""
        try:
            self._write(b"".join(frame(item, self._host, self._app) for item in batch))
        except ssl.SSLCertVerificationError:
            self.close()
            return [retry(reason="the syslog server's certificate is not accepted")] * len(batch)
        except ssl.SSLError:
            self.close()
            return [retry(reason="the syslog server does not talk TLS as it should, or refuses our certificate")] * len(batch)
        except OSError:
            self.close()
            return [retry(reason="the syslog server does not answer")] * len(batch)
        return [ok] * len(batch)

    def probe(self) -> str:
        """Write a record that says what it is.

        Raises:
            OSError: The server cannot be reached, or closed the connection.
        """
        said = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        (result,) = self.send([Item("test", int(clock.wall() * 1e6), said)])
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return "the server takes a test record, as far as syslog can tell"

    def close(self) -> None:
        """Hang up."""
        found, self._socket = self._socket, None
        if found is not None:
            with contextlib.suppress(OSError):
                found.close()

    def _write(self, content: bytes) -> None:
        if self._socket is not None and self._closed(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._connected()
        self._socket.sendall(content)
        if self._closed(self._socket):
            raise ConnectionResetError

    def _closed(self, connection: ssl.SSLSocket) -> bool:
        """Return whether the other side has hung up; it has nothing else to say."""
        while select.select([connection], [], [], 0)[0] or connection.pending():
            connection.settimeout(0.05)
            try:
                if not connection.recv(1_024):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
            finally:
                connection.settimeout(self._address.timeout)
        return False

    def _connected(self) -> ssl.SSLSocket:
        where, options = self._address, self._address.options
        context = ssl.create_default_context(cafile=options["ca"])
        if options["cert"] is not None:
            context.load_cert_chain(options["cert"], options["key"])
        if options["insecure"]:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((where.host, where.port or 6514), where.timeout)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return context.wrap_socket(plain, server_hostname=where.host)
        except BaseException:
            plain.close()
            raise


def frame(item: Item, host: str, app: str) -> bytes:
    """Return a record as a message of RFC 5424 with its length before it (RFC 5425, 4.3)."""
    record = parsed(item)
    at = micros(record)
    stamp = word(record.get("ts")) if at is not None else "-"
    priority = _FACILITY * 8 + _SEVERITIES[severity(record)]
    data = {"id": item.id, "event": word(record.get("event")), "outcome": word(record.get("outcome")), "guard": guard(record)}
    words = " ".join(f'{name}="{_escaped(value)}"' for name, value in data.items() if value)
    name = host if _NAME.fullmatch(host) else "-"
    head = f"<{priority}>1 {stamp or '-'} {name} {app} {os.getpid()} {kind(record)[:32]} [{_ID} {words}] "
    # RFC 5424, 6.4: what begins with the byte order mark is UTF-8
    message = head.encode() + b"\xef\xbb\xbf" + item.line
    return b"%d %s" % (len(message), message)


def _escaped(value: str) -> str:
    return _ESCAPED.sub(r"\\\1", value)
