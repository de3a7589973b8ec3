"""Cards for notebooks: self-contained HTML without scripts, everything escaped, since answers and names are hostile text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from guardrail.batches.result import Batch
    from guardrail.decision import Decision
    from guardrail.guard import Guard

_COLOURS: Final = {
    "answered": "#1a7f37", "cached": "#1a7f37", "stale": "#7d6a00", "fallback": "#7d6a00", "human": "#0969da",
    "deferred": "#8250df", "refused": "#bc4c00", "late": "#bc4c00", "failed": "#cf222e", "cancelled": "#6e7781",
}  # fmt: skip
_LONGEST: Final = 300  # characters of a text that a card shows

_CARD: Final = (
    "font:13px/1.45 system-ui,sans-serif;border:1px solid #8884;border-radius:8px;padding:10px 14px;"
    "display:inline-block;min-width:320px;max-width:720px"
)
_CELL: Final = "text-align:left;padding:1px 14px 1px 0;vertical-align:top;border:0;background:none"


def decision_card(decision: Decision[Any]) -> str:
    """Return one decision as a card: what came out, how sure, how long, and what stood in the way."""
    rows = [("confidence", _confidence(decision)), ("took", _took(decision.timings))]
    if decision.ok:
        rows.insert(0, ("answer", _answer(decision)))
    else:
        rows.insert(0, ("error", f"{type(decision.error).__name__}: {decision.error}"))
    if decision.attempts > 1 or decision.stop_reason:
        rows.append(("attempts", f"{decision.attempts}{f', stopped: {decision.stop_reason}' if decision.stop_reason else ''}"))
    rows += [("because", reason) for reason in decision.reasons]
    rows += [("enforcing would have", verdict) for verdict in decision.would]
    if decision.ticket is not None:
        rows.append(("ticket", f"{decision.ticket.id} in queue {decision.ticket.queue}"))
    rows += [("business id", decision.business_id or ""), ("decision", decision.id)]
    return card(f"{decision.guard} {decision.version}", decision.outcome.value, rows)


def guard_card(guard: Guard) -> str:
    """Return a guard as a card: its policies, its numbers and its latest decisions."""
    figures = guard.stats()
    rows: list[tuple[str, Any]] = [("calls", f"{figures['calls']:,}")]
    rows += [(name, f"{count:,}") for name, count in figures["outcomes"].items()]
    if figures["calls"]:
        rows.append(("p50 · p95 · p99", " · ".join(_seconds(figures[name]) for name in ("p50", "p95", "p99"))))
    latest = "".join(
        f"<tr><td style='{_CELL}'>{_badge(decision.outcome.value)}</td><td style='{_CELL}'>{_seconds(decision.timings['total'])}"
        f"</td><td style='{_CELL}'>{_text(_confidence(decision))}</td><td style='{_CELL}'>{_text(decision.id)}</td></tr>"
        for decision in guard.last(5)
    )
    policies = f"<pre style='margin:6px 0;font-size:12px;white-space:pre;overflow:auto'>{escape(guard.policies())}</pre>"
    return card(f"{guard.name}", guard.mode, rows, f"{policies}<table style='border:0'>{latest}</table>")


def batch_card(batch: Batch[Any]) -> str:
    """Return a batch as a card: how many rows ended how."""
    rows = [(outcome.value, f"{count:,}") for outcome, count in batch.counts.items()]
    shares = "".join(
        f"<span title='{escape(outcome.value)}' style='display:inline-block;height:10px;width:{100 * count / max(1, len(batch)):.2f}%;"
        f"background:{_COLOURS[outcome.value]}'></span>"
        for outcome, count in batch.counts.items()
    )
    return card(f"{len(batch):,} rows", "batch", rows, f"<div style='width:100%;font-size:0;margin-top:6px'>{shares}</div>")


def card(title: str, badge: str, rows: Iterable[tuple[str, Any]], more: str = "") -> str:
    """Return a card; all but `more` is escaped here.

    Args:
        title: What it is about.
        badge: One word on how it stands.
        rows: Name and content of each line; what is empty is left out.
        more: HTML that stands below.
    """
    cells = "".join(
        f"<tr><td style='{_CELL};opacity:.65'>{escape(name)}</td><td style='{_CELL}'>{_text(content)}</td></tr>"
        for name, content in rows
        if content not in ("", None)
    )
    return (
        f"<div style='{_CARD}'><div style='margin-bottom:6px'><b>{_text(title)}</b> {_badge(badge)}</div>"
        f"<table style='border:0;border-collapse:collapse'>{cells}</table>{more}</div>"
    )


def _badge(word: str) -> str:
    colour = _COLOURS.get(word, "#57606a")
    return f"<span style='background:{colour};color:#fff;border-radius:6px;padding:1px 7px;font-size:12px'>{escape(word)}</span>"


def _text(content: Any) -> str:
    text = str(content)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def _answer(decision: Decision[Any]) -> str:
    try:
        return repr(decision.value)
    except Exception as problem:  # noqa: BLE001 - a card never raises: the answer may not be kept, or its repr may fail
        return f"({problem})"


def _confidence(decision: Decision[Any]) -> str:
    if decision.confidence is None:
        return ""
    asked = "" if decision.threshold is None else f" (asked for {decision.threshold:.3g})"
    return f"{decision.confidence:.3g}{asked}"


def _took(timings: Mapping[str, float]) -> str:
    stages = [f"{name} {_seconds(seconds)}" for name, seconds in timings.items() if name != "total"]
    return _seconds(timings["total"]) + (f" ({', '.join(stages)})" if stages else "")


def _seconds(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
