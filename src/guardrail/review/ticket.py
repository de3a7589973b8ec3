"""A ticket: what a caller holds while a person decides. Plain data, so that it can be stored, sent and unpickled."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from typing import Any

from guardrail import clock
from guardrail.errors import Deferred
from guardrail.review.case import Row, State, for_people, moment


class Ticket:
    """A case in the review queue, known by its id.

    Attributes:
        id: Time-ordered; `guardrail review show ID` shows the case.
        queue: The queue that it waits in.
        guard: The guard that asks.
        decision_id: The decision that was deferred.
        business_id: The user's own key for the matter, None where there is none.
        reason: Why a person is asked: "low", "failed", "late", "open", "stopped" or "invalid"; "trigger" where a condition holds,
            "trigger_failed" where one failed itself, "audit" for a check by lot.
        created: When, in UTC.
        due: Until when an answer is wanted, in UTC; None for no limit.
        provisional: The model's own answer as JSON knows it, None where there is none. Not final.
    """

    __slots__ = ("business_id", "created", "decision_id", "due", "guard", "id", "provisional", "queue", "reason")

    id: str
    queue: str
    guard: str
    decision_id: str
    business_id: str | None
    reason: str
    created: datetime
    due: datetime | None
    provisional: Any

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the name of the field
        queue: str,
        guard: str,
        decision_id: str,
        business_id: str | None,
        reason: str,
        created: datetime,
        due: datetime | None,
        provisional: Any,
    ) -> None:
        self.id = id
        self.queue = queue
        self.guard = guard
        self.decision_id = decision_id
        self.business_id = business_id
        self.reason = reason
        self.created = created
        self.due = due
        self.provisional = provisional

    @classmethod
    def of_row(cls, row: Row) -> Ticket:
        """Return the ticket for a row of the store or of the spool."""
        return cls(
            id=row["id"],
            queue=row["queue"],
            guard=row["guard"],
            decision_id=row["decision_id"],
            business_id=row["business_id"],
            reason=row["reason"],
            created=moment(row["created"]),
            due=None if row["due"] is None else moment(row["due"]),
            provisional=for_people(row["provisional"], row["id"]),
        )

    @property
    def state(self) -> State:
        """Where it stands now: "pending", "claimed", "adjudicate", "decided", "expired" or "cancelled".

        Raises:
            TicketNotFound: The store does not know it (any more).
            StoreError: The store cannot be read.
        """
        from guardrail.review import desk  # noqa: PLC0415 - it imports this module, and SQLAlchemy

        return desk.state(self.id)

    def wait(self, timeout: clock.Duration) -> Any:
        """Wait for the person's answer, blocking the thread.

        Args:
            timeout: How long, as "30s", seconds or a timedelta.

        Returns:
            The answer as JSON knows it.

        Raises:
            Deferred: Time is up, and the ticket is still open.
            Refused: There will be no answer: rejected, expired or cancelled.
        """
        from guardrail.review import desk, watch  # noqa: PLC0415 - as above

        seconds = clock.seconds(timeout, "timeout of Ticket.wait", zero=True)
        try:
            signal = watch.signal(self.id)
            answer = desk.ending(self.id) or signal.result(seconds)
        except FutureTimeout:
            raise Deferred(
                "nobody has answered the ticket yet",
                ticket=self,
                guard=self.guard,
                policy="review",
                decision_id=self.decision_id,
                hint=f"wait longer, or decide it: `guardrail review decide {self.id} ...`",
            ) from None
        return answer.result()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the person's answer without holding a thread, for as long as it takes.

        Cancelling the task that waits leaves the ticket open. Returns and raises as `wait`, but never Deferred.
        """
        return self._answer().__await__()

    async def _answer(self) -> Any:
        from guardrail.review import watch  # noqa: PLC0415 - only who waits needs it

        return (await watch.signal_later(self.id)).result()

    def cancel(self, reason: str) -> None:
        """Take it out of the queue; whoever waits for it is told.

        Args:
            reason: Why, in words that may stand in the ledger.

        Raises:
            TicketClosed: It is decided, expired or cancelled already.
        """
        from guardrail.review import deciding  # noqa: PLC0415 - as above

        deciding.cancel(self.id, reason)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from guardrail.review.case_card import bundle  # noqa: PLC0415 - only a notebook shows it

        return bundle(self)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, Ticket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Ticket {self.id} in queue {self.queue!r} for {self.guard}: {self.reason}>"
