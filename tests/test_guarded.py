"""What the decorator keeps of a function, for every kind and every way of binding it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import subprocess
import sys
import threading
import traceback

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import guardrail
from guardrail import ConfigError, InvalidInput, decide, guard_of, guarded, last_decision, with_options


class Applicant(BaseModel):
    income: float
    age: int = 40


def plain(x: int, y: float = 1.5) -> float:
    """Multiply."""
    return x * y


@guarded
def by_name(x: int) -> int:
    """Importable, so that it pickles by name."""
    return x + 1


def test_a_plain_function_stays_what_it_was():
    """Name, docstring, module, signature and kind are the function's own."""
    predict = guarded(plain)
    assert inspect.isfunction(predict)
    assert (predict.__name__, predict.__doc__, predict.__module__) == ("plain", "Multiply.", __name__)
    assert inspect.signature(predict) == inspect.signature(plain)
    assert not inspect.iscoroutinefunction(predict)


def test_every_kind_stays_its_kind():
    """Coroutine functions, generators and async generators are still told apart by inspect."""

    async def acoro(x: int) -> int:
        return x

    def gen(n: int):
        yield from range(n)

    async def agen(n: int):
        for i in range(n):
            yield i

    assert inspect.iscoroutinefunction(guarded(acoro))
    assert inspect.isgeneratorfunction(guarded(gen))
    assert inspect.isasyncgenfunction(guarded(agen))

    async def collect():
        return [item async for item in guarded(agen)(3)]

    assert asyncio.run(guarded(acoro)(3)) == 3
    assert list(guarded(gen)(3)) == asyncio.run(collect()) == [0, 1, 2]


@pytest.mark.parametrize("call", [lambda f: f(3, 2.0), lambda f: f(3, y=2.0), lambda f: f(x=3, y=2.0), lambda f: f(y=2.0, x=3)])
def test_positional_is_exactly_keyword(call):
    """The same question has the same answer and the same checks however it is asked."""
    predict = guarded(plain)
    assert call(predict) == 6.0


@pytest.mark.parametrize("args, kwargs", [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2})])
def test_a_call_of_the_wrong_shape_stays_pythons_type_error(args, kwargs):
    """The very text of Python's TypeError, and no record."""
    with pytest.raises(TypeError) as bare:
        plain(*args, **kwargs)
    with pytest.raises(TypeError) as guarded_error:
        guarded(plain)(*args, **kwargs)
    assert str(guarded_error.value) == str(bare.value)
    assert last_decision() is None


def test_methods_bind():
    """Functions in classes bind as they always did, under each of Python's decorators."""

    class Model:
        factor = 2

        @guarded
        def predict(self, x: int) -> int:
            return x * self.factor

        @classmethod
        @guarded
        def of_class(cls, x: int) -> tuple[str, int]:
            return cls.__name__, x

        @staticmethod
        @guarded
        def static(x: int) -> int:
            return x

    model = Model()
    assert model.predict("3") == 6
    assert Model.of_class("3") == model.of_class(3) == ("Model", 3)
    assert Model.static("3") == model.static(3) == 3
    assert guard_of(model.predict) is guard_of(Model.predict)
    with pytest.raises(InvalidInput):
        model.predict("three")


def test_anything_callable_can_be_guarded():
    """Callable objects, partials, lambdas, builtins and bound methods of an estimator."""
    from sklearn.linear_model import LogisticRegression

    class Doubler:
        secret_state = 1

        def __call__(self, x: int) -> int:
            return x * 2

    assert guarded(Doubler())("4") == 8
    assert guarded(functools.partial(plain, y=2.0))("4") == 8.0
    assert guarded(lambda x: x)(1) == 1
    assert guarded(len, name="len")([1, 2]) == 2
    classifier = LogisticRegression().fit([[0], [1], [2], [3]], [0, 0, 1, 1])
    predict = guarded(classifier.predict_proba)
    assert (predict([[3]]) == classifier.predict_proba([[3]])).all()


