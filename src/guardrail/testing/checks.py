"""Checks of the self-test about the function itself: that a guard changes nothing of it but what it is for."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from guardrail.decision import Decision
from guardrail.errors import ConfigError, InvalidInput
from guardrail.guard import kind_of
from guardrail.samples import Sample
from guardrail.testing.recording import Record, recorded
from guardrail.testing.spying import watched
from guardrail.testing.subject import Ran, Subject
from guardrail.testing.verdicts import Tally, Verdict, calls, skipped
from guardrail.using import decide

NO_CASE: Final = "no sample reaches the function"
_KEPT: Final = ("__name__", "__qualname__", "__module__", "__doc__")
_UNKNOWN: Final = "guardrail_selftest_no_such_parameter"
_LEAST: Final = 6  # characters of a text or number that is looked for in records: shorter ones stand there by chance
_PUBLIC: Final = frozenset({"output", "reasons", "business_id", "guard", "version", "plan", "tags", "id", "ts", "host", "pid"})


class Planted(Exception):
    """An error that the self-test has the function raise."""


# ── what it is ────────────────────────────────────────────────────────────────────────────────────────────────────────
def signature(subject: Subject) -> Verdict:
    """Name, signature and kind are the function's own."""
    bare, fn = subject.guard.fn, inspect.unwrap(subject.fn, stop=lambda each: hasattr(each, "__guardrail__"))
    lost = [name for name in _KEPT if hasattr(bare, name) and getattr(bare, name) != getattr(fn, name, None)]
    own = inspect.signature(bare.__get__(*subject.owner) if subject.owner and hasattr(bare, "__get__") else bare)
    if own != subject.signature:
        lost.append("the signature")
    if kind_of(subject.fn) != subject.kind:
        lost.append("the kind of function")
    if lost:
        return False, f"the guard does not keep {', '.join(lost)}"
    kinds = {"sync": "def", "async": "async def", "stream": "generator", "astream": "async generator"}
    return True, f"{kinds[subject.kind]} {subject.guard.name}{subject.signature}"


def wrong_shape(subject: Subject) -> Verdict:
    """A call that does not fit the parameters is Python's TypeError, and leaves no record."""
    for sample in (Sample((), {_UNKNOWN: None}), Sample((), {}), Sample((None,) * 1000, {})):
        try:
            subject.signature.bind(*sample.args, **sample.kwargs)
        except TypeError:
            break
    else:
        return skipped("its parameters take calls of any shape")
    with recorded() as records:
        ran = subject.call(sample)
        made = [record for record in records if record["event"] == "call"]
    if type(ran.error) is not TypeError:
        return False, f"{'nothing' if ran.error is None else type(ran.error).__name__} was raised, not a TypeError"
    return (False, "it leaves a record") if made else (True, "a TypeError, and no record")


# ── what it answers ───────────────────────────────────────────────────────────────────────────────────────────────────
def answers(subject: Subject) -> Verdict:
    """The answer is the bare function's, of the same type."""
    tally = Tally()
    for case in subject.cases:
        if case.bare is not None and case.bare.error is None:
            tally.compare(subject.call(case.sample), case.bare, steady=case.steady)
    return tally.verdict("the bare function's own answer")


def errors(subject: Subject) -> Verdict:
    """The function's own exception comes through: the same type, the same arguments."""
    tally = Tally()
    for case in subject.cases:
        if case.bare is not None and case.bare.error is not None:
            tally.compare(subject.call(case.sample), case.bare, steady=case.steady)
    good = next((case for case in subject.cases if case.bare is not None and case.bare.error is None), None)
    if good is not None and not subject.in_child:
        planted = Planted("guardrail selftest", 7)
        with watched(subject.guard, _raising(planted)):
            tally.compare(subject.call(good.sample), Ran(error=planted), steady=True)
    if not tally.count and good is not None:
        return skipped("no sample makes the function fail, and in its child process it cannot be made to")
    return tally.verdict("the same type and arguments")


def _raising(error: Exception) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def validation(subject: Subject) -> Verdict:
    """A value of a foreign type is refused by name, before the function runs, and is not repeated in the error."""
    _ = subject.guard.plan  # compiled, so that the checks are there
    checked = [name for name, check in subject.guard.parts.get("checks", {}).items() if check is not None and name != "return"]
    case = next((case for case in subject.cases if case.inner is not None), None)
    if not checked or not subject.option("validate"):
        return skipped("no parameter is checked")
    if case is None:
        return skipped(NO_CASE)
    reached: list[None] = []
    refused = []
    with watched(subject.guard, lambda: reached.append(None), instead=True):
        for name in checked:
            bound = subject.signature.bind(*case.sample.args, **case.sample.kwargs)
            if subject.signature.parameters[name].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                continue
            bound.arguments[name] = _Stranger()
            ran = subject.call(Sample(bound.args, bound.kwargs))
            if reached:
                return False, f"a foreign object as {name} reaches the function"
            if ran.own:
                return False, f"a foreign object as {name} is answered"
            if isinstance(ran.error, InvalidInput):
                if repr(_Stranger()) in str(ran.error) or name not in str(ran.error):
                    return False, f"the error for {name} repeats the value, or does not name the parameter"
                refused.append(name)
    return True, f"refused before the function runs: {', '.join(refused) or 'by its policies'}"


