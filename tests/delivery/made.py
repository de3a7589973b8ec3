"""Sinks and ledgers that tests of delivery are made of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from guardrail.delivery import Caps, Item, Result, ok, retry, schemes
from guardrail.delivery.address import address
from guardrail.delivery.courier import Courier
from guardrail.delivery.keeping import FileKeeping
from guardrail.delivery.outbox import FileOutbox
from guardrail.settings import Route, Sink
from guardrail.settings.sinks import route as parsed


class Recorder:
    """A sink that keeps what it is sent, and answers as it is told: `answers` is asked for each item."""

    caps = Caps(items=4)

    def __init__(self, where: object) -> None:
        self.where = where
        self.batches: list[list[Item]] = []
        self.answers: Callable[[Item], Result] = lambda item: ok
        self.confirmed: Callable[[str], Result] = lambda token: ok
        self.closed = 0

    def send(self, batch: Sequence[Item]) -> list[Result]:
        self.batches.append(list(batch))
        return [self.answers(item) for item in batch]

    def poll(self, tokens: Sequence[str]) -> list[Result]:
        return [self.confirmed(token) for token in tokens]

    def probe(self) -> str:
        return "it answers"

    def close(self) -> None:
        self.closed += 1

    @property
    def sent(self) -> list[tuple[str, int]]:
        return [(item.lane, item.seq) for batch in self.batches for item in batch]


def sink(name: str = "out", kind: type = Recorder, **options: str) -> Sink:
    """Return a sink as settings would hold it."""
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return Sink(
        name, address(name, f"test://host?{query}" if query else "test://host", "GUARDRAIL_SINK_OUT", {}, "test://host"), kind
    )


def courier(home, found: Sink | None = None, route: str | None = None, own: Callable[[], str | None] = lambda: None) -> Courier:
    """Return a courier over the files of a home."""
    found = found or sink(start="beginning")
    way: Route | None = None if route is None else parsed(route, "GUARDRAIL_ROUTE_OUT")
    return Courier(found, way, FileOutbox(home), FileKeeping(home, found.name), own)


def lane(home, name: str, many: int, first: int = 1, sinks: Sequence[str] = (), **fields: object):
    """Write records into a file of a lane; return their numbers."""
    folder = home / "ledger" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{first:020}.jsonl").open("ab") as file:
        for seq in range(first, first + many):
            record = {"v": 1, "seq": seq, "ts": "2026-01-01T00:00:00.000000Z", "event": "call", "outcome": "answered", **fields}
            if seq == 1 and sinks:
                record["started"] = {"sinks": dict.fromkeys(sinks, "test:")}
            file.write(orjson.dumps(record) + b"\n")
    return [(name, seq) for seq in range(first, first + many)]


def run(found: Courier, most: int = 1_000, **how: bool) -> float | None:
    """Let a courier go until it has to wait; return for how long."""
    for _ in range(most):
        due = found.step(**how)
        if due != 0.0:
            return due
    raise AssertionError("the courier never comes to rest")


class ToFile:
    """A sink of a program of its own: it appends to the file that its URL names, or does as the URL's host says."""

    caps = Caps(items=50)

    def __init__(self, where) -> None:
        self.where = where

    def send(self, batch: Sequence[Item]) -> list[Result]:
        how = self.where.host
        if how == "hang":
            time.sleep(60)
        if how == "refuse":
            return [retry(reason="it refuses")] * len(batch)
        with Path(self.where.path).open("ab") as file:
            file.write(b"".join(b"%s %s\n" % (item.id.encode(), item.line) for item in batch))
            file.flush()
        if how == "die":
            os._exit(9)
        return [ok] * len(batch)

    def probe(self) -> str:
        return "it answers"

    def close(self) -> None:
        pass


class Own(ToFile):
    """The same, for what each process makes itself."""

    caps = Caps(items=50, per_process=True)


def known(monkeypatch=None) -> None:
    """Make the schemes `test:` and `own:` known to this process."""
    for name, kind in (("test", "ToFile"), ("own", "Own")):
        scheme = schemes.Scheme(f"made:{kind}", f"{name}://host/path")
        if monkeypatch is None:
            schemes.SCHEMES[name] = scheme
        else:
            monkeypatch.setitem(schemes.SCHEMES, name, scheme)