def test_what_is_left_out_is_not_handed_to_a_function_made_in_c():
    """A ufunc refuses the defaults that it says together, and `where` means something else by them."""
    assert guarded(np.add)(1, 2) == 3
    assert guarded(np.add)(1.5, 2.5, dtype=np.float32).dtype == np.float32
    chosen = np.array([False, True])
    assert [indices.tolist() for indices in guarded(np.where)(chosen)] == [[1]]
    assert guarded(sum)([1, 2], start=3) == 6


def test_a_stack_that_guards_made_deep_says_so():
    """The note comes once, and not where the function recurses by itself."""

    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + guard(n - 1)

    def alone(n: int) -> int:
        return alone(n)

    guard = guarded(depth)
    assert guard(50) == 50
    with pytest.raises(RecursionError) as caught:
        guard(10 * sys.getrecursionlimit())
    assert [note for note in caught.value.__notes__ if "setrecursionlimit" in note] == caught.value.__notes__[:1]
    with pytest.raises(RecursionError) as caught:
        guarded(alone)(1)
    assert not hasattr(caught.value, "__notes__")


def test_exceptions_pass_unchanged():
    """Type, arguments and traceback are the function's own, and the very object."""
    problem = KeyError("missing", 3)

    def fail(x):
        raise problem

    with pytest.raises(KeyError) as caught:
        guarded(fail)(1)
    assert caught.value is problem
    assert caught.value.args == ("missing", 3)
    assert "fail" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit, StopIteration, StopAsyncIteration, GeneratorExit, RecursionError]
)
def test_no_exception_is_swallowed_or_changed(error):
    """Not even those that Python itself treats in a special way."""

    def fail():
        raise error

    with pytest.raises(error):
        guarded(fail, fallback="never for these" if not issubclass(error, Exception) else guardrail.UNSET)()


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())))
def test_an_unannotated_function_gives_the_same_object(value):
    """Whatever comes in comes out, the same object."""

    def same(x):
        return x

    assert guarded(same)(value) is value


@given(st.integers(-100, 100), st.integers(-3, 3))
def test_the_guarded_function_agrees_with_the_bare_one(x, y):
    """Same results and same exceptions, with most policies on."""

    def ratio(x: int, y: int) -> float:
        return x / y

    predict = guarded(ratio, name="ratio", cache="1m", retry=2, breaker=guardrail.Breaker(min_calls=10**6), limit=4)
    outcomes = []
    for fn in (ratio, predict, predict):
        try:
            outcomes.append((fn(x, y), None))
        except ZeroDivisionError as error:
            outcomes.append((None, error.args))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_guards_pickle_by_name_and_travel_by_value(tmp_path):
    """Standard pickle finds it by name; cloudpickle carries it, with its own state, into another process."""
    import cloudpickle

    assert pickle.loads(pickle.dumps(by_name)) is by_name
    offset = 10

    def local(x: int) -> int:
        return x + offset

    predict = guarded(local, cache="1m", budget="5s", limit=2, breaker=True, retry=2, name="traveller")
    assert predict(1) == 11
    (tmp_path / "guard").write_bytes(cloudpickle.dumps(predict))
    program = f"import pickle; predict = pickle.load(open({str(tmp_path / 'guard')!r}, 'rb')); print(predict('2'), predict(2))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["12", "12"]


def test_a_recursive_guard_travels_too(tmp_path):
    """A function whose own globals lead back to its guard."""
    import cloudpickle

    program = (
        "import cloudpickle, sys\nfrom guardrail import guarded\n@guarded\ndef fact(n: int) -> int:\n"
        "    return 1 if n < 2 else n * fact(n - 1)\nassert fact(5) == 120\n"
        f"open({str(tmp_path / 'guard')!r}, 'wb').write(cloudpickle.dumps(fact))\n"
    )
    (tmp_path / "main.py").write_text(program)
    subprocess.run([sys.executable, str(tmp_path / "main.py")], check=True)
    assert cloudpickle.loads((tmp_path / "guard").read_bytes())(6) == 720


