"""Conditions that send a case to people though nothing is wrong with it: composable, named, versioned.

`below(0.9)`, `outside(0.4, 0.6)`, `rule(fn)`, `failed(TimeoutError)`, `always()` and `sample(0.1)`, joined by `|`, `&` and `~`,
are given to `Review(triggers=[...])`. All that fire are stored with the case.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from guardrail.decision import Prediction
from guardrail.errors import ConfigError

_BITS: Final = 53  # of a drawn number: all that a float between 0 and 1 can hold evenly


class Seen(NamedTuple):
    """What a condition may look at.

    Attributes:
        args: What the function was called with; kwargs likewise.
        answer: What it returned, MISSING where it failed.
        confidence: How sure it is.
        error: What it raised, None where it answered.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Any
    confidence: float | None
    error: BaseException | None


@dataclass(frozen=True, slots=True, repr=False)
class Trigger:
    """One condition, or several joined by `|`, `&` and `~`.

    Attributes:
        name: What it is called where it is stored.
        version: What tells it from an earlier form of itself.
    """

    name: str
    version: str

    def fires(self, seen: Seen, drawn: float) -> bool:
        """Return whether it holds; `drawn` is a number in [0, 1) that depends on the question alone."""
        raise NotImplementedError

    def shares(self) -> tuple[float, ...]:
        """Return the probabilities that it draws by."""
        return ()

    def __or__(self, other: Trigger) -> Trigger:
        return _joined("|", self, other)

    def __and__(self, other: Trigger) -> Trigger:
        return _joined("&", self, other)

    def __invert__(self) -> Trigger:
        return _Not(f"~{self.name}", self.version, self)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, repr=False)
class _Joined(Trigger):
    word: str
    left: Trigger
    right: Trigger

    def fires(self, seen: Seen, drawn: float) -> bool:
        if self.word == "|":
            return self.left.fires(seen, drawn) or self.right.fires(seen, drawn)
        return self.left.fires(seen, drawn) and self.right.fires(seen, drawn)

    def shares(self) -> tuple[float, ...]:
        return (*self.left.shares(), *self.right.shares())


def _joined(word: str, left: Trigger, right: Trigger) -> Trigger:
    if not isinstance(right, Trigger):
        raise ConfigError("triggers are joined with triggers", hint="write below(0.9) & rule(fn)")
    return _Joined(f"({left.name} {word} {right.name})", f"{left.version}.{right.version}", word, left, right)


@dataclass(frozen=True, slots=True, repr=False)
class _Not(Trigger):
    inner: Trigger

    def fires(self, seen: Seen, drawn: float) -> bool:
        return not self.inner.fires(seen, drawn)

    def shares(self) -> tuple[float, ...]:
        return self.inner.shares()


@dataclass(frozen=True, slots=True, repr=False)
class _Simple(Trigger):
    test: Callable[[Seen], bool]

    def fires(self, seen: Seen, drawn: float) -> bool:  # noqa: ARG002 - nothing is drawn here
        return bool(self.test(seen))


@dataclass(frozen=True, slots=True, repr=False)
class _Sample(Trigger):
    share: float

    def fires(self, seen: Seen, drawn: float) -> bool:
        return seen.error is None and drawn < self.share

    def shares(self) -> tuple[float, ...]:
        return (self.share,)


def below(threshold: float) -> Trigger:
    """Fire for an answer that is less sure than this, or says not how sure it is.

    Raises:
        ConfigError: It is no number in [0, 1].
    """
    _probability(threshold, "below")
    return _Simple(f"below({threshold:g})", "1", lambda seen: seen.error is None and not (seen.confidence or 0.0) >= threshold)


def outside(low: float, high: float, *, of: Callable[[Any], float] | None = None) -> Trigger:
    """Fire for an answer whose number is below `low` or above `high`, or is no number.

    Args:
        low: The least that passes.
        high: The most that passes.
        of: Takes the number from the answer; by default the answer itself, or the value of a `Prediction`.

    Raises:
        ConfigError: The bounds are no numbers, or the wrong way round.
    """
    if not all(isinstance(bound, int | float) and not math.isnan(bound) for bound in (low, high)) or low > high:
        raise ConfigError("outside() wants two numbers, the smaller first", hint="write outside(0.4, 0.6)")

    def test(seen: Seen) -> bool:
        if seen.error is not None:
            return False
        answer = seen.answer.value if of is None and isinstance(seen.answer, Prediction) else seen.answer
        return not low <= float(answer if of is None else of(answer)) <= high

    return _Simple(f"outside({low:g}, {high:g})", "1" if of is None else _digest(of), test)


