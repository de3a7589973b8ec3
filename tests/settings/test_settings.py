"""Settings: where they come from, in which order, and what wrong ones are told."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import settings
from guardrail.errors import ConfigError
from guardrail.ledger import writer
from guardrail.settings.sinks import EVENTS
from guardrail.settings.table import TABLE, variable

REDIS = "redis://user:hunter2@cache.example:6379/0"


def refused(**configured: object) -> str:
    """Configure and return what the refusal says."""
    with pytest.raises(ConfigError) as caught:
        settings.configure(**configured)
    return str(caught.value)


def refused_read() -> str:
    """Read the settings and return what the refusal says."""
    with pytest.raises(ConfigError) as caught:
        settings.current()
    return str(caught.value)


def test_nothing_set_gives_the_defaults() -> None:
    """Without any source every setting has its default, and says so."""
    now = settings.current()
    assert (now.home, now.service, now.cache_url, now.mode, now.audit) == (None,) * 5
    assert now.disabled is False
    assert now.log == "off"
    assert now.sinks == now.routes == {}
    assert {now.origin(name) for name in TABLE} == {"default"}


def test_environment_beats_configure_beats_toml(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """The order of the sources, and that each value remembers its own."""
    (fresh / "guardrail.toml").write_text('mode = "off"\nservice = "t"\naudit = "sync"\n')
    settings.configure(mode="observe", service="c")
    monkeypatch.setenv("GUARDRAIL_MODE", "enforce")
    settings.configure()
    now = settings.current()
    assert (now.mode, now.service, now.audit) == ("enforce", "c", "sync")
    assert [now.origin(name) for name in ("mode", "service", "audit")] == [
        "environment",
        "configure()",
        "guardrail.toml",
    ]


def test_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that changes after the first use counts only after `configure()`."""
    assert settings.current().mode is None
    monkeypatch.setenv("GUARDRAIL_MODE", "observe")
    assert settings.current().mode is None
    settings.configure()
    assert settings.current().mode == "observe"


def test_import_reads_nothing() -> None:
    """A wrong variable does not hurt the import, only the first use."""
    code = "import guardrail.settings as s\ntry: s.current()\nexcept Exception as e: print(type(e).__name__)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GUARDRAIL_MOOD": "x"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "ConfigError"


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_empty_is_unset(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    """An empty variable is as if it were not there, even the refused one."""
    monkeypatch.setenv("GUARDRAIL_MODE", blank)
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", blank)
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", blank)
    settings.configure(mode="off")
    assert settings.current().mode == "off"
    assert not settings.current().sinks


def test_configure_again_changes_only_what_it_names() -> None:
    """The last word on a name counts; None takes a name back; the others stay."""
    settings.configure(service="a", mode="observe")
    settings.configure(mode="off")
    assert (settings.current().service, settings.current().mode) == ("a", "off")
    settings.configure(mode=None)
    assert (settings.current().service, settings.current().mode) == ("a", None)


def test_failed_configure_changes_nothing() -> None:
    """What was in force stays in force when a later call is refused."""
    settings.configure(service="a")
    before = settings.current()
    refused(service="b", mode="sideways")
    assert settings.current() is before
    settings.configure()
    assert settings.current().service == "a"


def test_listeners_hear_of_each_configure() -> None:
    """Whoever compiled something from the settings is told to do it again, after the change is in force."""
    heard: list[str | None] = []
    settings.on_change(lambda: heard.append(settings.current().mode))
    settings.configure(mode="observe")
    refused(mode="sideways")
    settings.configure(mode="off")
    assert heard == ["observe", "off"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("GUARDRAIL_MOOD", "GUARDRAIL_MODE"),
        ("GUARDRAIL_DATABSE_URL", "GUARDRAIL_DATABASE_URL"),
        ("GUARDRAIL_mode", "GUARDRAIL_MODE"),
        ("GUARDRAIL_SINKS_OUT", "GUARDRAIL_SINK_<NAME>"),
        ("GUARDRAIL_GUARD_LOAN_BUDGET", "GUARDRAIL_GUARD__<NAME>__<OPTION>"),
        ("GUARDRAIL_GUARD__LOAN", "GUARDRAIL_GUARD__<NAME>__<OPTION>"),
        ("GUARDRAIL_GUARD__LOAN__BUGDET", "budget"),
        ("GUARDRAIL_XYZZY", "GUARDRAIL_AUDIT"),
        ("GUARDRAIL_MODE_FIEL", "GUARDRAIL_MODE"),
    ],
)
def test_unknown_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch, name: str, near: str) -> None:
    """A misspelt variable is an error that says what was meant, never its value."""
    monkeypatch.setenv(name, "hunter2")
    said = refused_read()
    assert name in said
    assert near in said
    assert "hunter2" not in said


