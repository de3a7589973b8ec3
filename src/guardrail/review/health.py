"""What `guardrail doctor` says of the review queue and its store."""

from __future__ import annotations

import stat
from typing import Literal, TypeAlias

from sqlalchemy import Connection, func, select

from guardrail.review import figures, people, spool, tell, upkeep
from guardrail.store import engine
from guardrail.store.engine import StoreError
from guardrail.store.tables import is_open, ticket

Level: TypeAlias = Literal["ok", "warn", "bad"]


def check() -> list[tuple[Level, str]]:
    """Return findings about the queue, worst first. It moves the spool into the store if it can, and makes no store."""
    findings: list[tuple[Level, str]] = []
    try:
        if engine.exists() or spool.waiting():
            upkeep.catch_up()
            findings += engine.read(_read)
        else:
            findings.append(("ok", "no case was ever filed"))
    except StoreError as problem:
        findings.append(("bad", str(problem)))
    except OSError as problem:
        findings.append(("bad", f"the spool cannot be read: {problem.strerror}"))
    if waiting := spool.count():
        findings.append(("bad", f"{waiting} cases wait in the spool for a store that takes them"))
    if not engine.shared() and engine.path().is_file() and engine.path().stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        findings.append(("warn", f"{engine.path()} can be read by others: chmod 600 {engine.path()}"))
    return sorted(findings, key=lambda finding: ("bad", "warn", "ok").index(finding[0]))


def _read(connection: Connection) -> list[tuple[Level, str]]:
    findings: list[tuple[Level, str]] = []
    late = func.count(ticket.c.id).filter(ticket.c.due <= engine.now())
    query = select(ticket.c.queue, func.count(), func.min(ticket.c.created), late).where(is_open).group_by(ticket.c.queue)
    for name, count, oldest, overdue in connection.execute(query):
        hours = (engine.now() - oldest) / 3600
        findings.append(("ok", f"queue {name}: {count} open, the oldest for {hours:.1f} h"))
        if overdue:
            findings.append(("warn", f"queue {name}: {overdue} open tickets are past their due time"))
    if not findings:
        findings.append(("ok", "no open tickets"))
    if stuck := figures.unclaimable(connection):
        findings.append(
            ("warn", f"{stuck} open tickets wait for a role that nobody has who may decide them: `guardrail review people set`")
        )
    if alone := figures.without_senior(connection):
        findings.append(
            (
                "warn",
                f"{alone} appeals wait for anybody who had no part in the decision, since nobody else had the role {people.SENIOR}",
            )
        )
    if left := len(tell.left(connection, engine.now())):
        findings.append(("warn", f"the ledger does not take what became of tickets: {left} waiting"))
    damage = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() if not engine.shared() else "ok"
    if damage != "ok":
        findings.append(("bad", "the store is damaged; move it away and restore a backup"))
    return findings
