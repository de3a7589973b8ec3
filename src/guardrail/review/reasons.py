"""Why a person decided otherwise: a closed list of codes, so that reasons can be counted, which the user may extend."""

from __future__ import annotations

from typing import Final

from guardrail import settings
from guardrail.errors import ConfigError

REASONS: Final = ("wrong_input", "missing_context", "model_error", "policy_exception", "ambiguous", "fraud", "other")
DECLINING: Final = ("conflict_of_interest", "not_my_field")


def allowed() -> tuple[str, ...]:
    """Return all codes: ours, then those of the setting `review_reasons`."""
    return (*REASONS, *(each for each in settings.current().review_reasons if each not in REASONS))


def checked(reason: str | None, note: str | None, *, needed: bool = False) -> str | None:
    """Return a reason code that is on the list.

    Args:
        reason: As given, None for none.
        note: What the person wrote beside it.
        needed: Whether there must be one.

    Raises:
        ConfigError: It is not on the list, is missing where it is needed, or says "other" without a note.
    """
    codes = allowed()
    if reason is None:
        if needed:
            raise ConfigError("this needs a reason", hint=f"choose from {', '.join(codes)}")
        return None
    if reason not in codes:
        raise ConfigError(
            "the reason is not on the list",
            hint=f"choose from {', '.join(codes)}; the setting review_reasons adds more",
        )
    if reason == "other" and not (note and note.strip()):
        raise ConfigError('the reason "other" needs a note', hint='write note="..."')
    return reason


def declining(reason: str, note: str | None) -> str:
    """Return the code for why a person does not take a case; it may be one of `DECLINING` too.

    Raises:
        ConfigError: It is not on the list, or says "other" without a note.
    """
    return reason if reason in DECLINING else str(checked(reason, note, needed=True))
