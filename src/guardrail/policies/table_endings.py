"""Where the rows of a table go that must not be answered as they are: to the fallback, to a person, or back as an error.

The table of how a call ends (`docs/endings.md`) holds for each row by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail import call as calls
from guardrail import clock, notices
from guardrail.asks import Asks, Do, Run, Steps
from guardrail.call import MISSING, Call
from guardrail.decision import Prediction
from guardrail.errors import ConfigError, InvalidOutput, ReviewUnavailable
from guardrail.policies import table_outputs
from guardrail.policies.cases import make_case
from guardrail.policies.deferral import STILL_OPEN, Unanswered, deferred
from guardrail.policies.fallback import last_good
from guardrail.policies.gate import BESIDE, Gate
from guardrail.review.judging import NOTHING

if TYPE_CHECKING:
    from guardrail.plan import Plan
    from guardrail.policies.review import Review
    from guardrail.policies.table_state import Place, State


class RowsGate(Gate):
    """The confidence gate for the rows of a table, with the fallback and the review behind it.

    `plan` is what each row's record and ticket repeat; `place` says where the table stands among the arguments.
    """

    plan: Plan
    place: Place

    def recover_rows(self, call: Call, state: State, trouble: Mapping[int, str | None]) -> Asks:
        """Take each row in trouble to the fallback, to a person, or leave it its error.

        Args:
            call: The call over the whole table.
            state: Its rows.
            trouble: What is wrong, in the words of `Review(on=...)`, by row; None for what nothing recovers.
        """
        call.deadline, call.until = call.last_moment or call.deadline, None
        for at, trigger in trouble.items():
            if trigger == "low" and self.bar is not None:
                state.remark(at, state.bar(at, self.bar).why_low(state.sure[at], state.provisional[at]))
        left = [at for at, trigger in trouble.items() if trigger not in (None, "invalid")] if self.rungs else []
        ended: dict[int, Unanswered] = {}
        if left:
            if self.review is not None and self.people_first:
                ended = yield from self._ask_rows_first(call, state, self.review, left, trouble)
                left = [at for at in left if state.outcomes[at] is None]
            elif self.review is not None:
                beside = [at for at in left if trouble[at] in BESIDE and trouble[at] in self.on]
                yield from self._file_rows(call, state, self.review, beside, trouble, beside=True)
            yield from self._climb_rows(call, state, left)
        cases = [at for at, trigger in trouble.items() if state.outcomes[at] is None and (trigger in self.on or trigger == "low")]
        if cases:
            yield from self._review_rows(call, state, cases, trouble, ended)
        return None

    def look(self, call: Call, state: State, trouble: dict[int, str | None]) -> None:
        """Note as trouble what a condition wants a person to see; file for a later check what is drawn of the others."""
        for at, reason in self.looked_at(call, state, trouble):
            trouble[at] = reason
            state.remark(at, state.fired[at].text)
            if at not in state.errors:
                state.provisional[at] = state.values[at]
                state.values[at] = state.outcomes[at] = None
        if self.review is not None and self.review.sample:
            sure = [at for at in range(state.count) if at not in trouble]
            for at, row in zip(sure, state.rows(sure), strict=True):
                self.audit(self._answered(call, state, at, row))

    def looked_at(self, call: Call, state: State, trouble: Mapping[int, str | None]) -> Iterator[tuple[int, str]]:
        """Ask the conditions about each row that they may be about; yield which go to people for that, and for which of `cases.LOOKED`."""
        if self.review is None or not self.review.triggers:
            return
        asked = [at for at in range(state.count) if trouble.get(at, "") not in (None, "invalid")]
        for at, row in zip(asked, state.rows(asked), strict=True):
            fired = state.fired[at] = self.fired(self._answered(call, state, at, row))
            before = trouble.get(at)
            reason = fired.reason if before is None else self.reason_for(before, fired)
            if reason is not None and before not in (reason, "low"):
                yield at, reason

    def _answered(self, call: Call, state: State, at: int, row: Any) -> Call:
        """Return a row's own call as it stands when the function has answered, or failed."""
        made = self.row_call(call, state, at, row)
        if made.error is None:
            made.result = state.provisional.get(at, state.values[at])
        return made

    def _ask_rows_first(
        self, call: Call, state: State, review: Review, left: Sequence[int], trouble: Mapping[int, str | None]
    ) -> Steps:
        """Wait for people before the fallback; return how the wait ended for the rows that they did not answer."""
        spare = self.spare(call)
        cases = yield from self._reuse_rows(call, state, review, [at for at in left if trouble[at] in self.on])
        yield from self._file_rows(call, state, review, cases, trouble, beside=True)
        ended: dict[int, Unanswered] = yield from self._await_rows(call, state, review, cases, spare)
        for at, unanswered in ended.items():
            state.remark(at, unanswered.text)
        self.resume(call, spare)
        return {at: ended.get(at, STILL_OPEN) for at in cases}

    # ── fallback ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _climb_rows(self, call: Call, state: State, left: Sequence[int]) -> Asks:
        """Try the rungs in order; a callable is asked about all rows that are left, in a table of their own."""
        for number, rung in enumerate(self.rungs):
            if rung is last_good:
                left = [at for at in left if not self._recall(state, at)]
            elif not callable(rung):
                for at in left:
                    self._fall_back(state, at, rung)
                return None
            else:
                until = None
                if call.last_moment is not None:
                    spare = call.last_moment - clock.now()
                    if spare <= 0:
                        return None
                    until = clock.now() + spare / (len(self.rungs) - number)
                part = state.part(left)
                self.place.put(call, part)
                value, error = yield Run(rung, until)
                if error is None:
                    try:
                        found = table_outputs.read(value, part, len(left))
                    except InvalidOutput as problem:
                        error = problem
                    else:
                        state.likeness = state.likeness or found.likeness
                        for at, item in zip(left, found.items, strict=True):
                            self._fall_back(state, at, item)
                        return None
                for at in left:
                    state.remark(at, f"fallback {number + 1} failed: {type(error).__name__}")
            if not left:
                return None
        return None

    def _fall_back(self, state: State, at: int, value: Any) -> None:
        predicts = isinstance(state.provisional.get(at), Prediction) or self.plan.returns_prediction
        if predicts and not isinstance(value, Prediction):
            value = Prediction(value, 0.0, ("fallback",))
        state.settle(at, value, "fallback")

    def _recall(self, state: State, at: int) -> bool:
        """Give the latest answer to the same question; return whether there is one."""
        key = None if state.keys is None else state.keys[at]
        row = None if key is None or self.memory is None else self.memory.rows.get(key)
        if row is None:
            return False
        state.sure[at] = row.confidence
        state.settle(at, row.answer(), "fallback")
        return True

    # ── people ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _review_rows(
        self, call: Call, state: State, cases: Sequence[int], trouble: Mapping[int, str | None], ended: dict[int, Unanswered]
    ) -> Asks:
        """Take rows to people, and wait for those that were not waited for before."""
        review = self.review
        if review is None or ("low" not in self.on and any(trouble[at] == "low" for at in cases)):
            raise ConfigError("an unsure answer has nowhere to go", policy="confidence", hint='add review="default"')
        asked = [at for at in cases if at in ended]
        fresh = yield from self._reuse_rows(call, state, review, [at for at in cases if at not in ended])
        cases = [*asked, *fresh]
        yield from self._file_rows(call, state, review, [at for at in cases if at not in state.tickets], trouble)
        ended |= yield from self._await_rows(call, state, review, fresh, 0.0)
        for at in cases:
            if at in state.tickets and state.outcomes[at] is None:
                self._defer(call, state, at, ended.get(at, STILL_OPEN))
        return None

    def _reuse_rows(self, call: Call, state: State, review: Review, cases: Sequence[int]) -> Steps:
        """Answer rows as people answered their matter before; return the others."""
        if review.reuse is None:
            return cases
        for at in cases:
            row = self.row_call(call, state, at)
            try:
                if (yield from self._reuse(row, review, state.provisional.get(at, MISSING))):
                    self._take_over(state, at, row)
            except InvalidOutput as problem:
                self._misfit(call, state, at, problem)
        return [at for at in cases if state.outcomes[at] is None]

    def _await_rows(self, call: Call, state: State, review: Review, cases: Sequence[int], spare: float) -> Steps:
        """Wait for people, until the same moment for all; return how it ended for those that they did not answer."""
        ended: dict[int, Unanswered] = {}
        if review.wait is None:
            return ended
        until = clock.now() + review.wait
        for at in cases:
            if at in state.tickets:
                row = self.row_call(call, state, at)
                try:
                    unanswered = yield from self._wait(
                        row, review, state.tickets[at], state.provisional.get(at, MISSING), until=until, spare=spare
                    )
                except InvalidOutput as problem:
                    self._misfit(call, state, at, problem)
                    continue
                if unanswered is None:
                    self._take_over(state, at, row)
                else:
                    ended[at] = unanswered
        return ended

    def _take_over(self, state: State, at: int, row: Call) -> None:
        """Let what became of a row's own call be the end of the row."""
        state.settle(at, row.result, row.outcome)
        state.reasons[at] = row.reasons

    def _misfit(self, call: Call, state: State, at: int, problem: InvalidOutput) -> None:
        """Let a row end with a person's answer that is none."""
        problem.guard, problem.decision_id = self.plan.name, calls.decision_id(call.at, state.seqs[at])
        problem.__cause__ = state.errors.get(at)
        state.fail(at, problem)
        state.outcomes[at] = "refused"

    def _file_rows(
        self, call: Call, state: State, review: Review, places: Sequence[int], trouble: Mapping[int, str | None], *,
        beside: bool = False,
    ) -> Asks:  # fmt: skip
        """Open a ticket for each of some rows. Beside a fallback, a queue that is down does not take the answer away."""
        if not places:
            return None
        from guardrail.review.filing_many import PUT_MANY  # noqa: PLC0415 - the store is loaded by the first case

        cases = []
        for at, row in zip(places, state.rows(places), strict=True):
            of_row = self.row_call(call, state, at, row)
            provisional = state.provisional.get(at)
            cases.append(make_case(of_row, review, trouble[at] or "", provisional, state.fired.get(at, NOTHING)))
        filed = yield Do(PUT_MANY, cases)
        for at, found in zip(places, filed, strict=True):
            if not isinstance(found, ReviewUnavailable):
                state.tickets[at] = found
            elif beside:
                notices.say("review", f"a case could not be filed beside its fallback: {found}", guard=self.plan.name)
            else:
                found.__cause__ = state.errors.get(at)
                state.fail(at, found)
        return None

    def _defer(self, call: Call, state: State, at: int, ended: Unanswered) -> None:
        where = {"guard": self.plan.name, "decision_id": calls.decision_id(call.at, state.seqs[at])}
        error = deferred(state.tickets[at], ended, **where)
        error.__cause__ = state.errors.get(at)
        state.fail(at, error)
        state.outcomes[at] = "deferred"

    def row_call(self, call: Call, state: State, at: int, row: Any = MISSING) -> Call:
        """Return a call that stands for one row: with its own id, and the row where the table was."""
        if row is MISSING:
            row = state.rows((at,))[0]
        made = Call(self.plan, *self.place.with_value(call, row), call.parent, call.start)
        made.seq, made.at = state.seqs[at], call.at
        made.snapshot = None if state.snapshots is None else state.snapshots[at]
        made.confidence, made.error = state.sure[at], state.errors.get(at)
        if state.bars is not None:
            made.asked = state.bars[at]
        if at in state.reasons:
            made.reasons = state.reasons[at]
        if state.business is not None:
            made.business_id = state.business[at]
        return made
