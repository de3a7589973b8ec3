"""Options of one guard from outside: how its name is spelled, what each option takes, and who wins."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from guardrail import settings, spec
from guardrail.errors import ConfigError
from guardrail.settings.guards import IN_CODE, LATER, OPTIONS, address


def given(option: str, value: object) -> object:
    """Return what an option becomes when configured."""
    settings.configure(guards={"loan": {option: value}})
    return settings.for_guard("loan")[option][0]


def refused(option: str, value: object) -> str:
    """Return what the refusal of an option says."""
    with pytest.raises(ConfigError) as caught:
        settings.configure(guards={"loan": {option: value}})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("loan", "LOAN"),
        ("app.loans:predict", "APP_LOANS_PREDICT"),
        ("__main__:Model.<locals>.predict", "MAIN_MODEL_LOCALS_PREDICT"),
        ("a--b__c", "A_B_C"),
        ("crédit", "CR_DIT"),
    ],
)
def test_address(name: str, spelled: str) -> None:
    """How a guard's name is spelled in a variable."""
    assert address(name) == spelled


def test_environment_addresses_a_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """One guard gets its option, the others do not."""
    monkeypatch.setenv("GUARDRAIL_GUARD__APP_LOANS_PREDICT__BUDGET", "250ms")
    monkeypatch.setenv("GUARDRAIL_GUARD____MAIN____PREDICT__RETRY", "3")
    assert settings.for_guard("app.loans:predict") == {"budget": ("250ms", "environment")}
    assert settings.for_guard("__main__:predict") == {"retry": (3, "environment")}
    assert settings.for_guard("app.loans") == {}


def test_two_spellings_of_one_guard_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variables for the same option of the same guard: nobody can tell which was meant."""
    monkeypatch.setenv("GUARDRAIL_GUARD__A_B__BUDGET", "1s")
    monkeypatch.setenv("GUARDRAIL_GUARD__A__B__BUDGET", "2s")
    with pytest.raises(ConfigError, match="both set"):
        settings.current()


def test_exact_names_in_code_and_file(fresh: Path) -> None:
    """configure() and guardrail.toml name guards as they are, so that a:b and a_b differ there."""
    (fresh / "guardrail.toml").write_text('[guard."a:b"]\nbudget = "1s"\n')
    settings.configure(guards={"a_b": {"budget": "2s"}})
    assert settings.for_guard("a:b")["budget"][0] == "1s"
    assert settings.for_guard("a_b")["budget"][0] == "2s"


def test_stronger_source_wins_and_the_nearer_within_it(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """A variable for all guards beats configure() for one; within one source the one guard is meant."""
    (fresh / "guardrail.toml").write_text('audit = "sync"\n[guard.loan]\nmode = "off"\naudit = "buffered"\n')
    settings.configure(mode="off", guards={"loan": {"mode": "enforce"}})
    assert settings.for_guard("loan") == {"mode": ("enforce", "configure()"), "audit": ("buffered", "guardrail.toml")}
    assert settings.for_guard("other") == {"mode": ("off", "configure()"), "audit": ("sync", "guardrail.toml")}
    monkeypatch.setenv("GUARDRAIL_MODE", "observe")
    settings.configure()
    assert settings.for_guard("loan")["mode"] == ("observe", "environment")
    monkeypatch.setenv("GUARDRAIL_GUARD__LOAN__MODE", "enforce")
    settings.configure()
    assert settings.for_guard("loan")["mode"] == ("enforce", "environment")


def test_no_setting_opens_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed by any source, for one guard or for all, it stays killed whatever stronger sources say of its mode."""
    settings.configure(mode="killed", guards={"loan": {"mode": "enforce"}})
    monkeypatch.setenv("GUARDRAIL_MODE", "observe")
    monkeypatch.setenv("GUARDRAIL_GUARD__LOAN__MODE", "enforce")
    settings.configure()
    assert settings.for_guard("loan")["mode"] == ("killed", "configure()")
    settings.configure(mode=None)
    assert settings.for_guard("loan")["mode"] == ("enforce", "environment")