def test_unknown_names_in_code_and_file(fresh: Path) -> None:
    """`configure()` and guardrail.toml are as strict as the environment."""
    assert "did you mean service?" in refused(servise="x")
    assert "did you mean guards?" in refused(guard={"loan": {}})
    assert "did you mean budget?" in refused(guards={"loan": {"budge": "1s"}})
    (fresh / "guardrail.toml").write_text('[guards.loan]\nbudget = "1s"\n')
    assert "did you mean guard?" in refused_read()


def test_database_url_is_accepted_with_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL of PostgreSQL, masked wherever it is shown; any other database is refused, as is one without a service."""
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", "postgresql://u:hunter2@h/db")
    assert "GUARDRAIL_SERVICE" in refused_read()
    monkeypatch.setenv("GUARDRAIL_SERVICE", "loans")
    found = settings.current().database_url
    assert found is not None
    assert found.reveal() == "postgresql://u:hunter2@h/db"
    assert not [row for row in settings.rows() if "hunter2" in str(row)]
    monkeypatch.delenv("GUARDRAIL_DATABASE_URL")
    assert "postgresql://" in refused(database_url="sqlite:///x.db")


@pytest.mark.parametrize(
    "url", [REDIS, "rediss://cache.example", "redis://h:1/15?ssl_cert_reqs=none", "unix:///run/redis.sock?db=1"]
)
def test_cache_url_is_accepted_with_a_service(url: str) -> None:
    """The three schemes; the URL comes back in full only when asked for."""
    settings.configure(service="loans", cache_url=url)
    found = settings.current().cache_url
    assert found is not None
    assert found.reveal() == url


def test_cache_url_requires_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared store without the application's name would mix applications; OTEL_SERVICE_NAME is name enough."""
    monkeypatch.setenv("GUARDRAIL_CACHE_URL", REDIS)
    said = refused_read()
    assert "GUARDRAIL_SERVICE" in said
    assert "hunter2" not in said
    monkeypatch.setenv("OTEL_SERVICE_NAME", "loans")
    assert settings.current().service == "loans"
    settings.configure(service="own")
    assert settings.current().service == "own"


@pytest.mark.parametrize(
    "url",
    [
        "hunter2", "http://hunter2@h", "redis://", "redis:///0", "redis://:hun/ter2@h:6379/0", "redis://:hun#ter2@h:6379/0",
        "redis://hunter2:1?x@h:6379/0", "redis://h:hunter2", "redis://h/hunter2", "unix://", "unix://hunter2", "redis://[hunter2",
        "redis://h\x00hunter2", "redis://h\nhunter2", "REDIS",
    ],
)  # fmt: skip
def test_wrong_cache_url_is_refused_without_repeating_it(url: str) -> None:
    """A URL that does not say where the server is, or whose password would be cut in two, is refused and not echoed."""
    said = refused(service="x", cache_url=url)
    assert "configure(cache_url=…)" in said
    assert "hunter2" not in said
    assert "ter2" not in said


def test_secret_shows_itself_masked_and_never_travels() -> None:
    """Neither repr nor str nor a pickle of anything holds the password."""
    settings.configure(service="x", cache_url=f"{REDIS}?password=swordfish&baretoken")
    now = settings.current()
    everything = f"{now!r} {now.cache_url} {now.cache_url!r} {settings.rows()}"
    assert "cache.example" in everything
    for hidden in ("hunter2", "swordfish", "user:", "baretoken"):
        assert hidden not in everything
    with pytest.raises(TypeError):
        pickle.dumps(now.cache_url)
    assert now.cache_url == settings.SecretText(f"{REDIS}?password=swordfish&baretoken")
    assert now.cache_url != REDIS
    assert len({now.cache_url, settings.SecretText(f"{REDIS}?password=swordfish&baretoken")}) == 1


