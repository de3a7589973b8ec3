"""Conditions that send a case to people though nothing is wrong with it: composable, named, versioned.

`below(0.9)`, `outside(0.4, 0.6)`, `rule(fn)`, `failed(TimeoutError)`, `always()` and `sample(0.1)`, joined by `|`, `&` and `~`,
are given to `Review(triggers=[...])`. All that fire are stored with the case.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from guardrail.decision import Prediction
from guardrail.errors import AccessDenied, AuditUnavailable, ConfigError, Deferred, InvalidInput, NotApproved, ReviewUnavailable
from guardrail.functions import code_hash

CONFIDENCE: Final = "confidence"
ANSWER: Final = "answer"
_UNSEEN: Final = (InvalidInput, AccessDenied, NotApproved, AuditUnavailable, ReviewUnavailable, ConfigError, Deferred)


class Seen(NamedTuple):
    """What a condition may look at.

    Attributes:
        args: What the function was called with; kwargs likewise.
        answer: What it returned, MISSING where it failed.
        confidence: How sure it is.
        error: What it raised, None where it answered.
        names: Of the positional parameters, in order.
        row: Of a function over a table: the name of the parameter in which the row stands, None for other functions.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Any
    confidence: float | None
    error: BaseException | None
    names: tuple[str, ...] = ()
    row: str | None = None

    def argument(self, path: str) -> Any:
        """Return an argument, or a field of one: "amount" or "loan.amount"; of a table's row also by the column's name alone.

        Raises:
            LookupError: There is none; AttributeError likewise.
        """
        given = {**dict(zip(self.names, self.args, strict=False)), **self.kwargs}
        name, *fields = path.split(".")
        if name not in given and self.row is not None:
            name, fields = self.row, [name, *fields]
        found = given[name]
        for field in fields:
            found = found[field] if isinstance(found, Mapping) else getattr(found, field)
        return found


Known = dict[int, bool | None]  # what simple conditions have said of a call, by their place in memory


@dataclass(frozen=True, slots=True, repr=False)
class Trigger:
    """One condition, or several joined by `|`, `&` and `~`.

    Attributes:
        name: What it is called where it is stored.
        version: What tells it from an earlier form of itself.
    """

    name: str
    version: str

    def fires(self, seen: Seen, drawn: float, known: Known | None = None) -> bool | None:
        """Return whether it holds; None where it says nothing, as a condition on answers of a call without one.

        Args:
            seen: What it looks at.
            drawn: A number in [0, 1) that depends on the question alone.
            known: What is kept of simple conditions, so that each is asked once for a call.
        """
        raise NotImplementedError

    def parts(self) -> Iterator[Trigger]:
        """Yield the conditions that it is joined of, or itself."""
        yield self

    def __or__(self, other: Trigger) -> Trigger:
        return _joined("|", self, other)

    def __and__(self, other: Trigger) -> Trigger:
        return _joined("&", self, other)

    def __invert__(self) -> Trigger:
        return _Not(f"~{self.name}", self.version, self)

    def __repr__(self) -> str:
        # The options' digest in each record is made of this: another form of a condition is another policy.
        return self.name if set(self.version) <= {"1", "."} else f"{self.name} v{self.version}"


@dataclass(frozen=True, slots=True, repr=False)
class _Joined(Trigger):
    word: str
    left: Trigger
    right: Trigger

    def fires(self, seen: Seen, drawn: float, known: Known | None = None) -> bool | None:
        settled = self.word == "|"  # what one side alone decides by
        left = self.left.fires(seen, drawn, known)
        if left is settled:
            return settled
        right = self.right.fires(seen, drawn, known)
        if right is settled:
            return settled
        return None if left is None or right is None else not settled

    def parts(self) -> Iterator[Trigger]:
        yield from self.left.parts()
        yield from self.right.parts()


def _joined(word: str, left: Trigger, right: Trigger) -> Trigger:
    if not isinstance(right, Trigger):
        raise ConfigError("triggers are joined with triggers", hint="write below(0.9) & rule(fn)")
    return _Joined(f"({left.name} {word} {right.name})", f"{left.version}.{right.version}", word, left, right)


@dataclass(frozen=True, slots=True, repr=False)
class _Not(Trigger):
    inner: Trigger

    def fires(self, seen: Seen, drawn: float, known: Known | None = None) -> bool | None:
        said = self.inner.fires(seen, drawn, known)
        return None if said is None else not said

    def parts(self) -> Iterator[Trigger]:
        yield from self.inner.parts()


@dataclass(frozen=True, slots=True, repr=False)
class Simple(Trigger):
    """A condition by itself.

    Attributes:
        test: Says whether it holds.
        of_answers: Whether it says nothing of a call without an answer.
        reads: "confidence" where it asks how sure the answer is, "answer" where it is handed the answer by that name.
        argument: The argument that it looks at, as `Seen.argument` takes it.
    """

    test: Callable[[Seen], bool]
    of_answers: bool = True
    reads: str | None = None
    argument: str | None = None

    def fires(self, seen: Seen, drawn: float, known: Known | None = None) -> bool | None:  # noqa: ARG002 - nothing is drawn here
        """Ask it, once for each call that keeps what is known."""
        if self.of_answers and seen.error is not None:
            return None
        if known is None:
            return bool(self.test(seen))
        if id(self) not in known:
            known[id(self)] = bool(self.test(seen))
        return known[id(self)]


