"""Which of a guard's conditions hold for a call, and with what probability it would be seen at all."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from guardrail.review.triggers import Known, Sample, Seen, Trigger

_BITS: Final = 53  # of a drawn number: all that a float between 0 and 1 can hold evenly


class Fired(NamedTuple):
    """What of the conditions held.

    Attributes:
        triggers: Name and version of all that fired.
        inclusion: The probability that the case would be here: less than 1 only if it was drawn by lot.
        problem: What a condition itself raised; then a person decides, since nobody knows what it would have said.
    """

    triggers: tuple[dict[str, str], ...] = ()
    inclusion: float = 1.0
    problem: Exception | None = None

    @property
    def reason(self) -> str | None:
        """Why the case goes to people, None where nothing fired."""
        if self.problem is not None:
            return "trigger_failed"
        return "trigger" if self.triggers else None

    @property
    def text(self) -> str:
        """What to tell the caller: the names of the conditions, nothing of the case."""
        if self.problem is not None:
            return f"a condition of the review failed itself: {type(self.problem).__name__}"
        return f"a condition of the review holds: {', '.join(each['name'] for each in self.triggers)}"


NOTHING: Final = Fired()


def shares_of(triggers: Sequence[Trigger]) -> tuple[float, ...]:
    """Return the probabilities that conditions draw by, smallest first."""
    return tuple(sorted({part.share for each in triggers for part in each.parts() if isinstance(part, Sample)}))


def judged(triggers: Sequence[Trigger], seen: Seen, drawn: Callable[[], float], shares: Sequence[float] | None = None) -> Fired:
    """Ask all conditions, each once.

    Args:
        triggers: The conditions.
        seen: What they look at.
        drawn: Gives the number that the question draws; asked only where something is drawn.
        shares: As `shares_of` returns them, where that is known.
    """
    if shares is None:
        shares = shares_of(triggers)
    known: Known = {}
    fired: list[Trigger] = []
    problem: Exception | None = None
    lot = 0.0
    try:
        lot = drawn() if shares and seen.error is None else 0.0
    except Exception as error:  # noqa: BLE001 - without a key nothing can be drawn: a person decides
        problem = error
    for each in triggers:
        try:
            if each.fires(seen, lot, known):
                fired.append(each)
        except Exception as error:  # noqa: BLE001 - whatever it is, a person decides
            problem = problem or error
    if not fired and problem is None:
        return NOTHING
    inclusion = _inclusion(triggers, seen, shares, known) if shares and fired and problem is None else 1.0
    return Fired(tuple({"name": each.name, "version": each.version} for each in fired), inclusion, problem)


def _inclusion(triggers: Sequence[Trigger], seen: Seen, shares: Sequence[float], known: Known) -> float:
    """Return the probability that any fires. Between two shares nothing changes, so one number of each part tells for all of it."""
    edges = [0.0, *(share for share in shares if share < 1.0), 1.0]
    parts = itertools.pairwise(edges)
    return sum(high - low for low, high in parts if any(_would(each, seen, (low + high) / 2, known) for each in triggers))


def _would(trigger: Trigger, seen: Seen, lot: float, known: Known) -> bool:
    try:
        return bool(trigger.fires(seen, lot, known))
    except Exception:  # noqa: BLE001 - it would have gone to people for that
        return True


def draw(secret: bytes, about: str, question: bytes) -> float:
    """Return a number in [0, 1) that a question draws: the same each time, and not to be foreseen without the secret.

    HMAC-SHA256 (RFC 2104) of what the draw is for and the exact key of the question; its first 53 bits.
    """
    digest = hmac.digest(secret, about.encode() + b"\0" + question, "sha256")
    return float((int.from_bytes(digest[:8], "big") >> (64 - _BITS)) / (1 << _BITS))
