"""`Batch`: what became of each row of a table, kept in columns, so that a million rows need little more than their answers."""

from __future__ import annotations

import contextvars
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from guardrail.call import decision_id
from guardrail.decision import Decision, Outcome
from guardrail.errors import ConfigError, Deferred, Refused
from guardrail.ledger.entry import without_frames

if TYPE_CHECKING:
    from guardrail.plan import Plan

R = TypeVar("R")
_BY_WORD: Final = {outcome.value: outcome for outcome in Outcome}
TRACEBACKS: Final = 100  # errors of one batch that keep their traceback: each holds the frames of its row


class Same(NamedTuple):
    """What the rows of one plan have in common."""

    guard: str
    version: str
    mode: str
    threshold: float | None

    @classmethod
    def of(cls, plan: Plan) -> Same:
        """Return it for a plan."""
        return cls(plan.name, plan.version, plan.mode, plan.threshold)


class Batch(Generic[R]):
    """Row results in the order of the input. Its length is the number of rows; iteration and indexing give Decisions.

    Attributes:
        values: The answers, None where a row has none.
        outcomes: How each row ended.
    """

    __slots__ = ("_at", "_attempts", "_index", "_rare", "_same", "_seq", "_sure", "_took", "outcomes", "values")

    values: list[R | None]
    outcomes: list[Outcome]

    def __init__(self, index: Any = None) -> None:
        self.values = []
        self.outcomes = []
        self._index = index  # of a pandas table
        self._seq = array("Q")
        self._at = array("d")
        self._took = array("d")
        self._sure: list[float | None] = []
        self._attempts: list[int] = []
        self._same: list[Same] = []
        self._rare: dict[int, dict[str, Any]] = {}  # by place: error, ticket, reasons and whatever else most rows lack

    # ── filling ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _add(  # noqa: PLR0917 - the columns; by keyword it costs as much as the rest
        self, value: Any, outcome: str, seq: int, at: float, took: float, sure: float | None, attempts: int, same: Same,
        rare: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Append a row.

        Args:
            value: The answer, None where there is none.
            outcome: The text of an `Outcome`.
            seq: With `at` (wall clock seconds) the decision's id.
            at: See `seq`.
            took: Seconds.
            sure: The confidence.
            attempts: How often the function was started for it.
            same: What it shares with other rows.
            rare: error, ticket, reasons, stop_reason, stages, would, trace_id and business_id, as far as there are any.
        """
        if rare:
            if "error" in rare and len(self._rare) >= TRACEBACKS:
                _strip(rare["error"])
            self._rare[len(self.values)] = rare
        self.values.append(value)
        self.outcomes.append(_BY_WORD[outcome])
        self._seq.append(seq)
        self._at.append(at)
        self._took.append(took)
        self._sure.append(sure)
        self._attempts.append(attempts)
        self._same.append(same)

    def _extend(self, other: Batch[Any]) -> None:
        """Append the rows of another batch."""
        start = len(self)
        self._rare.update((start + place, rare) for place, rare in other._rare.items())
        self.values.extend(other.values)
        self.outcomes.extend(other.outcomes)
        for name in ("_seq", "_at", "_took", "_sure", "_attempts", "_same"):
            getattr(self, name).extend(getattr(other, name))

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many rows ended how; only outcomes that occur."""
        found = Counter(self.outcomes)
        return {outcome: found[outcome] for outcome in Outcome if outcome in found}

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Decision[R]]:
        return map(self._decision, range(len(self)))

    def __getitem__(self, i: int) -> Decision[R]:
        """Return the decision on one row, by its place; negative places count from the end."""
        return self._decision(range(len(self))[i])

    def _decision(self, at: int) -> Decision[R]:
        same, rare = self._same[at], self._rare.get(at) or {}
        error = rare.get("error")
        return Decision(
            self.values[at],
            id=decision_id(self._at[at], self._seq[at]),
            guard=same.guard,
            version=same.version,
            mode=same.mode,
            outcome=self.outcomes[at],
            ok=error is None,
            at=datetime.fromtimestamp(self._at[at], UTC),
            confidence=self._sure[at],
            threshold=same.threshold if "asked" not in rare else rare["asked"].at_least,
            reasons=rare.get("reasons", ()),
            ticket=rare.get("ticket"),
            error=error,
            attempts=self._attempts[at],
            stop_reason=rare.get("stop_reason"),
            timings={"total": self._took[at], **(rare.get("stages") or {})},
            would=rare.get("would", ()),
            trace_id=rare.get("trace_id"),
            business_id=rare.get("business_id"),
        )

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with the input's index, and a row for each row.

        Its columns: value, outcome (text), confidence (NaN where there is none), ticket (id), error (type and text) and
        decision_id.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - for those who use it
        except ImportError:
            raise ConfigError(
                "to_frame() makes a pandas DataFrame", hint="pip install pandas, or iterate over the batch"
            ) from None
        index = pd.RangeIndex(len(self)) if self._index is None else self._index
        tickets: list[str | None] = [None] * len(self)
        errors: list[str | None] = [None] * len(self)
        for at, rare in self._rare.items():
            if rare.get("ticket") is not None:
                tickets[at] = rare["ticket"].id
            if rare.get("error") is not None:
                errors[at] = f"{type(rare['error']).__name__}: {rare['error']}"
        return pd.DataFrame(
            {
                "value": pd.Series(self.values, index=index),
                "outcome": pd.Series([outcome.value for outcome in self.outcomes], index=index, dtype=object),
                "confidence": pd.Series(self._sure, index=index, dtype="float64"),
                "ticket": pd.Series(tickets, index=index, dtype=object),
                "error": pd.Series(errors, index=index, dtype=object),
                "decision_id": pd.Series(list(map(decision_id, self._at, self._seq)), index=index, dtype=object),
            },
            index=index,
        )

    def describe(self) -> str:
        """Return the counts in words: "962 answered, 31 deferred, 7 refused"."""
        return ", ".join(f"{count:,} {outcome.value}" for outcome, count in self.counts.items())

    def __repr__(self) -> str:
        return f"<Batch of {len(self):,} rows{': ' if len(self) else ''}{self.describe()}>"

    def _repr_html_(self) -> str:
        from guardrail import notebook  # noqa: PLC0415 - only a notebook pays for it

        return notebook.batch_card(self)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in self.__slots__}
        # Errors go without their frames, and those that cannot be made anew in another process as a name.
        state["_rare"] = {
            at: {**rare, "error": without_frames(rare["error"])} if rare.get("error") is not None else rare
            for at, rare in self._rare.items()
        }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, content in state.items():
            setattr(self, name, content)


add, extend = Batch._add, Batch._extend  # noqa: SLF001 - who fills a batch is the library alone


class Wanted:
    """Where a call over a table leaves its whole Batch, for `batch()`, which wants that rather than the result."""

    __slots__ = ("batch",)

    def __init__(self) -> None:
        self.batch: Batch[Any] | None = None


wanted: contextvars.ContextVar[Wanted | None] = contextvars.ContextVar("guardrail_wanted", default=None)


def outcome_of(error: BaseException) -> str:
    """Return how a row ended that ended with an error."""
    if isinstance(error, Deferred):
        return "deferred"
    if not isinstance(error, Exception):
        return "cancelled"
    if isinstance(error, Refused):
        return "late" if isinstance(error, TimeoutError) else "refused"
    return "failed"


def _strip(error: BaseException | None) -> None:
    """Let go of the frames of an error and of those behind it."""
    for _ in range(10):
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
