"""Sends records to a syslog server over TLS: RFC 5424 messages, framed by their length as RFC 5425 has it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import struct
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery import trust
from guardrail.delivery.address import Address, Option
from guardrail.delivery.answers import why
from guardrail.delivery.plain import guard, kind, micros, parsed, severity, word
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from guardrail.delivery.connection import Deadline

_PORT: Final = 6514
_FACILITY: Final = 13  # "log audit"
_SEVERITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6}
_ID: Final = "guardrail@32473"  # the number that RFC 5612 keeps for examples: guardrail has none of its own
_ESCAPED: Final = re.compile(r'(["\\\]])')
_NAME: Final = re.compile(r"[!-~]{1,48}")
_HOST: Final = re.compile(r"[!-~]{1,255}")
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_GRACE: Final = 1.0  # seconds that a server has for its word after the handshake
_LISTENED: Final = 0.05  # seconds after a batch: a connection that it broke says so a round trip later
_SURE: Final = 5.0  # seconds after which a connection that still stands has not lost what was written
_KEPT: Final = 4_000_000  # bytes that are kept to be written again; the last batch always is
_PIECE: Final = 65_536
_CHATTER: Final = 16  # blocks that a server may say unasked


def _app(word_: str, where: str) -> str:
    if not _NAME.fullmatch(word_):
        raise ConfigError(f"{where} is not a name that syslog takes", hint="use printable characters without blanks, 48 at most")
    return word_


class SyslogSink:
    """The sink of `syslog+tls://host:6514`.

    Syslog acknowledges nothing: a record counts as arrived when the other side's TCP has acknowledged it and nobody hung up. What was
    written last is kept, and written again, with the same ids, where the connection turns out to have been closed behind it.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL does not name one host, gives a password, or a key without its certificate.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "app": Option(_app, "guardrail", "the name of the application in each message"),
        **trust.OPTIONS,
    }
    caps = Caps(items=2_000, item_size=60_000)  # few and large: after each batch the server is listened to for a while

    def __init__(self, address: Address) -> None:
        host = address.host
        if not host or "," in host or address.path.strip("/") or address.user or address.password:
            raise ConfigError(f"{address.where} does not name one server", hint='write "syslog+tls://host:6514"')
        self._address = address
        self._trusted = trust.Trust.of(address)
        self._app: str = address.options["app"]
        self._host = socket.gethostname()
        self._socket: ssl.SSLSocket | None = None
        self._kept: deque[tuple[float, bytes]] = deque()  # when it was written, and what

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Write a batch, behind what a closed connection may have lost: twice is better than never."""
        if not batch:
            return []
        try:
            self._write(b"".join(frame(item, self._host, self._app) for item in batch))
        except (_NotLetIn, trust.NotReadable) as problem:
            return [retry(reason=str(problem), credentials=True)] * len(batch)
        except (OSError, UnicodeError) as problem:
            self._hang_up()
            return [retry(reason=why(problem))] * len(batch)
        return [ok] * len(batch)

    def probe(self) -> str:
        """Write a record that says what it is.

        Raises:
            ConfigError: The server cannot be reached, or closed the connection.
        """
        said = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        (result,) = self.send([Item("test", int(clock.wall() * 1e6), said)])
        if result.kind != "ok":
            raise ConfigError(f"{self._address.where}: {result.reason}")
        return "it takes a test record, as far as syslog can tell"

    def close(self) -> None:
        """Hang up; what a living connection took is not written again."""
        if self._socket is not None and not _closed(self._socket):
            self._kept.clear()
        self._hang_up()

    def _hang_up(self) -> None:
        found, self._socket = self._socket, None
        if found is not None:
            with contextlib.suppress(OSError):
                found.close()

    def _write(self, content: bytes) -> None:
        from guardrail.delivery.connection import Deadline  # noqa: PLC0415 - nothing is needed before something is sent

        deadline = Deadline()
        deadline.begin(self._address.timeout)
        if self._socket is not None and _closed(self._socket):
            self._hang_up()
        again = self._socket is None and bool(self._kept)
        if self._socket is None:
            self._socket = self._connected(deadline)
        else:
            self._forget(clock.now() - _SURE, _KEPT)
        view = memoryview(b"".join([*(each for _, each in self._kept), content]) if again else content)
        while view:
            self._socket.settimeout(deadline.left())
            view = view[self._socket.send(view[:_PIECE]) :]
        if _closed(self._socket, min(_LISTENED, deadline.left())):
            raise ConnectionResetError
        while _unacknowledged(self._socket):
            deadline.left()
            if _closed(self._socket, _LISTENED):
                raise ConnectionResetError
        now = clock.now()
        if again:
            self._kept = deque((now, each) for _, each in self._kept)
        self._kept.append((now, content))
        self._forget(0.0, _KEPT)

    def _forget(self, before: float, most: int) -> None:
        """Drop what was written before a moment, and what is more than so many bytes, the oldest first."""
        size = sum(len(each) for _, each in self._kept)
        while self._kept and (self._kept[0][0] < before or (size > most and len(self._kept) > 1)):
            size -= len(self._kept.popleft()[1])

    def _connected(self, deadline: Deadline) -> ssl.SSLSocket:
        context = self._trusted.context()
        host = self._address.host
        places = socket.getaddrinfo(host, self._address.port or _PORT, type=socket.SOCK_STREAM)
        problem: OSError | None = None
        for at, (*_, place) in enumerate(places):
            share = deadline.left() / (len(places) - at)  # one that swallows everything leaves time for the next
            try:
                plain = socket.create_connection((str(place[0]), int(place[1])), share)
            except OSError as error:
                problem = error
                continue
            try:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                plain.settimeout(deadline.left())
                found = context.wrap_socket(plain, server_hostname=self._trusted.named(host))
            except BaseException:
                plain.close()
                raise
            try:
                _let_in(found, deadline)
            except BaseException:
                found.close()
                raise
            return found
        raise problem or OSError("the host has no address")


class _NotLetIn(Exception):
    """Our certificate is not accepted."""


def _let_in(connection: ssl.SSLSocket, deadline: Deadline) -> None:
    """Wait until the server has had its say about our certificate.

    With TLS 1.3 the handshake is over for us before the server has looked at it: what is written then is lost where it
    refuses us. A session ticket says that it does not, and a server that gives none has a moment to hang up.
    """
    if connection.version() != "TLSv1.3":
        return
    connection.settimeout(0)
    news = select.poll()
    news.register(connection, select.POLLIN)
    until = clock.now() + _GRACE
    while (left := until - clock.now()) > 0 and not (connection.session is not None and connection.session.has_ticket):
        news.poll(min(left, deadline.left()) * 1_000)
        try:
            if not connection.recv(1_024):
                raise ConnectionResetError
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            raise _NotLetIn("it wants a certificate of ours, or another one") from None


def _closed(connection: ssl.SSLSocket, wait: float = 0.0) -> bool:
    """Return whether the other side has hung up, or does within some seconds; it has nothing else to say."""
    connection.settimeout(0)
    news = select.poll()
    news.register(connection, select.POLLIN)
    until = clock.now() + wait
    for _ in range(_CHATTER):
        try:
            if not connection.recv(1_024):
                return True
        except ssl.SSLWantReadError:
            if (left := until - clock.now()) <= 0:
                return False
            news.poll(left * 1_000)
        except OSError:
            return True
    return False


def _unacknowledged(connection: ssl.SSLSocket) -> int:
    """Return how many bytes the other side's TCP has not acknowledged (Linux, SIOCOUTQ); 0 where nobody tells."""
    if sys.platform != "linux":
        return 0
    import fcntl  # noqa: PLC0415 - not everywhere
    import termios  # noqa: PLC0415 - as above

    return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0])


def frame(item: Item, host: str, app: str) -> bytes:
    """Return a record as a message of RFC 5424 with its length before it (RFC 5425, 4.3)."""
    record = parsed(item)
    stamp = record["ts"] if micros(record) is not None and _STAMP.fullmatch(record["ts"]) else "-"
    priority = _FACILITY * 8 + _SEVERITIES[severity(record)]
    data = {"id": item.id, "event": word(record.get("event")), "outcome": word(record.get("outcome")), "guard": guard(record)}
    words = " ".join(f'{name}="{_escaped(value)}"' for name, value in data.items() if value)
    name = host if _HOST.fullmatch(host) else "-"
    head = f"<{priority}>1 {stamp} {name} {app} {os.getpid()} {kind(record)[:32]} [{_ID} {words}] "
    # RFC 5424, 6.4: what begins with the byte order mark is UTF-8
    message = head.encode() + b"\xef\xbb\xbf" + item.line
    return b"%d %s" % (len(message), message)


def _escaped(value: str) -> str:
    return _ESCAPED.sub(r"\\\1", value)
