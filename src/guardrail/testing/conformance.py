"""The self-test: does a guarded function still do what it did, and do its policies do what they say? For anyone's function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from guardrail import registry
from guardrail.samples import Sample, make_up, sample_of
from guardrail.testing import checks, checks_policies, checks_where
from guardrail.testing.forcing import force
from guardrail.testing.subject import Subject
from guardrail.testing.verdicts import Finding, Verdict, skipped
from guardrail.testing.world import apart
from guardrail.using import guard_of

__all__ = ["CHECKS", "MOST", "Finding", "selftest"]

MOST: Final = 25  # samples that are used: each is run many times

CHECKS: Final[tuple[tuple[str, Callable[[Subject], Verdict]], ...]] = (
    ("signature", checks.signature),
    ("wrong shape", checks.wrong_shape),
    ("answers", checks.answers),
    ("errors", checks.errors),
    ("validation", checks.validation),
    ("keywords", checks.keywords),
    ("decide", checks.decisions),
    ("records", checks.records),
    ("no raw input", checks.no_raw_input),
    ("context", checks_where.context),
    ("another process", checks_where.another_process),
    ("cached answers", checks_policies.cache_copies),
    ("own answers", checks_policies.cache_own),
    ("deadline", checks_policies.deadline),
    ("kill switch", checks_policies.kill_switch),
    ("many at once", checks_where.many_threads),
)


def selftest(fn: Callable[..., Any], samples: Iterable[Any] = ()) -> list[Finding]:
    """Check a guarded function: that it still does what it did, and that its policies do what they say.

    It works in a home of its own, which vanishes, and with the options of the decorator only, in mode enforce: no shared
    cache, no sinks, no switches. But the function is really run, up to fifty times on each sample, and on nothing else. So give samples that may
    be run, and mind what it does to the world.

    Args:
        fn: A guarded function, of any kind; a method is given bound.
        samples: Arguments to run it with, 25 at the most: a mapping of arguments by name, a list of them by position, or
            the one argument itself. Where there are none, they are made up from the annotations, if that is possible.

    Returns:
        One finding about the samples, then one per check.

    Raises:
        ConfigError: It is not guarded, or a sample does not fit the parameters.
    """
    guard = guard_of(fn)
    signature = inspect.signature(fn)
    given = [sample_of(value, signature) for value, _ in zip(samples, range(MOST), strict=False)]
    with apart(), _enforcing(fn):
        _ = guard.plan  # compiled, so that its annotations are resolved
        made_up = "" if given else make_up(signature, guard.parts.get("annotations", {}))
        subject = Subject(fn, given or ([] if isinstance(made_up, str) else made_up))
        try:
            about = Finding("samples", *_about(subject, made_up))
            return [about, *(Finding(name, *_checked(check, subject)) for name, check in CHECKS)]
        finally:
            subject.loop.close()


def _enforcing(fn: Callable[..., Any]) -> AbstractContextManager[None]:
    """Have a guard that watches only, or is off, do what it will do once it is switched on."""
    return nullcontext() if guard_of(fn).mode == "enforce" else force(fn, mode="enforce")


def _about(subject: Subject, made_up: list[Sample] | str) -> Verdict:
    """Say what the function is run on."""
    if not subject.cases:
        return skipped(str(made_up))
    text = f"none given; {len(made_up)} made up from the annotations" if made_up else f"{len(subject.cases)} given"
    refused = sum(case.inner is None for case in subject.cases)
    return True, f"{text}, {refused} refused by validation" if refused else text


def _checked(check: Callable[[Subject], Verdict], subject: Subject) -> Verdict:
    registry.reset()  # a breaker that one check has opened is closed for the next
    try:
        return check(subject)
    except Exception as problem:  # noqa: BLE001 - one check that cannot be made must not keep the others from being made
        return False, f"the check could not be made: {type(problem).__name__}: {problem}"
