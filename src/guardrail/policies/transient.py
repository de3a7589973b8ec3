"""Which errors pass by themselves, and how long their sender asks to wait: judged by shape, no client is imported."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from guardrail import clock
from guardrail.errors import CircuitOpen, GuardrailError, LimitExceeded

_STATUSES: Final = (408, 429)
_NEVER_BETTER: Final = (501, 505)  # not implemented, HTTP version not supported
_GRPC: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})
_UNREACHABLE: Final = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH})

# Package and class, looked up along the MRO, so that subclasses count too.
_TRANSIENT: Final = frozenset({
    "aiohttp.ClientConnectionError", "aiohttp.ClientPayloadError",
    "anthropic.APIConnectionError", "openai.APIConnectionError",
    "botocore.ConnectionError", "botocore.HTTPClientError",
    "http.IncompleteRead",
    "httpcore.NetworkError", "httpcore.RemoteProtocolError", "httpcore.TimeoutException",
    "httpx.TransportError",
    "redis.ConnectionError", "redis.TimeoutError",
    "requests.ChunkedEncodingError", "requests.ConnectionError", "requests.Timeout",
    "urllib3.NewConnectionError", "urllib3.ProtocolError", "urllib3.TimeoutError",
})  # fmt: skip
_WRAPPERS: Final = frozenset({"urllib.URLError", "urllib3.MaxRetryError"})  # the error itself is their `reason`
# Subclasses of the transient ones that another try cannot help: a wrong certificate, password or URL.
_FINAL: Final = frozenset({
    "botocore.SSLError", "requests.SSLError",
    "httpx.LocalProtocolError", "httpx.UnsupportedProtocol",
    "redis.AuthenticationError", "redis.AuthorizationError",
})  # fmt: skip


def is_transient(error: Exception) -> bool:
    """Return whether an error is one that may be gone at the next attempt.

    Timeouts; lost and refused connections; HTTP 408, 429 and 5xx (but 501 and 505) however the client spells the
    status; gRPC's UNAVAILABLE, DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED. Never a ValueError or TypeError, whatever else
    it is. Of the library's own errors a deadline is, and so is a refusal that says when it ends.
    """
    if isinstance(error, CircuitOpen | LimitExceeded):
        return error.retry_after is not None
    if isinstance(error, GuardrailError):
        return isinstance(error, TimeoutError)
    if isinstance(error, ValueError | TypeError):
        return False
    status = _status(error)
    if status is not None:
        return status in _STATUSES or (500 <= status < 600 and status not in _NEVER_BETTER)  # noqa: PLR2004 - HTTP's server errors
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    names = set(_names(error))
    if names & _TRANSIENT:
        return not names & _FINAL
    if names & _WRAPPERS:
        reason = _get(error, "reason")
        return isinstance(reason, Exception) and is_transient(reason)
    if isinstance(error, OSError):
        return error.errno in _UNREACHABLE or (isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN)
    return _grpc(error) in _GRPC


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that the sender of an error asks to wait, None where it does not say.

    From the error's own `retry_after`, or the `Retry-After` header of its response: seconds or an HTTP date (RFC 9110,
    section 10.2.3).
    """
    own = _get(error, "retry_after")
    if isinstance(own, timedelta):
        own = own.total_seconds()
    if isinstance(own, int | float) and not isinstance(own, bool):
        return _sensible(float(own))
    for headers in _headers(error):
        try:
            text = headers.get("retry-after") or headers.get("Retry-After")
        except Exception:  # noqa: BLE001, S112 - someone else's object, only looked at
            continue
        if isinstance(text, str) and text.strip():
            return _seconds(text.strip())
    return None


def _names(error: Exception) -> Iterator[str]:
    for kind in type(error).__mro__:
        yield f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _get(thing: object, name: str) -> Any:
    """Return an attribute, None where there is none: a client's property may raise whatever it likes."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001
        return None


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error carries, in any of the clients' spellings."""
    response = _get(error, "response")
    if isinstance(response, dict):  # botocore
        facts = response.get("ResponseMetadata")
        candidates = [facts.get("HTTPStatusCode") if isinstance(facts, dict) else None]
    else:
        candidates = [_get(response, "status_code")]  # requests, httpx
    candidates += [_get(error, name) for name in ("status_code", "status", "code")]  # openai, anthropic; aiohttp; urllib
    for status in candidates:
        if isinstance(status, int) and not isinstance(status, bool) and 100 <= status < 600:  # noqa: PLR2004 - HTTP's range
            return int(status)
    return None


def _grpc(error: Exception) -> str | None:
    code: Callable[[], object] | None = _get(error, "code")
    if not callable(code):
        return None
    try:
        name = _get(code(), "name")
    except Exception:  # noqa: BLE001 - some other `code`, which is not gRPC's
        return None
    return name if isinstance(name, str) else None


def _headers(error: BaseException | None) -> Iterator[Any]:
    response = _get(error, "response")
    if isinstance(response, dict):
        facts = response.get("ResponseMetadata")
        found = [facts.get("HTTPHeaders") if isinstance(facts, dict) else None]
    else:
        found = [_get(response, "headers"), _get(error, "headers")]
    return (headers for headers in found if hasattr(headers, "get"))


def _seconds(text: str) -> float | None:
    try:
        return _sensible(float(text))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - only a date pays for it

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - clock.wall())
    except (ValueError, OverflowError):
        return None


def _sensible(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
