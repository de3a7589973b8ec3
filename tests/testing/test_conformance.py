"""The self-test: sound functions of every kind pass it, and each check fails where what it looks at is broken."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import itertools
import os
import threading
import time
from typing import Any

import pytest
from pydantic import BaseModel, Field

import guardrail
from guardrail import Audit, Budget, Cache, ConfigError, Limit, Prediction, control, guard_of, guarded, settings, with_options
from guardrail.guard_upkeep import inject
from guardrail.ledger import reader
from guardrail.samples import sample_of
from guardrail.testing import Finding, checks, checks_policies, checks_where, selftest
from guardrail.testing.conformance import CHECKS
from guardrail.testing.subject import Ran, Subject
from guardrail.testing.world import apart


class Applicant(BaseModel):
    income: float = Field(gt=100, lt=200)
    name: str


def found(findings: list[Finding]) -> dict[str, bool | None]:
    return {finding.check: finding.ok for finding in findings}


def wrong(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.ok is False]


# ── sound functions ───────────────────────────────────────────────────────────────────────────────────────────────────
@guarded(version="1", cache="1m", budget="300ms", retry=2, breaker=True, limit=40, confidence=0.5)
def everything(applicant: Applicant, factor: float = 1.0) -> Prediction[dict[str, float]]:
    return Prediction({"score": applicant.income * factor}, 0.9)


@guarded(cache="1m", budget="300ms")
async def later(x: int, names: list[str]) -> dict[str, int]:
    await asyncio.sleep(0)
    return dict.fromkeys(names, x)


@guarded(budget="300ms")
def items(n: int):
    yield from range(n)


@guarded
async def later_items(n: int):
    for i in range(n):
        yield i


@guarded(batch=True, cache="1m")
def table(rows: list[int]) -> list[float]:
    return [row / 2 for row in rows]


@guarded(budget=Budget("5s", enforce="process"))
def elsewhere(x: int) -> int:
    return x + 1


@guarded(budget=Budget("200ms", enforce="report"))
def reported(x: int) -> int:
    return x + 1


class Model:
    scale = 2

    @guarded(cache="1m", budget="10s")
    def predict(self, x: int) -> int:
        return x * self.scale

    @classmethod
    @guarded
    def of(cls, x: int) -> str:
        return f"{cls.__name__}{x}"


def test_a_function_with_everything():
    """Every check is made and finds nothing wrong, on samples made up from the annotations."""
    findings = selftest(everything)
    assert wrong(findings) == []
    assert [finding.check for finding in findings] == ["samples", *(name for name, _ in CHECKS)]
    assert {finding.check for finding in findings if finding.ok is None} == set()
    text = {finding.check: finding.text for finding in findings}
    assert text["samples"] == "none given; 2 made up from the annotations"
    assert text["records"] == "4 records of 4 calls"


@pytest.mark.parametrize(
    ("fn", "samples", "skipped"),
    [
        (later, [[1, ["a"]], {"x": 2, "names": ["a-long-name", "c"]}], set()),
        (items, [0, 5], {"no raw input", "cached answers", "own answers"}),
        (later_items, [3], {"no raw input", "cached answers", "own answers", "deadline"}),
        (table, [[1, 2], [3]], {"no raw input", "deadline"}),
        pytest.param(
            elsewhere,
            [1],
            {"errors", "no raw input", "context", "cached answers", "own answers", "deadline"},
            marks=pytest.mark.slow,
        ),
        (reported, [1], {"no raw input", "cached answers", "own answers"}),
        (Model().predict, [1, 2], {"no raw input", "cached answers", "own answers"}),  # the model itself cannot be keyed
        (Model.of, [1], {"no raw input", "cached answers", "own answers", "deadline"}),
        (with_options(everything, cache=None), [], {"cached answers", "own answers"}),
    ],
    ids=["async", "generator", "async generator", "table", "process", "report", "method", "classmethod", "with_options"],
)
def test_every_kind_of_function(fn, samples, skipped):
    """Nothing is wrong with any of them, and only what cannot be looked at is left out."""
    findings = selftest(fn, samples)
    assert wrong(findings) == []
    assert {finding.check for finding in findings if finding.ok is None} == skipped


@pytest.fixture
def at_home(monkeypatch):
    """All checks but the one that starts another process, which takes a second."""
    kept = tuple(each for each in CHECKS if each[0] != "another process")
    monkeypatch.setattr("guardrail.testing.conformance.CHECKS", kept)


def test_what_policies_decide_is_nothing_wrong(at_home):
    """Unsure, limited and failing functions pass as well: their endings are the policies' doing."""

    @guarded(confidence=0.8)
    def unsure(x: int) -> tuple[str, float]:
        return "a", 0.5

    @guarded(limit=Limit(1, rate="3/s"), fallback="none")
    def limited(x: int) -> str:
        time.sleep(0.001)
        return str(x)

    @guarded(retry=2, breaker=True)
    def failing(x: int) -> int:
        raise OSError(x)

    @guarded(mode="observe", cache="1m", confidence=0.9)
    def observed(x: int) -> tuple[str, float]:
        return "a", 0.5

    @guarded(mode="off", cache="1m")
    def switched_off(x: int) -> int:
        return x

    @guarded(mode="killed")
    def killed(x: int) -> int:
        return x

    @guarded
    def recursive(n: int) -> int:
        return n and 1 + recursive(n - 1)

    @guarded(audit="off")
    def unrecorded(x: int) -> int:
        return x

    for fn in (unsure, limited, failing, observed, switched_off, killed, recursive, unrecorded):
        assert wrong(selftest(fn, [1])) == [], fn.__name__
    by_check = {finding.check: finding for finding in selftest(unsure, [1])}
    assert by_check["answers"].ok is None
    assert "1 deferred by its policies" in by_check["answers"].text
    assert found(selftest(failing, [1]))["errors"] is True
    assert found(selftest(switched_off, [1]))["own answers"] is True
    assert [guard_of(fn).mode for fn in (observed, switched_off, killed)] == ["observe", "off", "killed"]


