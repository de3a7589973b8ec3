"""One connection over HTTP that ends in time, whatever the other side does; imported when something is sent.

It is made from the standard library's: urllib3 writes the paths of requests to the log, and a path may be a secret.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
from collections.abc import Sequence
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final, cast

from guardrail import clock
from guardrail.delivery.targets import is_metadata
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from guardrail.delivery.proxy import Proxy

_PIECE: Final = 65_536


class Deadline:
    """The moment at which a request is over. A timeout of the socket alone begins anew with each byte that drips in."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        """Let a request begin that may take so long."""
        self._until = clock.now() + seconds

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: None are.
        """
        left = self._until - clock.now()
        if left <= 0:
            raise TimeoutError
        return left


class _Reading(io.RawIOBase):
    """Reads from a socket until the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Bounded:
    """What `http.client` needs of a socket, each wait bounded by the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def sendall(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            self._sock.settimeout(self._deadline.left())
            view = view[self._sock.send(view[:_PIECE]) :]

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - it is always "rb"
        return io.BufferedReader(_Reading(self._sock, self._deadline))

    def close(self) -> None:
        self._sock.close()

    def quiet(self) -> bool:
        """Say whether the other side has sent nothing unasked: neither its end nor an answer to something else."""
        asked = select.poll()
        asked.register(self._sock, select.POLLIN)
        return not asked.poll(0)


class Connection(HTTPConnection):
    """A connection to a host, by addresses that were checked before where there are any.

    Args:
        host: For the `Host` header and the certificate.
        port: Where.
        context: None for plain text.
        deadline: Of the request that is under way.
        addresses: Where to connect; without any, the host is looked up.
        name: The name that the certificate must be for; the host's where it is not given.
        via: The proxy that opens a tunnel; None to connect to the host itself.
    """

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext | None, deadline: Deadline, addresses: Sequence[str] = (), *,
        name: str = "", via: Proxy | None = None,
    ) -> None:  # fmt: skip
        self.default_port = 80 if context is None else 443  # which the `Host` header leaves out
        super().__init__(host, port)
        self.set_debuglevel(0)  # an application may have set it for the class: then headers are printed, tokens among them
        self._context = context
        self._deadline = deadline
        self._addresses = addresses
        self._name = name or host.rstrip(".")
        self._via = via

    def connect(self) -> None:
        """Connect, and shake hands.

        Raises:
            ConfigError: The host is a machine's metadata service.
            NoTunnel: The proxy opens no tunnel.
            OSError: It cannot be reached in time, or its certificate is not accepted.
        """
        sock = self._opened()
        try:
            if self._via is not None:
                self._via.tunnel(sock, self.host, self.port, self._deadline)
            if self._context is not None:
                sock.settimeout(self._deadline.left())
                sock = self._context.wrap_socket(sock, server_hostname=self._name)
        except BaseException:
            sock.close()
            raise
        self.sock = cast("socket.socket", _Bounded(sock, self._deadline))

    @property
    def usable(self) -> bool:
        """Whether it is open, and the other side has not hung up."""
        return self.sock is not None and cast("_Bounded", self.sock).quiet()

    def _opened(self) -> socket.socket:
        problem: OSError | None = None
        host, port = (self.host, self.port) if self._via is None else (self._via.host, self._via.port)
        if self._via is not None and _is_metadata(self.host):
            raise ConfigError("the host is a machine's metadata service, and no sink")
        addresses = self._addresses or _looked_up(host, port)
        for place, address in enumerate(addresses):
            if is_metadata(address):
                raise ConfigError("the host is a machine's metadata service, and no sink")
            share = self._deadline.left() / (len(addresses) - place)  # one that swallows everything leaves time for the next
            try:
                sock = socket.create_connection((address, port), share)
            except OSError as error:
                problem = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        raise problem or OSError("the host has no address")


def _looked_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _is_metadata(host: str) -> bool:
    """Whether what a proxy is asked for is a metadata service; a name is the proxy's to look up."""
    try:
        return is_metadata(host)
    except ValueError:
        return False
