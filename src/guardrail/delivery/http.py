"""What all sinks over HTTP share: a client that sends one request, once, and ends in time."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from guardrail.delivery import proxy, trust
from guardrail.delivery.address import Address, Option
from guardrail.delivery.answers import Answer, after, why
from guardrail.delivery.targets import Target
from guardrail.errors import ConfigError
from guardrail.settings.secrets import Secret
from guardrail.settings.values import flag

if TYPE_CHECKING:
    from guardrail.delivery.connection import Connection, Deadline

MOST: Final = 65_536  # bytes of an answer that are read
_LEVEL: Final = 3  # of compression: records shrink by as much as with the default, in half the time
_HEADER: Final = re.compile(r"[\x20-\x7e]*")
_TARGET: Final = re.compile(r"/[\x21-\x7e]*")


def options(*, gzip: bool | None = None) -> Mapping[str, Option]:
    """Return the options that sinks over HTTP share.

    Args:
        gzip: Whether requests are compressed where nothing is said; None for a sink that never does.
    """
    shared = {**trust.OPTIONS, "proxy": proxy.OPTION}
    return shared if gzip is None else {**shared, "gzip": Option(flag, gzip, "compress requests")}


class Client:
    """A client of one host, with one connection that is kept. One thread at a time uses it.

    Args:
        where: What an error calls it.
        host: Name or address.
        port: Where.
        timeout: Seconds for a whole request, from looking the host up to the last byte of the answer. (How long a lookup takes
            is the system's to say.)
        secure: Whether over TLS.
        trusted: Whom to trust over TLS; None for the system's authorities.
        via: The proxy that requests go through, as a URL; None for none. It is the sink's own: `HTTPS_PROXY` and its like are not read.
        addresses: Where to connect, checked before; without any, the host is looked up for each new connection.
        path: The path of the sink's address; parts of it may be references.
    """

    def __init__(
        self,
        where: str,
        host: str,
        port: int,
        *,
        timeout: float,
        secure: bool = True,
        trusted: trust.Trust | None = None,
        via: Secret | None = None,
        addresses: Sequence[str] = (),
        path: str = "",
    ) -> None:
        self._where = where
        self._path = Secret(path, f"{where}: path")
        self._host, self._port, self._addresses = host, port, addresses
        self._timeout = timeout
        self._secure, self._trusted, self._via = secure, trusted or trust.Trust(where), via
        self._context: ssl.SSLContext | None = None
        self._connection: Connection | None = None
        self._deadline: Deadline | None = None

    @classmethod
    def of(cls, address: Address, port: int | None = None, *, kept: Sequence[Secret | None] = ()) -> Client:
        """Return the client of a sink's address.

        Args:
            address: Where. A scheme that ends in `+http` is plain text.
            port: Where the address has none; None for what belongs to the protocol.
            kept: Secrets that are not sent.

        Raises:
            ConfigError: There is no host, or secrets would go over the network in plain text.
        """
        if not address.host:
            raise ConfigError(f"{address.where} names no host", hint='write "scheme://host/path"')
        secure = not address.scheme.endswith("+http")
        insecure = bool(address.options["insecure"])
        travels = "${" in address.path or any(each not in kept for each in address.secrets())
        if not secure and travels and not insecure and not _loopback(address.host):
            raise ConfigError(
                f"{address.where} would send a secret in plain text",
                hint=f"write {address.scheme.removesuffix('+http')}:// without +http, or add insecure=true",
            )
        via: Secret | None = address.options["proxy"]
        if via is not None:
            if not secure:
                raise ConfigError(
                    f"{address.where} gives a proxy for plain text", hint="a proxy opens tunnels for TLS: leave +http out"
                )
            if not via.refers:
                proxy.Proxy.of(via)
        if port is None:
            port = 443 if secure else 80
        return cls(
            address.where, address.host, address.port or port, timeout=address.timeout, secure=secure,
            trusted=trust.Trust.of(address), via=via, path=address.path,
        )  # fmt: skip

    @classmethod
    def to(cls, target: Target, timeout: float) -> Client:
        """Return the client of a target that was checked: it connects to the addresses that were, and to no others."""
        return cls("the target", target.host, target.port, timeout=timeout, addresses=target.addresses)

    @property
    def path(self) -> str:
        """The path of the sink's address as a request line has it, without a slash at its end."""
        return quote(self._path.reveal(), safe="/:@!$&'()*+,;=-._~").rstrip("/")

    def post(self, path: str, body: bytes, headers: Mapping[str, str], *, compress: bool = False) -> Answer:
        """Send a request, once, and return what came back; a failure of the network comes back as status 0.

        Args:
            path: What stands in the request line, query included.
            body: What is sent.
            headers: With it.
            compress: Whether it goes in gzip.

        Raises:
            ConfigError: A secret holds what a header or path cannot carry, a certificate file cannot be read, or the host is
                a metadata service.
        """
        headers = {"User-Agent": "guardrail-sdk", **headers}
        if not all(_HEADER.fullmatch(each) for each in headers.values()):
            raise ConfigError(f"{self._where}: a header holds what headers cannot carry", hint="secrets are plain characters")
        if not _TARGET.fullmatch(path):
            raise ConfigError(f"{self._where}: the path holds what no URL can carry", hint="write such characters as %XX")
        if compress:
            import gzip as packer  # noqa: PLC0415 - for who compresses

            body = packer.compress(body, _LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        try:
            return self._exchange(path, body, headers)
        except proxy.NoTunnel as problem:
            self._hang_up()
            if problem.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                return Answer(problem.status)
            return Answer(0, problem=f"the proxy opens no tunnel (HTTP {problem.status})")
        except (OSError, HTTPException, UnicodeError) as problem:
            self._hang_up()
            return Answer(0, problem=why(problem))
        except BaseException:
            self._hang_up()
            raise

    def close(self) -> None:
        """Hang up, and read certificates and secrets again before the next request."""
        self._hang_up()
        self._path.forget()
        self._context = None

    def _exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection, deadline = self._ready()
        deadline.begin(self._timeout)
        try:
            connection.request("POST", path, body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # It has heard enough, and mostly says why: "413".
        response = connection.getresponse()
        found = bytearray()
        while len(found) < MOST:
            piece = response.read(MOST - len(found))
            if not piece:
                break
            found += piece
        if response.length and len(found) < MOST:
            raise ConnectionResetError  # it hung up in the middle of its answer
        if not response.isclosed():
            self._hang_up()  # nobody has to read an endless answer
        return Answer(response.status, bytes(found), after(response.getheader("Retry-After")))

    def _ready(self) -> tuple[Connection, Deadline]:
        from guardrail.delivery.connection import Connection, Deadline  # noqa: PLC0415 - nothing is needed before something is sent

        if self._deadline is None:
            self._deadline = Deadline()
        if self._connection is not None and not self._connection.usable:
            self._hang_up()
        if self._connection is None:
            self._connection = Connection(
                self._host, self._port, self._secured(), self._deadline, self._addresses, name=self._trusted.named(self._host),
                via=None if self._via is None else proxy.Proxy.of(self._via),
            )  # fmt: skip
        return self._connection, self._deadline

    def _secured(self) -> ssl.SSLContext | None:
        if self._secure and self._context is None:
            try:
                self._context = self._trusted.context()
            except trust.NotReadable as problem:
                raise ConfigError(f"{self._where}: {problem}") from None
        return self._context

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def basic(user: Secret | None, password: Secret | None) -> str:
    """Return the header of HTTP's basic authentication."""
    from base64 import b64encode  # noqa: PLC0415 - for who has a password

    word = ":".join("" if each is None else each.reveal() for each in (user, password))
    return f"Basic {b64encode(word.encode()).decode()}"


def _loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
