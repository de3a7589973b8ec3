"""Gives durable records to the sinks that want them. A sink that fails is counted and said once; the ledger keeps everything."""

from __future__ import annotations

from typing import Final, Protocol

import orjson

from guardrail import lifecycle, notices, settings
from guardrail.delivery.sinks.file import FileSink
from guardrail.delivery.sinks.stdout import StdoutSink
from guardrail.settings import Route, Sink


class Writable(Protocol):
    """What a sink is."""

    def write(self, lines: list[bytes]) -> None:
        """Take whole lines; an error means that they did not all arrive."""

    def close(self) -> None:
        """Let go of what is open."""


_open: Final[dict[Sink, Writable]] = {}


def take(lines: list[bytes]) -> None:
    """Give lines to every sink whose route takes them."""
    now = settings.current()
    for sink in [sink for sink in _open if now.sinks.get(sink.name) != sink]:
        _open.pop(sink).close()
    for name, sink in now.sinks.items():
        route = now.routes.get(name)
        wanted = lines if route is None else _routed(lines, route)
        if wanted:
            _give(sink, wanted)


def _routed(lines: list[bytes], route: Route) -> list[bytes]:
    return [line for line in lines if route.takes(orjson.loads(line))]


def _give(sink: Sink, lines: list[bytes]) -> None:
    try:
        found = _open.get(sink)
        if found is None:
            found = _open[sink] = StdoutSink() if sink.path is None else FileSink(sink.path)
        found.write(lines)
    except (OSError, ValueError) as problem:
        notices.say(
            f"sink-{sink.name}",
            f"the sink {sink.name} did not take records ({getattr(problem, 'strerror', None) or type(problem).__name__});"
            " the ledger has them",
        )


def _in_child() -> None:
    for found in _open.values():
        found.close()
    _open.clear()


lifecycle.after_fork(_in_child)