def test_a_function_that_varies_is_compared_by_type(at_home):
    """Chance in the function is not the guard's fault, and the finding says so."""
    count = itertools.count()

    @guarded
    def varies(x: int) -> int:
        return next(count)

    findings = selftest(varies, [1])
    assert wrong(findings) == []
    assert "by type only" in next(finding.text for finding in findings if finding.check == "answers")


def test_answers_that_compare_by_identity(at_home):
    """Objects without a comparison of their own are compared by type."""

    class Answer:
        pass

    @guarded
    def predict(x: int) -> Any:
        return Answer()

    assert wrong(selftest(predict, [1])) == []


def test_functions_that_are_not_made_for_threads(at_home):
    """What the bare function gets wrong under eight callers is skipped, not held against the guard."""
    shared = []

    @guarded
    def careless(x: int) -> int:
        shared[:] = [x]
        time.sleep(0.002)
        return shared[0]

    by_check = {finding.check: finding for finding in selftest(careless, [1, 2, 3])}
    assert by_check["many at once"].ok is None
    assert "the function itself" in by_check["many at once"].text


def test_without_samples():
    """What needs one says so, the rest is checked."""

    @guarded
    def untyped(x):
        raise AssertionError("run without a sample")

    findings = found(selftest(untyped))
    assert findings["samples"] is None
    assert findings["signature"] is findings["wrong shape"] is True
    assert findings["answers"] is findings["records"] is findings["many at once"] is None


def test_samples_that_validation_refuses(at_home):
    """They are refused by the guard as well, and the function is not run on them."""

    @guarded
    def strict(x: int) -> int:
        assert isinstance(x, int)
        return x

    findings = selftest(strict, ["no number", 1])
    assert wrong(findings) == []
    assert findings[0].text == "2 given, 1 refused by validation"


def test_inside_a_running_loop(at_home):
    """A notebook runs one already."""

    async def main() -> list[Finding]:
        return selftest(later, [[1, ["a"]]])

    assert wrong(asyncio.run(main())) == []


def test_clients_that_belong_to_a_loop(at_home):
    """An async function that keeps something of its event loop finds the same loop each time."""
    loops = set()

    @guarded(budget="300ms")
    async def client(x: int) -> int:
        loops.add(asyncio.get_running_loop())
        return x

    assert wrong(selftest(client, [1])) == []
    assert len(loops) == 1


