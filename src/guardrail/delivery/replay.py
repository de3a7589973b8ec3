"""Sends again what a person asks for: dead letters, or a stretch of time. Beside the courier, with the same ids and bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from guardrail import clock, settings
from guardrail.delivery.courier import CONFIRM_SECONDS, POLL_TOKENS
from guardrail.delivery.couriers import keeping_of, outbox_of
from guardrail.delivery.sink import Caps, Item, Result, retry
from guardrail.errors import ConfigError
from guardrail.ledger import reader
from guardrail.ledger.wanted import Moment, wanted
from guardrail.settings import Sink
from guardrail.settings.values import nearest

_TRIES: Final = 4
_PATIENCE: Final = 30.0  # seconds that the other side may ask to be left alone while a person waits


class Replayed(NamedTuple):
    """What a replay did.

    Attributes:
        arrived: Records that the sink took.
        refused: Records that it will not take.
        gone: Dead letters whose record is no longer in the ledger.
        problem: Why it stopped before the end, "" if it did not.
    """

    arrived: int
    refused: int
    gone: int
    problem: str


def configured(name: str) -> Sink:
    """Return the sink of a name.

    Raises:
        ConfigError: There is none.
    """
    sinks = settings.current().sinks
    if name.lower() not in sinks:
        hint = nearest(name, sinks) if sinks else "set GUARDRAIL_SINK_<NAME>"
        raise ConfigError("there is no sink of that name", hint=hint)
    return sinks[name.lower()]


def probe(sink: Sink) -> str:
    """Prove a sink by a labelled round trip; return what was proven.

    Raises:
        Exception: Whatever the sink raises where it was not.
    """
    made: Any = sink.kind(sink.address)
    try:
        return str(made.probe())
    finally:
        with contextlib.suppress(Exception):
            made.close()


def dead_letters(home: Path, sink: Sink, told: Callable[[int], object]) -> Replayed:
    """Send a sink's dead letters again; those that arrive are forgotten.

    Args:
        home: Whose ledger.
        sink: Which one.
        told: Called with the number of records that arrived since the last time.
    """
    keeping = keeping_of(home, sink.name)
    gone: list[tuple[str, int]] = []

    def items() -> Iterator[Item]:
        with contextlib.closing(outbox_of(home)) as outbox:
            for letter in keeping.dead():
                found, missing = outbox.read(letter.lane, letter.seq - 1, 1)
                if found and not missing and found[0].seq == letter.seq:
                    yield found[0]
                else:
                    gone.append((letter.lane, letter.seq))

    try:
        return _send_all(sink, items(), told, keeping.exhume)._replace(gone=len(gone))
    finally:
        keeping.release()


def stretch(home: Path, sink: Sink, since: Moment | None, until: Moment | None, told: Callable[[int], object]) -> Replayed:
    """Send what was recorded in a stretch of time again, as far as the sink's route wants it.

    Args:
        home: Whose ledger.
        sink: Which one.
        since: From when on, None for the beginning.
        until: Until when, None for now.
        told: As for `dead_letters`.
    """
    route = settings.current().routes.get(sink.name)
    found = reader.stored(wanted(since=since, until=until), home)
    items = (
        Item(each.lane, each.seq, each.line.rstrip(b"\n"))
        for each in found
        if route is None or route.takes(each.record, sink.name)
    )
    return _send_all(sink, items, told, lambda _: None)


def _send_all(
    sink: Sink, items: Iterator[Item], told: Callable[[int], object], note: Callable[[set[tuple[str, int]]], None]
) -> Replayed:
    made: Any = sink.kind(sink.address)
    caps: Caps = getattr(made, "caps", Caps())
    arrived = refused = 0
    try:
        while batch := list(islice(items, caps.items)):
            left, problem = batch, ""
            for _ in range(_TRIES):
                results = _send(made, left)
                here = {(item.lane, item.seq) for item, result in zip(left, results, strict=True) if result.kind == "ok"}
                refused += sum(result.kind == "reject" for result in results)
                arrived += len(here)
                note(here)
                told(len(here))
                again = [(item, result) for item, result in zip(left, results, strict=True) if result.kind == "retry"]
                left = [item for item, _ in again]
                if not left:
                    break
                problem = again[0][1].reason or "it does not take records"
                clock.sleep(min(_PATIENCE, max([1.0, *(result.after or 0.0 for _, result in again)])))
            if left:
                return Replayed(arrived, refused, 0, problem)
    finally:
        with contextlib.suppress(Exception):
            made.close()
    return Replayed(arrived, refused, 0, "")


def _send(made: Any, batch: list[Item]) -> list[Result]:
    try:
        results = list(made.send(batch))
    except ConfigError as problem:
        return [retry(reason=str(problem))] * len(batch)
    except Exception as problem:  # noqa: BLE001 - a client's library; its text may hold what is secret
        return [retry(reason=f"it met an unexpected {type(problem).__name__}")] * len(batch)
    until = clock.now() + CONFIRM_SECONDS
    while (tokens := sorted({each.token for each in results if each.kind == "pending"})) and clock.now() < until:
        clock.sleep(POLL_TOKENS)
        said = dict(zip(tokens, made.poll(tokens), strict=False))  # what it does not tell of is asked for again
        results = [said.get(each.token, each) if each.kind == "pending" else each for each in results]
    return [retry(reason="its arrival was not confirmed") if each.kind == "pending" else each for each in results]
