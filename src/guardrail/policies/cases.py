"""What a person gets of a call: the case, with what is personal taken out of it."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from guardrail import settings
from guardrail.call import Call
from guardrail.errors import ConfigError
from guardrail.policies.answer_schema import schema_of
from guardrail.policies.review import Review, time_given
from guardrail.principal import acting
from guardrail.review.judging import NOTHING, Fired, draw

AUDIT: Final = "audit"
LOOKED: Final = ("trigger", "trigger_failed")  # why a case goes to people though nothing is wrong with the answer
_secret: bytes | None = None


def make_case(call: Call, review: Review, trigger: str, provisional: Any, fired: Fired = NOTHING) -> Any:
    """Return the case for a person: the arguments as people read them, and what the model thought.

    Args:
        call: The call that is deferred.
        review: The guard's option.
        trigger: Why, in the words of `Review(on=...)`, or "trigger", "trigger_failed" or "audit".
        provisional: The function's own answer, None where there is none.
        fired: The conditions that hold.

    Raises:
        ConfigError: The arguments cannot be shown; names `Review(show=...)`.
    """
    from guardrail import content  # noqa: PLC0415
    from guardrail.review.case import Case  # noqa: PLC0415
    from guardrail.settings.hours import after  # noqa: PLC0415
    from guardrail.store import engine  # noqa: PLC0415

    plan = call.plan
    who = acting.get()
    try:
        known = _Known(call, provisional, arguments=not callable(review.show))
        arguments = known.arguments
        if review.show is None:
            shown = None
        elif callable(review.show):
            shown = content.jsonable(review.show(*call.args, **call.kwargs))
            if known.about_people:  # who knows what of theirs it shows
                shown = known.hide("shown", shown)
        else:
            shown = {name: arguments[name] for name in review.show}
    except content.Unencodable as problem:
        raise ConfigError(
            f"the case cannot be shown to a person: {problem}",
            policy="review",
            hint="write Review(show=lambda ...: {...}) that returns what the reviewer needs to see",
        ) from None
    except KeyError as problem:
        raise ConfigError(
            f"Review(show=...) names {problem}, which is no argument",
            policy="review",
            hint="name arguments of the function, or write a function of them",
        ) from None
    key = call.snapshot if call.snapshot is not None else call.id.encode()
    # What was drawn by lot is no case that a caller asks about, nor the other way round.
    about = "audit|" if trigger == AUDIT else ""
    within = time_given(review)
    return Case(
        queue=review.queue,
        guard=plan.name,
        version=plan.version,
        key=content.digest(f"{about}{plan.name}|{plan.version}|{_asked(review)}|".encode() + key),
        decision_id=call.id,
        reason=trigger,
        reasons=(*call.reasons, *(() if call.error is None else (type(call.error).__name__,))),
        business_id=call.business_id,
        arguments=arguments,
        shown=shown,
        provisional=known.provisional,
        personal=tuple(known.parts),
        subjects=known.subjects,
        personal_answer=known.personal_answer,
        confidence=call.confidence,
        threshold=plan.threshold if call.asked is None else call.asked.at_least,
        choices=review.choices,
        guide=review.guide,
        priority=review.priority,
        skills=review.skills,
        owner=review.owner,
        due=None if within is None else after(engine.now(), within, settings.current().working_hours),
        on_expiry=review.on_expiry,
        actor=None if who is None else {"id": who[0].id, "known_by": "asserted"},
        kind=AUDIT if trigger == AUDIT else "case",
        triggers=({"name": trigger, "version": "1"}, *fired.triggers) if trigger not in LOOKED else fired.triggers,
        inclusion=fired.inclusion if trigger in (AUDIT, "trigger") else 1.0,
        answers=schema_of(review, plan.snapshot.returns),
        reviewers=review.reviewers,
        agree=review.agree,
        levels=tuple({"role": level.role, "within": level.within, "notify": list(level.notify)} for level in review.levels),
        callback=review.callback,
        push=review.push,
    )


def _asked(review: Review) -> str:
    """Return what people are asked, apart from the input: where it has changed, an open ticket is another question's."""
    return repr((review.queue, review.choices, review.guide, review.reviewers, review.agree))


def drawn(call: Call, about: str) -> float:
    """Return the number in [0, 1) that a call's question draws; the same question always draws the same.

    A question that has no exact key draws by its decision's id.
    """
    secret = _secret or _read_secret()
    question = call.snapshot if isinstance(call.snapshot, bytes) else call.id.encode()
    return draw(secret, f"{about}|{call.plan.name}|{call.plan.version}", question)


def warm() -> None:
    """Read the key that lots are drawn by, and import what files a check: no event loop waits for that in the middle of a call."""
    from guardrail.review import filing  # noqa: F401, PLC0415 - for those who draw

    if _secret is None:
        with contextlib.suppress(OSError):  # the first draw finds out too
            _read_secret()


def _read_secret() -> bytes:
    from guardrail.ledger.keys import digest_key  # noqa: PLC0415 - for those who draw

    global _secret  # noqa: PLW0603 - read once
    _secret = digest_key()
    return _secret


class _Known:
    """What a ticket holds of a call: arguments and answer as JSON, with what is personal taken out, to be sealed."""

    def __init__(self, call: Call, provisional: Any, *, arguments: bool) -> None:
        from guardrail import content  # noqa: PLC0415

        plan, snapshot = call.plan, call.plan.snapshot
        self.about_people: bool = snapshot.about_people
        self.personal_answer: bool = snapshot.personal_answer
        self.arguments: dict[str, Any] = {}
        self.subjects: tuple[str, ...] = ()
        self.parts: list[Any] = []
        if not self.about_people:
            self.arguments = plan.arguments(call) if arguments else {}
        elif arguments:
            found = snapshot.apart(call)
            self.arguments, self.subjects, self.parts = found.shown, found.subjects, [*found.parts]
        else:
            self.subjects = snapshot.subjects(call)
        self.provisional = None if provisional is None else content.jsonable(provisional, snapshot.returns)
        if self.provisional is not None and self.personal_answer:
            self.provisional = self.hide("provisional", self.provisional)

    def hide(self, field: str, shown: Any) -> Any:
        """Take a JSON value out as a whole; it is the first subject's."""
        from guardrail.content import personal  # noqa: PLC0415

        self.parts.append(personal.Part(field, personal.text_of(shown), self.subjects[0] if self.subjects else None))
        return {personal.SEALED: field}