def test_arguments_that_the_function_changes(at_home):
    """Each run gets its own copy."""

    @guarded
    def eats(xs: list[int]) -> int:
        return xs.pop()

    sample = [1, 2, 3]
    assert wrong(selftest(eats, [[sample]])) == []
    assert sample == [1, 2, 3]


# ── where it happens ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_nothing_is_left_behind(monkeypatch, tmp_path):
    """The user's ledger, sinks, switches and settings are as they were; the guard's numbers begin anew."""
    sink = tmp_path / "sink.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{sink}")
    monkeypatch.setenv("GUARDRAIL_MODE", "observe")
    guardrail.configure(service="loans")
    assert everything(Applicant(income=150, name="ann")).value
    assert guardrail.flush()
    before = [record["id"] for record in reader.read(event="call")]
    assert wrong(selftest(everything)) == []
    assert [record["id"] for record in reader.read(event="call")] == before
    assert control.switches() == {}
    assert settings.current().service == "loans"
    assert guard_of(everything).mode == "observe"
    assert guard_of(everything).instead is None
    assert sink.read_text().count('"call"') == 1


def test_the_function_runs_on_the_samples_only(at_home):
    """Nothing is invented beside the samples that are given."""
    seen = set()

    @guarded(cache="1m", budget="300ms", breaker=True)
    def predict(x: int, y: str = "usual") -> int:
        seen.add((x, y))
        return x

    selftest(predict, [3, {"x": 4, "y": "special"}])
    assert seen == {(3, "usual"), (4, "special")}


def test_wrong_use_says_what_to_do():
    """Not guarded, switched off, a sample that does not fit."""
    with pytest.raises(ConfigError, match="not guarded"):
        selftest(len)
    with pytest.raises(ConfigError, match="by position"):
        selftest(later, [5])
    with pytest.raises(ConfigError, match="partial"):
        selftest(functools.partial(everything, factor=2.0))


# ── broken guards ─────────────────────────────────────────────────────────────────────────────────────────────────────
def broken_by(fn: Any, instead: Any, *samples: Any) -> Subject:
    """A subject whose guard runs something else than the function that it wraps."""
    subject = Subject(fn, [sample_of(sample, inspect.signature(fn)) for sample in samples])
    inject(guard_of(fn), instead)
    return subject


@pytest.fixture
def world():
    with apart():
        yield


pytestmark = pytest.mark.timeout(60)


def test_finds_another_answer(world):
    """A value that differs, a type that differs, an error in its place."""

    @guarded(validate=False)
    def predict(x: int) -> float:
        return float(x)

    for instead in (lambda x: x + 0.5, lambda x: x, lambda x: 1 / 0):
        ok, text = checks.answers(broken_by(predict, instead, 3, 4))
        assert ok is False
        assert "2 of 2 calls differ" in text
    assert checks.keywords(broken_by(predict, lambda x: x + 1.5, 3))[0] is False
    assert checks.decisions(broken_by(predict, lambda x: x + 1.5, 3))[0] is False
    assert checks_policies.cache_own(broken_by(predict, lambda x: x + 1.5, 3))[0] is None  # no cache


def test_finds_another_error(world):
    """A type that differs, arguments that differ, an answer in its place."""

    @guarded
    def predict(x: int) -> int:
        raise KeyError("a", x)

    def other(x: int) -> int:
        raise KeyError("b", x)

    for instead in (other, lambda x: 1 / 0, lambda x: x):
        assert checks.errors(broken_by(predict, instead, 3))[0] is False


def test_finds_a_name_or_a_signature_that_is_lost(world):
    """Whatever a tool reads from a function."""

    @guarded
    def predict(x: int) -> int:
        return x

    subject = Subject(predict, [])
    assert checks.signature(subject)[0] is True
    predict.__name__ = "other"
    assert checks.signature(subject) == (False, "the guard does not keep __name__")
    predict.__name__ = "predict"
    subject.signature = subject.signature.replace(parameters=[])
    assert checks.signature(subject) == (False, "the guard does not keep the signature")


