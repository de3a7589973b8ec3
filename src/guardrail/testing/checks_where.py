"""Checks of the self-test about where a function runs: its context, other processes, many callers at once."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Final

from guardrail.testing import elsewhere
from guardrail.testing.checks import NO_CASE
from guardrail.testing.spying import watched
from guardrail.testing.subject import Subject
from guardrail.testing.verdicts import Tally, Verdict, skipped

THREADS: Final = 8
_CALLS: Final = 32
_CHILD_SECONDS: Final = 120


def context(subject: Subject) -> Verdict:
    """Context variables of the caller are seen inside."""
    if subject.in_child:
        return skipped("the function runs in a child process, where context variables do not travel")
    case = next((case for case in subject.cases if case.inner is not None), None)
    if case is None:
        return skipped(NO_CASE)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("guardrail_selftest", default="unset")
    seen: list[str] = []
    before = variable.set("set")
    try:
        with watched(subject.guard, lambda: seen.append(variable.get())):
            subject.call(case.sample)
    finally:
        variable.reset(before)
    if not seen:
        return skipped("its policies answered in place of the function")
    return set(seen) == {"set"}, "seen inside" if set(seen) == {"set"} else "not seen inside"


def another_process(subject: Subject) -> Verdict:
    """The guarded function travels into another process by cloudpickle, and answers the same there."""
    try:
        import cloudpickle  # noqa: PLC0415 - only if the user has it
    except ImportError:
        return skipped("cloudpickle is not installed")
    try:
        cloudpickle.dumps(subject.guard.fn)
    except Exception as error:  # noqa: BLE001 - whatever the user's globals raise
        return skipped(f"the function itself cannot be pickled ({type(error).__name__})")
    cases = [case for case in subject.cases if case.bare is not None and _packs(cloudpickle.dumps, case.sample)]
    try:
        packed = cloudpickle.dumps((subject.fn, [case.sample for case in cases]))
    except Exception as error:  # noqa: BLE001 - as above
        return False, f"the guarded function cannot be pickled ({type(error).__name__}), although the function itself can"
    with tempfile.TemporaryDirectory(prefix="guardrail-") as home:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GUARDRAIL_")}
        env |= {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path), "GUARDRAIL_HOME": home}
        command = [sys.executable, "-m", elsewhere.__name__]
        try:
            ran = subprocess.run(  # noqa: S603 - our own module
                command, input=packed, capture_output=True, env=env, timeout=_CHILD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return False, f"it does not come back from there within {_CHILD_SECONDS} s"
    if ran.returncode == elsewhere.NOT_IMPORTABLE:
        return skipped(f"module {subject.fn.__module__} cannot be imported in another process")
    if ran.returncode:
        return False, f"it does not run there: {_last_line(ran.stderr)}"
    tally = Tally()
    for case, there in zip(cases, cloudpickle.loads(ran.stdout), strict=True):
        if case.bare is not None and there is not None:  # None: the answer cannot travel back
            tally.compare(there, case.bare, steady=case.steady)
    return tally.verdict("the same in another process") if tally.count else (True, "it arrives there; nothing to compare")


def _packs(dumps: Callable[[Any], bytes], value: Any) -> bool:
    try:
        dumps(value)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "without a word"


def many_threads(subject: Subject) -> Verdict:
    """Called by eight at once, everyone gets the answer to his own question."""
    cases = [case for case in subject.cases if case.bare is not None]
    if not cases:
        return skipped(NO_CASE)
    asked = [cases[at % len(cases)] for at in range(_CALLS)]
    tally = Tally()
    for case, ran in zip(asked, subject.call_at_once([case.sample for case in asked], THREADS), strict=True):
        if case.bare is not None:
            tally.compare(ran, case.bare, steady=case.steady)
    ok, text = tally.verdict("each its own answer")
    if ok is False:
        alone = Tally()
        inner = [case.inner for case in asked if case.inner is not None]
        for case, ran in zip(asked, subject.call_at_once(inner, THREADS, bare=True), strict=True):
            if case.bare is not None:
                alone.compare(ran, case.bare, steady=case.steady)
        if alone.unlike:
            return skipped("the function itself gives other answers when it is called by many at once")
    return ok, text
