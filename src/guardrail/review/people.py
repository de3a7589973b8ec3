"""Who reviews, and what they may.

A role is a control: who is not named here has none. A skill is only for handing out cases: who is not named here may know
anything, and whoever asks for a certain case gets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from guardrail.errors import ConfigError
from guardrail.review.case import from_text, plain, says_something, to_text
from guardrail.store import engine
from guardrail.store.prepared import Prepared
from guardrail.store.tables import reviewer

SENIOR: Final = "senior"  # who decides where reviewers differ, if anybody has this role
_WORD: Final = re.compile(r"[\w.-]{1,64}")
_of_name = Prepared(select(reviewer).where(reviewer.c.name == bindparam("name")))


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One person who reviews.

    Attributes:
        name: As in `actor=`.
        roles: What they may decide beyond what is open to everybody.
        skills: What they know; None for somebody of whom nothing is known.
    """

    name: str
    roles: tuple[str, ...] = ()
    skills: tuple[str, ...] | None = None


def set(name: str, *, roles: Iterable[str] = (), skills: Iterable[str] = ()) -> Reviewer:  # noqa: A001 - `people.set(...)`
    """Say what a person may and knows; what was said before is forgotten.

    Raises:
        ConfigError: The name says nothing, or a role or skill is no single word.
        StoreError: The store cannot take it.
    """
    if not says_something(name):
        raise ConfigError("a reviewer has a name", hint='write "anna@bank.example"')
    made = Reviewer(plain(name.strip()), _words(roles, "roles"), _words(skills, "skills"))
    row = {"name": made.name, "roles": to_text(list(made.roles)), "skills": to_text(list(made.skills or ()))}

    def put(connection: Connection) -> None:
        connection.execute(delete(reviewer).where(reviewer.c.name == made.name))
        connection.execute(insert(reviewer).values(**row))

    engine.result(engine.write(put))
    return made


def get(name: str) -> Reviewer:
    """Return what a person may and knows: nothing, for one who is not named here."""
    return engine.read(lambda connection: of(connection, name)) if engine.exists() else Reviewer(name)


def listing() -> list[Reviewer]:
    """Return all who are named here, by name."""
    if not engine.exists():
        return []
    query = select(reviewer).order_by(reviewer.c.name)
    rows = engine.read(lambda connection: list(connection.execute(query).mappings()))
    return [Reviewer(row["name"], tuple(from_text(row["roles"])), tuple(from_text(row["skills"]))) for row in rows]


def remove(name: str) -> bool:
    """Forget a person's roles and skills; return whether there were any."""
    if not engine.exists():
        return False
    gone = delete(reviewer).where(reviewer.c.name == plain(name.strip()))
    return engine.result(engine.write(lambda connection: connection.execute(gone).rowcount > 0))


def of(connection: Connection, name: str) -> Reviewer:
    """Return what a person may and knows, within a transaction."""
    row = _of_name.first(connection, {"name": plain(name)})
    if row is None:
        return Reviewer(name)
    return Reviewer(name, tuple(from_text(row["roles"])), tuple(from_text(row["skills"])))


def who_are(connection: Connection, role: str) -> frozenset[str]:
    """Return the names of all who have a role."""
    query = select(reviewer.c.name, reviewer.c.roles).where(reviewer.c.roles.contains(f'"{role}"', autoescape=True))
    return frozenset(name for name, roles in connection.execute(query) if role in from_text(roles))


def senior_but(connection: Connection, out: Iterable[str]) -> str | None:
    """Return the role of a senior where anybody has it who may decide, else None.

    A case for a role that only those have who are out of it would be decided by nobody.

    Args:
        connection: Of the store.
        out: Who may not decide the case: whoever had a part in it, or asked for it.
    """
    return SENIOR if who_are(connection, SENIOR) - frozenset(out) else None


def _words(given: Iterable[str], what: str) -> tuple[str, ...]:
    words = tuple(given.split(",")) if isinstance(given, str) else tuple(given)
    if not all(isinstance(word, str) and _WORD.fullmatch(word.strip()) for word in words):
        raise ConfigError(f"{what} of a reviewer are single words", hint=f'write {what}=["mortgages"]')
    return tuple(sorted({word.strip() for word in words}))