def test_finds_a_wrong_shape_that_passes(world, monkeypatch):
    """An answer or another error, where Python says TypeError."""

    @guarded
    def predict(x: int) -> int:
        return x

    subject = Subject(predict, [])
    assert checks.wrong_shape(subject)[0] is True
    monkeypatch.setattr(subject, "call", lambda _: Ran(error=ValueError()))
    assert checks.wrong_shape(subject)[0] is False
    monkeypatch.setattr(subject, "call", lambda _: Ran(1))
    assert checks.wrong_shape(subject)[0] is False

    @guarded
    def any_shape(*args, **kwargs): ...

    assert checks.wrong_shape(Subject(any_shape, []))[0] is None


def test_finds_values_that_are_not_checked(world, monkeypatch):
    """A foreign object that reaches the function."""

    @guarded(validate=False)
    def predict(x: int) -> int:
        return x

    subject = Subject(predict, [sample_of(1, inspect.signature(predict))])
    assert checks.validation(subject)[0] is None
    monkeypatch.setattr(subject, "option", lambda _: True)
    subject.guard.parts["checks"] = {"x": object()}
    assert checks.validation(subject) == (False, "a foreign object as x reaches the function")


def test_finds_a_record_too_few_or_too_many(world, monkeypatch):
    """One per call, exactly."""

    @guarded
    def predict(x: int) -> int:
        return x

    subject = Subject(predict, [sample_of(1, inspect.signature(predict))])
    assert checks.records(subject) == (True, "2 records of 2 calls")
    once = subject.call
    monkeypatch.setattr(subject, "call", lambda sample: (once(sample), once(sample)))
    assert checks.records(subject) == (False, "4 records of 2 calls")
    monkeypatch.setattr(subject, "call", lambda _: None)
    assert checks.records(subject) == (False, "0 records of 2 calls")


def test_finds_a_value_in_a_record(world, monkeypatch):
    """Texts and numbers, wherever in the arguments they stood, but not what the answer repeats."""

    @guarded(audit=Audit(inputs="plain"))
    def predict(x: dict[str, Any]) -> str:
        return x["name"]

    subject = Subject(
        predict, [sample_of({"x": {"name": "margarete", "deep": [{"income": 54321.5}]}}, inspect.signature(predict))]
    )
    assert checks.no_raw_input(subject)[0] is None
    monkeypatch.setattr(subject, "option", lambda _: Audit())
    assert checks.no_raw_input(subject) == (False, "a value that came in stands in a record")


def test_finds_a_context_that_is_lost(world, monkeypatch):
    """A variable that the caller set is not seen inside."""

    @guarded
    def predict(x: int) -> int:
        return x

    subject = Subject(predict, [sample_of(1, inspect.signature(predict))])
    assert checks_where.context(subject)[0] is True
    call = subject.call
    monkeypatch.setattr(subject, "call", lambda sample: contextvars.Context().run(call, sample))
    assert checks_where.context(subject) == (False, "not seen inside")


