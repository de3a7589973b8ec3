"""The policies of a guard in words: what is in force, in the order of acting, and where each value came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from guardrail import control
from guardrail.guard_upkeep import spec_of
from guardrail.spec import Given, get

if TYPE_CHECKING:
    from guardrail.guard import Guard

_WIDEST: Final = 60  # characters of a value that others are lined up with
_ORDER: Final = (
    "mode", "audit", "budget", "validate", "review", "fallback", "confidence", "cache", "retry", "breaker", "limit", "explain",
)  # fmt: skip


def words(value: Any) -> Any:
    """Return an option as the ledger may hold it: numbers and texts as they are, objects as one would write them."""
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)[:500]


def policies_text(guard: Guard) -> str:
    """Return what is in force, outermost first, a line each, and where each value came from."""
    plan = guard.plan
    lines = [f"{plan.name}  version {plan.version}  {plan.mode}"]
    rows: list[tuple[str, str, str]] = []
    for name in _ORDER:
        given: Given | None = spec_of(guard).get(name)
        if name == "mode":
            switched = control.state_of(guard.name)
            origin = "run-time switch" if switched != (None, False) else given.origin if given else "default"
            rows.append((name, plan.mode, origin))
        elif given is None:
            if name in ("audit", "validate"):
                rows.append((name, str(words(get(spec_of(guard), name))), "default"))
        elif given.value is not None:
            rows.append((name, str(words(given.value)), given.origin))
    if plan.mode == "off":
        lines.append("   the function runs bare")
    widths = [max(len(row[column]) for row in rows if len(row[column]) <= _WIDEST) for column in (0, 1)]
    lines += [f"{at:2}  {name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for at, (name, value, origin) in enumerate(rows, 1)]
    return "\n".join(lines)
