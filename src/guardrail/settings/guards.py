"""The options of one guard that may be set from outside, by variables such as `GUARDRAIL_GUARD__LOAN__BUDGET`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, time, timedelta
from pathlib import Path
from typing import Final, NamedTuple, cast

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.settings.values import AUDITS, MODES, flag, mode, nearest, one_of, text

KINDS: Final = ("model", "llm", "dependency")
IN_CODE: Final = ("explain", "fallback", "name", "tags")
LATER: Final = ("access", "assume", "card", "incumbent", "slo", "sources", "watch")
_PLAIN: Final = (str, bytes, bool, int, float, complex, timedelta, date, time, list, tuple, dict, set, frozenset)
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_NUMBER: Final = re.compile(r"[0-9]{0,9}\.?[0-9]{1,18}")


class Option(NamedTuple):
    """One option that may be set from outside.

    Attributes:
        parse: Checks a value that is not None, and returns it.
        none: Whether "none" takes the option away.
        objects: Whether `configure()` may also give an option object such as `Budget(...)`.
        shape: What to write, for the reference page.
    """

    parse: Callable[[object, str], object]
    none: bool
    objects: bool
    shape: str


def _duration(value: object, where: str) -> object:
    if isinstance(value, str):
        value = text(value, where)
        if _NUMBER.fullmatch(value):
            value = float(value)
    clock.seconds(cast("clock.Duration", value), where)  # it checks the type itself
    return value


def _count(value: object, where: str) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(text(value, where)):
        value = int(text(value, where))
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{where} must be a whole number of 1 or more")
    return value


def _share(value: object, where: str) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(text(value, where)):
        value = float(text(value, where))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{where} must be a number from 0 to 1")
    return float(value)


def _bar(value: object, where: str) -> object:
    spelled = text(value, where) if isinstance(value, str) else ""
    if not spelled.endswith(".json"):
        return _share(value, where)
    from guardrail.thresholds.threshold import Threshold  # noqa: PLC0415 - it needs the settings' own errors

    try:
        return Threshold.load(Path(spelled).expanduser())
    except ConfigError as problem:
        raise ConfigError(f"{where}: {problem.args[0]}", hint=problem.hint) from None


def _words(value: object, where: str) -> str:
    spelled = text(value, where)
    if not spelled:
        raise ConfigError(f"{where} is empty", hint="give it a value, or unset it")
    return spelled


OPTIONS: Final[dict[str, Option]] = {
    "audit": Option(one_of(AUDITS), none=False, objects=True, shape=" · ".join(AUDITS)),
    "batch": Option(flag, none=False, objects=False, shape="true · false"),
    "breaker": Option(flag, none=True, objects=True, shape="true · false · none"),
    "budget": Option(_duration, none=True, objects=True, shape='a duration: "250ms", seconds · none'),
    "cache": Option(_duration, none=True, objects=True, shape='a duration: "10m", seconds · none'),
    "confidence": Option(
        _bar, none=True, objects=True, shape="a number from 0 to 1 · path of a threshold, ending in .json · none"
    ),
    "kind": Option(one_of(KINDS), none=False, objects=False, shape=" · ".join(KINDS)),
    "limit": Option(_count, none=True, objects=True, shape="calls at once, 1 or more · none"),
    "mode": Option(mode, none=False, objects=False, shape=" · ".join(MODES)),
    "owner": Option(_words, none=True, objects=True, shape="text · none"),
    "retry": Option(_count, none=True, objects=True, shape="attempts in all, 1 or more · none"),
    "review": Option(_words, none=True, objects=True, shape="name of a review queue · none"),
    "runbook": Option(_words, none=True, objects=False, shape="text · none"),
    "validate": Option(flag, none=False, objects=False, shape="true · false"),
    "version": Option(_words, none=True, objects=False, shape="text · none"),
}


def address(name: str) -> str:
    """Return a guard's name as a variable spells it: upper case, each run of anything but letters and digits one `_`.

    >>> address("app.loans:predict")
    'APP_LOANS_PREDICT'
    """
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")


def known(option: str, where: str) -> Option:
    """Return the option of a name.

    Raises:
        ConfigError: There is none, or it can be given only in code, or it comes later.
    """
    found = OPTIONS.get(option)
    if found is not None:
        return found
    if option in IN_CODE:
        raise ConfigError(f"{where}: {option} is set only in code", hint=f"write @guarded({option}=…) or with_options")
    if option in LATER:
        raise ConfigError(f"{where}: {option} is reserved for the next release", hint="take it out")
    raise ConfigError(f"{where}: there is no such option", hint=nearest(option, OPTIONS))


def parse(option: str, value: object, where: str, *, in_code: bool) -> object:
    """Return the checked value of an option.

    Args:
        option: Its name, in lower case.
        value: Text, a number, a boolean, a timedelta, None, or (in code) an option object, which the guard checks.
        where: What to call the place in an error.
        in_code: Whether it comes from `configure()`, which can hand over objects.

    Raises:
        ConfigError: The option cannot be set from outside, or the value does not fit it.
    """
    found = known(option, where)
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        if not found.none:
            raise ConfigError(f"{where} cannot be none", hint=f"write {found.shape}")
        return None
    if in_code and found.objects and not isinstance(value, _PLAIN):
        return value
    return found.parse(value, where)