def test_two_guards_from_one_factory_never_share_an_answer():
    """Answers belong to the function object, not to its name."""

    def make(k):
        @guarded(cache="1h")
        def predict(x: int) -> int:
            return x + k

        return predict

    one, ten = make(1), make(10)
    assert (one(1), ten(1), one(1), ten(1)) == (2, 11, 2, 11)


def test_a_redefinition_does_not_serve_its_predecessors_answers():
    """A notebook cell that is run again begins with an empty cache."""
    versions = []
    for factor in (2, 3):

        def predict(x: int) -> int:
            return x * factor

        versions.append(guarded(predict, cache="1h")(5))
    assert versions == [10, 15]


def test_annotations_given_as_text_find_classes_of_the_defining_function():
    """`from __future__ import annotations` in a module does not switch validation off inside functions."""

    class Local(BaseModel):
        n: int

    @guarded
    def predict(x: Local) -> int:
        return x.n

    assert predict({"n": "3"}) == 3
    with pytest.raises(InvalidInput, match=r"x\.n"):
        predict({"n": "three"})


def test_annotations_that_resolve_later_are_tried_again():
    """A class defined after the function is found at the first call."""
    namespace = {"guarded": guarded}
    source = "from __future__ import annotations\n@guarded\ndef predict(x: Later) -> int:\n    return x\n"
    exec(compile(source, "later", "exec"), namespace)
    namespace["Later"] = int
    assert namespace["predict"]("7") == 7


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: guarded(classmethod(plain)), "put @classmethod on top"),
        (lambda: guarded(staticmethod(plain)), "put @staticmethod on top"),
        (lambda: guarded(property(plain)), "put @property on top"),
        (lambda: guarded(guarded(plain)), "guarded already"),
        (lambda: guarded(Applicant), "predict method"),
        (lambda: guarded("250ms"), "keyword"),
        (lambda: guarded(plain, budgett="1s"), "did you mean 'budget'"),
        (lambda: guarded(plain, budget="fast"), "250ms"),
        (lambda: guarded(plain, budget=-1), "more than 0"),
        (lambda: guarded(plain, retry=True), "retry=3"),
        (lambda: guarded(plain, retry="3"), "retry=3"),
        (lambda: guarded(plain, cache=True), "duration"),
        (lambda: guarded(plain, limit=0), "limit|Limit"),
        (lambda: guarded(plain, confidence=80), r"\[0, 1\]"),
        (lambda: guarded(plain, confidence="high"), "confidence=0.8"),
        (lambda: guarded(plain, mode="sometimes"), "enforce"),
        (lambda: guarded(plain, mode="canary:0.1"), "not in this release"),
        (lambda: guarded(plain, audit="maybe"), "buffered"),
        (lambda: guarded(plain, access="x"), "later release"),
        (lambda: guarded(plain, review=3), "queue|review"),
        (lambda: guarded(plain, validate=1), "True or False"),
        (lambda: guarded(plain, tags={"a": 1}), "texts"),
        (lambda: guarded(plain, kind="robot"), "model"),
        (lambda: guarded(plain, budget=guardrail.Budget("1s", attempt="2s")), "attempt"),
        (lambda: guarded(plain, confidence=0.8, review=guardrail.Review(on=("failed",))), "low"),
    ],
)
def test_misuse_fails_at_decoration_and_says_what_to_write(make, text):
    """Each wrong use is a ConfigError, before any call."""
    with pytest.raises(ConfigError, match=text):
        make()


@pytest.mark.parametrize("option", [{"cache": "1m"}, {"confidence": 0.8}, {"review": "q"}, {"batch": True}])
def test_what_makes_no_sense_on_a_generator_is_refused(option):
    """Its items are with the consumer before there is an answer."""

    def gen():
        yield 1

    with pytest.raises(ConfigError, match="generator"):
        guarded(gen, **option)


