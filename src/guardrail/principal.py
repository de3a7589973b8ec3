"""Who is asking, and for what purpose: said by the application, found by every guarded call inside."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

from guardrail.errors import ConfigError

acting: contextvars.ContextVar[tuple[Principal, str | None] | None] = contextvars.ContextVar("guardrail_acting", default=None)


class Principal:
    """Who is asking: a user or a service, with roles and an optional tenant.

    Args:
        id: A stable identifier; not a secret.
        roles: Role names.
        tenant: The customer or organisation on whose behalf.
        claims: Further facts, such as those of a verified token.
        kind: "user" or "service".
    """

    __slots__ = ("claims", "id", "kind", "roles", "tenant")

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's name in every standard
        *,
        roles: Iterable[str] = (),
        tenant: str | None = None,
        claims: Mapping[str, Any] | None = None,
        kind: Literal["user", "service"] = "user",
    ) -> None:
        if not isinstance(id, str) or not id:
            raise ConfigError(
                "a Principal needs a non-empty text as its id", hint='write Principal("ana@bank.example", roles=["underwriter"])'
            )
        if isinstance(roles, str):
            raise ConfigError("roles is one text", hint='write a list: roles=["underwriter"]')
        if kind not in ("user", "service"):
            raise ConfigError("kind of a Principal is unknown", hint='write "user" or "service"')
        self.id = id
        self.roles = frozenset(roles)
        self.tenant = tenant
        self.claims = dict(claims or {})
        self.kind = kind

    def __repr__(self) -> str:
        return f"Principal({self.id!r}, roles={sorted(self.roles)!r})"


class _ActingAs(AbstractContextManager[None]):
    def __init__(self, principal: Principal, purpose: str | None) -> None:
        self._now = (principal, purpose)
        self._before: list[tuple[Principal, str | None] | None] = []

    def __enter__(self) -> None:
        self._before.append(acting.get())
        acting.set(self._now)

    def __exit__(self, *exc: object) -> None:
        # By value, not by token: a generator may leave this block in another context than it entered.
        acting.set(self._before.pop())


def acting_as(principal: Principal | str, *, purpose: str | None = None) -> AbstractContextManager[None]:
    """Say who is asking, and for what purpose, for every guarded call inside the `with` block.

    Args:
        principal: A `Principal`, or the id of a user.
        purpose: Why the question is asked; stands in each record.

    Returns:
        A context manager, for threads and tasks alike.
    """
    return _ActingAs(principal if isinstance(principal, Principal) else Principal(principal), purpose)
