"""A line for people about each call, on the standard error stream, where `GUARDRAIL_LOG` asks for it.

It is written through a structlog logger of our own; the application's logging and structlog configuration stay untouched.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from guardrail import call as calls
from guardrail.ledger.record import iso, type_name

if TYPE_CHECKING:
    from guardrail.ledger.entry import Entry

_ORDINARY: Final = frozenset({"answered", "cached"})
_LEVELS: Final = {
    "failed": "error",
    "late": "error",
    "refused": "warning",
    "deferred": "warning",
    "stale": "warning",
    "fallback": "warning",
}
_NAME_LIMIT: Final = 120


class _Stderr:
    """Whatever the standard error stream is at the moment of writing."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_log: Any = None


def take(entries: list[Entry], *, everything: bool) -> None:
    """Write the lines of a batch.

    Args:
        entries: The calls.
        everything: All of them, else those without an ordinary answer.
    """
    log = _logger()
    for entry in entries:
        seq, at, took, plan, outcome, _, _, confidence, attempts, extra = entry
        if not everything and outcome in _ORDINARY and not (extra and extra.get("late")):
            continue
        facts: dict[str, Any] = {"timestamp": iso(at), "outcome": outcome, "ms": round(took * 1e3, 3)}
        if confidence is not None:
            facts["confidence"] = round(confidence, 3)
        if attempts > 1:
            facts["attempts"] = attempts
        if extra:
            facts.update(_rare(extra))
        facts["id"] = calls.decision_id(at, seq)
        getattr(log, _LEVELS.get(outcome, "info"))(_printable(plan.name), **facts)


def _rare(extra: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if extra.get("late"):
        found["late"] = True
    if extra.get("error") is not None:
        found["error"] = _printable(type_name(extra["error"]))
    if extra.get("policy"):
        found["policy"] = extra["policy"]
    if extra.get("ticket") is not None:
        found["ticket"] = _printable(str(getattr(extra["ticket"], "id", extra["ticket"])))
    if extra.get("would"):
        found["would"] = len(extra["would"])
    if extra.get("business_id"):
        found["business_id"] = _printable(str(extra["business_id"]))
    return found


def _printable(text: str) -> str:
    """Return a text that cannot move the cursor, colour the terminal, turn the reading direction or begin a new line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_NAME_LIMIT])


def _logger() -> Any:
    global _log  # noqa: PLW0603 - made once, on the ledger's thread
    if _log is None:
        colours = sys.stderr.isatty()
        _log = structlog.wrap_logger(
            structlog.PrintLogger(_Stderr()),  # type: ignore[arg-type]  # it needs write and flush only
            processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False)],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=False,
        )
    return _log