def test_finds_what_another_process_answers_otherwise(world, tmp_path, monkeypatch):
    """A function of a module that can be imported there, and one that says another thing."""
    (tmp_path / "travelling.py").write_text(
        "import os\n"
        "from guardrail import guarded\n"
        "@guarded\n"
        "def sound(x: int) -> int:\n"
        "    print('noise')\n"
        "    return x + 1\n"
        "@guarded\n"
        "def local(x: int) -> int:\n"
        "    return os.getpid()\n"
        "@guarded\n"
        "def dies(x: int) -> int:\n"
        f"    return x if os.getpid() == {os.getpid()} else os._exit(5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import travelling  # type: ignore[import-not-found]

    def check(fn: Any) -> tuple[bool | None, str]:
        return checks_where.another_process(Subject(fn, [sample_of(1, inspect.signature(fn))]))

    assert check(travelling.sound) == (True, "the same in another process in 1 call")
    assert check(travelling.local)[0] is False
    assert check(travelling.dies)[0] is False


def test_functions_that_cannot_travel_are_skipped(world, tmp_path, monkeypatch):
    """Where the function itself holds a lock, or its module cannot be imported there."""
    lock = threading.Lock()

    @guarded
    def locked(x: int) -> int:
        with lock:
            return x

    assert "cannot be pickled" in checks_where.another_process(Subject(locked, []))[1]
    (tmp_path / "gone.py").write_text("from guardrail import guarded\n@guarded\ndef predict(x: int) -> int:\n    return x\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        import gone  # type: ignore[import-not-found]
    ok, text = checks_where.another_process(Subject(gone.predict, []))
    assert (ok, text) == (None, "module gone cannot be imported in another process")


def test_finds_a_cached_answer_that_callers_share(world, monkeypatch):
    """A caller who changes his answer changes the next one's."""

    @guarded(cache="1m")
    def predict(x: int) -> list[int]:
        return [x]

    subject = Subject(predict, [sample_of(1, inspect.signature(predict))])
    assert checks_policies.cache_copies(subject)[0] is True
    shared = [1]
    monkeypatch.setattr(subject, "call", lambda _: Ran(shared, outcome="cached"))
    ok, text = checks_policies.cache_copies(subject)
    assert ok is False
    assert "after a caller changed it" in text


def test_finds_an_answer_to_another_question(world):
    """A cache whose key forgets half of the question."""

    @guarded(cache=Cache("1m", key=lambda x, y: x))
    def predict(x: int, y: int) -> int:
        return x + y

    subject = Subject(predict, [sample_of([1, y], inspect.signature(predict)) for y in (1, 2)])
    ok, text = checks_policies.cache_own(subject)
    assert ok is False
    assert "2 of 4 calls differ" in text


def test_finds_a_deadline_that_is_not_kept(world, monkeypatch):
    """The caller waits longer than the budget, or gets a late answer unmarked."""

    @guarded(budget="50ms")
    def predict(x: int) -> int:
        return x

    subject = Subject(predict, [sample_of(1, inspect.signature(predict))])
    assert checks_policies.deadline(subject)[0] is True
    call = subject.call

    def slow(*args: Any) -> Ran:
        time.sleep(0.3)
        return call(*args)

    monkeypatch.setattr(checks_policies, "_TRIES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(subject, "call", slow)
        assert checks_policies.deadline(subject)[0] is False
    with monkeypatch.context() as patch:
        patch.setattr(subject, "call", lambda *args: call(*args)._replace(outcome="answered"))
        assert checks_policies.deadline(subject)[0] is False


def test_finds_a_kill_that_does_not_kill(world, monkeypatch):
    """The function still runs, or never again."""

    @guarded
    def predict(x: int) -> int:
        return x

    subject = Subject(predict, [sample_of(1, inspect.signature(predict))])
    assert checks_policies.kill_switch(subject)[0] is True
    with monkeypatch.context() as patch:
        patch.setattr(control, "revive", lambda *_: None)
        assert checks_policies.kill_switch(subject) == (False, "it stays stopped after it was revived")
    control.revive(subject.guard.name, "ann")
    with monkeypatch.context() as patch:
        patch.setattr(control, "kill", lambda *_: None)
        assert checks_policies.kill_switch(subject) == (False, "the function still runs")


def test_finds_answers_that_callers_mix_up(world):
    """Under many callers somebody gets another's answer, although the bare function is sound."""

    @guarded
    def predict(x: int) -> int:
        return x

    shared = []

    def careless(x: int) -> int:
        shared[:] = [x]
        time.sleep(0.002)
        return shared[0]

    assert checks_where.many_threads(broken_by(predict, careless, 1, 2, 3))[0] is False


def test_a_check_that_breaks_does_not_stop_the_others(monkeypatch):
    """It is told of, and the rest is made."""

    def breaks(_subject: Subject) -> Any:
        raise RuntimeError("oh")

    monkeypatch.setattr("guardrail.testing.conformance.CHECKS", (("first", breaks), ("second", checks.signature)))
    findings = selftest(everything, [{"applicant": {"income": 150, "name": "ann"}}])
    assert [finding.ok for finding in findings] == [True, False, True]
    assert findings[1].text == "the check could not be made: RuntimeError: oh"
