"""A decorator below the guard that gives the function an argument of its own, or takes one away from it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import unittest.mock
from typing import Annotated

import pytest

from guardrail import InvalidInput, Secret, Stopped, control, decide, guarded


def with_session(fn):
    """As web frameworks and tests do: the first argument comes from the decorator, and the signature still names it."""

    @functools.wraps(fn)
    def inner(*args, **kwargs):
        return fn("session", *args, **kwargs)

    return inner


def passing_on(fn):
    @functools.wraps(fn)
    def inner(*args, **kwargs):
        return fn(*args, **kwargs)

    return inner


def widened(fn):
    @functools.wraps(fn)
    def inner(*args, extra=None, **kwargs):
        return fn(*args, **kwargs), extra

    return inner


def test_an_argument_that_the_decorator_gives_is_not_asked_of_the_caller():
    """By position, by keyword, with a default, through decide, and again."""

    @guarded(cache="1m")
    @with_session
    def predict(session: str, x: int, y: int = 2) -> tuple[str, int, int]:
        return session, x, y

    assert predict(1) == ("session", 1, 2)
    assert predict(x=1) == ("session", 1, 2)
    assert predict(1, 5) == ("session", 1, 5)
    assert decide(predict, 1).outcome == "cached"
    assert inspect.signature(predict).parameters.keys() == {"session", "x", "y"}


def test_unittests_patch_below_the_guard():
    """`mock.patch` hands its mock to the function."""

    @guarded
    @unittest.mock.patch("os.getcwd")
    def predict(x: int, getcwd) -> int:
        return x

    assert predict(3) == 3


def test_an_option_that_the_decorator_adds():
    """It is the decorator's, and not in the signature."""

    @guarded
    @widened
    def predict(x: int):
        return x

    assert predict(1, extra=2) == (1, 2)
    assert predict(x=1) == (1, None)


def test_async_functions_and_generators():
    """The same for the other kinds."""

    def given(fn):
        @functools.wraps(fn)
        async def inner(*args, **kwargs):
            return await fn("session", *args, **kwargs)

        return inner

    def given_stream(fn):
        @functools.wraps(fn)
        def inner(*args, **kwargs):
            yield from fn("session", *args, **kwargs)

        return inner

    @guarded
    @given
    async def predict(session, x):
        return session, x

    @guarded
    @given_stream
    def stream(session, x):
        yield session
        yield x

    assert asyncio.run(predict(1)) == ("session", 1)
    assert list(stream(1)) == ["session", 1]
    assert inspect.iscoroutinefunction(predict) and inspect.isgeneratorfunction(stream)


def test_a_decorator_that_passes_on_leaves_validation_as_it_is():
    """Where the signature is true, it is what counts: arguments are checked, and a wrong call is a TypeError."""

    @guarded
    @passing_on
    def predict(x: int, y: int = 2) -> int:
        return x + y

    assert predict("1") == 3
    with pytest.raises(InvalidInput):
        predict("a")
    with pytest.raises(TypeError):
        passing_on(lambda: None)(1)


def test_a_secret_is_never_looked_for_in_the_wrong_place():
    """Where marks stand on parameters whose places are not known, the call is refused rather than written down."""

    @guarded
    @with_session
    def login(session: str, password: Annotated[str, Secret]) -> int:
        return 1

    with pytest.raises(TypeError):
        login("hunter2")


@pytest.mark.parametrize("wrong", [((1,), {"bogus": 3}), ((), {}), ((1, 2, 3), {})], ids=["unknown", "missing", "too many"])
@pytest.mark.parametrize("first", [True, False], ids=["as the first call", "as a later one"])
def test_nobody_turns_the_checks_off_by_a_call_of_the_wrong_shape(wrong, first):
    """A decorator that only passes on has a true signature, whoever calls first: what is checked stays checked."""
    ran = []

    @guarded
    @passing_on
    def predict(x: int, y: int = 2) -> int:
        ran.append(x)
        return y

    if not first:
        assert predict("1") == 2
    args, kwargs = wrong
    for _ in range(2):
        with pytest.raises(TypeError):
            predict(*args, **kwargs)
    ran.clear()
    with pytest.raises(InvalidInput):
        predict("a")
    assert ran == []


def test_the_signature_counts_where_the_functions_own_error_would_not_be_seen():
    """With a fallback nobody could tell a call that the function did not take: a wrong call is a TypeError."""

    @guarded(fallback=0)
    @passing_on
    def predict(x: int) -> int:
        return x

    with pytest.raises(TypeError):
        predict()
    assert not decide(predict, "a").ok


def test_a_call_that_was_refused_settles_nothing():
    """A killed guard runs nothing, so nobody saw whether the function takes the call."""

    @guarded(name="between killed")
    @passing_on
    def predict(x: int) -> int:
        return x

    control.kill("between killed", reason="test", by="me")
    with pytest.raises(Stopped):
        predict(1, bogus=2)
    control.revive("between killed", by="me")
    with pytest.raises(InvalidInput):
        predict("a")
