"""What is set from outside over the objects in code: a short form changes their main field, and what comes of it is checked."""

from __future__ import annotations

import pytest
import tenacity

from guardrail import (
    Audit,
    Breaker,
    Budget,
    Cache,
    Confidence,
    ConfigError,
    Limit,
    Retry,
    Review,
    configure,
    guard_of,
    guarded,
    with_options,
)
from guardrail.policies.audit import Owner


def in_force(option: str, value: object = None, **more: object) -> object:
    """Return an option of a guard as it is in force."""

    @guarded(name="loans", **more, **({} if value is None else {option: value}))
    def predict(x: float) -> float:
        return x

    return guard_of(predict).options[option]


def is_urgent(error: Exception) -> bool:
    """Stand for a predicate of the user's."""
    return True


@pytest.mark.parametrize(
    ("option", "inside", "outside", "meant"),
    [
        ("budget", Budget("250ms", enforce="report", attempt="100ms"), "1s", Budget("1s", enforce="report", attempt="100ms")),
        ("cache", Cache("10m", size=10, stale_for="1h"), "1m", Cache("1m", size=10, stale_for="1h")),
        ("retry", Retry(2, on=is_urgent, max_wait="9s"), "5", Retry(5, on=is_urgent, max_wait="9s")),
        ("limit", Limit(8, rate="100/s", wait="1s"), "4", Limit(4, rate="100/s", wait="1s")),
        ("limit", Limit(rate="100/s"), "4", Limit(4, rate="100/s")),
        ("confidence", Confidence(0.8, of="score"), "0.9", Confidence(0.9, of="score")),
        ("review", Review("a", on=["low", "failed"], sla="4h"), "b", Review("b", on=["low", "failed"], sla="4h")),
        ("audit", Audit(required=True, business_id="x"), "sync", Audit("sync", required=True, business_id="x")),
        ("breaker", Breaker("bureau", min_calls=5), "true", Breaker("bureau", min_calls=5)),
        ("budget", "250ms", "1s", Budget("1s")),
        ("budget", None, "1s", Budget("1s")),
        ("breaker", None, "true", Breaker()),
        ("owner", Owner("credit", contact="a@b", escalation=("c@d",)), "e@f", Owner("e@f", contact="e@f")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("source", ["environment", "configure()", "guardrail.toml"])
def test_a_short_form_from_outside_changes_the_main_field_only(
    monkeypatch, tmp_path, option, inside, outside, meant, source
) -> None:
    """What the object says beside its main field stays as it is, wherever the short form comes from."""
    if source == "environment":
        monkeypatch.setenv(f"GUARDRAIL_GUARD__LOANS__{option.upper()}", outside)
    elif source == "configure()":
        configure(guards={"loans": {option: outside}})
    else:
        (tmp_path / "guardrail.toml").write_text(f'[guard.loans]\n{option} = "{outside}"\n')
        monkeypatch.chdir(tmp_path)
    assert in_force(option, inside) == meant


@pytest.mark.parametrize(("option", "outside"), [("budget", "none"), ("breaker", "false"), ("review", "none")])
def test_none_from_outside_takes_the_option_away(monkeypatch, option, outside) -> None:
    """No object is left of it."""
    inside = {"budget": Budget("1s", enforce="report"), "breaker": Breaker("bureau"), "review": Review("loans")}
    monkeypatch.setenv(f"GUARDRAIL_GUARD__LOANS__{option.upper()}", outside)
    assert in_force(option, inside[option]) is None


def test_audit_for_all_guards_keeps_what_each_says_beside(monkeypatch) -> None:
    """`GUARDRAIL_AUDIT` speaks of durability: who is required, and by which key, stays with the guard."""
    monkeypatch.setenv("GUARDRAIL_AUDIT", "sync")
    assert in_force("audit", Audit(required=True, business_id="x")) == Audit("sync", required=True, business_id="x")


def test_a_tenacity_object_keeps_all_but_its_attempts(monkeypatch) -> None:
    """Its waits and rules are the user's own; only the count in its stop is another."""
    monkeypatch.setenv("GUARDRAIL_GUARD__LOANS__RETRY", "5")
    wait = tenacity.wait_fixed(3)
    for stop in (
        tenacity.stop_after_attempt(2),
        tenacity.stop_after_delay(9) | tenacity.stop_after_attempt(2),
        tenacity.stop_never,
    ):
        option = in_force("retry", tenacity.Retrying(stop=stop, wait=wait))
        assert option.attempts == 5
        assert option.tenacity.wait is wait
        state = tenacity.RetryCallState(option.tenacity, None, (), {})
        stops = []
        for state.attempt_number in (4, 5):
            state.outcome_timestamp = state.start_time
            stops.append(option.tenacity.stop(state))
        assert stops == [False, True]


def test_an_object_from_code_outside_replaces_the_whole_and_a_stronger_short_form_changes_it(monkeypatch) -> None:
    """`configure()` can hand over an object; the environment then changes that one."""
    configure(guards={"loans": {"budget": Budget("2s", reserve=0.5)}})
    assert in_force("budget", Budget("250ms", enforce="report")) == Budget("2s", reserve=0.5)
    monkeypatch.setenv("GUARDRAIL_GUARD__LOANS__BUDGET", "1s")
    configure()
    assert in_force("budget", Budget("250ms", enforce="report")) == Budget("1s", reserve=0.5)


def test_only_the_last_word_has_to_go_with_the_object(monkeypatch) -> None:
    """What a stronger setting overrules is never put over the object, so it cannot be wrong."""
    monkeypatch.setenv("GUARDRAIL_AUDIT", "off")
    monkeypatch.setenv("GUARDRAIL_GUARD__LOANS__AUDIT", "sync")
    assert in_force("audit", Audit(required=True)) == Audit("sync", required=True)


@pytest.mark.parametrize(
    ("variable", "value", "option", "inside"),
    [
        ("GUARDRAIL_GUARD__LOANS__BUDGET", "50ms", "budget", Budget("250ms", attempt="100ms")),
        ("GUARDRAIL_AUDIT", "off", "audit", Audit(required=True)),
    ],
)
def test_what_does_not_go_with_the_object_names_the_variable(monkeypatch, variable, value, option, inside) -> None:
    """The result is checked like any other, and whoever set the variable learns which one it was."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable) as caught:
        in_force(option, inside)
    assert caught.value.guard == "loans"


def test_options_that_settings_set_against_each_other_name_the_variable(monkeypatch) -> None:
    """A setting can also clash with another option than its own; a clash in the code itself is the code's."""
    monkeypatch.setenv("GUARDRAIL_GUARD__LOANS__CONFIDENCE", "0.9")
    with pytest.raises(ConfigError, match="GUARDRAIL_GUARD__LOANS__CONFIDENCE.*nowhere to go"):
        in_force("review", Review(on=["failed"]))
    with pytest.raises(ConfigError, match="without a fallback") as caught:
        in_force("review", Review(on_expiry="fallback", sla="1h"))
    assert "GUARDRAIL" not in str(caught.value)


def test_with_options_replaces_the_whole_object_and_settings_stand_above_it(monkeypatch) -> None:
    """In code an option is what was written; the environment still comes before `with_options`."""

    @guarded(name="loans", budget=Budget("250ms", enforce="report"))
    def predict(x: float) -> float:
        return x

    assert guard_of(with_options(predict, budget="1s")).options["budget"] == Budget("1s")
    monkeypatch.setenv("GUARDRAIL_GUARD__LOANS__BUDGET", "5s")
    configure()
    other = with_options(predict, budget=Budget("2s", reserve=0.1))
    assert guard_of(other).options["budget"] == Budget("5s", reserve=0.1)


def test_no_option_in_code_opens_a_kill_by_a_setting(monkeypatch) -> None:
    """`with_options(mode=...)` is weaker than a setting, and a kill holds wherever it was said."""
    monkeypatch.setenv("GUARDRAIL_MODE", "killed")

    @guarded(name="loans")
    def predict(x: float) -> float:
        return x

    assert guard_of(with_options(predict, mode="enforce")).mode == "killed"


def test_policies_say_what_stands_over_what(monkeypatch) -> None:
    """Where two places made an option together, both are named."""
    monkeypatch.setenv("GUARDRAIL_GUARD__LOANS__BUDGET", "1s")

    def lines(budget: object) -> str:
        @guarded(name="loans", budget=budget)
        def predict(x: float) -> float:
            return x

        return next(line for line in guard_of(predict).policies().splitlines() if "Budget" in line)

    assert lines(Budget("250ms", enforce="report")).endswith("environment over decorator")
    assert lines("250ms").endswith("environment")
