"""What goes into the queue and what comes out: a case, who did what, and the answer to a ticket."""

from __future__ import annotations

import math
import os
import pwd
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import orjson

from guardrail import clock, lifecycle, settings
from guardrail.errors import ConfigError, GuardrailError, Refused
from guardrail.review.levels import first_act
from guardrail.settings.hours import ALWAYS
from guardrail.store import engine

State: TypeAlias = Literal["pending", "claimed", "adjudicate", "decided", "expired", "cancelled"]
Verdict: TypeAlias = Literal["accept", "change", "reject", "unsure"]
OnExpiry: TypeAlias = Literal["hold", "reject", "fallback", "provisional"]
Kind: TypeAlias = Literal["case", "audit", "appeal", "override", "gold"]
Row: TypeAlias = Mapping[Any, Any]  # of a table: by column
KnownBy: TypeAlias = Literal["oidc", "token", "os", "asserted"]
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_EMPTY: Final[dict[type, str]] = {list: "[]", dict: "{}"}
_STRICT: Final = (  # whatever orjson takes with these, but for NaN, has the text that `content.jsonable` gives it
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_PARTS: Final = 1 << 12  # of a millisecond
_lock = threading.Lock()
_latest = 0


class TicketNotFound(GuardrailError, LookupError):
    """There is no ticket with that id."""


class TicketClosed(GuardrailError):
    """The ticket has been decided, has expired or was cancelled, and takes no further decision."""


class DecisionNotFound(GuardrailError, LookupError):
    """Neither the ledger nor the queue knows the decision."""


class TicketHeld(GuardrailError):
    """Somebody else is at work on the ticket, or the person has had a part in it already."""


class StaleClaim(GuardrailError):
    """The claim that a decision came with is over: its lease has ended, or it was released or given to somebody else.

    What the person wrote is kept with the ticket.
    """


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, and how that is known.

    Attributes:
        id: A name or stable identifier.
        known_by: "os" for the user of the operating system, "asserted" for a name that was merely given.
    """

    id: str
    known_by: KnownBy = "asserted"

    @classmethod
    def of(cls, who: Actor | str | None) -> Actor:
        """Return the actor for a name (asserted), for None (the user of the operating system), or itself."""
        if isinstance(who, Actor):
            return who
        if who is None:
            return cls._of_system()
        if not says_something(who):
            raise ConfigError("actor is not a name", hint='write actor="anna@bank.example"')
        return cls(plain(who.strip()))

    @classmethod
    def _of_system(cls) -> Actor:
        # The account database, not $USER: the environment says what anyone wants it to.
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container may run as a number without a name
            name = f"uid:{os.getuid()}"
        return cls(plain(name), "os")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question for a person, as the call path hands it over.

    Attributes:
        queue: Name of the queue.
        guard: Name of the guard that asks.
        version: The model's version.
        key: Digest of guard, version, input and what people are asked. While a ticket with this key is open there is no second one.
        decision_id: Id of the decision that was deferred.
        reason: Why it came here: "low", "failed", "late", "open", "stopped" or "invalid"; "trigger" where a condition holds and
            "trigger_failed" where one fails itself; "audit" for a check by lot.
        reasons: All that spoke against the answer, in words.
        business_id: The user's own key for the matter.
        arguments: The validated arguments by name, able to be JSON.
        shown: What the reviewer is shown in place of the arguments, None for the arguments themselves.
        provisional: The model's own answer, able to be JSON; None where there is none.
        confidence: What the model was sure of, threshold: what was asked for.
        choices: The only answers allowed, None for any.
        guide: What the reviewer should follow, as text or a link.
        priority: Higher comes first.
        skills: What a reviewer must be able to do.
        owner: The team in charge.
        due: Seconds since the epoch, None for no limit.
        on_expiry: What comes of the ticket when nobody answered in time.
        actor: Who asked the model, as plain facts.
        personal: What is personal in arguments, shown and provisional, taken out of them (`content.personal`).
        subjects: Whom it is about, by their own ids.
        personal_answer: Whether answers to it are personal too.
        kind: "case" for one that a caller waits for or would have; "audit" for a sure answer that was drawn by lot; "appeal"
            and "override" (a second approval) of what was decided; "gold" for one whose answer is known.
        parent: For an appeal or an override: the ticket or decision that it is about.
        triggers: All that fired, each with its version: ({"name": "below", "version": "1"}, ...).
        inclusion: The probability that the case would be here: 1 but for what was drawn by lot.
        answers: The JSON schema that an answer must fit, None for any answer.
        expected: The answer of a gold case, able to be JSON.
        reviewers: How many people must answer.
        agree: How many of them must give the same answer, None for all.
        levels: Whom it goes to in turn: ({"role": "senior", "within": seconds, "notify": ["duty"]}, ...).
        callback: Where the answer is also sent.
        push: Whether the case is sent there too, when it is filed.
    """

    queue: str
    guard: str
    version: str
    key: bytes
    decision_id: str
    reason: str
    reasons: Sequence[str] = ()
    business_id: str | None = field(default=None, repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    shown: Any = field(default=None, repr=False)
    provisional: Any = field(default=None, repr=False)
    confidence: float | None = None
    threshold: float | None = None
    choices: Sequence[Any] | None = field(default=None, repr=False)
    guide: str | None = None
    priority: int = 0
    skills: Sequence[str] = ()
    owner: str | None = None
    due: float | None = None
    on_expiry: OnExpiry = "hold"
    actor: Mapping[str, Any] | None = field(default=None, repr=False)
    personal: Sequence[Any] = field(default=(), repr=False)
    subjects: Sequence[str] = field(default=(), repr=False)
    personal_answer: bool = False
    kind: Kind = "case"
    parent: str | None = None
    triggers: Sequence[Mapping[str, str]] = ()
    inclusion: float = 1.0
    answers: Mapping[str, Any] | None = field(default=None, repr=False)
    expected: Any = field(default=None, repr=False)
    reviewers: int = 1
    agree: int | None = None
    levels: Sequence[Mapping[str, Any]] = ()
    callback: str | None = field(default=None, repr=False)
    push: bool = False

    def row(self) -> dict[str, Any]:
        """Return the case as a new row of the ticket table, with a new id; nothing of the user's stays in it.

        Where something is personal, the store of keys is read, and it may be written.
        """
        if self.personal or self.subjects:
            from guardrail.review.personal import sealed  # noqa: PLC0415 - for those who have something personal

            return sealed(self, new_id())
        return self.row_with(new_id(), self.arguments, self.shown, self.provisional)

    @property
    def slow(self) -> bool:
        """Whether `row` may wait for a disk."""
        return bool(self.personal or self.subjects)

    def row_with(self, ticket_id: str, arguments: Mapping[str, Any], shown: Any, provisional: Any) -> dict[str, Any]:
        """Return the row of a ticket with this content."""
        now = engine.now()
        words = settings.current().working_hours if self.levels else ALWAYS
        levels = [dict(level) for level in self.levels]
        return {
            "id": ticket_id,
            "kind": self.kind,
            "queue": plain(self.queue),
            "guard": plain(self.guard),
            "version": plain(self.version),
            "key": self.key,
            "decision_id": plain(self.decision_id),
            "business_id": None if self.business_id is None else plain(self.business_id),
            "parent": None if self.parent is None else plain(self.parent),
            "reason": self.reason,
            "reasons": to_text(list(self.reasons)),
            "triggers": to_text([dict(trigger) for trigger in self.triggers]),
            "inclusion": self.inclusion,
            "arguments": to_text(dict(arguments)),
            "shown": None if shown is None else to_text(shown),
            "provisional": None if provisional is None else to_text(provisional),
            "confidence": _finite(self.confidence),
            "threshold": _finite(self.threshold),
            "choices": None if self.choices is None else to_text(list(self.choices)),
            "guide": None if self.guide is None else plain(self.guide),
            "answers": None if self.answers is None else to_text(dict(self.answers)),
            "expected": None if self.expected is None else to_text(self.expected),
            "priority": self.priority,
            "skills": to_text(list(self.skills)),
            "owner": None if self.owner is None else plain(self.owner),
            "created": now,
            "due": self.due,
            "on_expiry": self.on_expiry,
            "actor": None if self.actor is None else to_text(dict(self.actor)),
            "state": "pending",
            "reviewers": self.reviewers,
            "agree": self.agree,
            "voted": 0,
            "free_at": 0.0,
            "levels": to_text(levels),
            "level": 0,
            "role": levels[0]["role"] if levels else None,
            "act_at": first_act(now, self.due, self.on_expiry, levels, words),
            "callback": self.callback,
            "delivery": "queued" if self.push else "none",
            "delivery_at": now if self.push else None,
            "delivery_tries": 0,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """How a ticket ended.

    Attributes:
        ticket_id: The ticket.
        state: "decided", "expired" or "cancelled".
        verdict: For a decided one: the model's answer was accepted, changed, or rejected with no other in its place.
        value: What the person answered, as JSON gives it back; for "accept" the model's own answer in its JSON form, or the
            choice that says the same, if that was given.
        actor: Who ended it; None for an expired one.
        at: When.
        on_expiry: What was agreed for a ticket that nobody answers in time.
        guard: The guard that asked.
        version: Of the model that was asked.
        decision_id: The decision that was deferred.
    """

    ticket_id: str
    state: State
    verdict: Verdict | None
    value: Any = field(repr=False)
    actor: Actor | None
    at: datetime
    on_expiry: OnExpiry
    guard: str
    version: str
    decision_id: str

    def result(self) -> Any:
        """Return the person's answer.

        Raises:
            Refused: No person gave one: rejected, expired or cancelled.
        """
        if self.state == "decided" and self.verdict != "reject":
            return self.value
        why, hint = {
            "decided": ("a person rejected the model's answer and gave no other", None),
            "expired": ("nobody answered the ticket in time", "the model's own answer stands in ticket.provisional"),
            "cancelled": ("the ticket was cancelled", f"see `guardrail review show {self.ticket_id}`"),
        }[self.state]
        raise Refused(why, guard=self.guard, policy="review", decision_id=self.decision_id, hint=hint)


def standing(row: Mapping[Any, Any], now: float) -> State:
    """Return a ticket's state: one whose leases have ended is pending again, whatever was written last."""
    state: State = row["state"]
    return "pending" if state == "claimed" and row["free_at"] <= now else state


def new_id(at: float | None = None) -> str:
    """Return a new UUIDv7 (RFC 9562, section 5.7, method 3): ordered by time, random at its end.

    Args:
        at: Its moment, in seconds since the epoch. Without one it is made for now, and comes after all others of this process.
    """
    global _latest  # noqa: PLW0603 - the moment of the last one
    moment = int((clock.wall() if at is None else at) * 1000 * _PARTS)
    if at is None:
        with _lock:
            if moment <= _latest < moment + 1000 * _PARTS:  # within a second; a clock that was set back further is believed
                moment = _latest + 1
            _latest = moment
    millis, part = divmod(moment, _PARTS)
    chance = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    digits = f"{(millis & (1 << 48) - 1) << 80 | 7 << 76 | part << 64 | 2 << 62 | chance:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()


lifecycle.after_fork(_in_child)


def to_text(value: Any) -> str:
    """Return a value as JSON text with sorted keys, so that equal values give equal text.

    What is JSON already stays as it is, so that a value which `content.jsonable` or the store gave is not encoded twice.

    Raises:
        ConfigError: It cannot be JSON.
    """
    if not value and type(value) in _EMPTY:
        return _EMPTY[type(value)]
    try:
        text = orjson.dumps(value, option=_STRICT)
        if b"null" not in text:  # which NaN would become too
            return text.decode()
    except TypeError:
        pass  # it is not JSON as it is
    try:
        if not _is_json(value):
            from guardrail.content import Unencodable, jsonable  # noqa: PLC0415 - most values are JSON

            try:
                value = jsonable(value)
            except Unencodable as problem:
                raise ConfigError(
                    f"the review queue keeps JSON: {problem}",
                    policy="review",
                    hint="write Review(show=lambda ...: {...}), or an answer that is JSON",
                ) from None
    except RecursionError:
        raise ConfigError(
            "the review queue keeps JSON: the value is nested too deeply",
            policy="review",
            hint="write Review(show=lambda ...: {...}) that gives what the reviewer needs to see",
        ) from None
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _is_json(value: Any) -> bool:
    """Return whether JSON gives a value back as it is."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii()) or _SURROGATE.search(value) is None
    if value is None or kind is bool:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(-(1 << 63) <= value < 1 << 63)
    if kind is dict:
        for key, item in value.items():  # noqa: SIM110 - every case comes by, and `all` takes twice the time
            if type(key) is not str or not _is_json(key) or not _is_json(item):
                return False
        return True
    if kind is list:
        return all(map(_is_json, value))
    return False


def from_text(text: str | None) -> Any:
    """Return what `to_text` was given, as JSON knows it; None for None."""
    return None if text is None else orjson.loads(text)


def for_people(text: str | None, ticket_id: str) -> Any:
    """Return what `to_text` was given, with what is sealed in it opened; what was erased says so."""
    if text is None or '"$' not in text:
        return from_text(text)
    from guardrail.review.personal import opened  # noqa: PLC0415 - for those who have something personal

    return opened(from_text(text), ticket_id)


def says_something(text: object) -> bool:
    """Return whether a value is text that is not blank."""
    return isinstance(text, str) and bool(text.strip())


def plain(text: str) -> str:
    """Return text that every store can hold: lone surrogates, which UTF-8 has no form for, and U+0000 are spelled out."""
    if text.isascii() and "\x00" not in text:  # most are
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


def moment(seconds: float) -> datetime:
    """Return seconds since the epoch as an aware moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _finite(number: float | None) -> float | None:
    # A confidence that is no number is kept in `reasons`; JSON and SQL have no NaN.
    return None if number is None or not math.isfinite(number) else float(number)
