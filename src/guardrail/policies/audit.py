"""`audit` and `owner`: how the record of a call is kept, and who answers for the guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from guardrail.errors import ConfigError
from guardrail.policies.options import Frozen


class Audit(Frozen):
    """How each call's record is kept.

    Args:
        durability: "buffered" (on disk within about 20 ms) or "sync" (on disk before the answer leaves).
        required: No durable record, no answer: `AuditUnavailable`.
        inputs: What the record holds of the arguments: "none", "digest" (keyed), "sealed" (all of them, encrypted for their
            subject) or "plain" (what is marked `PII` or `Subject` sealed all the same).
        output: What it holds of the answer: "auto" (numbers, booleans, enums and short texts as they are, or sealed where the
            annotation marks them as personal, the rest digested), "digest", "sealed" or "plain".
        business_id: Name of the argument that is the user's own key, or a callable on the arguments.

    Raises:
        ConfigError: A word is unknown.
    """

    __slots__ = ("business_id", "durability", "inputs", "output", "required")

    durability: str
    required: bool
    inputs: str
    output: str
    business_id: str | Callable[..., str] | None

    def __init__(
        self,
        durability: Literal["buffered", "sync", "off"] = "buffered",
        *,
        required: bool = False,
        inputs: Literal["none", "digest", "sealed", "plain"] = "digest",
        output: Literal["auto", "digest", "sealed", "plain"] = "auto",
        business_id: str | Callable[..., str] | None = None,
    ) -> None:
        _one_of("durability", durability, ("buffered", "sync", "off"))
        _one_of("inputs", inputs, ("none", "digest", "sealed", "plain"))
        _one_of("output", output, ("auto", "digest", "sealed", "plain"))
        if not isinstance(required, bool):
            raise ConfigError(
                "Audit(required=...) must be True or False", hint="write required=True to refuse answers that cannot be recorded"
            )
        if required and durability == "off":
            raise ConfigError("audit is required and off at once", hint='write Audit("sync", required=True)')
        if business_id is not None and not isinstance(business_id, str) and not callable(business_id):
            raise ConfigError("Audit(business_id=...) must be the name of an argument or a callable on the arguments")
        self._set(durability=durability, required=required, inputs=inputs, output=output, business_id=business_id)


def audit_of(option: Any) -> Audit:
    """Return the object behind the option `audit=`: a word or an object."""
    return option if isinstance(option, Audit) else Audit(option)


def _one_of(name: str, word: object, words: Sequence[str]) -> None:
    if word not in words:
        raise ConfigError(f"{name} of audit is unknown", hint=f"write one of {', '.join(map(repr, words))}")


class Owner(Frozen):
    """Who answers for a guard.

    Args:
        team: The team's name.
        contact: Where it is reached: an address or a channel.
        escalation: Who comes next, in order.
    """

    __slots__ = ("contact", "escalation", "team")

    team: str
    contact: str
    escalation: tuple[str, ...]

    def __init__(self, team: str, *, contact: str, escalation: Sequence[str] = ()) -> None:
        if isinstance(escalation, str) or not all(isinstance(who, str) for who in (team, contact, *escalation)):
            raise ConfigError("an Owner is made of texts", hint='write Owner("credit-ml", contact="credit-ml@bank.example")')
        if not team or not contact:
            raise ConfigError(
                "an Owner needs a team and a contact", hint='write Owner("credit-ml", contact="credit-ml@bank.example")'
            )
        self._set(team=team, contact=contact, escalation=tuple(escalation))


def owner_of(option: Any) -> Owner | None:
    """Return the object behind the option `owner=`: a text (contact and team at once), an object or None."""
    if option is None or isinstance(option, Owner):
        return option
    if not isinstance(option, str) or not option:
        raise ConfigError("owner must be a text or an Owner", hint='write owner="credit-ml@bank.example"')
    return Owner(option, contact=option)
