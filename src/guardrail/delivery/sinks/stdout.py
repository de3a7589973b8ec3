"""Sends records to the standard output stream: JSON lines for those who collect a container's output, or lines for people."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery.address import Address, Option, choice
from guardrail.delivery.plain import guard, parsed, why, word
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError

_SHOWN: Final = ("ts", "event", "guard", "outcome", "confidence", "ms", "why", "id")
_AT_ONCE: Final = 4_096  # bytes for which a pipe that says it has room does have room (PIPE_BUF)


class StdoutSink:
    """The sink of `stdout:`. Each process shows what it made itself.

    Args:
        address: `stdout:`, with options.

    Raises:
        ConfigError: The URL names a host or a path.
    """

    OPTIONS: ClassVar[Mapping[str, Option | None]] = {
        "start": None,  # each process begins with itself
        "insecure": None,
        "format": Option(choice("json", "text"), "json", "records as the ledger has them, or lines for people"),
    }
    caps = Caps(items=1_000, per_process=True)

    def __init__(self, address: Address) -> None:
        if address.host or address.path.strip("/"):
            raise ConfigError(
                f"{address.where} names more than the standard output", hint='write "stdout:" or "stdout:?format=text"'
            )
        self._address = address
        self._text = address.options["format"] == "text"
        self._render: Any = None

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Write a batch to whatever the stream is at this moment, as far as somebody reads it.

        Raises:
            OSError: It cannot be written.
            ValueError: It is closed.
        """
        return self._write([self._for_people(item) if self._text else item.line for item in batch])

    def probe(self) -> str:
        """Write a line that says what it is.

        Raises:
            OSError: It cannot be written.
        """
        line = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test line of guardrail"})
        (result,) = self._write([line])
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return "it takes a test line"

    def close(self) -> None:
        """Leave the stream open: it is the application's."""

    def _write(self, lines: Sequence[bytes]) -> list[Result]:
        stream = sys.stdout
        if stream is None:  # a program without a console has none
            return [retry(reason="this process has no standard output")] * len(lines)
        until = clock.now() + self._address.timeout
        written = 0
        for part in _parts(lines):
            if not _room(stream, until - clock.now()):
                break
            content = b"".join(line + b"\n" for line in part)
            raw = getattr(stream, "buffer", None)
            if raw is None:  # a notebook's takes text alone
                stream.write(content.decode(errors="replace"))
            else:  # the stream's own encoding may have no word for what a record says
                stream.flush()
                raw.write(content)
            stream.flush()
            written += len(part)
        return [ok] * written + [retry(reason="nobody reads the standard output")] * (len(lines) - written)

    def _for_people(self, item: Item) -> bytes:
        if self._render is None:
            import structlog  # noqa: PLC0415 - loaded for those who want lines

            self._render = structlog.processors.KeyValueRenderer(key_order=_SHOWN, drop_missing=True)
        # `repr`, which the renderer uses, escapes whatever could forge a line or steer a terminal.
        return str(self._render(None, "", _shown(item))).encode(errors="backslashreplace")


def _shown(item: Item) -> dict[str, Any]:
    """Return what a line for people says: words, names and numbers, no sentence."""
    record = parsed(item)
    timings, confidence, reasons = (record.get(name) for name in ("timings", "confidence", "reasons"))
    total = timings.get("total") if isinstance(timings, dict) else None
    words = [why(record), word(record.get("stop_reason")), *map(word, reasons if isinstance(reasons, list) else ())]
    found = {
        "ts": word(record.get("ts")), "event": word(record.get("event")), "guard": guard(record), "outcome": word(record.get("outcome")),
        "confidence": confidence if isinstance(confidence, float | int) else None,
        "ms": round(total * 1_000, 1) if isinstance(total, float | int) else None,
        "why": ", ".join(filter(None, words)), "id": word(record.get("id")) or item.id,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _parts(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield whole lines, as many as a pipe surely takes at once, or one that is longer."""
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and size + len(line) + 1 > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line) + 1
    if part:
        yield part


def _room(stream: Any, seconds: float) -> bool:
    """Wait until a stream takes something; return whether it does. One that is no file of the system always does."""
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        poll.register(stream.fileno(), select.POLLOUT)
        return bool(poll.poll(max(0.0, seconds) * 1_000))
    return True
