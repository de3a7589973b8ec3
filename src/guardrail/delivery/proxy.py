"""An HTTP proxy between a sink and its other side: it is asked for a tunnel (CONNECT), and sees nothing of what goes through."""

from __future__ import annotations

import socket
from base64 import b64encode
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from guardrail.delivery.address import Option
from guardrail.errors import ConfigError
from guardrail.settings.secrets import Secret

if TYPE_CHECKING:
    from guardrail.delivery.connection import Deadline

OPTION: Final = Option(None, None, "a proxy that requests go through, as http://user:password@proxy:3128")
_LONGEST: Final = 16_384  # bytes of what a proxy says before a tunnel is open
_EXAMPLE: Final = "write proxy=http://proxy:3128, or proxy=${file:/run/secrets/proxy} where it holds a password"


class NoTunnel(Exception):
    """The proxy does not open a tunnel.

    Args:
        status: What it says instead.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Proxy(NamedTuple):
    """Where a proxy is, and how it lets us in ("" where it asks for nothing)."""

    host: str
    port: int
    login: str

    @classmethod
    def of(cls, secret: Secret) -> Proxy:
        """Return what a setting says.

        Raises:
            ConfigError: It is not the URL of a proxy. Nothing of it is shown.
        """
        try:
            parts = urlsplit(secret.reveal())
            port = parts.port or 3128
        except ValueError:
            raise ConfigError(f"{secret.where} is not a URL", hint=_EXAMPLE) from None
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigError(f"{secret.where} is not the URL of an HTTP proxy", hint=_EXAMPLE)
        login = ""
        if parts.username is not None:
            login = b64encode(f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()).decode()
        return cls(parts.hostname, port, login)

    def tunnel(self, sock: socket.socket, host: str, port: int, deadline: Deadline) -> None:
        """Ask over a connection to the proxy for a tunnel to a host (RFC 9110, 9.3.6).

        Raises:
            NoTunnel: It does not open one.
            OSError: It hangs up, or says nothing in time.
        """
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {at} HTTP/1.1", f"Host: {at}", *([f"Proxy-Authorization: Basic {self.login}"] if self.login else [])]
        sock.settimeout(deadline.left())
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        said = b""
        while b"\r\n\r\n" not in said:
            sock.settimeout(deadline.left())
            # Byte by byte: what follows the head belongs to the tunnel.
            piece = sock.recv(1)
            if not piece or len(said) > _LONGEST:
                raise ConnectionResetError
            said += piece
        words = said.split(b" ", 2)
        status = int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1].isdigit() else 0
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise NoTunnel(status)