@pytest.mark.parametrize("word", ["shadow", "advise", "canary", "canary:0.1"])
def test_modes_of_the_next_release_say_so(word: str) -> None:
    """A mode that is designed but not there yet is an error with the modes there are."""
    assert "next release" in refused(mode=word)


@pytest.mark.parametrize("word", ["enforce", "observe", "off", "killed", " OBSERVE "])
def test_modes(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Every mode of this release, kill included, whatever its case."""
    monkeypatch.setenv("GUARDRAIL_MODE", word)
    assert settings.current().mode == word.strip().lower()


@pytest.mark.parametrize("name", ["mode", "audit", "log", "disabled"])
def test_wrong_words_get_the_allowed_ones(name: str) -> None:
    """An enumeration answers with its words and does not repeat the wrong one."""
    said = refused(**{name: "hunter2"})
    assert "must be one of" in said
    assert "off" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("word", "meant"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("no", False), (True, True)]
)
def test_disabled(word: object, meant: bool) -> None:
    """A switch reads the usual words."""
    settings.configure(disabled=word)
    assert settings.current().disabled is meant


@pytest.mark.parametrize("name", ["service", "mode", "audit", "log", "disabled", "cache_url", "home"])
@pytest.mark.parametrize("value", [3.5, b"hunter2", ["hunter2"], "hunter2\x1b[31m" * 2, "hunter2" * 5000, "hunter2\udcff"])
def test_hostile_values_are_refused_without_repeating_them(name: str, value: object) -> None:
    """Wrong types, control characters, endless text and bytes that are not UTF-8: clear, named, never echoed."""
    said = refused(**{name: value})
    assert f"configure({name}=…)" in said
    assert "hunter2" not in said
    assert len(said) < 400


def test_variable_that_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes in the environment that are no text are named by their variable."""
    monkeypatch.setenv("GUARDRAIL_SERVICE", os.fsdecode(b"loans\xff"))
    assert refused_read() == "GUARDRAIL_SERVICE is not valid UTF-8 (write it anew, as UTF-8)"


def test_hostile_variable_name_is_escaped_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that an error must repeat cannot write to the terminal, nor fill it."""
    monkeypatch.setenv(os.fsdecode(b"GUARDRAIL_\x1b[31m\xff" + b"A" * 5000), "x")
    said = refused_read()
    assert said.isascii()
    assert "\x1b" not in said
    assert len(said) < 900


@given(st.text(alphabet=st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"])))
def test_any_text_is_accepted_or_refused_by_name(value: str) -> None:
    """Whatever is written, the answer is a setting in force or a ConfigError."""
    settings.reset()
    for name in TABLE:
        try:
            settings.configure(**{name: value})
        except ConfigError as error:
            assert f"configure({name}=…)" in str(error)  # noqa: PT017 - either way is right
        finally:
            settings.reset()


# -- mounted secrets ---------------------------------------------------------------------------------------------------


def test_every_setting_can_be_mounted(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """`X_FILE` is read for settings, sinks, routes and guards alike, less its last line break."""
    values = {
        "CACHE_URL": REDIS, "SERVICE": "loans", "MODE": "observe", "SINK_OUT": "stdout:", "SINK_FILE": "stdout:",
        "ROUTE_OUT": "outcome:deferred", "GUARD__LOAN__BUDGET": "1s",
    }  # fmt: skip
    for name, value in values.items():
        (fresh / name).write_text(value + "\n")
        monkeypatch.setenv(f"GUARDRAIL_{name}_FILE", str(fresh / name))
    now = settings.current()
    assert now.cache_url is not None
    assert now.cache_url.reveal() == REDIS
    assert (now.service, now.mode) == ("loans", "observe")
    assert set(now.sinks) == {"out", "file"}
    assert set(now.routes) == {"out"}
    assert settings.for_guard("loan")["budget"] == ("1s", "environment")
    assert now.origin("cache_url") == "environment"


def test_variable_and_its_file_together_are_refused(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """Nobody can tell which of two was meant."""
    (fresh / "s").write_text("loans")
    monkeypatch.setenv("GUARDRAIL_SERVICE", "loans")
    monkeypatch.setenv("GUARDRAIL_SERVICE_FILE", str(fresh / "s"))
    assert "GUARDRAIL_SERVICE and GUARDRAIL_SERVICE_FILE are both set" in refused_read()
    monkeypatch.setenv("GUARDRAIL_SERVICE", "")
    assert settings.current().service == "loans"


def test_unreadable_secrets_name_the_variable(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """Missing, empty, endless, not a file, a pipe that nobody fills, not text: one line each, and no waiting."""
    (fresh / "empty").write_text("\n")
    (fresh / "big").write_bytes(b"x" * 70_000)
    (fresh / "latin").write_bytes(b"caf\xe9")
    os.mkfifo(fresh / "pipe")
    for name, why in {
        "missing": "No such file", "empty": "is empty", "big": "longer than", "latin": "not UTF-8", "pipe": "regular file",
        ".": "directory", "/dev/zero": "regular file",
    }.items():  # fmt: skip
        monkeypatch.setenv("GUARDRAIL_SERVICE_FILE", str(fresh / name))
        said = refused_read()
        assert "GUARDRAIL_SERVICE_FILE" in said
        assert why in said


# -- guardrail.toml ----------------------------------------------------------------------------------------------------


def test_toml_of_the_nearest_parent(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """The file is found from below, everything can stand in it, and its folder anchors a relative home."""
    (fresh / "guardrail.toml").write_text(
        'service = "loans"\nhome = "var/guard"\n[sinks]\nout = "stdout:"\n[routes]\nout = "guard:loan*"\n'
        '[guard."app:predict"]\nbudget = "1s"\nretry = 3\n'
    )
    deep = fresh / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    now = settings.current()
    assert now.service == "loans"
    assert now.home == fresh / "var" / "guard"
    assert now.sinks["out"].address.scheme == "stdout"
    assert now.origin("sinks.out") == "guardrail.toml"
    assert settings.for_guard("app:predict") == {"budget": ("1s", "guardrail.toml"), "retry": (3, "guardrail.toml")}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"mode = hunter2", "not valid TOML (at line 1"),
        (b"service = '\xff'", "not UTF-8"),
        (b"service = 3", "guardrail.toml: service is of type int"),
        (b"sinks = 'hunter2'", "mapping"),
        (b"[guard]\nloan = 'hunter2'", "mapping"),
        (b"[guard.loan]\nbudget = [1]", "guardrail.toml: guard loan budget"),
        (b"a = " + b"[" * 100_000, "guardrail.toml"),
        (b"#" * 2_000_000, "longer than"),
    ],
)
def test_broken_toml(fresh: Path, content: bytes, why: str) -> None:
    """A file that cannot be used says where, and repeats nothing of it."""
    (fresh / "guardrail.toml").write_bytes(content)
    said = refused_read()
    assert why in said
    assert "hunter2" not in said


def test_working_directory_that_is_gone(fresh: Path) -> None:
    """Without a working directory there is no file to find, and the settings still work."""
    fresh.rmdir()
    assert settings.current().mode is None


# -- sinks and routes --------------------------------------------------------------------------------------------------


def test_sinks_of_all_sources_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sinks are merged by name; the stronger source has a shared name."""
    settings.configure(sinks={"out": "stdout:", "Archive": "file:///var/log/a%20b.jsonl"})
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", "file:///tmp/out.jsonl")
    settings.configure()
    sinks = settings.current().sinks
    assert {name: sink.address.path for name, sink in sinks.items()} == {
        "out": "/tmp/out.jsonl", "archive": "/var/log/a b.jsonl",
    }  # fmt: skip
    assert settings.current().origin("sinks.out") == "environment"
    assert settings.current().origin("sinks.archive") == "configure()"


@pytest.mark.parametrize(
    "url",
    [
        "splnk://hunter2@h",
        "stdout",
        "stdout:x",
        "file:x",
        "file://x/y",
        "file:///",
        "file:///d/",
        "file:///a?hunter2",
        "file:///a%00",
        "https://h",
        "//[",
        "x",
    ],
)
def test_other_sinks_are_refused(url: str) -> None:
    """What to write is named, and the URL is not repeated."""
    said = refused(sinks={"out": url})
    assert "configure(sinks=…) out" in said
    assert "hunter2" not in said


def test_an_unknown_scheme_or_option_names_the_nearest() -> None:
    """A typing error is found when the settings are read, not when the first record is lost."""
    assert "did you mean splunk?" in refused(sinks={"out": "splunc://h"})
    assert "did you mean batch?" in refused(sinks={"out": "file:///a?bach=5"})
    assert "from 1 to" in refused(sinks={"out": "file:///a?batch=0"})
    assert "twice" in refused(sinks={"out": "file:///a?batch=1&batch=2"})


def test_a_missing_client_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and not at the first record."""
    from guardrail.delivery import schemes

    monkeypatch.setattr(schemes, "_installed", lambda module: False)
    assert 'pip install "guardrail-sdk[kafka]"' in refused(sinks={"out": "kafka://h/t"})


@pytest.mark.parametrize("name", ["", "a b", "a__b", "_a", "x_file", "é", "a" * 65])
def test_sink_names_are_those_a_variable_can_spell(name: str) -> None:
    """A sink can be addressed from the environment, whichever place it was named in."""
    assert "not a name for a sink" in refused(sinks={name: "stdout:"})


def test_route_filters_records() -> None:
    """Fields are joined by and, alternatives by or, with the usual wildcards."""
    settings.configure(sinks={"out": "stdout:"}, routes={"out": "outcome:deferred, refused; guard:loan*"})
    route = settings.current().routes["out"]
    assert route.takes({"outcome": "deferred", "guard": "loans:predict"})
    assert route.takes({"outcome": "refused", "guard": "loan", "mode": "enforce"})
    assert not route.takes({"outcome": "answered", "guard": "loan"})
    assert not route.takes({"outcome": "deferred", "guard": "churn"})
    assert not route.takes({"outcome": "deferred"})


def test_what_names_a_sink_reaches_it_whatever_its_route() -> None:
    """A level of a review names whom to tell; a route for other things does not keep that away."""
    settings.configure(sinks={"pager": "stdout:"}, routes={"pager": "event:call"})
    route = settings.current().routes["pager"]
    told = {"event": "ticket", "notify": ["pager"]}
    assert route.takes(told, "pager")
    assert not route.takes(told, "desk")
    assert not route.takes(told)
    assert not route.takes({"event": "ticket", "notify": "pager"}, "pager")


@pytest.mark.parametrize(
    "text",
    ["deferred", "outcome:", "outcome:refuzed", "event:cal", "colour:red", "outcome:deferred;", "guard:a,,b", ";"],
)
def test_wrong_routes(text: str) -> None:
    """A filter that could never fit anything is an error, not a silent sink."""
    assert "configure(routes=…) out" in refused(sinks={"out": "stdout:"}, routes={"out": text})


def test_route_needs_its_sink() -> None:
    """A route to nowhere is an error that names the sink there is."""
    assert "did you mean out?" in refused(sinks={"out": "stdout:"}, routes={"outt": "guard:*"})
    assert "set the sink" in refused(routes={"out": "guard:*"})


# -- what people read --------------------------------------------------------------------------------------------------


def test_rows_tell_value_and_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting has a row, and every sink, route and guard that is set."""
    monkeypatch.setenv("GUARDRAIL_GUARD__LOAN__BUDGET", "1s")
    settings.configure(
        service="x",
        cache_url=REDIS,
        sinks={"out": "stdout:"},
        routes={"out": "guard:*"},
        guards={"a:b": {"cache": None}},
    )
    rows = {row.name: (row.value, row.origin) for row in settings.rows()}
    assert set(rows) >= {variable(name) for name in TABLE}
    assert rows["GUARDRAIL_CACHE_URL"] == ("redis://***@cache.example:6379/0", "configure()")
    assert rows["GUARDRAIL_DISABLED"] == ("false", "default")
    assert rows["GUARDRAIL_SINK_OUT"] == ("stdout:", "configure()")
    assert rows["GUARDRAIL_ROUTE_OUT"] == ("guard:*", "configure()")
    assert rows["GUARDRAIL_GUARD__LOAN__BUDGET"] == ("1s", "environment")
    assert rows["GUARDRAIL_GUARD__A_B__CACHE"] == ("none", "configure()")
    assert all(row.doc for row in settings.rows())


def test_rows_show_only_the_type_of_an_object() -> None:
    """An option object may hold functions and more; a table of settings is no place for them."""

    class Budget:
        def __repr__(self) -> str:
            return "hunter2"

    settings.configure(guards={"a": {"budget": Budget()}})
    assert "Budget(…)" in {row.value for row in settings.rows()}


def test_reference_page_is_current() -> None:
    """docs/settings.md is what the table says; `guardrail settings --markdown` makes it."""
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings.reference_markdown()


def test_settings_are_frozen() -> None:
    """Nobody changes the settings in force by the back door."""
    now = settings.current()
    with pytest.raises(AttributeError):
        now.mode = "off"  # type: ignore[misc]
    with pytest.raises(TypeError):
        now.sinks["x"] = None  # type: ignore[index]
    assert copy.copy(now) == now


def test_events_are_those_of_the_ledger() -> None:
    """A route can ask for every kind of event that the ledger takes."""
    for kind in set(EVENTS) - {"call", "row"}:
        assert writer.event(kind, fields={})
    assert {"call", "row"} <= set(EVENTS)


def test_secrets_are_referred_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shared store's URL and an anchor's as in a sink's, and what is referred to is in no text of the settings."""
    (tmp_path / "password").write_text("hunter2\n")
    monkeypatch.setenv("GUARDRAIL_CACHE_URL", f"redis://:${{file:{tmp_path}/password}}@h:6379/0")
    monkeypatch.setenv("GUARDRAIL_SERVICE", "s")
    monkeypatch.setenv("BUCKET", "a-bucket")
    monkeypatch.setenv("GUARDRAIL_ANCHOR_FAR", "s3://${env:BUCKET}/p")
    now = settings.current()
    assert now.cache_url is not None
    assert now.cache_url.reveal() == "redis://:hunter2@h:6379/0"
    assert now.anchors["far"].url.reveal() == "s3://a-bucket/p"
    assert "hunter2" not in repr(now) + repr(settings.rows())


def test_a_reference_to_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable that holds it, without its value."""
    monkeypatch.setenv("GUARDRAIL_CACHE_URL", "redis://:${file:/nowhere/at/all}@h:6379/0")
    monkeypatch.setenv("GUARDRAIL_SERVICE", "s")
    with pytest.raises(ConfigError, match="GUARDRAIL_CACHE_URL refers to cannot be read"):
        settings.current()


def test_telemetry_over_otlp_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told when the settings are read, not by spans that are missing."""
    import importlib.util

    settings.configure(telemetry="otlp")
    assert settings.current().telemetry == "otlp"
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if "otlp" in name else real(name, *more))
    assert 'pip install "guardrail-sdk[otlp]"' in refused(telemetry="otlp")
    assert "must be one of auto, otlp, off" in refused(telemetry="datadog")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///a?insecure=true", "unknown option"),
        ("file:///a?timeout=1s", "unknown option"),
        ("stdout:?start=beginning", "unknown option"),
        ("redis://${env:HOST}/0", "reference where it is not followed"),
        ("s3://a-bucket/${env:PREFIX}", "reference where it is not followed"),
        ("webhook://${env:HOST}/x", "reference where it is not followed"),
    ],
)
def test_what_would_be_ignored_is_refused(url: str, said: str) -> None:
    """An option that says nothing to a sink, and a reference that nobody would follow."""
    assert said in refused(sinks={"out": url})