@dataclass(frozen=True, slots=True, repr=False)
class Sample(Trigger):
    """Chance.

    Attributes:
        share: How often it holds.
    """

    share: float

    def fires(self, seen: Seen, drawn: float, known: Known | None = None) -> bool | None:  # noqa: ARG002 - needs no keeping
        """Compare the number that was drawn."""
        return None if seen.error is not None else drawn < self.share


def below(threshold: float) -> Trigger:
    """Fire for an answer that is less sure than this, or whose confidence is no number in [0, 1].

    Without the option `confidence=` the confidence is read as `confidence=` would read it.

    Raises:
        ConfigError: It is no number in [0, 1].
    """
    _probability(threshold, "below")

    def test(seen: Seen) -> bool:
        return seen.confidence is None or not threshold <= seen.confidence <= 1.0

    return Simple(f"below({threshold:g})", "1", test, reads=CONFIDENCE)


def outside(low: float, high: float, *, of: Callable[[Any], float] | str | None = None) -> Trigger:
    """Fire for an answer whose number is below `low` or above `high`, or is NaN; or for such an argument.

    Args:
        low: The least that passes.
        high: The most that passes.
        of: Takes the number from the answer; by default the answer itself, or the value of a `Prediction`. Or the name of an
            argument, with the names of fields after it: "loan.amount".

    Raises:
        ConfigError: The bounds are no numbers, or the wrong way round, or `of` is of another type.
    """
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (low, high))
    if not numbers or not low <= high:
        raise ConfigError("outside() wants two numbers, the smaller first", hint="write outside(0.4, 0.6)")
    name = f"outside({low:g}, {high:g})"
    if isinstance(of, str) and of:
        path = of
        return Simple(f"{name[:-1]}, {path})", "1", lambda seen: not low <= float(seen.argument(path)) <= high, argument=path)
    if of is not None and not callable(of):
        raise ConfigError(
            f"outside(of=...) is of type {type(of).__name__}", hint='write of="amount" or of=lambda answer: answer.price'
        )

    def test(seen: Seen) -> bool:
        answer = seen.answer.value if of is None and isinstance(seen.answer, Prediction) else seen.answer
        return not low <= float(answer if of is None else of(answer)) <= high

    return Simple(name, "1" if of is None else code_hash(of), test)


def rule(fn: Callable[..., bool], *, name: str | None = None, version: str | None = None) -> Trigger:
    """Fire where a function of yours says so.

    Args:
        fn: Takes the same arguments as the guarded function, and the answer too if it has a parameter `answer`. It is called in
            the caller's way, so it must be quick; what it raises sends the case to people.
        name: What it is called; by default the function's own name.
        version: What tells it from an earlier form; by default a digest of its code, without what it refers to.

    Raises:
        ConfigError: It cannot be called, or is a coroutine function.
    """
    if not callable(fn):
        raise ConfigError("rule() wants a function", hint="write rule(lambda applicant: applicant.age < 21)")
    if inspect.iscoroutinefunction(fn):
        raise ConfigError("rule() wants a plain function, not a coroutine function", hint="write def in place of async def")
    try:
        wants_answer = "answer" in inspect.signature(fn).parameters
    except (TypeError, ValueError):
        wants_answer = False

    def test(seen: Seen) -> bool:
        return fn(*seen.args, **seen.kwargs, answer=seen.answer) if wants_answer else fn(*seen.args, **seen.kwargs)

    own = str(getattr(fn, "__name__", "rule"))
    called = name or ("rule" if own == "<lambda>" else own)
    return Simple(called, version or code_hash(fn), test, reads=ANSWER if wants_answer else None)


def failed(*types: type[Exception]) -> Trigger:
    """Fire where the function raised one of these errors; without any, for every one that something may recover.

    Raises:
        ConfigError: One is no type of an error, or of one that no condition sees: refused input, access, wrong use.
    """
    if not all(isinstance(each, type) and issubclass(each, Exception) for each in types):
        raise ConfigError("failed() wants types of errors", hint="write failed(TimeoutError)")
    if any(issubclass(each, _UNSEEN) for each in types):
        raise ConfigError("failed() names an error that no condition sees", hint='for refused input write Review(on=["invalid"])')
    wanted = types or (Exception,)
    name = f"failed({', '.join(each.__name__ for each in types)})"
    return Simple(name, "1", lambda seen: isinstance(seen.error, wanted), of_answers=False)


def always() -> Trigger:
    """Fire for every answer: a person decides each case."""
    return Simple("always()", "1", lambda _: True)


def sample(share: float) -> Trigger:
    """Fire for a share of the answers, chosen by lot; the same question always draws the same.

    Raises:
        ConfigError: The share is not in (0, 1].
    """
    _probability(share, "sample")
    if not share:
        raise ConfigError("sample(0) never fires", hint="leave it out")
    return Sample(f"sample({share:g})", "1", share)


def _probability(value: object, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{what}() wants a number between 0 and 1", hint=f"write {what}(0.1)")
