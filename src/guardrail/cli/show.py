"""`guardrail show`: the whole story of one decision, for people and as JSON. Records may be hostile text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from guardrail.cli.text import clean, emit, fail, say, table
from guardrail.cli.trail import flat, line, local, note, own
from guardrail.ledger import story, told
from guardrail.ledger.story import Story
from guardrail.ledger.wanted import Record, Wanted

_SHOWN: Final = 50  # records of one kind that people are shown
_STATES: Final = {"proven": "green", "pending": "yellow", "unknown": "yellow", "altered": "red"}
_SAYS: Final = {
    "proven": "its record is contained in the signed checkpoint of {size:,} records of {time}",
    "pending": "its record is under no checkpoint yet",
    "unknown": "its record was not checked",
    "altered": "its record is not what was signed",
}


def show(
    what: Annotated[
        str, typer.Argument(metavar="ID", help="A decision's id, the beginning of one, a business id, or a ticket's id.")
    ],
    *,
    guard: Annotated[str | None, typer.Option("--guard", help="For a business id: only this guard.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell the whole story of one decision: the record, what happened inside and afterwards, and the rules in force."""
    found = story.tell(what, guard)
    if found is None:
        raise fail("no record has this id, business id or ticket; `guardrail tail` shows the latest", 1)
    which = Wanted(ids=frozenset({found.record["id"]}))
    recorded = told.tell("show", which, 1 + len(found.inner) + len(found.events) + len(found.others), sync=True)
    if as_json:
        emit(document(found))
    else:
        _print(found)
    note(recorded)


def document(found: Story) -> dict[str, Any]:
    """Return a story as JSON has it."""
    return {
        "record": found.record,
        "lane": found.lane,
        "seq": found.seq,
        "proof": found.proof._asdict(),
        "parent": found.parent,
        "inner": found.inner,
        "plan": found.plan,
        "config": found.config,
        "process": found.process,
        "mode": {"before": found.mode_before, "after": found.mode_after},
        "events": found.events,
        "ticket": found.ticket,
        "erasure": found.erasure,
        "reads": found.reads,
        "others": [each["id"] for each in found.others],
    }


def _print(found: Story) -> None:
    record = found.record
    say(line(record))
    proof = found.proof
    says = _SAYS[proof.state].format(size=proof.size or 0, time=clean(proof.time or "an unknown time"))
    signed = f", key {clean(proof.key_id)}" if proof.key_id else ""
    why = f" ({clean(proof.why)})" if proof.why else ""
    say(f"[{_STATES[proof.state]}]{proof.state}[/{_STATES[proof.state]}]: {says}{signed}{why}")
    say(f"[dim]number {found.seq} of {clean(found.lane)}[/dim]")
    table(("field", "value"), list(flat(own(record))))
    _listed("made by", [found.parent] if found.parent else [])
    _listed("within it", found.inner)
    _listed("what names it", found.events)
    if found.ticket is not None:
        say("[bold]the case, as the queue has it now[/bold]")
        table(("field", "value"), list(flat(found.ticket)))
    if found.plan is not None:
        when = f" [dim](spelled out {clean(local(found.config))})[/dim]" if found.config else ""
        say(f"[bold]the plan in force[/bold]{when}")
        table(("option", "value"), list(flat(found.plan)))
    _listed("its process began", [found.process] if found.process else [])
    _listed("the mode was switched before", [found.mode_before] if found.mode_before else [])
    _listed("the mode was switched afterwards", [found.mode_after] if found.mode_after else [])
    _listed("the person's data were erased", found.erasure)
    _listed("who has read it", found.reads)
    _listed(f"{len(found.others)} earlier decisions about the same", found.others)


def _listed(title: str, records: Sequence[Record]) -> None:
    if not records:
        return
    say(f"[bold]{title}[/bold]")
    for each in records[:_SHOWN]:
        say(f"  {line(each)}")
    if len(records) > _SHOWN:
        say(f"  … and {len(records) - _SHOWN} more; --json gives all")