def test_short_forms_merge_into_one_guard_in_any_order():
    """One order, one record."""

    @guardrail.retried(3)
    @guardrail.cached("10m")
    @guardrail.validated
    def one(x: int) -> int:
        return x

    @guardrail.validated
    @guardrail.retried(3)
    @guardrail.cached("10m")
    def other(x: int) -> int:
        return x

    assert one("3") == other("3") == 3
    for fn in (one, other):
        assert set(guard_of(fn).options) == {"validate", "cache", "retry"}
        assert [decision.outcome for decision in guard_of(fn).last()] == ["answered"]


def test_with_options_is_memoised_and_shares_what_it_does_not_change():
    """The same options give the same function; the cache is one."""
    calls = []

    @guarded(cache="1h", confidence=0.5)
    def predict(x: int) -> tuple[str, float]:
        calls.append(x)
        return "yes", 0.9

    quick = with_options(predict, budget="5s")
    assert quick is with_options(predict, budget="5s")
    assert quick is not with_options(predict, budget="6s")
    assert predict(1) == quick(1) == ("yes", 0.9)
    assert calls == [1]
    for weaker in ({"audit": "off"}, {"confidence": None}, {"confidence": 0.1}):
        with pytest.raises(ConfigError, match="weaken"):
            with_options(predict, **weaker)


def test_another_version_never_serves_the_answers_of_the_first():
    """Neither from the cache of calls nor from that of rows."""
    single = guarded(lambda x: [x], name="versions", version="1", cache="1h")
    table = guarded(lambda rows: [row * 2 for row in rows], name="tables", version="1", cache="1h", batch=True)
    for fn, question in ((single, 3), (table, [1, 2])):
        again = with_options(fn, version="2")
        fn(question), again(question)
        assert guard_of(fn).version == "1"
        assert guard_of(again).version == "2"
        assert [decision.outcome for decision in guard_of(fn).last() if decision.version == "2"].count("cached") == 0


def test_decide_returns_for_every_exception():
    """An answer, a refusal and a failure are all decisions; a wrong shape and a ConfigError are not."""
    predict = guarded(plain)
    assert decide(predict, 2).value == 3.0
    refused = decide(predict, "two")
    assert (refused.outcome, refused.ok) == ("refused", False)
    with pytest.raises(InvalidInput):
        _ = refused.value
    failed = decide(guarded(lambda: 1 / 0))
    assert (failed.outcome, type(failed.error)) == ("failed", ZeroDivisionError)
    with pytest.raises(TypeError):
        decide(predict)

    async def slow(x: int) -> int:
        return x

    assert asyncio.run(decide(guarded(slow), 3)).value == 3
    with pytest.raises(ConfigError, match="last_decision"):
        decide(guarded(lambda: (yield 1)))
    with pytest.raises(ConfigError, match="not guarded"):
        decide(plain, 1)


def test_512_threads_at_once_lose_nothing():
    """Every call is answered and counted."""
    calls = []

    @guarded(cache="1h", breaker=True, budget="60s", limit=guardrail.Limit(64, wait="60s"), name="crowd")
    def predict(x: int) -> int:
        calls.append(x)
        return x

    results: list[int] = []
    threads = [threading.Thread(target=lambda i=i: results.append(predict(i % 100))) for i in range(512)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(i % 100 for i in range(512))
    assert sorted(calls) == list(range(100))
    assert guard_of(predict).stats()["calls"] == 512


def test_5000_tasks_at_once_lose_nothing():
    """The same for asyncio, with one execution a question."""
    calls = []

    @guarded(cache="1h", breaker=True, budget="60s", limit=guardrail.Limit(64, wait="60s"))
    async def predict(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0)
        return x

    async def main():
        return await asyncio.gather(*(predict(i % 100) for i in range(5000)))

    assert asyncio.run(main()) == [i % 100 for i in range(5000)]
    assert sorted(calls) == list(range(100))
