"""Tells people through one of the hundred notification services that Apprise knows, many records in one message."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from guardrail.delivery import digest
from guardrail.delivery.address import COMMON, Address, Option
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError

_TYPES: Final = {"info": "info", "warning": "warning", "error": "failure", "critical": "failure"}


class AppriseSink:
    """The sink of `apprise:?url=…`, where the URL is one of Apprise's own, with its reserved characters escaped, or a reference.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: There is no `url`.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "url": Option(None, None, "Apprise's own URL of the service, such as `${file:/run/secrets/apprise}`"),
        "batch": COMMON["batch"]._replace(default=100),
        "linger": COMMON["linger"]._replace(default=30.0),
    }
    caps = Caps(items=500)

    def __init__(self, address: Address) -> None:
        if address.options["url"] is None or address.host or address.path.strip("/"):
            raise ConfigError(
                f"{address.where} does not say which service", hint='write "apprise:?url=${file:/run/secrets/apprise}"'
            )
        self._address = address

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send one message about a batch.

        Raises:
            ConfigError: Apprise does not know such a URL.
        """
        sent = self._notify(digest.title(batch), digest.text(batch), _TYPES[digest.severity(batch)])
        return [ok if sent else retry(reason="the service did not take the message")] * len(batch)

    def probe(self) -> str:
        """Send a message that says what it is.

        Raises:
            ConfigError: Apprise does not know such a URL.
            OSError: The service did not take it.
        """
        if not self._notify("guardrail: a test", f"a test message of guardrail, for the sink {self._address.name}", "info"):
            raise OSError(5, "the service did not take the message")
        return "the service takes a test message"

    def close(self) -> None:
        """Nothing stays open between two messages."""

    def _notify(self, title: str, body: str, kind: str) -> bool:
        import apprise  # noqa: PLC0415 - an extra

        with _Silently():
            service: Any = apprise.Apprise()
            if not service.add(self._address.options["url"].reveal()):
                raise ConfigError(f"{self._address.where} holds no URL that Apprise knows", hint="see the list of its services")
            with contextlib.redirect_stderr(io.StringIO()):
                return bool(service.notify(body=body, title=title, notify_type=kind))


class _Silently:
    """Keeps Apprise from logging: its lines may name the URL, which is a secret."""

    def __enter__(self) -> None:
        self._log = logging.getLogger("apprise")
        self._was = self._log.disabled
        self._log.disabled = True

    def __exit__(self, *_: object) -> None:
        self._log.disabled = self._was
