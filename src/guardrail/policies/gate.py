"""Where a call goes that must not be answered as it is: to the fallback, to a person, or back to the caller as an error.

The one table of how a call ends (see `docs/endings.md`) is `trigger_of` and `Gate.recover`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from guardrail import clock, notices, settings
from guardrail.asks import Asks, Do, Steps, Wait
from guardrail.call import MISSING, Call, acting
from guardrail.decision import Prediction
from guardrail.errors import (
    AccessDenied,
    AuditUnavailable,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    Deferred,
    GuardrailError,
    InvalidInput,
    InvalidOutput,
    LimitExceeded,
    NotApproved,
    ReviewUnavailable,
    Stopped,
)
from guardrail.policies.answer_schema import schema_of
from guardrail.policies.bar import Bar
from guardrail.policies.deferral import NOT_YET, STILL_OPEN, UNANSWERED, deferred, inherited_end
from guardrail.policies.fallback import Fallback, Memory, climb
from guardrail.policies.review import Review, accepted
from guardrail.review.triggers import Fired, Seen, draw, judged

NOTHING: Final = Fired()
TOLD: Final = {"trigger": "a condition of the review holds", "trigger_failed": "a condition of the review failed itself"}
_LOOKED: Final = tuple(TOLD)  # why a case goes to people though nothing is wrong with the answer
BESIDE: Final = ("low", *_LOOKED)  # filed even where the caller gets the fallback
SHARE: Final = 0.2  # of an inherited budget, kept for the fallback where a person is waited for first
_FINAL: Final = (AccessDenied, NotApproved, AuditUnavailable, ReviewUnavailable, ConfigError, Deferred)


def trigger_of(error: BaseException) -> str | None:
    """Return what kind of ending an error is, in the words of `Review(on=...)`; None for one that nothing recovers."""
    if not isinstance(error, Exception) or isinstance(error, _FINAL):
        return None
    if isinstance(error, InvalidInput):
        return "invalid"
    if isinstance(error, BudgetExceeded):
        return "late"
    if isinstance(error, CircuitOpen | LimitExceeded):
        return "open"
    if isinstance(error, Stopped):
        return "stopped"
    return "failed" if isinstance(error, InvalidOutput) or not isinstance(error, GuardrailError) else None


class Gate:
    """The confidence gate, with the fallback and the review behind it; on the reserved time.

    Args:
        bar: What an answer must reach, None where every one may go out.
        judge: Raises InvalidOutput for what the function must not return; None where it may return anything.
        fallback: What the caller gets instead.
        memory: The latest good answers, where the fallback wants them.
        review: Which cases go to people.
    """

    def __init__(
        self,
        bar: Bar | None,
        fallback: Fallback | None,
        memory: Memory | None,
        review: Review | None,
        *,
        judge: Callable[[Any], None] | None = None,
    ) -> None:
        self.bar = bar
        self.rungs = () if fallback is None else fallback.rungs
        self.memory = memory
        self.review = review
        self.judge = judge
        self.looks = review is not None and bool(review.triggers or review.sample)
        self.on = frozenset(() if review is None else (*review.on, *_LOOKED))
        # on_expiry="fallback": who waits for a person gets the fallback when the wait was in vain, and not before.
        self.people_first = review is not None and review.wait is not None and review.on_expiry == "fallback"

    def warm(self) -> None:
        """Open the store before a case needs it: 400 ms that would otherwise fall into a call."""
        if self.review is not None:
            from guardrail.store import engine  # noqa: PLC0415

            try:
                engine.warm()
            except engine.StoreError as problem:  # the first case finds out too, and has the spool
                notices.say("store", str(problem))

    def leave(self, call: Call) -> Asks | None:
        """Let a sure answer pass."""
        error = call.error
        if error is None:
            bar = self.bar
            if bar is None or bar.passes(call.confidence, call.result):
                return self._look(call) if self.looks else None
            return self.recover(call, "low")
        trigger = trigger_of(error)
        if trigger is None or trigger == "invalid":
            return None
        if not (self.rungs or trigger in self.on):
            fired = self.fired(call) if self.looks else NOTHING
            return None if fired.reason is None else self.recover(call, fired.reason)
        return self.recover(call, trigger)

    def _look(self, call: Call) -> Asks | None:
        """Let a sure answer pass unless a condition wants a person to see it; some are filed for a later check."""
        fired = self.fired(call)
        if fired.reason is not None:
            return self.recover(call, fired.reason)
        self.audit(call)
        return None

    def fired(self, call: Call) -> Fired:
        """Return which conditions hold for a call. One that fails itself is said, and sends the case to people."""
        review = self.review
        if review is None or not review.triggers:
            return NOTHING
        answer = call.result if call.error is None else MISSING
        seen = Seen(call.args, call.kwargs, answer, call.confidence, call.error)
        fired = judged(review.triggers, seen, lambda: drawn(call, "trigger"))
        if fired.problem is not None:
            notices.say("trigger", f"a trigger raised {type(fired.problem).__name__}: a person decides", guard=call.plan.name)
        return fired

    def audit(self, call: Call) -> None:
        """File a sure answer for a later check if it is drawn; whatever becomes of that, the answer goes out."""
        review = self.review
        if review is None or not review.sample or drawn(call, "audit") >= review.sample:
            return
        from guardrail.review.filing import put_beside  # noqa: PLC0415 - the store is loaded by the first case that needs it

        try:
            put_beside(make_case(call, review, "audit", call.result, Fired(inclusion=review.sample)))
        except Exception as problem:  # noqa: BLE001 - a check is no part of the answer
            notices.say(
                "review-audit", f"an answer could not be filed for a check: {type(problem).__name__}", guard=call.plan.name
            )

    def recover(self, call: Call, trigger: str) -> Asks:
        """Take the call to the fallback, to a person, or back to the caller."""
        call.deadline, call.until = call.last_moment or call.deadline, None
        error = call.error
        review = self.review if trigger in self.on else None
        if trigger == "low" and self.bar is not None:
            call.reasons = (*call.reasons, self.bar.why_low(call.confidence, call.result))
        elif trigger in _LOOKED:
            call.reasons = (*call.reasons, TOLD[trigger])
        provisional = MISSING if error is not None else call.result
        rungs = self.rungs if trigger != "invalid" else ()
        ticket: Any = None
        ended = STILL_OPEN
        if rungs:
            if review is not None and self.people_first:
                if (yield from self._reuse(call, review, provisional)):
                    return None
                ticket, ended = yield from self._ask_first(call, review, trigger, provisional)
                if ended is None:
                    return None
            elif trigger in BESIDE and review is not None:
                ticket = yield from self._file_beside(call, review, trigger, provisional)
            if (yield from climb(call, rungs, self.memory)):
                predicts = isinstance(provisional, Prediction) or call.plan.returns_prediction
                if predicts and not isinstance(call.result, Prediction):
                    call.result = Prediction(call.result, 0.0, ("fallback",))
                call.error = None
                call.outcome = "fallback"
                return None
        if review is None:
            if error is None:
                raise ConfigError("an unsure answer has nowhere to go", policy="confidence", hint='add review="default"')
            return None
        asked = bool(rungs) and self.people_first
        if not asked and (yield from self._reuse(call, review, provisional)):
            return None
        if ticket is None:
            ticket = yield from self._file(call, review, trigger, provisional)
        if review.wait is not None and not asked:
            ended = yield from self._wait(call, review, ticket, provisional)
            if ended is None:
                return None
        call.outcome = "deferred"
        raise deferred(ticket, ended) from error

    def _ask_first(self, call: Call, review: Review, trigger: str, provisional: Any) -> Steps:
        """Wait for the person before the fallback; return the ticket and how the wait ended, None for an answer.

        The fallback has as much time afterwards as it had before: the wait is outside the call's own budget.
        """
        spare = self.spare(call)
        ticket = yield from self._file_beside(call, review, trigger, provisional)
        ended = STILL_OPEN
        if ticket is not None:
            ended = yield from self._wait(call, review, ticket, provisional, spare=spare)
            if ended is not None:
                call.reasons = (*call.reasons, ended.text)
        self.resume(call, spare)
        return ticket, ended

    @staticmethod
    def spare(call: Call) -> float:
        """Return the seconds that a fallback is left when a person has been waited for in vain."""
        if call.last_moment is not None:
            return max(0.0, call.last_moment - clock.now())
        inherited = inherited_end(call)
        return 0.0 if inherited is None else SHARE * max(0.0, inherited - clock.now())

    @staticmethod
    def resume(call: Call, spare: float) -> None:
        """Let the time of the call go on where it stood before a person was waited for."""
        if call.last_moment is not None:
            inherited = inherited_end(call)
            end = clock.now() + spare
            call.last_moment = call.deadline = end if inherited is None else min(end, inherited)

    def _file(self, call: Call, review: Review, trigger: str, provisional: Any) -> Steps:
        from guardrail import review as queue  # noqa: PLC0415 - the store is loaded by the first case that needs it

        fired = self.fired(call) if self.looks else NOTHING
        case = make_case(call, review, trigger, None if provisional is MISSING else provisional, fired)
        ticket = yield Do(queue.PUT, case)
        call.ticket = ticket
        return ticket

    def _file_beside(self, call: Call, review: Review, trigger: str, provisional: Any) -> Steps:
        """File the ticket while the caller gets the fallback: then a queue that is down must not take the answer away."""
        try:
            return (yield from self._file(call, review, trigger, provisional))
        except ReviewUnavailable as problem:
            notices.say("review", f"a case could not be filed beside its fallback: {problem}", guard=call.plan.name)
            return None

    def _reuse(self, call: Call, review: Review, provisional: Any) -> Steps:
        if review.reuse is None or call.business_id is None:
            return False
        from guardrail import review as queue  # noqa: PLC0415
        from guardrail.store import engine  # noqa: PLC0415

        found = yield Do(queue.ANSWER, call.plan.name, call.business_id, engine.now() - review.reuse)
        if found is None or found.verdict == "reject":
            return False
        self._take(call, review, found, provisional)
        call.reasons = (*call.reasons, f"a person's answer to decision {found.decision_id} is used again")
        return True

    def _wait(
        self, call: Call, review: Review, ticket: Any, provisional: Any, *, until: float | None = None, spare: float = 0.0
    ) -> Steps:
        """Wait for the person, outside the call's own budget but inside an inherited one.

        Args:
            call: Gets the answer.
            review: How long, and what an answer becomes.
            ticket: The case.
            provisional: The function's own answer.
            until: A moment for all, where several are waited for.
            spare: Seconds of an inherited budget that are wanted afterwards.

        Returns:
            None for an answer, else an `Unanswered`.
        """
        from guardrail import review as queue  # noqa: PLC0415

        if until is None:
            until = clock.now() + (review.wait or 0.0)
        inherited = inherited_end(call)
        if inherited is not None:
            until = min(until, inherited - spare)
        signal = queue.signal(ticket.id)
        came = yield Wait(signal, until)
        if not came:
            return NOT_YET
        answer = signal.result()
        if answer.state == "decided" and answer.verdict != "reject":
            self._take(call, review, answer, provisional)
            return None
        if answer.state == "expired" and answer.on_expiry == "provisional" and provisional is not MISSING:
            call.result, call.error, call.outcome = provisional, None, "fallback"
            call.reasons = (*call.reasons, "nobody decided in time: the provisional answer stands, as on_expiry allows")
            return None
        return UNANSWERED[answer.state]

    def _take(self, call: Call, review: Review, answer: Any, provisional: Any) -> None:
        """Let a person's answer be the answer of the call."""
        mine = None if provisional is MISSING else provisional
        if answer.verdict != "accept":
            value = review.as_answer(answer.value, mine)
        elif mine is not None and _as_json(mine) == answer.value:
            value = mine
        else:  # what was accepted is the model's answer to the ticket's own call, an earlier one
            value = accepted(answer.value, mine)
        if call.plan.returns_prediction and not isinstance(value, Prediction):
            value = Prediction(value, 1.0, ("a person decided",))
        if answer.verdict != "accept" and self.judge is not None:
            try:
                self.judge(value.value if isinstance(value, Prediction) and call.plan.returns_prediction else value)
            except InvalidOutput as problem:
                raise InvalidOutput(
                    f"what a person answered does not fit what the function returns: {problem.args[0]}",
                    policy="review", hint="see `guardrail review show`; Review(answer=...) makes of a choice what the function returns",
                ) from None  # fmt: skip
        call.result = value
        call.error = None
        call.outcome = "human"


