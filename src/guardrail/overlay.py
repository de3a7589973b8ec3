"""What is set from outside over what code says: a short form changes the main field of the object that stands there, no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from guardrail.errors import ConfigError
from guardrail.policies.options import Frozen
from guardrail.spec import Given, check
from guardrail.thresholds.threshold import NoThreshold, Threshold

if TYPE_CHECKING:
    from guardrail.settings import Said

MAIN: Final[Mapping[str, str]] = {
    "audit": "durability", "budget": "total", "cache": "ttl", "confidence": "at_least", "limit": "concurrency",
    "retry": "attempts", "review": "queue",
}  # fmt: skip


_SHORT: Final = (str, int, float, timedelta, Threshold, NoThreshold)  # a threshold, too, is only the main field


class _Over(NamedTuple):
    """The last word on an option, and the latest object that somebody wrote for it."""

    base: Given | None
    said: Said


def overlaid(given: Mapping[str, Given], said: Iterable[Said], guard: str) -> dict[str, Given]:
    """Return a guard's options in force.

    Args:
        given: As code says them.
        said: What settings say of this guard, the weakest first.
        guard: The guard's name, for errors.

    Raises:
        ConfigError: A setting does not go with the object that it changes; names the setting.
    """
    spec = dict(given)
    last: dict[str, _Over] = {}
    for each in said:
        before = last.get(each.option)
        base = given.get(each.option) if before is None else before.base
        if each.value is not None and not isinstance(each.value, _SHORT):  # an object, which `configure()` can hand over
            base = check({each.option: each.value}, each.origin)[each.option]
        last[each.option] = _Over(base, each)
    for option, (base, each) in last.items():
        spec[option] = _put_over(base, each, guard)
    return spec


def _put_over(base: Given | None, said: Said, guard: str) -> Given:
    option, value = said.option, said.value
    if base is not None and value is not None and not isinstance(value, _SHORT):
        return base
    kept = None if base is None else base.value
    if base is None or not isinstance(kept, Frozen) or value is None or value is False or option == "owner":
        return check({option: value}, said.origin)[option]  # an owner is another owner, with another contact
    if value is True:  # a breaker there shall be, and there is one
        return base
    try:
        made = kept.but(**{MAIN[option]: value})
    except ConfigError as problem:
        raise ConfigError(
            f"{said.where} does not go with {kept!r}, whose other fields stay as they are: {problem.args[0]}",
            guard=guard,
            policy=option,
            hint="set another value, or change the object in code",
        ) from None
    alone = check({option: value}, said.origin)[option]
    return alone if made == alone.value else Given(made, f"{said.origin} over {base.origin}")