@pytest.mark.parametrize(
    ("option", "value", "meant"),
    [
        ("budget", "250ms", "250ms"), ("budget", "0.25", 0.25), ("budget", 2, 2), ("budget", timedelta(seconds=1), timedelta(seconds=1)),
        ("budget", "none", None), ("budget", None, None), ("cache", " 10m ", "10m"), ("retry", "3", 3), ("retry", 3, 3),
        ("limit", "8", 8), ("limit", "None", None), ("confidence", "0.8", 0.8), ("confidence", "1", 1.0), ("confidence", 0, 0.0),
        ("breaker", "true", True), ("breaker", "none", None), ("validate", "off", False), ("validate", True, True), ("batch", "1", True),
        ("mode", "observe", "observe"), ("mode", "killed", "killed"), ("audit", "sync", "sync"), ("kind", "llm", "llm"),
        ("owner", "credit-ml@bank.example", "credit-ml@bank.example"), ("runbook", "https://x", "https://x"), ("version", "3.2.0", "3.2.0"),
        ("version", "none", None), ("review", "loans", "loans"),
    ],
)  # fmt: skip
def test_each_option_becomes_its_own_type(option: str, value: object, meant: object) -> None:
    """Text and its plain equivalents become what the decorator would have been given."""
    found = given(option, value)
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("budget", "soon"), ("budget", "-1s"), ("budget", "0"), ("budget", 0), ("budget", True), ("budget", float("nan")), ("budget", "1e400"),
        ("budget", [1]), ("cache", "10 parsecs"), ("retry", "three"), ("retry", "0"), ("retry", "-1"), ("retry", True), ("retry", 2.5),
        ("retry", "9" * 5000), ("retry", "\uff13"), ("limit", "8.5"), ("confidence", "nan"), ("confidence", "1.1"), ("confidence", "-0.1"), ("confidence", float("nan")),
        ("confidence", True), ("breaker", "maybe"), ("breaker", 3), ("validate", "none"), ("batch", None), ("mode", "none"), ("mode", "shadow"),
        ("audit", "none"), ("audit", "later"), ("owner", ""), ("owner", {"team": "x"}), ("owner", "a\x1bb"), ("kind", "robot"), ("version", 3),
    ],
)  # fmt: skip
def test_wrong_options_are_named(option: str, value: object) -> None:
    """An option that does not fit is refused when it is read, whether or not the guard exists."""
    assert f"loan {option}" in refused(option, value)


def test_wrong_option_in_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names the variable and not the value."""
    monkeypatch.setenv("GUARDRAIL_GUARD__LOAN__BUDGET", "hunter2")
    with pytest.raises(ConfigError, match="GUARDRAIL_GUARD__LOAN__BUDGET") as caught:
        settings.current()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", IN_CODE)
def test_options_that_only_code_can_give(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    """A fallback is a function or a value of the user's own; text cannot stand for it."""
    assert "only in code" in refused(option, "x")
    settings.reset()
    monkeypatch.setenv(f"GUARDRAIL_GUARD__LOAN__{option.upper()}", "x")
    with pytest.raises(ConfigError, match="only in code"):
        settings.current()


@pytest.mark.parametrize("option", LATER)
def test_reserved_options(option: str) -> None:
    """The names of the next release are errors today."""
    assert "next release" in refused(option, "x")


@pytest.mark.parametrize("option", [name for name, each in OPTIONS.items() if each.objects])
def test_objects_come_from_code_only(option: str, fresh: Path) -> None:
    """`configure()` may hand over an option object, which the guard itself checks; a file cannot."""

    class Thing:
        pass

    thing = Thing()
    assert given(option, thing) is thing
    settings.reset()
    (fresh / "guardrail.toml").write_text(f"[guard.loan]\n{option} = {{a = 1}}\n")
    with pytest.raises(ConfigError, match=f"loan {option}"):
        settings.current()


def test_unmatched_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody answers to is found, and only said by doctor: the guard may live in another process."""
    monkeypatch.setenv("GUARDRAIL_GUARD__LOAN__BUDGET", "1s")
    monkeypatch.setenv("GUARDRAIL_GUARD__CHURM__BUDGET", "1s")
    settings.configure(guards={"app:x": {"retry": 2}, "app_x": {"retry": 2}})
    assert settings.unmatched_guards(["loan", "churn", "app:x"]) == ["CHURM", "app_x"]
    assert settings.unmatched_guards([]) == ["CHURM", "LOAN", "app:x", "app_x"]


def test_options_are_those_of_the_decorator() -> None:
    """Every option of `guarded` is either set from outside, or known as one that only code can give, or as a later one."""
    assert set(OPTIONS) | set(IN_CODE) == set(spec.CHECKS)
    assert set(LATER) == set(spec.LATER)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("budget", each) for each in ("250ms", "0.25", "none")), ("cache", "10m"), ("retry", "3"), ("retry", "none"),
        ("breaker", "true"), ("breaker", "none"), ("limit", "8"), ("confidence", "0.8"), ("confidence", "0"),
        ("review", "loans"), ("mode", "killed"), ("audit", "sync"), ("batch", "true"), ("kind", "llm"), ("owner", "team"),
        ("runbook", "https://x"), ("version", "none"), ("validate", "off"), ("limit", "none"), ("cache", "none"),
    ],
)  # fmt: skip
def test_what_settings_give_the_decorator_takes(option: str, value: str) -> None:
    """No text is accepted here that a guard then refuses."""
    assert option in spec.check({option: given(option, value)}, "environment")
