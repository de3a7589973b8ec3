"""Where a call goes that must not be answered as it is: to the fallback, to a person, or back to the caller as an error.

The one table of how a call ends (see `docs/endings.md`) is `trigger_of` and `Gate.recover`.
"""

from __future__ import annotations

from typing import Any, Final

from guardrail import clock, notices
from guardrail.asks import Asks, Do, Steps, Wait
from guardrail.call import MISSING, Call
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
from guardrail.policies.annotations import Check
from guardrail.policies.bar import Bar
from guardrail.policies.cases import AUDIT, LOOKED, drawn, make_case, warm
from guardrail.policies.deferral import NOT_YET, STILL_OPEN, UNANSWERED, deferred, inherited_end
from guardrail.policies.fallback import Fallback, Memory, climb
from guardrail.policies.given import given_by
from guardrail.policies.review import Review
from guardrail.review.judging import NOTHING, Fired, judged, shares_of
from guardrail.review.triggers import Seen

BESIDE: Final = ("low", *LOOKED)  # filed even where the caller gets the fallback
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
        check: What the function may return, or of a `Prediction` what may stand in it; None where that is anything.
        fallback: What the caller gets instead.
        memory: The latest good answers, where the fallback wants them.
        review: Which cases go to people.
    """

    row: str | None = None  # the name of the parameter that holds a row, where the function takes a table

    def __init__(
        self,
        bar: Bar | None,
        fallback: Fallback | None,
        memory: Memory | None,
        review: Review | None,
        *,
        check: Check | None = None,
    ) -> None:
        self.bar = bar
        self.rungs = () if fallback is None else fallback.rungs
        self.memory = memory
        self.review = review
        self.check = check
        self.shares = () if review is None else shares_of(review.triggers)
        self.looks = review is not None and bool(review.triggers or review.sample)
        self.on = frozenset(() if review is None else (*review.on, *LOOKED))
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
            if self.shares or self.review.sample:
                warm()

    def leave(self, call: Call) -> Asks | None:
        """Let a sure answer pass."""
        error = call.error
        if error is None:
            bar = self.bar
            if bar is not None and bar.grouped:
                bar = bar.of(call)
            if bar is None or bar.passes(call.confidence, call.result):
                return self._look(call) if self.looks else None
            return self.recover(call, "low", self.fired(call))
        trigger = trigger_of(error)
        if trigger is None or trigger == "invalid":
            return None
        if self.bar is not None:
            self.bar.of(call)  # for its record
        fired = self.fired(call)
        trigger = self.reason_for(trigger, fired)
        return self.recover(call, trigger, fired) if self.rungs or trigger in self.on else None

    def reason_for(self, trigger: str, fired: Fired) -> str:
        """Return why an error is taken to people: for a condition of theirs where its kind alone would not bring it to them."""
        if fired.reason is not None and (self.rungs or trigger not in self.on):
            return fired.reason
        return trigger

    def _look(self, call: Call) -> Asks | None:
        """Let a sure answer pass unless a condition wants a person to see it; some are filed for a later check."""
        fired = self.fired(call)
        if fired.reason is not None:
            return self.recover(call, fired.reason, fired)
        self.audit(call)
        return None

    def fired(self, call: Call) -> Fired:
        """Return which conditions hold for a call. One that fails itself is said, and sends the case to people."""
        review = self.review
        if review is None or not review.triggers:
            return NOTHING
        shape = call.plan.snapshot.shape
        answer = call.result if call.error is None else MISSING
        names = () if shape is None else shape.positional
        seen = Seen(call.args, call.kwargs, answer, call.confidence, call.error, names, self.row)
        fired = judged(review.triggers, seen, lambda: drawn(call, "trigger"), self.shares)
        if fired.problem is not None:
            notices.say("trigger", f"{fired.text}: a person decides", guard=call.plan.name)
        return fired

    def audit(self, call: Call) -> None:
        """File a sure answer for a later check if it is drawn; whatever becomes of that, the answer goes out."""
        review = self.review
        if review is None or not review.sample:
            return
        try:
            if drawn(call, AUDIT) < review.sample:
                from guardrail.review.filing import put_beside  # noqa: PLC0415 - the store is loaded by the first case

                put_beside(make_case(call, review, AUDIT, call.result, Fired(inclusion=review.sample)))
        except Exception as problem:  # noqa: BLE001 - a check is no part of the answer
            notices.say(
                "review-audit", f"an answer could not be filed for a check: {type(problem).__name__}", guard=call.plan.name
            )

    def recover(self, call: Call, trigger: str, fired: Fired = NOTHING) -> Asks:
        """Take the call to the fallback, to a person, or back to the caller.

        Args:
            call: The call.
            trigger: What is wrong, in the words of `Review(on=...)`, or which of `cases.LOOKED`.
            fired: The conditions that hold.
        """
        call.deadline, call.until = call.last_moment or call.deadline, None
        error = call.error
        review = self.review if trigger in self.on else None
        if trigger == "low" and self.bar is not None:
            call.reasons = (*call.reasons, self.bar.of(call).why_low(call.confidence, call.result))
        elif trigger in LOOKED:
            call.reasons = (*call.reasons, fired.text)
        provisional = MISSING if error is not None else call.result
        rungs = self.rungs if trigger != "invalid" else ()
        ticket: Any = None
        ended = STILL_OPEN
        if rungs:
            if review is not None and self.people_first:
                if (yield from self._reuse(call, review, provisional)):
                    return None
                ticket, ended = yield from self._ask_first(call, review, trigger, provisional, fired)
                if ended is None:
                    return None
            elif trigger in BESIDE and review is not None:
                ticket = yield from self._file_beside(call, review, trigger, provisional, fired)
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
            ticket = yield from self._file(call, review, trigger, provisional, fired)
        if review.wait is not None and not asked:
            ended = yield from self._wait(call, review, ticket, provisional)
            if ended is None:
                return None
        call.outcome = "deferred"
        raise deferred(ticket, ended) from error

    def _ask_first(self, call: Call, review: Review, trigger: str, provisional: Any, fired: Fired) -> Steps:
        """Wait for the person before the fallback; return the ticket and how the wait ended, None for an answer.

        The fallback has as much time afterwards as it had before: the wait is outside the call's own budget.
        """
        spare = self.spare(call)
        ticket = yield from self._file_beside(call, review, trigger, provisional, fired)
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

    def _file(self, call: Call, review: Review, trigger: str, provisional: Any, fired: Fired) -> Steps:
        from guardrail import review as queue  # noqa: PLC0415 - the store is loaded by the first case that needs it

        case = make_case(call, review, trigger, None if provisional is MISSING else provisional, fired)
        ticket = yield Do(queue.PUT, case)
        call.ticket = ticket
        return ticket

    def _file_beside(self, call: Call, review: Review, trigger: str, provisional: Any, fired: Fired) -> Steps:
        """File the ticket while the caller gets the fallback: then a queue that is down must not take the answer away."""
        try:
            return (yield from self._file(call, review, trigger, provisional, fired))
        except ReviewUnavailable as problem:
            notices.say("review", f"a case could not be filed beside its fallback: {problem}", guard=call.plan.name)
            return None

    def _reuse(self, call: Call, review: Review, provisional: Any) -> Steps:
        if review.reuse is None or call.business_id is None:
            return False
        from guardrail import review as queue  # noqa: PLC0415
        from guardrail.store import engine  # noqa: PLC0415

        found = yield Do(queue.ANSWER, call.plan.name, call.business_id, engine.now() - review.reuse, call.plan.version)
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
        """Let a person's answer be the answer of the call.

        Raises:
            InvalidOutput: It is none that the function could give.
        """
        mine = None if provisional is MISSING else provisional
        call.result = given_by(answer, review, mine, predicts=call.plan.returns_prediction, check=self.check)
        call.error = None
        call.outcome = "human"


class InvalidGate:
    """Sends refused input to people; stands outside the validation, where the gate proper cannot see it."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def leave(self, call: Call) -> Asks | None:
        """Take an invalid input to review; never to the fallback."""
        return self.gate.recover(call, "invalid") if isinstance(call.error, InvalidInput) else None
