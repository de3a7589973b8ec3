"""Gives cases to another tool, as files in its own format: what its people see there is what reviewers see here, and no more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final, Literal, NamedTuple

from guardrail import clock
from guardrail.errors import AccessDenied, ConfigError
from guardrail.ledger import told
from guardrail.ledger.wanted import Wanted
from guardrail.review import argilla, deciding, desk, label_studio, rows, upkeep
from guardrail.review.case import Actor, Row, StaleClaim, TicketClosed, TicketHeld
from guardrail.review.forms import Form, form_of, task_of
from guardrail.store import engine

Tool = Literal["label-studio", "argilla"]
TOOLS: Final[Mapping[str, ModuleType]] = {"label-studio": label_studio, "argilla": argilla}
_WAITING: Final = ("pending", "adjudicate")


class HandedOut(NamedTuple):
    """What was handed out.

    Attributes:
        tickets: The ids of the cases in the files, the most urgent first.
        left: How many others wait that are answered in another form: the next files are theirs.
        paths: The files.
    """

    tickets: tuple[str, ...]
    left: int
    paths: tuple[Path, ...]


def hand_out(
    path: Path | str,
    queue: str,
    to: Tool = "label-studio",
    *,
    guard: str | None = None,
    actor: Actor | str | None = None,
    lease: clock.Duration = "1d",
    blind: bool = False,
    limit: int | None = None,
) -> HandedOut:
    """Write the cases that wait in a queue into files for another tool; `take_in` brings the answers back.

    One set of files is for cases of one form (the same choices, or the same kind of answer), since a project there has one form for
    all. What is sealed stays so, `Review(show=...)` holds there too, and nobody can tell which cases are gold. It is recorded.

    Args:
        path: For "label-studio" the file of tasks; beside it, with `.xml` in place of its ending, stands the configuration of
            the project. For "argilla" a folder, to be read by `rg.Dataset.from_disk`. Neither may be there. Only their owner can
            read them.
        queue: Of this queue.
        to: "label-studio" or "argilla".
        guard: Only of this guard.
        actor: Who will answer there: the cases are claimed for them, so that nobody here works on them meanwhile. None for
            anybody: then the cases stay in the queue, and who answers first has decided.
        lease: With `actor`: for how long, at most a day.
        blind: Whether the model's answer is hidden, and how sure it was.
        limit: The most to hand out, None for all.

    Raises:
        ConfigError: The tool is unknown, or there is something at the path.
        OSError: A file cannot be written.
        StoreError: The store cannot be read, or does not take a claim.
    """
    if to not in TOOLS:
        raise ConfigError("there is no such tool to hand out to", hint=f"choose from {', '.join(map(repr, TOOLS))}")
    if limit is not None and limit < 1:
        raise ConfigError("nothing would be handed out", hint="write limit=100, or None for all")
    base, names = Path(path), {"": Path(path), ".xml": Path(path).with_suffix(".xml")}
    if any(place.exists() or place.is_symlink() for place in ((base,) if to == "argilla" else names.values())):
        raise ConfigError(f"{base} is there already", hint="name another, or remove it")
    who = None if actor is None else Actor.of(actor)
    form, found, left, tokens = _chosen(queue, guard, who, lease, blind=blind, limit=limit)
    if form is None:
        return HandedOut((), left, ())
    paths: list[Path] = []
    try:
        made = TOOLS[to].files([task_of(row, blind=blind) for row in found], form, queue, blind=blind)
        for name, text in made.items():
            place = base / name if to == "argilla" else names[name]
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.touch(mode=0o600, exist_ok=False)
            paths.append(place)
            place.write_bytes(text)
    except BaseException:
        for place in paths:
            place.unlink(missing_ok=True)
        for token in tokens:
            with contextlib.suppress(StaleClaim):
                deciding.release(token)
        raise
    desk.opened(queue)
    told.tell("export", Wanted(), len(found), what="cases", queue=queue, guard=guard, to=to)
    return HandedOut(tuple(row["id"] for row in found), left, tuple(paths))


def _chosen(
    queue: str, guard: str | None, who: Actor | None, lease: clock.Duration, *, blind: bool, limit: int | None
) -> tuple[Form | None, list[Row], int, list[str]]:
    """Return the form of the most urgent case, all cases of that form, how many have another, and the tokens of claims."""
    form: Form | None = None
    found: list[Row] = []
    left, tokens = 0, list[str]()
    for row in _waiting(queue, guard):
        if form is not None and form_of(row) != form:
            left += 1
        elif limit is None or len(found) < limit:
            if who is not None:
                with contextlib.suppress(TicketHeld, TicketClosed, AccessDenied):  # it is not for this person
                    claim = deciding.claim(ticket_id=row["id"], actor=who, lease=lease, blind=blind)
                    tokens += [] if claim is None else [claim.token]
                    found.append(row)
            else:
                found.append(row)
            form = form_of(row) if found else None
    return form, found, left, tokens


def _waiting(queue: str, guard: str | None) -> Iterator[Row]:
    upkeep.catch_up_if_possible()
    if not engine.exists():
        return
    now = engine.now()
    yield from engine.read(
        lambda connection: rows.find(connection, queue=queue, guard=guard, business_id=None, states=_WAITING, limit=None, now=now)
    )