class _Stranger:
    """A value that fits no annotation."""

    def __repr__(self) -> str:
        return "guardrail-selftest-value"


def keywords(subject: Subject) -> Verdict:
    """Positions, keywords and defaults spelled out are one and the same call."""
    tally = Tally()
    for case in subject.cases:
        if case.bare is None:
            continue
        for how, sample in _spellings(subject.signature, case.sample):
            tally.compare(subject.call(sample), case.bare, steady=case.steady, what=f"{how}: ")
    return tally.verdict("by position, by keyword and with defaults the same")


def _spellings(own: inspect.Signature, sample: Sample) -> Iterator[tuple[str, Sample]]:
    bound = own.bind(*sample.args, **sample.kwargs)
    yield "by position", Sample(bound.args, bound.kwargs)
    kinds = {name: own.parameters[name].kind for name in bound.arguments}
    if inspect.Parameter.VAR_POSITIONAL not in kinds.values():
        first = [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_ONLY]
        rest = {name: bound.arguments[name] for name, kind in kinds.items() if name not in first}
        extras = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_KEYWORD), None)
        by_name = {**rest, **rest.pop(extras)} if extras is not None else rest
        by_name.pop(extras or "", None)
        yield "by keyword", Sample(tuple(bound.arguments[name] for name in first), by_name)
    bound.apply_defaults()
    yield "with defaults", Sample(bound.args, bound.kwargs)


def decisions(subject: Subject) -> Verdict:
    """`decide()` returns the same as a value, for answers and for errors; it refuses generators."""
    if subject.kind in ("stream", "astream"):
        try:
            _ = decide(subject.fn)
        except ConfigError:
            return True, "refused for a generator, as it should be"
        return False, "a generator is not refused"
    tally = Tally()

    def deciding(*args: Any, **kwargs: Any) -> Any:
        return decide(subject.fn, *args, **kwargs)

    for case in subject.cases:
        if case.bare is None:
            continue
        ran = subject.call(case.sample, deciding)
        decision = ran.value
        if not isinstance(decision, Decision):
            return False, f"a call raises {type(ran.error).__name__} in place of returning a decision"
        if decision.error is not None:
            ran = Ran(error=decision.error, outcome=decision.outcome.value)  # type: ignore[arg-type]  # decide catches no others
        else:
            ran = Ran(decision.value, outcome=decision.outcome.value)
        tally.compare(ran, case.bare, steady=case.steady)
    return tally.verdict("a Decision with the same")


# ── what it leaves ────────────────────────────────────────────────────────────────────────────────────────────────────
def records(subject: Subject) -> Verdict:
    """Every call leaves exactly one record."""
    if subject.option("audit").durability == "off":
        return skipped("its audit is off")
    if not subject.cases:
        return skipped(NO_CASE)
    wanted = 2 * len(subject.cases)
    with recorded() as made:
        for case in subject.cases * 2:
            subject.call(case.sample)
        own = [record for record in made if record["event"] == "call" and record["guard"] == subject.guard.name]
        found = sum("parent" not in record for record in own)  # a recursive function calls itself, too
    return found == wanted, f"{found} records of {calls(wanted)}"


def no_raw_input(subject: Subject) -> Verdict:
    """No record holds a value that came in."""
    audit = subject.option("audit")
    if audit.durability == "off":
        return skipped("its audit is off")
    if audit.inputs == "plain":
        return skipped('its inputs are kept on purpose: Audit(inputs="plain")')
    values: set[str] = set()
    with recorded() as made:
        for case in subject.cases:
            known = set() if case.bare is None else set(_leaves(case.bare.value))
            values |= set(_leaves((case.sample.args, case.sample.kwargs))) - known
            subject.call(case.sample)
        texts = [_searched(record) for record in made]
    if not values:
        return skipped(f"no sample holds a text or number of {_LEAST} characters or more to look for")
    if any(value in text for value in values for text in texts):
        return False, "a value that came in stands in a record"
    return True, f"none of {len(values)} values in {len(texts)} records"


def _searched(record: Record) -> str:
    shown = {name: value for name, value in record.items() if name not in _PUBLIC}
    if isinstance(shown.get("input"), dict):
        shown["input"] = {name: value for name, value in shown["input"].items() if name != "schema"}
    return json.dumps(shown, ensure_ascii=False)


def _leaves(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield every text and number inside a value that is long enough to be looked for."""
    if depth > 10:  # noqa: PLR2004 - a value may hold itself
        return
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        if len(str(value)) >= _LEAST:
            yield str(value)
        return
    if hasattr(value, "model_fields_set") or dataclasses.is_dataclass(value):
        value = vars(value) if hasattr(value, "__dict__") else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _leaves(each, depth + 1)