def rule(fn: Callable[..., bool], *, name: str | None = None, version: str | None = None) -> Trigger:
    """Fire where a function of yours says so.

    Args:
        fn: Takes the same arguments as the guarded function, and the answer too if it has a parameter `answer`.
        name: What it is called; by default the function's own name.
        version: What tells it from an earlier form; by default a digest of its code.

    Raises:
        ConfigError: It cannot be called.
    """
    if not callable(fn):
        raise ConfigError("rule() wants a function", hint="write rule(lambda applicant: applicant.age < 21)")
    try:
        wants_answer = "answer" in inspect.signature(fn).parameters
    except (TypeError, ValueError):
        wants_answer = False

    def test(seen: Seen) -> bool:
        if seen.error is not None:
            return False
        return fn(*seen.args, **seen.kwargs, answer=seen.answer) if wants_answer else fn(*seen.args, **seen.kwargs)

    return _Simple(name or str(getattr(fn, "__name__", "rule")), version or _digest(fn), test)


def failed(*types: type[BaseException]) -> Trigger:
    """Fire where the function raised one of these errors; without any, for every one that something may recover."""
    if not all(isinstance(each, type) and issubclass(each, BaseException) for each in types):
        raise ConfigError("failed() wants types of errors", hint="write failed(TimeoutError)")
    wanted = types or (Exception,)
    return _Simple(f"failed({', '.join(each.__name__ for each in types)})", "1", lambda seen: isinstance(seen.error, wanted))


def always() -> Trigger:
    """Fire for every answer: a person decides each case."""
    return _Simple("always()", "1", lambda seen: seen.error is None)


def sample(share: float) -> Trigger:
    """Fire for a share of the answers, chosen by lot; the same question always draws the same.

    Raises:
        ConfigError: The share is not in (0, 1].
    """
    _probability(share, "sample")
    if not share:
        raise ConfigError("sample(0) never fires", hint="leave it out")
    return _Sample(f"sample({share:g})", "1", share)


class Fired(NamedTuple):
    """What of the conditions held.

    Attributes:
        triggers: Name and version of all that fired.
        inclusion: The probability that the case would be here: less than 1 only if it was drawn by lot.
        problem: What a condition itself raised; then a person decides, since nobody knows what it would have said.
    """

    triggers: tuple[dict[str, str], ...] = ()
    inclusion: float = 1.0
    problem: Exception | None = None

    @property
    def reason(self) -> str | None:
        """Why the case goes to people, None where nothing fired."""
        if self.problem is not None:
            return "trigger_failed"
        return "trigger" if self.triggers else None


def judged(triggers: Sequence[Trigger], seen: Seen, drawn: Callable[[], float]) -> Fired:
    """Ask all conditions.

    Args:
        triggers: The conditions.
        seen: What they look at.
        drawn: Gives the number that the question draws; asked only where something is drawn.
    """
    shares = sorted({share for each in triggers for share in each.shares()})
    lot = drawn() if shares else 0.0
    fired: list[Trigger] = []
    problem: Exception | None = None
    for each in triggers:
        try:
            if each.fires(seen, lot):
                fired.append(each)
        except Exception as error:  # noqa: BLE001 - whatever it is, a person decides
            problem = problem or error
    inclusion = 1.0
    if shares and fired and problem is None:
        # Between two shares nothing changes, so one number of each part tells for all of it.
        edges = [0.0, *(share for share in shares if share < 1.0), 1.0]
        parts = itertools.pairwise(edges)
        inclusion = sum(high - low for low, high in parts if any(each.fires(seen, (low + high) / 2) for each in triggers))
    return Fired(tuple({"name": each.name, "version": each.version} for each in fired), inclusion, problem)


def draw(secret: bytes, about: str, question: bytes) -> float:
    """Return a number in [0, 1) that a question draws: the same each time, and not to be foreseen without the secret.

    HMAC-SHA256 (RFC 2104) of what the draw is for and the exact key of the question; its first 53 bits.
    """
    digest = hmac.digest(secret, about.encode() + b"\0" + question, "sha256")
    return float((int.from_bytes(digest[:8], "big") >> (64 - _BITS)) / (1 << _BITS))


def _probability(value: object, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{what}() wants a number between 0 and 1", hint=f"write {what}(0.1)")


def _digest(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    if code is None:
        return "1"
    seen = (
        code.co_code
        + repr([each for each in code.co_consts if not hasattr(each, "co_code")]).encode()
        + repr(code.co_names).encode()
    )
    return hashlib.blake2b(seen, digest_size=5).hexdigest()
