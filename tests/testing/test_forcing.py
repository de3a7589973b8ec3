"""Forced states: what a caller sees of them, and that they end with the block."""

from __future__ import annotations

import pytest

from guardrail import CircuitOpen, ConfigError, Limit, LimitExceeded, Stopped, control, decide, guard_of, guarded, with_options
from guardrail.testing import force, fresh


def test_an_open_breaker():
    """Calls are refused without running, and run again afterwards."""
    ran = []

    @guarded(breaker=True)
    def predict(x: int) -> int:
        ran.append(x)
        return x

    with force(predict, breaker="open"):
        with pytest.raises(CircuitOpen):
            predict(1)
        with force(predict, breaker="closed"):
            predict(2)
    assert predict(3) == 3
    assert ran == [2, 3]


def test_a_half_open_breaker_lets_trials_through():
    """As many as it is told to, and their success closes it."""

    @guarded(breaker=True)
    def predict(x: int) -> int:
        return x

    with force(predict, breaker="half_open"):
        assert [predict(x) for x in range(5)] == list(range(5))


def test_a_full_limit_is_given_back():
    """No permit is left inside, and none is lost afterwards."""

    @guarded(limit=Limit(3))
    def predict(x: int) -> int:
        return x

    for _ in range(4):
        with force(predict, limit="full"):
            assert guard_of(predict).stats()["limit"]["in_use"] == 3
            with pytest.raises(LimitExceeded):
                predict(1)
        assert predict(1) == 1
    assert guard_of(predict).stats()["limit"]["in_use"] == 0


def test_modes():
    """Each is in force inside, and the guard's own afterwards."""
    ran = []

    @guarded(mode="observe", confidence=0.8)
    def predict(x: int) -> tuple[str, float]:
        ran.append(x)
        return "a", 0.1

    with force(predict, mode="killed"):
        assert guard_of(predict).mode == "killed"
        with pytest.raises(Stopped):
            predict(1)
    with force(predict, mode="enforce"):
        assert decide(predict, 2).outcome == "deferred"
    with force(predict, mode="off"):
        assert predict(3) == ("a", 0.1)
    assert guard_of(predict).mode == "observe"
    assert guard_of(predict).given["mode"].origin == "decorator"
    assert ran == [2, 3]


def test_several_at_once():
    """A mode is in place before the states of its policies are looked for."""

    @guarded(mode="off", breaker=True, limit=2)
    def predict(x: int) -> int:
        return x

    with force(predict, mode="enforce", breaker="open", limit="full"), pytest.raises(CircuitOpen):
        predict(1)
    assert predict(1) == 1


def test_a_derived_guard_shares_the_state():
    """What is forced on the one is forced on the other, as they share the breaker."""

    @guarded(breaker=True)
    def predict(x: int) -> int:
        return x

    with force(predict, breaker="open"), pytest.raises(CircuitOpen):
        with_options(predict, cache="1m")(1)


def test_wrong_use_says_what_to_write(monkeypatch):
    """Nothing to force, no such policy, or a mode that is held from outside."""

    @guarded(name="loans", limit=Limit(rate="5/s"))
    def predict(x: int) -> int:
        return x

    for wrong, words in (
        (lambda: force(predict), 'breaker="open"'),
        (lambda: force(predict, breaker="open"), "give the guard a breaker="),
        (lambda: force(predict, limit="full"), "give the guard a limit="),
        (lambda: force(predict, mode="maybe"), "mode is unknown"),
        (lambda: force(len, mode="off"), "not guarded"),
    ):
        with pytest.raises(ConfigError, match=words), wrong():
            pass
    control.kill("loans", "because", "ann")
    with pytest.raises(ConfigError, match="holds it at 'killed'"), force(predict, mode="enforce"):
        pass
    assert "mode" not in guard_of(predict).given
    control.revive("loans", "ann")
    monkeypatch.setenv("GUARDRAIL_MODE", "observe")
    with fresh(), pytest.raises(ConfigError, match="GUARDRAIL_MODE"), force(predict, mode="enforce"):
        pass
