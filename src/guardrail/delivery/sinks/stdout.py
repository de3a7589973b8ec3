"""Sends records to the standard output stream: JSON lines for those who collect a container's output, or lines for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from guardrail.delivery.address import Address, Option, choice
from guardrail.delivery.sink import Caps, Item, Result, ok
from guardrail.errors import ConfigError

_SHOWN = ("event", "guard", "outcome", "confidence", "id")


class StdoutSink:
    """The sink of `stdout:`. Each process shows what it made itself.

    Args:
        address: `stdout:`, with options.

    Raises:
        ConfigError: The URL names a host or a path.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "format": Option(choice("json", "text"), "json", "records as the ledger has them, or lines for people"),
    }
    caps = Caps(items=1_000, per_process=True)

    def __init__(self, address: Address) -> None:
        if address.host or address.path.strip("/"):
            raise ConfigError(
                f"{address.where} names more than the standard output", hint='write "stdout:" or "stdout:?format=text"'
            )
        self._name = address.name
        self._text = address.options["format"] == "text"
        self._render: Any = None

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Write a batch to whatever the stream is at this moment.

        Raises:
            OSError: It cannot be written.
            ValueError: It is closed.
        """
        lines = [self._for_people(item) for item in batch] if self._text else [item.line.decode() for item in batch]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        return [ok] * len(batch)

    def probe(self) -> str:
        """Write a line that says what it is."""
        sys.stdout.write(f'{{"event":"test","sink":"{self._name}","text":"a test line of guardrail"}}\n')
        sys.stdout.flush()
        return "it takes a test line"

    def close(self) -> None:
        """Leave the stream open: it is the application's."""

    def _for_people(self, item: Item) -> str:
        if self._render is None:
            import structlog  # noqa: PLC0415 - loaded for those who want lines

            self._render = structlog.processors.KeyValueRenderer(key_order=["ts", *_SHOWN], drop_missing=True)
        record = item.record
        shown = {name: record[name] for name in ("ts", *_SHOWN) if record.get(name) is not None}
        # `repr`, which the renderer uses, escapes whatever could forge a line or steer a terminal.
        return str(self._render(None, "", shown))
