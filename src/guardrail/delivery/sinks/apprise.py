"""Tells people through one of the hundred notification services that Apprise knows, many records in one message."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, Final

from guardrail.delivery import digest
from guardrail.delivery.address import COMMON, Address, Option
from guardrail.delivery.aside import Aside
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError

# Their lines may hold the URL, or its path, which with many services is the secret.
_TALKATIVE: Final = ("apprise", "requests", "urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry")
_SENDING: Final[ContextVar[bool]] = ContextVar("guardrail-apprise-sending", default=False)
_TYPES: Final = {"info": "info", "warning": "warning", "error": "failure", "critical": "failure"}


class AppriseSink:
    """The sink of `apprise:?url=…`, where the URL is one of Apprise's own, with its reserved characters escaped, or a reference.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: There is no `url`.
    """

    OPTIONS: ClassVar[Mapping[str, Option | None]] = {
        "insecure": None,  # Apprise's own URL says it: verify=no
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
        self._aside: Aside[bool] = Aside(address.timeout)

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send one message about a batch.

        Raises:
            ConfigError: Apprise does not know such a URL.
        """
        if not batch:
            return []
        said = digest.title(batch), digest.text(batch), _TYPES[digest.severity(batch)]
        try:
            sent = self._aside.call(lambda: self._notify(*said))
        except TimeoutError:
            return [retry(reason="it did not answer in time")] * len(batch)
        return [ok if sent else retry(reason="the service did not take the message")] * len(batch)

    def probe(self) -> str:
        """Send a message that says what it is.

        Raises:
            ConfigError: Apprise does not know such a URL, or the service did not take the message.
            TimeoutError: The service did not answer in time.
        """
        said = "guardrail: a test", f"a test message of guardrail, for the sink {self._address.name}", "info"
        if not self._aside.call(lambda: self._notify(*said)):
            raise ConfigError(f"{self._address.where}: the service did not take the message")
        return "it takes a test message"

    def close(self) -> None:
        """Nothing stays open between two messages."""

    def _notify(self, title: str, body: str, kind: str) -> bool:
        import apprise  # noqa: PLC0415 - an extra

        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(_unless_sending)
        url = self._address.options["url"].reveal()
        before = _SENDING.set(True)
        try:
            # One after the other, so that what is sent runs in this context; Apprise hands it on to threads of its own.
            service: Any = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))
            if not service.add(url):
                raise ConfigError(f"{self._address.where} holds no URL that Apprise knows", hint="see the list of its services")
            if len(service) != 1:
                raise ConfigError(f"{self._address.where} holds more than one URL", hint="make a sink of each")
            for each in service:
                each.socket_connect_timeout = each.socket_read_timeout = self._address.timeout
            return bool(service.notify(body=body, title=title, notify_type=kind, body_format="text"))
        finally:
            _SENDING.reset(before)


def _unless_sending(_: logging.LogRecord) -> bool:
    """Leave out what is logged while a message of ours is sent, and nothing that others log meanwhile."""
    return not _SENDING.get()
