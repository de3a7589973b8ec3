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
    """An HTTP endpoint.

    Args:
        url: Where it is.
        method: See `METHODS`.
        headers: Sent with every request.
        timeout: Seconds that a request may take.
        connections: The most that are open at the same time.

    Raises:
        ConfigError: The library for it is not installed, or the method is none.
    """

    def __init__(self, url: str, *, method: str, headers: Mapping[str, str], timeout: float, connections: int) -> None:
        try:
            import httpx  # noqa: PLC0415 - only for load over HTTP
        except ImportError:
            raise ConfigError("load over HTTP needs the extra load", hint='pip install "guardrail-sdk[load]"') from None
        self._httpx: Any = httpx
        self.method = checked_method(method)
        self.name = masked(url)
        self.version = ""
        self.budget: float | None = None
        self.later = True
        self.notes = ["Stages are those that the answers' Server-Timing header tells, where there is one."]
        self._url = url
        self._headers = {"User-Agent": "guardrail-load", **headers}
        self._timeout = timeout
        self._limits = {"max_connections": connections, "max_keepalive_connections": connections}
        self._client: Any = None

    async def open(self) -> None:
        """Make the client; connections are made when they are needed, and kept."""
        httpx = self._httpx
        self._client = httpx.AsyncClient(
            headers=self._headers, timeout=httpx.Timeout(self._timeout, pool=None), limits=httpx.Limits(**self._limits)
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ask(self, item: Any) -> Ended:
        """Send one request and read its answer to the end."""
        body = {"params": item} if self.method in _BODILESS else {"json": item}
        try:
            answer = await self._client.request(self.method, self._url, **body)
        except self._httpx.TimeoutException as error:
            return Ended({"late": 1}, error=type(error).__name__)
        except self._httpx.HTTPError as error:
            return Ended({"failed": 1}, error=type(error).__name__)
        outcome = outcome_of(answer.status_code)
        wrong = None if outcome in ("answered", "deferred") else f"{answer.status_code} {answer.reason_phrase}".strip()
        return Ended({outcome: 1}, stages_of(answer.headers.get("server-timing")), wrong)