class InvalidGate:
    """Sends refused input to people; stands outside the validation, where the gate proper cannot see it."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def leave(self, call: Call) -> Asks | None:
        """Take an invalid input to review; never to the fallback."""
        return self.gate.recover(call, "invalid") if isinstance(call.error, InvalidInput) else None


def _as_json(value: Any) -> Any:
    from guardrail import content  # noqa: PLC0415

    try:
        return content.jsonable(value)
    except content.Unencodable:
        return MISSING


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


def drawn(call: Call, about: str) -> float:
    """Return the number in [0, 1) that a call's question draws; the same question always draws the same.

    A question that has no exact key draws by its decision's id.
    """
    from guardrail.ledger.keys import digest_key  # noqa: PLC0415 - for those who draw

    global _secret  # noqa: PLW0603 - read once
    if _secret is None:
        _secret = digest_key()
    question = call.snapshot if isinstance(call.snapshot, bytes) else call.id.encode()
    return draw(_secret, f"{about}|{call.plan.name}|{call.plan.version}", question)


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
        raise ConfigError(f"Review(show=...) names {problem}, which is no argument", policy="review") from None
    key = call.snapshot if call.snapshot is not None else call.id.encode()
    return Case(
        queue=review.queue,
        guard=plan.name,
        version=plan.version,
        key=content.digest(f"{plan.name}|{plan.version}|".encode() + key),
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
        threshold=plan.threshold,
        choices=review.choices,
        guide=review.guide,
        priority=review.priority,
        skills=review.skills,
        owner=review.owner,
        due=None if review.takes is None else after(engine.now(), review.takes, settings.current().working_hours),
        on_expiry=review.on_expiry,
        actor=None if who is None else {"id": who[0].id, "known_by": "asserted"},
        kind="audit" if trigger == "audit" else "case",
        triggers=({"name": trigger, "version": "1"}, *fired.triggers) if trigger not in _LOOKED else fired.triggers,
        inclusion=fired.inclusion if trigger in ("audit", "trigger") else 1.0,
        answers=schema_of(review, plan.snapshot.returns),
        reviewers=review.reviewers,
        levels=tuple({"role": level.role, "within": level.within, "notify": list(level.notify)} for level in review.levels),
        callback=review.callback,
    )
