"""Exceptions whose class lets nobody change them, or say anything about them, reach the caller like any other."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from guardrail import Budget, Retry, decide, guard_of, guarded


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """As people write them: its attributes cannot be set, which goes for `__notes__` and `__traceback__` too."""

    code: int


class Silent(Exception):
    """Nothing about it can be asked."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __setattr__(self, name, value):
        raise RuntimeError(name)

    def __str__(self):
        raise RuntimeError("str")

    __repr__ = __str__


WAYS = {
    "bare": {},
    "thread": {"budget": "20s"},
    "in place": {"budget": Budget("20s", enforce="report")},
    "retried": {"retry": Retry(2, on=[Frozen, Silent], wait="1ms")},
    "retried in a thread": {"budget": "20s", "retry": Retry(2, on=[Frozen, Silent], wait="1ms")},
}


@pytest.mark.parametrize("make", [lambda: Frozen(7), Silent], ids=["frozen", "silent"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_functions_own(way, make):
    """Under every way of running a function the very exception comes back, and the guard goes on working."""

    @guarded(**WAYS[way])
    def fail(inside: bool):
        error = errors[-1]
        if inside:
            try:
                raise KeyError("inner")
            except KeyError:
                raise error  # noqa: B904 - that is the case
        raise error

    errors = []
    for inside in (False, True):
        errors.append(make())
        try:
            raise LookupError("what the caller is handling")
        except LookupError:
            with pytest.raises((Frozen, Silent)) as caught:
                fail(inside)
        assert caught.value is errors[-1]
        assert type(BaseException.__getattribute__(caught.value, "__context__")) is (KeyError if inside else LookupError)
    assert decide(fail, False).error is errors[-1]
    assert guard_of(fail).stats()["abandoned"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_functions_own_in_async_functions_too(way):
    """As above."""
    error = Frozen(7)

    @guarded(**WAYS[way])
    async def fail():
        try:
            raise KeyError("inner")
        except KeyError:
            raise error  # noqa: B904 - that is the case

    with pytest.raises(Frozen) as caught:
        asyncio.run(fail())
    assert caught.value is error
    assert isinstance(error.__context__, KeyError)
