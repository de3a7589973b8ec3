"""How long records are kept, as people write it: a period, or the name of a rule that asks for one."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from guardrail.errors import ConfigError
from guardrail.settings.values import nearest, text

KEEP: Final = "keep"
_DAY: Final = 86_400.0
_DAYS: Final = {"d": 1, "w": 7, "y": 366}  # a year is never shorter than a calendar's
_TEXT: Final = re.compile(r"(\d{1,5})\s*([dwy])")
_PLEASE: Final = 'write "180d", "26w", "7y", the name of a profile, or "keep" for ever'


class Profile(NamedTuple):
    """A rule that people name instead of a period.

    Attributes:
        days: The shortest period that it asks for.
        source: Where it says so.
    """

    days: int
    source: str


PROFILES: Final[dict[str, Profile]] = {
    "ai_act": Profile(
        184,
        "Regulation (EU) 2024/1689, Articles 19(1) and 26(6): logs of high-risk systems for at least six months,"
        " which are 184 days at most; other law may ask for longer",
    ),
    "hipaa": Profile(
        2_192,
        "45 CFR 164.316(b)(2)(i): required documentation for six years, counted from its creation or from when it was last in effect",
    ),
    "soc2": Profile(
        366,
        "AICPA Trust Services Criteria: they name no period; a year covers the usual period of a type 2 report",
    ),
}


def period(value: object, where: str) -> str:
    """Return a period as it was written, checked.

    Raises:
        ConfigError: It is none, or shorter than a day.
    """
    spelled = text(value, where).lower()
    if spelled in PROFILES or spelled == KEEP:
        return spelled
    match = _TEXT.fullmatch(spelled)
    if match is None:
        hint = nearest(spelled, PROFILES) if spelled.isidentifier() and not spelled[:1].isdigit() else _PLEASE
        raise ConfigError(f"{where} is no period for which records are kept", hint=hint)
    if not int(match[1]):
        raise ConfigError(f"{where} must be a day or more", hint=_PLEASE)
    return f"{int(match[1])}{match[2]}"


def seconds(spelled: str) -> float | None:
    """Return a checked period in seconds; None where everything is kept."""
    if spelled == KEEP:
        return None
    if spelled in PROFILES:
        return PROFILES[spelled].days * _DAY
    return int(spelled[:-1]) * _DAYS[spelled[-1]] * _DAY
