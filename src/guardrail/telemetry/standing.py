"""How things stand right now: breakers and queue of this process, cases that wait for people, sinks behind the ledger."""

from __future__ import annotations

from typing import Any, Final

from guardrail import clock, lifecycle, notices, settings
from guardrail.telemetry import names, sums
from guardrail.telemetry.sums import Figures, Labels, Value

BREAKERS: Final = 500  # that have labels of their own
_STATES: Final = ("closed", "open", "half_open")
_PATIENCE: Final = 2.0  # seconds for the store to answer

_opened: dict[str, tuple[int, int]] = {}  # of each breaker: openings before it was reset last, and since


def of_process() -> Figures:
    """Return what is known of this process alone: what it counted, its breakers, and what waits to be written."""
    from guardrail.ledger import writer  # noqa: PLC0415 - the writer's taps lead here

    found = sums.figures()
    found[names.BREAKER], found[names.OPENED] = breakers()
    found[names.WAITING] = {(): len(writer.entries)}
    found[names.PROCESSES] = {(): 1}
    return found


def breakers() -> tuple[dict[Labels, Value], dict[Labels, Value]]:
    """Return, by breaker, the state in which it is in this process, and how often it has opened."""
    states: dict[Labels, Value] = {}
    for name, circuit in _circuits().items():
        if name not in _opened and len(_opened) >= BREAKERS:
            continue
        shown = circuit.snapshot()
        states.update({(name, state): float(shown["state"] == state) for state in _STATES})
        before, latest = _opened.get(name, (0, 0))
        # A breaker that is reset counts from nought, and a guard may be gone; what was seen must not fall all the same.
        _opened[name] = (before + latest if shown["opened"] < latest else before, shown["opened"])
    return states, {(name,): before + latest for name, (before, latest) in _opened.items()}


def _circuits() -> dict[str, Any]:
    from guardrail import registry  # noqa: PLC0415 - as above

    found: dict[str, Any] = {}
    for guard in registry.guards():
        circuit = guard.parts.get("states", {}).get("breaker")
        if circuit is not None:
            found[sums.label_of(circuit.option.name or guard.name)] = circuit
    return found


def of_home() -> Figures:
    """Return what all processes of a home share: the review queue, and how far each sink is behind.

    What cannot be read just now is left out, and said once.
    """
    found: Figures = {}
    for topic, read in (("the review queue", _review), ("the sinks", _sinks)):
        try:
            found.update(read())
        except Exception as problem:  # noqa: BLE001 - a store or a database that is away must not hide the other figures
            notices.say(
                f"metrics-{read.__name__}", f"metrics cannot tell of {topic} ({type(problem).__name__}); they go on without"
            )
    return found


def _review() -> Figures:
    from guardrail.review import spool  # noqa: PLC0415 - brings SQLAlchemy
    from guardrail.store import engine  # noqa: PLC0415

    found: Figures = {names.SPOOLED: {(): spool.count()}}
    if engine.exists():
        found |= engine.read(_queues, within=_PATIENCE)
    return found


def _queues(connection: Any) -> Figures:
    from sqlalchemy import func, select  # noqa: PLC0415

    from guardrail.store.tables import is_open, ticket  # noqa: PLC0415

    now = clock.wall()
    late = func.count(ticket.c.id).filter(ticket.c.due <= now)
    query = select(ticket.c.queue, func.count(), func.min(ticket.c.created), late).where(is_open).group_by(ticket.c.queue)
    found: Figures = {names.OPEN_CASES: {}, names.OVERDUE: {}, names.OLDEST: {}}
    for name, count, oldest, overdue in connection.execute(query):
        found[names.OPEN_CASES][name,] = count
        found[names.OVERDUE][name,] = overdue
        found[names.OLDEST][name,] = max(0.0, now - oldest)
    return found


def _sinks() -> Figures:
    if not settings.current().sinks:
        return {}
    from guardrail.delivery import status  # noqa: PLC0415 - for those who have sinks

    found: Figures = {names.BEHIND: {}, names.LAG: {}, names.DEAD: {}}
    for name, lag in status.lags(settings.home(create=False)).items():
        found[names.BEHIND][name,] = lag.behind
        found[names.LAG][name,] = lag.oldest
        found[names.DEAD][name,] = lag.dead
    return found


def _in_child() -> None:
    """What breakers did before a fork is the parent's to tell."""
    _opened.clear()
    _opened.update({name: (-circuit.opened, circuit.opened) for name, circuit in _circuits().items()})


lifecycle.after_fork(_in_child)
