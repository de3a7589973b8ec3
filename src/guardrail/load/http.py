"""Load on an HTTP endpoint: rows as JSON bodies over connections that are kept, and what each answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from guardrail.errors import ConfigError
from guardrail.load.tally import Ended
from guardrail.settings.values import masked

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_BODILESS: Final = ("GET", "DELETE")
WORKERS: Final = 128  # requests at the same time, where nobody says
_KEPT: Final = 1000  # connections that are kept open; there are never more than workers
_TIMING: Final = re.compile(r'\s*([!#$%&\'*+\-.^_`|~\w]+)\s*((?:;[^;,"]*(?:"[^"]*")?)*)')
_DURATION: Final = re.compile(r";\s*dur\s*=\s*\"?([\d.]+)\"?")

# What `guardrail.integrations.fastapi` answers with, and what servers in front of it do.
_OUTCOMES: Final[Mapping[int, str]] = {
    202: "deferred", 401: "refused", 403: "refused", 408: "late", 413: "refused", 422: "refused", 429: "refused", 503: "refused",
    504: "late",
}  # fmt: skip


def checked_url(url: str) -> str:
    """Return a URL that load can be put on.

    Raises:
        ConfigError: It is none, or holds a user or password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("--url is no address of an endpoint", hint="write --url http://127.0.0.1:8000/predict")
    if "@" in parts.netloc:
        raise ConfigError(
            "--url holds a user or a password", hint="put an Authorization header into a file, and add --headers FILE"
        )
    return url


def checked_method(method: str) -> str:
    """Return a method of HTTP that load can be put on with.

    Raises:
        ConfigError: It is none.
    """
    if method.upper() not in METHODS:
        raise ConfigError("--method is none that load is put on with", hint=f"write one of {', '.join(METHODS)}")
    return method.upper()


def read_headers(path: Path | None) -> dict[str, str]:
    """Return the headers of a file: a line for each, such as "Authorization: Bearer …"; empty lines and # are passed over.

    Raises:
        ConfigError: A line is none; says which, not what stands in it.
        OSError: The file cannot be read.
    """
    headers: dict[str, str] = {}
    if path is None:
        return headers
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name.strip()):
            raise ConfigError(f"line {number} of {path.name} is no header", hint="write Name: value")
        headers[name.strip()] = value.strip()
    return headers


def outcome_of(status: int) -> str:
    """Return which outcome the status of an answer stands for."""
    return _OUTCOMES.get(status, "answered" if 200 <= status < 400 else "failed")  # noqa: PLR2004 - classes of RFC 9110


def stages_of(header: str | None) -> dict[str, float] | None:
    """Return the seconds by stage that an answer's Server-Timing header tells (W3C), None without one.

    `total` is left out: it is the whole, not a part.
    """
    if not header:
        return None
    found: dict[str, float] = {}
    for match in _TIMING.finditer(header):
        duration = _DURATION.search(match[2])
        if duration is not None and match[1] != "total":
            try:
                found[match[1]] = found.get(match[1], 0.0) + float(duration[1]) / 1000
            except ValueError:
                continue
    return found


class Endpoint:
    """An HTTP endpoint, asked on threads: a connection for each of them, kept open.

    Args:
        url: Where it is.
        method: See `METHODS`.
        headers: Sent with every request.
        timeout: Seconds that a request may take.

    Raises:
        ConfigError: The library for it is not installed, or the method is none.
    """

    version = ""
    budget: float | None = None
    later = False
    workers = WORKERS

    def __init__(self, url: str, *, method: str, headers: Mapping[str, str], timeout: float) -> None:
        try:
            import urllib3  # noqa: PLC0415 - only for load over HTTP
        except ImportError:
            raise ConfigError("load over HTTP needs the extra load", hint='pip install "guardrail-sdk[load]"') from None
        self.method = checked_method(method)
        self.name = masked(url)
        self.notes = ["Stages are those that the answers' Server-Timing header tells, where there is one."]
        self._urllib3: Any = urllib3
        self._url = url
        self._headers = {"User-Agent": "guardrail-load", **headers}
        self._timeout = urllib3.Timeout(total=timeout)
        # A thread that takes a connection puts it back, so that there are never more than threads; one that hangs keeps its own.
        self._pool = urllib3.PoolManager(maxsize=_KEPT, retries=False)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._pool.clear()

    def ask(self, item: Any) -> Ended:
        """Send one request and read its answer to the end; redirects are answers."""
        body: dict[str, Any] = {}
        if item is not None:
            body = {"fields": item} if self.method in _BODILESS else {"json": item}
        try:
            answer = self._pool.request(
                self.method, self._url, headers=self._headers, timeout=self._timeout, redirect=False, **body
            )
        except self._urllib3.exceptions.NewConnectionError as error:  # urllib3 counts it among the timeouts, and it is none
            return Ended({"failed": 1}, error=type(error).__name__)
        except self._urllib3.exceptions.TimeoutError as error:
            return Ended({"late": 1}, error=type(error).__name__)
        except self._urllib3.exceptions.HTTPError as error:
            return Ended({"failed": 1}, error=type(error).__name__)
        outcome = outcome_of(answer.status)
        wrong = None if outcome in ("answered", "deferred") else f"{answer.status} {answer.reason or ''}".strip()
        return Ended({outcome: 1}, stages_of(answer.headers.get("server-timing")), wrong)
