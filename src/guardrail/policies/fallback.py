"""`fallback`: what the caller gets instead, rung by rung, each with its share of the time that is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.asks import Run
from guardrail.call import Call
from guardrail.errors import ConfigError
from guardrail.policies.options import Frozen

if TYPE_CHECKING:
    from guardrail.policies.rows import Rows


class _LastGood:
    """The latest answer to the same key, however old."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "last_good"

    def __reduce__(self) -> str:
        return "last_good"


last_good: Final = _LastGood()


class Fallback(Frozen):
    """Answers to fall back to, tried in order.

    Args:
        rungs: Values (None is legal), callables that take the same arguments, or `last_good`.

    Raises:
        ConfigError: There is no rung, or one is a Fallback itself.
    """

    __slots__ = ("rungs",)

    rungs: tuple[Any, ...]

    def __init__(self, *rungs: Any) -> None:
        if not rungs:
            raise ConfigError("Fallback() has no rung", hint="write Fallback(cheaper_model, last_good, None)")
        if any(isinstance(rung, Fallback) for rung in rungs):
            raise ConfigError("a Fallback stands inside a Fallback", hint="write the rungs side by side: Fallback(a, b, c)")
        self._set(rungs=tuple(rungs))

    def __eq__(self, other: object) -> bool:
        # Rungs are the user's objects: an array has no single truth in ==, so they are compared by identity.
        return type(other) is Fallback and [*map(id, self.rungs)] == [*map(id, other.rungs)]

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.rungs)))

    def __repr__(self) -> str:
        words = (
            getattr(rung, "__name__", type(rung).__name__) if callable(rung) else repr(rung) if rung is last_good else "a value"
            for rung in self.rungs
        )
        return f"Fallback({', '.join(words)})"


def climb(call: Call, rungs: tuple[Any, ...], memory: Memory | None) -> Any:
    """Try the rungs in order (a generator of asks); set the call's result and return True when one answers.

    The time that is left is shared: each rung may take what remains divided by the rungs still to come.
    """
    for at, rung in enumerate(rungs):
        if rung is last_good:
            if memory is None or not memory.recall(call):
                continue
            return True
        if not callable(rung):
            if call.opens is None:
                call.result = rung
                return True
            rung = _constant(rung)  # noqa: PLW2901 - of a generator: the value's items are streamed
        until = None
        if call.last_moment is not None:
            left = call.last_moment - clock.now()
            if left <= 0:
                return False
            until = clock.now() + left / (len(rungs) - at)
        value, error = yield Run(rung, until)
        if error is None:
            call.result = value
            return True
        call.reasons = (*call.reasons, f"fallback {at + 1} failed: {type(error).__name__}")
    return False


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: iter(value)


class Memory:
    """The latest good answer for each key; belongs to one function object.

    Args:
        rows: Where the answers are kept, and how many.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def keep(self, call: Call) -> None:
        """Remember a fresh answer; called at the end of a call, when its outcome is known."""
        key = call.plan.key_of(call)
        if key is not None:
            row = call.flown or self.rows.row_of(call.result, call.confidence, 0.0, call.plan.name)
            if row is not None:
                self.rows.put(key, row)

    def recall(self, call: Call) -> bool:
        """Give the latest answer to the same question; return whether there is one."""
        key = call.plan.key_of(call)
        row = None if key is None else self.rows.get(key)
        if row is None:
            return False
        call.result = row.answer()
        call.confidence = row.confidence
        return True
