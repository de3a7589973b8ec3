"""A case as a notebook shows it: what a reviewer sees, as text that no case can turn into markup; with buttons where there are widgets."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final

from guardrail import notebook
from guardrail.review import desk, figures
from guardrail.review.dossier import Details
from guardrail.review.judge import spelled
from guardrail.store.engine import StoreError

if TYPE_CHECKING:
    from guardrail.review.deciding import Claim
    from guardrail.review.named import Queue
    from guardrail.review.ticket import Ticket

_LONGEST: Final = 20_000  # characters of one text of a case
_PRE: Final = "margin:0;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;font:12px/1.45 ui-monospace,monospace"
_CELL: Final = "text-align:left;padding:2px 14px 2px 0;vertical-align:top;border:0;background:none"
_KEPT: Final = "\n\t"


def case_card(case: Details, *, code: bool = False) -> str:
    """Return a case as a card: what is asked, what the model said, what may be answered, what became of it.

    Args:
        case: The case, as the person may see it.
        code: Whether it says how to decide it in code.
    """
    ticket, ending = case.ticket, case.ending
    rows = [
        ("queue", ticket.queue),
        ("business id", ticket.business_id),
        ("why", ", ".join((ticket.reason, *case.reasons))),
        ("confidence", _confidence(case)),
        ("due", None if ticket.due is None else f"{ticket.due:%Y-%m-%d %H:%M} UTC, then {case.on_expiry}"),
        ("people", case.people),
        ("role", case.deciders),
        ("ticket", ticket.id),
    ]
    shown = case.arguments if case.shown is None else case.shown
    parts = [_section("The case", shown if isinstance(shown, Mapping) else {"shown": shown})]
    if case.guide is not None:
        parts.insert(0, _section("Guide", {"": case.guide}))
    if ticket.provisional is not None:
        parts.append(_section("The model's own answer", {"": ticket.provisional}))
    if ending is not None:
        said = {"verdict": ending.verdict, "answer": ending.value, "reason": ending.reason, "note": ending.note}
        who = "" if ending.actor is None else f" by {ending.actor.id} ({ending.actor.known_by})"
        parts.append(_section(f"{ending.what}{who}", {name: each for name, each in said.items() if each is not None}))
    elif code:
        parts.append(_section("To decide it", {"": _code(case)}))
    return notebook.card(harmless(f"{ticket.guard} {case.version}"), case.state, _harmless(rows), "".join(parts))


def queue_card(queue: Queue) -> str:
    """Return how a queue stands, and its most urgent case."""
    found = figures.stats(queue.name)
    rows = [
        ("waiting", ", ".join(f"{count} {state}" for state, count in found["open"].items())),
        ("overdue", found["overdue"] or None),
        ("decided in the last day", sum(found["last_day"]["decided"].values())),
    ]
    first = next(iter(queue.list(limit=1)), None)
    more = "<div>Nothing waits.</div>" if first is None else case_card(first, code=True)
    return notebook.card(harmless(queue.name), "queue", _harmless(rows), f"<div style='margin-top:8px'>{more}</div>")


def bundle(shown: Queue | Ticket | Details | Claim) -> dict[str, Any]:
    """Return what a notebook is given to show: text, a card, and where there are widgets the card with buttons.

    A store that cannot be read leaves the text.
    """
    from guardrail.review.deciding import Claim  # noqa: PLC0415 - it imports what shows itself by this
    from guardrail.review.named import Queue  # noqa: PLC0415 - as above

    made: dict[str, Any] = {"text/plain": repr(shown)}
    try:
        if isinstance(shown, Queue):
            made["text/html"] = queue_card(shown)
            if widgets_there():
                from guardrail.review.panel import Panel  # noqa: PLC0415 - an extra

                made |= Panel.of_queue(shown.name).view()
            return made
        claim = shown if isinstance(shown, Claim) else None
        case = claim.details if claim else shown if isinstance(shown, Details) else desk.details(_ticket_of(shown))
        made["text/html"] = case_card(case, code=True)
        if widgets_there() and case.ending is None:
            from guardrail.review.panel import Panel  # noqa: PLC0415 - an extra

            made |= Panel.of_claim(claim).view() if claim else Panel.of_case(case).view()
    except (StoreError, LookupError):  # it may still wait in the spool
        pass
    return made


def widgets_there() -> bool:
    """Return whether ipywidgets, the extra `notebook`, is installed."""
    return importlib.util.find_spec("ipywidgets") is not None


def harmless(text: str) -> str:
    """Return text with what cannot be printed, or turns the direction of others, spelled out."""
    return "".join(
        each if each in _KEPT or unicodedata.category(each)[0] != "C" else each.encode("unicode_escape").decode() for each in text
    )


def message(text: str, colour: str = "inherit") -> str:
    """Return a line of text as HTML."""
    return f"<div style='color:{colour};{_PRE}'>{escape(harmless(text))}</div>"


def _ticket_of(shown: Any) -> str:
    return str(shown.id)


def _confidence(case: Details) -> str | None:
    if case.confidence is None:
        return None
    return f"{case.confidence:.3g}" + ("" if case.threshold is None else f" (asked for {case.threshold:.3g})")


def _harmless(rows: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, None if each is None else harmless(str(each))) for name, each in rows]


def _section(title: str, facts: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><td style='{_CELL};opacity:.65'>{escape(harmless(name))}</td>"
        f"<td style='{_CELL}'><pre style='{_PRE}'>{escape(harmless(_words(each)))}</pre></td></tr>"
        for name, each in facts.items()
    )
    table = f"<table style='border:0;border-collapse:collapse'>{cells}</table>"
    return f"<div style='margin-top:8px'><b>{escape(harmless(title))}</b>{table}</div>"


def _words(value: Any) -> str:
    text = spelled(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _code(case: Details) -> str:
    own = case.ticket.provisional
    value = case.choices[0] if case.choices else own if own is not None else "..."
    lines = [
        "from guardrail import review",
        f"review.decide({case.ticket.id!r}, {value!r}, reason=None, note=None)",
        f"review.decide({case.ticket.id!r}, verdict='reject')  # or 'accept', 'unsure'",
    ]
    if case.choices:
        lines.insert(1, f"# the answers are {', '.join(map(repr, case.choices))}")
    return "\n".join(lines)
