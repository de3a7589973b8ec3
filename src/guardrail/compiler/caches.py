"""Which cache a guard has: in memory, or in the store that GUARDRAIL_CACHE_URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardrail import settings
from guardrail.guard_upkeep import changed
from guardrail.policies.cache import Cache, Caching
from guardrail.policies.rows import Rows

if TYPE_CHECKING:
    from guardrail.guard import Guard


def place_of(guard: Guard) -> tuple[Any, str] | None:
    """Return the shared store and what a guard's keys in it begin with, None where no store is set.

    Raises:
        ConfigError: The store's client is not installed, or does not understand the URL.
    """
    now = settings.current()
    if now.cache_url is None or now.service is None:
        return None
    from guardrail.policies.shared_cache import prefix_of  # noqa: PLC0415 - only who shares pays for it
    from guardrail.store import redis_rows  # noqa: PLC0415 - an extra

    return redis_rows.at(now.cache_url), prefix_of(now.service, guard.name, guard.version)


def caching_of(guard: Guard, option: Cache) -> Caching:
    """Return the cache of a guard: the one it has, that of the guard it was derived from, or a new one.

    Raises:
        ConfigError: As `place_of`.
    """
    place = place_of(guard)
    known: Caching | None = guard.parts.get("cache")
    if known is not None and known.option == option and known.place == place:
        return known
    if guard.kin is not None and not changed(guard) & {"cache", "version"}:
        theirs: Caching | None = guard.kin.parts.get("cache")
        if theirs is not None and theirs.place == place:
            return theirs
    rows = Rows(option.size, option.max_bytes)
    return Caching(option, rows) if place is None else _shared(guard, option, rows, *place)


def _shared(guard: Guard, option: Cache, rows: Rows, store: Any, prefix: str) -> Caching:
    from guardrail.policies.shared_answers import Answers  # noqa: PLC0415 - as above
    from guardrail.policies.shared_cache import SharedCaching  # noqa: PLC0415

    answers = Answers(guard.name, guard.parts["returns"])
    return SharedCaching(option, rows, store=store, prefix=prefix, answers=answers, blocking=guard.kind == "sync")


def forget(guard: Guard) -> None:
    """Delete what the shared store holds of a guard's version, and the leases: what is being found out is not stored either.

    Raises:
        GuardrailError: The store cannot be reached, so that other processes may still give these answers.
    """
    place = place_of(guard)
    if place is not None:
        store, prefix = place
        store.forget(prefix)
