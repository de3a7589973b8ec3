"""What an answer over HTTP means for what was sent, and why there may be none."""

from __future__ import annotations

import re
import socket
import ssl
from http import HTTPStatus
from typing import Final, NamedTuple

from guardrail import clock
from guardrail.delivery.sink import Result, ok, reject, retry
from guardrail.errors import ConfigError

LONGEST_WAIT: Final = 3_600.0  # seconds that another may ask to be left alone
_NOT_LET_IN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
# About the address, which all items share: none of them is to blame.
_NOBODY: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE, HTTPStatus.MISDIRECTED_REQUEST})
_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,9})?")
_CERTIFICATES: Final = {
    10: "it has expired",
    18: "it is self-signed",
    19: "its authority is unknown",
    20: "its authority is unknown",
    62: "it is for another name",
    64: "it is for another address",
}


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: The status code; 0 where nothing came back.
        body: Its first 64 kB. It may repeat what we sent, secrets included: never show it.
        after: Seconds that the other side asked to wait.
        problem: Why nothing came back.
    """

    status: int
    body: bytes = b""
    after: float | None = None
    problem: str = ""

    @property
    def taken(self) -> bool:
        """Whether the status says that what was sent was taken."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def result(self, *, alone: bool) -> Result:
        """Say what became of what was sent.

        Args:
            alone: Whether it was a single item. Where one of several is at fault, nobody knows which: all are sent again,
                in smaller batches, until it is alone.
        """
        status, said = self.status, f"HTTP {self.status}"
        if not status:
            return retry(self.after, self.problem)
        if self.taken:
            return ok
        if status in _NOT_LET_IN:
            return retry(self.after, f"{said}: it does not let us in", credentials=True)
        if status in _NOBODY:
            return retry(self.after, f"{said}: nobody takes records at this address", credentials=True)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return retry(self.after, f"{said}: it has moved, and redirects are not followed", credentials=True)
        if status in _LATER or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return retry(self.after, said)
        long = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if alone:
            return reject(f"{said}: it is too long" if long else f"{said}: it is not taken")
        return retry(self.after, f"{said}: too much at once" if long else f"{said}: one of several is not taken")

    def proof(self, where: str, what: str) -> str:
        """Return what was proven by sending a test.

        Raises:
            ConfigError: It was not taken.
        """
        result = self.result(alone=True)
        if result.kind != "ok":
            raise ConfigError(f"{where}: {result.reason}")
        return f"it takes {what}"


def after(said: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for, in either of its forms (RFC 9110, 10.2.3)."""
    if said is None:
        return None
    if _SECONDS.fullmatch(said.strip()):
        return min(float(said), LONGEST_WAIT)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - a rare form

    try:
        moment = parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(moment - clock.wall(), 0.0), LONGEST_WAIT)


def why(problem: BaseException) -> str:
    """Return why nothing came back, in words of our own."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {_CERTIFICATES.get(problem.verify_code, 'it cannot be verified')}"
    if isinstance(problem, TimeoutError):
        return "it did not answer in time"
    if isinstance(problem, ssl.SSLError):
        return "no TLS connection came about"
    if isinstance(problem, socket.gaierror | UnicodeError):
        return "its name is not known"
    if isinstance(problem, ConnectionRefusedError):
        return "it refuses the connection"
    if isinstance(problem, OSError) and not isinstance(problem, ConnectionError) and problem.strerror:
        return problem.strerror
    return "the connection broke"
